"""What all datasets share: labelled shapes, and lists of them. Imports no reader."""

from __future__ import annotations

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
from pa3d.evaluate.layouts import LAYOUTS
from pa3d.shape import Shape

# What numpy, zipfile, json, h5py, trimesh and torch raise for damaged files. Other errors are bugs and are not caught.
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


def merge_equal_names(names: list[str]) -> tuple[list[str], list[int]]:
    """The distinct names, compared as clean names, and for each name its index among them."""
    from pa3d.text import clean_name

    distinct: dict[str, int] = {}
    merged: list[str] = []
    for name in names:
        if clean_name(name) not in distinct:
            distinct[clean_name(name)] = len(merged)
            merged.append(name)
    return merged, [distinct[clean_name(name)] for name in names]


def open_hdf5(path: Path) -> Any:
    """An HDF5 file to read. Raises InputError when h5py is not installed or the file cannot be read."""
    try:
        import h5py
    except ImportError as error:
        raise InputError("HDF5 files need h5py; install it with pip install h5py") from error
    if not path.is_file():
        raise InputError(f"{path}: no such file, though the list of files names it; download the dataset again")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file ({error}); download it again") from error
