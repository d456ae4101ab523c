"""Compiled: functions of numbers that numba compiles for the processor at hand, and what they are made of.

numba brings its compiler along; what it made is kept on disk.  Indices are unsigned because numba looks at the sign of
others, and then nothing is vectorised; so are the elementary functions here, which a library's are not.  They take and
give float32.

Not seen by numba: that a function called from another file has changed.  Whoever changes one here deletes what was
kept: `find . -name "*.nb?" -delete`.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numba import njit, types

Array = np.ndarray
Kernel = TypeVar("Kernel", bound=Callable[..., Any])
HOW: dict[str, Any] = {"fastmath": {"contract", "nsz", "arcp"}, "error_model": "numpy"}

# What a kernel that is called from outside takes, all contiguous: "F" float32, "D" float64, "I" int64, "U" uint64, "B"
# bool, a dimension a letter.
KINDS: dict[str, Any] = {
    "F": types.float32,
    "D": types.float64,
    "I": types.int64,
    "U": types.uint64,
    "B": types.boolean,
}

ZERO, ONE, TWO, THREE, FOUR = (np.uint64(n) for n in range(5))
LANES = np.uint64(16)  # partial sums, so that they are vectorised
LOWEST = np.float32(-87.33)  # whose exponential is a normal number


def compiled(*kinds: str) -> Callable[[Kernel], Kernel]:
    """Products and sums may fuse, no sum may change its order; kept on disk where there is a place to keep it.

    What is called from outside names the kinds of its arguments and is compiled now, for those alone: nobody waits for
    it later, and what is of another kind is refused.  Without any it is part of what calls it.
    """
    signature = tuple(map(kind, kinds)) or None

    def compile(function: Kernel) -> Kernel:
        make: Any = njit
        try:
            return make(signature, cache=True, **HOW)(function)
        except RuntimeError:  # neither the package's folder nor the user's can be written
            return make(signature, **HOW)(function)

    return compile


def kind(letters: str) -> Any:
    """ "FF" → a contiguous matrix of float32; "f" → one such number."""
    number = KINDS[letters[0].upper()]
    return number if letters.islower() else types.Array(number, len(letters), "C")


@compiled()
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


@compiled()
def log(x: Any) -> Any:
    """The natural logarithm of a normal number above 0, within 2e-7.  S. Moshier's `logf` (Cephes)."""
    bits = np.float32(x).view(np.int32)
    power = np.float32((bits >> np.int32(23)) - np.int32(126))
    x = np.int32((bits & np.int32(0x7FFFFF)) | np.int32(0x3F000000)).view(np.float32)  # 0.5 to 1
    small = x < np.float32(0.70710678)
    power = power - np.float32(1) if small else power
    x = (x + x if small else x) - np.float32(1)
    y = np.float32(7.0376836292e-2)
    y = y * x - np.float32(1.1514610310e-1)
    y = y * x + np.float32(1.1676998740e-1)
    y = y * x - np.float32(1.2420140846e-1)
    y = y * x + np.float32(1.4249322787e-1)
    y = y * x - np.float32(1.6668057665e-1)
    y = y * x + np.float32(2.0000714765e-1)
    y = y * x - np.float32(2.4999993993e-1)
    y = y * x + np.float32(3.3333331174e-1)
    square = x * x
    y = y * x * square - power * np.float32(2.12194440e-4) - np.float32(0.5) * square
    return x + y + power * np.float32(0.693359375)


@compiled()
def sine(half_turns: Any) -> Any:
    """sin(pi x) for x from -1/2 to 1/2, within 1e-7; the series to the thirteenth power."""
    square = half_turns * half_turns
    y = np.float32(4.6630281e-4)
    y = y * square - np.float32(7.3704309e-3)
    y = y * square + np.float32(8.2145887e-2)
    y = y * square - np.float32(5.9926453e-1)
    y = y * square + np.float32(2.5501640)
    y = y * square - np.float32(5.1677128)
    y = y * square + np.float32(3.1415927)
    return y * half_turns
