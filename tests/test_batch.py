"""encode(list of clouds): the same as one by one, to the bit, at any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from clouds import cloud
from tiny import TINY, random_checkpoint

from pa3d import _C
from pa3d.errors import InputError
from pa3d.segment import PatchFeatures, Segmenter

SIZES = (2048, 3, 700, 31, 9000, 1, 2049)


def clouds(count: int) -> list[np.ndarray]:
    """Unequal sizes; a cloud of one point has no extent, so the smallest has two."""
    return [cloud("random", max(2, SIZES[i % len(SIZES)]), seed=i) for i in range(count)]


def equal(a: PatchFeatures, b: PatchFeatures) -> bool:
    names = ("centers", "members", "tokens", "features", "points")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_equals_one_by_one(precision: str, threads: int, count: int) -> None:
    if not _C.supports(precision):
        pytest.skip("this processor has no AVX-512 with BF16 and VNNI")
    checkpoint, given = random_checkpoint(TINY), clouds(count)
    together = Segmenter(checkpoint, precision=precision, threads=threads).encode(given)
    alone = Segmenter(checkpoint, precision=precision, threads=1)
    assert isinstance(together, list) and len(together) == count
    for got, points in zip(together, given, strict=True):
        assert equal(got, alone.encode(points))
        assert got.timings.keys() == {"sample", "embed", "blocks", "project"}


def test_every_level_of_instructions(isa: str) -> None:
    segmenter, given = Segmenter(random_checkpoint(TINY), precision="fp32", threads=2), clouds(3)
    assert all(equal(a, segmenter.encode(b)) for a, b in zip(segmenter.encode(given), given, strict=True))


def test_options_hold_for_every_cloud() -> None:
    segmenter, given = Segmenter(random_checkpoint(TINY)), clouds(3)
    options = {"sample": 500, "up": "z", "seed": 4}
    together = segmenter.encode(tuple(given), **options)
    assert [len(f.points) for f in together] == [500, 3, 500]
    assert all(equal(a, segmenter.encode(b, **options)) for a, b in zip(together, given, strict=True))


def test_a_nested_list_is_one_cloud_and_a_list_of_them_is_several() -> None:
    segmenter, points = Segmenter(random_checkpoint(TINY)), cloud("random", 40)
    alone = segmenter.encode(points)
    assert equal(segmenter.encode(points.tolist()), alone)
    assert equal(segmenter.encode(list(points)), alone)
    several = segmenter.encode([points.tolist(), points])
    assert len(several) == 2 and all(equal(f, alone) for f in several)


def test_torch_encoder() -> None:
    pytest.importorskip("torch")
    from pa3d.torch_encoder import TorchEncoder

    encoder, given = TorchEncoder(random_checkpoint(TINY), device="cpu"), clouds(2)
    together = encoder.encode_batch(given)
    assert all(np.array_equal(a.tokens, encoder(b).tokens) for a, b in zip(together, given, strict=True))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.zeros((5, 3)), r"cloud 1 of 3: points: all 5 points are equal"),
        (np.zeros((5, 2)), r"cloud 1 of 3: points: points have shape \(5, 2\); expected \(N, 3\)"),
        (np.full((5, 3), np.nan), r"cloud 1 of 3: points: 5 of 5 points have NaN"),
        ("chair", r"cloud 1 of 3: points: str, not numbers"),
    ],
)
def test_a_bad_cloud_is_named(bad: object, message: str) -> None:
    good = cloud("random", 50)
    with pytest.raises(InputError, match=message):
        Segmenter(random_checkpoint(TINY)).encode([good, bad, good])


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(InputError, match=r"expected \(N, 3\)"):
        Segmenter(random_checkpoint(TINY)).encode([])
