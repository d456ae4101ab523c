"""Every error a peer or an operator can meet, and what each surface says of it.

StreamServerError                 code, message, field, limit, retryable, http_status, ws_code
├── ClientError                   the peer's fault; not retryable
│   ├── ProtocolError             malformed, out of order, of a wrong type
│   ├── MessageTooLarge           one message past its bound
│   ├── TextTooLong               a context's text past its bound
│   ├── InvalidSetting            a known field with a value out of range
│   ├── InvalidPronunciation      an inline phone the voice does not have
│   ├── UnknownVoice
│   ├── UnknownModel
│   ├── UnknownPath               nothing is served there
│   ├── WrongMethod               it is, but not by that HTTP method
│   ├── UnsupportedFormat
│   ├── InvalidAudio              a recording no voice can be made of
│   ├── VoiceExists               the name is taken
│   ├── TooManyVoices
│   ├── VoiceInUse                the default voice, which contexts that name none are spoken in
│   ├── CannotClone               a model with voices of its own alone
│   ├── TooManyContexts
│   ├── Unauthorized              no key, or one that does not open this server
│   └── ForbiddenOrigin           a web page from elsewhere
├── SlowReader                    the peer stopped taking its audio
├── IdleTimeout                   nothing was said for too long
├── Overloaded                    too many are being served; retryable
├── EngineError
│   ├── SequenceFailed            this text is lost, the engine lives
│   ├── MakingFailed              a recording was not made a voice: the process that makes them was lost; retryable
│   ├── EngineBusy                contexts are being spoken: what was asked would end them
│   └── EngineDead                the core is gone; retryable
├── BrokenVoice                   a stored voice's file is damaged, or made for another checkpoint
├── OpusMissing                   no libopus on this machine
└── ConfigError                   before start, with the key that is wrong

`code` is stable and travels on every surface; the message is for people and may change.
"""

from collections.abc import Iterator
from typing import Any


class StreamServerError(Exception):
    code = "internal"
    retryable = False
    http_status = 500
    ws_code = 1011

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        limit: float | str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.limit = limit
        self.retry_after = retry_after  # s; where there is something to wait for


class ClientError(StreamServerError):
    code = "bad_request"
    http_status = 400
    ws_code = 4400


class ProtocolError(ClientError):
    code = "protocol_error"


class MessageTooLarge(ClientError):
    code = "message_too_large"
    http_status = 413
    ws_code = 1009


class TextTooLong(ClientError):
    code = "text_too_long"
    http_status = 413


class InvalidSetting(ClientError):
    code = "invalid_setting"
    http_status = 422


class InvalidPronunciation(ClientError):
    code = "invalid_pronunciation"
    http_status = 422


class UnknownVoice(ClientError):
    code = "unknown_voice"
    http_status = 404
    ws_code = 4404


class UnknownModel(ClientError):
    code = "unknown_model"
    http_status = 404
    ws_code = 4404


class UnknownPath(ClientError):
    code = "unknown_path"
    http_status = 404


class WrongMethod(ClientError):
    code = "wrong_method"
    http_status = 405


class UnsupportedFormat(ClientError):
    code = "unsupported_format"
    http_status = 422


class InvalidAudio(ClientError):
    code = "invalid_audio"
    http_status = 422


class VoiceExists(ClientError):
    code = "voice_exists"
    http_status = 409


class TooManyVoices(ClientError):
    code = "too_many_voices"
    http_status = 409


class VoiceInUse(ClientError):
    code = "voice_in_use"
    http_status = 409


class CannotClone(ClientError):
    code = "cannot_clone"
    http_status = 422


class TooManyContexts(ClientError):
    code = "too_many_contexts"
    http_status = 429
    ws_code = 4429


class Unauthorized(ClientError):
    code = "unauthorized"
    http_status = 401
    ws_code = 1008


class ForbiddenOrigin(ClientError):
    code = "forbidden_origin"
    http_status = 403
    ws_code = 1008


class SlowReader(StreamServerError):
    code = "slow_reader"
    http_status = 408
    ws_code = 1008


class IdleTimeout(StreamServerError):
    code = "idle_timeout"
    http_status = 408
    ws_code = 4408


class Overloaded(StreamServerError):
    code = "overloaded"
    retryable = True
    http_status = 503
    ws_code = 1013


class EngineError(StreamServerError):
    code = "engine_error"


class SequenceFailed(EngineError):
    code = "sequence_failed"


class MakingFailed(EngineError):
    code = "making_failed"
    retryable = True
    http_status = 503
    ws_code = 1013


class EngineDead(EngineError):
    code = "engine_dead"
    retryable = True
    http_status = 503
    ws_code = 1012


class EngineBusy(EngineError):
    code = "engine_busy"
    retryable = True
    http_status = 409


class BrokenVoice(StreamServerError):
    code = "broken_voice"


class OpusMissing(StreamServerError):
    code = "opus_missing"


class ConfigError(StreamServerError):
    code = "config_error"


def error_of(code: str, message: str, **about: Any) -> StreamServerError:
    """The error that a code on the wire stands for; `about` as in `StreamServerError`."""
    return _BY_CODE.get(code, StreamServerError)(message, **about)


def _family(kind: type[StreamServerError]) -> Iterator[type[StreamServerError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)


_BY_CODE = {kind.code: kind for kind in _family(StreamServerError)}
