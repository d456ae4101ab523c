"""What every surface is given: the engine, the bounds, the books; and the one door by which a listener comes in."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from stream_server.engine.client import Engine
from stream_server.events import Settings
from stream_server.limits import Limits
from stream_server.metrics import Metrics
from stream_server.protocols.schema import check_settings
from stream_server.protocols.voices import VoiceBook
from stream_server.session import Session
from stream_server.text.dictionary import checked
from stream_server.transports.guard import Guard


@dataclass(frozen=True)
class House:
    engine: Engine
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    voices: VoiceBook = field(default_factory=VoiceBook)
    guard: Guard = field(default_factory=Guard)
    pronunciations: Mapping[str, str] = field(default_factory=dict)  # the operator's, as `checked` gives them

    def open(self, context: str, number: int, settings: Settings, wake: Callable[[], None]) -> Session:
        """A listener's context; raises a `ClientError` for a setting that cannot be."""
        spec = self.engine.spec
        check_settings(settings, spec, self.limits.uncached)
        own = checked(settings.pronunciations, spec.reader, spec.phones, self.limits)
        settings = replace(settings, pronunciations={**self.pronunciations, **own})
        return Session(context, number, settings, self.engine, self.limits, time.monotonic, wake)
