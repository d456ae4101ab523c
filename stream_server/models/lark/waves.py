"""Waves: the loops of the source-filter synthesiser, sample by sample and bin by bin.

Each frame's numbers come from itself, its row's past and nothing else.  Compiled, because by PyTorch's operations most
of the time went into carrying numbers to memory and back.  float32 but for a pulse's place between two samples.
"""

import math

import numpy as np

from stream_server.nn.compiled import ONE, TWO, ZERO, Array, compiled, exp, log, sine

NEPERS_PER_DECIBEL = np.float32(math.log(10) / 10)  # of power
VOICING_SLOPE = np.float32(4)  # a frame that is three parts in four sure to be voiced is; no hard edge to fall over
QUIETEST, LOUDEST = np.float32(1e-6), np.float32(1 - 1e-6)  # noise's share of the power
NYQUIST = 0.49  # of the sampling rate: where harmonics end
WHITE = np.float32(3**0.5 * 2.0**-23)  # 24 random bits → unit power
HALF, UNIT, TWICE = np.float32(0.5), np.float32(1), np.float32(2)


@compiled()
def glide(start: np.float32, stop: np.float32, f0: Array) -> None:
    """f0 [hop] in Hz: from after `start` to `stop`, logarithms of it, evenly."""
    hop = np.uint64(len(f0))
    for j in range(hop):
        part = np.float32(j + ONE) / np.float32(hop)
        f0[j] = exp(start * (UNIT - part) + stop * part)


@compiled()
def pulses(places: Array, f0: Array, rate: np.float64, out: Array) -> None:
    """All harmonics below Nyquist in cosine phase, scaled to unit power; places float64 [hop], in cycles."""
    for j in range(np.uint64(len(out))):
        room = NYQUIST * rate / np.float64(f0[j])
        count = np.floor(room)
        place = places[j] - np.floor(places[j] + 0.5)
        top = (2 * count + 1) * place  # half turns, of which the sine is taken
        turns = np.floor(top + 0.5)
        top -= turns
        odd = turns - 2 * np.floor(0.5 * turns)
        bottom = sine(np.float32(place))
        ratio = sine(np.float32(top)) * np.float32(1 - 2 * odd) / (bottom if place != 0 else UNIT)
        ratio = ratio if place != 0 else np.float32(2 * count + 1)
        beyond = (count + 1) * place  # turns: the next harmonic, which comes in gently
        beyond -= np.floor(beyond + 0.5)
        gentle = np.float32(room - count) * sine(HALF - np.float32(2 * np.abs(beyond)))
        out[j] = (HALF * (ratio - UNIT) + gentle) * np.float32(np.sqrt(2 / room))


@compiled()
def noise(seed: np.int64, first: np.int64, out: Array) -> None:
    """White, uniform, of unit power: splitmix64's finaliser on the seed and the sample's number."""
    start = np.uint64(seed) * np.uint64(0xBF58476D1CE4E5B9)
    for j in range(np.uint64(len(out))):
        x = (np.uint64(first) + j) * np.uint64(0x9E3779B97F4A7C15) + start
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        out[j] = np.float32(np.int32((x >> np.uint64(33)) & np.uint64(0xFFFFFF)) - np.int32(1 << 23)) * WHITE


@compiled("F", "I", "I", "D", "F", "I", "I", "FFF", "F", "d", "FFF")
def excite(
    log_f0: Array,
    counts: Array,
    slots: Array,
    phase: Array,
    last: Array,
    hops: Array,
    seeds: Array,
    source: Array,
    window: Array,
    rate: np.float64,
    pieces: Array,
) -> None:
    """log_f0 [sum of F] of rows of counts [B] frames → pieces [sum of F, 2, fft] of pulses and noise: the hop before
    the last frame and the one after it, windowed, then silence.

    phase float64, last, hops int64, seeds int64 [S] and source [S, 2, hop] are what slots remember, and move on.
    """
    hop = np.uint64(source.shape[2])
    f0, places = np.empty(hop, np.float32), np.empty(hop, np.float64)
    stop = ZERO
    for b in range(np.uint64(len(counts))):
        slot, first = np.uint64(slots[b]), stop
        stop = first + np.uint64(counts[b])
        before = last[slot] if hops[slot] > 0 else log_f0[first]
        for frame in range(first, stop):
            for s in range(TWO):
                for j in range(hop):
                    pieces[frame, s, j] = source[slot, s, j] * window[j]
            glide(before, log_f0[frame], f0)
            place = phase[slot]
            for j in range(hop):
                place += np.float64(f0[j]) / rate
                places[j] = place
            phase[slot] = place % 1.0
            pulses(places, f0, rate, source[slot, ZERO])
            noise(seeds[slot], hops[slot] * np.int64(hop), source[slot, ONE])
            for s in range(TWO):
                for j in range(hop):
                    pieces[frame, s, hop + j] = source[slot, s, j] * window[hop + j]
                pieces[frame, s, TWO * hop :] = 0
            before = log_f0[frame]
            hops[slot] += 1
        last[slot] = before


@compiled("FF", "FF", "F", "FFF")
def split(log_power: Array, decibels: Array, voiced: Array, out: Array) -> None:
    """log_power and noise's decibels in it [N, bins], voiced [N] → logarithms of the pulses' and the noise's amplitudes
    [N, 2, bins]."""
    for n in range(np.uint64(len(log_power))):
        voicing = min(max(VOICING_SLOPE * (voiced[n] - HALF) + HALF, np.float32(0)), UNIT)
        pulse, hiss, power, share = out[n, ZERO], out[n, ONE], log_power[n], decibels[n]
        for i in range(np.uint64(len(power))):
            part = min(max(exp(share[i] * NEPERS_PER_DECIBEL), QUIETEST), LOUDEST)
            pulse[i] = max(voicing * (UNIT - part), QUIETEST)
        for i in range(np.uint64(len(power))):
            hiss[i] = HALF * (log(UNIT - pulse[i]) + power[i])
        for i in range(np.uint64(len(power))):
            pulse[i] = HALF * (log(pulse[i]) + power[i])


@compiled()
def turned(x: Array, filters: Array, gain: np.float32, out: Array) -> None:
    """out [2 bins] = gain × x × e^filters."""
    for i in range(np.uint64(len(out)) // TWO):
        half_turns = filters[TWO * i + ONE] * np.float32(1 / math.pi)
        turns = np.floor(half_turns + HALF)
        rest = half_turns - turns
        amplitude = gain * exp(filters[TWO * i]) * (UNIT - TWICE * (turns - TWICE * np.floor(HALF * turns)))
        real, imaginary = amplitude * sine(HALF - np.abs(rest)), amplitude * sine(rest)
        a, b = x[TWO * i], x[TWO * i + ONE]
        out[TWO * i], out[TWO * i + ONE] = a * real - b * imaginary, a * imaginary + b * real


@compiled("FFF", "FFF", "f", "FF")
def shape(spectra: Array, filters: Array, gain: np.float32, out: Array) -> None:
    """out [N, 2 bins] = gain × the sum over the two of spectra × e^filters, [N, 2, 2 bins], all complex numbers whose
    parts lie side by side."""
    for n in range(np.uint64(len(out))):
        y = out[n]
        turned(spectra[n, ZERO], filters[n, ZERO], gain, y)
        hiss = y.copy()
        turned(spectra[n, ONE], filters[n, ONE], gain, hiss)
        for i in range(np.uint64(len(y))):
            y[i] += hiss[i]


@compiled("FF", "I", "I", "FF", "F")
def overlap_add(segments: Array, counts: Array, slots: Array, tail: Array, out: Array) -> None:
    """segments [sum of F, fft] of rows of counts [B] frames → finished sound, out [sum of F × hop], rows end to end;
    tail [S, fft - hop], what lies ahead of a slot's sound, moves on."""
    fft, rest = np.uint64(segments.shape[1]), np.uint64(tail.shape[1])
    hop = fft - rest
    stop = ZERO
    for b in range(np.uint64(len(counts))):
        ahead, first = tail[np.uint64(slots[b])], stop
        stop = first + np.uint64(counts[b])
        for frame in range(first, stop):
            segment, done = segments[frame], out[frame * hop : (frame + ONE) * hop]
            for j in range(hop):
                done[j] = ahead[j] + segment[j]
            for j in range(hop, rest):
                ahead[j - hop] = ahead[j] + segment[j]
            for j in range(rest, fft):
                ahead[j - hop] = segment[j]
