"""What an ONNX file says it would do, read before anything of it is done.

A model is a protocol buffer: fields of numbers, or of so many bytes, nested.  Looked for is what has no end (loops) and
what reaches beyond the file (tensors kept elsewhere, operators of others).  Knows no operator's meaning.
"""

from collections.abc import Iterator

MAX_NODES, MAX_DEPTH = 20_000, 8
ENDLESS = frozenset((b"Loop", b"Scan", b"SequenceMap"))
OWN_DOMAINS = frozenset((b"", b"ai.onnx"))
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
# Fields by their numbers, as the format's own definition has them.
MODEL_GRAPH, MODEL_FUNCTION = 7, 25
GRAPH_NODE, GRAPH_TENSOR = 1, 5
NODE_OPERATOR, NODE_ATTRIBUTE, NODE_DOMAIN = 4, 5, 7
ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = (5, 10), (6, 11)  # one, and several
TENSOR_EXTERNAL, TENSOR_PLACE = 13, 14


class Unsafe(Exception):
    """Why it will not be run."""


def check(data: bytes) -> None:
    """Raises `Unsafe`."""
    counted = [0]
    for field, value in fields(memoryview(data)):
        if field == MODEL_FUNCTION:
            raise Unsafe("it defines operators of its own")
        if field == MODEL_GRAPH:
            check_graph(nested(value), counted, 0)


def check_graph(graph: memoryview, counted: list[int], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Unsafe("its graphs are nested too deeply")
    for field, value in fields(graph):
        if field == GRAPH_TENSOR:
            check_tensor(nested(value))
        elif field == GRAPH_NODE:
            counted[0] += 1
            if counted[0] > MAX_NODES:
                raise Unsafe("it has too many nodes")
            check_node(nested(value), counted, depth)


def check_node(node: memoryview, counted: list[int], depth: int) -> None:
    for field, value in fields(node):
        if field == NODE_OPERATOR and bytes(nested(value)) in ENDLESS:
            raise Unsafe("it has a loop")
        if field == NODE_DOMAIN and bytes(nested(value)) not in OWN_DOMAINS:
            raise Unsafe("it has operators of others")
        if field == NODE_ATTRIBUTE:
            for inner, part in fields(nested(value)):
                if inner in ATTRIBUTE_TENSORS:
                    check_tensor(nested(part))
                elif inner in ATTRIBUTE_GRAPHS:
                    check_graph(nested(part), counted, depth + 1)


def check_tensor(tensor: memoryview) -> None:
    if any(field == TENSOR_EXTERNAL or (field == TENSOR_PLACE and value) for field, value in fields(tensor)):
        raise Unsafe("it keeps numbers in other files")


def nested(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise Unsafe("it is damaged")
    return value


def fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Each field's number with its bytes, or with a number."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        value: memoryview | int = 0
        if kind == VARINT:
            value, at = varint(data, at)
        elif kind == BYTES:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise Unsafe("it is damaged")
        if at > len(data):
            raise Unsafe("it is cut short")
        yield key >> 3, value


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """→ the number and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Unsafe("it is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise Unsafe("it is damaged")
