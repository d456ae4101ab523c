"""Who comes in: keys wherever clients put them, pages of other origins, and what a browser is told before it asks."""

import httpx
import pytest
import websockets
from starlette.requests import HTTPConnection
from websockets.asyncio.client import connect

from stream_server.transports.guard import HEADERS, PARAMETERS, Guard
from tests.serving import serving_http

SPEECH = "/v1/audio/speech"
BODY = {"input": "one.", "response_format": "pcm"}
KEYED = Guard(keys=("first key", "second"))
PLACES = [
    *[({"authorization": f"{scheme} second"}, {}) for scheme in ("Bearer", "bearer", "Token", "TOKEN")],
    ({"authorization": "Bearer first key"}, {}),
    *[({name: "second"}, {}) for name in HEADERS],
    *[({}, {name: "second"}) for name in PARAMETERS],
    ({"authorization": "Bearer wrong", "xi-api-key": "second"}, {}),  # one that fits is enough
]
WRONG = [
    ({}, {}),
    ({"authorization": "Bearer wrong"}, {}),
    ({"authorization": "Bearer secon"}, {}),
    ({"authorization": "Bearer second2"}, {}),
    ({"authorization": "Bearer SECOND"}, {}),
    ({"authorization": "Bearer"}, {}),
    ({"authorization": "second"}, {}),
    ({"authorization": "Basic second"}, {}),
    ({"xi-api-key": ""}, {}),
    ({"x-api-key": "\u00fc"}, {}),
    ({}, {"token": "first"}),
    ({}, {"key": "\U0001f511"}),
]


@pytest.mark.asyncio
async def test_a_key_opens_wherever_it_stands_and_every_other_is_refused_alike() -> None:
    async with serving_http(guard=KEYED) as (url, _), httpx.AsyncClient(base_url=url) as client:
        for headers, query in PLACES:
            answer = await client.post(SPEECH, json=BODY, headers=headers, params=query)
            assert answer.status_code == 200, (headers, query)
        refusals = []
        for headers, query in WRONG:
            raw = {name: value.encode() for name, value in headers.items()}
            refusals.append(await client.post(SPEECH, json=BODY, headers=raw, params=query))
    assert {answer.status_code for answer in refusals} == {401}
    assert len({answer.content for answer in refusals}) == 1, "a refusal tells nothing of how near it was"
    assert refusals[0].headers["www-authenticate"] == "Bearer"


@pytest.mark.asyncio
async def test_the_key_is_asked_for_before_the_body_is_read() -> None:
    async with serving_http(guard=KEYED) as (url, _), httpx.AsyncClient(base_url=url) as client:
        assert (await client.post(SPEECH, content=b"{")).status_code == 401
        authorised = await client.post(SPEECH, content=b"{", headers={"authorization": "Bearer second"})
        assert authorised.status_code == 400


@pytest.mark.asyncio
async def test_a_socket_asks_for_the_key_too() -> None:
    async with serving_http(guard=KEYED) as (url, _):
        address = url.replace("http", "ws", 1) + "/v1/stream"
        protocols = [websockets.Subprotocol("stream-server.v1")]
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with connect(address, subprotocols=protocols):
                pass
        assert refused.value.response.status_code == 401
        async with connect(f"{address}?token=second", subprotocols=protocols) as opened:
            assert "hello" in str(await opened.recv())


@pytest.mark.parametrize("key", ["clé", "鍵"])
def test_a_key_may_be_of_any_letters(key: str) -> None:
    header = HTTPConnection(
        {"type": "http", "headers": [(b"authorization", f"Bearer {key}".encode())], "query_string": b""}
    )
    Guard(keys=(key,)).admit(header)


OURS = ["http://127.0.0.1:{port}", "http://localhost:3000", "https://localhost", "http://[::1]:8000"]
STRANGERS = [
    "https://elsewhere.example",
    "http://localhost.elsewhere.example",
    "http://elsewhere.example:8765",
    "http://127.0.0.1.elsewhere.example",
    "file://localhost",
    "chrome-extension://localhost",
    "null",
    "",
    "http://",
    "http://[",
    "https://friend.example:444",
    "http://friend.example",
]


@pytest.mark.asyncio
async def test_pages_from_elsewhere_are_refused_and_those_welcome_are_told_so() -> None:
    guard = Guard(origins=("https://friend.example",))
    async with serving_http(guard=guard) as (url, _), httpx.AsyncClient(base_url=url) as client:
        for origin in (*OURS, "https://friend.example"):
            origin = origin.format(port=client.base_url.port)
            for path, body in ((SPEECH, BODY), (SPEECH, {}), ("/songs", {})):
                answer = await client.post(path, json=body, headers={"origin": origin})
                assert answer.status_code != 403
                assert answer.headers["access-control-allow-origin"] == origin
                assert "x-request-id" in answer.headers["access-control-expose-headers"]
                assert "origin" in answer.headers["vary"]
        for origin in STRANGERS:
            answer = await client.post(SPEECH, json=BODY, headers={"origin": origin})
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden_origin"), origin
            assert "access-control-allow-origin" not in answer.headers
            listed = await client.get("/v1/models", headers={"origin": origin})
            assert listed.status_code == 403, "no key is asked for there, but a page is looked at"


@pytest.mark.parametrize(
    ("guard", "host", "welcome"),
    [
        (Guard(), "192.168.1.9:8765", True),
        (Guard(), "[fd00::9]:8765", True),
        (Guard(), "rebound.example:8765", False),  # whoever owns the name may have made it point here
        (Guard(keys=("secret",)), "speech.example:8765", True),
        (Guard(open=True), "speech.example:8765", True),
    ],
)
def test_a_page_from_the_host_it_speaks_to_is_ours_if_that_host_cannot_be_made_up(
    guard: Guard, host: str, welcome: bool
) -> None:
    assert guard.allows(f"http://{host}", host) == welcome


@pytest.mark.asyncio
async def test_a_server_may_be_open_to_every_page() -> None:
    async with serving_http(guard=Guard(origins=("*",))) as (url, _), httpx.AsyncClient(base_url=url) as client:
        answer = await client.post(SPEECH, json=BODY, headers={"origin": "https://elsewhere.example"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://elsewhere.example"


@pytest.mark.asyncio
async def test_without_an_origin_nothing_is_told_of_origins() -> None:
    async with serving_http() as (url, _), httpx.AsyncClient(base_url=url) as client:
        answer = await client.post(SPEECH, json=BODY)
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["vary"] == "origin"


@pytest.mark.asyncio
async def test_a_browser_may_ask_first() -> None:
    async with serving_http(guard=KEYED) as (url, _), httpx.AsyncClient(base_url=url) as client:

        async def ask(origin: str, **headers: str) -> httpx.Response:
            asked = {"origin": origin, "access-control-request-method": "POST"}
            return await client.options(SPEECH, headers=asked | headers)

        welcome = await ask("http://localhost:3000")
        assert (welcome.status_code, welcome.content) == (204, b""), "a key cannot be sent with the question"
        assert welcome.headers["access-control-allow-origin"] == "http://localhost:3000"
        methods = welcome.headers["access-control-allow-methods"].split(", ")
        assert set(methods) >= {"GET", "POST", "PATCH", "DELETE"}, "a voice is renamed and deleted by the last two"
        told = welcome.headers["access-control-allow-headers"].split(", ")
        assert set(told) >= {"authorization", "content-type", "xi-api-key", "x-api-key"}
        wanted = "authorization,x-stainless-lang"
        more = await ask("http://localhost:3000", **{"access-control-request-headers": wanted})
        assert more.headers["access-control-allow-headers"] == wanted
        stranger = await ask("https://elsewhere.example")
        assert stranger.status_code == 403
        assert not [name for name in stranger.headers if name.startswith("access-control")]
        assert (await client.options(SPEECH)).status_code == 405, "not a browser's question"


@pytest.mark.asyncio
async def test_every_answer_has_a_name_of_its_own() -> None:
    async with serving_http() as (url, _), httpx.AsyncClient(base_url=url) as client:
        answers = [await client.get(path) for path in ("/health", "/v1/models", "/songs", "/docs", "/openapi.json")]
        answers += [await client.post(SPEECH, json=body) for body in (BODY, {})]
    names = {answer.headers["x-request-id"] for answer in answers}
    assert len(names) == len(answers)


@pytest.mark.asyncio
async def test_a_refused_handshake_is_no_error_of_ours(caplog: pytest.LogCaptureFixture) -> None:
    async with serving_http(guard=KEYED) as (url, _):
        for path, status in (("/v1/stream", 401), ("/nowhere", 404)):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await connect(url.replace("http", "ws", 1) + path)
            assert refused.value.response.status_code == status and refused.value.response.body
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
