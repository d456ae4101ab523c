"""The shipped voice, loaded once for all tests that listen to it; and no stopwatch on property tests."""

from collections.abc import Iterator

import hypothesis
import pytest
import torch

from stream_server.models.interface import SpeechModel
from stream_server.models.registry import load

# Machines that test are slow at times, and speed is never asserted here.
hypothesis.settings.register_profile("gate", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("gate")


@pytest.fixture(autouse=True)
def own_arithmetic() -> Iterator[None]:
    """Commands flush denormals in the process they run in; hypothesis, in this one, wants them."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def lark() -> SpeechModel:
    torch.set_num_threads(1)
    return load("lark")
