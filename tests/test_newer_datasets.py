"""Readers of newer benchmarks on miniatures of their layouts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh

from pa3d.errors import InputError
from pa3d.evaluate import evaluate, open_dataset
from pa3d.evaluate.methods import Majority
from tests.test_datasets import points, write_ply


def box(x: float) -> trimesh.Trimesh:
    mesh = trimesh.creation.box((1, 1, 1))
    mesh.apply_translation((x, 0, 0))
    return mesh


def test_akbseg(tmp_path: Path) -> None:
    folder = tmp_path / "Faucet" / "12"
    folder.mkdir(parents=True)
    (tmp_path / "AKBSeg_meta.json").write_text(json.dumps({"Faucet": ["spout", "switch"], "Drink": ["cap"]}))
    write_ply(folder / "pc.ply", points(5))
    np.save(folder / "label.npy", {"semantic_seg": np.array([0, 1, -1, 1, 0])}, allow_pickle=True)  # type: ignore[arg-type]
    dataset = open_dataset("akbseg", tmp_path)
    shape = dataset.load(0)
    assert (shape.id, shape.category, shape.part_names) == ("Faucet/12", "Faucet", ["spout", "switch"])
    assert shape.labels.tolist() == [0, 1, -1, 1, 0]
    assert shape.shape.colors is not None
    assert dataset.label_sets == {"Faucet": ("spout", "switch"), "Drink": ("cap",)}
    assert evaluate(dataset, Majority())["summary"]["shapes"] == 1
    (tmp_path / "AKBSeg_meta.json").write_text("[]")
    with pytest.raises(InputError, match="expected a dict of category to part names"):
        open_dataset("akbseg", tmp_path)
    (tmp_path / "AKBSeg_meta.json").unlink()
    with pytest.raises(InputError, match=r"AKBSeg_meta\.json not found"):
        open_dataset("akbseg", tmp_path)


def mobility(root: Path) -> Path:
    """A cabinet of a body of two pieces, a door, and a handle on the door."""
    folder = root / "35059"
    (folder / "textured_objs").mkdir(parents=True)
    for number in range(4):
        box(2.0 * number).export(folder / "textured_objs" / f"original-{number}.obj")
    (folder / "meta.json").write_text(json.dumps({"model_cat": "StorageFurniture"}))
    (folder / "semantics.txt").write_text("link_0 hinge rotation_door\nlink_1 fixed furniture_body\n")

    def link(name: str, pieces: list[int]) -> str:
        visuals = "".join(
            f'<visual><geometry><mesh filename="textured_objs/original-{i}.obj"/></geometry></visual>' for i in pieces
        )
        return f'<link name="{name}">{visuals}</link>'

    links = link("base", []) + link("link_0", [2, 3]) + link("link_1", [0, 1])
    (folder / "mobility.urdf").write_text(f'<?xml version="1.0"?><robot name="x">{links}</robot>')
    tree = [
        {"name": "cabinet", "children": [
            {"name": "body", "objs": ["original-0", "original-1"]},
            {"name": "door", "children": [
                {"name": "door_surface", "objs": ["original-2"]}, {"name": "handle", "objs": ["original-3"]},
            ]},
        ]},
    ]  # fmt: skip
    (folder / "result.json").write_text(json.dumps(tree))
    return folder


def test_partnet_mobility(tmp_path: Path) -> None:
    folder = mobility(tmp_path)
    shape = open_dataset("partnetmobility", tmp_path).load(0)
    assert (shape.id, shape.category) == ("35059", "StorageFurniture")
    assert shape.part_names == ["rotation door", "furniture body"]
    assert shape.labels.tolist() == [0] * 24 + [1] * 24
    assert shape.shape.faces is not None
    middle = shape.shape.points[shape.shape.faces].mean(axis=1)[:, 0]
    assert (middle[:24] > 3).all() and (middle[24:] < 3).all()
    by_tree = open_dataset("partnetmobility", tmp_path, split="result").load(0)
    assert by_tree.part_names == ["body", "door surface", "handle"]
    assert np.bincount(by_tree.labels).tolist() == [24, 12, 12]
    # A link without a name is unlabelled.
    (folder / "semantics.txt").write_text("link_0 hinge rotation_door\n")
    assert open_dataset("partnetmobility", tmp_path).load(0).labels.tolist() == [0] * 24 + [-1] * 24


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("semantics.txt", "link_0 hinge\n", "'link_0 hinge' is not 'link joint name'"),
        ("mobility.urdf", "<robot", "mobility.urdf is not XML"),
        ("meta.json", "{", "cannot be read"),
        ("semantics.txt", "", "no part with a name"),
    ],
)
def test_partnet_mobility_broken(tmp_path: Path, file: str, content: str, message: str) -> None:
    (mobility(tmp_path) / file).write_text(content)
    with pytest.raises(InputError, match=message):
        open_dataset("partnetmobility", tmp_path).load(0)


def test_partnet_mobility_of_another_layout(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="PartNet-Mobility has semantics and result"):
        open_dataset("partnetmobility", tmp_path, split="test")
    with pytest.raises(InputError, match="expected partnetmobility laid out as"):
        open_dataset("partnetmobility", tmp_path)
    (mobility(tmp_path) / "result.json").write_text('[{"text": "x"}]')
    with pytest.raises(InputError, match="not a tree of nodes with names"):
        open_dataset("partnetmobility", tmp_path, split="result").load(0)


def compat(root: Path, labels: str = "points_part_labels") -> Path:
    h5py = pytest.importorskip("h5py")
    (root / "metadata").mkdir()
    (root / "metadata" / "classes.json").write_text(json.dumps(["bag", "bbq_grill"]))
    (root / "metadata" / "parts_coarse.json").write_text(json.dumps(["body", "cooking_grate", "handle", "lid"]))
    with h5py.File(root / "valid_coarse.hdf5", "w") as file:
        file["points"] = np.concatenate([np.stack([points(4)] * 3), np.full((3, 4, 3), 0.5, np.float32)], axis=2)
        file[labels] = np.array([[0, 0, 2, 2], [3, 1, 1, 3], [0, 0, 0, 0]], np.uint16)
        file["shape_id"] = np.array([b"00_0aa", b"01_0bb", b"00_0cc"])
        file["style_id"] = np.array([b"s1", b"s2", b"s3"])
        file["shape_label"] = np.array([0, 1, 0], np.uint8)
    return root


def test_3dcompat(tmp_path: Path) -> None:
    dataset = open_dataset("3dcompat", compat(tmp_path), split="valid")
    assert dataset.ids == ["000000_00_0aa_s1", "000001_01_0bb_s2", "000002_00_0cc_s3"]
    assert dataset.label_sets == {"bag": ("body", "handle"), "bbq grill": ("cooking grate", "lid")}
    bag, grill, plain = (dataset.load(i) for i in range(3))
    assert (bag.category, bag.part_names, bag.labels.tolist()) == ("bag", ["body", "handle"], [0, 0, 1, 1])
    assert (grill.category, grill.labels.tolist()) == ("bbq grill", [1, 0, 0, 1])
    assert plain.part_names == ["body", "handle"]
    assert bag.shape.colors is not None and bag.shape.colors[0].tolist() == [128, 128, 128]
    with pytest.raises(InputError, match=r"test_coarse\.hdf5 not found"):
        open_dataset("3dcompat", tmp_path)
    with pytest.raises(InputError, match="3DCoMPaT has train, valid and test"):
        open_dataset("3dcompat", tmp_path, split="val")
    (tmp_path / "metadata" / "parts_coarse.json").write_text('["body"]')
    with pytest.raises(InputError, match="ids that metadata does not know"):
        open_dataset("3dcompat", tmp_path, split="valid")


def test_3dcompat_without_labels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no labels of points in it"):
        open_dataset("3dcompat", compat(tmp_path, "other"), split="valid")


def scene(file: Path, *, reverse: bool = False) -> None:
    """Three boxes at x = 0, 2 and 4, each a node with its own place; nodes in the order of the meshes or not."""
    placed = trimesh.Scene()
    for number in range(3):
        matrix = np.eye(4)
        matrix[0, 3] = 2.0 * number
        mesh = trimesh.creation.box((1, 1, 1))
        placed.add_geometry(
            mesh, geom_name=f"mesh{number}", node_name=f"{9 - number if reverse else number}", transform=matrix
        )
    file.parent.mkdir(parents=True, exist_ok=True)
    placed.export(file)


def test_partobjaverse_tiny(tmp_path: Path) -> None:
    scene(tmp_path / "PartObjaverse-Tiny_mesh" / "abc.glb")
    loaded = trimesh.load_mesh(tmp_path / "PartObjaverse-Tiny_mesh" / "abc.glb", process=False)
    middle = loaded.triangles_center[:, 0]
    truth = np.where(middle < 1, 0, np.where(middle < 3, 1, 2))
    (tmp_path / "PartObjaverse-Tiny_semantic_gt").mkdir()
    np.save(tmp_path / "PartObjaverse-Tiny_semantic_gt" / "abc.npy", truth)
    names = {"Buildings&&Outdoor": {"abc": ["roof", "Wall", "wall"]}}
    (tmp_path / "PartObjaverse-Tiny_semantic.json").write_text(json.dumps(names))
    dataset = open_dataset("partobjaverse", tmp_path)
    shape = dataset.load(0)
    assert (shape.id, shape.category) == ("Buildings&&Outdoor/abc", "Buildings and Outdoor")
    assert shape.part_names == ["roof", "Wall"]
    assert shape.shape.faces is not None
    x = shape.shape.points[shape.shape.faces].mean(axis=1)[:, 0]
    assert ((x < 1) == (shape.labels == 0)).all()
    assert np.bincount(shape.labels).tolist() == [12, 24]
    np.save(tmp_path / "PartObjaverse-Tiny_semantic_gt" / "abc.npy", truth + 1)
    with pytest.raises(InputError, match=r"labels 1\.\.3 for 3 names"):
        dataset.load(0)
    np.save(tmp_path / "PartObjaverse-Tiny_semantic_gt" / "abc.npy", truth[:-1])
    with pytest.raises(InputError, match=r"\(35,\) labels for 36 faces"):
        dataset.load(0)
    (tmp_path / "PartObjaverse-Tiny_mesh" / "abc.glb").unlink()
    with pytest.raises(InputError, match="no such file; download the dataset again"):
        dataset.load(0)


def test_partnext(tmp_path: Path) -> None:
    """Masks count the faces of each mesh in the order of the file, whatever the order of the nodes is."""
    scene(tmp_path / "glbs" / "coffee_table" / "abc.glb", reverse=True)
    tree = {"name": "table", "nodeId": 0, "refNodeId": 0, "children": [
        {"name": "top", "nodeId": 1, "refNodeId": 5, "maskId": 0},
        {"name": "base", "nodeId": 2, "refNodeId": 6, "children": [
            {"name": "leg", "nodeId": 3, "refNodeId": 7, "maskId": 1},
            {"name": "leg", "nodeId": 4, "refNodeId": 7, "maskId": 2},
        ]},
    ]}  # fmt: skip
    content = {
        "hierarchyList": [tree],
        "mesh_face_num": {"0": 12, "1": 12, "2": 12},
        "masks": {"0": {"0": list(range(12))}, "1": {"1": [0, 1, 2]}, "2": {"2": list(range(12)), "1": [3]}},
    }
    folder = tmp_path / "annotations" / "coffee_table" / "abc"
    folder.mkdir(parents=True)
    (folder / "abc.json").write_text(json.dumps(content))
    dataset = open_dataset("partnext", tmp_path)
    shape = dataset.load(0)
    assert (shape.id, shape.category, shape.part_names) == ("coffee_table/abc", "coffee table", ["top", "leg"])
    assert shape.shape.faces is not None
    x = shape.shape.points[shape.shape.faces].mean(axis=1)[:, 0]
    assert (shape.labels[x < 1] == 0).all()
    assert (shape.labels[x > 3] == 1).all()
    assert np.bincount(shape.labels + 1).tolist() == [8, 12, 16]
    (folder / "abc.json").write_text(json.dumps({**content, "mesh_face_num": {"0": 12}}))
    with pytest.raises(InputError, match="12 faces in the annotation, 36 in the mesh"):
        dataset.load(0)
    (folder / "abc.json").write_text(json.dumps({"hierarchyList": []}))
    with pytest.raises(InputError, match="cannot be read"):
        dataset.load(0)
