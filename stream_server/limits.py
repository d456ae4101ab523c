"""Every bound a peer can meet: its name, its default and what happens at it.  Plain data; knows nothing of who checks.

There is no bound on text that waits to be spoken beside `text_chars_per_context`: a server that stopped reading for
it would not hear the `cancel` behind it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    # One message or context: past these it is refused.
    message_bytes: int = 65_536
    body_bytes: int = 1 << 20  # of an HTTP request
    text_chars_per_context: int = 100_000
    context_name_chars: int = 64
    pending_flushes: int = 64  # of one context, not yet spoken
    # One connection.
    contexts_per_connection: int = 16  # alive at a time
    idle_timeout_s: float = 120.0  # neither side has anything to say: the connection is closed
    unsent_replies: int = 256  # answers that wait for the peer to take them: beyond it the connection is closed
    slow_reader_s: float = 10.0  # the peer takes no bytes for so long: the connection is closed
    lead_s: float = 2.0  # how far ahead of its listener's playback a context is spoken; then it rests
    unsent_s: float = 4.0  # sound that waits for the peer to take it: beyond it the context is not spoken on
    # Text.
    segment_chars: int = 400  # a sentence longer than this is cut at the best place before
    uncached: bool = False  # may a context do without the KV cache?  It slows everybody: for a server of one's own
    pronunciations: int = 500  # of a listener's own, for one context
    pronunciation_chars: int = 100  # of what is written, and of how it is said
    # The whole server: past these it is overloaded.
    connections: int = 256
    streams: int | None = None  # contexts served at once, whatever comes of it; None: as many as this machine can
    queue: int = 64  # sequences waiting for a slot
    # A new voice: its recording, what is said in it, and how many there may be.
    reference_bytes: int = 20_000_000  # of the file, in whatever format
    reference_min_s: float = 3.0
    reference_max_s: float = 30.0
    reference_decode_s: float = 10.0  # of a decoder's work on it: beyond it the file is refused
    reference_text_chars: int = 1_000
    consent_chars: int = 1_000
    uploads: int = 2  # recordings taken in at a time: past these the server is overloaded
    upload_s: float = 60.0  # until all of one has come
    stored_voices: int = 1_000
    making: int = 8  # recordings that wait to be made voices or are being made: past these the server is overloaded
    make_s: float = 120.0  # of making one: beyond it the process that does it is ended
    maker_idle_s: float = 300.0  # without work: the process that makes voices is ended
    # A recording that comes with what is to be spoken, as base64 within a message.
    inline_reference_bytes: int = 3_000_000  # of the file: half a minute of WAV, 48 kHz, one channel
    guests: int = 32  # voices of such recordings, at a time: past these the server is overloaded
    # The engine.
    stall_s: float = 0.2  # without a sign of life while there is work: it counts as dead; longer where its steps are
    load_s: float = 120.0  # a load of a model that was released: beyond it those who wait are told so
    load_queue: int = 64  # contexts that may wait for such a load
