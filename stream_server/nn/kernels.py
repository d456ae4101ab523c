"""Kernels: what a step does between its products, each as one loop over numbers that lie ready.

A step that reads 15 MB of weights throws whatever it calls out of the processor's caches, so starting one of PyTorch's
operations costs it 5 to 9 µs, however little there is to do, and there are twenty of them in a layer.  Here a layer has
four, compiled for the processor at hand by numba, which brings its compiler along; what it made is kept on disk.
Measured on an AVX-512 Xeon, a step of one row beside its bare products: 1.2 times as long, 1.7 by PyTorch's operations.

A row's numbers are made row by row, in the same order in any company.  Indices are unsigned because numba looks at
the sign of others, and then nothing is vectorised.  Everything is float32, contiguous, on the CPU; sizes are not
checked.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit

Array = np.ndarray
Kernel = TypeVar("Kernel", bound=Callable[..., Any])
ZERO, ONE, TWO, THREE, FOUR = (np.uint64(n) for n in range(5))
LANES = np.uint64(16)  # partial sums, so that they are vectorised
LOWEST = np.float32(-87.33)  # whose exponential is a normal number


def compiled(function: Kernel) -> Kernel:
    """Products and sums may fuse, no sum may change its order; kept on disk where there is a place to keep it."""
    how: dict[str, Any] = {"fastmath": {"contract", "nsz", "arcp"}, "error_model": "numpy"}
    try:
        return njit(cache=True, **how)(function)
    except RuntimeError:  # neither the package's folder nor the user's can be written
        return njit(**how)(function)


@compiled
def exp(x: Any) -> Any:
    """e^x within 2e-7 of itself, 1.2e-38 at least; what is no number stays none.  S. Moshier's `expf` (Cephes)."""
    if x < LOWEST:
        x = LOWEST
    whole = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
    x = x - whole * np.float32(0.693359375)
    x = x + whole * np.float32(2.12194440e-4)
    y = np.float32(1.9875691500e-4)
    y = y * x + np.float32(1.3981999507e-3)
    y = y * x + np.float32(8.3334519073e-3)
    y = y * x + np.float32(4.1665795894e-2)
    y = y * x + np.float32(1.6666665459e-1)
    y = y * x + np.float32(5.0000001201e-1)
    y = y * (x * x) + x + np.float32(1)
    return y * np.int32((np.int32(whole) + np.int32(127)) << np.int32(23)).view(np.float32)


@compiled
def normalise(x: Array, epsilon: np.float32, out: Array) -> None:
    """out [B, C] = x / sqrt(sum(x²) + epsilon)."""
    columns = np.uint64(x.shape[1])
    even = columns // LANES * LANES
    sums = np.empty(LANES, np.float32)
    for b in range(np.uint64(len(x))):
        sums[:] = 0
        for c in range(ZERO, even, LANES):
            for lane in range(LANES):
                sums[lane] += x[b, c + lane] * x[b, c + lane]
        for c in range(even, columns):
            sums[ZERO] += x[b, c] * x[b, c]
        total = epsilon
        for lane in range(LANES):
            total += sums[lane]
        scale = np.float32(1) / np.sqrt(total)
        for c in range(columns):
            out[b, c] = x[b, c] * scale


@compiled
def swiglu(gate_up: Array, out: Array) -> None:
    """gate_up [B, 2 C], two halves → out [B, C] = silu(gate) up."""
    columns = np.uint64(out.shape[1])
    for b in range(np.uint64(len(out))):
        gates, ups, row = gate_up[b, :columns], gate_up[b, columns:], out[b]
        for c in range(columns):
            gate = gates[c]
            row[c] = gate / (np.float32(1) + exp(-gate)) * ups[c]


def room(each: int, positions: int) -> np.ndarray:
    """For the scores of `each` query heads of one key-value head, in `listen`."""
    return np.empty((each, positions + int(LANES)), np.float32)


@compiled
def listen(
    qkv: Array, cos: Array, sin: Array, slots: Array, positions: Array, kept: Array, scores: Array, heard: Array
) -> None:
    """Rotary position, the cache's write and attention of one new position a row.

    qkv [B, (H + 2 G) D], the pairs that turn side by side and q scaled, is turned in place; cos and sin
    [positions, D / 2]; slots and positions int64 [B]; kept [S, G, 2, D T], a layer of a `KVCache`, which takes the
    row's new keys and values; scores as `room` makes them; heard [B, H D].
    """
    G, R, D = np.uint64(kept.shape[1]), np.uint64(len(scores)), TWO * np.uint64(cos.shape[1])
    H, T = G * R, np.uint64(kept.shape[3]) // D
    for b in range(np.uint64(len(slots))):
        slot, position = np.uint64(slots[b]), np.uint64(positions[b])
        at, length = position % T, min(position + ONE, T)
        for h in range(H + G):
            turn(qkv[b, h * D : (h + ONE) * D], cos[position], sin[position])
        for g in range(G):
            k, v = kept[slot, g, ZERO].reshape((D, T)), kept[slot, g, ONE].reshape((T, D))
            for d in range(D):
                k[d, at] = qkv[b, (H + g) * D + d]
                v[at, d] = qkv[b, (H + G + g) * D + d]
            for r in range(R):
                first = (g * R + r) * D
                ask(qkv[b, first : first + D], k, length, scores[r])
                share(scores[r], length)
                gather(scores[r], v, length, heard[b, first : first + D])


@compiled
def turn(x: Array, cos: Array, sin: Array) -> None:
    """x [D]: each pair of neighbours as a complex number, times cos + i sin."""
    for i in range(np.uint64(len(cos))):
        a, b = x[TWO * i], x[TWO * i + ONE]
        x[TWO * i] = a * cos[i] - b * sin[i]
        x[TWO * i + ONE] = a * sin[i] + b * cos[i]


@compiled
def ask(q: Array, keys: Array, length: np.uint64, scores: Array) -> None:
    """scores [length] = q [D] over keys [D, T], four channels at a time."""
    D = np.uint64(len(q))
    even = D // FOUR * FOUR
    stop = min((length + LANES - ONE) // LANES * LANES, np.uint64(keys.shape[1]))
    for t in range(stop):
        scores[t] = 0
    for d in range(ZERO, even, FOUR):
        q0, q1, q2, q3 = q[d], q[d + ONE], q[d + TWO], q[d + THREE]
        for t in range(stop):
            low = q0 * keys[d, t] + q1 * keys[d + ONE, t]
            scores[t] += low + (q2 * keys[d + TWO, t] + q3 * keys[d + THREE, t])
    for d in range(even, D):
        for t in range(stop):
            scores[t] += q[d] * keys[d, t]


@compiled
def share(scores: Array, length: np.uint64) -> None:
    """The softmax of scores [length] where they lie, zeros behind them up to a multiple of LANES."""
    stop = (length + LANES - ONE) // LANES * LANES
    for t in range(length, stop):
        scores[t] = -np.inf
    lanes = scores[:LANES].copy()
    for t in range(LANES, stop, LANES):
        for lane in range(LANES):
            lanes[lane] = max(lanes[lane], scores[t + lane])
    highest = lanes[ZERO]
    for lane in range(ONE, LANES):
        highest = max(highest, lanes[lane])
    for t in range(stop):
        scores[t] = exp(scores[t] - highest)
    for t in range(length, stop):
        scores[t] = 0
    lanes[:] = 0
    for t in range(ZERO, stop, LANES):
        for lane in range(LANES):
            lanes[lane] += scores[t + lane]
    total = np.float32(0)
    for lane in range(LANES):
        total += lanes[lane]
    for t in range(stop):
        scores[t] /= total


@compiled
def gather(shares: Array, values: Array, length: np.uint64, out: Array) -> None:
    """out [D] = shares [length] of values [T, D], four positions at a time."""
    D = np.uint64(len(out))
    stop = min((length + THREE) // FOUR * FOUR, np.uint64(len(values)) // FOUR * FOUR)
    for d in range(D):
        out[d] = 0
    for t in range(ZERO, stop, FOUR):
        p0, p1, p2, p3 = shares[t], shares[t + ONE], shares[t + TWO], shares[t + THREE]
        for d in range(D):
            low = p0 * values[t, d] + p1 * values[t + ONE, d]
            out[d] += low + (p2 * values[t + TWO, d] + p3 * values[t + THREE, d])
    for t in range(stop, length):
        for d in range(D):
            out[d] += shares[t] * values[t, d]
