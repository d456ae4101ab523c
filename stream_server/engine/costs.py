"""What a step costs on this machine, and so how many streams it can serve: a straight line, fitted at start, and a
slowdown that is watched while running.

    seconds of a step ≈ a + b rows decoded + c (if the vocoder is called) + d tokens vocoded

Knows no model and no sequence; `calibrate` brings it its samples.
"""

from dataclasses import dataclass

import numpy as np

BUSY = 0.75  # share of the engine's time that streams may claim: beyond it leads melt faster than bursts refill them
CHUNK = 4  # tokens: what a vocoder's call is taken to hold for each stream
LOADED = 1.2  # what a step takes beside a busy front, over calibration beside an idle one: measured 1.1 to 1.3
SEEN = 1.15  # ... over what it takes beside half a house: in a full one it will be more
PARTS = ("step", "row", "vocoder", "token")  # of the line: what each is the cost of
WATCHED_S = 2.0  # seconds of steps over which the slowdown is averaged


@dataclass
class Costs:
    line: np.ndarray  # float64 [4]: a, b, c, d in seconds, none below 0
    slowdown: float = 1.0  # what steps take now over what they took at calibration

    @classmethod
    def fit(cls, samples: list[tuple[int, int, float]]) -> "Costs":
        """From steps: (rows decoded, tokens vocoded, seconds).  Errors count by their share of the step."""
        seconds = np.array([s for _, _, s in samples])
        knowns = np.stack([features(rows, tokens) for rows, tokens, _ in samples])
        line, *_ = np.linalg.lstsq(knowns / seconds[:, None], np.ones(len(samples)), rcond=None)
        return cls(np.maximum(line, 0.0))

    def predict(self, rows: int, vocoded: int) -> float:
        return float(features(rows, vocoded) @ self.line)

    @property
    def by_part(self) -> dict[str, float]:
        """Seconds, as things go now."""
        return dict(zip(PARTS, (self.slowdown * self.line).tolist()))

    def note(self, rows: int, vocoded: int, seconds: float) -> None:
        """A step as it really was."""
        predicted = self.predict(rows, vocoded)
        if predicted > 0:
            weight = min(1.0, seconds / WATCHED_S)
            self.slowdown += weight * (seconds / predicted - self.slowdown)

    def capacity(self, token_s: float, running: int = 0) -> int:
        """Streams that can be served at speed 1: in the time of one token all of them decode one and sound one.

        What steps will take beside a busy front is guessed, until half as many are `running`: then it is seen, and a
        calibration that was disturbed is mended.
        """
        guessed = self.streams(token_s, max(LOADED, self.slowdown))
        return guessed if running < guessed / 2 else max(guessed, self.streams(token_s, SEEN * self.slowdown))

    def streams(self, token_s: float, slowdown: float) -> int:
        a, b, c, d = self.line
        room = BUSY * token_s / slowdown - a - c / CHUNK
        return max(1, int(room / max(b + d, 1e-9)))


def features(rows: int, vocoded: int) -> np.ndarray:
    return np.array([rows > 0, rows, vocoded > 0, vocoded], np.float64)
