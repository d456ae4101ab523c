"""The page as a browser asks for it, without one: types, caching, policy, and nothing but the page's own files."""

import asyncio
import re
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from hatchling.builders.wheel import WheelBuilder
from starlette.applications import Starlette

from stream_server.transports.page import CHECKOUT, page_routes

ROOT = Path(__file__).parent.parent.parent


class PageClient:
    """Asks the page's routes, without a port."""

    def __init__(self) -> None:
        self._transport = httpx.ASGITransport(Starlette(routes=[*page_routes()]))

    def get(self, path: str, **more: Any) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, **more))

    def head(self, path: str) -> httpx.Response:
        return asyncio.run(self._ask("HEAD", path))

    async def _ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, base_url="http://here") as client:
            return await client.request(method, path, **more)


@pytest.fixture(scope="module")
def client() -> PageClient:
    return PageClient()


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/web/app.js", "text/javascript; charset=utf-8"),
        ("/web/style.css", "text/css; charset=utf-8"),
        ("/web/icon.svg", "image/svg+xml"),
        ("/web/vendor/opus-decoder/opus-decoder.min.js", "text/javascript; charset=utf-8"),
        ("/web/vendor/fonts/inter.woff2", "font/woff2"),
    ],
)
def test_files_come_with_their_types_and_a_policy(client: PageClient, path: str, media_type: str) -> None:
    answer = client.get(path)
    name = "index.html" if path == "/" else path.removeprefix("/web/")
    assert answer.status_code == 200 and answer.content == (CHECKOUT / name).read_bytes()
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "'wasm-unsafe-eval'" in policy
    assert "unsafe-inline" not in policy and "'unsafe-eval'" not in policy


def test_a_file_that_is_known_is_not_sent_again(client: PageClient) -> None:
    etag = client.get("/web/app.js").headers["etag"]
    again = client.get("/web/app.js", headers={"if-none-match": f'"other", W/{etag}'})
    assert again.status_code == 304 and not again.content and again.headers["etag"] == etag
    assert client.get("/web/app.js", headers={"if-none-match": '"other"'}).status_code == 200
    assert client.get("/web/style.css").headers["etag"] != etag
    assert client.head("/").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/web/",
        "/web/none.js",
        "/web/index.html",
        "/web/vendor/opus-decoder/LICENSE",
        "/web/../../pyproject.toml",
        "/web/%2e%2e/%2e%2e/pyproject.toml",
        "/web/..%2f..%2fpyproject.toml",
        "/web//etc/passwd",
        "/web/app.js%00.css",
    ],
)
def test_there_is_nothing_else(client: PageClient, path: str) -> None:
    assert client.get(path, follow_redirects=False).status_code == 404


def test_whatever_the_page_names_is_there_and_nothing_is_elsewhere(client: PageClient) -> None:
    for named in re.findall(r'(?:src|href)="([^"]+)"', client.get("/").text):
        assert client.get("/" + named).status_code == 200, named
    for path in CHECKOUT.glob("*.js"):
        for module in re.findall(r'^import .* from "\./([^"]+)"', path.read_text(), re.M):
            assert (CHECKOUT / module).is_file(), (path, module)
    for path in (*CHECKOUT.glob("*.css"), *CHECKOUT.glob("*.html"), *CHECKOUT.glob("*.js")):
        assert not re.search(r"""["'(]https?://""", path.read_text()), path


def test_every_id_that_the_page_asks_for_exists(client: PageClient) -> None:
    ids = set(re.findall(r'\bid="([^"]+)"', client.get("/").text))
    asked = set(re.findall(r'\$\("([^"]+)"\)', (CHECKOUT / "app.js").read_text()))
    assert asked and asked <= ids


def test_a_wheel_carries_the_page_and_its_licences(tmp_path: Path) -> None:
    built = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))
    held = set(zipfile.ZipFile(built).namelist())
    for path in CHECKOUT.rglob("*"):
        if path.is_file():
            assert f"stream_server/web/{path.relative_to(CHECKOUT).as_posix()}" in held
