"""What the server counts and times, for Prometheus.  TTFA and its parts are defined in `events.Timing`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream_server.engine.messages import EngineLoad, ModelMemory
from stream_server.events import Done, Timing

SECONDS = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """One registry a server, so that two servers in one process do not meet."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.open_connections = 0
        connections = Gauge("connections", "open sockets", registry=self.registry)
        connections.set_function(lambda: self.open_connections)
        self.running = Gauge("sequences_running", "sequences holding a slot", registry=self.registry)
        self.waiting = Gauge("sequences_waiting", "sequences without a slot", registry=self.registry)
        self.speaking = Gauge(
            "contexts_speaking", "contexts between their first words and their end", registry=self.registry
        )
        self.room = Gauge("contexts_room", "contexts that this machine can serve at once", registry=self.registry)
        self.costs = Gauge("step_cost_seconds", "what each part adds to a step", ["part"], registry=self.registry)
        self.underruns = Counter("underruns_total", "times a listener had nothing left to play", registry=self.registry)
        self.utterances = Counter("utterances_total", "contexts spoken to their end", registry=self.registry)
        self.audio = Counter("audio_samples_total", "samples of speech given out", registry=self.registry)
        self.errors = Counter("errors_total", "errors told to peers", ["code"], registry=self.registry)
        self.ttfa = Histogram("ttfa_seconds", "time to first audio", registry=self.registry, buckets=SECONDS)
        self.ttfa_part = Histogram(
            "ttfa_part_seconds", "a part of it", ["part"], registry=self.registry, buckets=SECONDS
        )

        self.loaded = Gauge("model_loaded", "1 where the model is in memory", registry=self.registry)
        self.weights = Gauge("model_weights_bytes", "tensors of the model", ["part"], registry=self.registry)
        self.state = Gauge(
            "model_state_bytes", "tensors of all slots, KV cache first", ["part"], registry=self.registry
        )
        self.gpu = Gauge("model_gpu_bytes", "allocated on the GPU", registry=self.registry)
        self.resident = Gauge("resident_bytes", "memory of a process", ["process"], registry=self.registry)

    def show_load(self, load: EngineLoad) -> None:
        self.running.set(load.running)
        self.waiting.set(load.waiting)
        for part, seconds in load.costs.items():
            self.costs.labels(part).set(seconds)

    def show_memory(self, loaded: bool, memory: ModelMemory, engine_pid: int | None) -> None:
        """The engine's own process has none where it lives in the front's."""
        self.loaded.set(loaded)
        self.gpu.set(memory.gpu)
        for gauge, parts in ((self.weights, memory.weights), (self.state, memory.state)):
            gauge.clear()
            for part, size in parts.items():
                gauge.labels(part).set(size)
        self.resident.labels("front").set(resident_bytes("self"))
        self.resident.labels("engine").set(0 if engine_pid is None else resident_bytes(str(engine_pid)))

    @contextmanager
    def connected(self) -> Iterator[None]:
        self.open_connections += 1
        try:
            yield
        finally:
            self.open_connections -= 1

    def observe(self, done: Done) -> None:
        self.utterances.inc()
        self.audio.inc(done.samples)
        self.underruns.inc(done.underruns)
        if done.samples:
            self.ttfa.observe(done.timing.ttfa)
            for part in fields(Timing):
                self.ttfa_part.labels(part.name).observe(getattr(done.timing, part.name))


def resident_bytes(process: str) -> int:
    """By Linux's word; 0 elsewhere, or where there is no such process any more."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
