"""The arithmetic of underruns: times in, figures out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_client.gaps import GapMeter

RATE, PACKET = 24000, 480  # 20 ms


def meter_of(arrivals: list[float], cushion_s: float = 0.060) -> GapMeter:
    meter = GapMeter(RATE, cushion_s)
    for index, arrived in enumerate(arrivals):
        meter.add(arrived, index * PACKET, PACKET)
    return meter


def test_a_stream_in_time_has_no_gaps() -> None:
    meter = meter_of([100 + 0.020 * index for index in range(50)])
    assert (meter.underruns, meter.stall_s, meter.largest_gap_s) == (0, 0.0, 0.0)
    assert meter.began == pytest.approx(100.060)
    assert meter.ended == pytest.approx(101.060)


def test_all_at_once_is_in_time() -> None:
    assert meter_of([5.0] * 100).underruns == 0


def test_lateness_within_the_cushion_is_not_heard() -> None:
    assert meter_of([0.0, 0.079]).underruns == 0  # due at 60 + 20 ms


def test_one_late_packet_is_one_gap_and_shifts_what_follows() -> None:
    meter = meter_of([0.0, 0.130, 0.140, 0.160])  # due at 80 ms: 50 late; then 150 and 170
    assert meter.underruns == 1
    assert meter.stall_s == pytest.approx(0.050)
    assert meter.largest_gap_s == pytest.approx(0.050)
    assert meter.ended == pytest.approx(0.060 + 4 * 0.020 + 0.050)


def test_the_largest_of_several_gaps() -> None:
    meter = meter_of([0.0, 0.090, 0.310])  # 10 ms late; then due at 110, 200 ms late
    assert meter.underruns == 2
    assert meter.stall_s == pytest.approx(0.210)
    assert meter.largest_gap_s == pytest.approx(0.200)


def test_pieces_of_any_length() -> None:
    meter = GapMeter(RATE, cushion_s=0.0)
    meter.add(1.0, 0, 24000)
    meter.add(2.5, 24000, 12000)
    assert (meter.underruns, meter.stall_s, meter.ended) == (1, pytest.approx(0.5), pytest.approx(3.0))


def test_nothing_came() -> None:
    meter = GapMeter(RATE)
    assert (meter.began, meter.ended, meter.underruns) == (None, None, 0)


@given(st.lists(st.floats(0, 0.2), min_size=1, max_size=40), st.floats(0, 0.2), st.floats(-1000, 1000))
def test_stalls_account_for_the_time_exactly(waits: list[float], cushion_s: float, origin: float) -> None:
    arrivals = [origin := origin + wait for wait in waits]
    meter = meter_of(arrivals, cushion_s)
    assert meter.began is not None
    assert meter.ended is not None
    assert meter.ended - meter.began == pytest.approx(len(waits) * 0.020 + meter.stall_s)
    assert meter.ended >= arrivals[-1] + 0.020 - 1e-6  # nothing is played before it is there
    assert meter.largest_gap_s <= meter.stall_s + 1e-9
