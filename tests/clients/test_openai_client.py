"""The `openai` package as it is installed, against a real server with the shipped voice."""

import base64
import io
import json
import statistics
import threading
import time
import urllib.request
import wave
from typing import Any, Literal

import av
import openai
import pytest
from openai import OpenAI

from tests.clients.conftest import serving

pytestmark = pytest.mark.clients
TEXT = "The first sentence is short. The second one is a little longer."
LONG = "It was a quiet morning by the sea, and the old keeper walked down to the shore. " * 40
VOICES = [
    "alloy",
    "ash",
    "ballad",
    "cedar",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
    "kathleen",
    "slt",
]
FORMATS: dict[Literal["mp3", "opus", "aac", "flac", "wav"], str] = {
    "mp3": "mp3",
    "opus": "opus",
    "aac": "aac",
    "flac": "flac",
    "wav": "pcm_s16le",
}


@pytest.fixture
def client(server: str) -> OpenAI:
    return OpenAI(base_url=f"http://{server}/v1", api_key="any", max_retries=0)


def speak(client: OpenAI, **fields: Any) -> bytes:
    asked = {"model": "tts-1", "voice": "alloy", "input": TEXT, "response_format": "pcm"} | fields
    return client.audio.speech.create(**asked).read()


def seconds(pcm: bytes) -> float:
    return len(pcm) / 2 / 24_000


def decoded(sound: bytes) -> tuple[str, float]:
    """Codec and seconds."""
    with av.open(io.BytesIO(sound)) as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(stream))
        return stream.codec_context.name, samples / stream.codec_context.sample_rate


def speaking(server: str) -> int:
    with urllib.request.urlopen(f"http://{server}/ready") as answer:
        return json.load(answer)["speaking"]


def test_all_six_formats(client: OpenAI) -> None:
    length = seconds(speak(client, extra_body={"seed": 1}))
    for name, codec in FORMATS.items():
        found, lasts = decoded(speak(client, response_format=name, extra_body={"seed": 1}))
        assert found.removesuffix("float") == codec
        assert lasts == pytest.approx(length, abs=0.15), name
    assert decoded(client.audio.speech.create(model="x", voice="alloy", input=TEXT).read())[0].startswith("mp3")


def test_a_streamed_wav_opens(client: OpenAI) -> None:
    with wave.open(io.BytesIO(speak(client, response_format="wav"))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24_000)


def test_speed(client: OpenAI) -> None:
    lengths = [seconds(speak(client, speed=speed, extra_body={"seed": 1})) for speed in (0.5, 1, 2)]
    assert lengths[0] == pytest.approx(2 * lengths[1], rel=0.1)
    assert lengths[2] == pytest.approx(lengths[1] / 2, rel=0.1)
    for speed in (0.25, 4.0):
        with pytest.raises(openai.BadRequestError) as refused:
            speak(client, speed=speed)
        assert (refused.value.param, refused.value.code) == ("speed", "invalid_setting")


def test_voices_by_name_and_by_id(client: OpenAI) -> None:
    for voice in VOICES:
        assert speak(client, voice=voice, input="Hello.")
        assert speak(client, voice={"id": voice}, input="Hello.")


def test_the_first_byte_comes_long_before_the_last(client: OpenAI) -> None:
    began = time.perf_counter()
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=LONG, response_format="pcm"
    ) as answer:
        first, size = None, 0
        for piece in answer.iter_bytes():
            first = first or time.perf_counter() - began
            size += len(piece)
    total = time.perf_counter() - began
    assert first is not None and first < 0.6 * total
    print(f"\nfirst byte at {first / total:.1%} of {total:.2f} s, for {size / 48_000:.0f} s of speech")


def test_sse(client: OpenAI) -> None:
    sound, done = b"", None
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts",
        voice="alloy",
        input=TEXT,
        response_format="pcm",
        stream_format="sse",
        extra_body={"seed": 1},
    ) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        for line in answer.iter_lines():
            if not line:
                continue
            event = json.loads(line.removeprefix("data: "))
            if event["type"] == "speech.audio.delta":
                sound += base64.b64decode(event["audio"])
            else:
                done = event
    assert sound == speak(client, extra_body={"seed": 1})
    assert done is not None and done["type"] == "speech.audio.done"
    usage = done["usage"]
    assert usage["input_tokens"] == len(TEXT.split())
    assert usage["output_tokens"] == round(seconds(sound) * 25)
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_ttfa(client: OpenAI) -> None:
    print()
    for name in ("pcm", "wav", "mp3", "opus", "aac", "flac"):
        print(f"{name:5}", *(f"{1000 * t:6.1f}" for t in ttfa(client, name)), "ms (least, median, most of 15)")


def ttfa(client: OpenAI, name: Any) -> tuple[float, float, float]:
    found = []
    for _ in range(16):
        began = time.perf_counter()
        with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input=TEXT, response_format=name
        ) as answer:
            pieces = answer.iter_bytes()
            next(pieces)
            found.append(time.perf_counter() - began)
            for _ in pieces:  # to its end, or the connection is not used again
                pass
    found = found[1:]
    return min(found), statistics.median(found), max(found)


def test_hanging_up_frees_the_place(client: OpenAI, server: str) -> None:
    took = []
    for _ in range(5):
        with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input=LONG, response_format="pcm"
        ) as answer:
            pieces = answer.iter_bytes()
            next(pieces)
            assert speaking(server) == 1
        began = time.perf_counter()
        while speaking(server):
            assert time.perf_counter() - began < 2
        took.append(time.perf_counter() - began)
    print(f"\nthe place was free after {1000 * statistics.median(took):.1f} ms, {1000 * max(took):.1f} at most")


def test_errors_are_the_sdks_own(client: OpenAI, server: str) -> None:
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"voice": "nobody"}, "voice", "unknown_voice"),
        ({"input": ""}, "input", "invalid_setting"),
        ({"input": "x" * 100_001}, "input", "text_too_long"),
        ({"response_format": "gif"}, "response_format", "invalid_setting"),
        ({"speed": "fast"}, "speed", "protocol_error"),
    ]
    for fields, param, code in wrong:
        with pytest.raises(openai.BadRequestError) as refused:
            speak(client, **fields)
        error = refused.value
        assert (error.param, error.code, error.type) == (param, code, "invalid_request_error")
        assert error.request_id is not None
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("gpt-9")
    assert missing.value.code == "unknown_model"
    assert "lark" in [model.id for model in client.models.list()]


def test_a_key_is_asked_for(secure_server: str, certificate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    address = f"https://{secure_server}/v1"
    assert speak(OpenAI(base_url=address, api_key="sesame"))
    with pytest.raises(openai.AuthenticationError) as refused:
        speak(OpenAI(base_url=address, api_key="wrong"))
    assert refused.value.code == "unauthorized"


def test_a_full_server_is_tried_again() -> None:
    with serving(STREAM_SERVER_LIMITS__STREAMS="1") as address:
        client = OpenAI(base_url=f"http://{address}/v1", api_key="any", max_retries=0)
        first = client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input=LONG, response_format="pcm"
        )
        pieces = first.__enter__().iter_bytes()
        next(pieces)
        with pytest.raises(openai.InternalServerError) as refused:
            speak(client)
        assert (refused.value.status_code, refused.value.code) == (503, "overloaded")
        assert int(refused.value.response.headers["retry-after"]) >= 1
        release = threading.Timer(0.5, lambda: first.__exit__(None, None, None))
        release.start()
        began = time.perf_counter()
        assert speak(client.with_options(max_retries=3))
        print(f"\nserved {time.perf_counter() - began:.1f} s after the first refusal")
        release.join()


def test_two_requests_on_one_connection(client: OpenAI) -> None:
    ports = set()
    for _ in range(3):
        with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input="Hello.", response_format="pcm"
        ) as answer:
            answer.read()
            network = answer.http_response.extensions["network_stream"]
            ports.add(network.get_extra_info("client_addr"))
    assert len(ports) == 1
