"""Cameras: frames, projections and the named view sets."""

from __future__ import annotations

import numpy as np
import pytest

from pa3d.cameras import PRESETS, Cameras, image_size


def test_look_at_hand_worked():
    # From +z, x is to the right and y upwards, so rows fall with y.
    camera = Cameras.look_at([0, 0, 3], fov=90)
    pixel, depth = camera.project([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], (100, 200))
    np.testing.assert_allclose(depth[0], [3, 3, 3, 2], atol=1e-12)
    # Across the shorter side 90 degrees are 50 pixels at depth 1.
    np.testing.assert_allclose(pixel[0], [[100, 50], [100 + 50 / 3, 50], [100, 50 - 50 / 3], [100, 50]], atol=1e-9)


def test_orthographic_hand_worked():
    camera = Cameras.look_at([3, 0, 0], fov=None, half_extent=2.0)
    pixel, depth = camera.project([[0, 0, 1], [1, 2, 0]], 80)
    np.testing.assert_allclose(depth[0], [3, 2], atol=1e-12)
    np.testing.assert_allclose(pixel[0], [[20, 40], [40, 0]], atol=1e-9)  # from +x, +z is to the left


def test_straight_down_and_up_have_a_frame():
    camera = Cameras.look_at([[0, 3, 0], [0, -3, 0]])
    rotation = camera.view[:, :3, :3]
    np.testing.assert_allclose(
        rotation @ rotation.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_see_the_unit_sphere_whole(name):
    cameras = Cameras.preset(name)
    rotation = cameras.view[:, :3, :3]
    np.testing.assert_allclose(np.linalg.det(rotation), 1)
    rng = np.random.default_rng(0)
    p = rng.normal(size=(2000, 3))
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    pixel, depth = cameras.project(p, (300, 400))
    assert depth.min() > cameras.near
    assert pixel[..., 0].min() >= 50 and pixel[..., 0].max() <= 350
    assert pixel[..., 1].min() >= 0 and pixel[..., 1].max() <= 300
    middle, _ = cameras.project([[0, 0, 0]], (300, 400))
    np.testing.assert_allclose(middle, np.broadcast_to([200, 150], middle.shape), atol=1e-9)


def test_around10_numbers():
    cameras = Cameras.preset("around10")
    assert len(cameras) == 10 and not cameras.perspective and cameras.half_extent == 1.0
    c = cameras.centers
    np.testing.assert_allclose(np.linalg.norm(c, axis=1), 3)
    np.testing.assert_allclose(np.degrees(np.arcsin(c[:, 1] / 3)), [30, -20] * 5)
    azimuth = np.degrees(np.arctan2(c[:, 0], c[:, 2])) % 360
    np.testing.assert_allclose(azimuth, (180 + 36 * np.arange(10)) % 360, atol=1e-9)


def test_counts_and_spread():
    assert [len(Cameras.preset(n)) for n in PRESETS] == [10, 24, 12, 20, 1]
    assert len(Cameras.rings((0.0, 45.0), 5)) == 10
    # Neighbours of an icosahedron's corners are arccos(1 / sqrt 5) apart, of its faces arccos(sqrt 5 / 3).
    for count, cosine in ((12, 1 / 5**0.5), (20, 5**0.5 / 3)):
        c = Cameras.icosahedral(count).centers
        c /= np.linalg.norm(c, axis=1, keepdims=True)
        gram = c @ c.T - 2 * np.eye(count)
        np.testing.assert_allclose(gram.max(axis=1), cosine, atol=1e-12)


def test_slices():
    cameras = Cameras.preset("around10")
    np.testing.assert_array_equal(cameras[3].view, cameras.view[3:4])
    np.testing.assert_array_equal(cameras[-1].view, cameras.view[9:])
    assert len(cameras[2:7]) == 5 and cameras[0].fov is None


def test_matrices_agree_with_project():
    for cameras in (Cameras.rings(), Cameras.preset("around10")):
        p = np.random.default_rng(1).normal(size=(20, 3)) * 0.3
        xyz = np.einsum("vij,nj->vni", cameras.matrices((40, 70)), np.c_[p, np.ones(20)])
        pixel, depth = cameras.project(p, (40, 70))
        np.testing.assert_allclose(xyz[..., 2], depth)
        np.testing.assert_allclose(xyz[..., :2] / (depth[..., None] if cameras.perspective else 1), pixel)


def test_errors():
    with pytest.raises(ValueError, match="name: expected one of around10, rings"):
        Cameras.preset("nowhere")
    with pytest.raises(ValueError, match=r"view: expected shape \(V, 4, 4\) with V >= 1, got \(4, 4\)"):
        Cameras(np.eye(4))
    with pytest.raises(ValueError, match="fov: expected degrees between 0 and 180, got 180"):
        Cameras(np.eye(4)[None], fov=180)
    with pytest.raises(ValueError, match="near: expected a positive number, got 0"):
        Cameras(np.eye(4)[None], near=0)
    with pytest.raises(ValueError, match="eye: expected a position away from the target"):
        Cameras.look_at([0, 0, 0])
    with pytest.raises(ValueError, match="count: expected 12"):
        Cameras.icosahedral(6)
    with pytest.raises(ValueError, match="distance: expected a positive number, got -1"):
        Cameras.orbit(0, 0, distance=-1)
    with pytest.raises(TypeError, match="size: expected an integer"):
        image_size("big")  # type: ignore[arg-type]
