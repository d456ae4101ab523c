"""The page in a real browser, on a real server with the shipped voice: what a person hears and sees.

`localhost` is a secure origin and has WebCodecs and AudioWorklet; `stream.test` is none and has neither.
Run with `make test-browser`; `-s` shows the figures.
"""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any
from urllib.request import urlopen

import firefox
import pytest
from chromium import Page, browsing

pytestmark = [pytest.mark.browser, pytest.mark.asyncio]

ROOT = Path(__file__).parent.parent.parent.parent
ORIGINS = [("localhost", "WebCodecs, AudioWorklet"), ("stream.test", "wasm, AudioBufferSource")]
FIGURES = "import('/web/app.js').then((app) => app.figures())"
IN_SIGHT = """(part, whole) => {
    const [inner, outer] = [part, whole].map((found) => document.querySelector(found).getBoundingClientRect());
    return inner.top >= outer.top && inner.bottom <= outer.bottom;
}"""
LONG_S = 30
HEARD_S = 4
needs_firefox = pytest.mark.skipif(not firefox.EXECUTABLE, reason="no Firefox: apt-get install firefox-esr")
needs_sound_card = pytest.mark.skipif(not firefox.SOUND_CARD, reason="no PulseAudio: apt-get install pulseaudio")
TEXT = "The first word of this is soon heard, but the last one is a long way off, and nobody shall ever hear it."


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with served() as port:
        yield port


@contextmanager
def served(*flags: str, **environment: str) -> Iterator[int]:
    """The port of a server of its own process, as one would start it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "stream_server", "serve", "--port", str(port), "--wyoming-port", "off", *flags]
    command += ["--origin", f"http://stream.test:{port}"]  # a name that is made to point here
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    with Popen(command, cwd=ROOT, env=environment, stdout=DEVNULL, stderr=DEVNULL) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/health")
            yield port
        finally:
            server.terminate()


def wait_for(url: str) -> None:
    import time

    for _ in range(600):
        try:
            with urlopen(url):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(url)


@asynccontextmanager
async def visiting(tmp_path: Path, origin: str) -> AsyncIterator[Page]:
    """The page, connected; afterwards it must have broken no policy and asked nobody else for anything."""
    async with browsing(tmp_path / "profile") as page:
        await page.dress(1280, 800, "light")
        await page.go(origin)
        await page.until("document.querySelector('#connection').dataset.state === 'open'")
        yield page
        assert not [
            complaint for complaint in page.complaints if not complaint.endswith("/ready")
        ]  # 503 when it is full
        assert all(url.startswith(origin) for url in page.requests), page.requests


async def figures(page: Page) -> dict[str, Any]:
    return await page.evaluate(FIGURES)


async def speaking(page: Page) -> None:
    await page.until("document.querySelector('#state').dataset.state === 'speaking'")


async def text_of(page: Page, selector: str) -> str:
    return await page.evaluate(f"document.querySelector('{selector}')?.textContent ?? ''")


@pytest.mark.parametrize(("host", "way"), ORIGINS)
async def test_half_a_minute_of_a_chat_bot_is_heard_without_a_gap(
    host: str, way: str, port: int, tmp_path: Path
) -> None:
    async with visiting(tmp_path, f"http://{host}:{port}/") as page:
        await page.click(".chip")
        await speaking(page)
        early = await page.evaluate("document.querySelectorAll('.word.is-heard').length")
        await page.until(f"{FIGURES}.then((now) => now.heard >= {LONG_S * 24_000})", 90)
        now = await figures(page)
        late = await page.evaluate("document.querySelectorAll('.word.is-heard').length")
        first, silences = round(now["firstSampleMs"]), (now["gaps"], now["waits"])
        print(f"\n{way}: first sample {first} ms after the first packet, gaps and waits for text {silences}")
        assert now["path"] == way and now["gaps"] == []
        assert 0 <= now["firstSampleMs"] < 1000
        assert early < late and late > 60


@pytest.mark.parametrize(("host", "way"), ORIGINS)
async def test_typing_interrupts_and_shows_what_was_heard(host: str, way: str, port: int, tmp_path: Path) -> None:
    async with visiting(tmp_path, f"http://{host}:{port}/") as page:
        await page.click("#text")
        await page.write(TEXT)
        await page.press("Enter")
        await speaking(page)
        await asyncio.sleep(1.5)
        await page.write("W")
        cut = (await page.until(f"{FIGURES}.then((now) => now.cut && now.times.silent && now)"))["cut"]
        times = (await figures(page))["times"]
        print(f"\n{way}: silent {times['silent'] - times['interrupted']:.0f} ms after the key")
        assert cut["heard"] + cut["unheard"] == TEXT
        assert cut["heard"].startswith("The first") and cut["unheard"].strip().endswith("hear it.")
        assert 0 <= times["silent"] - times["interrupted"] < 1000
        assert await text_of(page, ".utterance .heard") == cut["heard"]
        assert await text_of(page, ".utterance .unheard") == cut["unheard"].strip()
        assert "words not heard" in await text_of(page, ".utterance .interrupted")


async def test_what_is_typed_is_heard_while_it_is_typed(port: int, tmp_path: Path) -> None:
    async with visiting(tmp_path, f"http://localhost:{port}/") as page:
        await page.click("#text")
        await page.write("Nobody has pressed any key to end this sentence so far, ")
        await speaking(page)
        assert (await figures(page))["done"] is None
        await page.press("Enter")
        done = await page.until(f"{FIGURES}.then((now) => now.isFinished && now)")
        assert done["done"]["words"] == 11 and done["received"] == done["done"]["samples"]
        assert abs(done["heard"] - done["received"]) < 480
        assert await page.evaluate("document.querySelectorAll('.is-finished .word.is-heard').length") == 11


async def test_going_back_over_what_was_said_goes_on_from_there(port: int, tmp_path: Path) -> None:
    async with visiting(tmp_path, f"http://localhost:{port}/") as page:
        await page.click("#text")
        await page.write("This is a long beginning that is to be heard wrongly ")
        await speaking(page)
        for _ in "wrongly ":
            await page.press("Backspace")
        await page.until(f"{FIGURES}.then((now) => now.cut)")
        await page.write("rightly. ")
        await page.until(f"{FIGURES}.then((now) => now.text === 'rightly. ' && now.state === 'speaking')")


async def test_where_a_long_text_was_cut_is_in_sight(port: int, tmp_path: Path) -> None:
    async with visiting(tmp_path, f"http://localhost:{port}/") as page:
        await page.click("#text")
        await page.call("Input.insertText", text="It goes on and on for longer than anybody cares to hear. " * 40)
        await page.press("Enter")
        await speaking(page)
        await page.press("Escape")
        await page.until("document.querySelector('.cut') !== null")
        await page.until(f"({IN_SIGHT})('.cut', '#log')")


async def test_a_key_goes_to_the_server_and_out_of_sight(port: int, tmp_path: Path) -> None:
    origin = f"http://localhost:{port}/"
    async with visiting(tmp_path, origin) as page:
        await page.go(f"{origin}?key=secret")
        await page.until("document.querySelector('#connection').dataset.state === 'open'")
        assert await page.evaluate("location.href") == origin
        assert await page.evaluate("Object.values(sessionStorage)") == ["secret"]
        assert await page.evaluate("document.querySelector('#key').value") == "secret"


async def test_a_sample_chosen_twice_in_haste_is_spoken_once(port: int, tmp_path: Path) -> None:
    async with visiting(tmp_path, f"http://localhost:{port}/") as page:
        await page.click("#text")
        await page.evaluate("(() => { for (let i = 0; i < 2; i++) document.querySelector('.chip').click() })()")
        await page.until("document.querySelector('.utterance') !== null")
        await asyncio.sleep(0.5)
        assert await page.evaluate("document.querySelectorAll('.utterance').length") == 1
        assert (await figures(page))["times"].get("interrupted") is None


async def test_a_sample_wakes_a_connection_that_sleeps(tmp_path: Path) -> None:
    with served(STREAM_SERVER_LIMITS__IDLE_TIMEOUT_S="1") as port:
        async with visiting(tmp_path, f"http://localhost:{port}/") as page:
            await page.until("document.querySelector('#connection').dataset.state === 'asleep'")
            await page.click(".chip")
            await speaking(page)


async def test_text_refused_for_want_of_room_is_complained_of_once(tmp_path: Path) -> None:
    with served(STREAM_SERVER_LIMITS__STREAMS="0") as port:
        async with visiting(tmp_path, f"http://localhost:{port}/") as page:
            await page.click("#text")
            await page.write("Nobody has room for this. ")
            await page.until("document.querySelector('.trouble') !== null")
            await page.until(f"{FIGURES}.then((now) => now.error && Number(now.name.slice(1)) > 1)")
            assert await page.evaluate("document.querySelectorAll('.trouble').length") == 1
            assert await page.evaluate("document.querySelector('#text').value") == "Nobody has room for this. "


async def test_a_server_that_wants_a_key_is_given_one(tmp_path: Path) -> None:
    with served("--key", "secret") as port:
        async with browsing(tmp_path / "profile") as page:
            await page.go(f"http://localhost:{port}/")
            await page.until("document.querySelector('#server').open")
            assert "key" in await text_of(page, "#connection-text")
            await page.click("#connection-retry")  # it leads to where the key goes
            await page.write("wrong")
            await page.press("Enter")
            await page.until("document.querySelector('#connection-text').textContent.endsWith('Is the key right?')")
            await page.evaluate("document.querySelector('#key').select()")
            await page.write("secret")
            await page.press("Enter")
            await page.until("document.querySelector('#connection').dataset.state === 'open'")


@needs_firefox
@needs_sound_card
@pytest.mark.parametrize(("host", "way"), ORIGINS)
async def test_firefox_is_heard_on_the_sound_card(host: str, way: str, port: int, tmp_path: Path) -> None:
    async with firefox.sound_card(tmp_path) as card, firefox.browsing(tmp_path / "profile", **card.environment) as page:
        await page.go(f"http://{host}:{port}/")
        await page.until("document.querySelector('#connection').dataset.state === 'open'")
        await page.click(".chip")
        await page.until(f"{FIGURES}.then((now) => now.heard >= {HEARD_S * 24_000})", 60)
        assert (await figures(page))["path"] == way
        assert card.loud_seconds() > HEARD_S / 2


@needs_firefox
async def test_a_browser_without_a_sound_card_says_so(port: int, tmp_path: Path) -> None:
    nowhere = {"XDG_RUNTIME_DIR": str(tmp_path), "PULSE_SERVER": f"unix:{tmp_path}/none"}
    async with firefox.browsing(tmp_path / "profile", **nowhere) as page:
        await page.go(f"http://localhost:{port}/")
        await page.until("document.querySelector('#connection').dataset.state === 'open'")
        await page.click(".chip")
        await page.until("document.querySelector('#state').textContent === 'No sound output'")
