"""rasterize and rasterize_points: closed forms, the reference, watertightness, hostile input."""

from __future__ import annotations

import numpy as np
import pytest
from levels import LEVELS

from pa3d import _C
from pa3d.cameras import Cameras
from pa3d.ops.rasterize import (
    rasterize,
    rasterize_points,
    rasterize_points_reference,
    rasterize_reference,
)

pytestmark = pytest.mark.skipif(not hasattr(_C, "rasterize"), reason="the extension was built without rasterize")


def pixel_camera(size: int) -> Cameras:
    """World (x, y, z) lands on pixel (x, size - y), depth 10 - z."""
    return Cameras.look_at([[size / 2, size / 2, 10.0]], [[size / 2, size / 2, 0.0]], fov=None, half_extent=size / 2)


def native(vertices, faces, cameras, size, threads=1):
    matrices = cameras.matrices(size)
    return _C.rasterize(vertices, faces, matrices, cameras.perspective, cameras.near, *size, True, True, threads)


def cube() -> tuple[np.ndarray, np.ndarray]:
    """Side 1 around the origin; faces 2 i and 2 i + 1 are side i: -x, +x, -y, +y, -z, +z."""
    corners = np.array([[i, j, k] for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)], np.float32)
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return corners, np.array([t for a, b, c, d in quads for t in ([a, b, c], [a, c, d])], np.int32)


def sphere(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit sphere of n x 2n quads, and the largest distance of its faces from the true surface."""
    lat, lon = np.meshgrid(np.linspace(0, np.pi, n + 1), np.arange(2 * n) * np.pi / n, indexing="ij")
    v = np.stack([np.sin(lat) * np.cos(lon), np.cos(lat), np.sin(lat) * np.sin(lon)], -1).reshape(-1, 3)
    i, j = (a.ravel() for a in np.meshgrid(np.arange(n), np.arange(2 * n), indexing="ij"))
    a, b, k = i * 2 * n + j, i * 2 * n + (j + 1) % (2 * n), 2 * n
    return v.astype(np.float32), np.concatenate([np.c_[a, b, b + k], np.c_[a, b + k, a + k]]).astype(np.int32)


def soup(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of random sizes, some of them twice with the other winding, some hostile."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 150))
    corners = rng.uniform(-1, 1, (n, 1, 3)) + rng.normal(0, 10 ** rng.uniform(-2, 1), (n, 3, 3))
    some = rng.random(n) < 0.1
    corners[some] *= (1.0, 1e6, 1e20, 1e36)[seed % 4]
    corners[rng.random(n) < 0.05, 0, 1] = (np.nan, np.inf)[seed % 2]
    corners[rng.random(n) < 0.05, 2] = corners[0, 1]
    faces = np.arange(3 * n, dtype=np.int32).reshape(-1, 3)
    return corners.astype(np.float32).reshape(-1, 3), np.concatenate([faces, faces[: n // 3, [1, 0, 2]]])


def test_hand_worked_triangle():
    # Corners at pixels (0, 0), (4, 0), (0, 4) of a 4 x 4 image. The centres of column + row = 3 lie on the
    # hypotenuse, a right edge, and stay out; the six before it are in.
    v = np.array([[0, 4, 0], [4, 4, 4], [0, 0, 8]], np.float32)
    out = rasterize(v, np.array([[0, 1, 2]], np.int32), pixel_camera(4), 4)
    expected = np.array([[0, 0, 0, -1], [0, 0, -1, -1], [0, -1, -1, -1], [-1, -1, -1, -1]])
    np.testing.assert_array_equal(out.face_id[0], expected)
    # At column 1, row 0 the weights are (1 - 1.5/4 - 0.5/4, 1.5/4, 0.5/4): z = 4 * 0.375 + 8 * 0.125 = 2.5.
    np.testing.assert_allclose(out.barycentric[0, 0, 1], [0.5, 0.375, 0.125], atol=1e-7)
    assert out.depth[0, 0, 1] == 7.5
    assert np.isinf(out.depth[0, 3, 3]) and (out.barycentric[0, 3, 3] == 0).all()


def test_a_shared_diagonal_through_pixel_centres_is_drawn_once():
    v = np.array([[0, 0, 0], [8, 0, 0], [8, 8, 0], [0, 8, 0]], np.float32)
    halves = [np.array([f], np.int32) for f in ([0, 1, 2], [0, 2, 3])]
    count = sum((rasterize(v, f, pixel_camera(8), 8).face_id[0] >= 0).astype(int) for f in halves)
    np.testing.assert_array_equal(count, np.ones((8, 8)))


@pytest.mark.parametrize("side", range(6))
def test_cube_from_each_side(side, isa):
    vertices, faces = cube()
    axis, sign = side // 2, 1 if side % 2 else -1
    eye = np.zeros(3)
    eye[axis] = 2.0 * sign
    up = (0, 0, 1) if axis == 1 else (0, 1, 0)
    # At a right angle of view the near side, depth 1.5, spans 0.5 / 1.5 of the half image: 50 +- 50 / 3.
    out = rasterize(vertices, faces, Cameras.look_at(eye, up=up, fov=90.0), 100)
    inside = np.abs(np.arange(100) + 0.5 - 50) < 50 / 3
    expected = inside[:, None] & inside[None]
    np.testing.assert_array_equal(out.face_id[0] >= 0, expected)
    assert set(np.unique(out.face_id[0][expected])) == {2 * side, 2 * side + 1}
    np.testing.assert_allclose(out.depth[0][expected], 1.5, rtol=2e-7)


def test_sphere_against_the_ray(isa):
    n, size = 128, (90, 110)
    vertices, faces = sphere(n)
    cameras = Cameras.orbit([0, 100], [20, -35], distance=3.0)
    out = rasterize(vertices, faces, cameras, size)
    scale = cameras.scale(size)
    x, y = np.meshgrid((np.arange(110) + 0.5 - 55) / scale, (np.arange(90) + 0.5 - 45) / scale)
    # Depth t along (x, y, 1) from a sphere at distance 3: t^2 (1 + r^2) - 6 t + 8 = 0.
    r2 = x * x + y * y
    root = 9 - 8 * (1 + r2)
    hit = (3 - np.sqrt(np.maximum(root, 0))) / (1 + r2)
    # A face of circumradius <= pi / n sags less than s = (pi / n)^2; the ray meets it later by s / cos.
    sag = (np.pi / n) ** 2
    facing = root > 0.25 * (1 + r2)  # cos of the angle of incidence is sqrt(root / (1 + r2)) > 0.5
    grid = 2.0**-11 * np.sqrt(2) * 2 * 3 / scale  # half a subpixel each way, slope below 2
    for v in range(2):
        assert (out.face_id[v][facing] >= 0).all()
        np.testing.assert_allclose(out.depth[v][facing], hit[facing], rtol=0, atol=2 * sag + grid + 1e-6)
        assert (out.face_id[v][root < 0] == -1).all()


@pytest.mark.parametrize("seed", range(12))
def test_equals_the_reference(seed, isa):
    vertices, faces = soup(seed)
    rng = np.random.default_rng(100 + seed)
    size = ((1, 1), (15, 17), (63, 100), (64, 65), (70, 33), (3, 130))[seed % 6]
    near_by = Cameras.orbit([0, 70], [10, -80], distance=float(rng.uniform(0.3, 3)))
    cameras = near_by if seed % 2 else Cameras.preset("around10")[:2]
    expected = rasterize_reference(vertices, faces, cameras, size)
    for threads in (1, 3):
        ids, depth, weights = native(vertices, faces, cameras, size, threads)
        np.testing.assert_array_equal(ids, expected.face_id)
        np.testing.assert_array_equal(depth, expected.depth)
        np.testing.assert_allclose(weights, expected.barycentric, atol=1e-6)


def test_thread_count_and_isa_change_nothing():
    vertices, faces = sphere(60)
    rng = np.random.default_rng(0)
    faces = faces[rng.permutation(len(faces))]
    cameras, size = Cameras.preset("around10"), (130, 97)
    first = native(vertices, faces, cameras, size, 1)
    before = _C.isa()
    try:
        for name in LEVELS:
            if not _C.set_isa(name):
                continue
            for threads in (1, 2, 5):
                for a, b in zip(first, native(vertices, faces, cameras, size, threads), strict=True):
                    assert a.tobytes() == b.tobytes()
    finally:
        _C.set_isa(before)


@pytest.mark.parametrize("jitter", [0.0, 0.4])
def test_a_grid_covers_every_pixel_once(jitter, isa):
    # Without jitter every corner lies on a pixel centre: each edge test there is a tie.
    n = 12
    rng = np.random.default_rng(3)
    y, x = np.mgrid[: n + 1, : n + 1].astype(np.float64)
    move = rng.uniform(-jitter, jitter, (2, n + 1, n + 1))
    move[:, [0, -1]] = move[:, :, [0, -1]] = 0
    v = np.stack([x + 0.5 + move[0], y + 0.5 + move[1], rng.uniform(0, 3, x.shape)], -1)
    a = (np.arange(n)[:, None] * (n + 1) + np.arange(n)).ravel()
    faces = np.concatenate([np.c_[a, a + 1, a + n + 2], np.c_[a, a + n + 2, a + n + 1]]).astype(np.int32)
    flip = rng.random(len(faces)) < 0.5
    faces[flip] = faces[flip][:, [0, 2, 1]]
    v = v.reshape(-1, 3).astype(np.float32)
    camera = pixel_camera(n + 1)
    count = np.zeros((n + 1, n + 1), int)
    for face in faces:
        count += rasterize(v, face[None], camera, n + 1).face_id[0] >= 0
    assert (count <= 1).all()
    np.testing.assert_array_equal(count[1:-1, 1:-1], 1)
    assert (rasterize(v, faces, camera, n + 1).face_id[0] >= 0).sum() == n * n


def test_a_closed_fan_around_a_pixel_centre(isa):
    rng = np.random.default_rng(5)
    for _ in range(20):
        spokes = np.sort(rng.uniform(0, 2 * np.pi, 9))
        if np.diff(np.r_[spokes, spokes[0] + 2 * np.pi]).max() > np.pi:
            continue
        rim = 4.5 + 3 * np.stack([np.cos(spokes), np.sin(spokes)], 1)
        v = np.zeros((10, 3), np.float32)
        v[0, :2], v[1:, :2] = 4.5, rim
        faces = [np.array([[0, 1 + i, 1 + (i + 1) % 9]], np.int32) for i in range(9)]
        count = sum((rasterize(v, f, pixel_camera(9), 9).face_id[0] >= 0).astype(int) for f in faces)
        assert count.max() == 1 and count[4, 4] == 1


def test_closed_surface_has_no_holes_when_the_camera_is_inside(isa):
    vertices, faces = sphere(24)
    cameras = Cameras.look_at(
        np.array([[0.0, 0.0, 0.0], [0.2, 0.1, 0.3]]), np.array([[1.0, 0.4, 0.0], [0.0, 1.0, 0.1]]), fov=110
    )
    out = rasterize(vertices, faces, cameras, (61, 75))
    assert (out.face_id >= 0).all()


def test_floor_under_the_camera_is_clipped_at_the_near_plane(isa):
    # Height 1 above an endless floor, looking level: row r sees it at depth scale / (r + 0.5 - 50).
    big = np.float32(1e6)
    v = np.array([[-big, 0, -big], [big, 0, -big], [big, 0, big], [-big, 0, big]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    camera = Cameras.look_at([[0.0, 1.0, 0.0]], [[0.3, 1.0, -1.0]], fov=90)
    out = rasterize(v, faces, camera, 100)
    assert (out.face_id[0, :50] == -1).all() and (out.face_id[0, 50:] >= 0).all()
    rows = np.arange(50, 100)
    depth = camera.scale(100) / (rows + 0.5 - 50)
    # Corners lie up to 32768 pixels away and move by half a subpixel; a row moves by no more than they do.
    slope = depth**2 / camera.scale(100)
    np.testing.assert_allclose(out.depth[0, 50:], np.repeat(depth[:, None], 100, 1), atol=(slope * 2**-10).max())


def test_near_plane_hides_what_is_closer():
    vertices, faces = cube()
    camera = Cameras.look_at([[0, 0, 2.0]], fov=90, near=1.6)
    out = rasterize(vertices, faces, camera, 64)
    seen = out.face_id[0] >= 0
    assert seen.any() and not np.isin(out.face_id[0][seen], [10, 11]).any()  # the front side at depth 1.5
    assert out.depth[0][seen].min() >= 1.6 * (1 - 1e-6)


def test_hostile_faces_leave_the_image_alone(isa):
    vertices, faces = sphere(10)
    cameras = Cameras.preset("front")
    clean = rasterize(vertices, faces, cameras, 48)
    behind = cameras.centers[0] * 2
    bad = np.array(
        [
            [[np.nan, 0, 0], [1, 0, 0], [0, 1, 0]],
            [[np.inf, 0, 0], [1, 0, 0], [0, 1, 0]],
            [[0, 0, -np.inf], [1, 0, 0], [0, 1, 0]],
            [[0.1, 0.2, 0.3]] * 3,
            [[-1, -1, -1], [0, 0, 0], [1, 1, 1]],
            behind + np.eye(3) * 0.1,
            behind * 1e30 + np.eye(3) * 1e29,
            np.eye(3) * 1e-30,
        ],
        np.float32,
    )
    extra = np.arange(3 * len(bad), dtype=np.int32).reshape(-1, 3)
    out = rasterize(
        np.concatenate([bad.reshape(-1, 3), vertices]),
        np.concatenate([extra, faces + 3 * len(bad)]),
        cameras,
        48,
    )
    expected = np.where(clean.face_id >= 0, clean.face_id + len(bad), -1)
    np.testing.assert_array_equal(out.face_id, expected)
    np.testing.assert_array_equal(out.depth, clean.depth)


def test_doubled_faces_tie_and_the_lowest_id_wins(isa):
    vertices, faces = sphere(16)
    again = np.concatenate([faces, faces[:, [2, 1, 0]], faces[:, [1, 2, 0]]])
    cameras = Cameras.rings(count=2)
    out = rasterize(vertices, again, cameras, 80)
    np.testing.assert_array_equal(out.face_id, rasterize(vertices, faces, cameras, 80).face_id)


def test_barycentrics_lead_back_to_the_pixel():
    rng = np.random.default_rng(1)
    v = rng.uniform(-1, 1, (90, 3)).astype(np.float32)
    faces = np.arange(90, dtype=np.int32).reshape(-1, 3)
    size = (60, 80)
    for cameras in (Cameras.preset("front"), Cameras.preset("around10")[3]):
        out = rasterize(v, faces, cameras, size)
        _, rows, columns = np.nonzero(out.face_id >= 0)
        face, weights = out.face_id[0, rows, columns], out.barycentric[0, rows, columns].astype(np.float64)
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(1), 1, atol=2e-7)
        point = np.einsum("pk,pkc->pc", weights, v[faces[face]].astype(np.float64))
        pixel, depth = cameras.project(point, size)
        # The clamp moves a point by no more than snapping did: half a subpixel each way, more past a corner.
        centre = np.stack([columns + 0.5, rows + 0.5], 1)
        assert np.abs(pixel[0] - centre).max() < 4 / 1024
        steep = np.abs(depth[0] - out.depth[0, rows, columns])
        assert np.quantile(steep, 0.99) < 1e-2 and np.median(steep) < 2e-4


def test_ids_alone(isa):
    vertices, faces = sphere(8)
    out = rasterize(vertices, faces, Cameras.preset("front"), 32, barycentric=False)
    assert out.barycentric is None
    np.testing.assert_array_equal(out.face_id, rasterize(vertices, faces, Cameras.preset("front"), 32).face_id)


def test_nothing_to_draw():
    none = np.zeros((0, 3), np.int32)
    out = rasterize(np.zeros((0, 3), np.float32), none, Cameras.preset("around10"), (4, 5))
    assert out.face_id.shape == (10, 4, 5) and (out.face_id == -1).all() and np.isinf(out.depth).all()
    points = rasterize_points(np.zeros((0, 3), np.float32), 0.1, Cameras.preset("front"), 4)
    assert (points.point_id == -1).all()


def test_disc_hand_worked(isa):
    # Centre on the middle of pixel (3, 3), radius 2: centres with dx^2 + dy^2 <= 4.
    p = np.array([[3.5, 3.5, 1.0]], np.float32)
    out = rasterize_points(p, 2.0, pixel_camera(7), 7)
    y, x = np.mgrid[:7, :7]
    np.testing.assert_array_equal(out.point_id[0] == 0, (x - 3) ** 2 + (y - 3) ** 2 <= 4)
    assert (out.depth[0][out.point_id[0] == 0] == 9.0).all()


def test_tiny_points_keep_one_pixel_and_the_nearest_wins():
    p = np.array([[1.2, 5.9, 0], [1.2, 5.9, 2], [1.2, 5.9, 2], [4, 4, 11], [np.nan, 1, 1]], np.float32)
    out = rasterize_points(p, 0.0, pixel_camera(8), 8)
    assert out.point_id[0, 2, 1] == 1 and (out.point_id >= 0).sum() == 1


@pytest.mark.parametrize("seed", range(6))
def test_points_equal_the_reference(seed):
    rng = np.random.default_rng(seed)
    p = rng.normal(0, (0.5, 2, 1e4)[seed % 3], (int(rng.integers(1, 200)), 3)).astype(np.float32)
    p[rng.random(len(p)) < 0.05] = np.nan
    radius = np.abs(rng.normal(0, 0.1, len(p))).astype(np.float32)
    cameras = Cameras.orbit([10, 200], [0, 40], distance=1.5) if seed % 2 else Cameras.preset("around10")[:2]
    size = ((16, 31), (65, 40))[seed % 2]
    expected = rasterize_points_reference(p, radius, cameras, size)
    scale = np.full(2, cameras.scale(size))
    for threads in (1, 4):
        ids, depth = _C.rasterize_points(
            p, radius, cameras.matrices(size), scale, cameras.perspective, cameras.near, *size, True, threads
        )
        np.testing.assert_array_equal(ids, expected.point_id)
        np.testing.assert_array_equal(depth, expected.depth)


def test_the_reference_can_be_forced(monkeypatch):
    vertices, faces = cube()
    fast = rasterize(vertices, faces, Cameras.preset("front"), 24)
    monkeypatch.setenv("PA3D_BACKEND", "reference")
    plain = rasterize(vertices, faces, Cameras.preset("front"), 24, barycentric=False)
    np.testing.assert_array_equal(fast.face_id, plain.face_id)
    assert plain.barycentric is None


def test_tensors_come_back_as_tensors():
    torch = pytest.importorskip("torch")
    vertices, faces = cube()
    out = rasterize(torch.from_numpy(vertices), torch.from_numpy(faces), Cameras.preset("front"), 24)
    expected = rasterize(vertices, faces, Cameras.preset("front"), 24)
    for got, want in zip(out, expected, strict=True):
        assert isinstance(got, torch.Tensor)
        np.testing.assert_array_equal(got.numpy(), want)


def test_errors_name_the_argument():
    v, f = cube()
    front = Cameras.preset("front")
    with pytest.raises(TypeError, match=r"vertices: expected float32, got float64"):
        rasterize(v.astype(np.float64), f, front, 8)
    with pytest.raises(ValueError, match=r"vertices: expected shape \(N, 3\), got \(8, 2\)"):
        rasterize(np.ascontiguousarray(v[:, :2]), f, front, 8)
    with pytest.raises(TypeError, match=r"faces: expected int32, got int64"):
        rasterize(v, f.astype(np.int64), front, 8)
    with pytest.raises(ValueError, match=r"faces: expected indices from 0 to 7, got 0 to 8"):
        rasterize(v, np.array([[0, 1, 8]], np.int32), front, 8)
    with pytest.raises(ValueError, match=r"faces: expected indices from 0 to 7, got -1 to 2"):
        rasterize(v, np.array([[0, -1, 2]], np.int32), front, 8)
    with pytest.raises(ValueError, match=r"size: expected 1 to 16384 pixels a side, got 0 x 8"):
        rasterize(v, f, front, (0, 8))
    with pytest.raises(TypeError, match=r"size: expected an integer or \(height, width\), got 8.5"):
        rasterize(v, f, front, 8.5)
    with pytest.raises(ValueError, match=r"radius: expected finite numbers >= 0"):
        rasterize_points(v, -1.0, front, 8)
    with pytest.raises(ValueError, match=r"radius: expected a number or shape \(8,\), got \(3,\)"):
        rasterize_points(v, np.ones(3, np.float32), front, 8)
    with pytest.raises(ValueError, match="faces: expected indices from 0 to 7, got 8"):
        native(v, np.array([[0, 1, 8]], np.int32), front, (8, 8))


@pytest.mark.slow
def test_eighty_thousand_faces_equal_the_reference_on_every_pixel():
    vertices, faces = sphere(141)
    rng = np.random.default_rng(8)
    # Folds that hide one another, in the order of a file that knows nothing of space.
    vertices *= (1 - 0.25 * np.sin(7 * vertices[:, :1]) ** 2).astype(np.float32)
    faces = np.ascontiguousarray(faces[rng.permutation(len(faces))][:, [0, 2, 1]])
    assert len(faces) > 79_000
    for cameras in (Cameras.preset("around10")[3], Cameras.preset("front")):
        expected = rasterize_reference(vertices, faces, cameras, (500, 500))
        out = native(vertices, faces, cameras, (500, 500), 2)
        np.testing.assert_array_equal(out[0], expected.face_id)
        np.testing.assert_array_equal(out[1], expected.depth)
        np.testing.assert_allclose(out[2], expected.barycentric, atol=1e-6)


@pytest.mark.parametrize("magnitude", [1e-40, 1e-30, 1e-12, 1e6, 1e18, 1e30, 3e38])
def test_tiny_and_huge_triangles_leave_nothing_that_is_not_theirs(magnitude, isa):
    """Around the origin a tiny triangle covers one pixel at most, in whose middle no centre lies; a huge one that does
    not contain the view's axis is seen as its plane.
    """
    camera, size = pixel_camera(16), 16
    rng = np.random.default_rng(2)
    corners = (rng.uniform(-1, 1, (40, 3, 3)) * magnitude).astype(np.float32)
    corners[..., :2] += np.float32(8)  # a pixel's corner, not a centre
    faces = np.arange(120, dtype=np.int32).reshape(-1, 3)
    out = rasterize(corners.reshape(-1, 3), faces, camera, size)
    seen = out.face_id[0] >= 0
    if magnitude < 1e-3:
        assert not seen.any()
    assert np.isfinite(out.depth[0][seen]).all() and np.isinf(out.depth[0][~seen]).all()
    assert (out.depth[0][seen] >= camera.near).all()
    expected = rasterize_reference(corners.reshape(-1, 3), faces, camera, (size, size))
    np.testing.assert_array_equal(out.face_id, expected.face_id)
    np.testing.assert_array_equal(out.depth, expected.depth)


def test_a_triangle_around_the_camera_does_not_fold_back(isa):
    """One corner far behind the camera: without clipping its projection would cover the wrong side of the image."""
    v = np.array([[-1, -0.5, -4], [1, -0.5, -4], [0, -0.5, 40]], np.float32)
    out = rasterize(v, np.array([[0, 1, 2]], np.int32), Cameras.look_at([0, 0, 0.0], [0, 0, -1], fov=90), 64)
    seen = out.face_id[0] >= 0
    # Half a unit below the eye: the lower half alone, from the edge at depth 4, 0.5 / 4 below the middle, downwards.
    rows = np.nonzero(seen.any(1))[0]
    assert rows.min() == 36 and rows.max() == 63
    depth = 0.5 / ((np.arange(64) + 0.5 - 32) / 32)
    np.testing.assert_allclose(out.depth[0][seen], np.broadcast_to(depth[:, None], (64, 64))[seen], rtol=2e-3)
