"""PointCLIPv2: projection, pictures and logits against plain loops and numbers worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pa3d.errors import InputError
from pa3d.methods import load_method
from pa3d.methods.pointclipv2 import (
    FORMS,
    VIEWS,
    PointClipV2,
    PointClipV2Options,
    depth_picture,
    pixel_logits,
    project,
)
from pa3d.shape import Shape
from tests.tiny_networks import TinyClip

Array = np.ndarray
SMALL = PointClipV2Options(size=12, depth=14, widen=(3, 5), margin=2)


def box(n: int = 400, seed: int = 0) -> Array:
    """Points on the surface of a box of 1.6 x 0.3 x 0.6."""
    rng = np.random.default_rng(seed)
    points = rng.random((n, 3)) - 0.5
    side = rng.integers(0, 3, n)
    points[np.arange(n), side] = rng.choice([-0.5, 0.5], n)
    return (points * [1.6, 0.3, 0.6]).astype(np.float32)


def test_a_view_by_hand() -> None:
    """View 4 turns by 90 degrees about z, then by 20 degrees about y."""
    assert len(VIEWS) == 10
    points = np.array([[1, 0, 0], [-1, 0, 0], [0, 0.5, 0], [0, 0, 0.25]], np.float32)
    pixels, depth = project(points, PointClipV2Options())
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]])  # x to y
    c, s = np.cos(np.pi / 9), np.sin(np.pi / 9)
    about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    turned = (about_y @ quarter @ points.T).T
    assert (VIEWS[4][0], VIEWS[4][1]) == ((0, 0, np.pi / 2), (0, 0, 0))
    low, high = turned.min(axis=0), turned.max(axis=0)
    unit = (turned - (low + high) / 2) / (high - low).max() * 2
    np.testing.assert_array_equal(pixels[4], np.ceil((unit[:, :2] * 0.7 + 1) / 2 * 224))
    np.testing.assert_allclose(depth[4], ((unit[:, 2] + 1) / 2 + 0.3) / 1.3 * 110)
    # The first point is the highest: y is 1, and 0.7 of it is pixel 190.4.
    assert pixels[4, 0, 1] == 191
    assert pixels[4, 1, 1] == 34


def test_one_point_is_in_the_middle() -> None:
    pixels, depth = project(np.ones((1, 3), np.float32), PointClipV2Options())
    assert (pixels == 112).all()
    np.testing.assert_allclose(depth, 0.8 / 1.3 * 110)


def plain_picture(pixel: Array, depth: Array, o: PointClipV2Options) -> tuple[Array, Array]:
    """Loops over all cells, a whole box and a whole Gaussian at once."""
    grid = np.zeros((o.depth, o.size, o.size))
    own = np.ceil(depth).astype(int)
    for (x, y), s, d in zip(pixel, own, depth, strict=True):
        grid[s, x, y] = max(grid[s, x, y], min(max(d, 1), o.depth - 2))
    deep, wide = o.widen[0] // 2, o.widen[1] // 2
    wider = np.zeros_like(grid)
    for at in np.ndindex(grid.shape):
        slices = tuple(slice(max(i - r, 0), i + r + 1) for i, r in zip(at, (deep, wide, wide), strict=True))
        wider[at] = grid[slices].max()
    t = np.arange(5) - 2.0
    z, y, x = np.meshgrid(t, t, t, indexing="ij")
    kernel = np.exp(-(z**2) / (2 * o.sigma[0] ** 2) - (x**2 + y**2) / (2 * o.sigma[1] ** 2))
    kernel /= kernel.sum()
    padded = np.pad(wider, 2)
    smooth = np.zeros_like(grid)
    for at in np.ndindex(grid.shape):
        smooth[at] = (padded[tuple(slice(i, i + 5) for i in at)] * kernel).sum()
    picture = 1 - smooth.max(axis=0) / smooth.max()
    shown = []
    for (x, y), s in zip(pixel, own, strict=True):
        row, column = (y, x) if o.transposed else (x, y)
        mine = 1 - smooth[min(max(s, 1), o.depth - 3), row, column] / smooth.max()
        shown.append(abs(picture[row, column] - mine) < o.visible)
    return picture, np.array(shown)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_picture_equals_plain_loops(transposed: bool) -> None:
    o = replace(SMALL, transposed=transposed)
    pixels, depth = project(box(40), o)
    for view in (0, 5, 9):
        picture, shown = depth_picture(pixels[view], depth[view], o)
        expected, expected_shown = plain_picture(pixels[view], depth[view], o)
        np.testing.assert_allclose(picture, expected, atol=1e-6)
        np.testing.assert_array_equal(shown, expected_shown)
        assert 0 < shown.sum() <= 40


def test_pixels_that_are_not_transposed_show_the_shape() -> None:
    """As read by the fair form, every point that a view shows lies on the shape; as published, part of them on the
    ground."""
    points = box(600)
    shares = {}
    for transposed in (False, True):
        o = PointClipV2Options(transposed=transposed)
        pixels, depth = project(points, o)
        on_shape = []
        for pixel, d in zip(pixels, depth, strict=True):
            picture, _ = depth_picture(pixel, d, o)
            row, column = pixel.T[::-1] if transposed else pixel.T
            on_shape.append((picture[row, column] < 1).mean())
        shares[transposed] = on_shape
    assert min(shares[False]) == 1
    assert min(shares[True]) < 0.6


def test_logits_of_pixels_by_hand() -> None:
    """A grid of 2 x 2 tokens: with sides repeated to 7 x 7, averages of 6 x 6 make a grid of 2 x 2 again."""
    tokens = torch.zeros(1, 2, 2, 2)
    tokens[0, 0, 0, 0] = tokens[0, 0, 1, 1] = tokens[0, 1, 0, 1] = tokens[0, 1, 1, 1] = 1
    text = torch.eye(2)
    out = pixel_logits(tokens, text, replace(SMALL, size=2))
    # Of the 7 rows and columns, 3 repeat the first and 4 the second. An average starts at 0 or at 1.
    expected = np.array([[100 * 9 / 36, 100 * 6 / 36], [100 * 6 / 36, 100 * 4 / 36]])
    np.testing.assert_allclose(out[..., 0].numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(out.sum(-1).numpy(), 100, rtol=1e-6)


def run(points: Array, o: PointClipV2Options = FORMS["fair"], parts: tuple[str, ...] = ("leg", "seat", "back")):
    return PointClipV2(o, TinyClip()).segment(Shape(points), list(parts))


def test_the_order_of_points_does_not_matter() -> None:
    points = box(300)
    order = np.random.default_rng(1).permutation(300)
    first, second = run(points), run(points[order])
    assert len(np.unique(first.labels)) > 1
    np.testing.assert_array_equal(first.labels[order], second.labels)
    np.testing.assert_array_equal(first.scores, run(points).scores)


def test_the_forms_differ_and_are_named() -> None:
    points = box(300)
    fair, published = run(points), run(points, FORMS["published"])
    assert (fair.labels != published.labels).any()
    method = load_method("pointclipv2", {"clip": TinyClip()}, form="published")
    assert method.identity()["form"] == "published"
    assert method.identity()["options"]["transposed"] is True
    assert method.identity()["networks"] == {"clip": "tiny clip"}


def test_points_that_no_view_shows() -> None:
    """A point inside a box: fair takes the sums of the nearest point that is shown, published has logits of 0."""
    points = np.concatenate([box(1500), np.zeros((1, 3), np.float32)])
    o = replace(FORMS["published"], transposed=False, visible=0.02, points=None)
    published = run(points, o)
    unseen = published.scores.max(axis=1) - published.scores.min(axis=1) == 0
    assert unseen[-1]
    assert published.labels[-1] == 0
    np.testing.assert_allclose(published.scores[-1], 1 / 3)
    fair = run(points, replace(o, fill_unseen=True))
    distance = np.linalg.norm(points - points[-1], axis=1)
    distance[unseen] = np.inf
    assert fair.labels[-1] == published.labels[distance.argmin()]


def test_many_points_take_the_label_of_the_nearest_that_was_drawn() -> None:
    points = box(300)
    o = replace(FORMS["fair"], points=100)
    used = np.sort(np.random.default_rng(0).choice(300, 100, replace=False))
    alone = run(points[used])
    nearest = ((points[:, None] - points[used][None]) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(run(points, o).labels, alone.labels[nearest])


@pytest.mark.parametrize("form", ["fair", "published"])
def test_odd_shapes(form: str) -> None:
    method = PointClipV2(FORMS[form], TinyClip())
    for points in (np.zeros((1, 3), np.float32), np.ones((7, 3), np.float32)):
        cloud = SimpleNamespace(points=points, up="y", colors=None)
        from pa3d.profiling import Stopwatch

        labels, scores = method.label_cloud(cloud, ["a", "b"], None, None, Stopwatch())  # type: ignore[arg-type]
        assert labels.shape == (len(points),)
        assert np.isfinite(scores).all()
        assert len(np.unique(labels)) == 1
    one = run(box(50), FORMS[form], ("only",))
    assert (one.labels == 0).all()


def test_tuned_prompts_and_weights(tmp_path: Path) -> None:
    file = tmp_path / "tuned.json"
    file.write_text(json.dumps({"Chair": {"prompts": {"Seat": "a flat seat"}, "view_weights": [0.0] * 9 + [1.0]}}))
    clip = TinyClip()
    asked: list[str] = []
    plain = clip.text
    clip.text = lambda texts: asked.extend(texts) or plain(texts)  # type: ignore[method-assign,func-returns-value]
    method = load_method("pointclipv2", {"clip": clip}, form="published", tuned=str(file))
    method.segment(Shape(box(60)), ["seat", "leg"], category="chair")
    assert asked == ["a flat seat", "leg of a chair"]
    file.write_text("[]")
    with pytest.raises(InputError, match="expected JSON like"):
        load_method("pointclipv2", {"clip": clip}, tuned=str(file))


def test_without_weights() -> None:
    with pytest.raises(InputError, match="no weights of CLIP"):
        load_method("pointclipv2")
