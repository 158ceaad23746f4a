from __future__ import annotations

import pytest
import torch

from kernels import encoder as module
from pa3d.config import EncoderConfig
from pa3d.model import PatchAligner

CONFIG = EncoderConfig(6, 8, dim=32, depth=2, heads=2, mlp_hidden=48, embed=(8, 16, 24, 16), pos_hidden=8, text_dim=20)


def model() -> PatchAligner:
    """Weights and running statistics far from their initial ones."""
    torch.manual_seed(4)
    made = PatchAligner(CONFIG)
    with torch.no_grad():
        for name, x in made.state_dict().items():
            if x.is_floating_point() and x.ndim:
                x.copy_(torch.rand(x.shape) + 0.5 if "running_var" in name else torch.randn(x.shape) * 0.3)
    return made.eval()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("n", [5, 33, 129])
def test_equals_the_model(n: int, batch: int, close):
    """Against float64, beside the same model under autocast. Fewer points than patches or members among the sizes."""
    made = model()
    cloud = torch.randn(batch, n, 3) * 0.5
    features, tokens, centers, members = module.FusedEncoder(made)(cloud)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = made.encoder(cloud)
        plain_features = torch.nn.functional.normalize(made.proj(plain.tokens).float(), dim=-1)
    assert torch.equal(centers, plain.centers) and torch.equal(members, plain.members)
    batches = torch.arange(batch)[:, None, None]
    patches = cloud[batches, members] - centers[:, :, None]
    with torch.no_grad():
        made.double()
        exact = made.encoder.encode_patches(patches.double(), centers.double())
        exact_features = made(patches.double(), centers.double()).double()
    close(tokens, plain.tokens.float(), exact)
    close(features, plain_features, exact_features)


def test_what_is_refused():
    assert module.unsupported_reason(EncoderConfig()) is None
    assert "heads are 12 wide" in str(module.unsupported_reason(EncoderConfig(dim=24, heads=2)))
    assert "patches have 33 points" in str(module.unsupported_reason(EncoderConfig(patch_size=33)))
    assert "257 wide" in str(module.unsupported_reason(EncoderConfig(embed=(8, 257, 24, 16))))
