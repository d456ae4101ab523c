"""Where the player stands: by the wall, by its own word, after a silence."""

import pytest

from stream_server.playback import PlaybackClock


def test_the_wall_carries_an_assumed_player_on_and_a_silence_holds_it_up() -> None:
    clock = PlaybackClock(1000)
    assert clock.took(500, now=10.0) == 0
    assert clock.took(700, now=10.4) == 0
    assert clock.ends_at() == pytest.approx(10.7)
    assert clock.took(900, now=11.0) == pytest.approx(0.3)
    assert clock.ends_at() == pytest.approx(11.2)


def test_a_report_overrules_the_wall_and_never_goes_back_or_beyond_what_was_sent() -> None:
    clock = PlaybackClock(1000)
    clock.took(1000, now=0.0)
    clock.report(200, now=0.5)
    assert clock.plays_at(0) == pytest.approx(0.3)
    clock.report(100, now=0.6)
    assert clock.reported == 200
    clock.report(5000, now=0.7)
    assert clock.reported == 1000
