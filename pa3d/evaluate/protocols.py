"""Protocols: a protocol holds every rule that turns a labelled shape and a prediction into results.

It sets which points and names a method gets and how its labels are scored; it does not change the method. `PROTOCOLS`
has the presets. `resolve` applies the changes that a preset makes on a dataset.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pa3d.config import ASSIGN
from pa3d.errors import InputError
from pa3d.evaluate.datasets import Dataset, LabelledShape, labels_of_vertices
from pa3d.evaluate.labels import category_words
from pa3d.evaluate.metrics import ABSENT, Absent
from pa3d.frames import apply_normalization, box_normalization, normalization
from pa3d.rotations import random_rotation, rotate
from pa3d.shape import Shape
from pa3d.text import clean_name

Unlabelled = Literal["ignored", "other", "background", "category", "zero"]
CHOICES: dict[str, tuple[Any, ...]] = {
    "mesh": ("surface", "vertices"),
    "scored": ("given", "all"),
    "normalize": ("none", "raw", "sphere", "box"),
    "axes": ("dataset", "y"),
    "rotation": ("none", "any"),
    "prompts": ("part", "category", "ensemble"),
    "assign": ASSIGN,
    "offered": ("category", "dataset"),
    "absent": ABSENT,
    "unlabelled": get_args(Unlabelled),
    "averaging": ("shapes", "categories", "parts"),
}


@dataclass(frozen=True)
class Protocol:
    """How shapes are prepared and predictions counted.

    The *given* points are those that the method gets. The *scored* points are those whose labels count. The *offered*
    names are those that the method may choose from.

    mesh: which points of a mesh are used: "surface", `surface` points drawn by area; or "vertices".
    points: how many points are given, drawn at random. A cloud with fewer points is given whole. None gives all. A mesh
        is sampled with this many points in the first place, unless `scored` is "all".
    replacement: whether these points are drawn with replacement, so that some are given twice and others not at all.
        Then exactly `points` are given, also of a cloud with fewer.
    scored: "given", the given points; or "all" points of the shape, where a point that was not given takes the label
        of the nearest given one.
    scored_points: at most how many of these points are scored, drawn at random without replacement. None scores all.
    normalize: what is done to the given points: "sphere" (mean 0, largest norm 1), "box" (mean 0, largest coordinate
        0.75); "none" leaves it to the method; "raw" does nothing, and the method must not do anything either.
    axes: "dataset" tells the method the up axis that `pa3d eval --up` named for the dataset (default y); "y" always
        says y. For an up axis of y, the encoder swaps y and z.
    rotation: "any" turns each shape by a random rotation, uniform over all rotations, before the method gets it.
    scene: whether points of a scan that are not part of the object are given.
    prompts: "part", "category" or "ensemble", as in pa3d.text.prompts.
    assign: how points get their scores from patches, as in Segmenter.segment. It holds for methods with patches, unless
        `pa3d eval --assign` sets another rule.
    offered: the parts of the shape's "category", or of the whole "dataset". If a method chooses a part of another
        category, the point counts as none.
    absent: how a part counts that has no true point on the shape: "skip", "one" or "union" (metrics.part_ious).
    unlabelled: what happens to points without a true label.
        "ignored": they are not scored.
        "other", "background", "category": they are one more part, which is averaged like the others. Its name is
            "other", "background", or the category of the shape. If a part already has this name, they are ignored.
        "zero": a further class with the constant logit 0 competes with the parts and stands for them. They count in
            unions, but the class is not averaged.
    refine: whether a Segmenter cleans borders and uses the structure of meshes, as it does by default. It then gets the
        mesh itself, and a scored point has the label of its face; other methods get the points.
    averaging: the headline figure: "shapes" (mIoU), "categories" (cIoU), or "parts", as in PartSLIP: each part over its
        shapes, then over the parts of a category, then over categories.
    seed: of all random draws. What is drawn for a shape depends only on the seed and the shape's id.
    overrides: by dataset, the fields that are different there.
    """

    name: str
    description: str
    mesh: str = "surface"
    surface: int = 10_000
    points: int | None = None
    replacement: bool = False
    scored: str = "given"
    scored_points: int | None = None
    normalize: str = "none"
    axes: str = "dataset"
    rotation: str = "none"
    scene: bool = False
    prompts: str = "part"
    assign: str = "nearest"
    offered: str = "category"
    absent: Absent = "skip"
    unlabelled: Unlabelled = "ignored"
    refine: bool = False
    averaging: str = "shapes"
    seed: int = 0
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                expected = ", ".join(map(str, choices))
                raise InputError(f"protocol {self.name}: {name} is {getattr(self, name)!r}; expected one of {expected}")
        counts = (self.surface, self.points, self.scored_points)
        if any(count is not None and count < 1 for count in counts) or self.seed < 0:
            raise InputError(
                f"protocol {self.name}: surface, points and scored_points must be at least 1, seed at least 0"
            )
        if self.replacement and self.points is None:
            raise InputError(f"protocol {self.name}: replacement needs points, the number of points to draw")

    def to_dict(self) -> dict[str, Any]:
        """All fields except overrides, which `resolve` has applied."""
        return {key: value for key, value in asdict(self).items() if key != "overrides"}


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "pa3d",
            "Every point is given and scored: all of a cloud, 10,000 of a mesh's surface drawn by area.",
            assign="smooth",
            refine=True,
        ),
        Protocol(
            "patchalign3d",
            "PatchAlign3D (arXiv 2601.02457): 2,048 points in the unit sphere, y and z swapped, part-only "
            "prompts, nearest centre; absent parts are skipped. On ShapeNetPart the points are drawn with replacement. "
            "FAUST is not normalised, and absent parts count 1 there.",
            points=2048,
            normalize="sphere",
            axes="y",
            overrides={
                "shapenetpart": {"replacement": True},
                "faust": {"absent": "one", "normalize": "raw"},
                "scanobjectnn": {"unlabelled": "background"},
            },
        ),
        Protocol(
            "cops",
            "COPS (Garosi et al., WACV 2025): at most 100,000 points are given, a mesh by its vertices, and 2,048 of "
            "them are scored; a part absent from both counts 1.",
            mesh="vertices",
            points=100_000,
            scored_points=2048,
            normalize="sphere",
            absent="one",
            overrides={"scanobjectnn": {"unlabelled": "background"}},
        ),
        Protocol(
            "find3d",
            "Find3D (arXiv 2411.13550): 5,000 points are given, drawn with replacement, and all are scored; prompts "
            "with the category, unlabelled points are a column of logit 0, a part absent from both is skipped. "
            "ShapeNetPart: 2,048 points, no such column. PartNetE and ShapeNetPart are rotated at random. Objaverse: "
            "all points are given, and the mean is over shapes.",
            points=5000,
            replacement=True,
            scored="all",
            normalize="box",
            axes="y",
            prompts="category",
            absent="union",
            unlabelled="zero",
            averaging="categories",
            overrides={
                "shapenetpart": {
                    "points": 2048,
                    "replacement": False,
                    "scored": "given",
                    "rotation": "any",
                    "unlabelled": "ignored",
                },
                "partnete": {"rotation": "any"},
                "objaverse": {"points": None, "replacement": False, "averaging": "shapes"},
            },
        ),
    )
}


def resolve(protocol: str | Protocol, dataset: str, **changes: Any) -> Protocol:
    """A protocol, or a preset by name, with its overrides for a dataset applied; changes replace fields.

    Raises InputError when the preset or a value is unknown.
    """
    if isinstance(protocol, str):
        if protocol not in PROTOCOLS:
            raise InputError(f"protocol {protocol!r} is unknown; expected one of {', '.join(PROTOCOLS)}")
        protocol = PROTOCOLS[protocol]
    return replace(protocol, **{**protocol.overrides.get(dataset, {}), **changes}, overrides={})


@dataclass
class PreparedShape:
    """A labelled shape, prepared by the rules of a protocol.

    cloud: the given points, which the method gets.
    category: what the object is, in plain words; None if the prompts leave it out.
    offered: the names that the method chooses from.
    class_of: (len(offered),) the class of each name, -1 for none.
    classes: names of the classes: the shape's parts, and one for unlabelled points if the protocol has it.
    truth: (P,) class of each scored point, -1 for none.
    given_truth: the same for the given points, as indices into offered.
    nearest: (P,) the given point whose label each scored point takes; None when they are the same points.
    points: (P, 3) the scored points.
    mesh: the mesh that the given points are of, for methods that take meshes; None for a cloud. mesh_truth: (F,) the
    true
        label of its faces, as indices into offered. element: the face of each given point, or, unless on_faces, the
        vertex that it is.
    """

    cloud: Shape
    category: str | None
    offered: list[str]
    class_of: NDArray[np.int32]
    classes: list[str]
    truth: NDArray[np.int32]
    given_truth: NDArray[np.int32]
    nearest: NDArray[np.int64] | None
    points: NDArray[np.float32]
    mesh: Shape | None = None
    mesh_truth: NDArray[np.int32] | None = None
    element: NDArray[np.integer] | None = None
    on_faces: bool = False


def prepare(shape: LabelledShape, protocol: Protocol, dataset: Dataset) -> PreparedShape:
    """The shape, prepared by a protocol.

    Raises InputError when no point can be scored, or the dataset has no names to offer.
    """
    points, part, element = _points(shape, protocol)
    part, classes = _with_unlabelled(part, shape, protocol)
    offered, class_of = _offered(classes, len(shape.part_names), protocol, dataset)
    turn = np.eye(3)
    if protocol.rotation == "any":
        turn = random_rotation(np.random.default_rng([shape_seed(shape.id, protocol.seed), 1]))
        points = rotate(points, turn)
    given_indices = draw(len(points), protocol.points, shape.id, protocol.seed, protocol.replacement)
    cloud = np.ascontiguousarray(_normalized(points[given_indices], protocol.normalize))
    up = shape.shape.up if protocol.axes == "dataset" else "y"
    nearest, scored = None, points[given_indices]
    truth = given_truth = part[given_indices]
    if protocol.scored == "all" and (protocol.replacement or len(given_indices) < len(points)):
        from pa3d.ops import knn

        nearest, scored = knn(points, np.ascontiguousarray(points[given_indices]), 1)[0][:, 0], points
        truth = part
    if protocol.scored_points is not None and protocol.scored_points < len(truth):
        chosen = draw(len(truth), protocol.scored_points, shape.id, protocol.seed)
        nearest = chosen if nearest is None else nearest[chosen]
        scored, truth = scored[chosen], truth[chosen]
    if not (given_truth >= 0).any() or not (truth >= 0).any():
        raise InputError(f"{shape.id}: no labelled point among those that {protocol.name} draws; leave the shape out")
    class_to_label = np.full(len(classes) + 1, -1, np.int32)
    for number, class_index in enumerate(class_of):
        if class_index >= 0:
            class_to_label[class_index] = number
    category = None if protocol.prompts == "part" else category_words(shape.category)
    colors = shape.shape.colors if shape.shape.colors is not None and not shape.shape.is_mesh else None
    mesh, mesh_truth = None, None
    if shape.shape.faces is not None:
        mesh = Shape(rotate(shape.shape.points, turn), shape.shape.faces, up=up, name=shape.id)
        mesh_truth = class_to_label[_with_unlabelled(shape.labels, shape, protocol)[0]]
    return PreparedShape(
        Shape(cloud, colors=None if colors is None else colors[element[given_indices]], up=up, name=shape.id),
        category,
        offered,
        class_of,
        classes,
        truth,
        class_to_label[given_truth],
        nearest,
        np.ascontiguousarray(scored),
        mesh,
        mesh_truth,
        element[given_indices],
        protocol.mesh == "surface",
    )


def draw(n: int, count: int | None, key: str, seed: int, replacement: bool = False) -> NDArray[np.int64]:
    """`count` of n indices, ascending, with or without replacement. Without it, all of them if count is at least n.

    A count of None is all.
    """
    if replacement and count is not None:
        return np.sort(np.random.default_rng(shape_seed(key, seed)).integers(n, size=count))
    if count is None or count >= n:
        return np.arange(n)
    return np.sort(np.random.default_rng(shape_seed(key, seed)).choice(n, count, replace=False))


def shape_seed(key: str, seed: int) -> int:
    """A seed from the shape's id and the protocol's seed, the same on every machine."""
    return zlib.crc32(f"{seed}/{key}".encode())


def _points(
    shape: LabelledShape, protocol: Protocol
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.integer]]:
    """All points that the protocol may give or score, the part of each, and its number in the shape: of the face that
    it is on, of the vertex or of the point."""
    points, part = shape.shape.points, shape.labels
    element: NDArray[np.integer] = np.arange(len(points))
    if shape.shape.is_mesh and protocol.mesh == "surface":
        count = protocol.surface if protocol.points is None or protocol.scored == "all" else protocol.points
        points, element = shape.shape.sample(count, shape_seed(shape.id, protocol.seed))
        part = shape.labels[element]
    elif shape.shape.is_mesh:
        part = labels_of_vertices(shape.shape, shape.labels)
    elif shape.scene is not None and not protocol.scene:
        points, part, element = points[~shape.scene], part[~shape.scene], element[~shape.scene]
    return points, part, element


def _with_unlabelled(
    part: NDArray[np.int32], shape: LabelledShape, protocol: Protocol
) -> tuple[NDArray[np.int32], list[str]]:
    """Labels and class names, with the class of unlabelled points if the protocol has one."""
    classes = list(shape.part_names)
    if protocol.unlabelled in ("ignored", "zero"):
        return part, classes
    name = category_words(shape.category) if protocol.unlabelled == "category" else protocol.unlabelled
    if clean_name(name) in {clean_name(c) for c in classes}:
        return part, classes
    return np.where(part < 0, len(classes), part).astype(np.int32), [*classes, name]


def _offered(
    classes: list[str], parts: int, protocol: Protocol, dataset: Dataset
) -> tuple[list[str], NDArray[np.int32]]:
    """The names to choose from and the class of each, -1 for a part of another category."""
    if protocol.offered == "category":
        return classes, np.arange(len(classes), dtype=np.int32)
    if dataset.label_sets is None:
        raise InputError(f"{dataset.name} has no names common to all shapes; use offered='category'")
    class_of_name = {clean_name(name): number for number, name in enumerate(classes)}
    names = (*classes, *(name for label_set in dataset.label_sets.values() for name in label_set))
    name_of_key = {clean_name(name): name for name in names}
    # Sorted by name, so that the order does not depend on the shape (except for a class of unlabelled points).
    keys = sorted(name_of_key)
    return [name_of_key[key] for key in keys], np.array([class_of_name.get(key, -1) for key in keys], np.int32)


def _normalized(points: NDArray[np.float32], how: str) -> NDArray[np.float32]:
    if how in ("none", "raw"):
        return points
    return apply_normalization(points, *(box_normalization(points) if how == "box" else normalization(points)))
