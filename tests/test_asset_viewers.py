"""What others make of parts.glb: the validator of Khronos, three.js in Chromium, and Blender.

The models are public and are read where they lie; none is in the repository. Those that are not there are skipped by
name. PA3D_PEERS is the folder of scripts/check_peer_files.py (default ../peers); Debian's assimp-testmodels has some of
them, too. Tools: `make browser` and `make bpy`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gltf_models import MODELS as MADE
from labelled import PARTS, labelled
from test_embedding import chromium, open_page

from pa3d.io import load
from pa3d.report.asset import asset_files

ROOT = Path(__file__).resolve().parents[1]
PEERS = Path(os.environ.get("PA3D_PEERS", ROOT.parent / "peers"))
SHARED = Path(os.environ.get("PA3D_SHARED", ROOT.parent / "shared")) / "data" / "train"
DEBIAN = Path("/usr/share/assimp/models/glTF2")
DRACO = PEERS / "draco" / "testdata"  # of github.com/google/draco, which has them from Khronos

# What each is there for, and where it may lie.
PUBLIC: dict[str, tuple[str, list[Path]]] = {
    "CesiumMan": ("skin, texture", [DRACO / "CesiumMan/glTF_Binary/CesiumMan.glb"]),
    "Fox": ("skin, texture, three animations; files beside it", [DRACO / "Fox/glTF/Fox.gltf"]),
    "AnimatedMorphCube": (
        "animated morph targets, tangents",
        [
            DRACO / "KhronosSampleModels/AnimatedMorphCube/glTF/AnimatedMorphCube.gltf",
            DEBIAN / "glTF-Sample-Models/AnimatedMorphCube-glTF/AnimatedMorphCube.gltf",
        ],
    ),
    "InterpolationTest": ("nine animations, a texture", [DRACO / "InterpolationTest/glTF/InterpolationTest.gltf"]),
    "CesiumMilkTruck": ("a mesh in two nodes, a texture", [DRACO / "CesiumMilkTruck/glTF/CesiumMilkTruck.gltf"]),
    "Stip": ("twenty skinned meshes and textures", [PEERS / "webgltf/models/Stip/glTF-Binary/stip.glb"]),
    "Knight (KayKit)": ("76 animations, a texture", [SHARED / "cc0_game_packs/kaykit_adventurers/Knight.glb"]),
    "George (Quaternius)": ("a mech, unlit, a texture", [SHARED / "quaternius_rigged/mech_pack/George.glb"]),
    "Character (Quaternius)": ("four skins", [SHARED / "quaternius_rigged/cyberpunk_pack/Character.glb"]),
    "Enemy (Quaternius)": ("two skins, lights", [SHARED / "quaternius_rigged/cyberpunk_pack/Enemy_Flying_Gun.glb"]),
    "Platformer (Kenney)": (
        "animated nodes, texture transform",
        [SHARED / "cc0_game_packs/kenney_platformer/character.glb"],
    ),
    "Horse (Quaternius)": ("a skin, 13 animations", [SHARED / "quaternius_rigged/animals_pack/Horse.glb"]),
    "Frog (Quaternius)": ("a skin, four animations", [SHARED / "quaternius_rigged/easy_enemies_pack/Frog.glb"]),
    "Trex (Quaternius)": ("a skin, six animations", [SHARED / "quaternius_rigged/dinosaurs_pack/Trex.glb"]),
    "Spider (Quaternius)": ("a skin, five animations", [SHARED / "quaternius_rigged/easy_enemies_pack/Spider.glb"]),
}


def find(name: str) -> Path:
    if name in MADE:
        raise AssertionError(name)
    found = next((path for path in PUBLIC[name][1] if path.is_file()), None)
    if found is None:
        pytest.skip(f"{name} ({PUBLIC[name][0]}) is not there: {PUBLIC[name][1][0]}")
    return found


def node_modules() -> Path:
    folder = Path(os.environ.get("PA3D_NODE_MODULES", ROOT / "build" / "browser" / "node_modules"))
    if not (folder / "gltf-validator").is_dir() or not (folder / "three").is_dir():
        pytest.skip("gltf-validator and three are not installed: make browser")
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """Each model that is there, and its parts.glb."""
    folder = tmp_path_factory.mktemp("pairs")
    models = {name: next((p for p in places if p.is_file()), None) for name, (_, places) in PUBLIC.items()}
    for name, make in MADE.items():
        models[name] = folder / f"{name}.glb"
        models[name].write_bytes(make())  # type: ignore[union-attr]
    found = {}
    for name, path in models.items():
        if path is not None:
            after = folder / f"{name.replace(' ', '_')}-parts.glb"
            after.write_bytes(asset_files(labelled(load(path)))["parts.glb"])
            found[name] = path, after
    return found


NAMES = [*PUBLIC, *MADE]
VALIDATE = """
const fs = require("fs"), path = require("path"), validator = require(process.argv[1] + "/gltf-validator");
async function report(file) {
  const read = (uri) => fs.promises.readFile(path.resolve(path.dirname(file), decodeURIComponent(uri)));
  const options = { maxIssues: 0, externalResourceFunction: async (uri) => new Uint8Array(await read(uri)) };
  const { issues, info } = await validator.validateBytes(new Uint8Array(fs.readFileSync(file)), options);
  const codes = [...new Set(issues.messages.map((m) => `${m.severity} ${m.code}`))];
  return { codes, animations: info.animationCount };
}
Promise.all(process.argv.slice(2).map(report)).then((all) => console.log(JSON.stringify(all)));
"""


@pytest.mark.parametrize("name", NAMES)
def test_khronos_validator(pairs: dict[str, tuple[Path, Path]], name: str) -> None:
    """It says nothing of the output that it does not say of the input: no error, no warning, no hint."""
    modules = node_modules()
    if name not in pairs:
        find(name)
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    command = ["node", "-e", VALIDATE, str(modules), *map(str, pairs[name])]
    before, after = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert set(after["codes"]) <= set(before["codes"])
    assert after["animations"] == before["animations"]


@pytest.mark.parametrize("name", MADE)
def test_khronos_validator_of_single_parts(pairs: dict[str, tuple[Path, Path]], tmp_path: Path, name: str) -> None:
    """Nothing new but that nodes may be empty, which held other parts."""
    modules = node_modules()
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    files = asset_files(labelled(load(pairs[name][0])), split=True)
    paths = [tmp_path / Path(file).name for file in files if file.startswith("split/")]
    for path in paths:
        path.write_bytes(files[f"split/{path.name}"])
    command = ["node", "-e", VALIDATE, str(modules), *map(str, (pairs[name][0], *paths))]
    before, *after = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    for found in after:
        assert set(found["codes"]) <= {*before["codes"], "2 NODE_EMPTY"}
        assert found["animations"] == before["animations"]


def channels(path: Path) -> list[list[tuple[int, str]]]:
    """Node and property of every channel of every animation."""
    from pa3d.io.gltf import Gltf

    document = Gltf.load(path).file.document
    return [
        [(channel["target"].get("node"), channel["target"]["path"]) for channel in animation["channels"]]
        for animation in document.get("animations", [])
    ]


@pytest.mark.parametrize("name", NAMES)
def test_animation_channels(pairs: dict[str, tuple[Path, Path]], name: str) -> None:
    if name not in pairs:
        find(name)
    before, after = pairs[name]
    assert channels(before) == channels(after)


@pytest.fixture(scope="module")
def drawn(pairs: dict[str, tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page tests/gltf_pairs.html reports of all pairs."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "node_modules").symlink_to(node_modules())
    shutil.copy(Path(__file__).with_name("gltf_pairs.html"), folder / "index.html")
    listed = {}
    for number, (name, (before, after)) in enumerate(pairs.items()):
        (folder / f"{number}").symlink_to(before.parent)
        (folder / f"{number}-parts.glb").symlink_to(after)
        listed[name] = [f"{number}/{before.name}", f"{number}-parts.glb"]
    (folder / "pairs.json").write_text(json.dumps(listed))
    answer = open_page(folder, chromium(), 600, ("--use-angle=swiftshader", "--enable-unsafe-swiftshader"))
    assert "error" not in answer, answer
    models: dict[str, Any] = answer["models"]
    return models


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_three_js(drawn: dict[str, Any], name: str) -> None:
    """The same pixels at rest and within every animation, the same clips, and one label in each piece."""
    if name not in drawn:
        find(name)
    found = drawn[name]
    assert found["drawn"] > 1000
    assert found["different"] == [0] * found["pictures"]
    assert found["before"]["clips"] == found["after"]["clips"]
    if found["after"]["clips"]:
        assert found["moved"] > 100
    assert found["before"]["labelled"] == [] and found["after"]["labelled"]
    for piece in found["after"]["labelled"]:
        (label,) = piece["labels"]
        said = piece["said"] if "part" in piece["said"] else piece["of"]
        assert said["label"] == label and said["part"] == PARTS[int(label)] and 0 < said["score"] <= 1


def blender() -> Path:
    """A Python with the package bpy; `make bpy` makes it."""
    python = Path(os.environ.get("PA3D_BLENDER", ROOT / "build" / "bpy" / "bin" / "python"))
    if not python.is_file():
        pytest.skip("Blender's package bpy is not installed: make bpy")
    return python


READ_IN_BLENDER = """
import json, sys
import bpy
import numpy as np

def read(path):
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=path)
    hidden = bpy.data.collections.get("glTF_not_exported")  # shapes of bones
    shown = [o for o in bpy.data.objects if o.type == "MESH" and (hidden is None or o.name not in hidden.objects)]
    curves = lambda action: [c.data_path for c in action.fcurves]
    found = {"objects": [o.name for o in shown], "extras": [o.get("part") for o in shown], "frames": []}
    found["materials"] = sorted({s.material.name for o in shown for s in o.material_slots if s.material})
    found["layers"] = sorted({(len(o.data.uv_layers), len(o.data.color_attributes)) for o in shown})
    labelled = [o for o in shown if "_PART" in o.data.attributes]
    found["labelled"] = bool(labelled) and all(o in labelled for o in shown if o.get("part"))
    found["actions"] = sum(any("key_blocks" not in path for path in curves(a)) for a in bpy.data.actions)
    found["morphs"] = any("key_blocks" in path for a in bpy.data.actions for path in curves(a))
    for frame in (0, 9):
        bpy.context.scene.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        middles = []
        for o in shown:
            evaluated = o.evaluated_get(graph)
            mesh = evaluated.to_mesh()
            mesh.calc_loop_triangles()
            points = np.array([v.co for v in mesh.vertices]).reshape(-1, 3)
            world = np.array(o.matrix_world)
            points = points @ world[:3, :3].T + world[:3, 3]
            corners = np.array([t.vertices for t in mesh.loop_triangles], int).reshape(-1, 3)
            middles.append(points[corners].mean(axis=1))
            evaluated.to_mesh_clear()
        rows = np.concatenate(middles)
        found["frames"].append(rows[np.lexsort(rows.round(3).T)].tolist())
    return found

with open(sys.argv[1]) as file:
    pairs = json.load(file)
with open(sys.argv[2], "w") as file:
    json.dump({name: [read(path) for path in pair] for name, pair in pairs.items()}, file)
"""


@pytest.fixture(scope="module")
def imported(pairs: dict[str, tuple[Path, Path]], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Blender makes of both files of each pair."""
    folder = tmp_path_factory.mktemp("blender")
    (folder / "pairs.json").write_text(json.dumps({name: list(map(str, pair)) for name, pair in pairs.items()}))
    command = [str(blender()), "-c", READ_IN_BLENDER, str(folder / "pairs.json"), str(folder / "found.json")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads((folder / "found.json").read_text())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_blender(imported: dict[str, Any], name: str) -> None:
    """Every triangle stands where it stood, at rest and within the animation; names, materials and layers are there."""
    if name not in imported:
        find(name)
    before, after = imported[name]
    for frame, other in zip(before["frames"], after["frames"], strict=True):
        size = np.ptp(frame, axis=0).max()
        np.testing.assert_allclose(other, frame, atol=1e-4 * size)
    for key in ("materials", "layers", "actions", "morphs"):
        assert before[key] == after[key], key
    assert after["labelled"]
    if name not in ("morph", "AnimatedMorphCube"):  # which stay one mesh
        assert set(after["extras"]) <= {*PARTS, None} and set(after["extras"]) & set(PARTS)
        for part, called in zip(after["extras"], after["objects"], strict=True):
            # "leg", or "leg 2" where there are several; Blender appends ".001" to a name that it has already
            assert part is None or re.fullmatch(rf"{part}( [1-9]\d*)?(\.\d+)?", called)
