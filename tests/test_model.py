"""The torch encoder: the native engine at sizes around every block edge, gradients, stochastic depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from clouds import cloud
from tiny import random_checkpoint

from pa3d.checkpoint import Checkpoint
from pa3d.config import EncoderConfig
from pa3d.errors import InputError
from pa3d.native import NativeEncoder

torch = pytest.importorskip("torch")

from pa3d.model import Encoder, PatchAligner  # noqa: E402
from pa3d.torch_encoder import TorchEncoder  # noqa: E402

SMALL = EncoderConfig(
    patches=10,
    patch_size=7,
    dim=48,
    depth=2,
    heads=3,
    mlp_hidden=100,
    embed=(5, 9, 18, 33),
    pos_hidden=11,
    text_dim=21,
)
CONFIGS = {
    "small": SMALL,
    "one of everything": EncoderConfig(1, 1, 1, 1, 1, 1, (1, 1, 1, 1), 1, 1),
    "one head": replace(SMALL, heads=1, dim=17, patches=33),
    "narrow heads": replace(SMALL, heads=16, dim=16, patch_size=16),
    "wide heads": replace(SMALL, heads=2, dim=130, mlp_hidden=129, text_dim=257),
    "wide patches": replace(SMALL, patch_size=65, embed=(17, 31, 65, 127), patches=15),
    "embedded sizes": EncoderConfig(128, 32, 256, 2, 4, 1024, (64, 128, 256, 256), 128, 384),
}


def sphere(n: int, seed: int = 0) -> np.ndarray:
    points = cloud("random", n, seed)
    return np.ascontiguousarray(points / np.linalg.norm(points, axis=1).max())


def exact(c: Checkpoint, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and features in float64, of the same patches."""
    model = PatchAligner(c.config).double().eval()
    model.load_tensors({k: torch.from_numpy(v).double() for k, v in c.tensors.items()})
    with torch.inference_mode():
        found = TorchEncoder(c, device="cpu").model.encoder(torch.from_numpy(points)[None])
        at = torch.from_numpy(points).double()
        centers = found.centers.double()
        patches = at[found.members] - centers[:, :, None]
        tokens = model.encoder.encode_patches(patches, centers)
        features = torch.nn.functional.normalize(model.proj(tokens), dim=-1)
    return tokens[0].numpy(), features[0].numpy()


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("n", [3, 40, 2048])
def test_native_is_as_close_to_float64_as_torch(isa: str, config: EncoderConfig, n: int) -> None:
    c, points = random_checkpoint(config), sphere(n)
    native, plain = NativeEncoder(c, "fp32")(points), TorchEncoder(c, device="cpu")(points)
    assert np.array_equal(native.centers, plain.centers) and np.array_equal(native.members, plain.members)
    tokens, features = exact(c, points)
    for got, reference, truth in (
        (native.tokens, plain.tokens, tokens),
        (native.features, plain.features, features),
    ):
        assert got.shape == truth.shape and got.dtype == np.float32
        error, floor = np.abs(got - truth).max(), 64 * np.finfo(np.float32).eps * np.abs(truth).max()
        assert error <= max(2 * np.abs(reference - truth).max(), floor)


@pytest.mark.parametrize("name", ["small", "wide heads", "embedded sizes"])
def test_bf16_is_as_close_to_float64_as_autocast(name: str) -> None:
    from pa3d import _C

    if not _C.supports("bf16"):
        pytest.skip("this processor has no AVX-512 BF16")
    c, points = random_checkpoint(CONFIGS[name]), sphere(2048)
    native, autocast = NativeEncoder(c, "bf16")(points), TorchEncoder(c, "bf16", "cpu")(points)
    assert np.array_equal(native.members, autocast.members)
    _, features = exact(c, points)
    assert np.linalg.norm(native.features - features) <= 2 * np.linalg.norm(autocast.features - features)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_thread_and_two_give_the_same(precision: str) -> None:
    from pa3d import _C

    if not _C.supports(precision):
        pytest.skip("this processor has no AVX-512 BF16")
    c, points = random_checkpoint(CONFIGS["embedded sizes"]), sphere(2048)
    one, two = (NativeEncoder(c, precision, threads)(points) for threads in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one[:4], two[:4], strict=True))


def test_gradients_reach_every_weight() -> None:
    torch.manual_seed(0)
    model = PatchAligner(replace(SMALL, drop_path=0.0)).train()
    encoded = model.encoder(torch.from_numpy(np.stack([sphere(60, 1), sphere(60, 2)])))
    assert encoded.tokens.shape == (2, 10, 48)
    features = torch.nn.functional.normalize(model.proj(encoded.tokens), dim=-1)
    (features * torch.randn_like(features)).sum().mul(model.scale).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []


def test_batches_are_independent() -> None:
    c = random_checkpoint(SMALL)
    encoder = TorchEncoder(c, device="cpu").model.encoder
    clouds = torch.from_numpy(np.stack([sphere(60, seed) for seed in range(3)]))
    together = encoder(clouds)
    for b in range(3):
        alone = encoder(clouds[b : b + 1])
        assert torch.equal(alone.members[0], together.members[b])
        torch.testing.assert_close(alone.tokens[0], together.tokens[b])


def test_drop_path() -> None:
    """A dropped branch leaves its input as it was; the others are scaled so that the mean stays."""
    torch.manual_seed(0)
    config = replace(SMALL, drop_path=0.5)
    blocks = Encoder(config).blocks.blocks
    assert [block.drop_path for block in blocks] == [0.0, 0.5]
    branch = torch.ones(4000, 1, 1)
    dropped = blocks[1].train()._drop(branch)
    assert set(dropped.unique().tolist()) == {0.0, 2.0}
    assert abs(float(dropped.mean()) - 1) < 5 / 4000**0.5
    assert blocks[1].eval()._drop(branch) is branch


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dim": 50, "heads": 3}, "EncoderConfig.dim 50 is not a multiple of heads 3"),
        ({"patches": 0}, "EncoderConfig.patches is 0; expected an integer of at least 1"),
        ({"depth": 1.5}, "EncoderConfig.depth is 1.5"),
        ({"embed": (1, 2, 3)}, r"EncoderConfig.embed is \(1, 2, 3\); expected four widths"),
        ({"drop_path": 1.0}, "EncoderConfig.drop_path is 1.0"),
        ({"min_sq_norm": -1.0}, "EncoderConfig.min_sq_norm is -1.0"),
    ],
)
def test_configuration_errors(values: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        EncoderConfig(**values)  # type: ignore[arg-type]


def test_unknown_configuration_fields() -> None:
    with pytest.raises(InputError, match="unknown fields colour, weight"):
        EncoderConfig.from_dict({**SMALL.to_dict(), "weight": 1, "colour": 2})
    assert EncoderConfig.from_dict(SMALL.to_dict()) == SMALL


def test_weights_of_another_size_are_refused() -> None:
    other = {k: torch.from_numpy(v) for k, v in random_checkpoint(replace(SMALL, depth=3)).tensors.items()}
    with pytest.raises(ValueError, match=r"weights do not fit the encoder: blocks\.blocks\.2"):
        PatchAligner(SMALL).load_tensors(other)
