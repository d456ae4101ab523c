"""What the flow computes of a voice, when it is first spoken in: megabytes each, so that only the latest are kept."""

from collections import OrderedDict

from stream_server.models.glm_tts.flow import Prompt
from stream_server.models.glm_tts.flow_stream import FlowStream, FlowVoice

KEPT = 64  # voices without keys; at the release's dimensions 7 MB each, and 0.1 s of one core to compute


class FlowVoices:
    def __init__(self, flow: FlowStream, kept: int = KEPT) -> None:
        self.flow, self.kept = flow, kept
        self.prompts: dict[str, Prompt] = {}
        self.latest: OrderedDict[str, FlowVoice] = OrderedDict()  # the latest spoken in comes last

    def __setitem__(self, name: str, prompt: Prompt) -> None:
        self.prompts[name] = prompt
        self.latest.pop(name, None)

    def __getitem__(self, name: str) -> FlowVoice:
        """Raises KeyError."""
        prompt = self.prompts[name]
        voice = self.latest.pop(name, None) or self.flow.voice(prompt)
        self.latest[name] = voice
        if len(self.latest) > self.kept:
            self.latest.popitem(last=False)
        return voice

    def remove(self, name: str) -> None:
        self.prompts.pop(name, None)
        self.latest.pop(name, None)
