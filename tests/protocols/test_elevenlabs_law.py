"""Whatever a client sends and whenever events come: every context it closes ends once, and nothing follows its end."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stream_server.audio.format import AudioFormat
from stream_server.errors import ClientError, Overloaded
from stream_server.events import Audio, Cancel, Cancelled, Done, End, Event, Failed, Flush, Flushed, Start, Started
from stream_server.limits import Limits
from stream_server.protocols.dialect import Act
from stream_server.protocols.elevenlabs.messages import Options
from stream_server.protocols.elevenlabs.multi import Multi
from stream_server.protocols.elevenlabs.single import Single

OPTIONS = Options("slt", AudioFormat("pcm_s16le"))
IDS = ("a", "b")
MESSAGES = st.fixed_dictionaries(
    {"context_id": st.sampled_from(IDS)},
    optional={
        "text": st.sampled_from(["", " ", "Hi. ", "<break/>"]),
        "flush": st.booleans(),
        "close_context": st.booleans(),
        "voice_settings": st.sampled_from([None, {}, {"speed": 1}]),
    },
)
STEPS = st.lists(st.one_of(MESSAGES, st.sampled_from(["sound", "flushed", "end", "fail"])), max_size=40)


class World:
    """Sessions as a dialect sees them: what they are told, and what becomes of it when its time comes."""

    def __init__(self) -> None:
        self.dialect = Multi(OPTIONS, Limits(), lambda *keys: True, True)
        self.living: dict[str, Event | None] = {}  # names; the last event of each, once it is due
        self.names: set[str] = set()
        self.flushes: dict[str, int] = {}
        self.said: list[dict[str, Any]] = []

    def receive(self, message: dict[str, Any]) -> None:
        self.act(self.dialect.receive(json.dumps(message)))

    def act(self, acts: list[Act]) -> None:
        for act in acts:
            if isinstance(act, str):
                self.said.append(json.loads(act))
            elif isinstance(act, Start):
                assert act.context not in self.names, "a name is used once"
                self.names.add(act.context)
                self.living[act.context] = None
                self.tell(Started(act.context, 1, "slt", "pcm_s16le", 24_000, 1, 0))
            elif isinstance(act, Flush):
                self.flushes[act.context] = self.flushes.get(act.context, 0) + 1
                assert self.flushes[act.context] <= Limits().pending_flushes
            elif isinstance(act, Cancel):
                if act.context in self.living:
                    self.living[act.context] = Cancelled(act.context, 0, None, None, None)
            elif isinstance(act, End) and act.context in self.living:
                self.living[act.context] = self.living[act.context] or Done(act.context, 480, 1, 1, 1, "done")

    def tell(self, event: Event) -> list[dict[str, Any]]:
        """→ what the client is told of it."""
        before = len(self.said)
        self.act(self.dialect.tell(event))
        return self.said[before:]

    def step(self, what: str) -> None:
        for name, last in list(self.living.items()):
            if what == "end" and last is not None:
                del self.living[name]
                *rest, final = self.tell(last)
                assert final["isFinal"] and not any(message["isFinal"] for message in rest)
            elif what == "fail":
                del self.living[name]
                failed, *rest = self.tell(Failed.of(Overloaded("too many"), name))
                assert failed["error"] and len(rest) == (last is not None)
            elif what == "flushed" and self.flushes.get(name):
                self.flushes[name] -= 1
                self.tell(Flushed(name, 480))
            elif what == "sound" and not isinstance(last, Cancelled):
                [sound] = self.tell(Audio(name, 1, 0, 0, 480, b"\x00"))
                assert sound["audio"] and not sound["isFinal"]


@settings(max_examples=100)
@given(STEPS)
def test_every_context_ends_once_and_nothing_follows(steps: list[Any]) -> None:
    world = World()
    for step in steps:
        world.step(step) if isinstance(step, str) else world.receive(step)
    for _ in range(2):
        before = len(world.said)
        for id in IDS:
            world.receive({"context_id": id, "close_context": True})
        world.step("end")
    assert not world.living and len(world.said) == before, "none is left behind, and none ends twice"
    assert not any(world.tell(Audio(name, 1, 0, 0, 480, b"\x00")) for name in world.names)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("text", "context_id", "flush", "close_context", "voice_settings", "generation_config", "seed", "xi-api-key")


@settings(max_examples=100)
@given(st.text() | st.binary() | st.dictionaries(st.sampled_from(FIELDS), JSON).map(json.dumps))
def test_nothing_a_client_sends_gets_past_the_documented_errors(message: str | bytes) -> None:
    for kind in (Multi, Single):
        dialect = kind(OPTIONS, Limits(), lambda *keys: True, True)
        try:
            dialect.receive(message)
            dialect.receive(message)
        except ClientError:
            pass
