"""Kernels: what a step does between its products, each as one loop over numbers that lie ready.

A step that reads 15 MB of weights throws whatever it calls out of the processor's caches, so starting one of PyTorch's
operations costs it 5 to 9 µs, however little there is to do, and there were twenty of them in a layer.  Here a layer
has four.  Measured on an AVX-512 Xeon, a step of one row beside its bare products, as far as the logits: 1.4 times as
long, 1.8 by PyTorch's operations.

A row's numbers are made row by row, in the same order in any company.  Everything is float32, contiguous and on the
CPU; sizes are not checked.
"""

import numpy as np

from stream_server.nn.compiled import FOUR, LANES, ONE, THREE, TWO, ZERO, Array, compiled, exp


@compiled()
def total(x: Array) -> np.float32:
    """The sum of x [C]."""
    even = np.uint64(len(x)) // LANES * LANES
    sums = np.zeros(LANES, np.float32)
    for c in range(ZERO, even, LANES):
        for lane in range(LANES):
            sums[lane] += x[c + lane]
    for c in range(even, np.uint64(len(x))):
        sums[ZERO] += x[c]
    found = np.float32(0)
    for lane in range(LANES):
        found += sums[lane]
    return found


@compiled()
def squares(x: Array) -> np.float32:
    """The sum of x² [C]."""
    even = np.uint64(len(x)) // LANES * LANES
    sums = np.zeros(LANES, np.float32)
    for c in range(ZERO, even, LANES):
        for lane in range(LANES):
            sums[lane] += x[c + lane] * x[c + lane]
    for c in range(even, np.uint64(len(x))):
        sums[ZERO] += x[c] * x[c]
    found = np.float32(0)
    for lane in range(LANES):
        found += sums[lane]
    return found


@compiled("FF", "f", "FF")
def normalise(x: Array, epsilon: np.float32, out: Array) -> None:
    """out [B, C] = x / sqrt(sum(x²) + epsilon)."""
    for b in range(np.uint64(len(x))):
        row, made = x[b], out[b]
        scale = np.float32(1) / np.sqrt(squares(row) + epsilon)
        for c in range(np.uint64(len(row))):
            made[c] = row[c] * scale


@compiled("FF", "FF")
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


@compiled()
def turn(x: Array, cos: Array, sin: Array) -> None:
    """x [D]: each pair of neighbours as a complex number, times cos + i sin."""
    for i in range(np.uint64(len(cos))):
        a, b = x[TWO * i], x[TWO * i + ONE]
        x[TWO * i] = a * cos[i] - b * sin[i]
        x[TWO * i + ONE] = a * sin[i] + b * cos[i]


@compiled()
def ask(q: Array, keys: Array, length: np.uint64, scores: Array) -> None:
    """scores [R, length] = q [R, D] over keys [D, T], four channels at a time, each read once for all R."""
    R, D = np.uint64(q.shape[0]), np.uint64(q.shape[1])
    even = D // FOUR * FOUR
    stop = min((length + LANES - ONE) // LANES * LANES, np.uint64(keys.shape[1]))
    scores[:, :stop] = 0
    for d in range(ZERO, even, FOUR):
        for r in range(R):
            row, q0, q1, q2, q3 = scores[r], q[r, d], q[r, d + ONE], q[r, d + TWO], q[r, d + THREE]
            for t in range(stop):
                low = q0 * keys[d, t] + q1 * keys[d + ONE, t]
                row[t] += low + (q2 * keys[d + TWO, t] + q3 * keys[d + THREE, t])
    for d in range(even, D):
        for r in range(R):
            for t in range(stop):
                scores[r, t] += q[r, d] * keys[d, t]


@compiled()
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
    whole = total(scores[:stop])
    for t in range(stop):
        scores[t] /= whole


@compiled()
def gather(shares: Array, values: Array, length: np.uint64, out: Array) -> None:
    """out [R, D] = shares [R, length] of values [T, D], four positions at a time, each read once for all R."""
    R, D = np.uint64(out.shape[0]), np.uint64(out.shape[1])
    stop = min((length + THREE) // FOUR * FOUR, np.uint64(len(values)) // FOUR * FOUR)
    out[:] = 0
    for t in range(ZERO, stop, FOUR):
        for r in range(R):
            row, p0, p1, p2, p3 = out[r], shares[r, t], shares[r, t + ONE], shares[r, t + TWO], shares[r, t + THREE]
            for d in range(D):
                low = p0 * values[t, d] + p1 * values[t + ONE, d]
                row[d] += low + (p2 * values[t + TWO, d] + p3 * values[t + THREE, d])
    for t in range(stop, length):
        for r in range(R):
            for d in range(D):
                out[r, d] += shares[r, t] * values[t, d]


@compiled("FF", "FF", "FF", "I", "I", "FFFF", "FF", "FF")
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
            here = slice(g * R * D, (g + ONE) * R * D)
            ask(qkv[b, here].reshape((R, D)), k, length, scores)
            for r in range(R):
                share(scores[r], length)
            gather(scores, v, length, heard[b, here].reshape((R, D)))


@compiled("FF", "FFF", "I", "I", "FF", "F", "FF")
def convolve(x: Array, history: Array, slots: Array, lengths: Array, taps: Array, offset: Array, out: Array) -> None:
    """Causal depthwise convolution of rows' pieces end to end, x and out [sum of T, C], each behind its slot's past.

    taps [K, C], the last one the present's; offset [C]; history [S, K - 1, C] moves on.
    """
    K, C = np.uint64(taps.shape[0]), np.uint64(taps.shape[1])
    past = K - ONE
    stop = ZERO
    for b in range(np.uint64(len(lengths))):
        before, first, length = history[np.uint64(slots[b])], stop, np.uint64(lengths[b])
        stop = first + length
        for t in range(length):
            made = out[first + t]
            made[:] = offset
            for k in range(K):
                source = before[t + k] if t + k < past else x[first + t + k - past]
                tap = taps[k]
                for c in range(C):
                    made[c] += source[c] * tap[c]
        for k in range(past):
            before[k] = before[k + length] if k + length < past else x[stop + k - past]


@compiled("FF", "F", "F", "f")
def normalise_layer(x: Array, weight: Array, bias: Array, epsilon: np.float32) -> None:
    """LayerNorm of x [N, C] where it lies."""
    columns = np.uint64(x.shape[1])
    for n in range(np.uint64(len(x))):
        row = x[n]
        mean = total(row) / np.float32(columns)
        for c in range(columns):
            row[c] -= mean
        scale = np.float32(1) / np.sqrt(squares(row) / np.float32(columns) + epsilon)
        for c in range(columns):
            row[c] = row[c] * scale * weight[c] + bias[c]


@compiled("FF", "F")
def gelu(x: Array, bias: Array) -> None:
    """gelu(x + bias) of x [N, C] where it lies; the error function by Abramowitz and Stegun's 7.1.26, to 2e-7."""
    for n in range(np.uint64(len(x))):
        row = x[n]
        for c in range(np.uint64(len(row))):
            value = row[c] + bias[c]
            place = np.abs(value) * np.float32(0.70710678)
            t = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * place)
            y = np.float32(1.061405429)
            y = y * t - np.float32(1.453152027)
            y = y * t + np.float32(1.421413741)
            y = y * t - np.float32(0.284496736)
            y = y * t + np.float32(0.254829592)
            rest = np.float32(0.5) * (y * t * exp(-place * place))  # of the normal distribution, beyond |value|
            row[c] = value * (np.float32(1) - rest if value > 0 else rest)
