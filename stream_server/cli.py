"""`stream-server serve | say | voices`: the composition root, the one place where front and core are put together."""

import asyncio
import contextlib
import gc
import json
import logging
import os
import shutil
import sys
import wave
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional, TypeVar

import typer
from rich.console import Console

from stream_server import logs
from stream_server.config import ServerConfig, load_config, local_config
from stream_server.engine.messages import ModelSpec
from stream_server.errors import ConfigError, StreamServerError

if TYPE_CHECKING:  # torch loads where it is used: `voices` and `--help` answer at once
    from stream_server.batch import Cloning
    from stream_server.engine.client import Engine
    from stream_server.engine.core import EngineCore
    from stream_server.offline import Speech
    from stream_server.voices.add import Make
    from stream_server.voices.store import VoiceStore

log = logging.getLogger(__name__)
T = TypeVar("T")
app = typer.Typer(
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    help="Real-time speech synthesis, streamed.",
)
console = Console(stderr=True)
CALIBRATION_TEXT = "The old lighthouse keeper climbed the stairs slowly and lit the lamp."

DTYPE_HELP = "Numbers of a checkpoint's parts, fp32, bf16 or fp16: lm=bf16,flow=fp32 [fp32]."
TORCHSCRIPT_HELP = "Run the checkpoint's vocos2d program for 32 kHz."
KEPT_VOICES_HELP = "Keep what the flow computes of so many voices: less CPU, much memory [0]."
CARRY_OVER_HELP = "Speak each sentence on from those before, where the model can."

Voice = Annotated[Optional[str], typer.Option(help="Voice; the model's first by default.")]


def make_core(settings: ServerConfig) -> "EngineCore":
    """Load the model and put an engine around it; runs wherever the engine is placed."""
    import torch

    logs.setup(settings.log_level)
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: this torch finds no GPU", field="device", limit="auto, cpu")
    if settings.device == "auto" and torch.cuda.is_available():
        try:
            return make_core_on("cuda", settings)
        except RuntimeError as error:
            log.warning("the GPU cannot be used, the CPU will do", extra={"error": type(error).__name__})
    return make_core_on("cuda" if settings.device == "cuda" else "cpu", settings)


def make_core_on(device: str, settings: ServerConfig) -> "EngineCore":
    """Raises `RuntimeError` where the device cannot be used."""
    from stream_server.engine.core import EngineCore
    from stream_server.models import registry

    core = EngineCore(
        registry.load(settings.model, device, settings.dtype, settings.torchscript, settings.kept_voices),
        settings.slots,
        settings.limits.queue,
    )
    core.spec = with_default_voice(core.spec, settings.voice)
    warm_up(core)
    return core


def make_quiet_core(model: str, **settings: Any) -> "EngineCore":
    """For one who is waiting at the terminal."""
    return make_core(local_config(model=model, log_level="warning", **settings))


def make_serving_core(settings: ServerConfig) -> "EngineCore":
    """The same, and it knows how many streams this machine can serve."""
    from stream_server.engine.calibration import calibrate
    from stream_server.offline import read_words

    core = make_core(settings)
    calibrate(core, tuple(read_words(core, CALIBRATION_TEXT)))
    return core


def make_voices(settings: ServerConfig) -> "Make":
    """Load what makes voices of recordings; runs in a process of its own, beside the engine's threads."""
    import torch

    from stream_server.models.glm_tts.cloning import load_maker

    logs.setup(settings.log_level)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - settings.threads))
    return load_maker(Path(settings.model))


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
    wyoming_host: Annotated[Optional[str], typer.Option(help="Its address: Wyoming knows no keys [127.0.0.1].")] = None,
    wyoming_port: Annotated[Optional[str], typer.Option(help="Port for Home Assistant, or off [10200].")] = None,
    model: Annotated[Optional[str], typer.Option(help="Model family or checkpoint [lark].")] = None,
    voice: Annotated[Optional[str], typer.Option(help="Voice for contexts that name none.")] = None,
    slots: Annotated[Optional[int], typer.Option(help="Sequences spoken at once [128].")] = None,
    threads: Annotated[Optional[int], typer.Option(help="Threads of the engine [1].")] = None,
    device: Annotated[Optional[str], typer.Option(help="auto, cpu or cuda [auto].")] = None,
    dtype: Annotated[Optional[str], typer.Option(help=DTYPE_HELP)] = None,
    torchscript: Annotated[Optional[bool], typer.Option("--torchscript", help=TORCHSCRIPT_HELP)] = None,
    kept_voices: Annotated[Optional[int], typer.Option(help=KEPT_VOICES_HELP)] = None,
    engine: Annotated[Optional[str], typer.Option(help="process or inprocess [process].")] = None,
    idle_unload_s: Annotated[Optional[float], typer.Option(help="Unload the model when idle so long [never].")] = None,
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
            wyoming_host=wyoming_host,
            wyoming_port=wyoming_port,
            model=model,
            voice=voice,
            slots=slots,
            threads=threads,
            device=device,
            dtype=dtype,
            torchscript=torchscript,
            kept_voices=kept_voices,
            engine=engine,
            idle_unload_s=idle_unload_s,
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
    from stream_server.audio.encoders import load_codecs
    from stream_server.audio.opus import OpusEncoder
    from stream_server.engine.client import Engine, EngineClient
    from stream_server.engine.inprocess import InProcessEngine
    from stream_server.engine.process import ProcessEngine
    from stream_server.protocols.voices import VoiceBook
    from stream_server.studio.opened import opened
    from stream_server.text.dictionary import server_dictionary
    from stream_server.transports.guard import Guard
    from stream_server.transports.house import House
    from stream_server.transports.server import make_server
    from stream_server.transports.wyoming import listening
    from stream_server.voices.store import FOLDER, VoiceStore

    OpusEncoder(24_000)  # a missing libopus should be known now, not at the first listener
    core = partial(make_serving_core, settings)
    client: EngineClient = ProcessEngine(core) if settings.engine == "process" else InProcessEngine(core)
    limits = settings.limits
    engine = Engine(client, limits.streams, limits.stall_s, settings.idle_unload_s, limits.load_s, limits.load_queue)
    with console.status("loading the voice …"):
        await asyncio.gather(engine.start(), asyncio.to_thread(load_codecs))
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(engine.stop)
        maker, guests = None, None
        if engine.spec.cloning:
            store = VoiceStore(Path(settings.model) / FOLDER, settings.limits.stored_voices)
            load = partial(make_voices, settings)
            maker, guests = await stack.enter_async_context(opened(engine, store, load, settings.limits))
        house = House(
            engine,
            settings.limits,
            voices=VoiceBook(settings.voices, settings.unknown_voice == "default"),
            guard=Guard(settings.keys, settings.origins, settings.insecure),
            maker=maker,
            guests=guests,
            pronunciations=server_dictionary(settings.pronunciations, engine.spec.reader, engine.spec.phones),
        )
        if settings.wyoming_port:
            await stack.enter_async_context(listening(house, settings.wyoming_host, settings.wyoming_port))
        announce(engine, settings)
        gc.collect()
        gc.freeze()  # as in the engine: what is there now is there to stay
        await make_server(house, settings.host, settings.port, settings.tls_cert, settings.tls_key).serve()


def announce(engine: "Engine", settings: ServerConfig) -> None:
    scheme = "wss" if settings.tls_cert else "ws"
    also = f" and tcp://{settings.wyoming_host}:{settings.wyoming_port} (Wyoming)" if settings.wyoming_port else ""
    console.print(
        f"speaking at {scheme}://{settings.host}:{settings.port}/v1/stream{also}, "
        f"voices: {', '.join(engine.spec.voices)}; room for {engine.room} streams",
        soft_wrap=True,
    )


@app.command()
def say(
    text: Annotated[str, typer.Argument(help="What to say; - reads standard input.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="File to write: .wav, .mp3, .flac, .aac, .ogg, .opus or .webm.")
    ] = Path("speech.wav"),
    model: Annotated[str, typer.Option(help="lark, or a GLM-TTS checkpoint's directory.")] = "lark",
    voice: Voice = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same build: same samples.")] = 0,
    speed: Annotated[float, typer.Option(min=0.5, max=2.0)] = 1.0,
    sample_rate: Annotated[Optional[int], typer.Option(help="24000 or 32000.")] = None,
    temperature: Annotated[Optional[float], typer.Option(min=0.0, max=2.0)] = None,
    top_k: Annotated[Optional[int], typer.Option(min=1, max=500)] = None,
    cache: Annotated[bool, typer.Option(help="Decode with the KV cache, or without it for comparison.")] = True,
    carry_over: Annotated[bool, typer.Option("--carry-over", help=CARRY_OVER_HELP)] = False,
    dtype: Annotated[Optional[str], typer.Option(help=DTYPE_HELP)] = None,
    torchscript: Annotated[Optional[bool], typer.Option("--torchscript", help=TORCHSCRIPT_HELP)] = None,
    kept_voices: Annotated[Optional[int], typer.Option(help=KEPT_VOICES_HELP)] = None,
    threads: Annotated[int, typer.Option(min=1)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print figures as one JSON line.")] = False,
) -> None:
    """Speak a text into a file, in this process."""
    from stream_server.events import Settings
    from stream_server.offline import synthesise
    from stream_server.protocols.schema import check_settings
    from stream_server.session import controls_of

    with console.status("loading the voice …"):
        asked = {"threads": threads, "dtype": dtype, "torchscript": torchscript, "kept_voices": kept_voices}
        core = or_exit(partial(make_quiet_core, model, slots=1, **asked))
    settings = Settings(
        voice=voice,
        sample_rate=sample_rate,
        speed=speed,
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        use_cache=cache,
        carry_over=carry_over,
    )
    or_exit(partial(check_settings, settings, core.spec))
    typed = sys.stdin.read() if text == "-" else text
    with console.status("speaking …"):
        speech = or_exit(partial(synthesise, core, typed, controls_of(settings, core.spec)))
    write_sound(output, speech)
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


def write_sound(path: Path, speech: "Speech") -> None:
    """What the name's ending says, else a WAV file; one that is whole states its length."""
    from stream_server.audio.encoders import make_encoder
    from stream_server.audio.format import ENDINGS, AudioFormat
    from stream_server.audio.pcm import to_int16

    codec = ENDINGS.get(path.suffix.lower(), "wav")
    if codec == "wav":
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, speech.sample_rate, 0, "NONE", ""))
            file.writeframes(to_int16(speech.pcm).tobytes())
    else:
        encoder = make_encoder(AudioFormat(codec), speech.sample_rate)
        path.write_bytes(b"".join(chunk.data for chunk in encoder.encode(speech.pcm) + encoder.finish()))


@app.command()
def batch(
    tasks: Annotated[
        Path, typer.Argument(help="JSONL: uttid, syn_text, prompt_speech, prompt_text; or id, text, voice.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for sound, manifest and summary.")] = Path(
        "outputs"
    ),
    model: Annotated[str, typer.Option(help="lark, or a GLM-TTS checkpoint's directory.")] = "lark",
    seed: Annotated[int, typer.Option(min=0, help="Of items that name none.")] = 0,
    carry_over: Annotated[bool, typer.Option("--carry-over", help=CARRY_OVER_HELP)] = False,
    dtype: Annotated[Optional[str], typer.Option(help=DTYPE_HELP)] = None,
    torchscript: Annotated[Optional[bool], typer.Option("--torchscript", help=TORCHSCRIPT_HELP)] = None,
    kept_voices: Annotated[Optional[int], typer.Option(help=KEPT_VOICES_HELP)] = None,
    slots: Annotated[int, typer.Option(min=1, max=128, help="Items spoken at once.")] = 8,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Speak a file of texts into a folder; started again, it goes on where it was."""
    from rich.progress import Progress

    from stream_server.batch import Batch, lines

    def speak() -> None:
        total = sum(1 for _ in lines(tasks))
        with console.status("loading the voice …"):
            asked = {"threads": threads, "dtype": dtype, "torchscript": torchscript, "kept_voices": kept_voices}
            core = make_quiet_core(model, slots=slots, **asked)
        with Progress(console=console) as progress:
            bar = progress.add_task("items", total=total)
            work = Batch(core, output, cloning(core, model), told=lambda id: progress.advance(bar))
            summary = work.run(tasks, seed, carry_over)
            progress.update(bar, completed=total)
        for name, why in summary.broken.items():
            console.print(f"[red]{name}[/red]: {why}", highlight=False)
        console.print(
            f"{summary.done} spoken, {summary.skipped} there already, {len(summary.broken)} broken; "
            f"{summary.audio_s:.1f} s of speech in {summary.wall_s:.1f} s: {output}"
        )

    or_exit(speak)


def cloning(core: "EngineCore", model: str) -> "Cloning | None":
    """Where the model is a checkpoint that can be given voices."""
    if not Path(model).is_dir():
        return None
    from stream_server.audio.reference import read_reference
    from stream_server.batch import clone_once
    from stream_server.engine.messages import AddVoice
    from stream_server.limits import Limits
    from stream_server.models.glm_tts.cloning import load_maker
    from stream_server.voices.add import Make

    numbers = count()
    loaded: list[Make] = []  # at the first recording: it is large, and many batches have none

    def make(data: bytes, text: str) -> str:
        recording = read_reference(data, Limits())
        if not loaded:
            loaded.append(load_maker(Path(model)))
        made = loaded[0](f"batch-{next(numbers)}", text, recording, "")
        core.put(AddVoice(0, made, listed=False))
        return made.name

    return clone_once(make)


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A GLM-TTS checkpoint's directory, as it was downloaded.")],
    target: Annotated[Path, typer.Argument(help="Where to write it; may be the same.")],
    llm: Annotated[Optional[str], typer.Option(help="fp32, bf16 or fp16; as it is stored by default.")] = None,
    flow: Annotated[Optional[str], typer.Option(help="The same for the flow.")] = None,
) -> None:
    """Write a checkpoint's weights as safetensors, once, checked: they load faster and run no code."""

    def write() -> None:
        from stream_server.models.glm_tts.convert import convert as convert_parts
        from stream_server.models.glm_tts.loading import DATA, PARTS
        from stream_server.models.glm_tts.weights import dtype_of

        chosen = {part: dtype_of(name, part) for part, name in (("llm", llm), ("flow", flow)) if name}
        with console.status("converting …"):
            for part in convert_parts(source, target, PARTS, chosen):
                console.print(f"{part.path}: {part.tensors} tensors, {part.bytes / 1e6:.1f} MB")
            for name in DATA:
                if (source / name).is_dir() and source.resolve() != target.resolve():
                    shutil.copytree(source / name, target / name, dirs_exist_ok=True)

    or_exit(write)


voices_app = typer.Typer(invoke_without_command=True, help="List voices; add, rename and delete those of a checkpoint.")
app.add_typer(voices_app, name="voices")
Checkpoint = Annotated[Path, typer.Option("--model", help="A GLM-TTS checkpoint's directory.")]


@voices_app.callback()
def voices(
    context: typer.Context,
    model: Annotated[
        Optional[Path], typer.Option(help="A GLM-TTS checkpoint's directory [the bundled voices].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json")] = False,
) -> None:
    """List the voices; the first is the default."""
    if context.invoked_subcommand is not None:
        return
    listed = or_exit(partial(list_voices, model))
    if as_json:
        print(json.dumps(listed))
    else:
        for name, description in listed.items():
            print(f"{name:12} {description}")


def list_voices(model: Path | None) -> dict[str, str]:
    if model is None:
        from stream_server.models.lark.model import describe_voices

        return describe_voices()
    return {voice.name: voice.about.transcript if voice.about else "(damaged)" for voice in voices_of(model).list()}


def voices_of(model: Path) -> "VoiceStore":
    from stream_server.models.glm_tts.cloning import store_of

    if not model.is_dir():
        raise ConfigError(f"no such directory: {model}", field="model")
    return store_of(model)


@voices_app.command()
def add(
    name: str,
    recording: Annotated[Path, typer.Argument(help="3 to 30 s of one person speaking, in any common format.")],
    model: Checkpoint,
    text: Annotated[str, typer.Option(help="What is said in it, exactly.")],
    consent: Annotated[str, typer.Option(help="A note of whose voice it is, and of their leave.")] = "",
) -> None:
    """Make a voice of a recording."""

    def make() -> None:
        from stream_server.limits import Limits
        from stream_server.models.glm_tts.cloning import load_maker
        from stream_server.voices.add import add_voice

        with console.status("reading the recording …"):
            made = add_voice(name, recording, text, consent, Limits(), voices_of(model), partial(load_maker, model))
        console.print(f"{made.name}: {made.about.source_s:.1f} s")

    or_exit(make)


@voices_app.command()
def rename(name: str, new: str, model: Checkpoint) -> None:
    """Give a checkpoint's voice another name."""
    or_exit(lambda: voices_of(model).rename(name, new))


@voices_app.command()
def delete(name: str, model: Checkpoint) -> None:
    """Delete a checkpoint's voice for good."""
    or_exit(lambda: voices_of(model).delete(name))


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
