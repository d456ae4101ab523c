"""`stream-server serve | say | batch | convert`: the composition root, where front and core are put together."""

import asyncio
import contextlib
import gc
import json
import shutil
import sys
import wave
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from stream_server import logs
from stream_server.cli_voices import voices_app
from stream_server.config import ServerConfig, load_config
from stream_server.errors import StreamServerError
from stream_server.loading import cloning, make_quiet_core, make_serving_core, make_voices
from stream_server.terminal import complain, console, or_exit

if TYPE_CHECKING:  # torch loads where it is used: `voices` and `--help` answer at once
    from stream_server.engine.client import Engine
    from stream_server.offline import Speech

app = typer.Typer(
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    help="Real-time speech synthesis, streamed.",
)
app.add_typer(voices_app, name="voices")

DTYPE_HELP = "Numbers of a checkpoint's parts, fp32, bf16 or fp16: lm=bf16,flow=fp32 [fp32]."
TORCHSCRIPT_HELP = "Run the checkpoint's vocos2d program for 32 kHz."
KEPT_VOICES_HELP = "Keep what the flow computes of so many voices: less CPU, much memory [0]."

CarryOver = Annotated[
    Optional[bool], typer.Option(help="Speak each sentence on from those before, where nothing else is asked [no].")
]
Dictionary = Annotated[
    Optional[Path], typer.Option("--dictionary", help="Pronunciations: .json, .toml or .jsonl, as of `serve`.")
]
Voice = Annotated[Optional[str], typer.Option(help="Voice; the model's first by default.")]


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
    carry_over: CarryOver = None,
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
            carry_over=carry_over,
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
    carry_over: CarryOver = None,
    dictionary: Dictionary = None,
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
    from stream_server.text.dictionary import server_dictionary

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
    entries = or_exit(partial(server_dictionary, dictionary, core.spec.reader, core.spec.phones))
    typed = sys.stdin.read() if text == "-" else text
    with console.status("speaking …"):
        speech = or_exit(partial(synthesise, core, typed, controls_of(settings, core.spec), entries))
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
    carry_over: CarryOver = None,
    dictionary: Dictionary = None,
    dtype: Annotated[Optional[str], typer.Option(help=DTYPE_HELP)] = None,
    torchscript: Annotated[Optional[bool], typer.Option("--torchscript", help=TORCHSCRIPT_HELP)] = None,
    kept_voices: Annotated[Optional[int], typer.Option(help=KEPT_VOICES_HELP)] = None,
    slots: Annotated[int, typer.Option(min=1, max=128, help="Items spoken at once.")] = 8,
    threads: Annotated[int, typer.Option(min=1)] = 1,
) -> None:
    """Speak a file of texts into a folder; started again, it goes on where it was."""
    from rich.progress import Progress

    from stream_server.batch import Batch, lines
    from stream_server.events import Settings
    from stream_server.text.dictionary import server_dictionary

    def speak() -> None:
        total = sum(1 for _ in lines(tasks))
        with console.status("loading the voice …"):
            asked = {"threads": threads, "dtype": dtype, "torchscript": torchscript, "kept_voices": kept_voices}
            core = make_quiet_core(model, slots=slots, **asked)
        entries = server_dictionary(dictionary, core.spec.reader, core.spec.phones)
        with Progress(console=console) as progress:
            bar = progress.add_task("items", total=total)
            work = Batch(core, output, cloning(core, model), lambda id: progress.advance(bar), entries)
            summary = work.run(tasks, Settings(seed=seed, carry_over=carry_over))
            progress.update(bar, completed=total)
        for name, why in summary.broken.items():
            console.print(f"[red]{name}[/red]: {why}", highlight=False)
        console.print(
            f"{summary.done} spoken, {summary.skipped} there already, {len(summary.broken)} broken; "
            f"{summary.audio_s:.1f} s of speech in {summary.wall_s:.1f} s: {output}"
        )

    or_exit(speak)


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


def main() -> None:
    app()
