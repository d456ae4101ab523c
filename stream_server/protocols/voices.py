"""Names by which clients ask for voices: our own, an operator's, and those that clients carry built in.

Knows no protocol.  A built-in name stands for the default voice, for the client that sends it chose nothing.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from stream_server.engine.messages import ModelSpec
from stream_server.errors import UnknownVoice

# The only names that some OpenAI clients let their users give.
OPENAI = [
    "alloy",
    "ash",
    "ballad",
    "cedar",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
]
# What clients send that were told of no voice: LiveKit's ElevenLabs plugin, and ElevenLabs' examples.
BUILT_IN = (
    *OPENAI,
    "hpp4J3VqNfWAUOO0d1Us",
    "21m00Tcm4TlvDq8ikWAM",
    "default",
)
# Names of voices that only another service can have: Cartesia's are UUIDs, Deepgram's begin with aura, Piper's are
# such as en_US-ryan-high.
ELSEWHERE = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|aura-(2-)?[a-z]+-[a-z]{2}"
    r"|[a-z]{2,3}_[A-Z]{2}-[a-z0-9_]+-(x_low|low|medium|high)"
)


@dataclass(frozen=True)
class VoiceBook:
    aliases: Mapping[str, str] = field(default_factory=dict)  # an operator's names → the model's
    fall_back: bool = False  # whether a name nobody knows is the default voice, and not an error

    def find(self, name: str | None, spec: ModelSpec) -> str:
        """The model's voice for a client's name; none or an empty one is the default.

        Raises `UnknownVoice`, whose limit lists the model's voices.
        """
        if not name:
            return spec.voices[0]
        meant = self.aliases.get(name, name)
        if meant in spec.voices:
            return meant
        if self.fall_back or name in BUILT_IN or ELSEWHERE.fullmatch(name):
            return spec.voices[0]
        raise UnknownVoice("no such voice here", field="voice", limit=", ".join(spec.voices))
