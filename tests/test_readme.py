"""The documentation runs: Python snippets against a real server with the shipped voice, commands by their help."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream_server.cli import app
from stream_server.engine.client import Engine
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.limits import Limits
from stream_server.models.interface import SpeechModel
from stream_server.transports.house import House
from stream_server.transports.server import running

ROOT = Path(__file__).parent.parent
URL = "ws://127.0.0.1:8765/v1/stream"


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / name).read_text(), re.M | re.S)


SNIPPETS = [(name, code) for name in ("README.md", "docs/protocol.md") for code in blocks(name, "python")]


@pytest.mark.parametrize(("name", "code"), SNIPPETS, ids=[name for name, _ in SNIPPETS])
@pytest.mark.asyncio
async def test_snippets_run(name: str, code: str, lark: SpeechModel, tmp_path: Path) -> None:
    assert URL in code
    engine = Engine(InProcessEngine(lambda: EngineCore(lark, 2)))
    await engine.start()
    try:
        async with running(House(engine, Limits())) as url, asyncio.timeout(60):
            script = tmp_path / "snippet.py"
            script.write_text(code.replace(URL, url))
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(script),
                "Hello there.",
                str(tmp_path / "out.wav"),
                env={"PYTHONPATH": str(ROOT / "client"), "PATH": "/usr/bin:/bin"},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            printed = (await process.communicate())[0].decode()
    finally:
        await engine.stop()
    assert process.returncode == 0, printed
    assert "heard:" in printed or (tmp_path / "out.wav").stat().st_size > 20_000, printed


def test_commands_named_in_the_readme_exist() -> None:
    text = "\n".join(blocks("README.md", "sh"))
    for command in set(re.findall(r"^stream-server (\w+)", text, re.M)):
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0, command
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"^make (\w+)", text, re.M)):
        assert f"\n{target}:" in makefile
