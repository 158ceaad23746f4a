"""Segmenter, the main class: it takes a shape and part names, and returns a part for every point, vertex and face.

    seg = Segmenter.from_pretrained()
    result = seg.segment("chair.glb", ["seat", "back", "leg"])

The steps: points of the shape are sampled, moved into the unit sphere and the model's axes, and grouped into patches:
128 groups of 32 neighbouring points, more for a dense cloud (pa3d.passes). The encoder turns each patch into a unit
vector in the text space. A patch's logits are its cosines with the vectors of the names, divided by the temperature and
the levels of the names. Every point takes the logits of the patches near it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d import _C
from pa3d.checkpoint import Checkpoint, load
from pa3d.encoder_input import EncoderInput, encoder_input, sample_shape, subsample
from pa3d.errors import InputError
from pa3d.frames import TO_MODEL_AXES, UP_AXES, ordered_columns
from pa3d.inputs import as_points, as_shape, is_list_of_clouds
from pa3d.known_names import KnownNames
from pa3d.labelling import Assign, check_options
from pa3d.profiling import Stopwatch
from pa3d.segmentation import PatchFeatures, Segmentation
from pa3d.session import OpenShape
from pa3d.shape import Shape
from pa3d.shape_head import ShapeHead

if TYPE_CHECKING:
    from pa3d.keypoints import Keypoints
    from pa3d.text.vectors import TextVectors

DEFAULT_SAMPLE = 2048
MAX_WORDS = 4096  # vectors of names of nodes and materials that a Segmenter keeps


class Segmenter:
    """An encoder and the text space that it was aligned with.

    May be used from several threads at once, pickled and copied. A process that was forked uses one thread.
    """

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
        self._embedded = False  # from_pretrained says when the checkpoint is the one of the package
        self._vocabulary: TextVectors | None = None  # what came with the model
        self._options: dict[str, Any] = {"precision": precision, "device": device, "threads": threads}
        checkpoint = checkpoint.with_patches(patches)
        if threads is not None and (not isinstance(threads, int) or threads < 1):
            raise InputError(f"threads is {threads!r}; expected an integer of at least 1, or None")
        self.checkpoint = checkpoint
        self.config = checkpoint.config
        self.device = device
        self.threads = threads or 0
        self._text: Any = None
        self._words: dict[str, NDArray[np.float32]] = {}  # vectors of names of nodes and materials
        self._names = KnownNames(checkpoint, self.threads)
        self._encoder: Any = self._make_encoder()
        self.precision: str = self._encoder.precision

    def _make_encoder(self) -> Any:
        precision, device, threads = (self._options[key] for key in ("precision", "device", "threads"))
        if device == "cpu":
            from pa3d.native import NativeEncoder

            return NativeEncoder(self.checkpoint, precision, threads)
        from pa3d.torch_encoder import TorchEncoder

        return TorchEncoder(self.checkpoint, precision, device)

    def __getstate__(self) -> dict[str, Any]:
        """For pickle and copy: the checkpoint and the options. The embedded checkpoint is not copied but loaded again.

        The encoder is built again where the copy arrives, so "auto" is the fastest precision of that processor.
        """
        state = {**self.__dict__, "_text": None, "_words": {}}
        del state["_encoder"], state["_names"]
        if self._embedded:
            state["checkpoint"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._embedded:
            self.checkpoint = load().with_patches(self.config.patches)
        self._names = KnownNames(self.checkpoint, self.threads)
        self._encoder = self._make_encoder()
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
        """The embedded model, or one from a .safetensors file, a folder, or the hub ("owner/name"; see pa3d.hub).

        precision: "fp32", "bf16", "int8" or "auto". "auto" is the fastest that this processor has, among those whose
            labels were checked for this checkpoint.
        device: "cpu" (native kernels, no torch) or a torch device such as "cuda". On CUDA the forward pass is recorded
            as a CUDA graph for each number of points, and replayed.
        threads: how many threads a call may use; None takes OMP_NUM_THREADS, or the processors that this
            process may use.
        patches: how many patches a shape is grouped into; None takes the checkpoint's number, which is 128 for the
            embedded model. More patches find smaller parts and take more time (docs/results.md). With another number
            than the checkpoint's, "auto" is float32. The embedded model takes an even number, and groups 3,840
            points or more into more patches: half of the number for every 1,536 points (pa3d.passes).
        Raises InputError for a file that is not a checkpoint, or a precision or device that cannot run here.
        """
        if path is None:
            checkpoint, vocabulary = load(), None
        else:
            from pa3d.hub import load_pretrained

            checkpoint, vocabulary = load_pretrained(path)
        segmenter = cls(checkpoint, precision=precision, device=device, threads=threads, patches=patches)
        segmenter._embedded, segmenter._vocabulary = path is None, vocabulary
        return segmenter

    def save_pretrained(
        self, folder: str | Path, parts: Sequence[str] | None = None, category: str | None = None
    ) -> None:
        """Write the model as a folder that from_pretrained reads, with the text vectors of `parts`; see pa3d.hub."""
        from pa3d.hub import save_pretrained

        vectors = None if parts is None else self.embed_text(parts, category)
        save_pretrained(folder, self.checkpoint, parts, vectors, category)

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
        """Patch features of a cloud. They are computed once per shape; `query` then takes any part names.

        points: one cloud, or a list of clouds of any sizes. A list returns a list with the results that separate
            calls would return. When there are at least as many clouds as threads, each is encoded on one thread.
        sample: how many points to use, drawn at random with `seed`; None uses all points. The time grows with them,
            because the embedded model encodes about 1,536 points at a time (pa3d.passes).
        up: which axis of the points is up; "y" swaps y and z, as the official code does.
        normalize: leave out outliers where the checkpoint says so (Checkpoint.outliers), subtract the mean and divide
            by the largest norm; False takes the points as they are.
        Raises InputError for points that are not (N, 3), empty, not finite or all equal.
        """
        if up not in UP_AXES:
            raise InputError(f"up is {up!r}; expected one of {', '.join(UP_AXES)}")
        if not is_list_of_clouds(points):
            return self.encode_inputs([self._prepare(points, sample, up, normalize, seed)])[0]
        clouds = []
        for i, cloud in enumerate(points):
            try:
                clouds.append(self._prepare(cloud, sample, up, normalize, seed))
            except InputError as error:
                raise InputError(f"cloud {i} of {len(points)}: {error}") from error
        return self.encode_inputs(clouds)

    def segment(
        self,
        path_or_shape_or_points: str | Path | Shape | ArrayLike,
        parts: Sequence[str],
        *,
        category: str | None = None,
        text_vectors: ArrayLike | Path | TextVectors | None = None,  # (K, D)
        sample: int | None = DEFAULT_SAMPLE,
        assign: Assign | None = None,
        none: float | None = None,
        up: str | None = None,
        nan: str = "skip",
        seed: int = 0,
        refine: bool = True,
        structure: bool = True,
        profile: bool = False,
    ) -> Segmentation:
        """Name the parts of a mesh or cloud: a file, a Shape, an array (N, 3), or an object of trimesh or open3d.

        parts: K names, any words.
        category: what the object is, if known ("chair").
        text_vectors: vectors (K, D) to use instead of the text encoder, which are normalised, or a file of them
            (pa3d.text.vectors).
        sample: how many points the encoder gets. They are drawn by area from a mesh, at random from a cloud. None
            uses all points of a cloud and all vertices of a mesh.
        assign: how a point gets its logits. "nearest": from the nearest patch centre, as in the paper. "smooth": from
            the three nearest centres, weighted by inverse distance. "membership": the mean over the patches that
            contain the nearest sampled point; from the nearest centre if there are none. None takes what the
            checkpoint says: "smooth" for the embedded model, "nearest" for a converted one.
        none: threshold from 0 to 1. Points whose best probability is below it get the label -1, none of the parts. If
            the checkpoint is calibrated, it is the probability among the parts and "none of them" times the presence
            of the part. None gives every point one of the parts.
        up: the axis that points up; None takes that of the shape (glTF is y-up, other files are read as y-up). "auto"
            ignores it, tries 26 directions and takes the one in which the names fit best (pa3d.orient). The encoder
            then runs 26 times, and settings["up_found"] is the direction, a unit vector in the axes of the shape.
        nan: points of a cloud with NaN or infinite coordinates; scanners mark with them what was not measured. "skip"
            gives these points the label -1 and the scores 0; "error" raises InputError.
        refine: clean the borders of parts: let them follow concave edges (pa3d.ops.refine).
        structure: take pieces of a mesh that are small, and names of its nodes and materials, as evidence
            (pa3d.structure). What was used is settings["structure"], None if there is none.
        profile: print the milliseconds of each stage; the timings of the result have them in any case.
        Raises InputError for an argument that cannot be used.
        """
        check_options(assign, none)
        shape = self.open(path_or_shape_or_points, sample=sample, up=up, nan=nan, seed=seed)
        return shape.segment(
            parts, category=category, text_vectors=text_vectors,
            assign=assign, none=none, refine=refine, structure=structure, profile=profile,
        )  # fmt: skip

    def open(
        self,
        path_or_shape_or_points: str | Path | Shape | ArrayLike,
        *,
        sample: int | None = DEFAULT_SAMPLE,
        up: str | None = None,
        nan: str = "skip",
        seed: int = 0,
    ) -> OpenShape:
        """A shape that is encoded once and asked many times: `open(shape).segment(parts)` is `segment(shape, parts)`.

        The arguments are those of `segment`. With up="auto" the up direction depends on the names, as it does there.
        The file is read here, and encoded when it is first asked for something.
        Raises InputError for a file that cannot be read, or an argument that cannot be used.
        """
        clock = Stopwatch()
        with clock("load"):
            shape = as_shape(path_or_shape_or_points, None if up == "auto" else up, nan)
        return OpenShape(self, shape, sample=sample, auto_up=up == "auto", seed=seed, load=clock.seconds["load"])

    def parts(
        self,
        path_or_shape_or_points: str | Path | Shape | ArrayLike,
        *,
        count: int | None = None,
        level: float | None = None,
        vocabulary: Sequence[str] | None = None,
        **options: Any,
    ) -> Segmentation:
        """Parts without asking for names: `open` with the options sample, up, nan and seed, then OpenShape.parts."""
        return self.open(path_or_shape_or_points, **options).parts(count=count, level=level, vocabulary=vocabulary)

    def select(
        self,
        path_or_shape_or_points: str | Path | Shape | ArrayLike,
        positive: ArrayLike,  # (P, 3)
        negative: ArrayLike = (),  # (Q, 3)
        **options: Any,
    ) -> NDArray[np.bool_]:  # (F,) or (N,)
        """The part under clicks: `open` with the options sample, up, nan and seed, then OpenShape.select."""
        return self.open(path_or_shape_or_points, **options).select(positive, negative)

    def propose(
        self,
        path_or_shape_or_points: str | Path | Shape | ArrayLike,
        *,
        category: str | None = None,
        max_parts: int | None = None,
        sample: int | None = DEFAULT_SAMPLE,
        up: str | None = None,
        nan: str = "skip",
        seed: int = 0,
        **options: Any,
    ) -> Segmentation:
        """Parts and their names without asking: `open` with sample, up, nan and seed, then OpenShape.propose."""
        shape = self.open(path_or_shape_or_points, sample=sample, up=up, nan=nan, seed=seed)
        return shape.propose(category=category, max_parts=max_parts, **options)

    def embed_shape(
        self, path_or_shape_or_points: str | Path | Shape | ArrayLike, **options: Any
    ) -> NDArray[np.float32]:  # (D,)
        """The whole shape as a unit vector in the text space: `open` with the options sample, up, nan and seed, then
        OpenShape.embedding. Its cosines with embed_words say what the shape is, and with others how alike they are."""
        return self.open(path_or_shape_or_points, **options).embedding

    def shape_head(self) -> ShapeHead:
        """Raises InputError for a checkpoint without one."""
        if self.checkpoint.shape_head is None:
            raise InputError(
                f"model {self.checkpoint.name!r} makes no vector of a whole shape, so it cannot say what one is; "
                "use the embedded model, or scripts/train_shape_head.py"
            )
        return ShapeHead(self.checkpoint.shape_head)

    def segment_many(
        self,
        shapes: Iterable[str | Path | Shape | ArrayLike],
        parts: Sequence[str],
        *,
        workers: int = 0,
        return_exceptions: bool = False,
        **options: Any,
    ) -> Iterator[Segmentation]:
        """The results of many files or shapes, in their order, with the options of `segment`; see pa3d.many.

        workers: processes of one thread each; 0 uses this process. A script then needs `if __name__ == "__main__":`.
        return_exceptions: give the exception in place of a result, and go on; otherwise it is raised.
        """
        from pa3d.many import segment_many

        return segment_many(self, shapes, parts, workers=workers, return_exceptions=return_exceptions, **options)

    def query(
        self,
        features: PatchFeatures,
        parts: Sequence[str],
        *,
        category: str | None = None,
        text_vectors: ArrayLike | Path | TextVectors | None = None,
    ) -> NDArray[np.float32]:  # (G, K)
        """Probability of each part at each patch; each row sums to one."""
        vectors = self.part_vectors(parts, category, text_vectors)
        return _C.softmax(self.patch_logits(features, vectors))

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
        """Named points of a mesh or cloud, by text or by the example of annotated shapes; see pa3d.keypoints.

        names: any words; "tip of the leg" is a place on a part (also end, top, bottom, centre).
        like: an annotated shape, or several, as a JSON file or a dict {"file": ..., "keypoints": [{"name",
            "position"}]}.
        count: how many points to find for each name. The rest as in segment.
        Raises InputError for an argument that cannot be used.
        """
        from pa3d.keypoints import find_keypoints

        return find_keypoints(
            self, path_or_shape_or_points, names,
            like=like, category=category, count=count, sample=sample, up=up, seed=seed,
        )  # fmt: skip

    def encode_shape(
        self, shape: Shape, sample: int | None = DEFAULT_SAMPLE, seed: int = 0
    ) -> tuple[PatchFeatures, NDArray[np.float64], float]:
        """Patch features of a shape, and the centre (3,) and radius by which its points were normalised.

        pa3d.frames.apply_normalization brings other points of the shape into the same frame.
        """
        used = self._input(sample_shape(shape, sample, seed), shape.up)
        return self.encode_inputs([used.points])[0], used.center, used.radius

    def embed_text(self, parts: Sequence[str], category: str | None = None) -> NDArray[np.float32]:  # (K, D)
        """Unit vectors of part names in the text space of this model.

        Raises InputError for names that the text encoder cannot read, or cannot tell apart.
        """
        from pa3d.text import check_distinct, check_names, check_readable, embed_parts

        check_names(parts)
        if self._vocabulary is not None and self._vocabulary.has(parts, category):
            return self._vocabulary.select(parts, category)
        encoder = self._text_encoder()
        mode: Any = self.checkpoint.prompts
        check_readable(encoder, parts, category)
        vectors = embed_parts(encoder, parts, category, mode)
        # Not checked by encoder.dim, which imports OpenCLIP: cached vectors do not need it.
        if vectors.shape[1] != self.config.text_dim:
            raise InputError(
                f"the text space of the checkpoint has {self.config.text_dim} dimensions, but its text encoder "
                f"{self.checkpoint.text_space} gives {vectors.shape[1]}; use its own encoder or text_vectors"
            )
        check_distinct(parts, vectors)
        return vectors

    def part_vectors(
        self,
        parts: Sequence[str],
        category: str | None = None,
        text_vectors: ArrayLike | Path | TextVectors | None = None,
    ) -> NDArray[np.float32]:  # (K, D)
        """Unit vectors of the parts: text_vectors checked and normalised, as `segment` takes them, or those of
        embed_text."""
        if text_vectors is None:
            return self.embed_text(parts, category)
        from pa3d.text.vectors import part_vectors

        return part_vectors(text_vectors, parts, category, self.checkpoint.text_space, self.config.text_dim)

    def embed_words(self, words: list[str]) -> NDArray[np.float32]:  # (n, D)
        """Unit vectors of single words, such as the names of nodes and materials; they are kept."""
        from pa3d.text import embed_parts

        known = self._words  # another thread may replace it
        vectors = {word: known[word] for word in words if word in known}
        fresh = [word for word in words if word not in vectors]
        if fresh:
            vectors |= zip(fresh, embed_parts(self._text_encoder(), fresh, None, "part"), strict=True)
            self._words = vectors if len(known) > MAX_WORDS else known | vectors
        return np.stack([vectors[word] for word in words])

    def _text_encoder(self) -> Any:
        from pa3d.text import text_encoder

        if self._text is None:
            self._text = text_encoder(self.checkpoint.text_space, threads=self.threads or None)
        return self._text

    def _input(self, sampled: NDArray[np.float32], up: str) -> EncoderInput:
        return encoder_input(sampled, TO_MODEL_AXES[up], self.checkpoint.outliers, self.threads)

    def _prepare(
        self, points: ArrayLike, sample: int | None, up: str, normalize: bool, seed: int
    ) -> NDArray[np.float32]:  # (N, 3) in the model's axes
        cloud = as_points(points, centered=normalize)
        used = cloud[subsample(cloud, sample, seed)]
        return self._input(used, up).points if normalize else ordered_columns(used, TO_MODEL_AXES[up])

    def encode_inputs(self, clouds: list[NDArray[np.float32]]) -> list[PatchFeatures]:
        """The patches of clouds (N, 3) that are normalised and in the model's axes (pa3d.encoder_input)."""
        outputs = self._encoder.encode_batch(clouds) if len(clouds) > 1 else [self._encoder(cloud) for cloud in clouds]
        return [
            PatchFeatures(out.centers, out.members, out.tokens, out.features, points, out.seconds)
            for points, out in zip(clouds, outputs, strict=True)
        ]

    def patch_logits(self, encoded: PatchFeatures, vectors: NDArray[np.float32]) -> NDArray[np.float32]:  # (G, K)
        """Logits of names with unit vectors (K, D) at each patch (pa3d.known_names)."""
        return self._names.logits(encoded, vectors)

    def presence(
        self, encoded: PatchFeatures, logits: NDArray[np.float32], vectors: NDArray[np.float32]
    ) -> NDArray[np.float32] | None:  # (G, K), (K, D) -> (K,)
        """How sure it is that a shape has each of the parts (pa3d.known_names)."""
        return self._names.presence(encoded, logits, vectors)
