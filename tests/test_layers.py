"""The law of imports, as data: who must not know whom.  No exceptions."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = {
    "stream_server/nn": {"stream_server.models", "stream_server.engine", "asyncio", "socket", "websockets"},
    "stream_server/models": {"stream_server.session", "stream_server.training", "asyncio", "websockets"},
    "stream_server/engine/core.py": {"asyncio", "socket", "websockets", "stream_server.session"},
    "stream_server/engine/runner.py": {"asyncio", "socket", "websockets", "stream_server.session"},
    "stream_server/engine/scheduler.py": {"torch", "asyncio", "stream_server.nn", "stream_server.models.lark"},
    "stream_server/engine/sequence.py": {"torch", "asyncio", "stream_server.models"},
    "stream_server/engine/messages.py": {"torch", "asyncio", "stream_server.models"},
    "stream_server/engine/client.py": {"torch", "stream_server.models", "stream_server.engine.core"},
    "stream_server/protocols": {"asyncio", "websockets", "torch", "starlette", "stream_server.session"},
    "stream_server/transports": {"torch", "stream_server.models", "stream_server.engine.core"},
    "stream_server/session.py": {"torch", "asyncio", "websockets", "starlette", "stream_server.transports"},
    "stream_server/audio": {"torch", "asyncio", "stream_server.models"},
    "stream_server/voices": {"torch", "asyncio", "stream_server.models", "stream_server.protocols"},
    "stream_server/studio": {"torch", "stream_server.models", "stream_server.protocols", "stream_server.transports"},
    "stream_server/text": {"torch", "asyncio", "stream_server.models", "stream_server.engine"},
    "stream_server/loading.py": {"asyncio", "typer", "stream_server.session", "stream_server.transports"},
    "stream_server": {"stream_client"},
    "client/stream_client": {"torch", "stream_server"},
}
ENGINE_ALLOWED_TO_MODELS = {"stream_server.engine.messages"}  # the door's plain data, and nothing behind it


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def sources(place: str) -> list[Path]:
    path = ROOT / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("place", FORBIDDEN)
def test_nobody_imports_what_it_must_not_know(place: str) -> None:
    files = sources(place)
    assert files, "the law names a place that does not exist"
    for path in files:
        broken = {m for m in imported(path) for package in FORBIDDEN[place] if within(m, package)}
        assert not broken, f"{path.relative_to(ROOT)} must not know {broken}"


def test_models_know_of_the_engine_its_messages_alone() -> None:
    for path in sources("stream_server/models"):
        known = {m for m in imported(path) if within(m, "stream_server.engine")}
        assert known <= ENGINE_ALLOWED_TO_MODELS, path


def test_nothing_in_the_server_imports_training() -> None:
    for path in sources("stream_server"):
        if "training" not in path.parts:
            assert not any(within(m, "stream_server.training") for m in imported(path)), path


def test_families_do_not_know_each_other() -> None:
    families = [path.name for path in (ROOT / "stream_server/models").iterdir() if (path / "model.py").exists()]
    for family in families:
        others = [f"stream_server.models.{other}" for other in families if other != family]
        for path in sources(f"stream_server/models/{family}"):
            assert not any(within(m, other) for m in imported(path) for other in others), path


def test_the_front_comes_up_without_torch() -> None:
    """What imports the sockets, the session and the protocols must not load torch on the way."""
    import subprocess
    import sys

    code = "import sys, stream_server.transports.server; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_front_of_a_served_engine_loads_no_torch() -> None:
    front = "stream_server.cli, stream_server.transports.server, stream_server.engine.process"
    loaded = f"import sys, {front}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
