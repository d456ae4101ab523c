"""The page at `/` and its files under `/web/`, from memory: what is not in the table is not there.

Knows files and headers.  Does not know what the page does.
"""

import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PACKAGE = Path(__file__).parent.parent
INSTALLED, CHECKOUT = PACKAGE / "web", PACKAGE.parent / "client" / "web"
INDEX = "index.html"
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",  # the wasm inside opus-decoder is text that only UTF-8 leaves whole
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self'",
    ]
)
HEADERS = {
    "cache-control": "no-cache",  # kept, and asked about by its ETag
    "content-security-policy": POLICY,
    "referrer-policy": "no-referrer",  # a key may stand in the address
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True)
class File:
    content: bytes
    media_type: str
    etag: str

    def answer(self, request: Request) -> Response:
        headers = {**HEADERS, "etag": self.etag}
        known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
        if self.etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        return Response(self.content, headers=headers, media_type=self.media_type)


def page_routes() -> list[Route]:
    """The page and every file that it may ask for; raises `FileNotFoundError` where there is no page."""
    files = read_files(INSTALLED if INSTALLED.is_dir() else CHECKOUT)
    index = files.pop(INDEX, None)
    if index is None:
        raise FileNotFoundError(f"no {INDEX} in {INSTALLED} or {CHECKOUT}")
    return [Route("/", serve(index)), *(Route(f"/web/{name}", serve(file)) for name, file in files.items())]


def serve(file: File) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def answer(request: Request) -> Response:
        return file.answer(request)

    return answer


def read_files(folder: Path) -> dict[str, File]:
    """Name below `folder` → file, for the kinds of file that a page is made of."""
    return {
        path.relative_to(folder).as_posix(): read_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix in TYPES
    }


def read_file(path: Path) -> File:
    content = path.read_bytes()
    return File(content, TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')
