"""Keypoints: named points of a shape, found by text or by the example of an annotated shape.

    seg.keypoints("chair.glb", ["tip of the leg", "seat"])            # zero-shot, by text
    seg.keypoints("chair.glb", like="annotated.json")                 # few-shot, by nearest features

Patch features are interpolated over the surface: f(x) is the mean of the unit vectors of the three nearest patches,
weighted by inverse distance and normalised. So a keypoint may lie anywhere on the surface.

By text, the score of a point x for a name with vector t is sigmoid(cos(f(x), t) / temperature). The encoder was trained
so that this is the probability that x lies in part t. The keypoint is the point with the highest score. A name such as
"tip of the leg" is a place on a part. The part consists of the points that score at least half of the best score for
"leg". Its tip (or end) is the point farthest from the mean of the points outside the part. Its top and bottom are the
highest and the lowest point, and its centre (or middle) is the point nearest to its mean.

By example, features and offsets are compared. The offset o(x) is x minus the mean of the three nearest patch centres,
weighted as above, in units of the mean radius of a patch. For the annotated point a the keypoint is

    argmax_x  cos(f(x), f(a)) - OFFSET_WEIGHT |o(x) - o(a)|^2 - POSITION_WEIGHT |x - a|^2

The terms compare which patches the points lie between, where they lie between them, and where they lie in the shape.
The last one decides between points that are otherwise alike, such as the four legs of a table, if both shapes face the
same way. If a name has several annotations, the one that fits best counts for each point.

When several keypoints per name are asked for (count), each is the best one at least MIN_DISTANCE away from the earlier
ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d.checkpoint import Checkpoint
from pa3d.encoder_input import without_outliers
from pa3d.errors import InputError
from pa3d.frames import TO_MODEL_AXES, UP_AXES, apply_normalization
from pa3d.inputs import as_shape
from pa3d.shape import Shape

OFFSET_WEIGHT = 0.1  # of the squared offset in patch radii, relative to the cosine
POSITION_WEIGHT = 0.1  # of the squared distance, for a shape of radius 1
MIN_DISTANCE = 0.15  # between two keypoints of a name, for a shape of radius 1
MAX_CANDIDATES = 8_192  # points of a shape that are considered
_PLACE = re.compile(r"^(?:the )?(tip|end|top|bottom|cent(?:er|re)|middle) of (?:the |a |an )?(.+)$", re.I)

Example = str | Path | Mapping[str, Any]


class Patches(Protocol):
    """The fields of PatchFeatures that keypoints use."""

    centers: NDArray[np.float32]
    members: NDArray[np.int64]
    features: NDArray[np.float32]
    points: NDArray[np.float32]


class ShapeEncoder(Protocol):
    """What keypoints use of a Segmenter."""

    checkpoint: Checkpoint

    def encode_shape(
        self, shape: Shape, sample: int | None, seed: int
    ) -> tuple[Patches, NDArray[np.float64], float]: ...

    def embed_text(self, parts: Sequence[str], category: str | None) -> NDArray[np.float32]: ...


@dataclass
class Keypoint:
    """position (3,): in the units and axes of the shape's file. score: 0 to 1. index: the vertex or point of the shape
    that is nearest to the position."""

    name: str
    position: NDArray[np.float64]
    score: float
    index: int


@dataclass
class Keypoints:
    """found: the keypoints in the order of names, those of a name with the best first.

    heat (N, K): score of every vertex or point for each of the K names. For a place on a part, such as "tip of the
        leg", it is the score for the part.
    """

    shape: Shape
    names: list[str]
    found: list[Keypoint]
    heat: NDArray[np.float32]
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The file, its up axis and every keypoint, in the form that `like` takes."""
        points = [
            {"name": k.name, "position": [float(v) for v in k.position], "score": round(k.score, 4), "index": k.index}
            for k in self.found
        ]
        return {"file": self.shape.source or self.shape.name, "up": self.shape.up, "keypoints": points}


@dataclass
class _Surface:
    """Points of a shape and their features.

    positions (C, 3): in the file's axes; points (C, 3): the same in the model's axes, normalised; features (C, D): unit
    vectors; offsets (C, 3): from the weighted mean of the patch centres, in patch radii.
    """

    shape: Shape
    positions: NDArray[np.float32]
    points: NDArray[np.float32]
    features: NDArray[np.float32]
    offsets: NDArray[np.float32]


class _Annotation(NamedTuple):
    """feature (D,), offset (3,) and point (3,) of an annotated point, as in a _Surface."""

    feature: NDArray[np.float32]
    offset: NDArray[np.float32]
    point: NDArray[np.float32]


def find_keypoints(
    segmenter: ShapeEncoder,
    source: str | Path | Shape | ArrayLike,
    names: Sequence[str] | None = None,
    *,
    like: Example | Sequence[Example] | None = None,
    category: str | None = None,
    count: int = 1,
    sample: int | None = 2048,
    up: str | None = None,
    seed: int = 0,
) -> Keypoints:
    """See Segmenter.keypoints."""
    from pa3d.text import check_names

    if (names is None) == (like is None):
        raise InputError("keypoints: give either names (found by text) or like (an annotated shape), not both")
    if not isinstance(count, int) or count < 1:
        raise InputError(f"count is {count!r}; expected an integer of at least 1")
    if names is not None:
        check_names(names)
    examples = _examples(like) if like is not None else []
    shape = as_shape(source, up)
    candidates, (own_points, nearest_own) = _surface(segmenter, shape, sample, seed)
    found: list[Keypoint] = []
    if names is not None:
        found_names = list(names)
        places = [_place(name) for name in found_names]
        vectors = segmenter.embed_text([part for _, part in places], category)
        temperature = segmenter.checkpoint.temperature
        scores = _sigmoid(candidates.features @ vectors.T / temperature)
        heat = _sigmoid(own_points.features @ vectors.T / temperature)
        for column, (name, (place, _)) in enumerate(zip(found_names, places, strict=True)):
            placement_score = _placement_score(candidates, scores[:, column], place)
            found += _pick(candidates, name, placement_score, scores[:, column], count)
    else:
        annotations: dict[str, list[_Annotation]] = {}
        for example in examples:
            for name, annotation in _encode_example(segmenter, example, sample, seed):
                annotations.setdefault(name, []).append(annotation)
        found_names = list(annotations)
        heat = np.stack([_similarity(own_points, annotations[name]) for name in found_names], axis=1)
        for name in found_names:
            similarity = _similarity(candidates, annotations[name])
            found += _pick(candidates, name, similarity, np.clip(similarity, 0, 1), count)
    settings = {"category": category, "count": count, "sample": sample, "up": shape.up, "seed": seed}
    heat = np.clip(heat, 0, 1)[nearest_own].astype(np.float32)
    return Keypoints(shape, found_names, found, heat, segmenter.checkpoint.name, settings)


def _surface(
    segmenter: ShapeEncoder,
    shape: Shape,
    sample: int | None,
    seed: int,
    positions: NDArray[np.float32] | None = None,  # (C, 3) in the file's axes
) -> tuple[_Surface, tuple[_Surface, NDArray[np.int64]]]:
    """Features at `positions`, and at the shape's own vertices or points.

    positions: None takes the candidates for keypoints, which are points all over the surface.
    Returns the two surfaces, and for every point of the shape (N,) the index of the nearest point of the second one,
    which has at most MAX_CANDIDATES points.
    """
    from pa3d.ops import interpolate, knn

    encoded, center, radius = segmenter.encode_shape(shape, sample, seed)
    axes = TO_MODEL_AXES[shape.up]
    centers = np.ascontiguousarray(encoded.centers)
    patch_radius = np.linalg.norm(encoded.points[encoded.members] - centers[:, None], axis=2).mean()
    values = np.concatenate([encoded.features, centers], axis=1).astype(np.float32)

    def surface_at(where: NDArray[np.float32]) -> _Surface:
        points = apply_normalization(where, center, radius, axes)
        interpolated = interpolate(points, centers, np.ascontiguousarray(values), min(3, len(centers)))
        features, middle = interpolated[:, :-3], interpolated[:, -3:]
        features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        return _Surface(shape, where, points, features, (points - middle) / max(float(patch_radius), 1e-6))

    own, nearest = shape.points, np.arange(len(shape.points))
    if len(own) > MAX_CANDIDATES:
        own = own[np.sort(np.random.default_rng(seed).choice(len(own), MAX_CANDIDATES, replace=False))]
        nearest = knn(np.ascontiguousarray(shape.points), np.ascontiguousarray(own), 1)[0][:, 0]
    if positions is None:
        positions = without_outliers(np.ascontiguousarray(own), segmenter.checkpoint.outliers)
        if shape.faces is not None:
            # A box has only eight vertices: candidates are all over the surface of a mesh, with its vertices.
            drawn = shape.sample(max(MAX_CANDIDATES - len(own), MAX_CANDIDATES // 2), seed)[0]
            positions = np.concatenate([np.unique(shape.points[shape.faces.ravel()], axis=0)[:MAX_CANDIDATES], drawn])
    return surface_at(np.ascontiguousarray(positions)), (surface_at(np.ascontiguousarray(own)), nearest)


def _place(name: str) -> tuple[str, str]:
    """The place and the part in a name: ("tip", "leg") for "tip of the leg"; ("", name) for a name without a place."""
    match = _PLACE.match(name.strip())
    if match is None:
        return "", name
    place = match[1].lower()
    return {"end": "tip", "middle": "center", "centre": "center"}.get(place, place), match[2]


def _placement_score(surface: _Surface, score: NDArray[np.float32], place: str) -> NDArray[np.float64]:  # (C,)
    """How well each point fits a place on a part; -inf for points outside the part.

    score (C,): how well each point fits the part. It is the result if there is no place.
    """
    if not place:
        return score.astype(np.float64)
    part = score >= 0.5 * score.max()
    inside, outside = surface.points[part], surface.points[~part]
    if place in ("top", "bottom"):
        placement_score = surface.points[:, 2] * (1.0 if place == "top" else -1.0)  # z is up in the model's axes
    elif place == "tip":
        base = outside.mean(axis=0) if len(outside) else inside.mean(axis=0)
        placement_score = np.linalg.norm(surface.points - base, axis=1)
    else:
        placement_score = -np.linalg.norm(surface.points - inside.mean(axis=0), axis=1)
    return np.where(part, placement_score, -np.inf)


def _similarity(surface: _Surface, annotations: list[_Annotation]) -> NDArray[np.float64]:  # (C,)
    """How similar each point is to the annotation that fits it best."""
    similarities = [
        surface.features @ annotation.feature
        - OFFSET_WEIGHT * np.square(surface.offsets - annotation.offset).sum(axis=1)
        - POSITION_WEIGHT * np.square(surface.points - annotation.point).sum(axis=1)
        for annotation in annotations
    ]
    return np.max(similarities, axis=0).astype(np.float64)


def _pick(
    surface: _Surface, name: str, placement_score: NDArray[np.float64], score: NDArray[np.floating[Any]], count: int
) -> list[Keypoint]:
    """The `count` points of highest placement_score that are at least MIN_DISTANCE apart. score: what they report."""
    remaining = placement_score.copy()
    picked: list[Keypoint] = []
    while len(picked) < count and np.isfinite(remaining.max()):
        best = int(remaining.argmax())
        position = surface.positions[best].astype(np.float64)
        nearest = int(np.square(surface.shape.points - surface.positions[best]).sum(axis=1).argmin())
        picked.append(Keypoint(name, position + surface.shape.origin, float(score[best]), nearest))
        remaining[np.linalg.norm(surface.points - surface.points[best], axis=1) < MIN_DISTANCE] = -np.inf
    return picked


def _encode_example(
    segmenter: ShapeEncoder, example: _AnnotatedShape, sample: int | None, seed: int
) -> list[tuple[str, _Annotation]]:
    """The name of every annotated point of a shape, and its features."""
    shape = example.load()
    positions = (example.positions - shape.origin).astype(np.float32)
    low, high = shape.points.min(axis=0), shape.points.max(axis=0)
    far = np.abs(positions - np.clip(positions, low, high)).max(axis=1) > 0.25 * float((high - low).max())
    if far.any():
        wrong = example.names[int(np.flatnonzero(far)[0])]
        raise InputError(f"{example.where}: keypoint {wrong!r} lies far outside {shape.name}; give file coordinates")
    surface, _ = _surface(segmenter, shape, sample, seed, positions)
    rows = zip(surface.features, surface.offsets, surface.points, strict=True)
    return [(name, _Annotation(*row)) for name, row in zip(example.names, rows, strict=True)]


@dataclass
class _AnnotatedShape:
    where: str
    file: Path
    up: str | None
    names: list[str]
    positions: NDArray[np.float64]  # (K, 3)

    def load(self) -> Shape:
        from pa3d.io import load

        return load(self.file, up=self.up)


def _examples(like: Example | Sequence[Example]) -> list[_AnnotatedShape]:
    examples = [like] if isinstance(like, str | Path | Mapping) else list(like)
    if not examples:
        raise InputError("like is empty; expected at least one annotated shape")
    return [_example(example) for example in examples]


def _example(example: Example) -> _AnnotatedShape:
    """An annotation from a JSON file or as a dict: {"file": ..., "up": "y", "keypoints": [{"name", "position"}]}."""
    folder, where = Path(), "like"
    if isinstance(example, Mapping):
        data: Any = example
    else:
        path = Path(example)
        folder, where = path.parent, str(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); expected an annotated shape") from error
        except ValueError as error:
            raise InputError(f"{path}: is not JSON ({error}); expected an annotated shape") from error
    expected = 'expected {"file": "chair.glb", "keypoints": [{"name": "tip", "position": [x, y, z]}]}'
    if not isinstance(data, Mapping) or not isinstance(data.get("file"), str) or not data.get("keypoints"):
        raise InputError(f"{where}: has no file or no keypoints; {expected}")
    up = data.get("up")
    if up is not None and up not in UP_AXES:
        raise InputError(f"{where}: up is {up!r}; expected one of {', '.join(UP_AXES)}")
    names, positions = [], []
    for number, point in enumerate(data["keypoints"] if isinstance(data["keypoints"], list) else [None]):
        try:
            name, position = str(point["name"]).strip(), np.asarray(point["position"], np.float64)
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(f"{where}: keypoint {number} cannot be read ({error!r}); {expected}") from error
        if not name or position.shape != (3,) or not np.isfinite(position).all():
            raise InputError(f"{where}: keypoint {number} needs a name and three finite coordinates; {expected}")
        names.append(name)
        positions.append(position)
    return _AnnotatedShape(where, folder / data["file"], up, names, np.stack(positions))


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))), np.float32)
