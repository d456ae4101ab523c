"""speak(), its figures, their picture, and the command line."""

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import threading
import wave
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
import pytest
from stream_client import ServerError, SpeakReport, speak, timeline
from stream_client.__main__ import lines, main

from tests.client.fake_server import WORD_SAMPLES, FakeServer, fake_server, speech

ROOT = Path(__file__).parents[2]
REPORT = SpeakReport(
    voice="slt", format="opus", sample_rate=24000, seed=7, reason="done", words=3, audio_s=2.0,
    first_audio_s=0.2, last_text_s=0.5, generation_end_s=1.0, playback_begin_s=0.26, playback_end_s=2.5,
    underruns=0, stall_s=0.0, largest_gap_s=0.0, marks=(), timing={},
)  # fmt: skip


def samples_of(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@pytest.mark.asyncio
async def test_a_whole_text_into_a_file(tmp_path: Path) -> None:
    async with fake_server() as server:
        report = await speak(
            "one two three", url=server.url, output=tmp_path / "a.wav", format="pcm_s16le", voice="slt", seed=5
        )
    assert np.array_equal(samples_of(tmp_path / "a.wav"), speech(3, 24000))
    assert (report.words, report.seed, report.reason, len(report.marks)) == (3, 5, "done", 3)
    assert report.audio_s == 3 * WORD_SAMPLES / 24000
    assert report.ttfa_s is not None
    assert report.rtf is not None
    assert report.generation_end_s is not None
    assert 0 < report.ttfa_s <= report.generation_end_s
    assert report.rtf == report.generation_end_s / report.audio_s
    assert report.timing == {"queue": 0.001, "ttfa": 0.01}
    assert server.said("start") == [
        {"type": "start", "context": "c1", "format": "pcm_s16le", "voice": "slt", "seed": 5, "paced": False}
    ]


@pytest.mark.asyncio
async def test_a_file_of_another_kind_is_written_as_it_comes(tmp_path: Path) -> None:
    """The fake server's mp3 is plain samples: what matters is that not a byte is touched."""
    async with fake_server() as server:
        report = await speak("one two", url=server.url, output=tmp_path / "a.MP3")
        with pytest.raises(ValueError, match="mp3 is not decoded"):
            await speak("one", url=server.url, output=tmp_path / "b.mp3", play=True)
    assert (tmp_path / "a.MP3").read_bytes() == speech(2, 24000).astype("<i2").tobytes()
    assert (report.format, report.audio_s) == ("mp3", 2 * WORD_SAMPLES / 24000)
    assert not (tmp_path / "b.mp3").exists()


@pytest.mark.parametrize("other", ["--play", "--format=wav"])
def test_a_file_written_as_it_comes_leaves_nothing_else_to_ask(other: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["one", "-o", "a.ogg", other])
    assert ended.value.code == 2


@pytest.mark.asyncio
async def test_words_at_a_pace_are_heard_while_they_are_written() -> None:
    async with fake_server() as server:
        report = await speak("one two three four five", url=server.url, interval_s=0.03)
    assert [message["text"] for message in server.said("text")] == ["one ", "two ", "three ", "four ", "five"]
    assert report.last_text_s >= 4 * 0.03
    assert report.first_audio_s is not None
    assert report.first_audio_s < report.last_text_s


@pytest.mark.asyncio
async def test_a_late_packet_is_a_gap() -> None:
    async def text() -> AsyncIterator[str]:
        yield "one "
        await asyncio.sleep(0.3)
        yield "two "

    async with fake_server() as server:
        report = await speak(text(), url=server.url)
    assert report.underruns >= 1
    assert 0.1 < report.largest_gap_s < 0.35
    assert len(server.said("text")) == 2


@pytest.mark.asyncio
async def test_pieces_may_be_any_iterable_and_no_text_is_no_audio() -> None:
    async with fake_server() as server:
        assert (await speak((piece for piece in ["on", "e t", "wo"]), url=server.url)).words == 2
        report = await speak([], url=server.url)
    assert (report.ttfa_s, report.rtf, report.audio_s) == (None, None, 0)
    assert "no audio" in timeline(report)


@pytest.mark.asyncio
async def test_errors_come_out_as_they_are() -> None:
    async def broken() -> AsyncIterator[str]:
        yield "one "
        raise ZeroDivisionError("the text's own")

    async with fake_server(refuse={"code": "overloaded", "message": "full", "retryable": True}) as server:
        with pytest.raises(ServerError, match="full"):
            await speak("one", url=server.url)
    async with fake_server() as server:
        with pytest.raises(ZeroDivisionError):
            await speak(broken(), url=server.url)


@pytest.mark.asyncio
async def test_a_server_that_is_done_first_is_not_kept_waiting_for_text() -> None:
    async def endless() -> AsyncIterator[str]:
        while True:
            yield "word "
            await asyncio.sleep(0.01)

    async with fake_server(truncate_after_words=3) as server, asyncio.timeout(2):
        assert (await speak(endless(), url=server.url)).words == 3


def test_the_timeline_keeps_its_width_and_order() -> None:
    for width in (40, 80, 133):
        rows = timeline(REPORT, width).splitlines()
        assert [row[:12].strip() for row in rows[:5]] == [
            "text in",
            "first audio",
            "last text",
            "generation",
            "playback",
        ]
        assert {len(row) for row in rows[:5]} == {width}
        assert rows[0].index("█") == 12 < rows[3].index("█") <= rows[4].index("█")
        assert rows[4].rindex("█") == width - 11  # the last thing that happens fills the axis
    assert rows[-1] == "TTFA 200 ms, RTF 0.50, 2.00 s of speech, 0 gaps"
    gappy = dataclasses.replace(REPORT, underruns=2, stall_s=0.25, largest_gap_s=0.2)
    assert timeline(gappy).endswith("2 gaps of 250 ms in all, the largest 200 ms")


@pytest.mark.asyncio
async def test_lines_come_as_they_are_written() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as file:
        taken = lines(file)
        os.write(writing, b"first\n")
        assert await asyncio.wait_for(anext(taken), 1) == "first\n"
        os.write(writing, b"second\nthird")
        os.close(writing)
        assert [line async for line in taken] == ["second\n", "third"]


class Background:
    """A fake server for programs that bring their own event loop."""

    def __enter__(self) -> FakeServer:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result(5)

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._server.__aexit__(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _begin(self) -> FakeServer:
        self._server = await FakeServer().__aenter__()
        return self._server


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with Background() as running:
        yield running


def run(*arguments: str, stdin: TextIO | int = subprocess.DEVNULL) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "stream_client", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "client")},
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_command_writes_a_file(server: FakeServer, tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    program = run("one two", "-o", str(path), "--url", server.url, "--seed", "9", "--format", "wav", "--json")
    out, err = program.communicate(timeout=10)
    assert (program.returncode, err) == (0, "")
    report = json.loads(out)
    assert (report["seed"], report["words"], report["output"]) == (9, 2, str(path))
    assert report["ttfa_s"] > 0
    assert np.array_equal(samples_of(path), speech(2, 24000))


def test_the_command_speaks_lines_as_they_come(server: FakeServer, tmp_path: Path) -> None:
    program = run("-", "-o", str(tmp_path / "out.wav"), "--url", server.url, stdin=subprocess.PIPE)
    assert program.stdin is not None
    program.stdin.write("one two\n")
    program.stdin.flush()
    wait_for(lambda: bool(server.said("flush")))
    assert [message["text"] for message in server.said("text")] == ["one two\n"]
    assert not server.said("end")
    out, _ = program.communicate("three\n", timeout=10)
    assert program.returncode == 0
    assert "TTFA" in out
    assert [message["type"] for message in server.received if message["type"] != "played"] == [
        "start", "text", "flush", "text", "flush", "end",
    ]  # fmt: skip
    assert len(samples_of(tmp_path / "out.wav")) == 3 * WORD_SAMPLES


def wait_for(condition) -> None:  # type: ignore[no-untyped-def]
    for _ in range(500):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen in 5 s")


def test_the_command_without_a_device_says_where_it_wrote(
    server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stream_client.__main__.device_available", lambda: False)
    assert main(["one", "--url", server.url, "--timeline"]) == 0
    out = capsys.readouterr().out
    assert "playback" in out
    assert out.endswith("written to speech.wav\n")
    assert len(samples_of(tmp_path / "speech.wav")) == WORD_SAMPLES


def test_the_command_explains_what_went_wrong(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = str(tmp_path / "out.wav")
    assert main(["one", "-o", out, "--url", "ws://127.0.0.1:9/v1/stream"]) == 3
    assert "stream-server serve" in capsys.readouterr().err
    assert not Path(out).exists()
    server.behaviour.refuse = {"code": "unknown_voice", "message": "no voice 'x'; there are slt, kathleen"}
    assert main(["one", "-o", out, "--url", server.url, "--voice", "x"]) == 1
    assert "slt, kathleen" in capsys.readouterr().err
    server.behaviour.refuse = None
    assert main(["one", "-o", str(tmp_path / "no" / "where.wav"), "--url", server.url]) == 1
    assert "where.wav" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["one", "--play", "--url", server.url]) == 1
    assert "pip install sounddevice" in capsys.readouterr().err


def test_a_long_speaking_shows_that_it_lives(
    server: FakeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream_client.__main__.QUIET_S", 0.05)
    server.behaviour.word_delay_s = 0.1
    assert main(["one two three", "-o", str(tmp_path / "a.wav"), "--url", server.url]) == 0
    assert capsys.readouterr().err.endswith(" s of speech so far\n")


def test_standard_input_with_bad_bytes_does_not_stop_it(tmp_path: Path, server: FakeServer) -> None:
    said = tmp_path / "text"
    said.write_bytes(b"on\xffe\n")
    with said.open() as file:
        program = run("-", "-o", str(tmp_path / "a.wav"), "--url", server.url, stdin=file)
        program.communicate(timeout=10)
    assert program.returncode == 0
    assert server.said("text")[0]["text"] == "on\ufffde\n"


def test_the_package_stands_alone() -> None:
    program = "import sys, stream_client; print({'torch', 'stream_server'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT / "client")},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == "set()"
