import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream_server.audio.pcm import Reframer, to_float, to_int16


def test_full_scale_rounding_and_clipping() -> None:
    pcm = np.array([-2, -1, -0.5, 0, 0.4 / 32768, 0.6 / 32768, 1, 2], np.float32)
    assert to_int16(pcm).tolist() == [-32768, -32768, -16384, 0, 0, 1, 32767, 32767]
    assert to_int16(pcm).dtype == np.int16


def test_int16_survives_the_way_through_float() -> None:
    every = np.arange(-32768, 32768).astype(np.int16)
    assert to_float(every).dtype == np.float32
    assert np.array_equal(to_int16(to_float(every)), every)


@given(pieces=st.lists(st.integers(0, 50), max_size=20), block=st.integers(1, 30))
def test_blocks_and_tail_are_the_whole_wherever_it_was_cut(pieces: list[int], block: int) -> None:
    whole = np.arange(1, sum(pieces) + 1, dtype=np.float32)
    reframer = Reframer(block, np.float32)
    blocks = [one for piece in np.split(whole, np.cumsum(pieces)) for one in reframer.push(piece)]
    tail, length = reframer.flush()
    assert all(len(one) == block for one in [*blocks, tail])
    assert np.array_equal(np.concatenate([*blocks, tail[:length]]), whole)
    assert length < block
    assert not tail[length:].any()


def test_a_flushed_reframer_starts_afresh() -> None:
    reframer = Reframer(4, np.int16)
    reframer.push(np.ones(3, np.int16))
    tail, length = reframer.flush()
    assert (tail.tolist(), length) == ([1, 1, 1, 0], 3)
    assert reframer.flush()[1] == 0


def test_the_rest_does_not_alias_the_caller_s_buffer() -> None:
    reframer = Reframer(4, np.int16)
    buffer = np.ones(2, np.int16)
    reframer.push(buffer)
    buffer[:] = 9
    assert reframer.push(np.ones(2, np.int16))[0].tolist() == [1, 1, 1, 1]
