"""Speech while the text is still being written: a real server and client, a word every 100 ms.

    python benchmarks/live.py [--quick] [--texts 10]

One listener at a time on an idle server, over the websocket, Opus.  Times are the client's, from the first word sent.
*Ahead of the text* is how long before the last word was sent the first sound had arrived; *ahead of the end* how long
before the last packet.  The client takes what comes as fast as it comes, so nothing is paced.  Gaps are those of a
plain player with a cushion of 60 ms.
"""

import argparse
import asyncio
from statistics import median
from typing import Any

from report import conclude, percentile, table
from server import server
from stream_client import speak
from stream_client.speak import SpeakReport
from texts import TEXTS

WORD_S = 0.1
FLOORS = {"underruns": 0, "late_starts": 0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=len(TEXTS), help=f"the first so many of {len(TEXTS)}")
    parser.add_argument("--quick", action="store_true", help="twelve words of one text, nothing kept")
    options = parser.parse_args()
    texts = [TEXTS[0].split()[:12]] if options.quick else [text.split() for text in TEXTS[: options.texts]]
    with server() as served:
        reports = [asyncio.run(listen(served.url, words, seed)) for seed, words in enumerate(texts)]
    show(reports)
    conclude("live", summary(reports), FLOORS, keep=not options.quick)


async def listen(url: str, words: list[str], seed: int) -> SpeakReport:
    return await speak([word + " " for word in words], url=url, interval_s=WORD_S, seed=seed)


def show(reports: list[SpeakReport]) -> None:
    head = ["text", "words", "audio s", "first sound s", "last word s", "last packet s", "ahead of the text s"]
    head += ["ahead of the end s", "gaps", "stalled s"]
    rows = []
    for number, report in enumerate(reports, 1):
        times = [report.audio_s, first_sound(report), report.last_text_s, last_packet(report)]
        rows.append(
            [
                number,
                report.words,
                *times,
                ahead_of_text(report),
                ahead_of_end(report),
                report.underruns,
                report.stall_s,
            ]
        )
    table("each text, seconds from its first word", head, rows)
    timing = median_timing(reports)
    table("the server's own time to first audio, medians", ["", "ms"], [[k, v * 1000] for k, v in timing.items()])


def summary(reports: list[SpeakReport]) -> dict[str, Any]:
    figures: dict[str, Any] = {"model": "lark", "format": reports[0].format, "texts": len(reports), "word_s": WORD_S}
    measured = {"first_sound": first_sound, "ahead_of_text": ahead_of_text, "ahead_of_end": ahead_of_end}
    for name, measure in measured.items():
        values = [measure(report) for report in reports]
        figures |= {f"{name}_{end}_s": value for end, value in spread(values).items()}
    return figures | {
        "audio_s": sum(report.audio_s for report in reports),
        "late_starts": sum(ahead_of_text(report) <= 0 for report in reports),
        "underruns": sum(report.underruns for report in reports),
        "stall_s": sum(report.stall_s for report in reports),
        "largest_gap_s": max(report.largest_gap_s for report in reports),
        "timing_p50_s": median_timing(reports),
    }


def spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "p50": median(values), "p95": percentile(values, 0.95), "max": max(values)}


def median_timing(reports: list[SpeakReport]) -> dict[str, float]:
    return {part: median(report.timing[part] for report in reports) for part in reports[0].timing}


def first_sound(report: SpeakReport) -> float:
    assert report.first_audio_s is not None, "these texts have something to say"
    return report.first_audio_s


def last_packet(report: SpeakReport) -> float:
    assert report.generation_end_s is not None, "these texts have something to say"
    return report.generation_end_s


def ahead_of_text(report: SpeakReport) -> float:
    return report.last_text_s - first_sound(report)


def ahead_of_end(report: SpeakReport) -> float:
    return last_packet(report) - first_sound(report)


if __name__ == "__main__":
    main()
