"""A checkpoint's texts into files, by its own command, killed in the middle."""

import json
import subprocess
import sys
import time
import wave
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.models.glm_tts.make_checkpoint import TINY, make_checkpoint
from tests.test_batch import ITEMS, seconds, tasks

KILLED_AFTER = 60


def many(path: Path) -> Path:
    """ITEMS good ones by the release's names, three broken ones among them."""
    items: list[dict[str, Any] | str] = [
        {"uttid": f"item-{n}", "syn_text": "So!" if n % 2 else "a.", "seed": n} for n in range(ITEMS)
    ]
    items.insert(10, "{no JSON")
    items.insert(50, {"uttid": "../escape", "syn_text": "One."})
    items.insert(120, {"uttid": "no-voice", "syn_text": "One.", "voice": "nobody"})
    return tasks(path, *items)


@pytest.mark.long
@pytest.mark.skipif(find_spec("tiktoken") is None, reason="needs the extra glm")
def test_a_checkpoint_s_batch_killed_in_the_middle_and_taken_up(tmp_path: Path) -> None:
    """As a user would: the command, kill -9, the command again."""
    make_checkpoint(tmp_path / "ckpt", ("one", "two"), sizes=TINY)
    out, items = tmp_path / "out", many(tmp_path / "tasks.jsonl")
    command = [sys.executable, "-m", "stream_server", "batch", str(items), "-o", str(out)]
    command += ["--model", str(tmp_path / "ckpt"), "--seed", "9"]

    def manifest() -> list[str]:
        path = out / "manifest.jsonl"
        return path.read_text().splitlines() if path.exists() else []

    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as cut:
        while len(manifest()) < KILLED_AFTER:
            assert cut.poll() is None, "it ended too soon"
            time.sleep(0.01)
        cut.kill()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.wav")}
    done = len(manifest())
    assert KILLED_AFTER <= done < ITEMS and not (out / "summary.json").exists()
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0 and "100%" in again.stderr, again.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["done"] + summary["skipped"], summary["skipped"]) == (ITEMS, done)
    assert set(summary["broken"]) == {"line 11", "line 51", "no-voice"}
    told = {line["id"]: line for line in map(json.loads, manifest())}
    assert len(manifest()) == len(told) == ITEMS
    assert seconds(out).keys() == told.keys() == {f"item-{n}" for n in range(ITEMS)}
    assert all((out / name).stat().st_mtime_ns == at for name, at in before.items() if name[:-4] in told)
    assert min(seconds(out).values()) > 0
    line = told["item-5"]
    assert (
        line.items()
        >= {
            "text": "So!",
            "normalised": "so.",
            "seed": 5,
            "voice": "one",
            "reference": None,
            "file": "item-5.wav",
            "model": "glm-tts",
        }.items()
    )
    assert {"speed", "temperature", "top_k", "use_cache"} <= line["parameters"].keys()
    command = [sys.executable, "-m", "stream_server", "say", line["text"], "--model", str(tmp_path / "ckpt")]
    command += ["--seed", "5", "--sample-rate", str(line["sample_rate"]), "-o", str(tmp_path / "alone.wav")]
    alone = subprocess.run(command, capture_output=True)
    assert alone.returncode == 0, alone.stderr
    with wave.open(str(tmp_path / "alone.wav")) as file:
        assert round(file.getnframes() / file.getframerate(), 4) == line["audio_s"] > 0
