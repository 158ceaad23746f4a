"""Labelled shapes of the public datasets, in the layouts in which they are published.

    dataset = open_dataset("shapenetpart", "data/shapenetcore_partanno_segmentation_benchmark_v0_normal")
    for i in range(len(dataset)):
        shape = dataset.load(i)

`LAYOUTS` describes the files of each. Opening a dataset lists its shapes, and fails when the folder has another layout.
A shape is read when it is loaded; the errors of a damaged file are raised then.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.evaluate import labels
from pa3d.evaluate.layouts import LAYOUTS
from pa3d.evaluate.plain_pickle import load_pickled_dict
from pa3d.frames import UP_AXES
from pa3d.io import load
from pa3d.shape import Shape

# What numpy, zipfile, json, h5py and torch raise for damaged files. Other errors are bugs and are not caught.
READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    UnpicklingError,
)


@dataclass
class LabelledShape:
    """A shape and the part of each of its points, or of each face of a mesh.

    labels: (N,) int32 of a cloud, (F,) int32 of a mesh: index into part_names, -1 unlabelled.
    scene: (N,) bool, true for points of a scan that are not the object; None when all points are.
    """

    id: str
    category: str
    shape: Shape
    labels: NDArray[np.int32]
    part_names: list[str]
    split: str
    scene: NDArray[np.bool_] | None = None

    def validate(self) -> LabelledShape:
        """Raise InputError unless shape and labels can be used together."""
        self.shape.validate()
        what = "points" if self.shape.faces is None else "faces"
        count = len(self.shape.points if self.shape.faces is None else self.shape.faces)
        if self.labels.shape != (count,):
            raise InputError(f"{self.id}: {self.labels.shape} labels for {count} {what}; the file is damaged")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < -1 or high >= len(self.part_names):
            raise InputError(
                f"{self.id}: labels {low}..{high}, expected -1..{len(self.part_names) - 1} for "
                f"{', '.join(self.part_names)}; the labels belong to something else"
            )
        if high < 0:
            raise InputError(f"{self.id}: no point is labelled; leave the shape out")
        return self


class Dataset(ABC):
    """Shapes by index. It is small, so that it can be sent to other processes; load reads a shape.

    ids: one per shape, unique, in the order of the split. `load` raises an error when a file is missing.
    label_sets: part names by category, None when each shape brings its own.
    """

    name: str
    label_sets: dict[str, tuple[str, ...]] | None = None

    def __init__(self, root: Path, split: str, up: str) -> None:
        self.root, self.split, self.up = root, split, up
        self.ids: list[str] = []

    def __len__(self) -> int:
        return len(self.ids)

    def load(self, index: int) -> LabelledShape:
        """Raises InputError when the shape's files are damaged."""
        try:
            return self._load(index).validate()
        except InputError:
            raise
        except READ_ERRORS as error:
            reason = f"{type(error).__name__}: {error}"
            raise InputError(f"{self.ids[index]}: cannot be read ({reason}); download the file again") from error

    @abstractmethod
    def _load(self, index: int) -> LabelledShape: ...

    def _not_found(self, looked_for: str) -> InputError:
        return InputError(f"{self.root}: {looked_for} not found; expected {self.name} laid out as {LAYOUTS[self.name]}")


def open_dataset(name: str, root: str | Path, *, split: str | None = None, up: str = "y") -> Dataset:
    """A dataset by name (one of LAYOUTS) in a folder.

    split: "train", "val" or "test" of ShapeNetPart; "train", "test" or "all" of ScanObjectNN; a subfolder of
        Objaverse-General or "all". None takes the one that papers report: test, all, all. The other datasets have one
        split.
    up: the axis of the dataset that points upwards.
    Raises InputError when the name or split is unknown, or the folder is missing or has another layout.
    """
    if name not in LAYOUTS:
        raise InputError(f"dataset {name!r} is unknown; expected one of {', '.join(LAYOUTS)}")
    if up not in UP_AXES:
        raise InputError(f"up axis {up!r} is unknown; give one of {', '.join(UP_AXES)}")
    folder = Path(root)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected {name} laid out as {LAYOUTS[name]}")
    dataset_class: Any
    if name == "shapenetpart":
        dataset_class = ShapeNetPart if (folder / ShapeNetPart.categories_file).is_file() else ShapeNetPartHdf5
    elif name == "faust":
        dataset_class = FaustMeshes if (folder / "coarse_gt.json").is_file() else FaustNpz
    else:
        dataset_class = {"partnete": PartNetE, "scanobjectnn": ScanObjectNN, "objaverse": Objaverse, "npz": Npz}[name]
    default = {"shapenetpart": "test", "scanobjectnn": "all", "objaverse": "all"}.get(name, "test")
    dataset: Dataset = dataset_class(folder, split or default, up)
    if not dataset.ids:
        raise dataset._not_found(f"a shape of split {dataset.split}")
    return dataset


class ShapeNetPart(Dataset):
    """The official text files, with normals."""

    name = "shapenetpart"
    label_sets = labels.SHAPENETPART
    categories_file = "synsetoffset2category.txt"

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, split, up)
        rows = [line.split() for line in (root / self.categories_file).read_text().splitlines() if line.strip()]
        self._category = {row[1]: row[0] for row in rows if len(row) == 2 and row[0] in self.label_sets}
        files = root / "train_test_split" / f"shuffled_{split}_file_list.json"
        if not files.is_file():
            raise self._not_found(str(files.relative_to(root)))
        try:
            listed = [str(entry).split("/")[-2:] for entry in json.loads(files.read_text())]
        except ValueError as error:
            raise InputError(f"{files}: not JSON ({error}); download the file again") from error
        if unknown := sorted({entry[0] for entry in listed} - set(self._category)):
            raise InputError(
                f"{files}: lists {unknown[0]}, which {self.categories_file} does not know; download both again"
            )
        self.ids = ["/".join(entry) for entry in listed]

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        category = self._category[key.split("/")[0]]
        table = np.loadtxt(self.root / f"{key}.txt", dtype=np.float32, ndmin=2)
        if table.shape[1] != 7:
            raise InputError(
                f"{key}: rows of {table.shape[1]} numbers, expected 'x y z nx ny nz label'; download it again"
            )
        return _shapenetpart_shape(key, category, table[:, :3], table[:, 6].astype(np.int32), self)


class ShapeNetPartHdf5(Dataset):
    """PointNet's form: 2,048 points per shape in .h5 files."""

    name = "shapenetpart"
    label_sets = labels.SHAPENETPART

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, split, up)
        base = root / "hdf5_data" if (root / "hdf5_data").is_dir() else root
        listing = base / f"{split}_hdf5_file_list.txt"
        if not listing.is_file():
            raise self._not_found(f"{ShapeNetPart.categories_file} or {listing.relative_to(root)}")
        categories = base / "all_object_categories.txt"
        if not categories.is_file():
            raise self._not_found(str(categories.relative_to(root)))
        self._categories = [line.split()[0] for line in categories.read_text().splitlines() if line.strip()]
        if unknown := [c for c in self._categories if c not in labels.SHAPENETPART]:
            raise InputError(f"{categories}: {unknown[0]} is no category of ShapeNetPart; download the file again")
        self._rows: list[tuple[Path, int]] = []
        for name in listing.read_text().split():
            path = base / Path(name).name
            with _open_hdf5(path) as file:
                rows = len(file["data"])
            self._rows += [(path, row) for row in range(rows)]
            self.ids += [f"{path.stem}/{row:04d}" for row in range(rows)]

    def _load(self, index: int) -> LabelledShape:
        path, row = self._rows[index]
        with _open_hdf5(path) as file:
            points, part, category = file["data"][row], file["pid"][row], int(np.ravel(file["label"][row])[0])
        return _shapenetpart_shape(
            self.ids[index], self._categories[category], points, np.ravel(part).astype(np.int32), self
        )


def _open_hdf5(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise InputError("the HDF5 form of ShapeNetPart needs h5py; install it with pip install h5py") from error
    if not path.is_file():
        raise InputError(f"{path}: no such file, though the list of files names it; download the dataset again")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file ({error}); download it again") from error


def _shapenetpart_shape(
    key: str, category: str, points: NDArray[Any], part: NDArray[np.int32], dataset: Dataset
) -> LabelledShape:
    names, first = labels.SHAPENETPART[category], labels.first_id(category)
    if part.min() < first or part.max() >= first + len(names):
        raise InputError(
            f"{key}: labels {part.min()}..{part.max()}, expected {first}..{first + len(names) - 1} of "
            f"{category}; download the file again"
        )
    cloud = Shape(np.ascontiguousarray(points, np.float32), up=dataset.up, name=key)
    return LabelledShape(key, category, cloud, part - first, list(names), dataset.split)


class PartNetE(Dataset):
    """PartSLIP's test set: clouds of which only some points have a label; the others have -1."""

    name = "partnete"
    label_sets = labels.PARTNETE

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, "test", up)
        self._base = root / "test" if (root / "test").is_dir() else root
        categories = [path for path in sorted(self._base.iterdir()) if path.name in labels.PARTNETE and path.is_dir()]
        if not categories:
            raise self._not_found("a folder named after a category, such as Bottle,")
        self.ids = [
            f"{category.name}/{shape.name}"
            for category in categories
            for shape in sorted(category.iterdir())
            if shape.is_dir()
        ]

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        folder, category = self._base / key, key.split("/")[0]
        shape = load(folder / "pc.ply", up=self.up)
        content = load_pickled_dict(folder / "label.npy")
        if "semantic_seg" not in content:
            raise InputError(
                f"{key}: label.npy has no semantic_seg, only {', '.join(map(str, content))}; download it again"
            )
        part = np.asarray(content["semantic_seg"]).ravel().astype(np.int32)
        cloud = Shape(shape.points, colors=shape.colors, up=self.up, name=key)
        return LabelledShape(key, category, cloud, part, list(labels.PARTNETE[category]), self.split)


class ScanObjectNN(Dataset):
    """Real scans with their surroundings.

    The background, id 0 in the files, becomes -1. The object is the most frequent instance other than 0, 1 and 2, which
    are no objects; all points that are not of it are marked as scene.
    """

    name = "scanobjectnn"
    label_sets = labels.SCANOBJECTNN

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, split, up)
        inner = root / "object_dataset_complete_with_parts"
        self._base = inner if inner.is_dir() else root
        if split not in ("train", "test", "all"):
            raise InputError(f"split {split!r} is unknown; ScanObjectNN has train, test and all")
        listing = self._base / "split_new.txt"
        if not listing.is_file():
            raise self._not_found(str(listing.relative_to(root)))
        categories = list(labels.SCANOBJECTNN)
        for line in listing.read_text().splitlines():
            fields = line.split()
            if len(fields) < 2 or not fields[1].isdigit() or int(fields[1]) >= len(categories):
                raise InputError(f"{listing}: {line!r} is not 'FILE CATEGORY_ID [t]'; download the file again")
            is_test = len(fields) > 2 and fields[2] == "t"
            if split == "all" or is_test == (split == "test"):
                self.ids.append(f"{categories[int(fields[1])]}/{Path(fields[0]).stem}")

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        category = key.split("/")[0]
        points = _read_rows(self._base / f"{key}.bin", 11)
        part = _read_rows(self._base / f"{key}_part.bin", 2)[:, -1].astype(np.int64)
        if len(part) != len(points):
            raise InputError(f"{key}: {len(part)} labels for {len(points)} points; download both files again")
        ids = np.array(labels.SCANOBJECTNN_IDS.get(category, range(len(labels.SCANOBJECTNN[category]) + 1)))
        known = (part >= 0) & (part < len(ids))
        part = np.where(known, ids[np.where(known, part, 0)] - 1, -1)
        instance = points[:, 10]
        instance_ids, counts = np.unique(instance[~np.isin(instance, (0, 1, 2))], return_counts=True)
        scene = instance != instance_ids[counts.argmax()] if len(instance_ids) else None
        cloud = Shape(np.ascontiguousarray(points[:, :3]), up=self.up, name=key)
        names = list(labels.SCANOBJECTNN[category])
        return LabelledShape(key, category, cloud, np.maximum(part, -1).astype(np.int32), names, self.split, scene)


def _read_rows(path: Path, columns: int) -> NDArray[np.float32]:
    """The float32 rows of a file that begins with their number."""
    values = np.fromfile(path, "<f4")
    if len(values) < 1 + columns or (len(values) - 1) % columns or (len(values) - 1) // columns != values[0]:
        raise InputError(
            f"{path.name}: {len(values)} numbers are not a count and rows of {columns}; download the file again"
        )
    return values[1:].reshape(-1, columns)


class Objaverse(Dataset):
    """Objaverse-General of Find3D: 5,000 points, free part names."""

    name = "objaverse"
    SPLITS = ("seenclass", "unseen", "shapenetpart")

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, split, up)
        splits = [name for name in self.SPLITS if (root / name).is_dir()]
        if split != "all" and split not in splits:
            raise self._not_found(f"a folder {split}")
        folders = [root / name for name in (splits if split == "all" else [split])] or [root]
        shapes = [path.parent for folder in folders for path in sorted(folder.glob("*/label_map.json"))]
        self.ids = [shape.relative_to(root).as_posix() for shape in shapes]

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        folder = self.root / key
        label_map = json.loads((folder / "label_map.json").read_text())
        if not isinstance(label_map, dict):
            raise InputError(f"{key}: label_map.json is not a dict of number to name; download it again")
        names = {int(number): str(name) for number, name in label_map.items()}
        numbers = sorted(number for number in names if number > 0)
        if numbers != list(range(1, len(numbers) + 1)):
            raise InputError(f"{key}: label_map.json has the numbers {numbers}, expected 1, 2, ...; download it again")
        shape = load(folder / "points5000.pcd", up=self.up)
        part = self._labels(folder, len(shape.points))
        category = folder.name.rsplit("_", 1)[0].replace("_", " ")
        cloud = Shape(shape.points, colors=shape.colors, up=self.up, name=key)
        part_names, merged = _merge_equal_names([names[number] for number in numbers])
        lookup = np.array([*merged, -1])
        return LabelledShape(key, category, cloud, lookup[part].astype(np.int32), part_names, self.split)

    def _labels(self, folder: Path, points: int) -> NDArray[np.int64]:
        """Part numbers from 0, -1 for none. Where masks overlap, the smallest counts, because it is the finest part."""
        if (folder / "labels.npy").is_file():
            return np.load(folder / "labels.npy", allow_pickle=False).ravel().astype(np.int64) - 1
        masks = _masks(folder)
        if masks.ndim != 2 or masks.shape[1] != points:
            raise InputError(
                f"{folder.name}: masks of shape {masks.shape} for {points} points; download the folder again"
            )
        part = np.full(points, -1, np.int64)
        for row in np.argsort(-masks.sum(axis=1), kind="stable"):
            part[masks[row]] = row
        return part


def _masks(folder: Path) -> NDArray[np.bool_]:
    if (folder / "mask2pts.npy").is_file():
        return np.load(folder / "mask2pts.npy", allow_pickle=False).astype(bool)
    if (folder / "mask2pts.pt").is_file():
        try:
            import torch
        except ImportError as error:
            raise InputError("mask2pts.pt needs torch; install it with pip install 'pa3d[torch]'") from error
        tensor = torch.load(folder / "mask2pts.pt", map_location="cpu", weights_only=True)
        return np.asarray(tensor.numpy(), bool)
    raise InputError(
        f"{folder.name}: none of labels.npy, mask2pts.npy and mask2pts.pt is there; download the folder again"
    )


def _merge_equal_names(names: list[str]) -> tuple[list[str], list[int]]:
    """The distinct names, compared as clean names, and for each name its index among them."""
    from pa3d.text import clean_name

    distinct: dict[str, int] = {}
    merged: list[str] = []
    for name in names:
        if clean_name(name) not in distinct:
            distinct[clean_name(name)] = len(merged)
            merged.append(name)
    return merged, [distinct[clean_name(name)] for name in names]


class Npz(Dataset):
    """One .npz file per shape: a cloud with labels, or a mesh with labels of faces or vertices."""

    name = "npz"

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, split, up)
        self.ids = [path.relative_to(root).with_suffix("").as_posix() for path in sorted(root.rglob("*.npz"))]

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        with np.load(self.root / f"{key}.npz", allow_pickle=False) as archive:
            content = dict(archive)

        def get(*names: str) -> NDArray[Any]:
            for name in names:
                if name in content:
                    return content[name]
            raise InputError(f"{key}: no {' or '.join(names)}, only {', '.join(content)}; expected {LAYOUTS['npz']}")

        category = str(get("category"))
        part_names = [str(name) for name in get("part_names", "label_names")]
        points = np.ascontiguousarray(get("vertices", "points"), np.float32)
        if "faces" not in content:
            part = get("labels", "point_labels").astype(np.int32)
            return LabelledShape(key, category, Shape(points, up=self.up, name=key), part, part_names, self.split)
        mesh = Shape(points, np.ascontiguousarray(get("faces"), np.int32), up=self.up, name=key).validate()
        if "face_labels" in content:
            part = get("face_labels").astype(np.int32)
        else:
            part = labels_of_faces(mesh, get("vertex_labels", "labels").astype(np.int32))
        return LabelledShape(key, category, mesh, part, part_names, self.split)


class FaustNpz(Npz):
    """FAUST coarse as .npz."""

    name = "faust"
    label_sets = {"human": labels.FAUST}  # noqa: RUF012


class FaustMeshes(Dataset):
    """FAUST coarse as SATR publishes it: OBJ scans, and a part name for every vertex."""

    name = "faust"
    label_sets = {"human": labels.FAUST}  # noqa: RUF012

    def __init__(self, root: Path, split: str, up: str) -> None:
        super().__init__(root, split, up)
        try:
            self._names: dict[str, list[str]] = json.loads((root / "coarse_gt.json").read_text())
        except ValueError as error:
            raise InputError(f"{root / 'coarse_gt.json'}: not JSON ({error}); download the file again") from error
        if not isinstance(self._names, dict):
            raise InputError(f"{root / 'coarse_gt.json'}: not a dict of mesh to part names; download the file again")
        listing = root / "meshes.txt"
        files = (
            listing.read_text().split() if listing.is_file() else sorted(p.name for p in (root / "scans").glob("*.obj"))
        )
        self.ids = [Path(name).stem for name in files]

    def _load(self, index: int) -> LabelledShape:
        key = self.ids[index]
        if key not in self._names:
            raise InputError(f"{key}: coarse_gt.json has no labels for it; download the file again")
        mesh = load(self.root / "scans" / f"{key}.obj", up=self.up)
        number = {name: i for i, name in enumerate(labels.FAUST)}
        part = np.array([number[name] for name in self._names[key]], np.int32)
        return LabelledShape(key, "human", mesh, labels_of_faces(mesh, part), list(labels.FAUST), self.split)


def labels_of_faces(mesh: Shape, vertex_labels: NDArray[np.int32]) -> NDArray[np.int32]:  # (N,) -> (F,)
    """The label that most corners of a face have; the lowest when all three differ."""
    if mesh.faces is None or vertex_labels.shape != (len(mesh.points),):
        raise InputError(f"{mesh.name}: {len(vertex_labels)} labels for {len(mesh.points)} vertices; expected one each")
    a, b, c = np.sort(vertex_labels[mesh.faces], axis=1).T
    return np.where(b == c, b, a).astype(np.int32)


def labels_of_vertices(mesh: Shape, face_labels: NDArray[np.int32]) -> NDArray[np.int32]:  # (F,) -> (N,)
    """For each vertex the label of the faces with the largest total area around it.

    The lowest label wins among equals; vertices without a face get -1.
    """
    if mesh.faces is None:
        raise InputError(f"{mesh.name}: a cloud has no faces")
    classes = int(face_labels.max()) + 2
    votes = np.zeros((len(mesh.points), classes))
    weight = np.maximum(mesh.face_areas(), np.finfo(np.float64).tiny)
    for corner in mesh.faces.T:
        np.add.at(votes, (corner, face_labels + 1), weight)
    return (votes.argmax(axis=1) - 1).astype(np.int32)
