"""What every command does at the terminal: complaints in one form, and the status they end with."""

from collections.abc import Callable
from typing import NoReturn, TypeVar

import typer
from rich.console import Console

from stream_server.errors import ConfigError, StreamServerError

T = TypeVar("T")
console = Console(stderr=True)


def or_exit(call: Callable[[], T]) -> T:
    try:
        return call()
    except StreamServerError as error:
        complain(error)


def complain(error: StreamServerError) -> NoReturn:
    limit = f" ({error.limit})" if error.limit is not None else ""
    console.print(f"[red]{error.code}[/red]: {error.message}{limit}", highlight=False)
    raise typer.Exit(2 if isinstance(error, ConfigError) else 1)
