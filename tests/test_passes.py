"""A model that encodes a shape in several passes: native, torch and C agree, and every point is seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from clouds import cloud
from tiny import TINY, random_checkpoint

from pa3d import Segmenter
from pa3d.checkpoint import Checkpoint, load, save
from pa3d.config import EncoderConfig
from pa3d.errors import InputError
from pa3d.passes import Passes, pass_indices, passes_for

POINTS = 100
SIZES = (1, 5, 99, 100, 150, 249, 250, 1000)


def in_passes() -> Checkpoint:
    checkpoint = random_checkpoint(TINY)
    return replace(checkpoint, config=replace(TINY, pass_points=POINTS))


@pytest.mark.parametrize("n", SIZES)
def test_every_point_is_in_a_pass_and_none_is_twice_in_one(n: int) -> None:
    passes = passes_for(in_passes().config, n)
    index = pass_indices(passes, n)
    assert index.shape == (passes.count, passes.points)
    assert set(index.ravel()) == set(range(n))
    assert all(len(set(row)) == len(row) for row in index.tolist())


@pytest.mark.parametrize(
    ("n", "count", "points"), [(50, 2, 50), (100, 2, 100), (180, 2, 100), (250, 3, 100), (960, 10, 100)]
)
def test_the_number_of_passes(n: int, count: int, points: int) -> None:
    assert passes_for(in_passes().config, n) == Passes(count, points, TINY.patches // 2)


@pytest.mark.parametrize("period", [2, 3, 4, 8, 16, 64])
def test_passes_are_even_where_the_order_of_points_has_a_pattern(period: int) -> None:
    """Such as a front and a back sheet that take turns: every pass must see both alike."""
    n = 1024
    passes = passes_for(in_passes().config, n)
    for row in pass_indices(passes, n):
        shares = np.bincount(row % period, minlength=period) / len(row)
        assert abs(shares - 1 / period).max() < 0.04


def test_a_model_without_passes_has_one() -> None:
    passes = passes_for(TINY, 77)
    assert passes == Passes(1, 77, TINY.patches)
    np.testing.assert_array_equal(pass_indices(passes, 77), np.arange(77)[None])


@pytest.mark.parametrize("n", SIZES[1:])
def test_a_pass_is_what_a_model_of_one_pass_gives(n: int) -> None:
    """Each pass encodes its own points, with half of the patches, and members are indices into the whole cloud."""
    checkpoint = in_passes()
    one = Segmenter(replace(checkpoint, config=replace(TINY, patches=TINY.patches // 2)), precision="fp32")
    encoded = Segmenter(checkpoint, precision="fp32").encode(cloud("random", n))
    passes = passes_for(checkpoint.config, n)
    for i, index in enumerate(pass_indices(passes, n)):
        (alone,) = one.encode_inputs([encoded.points[index]])
        rows = slice(i * passes.patches, (i + 1) * passes.patches)
        np.testing.assert_array_equal(encoded.features[rows], alone.features)
        np.testing.assert_array_equal(encoded.tokens[rows], alone.tokens)
        np.testing.assert_array_equal(encoded.centers[rows], alone.centers)
        np.testing.assert_array_equal(encoded.points[encoded.members[rows]], alone.points[alone.members])
    assert len(encoded.features) == passes.count * passes.patches


@pytest.mark.parametrize("n", SIZES[1:])
def test_native_and_torch_agree(n: int) -> None:
    pytest.importorskip("torch")
    from pa3d.torch_encoder import TorchEncoder

    checkpoint = in_passes()
    native = Segmenter(checkpoint, precision="fp32").encode(cloud("random", n))
    torch = TorchEncoder(checkpoint, device="cpu")(native.points)
    np.testing.assert_array_equal(torch.centers, native.centers)
    np.testing.assert_array_equal(torch.members, native.members)
    np.testing.assert_allclose(torch.features, native.features, atol=2e-5)
    np.testing.assert_allclose(torch.tokens, native.tokens, atol=2e-4)


def test_threads_and_batches_change_nothing() -> None:
    clouds = [cloud("random", n, n) for n in SIZES[1:]]
    checkpoint = in_passes()
    expected = [Segmenter(checkpoint, precision="fp32", threads=1).encode(points) for points in clouds]
    for threads in (2, 3, 5):
        segmenter = Segmenter(checkpoint, precision="fp32", threads=threads)
        for results in (segmenter.encode(clouds), [segmenter.encode(points) for points in clouds]):
            for result, other in zip(results, expected, strict=True):
                np.testing.assert_array_equal(result.features, other.features)
                np.testing.assert_array_equal(result.members, other.members)


def test_timings_are_at_most_the_time_of_the_call() -> None:
    import time

    segmenter = Segmenter(in_passes(), precision="fp32", threads=2)
    begun = time.perf_counter()
    timings = segmenter.encode(cloud("random", 4000)).timings
    assert 0 < sum(timings.values()) <= time.perf_counter() - begun


def test_an_odd_number_of_patches_is_refused() -> None:
    with pytest.raises(InputError, match="patches is 13; expected an even number"):
        Segmenter(in_passes(), patches=13)
    with pytest.raises(InputError, match="pass_points is -1"):
        EncoderConfig(pass_points=-1)


def test_passes_are_stored_in_the_checkpoint(tmp_path: Any) -> None:
    save(tmp_path / "model.safetensors", in_passes())
    assert load(tmp_path / "model.safetensors").config.pass_points == POINTS
