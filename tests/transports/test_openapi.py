"""The document tells what the server does: every operation is served, every body in it is taken."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from stream_server.audio.reference import Reference
from stream_server.transports.app import OPERATIONS
from stream_server.transports.openapi import document
from stream_server.voices.store import VoiceStore
from tests.audio.recordings import RATE, speechlike, wav
from tests.serving import serving_http
from tests.voices.fakes import FakeMaker, made_of

SPOKEN = speechlike(4)
RECORDING = wav(SPOKEN)


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        found = [node["$ref"]] if "$ref" in node else []
        return found + [ref for inner in node.values() for ref in references(inner)]
    return [ref for inner in node for ref in references(inner)] if isinstance(node, list) else []


def test_whatever_is_referred_to_is_there() -> None:
    told = document(OPERATIONS)
    there = {f"#/components/schemas/{name}" for name in told["components"]["schemas"]}
    assert references(told) and set(references(told)) <= there


def test_fields_ranges_and_errors_are_told() -> None:
    told = document(OPERATIONS)
    speech = told["components"]["schemas"]["Speech"]["properties"]
    assert (speech["speed"]["minimum"], speech["speed"]["maximum"]) == (0.5, 2.0)
    assert speech["response_format"]["enum"] == ["mp3", "opus", "aac", "flac", "wav", "pcm"]
    operation = told["paths"]["/v1/audio/speech"]["post"]
    assert "audio/mpeg" in operation["responses"]["200"]["content"]
    assert "default" in operation["responses"]
    assert operation["requestBody"]["required"]
    release = told["paths"]["/v1/models/release"]["post"]
    assert not release["requestBody"]["required"] and "gone" in release["responses"]["200"]["description"]
    assert told["paths"]["/v1/models/{name}"]["get"]["parameters"][0]["name"] == "name"
    made = told["paths"]["/v1/voices"]["post"]
    assert "201" in made["responses"] and "application/json" in made["requestBody"]["content"]
    assert told["paths"]["/v1/voices/{voice}"]["delete"]["responses"]["204"] == {"description": "at once"}


async def filled(client: httpx.AsyncClient, method: str, path: str, content: dict[str, Any]) -> httpx.Response:
    """A request as the document has it; a form's files are a recording."""
    if (form := content.get("multipart/form-data")) is None:
        return await client.request(method, path, json=content.get("application/json", {}).get("example"))
    fields = form["schema"]["properties"]
    files = [name for name, schema in fields.items() if schema.get("format") == "binary"]
    data = dict.fromkeys(set(fields) - set(files), path.rpartition("/")[2])  # each voice by another name
    sent = dict.fromkeys(files, ("a.wav", RECORDING))
    return await client.request(method, path, data=data, files=sent)


@pytest.mark.asyncio
async def test_every_operation_is_served_as_told(tmp_path: Path) -> None:
    maker = FakeMaker(VoiceStore(tmp_path))
    async with serving_http(maker=maker) as (url, _), httpx.AsyncClient(base_url=url) as client:
        told = (await client.get("/openapi.json")).json()
        for path, methods in told["paths"].items():
            for method, operation in methods.items():
                if "two" not in maker.store.names():
                    maker.store.save(made_of("two", "", Reference(SPOKEN, SPOKEN, RATE), ""))
                place = path.replace("{name}", "fake").replace("{voice}", "two")
                answer = await filled(client, method, place, operation.get("requestBody", {}).get("content", {}))
                expected = operation["responses"][str(answer.status_code)].get("content", {})
                assert answer.is_success and answer.headers.get("content-type") in (expected or [None]), path


@pytest.mark.asyncio
async def test_the_page_needs_nothing_from_elsewhere() -> None:
    async with serving_http() as (url, _), httpx.AsyncClient(base_url=url) as client:
        page = await client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http://" not in page.text and "https://" not in page.text
