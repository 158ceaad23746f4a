"""The Blender add-on, in Blender's package bpy: installed from its ZIP, used through both doors, and given bad scenes.

tests/blender_addon.py runs in Blender and says what became of the scene. `make bpy` installs bpy; PA3D_BLENDER names
another Python that has it.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_asset_viewers import blender
from test_serve import serving

from pa3d import Segmenter, __version__
from pa3d.colors import UNLABELED_COLOR, part_colors, to_linear, to_rgb
from pa3d.io import load

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")]
ROOT = Path(__file__).resolve().parents[1]
ADDON = ROOT / "integrations" / "blender" / "pa3d_blender.py"
CHAIR = ROOT / "examples" / "chair.glb"
PARTS = ["seat", "back", "leg"]


def make_zip(folder: Path) -> Path:
    script = ROOT / "scripts" / "make_blender_zip.py"
    return Path(subprocess.check_output([sys.executable, str(script), str(folder)], text=True).strip())


@pytest.fixture(scope="module")
def zip_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_zip(tmp_path_factory.mktemp("zip"))


def in_blender(zip_file: Path, folder: Path, way: str, **options: Any) -> dict[str, Any]:
    python = blender()
    environment = {**os.environ, "BLENDER_USER_RESOURCES": str(folder / "user")}
    command = [str(python), str(ROOT / "tests" / "blender_addon.py"), str(zip_file), str(folder / "found.json"), way]
    done = subprocess.run([*command, json.dumps(options)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


class Stranger(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>welcome</html>")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def options() -> dict[str, str]:
    return {"command": str(Path(sys.executable).with_name("pa3d")), "chair": str(CHAIR)}


@pytest.fixture(scope="module")
def everything(
    zip_file: Path, options: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What the scenarios of tests/blender_addon.py found."""
    blender()
    folder = tmp_path_factory.mktemp("addon")
    stranger = HTTPServer(("127.0.0.1", 0), Stranger)
    threading.Thread(target=stranger.serve_forever, daemon=True).start()
    address = str(folder / "s")
    with serving(address, folder, "-q"), serving("0", folder, "-q") as (_, url):
        found = in_blender(
            zip_file, folder, "extension", **options, address=address, port=url.rsplit(":", 1)[1],
            stranger=str(stranger.server_port), export=str(folder / "exported"), package=str(ROOT),
        )  # fmt: skip
    stranger.shutdown()
    found["export"] = str(folder / "exported")
    yield found


@pytest.fixture
def found(everything: dict[str, Any], request: pytest.FixtureRequest) -> Any:
    """What one scenario found: that of the test's name."""
    result = everything[request.node.name.removeprefix("test_").split("[")[0]]
    assert not (isinstance(result, dict) and "traceback" in result), result["traceback"]
    return result


@pytest.fixture(scope="module")
def expected() -> Any:
    return Segmenter.from_pretrained().segment(CHAIR, PARTS)


def check_chair(found: dict[str, Any], expected: Any) -> None:
    """Labels, vertex groups, materials and objects are those of pa3d segment."""
    labels = np.array(found["labels"])
    np.testing.assert_array_equal(labels, expected.face_labels)
    corners, colors = found["corners"], to_linear(to_rgb(part_colors(3)))
    assert list(found["groups"]) == PARTS
    for label, name in enumerate(PARTS):
        vertices = {vertex for face in np.flatnonzero(labels == label) for vertex in corners[face]}
        assert found["groups"][name] == sorted(vertices)
    materials = found["materials"]
    assert materials["slots"] == ["clay", *PARTS]
    np.testing.assert_array_equal(np.array(materials["index"]) - 1, labels)
    np.testing.assert_allclose(materials["colors"][1:], colors, atol=1e-6)
    np.testing.assert_allclose(materials["nodes"][1:], colors, atol=1e-6)
    (original,) = (name for name, entry in found["objects"].items() if entry["parent"] is None)
    assert found["objects"][original]["hidden"]
    for label, name in enumerate(PARTS):
        piece = found["objects"][f"{original}.{name}"]
        assert piece["parent"] == original and not piece["hidden"] and piece["selected"]
        assert piece["faces"] == (labels == label).sum() and piece["labels"] == [label]
        assert piece["vertices"] == len(found["groups"][name])
    assert len(found["objects"]) == 4
    for level, text in found["reports"]:
        assert level == "INFO" and all(f"{name} " in text for name in PARTS)


@pytest.mark.parametrize("door", ["by_command", "by_server"])
def test_a_chair(everything: dict[str, Any], expected: Any, door: str) -> None:
    assert "traceback" not in everything[door], everything[door]["traceback"]
    check_chair(everything[door], expected)


def test_by_port(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(found, expected.face_labels)


def test_in_blenders_python(found: Any, expected: Any) -> None:
    assert found["program"] == [found["python"], "-m", "pa3d.cli"]
    np.testing.assert_array_equal(found["labels"], expected.face_labels)
    shape = load(CHAIR, up="-y")
    turned = Segmenter.from_pretrained().segment(shape, PARTS, category="-chair").face_labels
    np.testing.assert_array_equal(found["upside_down"], turned)


@pytest.mark.parametrize("name", ["polygons", "several_materials"])
def test_as_exported(everything: dict[str, Any], name: str) -> None:
    """As pa3d segment labels the triangles that Blender's own exporter writes, by the largest area."""
    found = everything[name]
    assert "traceback" not in found, found["traceback"]
    assert {3, 4} < set(found["corners"]) and max(found["corners"]) > 8
    triangles = Segmenter.from_pretrained().segment(f"{everything['export']}-{name}.glb", PARTS).face_labels
    assert triangles is not None and len(triangles) == len(found["area"])
    votes = np.zeros((len(found["corners"]), 4))
    for polygon, label, area in zip(found["triangle_polygon"], triangles, found["area"], strict=True):
        votes[polygon, label + 1] += area
    np.testing.assert_array_equal(found["labels"], votes.argmax(axis=1) - 1)


def test_majority(found: Any) -> None:
    """The first polygon's triangles have areas 2 and 1.5, those of the second are equal, the third has no area."""
    assert found["polygon"] == [0, 0, 1, 1, 2, 3]
    np.testing.assert_allclose(found["area"], [2, 1.5, 2, 2, 0, 8], atol=1e-6)
    assert found["answers"] == [[0, 0, 2, -1], [1, 0, -1, 3], [-1, -1, -1, -1]]


def test_several_objects(found: Any) -> None:
    """One shape of six objects: each gets its name, though it stands far away, turned and mirrored."""
    for name, labels in found["labels"].items():
        assert set(labels) == {PARTS.index(name.split()[0])}, name
    assert found["meshes"] == 3  # the legs still share one
    assert found["slots"] == {name: [name.split()[0]] for name in found["labels"]}
    assert sorted(found["materials"]) == sorted(PARTS)
    level, text = found["report"]
    assert level == "WARNING" and "light: no faces, left out" in text


def test_instances(found: Any) -> None:
    assert found["same"] == [True, True, False, True]
    assert found["labels"] == [[0], [0], [1], [0]]
    assert found["groups"] == [["x"], ["x"], ["y"], ["x"]]
    assert len(found["notes"]) == 2 and found["notes"][0].startswith("c ") and found["notes"][1].startswith("d:")


def test_each_alone(found: Any) -> None:
    first, second = found["labels"]
    assert set(first) == {0, 1, 2} and first == second


def test_up_and_category(found: Any) -> None:
    upright, lying = np.array(found)
    assert set(upright) == {0, 1, 2} and (upright == lying).mean() > 0.98  # the rotation rounds


def test_far_away(found: Any) -> None:
    near, far = np.array(found)
    assert set(near) == {0, 1, 2} and (near == far).mean() > 0.98  # the subtraction rounds


def test_none_below(found: Any) -> None:
    assert set(found["labels"]) == {-1} and found["slots"] == ["none"]
    assert found["report"][1].startswith("none 100%")
    assert UNLABELED_COLOR in ADDON.read_text()


def test_modifiers(found: Any) -> None:
    assert all(kind["labelled"] for kind in found.values())
    assert found["CAST"]["extent"][1] < 1.2  # y is up: a chair on the way to a ball
    assert "modifiers" not in found["CAST"]["report"][1]
    assert found["SUBSURF"]["extent"][1] == pytest.approx(1.95, abs=0.1)  # the chair itself
    assert found["SUBSURF"]["report"][0] == "WARNING" and "thing: modifiers make other" in found["SUBSURF"]["report"][1]


def test_again(found: Any) -> None:
    assert found["groups"] == ["leg", "seat", "back", "leg.001"] and found["weight"] == pytest.approx(0.25)
    assert found["slots"] == ["wood", *PARTS] and found["materials"] == sorted(["wood", *PARTS])
    assert found["attributes"] == ["pa3d_part", "part"] and set(found["before"]) == {0, 1, 2}


def test_separated(found: Any) -> None:
    """The parts stand where the object stood, with all that it had; its child stays."""
    pieces = {f"thing.{name}" for name in PARTS}
    for original, result in found.items():
        objects = result["objects"]
        assert set(objects) == {*pieces, "thing", "floor", "cup"}
        assert {objects[name]["parent"] for name in (*pieces, "cup")} == {"thing"}
        assert objects["thing"]["parent"] == "floor"
        assert objects["thing"]["type"] == ("MESH" if original == "HIDE" else "EMPTY")
        assert objects["thing"]["hidden"] == (original == "HIDE")
        assert all(objects[name]["collections"] == objects["thing"]["collections"] for name in pieces)
        assert "room" in objects["thing"]["collections"]
        assert not result["moved"] and result["cup"] and all(result["valid"])
        assert result["uv"] == [["map"]] * 3 and result["groups"] == [["pin"]] * 3
        assert result["keys"] == [[["Basis", True], ["taller", True]]] * 3
        assert {name for name in result["meshes"] if name.startswith("thing")} == {
            *pieces,
            *(["thing"] if original == "HIDE" else []),
        }


def test_undone(found: Any) -> None:
    assert found == {result: [True, True] for result in ("GROUPS", "MATERIALS", "OBJECTS")}


MESSAGES = {
    "no names": "type the names of the parts",
    "nothing selected": "select an object with a mesh",
    "no faces": "no faces: points",
    "no mesh": "no faces: curve",
    "edit mode": "leave Edit Mesh first",
    "linked": "far is linked from another file",
    "not finite": "broken: some of its vertices have no finite coordinates",
    "no extent": "pa3d serve: ",
    "a refused name": "pa3d serve: parts: ",
    "animated": "has constraints, drivers or animation; keep the original",
    "no server": "start it: pa3d serve /",
    "another machine": "expected a port of this machine",
    "another server": "did not answer as pa3d serve does",
    "no program": "/nowhere/pa3d: no such program",
    "another program": "pa3d: ",
    "refused by the program": "control characters",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_errors(found: Any, name: str) -> None:
    """One line says what to do, and nothing has changed."""
    level, text, unchanged = found[name]
    assert level == "ERROR" and MESSAGES[name] in text and "\n" not in text and "Traceback" not in text
    assert unchanged
    assert set(found) == set(MESSAGES)


def test_half_way(found: Any) -> None:
    assert found["memory"] == ["ERROR", "not enough memory for these meshes", True]
    assert found["changed"] == ["ERROR", "thing has changed since; nothing was done"] and not found["attributes"]


def test_with_a_window(found: Any) -> None:
    """As the button runs it: a timer, the view can be moved, Esc ends it; whatever happens, it tidies up once."""
    endings = {"escape": "CANCELLED", "failure": "CANCELLED", "done": "FINISHED"}
    texts = {"escape": "nothing has changed", "failure": "pa3d: ", "done": "seat "}
    for name, last in endings.items():
        result = found[name]
        assert result["last"] == last and texts[name] in result["text"] and not result["left"]
        counts = result["calls"]
        assert counts["event_timer_add"] == counts["event_timer_remove"] == counts["modal_handler_add"] == 1
        assert counts["cursor_modal_set"] == counts["cursor_modal_restore"] == 1
    assert found["escape"]["answers"] == ["PASS_THROUGH", "RUNNING_MODAL"]
    assert found["unchanged"] and found["groups"] == PARTS


def test_switched_off(found: Any) -> None:
    assert found == [True, True, True]


def test_installed_as_before_extensions(zip_file: Path, options: dict[str, str], expected: Any, tmp_path: Path) -> None:
    """The same ZIP, as Blender before 4.2 installs it."""
    found = in_blender(zip_file, tmp_path, "legacy", **options)
    assert found["module"] == "pa3d_blender"
    np.testing.assert_array_equal(found["labels"], expected.face_labels)


def test_the_zip(zip_file: Path, tmp_path: Path) -> None:
    """The add-on, its manifest and its licence, with the version of pa3d; the same bytes each time."""
    assert (
        zip_file.read_bytes() == make_zip(tmp_path).read_bytes() and zip_file.name == f"pa3d_blender-{__version__}.zip"
    )
    with zipfile.ZipFile(zip_file) as file:
        assert sorted(file.namelist()) == [
            f"pa3d_blender/{n}" for n in ("LICENSE", "__init__.py", "blender_manifest.toml")
        ]
        assert file.read("pa3d_blender/__init__.py") == ADDON.read_bytes()
        manifest = tomllib.loads(file.read("pa3d_blender/blender_manifest.toml").decode())
    (info,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(ADDON.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "bl_info"
    )
    assert manifest["version"] == ".".join(map(str, info["version"])) == __version__
    assert manifest["name"] == info["name"] and manifest["tagline"] == info["description"]
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(ADDON.read_text()))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [])
        + ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
    }
    assert imported - set(sys.stdlib_module_names) == {"bpy", "bmesh", "mathutils", "numpy"}
