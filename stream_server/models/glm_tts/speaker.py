"""A recording → the vector of who speaks: CAM++, an ONNX graph that comes with the release's code.

Needs the extra `[glm]`.  The graph is run as it is and nothing but its input's and output's sizes is known of it.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.features import KALDI_BINS, kaldi_mel
from stream_server.models.glm_tts.files import refusal, size_of

PLACES = ("frontend/campplus.onnx", "campplus.onnx")  # below the checkpoint
MAX_BYTES = 512 << 20


class SpeakerEncoder:
    def __init__(self, path: Path) -> None:
        """ConfigError where the file, or the package that runs it, is not there or not right."""
        try:
            import onnxruntime
        except ImportError:
            raise ConfigError(
                "making voices needs the extra: pip install 'stream-server[glm]'", field="voice"
            ) from None
        if size_of(path) > MAX_BYTES:
            raise refusal(path, "larger than a speaker encoder may be", MAX_BYTES)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # it has a tree of its own, and none of it is public
            raise refusal(path, f"no ONNX graph that can be run ({type(error).__name__})") from None
        (self._input,) = [given.name for given in self._session.get_inputs()] or [""]

    def __call__(self, wave: Tensor) -> Tensor:
        """float32 [n] at 16 kHz → float32 [S]."""
        features = kaldi_mel(wave)[None].numpy()
        assert features.shape[2] == KALDI_BINS
        vector = np.asarray(self._session.run(None, {self._input: features})[0], np.float32).reshape(-1)
        return torch.from_numpy(vector.copy())


def find_speaker_encoder(folder: Path) -> Path:
    """ConfigError names the places where it was looked for."""
    for place in PLACES:
        if (folder / place).is_file():
            return folder / place
    raise refusal(folder / PLACES[0], "no such file: it comes with the release's code", " or ".join(PLACES))
