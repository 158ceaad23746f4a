"""COPS: pictures, features, clusters and names against plain computations and numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from pa3d.cameras import Cameras
from pa3d.errors import InputError
from pa3d.methods import load_method
from pa3d.methods._common import votes
from pa3d.methods.cops import (
    AZIMUTHS,
    ELEVATIONS,
    FORMS,
    Cops,
    CopsOptions,
    aggregate,
    depth_pictures,
    draw_points,
    k_means,
    name_clusters,
)
from pa3d.ops import farthest_point_sample
from pa3d.profiling import Stopwatch
from pa3d.shape import Shape
from tests.tiny_networks import ByHeight, TinyBackbone, TinyClip

Array = np.ndarray
FAIR = FORMS["fair"]


def cops(o: CopsOptions = FAIR) -> Cops:
    return Cops(o, TinyBackbone(), ByHeight(), "by height")


def cloud(n: int = 500, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((n, 3)).astype(np.float32)


def test_depth_pictures_by_hand() -> None:
    """View 4 looks along -z from a distance of 2, at 20 degrees from above: two points at depths 1.5 and 2.5."""
    direction = np.array([0, np.sin(np.radians(20)), np.cos(np.radians(20))])
    points = np.stack([0.5 * direction, -0.5 * direction + [0.4, 0, 0]]).astype(np.float32)
    pictures, ids = depth_pictures(points, FAIR)
    assert pictures.shape == (10, 224, 224, 3)
    picture, shown = pictures[4, ..., 0], ids[4]
    assert set(np.unique(shown)) == {-1, 0, 1}
    assert (picture[shown == -1] == 255).all()
    assert (picture[shown == 0] == int(255 - 255 * 2.5 / 3.5)).all()
    assert (picture[shown == 1] == 0).all()
    # The near point is in the middle of the picture. Both discs have a radius of 0.04 * 112 = 4.48 pixels.
    assert shown[112, 112] == 0
    for point in (0, 1):
        assert abs((shown == point).sum() - np.pi * 4.48**2) < 8


def test_discs_have_one_size_at_any_distance() -> None:
    points = np.array([[0, 0, 0.6], [0.5, 0, -0.6]], np.float32)
    ids, depth = draw_points(points, 0.04, 224)
    cameras = Cameras.orbit(AZIMUTHS, ELEVATIONS, distance=2.0, fov=60.0)
    pixels, distance = cameras.project(points, 224)
    apart = np.linalg.norm(pixels[:, 0] - pixels[:, 1], axis=1) > 10
    assert apart.sum() >= 8
    assert np.abs(distance[:, 0] - distance[:, 1]).max() > 1
    sizes = np.array([[(view == point).sum() for point in (0, 1)] for view in ids])[apart]
    assert (np.abs(sizes - np.pi * 4.48**2) < 8).all()
    np.testing.assert_array_equal(np.isfinite(depth), ids >= 0)


def test_aggregation_equals_a_plain_computation() -> None:
    """Point by point, as the paper says."""
    points, o = cloud(400), replace(FAIR, centers=30, near=10, alike=90)
    features = np.random.default_rng(1).standard_normal((400, 5)).astype(np.float32)
    group, rows = aggregate(points, features, o)
    rng = np.random.default_rng(o.seed)
    first = farthest_point_sample(points, 30, start=int(rng.integers(400)))
    of_center = []
    for center in first:
        near = np.argsort(((points - points[center]) ** 2).sum(axis=1), kind="stable")[:10]
        of_center.append(features[near].mean(axis=0))
    nearest = ((points[:, None] - points[first][None]) ** 2).sum(axis=2).argmin(axis=1)
    even = np.array(of_center)[nearest]
    second = farthest_point_sample(points, 30, start=int(rng.integers(400)))
    of_center = []
    for center in second:
        alike = np.lexsort((nearest, ((even - even[center]) ** 2).sum(axis=1).round(10)))[:90]
        of_center.append(even[alike].mean(axis=0))
    nearest = ((points[:, None] - points[second][None]) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_allclose(rows[group], np.array(of_center)[nearest], atol=1e-5)


def test_k_means_by_hand() -> None:
    rows, ones = np.array([[0], [1], [10], [11]], np.float32), np.ones(4, int)
    start = np.array([[0], [1]], np.float32)
    # First: 0 alone, then 1, 10 and 11 with mean 22/3. Second: 0 and 1; 10 and 11.
    cluster, inertia = k_means(rows, ones, start, 1)
    assert cluster.tolist() == [0, 0, 1, 1]
    assert inertia == pytest.approx(1 + (10 - 22 / 3) ** 2 + (11 - 22 / 3) ** 2)
    cluster, inertia = k_means(rows, ones, start, 50)
    assert cluster.tolist() == [0, 0, 1, 1]
    assert inertia == pytest.approx(1.0)
    # A row that counts three times pulls its mean.
    _, inertia = k_means(rows, np.array([3, 1, 1, 1]), start, 50)
    assert inertia == pytest.approx(3 * 0.25**2 + 0.75**2 + 0.5)
    # Two equal centres: the second has no row, and stays at 0 while the first moves to 5.5; then it has two.
    cluster, _ = k_means(rows, ones, np.array([[0], [0]], np.float32), 50)
    assert cluster.tolist() == [1, 1, 0, 0]


def test_names_of_clusters_by_hand() -> None:
    names = np.array([0, 0, 0, 1, 1, 2], np.int32)
    cluster = np.array([1, 1, 0, 0, 0, 0])
    # IoU of part 0: with cluster 1 2/3, with cluster 0 1/6. Part 1: with cluster 0 1/2. Part 2: 1/4.
    assert name_clusters(cluster, names, cluster, 3, 3, "majority").tolist() == [0, 0, 1, 1, 1, 1]
    # The best sum, not the best of each: part 0 overlaps cluster 0 by 3/5, part 1 by 2/5, and part 0 overlaps
    # cluster 1 by 1/4; part 1 has nothing else. 2/5 + 1/4 is more than 3/5.
    names = np.array([0, 0, 0, 0, 1, 1], np.int32)
    cluster = np.array([0, 0, 0, 1, 0, 0])
    assert name_clusters(cluster, names, cluster, 2, 2, "majority").tolist() == [1, 1, 1, 0, 1, 1]


def test_a_cluster_without_a_part() -> None:
    """Two clusters of one part: the smaller one is left over."""
    names = np.array([1, 1, 1, 1, 1], np.int32)
    cluster = np.array([0, 0, 0, 1, 1])
    assert name_clusters(cluster, names, cluster, 2, 2, "majority").tolist() == [1, 1, 1, 1, 1]
    assert name_clusters(cluster, names, cluster, 2, 2, "first").tolist() == [1, 1, 1, 0, 0]


def test_the_mode_of_seven_points() -> None:
    points = np.array([[x, 0, 0] for x in range(9)], np.float32)
    labels = np.array([1, 0, 0, 0, 0, 1, 1, 1, 1], np.int32)
    share = votes(labels, points, 7, 2)
    # Points 0 to 2 have 0 to 6 around them, with four zeros of seven; point 4 has 1 to 7.
    assert share.argmax(axis=1).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]
    np.testing.assert_allclose(share[4], [4 / 7, 3 / 7], rtol=1e-6)
    assert votes(labels, points[:9], 50, 2).argmax(axis=1).tolist() == [1] * 9


def test_clusters_follow_the_features() -> None:
    """Two balls far apart, named by height with an error at the seam: clusters mend it."""
    rng = np.random.default_rng(3)
    points = rng.standard_normal((600, 3)) * 0.1
    points[:300, 1] += 1.0
    points = points.astype(np.float32)

    class Sloppy(ByHeight):
        def segment(self, shape, parts, category=None):  # type: ignore[no-untyped-def]
            result = super().segment(shape, parts, category)
            result.labels[:20] = 1 - result.labels[:20]
            return result

    class Height(TinyBackbone):
        def __call__(self, images: Array) -> Array:  # high and low halves of a picture
            tokens = super().__call__(images)
            tokens[:, :7], tokens[:, 7:] = [1, 0], [0, 1]
            return tokens

    result = Cops(FAIR, Height(), Sloppy(), "sloppy").segment(Shape(points), ["low", "high"])
    assert ((points[:, 1] > 0.5) == result.labels).mean() > 0.97


def test_results_repeat_and_every_point_has_a_part() -> None:
    points = cloud(3000)
    a, b = cops().segment(Shape(points), ["a", "b", "c"]), cops().segment(Shape(points), ["a", "b", "c"])
    assert a.labels.tobytes() == b.labels.tobytes()
    assert a.scores.tobytes() == b.scores.tobytes()
    assert a.labels.min() >= 0
    np.testing.assert_allclose(a.scores.sum(axis=1), 1, atol=1e-6)


def test_points_that_were_not_drawn_take_the_nearest_label() -> None:
    points = cloud(900)
    o = replace(FAIR, points=700, late_points=200, labelled=50)
    result = cops(o).segment(Shape(points), ["a", "b"])
    first = np.sort(np.random.default_rng(0).choice(900, 700, replace=False))
    chosen = first[np.sort(np.random.default_rng(0).choice(700, 200, replace=False))]
    nearest = ((points[:, None] - points[chosen][None]) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_array_equal(result.labels, result.labels[chosen][nearest])


def test_as_published_it_looks_at_the_truth() -> None:
    points = cloud(300)
    method = cops(replace(FORMS["published"], layer=None))
    assert method.needs_ground_truth
    assert not cops().needs_ground_truth
    with pytest.raises(InputError, match="it needs `truth`"):
        method.segment(Shape(points), ["a", "b"])
    truth = (points[:, 0] > 0).astype(np.int32)
    chosen = method.segment(Shape(points), ["a", "b"], truth=truth)
    assert chosen.settings["options"]["select"] == "truth"

    def agreement(labels: Array) -> float:
        ious = [((labels == k) & (truth == k)).sum() / ((labels == k) | (truth == k)).sum() for k in (0, 1)]
        return float(np.mean(ious))

    # Of ten runs it keeps the one that fits best: before the last step it is no worse than any single run.
    whole = cops(replace(FORMS["published"], layer=None, refine=1))
    best = agreement(whole.segment(Shape(points), ["a", "b"], truth=truth).labels)
    for restarts in (1, 2, 5):
        fewer = cops(replace(FORMS["published"], layer=None, refine=1, restarts=restarts))
        assert agreement(fewer.segment(Shape(points), ["a", "b"], truth=truth).labels) <= best + 1e-12


@pytest.mark.parametrize("form", ["fair", "published"])
def test_odd_shapes(form: str) -> None:
    method = cops(replace(FORMS[form], layer=None))
    for points in (np.zeros((1, 3), np.float32), np.ones((5, 3), np.float32), cloud(3)):
        shape = SimpleNamespace(points=points, up="y", colors=None, name="odd")
        truth = np.zeros(len(points), np.int32)
        labels, scores = method.label_cloud(shape, ["a", "b", "c", "d", "e"], None, truth, Stopwatch())  # type: ignore[arg-type]
        assert labels.shape == (len(points),)
        assert scores.shape == (len(points), 5)
        assert np.isfinite(scores).all()
    one = cops().segment(Shape(cloud(50)), ["only"])
    assert (one.labels == 0).all()


def test_pointclipv2_names_the_clusters() -> None:
    class Layers(TinyBackbone):
        depth = 12

        def __call__(self, images: Array, layer: int | None = None) -> Array:
            self.layer = layer
            return super().__call__(images)

    backbone = Layers()
    for form, transposed, layer in (("fair", False, None), ("published", True, 0)):
        method = load_method("cops", {"backbone": backbone, "clip": TinyClip()}, form=form, restarts=2)
        assert method.networks["naming"] == "pointclipv2, tiny clip"
        assert method.naming.options.transposed is transposed  # type: ignore[attr-defined]
        points = cloud(200)
        truth = (points[:, 0] > 0).astype(np.int32)
        result = method.segment(Shape(points), ["a", "b"], category="chair", truth=truth)
        assert result.labels.shape == (200,)
        assert backbone.layer == layer


def test_what_it_is_made_of() -> None:
    with pytest.raises(InputError, match="has no layers to choose"):
        load_method("cops", {"backbone": TinyBackbone()}, form="published")
    with pytest.raises(InputError, match="select is 'best'"):
        load_method("cops", {"backbone": TinyBackbone()}, select="best")
    method = load_method("cops", {"backbone": TinyBackbone()}, restarts=3)
    assert method.identity()["form"] == "fair, with restarts changed"
    assert method.identity()["networks"] == {"backbone": "tiny backbone", "naming": "pa3d-embedded"}
