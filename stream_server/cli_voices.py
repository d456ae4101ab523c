"""`stream-server voices`: those a model has, and of a checkpoint's own which are added, renamed and deleted."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from stream_server.errors import ConfigError
from stream_server.terminal import console, or_exit

if TYPE_CHECKING:  # torch loads where it is used: a list answers at once
    from stream_server.voices.store import VoiceStore

voices_app = typer.Typer(invoke_without_command=True, help="List voices; add, rename and delete those of a checkpoint.")
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
