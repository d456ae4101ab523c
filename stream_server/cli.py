"""`stream-server serve | say | voices`: the composition root, the one place where front and core are put together."""

import asyncio
import gc
import json
import sys
import wave
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Optional, TypeVar

import typer
from rich.console import Console

from stream_server import logs
from stream_server.config import ServerConfig, load_config
from stream_server.engine.messages import ModelSpec
from stream_server.errors import ConfigError, StreamServerError

if TYPE_CHECKING:  # torch loads where it is used: `voices` and `--help` answer at once
    from stream_server.engine.core import EngineCore

T = TypeVar("T")
app = typer.Typer(
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    help="Real-time speech synthesis, streamed.",
)
console = Console(stderr=True)
CALIBRATION_TEXT = "The old lighthouse keeper climbed the stairs slowly and lit the lamp."

Voice = Annotated[Optional[str], typer.Option(help="Voice; the model's first by default.")]


def make_core(settings: ServerConfig) -> "EngineCore":
    """Load the model and put an engine around it; runs wherever the engine is placed."""
    import torch

    from stream_server.engine.core import EngineCore
    from stream_server.models import registry

    logs.setup(settings.log_level)
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)
    core = EngineCore(registry.load(settings.model), settings.slots, settings.limits.queue)
    core.spec = with_default_voice(core.spec, settings.voice)
    warm_up(core)
    return core


def make_serving_core(settings: ServerConfig) -> "EngineCore":
    """The same, and it knows how many streams this machine can serve."""
    from stream_server.engine.calibration import calibrate
    from stream_server.offline import read_words

    core = make_core(settings)
    calibrate(core, tuple(read_words(core, CALIBRATION_TEXT)))
    return core


def with_default_voice(spec: ModelSpec, voice: str | None) -> ModelSpec:
    """The spec with `voice` first; raises `ConfigError` where the model has no such voice."""
    if voice is None:
        return spec
    if voice not in spec.voices:
        raise ConfigError(f"voice: {spec.name} has no voice {voice!r}", field="voice", limit=", ".join(spec.voices))
    return replace(spec, voices=(voice, *(other for other in spec.voices if other != voice)))


def warm_up(core: "EngineCore") -> None:
    """One short utterance, so that the first listener does not pay for first calls."""
    from stream_server.engine.messages import Controls
    from stream_server.offline import synthesise

    synthesise(core, "Ready.", Controls(core.spec.voices[0]))


@app.command()
def serve(
    host: Annotated[Optional[str], typer.Option(help="Address to listen on [127.0.0.1].")] = None,
    port: Annotated[Optional[int], typer.Option(help="Port [8765].")] = None,
    model: Annotated[Optional[str], typer.Option(help="Model family or checkpoint [lark].")] = None,
    voice: Annotated[Optional[str], typer.Option(help="Voice for contexts that name none.")] = None,
    slots: Annotated[Optional[int], typer.Option(help="Sequences spoken at once [128].")] = None,
    threads: Annotated[Optional[int], typer.Option(help="Threads of the engine [1].")] = None,
    engine: Annotated[Optional[str], typer.Option(help="process or inprocess [process].")] = None,
    key: Annotated[Optional[list[str]], typer.Option(help="A key that opens the server; repeatable.")] = None,
    origin: Annotated[Optional[list[str]], typer.Option(help="A web page's origin that may speak to it.")] = None,
    insecure: Annotated[Optional[bool], typer.Option("--insecure", help="Serve other machines without keys.")] = None,
    tls_cert: Annotated[Optional[Path], typer.Option(help="PEM certificate: https and wss.")] = None,
    tls_key: Annotated[Optional[Path], typer.Option(help="PEM key.")] = None,
    config: Annotated[Optional[Path], typer.Option(help="TOML file [stream-server.toml].")] = None,
    log_level: Annotated[Optional[str], typer.Option(help="debug, info, warning or error [info].")] = None,
) -> None:
    """Serve speech over websockets until interrupted."""
    settings = or_exit(
        partial(
            load_config,
            config,
            host=host,
            port=port,
            model=model,
            voice=voice,
            slots=slots,
            threads=threads,
            engine=engine,
            keys=tuple(key) if key else None,
            origins=tuple(origin) if origin else None,
            insecure=insecure,
            tls_cert=tls_cert,
            tls_key=tls_key,
            log_level=log_level,
        )
    )
    logs.setup(settings.log_level)
    try:
        asyncio.run(serve_until_stopped(settings))
    except StreamServerError as error:
        complain(error)
    except KeyboardInterrupt:
        pass


async def serve_until_stopped(settings: ServerConfig) -> None:
    from stream_server.audio.opus import OpusEncoder
    from stream_server.engine.client import Engine, EngineClient
    from stream_server.engine.inprocess import InProcessEngine
    from stream_server.engine.process import ProcessEngine
    from stream_server.protocols.voices import VoiceBook
    from stream_server.transports.guard import Guard
    from stream_server.transports.house import House
    from stream_server.transports.server import make_server

    OpusEncoder(24_000)  # a missing libopus should be known now, not at the first listener
    core = partial(make_serving_core, settings)
    client: EngineClient = ProcessEngine(core) if settings.engine == "process" else InProcessEngine(core)
    engine = Engine(client, settings.limits.streams, settings.limits.stall_s)
    with console.status("loading the voice …"):
        await engine.start()
    scheme = "wss" if settings.tls_cert else "ws"
    console.print(
        f"speaking at {scheme}://{settings.host}:{settings.port}/v1/stream, voices: {', '.join(engine.spec.voices)}; "
        f"room for {engine.room} streams",
        soft_wrap=True,
    )
    gc.collect()
    gc.freeze()  # as in the engine: what is there now is there to stay
    try:
        house = House(
            engine,
            settings.limits,
            voices=VoiceBook(settings.voices, settings.unknown_voice == "default"),
            guard=Guard(settings.keys, settings.origins),
        )
        await make_server(house, settings.host, settings.port, settings.tls_cert, settings.tls_key).serve()
    finally:
        await engine.stop()


@app.command()
def say(
    text: Annotated[str, typer.Argument(help="What to say; - reads standard input.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="WAV file to write.")] = Path("speech.wav"),
    voice: Voice = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same build: same samples.")] = 0,
    speed: Annotated[float, typer.Option(min=0.5, max=2.0)] = 1.0,
    sample_rate: Annotated[Optional[int], typer.Option(help="24000 or 32000.")] = None,
    temperature: Annotated[Optional[float], typer.Option(min=0.0, max=2.0)] = None,
    top_k: Annotated[Optional[int], typer.Option(min=1, max=500)] = None,
    cache: Annotated[bool, typer.Option(help="Decode with the KV cache, or without it for comparison.")] = True,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures as one JSON line.")] = False,
) -> None:
    """Speak a text into a WAV file, in this process."""
    from stream_server.audio.pcm import to_int16
    from stream_server.events import Settings
    from stream_server.offline import synthesise
    from stream_server.protocols.schema import check_settings
    from stream_server.session import controls_of

    with console.status("loading the voice …"):
        core = make_core(ServerConfig(slots=1, threads=threads, log_level="warning"))
    settings = Settings(
        voice=voice,
        sample_rate=sample_rate,
        speed=speed,
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        use_cache=cache,
    )
    or_exit(partial(check_settings, settings, core.spec))
    typed = sys.stdin.read() if text == "-" else text
    with console.status("speaking …"):
        speech = or_exit(partial(synthesise, core, typed, controls_of(settings, core.spec)))
    with wave.open(str(output), "wb") as file:
        file.setparams((1, 2, speech.sample_rate, 0, "NONE", ""))
        file.writeframes(to_int16(speech.pcm).tobytes())
    figures = {
        "ttfa_s": round(speech.ttfa_s, 4),
        "rtf": round(speech.rtf, 4),
        "audio_s": round(speech.audio_s, 3),
        "tokens": speech.tokens,
        "seed": seed,
    }
    if as_json:
        print(json.dumps(figures | {"output": str(output), "truncated": speech.truncated}))
    else:
        console.print(
            f"{output}: {speech.audio_s:.2f} s, first sound after {speech.ttfa_s * 1000:.0f} ms, RTF {speech.rtf:.3f}"
        )


@app.command()
def voices(as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """List the voices; the first is the default."""
    from stream_server.models.lark.model import describe_voices

    listed = describe_voices()
    if as_json:
        print(json.dumps(listed))
    else:
        for name, description in listed.items():
            print(f"{name:12} {description}")


def or_exit(call: Callable[[], T]) -> T:
    try:
        return call()
    except StreamServerError as error:
        complain(error)


def complain(error: StreamServerError) -> NoReturn:
    limit = f" ({error.limit})" if error.limit is not None else ""
    console.print(f"[red]{error.code}[/red]: {error.message}{limit}", highlight=False)
    raise typer.Exit(2 if isinstance(error, ConfigError) else 1)


def main() -> None:
    app()
