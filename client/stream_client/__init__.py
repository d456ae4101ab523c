"""The Python client of stream-server: `speak()` for one text, `Client` and `Context` for a conversation.

    async with Client("ws://127.0.0.1:8765/v1/stream") as client:
        context = await client.start(voice="slt", format="opus")
        await context.send("Text as it comes, ")
        await context.send("in pieces of any size.")
        await context.end()
        async for event in context:
            if isinstance(event, Audio):
                ...  # event.pcm is int16 at context.decode_rate

Knows the native websocket protocol and nothing of the server behind it: neither its package nor its models.
"""

from stream_client.client import Client
from stream_client.context import Audio, Context, Event
from stream_client.errors import (
    ConnectionFailed,
    DeviceMissing,
    OpusMissing,
    QueueOverflow,
    ServerError,
    StreamError,
    Unreachable,
    WireError,
)
from stream_client.gaps import GapMeter
from stream_client.playback import Player
from stream_client.sinks import DeviceSink, NullSink, Sink, WavSink
from stream_client.speak import SpeakReport, speak
from stream_client.timeline import timeline
from stream_client.wire import Cancelled, Done, Flushed, Hello, Mark, Settings, Started

__all__ = [
    "Audio",
    "Cancelled",
    "Client",
    "ConnectionFailed",
    "Context",
    "DeviceMissing",
    "DeviceSink",
    "Done",
    "Event",
    "Flushed",
    "GapMeter",
    "Hello",
    "Mark",
    "NullSink",
    "OpusMissing",
    "Player",
    "QueueOverflow",
    "ServerError",
    "Settings",
    "Sink",
    "SpeakReport",
    "Started",
    "StreamError",
    "Unreachable",
    "WavSink",
    "WireError",
    "speak",
    "timeline",
]
