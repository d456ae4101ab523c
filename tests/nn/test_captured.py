"""The recorded step beside the one it records; on a CPU a recording is just played, elsewhere it is placed."""

import pytest
import torch

from stream_server.nn.captured import SPARE, Body, CapturedStep
from stream_server.nn.decode_step import DecodeStep
from tests.nn.test_decode_step import LENGTH, OUT, WIDTH, make


class Recorder:
    """Stands in for a graph: it can only do again what it was shown, on the same buffers."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, body: Body) -> Body:
        body()
        self.recorded += 1
        return body


@pytest.mark.parametrize("kv_heads", [1, 2])
@torch.inference_mode()
def test_batches_of_any_size_give_the_step_s_numbers_and_leave_other_slots_alone(kv_heads: int) -> None:
    model, head, bias = make(kv_heads)
    plain, recorder = DecodeStep(model, model.norm, head, bias, LENGTH), Recorder()
    captured = CapturedStep(DecodeStep(model, model.norm, head, bias, LENGTH), recorder)
    ours, theirs = model.allocate(6, LENGTH), model.allocate(6 + SPARE, LENGTH)
    x = torch.randn(6, LENGTH, WIDTH)
    for tick in range(LENGTH):
        slots = [slot for slot in (5, 0, 3, 1, 4) if (tick + slot) % (slot + 2)]  # they rest at times
        if not slots:
            continue
        positions = [tick - sum((t + slot) % (slot + 2) == 0 for t in range(tick)) for slot in slots]
        now = torch.stack([x[slot, p] for slot, p in zip(slots, positions)])
        expected = plain(now, slots, positions, ours)
        torch.testing.assert_close(captured(now, slots, positions, theirs), expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(theirs.data[:, :6], ours.data, atol=2e-5, rtol=1e-5)
    assert recorder.recorded <= 3  # of 2, 4 and 6 rows


@torch.inference_mode()
def test_every_size_is_recorded_beforehand() -> None:
    model, head, bias = make()
    recorder = Recorder()
    captured = CapturedStep(DecodeStep(model, model.norm, head, bias, LENGTH), recorder)
    cache = model.allocate(5 + SPARE, LENGTH)
    captured.prepare(cache)
    prepared = recorder.recorded
    for count in range(1, 6):
        captured(torch.randn(count, WIDTH), list(range(count)), [0] * count, cache)
    assert recorder.recorded == prepared == 3


@torch.inference_mode()
def test_away_from_the_cpu_no_tensor_of_the_step_is_left_behind() -> None:
    """On a device that holds no numbers, operands in two places are refused as on a GPU."""
    model, head, bias = make()
    captured = CapturedStep(DecodeStep(model, model.norm, head, bias, LENGTH).to("meta"), Recorder())
    cache = model.allocate(3 + SPARE, LENGTH, "meta")
    logits = captured(torch.zeros(2, WIDTH, device="meta"), [0, 2], [0, 1], cache)
    assert logits.shape == (2, OUT) and logits.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@torch.inference_mode()
def test_on_a_gpu_the_graph_gives_the_step_s_numbers() -> None:
    model, head, bias = make()
    plain = DecodeStep(model, model.norm, head, bias, LENGTH)
    captured = CapturedStep(DecodeStep(model, model.norm, head, bias, LENGTH).to("cuda"))
    ours, theirs = model.allocate(4, LENGTH), model.allocate(4 + SPARE, LENGTH, "cuda:0")
    for tick in range(LENGTH):
        now = torch.randn(3, WIDTH)
        expected = plain(now, [3, 0, 1], [tick] * 3, ours)
        torch.testing.assert_close(captured(now, [3, 0, 1], [tick] * 3, theirs), expected, atol=1e-3, rtol=1e-3)
