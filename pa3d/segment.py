"""The main job: a shape and some words in, a part for every point, vertex and face out.

    seg = Segmenter.from_pretrained()
    result = seg.segment("chair.glb", ["seat", "back", "leg"])

A shape is brought to the unit sphere and the model's axes, points on it are cut into patches, patches become unit
vectors in the text space, and every point takes the logits (cosine over temperature) of the patches near it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d import _C
from pa3d.checkpoint import Checkpoint, load
from pa3d.config import ASSIGN
from pa3d.errors import InputError
from pa3d.frames import TO_MODEL_AXES, UP_AXES, apply_normalization, normalization
from pa3d.orient import directions, fit, likeliest
from pa3d.profiling import Stopwatch, table
from pa3d.rotations import rotate, rotation_to_y
from pa3d.sampling import check_seed, sample_indices
from pa3d.shape import Shape

if TYPE_CHECKING:
    from pa3d.keypoints import Keypoints

Assign = Literal["nearest", "membership", "smooth"]
DEFAULT_SAMPLE = 2048


@dataclass
class PatchFeatures:
    """What the encoder makes of one shape.

    centers (G, 3): patch centres in the model's axes, normalised; members (G, M): indices into the points used;
    tokens (G, C): encoder output after the final norm; features (G, D): unit vectors in the text space;
    points (N, 3): the points used, in the model's axes, normalised; timings: seconds a stage.
    """

    centers: NDArray[np.float32]
    members: NDArray[np.int64]
    tokens: NDArray[np.float32]
    features: NDArray[np.float32]
    points: NDArray[np.float32]
    timings: dict[str, float] = field(default_factory=dict)


@dataclass
class Segmentation:
    """Parts of a shape.

    labels (N,) int32: index into part_names for every point of a cloud or vertex of a mesh, -1 for none of them;
    scores (N, K) float32: probabilities, rows sum to one; face_labels (F,), face_scores (F, K): the same for a mesh's
    faces, taken at their centroids, None for a cloud; timings: seconds a stage.
    """

    shape: Shape
    part_names: list[str]
    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    face_labels: NDArray[np.int32] | None = None
    face_scores: NDArray[np.float32] | None = None
    timings: dict[str, float] = field(default_factory=dict)
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


class Segmenter:
    """An encoder and the text space it was aligned with. Safe to use from several threads at once."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        precision: str = "auto",
        device: str = "cpu",
        threads: int | None = None,
        patches: int | None = None,
    ) -> None:
        """See from_pretrained."""
        checkpoint = checkpoint.with_patches(patches)
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise InputError(f"threads is {threads!r}; expected a whole number of at least 1, or None")
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.device = device
        self._threads = threads or 0
        self._text: Any = None
        if device == "cpu":
            from pa3d.native import NativeEncoder

            native = NativeEncoder(checkpoint, precision, threads)
            self.precision: str = native.precision
            self._encoder: Any = native
        else:
            from pa3d.torch_encoder import TorchEncoder

            self._encoder = TorchEncoder(checkpoint, precision, device)
            self.precision = self._encoder.precision

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | None = None,
        *,
        precision: str = "auto",
        device: str = "cpu",
        threads: int | None = None,
        patches: int | None = None,
    ) -> Segmenter:
        """The embedded model, or one read from a .safetensors file.

        precision: "fp32", "bf16", "int8" or "auto", the fastest that this processor has and whose labels were checked
            for this checkpoint. device: "cpu" (native kernels, no torch) or a torch device such as "cuda", which
            records the forward pass into a CUDA graph for each number of points and replays it.
        threads: how many threads a call may use; None takes what OpenMP would (OMP_NUM_THREADS).
        patches: into how many patches a shape is cut; None takes the checkpoint's, 128. More of them follow small parts
            more closely, in time that grows with them (docs/results.md); "auto" is float32 then.
        Raises InputError for a file that is not a checkpoint or a precision or device that cannot run here.
        """
        return cls(load(path), precision=precision, device=device, threads=threads, patches=patches)

    @overload
    def encode(
        self,
        points: list[Any] | tuple[Any, ...],
        *,
        sample: int | None = None,
        up: str = "y",
        normalize: bool = True,
        seed: int = 0,
    ) -> list[PatchFeatures]: ...
    @overload
    def encode(
        self,
        points: ArrayLike,
        *,
        sample: int | None = None,
        up: str = "y",
        normalize: bool = True,
        seed: int = 0,
    ) -> PatchFeatures: ...
    def encode(
        self,
        points: Any,  # (N, 3), or a list of them
        *,
        sample: int | None = None,
        up: str = "y",
        normalize: bool = True,
        seed: int = 0,
    ) -> PatchFeatures | list[PatchFeatures]:
        """Patch features of a cloud; once a shape, then `query` as often as one likes.

        points: one cloud, or a list of clouds of any sizes, which gives a list of what each alone would give, to the
            bit. They are encoded side by side, each on one thread, when there are at least as many as threads.
        sample: how many points to use, drawn at random with `seed`; None uses every point given.
        up: which axis of the points is up; "y" swaps y and z, as the official code does.
        normalize: centre on the mean and divide by the largest norm; False takes the points as they are.
        Raises InputError for points that are not (N, 3), empty, not finite or all equal.
        """
        if up not in UP_AXES:
            raise InputError(f"up is {up!r}; expected x, y or z")
        if not _is_list_of_clouds(points):
            return self._encode([_prepare(points, sample, up, normalize, seed)])[0]
        clouds = []
        for i, cloud in enumerate(points):
            try:
                clouds.append(_prepare(cloud, sample, up, normalize, seed))
            except InputError as error:
                raise InputError(f"cloud {i} of {len(points)}: {error}") from error
        return self._encode(clouds)

    def segment(
        self,
        path_or_shape_or_points: str | Path | Shape | ArrayLike,
        parts: Sequence[str],
        *,
        category: str | None = None,
        text_vectors: ArrayLike | None = None,  # (K, D)
        sample: int | None = DEFAULT_SAMPLE,
        assign: Assign | None = None,
        none: float | None = None,
        up: str | None = None,
        seed: int = 0,
        profile: bool = False,
    ) -> Segmentation:
        """Name the parts of a mesh or cloud.

        parts: K names, any words. category: what the object is, when known ("chair").
        text_vectors: unit vectors (K, D) that take the place of the text encoder; they are normalised.
        sample: points the encoder sees: drawn by area from a mesh, at random from a cloud; None uses every point of a
            cloud and every vertex of a mesh.
        assign: how a point gets its logits: from the "nearest" patch centre, as in the paper; "smooth", from the three
            nearest, weighted by inverse distance; or the mean over the patches that its nearest sampled point is a
            "membership" member of (the nearest centre's where there is none). None is what the checkpoint says:
            "smooth" of the embedded model, "nearest" of a converted one.
        none: points whose best probability is below this are labelled -1, none of these.
        up: the axis that points up; None takes the shape's own (glTF is y-up, everything else is read as y-up). "auto"
            tries 26 directions, whatever the shape says, and takes the one in which the names fit best (pa3d.orient):
            26 times the work of the encoder; settings["up_found"] tells the direction.
        profile: print the milliseconds of each stage; the result's timings hold them in any case.
        Raises InputError for anything about these that cannot be used.
        """
        from pa3d.ops import spread

        check_options(assign, none)
        how = assign or self.checkpoint.assign
        clock = Stopwatch()
        with clock("load"):
            shape = as_shape(path_or_shape_or_points, None if up == "auto" else up)
        with clock("text"):
            vectors, names = self._part_vectors(parts, category, text_vectors)
        direction, posed = None, shape
        if up == "auto":
            with clock("upright"):
                direction = self._find_up(_sample_shape(shape, sample, seed), vectors)
                posed = replace(shape, points=rotate(shape.points, rotation_to_y(direction)), up="y")
        with clock("points"):
            used = _sample_shape(posed, sample, seed)
            center, radius = normalization(used)
            axes = TO_MODEL_AXES[posed.up]
            used = apply_normalization(used, center, radius, axes, self._threads)
        with clock("encode"):
            encoded = self._encode([used])[0]
        clock.split("encode", encoded.timings)
        with clock("spread"):
            logits = self._logits(encoded, vectors)

            def labels_at(points: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
                at, e = apply_normalization(points, center, radius, axes, self._threads), encoded
                return spread(at, e.centers, e.members, e.points, logits, how, none or 0.0, self._threads)

            labels, scores = labels_at(posed.points)
            face_labels = face_scores = None
            if posed.faces is not None:
                centroids = posed.points[posed.faces].mean(axis=1, dtype=np.float64).astype(np.float32)
                face_labels, face_scores = labels_at(centroids)
        settings: dict[str, Any] = {
            "category": category,
            "sample": sample,
            "assign": how,
            "none": none,
            "up": shape.up if direction is None else "auto",
            "seed": seed,
            "patches": self.config.patches,
            "precision": self.precision,
            "device": self.device,
        }
        if direction is not None:
            settings["up_found"] = direction.round(6).tolist()
        if profile:
            print(table({"time": clock.seconds}))
        model = self.checkpoint.name
        return Segmentation(shape, names, labels, scores, face_labels, face_scores, clock.seconds, model, settings)

    def query(
        self,
        features: PatchFeatures,
        parts: Sequence[str],
        *,
        category: str | None = None,
        text_vectors: ArrayLike | None = None,
    ) -> NDArray[np.float32]:  # (G, K)
        """Probability of each part at each patch; rows sum to one."""
        vectors, _ = self._part_vectors(parts, category, text_vectors)
        return _C.softmax(self._logits(features, vectors))

    def keypoints(
        self,
        path_or_shape_or_points: str | Path | Shape | ArrayLike,
        names: Sequence[str] | None = None,
        *,
        like: Any = None,
        category: str | None = None,
        count: int = 1,
        sample: int | None = DEFAULT_SAMPLE,
        up: str | None = None,
        seed: int = 0,
    ) -> Keypoints:
        """Named points of a mesh or cloud, by text or like those of annotated shapes; pa3d.keypoints has the rules.

        names: any words; "tip of the leg" is a place on a part (also end, top, bottom, centre). like: an annotated
            shape, or several, as a JSON file or a dict {"file": ..., "keypoints": [{"name", "position"}]}.
        count: how many of each name. The rest as in segment. Raises InputError for anything that cannot be used.
        """
        from pa3d.keypoints import find_keypoints

        return find_keypoints(
            self, path_or_shape_or_points, names,
            like=like, category=category, count=count, sample=sample, up=up, seed=seed,
        )  # fmt: skip

    def embed_text(self, parts: Sequence[str], category: str | None = None) -> NDArray[np.float32]:  # (K, D)
        """Unit vectors of part names in this model's text space."""
        from pa3d.text import embed_parts, text_encoder

        if self._text is None:
            encoder = text_encoder(self.checkpoint.text_space, threads=self._threads or None)
            if encoder.dim != self.config.text_dim:
                raise InputError(
                    f"the checkpoint lives in a text space of {self.config.text_dim} dimensions, but its text encoder "
                    f"{self.checkpoint.text_space} gives {encoder.dim}; use its own encoder or text_vectors"
                )
            self._text = encoder
        mode: Any = self.checkpoint.prompts
        return embed_parts(self._text, parts, category, mode)

    def _part_vectors(
        self, parts: Sequence[str], category: str | None, text_vectors: ArrayLike | None
    ) -> tuple[NDArray[np.float32], list[str]]:
        if text_vectors is None:
            return self.embed_text(parts, category), list(parts)
        from pa3d.text import check_names

        check_names(parts)
        try:
            vectors = np.asarray(text_vectors, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"text_vectors: not numbers ({error}); expected an array of shape (K, D)") from error
        expected = (len(parts), self.config.text_dim)
        if vectors.shape != expected:
            raise InputError(
                f"text_vectors have shape {vectors.shape}, expected {expected}: one row a part in the text space of "
                f"this checkpoint, {self.checkpoint.text_space}"
            )
        unit = _C.unit_rows(np.ascontiguousarray(vectors))
        if not np.isfinite(unit).all():
            raise InputError("text_vectors: NaN, infinite or zero rows; expected unit vectors")
        return unit, list(parts)

    def _find_up(self, points: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float64]:  # (3,)
        """The direction in which these names fit the points best."""
        ways = directions()
        axes = TO_MODEL_AXES["y"]
        clouds = [rotate(points, rotation_to_y(way)) for way in ways]
        encoded = self._encode([apply_normalization(cloud, *normalization(cloud), axes) for cloud in clouds])
        return ways[likeliest(np.array([fit(_C.softmax(self._logits(e, vectors))) for e in encoded]))]

    def _encode(self, clouds: list[NDArray[np.float32]]) -> list[PatchFeatures]:  # each (N, 3) in the model's axes
        found = self._encoder.many(clouds) if len(clouds) > 1 else [self._encoder(cloud) for cloud in clouds]
        return [
            PatchFeatures(out.centers, out.members, out.tokens, out.features, points, out.seconds)
            for points, out in zip(clouds, found, strict=True)
        ]

    def _logits(self, encoded: PatchFeatures, vectors: NDArray[np.float32]) -> NDArray[np.float32]:  # (G, K)
        return _C.cosine_logits(encoded.features, np.ascontiguousarray(vectors), self.checkpoint.temperature)


def check_up(up: str) -> None:
    """Raise InputError for what is neither an axis nor "auto"."""
    if up != "auto" and up not in UP_AXES:
        raise InputError(f"up is {up!r}; expected x, y, z or auto")


def check_options(assign: str | None, none: float | None) -> None:
    """Raise InputError for an unknown way to assign or a threshold that is no probability."""
    if assign is not None and assign not in ASSIGN:
        raise InputError(f"assign is {assign!r}; expected one of {', '.join(ASSIGN)}")
    if none is not None and not 0 <= none <= 1:
        raise InputError(f"none is {none!r}; expected a probability between 0 and 1")


def as_shape(source: str | Path | Shape | ArrayLike, up: str | None = None) -> Shape:
    """A validated Shape from a file, a Shape or an (N, 3) array; up overrides its axis."""
    if up is not None:
        check_up(up)
    if isinstance(source, str | Path):
        from pa3d.io import load as load_file

        return load_file(source, up=up)
    if isinstance(source, Shape):
        shape = source.validate()
        if up is not None and up != shape.up:
            shape = replace(shape, up=up)
        return shape
    return Shape(as_points(source), up=up or "y", name="points").validate()


def as_points(points: ArrayLike) -> NDArray[np.float32]:  # (N, 3)
    """float32, contiguous, finite, with an extent; raises InputError."""
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
            cloud = np.ascontiguousarray(points, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"points: not numbers ({error}); expected an array of shape (N, 3)") from error
    return Shape(cloud, name="points").validate().points


def _is_list_of_clouds(points: Any) -> bool:
    """A list of (N, 3) arrays or nested lists, not the rows of one cloud."""
    try:
        return isinstance(points, list | tuple) and len(points) > 0 and np.ndim(points[0]) >= 2
    except ValueError:  # rows of several lengths
        return False


def _prepare(
    points: ArrayLike, sample: int | None, up: str, normalize: bool, seed: int
) -> NDArray[np.float32]:  # (N, 3) in the model's axes
    cloud = as_points(points)
    used, axes = cloud[_draw(len(cloud), sample, seed)], TO_MODEL_AXES[up]
    if not normalize:
        return np.ascontiguousarray(used[:, axes])
    center, radius = normalization(used)
    return apply_normalization(used, center, radius, axes)


def _check_draw(sample: int | None, seed: int) -> None:
    if sample is not None and (not isinstance(sample, int | np.integer) or sample < 1):
        raise InputError(f"sample is {sample!r}; expected a whole number of at least 1, or None for every point")
    check_seed(seed)


def _draw(n: int, sample: int | None, seed: int) -> slice | NDArray[np.int64]:
    """Which of n points to use: all, or `sample` of them without repetition, in their own order."""
    _check_draw(sample, seed)
    if sample is None or sample >= n:
        return slice(None)
    return sample_indices(n, sample, seed)


def _sample_shape(shape: Shape, sample: int | None, seed: int) -> NDArray[np.float32]:
    if shape.faces is None or sample is None:
        return shape.points[_draw(len(shape.points), sample, seed)]
    _check_draw(sample, seed)
    return shape.sample(sample, seed)[0]
