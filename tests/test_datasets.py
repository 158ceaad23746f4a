"""Every reader on a miniature of its dataset's real layout, and on the real shapes where they are."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pa3d.errors import InputError
from pa3d.evaluate.datasets import LAYOUTS, labels_of_faces, labels_of_vertices, open_dataset
from pa3d.evaluate.labels import FAUST, PARTNETE, SCANOBJECTNN, SHAPENETPART, category_words, first_id
from pa3d.evaluate.plain_pickle import load_pickled_dict
from pa3d.shape import Shape

RNG = np.random.default_rng(0)


def points(n: int) -> np.ndarray:
    return RNG.standard_normal((n, 3)).astype(np.float32)


def write_ply(path: Path, xyz: np.ndarray) -> None:
    rows = "\n".join(f"{x} {y} {z} 10 20 30" for x, y, z in xyz)
    properties = [
        *(f"property float {a}" for a in "xyz"),
        *(f"property uchar {c}" for c in ("red", "green", "blue")),
    ]
    header = ["ply", "format ascii 1.0", f"element vertex {len(xyz)}", *properties, "end_header"]
    path.write_text("\n".join(header) + "\n" + rows + "\n")


def shapenet_text(root: Path) -> Path:
    """Two categories, three splits, a shape each but for two test caps."""
    (root / "train_test_split").mkdir(parents=True)
    (root / "synsetoffset2category.txt").write_text("Cap\t02954340\nTable\t04379243\n")
    shapes = {
        "train": ["04379243/aa"],
        "val": ["02954340/bb"],
        "test": ["02954340/cc", "04379243/dd", "02954340/ee"],
    }
    for split, names in shapes.items():
        listed = [f"shape_data/{name}" for name in names]
        (root / "train_test_split" / f"shuffled_{split}_file_list.json").write_text(json.dumps(listed))
        for name in names:
            (root / name).parent.mkdir(exist_ok=True)
            part = [6, 7, 7, 6] if name.startswith("029") else [47, 48, 49, 49]
            np.savetxt(root / f"{name}.txt", np.column_stack([points(4), np.zeros((4, 3)), part]), fmt="%f")
    return root


def test_shapenetpart_text(tmp_path: Path) -> None:
    root = shapenet_text(tmp_path)
    dataset = open_dataset("shapenetpart", root)
    assert dataset.split == "test"
    assert dataset.ids == ["02954340/cc", "04379243/dd", "02954340/ee"]
    cap, table = dataset.load(0), dataset.load(1)
    assert (cap.category, cap.part_names, cap.labels.tolist()) == ("Cap", ["crown", "brim"], [0, 1, 1, 0])
    assert (table.part_names, table.labels.tolist()) == (
        ["desktop", "leg or support", "drawer"],
        [0, 1, 2, 2],
    )
    assert cap.shape.points.shape == (4, 3)
    assert cap.shape.up == "y"
    assert not cap.shape.is_mesh
    assert open_dataset("shapenetpart", root, split="train").ids == ["04379243/aa"]
    assert open_dataset("shapenetpart", root, split="val", up="z").load(0).shape.up == "z"


def test_shapenetpart_broken_shapes_are_named(tmp_path: Path) -> None:
    root = shapenet_text(tmp_path)
    np.savetxt(root / "02954340" / "cc.txt", np.column_stack([points(4), np.zeros((4, 3)), [6, 7, 8, 6]]))
    (root / "04379243" / "dd.txt").unlink()
    (root / "02954340" / "ee.txt").write_text("1 2 three 4 5 6 7\n")
    dataset = open_dataset("shapenetpart", root)
    with pytest.raises(InputError, match=r"02954340/cc: labels 6\.\.8, expected 6\.\.7 of Cap"):
        dataset.load(0)
    with pytest.raises(InputError, match=r"04379243/dd: cannot be read \(FileNotFoundError"):
        dataset.load(1)
    with pytest.raises(InputError, match=r"02954340/ee: cannot be read \(ValueError"):
        dataset.load(2)


def test_shapenetpart_hdf5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    base = tmp_path / "hdf5_data"
    base.mkdir()
    (base / "all_object_categories.txt").write_text("\n".join(f"{name}\t{i}" for i, name in enumerate(SHAPENETPART)))
    (base / "test_hdf5_file_list.txt").write_text("./ply_data_test0.h5\nply_data_test1.h5\n")
    for number, category in enumerate(("Cap", "Table")):
        with h5py.File(base / f"ply_data_test{number}.h5", "w") as file:
            file["data"] = np.stack([points(5), points(5)])
            file["label"] = np.full((2, 1), list(SHAPENETPART).index(category), np.uint8)
            file["pid"] = np.full((2, 5), first_id(category) + 1, np.uint8)
    dataset = open_dataset("shapenetpart", tmp_path)
    assert len(dataset) == 4
    assert dataset.ids[3] == "ply_data_test1/0001"
    shape = dataset.load(3)
    assert (shape.category, shape.labels.tolist()) == ("Table", [1] * 5)
    with pytest.raises(InputError, match=r"val_hdf5_file_list\.txt not found; expected shapenetpart laid out as"):
        open_dataset("shapenetpart", tmp_path, split="val")


def partnete(root: Path, content: object) -> Path:
    shape = root / "test" / "Chair" / "179"
    shape.mkdir(parents=True)
    (root / "test" / "notes.txt").write_text("")
    write_ply(shape / "pc.ply", points(6))
    np.save(shape / "label.npy", content, allow_pickle=True)  # type: ignore[arg-type]
    return root


def test_partnete(tmp_path: Path) -> None:
    semantic = np.array([-1, 0, 1, 2, -1, 4])
    root = partnete(tmp_path, {"semantic_seg": semantic, "instance_seg": np.zeros(6, np.int32)})
    dataset = open_dataset("partnete", root)
    assert dataset.ids == ["Chair/179"]
    shape = dataset.load(0)
    assert shape.labels.tolist() == semantic.tolist()
    assert shape.part_names == ["arm", "back", "leg", "seat", "wheel"]
    assert shape.shape.colors is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"instance_seg": np.zeros(6)}, "label.npy has no semantic_seg, only instance_seg"),
        (np.zeros(6), "expected a pickled dictionary as in PartNetE, found an array of float64"),
        ({"semantic_seg": np.zeros(5, int)}, r"\(5,\) labels for 6 points"),
        ({"semantic_seg": np.full(6, 5)}, r"labels 5\.\.5, expected -1\.\.4"),
        ({"semantic_seg": np.full(6, -1)}, "no point is labelled"),
    ],
)
def test_partnete_broken_labels(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_dataset("partnete", partnete(tmp_path, content)).load(0)


class Trap:
    """What a hostile label.npy would hold: reading it normally creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    root = partnete(tmp_path, {"semantic_seg": np.zeros(6, int), "more": Trap(mark)})
    with pytest.raises(InputError, match=r"it asks for (posix|nt|os)\.mkdir"):
        open_dataset("partnete", root).load(0)
    assert not mark.exists()
    np.load(root / "test" / "Chair" / "179" / "label.npy", allow_pickle=True)
    assert mark.exists()  # the trap was armed


@pytest.mark.parametrize("core", ["core", "_core"])
def test_pickles_of_old_and_new_numpy_are_read(tmp_path: Path, core: str) -> None:
    """The module that holds numpy's arrays was renamed in version 2; PartNetE was written before that."""
    content = np.array({"semantic_seg": np.arange(3), "name": "x"}, object)
    path = tmp_path / "label.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(content))
        # In protocol 3 the names of modules are lines.
        raw = re.sub(rb"cnumpy\.(_core|core)\.", b"cnumpy.%s." % core.encode(), pickle.dumps(content, 3))
        assert b"cnumpy.%s.multiarray\n" % core.encode() in raw
        file.write(raw)
    found = load_pickled_dict(path)
    assert found["semantic_seg"].tolist() == [0, 1, 2]
    assert found["name"] == "x"


def test_damaged_pickles_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "label.npy"
    np.save(path, {"semantic_seg": np.arange(300)}, allow_pickle=True)  # type: ignore[arg-type]
    raw = path.read_bytes()
    for damaged in (b"", raw[:8], raw[:100], raw[:-200], b"\0" * 500, pickle.dumps({"a": 1})):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="not a dictionary of arrays"):
            load_pickled_dict(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_pickled_dict(tmp_path / "absent.npy")


def test_faust_meshes_and_their_seams(tmp_path: Path) -> None:
    """Four vertices in two triangles. The texture seam along the shared edge must not split vertices, and a
    face whose corners disagree takes the majority."""
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "tr_scan_000.obj").write_text(
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 0 1\nvt 1 1\nvt 0.5 0.5\nvt 0.6 0.6\n"
        "f 1/1 2/2 3/3\nf 2/5 4/4 3/6\n"
    )
    (tmp_path / "meshes.txt").write_text("tr_scan_000.obj\n")
    (tmp_path / "coarse_gt.json").write_text(json.dumps({"tr_scan_000": ["arm", "torso", "torso", "leg"]}))
    dataset = open_dataset("faust", tmp_path)
    shape = dataset.load(0)
    assert len(shape.shape.points) == 4
    assert shape.category == "human"
    assert shape.part_names == list(FAUST)
    assert shape.labels.tolist() == [3, 3]
    (tmp_path / "coarse_gt.json").write_text(json.dumps({"tr_scan_000": ["arm"] * 3}))
    with pytest.raises(InputError, match="3 labels for 4 vertices"):
        open_dataset("faust", tmp_path).load(0)


def test_labels_of_faces_and_vertices_on_a_seam() -> None:
    square = Shape(
        np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [3, 3, 0], [9, 9, 9]], np.float32),
        np.array([[0, 1, 2], [1, 3, 2]], np.int32),
    )
    # Three different corners: the lowest. Two alike: these, unlabelled ones too.
    assert labels_of_faces(square, np.array([2, 1, 3, 1, 0], np.int32)).tolist() == [1, 1]
    assert labels_of_faces(square, np.array([2, -1, -1, 2, 0], np.int32)).tolist() == [-1, -1]
    # Vertices 1 and 2 lie on the seam, and the second face is larger; vertex 4 has no face.
    assert labels_of_vertices(square, np.array([0, 1], np.int32)).tolist() == [0, 1, 1, 1, -1]


def write_scan(folder: Path, name: str, instance: list[int], part: list[int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table = np.zeros((len(part), 11), np.float32)
    table[:, :3] = points(len(part))
    table[:, 10] = instance
    np.concatenate([[len(part)], table.ravel()]).astype("<f4").tofile(folder / f"{name}.bin")
    labels = np.column_stack([np.zeros(len(part)), part]).ravel()
    np.concatenate([[len(part)], labels]).astype("<f4").tofile(folder / f"{name}_part.bin")


def scanobjectnn(root: Path) -> Path:
    base = root / "object_dataset_complete_with_parts"
    # Instance 1 is none, 9 the object, 12 a bystander. Part 0 is the background.
    write_scan(base / "sofa", "scene1_3", [1, 9, 9, 9, 12, 12], [0, 1, 0, 4, 0, 2])
    # In chairs the files' id 1 is void, so 5 is the last.
    write_scan(base / "chair", "scene2_4", [7] * 5, [1, 2, 3, 4, 5])
    write_scan(base / "bin", "scene3_5", [7] * 4, [1, 2, 3, 4])
    (base / "split_new.txt").write_text("scene1_3.txt\t13\tt\nscene2_4.txt\t4\t\nscene3_5.txt\t1\tt\n")
    return root


def test_scanobjectnn(tmp_path: Path) -> None:
    dataset = open_dataset("scanobjectnn", scanobjectnn(tmp_path))
    assert dataset.ids == ["sofa/scene1_3", "chair/scene2_4", "bin/scene3_5"]
    sofa, chair, bin_ = (dataset.load(i) for i in range(3))
    assert sofa.part_names == ["back", "arm", "base", "seat"]
    assert sofa.labels.tolist() == [-1, 0, -1, 3, -1, 1]
    assert sofa.scene is not None
    assert sofa.scene.tolist() == [True, False, False, False, True, True]
    assert chair.labels.tolist() == [-1, 0, 1, 2, 3]
    assert bin_.labels.tolist() == [0, 1, -1, 2]
    assert open_dataset("scanobjectnn", tmp_path, split="train").ids == ["chair/scene2_4"]
    assert open_dataset("scanobjectnn", tmp_path, split="test").ids == ["sofa/scene1_3", "bin/scene3_5"]
    short = tmp_path / "object_dataset_complete_with_parts" / "bin" / "scene3_5.bin"
    short.write_bytes(short.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"scene3_5\.bin: 44 numbers are not a count and rows of 11"):
        dataset.load(2)
    with pytest.raises(InputError, match="ScanObjectNN has train, test and all"):
        open_dataset("scanobjectnn", tmp_path, split="val")


def objaverse(root: Path) -> Path:
    for split, name in (("unseen", "garden_gnome_abc1"), ("seenclass", "lamp_def2")):
        folder = root / split / name
        folder.mkdir(parents=True)
        rows = "\n".join(f"{x} {y} {z}" for x, y, z in points(5))
        (folder / "points5000.pcd").write_text(
            "VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 5\nHEIGHT 1\n"
            f"VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 5\nDATA ascii\n{rows}\n"
        )
        (folder / "label_map.json").write_text(json.dumps({"1": "hat", "2": "beard", "3": "Hat"}))
    np.save(root / "unseen" / "garden_gnome_abc1" / "labels.npy", np.array([0, 1, 2, 3, 3]))
    masks = np.array([[1, 1, 1, 1, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], bool)
    np.save(root / "seenclass" / "lamp_def2" / "mask2pts.npy", masks)
    return root


def test_objaverse_general(tmp_path: Path) -> None:
    dataset = open_dataset("objaverse", objaverse(tmp_path))
    assert dataset.ids == ["seenclass/lamp_def2", "unseen/garden_gnome_abc1"]
    lamp, gnome = dataset.load(0), dataset.load(1)
    assert gnome.category == "garden gnome"
    assert gnome.part_names == ["hat", "beard"]  # labels of equal names are one
    assert gnome.labels.tolist() == [-1, 0, 1, 0, 0]
    assert lamp.labels.tolist() == [0, 0, 1, 0, -1]  # the smaller mask lies over the larger
    unseen = open_dataset("objaverse", tmp_path / "unseen")
    assert unseen.ids == ["garden_gnome_abc1"]
    (tmp_path / "unseen" / "garden_gnome_abc1" / "labels.npy").unlink()
    with pytest.raises(InputError, match=r"none of labels\.npy, mask2pts\.npy and mask2pts\.pt"):
        unseen.load(0)


def test_objaverse_masks_as_tensors(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    folder = objaverse(tmp_path) / "seenclass" / "lamp_def2"
    torch.save(torch.from_numpy(np.load(folder / "mask2pts.npy")), folder / "mask2pts.pt")
    (folder / "mask2pts.npy").unlink()
    assert open_dataset("objaverse", tmp_path).load(0).labels.tolist() == [0, 0, 1, 0, -1]


def test_npz_clouds_and_meshes(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    names: dict[str, Any] = {"part_names": np.array(["a", "b"]), "category": np.array("thing")}
    corners: dict[str, Any] = {"vertices": points(4), "faces": np.array([[0, 1, 2], [1, 2, 3]])}
    np.savez(tmp_path / "cloud.npz", points=points(3), labels=np.array([0, 1, -1]), **names)
    np.savez(tmp_path / "deep" / "mesh.npz", face_labels=np.array([1, -1], np.int16), **corners, **names)
    np.savez(tmp_path / "vertices.npz", vertex_labels=np.array([0, 1, 1, 0]), **corners, **names)
    dataset = open_dataset("npz", tmp_path)
    assert dataset.ids == ["cloud", "deep/mesh", "vertices"]
    cloud, mesh, vertices = (dataset.load(i) for i in range(3))
    assert cloud.labels.tolist() == [0, 1, -1]
    assert mesh.shape.is_mesh
    assert mesh.labels.tolist() == [1, -1]
    assert vertices.labels.tolist() == [1, 1]
    np.savez(tmp_path / "cloud.npz", points=points(3), **names)
    with pytest.raises(InputError, match="no labels or point_labels, only points, part_names, category"):
        dataset.load(0)
    np.savez(tmp_path / "cloud.npz", points=np.full((3, 3), np.nan), labels=np.zeros(3, int), **names)
    with pytest.raises(InputError, match="3 of 3 points have NaN"):
        dataset.load(0)


@pytest.mark.parametrize("name", LAYOUTS)
def test_missing_and_wrong_folders_are_explained(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"no such folder; expected {name} laid out as"):
        open_dataset(name, tmp_path / "absent")
    with pytest.raises(InputError) as caught:
        open_dataset(name, tmp_path)
    assert f"not found; expected {name} laid out as {LAYOUTS[name]}" in str(caught.value)


def test_unknown_datasets_and_axes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="dataset 'modelnet' is unknown; expected one of shapenetpart"):
        open_dataset("modelnet", tmp_path)
    with pytest.raises(InputError, match="up axis 'w' is unknown"):
        open_dataset("npz", tmp_path, up="w")


def test_label_sets() -> None:
    assert sum(map(len, SHAPENETPART.values())) == 50
    assert (first_id("Airplane"), first_id("Motorbike"), first_id("Table")) == (0, 30, 47)
    assert (len(PARTNETE), len(SCANOBJECTNN), len(FAUST)) == (45, 15, 4)
    assert category_words("StorageFurniture") == "storage furniture"
    assert category_words("USB") == "usb"


def test_label_sets_equal_the_published_ones(shared: Path) -> None:
    folder = shared / "data" / "label_sets"
    published = json.loads((folder / "PartNetE_meta.json").read_text())
    assert {name: list(parts) for name, parts in PARTNETE.items()} == published
    scans = json.loads((folder / "scanobjectnn_part_names.json").read_text())
    assert {name: ["background", *parts] for name, parts in SCANOBJECTNN.items()} == scans
    assert list(SCANOBJECTNN) == list(scans)


def test_real_caps(shared: Path) -> None:
    root = shared / "data" / "eval" / "shapenetpart"
    dataset = open_dataset("shapenetpart", root)
    assert len(dataset) == 5
    for i in range(5):
        cap = dataset.load(i)
        assert cap.category == "Cap"
        assert set(cap.labels.tolist()) <= {0, 1}
        assert len(cap.labels) == len(cap.shape.points) == sum(1 for _ in (root / f"{cap.id}.txt").open())
    assert len(open_dataset("shapenetpart", root, split="val")) == 5
    with pytest.raises(InputError, match="a shape of split train not found"):
        open_dataset("shapenetpart", root, split="train")


def test_real_faust(shared: Path) -> None:
    dataset = open_dataset("faust", shared / "data" / "eval" / "faust")
    assert len(dataset) == 10
    for i in range(10):
        scan = dataset.load(i)
        assert scan.part_names == list(FAUST)
        assert np.bincount(scan.labels).tolist() == [5040, 2646, 2656, 3434]
        # Vertices on seams belong to faces of both parts; everywhere else both agree.
        of_vertices = labels_of_vertices(scan.shape, scan.labels)
        assert scan.shape.faces is not None
        inner = (of_vertices[scan.shape.faces] == scan.labels[:, None]).all(axis=1)
        assert 0.95 < inner.mean() < 1
        assert (labels_of_faces(scan.shape, of_vertices) == scan.labels).mean() > 0.98


def test_a_bug_is_not_called_a_broken_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "a.npz", points=points(4), labels=np.zeros(4, int), part_names=["a"], category="x")
    dataset = open_dataset("npz", tmp_path)

    def bug(*_: object, **__: object) -> None:
        raise TypeError("unexpected keyword")

    monkeypatch.setattr(np, "load", bug)
    with pytest.raises(TypeError, match="unexpected keyword"):
        dataset.load(0)


def test_json_of_another_kind_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "hat_1"
    folder.mkdir()
    (folder / "label_map.json").write_text("[1, 2]")
    with pytest.raises(InputError, match=r"label_map\.json is not a dict"):
        open_dataset("objaverse", tmp_path).load(0)
    (tmp_path / "coarse_gt.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="not a dict of mesh to part names"):
        open_dataset("faust", tmp_path)
