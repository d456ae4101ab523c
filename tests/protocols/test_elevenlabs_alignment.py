"""What holds of an alignment, whatever the words, the pauses and the sizes of messages."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.events import Audio, Done, Event, Mark, Started
from stream_server.protocols.elevenlabs.alignment import Aligner, Span
from stream_server.protocols.elevenlabs.http import TimedLines, TimedWhole
from stream_server.protocols.elevenlabs.messages import alignment

RATE = 24_000


@dataclass(frozen=True)
class Told:
    text: str
    marks: tuple[Mark, ...]
    ends: tuple[int, ...]  # of the pieces of sound

    @property
    def events(self) -> list[Event]:
        """Each mark before the sound in which its word begins."""
        events: list[Event] = [Started("c", 1, "slt", "pcm_s16le", RATE, 7, 0)]
        marks, begin = list(self.marks), 0
        for end in self.ends:
            while marks and marks[0].pts < end:
                events.append(marks.pop(0))
            events.append(Audio("c", 1, 0, begin, end - begin, bytes(2 * (end - begin))))
            begin = end
        return [*events, Done("c", self.ends[-1] if self.ends else 0, 1, len(self.marks), 7, "done")]


@st.composite
def utterances(draw: st.DrawFn) -> Told:
    """Words as they may be spoken: some glued together, some with nothing to say between them; messages of any size."""
    text, marks, pts = draw(st.sampled_from(["", " ", '"', "  \n"])), [], draw(st.integers(0, 3_000))
    for word in draw(st.lists(st.text("aé😀.", min_size=1, max_size=8), max_size=8)):
        marks.append(Mark("c", word, len(text), len(text) + len(word), pts))
        text += word + draw(st.sampled_from(["", " ", " ", " ", "\n\n", " 🙂 "]))
        pts += draw(st.integers(1, 20_000))
    sizes = draw(st.lists(st.integers(0, 6_000), min_size=1, max_size=60))
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    if ends[-1] <= pts and marks:
        ends.append(pts + 480)
    return Told(text, tuple(marks), tuple(ends))


def spans(told: Told) -> list[tuple[Event, Span]]:
    aligner = Aligner()
    aligner.push(told.text)
    pieces = [(event, aligner.hear(event)) for event in told.events]
    return [(event, piece.span) for event, piece in pieces if piece is not None and piece.span is not None]


@settings(max_examples=60)
@given(utterances())
def test_every_character_is_told_once_in_order_within_its_sound(told: Told) -> None:
    found = spans(told)
    assert "".join(span.text for _, span in found) == told.text
    starts = [start for _, span in found for start in span.starts]
    assert starts == sorted(starts)
    for event, span in found:
        assert len(span.text) == len(span.starts) > 0
        assert span.begin <= span.starts[0] and span.starts[-1] <= span.end
        if isinstance(event, Audio):
            assert all(event.pts <= start < event.pts + event.duration for start in span.starts)
            assert span.end == event.pts + event.duration


@settings(max_examples=60)
@given(utterances())
def test_a_word_begins_where_it_was_marked(told: Told) -> None:
    starts = [start for _, span in spans(told) for start in span.starts]
    assert [starts[mark.start] for mark in told.marks] == [mark.pts for mark in told.marks]


@settings(max_examples=60)
@given(utterances())
def test_spans_lie_end_to_end_in_whole_milliseconds(told: Told) -> None:
    clock = 0
    for _, span in spans(told):
        fields = alignment(span, RATE)
        assert fields["chars"] == list(span.text)
        starts, durations = fields["charStartTimesMs"], fields["charDurationsMs"]
        assert len(starts) == len(durations) == len(span.text)
        assert starts[0] >= 0 and all(duration >= 0 for duration in durations)
        assert [a + d for a, d in zip(starts, durations)][:-1] == starts[1:]
        clock += starts[-1] + durations[-1]
        assert clock == 1000 * span.end // RATE


@settings(max_examples=60)
@given(utterances(), st.lists(st.integers(0, 60), max_size=4))
def test_text_may_come_in_pieces(told: Told, cuts: list[int]) -> None:
    whole, cut = Aligner(), Aligner()
    whole.push(told.text)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(told.text)]):
        cut.push(told.text[begin : max(begin, end)])
    assert [whole.hear(event) for event in told.events] == [cut.hear(event) for event in told.events]


def test_characters_are_spread_evenly_until_the_next_word() -> None:
    marks = (Mark("c", "four", 0, 4, 0), Mark("c", "five", 5, 9, 12_000))
    [(_, first), *_] = spans(Told("four five", marks, (24_000,)))
    assert first.starts[:6] == (0, 2_400, 4_800, 7_200, 9_600, 12_000)


def test_an_open_word_goes_at_the_pace_of_those_before_it() -> None:
    marks = (Mark("c", "ab", 0, 2, 0), Mark("c", "cdef", 3, 7, 3_000))
    [(_, first), (_, second)] = spans(Told("ab cdef", marks, (5_001, 9_000)))
    assert (first.text, first.starts) == ("ab cde", (0, 1_000, 2_000, 3_000, 4_000, 5_000))
    assert (second.text, second.starts, second.begin) == ("f", (6_000,), 5_001)


def test_after_sound_without_characters_the_next_span_begins_with_that_sound() -> None:
    marks = (Mark("c", "a", 0, 1, 0), Mark("c", "b", 2, 3, 24_000))
    [_, (event, second)] = spans(Told("a b", marks, (2_400, 12_000, 26_400)))
    assert isinstance(event, Audio) and event.pts == 12_000
    assert (second.text, second.starts, second.begin, second.end) == ("b", (24_000,), 2_400, 26_400)


@pytest.mark.parametrize("text", ["", "🙂", "..."])
def test_text_with_nothing_to_say_is_told_at_the_end(text: str) -> None:
    found = spans(Told(text, (), (480,)))
    assert "".join(span.text for _, span in found) == text
    assert all(isinstance(event, Done) for event, _ in found)


@settings(max_examples=60)
@given(utterances())
def test_over_http_times_run_on_and_both_forms_say_the_same(told: Told) -> None:
    by_line, at_once = TimedLines(told.text), TimedWhole(told.text)
    lines = [json.loads(line) for line in b"".join(map(by_line, told.events)).splitlines()]
    whole = json.loads(b"".join(map(at_once, told.events)))
    told_lines: list[dict[str, Any]] = [line["alignment"] for line in lines if line["alignment"] is not None]
    for name in ("characters", "character_start_times_seconds", "character_end_times_seconds"):
        assert [value for fields in told_lines for value in fields[name]] == whole["alignment"][name]
    assert "".join(whole["alignment"]["characters"]) == told.text
    starts, ends = (whole["alignment"][f"character_{kind}_times_seconds"] for kind in ("start", "end"))
    assert starts == sorted(starts) and all(start <= end for start, end in zip(starts, ends))
    assert len(starts) == len(ends) == len(told.text)
    assert [starts[mark.start] for mark in told.marks] == [round(mark.pts / RATE, 3) for mark in told.marks]
    assert not told.text or ends[-1] == round(told.ends[-1] / RATE, 3), "as long as the sound"
    assert whole["normalized_alignment"] == whole["alignment"]
    assert base64.b64decode(whole["audio_base64"]) == b"".join(base64.b64decode(line["audio_base64"]) for line in lines)
