"""Our RMSNorm beside torch's."""

import torch

from stream_server.nn.norm import RMSNorm


def test_the_same_numbers_as_torch() -> None:
    ours, theirs = RMSNorm(48), torch.nn.RMSNorm(48, eps=1e-5)
    with torch.no_grad():
        ours.weight.copy_(torch.randn(48))
    theirs.load_state_dict(ours.state_dict())
    for scale in (1e-4, 1.0, 100.0):
        x = torch.randn(3, 5, 48) * scale
        torch.testing.assert_close(ours(x), theirs(x))
