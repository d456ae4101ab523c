"""The shipped voice, loaded once for all tests that listen to it."""

import pytest
import torch

from stream_server.models.interface import SpeechModel
from stream_server.models.registry import load


@pytest.fixture(scope="session")
def lark() -> SpeechModel:
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    return load("lark")
