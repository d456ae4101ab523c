"""A voice from a file on this machine: what `stream-server voices add` does."""

from collections.abc import Callable
from pathlib import Path

from stream_server.audio.reference import FIELD, Reference, read_reference
from stream_server.errors import InvalidAudio, MessageTooLarge, VoiceExists
from stream_server.limits import Limits
from stream_server.voices.store import VoiceStore
from stream_server.voices.stored import StoredVoice, check_name, check_words

Make = Callable[[str, str, Reference, str], StoredVoice]  # name, text, recording, consent → what the family makes of it


def add_voice(
    name: str, path: Path, text: str, consent: str, limits: Limits, store: VoiceStore, load: Callable[[], Make]
) -> StoredVoice:
    """Reads the recording, makes the voice and keeps it.  Raises a `StreamServerError`.

    load: loads the family's networks; asked once everything else is known to be well, for it takes its time.
    """
    check_name(name)
    check_words(text, consent, limits)
    if name in store.names():
        raise VoiceExists("there is a voice of that name", field="name")
    recording = read_reference(read_file(path, limits.reference_bytes), limits)
    voice = load()(name, text, recording, consent)
    store.save(voice)
    return voice


def read_file(path: Path, most: int) -> bytes:
    """No more of it than may be, whatever its size is said to be."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InvalidAudio(f"cannot read {path}: {type(error).__name__}", field=FIELD) from None
    if len(data) > most:
        raise MessageTooLarge("the recording's file is too large", field=FIELD, limit=most)
    return data
