"""Where libopus is looked for; each case in a fresh process, for the import happens once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from stream_client.opus import decode_rate

CLIENT = Path(__file__).parents[2] / "client"
WITHOUT_SYSTEM = "import ctypes.util; ctypes.util.find_library = lambda name: None\n"
LOAD = """
from stream_client import opus, OpusMissing
try:
    print(opus.load().api.lib_location)
except OpusMissing as error:
    print("missing:", error)
"""


def run(program: str, *paths: Path, **environment: str) -> str:
    path = os.pathsep.join(map(str, (CLIENT, *paths)))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def system_library() -> str:
    return run("import ctypes.util; print(ctypes.util.find_library('opus'))")


def test_the_systems_own() -> None:
    assert run(LOAD) == system_library()


def test_the_environment_comes_first_and_is_meant() -> None:
    assert run(LOAD, STREAM_SERVER_LIBOPUS="/nowhere/libopus.so").startswith("missing: /nowhere/libopus.so")


def test_pyavs_copy_without_importing_pyav(tmp_path: Path) -> None:
    (tmp_path / "av").mkdir()
    (tmp_path / "av" / "__init__.py").write_text("raise AssertionError('imported')")
    (tmp_path / "av.libs").mkdir()
    copy = tmp_path / "av.libs" / "libopus-1a2b3c.so.0.10.1"
    real = Path(run(LOAD + "print([l.split()[-1] for l in open('/proc/self/maps') if 'libopus' in l][0])").split()[-1])
    copy.symlink_to(real)
    assert run(WITHOUT_SYSTEM + LOAD, tmp_path) == str(copy)


def test_none_at_all_names_both_cures() -> None:
    said = run(WITHOUT_SYSTEM + "import importlib.util; importlib.util.find_spec = lambda name: None\n" + LOAD)
    assert "apt-get install libopus0" in said
    assert "pip install av" in said


@pytest.mark.parametrize(("sample_rate", "rate"), [(24000, 24000), (48000, 48000), (32000, 48000), (44100, 48000)])
def test_rates(sample_rate: int, rate: int) -> None:
    assert decode_rate(sample_rate) == rate
