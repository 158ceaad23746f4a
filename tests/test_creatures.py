"""Procedural creatures: records are sound, parts nest and partition, poses keep people upright."""

from __future__ import annotations

import numpy as np
import pytest

from pa3d.data.creatures import CREATURES, POSES_PER_BODY, synthesize_creature
from pa3d.data.creatures.body import Ball, Limb, Rig, align_vectors, rotation, surface_nets
from pa3d.data.parts import PartCloud
from pa3d.errors import InputError

COARSE = ("head", "torso", "arm", "leg")


def mask(cloud: PartCloud, name: str) -> np.ndarray:
    return cloud.masks[cloud.names.index(name)]


@pytest.mark.parametrize("kind", list(CREATURES))
def test_record(kind: str) -> None:
    cloud = synthesize_creature(kind, 5, 512)
    assert cloud.points.shape == (512, 3) and cloud.points.dtype == np.float32
    assert np.isfinite(cloud.points).all()
    assert np.ptp(cloud.points, axis=0).min() > 0.01
    assert cloud.masks.shape == (len(cloud.names), 512) and cloud.masks.dtype == np.bool_
    assert len(set(cloud.names)) == len(cloud.names)
    assert cloud.masks.any(1).all(), "a named part without a point"
    assert cloud.masks.any(0).all(), "a point without a name"
    assert cloud.category in CREATURES[kind].categories


@pytest.mark.parametrize("kind", ["human", "dog", "bird", "octopus"])
def test_deterministic(kind: str) -> None:
    first, again = synthesize_creature(kind, 3, 300), synthesize_creature(kind, 3, 300)
    assert first.names == again.names and first.category == again.category
    np.testing.assert_array_equal(first.points, again.points)
    np.testing.assert_array_equal(first.masks, again.masks)
    assert not np.array_equal(first.points, synthesize_creature(kind, 4, 300).points)


@pytest.mark.parametrize("seed", [0, 7, POSES_PER_BODY, 5 * POSES_PER_BODY + 3])
def test_human_parts_nest(seed: int) -> None:
    cloud = synthesize_creature("human", seed)
    coarse = np.stack([mask(cloud, name) for name in COARSE])
    np.testing.assert_array_equal(coarse.sum(0), 1)
    inner = {
        "arm": ("hand", "forearm", "upper arm"),
        "leg": ("foot", "shin", "thigh"),
        "head": ("neck", "face"),
        "torso": ("shoulder", "chest", "belly", "pelvis", "back"),
    }
    for outer, names in inner.items():
        for name in names:
            assert not (mask(cloud, name) & ~mask(cloud, outer)).any(), (name, outer)
    assert (mask(cloud, "hand") | mask(cloud, "forearm") | mask(cloud, "upper arm")).sum() == mask(cloud, "arm").sum()
    assert (mask(cloud, "foot") | mask(cloud, "shin") | mask(cloud, "thigh")).sum() == mask(cloud, "leg").sum()


def test_human_stands_upright() -> None:
    for seed in range(0, 12 * POSES_PER_BODY, POSES_PER_BODY):
        cloud = synthesize_creature("human", seed, 1024)
        height = {name: cloud.points[mask(cloud, name), 1].mean() for name in ("head", "torso", "foot")}
        assert height["head"] > height["foot"] and height["torso"] > height["foot"], seed


def test_animal_parts_nest() -> None:
    horse = synthesize_creature("horse", 2)
    assert not (mask(horse, "hoof") & ~mask(horse, "leg")).any()
    assert not (mask(horse, "front leg") & mask(horse, "back leg")).any()
    np.testing.assert_array_equal(mask(horse, "front leg") | mask(horse, "back leg"), mask(horse, "leg"))
    assert horse.points[mask(horse, "hoof"), 1].mean() < horse.points[mask(horse, "body"), 1].mean()
    assert horse.points[mask(horse, "snout"), 2].mean() > horse.points[mask(horse, "tail"), 2].mean()


def test_wrong_arguments() -> None:
    with pytest.raises(InputError, match=r"'unicorn' is unknown.*human"):
        synthesize_creature("unicorn", 0)
    with pytest.raises(InputError, match="seed of 0 or more"):
        synthesize_creature("human", -1)
    with pytest.raises(InputError, match="at least one point"):
        synthesize_creature("human", 0, 0)


def test_surface_nets_sphere() -> None:
    def sphere(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points, axis=1) - np.float32(0.5)

    vertices, faces = surface_nets(sphere, np.full(3, -0.7), np.full(3, 0.7), 0.05)
    # a vertex is a mean of surface points at most a cell's diagonal apart: sagitta = diagonal^2 / 8r
    assert np.abs(np.linalg.norm(vertices, axis=1) - 0.5).max() < 3 * 0.05**2 / (8 * 0.5) + 1e-3
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all(), "the mesh is closed"
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    volume = np.einsum("ij,ij->", a, np.cross(b, c)) / 6
    assert volume == pytest.approx(4 / 3 * np.pi * 0.5**3, rel=0.03)  # positive: normals point outwards


def test_hidden_points_are_left_out() -> None:
    rig = Rig(cell=0.02, parts={"ball": ("ball",), "rod": ("rod",)})
    rig.bone("root", None, [0, 0, 0])
    parent = "root"
    for i in range(3):
        joint = rig.bone(f"rod{i}", parent, [0.4 + 0.3 * i, 0, 0])
        rig.primitives.append(Limb(f"rod{i}", "rod", joint, joint + np.array([0.3, 0, 0]), (0.05, 0.05), group="rod"))
        parent = f"rod{i}"
    rig.primitives.insert(0, Ball("root", "ball", np.zeros(3), (0.4, 0.4, 0.4)))
    body = rig.build()
    transforms = body.transforms({"rod1": rotation("z", 170)}, np.ones(3))  # the last rod now ends within the ball
    points, keys, hidden = body.sample(2000, transforms, np.random.default_rng(0))
    assert points.shape == (2000, 3) and hidden > 0.01
    rods = points[keys == 1]
    assert np.linalg.norm(rods, axis=1).min() > 0.4 - 4 * rig.cell


def test_rotations() -> None:
    np.testing.assert_allclose(rotation("z", 90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    for target in ([0, 1, 0], [-1, 0, 0], [0.3, -0.2, 0.9]):
        found = align_vectors([1, 0, 0], target)
        np.testing.assert_allclose(found @ [1, 0, 0], np.array(target) / np.linalg.norm(target), atol=1e-12)
        np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-12)
