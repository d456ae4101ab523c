"""The decode step on a GPU: recorded once for each size of batch, then replayed as one graph.

A small model's step is hundreds of small kernels, and on a GPU starting each of them from Python costs more than its
work.  A graph is started once.  Its inputs are buffers that never move, batches are padded to the next power of two
with rows that live in a slot nobody owns, and every row attends over the whole window under a mask.

Not known here: what it gains.  It has been run on a CPU, where recording is just remembering, and its tensors' places
have been checked on a device without numbers.
"""

from collections.abc import Callable
from itertools import takewhile

import torch
from torch import Tensor

from stream_server.nn.decode_step import DecodeStep, Stretch, int64
from stream_server.nn.kv_cache import KVCache
from stream_server.nn.layout import FEWEST_ROWS

Body = Callable[[], None]
SPARE = 1  # slots that a cache has beyond its owner's, for the rows that pad a batch


def cuda_graph(body: Body) -> Body:
    """Record a body that touches fixed buffers only; PyTorch's manual asks for a first run on a stream of its own."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        body()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        body()
    replay: Body = graph.replay
    return replay


class Recording:
    """A step of `rows` rows: its inputs, and what to call once they are filled."""

    def __init__(self, step: DecodeStep, rows: int, cache: KVCache, record: Callable[[Body], Body]) -> None:
        self.stretch: Stretch = step.space(cache).stretch(rows, step)
        spare = cache.slots - SPARE
        self.idle = int64(step.numbers([spare] * rows, [0] * rows, cache.positions))
        self.numbers = self.idle.to(cache.data.device, copy=True)

        def body() -> None:
            at = step.places(self.numbers, cache, cache.positions)
            step.run(self.stretch, at)

        self.play = record(body)


class CapturedStep:
    """As `DecodeStep`, which it runs; the cache has `SPARE` slots more than are ever named."""

    def __init__(self, step: DecodeStep, record: Callable[[Body], Body] = cuda_graph) -> None:
        self.step = step
        self.record = record
        self.recordings: dict[int, Recording] = {}
        self.cache: KVCache | None = None

    def __call__(self, x: Tensor, slots: list[int], positions: list[int], cache: KVCache) -> Tensor:
        """x [B, width] on any device → logits [B, N] on x's; good until the next call."""
        count = len(slots)
        recording = self.recording(count, cache)
        recording.stretch.x[count:].zero_()  # what pads would otherwise grow from step to step
        recording.stretch.x[:count].copy_(x)
        told = recording.idle.clone()
        told[:, :count] = int64(self.step.numbers(slots, positions, cache.positions))
        recording.numbers.copy_(told)
        recording.play()
        return recording.stretch.logits[:count].to(x.device)

    def prepare(self, cache: KVCache) -> None:
        """Record every size now, so that no listener waits for it."""
        for rows in takewhile(lambda rows: rows < 2 * (cache.slots - SPARE), (FEWEST_ROWS << i for i in range(32))):
            self.recording(min(rows, cache.slots - SPARE), cache)

    def recording(self, count: int, cache: KVCache) -> Recording:
        if self.cache is not cache:
            self.recordings, self.cache = {}, cache
        rows = max(FEWEST_ROWS, min(1 << (count - 1).bit_length(), cache.slots - SPARE))
        found = self.recordings.get(rows)
        if found is None:
            found = self.recordings[rows] = Recording(self.step, rows, cache, self.record)
        return found
