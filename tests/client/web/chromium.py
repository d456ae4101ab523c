"""Headless Chromium, spoken to over its own debugging socket: pages that tests open, type into and look at.

Knows browsers; knows nothing of this server's page.
"""

import asyncio
import base64
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

EXECUTABLE = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
    "--remote-debugging-port=0",
    "--host-resolver-rules=MAP stream.test 127.0.0.1",  # a name that is no secure origin
)
MIDDLE = """(selector) => {
    const found = document.querySelector(selector);
    found.scrollIntoView({ block: "nearest", behavior: "instant" });
    const { x, y, width, height } = found.getBoundingClientRect();
    return [x + width / 2, y + height / 2];
}"""
ANSWER_S = 20
KEYS = {
    "Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "Escape": {"key": "Escape", "code": "Escape", "windowsVirtualKeyCode": 27},
    "Backspace": {"key": "Backspace", "code": "Backspace", "windowsVirtualKeyCode": 8},
}


class Page:
    """One tab.  `evaluate` runs an expression, awaits it where it is a promise, and returns its JSON value."""

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self._socket = socket
        self._session = session
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ids = itertools.count(100)
        self.complaints: list[str] = []  # uncaught errors, broken policies, failed loads
        self.requests: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        waiting = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "sessionId": self._session, "method": method, "params": params}
        await self._socket.send(json.dumps(message))
        async with asyncio.timeout(ANSWER_S):
            answer = await waiting
        assert "error" not in answer, (method, answer)
        return answer["result"]

    async def listen(self) -> None:
        async for raw in self._socket:
            message = json.loads(raw)
            if (waiting := self._answers.pop(message.get("id", -1), None)) is not None:
                waiting.set_result(message)
            else:
                self._note(message.get("method"), message.get("params", {}))

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    async def go(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def evaluate(self, expression: str) -> Any:
        options = {"awaitPromise": True, "returnByValue": True, "userGesture": False}
        result = await self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    async def until(self, condition: str, within: float = 20.0) -> Any:
        """The condition's first true value."""
        async with asyncio.timeout(within):
            while not (value := await self.evaluate(condition)):
                await asyncio.sleep(0.03)
            return value

    async def write(self, text: str, seconds_between: float = 0.0) -> None:
        """Into what has the focus, character by character."""
        for character in text:
            await self.call("Input.dispatchKeyEvent", type="keyDown", text=character, key=character)
            await self.call("Input.dispatchKeyEvent", type="keyUp", key=character)
            await asyncio.sleep(seconds_between)

    async def press(self, key: str) -> None:
        await self.call("Input.dispatchKeyEvent", type="keyDown", **KEYS[key])
        await self.call("Input.dispatchKeyEvent", type="keyUp", **{**KEYS[key], "text": ""})

    async def click(self, selector: str) -> None:
        """As a finger does, in the middle of it: a gesture, which sound needs."""
        x, y = await self.evaluate(f"({MIDDLE})({json.dumps(selector)})")
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def dress(self, width: int, height: int, scheme: str, scale: float = 1) -> None:
        """The screen's size in CSS pixels, and `light` or `dark`."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    async def picture(self) -> bytes:
        """What is seen, as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


@asynccontextmanager
async def browsing(profile: Path) -> AsyncIterator[Page]:
    """A browser with one empty page, for as long as the block runs; `profile` is an empty folder."""
    assert EXECUTABLE, "no chromium on this machine: apt-get install chromium"
    process = await asyncio.create_subprocess_exec(
        EXECUTABLE,
        *FLAGS,
        f"--user-data-dir={profile}",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with connect(await debugging_url(profile), max_size=None, compression=None) as socket:
            page = Page(socket, await attach(socket))
            listener = asyncio.create_task(page.listen())
            try:
                yield page
            finally:
                listener.cancel()
    finally:
        process.terminate()
        await process.wait()


async def debugging_url(profile: Path) -> str:
    """Where the browser listens, as it writes into its profile."""
    async with asyncio.timeout(30):
        while True:
            lines = (
                (profile / "DevToolsActivePort").read_text().split()
                if (profile / "DevToolsActivePort").exists()
                else []
            )
            if len(lines) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            await asyncio.sleep(0.05)


async def attach(socket: ClientConnection) -> str:
    """A new tab's session."""
    target = await ask(socket, 1, "Target.createTarget", url="about:blank")
    attached = await ask(socket, 2, "Target.attachToTarget", targetId=target["targetId"], flatten=True)
    return attached["sessionId"]


async def ask(socket: ClientConnection, number: int, method: str, **params: Any) -> dict[str, Any]:
    await socket.send(json.dumps({"id": number, "method": method, "params": params}))
    while (answer := json.loads(await socket.recv())).get("id") != number:
        pass
    return answer["result"]
