"""The example assistant, with a real server on a port and a loudspeaker that keeps time."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from assistant import CUT, Assistant, ChatServer, Message, SmallBot
from stream_client import Client
from stream_client.sinks import NullSink

from tests.transports.test_native_socket import serving


class Reciter:
    """Says the same every time, a word a token."""

    async def answer(self, history: list[Message]) -> AsyncIterator[str]:
        for word in ("One ", "two ", "three ", "four ", "five ", "six."):
            await asyncio.sleep(0)
            yield word


@pytest.mark.asyncio
async def test_an_answer_that_was_heard_stands_in_the_history_whole() -> None:
    async with serving() as (url, _), Client(url) as client:
        assistant = Assistant(client, Reciter(), NullSink, show=lambda line: None)
        await assistant.listen("Count.")
        await assistant.finish()
    assert [message["content"] for message in assistant.history] == ["Count.", "One two three four five six."]


@pytest.mark.asyncio
async def test_an_answer_that_was_interrupted_stands_in_the_history_as_far_as_it_was_heard() -> None:
    async with serving() as (url, core), Client(url) as client:
        sinks: list[NullSink] = []

        def make_sink() -> NullSink:
            sinks.append(NullSink())
            return sinks[-1]

        assistant = Assistant(client, Reciter(), make_sink, show=lambda line: None)
        await assistant.listen("Count.")
        async with asyncio.timeout(5):
            while not sinks or not sinks[0].heard > 4_800:
                await asyncio.sleep(0.005)
        await assistant.listen("Enough.")
        said = assistant.history[1]["content"]
        assert said.endswith(CUT) and "One" in said and "six" not in said
        await assistant.finish()
        assert assistant.history[3]["content"] == "One two three four five six."
        assert core.load.running == 0


@pytest.fixture
def chat_server() -> Iterator[tuple[str, list[dict[str, object]]]]:
    """Answers as model servers do: server-sent events, a token each."""
    asked: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()
            for token in ("Good ", "day.", None):
                delta = {} if token is None else {"content": token}
                self.wfile.write(f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
        server.shutdown()


@pytest.mark.asyncio
async def test_a_chat_server_s_tokens_come_one_by_one(chat_server: tuple[str, list[dict[str, object]]]) -> None:
    url, asked = chat_server
    history = [{"role": "user", "content": "Hello."}]
    tokens = [token async for token in ChatServer(url, "small").answer(history)]
    assert tokens == ["Good ", "day.", ""]
    assert asked == [{"model": "small", "messages": history, "stream": True}]


@pytest.mark.asyncio
async def test_the_small_bot_knows_where_it_was_cut_off() -> None:
    history = [{"role": "assistant", "content": "If you would like" + CUT}, {"role": "user", "content": "Go on."}]
    text = "".join([token async for token in SmallBot().answer(history)])
    assert text.startswith("You stopped me after you would like. ")
