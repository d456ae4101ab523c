"""A voice assistant in a terminal: you type, a chat model answers, its answer is spoken while it is being written.

    python client/assistant.py                                                  # a small bot of its own
    python client/assistant.py --llm http://127.0.0.1:11434/v1 --model llama3   # any OpenAI-compatible chat server

Type while it speaks and it falls silent.  What the model is told it had said is what was *heard*, to the word: an
answer that was cut off stands in the history as far as its listener got, so that "go on" means the right thing.
"""

import argparse
import asyncio
import json
import os
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from stream_client import Audio, Client, Started
from stream_client.client import DEFAULT_URL
from stream_client.playback import Player
from stream_client.sinks import DeviceSink, NullSink, Sink, device_available

TOKEN_S = 0.06  # between two tokens of the bot's own
CUT = " —"  # behind what was heard of an answer that was interrupted

Message = dict[str, str]  # role and content, as chat models take them


class Bot(Protocol):
    def answer(self, history: list[Message]) -> AsyncIterator[str]:
        """Tokens, as they are written."""
        ...


class SmallBot:
    """Needs no model: it knows how long your line was and where you cut it off."""

    async def answer(self, history: list[Message]) -> AsyncIterator[str]:
        words = history[-1]["content"].split()
        earlier = [message["content"] for message in history[:-1] if message["role"] == "assistant"]
        text = f"You wrote {len(words)} words, and the last of them was {words[-1] if words else 'none'}. "
        if earlier and earlier[-1].endswith(CUT):
            text = f"You stopped me after {' '.join(earlier[-1].removesuffix(CUT).split()[-3:])}. " + text
        text += "If you would like me to be quiet, just type something; I will know how far you listened."
        for token in text.split(" "):
            await asyncio.sleep(TOKEN_S)
            yield token + " "


@dataclass
class ChatServer:
    """`POST {url}/chat/completions` with `stream`, as most model servers have it."""

    url: str
    model: str
    key: str = ""

    async def answer(self, history: list[Message]) -> AsyncIterator[str]:
        tokens: asyncio.Queue[str | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def read() -> None:
            try:
                for token in self.tokens(history):
                    loop.call_soon_threadsafe(tokens.put_nowait, token)
            finally:
                loop.call_soon_threadsafe(tokens.put_nowait, None)

        reading = asyncio.create_task(asyncio.to_thread(read))
        while (token := await tokens.get()) is not None:
            yield token
        await reading

    def tokens(self, history: list[Message]) -> Iterator[str]:
        body = json.dumps({"model": self.model, "messages": history, "stream": True}).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(f"{self.url}/chat/completions", body, headers)
        with urllib.request.urlopen(request) as lines:
            for line in lines:
                event = line.decode().removeprefix("data:").strip()
                if event and event != "[DONE]" and (choices := json.loads(event).get("choices")):
                    yield choices[0]["delta"].get("content") or ""


@dataclass
class Assistant:
    """One conversation; `listen` takes what the person says, whenever it is said."""

    client: Client
    bot: Bot
    make_sink: Callable[[], Sink]
    show: Callable[[str], None] = print
    history: list[Message] = field(default_factory=list)
    _answer: asyncio.Task[None] | None = None

    async def listen(self, line: str) -> None:
        """A person spoke: whatever is being said ends here, and an answer to this begins."""
        await self.hush()
        self.history.append({"role": "user", "content": line})
        self._answer = asyncio.create_task(self.speak())

    async def hush(self) -> None:
        if self._answer is not None:
            self._answer.cancel()
            await asyncio.gather(self._answer, return_exceptions=True)

    async def finish(self) -> None:
        """Wait until the answer has been heard to its end."""
        if self._answer is not None:
            await self._answer

    async def speak(self) -> None:
        """The bot's answer, written and spoken at once; cancelled, it notes what was heard."""
        context = await self.client.start()
        sink = self.make_sink()
        player, written = Player(context, sink), []

        async def write() -> None:
            async for token in self.bot.answer(self.history):
                written.append(token)
                await context.send(token)
            await context.end()

        writing = asyncio.create_task(write())
        try:
            async for event in context:
                if isinstance(event, Started):
                    player.start(event)
                elif isinstance(event, Audio):
                    await player.play(event)
            await player.finish()
            self.note("".join(written))
        except asyncio.CancelledError:
            writing.cancel()
            interrupted = await player.interrupt()
            self.note((interrupted.heard or "").rstrip() + CUT)
            raise
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            sink.close()

    def note(self, said: str) -> None:
        self.history.append({"role": "assistant", "content": said})
        self.show(f"  assistant: {said}")


async def converse(url: str, bot: Bot) -> None:
    make_sink: Callable[[], Sink] = DeviceSink if device_available() else NullSink
    async with Client(url) as client:
        assistant = Assistant(client, bot, make_sink)
        print("say something (an empty line ends):")
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await assistant.listen(line)
        await assistant.finish()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=DEFAULT_URL, help="of the speech server")
    parser.add_argument("--llm", help="an OpenAI-compatible chat server, with its /v1")
    parser.add_argument("--model", default="default", help="of the chat server")
    options = parser.parse_args()
    key = os.environ.get("OPENAI_API_KEY", "")
    bot = ChatServer(options.llm.rstrip("/"), options.model, key) if options.llm else SmallBot()
    asyncio.run(converse(options.url, bot))


if __name__ == "__main__":
    main()
