"""OpenShape: a shape that was read and encoded once, and can be asked for any words, any number of times.

    chair = seg.open("chair.glb")
    chair.segment(["seat", "back", "leg"])      # what seg.segment returns, to the byte
    chair.heat("armrest")                       # how much every place is an armrest
    chair.like((0.1, 0.4, 0.2))                 # how similar every place is to this one
    chair.parts(count=6)                        # six parts with their likely names
    chair.categories()                          # what it is
    chair.propose()                             # the parts that such a thing has
    chair.select([(0.1, 0.4, 0.2)])             # the part at this place

Reading, sampling and encoding do not depend on the words. Nor do the places that get labels and the pieces of the
mesh. They are computed when first needed, and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d import _C
from pa3d.checkpoint import Checkpoint
from pa3d.config import EncoderConfig
from pa3d.encoder_input import EncoderInput, encoder_input, sample_shape, without_outliers
from pa3d.errors import InputError
from pa3d.frames import TO_MODEL_AXES, apply_normalization
from pa3d.labelling import Assign, Places, check_options, label_shape, scatter_rows, spread_scores
from pa3d.orient import best_direction, directions, negative_entropy
from pa3d.profiling import Stopwatch, table
from pa3d.rotations import rotate, rotation_to_y
from pa3d.segmentation import PatchFeatures, Segmentation
from pa3d.shape import Shape

if TYPE_CHECKING:
    from pa3d.part_tree import PartTree
    from pa3d.shape_head import ShapeHead
    from pa3d.structure import Structure, Units
    from pa3d.text.vectors import TextVectors

MAX_COORDINATE = 1e18  # of normalised points: float32 holds the squares of their distances
NEAREST = 3  # patch centres whose features a place takes, as with assign="smooth"

Floats = NDArray[np.float32]


class Model(Protocol):
    """What an OpenShape uses of a Segmenter."""

    checkpoint: Checkpoint
    config: EncoderConfig
    device: str
    precision: str
    threads: int

    def part_vectors(self, parts: Sequence[str], category: str | None, text_vectors: Any) -> Floats: ...
    def embed_words(self, words: list[str]) -> Floats: ...
    def encode_inputs(self, clouds: list[Floats]) -> list[PatchFeatures]: ...
    def shape_head(self) -> ShapeHead: ...
    def patch_logits(self, features: PatchFeatures, vectors: Floats) -> Floats: ...
    def presence(self, encoded: PatchFeatures, logits: Floats, vectors: Floats) -> Floats | None: ...


class Heat(NamedTuple):
    """A value from 0 to 1 for every vertex of a mesh or point of a cloud, points (N,), and for every face, faces (F,);
    None for a cloud. Points without finite coordinates have 0.

    presence: of the word (Segmentation.presence), which the values contain; None if the checkpoint is not calibrated,
    or if there is no word."""

    points: Floats
    faces: Floats | None
    presence: float | None = None

    @property
    def elements(self) -> Floats:
        """That of the faces of a mesh, or of the points of a cloud."""
        return self.points if self.faces is None else self.faces


@dataclass
class Frame:
    """A shape in the axes in which the encoder saw it.

    shape: the points with finite coordinates; with up="auto", turned so that `direction` is up, else as in the file.
    used: the sampled points and how they were normalised. features: what the encoder computed of them.
    direction (3,): the up direction that was found, in the axes of the file; None unless up="auto".
    seconds: what these took.
    """

    shape: Shape
    used: EncoderInput
    features: PatchFeatures
    direction: NDArray[np.float64] | None
    outlier_factor: float
    threads: int
    seconds: dict[str, float] = field(default_factory=dict)

    def normalized(self, points: Floats) -> Floats:  # (N, 3) -> (N, 3)
        """Points in the axes of `shape`, as the encoder would see them. Raises InputError if they are too far away."""
        axes = TO_MODEL_AXES[self.shape.up]
        points = apply_normalization(points, self.used.center, self.used.radius, axes, self.threads)
        if not (np.abs(points) < MAX_COORDINATE).all():
            raise InputError(
                "the sampled points are so near to each other that float32 cannot hold the others in their "
                "scale; remove outliers or give a larger sample"
            )
        return points

    @cached_property
    def places(self) -> Places:
        return Places(self.shape, self.normalized, self.outlier_factor, self.threads)

    @cached_property
    def units(self) -> Units | None:
        """Of a mesh (pa3d.structure); None for a cloud."""
        from pa3d.structure import find_units

        return find_units(self.shape)


class OpenShape:
    """A shape and what the encoder computed of it; made by Segmenter.open.

    shape: the shape, as Segmenter.segment would return it. model: the Segmenter.
    May be used from several threads at once; the same thing may then be computed twice.
    """

    def __init__(
        self, model: Model, shape: Shape, *, sample: int | None, auto_up: bool, seed: int, load: float
    ) -> None:
        """See Segmenter.open. load: the seconds that it took to read the shape."""
        self.shape = shape
        self.sample, self.auto_up, self.seed = sample, auto_up, seed
        self.model, self._load = model, load
        self._missing = shape.missing()
        finite = None if self._missing is None else shape.points[~self._missing]
        self._finite = shape if finite is None else replace(shape, points=finite, colors=None)
        self._frames: dict[int | None, Frame] = {}  # by number of the up direction; None: the axis of the file
        self._turned: list[PatchFeatures] | None = None  # the features with each of the up directions

    def frame(self, vectors: Floats | None = None) -> Frame:
        """The shape as it is encoded.

        vectors (K, D): of the names by which up="auto" finds the up direction; without them it is the axis of the file.
        """
        clock = Stopwatch()
        number, direction = None, None
        if self.auto_up and vectors is not None:
            with clock("upright"):
                number = self._find_up(vectors)
                direction = directions()[number]
        if number not in self._frames:
            self._frames[number] = self._encode(direction, clock)
        return self._frames[number]

    @property
    def features(self) -> PatchFeatures:
        """The patches with the up axis of the file."""
        return self.frame().features

    def segment(
        self,
        parts: Sequence[str],
        *,
        category: str | None = None,
        text_vectors: ArrayLike | Path | TextVectors | None = None,  # (K, D)
        assign: Assign | None = None,
        none: float | None = None,
        refine: bool = True,
        structure: bool = True,
        profile: bool = False,
    ) -> Segmentation:
        """What Segmenter.segment returns for this shape; it explains the arguments.

        Of what was computed earlier, the timings say how long it took then.
        Raises InputError for an argument that cannot be used.
        """
        check_options(assign, none)
        model, checkpoint = self.model, self.model.checkpoint
        assign_rule: Any = assign or checkpoint.assign
        clock = Stopwatch()
        clock.seconds["load"] = self._load
        with clock("text"):
            vectors, names = model.part_vectors(parts, category, text_vectors), list(parts)
        frame = self.frame(vectors)
        clock.seconds.update(frame.seconds)
        with clock("structure"):
            known = self._structure(frame, names, vectors, text_vectors is None, category) if structure else None
        with clock("label"):
            logits = model.patch_logits(frame.features, vectors)
            presence = model.presence(frame.features, logits, vectors)
            results = label_shape(
                frame.places, frame.features, logits, presence,
                assign=assign_rule, none=none or 0.0, refined=refine, pieces=None if known is None else known.pieces,
            )  # fmt: skip
            results = results._replace(
                labels=self._scatter(results.labels, -1), scores=self._scatter(results.scores, 0)
            )
        settings: dict[str, Any] = {
            "category": category,
            "sample": self.sample,
            "assign": assign_rule,
            "none": none,
            "up": "auto" if self.auto_up else self.shape.up,
            "seed": self.seed,
            "patches": model.config.patches,
            "precision": model.precision,
            "device": model.device,
            "refine": refine,
            "structure": None if known is None else known.summary(),
        }
        if checkpoint.outliers:
            settings["outliers"] = frame.used.outliers
        if frame.direction is not None:
            settings["up_found"] = frame.direction.round(6).tolist()
        if profile:
            print(table({"time": clock.seconds}))
        fit = checkpoint.presence
        found = None if presence is None or fit is None else presence >= fit.threshold
        return Segmentation(
            self.shape, names, *results, clock.seconds, checkpoint.name, settings, presence, found
        )  # fmt: skip

    def heat(
        self,
        word: str,
        *,
        category: str | None = None,
        text_vectors: ArrayLike | Path | TextVectors | None = None,  # (1, D)
        assign: Assign | None = None,
        refine: bool = True,
        structure: bool = True,
    ) -> Heat:
        """How sure it is that each place is the part that a word names: 0 to 1.

        This is the probability of the word against "none of the parts", times the presence of the word on this shape:
        what `none` is compared with when the word is the only name. Without refine and structure, the places that
        segment([word], none=t) labels are those whose heat is at least t. A converted checkpoint knows no presence;
        the probability alone is then returned. The arguments are those of `segment`.
        Raises InputError for an argument that cannot be used.
        """
        check_options(assign, None)
        model, checkpoint = self.model, self.model.checkpoint
        vectors = model.part_vectors([word], category, text_vectors)
        frame = self.frame(vectors)
        rule: Any = assign or checkpoint.assign
        known = self._structure(frame, [word], vectors, False, category) if structure else None
        logits = model.patch_logits(frame.features, vectors)
        found = model.presence(frame.features, logits, vectors)
        presence = None if found is None else float(found[0])
        scores = spread_scores(
            frame.places, frame.features, np.concatenate([logits, np.zeros_like(logits)], axis=1),
            assign=rule, refined=refine, pieces=None if known is None else known.pieces,
        )  # fmt: skip
        points, faces = scores
        factor = np.float32(1 if presence is None else presence)
        return Heat(self._scatter(points[:, 0] * factor, 0), None if faces is None else faces[:, 0] * factor, presence)

    @cached_property
    def tree(self) -> PartTree:
        """The shape divided without names, at every granularity (pa3d.part_tree)."""
        from pa3d.part_tree import part_tree

        self._needs_axis("parts without names")
        frame, model = self.frame(), self.model
        settings = {
            "sample": self.sample,
            "up": self.shape.up,
            "seed": self.seed,
            "patches": model.config.patches,
            "precision": model.precision,
            "device": model.device,
        }
        seconds = {"load": self._load, **frame.seconds}
        return part_tree(model, self.shape, self._finite, frame.features, frame.normalized, settings, seconds)

    def parts(
        self, *, count: int | None = None, level: float | None = None, vocabulary: Sequence[str] | None = None
    ) -> Segmentation:
        """Parts that were not asked for by name, each with the most likely name of a vocabulary.

        count: how many. level: how fine, from 0 (two parts) to 1 (64). Without either, as many as the shape falls into
        most clearly. vocabulary: names to choose from; a few hundred common ones if there are none. Parts that would
        have the same name get a number: "leg", "leg 2". Every score is 1 for the part that a place belongs to.
        Raises InputError for an argument that cannot be used.
        """
        return self.tree.segmentation(count=count, level=level, vocabulary=vocabulary)

    @cached_property
    def embedding(self) -> Floats:  # (D,)
        """The whole shape as a unit vector in the text space (pa3d.shape_head). Raises InputError for a checkpoint
        that cannot."""
        head = self.model.shape_head()
        self._needs_axis("one vector of the shape")
        return head(self.features.tokens, self.model.threads)

    def patch_logits(self, words: Sequence[str]) -> Floats:  # (G, K)
        """The logits of words at the patches (Segmenter.patch_logits)."""
        return self.model.patch_logits(self.features, self.model.embed_words(list(words)))

    def categories(self, count: int | None = 5) -> list[tuple[str, float]]:
        """What the shape may be, of the table of pa3d.categories: names and probabilities, the likeliest first.

        count: how many; None gives all. Raises InputError for a checkpoint without a shape head.
        """
        from pa3d.propose import rank_categories

        return [(category.name, probability) for category, probability in rank_categories(self)[:count]]

    def propose(self, *, category: str | None = None, max_parts: int | None = None, **options: Any) -> Segmentation:
        """Parts and their names without asking: what the shape is, which parts such things have, which of them it has.

        category: what it is, if known; the likeliest otherwise. max_parts: ask for at most so many names, those that
        nearly every such thing has first. options: of `segment`, but not category and text_vectors.
        settings["proposed"] of the result says what was found: see pa3d.propose. Raises InputError for a category
        whose parts are not known, or an argument that cannot be used.
        """
        from pa3d.propose import propose

        return propose(self, category, max_parts, options)

    def select(
        self, positive: ArrayLike, negative: ArrayLike = ()
    ) -> NDArray[np.bool_]:  # (P, 3), (Q, 3) -> (F,) or (N,)
        """The faces of a mesh, or points of a cloud, of the part at some places.

        positive: places on the part, in the units and axes of the file; negative: places beside it. Each counts as the
        nearest face or point. Raises InputError for places that cannot be used.
        """
        chosen = self.tree.select(positive, negative)
        return chosen if self.shape.is_mesh else np.asarray(self._scatter(chosen, False))

    def like(self, position: ArrayLike) -> Heat:  # (3,)
        """How similar each place is to the one at a position, by the features of the patches around them: 0 to 1.

        1 is the same; 0 is no more similar than the patches of the shape are on average.
        position: in the axes and units of the shape, relative to its origin.
        """
        frame = self.frame()
        features = frame.features.features
        cosines = features @ self.features_at(position)  # (G,)
        average = float(cosines.mean())
        values = np.clip((cosines - average) / max(1 - average, 1e-6), 0, 1).astype(np.float32)[:, None]
        points, centroids = frame.places.points, frame.places.centroids
        return Heat(
            self._scatter(self._interpolate(frame, points, values)[:, 0], 0),
            None if centroids is None else self._interpolate(frame, centroids, values)[:, 0],
        )

    def features_at(self, position: ArrayLike) -> Floats:  # (3,) -> (D,)
        """The unit vector, in the space of the text, of the place at a position; see `like`."""
        frame = self.frame()
        point = frame.normalized(np.asarray(position, np.float32).reshape(1, 3))
        feature = self._interpolate(frame, point, frame.features.features)[0]
        return feature / max(float(np.linalg.norm(feature)), 1e-12)

    def likely_names(
        self, position: ArrayLike, words: Sequence[str], count: int = 5
    ) -> list[tuple[str, float]]:  # (3,)
        """The words that fit the place at a position best, with the probability of each against none of them.

        words: the embedded text encoder must be able to read them. count: how many to return, the best first.
        """
        vectors = self.model.embed_words(list(words))
        place = replace(self.features, features=self.features_at(position)[None])
        logits = self.model.patch_logits(place, vectors)[0]
        best = np.argsort(-logits, kind="stable")[:count]
        return [(words[i], float(1 / (1 + np.exp(-logits[i])))) for i in best]

    def _needs_axis(self, what: str) -> None:
        if self.auto_up:
            raise InputError(
                f"up is 'auto', which needs part names, but {what} can do without; open the shape with an axis such as "
                "y or z"
            )

    def _interpolate(self, frame: Frame, points: Floats, values: Floats) -> Floats:  # (N, 3), (G, C) -> (N, C)
        from pa3d.ops import interpolate

        centers = frame.features.centers
        return interpolate(points, centers, np.ascontiguousarray(values), k=min(NEAREST, len(centers)))

    def _scatter(self, rows: NDArray[Any], fill: int) -> NDArray[Any]:
        """Rows of the finite points at their places among all points."""
        return rows if self._missing is None else scatter_rows(rows, ~self._missing, fill)

    def _encode(self, direction: NDArray[np.float64] | None, clock: Stopwatch) -> Frame:
        model, factor = self.model, self.model.checkpoint.outliers
        shape = self._finite
        if direction is not None:
            with clock("upright"):
                shape = replace(shape, points=rotate(shape.points, rotation_to_y(direction)), up="y")
        with clock("points"):
            sampled = sample_shape(shape, self.sample, self.seed)
            used = encoder_input(sampled, TO_MODEL_AXES[shape.up], factor, model.threads)
        with clock("encode"):
            (features,) = model.encode_inputs([used.points])
        clock.split("encode", features.timings)
        return Frame(shape, used, features, direction, factor, model.threads, clock.seconds)

    def _find_up(self, vectors: Floats) -> int:
        """The number of the up direction in which these names fit best."""
        model, factor, axes = self.model, self.model.checkpoint.outliers, TO_MODEL_AXES["y"]
        if self._turned is None:
            points = sample_shape(self._finite, self.sample, self.seed)
            points = without_outliers(points, factor, model.threads)
            clouds = [rotate(points, rotation_to_y(up)) for up in directions()]
            self._turned = model.encode_inputs(
                [encoder_input(cloud, axes, 0, model.threads).points for cloud in clouds]
            )
        scores = [negative_entropy(_C.softmax(model.patch_logits(patches, vectors))) for patches in self._turned]
        return best_direction(np.array(scores))

    def _structure(
        self, frame: Frame, names: list[str], vectors: Floats, by_name: bool, category: str | None
    ) -> Structure | None:
        from pa3d.structure import find_structure
        from pa3d.text import EMBEDDED

        # Only with the encoder that is at hand: names of nodes are not worth loading a large one.
        by_name = by_name and self.model.checkpoint.text_space == EMBEDDED
        embed = self.model.embed_words if by_name else None
        return find_structure(frame.shape, names, vectors, embed, category, frame.units)
