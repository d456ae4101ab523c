"""Headless Firefox, spoken to by WebDriver BiDi: as `chromium.py`, which this builds on, but with a sound card.

Knows browsers; knows nothing of this server's page.
"""

import array
import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import chromium
from websockets.asyncio.client import connect

EXECUTABLE = shutil.which("firefox") or shutil.which("firefox-esr")
SOUND_CARD = shutil.which("pulseaudio") and shutil.which("parec")
PREFERENCES = {
    "network.dns.localDomains": "stream.test",  # a name that is no secure origin
    "media.autoplay.default": 0,
    "app.normandy.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
}
LISTENING = "WebDriver BiDi listening on "
RECORDED_RATE = 44_100
LOUD = 300  # of 32,768: no noise is, all speech is


class Page(chromium.Page):
    """One tab; `_session` is its browsing context."""

    async def go(self, url: str) -> None:
        await self.call("browsingContext.navigate", context=self._session, url=url, wait="complete")

    async def evaluate(self, expression: str) -> Any:
        asked = f"Promise.resolve({expression}).then((value) => JSON.stringify(value ?? null))"
        options = {"target": {"context": self._session}, "awaitPromise": True}
        answer = await self.call("script.evaluate", expression=asked, **options)
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    async def click(self, selector: str) -> None:
        x, y = await self.evaluate(f"({chromium.MIDDLE})({json.dumps(selector)}).map(Math.round)")
        moves = [{"type": "pointerMove", "x": x, "y": y}, {"type": "pointerDown", "button": 0}]
        mouse = {"type": "pointer", "id": "mouse", "actions": [*moves, {"type": "pointerUp", "button": 0}]}
        await self.call("input.performActions", context=self._session, actions=[mouse])


@asynccontextmanager
async def browsing(profile: Path, **environment: str) -> AsyncIterator[Page]:
    """A browser with one empty page, for as long as the block runs; `profile` is a folder that is made."""
    assert EXECUTABLE
    make(profile)
    flags = ("--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port=0")
    environment = {**os.environ, **environment}
    with (profile / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(EXECUTABLE, *flags, stdout=log, stderr=log, env=environment)
    try:
        async with asyncio.timeout(60):
            while LISTENING not in (said := (profile / "log").read_text()):
                await asyncio.sleep(0.05)
        url = said.partition(LISTENING)[2].split()[0]
        async with connect(f"{url}/session", max_size=None, compression=None) as socket:
            page = Page(socket, "")
            listener = asyncio.create_task(page.listen())
            try:
                await page.call("session.new", capabilities={})
                page._session = (await page.call("browsingContext.getTree"))["contexts"][0]["context"]
                yield page
            finally:
                listener.cancel()
    finally:
        process.kill()
        await process.wait()


def make(profile: Path) -> None:
    profile.mkdir()
    lines = (f"user_pref({json.dumps(name)}, {json.dumps(value)});\n" for name, value in PREFERENCES.items())
    (profile / "user.js").write_text("".join(lines))


class SoundCard:
    """What was played on it."""

    def __init__(self, recording: Path, environment: dict[str, str]) -> None:
        self.environment = environment
        self._recording = recording

    def loud_seconds(self) -> float:
        """By tenths of a second whose peak is no silence."""
        samples = array.array("h", self._recording.read_bytes()[: self._recording.stat().st_size // 2 * 2])
        tenths = range(0, len(samples), RECORDED_RATE // 10)
        return sum(max(samples[at : at + RECORDED_RATE // 10]) > LOUD for at in tenths) / 10


@asynccontextmanager
async def sound_card(folder: Path) -> AsyncIterator[SoundCard]:
    """A sound server of its own whose one card is recorded into `folder`."""
    with tempfile.TemporaryDirectory() as runtime:  # a socket's path must be short
        door = Path(runtime, "socket")
        environment = {"XDG_RUNTIME_DIR": runtime, "PULSE_SERVER": f"unix:{door}"}
        modules = ("module-null-sink sink_name=card", f"module-native-protocol-unix socket={door}")
        flags = ("-n", "--daemonize=no", "--exit-idle-time=-1", *(f"--load={module}" for module in modules))
        quiet = {"stderr": asyncio.subprocess.DEVNULL, "env": {**os.environ, **environment}}
        server = await asyncio.create_subprocess_exec("pulseaudio", *flags, **quiet)
        try:
            async with asyncio.timeout(20):
                while not is_there(door):
                    await asyncio.sleep(0.05)
            what = ("-d", "card.monitor", "--format=s16le", f"--rate={RECORDED_RATE}", "--channels=1")
            with (folder / "recording").open("wb") as recording:
                recorder = await asyncio.create_subprocess_exec("parec", *what, stdout=recording, **quiet)
            try:
                yield SoundCard(folder / "recording", environment)
            finally:
                recorder.kill()
                await recorder.wait()
        finally:
            server.kill()
            await server.wait()


def is_there(path: Path) -> bool:
    return path.exists()
