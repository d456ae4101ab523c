"""A speaking as a picture in text: what came when, on one axis of time.

Knows a report's figures and a terminal's width; prints nothing.
"""

from stream_client.speak import SpeakReport

LABEL = 12
FIGURE = 10
NARROWEST = 40
BAR, POINT, EMPTY = "█", "●", "·"


def timeline(report: SpeakReport, width: int = 80) -> str:
    """Rows of one line each, none wider than `width` (or 40, where that is more), and the figures below."""
    audio, end, heard = report.first_audio_s, report.generation_end_s, report.playback_end_s
    span = max(report.last_text_s, end or 0.0, heard or 0.0)
    columns = max(width, NARROWEST) - LABEL - FIGURE
    rows = [_row("text in", 0.0, report.last_text_s, span, columns)]
    if audio is not None and end is not None and heard is not None and report.playback_begin_s is not None:
        rows += [
            _row("first audio", audio, audio, span, columns),
            _row("last text", report.last_text_s, report.last_text_s, span, columns),
            _row("generation", audio, end, span, columns),
            _row("playback", report.playback_begin_s, heard, span, columns),
        ]
    return "\n".join([*rows, "", figures(report)])


def figures(report: SpeakReport) -> str:
    """The short form: one line."""
    if report.ttfa_s is None or report.rtf is None:
        return "no audio"
    gaps = f"{report.underruns} gaps"
    if report.underruns:
        gaps += f" of {_ms(report.stall_s)} in all, the largest {_ms(report.largest_gap_s)}"
    return f"TTFA {_ms(report.ttfa_s)}, RTF {report.rtf:.2f}, {report.audio_s:.2f} s of speech, {gaps}"


def _row(label: str, begin: float, end: float, span: float, columns: int) -> str:
    """A bar from `begin` to `end`, or a point where they are one; its right edge is its figure."""
    first, last = _column(begin, span, columns), _column(end, span, columns)
    ink = POINT if begin == end else BAR * (last - first + 1)
    bar = EMPTY * first + ink + EMPTY * (columns - first - len(ink))
    return f"{label:<{LABEL}}{bar}{end:{FIGURE - 2}.3f} s"


def _column(moment: float, span: float, columns: int) -> int:
    return min(columns - 1, int(moment / span * columns)) if span > 0 else 0


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
