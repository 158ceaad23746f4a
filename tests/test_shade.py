"""Shading: colours, textures and normals against closed forms, and pictures as a whole."""

from __future__ import annotations

import numpy as np
import pytest

from pa3d import _C
from pa3d.cameras import Cameras
from pa3d.multiview.shade import (
    Texture,
    contact_sheet,
    corner_normals,
    downsample,
    render,
    render_points,
    sample_texture,
)

pytestmark = pytest.mark.skipif(not hasattr(_C, "rasterize"), reason="the extension was built without rasterize")

SQUARE = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
HALVES = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
FACING = Cameras.look_at([0, 0, 3], fov=None, half_extent=1.0)  # the square fills the image exactly


def ball(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    lat, lon = np.meshgrid(np.linspace(0, np.pi, n + 1), np.arange(2 * n) * np.pi / n, indexing="ij")
    v = np.stack([np.sin(lat) * np.cos(lon), np.cos(lat), np.sin(lat) * np.sin(lon)], -1).reshape(-1, 3)
    i, j = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(2 * n), indexing="ij"))
    a, b, k = i * 2 * n + j, i * 2 * n + (j + 1) % (2 * n), 2 * n
    return v.astype(np.float32), np.concatenate([np.c_[a, b, b + k], np.c_[a, b + k, a + k]]).astype(np.int32)


def test_vertex_colours_are_a_ramp():
    colors = np.array([[0, 0, 0], [255, 0, 0], [255, 255, 0], [0, 255, 0]], np.uint8)
    out = render(SQUARE, HALVES, FACING, 16, vertex_colors=colors, style="unlit", supersample=1)[0]
    ramp = (np.arange(16) + 0.5) / 16 * 255
    np.testing.assert_allclose(out[..., 0], np.repeat(ramp[None], 16, 0), atol=0.51)
    np.testing.assert_allclose(out[..., 1], np.repeat(ramp[::-1, None], 16, 1), atol=0.51)
    assert (out[..., 2] == 0).all()


def test_face_colours():
    colors = np.array([[10, 20, 30], [200, 100, 50]], np.uint8)
    out = render(SQUARE, HALVES, FACING, 9, face_colors=colors, style="unlit", supersample=1)[0]
    assert (out[8, 7] == colors[0]).all() and (out[0, 1] == colors[1]).all()


def test_texture_hand_worked():
    # Texels 2 x 2, u to the right, v upwards; texel centres at 1/4 and 3/4.
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0], image[0, 1], image[1, 0], image[1, 1] = 0, 80, 160, 240
    uv = np.array([[0.25, 0.75], [0.75, 0.75], [0.25, 0.25], [0.75, 0.25], [0.5, 0.5], [0.5, 0.75], [1.25, -0.25]])
    got = sample_texture(image, uv)[:, 0] * 255
    np.testing.assert_allclose(got, [0, 80, 160, 240, 120, 40, 0], atol=1e-9)
    # Exactly between the last and the first column the image repeats: the mean of both.
    np.testing.assert_allclose(sample_texture(image, np.array([[0.0, 0.75]]))[0] * 255, 40, atol=1e-9)


def test_textured_square_shows_the_image():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    corner = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    texture = Texture(corner[HALVES], [image], np.zeros(2, np.int64))
    out = render(SQUARE, HALVES, FACING, 16, texture=texture, style="unlit", supersample=1)[0]
    # Pixel centres fall on texel centres; float32 weights move a sample by 1e-6 texels of at most 255 steps.
    assert np.abs(out.astype(int) - image).max() <= 1
    half = render(
        SQUARE, HALVES, FACING, 16, texture=texture, style="unlit", supersample=1,
        face_colors=np.full((2, 3), 128, np.uint8),
    )[0]  # fmt: skip
    assert np.abs(half - image * (128 / 255)).max() <= 1


def test_a_face_without_image_is_grey():
    texture = Texture(np.zeros((2, 3, 2), np.float32), [np.zeros((1, 1, 3), np.uint8)], np.array([0, -1]))
    out = render(SQUARE, HALVES, FACING, 8, texture=texture, style="unlit", supersample=1)[0]
    assert (out[7, 6] == 0).all() and (out[0, 1] == 189).all()  # 0.74 * 255 = 188.7


def test_normals_of_a_ball():
    vertices, faces = ball()
    n = corner_normals(vertices, faces)
    area = np.linalg.norm(np.cross(*(vertices[faces[:, i]] - vertices[faces[:, 0]] for i in (1, 2))), axis=1) > 0
    cosine = np.einsum("fkc,fkc->fk", n[area], vertices[faces[area]])
    assert np.abs(cosine).min() > np.cos(2 * np.pi / 40)
    out = render(vertices, faces, FACING, 64, style="normals", background="black", supersample=1)[0]
    y, x = -(np.mgrid[:64, :64] + 0.5 - 32) / 32
    x = -x
    inside = x * x + y * y < 0.8
    expected = np.stack([x, y, np.sqrt(np.maximum(1 - x * x - y * y, 0))], -1)
    # A normal within one ring's angle of the true one: pi / 40 of half the range, and a rounding step.
    assert np.abs(out / 255 * 2 - 1 - expected)[inside].max() < np.pi / 40 + 2 / 255


def test_creases_stay_sharp_and_split_vertices_count_as_one():
    fold = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    sharp = corner_normals(fold, np.array([[0, 2, 1], [0, 1, 3]], np.int32))
    np.testing.assert_allclose(np.abs(sharp[0]), [[0, 0, 1]] * 3)
    flat = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0.1], [0, 1, 0]], np.float32)
    together = corner_normals(flat, HALVES)
    apart = corner_normals(flat[HALVES.reshape(-1)], np.arange(6, dtype=np.int32).reshape(2, 3))
    np.testing.assert_allclose(together, apart)


def test_winding_does_not_matter():
    vertices, faces = ball(16)
    front = Cameras.preset("front")
    out = (
        render(vertices, faces, front, 40),
        render(vertices, np.ascontiguousarray(faces[:, ::-1]), front, 40),
    )
    assert np.abs(out[0].astype(int) - out[1]).max() <= 1


def test_light_comes_from_above_on_the_left():
    vertices, faces = ball()
    out = render(vertices, faces, FACING, 60)[0].astype(int)
    assert out[15, 20, 0] > out[45, 40, 0] + 20
    assert (out[0, 0] == 255).all() and (render(vertices, faces, FACING, 60, background="black")[0, 0, 0] == 0).all()


def test_depth_is_inverted():
    vertices, faces = ball()
    out = render(vertices, faces, FACING, 60, style="depth", background="black")[0, ..., 0].astype(int)
    assert out[30, 30] == 255 and out[0, 0] == 0
    assert (np.diff(out[30, 30:58]) <= 0).all()


def test_supersampling_averages():
    image = np.arange(24, dtype=np.float64).reshape(2, 4, 3)
    np.testing.assert_allclose(downsample(image, 2), [[image[:, :2].mean((0, 1)), image[:, 2:].mean((0, 1))]])
    # An edge through the middle of column 4 at 9 pixels: half of its samples see the square.
    half = SQUARE * np.float32([0.5, 1, 1]) - np.float32([0.5, 0, 0])
    out = render(half, HALVES, FACING, 9, face_colors=np.zeros((2, 3), np.uint8), style="unlit", supersample=2)[0]
    assert (out[:, :4] == 0).all() and (out[:, 5:] == 255).all() and set(np.unique(out[:, 4])) <= {127, 128}


def test_cloud_of_a_ball():
    height = 1 - (2 * np.arange(4000) + 1) / 4000
    turn = np.pi * (3 - 5**0.5) * np.arange(4000)  # the golden angle: an even spread
    ring = np.sqrt(1 - height**2)
    p = np.stack([ring * np.cos(turn), height, ring * np.sin(turn)], 1).astype(np.float32)
    colors = np.zeros((4000, 3), np.uint8)
    colors[p[:, 2] > 0] = (255, 0, 0)
    out = render_points(p, FACING, 60, point_colors=colors, style="unlit")[0]
    y, x = np.mgrid[:60, :60] + 0.5 - 30
    inside = x * x + y * y < 28**2
    red = (out == [255, 0, 0]).all(-1)
    assert red[x * x + y * y < 26**2].all()  # closed, and the far side is hidden
    assert ((out != 255).any(-1))[inside].all()
    lit = render_points(p, FACING, 60)[0].astype(int)
    assert lit[20, 22, 0] > lit[42, 40, 0]


def test_small_clouds():
    one = render_points(np.zeros((1, 3), np.float32), FACING, 20, style="unlit")[0]
    assert (one != 255).any()
    render_points(np.array([[0, 0, 0], [0.1, 0, 0]], np.float32), FACING, 20)


def test_nothing_in_view():
    away = SQUARE + np.float32([50, 0, 0])
    for style in ("lit", "unlit", "depth", "normals"):
        assert (render(away, HALVES, FACING, 8, style=style) == 255).all()


def test_contact_sheet():
    views = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((3, 2, 4, 3), np.uint8)
    sheet = contact_sheet(views)
    assert sheet.shape == (4, 8, 3)
    assert (sheet[:2, 4:] == 1).all() and (sheet[2:, :4] == 2).all() and (sheet[2:, 4:] == 255).all()


def test_errors():
    with pytest.raises(ValueError, match=r"face_colors: expected shape \(2, 3\), got \(4, 3\)"):
        render(SQUARE, HALVES, FACING, 8, face_colors=np.zeros((4, 3), np.uint8))
    with pytest.raises(TypeError, match="vertex_colors: expected a uint8 array, got float64"):
        render(SQUARE, HALVES, FACING, 8, vertex_colors=np.zeros((4, 3)))
    with pytest.raises(ValueError, match="style: expected lit, unlit, depth or normals, got 'toon'"):
        render(SQUARE, HALVES, FACING, 8, style="toon")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="background: expected white, black"):
        render(SQUARE, HALVES, FACING, 8, background="mauve")
    with pytest.raises(ValueError, match="supersample: expected an integer of at least 1, got 0"):
        render(SQUARE, HALVES, FACING, 8, supersample=0)
    with pytest.raises(ValueError, match=r"texture.face_image: expected shape \(2,\), got \(1,\)"):
        render(
            SQUARE,
            HALVES,
            FACING,
            8,
            texture=Texture(np.zeros((2, 3, 2), np.float32), [], np.zeros(1, np.int64)),
        )
