"""What the wire schemas of all protocols share: strictness, the ranges of settings, and refusals in our own words.

Knows no protocol's messages.  A refusal never repeats what was sent but for the name of a field: it may be somebody's
text.
"""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from stream_server.engine.messages import ModelSpec
from stream_server.errors import CannotClone, ClientError, InvalidSetting, ProtocolError, UnknownVoice
from stream_server.events import Settings

Speed = Annotated[float, Field(ge=0.5, le=2.0)]
Temperature = Annotated[float, Field(ge=0.0, le=2.0)]
TopK = Annotated[int, Field(ge=1, le=500)]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Samples = Annotated[int, Field(ge=0, le=2**63 - 1)]

# Kinds of pydantic's complaints that are about a value, not about the message; and where each keeps its bound.
_BOUNDS = {
    "greater_than_equal": "ge",
    "less_than_equal": "le",
    "string_too_short": "min_length",
    "string_too_long": "max_length",
    "finite_number": "",
    "literal_error": "expected",
}


class Message(BaseModel):
    """Surplus fields and near misses ("1" or true for 1) are errors; so are NaN and Infinity."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


def texts(found: dict[str, Any]) -> dict[str, str]:
    """Checked here and not by pydantic, whose complaint would name the entry: somebody's text."""
    if not all(isinstance(said, str) for said in found.values()):
        raise PydanticCustomError("texts", "must be a table of text to text")
    return found


class Manner(Message):
    """How a text is to be spoken: what a context of the native protocol and an item of a batch may both ask for."""

    voice: str | None = None
    sample_rate: int | None = None
    speed: Speed = Settings.speed
    seed: Seed | None = None
    temperature: Temperature | None = None
    top_k: TopK | None = None
    use_cache: bool = Settings.use_cache
    carry_over: bool | None = None
    pronunciations: Annotated[dict[str, Any], AfterValidator(texts)] = Field(default_factory=dict)


class Foreign(BaseModel):
    """What other people's clients send: unknown fields are passed over, and null is as good as absent."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def without_nulls(cls, sent: Any) -> Any:
        return {name: value for name, value in sent.items() if value is not None} if isinstance(sent, dict) else sent


def refusal(error: ValidationError) -> ClientError:
    """The first of pydantic's complaints as one of our errors; raise it `from None`, for pydantic quotes the input."""
    first = error.errors(include_url=False, include_input=False)[0]
    kind, bounds = first["type"], first.get("ctx", {})
    if kind == "json_invalid":
        return ProtocolError(f"not JSON: {bounds['error']}")
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        return _unknown_type(bounds)
    if not first["loc"]:
        return ProtocolError("the message must be a JSON object")
    field = printable(first["loc"][-1])
    message = f"{field}: {first['msg']}"
    if kind in _BOUNDS:
        return InvalidSetting(message, field=field, limit=bounds.get(_BOUNDS[kind]))
    return ProtocolError(message, field=field)


def check_settings(settings: Settings, spec: ModelSpec, uncached: bool = True) -> None:
    """What only the model and the operator can tell: such a voice, such a rate; `limit` names the choices.

    uncached: whether decoding without the cache is allowed here.
    """
    if not settings.use_cache and not uncached:
        raise InvalidSetting("this server always decodes with its cache", field="use_cache", limit="true")
    if settings.reference is not None and not spec.cloning:
        raise CannotClone("this model has voices of its own alone", field="reference")
    if settings.reference is not None and settings.voice is not None:
        raise InvalidSetting("voice: the reference is the voice", field="voice", limit="null")
    for name in ("temperature", "top_k"):
        if getattr(settings, name) is not None and name not in spec.options:
            raise InvalidSetting("this model draws in a way of its own", field=name)
    if not settings.use_cache and "use_cache" not in spec.options:
        raise InvalidSetting("this model always decodes with its cache", field="use_cache", limit="true")
    if settings.carry_over and not spec.carry_tokens:
        raise InvalidSetting("this model begins every sentence anew", field="carry_over", limit="false")
    if settings.voice is not None and settings.voice not in spec.voices:
        raise UnknownVoice("no such voice here", field="voice", limit=", ".join(spec.voices))
    if settings.speed != 1.0 and not spec.speeds:
        raise InvalidSetting("this model speaks at its own speed", field="speed", limit=1.0)
    if settings.sample_rate is not None and settings.sample_rate not in spec.sample_rates:
        choices = ", ".join(map(str, spec.sample_rates))
        raise InvalidSetting("no such sample rate here", field="sample_rate", limit=choices)


def _unknown_type(bounds: dict[str, Any]) -> ProtocolError:
    field = bounds["discriminator"].strip("'")
    choices = bounds.get("expected_tags", "").replace("'", "")
    return ProtocolError(f"{field}: missing, or not one there is", field=field, limit=choices or None)


def printable(name: str | int) -> str:
    """A field's name as it came, if it looks like one: what is not may be text gone astray."""
    return name if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,32}", name) else "(unnamed)"
