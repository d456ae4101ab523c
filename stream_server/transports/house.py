"""What every surface is given: the engine, the bounds, the books; and the one door by which a listener comes in."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from stream_server.engine.client import Engine
from stream_server.errors import CannotClone
from stream_server.events import Settings
from stream_server.limits import Limits
from stream_server.metrics import Metrics
from stream_server.protocols.schema import check_settings
from stream_server.protocols.voices import VoiceBook
from stream_server.session import Session
from stream_server.studio.guests import Guests
from stream_server.text.dictionary import checked
from stream_server.transports.guard import Guard
from stream_server.voices.maker import VoiceMaker


@dataclass(frozen=True)
class House:
    engine: Engine
    limits: Limits = field(default_factory=Limits)
    metrics: Metrics = field(default_factory=Metrics)
    voices: VoiceBook = field(default_factory=VoiceBook)
    guard: Guard = field(default_factory=Guard)
    maker: VoiceMaker | None = None  # None: the model has voices of its own alone
    guests: Guests | None = None  # the same
    pronunciations: Mapping[str, str] = field(default_factory=dict)  # the operator's, as `checked` gives them

    def open(self, context: str, number: int, settings: Settings, wake: Callable[[], None]) -> Session:
        """A listener's context; raises a `ClientError` for a setting that cannot be, or `Overloaded`."""
        spec = self.engine.spec
        check_settings(settings, spec, self.limits.uncached)
        own = checked(settings.pronunciations, spec.reader, spec.phones, self.limits)
        settings = replace(settings, pronunciations={**self.pronunciations, **own})
        recording = settings.reference
        session = Session(
            context,
            number,
            settings,
            self.engine,
            self.limits,
            time.monotonic,
            wake,
            awaits_voice=recording is not None,
        )
        if recording is not None:
            if self.guests is None:
                raise CannotClone("this server makes no voices", field="reference")
            self.guests.invite(session, recording)
        return session
