"""Who speaks: CAM++ (Wang et al., 2023), a published ONNX graph, from Kaldi's picture to one vector.

The graph runs in onnxruntime, which is an extra: a server that makes no voices does without.  One thread, no custom
operators, nothing read but the file itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stream_server.errors import ConfigError
from stream_server.models.glm_tts.files import refusal, size_of
from stream_server.models.glm_tts.onnx_file import Unsafe, check

FILES = ("campplus.onnx", "frontend/campplus.onnx")  # below the checkpoint's directory, or the release's code
MAX_BYTES = 256 << 20  # the release's has 28 MB
MEMORY_BYTES = 2 << 30  # that loading it and a first run may take beside what there is
MAX_BINS = 1024
FATAL = 4  # severity from which onnxruntime writes a log of its own


class SpeakerEncoder:
    """ConfigError: onnxruntime or the file is missing, or the graph is not such a one."""

    def __init__(self, path: Path) -> None:
        onnxruntime = runtime()
        if not path.is_file():
            raise refusal(path, "no such file: CAM++ is needed to make a voice, and is published as campplus.onnx")
        if size_of(path) > MAX_BYTES:
            raise refusal(path, "too long for what it is", MAX_BYTES)
        data = path.read_bytes()
        try:
            check(data)
        except Unsafe as why:
            raise refusal(path, f"will not be run: {why}") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = FATAL
        options.add_session_config_entry("session.load_model_format", "ONNX")
        self.path = path
        with no_more_than(MEMORY_BYTES):
            try:
                self._session = onnxruntime.InferenceSession(data, options, ["CPUExecutionProvider"])
            except Exception as error:  # onnxruntime's own have no common base but this
                raise refusal(path, f"onnxruntime cannot load it ({type(error).__name__})") from None
            self._input, self.bins = self._shape_of_input()
            self.channels = self._channels()

    def _shape_of_input(self) -> tuple[str, int]:
        """Its name, and how many bins a frame of it has."""
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 3 or inputs[0].type != "tensor(float)" or not is_size(shape[2]):
            raise refusal(self.path, "does not take one picture (1, frames, bins) of float32")
        return inputs[0].name, shape[2]

    def _channels(self) -> int:
        """How many numbers the vector has, which the graph need not say."""
        return len(self(np.zeros((100, self.bins), np.float32)))

    def __call__(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """[T, bins] → [channels]."""
        try:
            found: list[Any] = self._session.run(None, {self._input: np.ascontiguousarray(picture[None], np.float32)})
        except Exception as error:
            raise refusal(self.path, f"cannot be run ({type(error).__name__})") from None
        vector = np.asarray(found[0])
        if len(found) != 1 or vector.dtype != np.float32 or vector.size != vector.shape[-1]:
            raise refusal(self.path, "does not give one vector of float32")
        return vector.reshape(-1)


@contextmanager
def no_more_than(size: int) -> Iterator[None]:
    """So many more bytes for this process meanwhile, where the system counts them: a graph of a few lines can ask for
    all there is."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = int(statm.read_text().split()[0]) * resource.getpagesize() + size
    if soft == resource.RLIM_INFINITY or most < soft:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def is_size(bins: Any) -> bool:
    return isinstance(bins, int) and 1 <= bins <= MAX_BINS


def runtime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError(
            "making a voice needs onnxruntime: pip install 'stream-server[glm]'", field="onnxruntime"
        ) from None
    return onnxruntime
