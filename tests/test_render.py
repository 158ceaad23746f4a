"""pa3d render: materials of GLB and OBJ against closed forms, what is written, and bad input."""

from __future__ import annotations

import base64
import io
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pa3d.cameras import Cameras
from pa3d.cli import main
from pa3d.io import load
from pa3d.multiview.materials import read_materials
from pa3d.multiview.shade import render

SQUARE = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
HALVES = np.array([[0, 1, 2], [0, 2, 3]], np.uint16)
# glTF counts v downwards.
UV = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)
FACING = Cameras.look_at([0, 0, 3], fov=None, half_extent=1.0)


def picture(side: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def write_glb(
    path: Path,
    *,
    image: bytes | None,
    factor: tuple[float, ...] | None = None,
    matrix: list[float] | None = None,
    transform: dict | None = None,
    uri: str | None = None,
) -> Path:
    blobs = [SQUARE.tobytes(), UV.tobytes(), HALVES.tobytes(), image or b""]
    starts = np.cumsum([0, *map(len, blobs)])
    view = {"index": 0} | ({"extensions": {"KHR_texture_transform": transform}} if transform else {})
    look: dict = {"baseColorTexture": view} if image is not None or uri else {}
    look |= {"baseColorFactor": factor} if factor else {}
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, **({"matrix": matrix} if matrix else {})}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "indices": 2, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": look}],
        "textures": [{"source": 0}],
        "images": [{"uri": uri} if uri else {"bufferView": 3, "mimeType": "image/png"}],
        "buffers": [{"byteLength": int(starts[-1])}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": int(a), "byteLength": len(b)} for a, b in zip(starts, blobs, strict=False)
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5126, "count": 4, "type": "VEC2"},
            {"bufferView": 2, "componentType": 5123, "count": 6, "type": "SCALAR"},
        ],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary = b"".join(blobs)
    binary += bytes(-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return path


def drawn(path: Path, size: int = 8) -> np.ndarray:  # (H, W, 3)
    shape = load(path)
    found = read_materials(path, len(shape.faces))
    return render(
        shape.points, shape.faces, FACING, size, face_colors=found.face_colors, texture=found.texture,
        style="unlit", supersample=1,
    )[0]  # fmt: skip


def near(a: np.ndarray, b: np.ndarray) -> bool:
    """Pixel centres fall on texel centres; float32 weights move a sample by 1e-6 texels of at most 255 steps."""
    return bool(np.abs(a.astype(int) - b).max() <= 1)


def test_a_textured_glb_shows_its_image(tmp_path: Path) -> None:
    image = picture()
    assert near(drawn(write_glb(tmp_path / "a.glb", image=png(image))), image)
    embedded = "data:image/png;base64," + base64.b64encode(png(image)).decode()
    assert near(drawn(write_glb(tmp_path / "b.glb", image=None, uri=embedded)), image)
    (tmp_path / "the image.png").write_bytes(png(image))
    assert near(drawn(write_glb(tmp_path / "c.glb", image=None, uri="the%20image.png")), image)


def test_a_mirrored_node_keeps_its_image(tmp_path: Path) -> None:
    mirror = np.diag([-1.0, 1, 1, 1]).ravel().tolist()
    image = picture()
    assert near(drawn(write_glb(tmp_path / "a.glb", image=png(image), matrix=mirror)), image[:, ::-1])


def test_factors_are_linear_light(tmp_path: Path) -> None:
    out = drawn(write_glb(tmp_path / "a.glb", image=None, factor=(1.0, 0.2158605, 0.0, 1.0)))
    assert (out == [255, 128, 0]).all()  # 0.2158605 = ((128 / 255 + 0.055) / 1.055)^2.4


def test_texture_transforms(tmp_path: Path) -> None:
    image = picture()
    turned = write_glb(tmp_path / "a.glb", image=png(image), transform={"offset": [0.25, 0.5]})
    assert near(drawn(turned), np.roll(image, (-4, -2), (0, 1)))
    # A quarter turn takes (u, v) to (v, -u): the pixel at row r, column c shows row -c, column r.
    quarter = write_glb(tmp_path / "b.glb", image=png(image), transform={"rotation": np.pi / 2})
    assert near(drawn(quarter), image.transpose(1, 0, 2)[:, ::-1])
    doubled = write_glb(tmp_path / "c.glb", image=png(image), transform={"scale": [2, 2]})
    assert near(drawn(doubled, 16), np.tile(image, (2, 2, 1)))


def test_a_broken_image_is_noted_and_grey(tmp_path: Path) -> None:
    for name, given in (("a.glb", {"image": b"no png at all"}), ("b.glb", {"image": None, "uri": "gone.png"})):
        path = write_glb(tmp_path / name, **given)
        found = read_materials(path, 2)
        assert found.texture is None and len(found.notes) == 1 and "is left out" in found.notes[0]
        assert (drawn(path) == 189).all()
        assert main(["render", str(path), "-o", str(tmp_path / "out"), "--views", "front", "--size", "32"]) == 0


OBJ = """mtllib skin.mtl
v -1 -1 0
v 1 -1 0
v 1 1 0
v -1 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl {}
f {}
"""


@pytest.mark.parametrize("face", ["1/1 2/2 3/3 4/4", "-4/-4 -3/-3 -2/-2 -1/-1", "1/1/1 2/2/1 3/3/1 4/4/1"])
def test_a_textured_obj_shows_its_image(tmp_path: Path, face: str) -> None:
    image = picture()
    (tmp_path / "an image.png").write_bytes(png(image))
    (tmp_path / "skin.mtl").write_text("newmtl skin\nKd 0.5 0.5 0.5\nmap_Kd -s 1 1 1 -clamp off an image.png\n")
    (tmp_path / "a.obj").write_text(OBJ.format("skin", face))
    assert near(drawn(tmp_path / "a.obj"), image)


def test_obj_colours_and_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.obj"
    (tmp_path / "skin.mtl").write_text("newmtl red\nKd 1 0 0.2\nnewmtl lost\nmap_Kd gone.png\n")
    path.write_text(OBJ.format("red", "1 2 3 4"))
    assert (drawn(path) == [255, 0, 51]).all()
    path.write_text(OBJ.format("lost", "1/1 2/2 3/3 4/4"))
    assert "gone.png is left out" in read_materials(path, 2).notes[0]
    (tmp_path / "skin.mtl").unlink()
    found = read_materials(path, 2)
    assert found.texture is None and "skin.mtl is left out" in found.notes[0]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write_glb(tmp_path / "tile.glb", image=png(picture())), tmp_path / "views"
    assert main(["render", str(path), "-o", str(out), "--size", "40"]) == 0
    assert "10 views of 40 x 40" in capsys.readouterr().out
    names = [f"view_{i:03d}.png" for i in range(10)]
    assert sorted(p.name for p in out.iterdir()) == sorted([*names, "sheet.png", "cameras.json"])
    assert Image.open(out / "view_009.png").size == (40, 40) and Image.open(out / "sheet.png").size == (160, 120)
    facts = json.loads((out / "cameras.json").read_text())
    expected = Cameras.preset("around10")
    np.testing.assert_allclose([v["world_to_camera"] for v in facts["views"]], expected.view)
    assert facts["projection"] == "orthographic" and facts["half_extent"] == 1.0 and facts["size"] == 40
    first = {p.name: p.read_bytes() for p in out.iterdir()}
    assert main(["render", str(path), "-o", str(out), "--size", "40", "-q"]) == 0
    assert capsys.readouterr().out == "" and first == {p.name: p.read_bytes() for p in out.iterdir()}


def test_rings_and_styles(tmp_path: Path) -> None:
    path = write_glb(tmp_path / "tile.glb", image=png(picture()))
    for style in ("lit", "unlit", "depth", "normals"):
        out = tmp_path / style
        options = ["--elevations", "-20, 30", "--count", "3", "--size", "24", "--background", "black"]
        assert main(["render", str(path), "-o", str(out), *options, "--style", style, "-q"]) == 0
        assert len(list(out.glob("view_*.png"))) == 6
        corner = np.asarray(Image.open(out / "view_000.png"))[0, 0]
        assert (corner == 0).all()


def test_a_cloud_is_drawn_as_discs(tmp_path: Path) -> None:
    points = np.zeros((2, 3), np.float32)
    points[:, 0] = -1, 1
    np.save(tmp_path / "two.npy", points)
    options = ["--elevations", "0", "--count", "1", "--orthographic", "--size", "400", "--style", "unlit", "-q"]
    assert main(["render", str(tmp_path / "two.npy"), "-o", str(tmp_path / "o"), *options, "--radius", "0.04"]) == 0
    drawn = (np.asarray(Image.open(tmp_path / "o" / "view_000.png")) < 255).any(-1)
    # Two discs of radius 0.04 in an image that spans 2.1; pixels on their outlines count when covered in part.
    expected = 2 * np.pi * (0.04 / 2.1 * 400) ** 2
    assert expected * 0.95 < drawn.sum() < expected * 1.25
    assert not drawn[:, 20:380].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--views", "all"], "--views all: expected one of around10, rings"),
        (["--style", "toon"], "--style toon: expected one of lit, unlit, depth, normals"),
        (["--color", "red"], "--color red: expected one of auto, grey, vertex, texture"),
        (["--background", "blue"], "--background blue: expected one of white, black"),
        (["--elevations", "up"], "--elevations up: expected degrees from -90 to 90"),
        (["--elevations", "nan"], "--elevations nan: expected degrees from -90 to 90"),
        (["--elevations", "0,10", "--count", "900"], "--count 900: 2 rings would have more than 1000 views"),
        (["--radius", "-1"], "--radius -1: expected a number between 0 and 10"),
        (["--radius", "nan"], "--radius nan: expected a number between 0 and 10"),
        (["--size", "9"], "Invalid value for '--size'"),
        (["--up", "w"], "up axis 'w' is unknown"),
        (["--color", "vertex"], "has no vertex colours"),
        (["--color", "texture"], "has no textures or material colours"),
    ],
)
def test_bad_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str) -> None:
    path = tmp_path / "plain.off"
    path.write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")
    assert main(["render", str(path), "-o", str(tmp_path / "out"), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not (tmp_path / "out").exists()


def test_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "cut.glb").write_bytes(b"glTF\x02\0\0\0\xff\0\0\0\0\0\0\0\0\0\0\0")
    (tmp_path / "file").write_text("")
    good = write_glb(tmp_path / "good.glb", image=None)
    for file, out, message in (
        (tmp_path / "none.glb", tmp_path / "out", "no such file"),
        (tmp_path / "cut.glb", tmp_path / "out", "is truncated"),
        (good, tmp_path / "file", "file"),
    ):
        assert main(["render", str(file), "-o", str(out)]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
