import io

import numpy as np
import pytest

pytest.importorskip("soundfile")
pytest.importorskip("soxr")
pytest.importorskip("matplotlib")

from PIL import Image

from stream_server.training.pictures import MOST_BYTES, compact_png, sheet
from stream_server.training.spectrogram import spectrogram


def test_noise_which_compresses_worst_still_fits() -> None:
    rng = np.random.default_rng(0)
    powers = [spectrogram(rng.standard_normal(48_000 * (1 + index % 2)), 24_000) for index in range(5)]
    png = compact_png(sheet([str(index) for index in range(5)], powers))
    assert len(png) <= MOST_BYTES
    assert Image.open(io.BytesIO(png)).format == "PNG"
