"""What can be evaluated: the interface of a method, the built-in methods, and classes from other packages.

`Method` lists what `evaluate` calls. The segmenter and the baselines below need nothing else, and `make_method` also
takes a class from outside, as "package.module:Class".

The ceiling of a method is about the best result that it could reach. It is measured with a second method, which knows
the true labels and has the same limits otherwise. The default one is `PatchCeiling`. results.json stores it under the
key "oracle".
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import singledispatch
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pa3d.checkpoint import Checkpoint
from pa3d.config import EncoderConfig
from pa3d.errors import InputError
from pa3d.evaluate.protocols import Protocol as EvaluationProtocol
from pa3d.evaluate.protocols import shape_seed
from pa3d.frames import TO_MODEL_AXES, apply_normalization, normalization, ordered_columns
from pa3d.hub import load_pretrained
from pa3d.methods import NAMES as PUBLISHED
from pa3d.methods import load_method
from pa3d.passes import pass_indices, passes_for
from pa3d.profiling import Stopwatch
from pa3d.sampling import sample_cloud
from pa3d.segment import DEFAULT_SAMPLE, Assign, Segmentation, Segmenter, check_options
from pa3d.shape import Shape
from pa3d.text import TextEncoder, embed_parts, text_encoder
from pa3d.text.prompts import PromptMode


class Method(Protocol):
    """What `evaluate` calls.

    segment(shape, parts, category): shape is a point cloud of N points, parts are K names, and category says what the
        object is, or is None when the protocol's prompts leave it out. Returns an object with labels (N,), integers
        that index parts or are -1 for none of them, and scores (N, K), probabilities; such as a pa3d.Segmentation.
        Arguments are passed as segment(shape, parts, category=category).

    A method may also have:

    configure(protocol): called first, once, with the rules of this evaluation: a pa3d.evaluate.Protocol. The method
        uses the rules that concern it, such as protocol.prompts. If protocol.unlabelled is "zero", segment must return
        label -1 where no part has a logit above 0; only a method with configure is used with such a protocol.
        Raises InputError when the method cannot follow the protocol.
    prepare(label_sets): called once before the first shape, with the names of the dataset: {category: part names}.
        It is empty when each shape brings its own names. A method can encode all names here.
    ceiling(): another method, whose result is reported as the best that this one could reach. Without it the ceiling
        is that of the default patches (PatchCeiling).
    identity(): a dict with "name" and the settings, which results.json holds. Without it the name is that of the class.
    needs_ground_truth: if true, segment also gets truth=, the true label (N,) of every point. Ceilings need it.
    takes_mesh: if true, and the shape is a mesh, segment gets the mesh instead of points on it, and truth of its F
    faces. The
        result then also needs face_labels (F,) and face_scores (F, K), as a pa3d.Segmentation has.

    Worker processes receive a pickled copy of the method, after configure and prepare.
    """

    @property
    def segment(self) -> Callable[..., Any]: ...


def identity(method: Any) -> dict[str, Any]:
    """The name and settings of a method."""
    return dict(method.identity()) if hasattr(method, "identity") else {"name": type(method).__name__}


def configure(method: Any, protocol: EvaluationProtocol) -> None:
    """Tell a method the protocol. Raises InputError when the method cannot follow it."""
    if hasattr(method, "configure"):
        method.configure(protocol)
    elif protocol.unlabelled == "zero":
        raise InputError(
            f"protocol {protocol.name} needs a column of logit 0, which {identity(method)['name']} cannot give"
        )


def baselines(method: Any, protocol: EvaluationProtocol) -> dict[str, Method]:
    """The methods that are reported beside a method: its ceiling, the most frequent part, and random labels."""
    ceiling = method.ceiling() if hasattr(method, "ceiling") else PatchCeiling(seed=protocol.seed)
    configure(ceiling, protocol)
    return {"oracle": ceiling, "majority": Majority(), "random": Random(protocol.seed)}


@singledispatch
def as_method(method: Any) -> Method:
    """The method that `evaluate` uses for an object: the object itself, unless its type registered something else."""
    if not callable(getattr(method, "segment", None)):
        raise InputError(f"{type(method).__name__} has no method segment(shape, parts, category)")
    return method


@as_method.register
def _(method: Segmenter) -> Method:
    # Evaluation uses one thread per process, and the prompts of the protocol.
    return SegmenterMethod(method.checkpoint, precision=method.precision, device=method.device)


class SegmenterMethod:
    """A Segmenter of one thread. It reads its checkpoint when first used, and encodes each name once.

    A pickle of it holds the path or the tensors of the checkpoint, not the Segmenter.
    """

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
        """checkpoint: a path, one in memory, or None for the embedded one. assign: None takes that of the protocol.
        The rest as in Segmenter. Raises InputError."""
        check_options(assign, None)
        self.checkpoint = checkpoint
        self.precision, self.device = precision, device
        self.sample, self.seed, self.patches = sample, seed, patches
        self.assign, self._assign_option = assign, assign
        self.prompts: PromptMode = "auto"
        self.zero_column = False
        self.refine = False
        self.raw = False
        self._segmenter: Segmenter | None = None
        self._text_encoder: TextEncoder | None = None
        self._vectors: dict[tuple[str, str | None, PromptMode], NDArray[np.float32]] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_segmenter": None, "_text_encoder": None}

    @property
    def segmenter(self) -> Segmenter:
        if self._segmenter is None:
            given = self.checkpoint
            checkpoint = given if isinstance(given, Checkpoint) else load_pretrained(given).checkpoint
            if self.zero_column:  # which is compared with cosines as they are
                checkpoint = replace(checkpoint, bank=None, lexicon=None)
            self._segmenter = Segmenter(
                checkpoint, precision=self.precision, device=self.device, threads=1, patches=self.patches
            )
        return self._segmenter

    @property
    def takes_mesh(self) -> bool:
        return self.refine

    def configure(self, protocol: EvaluationProtocol) -> None:
        """Take prompts, the column of zeros and whether to normalise from the protocol, and assign unless the
        constructor set it."""
        self.prompts = protocol.prompts  # type: ignore[assignment]
        self.assign = self._assign_option or protocol.assign  # type: ignore[assignment]
        self.zero_column = protocol.unlabelled == "zero"
        self.refine = protocol.refine
        self.raw = protocol.normalize == "raw"
        self._segmenter = None

    def prepare(self, label_sets: Mapping[str, Sequence[str]]) -> None:
        """Encode the names of the dataset, so that worker processes need no text encoder."""
        for category, parts in label_sets.items():
            self.embed(parts, None if self.prompts == "part" else category)

    def ceiling(self) -> PatchCeiling:
        """The result of true labels on the same patches."""
        return PatchCeiling(self.segmenter.config, self.sample, self.seed)

    def identity(self) -> dict[str, Any]:
        """The checkpoint by name and content, and the settings. The path of the file is not part of it."""
        checkpoint = self.segmenter.checkpoint
        return {
            "name": checkpoint.name or "segmenter",
            "sha256": checkpoint.sha256(),
            "text_space": checkpoint.text_space,
            "temperature": checkpoint.temperature,
            "precision": self.segmenter.precision,
            "device": self.device,
            "sample": self.sample,
            "assign": self.assign,
            "seed": self.seed,
            "refine": self.refine,
        }

    def segment(self, shape: Shape, parts: Sequence[str], category: str | None = None) -> Segmentation:
        """With zero_column, label -1 where no part's logit is above 0."""
        clock = Stopwatch()
        with clock("model"):
            segmenter = self.segmenter
        with clock("text"):
            vectors = self.embed(parts, category)
        names = list(parts)
        if self.zero_column:
            # A vector and its opposite have logits a and -a at every point, so the product of their probabilities
            # is 1 / Z^2, and a column of zeros would have the probability exp(0) / Z.
            names.append(f"no {parts[0]}")
            vectors = np.concatenate([vectors, -vectors[:1]])
        if self.raw:
            result = self._segment_raw(shape, names, vectors)
        else:
            result = segmenter.segment(
                shape,
                names,
                text_vectors=vectors,
                sample=self.sample,
                assign=self.assign,
                seed=self.seed,
                refine=self.refine,
                structure=self.refine,
            )
        result.timings = {**result.timings, **clock.seconds}
        if self.zero_column:
            count = len(parts)
            scores = result.scores.astype(np.float64)
            zero_prob = np.sqrt(scores[:, 0] * scores[:, count])
            scores = scores[:, :count]
            labels = np.where(zero_prob > scores.max(axis=1), -1, scores.argmax(axis=1))
            total = scores.sum(axis=1) + zero_prob
            result.part_names, result.labels = list(parts), labels.astype(np.int32)
            result.scores = (scores / total[:, None]).astype(np.float32)
        return result

    def _segment_raw(self, shape: Shape, names: list[str], vectors: NDArray[np.float32]) -> Segmentation:
        """A cloud as it is: neither moved nor scaled, and with its outliers."""
        from pa3d.ops import label_points

        segmenter, clock = self.segmenter, Stopwatch()
        with clock("encode"):
            encoded = segmenter.encode(shape.points, sample=self.sample, up=shape.up, normalize=False, seed=self.seed)
        with clock("label"):
            # A logit and the logarithm of its softmax differ by a constant for each patch, which changes no result.
            probability = segmenter.query(encoded, names, text_vectors=vectors)
            logits = np.log(np.maximum(probability, np.finfo(np.float32).tiny))
            points = ordered_columns(shape.points, TO_MODEL_AXES[shape.up])
            patches = encoded.centers, encoded.members, encoded.points
            assign = self.assign or segmenter.checkpoint.assign
            labels, scores = label_points(points, *patches, logits, assign, 0.0, 1, None)
        return Segmentation(shape, names, labels, scores, timings=clock.seconds, model=segmenter.checkpoint.name)

    def embed(self, parts: Sequence[str], category: str | None) -> NDArray[np.float32]:  # (K, D)
        """Unit vectors of part names, with the current prompts. Each name is encoded once."""
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
    """Every point gets the shape's most frequent true part: the best constant prediction."""

    needs_ground_truth = True

    def identity(self) -> dict[str, Any]:
        return {"name": "majority"}

    def segment(
        self, shape: Shape, parts: Sequence[str], category: str | None = None, *, truth: NDArray[np.int32]
    ) -> Segmentation:
        best = int(np.bincount(truth[truth >= 0], minlength=len(parts)).argmax())
        return _one_hot(shape, parts, np.full(len(truth), best, np.int32))


class Random:
    """Every point gets a random part, each with the same probability."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def identity(self) -> dict[str, Any]:
        return {"name": "random", "seed": self.seed}

    def segment(self, shape: Shape, parts: Sequence[str], category: str | None = None) -> Segmentation:
        rng = np.random.default_rng(shape_seed(shape.name, self.seed))
        result = _one_hot(shape, parts, rng.integers(len(parts), size=len(shape.points), dtype=np.int32))
        result.scores[:] = 1 / len(parts)
        return result


class PatchCeiling:
    """The ceiling of a method that labels patches: it labels them from the true labels.

    Each patch takes the most frequent true part among its points, and every point the part of the nearest patch
    centre. This is about the best that labels of these patches can reach. With zero_column a patch may also be none of
    the parts.
    """

    needs_ground_truth = True

    def __init__(self, config: EncoderConfig | None = None, sample: int | None = DEFAULT_SAMPLE, seed: int = 0) -> None:
        self.config, self.sample, self.seed = config or EncoderConfig(), sample, seed
        self.zero_column = False

    def configure(self, protocol: EvaluationProtocol) -> None:
        self.zero_column = protocol.unlabelled == "zero"
        self._segmenter = None

    def identity(self) -> dict[str, Any]:
        return {"name": "oracle", "patches": self.config.patches, "patch_size": self.config.patch_size}

    def segment(
        self, shape: Shape, parts: Sequence[str], category: str | None = None, *, truth: NDArray[np.int32]
    ) -> Segmentation:
        from pa3d.ops import knn, sample_and_group

        n, c = len(shape.points), self.config
        sampled = np.arange(n)
        if self.sample is not None and self.sample < n:
            sampled = sample_cloud(shape.points, self.sample, self.seed)
        center, radius = normalization(shape.points[sampled])
        points = apply_normalization(shape.points, center, radius, TO_MODEL_AXES[shape.up])
        encoder_points = np.ascontiguousarray(points[sampled])
        passes = passes_for(c, len(encoder_points))
        found = []  # centres and members of each pass, as indices into encoder_points
        for index in pass_indices(passes, len(encoder_points)):
            pair = sample_and_group(encoder_points[index], passes.patches, c.patch_size, min_sq_norm=c.min_sq_norm)
            found.append([index[part] for part in pair])
        centers, members = (np.concatenate(parts) for parts in zip(*found, strict=True))
        votes = np.zeros((len(members), len(parts) + 1), np.int64)
        for column in members.T:
            np.add.at(votes, (np.arange(len(members)), truth[sampled[column]]), 1)  # -1 counts in the last column
        nearest = knn(np.ascontiguousarray(points), encoder_points[centers], 1)[0][:, 0]
        if not self.zero_column:
            votes[:, -1] = 0
        best = votes.argmax(axis=1)
        best[(best == len(parts)) | (votes.max(axis=1) == 0)] = -1
        return _one_hot(shape, parts, best[nearest].astype(np.int32))


def _one_hot(shape: Shape, parts: Sequence[str], labels: NDArray[np.int32]) -> Segmentation:
    """A segmentation in which each label has score 1."""
    scores = np.zeros((len(labels), len(parts)), np.float32)
    known = np.flatnonzero(labels >= 0)
    scores[known, labels[known]] = 1
    return Segmentation(shape, list(parts), labels, scores)


METHODS = ("model", "ceiling", "majority", "random", *PUBLISHED)
BY_BOXES = ("satr", "partslip")  # without a detector they get boxes from the true labels


def make_method(
    name: str = "model",
    *,
    model: str | Path | None = None,
    precision: str = "auto",
    device: str = "cpu",
    sample: int | None = DEFAULT_SAMPLE,
    assign: Any = None,
    patches: int | None = None,
    weights: Mapping[str, Any] | None = None,
    form: str = "fair",
    changes: Mapping[str, Any] | None = None,
) -> Method:
    """One of METHODS, or a class from outside as "package.module:Class", made without arguments.

    "model" uses the options up to patches, as SegmenterMethod does. "ceiling", which may also be called "oracle", uses
    only patches. The methods of papers use weights, form and changes, as pa3d.methods.load_method does; "satr" and
    "partslip" without weights get boxes from the true labels, which is a ceiling too. "majority", "random" and classes
    from outside use none; options that a method does not use are ignored.
    Raises InputError for an unknown name, a class that cannot be used, or weights that cannot be read.
    """
    if name == "model":
        return SegmenterMethod(model, precision=precision, device=device, sample=sample, assign=assign, patches=patches)
    if name in ("ceiling", "oracle"):
        return PatchCeiling(None if patches is None else replace(EncoderConfig(), patches=patches))
    if name == "majority":
        return Majority()
    if name == "random":
        return Random()
    if name in PUBLISHED:
        given = dict(weights or {})
        if name in BY_BOXES:
            given.setdefault("detector", "truth")
        return load_method(name, given, form=form, **dict(changes or {}))
    if ":" in name:
        return _outside_method(name)
    raise InputError(f"--method {name}: expected one of {', '.join(METHODS)}, or a class as package.module:Class")


def _outside_method(path: str) -> Method:
    """An instance of a class that is given as "package.module:Class"."""
    module_name, _, class_name = path.partition(":")
    if not all(word.isidentifier() for word in (*module_name.split("."), class_name)):
        raise InputError(f"--method {path}: expected package.module:Class, such as my_methods.heights:Heights")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # as python -m does; a console script does not look there
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise InputError(f"--method {path}: {module_name} cannot be imported ({error})") from error
        raise InputError(
            f"--method {path}: there is no module {error.name}; install it, or run pa3d in the folder that holds it"
        ) from error
    except Exception as error:  # whatever the code of that module raises
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"--method {path}: {module_name} cannot be imported ({reason})") from error
    if not callable(getattr(module, class_name, None)):
        classes = [name for name, value in vars(module).items() if hasattr(value, "segment")]
        known = f"; its classes with a method segment: {', '.join(classes)}" if classes else ""
        raise InputError(f"--method {path}: module {module_name} has no class {class_name}{known}")
    try:
        method = getattr(module, class_name)()
    except Exception as error:  # whatever the code of that class raises
        reason = f"{type(error).__name__}: {error}"
        raise InputError(
            f"--method {path}: {class_name}() failed ({reason}); expected a class that is made without arguments"
        ) from error
    if not callable(getattr(method, "segment", None)):
        raise InputError(f"--method {path}: {class_name} has no method segment(shape, parts, category)")
    return method
