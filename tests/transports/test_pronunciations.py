"""Pronunciations of the operator's and of the listener's, on a real socket."""

from collections.abc import Sequence

import pytest

from stream_server.engine.client import Engine
from stream_server.engine.core import EngineCore
from stream_server.engine.inprocess import InProcessEngine
from stream_server.limits import Limits
from stream_server.text.word import Word
from stream_server.transports.house import House
from stream_server.transports.server import running
from tests.fakes import FakeModel
from tests.transports.test_native_socket import hear, listening, say


class Reading(FakeModel):
    """Remembers how it was asked to say what."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, tuple[str, ...]] = {}

    def prompt(self, words: Sequence[Word], final: bool) -> tuple[int, bool]:
        self.said |= {word.source: word.phones for word in words}
        return super().prompt(words, final)


@pytest.mark.asyncio
async def test_the_listener_s_own_go_before_the_operator_s() -> None:
    model = Reading()
    core = EngineCore(model, 4)
    engine = Engine(InProcessEngine(lambda: core), core.scheduler.num_slots)
    await engine.start()
    try:
        house = House(engine, Limits(), pronunciations={"tomato": "b", "apple": "b b"})
        async with running(house) as url, listening(url) as socket:
            await say(socket, "start", format="pcm_s16le", pronunciations={"Tomato": "aa1 b"})
            await say(socket, "text", text="Tomato, apple pie")
            await say(socket, "end")
            assert (await hear(socket, "a"))["a"].last["type"] == "done"
            assert model.said == {"Tomato,": ("aa1", "b"), "apple": ("b", "b"), "pie": ()}
            for wrong, limit in (({"x": "zz"}, "aa1 b"), ({"x": "b" * 101}, 100), ({"x": None}, None)):
                await say(socket, "start", "b", format="pcm_s16le", pronunciations=wrong)
                refused = (await hear(socket, "b"))["b"].last
                assert (refused["type"], refused["field"], refused["limit"]) == ("error", "pronunciations", limit)
    finally:
        await engine.stop()
