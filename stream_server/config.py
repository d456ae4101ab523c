"""How a server is set up: a file, over it the environment, over it the flags.  An unknown key is an error.

The file is TOML (`stream-server.toml` in the working directory, or `--config`); the environment's names begin with
STREAM_SERVER_, a nested one's parts are joined by two underscores: STREAM_SERVER_LIMITS__QUEUE=16.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as checked
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from stream_server.errors import ConfigError
from stream_server.limits import Limits

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DEFAULT_FILE = Path("stream-server.toml")


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class CheckedLimits(Limits):
    """`Limits` as an operator may write them: types checked, unknown names refused."""


OptionalPort = Annotated[int, Field(ge=1, le=65535)] | None


def none_where_off(value: Any) -> Any:
    return None if value == "off" else value


def dtypes_by_part(value: Any) -> Any:
    """What a flag or a variable can say, "lm=bf16,flow=fp32", as the table it stands for."""
    if not isinstance(value, str):
        return value
    parts = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(name.strip() and equals for name, equals, _ in parts):
        raise ValueError("PART=TYPE, separated by commas: lm=bf16,flow=fp32")
    return {name.strip(): dtype.strip() for name, _, dtype in parts}


class ServerConfig(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="STREAM_SERVER_", env_nested_delimiter="__", extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(8765, ge=0, le=65535)
    wyoming_host: str = "127.0.0.1"  # an address of its own, for Wyoming knows no keys
    wyoming_port: Annotated[OptionalPort, BeforeValidator(none_where_off)] = 10_200  # "off": no Wyoming
    model: str = "lark"
    voice: str | None = None  # for contexts that name none; the model's first by default
    slots: int = Field(128, ge=1, le=1024)  # rows of the caches: sequences that can be held at once
    threads: int = Field(1, ge=1, le=256)  # of the engine's arithmetic
    device: Literal["auto", "cpu", "cuda"] = "auto"  # of the decode step; auto: a GPU where torch finds one that works
    dtype: Annotated[dict[str, Literal["fp32", "bf16", "fp16"]], NoDecode, BeforeValidator(dtypes_by_part)] = Field(
        default_factory=dict
    )  # of a checkpoint's parts, "lm=bf16,flow=fp32" or a table; fp32 where none is said
    torchscript: bool = False  # may a checkpoint's program be run, as the release's 32 kHz vocoder is one?
    carry_over: bool = False  # for contexts that do not say: is each sentence spoken on from those before it?
    kept_voices: int = Field(0, ge=0, le=64)  # whose hidden values a checkpoint's flow keeps; 0: it makes them anew
    engine: Literal["process", "inprocess"] = "process"
    idle_unload_s: float | None = Field(None, gt=0)  # nobody has spoken for so long: the model is let go of
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    # Who may come in.
    keys: tuple[str, ...] = ()  # any of them opens the server; none: no key is asked for
    origins: tuple[str, ...] = ()  # web pages that may speak to it beside its own and this machine's; "*" is all
    insecure: bool = False  # an address beyond this machine without keys
    tls_cert: Path | None = None  # PEM; with tls_key the server speaks https and wss
    tls_key: Path | None = None
    # Voices by other names.
    voices: dict[str, str] = Field(default_factory=dict)  # a client's name → the model's
    unknown_voice: Literal["error", "default"] = "error"
    pronunciations: Path | None = None  # a table of what is written and how it is said: .json, .toml or .jsonl
    limits: CheckedLimits = Field(default_factory=CheckedLimits)


def load_config(path: Path | None = None, **flags: Any) -> ServerConfig:
    """Flags that are None were not given.  Raises `ConfigError` naming the key that is wrong."""
    if path is not None and not path.is_file():
        raise ConfigError(f"no such file: {path}", field="config")
    given = {name: value for name, value in flags.items() if value is not None}

    class Sourced(ServerConfig):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path or DEFAULT_FILE)

    found = checked_config(Sourced, given)
    fields = {name: getattr(found, name) for name in ServerConfig.model_fields}
    config = ServerConfig.model_construct(**fields)  # a plain one, which a new process can be given
    check_doors(config)
    return config


def local_config(**flags: Any) -> ServerConfig:
    """For a command that serves nobody: flags over the environment, no file.  Otherwise as `load_config`."""
    return checked_config(ServerConfig, {name: value for name, value in flags.items() if value is not None})


def checked_config(kind: type[ServerConfig], given: dict[str, Any]) -> ServerConfig:
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{key}: {first['msg']}", field=key) from None


def check_doors(config: ServerConfig) -> None:
    """Raises `ConfigError` where anybody could come in without having been meant to, or nobody could."""
    if config.host not in LOOPBACK and not config.keys and not config.insecure:
        raise ConfigError(
            f"{config.host} is open to other machines: set keys, or insecure to serve whoever comes", field="host"
        )
    if any(not key for key in config.keys):
        raise ConfigError("keys: an empty key opens to everybody", field="keys")
    for name in ("tls_cert", "tls_key"):
        path = getattr(config, name)
        if (config.tls_cert is None) != (config.tls_key is None):
            raise ConfigError("tls_cert and tls_key belong together", field=name)
        if path is not None and not path.is_file():
            raise ConfigError(f"no such file: {path}", field=name)
