"""How a server is set up: a file, over it the environment, over it the flags.  An unknown key is an error.

The file is TOML (`stream-server.toml` in the working directory, or `--config`); the environment's names begin with
STREAM_SERVER_, a nested one's parts are joined by two underscores: STREAM_SERVER_LIMITS__QUEUE=16.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass as checked
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from stream_server.errors import ConfigError
from stream_server.limits import Limits

DEFAULT_FILE = Path("stream-server.toml")


@checked(frozen=True, config=ConfigDict(extra="forbid"))
class CheckedLimits(Limits):
    """`Limits` as an operator may write them: types checked, unknown names refused."""


OptionalPort = Annotated[int, Field(ge=1, le=65535)] | None


def none_where_off(value: Any) -> Any:
    return None if value == "off" else value


class ServerConfig(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="STREAM_SERVER_", env_nested_delimiter="__", extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(8765, ge=0, le=65535)
    wyoming_port: Annotated[OptionalPort, BeforeValidator(none_where_off)] = 10_200  # "off": no Wyoming
    model: str = "lark"
    voice: str | None = None  # for contexts that name none; the model's first by default
    slots: int = Field(128, ge=1, le=1024)  # rows of the caches: sequences that can be held at once
    threads: int = Field(1, ge=1, le=256)  # of the engine's arithmetic
    engine: Literal["process", "inprocess"] = "process"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
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

    try:
        found = Sourced(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{key}: {first['msg']}", field=key) from None
    return ServerConfig.model_construct(**dict(found))  # a plain one, which a new process can be given
