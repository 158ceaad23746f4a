"""Keypoints: named points of a shape, found by text or like those of an annotated shape.

    seg.keypoints("chair.glb", ["tip of the leg", "seat"])            # zero-shot, by text
    seg.keypoints("chair.glb", like="annotated.json")                 # few-shot, by nearest features

Patch features are spread to the surface: f(x) is the mean of the three nearest patches' unit vectors, weighted by
inverse distance and brought to unit length, so that a keypoint may lie anywhere, not only at a patch's centre.

By text, a point's score is sigmoid(cos(f(x), t) / temperature), what the encoder was trained to give for "x is in
part t". The keypoint is the point that scores highest. A name of the form "tip of the leg" is a place on a part:
points that score at least half of the best for "leg" are that part, and its tip (end) is the one farthest from the
middle of the rest, its top and bottom are the highest and lowest, its centre (middle) the one nearest to its mean.

By example, with o(x) = x minus the same weighted mean of the patches' centres, in patch radii, the keypoint is

    argmax_x  cos(f(x), f(a)) - OFFSET |o(x) - o(a)|^2 - PLACE |x - a|^2

for the annotated point a: which patches it lies between, how it lies to them, and, of points that are else alike (the
four legs of a table), the one at the same place of a shape that faces the same way. Several annotations of a name, from
one shape or many, each have their say; the nearest counts.

Of several keypoints of a name (count), each is the best that is at least APART away from those before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d.errors import InputError
from pa3d.frames import UP_AXES
from pa3d.shape import Shape

if TYPE_CHECKING:
    from pa3d.segment import Segmenter

OFFSET = 0.1  # weight of a squared offset of one patch radius against a cosine of 1
PLACE = 0.1  # of a squared distance of one radius of the shape
APART = 0.15  # between two keypoints of a name, for a shape of radius 1
CANDIDATES = 8_192  # points of a shape at most that a keypoint may be
_PLACE = re.compile(r"^(?:the )?(tip|end|top|bottom|cent(?:er|re)|middle) of (?:the |a |an )?(.+)$", re.I)

Example = str | Path | Mapping[str, Any]


@dataclass
class Keypoint:
    """name; position (3,) in the units and axes of the shape's file; score 0 to 1; index of the nearest vertex or
    point of the shape."""

    name: str
    position: NDArray[np.float64]
    score: float
    index: int


@dataclass
class Keypoints:
    """found: by name in the order asked for, best first; heat (N, K): score of every vertex or point for each of K
    names, before places ("tip of") are taken; names (K,)."""

    shape: Shape
    names: list[str]
    found: list[Keypoint]
    heat: NDArray[np.float32]
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What `like` takes: the file, its up axis, and every keypoint."""
        points = [
            {"name": k.name, "position": [float(v) for v in k.position], "score": round(k.score, 4), "index": k.index}
            for k in self.found
        ]
        return {"file": self.shape.source or self.shape.name, "up": self.shape.up, "keypoints": points}


@dataclass
class _Surface:
    """Points of a shape with what is known there. at: (C, 3) in the file's axes; points: the same in the model's
    axes, normalised; features: (C, D) unit; offsets: (C, 3) in patch radii."""

    shape: Shape
    at: NDArray[np.float32]
    points: NDArray[np.float32]
    features: NDArray[np.float32]
    offsets: NDArray[np.float32]


class _Mark(NamedTuple):
    """feature (D,), offset (3,) and point (3,) of an annotated point, as of a _Surface."""

    feature: NDArray[np.float32]
    offset: NDArray[np.float32]
    point: NDArray[np.float32]


def find_keypoints(
    segmenter: Segmenter,
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
    from pa3d.segment import as_shape
    from pa3d.text import check_names

    if (names is None) == (like is None):
        raise InputError("keypoints: give either names (found by text) or like (an annotated shape), not both")
    if not isinstance(count, int) or count < 1:
        raise InputError(f"count is {count!r}; expected a whole number of at least 1")
    if names is not None:
        check_names(names)
    examples = _examples(like) if like is not None else []
    shape = as_shape(source, up)
    surface, (whole, heat_at) = _surface(segmenter, shape, sample, seed)
    found: list[Keypoint] = []
    if names is not None:
        asked = list(names)
        places = [_place(name) for name in asked]
        vectors = segmenter.embed_text([part for _, part in places], category)
        temperature = segmenter.checkpoint.temperature
        scores = _sigmoid(surface.features @ vectors.T / temperature)
        heat = _sigmoid(whole.features @ vectors.T / temperature)
        for column, (name, (place, _)) in enumerate(zip(asked, places, strict=True)):
            rank = _ranked(surface, scores[:, column], place)
            found += _pick(surface, name, rank, scores[:, column], count)
    else:
        marks: dict[str, list[_Mark]] = {}
        for example in examples:
            for name, mark in _described(segmenter, example, sample, seed):
                marks.setdefault(name, []).append(mark)
        asked = list(marks)
        heat = np.stack([_alike(whole, marks[name]) for name in asked], axis=1)
        for name in asked:
            rank = _alike(surface, marks[name])
            found += _pick(surface, name, rank, np.clip(rank, 0, 1), count)
    settings = {"category": category, "count": count, "sample": sample, "up": shape.up, "seed": seed}
    heat = np.clip(heat, 0, 1)[heat_at].astype(np.float32)
    return Keypoints(shape, asked, found, heat, segmenter.checkpoint.name, settings)


def _surface(
    segmenter: Segmenter,
    shape: Shape,
    sample: int | None,
    seed: int,
    at: NDArray[np.float32] | None = None,  # (C, 3) where to look, in the file's axes
) -> tuple[_Surface, tuple[_Surface, NDArray[np.int64]]]:
    """The candidates of a shape, or what it is at the points asked for; beside them the shape's own points, and
    which of those each point of the shape is nearest to (all, unless there are more than CANDIDATES)."""
    from pa3d.frames import TO_MODEL_AXES, apply_normalization, normalization
    from pa3d.ops import interpolate, knn
    from pa3d.segment import _sample_shape

    used = _sample_shape(shape, sample, seed)
    center, radius = normalization(used)
    axes = TO_MODEL_AXES[shape.up]
    encoded = segmenter._encode([apply_normalization(used, center, radius, axes)])[0]
    centers = np.ascontiguousarray(encoded.centers)
    reach = np.linalg.norm(encoded.points[encoded.members] - centers[:, None], axis=2).mean()
    values = np.concatenate([encoded.features, centers], axis=1).astype(np.float32)

    def look(where: NDArray[np.float32]) -> _Surface:
        points = apply_normalization(where, center, radius, axes)
        spread = interpolate(points, centers, np.ascontiguousarray(values), min(3, len(centers)))
        features, middle = spread[:, :-3], spread[:, -3:]
        features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        return _Surface(shape, where, points, features, (points - middle) / max(float(reach), 1e-6))

    own, of = shape.points, np.arange(len(shape.points))
    if len(own) > CANDIDATES:
        own = own[np.sort(np.random.default_rng(seed).choice(len(own), CANDIDATES, replace=False))]
        of = knn(np.ascontiguousarray(shape.points), np.ascontiguousarray(own), 1)[0][:, 0]
    if at is None:
        at = own
        if shape.faces is not None:
            # A box has eight vertices: a mesh's surface is looked at where it is, its corners and edges included.
            drawn = shape.sample(max(CANDIDATES - len(own), CANDIDATES // 2), seed)[0]
            at = np.concatenate([np.unique(shape.points[shape.faces.ravel()], axis=0)[:CANDIDATES], drawn])
    return look(np.ascontiguousarray(at)), (look(np.ascontiguousarray(own)), of)


def _place(name: str) -> tuple[str, str]:
    """The place ("" for the best point) and the part of a name."""
    found = _PLACE.match(name.strip())
    if found is None:
        return "", name
    place = found[1].lower()
    return {"end": "tip", "middle": "center", "centre": "center"}.get(place, place), found[2]


def _ranked(surface: _Surface, score: NDArray[np.float32], place: str) -> NDArray[np.float64]:  # (C,)
    """How well each point answers to a place of a part, more is better; -inf off the part."""
    if not place:
        return score.astype(np.float64)
    part = score >= 0.5 * score.max()
    mine, rest = surface.points[part], surface.points[~part]
    if place in ("top", "bottom"):
        rank = surface.points[:, 2] * (1.0 if place == "top" else -1.0)  # z is up in the model's axes
    elif place == "tip":
        away = rest.mean(axis=0) if len(rest) else mine.mean(axis=0)
        rank = np.linalg.norm(surface.points - away, axis=1)
    else:
        rank = -np.linalg.norm(surface.points - mine.mean(axis=0), axis=1)
    return np.where(part, rank, -np.inf)


def _alike(surface: _Surface, marks: list[_Mark]) -> NDArray[np.float64]:  # (C,)
    alike = [
        surface.features @ mark.feature
        - OFFSET * np.square(surface.offsets - mark.offset).sum(axis=1)
        - PLACE * np.square(surface.points - mark.point).sum(axis=1)
        for mark in marks
    ]
    return np.max(alike, axis=0).astype(np.float64)


def _pick(
    surface: _Surface, name: str, rank: NDArray[np.float64], score: NDArray[np.floating[Any]], count: int
) -> list[Keypoint]:
    rank = rank.copy()
    picked: list[Keypoint] = []
    while len(picked) < count and np.isfinite(rank.max()):
        best = int(rank.argmax())
        position = surface.at[best].astype(np.float64)
        nearest = int(np.square(surface.shape.points - surface.at[best]).sum(axis=1).argmin())
        picked.append(Keypoint(name, position + surface.shape.origin, float(score[best]), nearest))
        rank[np.linalg.norm(surface.points - surface.points[best], axis=1) < APART] = -np.inf
    return picked


def _described(segmenter: Segmenter, example: _Annotated, sample: int | None, seed: int) -> list[tuple[str, _Mark]]:
    """Every annotated point of a shape: its name, and what is known there."""
    shape = example.load()
    at = (example.positions - shape.origin).astype(np.float32)
    low, high = shape.points.min(axis=0), shape.points.max(axis=0)
    far = np.abs(at - np.clip(at, low, high)).max(axis=1) > 0.25 * float((high - low).max())
    if far.any():
        wrong = example.names[int(np.flatnonzero(far)[0])]
        raise InputError(f"{example.where}: keypoint {wrong!r} lies far outside {shape.name}; give file coordinates")
    surface, _ = _surface(segmenter, shape, sample, seed, at)
    known = zip(surface.features, surface.offsets, surface.points, strict=True)
    return [(name, _Mark(*mark)) for name, mark in zip(example.names, known, strict=True)]


@dataclass
class _Annotated:
    where: str
    file: Path
    up: str | None
    names: list[str]
    positions: NDArray[np.float64]  # (K, 3)

    def load(self) -> Shape:
        from pa3d.io import load

        return load(self.file, up=self.up)


def _examples(like: Example | Sequence[Example]) -> list[_Annotated]:
    given = [like] if isinstance(like, str | Path | Mapping) else list(like)
    if not given:
        raise InputError("like is empty; expected at least one annotated shape")
    return [_example(one) for one in given]


def _example(given: Example) -> _Annotated:
    """An annotation from a JSON file or as a dict: {"file": ..., "up": "y", "keypoints": [{"name", "position"}]}."""
    folder, where = Path(), "like"
    if isinstance(given, Mapping):
        data: Any = given
    else:
        path = Path(given)
        folder, where = path.parent, str(path)
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); expected an annotated shape") from error
        except ValueError as error:
            raise InputError(f"{path}: is no JSON ({error}); expected an annotated shape") from error
    expected = 'expected {"file": "chair.glb", "keypoints": [{"name": "tip", "position": [x, y, z]}]}'
    if not isinstance(data, Mapping) or not isinstance(data.get("file"), str) or not data.get("keypoints"):
        raise InputError(f"{where}: has no file or no keypoints; {expected}")
    up = data.get("up")
    if up is not None and up not in UP_AXES:
        raise InputError(f"{where}: up is {up!r}; expected x, y or z")
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
    return _Annotated(where, folder / data["file"], up, names, np.stack(positions))


def _sigmoid(x: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -60, 60))), np.float32)
