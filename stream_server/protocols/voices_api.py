"""Our own requests for making, renaming and deleting voices, and what is told of them.

A new voice comes as a form (`name`, `text`, `file` and, where there is one, `consent`) or as a JSON object of the same
fields, the file in base64.  Knows no recording's format and no store.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from stream_server.errors import ProtocolError, UnsupportedFormat
from stream_server.limits import Limits
from stream_server.protocols.reference import unpacked
from stream_server.protocols.schema import Message, refusal
from stream_server.voices.store import Listed
from stream_server.voices.stored import check_name, check_words

FORM, JSON = "multipart/form-data", "application/json"
FIELDS = ("name", "text", "file", "consent")
NEEDED = FIELDS[:3]
AROUND_BYTES = 65_536  # a body may have so much beside its file


@dataclass(frozen=True)
class NewVoice:
    name: str
    text: str
    file: bytes
    consent: str


class NewVoiceBody(Message):
    name: str
    text: str
    file: str  # base64
    consent: str = ""


class ChangeBody(Message):
    name: str


def body_limit(content_type: str, limits: Limits) -> int:
    """Bytes; base64 takes four for three.  Raises `UnsupportedFormat`."""
    if kind_of(content_type) == FORM:
        return limits.reference_bytes + AROUND_BYTES
    return limits.reference_bytes * 4 // 3 + AROUND_BYTES


def kind_of(content_type: str, kinds: Collection[str] = (FORM, JSON)) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in kinds:
        raise UnsupportedFormat("a voice does not come like that", field="content-type", limit=", ".join(kinds))
    return kind


def read_new_voice(content_type: str, body: bytes, limits: Limits) -> NewVoice:
    """Raises a `ClientError`; the file is not looked into."""
    asked = form_asked(content_type, body) if kind_of(content_type) == FORM else read_json(body)
    check_name(asked.name)
    check_words(asked.text, asked.consent, limits)
    return asked


def read_json(body: bytes) -> NewVoice:
    try:
        asked = NewVoiceBody.model_validate_json(body)
    except ValidationError as error:
        raise refusal(error) from None
    try:
        file = unpacked(asked.file)
    except ValueError:
        raise ProtocolError("file: not base64", field="file") from None
    return NewVoice(asked.name, asked.text, file, asked.consent)


def form_asked(content_type: str, body: bytes) -> NewVoice:
    form = read_form(content_type, body, FIELDS, NEEDED)
    name, text, consent = (form.text(field) for field in ("name", "text", "consent"))
    return NewVoice(name, text, bytes(form.found["file"]), consent)


def read_form(
    content_type: str, body: bytes, fields: Collection[str], needed: Iterable[str], strict: bool = True
) -> "Form":
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    form = Form(boundary, fields, strict)
    form.read(body)
    missing = [name for name in needed if name not in form.found]
    if missing:
        raise ProtocolError(f"{missing[0]}: missing", field=missing[0])
    return form


class Form:
    """The parts of a body that are asked for, each at most once; any other is an error, if strict, or passed over."""

    def __init__(self, boundary: bytes, fields: Collection[str], strict: bool) -> None:
        self.found: dict[str, bytearray] = {}
        self._boundary, self._fields, self._strict = boundary, fields, strict
        self._header, self._value = bytearray(), bytearray()
        self._part: bytearray | None = None
        self._ended = False

    def read(self, body: bytes) -> None:
        try:
            parser = MultipartParser(
                self._boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                    "on_header_end": self._read_header,
                    "on_headers_finished": self._enter,
                    "on_part_data": self._take,
                    "on_end": self._end,
                },
            )
            parser.write(body)
        except MultipartParseError:
            raise ProtocolError("not such a form as its content type says") from None
        if not self._ended:
            raise ProtocolError("the form ends before its last boundary")

    def text(self, name: str) -> str:
        try:
            return self.found.get(name, bytearray()).decode()
        except UnicodeDecodeError:
            raise ProtocolError(f"{name}: not UTF-8", field=name) from None

    def _begin(self) -> None:
        self._part = None

    def _read_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            name = parse_options_header(bytes(self._value))[1].get(b"name", b"").decode("latin-1")
            if name not in self._fields and self._strict:
                raise ProtocolError("a field that is not asked for", field="(unnamed)", limit=", ".join(self._fields))
            if name in self.found:
                raise ProtocolError(f"{name}: there may be one", field=name)
            self._part = bytearray()
            if name in self._fields:
                self.found[name] = self._part
        self._header.clear()
        self._value.clear()

    def _enter(self) -> None:
        if self._part is None:
            raise ProtocolError("a field without a name")

    def _take(self, data: bytes, start: int, end: int) -> None:
        assert self._part is not None
        self._part += memoryview(data)[start:end]

    def _end(self) -> None:
        self._ended = True


def read_change(body: bytes) -> str:
    """→ the new name.  Raises a `ClientError`."""
    try:
        return check_name(ChangeBody.model_validate_json(body).name)
    except ValidationError as error:
        raise refusal(error) from None


def described(voice: Listed) -> dict[str, Any]:
    """What is told of a voice: not what was said in its recording."""
    about = voice.about
    if about is None:
        return {"name": voice.name, "usable": False}
    return {
        "name": voice.name,
        "usable": True,
        "created": about.created,
        "source_s": about.source_s,
        "consent": about.consent,
        "family": about.family,
    }


def listed(voices: Iterable[Listed]) -> dict[str, Any]:
    return {"voices": [described(voice) for voice in voices]}
