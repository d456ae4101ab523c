"""The whole programs of docs/clients.md, run as they stand there but for the server's address."""

import os
import re
import subprocess
import sys
import wave
from array import array
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.clients
PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
PROGRAMS = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(), re.DOTALL))


@pytest.mark.parametrize("package", ["pipecat", "livekit"])
def test_a_documented_program_leaves_speech(package: str, server: str, tmp_path: Path) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not in this environment")
    program = PROGRAMS[f"{package}_speaks"].replace("127.0.0.1:8765", server)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, timeout=60)
    with wave.open(str(tmp_path / f"{package}.wav")) as file:
        frames = file.readframes(file.getnframes())
    assert 1.5 < len(frames) / 2 / 24_000 < 6
    assert max(map(abs, array("h", frames))) > 3_000, "it is heard"
