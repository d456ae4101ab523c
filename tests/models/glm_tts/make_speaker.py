"""A tiny ONNX graph with CAM++'s input and output: the mean over time times a random matrix.

ONNX files are protocol buffers; the few fields that such a graph needs are written here by hand, so that nobody needs
another library for it.
"""

from pathlib import Path

import numpy as np

FLOAT, INTS = 1, 7  # TensorProto.DataType, AttributeProto.AttributeType


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def value_info(name: str, shape: tuple[int | str, ...]) -> bytes:
    axes = b"".join(block(1, number(1, axis) if isinstance(axis, int) else block(2, axis)) for axis in shape)
    return block(1, name) + block(2, block(1, number(1, FLOAT) + block(2, axes)))


def node(kind: str, inputs: list[str], output: str, attributes: bytes = b"") -> bytes:
    return b"".join(block(1, name) for name in inputs) + block(2, output) + block(4, kind) + attributes


def speaker_graph(matrix: np.ndarray) -> bytes:
    """matrix float32 [bins, channels]."""
    bins, channels = matrix.shape
    axes = block(1, "axes") + number(8, 1) + number(20, INTS)
    flat = block(1, "keepdims") + number(3, 0) + number(20, 2)
    weight = number(1, bins) + number(1, channels) + number(2, FLOAT) + block(8, "weight")
    graph = (
        block(1, node("ReduceMean", ["input"], "mean", block(5, axes) + block(5, flat)))
        + block(1, node("MatMul", ["mean", "weight"], "output"))
        + block(2, "speaker")
        + block(5, weight + block(9, matrix.astype("<f4").tobytes()))
        + block(11, value_info("input", (1, "frames", bins)))
        + block(12, value_info("output", (1, channels)))
    )
    return number(1, 8) + block(7, graph) + block(8, number(2, 13))


def make_speaker(path: Path, bins: int = 80, channels: int = 192, seed: int = 0) -> np.ndarray:
    """Writes the graph; → its matrix [bins, channels]."""
    matrix = np.random.default_rng(seed).standard_normal((bins, channels)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(speaker_graph(matrix))
    return matrix
