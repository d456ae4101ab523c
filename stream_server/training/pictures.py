"""Pictures: spectrograms of several sounds on one sheet, for eyes where there are no ears.

    python -m stream_server.training.pictures OUT.png A.wav B.wav …

Two in a row, so that pairs (reference, synthetic) stand side by side on one time scale; 0–12 kHz, 10 ms a column.
Knows nothing of what the sounds are.
"""

import argparse
import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from stream_server.training.spectrogram import HOP, SAMPLE_RATE, decibels, spectrogram
from stream_server.training.systems import read

COLUMNS = 2
RANGE_DB = 80  # below the loudest point, black
MOST_BYTES = 400_000
COLOURS = 64
DPI = (130, 110, 90, 75, 60, 45)  # the first that fits


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("sounds", type=Path, nargs="+")
    options = parser.parse_args()
    titles = [f"{path.parent.name}/{path.name}" for path in options.sounds]
    options.out.write_bytes(compact_png(sheet(titles, [spectrogram(*read(path)) for path in options.sounds])))
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")


def sheet(titles: list[str], powers: list[np.ndarray]) -> Figure:
    rows = -(-len(powers) // COLUMNS)
    columns = min(COLUMNS, len(powers))
    figure = Figure(figsize=(6.5 * columns, 2.4 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat[len(powers) :]:
        axis.set_visible(False)
    for row in range(rows):
        pair = slice(row * COLUMNS, (row + 1) * COLUMNS)
        longest = max(len(power) for power in powers[pair]) * HOP / SAMPLE_RATE
        for axis, title, power in zip(axes[row], titles[pair], powers[pair]):
            levels = decibels(power.T)
            extent = (0, len(power) * HOP / SAMPLE_RATE, 0, SAMPLE_RATE / 2000)
            top = levels.max()
            axis.imshow(
                levels, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=top - RANGE_DB, vmax=top
            )
            axis.set(title=title, xlim=(0, longest), yticks=range(0, 13, 2), facecolor="black")
            axis.set_ylabel("kHz")
    return figure


def compact_png(figure: Figure) -> bytes:
    """As sharp as MOST_BYTES allow."""
    for dpi in DPI:
        png = quantised(figure, dpi)
        if len(png) <= MOST_BYTES:
            break
    return png


def quantised(figure: Figure, dpi: int) -> bytes:
    plain, small = io.BytesIO(), io.BytesIO()
    figure.savefig(plain, dpi=dpi)
    Image.open(plain).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


if __name__ == "__main__":
    main()
