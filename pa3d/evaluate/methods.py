"""What can be evaluated: anything with `segment(shape, parts, category=...)`, a Segmenter among others, and
baselines.

A baseline has `needs_truth`: it is also handed the true label of every point, and marks what a figure is
worth. The majority of a shape and uniform guesses are the floor; true labels by patch are the ceiling that
patches impose.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pa3d.checkpoint import Checkpoint, load
from pa3d.config import EncoderConfig
from pa3d.evaluate.protocols import shape_seed
from pa3d.frames import TO_MODEL_AXES, apply_normalization, normalization
from pa3d.sampling import sample_indices
from pa3d.segment import DEFAULT_SAMPLE, Assign, Segmentation, Segmenter, Stopwatch, check_options
from pa3d.shape import Shape
from pa3d.text import TextEncoder, embed_parts, text_encoder
from pa3d.text.prompts import Mode


class Method(Protocol):
    """What `evaluate` calls: segment(shape, parts, category=...).

    segment gets a cloud of N points, K names and how the object is called or None. It returns labels (N,), an
    index into the names or -1, and scores (N, K), probabilities. A method may also have `identity() -> dict`,
    which names it and its settings in the results; `zero`, if true segment takes zero=True and labels -1
    where no logit is above 0; and `needs_truth`, if true segment takes truth=, the true label of every point.
    To run in worker processes it must be picklable.
    """

    @property
    def segment(self) -> Callable[..., Segmentation]: ...


def identity(method: Any) -> dict[str, Any]:
    """The name and settings of a method."""
    return dict(method.identity()) if hasattr(method, "identity") else {"name": type(method).__name__}


class SegmenterMethod:
    """A Segmenter of one thread that reads its checkpoint when first used, remembers text vectors, and
    travels to other processes as the checkpoint's path or tensors."""

    zero = True

    def __init__(
        self,
        checkpoint: str | Path | Checkpoint | None = None,
        *,
        precision: str = "auto",
        device: str = "cpu",
        sample: int | None = DEFAULT_SAMPLE,
        assign: Assign | None = None,
        seed: int = 0,
        patches: int | None = None,
    ) -> None:
        """checkpoint: a path, one in memory, or None for the embedded one. assign: None takes the
        protocol's. Else as in Segmenter. Raises InputError."""
        check_options(assign, None)
        self.checkpoint = checkpoint
        self.precision, self.device = precision, device
        self.sample, self.seed, self.patches = sample, seed, patches
        self.asked, self.assign = assign, assign
        self.prompts: Mode = "auto"  # `evaluate` sets what its protocol says
        self._segmenter: Segmenter | None = None
        self._text_encoder: TextEncoder | None = None
        self._vectors: dict[tuple[str, str | None, Mode], NDArray[np.float32]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_segmenter": None, "_text_encoder": None}

    @property
    def segmenter(self) -> Segmenter:
        if self._segmenter is None:
            checkpoint = self.checkpoint if isinstance(self.checkpoint, Checkpoint) else load(self.checkpoint)
            self._segmenter = Segmenter(
                checkpoint, precision=self.precision, device=self.device, threads=1, patches=self.patches
            )
        return self._segmenter

    @property
    def config(self) -> EncoderConfig:
        return self.segmenter.config

    def identity(self) -> dict[str, Any]:
        """The checkpoint by name and content, and the settings; nothing of where the file lies."""
        checkpoint = self.segmenter.checkpoint
        digest = hashlib.sha256(f"{checkpoint.config}{checkpoint.temperature!r}{checkpoint.text_space}".encode())
        for name in sorted(checkpoint.tensors):
            digest.update(name.encode() + np.ascontiguousarray(checkpoint.tensors[name]).tobytes())
        return {
            "name": checkpoint.name or "segmenter",
            "sha256": digest.hexdigest(),
            "text_space": checkpoint.text_space,
            "temperature": checkpoint.temperature,
            "precision": self.segmenter.precision,
            "device": self.device,
            "sample": self.sample,
            "assign": self.assign,
            "seed": self.seed,
        }

    def segment(
        self, shape: Shape, parts: Sequence[str], *, category: str | None = None, zero: bool = False
    ) -> Segmentation:
        """zero: label -1 where no part's logit is above 0."""
        clock = Stopwatch()
        with clock("model"):
            segmenter = self.segmenter
        with clock("text"):
            vectors = self.embed(parts, category)
        names = list(parts)
        if zero:
            # A vector and its opposite have logits a and -a at every point, so their probabilities multiply
            # to 1 / Z^2, and exp(0) / Z is the share of a column of zeros.
            names.append(f"no {parts[0]}")
            vectors = np.concatenate([vectors, -vectors[:1]])
        result = segmenter.segment(
            shape, names, text_vectors=vectors, sample=self.sample, assign=self.assign, seed=self.seed
        )
        result.timings = {**result.timings, **clock.seconds}
        if zero:
            count = len(parts)
            scores = result.scores.astype(np.float64)
            of_zero = np.sqrt(scores[:, 0] * scores[:, count])
            scores = scores[:, :count]
            labels = np.where(of_zero > scores.max(axis=1), -1, scores.argmax(axis=1))
            total = scores.sum(axis=1) + of_zero
            result.part_names, result.labels = list(parts), labels.astype(np.int32)
            result.scores = (scores / total[:, None]).astype(np.float32)
        return result

    def embed(self, parts: Sequence[str], category: str | None) -> NDArray[np.float32]:  # (K, D)
        """Unit vectors of part names by the prompts in use; each name is encoded once."""
        checkpoint = self.segmenter.checkpoint
        if self._text_encoder is None:
            self._text_encoder = text_encoder(checkpoint.text_space)
        vectors = []
        for part in parts:
            key = (part, category, self.prompts)
            if key not in self._vectors:
                self._vectors[key] = embed_parts(self._text_encoder, [part], category, self.prompts)[0]
            vectors.append(self._vectors[key])
        return np.stack(vectors)


class Majority:
    """Every point gets the shape's most frequent true part: the best that a constant answer reaches."""

    needs_truth = True

    def identity(self) -> dict[str, Any]:
        return {"name": "majority"}

    def segment(
        self, shape: Shape, parts: Sequence[str], *, category: str | None = None, truth: NDArray[np.int32]
    ) -> Segmentation:
        best = int(np.bincount(truth[truth >= 0], minlength=len(parts)).argmax())
        return _certain(shape, parts, np.full(len(truth), best, np.int32))


class Uniform:
    """Every point gets a part at random, each as likely."""

    needs_truth = True

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def identity(self) -> dict[str, Any]:
        return {"name": "random", "seed": self.seed}

    def segment(
        self, shape: Shape, parts: Sequence[str], *, category: str | None = None, truth: NDArray[np.int32]
    ) -> Segmentation:
        rng = np.random.default_rng(shape_seed(shape.name, self.seed))
        result = _certain(shape, parts, rng.integers(len(parts), size=len(truth), dtype=np.int32))
        result.scores[:] = 1 / len(parts)
        return result


class PatchOracle:
    """Patches know their true part: each takes the most frequent label among its points, and every point that
    of the nearest centre. About the best that labels of these patches can do. A patch is none of the parts
    only where that is an answer (zero)."""

    needs_truth = True
    zero = True

    def __init__(self, config: EncoderConfig | None = None, sample: int | None = DEFAULT_SAMPLE, seed: int = 0) -> None:
        self.config, self.sample, self.seed = config or EncoderConfig(), sample, seed

    def identity(self) -> dict[str, Any]:
        return {"name": "oracle", "patches": self.config.patches, "patch_size": self.config.patch_size}

    def segment(
        self,
        shape: Shape,
        parts: Sequence[str],
        *,
        category: str | None = None,
        truth: NDArray[np.int32],
        zero: bool = False,
    ) -> Segmentation:
        from pa3d.ops import knn, sample_and_group

        n, c = len(shape.points), self.config
        used = np.arange(n)
        if self.sample is not None and self.sample < n:
            used = sample_indices(n, self.sample, self.seed)
        center, radius = normalization(shape.points[used])
        points = apply_normalization(shape.points, center, radius)[:, TO_MODEL_AXES[shape.up]]
        seen = np.ascontiguousarray(points[used])
        centers, members = sample_and_group(seen, c.patches, c.patch_size, min_sq_norm=c.min_sq_norm)
        votes = np.zeros((len(members), len(parts) + 1), np.int64)
        for column in members.T:
            np.add.at(votes, (np.arange(len(members)), truth[used[column]]), 1)  # -1 counts in the last column
        nearest = knn(np.ascontiguousarray(points), seen[centers], 1)[0][:, 0]
        if not zero:
            votes[:, -1] = 0
        best = votes.argmax(axis=1)
        best[(best == len(parts)) | (votes.max(axis=1) == 0)] = -1
        return _certain(shape, parts, best[nearest].astype(np.int32))


def _certain(shape: Shape, parts: Sequence[str], labels: NDArray[np.int32]) -> Segmentation:
    scores = np.zeros((len(labels), len(parts)), np.float32)
    known = np.flatnonzero(labels >= 0)
    scores[known, labels[known]] = 1
    return Segmentation(shape, list(parts), labels, scores)
