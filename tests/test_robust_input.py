"""What people pass in: numbers far from zero, lists and objects of other libraries, missing points, names."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from clouds import cloud
from numpy.typing import NDArray

import pa3d
from pa3d import InputError, Segmenter, Shape
from pa3d.cli import main
from pa3d.cli.options import part_names
from pa3d.report import write_outputs
from pa3d.report.page import parts_html
from pa3d.report.picture import _drawable, draw_views
from pa3d.sampling import sample_cloud
from pa3d.shape import compacted

CHAIR = Path(__file__).resolve().parents[1] / "examples" / "chair.glb"
PARTS = ["seat", "back", "leg"]
UTM = np.array([500_123.0, 4_512_345.0, 210.0])


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained()


@pytest.fixture(scope="module")
def chair() -> Shape:
    return pa3d.load(CHAIR)


@pytest.fixture(scope="module")
def points(chair: Shape) -> NDArray[np.float64]:
    return chair.sample(1500)[0].astype(np.float64)


@pytest.mark.parametrize("assign", ["nearest", "smooth", "membership"])
def test_points_too_far_for_the_scale_of_the_sample(segmenter: Segmenter, assign: Any) -> None:
    """One point is not in the sample. float32 cannot square its distance in units of the sample: no answer then."""
    points = cloud("random", 400)
    for far, fits in ((1e15, True), (1e20, False), (1e37, False)):
        points[7] = far, 0, 0
        seed = next(seed for seed in range(99) if 7 not in sample_cloud(points, 100, seed))
        if fits:
            result = segmenter.segment(points, PARTS, sample=100, seed=seed, assign=assign)
            assert np.isfinite(result.scores).all() and result.labels.min() >= 0
            continue
        with pytest.raises(InputError, match="float32 cannot hold the others in their scale"):
            segmenter.segment(points, PARTS, sample=100, seed=seed, assign=assign)


def test_far_coordinates_of_every_entry(segmenter: Segmenter, points: NDArray[np.float64]) -> None:
    near, far = segmenter.segment(points, PARTS), points + UTM
    for given in (far, far.tolist(), Shape(far)):
        result = segmenter.segment(given, PARTS)
        assert (result.labels == near.labels).mean() > 0.99
        assert np.abs(result.shape.points + result.shape.origin - far).max() < 1e-6
    one = segmenter.encode(points).features
    assert np.abs(segmenter.encode(far).features - one).max() < 1e-2
    assert np.abs(segmenter.encode([far, points])[0].features - one).max() < 1e-2
    found, expected = (segmenter.keypoints(p, ["seat"]).found[0].position for p in (far, points))
    assert np.abs(found - UTM - expected).max() < 1e-3


def test_a_stray_point_does_not_cost_the_precision_of_the_others() -> None:
    """A scan in metres far from zero, whose missing returns are (0, 0, 0)."""
    scan = np.random.default_rng(0).random((3000, 3)) * [40, 30, 10] + [500_000, 5_400_000, 300]
    dirty = scan.copy()
    dirty[[5, 800, 801]] = 0
    clean, shape = Shape(scan), Shape(dirty)
    kept = np.delete(np.arange(3000), [5, 800, 801])
    assert np.abs(shape.points + shape.origin - dirty)[kept].max() < 1e-5
    assert np.abs(shape.points + shape.origin - dirty).max() < 1
    assert np.array_equal(clean.origin, Shape(scan).origin) and np.abs(shape.origin - clean.origin).max() <= 64
    # Shapes without such points stay as they were: the origin is that of the middle.
    assert not Shape(scan - scan.mean(axis=0)).origin.any()


def test_missing_returns_at_zero_change_hardly_a_label(segmenter: Segmenter, points: NDArray[np.float64]) -> None:
    clean = segmenter.segment(points + UTM, PARTS)
    dirty = segmenter.segment(np.concatenate([points + UTM, np.zeros((3, 3))]), PARTS)
    assert (dirty.labels[: len(points)] == clean.labels).mean() > 0.99 and dirty.settings["outliers"] == 3
    assert dirty.presence is not None and np.allclose(dirty.presence, clean.presence, atol=0.02)


def test_origin_by_hand() -> None:
    shape = Shape(np.array([[1000.25, 2000.5, 10.0], [1001.25, 2000.75, 10.0]]))
    assert shape.points.dtype == np.float32
    # extent 1, so the grid is 1; the middle (1000.75, 2000.625, 10) goes to the nearest multiples
    assert np.array_equal(shape.origin, [1001, 2001, 10])
    assert np.array_equal(shape.points, np.array([[-0.75, -0.5, 0], [0.25, -0.25, 0]], np.float32))


def test_encode_without_normalization_takes_points_as_they_are(segmenter: Segmenter) -> None:
    points = cloud("random", 300) * 0.01 + np.float32(1)
    assert np.array_equal(
        segmenter.encode(points.astype(np.float64), normalize=False, up="z").points,
        segmenter.encode(points, normalize=False, up="z").points,
    )


def test_meshes_as_float64_lists_and_objects(segmenter: Segmenter, chair: Shape) -> None:
    assert chair.faces is not None
    vertices, faces = chair.points.astype(np.float64), chair.faces.astype(np.int64)
    right = segmenter.segment(chair, PARTS).face_labels
    open3d = SimpleNamespace(vertices=vertices, triangles=faces, vertex_colors=np.zeros((0, 3)))
    for shape in (Shape(vertices, faces), Shape(vertices.tolist(), faces.tolist()), Shape(open3d)):  # type: ignore[arg-type]
        assert np.array_equal(segmenter.segment(shape, PARTS).face_labels, right)
    trimesh = pytest.importorskip("trimesh")
    assert np.array_equal(segmenter.segment(trimesh.Trimesh(vertices, faces, process=False), PARTS).face_labels, right)
    assert len(segmenter.segment(trimesh.PointCloud(vertices), PARTS).labels) == len(vertices)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((3, 50)), r"shape \(3, 50\).*points\.T"),
        ([["a", "b", "c"]], "not numbers"),
        (object(), "object, not numbers.*trimesh"),
        (np.ones((4, 3), complex), "not numbers"),
        (None, "NoneType, not numbers"),
    ],
)
def test_what_is_no_shape(given: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Shape(given).validate()  # type: ignore[arg-type]


@pytest.mark.parametrize("faces", [[[0, 1, 2, 3]], [[0, 1, 1.5]], [[0, 1, 2**33]], ["x"]])
def test_what_are_no_faces(faces: object) -> None:
    with pytest.raises(InputError, match="faces"):
        Shape(np.eye(4, 3), faces).validate()  # type: ignore[arg-type]


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
def test_missing_points_are_labelled_minus_one(
    segmenter: Segmenter, points: NDArray[np.float64], tmp_path: Path, hole: float
) -> None:
    full = np.concatenate([points, points[:100]])
    where = np.zeros(len(full), bool)
    where[::16] = True
    holes = full.copy()
    holes[where, 1] = hole
    result, right = segmenter.segment(holes, PARTS), segmenter.segment(full[~where], PARTS)
    assert (result.labels[where] == -1).all() and (result.scores[where] == 0).all()
    assert np.array_equal(result.labels[~where], right.labels) and np.array_equal(result.scores[~where], right.scores)
    with pytest.raises(InputError, match=f"{where.sum()} of {len(full)} points"):
        segmenter.segment(holes, PARTS, nan="error")
    with pytest.raises(InputError, match="nan is"):
        segmenter.segment(holes, PARTS, nan="drop")
    files = write_outputs(result, tmp_path)
    facts = json.loads(files["summary"].read_text())
    assert facts["shape"]["missing"] == where.sum() and facts["none"] == {"share": 0.0, "count": 0}


def test_missing_points_on_the_command_line(
    points: NDArray[np.float64], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    holes = points.copy()
    holes[:5] = np.nan
    np.save(tmp_path / "scan.npy", holes)
    args = ["segment", str(tmp_path / "scan.npy"), "--parts", "seat, leg", "-o", str(tmp_path / "out")]
    assert main(args) == 0
    assert "5 of 1,500 points have no finite coordinates" in capsys.readouterr().err
    assert (np.load(tmp_path / "out" / "labels.npz")["labels"][:5] == -1).all()
    assert main([*args, "--nan", "error"]) == 2
    assert main([*args, "--nan", "drop"]) == 2


@pytest.mark.parametrize(
    "text",
    ["seat,back,leg", "seat; back; leg", "seat\uff0cback\u3001leg", "seat\uff1bback\u060cleg", "seat\nback\nleg"],
)
def test_separators(text: str, tmp_path: Path) -> None:
    assert part_names(text) == PARTS
    (tmp_path / "names.txt").write_text(f"# parts\n{text}\n\n", encoding="utf-8")
    assert part_names(str(tmp_path / "names.txt")) == PARTS


@pytest.mark.parametrize(
    "data",
    [
        b"seat\r\nback\r\nleg",
        "\ufeffseat\r\n\r\nback\r\n \t\r\nleg\r\n\r\n".encode(),
        b"seat\rback\rleg\r",
        "seat\nback\nleg\n".encode("utf-16"),
        "\ufeffseat, back, leg\r\n".encode("utf-16-be"),
        "\ufeffseat\uff0c\u3000back\u060c leg\u3001".encode(),
        b"# the parts\n  seat \n#, leg\n\tback\nleg",
        b"seat,, back,;leg,\n",
    ],
)
def test_files_of_names(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "names.txt").write_bytes(data)
    assert part_names(str(tmp_path / "names.txt")) == PARTS


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("si\u00e8ge\n".encode("latin-1"), "it is not UTF-8 text.; save it as UTF-8"),
        (b"\xff\xfea", "it is not UTF-8 text"),
        (b"seat\0\nback\n", "control characters"),
        (b"seat\x1b[31m\n", "control characters"),
        (b"\n# nothing\n , \n", "no part names in"),
        (b"", "no part names in"),
    ],
)
def test_files_that_hold_no_names(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "names.txt").write_bytes(data)
    with pytest.raises(InputError, match=message):
        part_names(str(tmp_path / "names.txt"))


@pytest.mark.parametrize("names", [None, 5, {"seat", "leg"}, {"seat": 1}, iter(["seat"]), "seat", [], ["seat", None]])
def test_what_are_no_names(segmenter: Segmenter, names: Any) -> None:
    with pytest.raises(InputError, match="part name"):
        segmenter.embed_text(names)


def test_names_in_other_containers(segmenter: Segmenter) -> None:
    right = segmenter.embed_text(PARTS)
    for names in (tuple(PARTS), np.array(PARTS)):
        assert np.array_equal(segmenter.embed_text(names), right)


@pytest.mark.parametrize("category", ["\u6905\u5b50", "\ud800", "", 5, "?!"])
def test_categories_that_cannot_be_read(segmenter: Segmenter, category: Any) -> None:
    with pytest.raises(InputError, match="category"):
        segmenter.embed_text(PARTS, category)


def test_many_and_long_names(segmenter: Segmenter, chair: Shape, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(1000, segmenter.config.text_dim))
    names = [*(f"part {i}" for i in range(998)), "a" * 50_000, "very long name " * 2000]
    files = write_outputs(segmenter.segment(chair, names, text_vectors=vectors), tmp_path)
    assert json.loads(files["summary"].read_text())["parts"][999]["name"] == names[999]
    assert pa3d.load(files["parts"]).faces is not None
    long = segmenter.segment(chair, ["a" * 50_000, "leg " * 5000, "seat"])
    write_outputs(long, tmp_path)


def test_lines_of_a_longer_file_keep_their_commas(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("door, front\nwheel\n")
    assert part_names(str(tmp_path / "names.txt")) == ["door, front", "wheel"]


def test_names_from_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("seat\nback\n",))
    writer.start()
    assert part_names(str(pipe)) == ["seat", "back"]
    writer.join()


@pytest.mark.parametrize(
    "names", [["si\u00e8ge", "sie\u0300ge"], ["leg", "leg\u200b"], ["leg " * 300 + "left", "leg " * 300 + "right"]]
)
def test_names_with_one_vector(segmenter: Segmenter, names: list[str]) -> None:
    with pytest.raises(InputError, match="the same for the text encoder"):
        segmenter.embed_text(names)


def test_scripts_that_the_encoder_cannot_read(segmenter: Segmenter) -> None:
    for names in (["\u5ea7\u4f4d", "\u9760\u80cc"], ["\u043d\u043e\u0436\u043a\u0430"], ["\U0001f9b5"]):
        with pytest.raises(InputError, match=r"cannot read its script|knows no word"):
            segmenter.embed_text(names)
    with pytest.warns(UserWarning, match="cannot read its script"):
        assert segmenter.embed_text(["\u5ea7", "back"]).shape == (2, 384)
    segmenter.embed_text(["si\u00e8ge", "Stuhlbein"])  # Latin script


def run(args: list[bytes], cwd: Path, redirect: str = "", **env: str) -> subprocess.CompletedProcess[bytes]:
    script = f'exec "$0" -m pa3d.cli "$@" {redirect}'
    command = [b"bash", b"-c", script.encode(), sys.executable.encode(), *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, env={**os.environ, **env}, timeout=100)


SEGMENT = [b"segment", os.fsencode(CHAIR), b"--parts", b"seat, back", b"-o", b"out", b"--no-pictures"]


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_output_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    assert run(SEGMENT, tmp_path, PYTHONIOENCODING=encoding).returncode == 0
    answer = run(
        [*SEGMENT[:3], "si\u00e8ge, back".encode(), *SEGMENT[4:], b"--json"], tmp_path, PYTHONIOENCODING=encoding
    )
    assert {part["name"] for part in json.loads(answer.stdout)["parts"]} == {"si\u00e8ge", "back"}


@pytest.mark.parametrize(
    ("redirect", "code"), [(">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), ("-q >&-", 0), ("> /dev/full", 1)]
)
def test_streams_closed_or_full(tmp_path: Path, redirect: str, code: int) -> None:
    answer = run(SEGMENT, tmp_path, redirect)
    assert answer.returncode == code and b"bug" not in answer.stderr
    assert np.load(tmp_path / "out" / "labels.npz")["labels"].size


def test_file_names_and_part_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = b"caf\xe9.glb"
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(CHAIR.read_bytes())
    assert run([SEGMENT[0], name, *SEGMENT[2:6], b"--json"], tmp_path).returncode == 0
    assert run([b"keypoints", name, b"--names", b"seat", b"-o", b"kp"], tmp_path).returncode == 0
    assert run([*SEGMENT[:3], b"si\xe8ge, back"], tmp_path).returncode == 2


def test_no_home_and_no_cache(tmp_path: Path) -> None:
    script = 'unset HOME XDG_CACHE_HOME PA3D_CACHE; exec "$0" -m pa3d.cli "$@"'
    command = [b"bash", b"-c", script.encode(), sys.executable.encode(), *SEGMENT]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    assert run(SEGMENT, tmp_path, PA3D_CACHE="/proc/none").returncode == 0


def test_a_used_folder_keeps_nothing_of_the_old_shape(
    segmenter: Segmenter, chair: Shape, points: NDArray[np.float64], tmp_path: Path
) -> None:
    write_outputs(segmenter.segment(chair, PARTS), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    write_outputs(segmenter.segment(points, PARTS), tmp_path, pictures=False, html=False)
    assert sorted(os.listdir(tmp_path)) == ["labels.npz", "notes.txt", "painted.ply", "parts.ply", "summary.json"]


# --- pictures and colours ---


def page_data(result: pa3d.Segmentation) -> dict[str, Any]:
    found = re.search(r'\{"shareOf".*?(?=</script>)', parts_html(result))
    assert found is not None
    data: dict[str, Any] = json.loads(found[0])
    return data


def test_vertices_that_no_face_uses_do_not_shrink_the_pictures(segmenter: Segmenter, chair: Shape) -> None:
    assert chair.faces is not None
    stray = np.array([[100, 100, 100], [-50, 0, 0]], np.float32)
    points = np.concatenate([stray[:1], chair.points, stray[1:]])
    more = Shape(points, chair.faces + np.int32(1))
    right, result = (segmenter.segment(shape, PARTS) for shape in (chair, more))
    assert np.array_equal(result.face_labels, right.face_labels)
    assert np.array_equal(result.labels[1:-1], right.labels)
    for drawn, expected in zip(draw_views(_drawable(result)), draw_views(_drawable(right)), strict=True):
        assert np.array_equal(drawn, expected)
    data, expected_data = page_data(result), page_data(right)
    assert data == expected_data


def test_vertices_that_no_face_uses_do_not_move_the_origin(chair: Shape) -> None:
    assert chair.faces is not None
    far = chair.points.astype(np.float64) + UTM
    shape = Shape(np.concatenate([far, np.zeros((1, 3))]), chair.faces)
    assert np.abs((shape.points + shape.origin)[:-1] - far).max() < 1e-6


def test_compacted_by_hand() -> None:
    kept, faces = compacted(np.zeros((6, 3)), np.array([[5, 1, 2], [2, 1, 5]], np.int32))
    assert kept.tolist() == [1, 2, 5] and faces.tolist() == [[2, 0, 1], [1, 0, 2]]


def colored_files(folder: Path, color: int) -> list[Path]:
    """A triangle, or its corners, in which every colour channel has one value."""
    corners = [(0, 0, 0), (1, 0, 0), (0, 2, 0)]
    rows = "".join(f"{x} {y} {z} {color} {color} {color}\n" for x, y, z in corners)
    properties = "".join(f"property float {c}\n" for c in "xyz")
    properties += "".join(f"property uchar {c}\n" for c in ("red", "green", "blue"))
    packed = np.array([color << 16 | color << 8 | color], "<u4").view("<f4")[0]
    pcd = "VERSION .7\nFIELDS x y z rgb\nSIZE 4 4 4 4\nTYPE F F F F\nCOUNT 1 1 1 1\n"
    pcd += "WIDTH 3\nHEIGHT 1\nPOINTS 3\nDATA ascii\n"
    files = {
        "a.ply": f"ply\nformat ascii 1.0\nelement vertex 3\n{properties}end_header\n{rows}",
        "a.pcd": pcd + "".join(f"{x} {y} {z} {float(packed)!r}\n" for x, y, z in corners),
        "a.obj": "".join(f"v {row}\n" for row in rows.splitlines()) + "f 1 2 3\n",
        "a.off": f"COFF\n3 1 0\n{rows}3 0 1 2\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    arrays = np.array(corners, np.float32), np.full((3, 3), color, np.uint8)
    np.savez(folder / "a.npz", points=arrays[0], colors=arrays[1])
    trimesh = pytest.importorskip("trimesh")
    visible = np.concatenate([arrays[1], np.full((3, 1), 255, np.uint8)], axis=1)
    trimesh.Trimesh(arrays[0], [[0, 1, 2]], vertex_colors=visible, process=False).export(folder / "a.glb")
    paths = [*(folder / name for name in files), folder / "a.npz", folder / "a.glb"]
    laspy = pytest.importorskip("laspy")
    las = laspy.create(point_format=2)
    las.x, las.y, las.z = arrays[0].T.astype(np.float64)
    las.red = las.green = las.blue = np.full(3, color * 257, np.uint16)
    las.write(folder / "a.las")
    return [*paths, folder / "a.las"]


def test_colours_that_are_all_zero_are_no_colours(tmp_path: Path) -> None:
    for path in colored_files(tmp_path, 0):
        assert pa3d.load(path).colors is None, path.name
    for path in colored_files(tmp_path, 4):
        colors = pa3d.load(path).colors
        assert colors is not None and colors.tolist() == [[4, 4, 4]] * 3, path.name
