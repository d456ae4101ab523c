"""What every codec's file makes: a coder, which turns blocks of samples at its own rate into bytes.

Knows nothing of the model's rate, of chunks or of positions in speech.
"""

from typing import NamedTuple, Protocol

from stream_server.audio.pcm import Float


class Piece(NamedTuple):
    data: bytes
    decoded: int  # samples that a decoder gives once it has these bytes too, lead-in and padding among them


class Coder(Protocol):
    block: int  # samples that `encode` takes
    lead: int  # samples by which what is decoded comes late
    pre_skip: int  # of them, what whoever decodes has to drop: 0 where a container tells its decoder to

    def encode(self, pcm: Float) -> list[Piece]:
        """float32 [block].  A container's head comes with the first piece."""
        ...

    def finish(self, pcm: Float) -> list[Piece]:
        """float32 [less than a block]: the last samples; → all that is still held.  A file it is, even an empty one."""
        ...
