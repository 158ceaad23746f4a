"""Checkpoints: safetensors with the encoder's configuration, text space, prompts and provenance as metadata.

Only `convert_official` reads a checkpoint that is a pickle, with torch's `weights_only=True`. (Labels of data
sets may be pickles, too; pa3d.evaluate.plain_pickle reads those.)
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d import _C
from pa3d.config import ASSIGN, EncoderConfig
from pa3d.errors import InputError
from pa3d.shape_head import PREFIX as HEAD
from pa3d.shape_head import check_head

EMBEDDED = Path(__file__).parent / "weights" / "pa3d-embedded.safetensors"
FORMAT = 1
OFFICIAL_SPACE = "open_clip/ViT-bigG-14/laion2b_s39b_b160k"
OFFICIAL_TEMPERATURE = 0.07

BANK, LEXICON, MEANING = "bank", "lexicon.rows", "lexicon.meaning"  # names of tensors in the file
KINDS = ("kinds.rows", "kinds.parts", "kinds.has")
CALIBRATE = "make it again with scripts/calibrate_names.py"  # what to do about a damaged tensor of these
MAX_PATCHES = 4096  # attention takes every pair of them


class PresenceFit(NamedTuple):
    """slope, offset: of the logistic function that turns the odds of a name into its presence (csrc/cpu/segment.h);
    threshold: parts whose presence is lower count as not found; weight: how much it counts what such things have, by
    Checkpoint.kinds."""

    slope: float
    offset: float
    threshold: float
    weight: float = 0.0


class Lexicon(NamedTuple):
    """Texts that the model was trained with, through which other words are read (csrc/cpu/segment.h).

    rows (R, text_dim) int8: their vectors, each scaled to use the range of int8. meaning (R,) int32: the row of the
    name that a text means.
    """

    rows: NDArray[np.int8]
    meaning: NDArray[np.int32]


class Kinds(NamedTuple):
    """Kinds of things and which parts they have (csrc/cpu/segment.h): the table of pa3d.categories as vectors, each
    scaled to use the range of int8.

    rows (C, text_dim) int8: of the names of the kinds. parts (P, text_dim) int8: of names of parts, read through the
    lexicon. has (N, 2) int32: pairs of a kind and a part.
    """

    rows: NDArray[np.int8]
    parts: NDArray[np.int8]
    has: NDArray[np.int32]


@dataclass
class Checkpoint:
    """tensors: float32, named as in EncoderConfig.shapes. temperature: what cosines are divided by.

    text_space: name of the text encoder (pa3d.text.text_encoder). prompts: the default mode of pa3d.text.prompts.
    assign: how points take the logits of patches by default, one of ASSIGN (pa3d.ops.label_points).
    precisions: lower precisions whose labels were checked against float32's (scripts/check_precisions.py), fastest
    first; "auto" takes the first that the processor supports, float32 where there is none.
    outliers: the factor of pa3d.ops.find_outliers, by which points are left out before normalising; 0 keeps all.
    bank: (R, text_dim) int8, features of patches of many shapes, each row scaled to use the range of int8. A name's
    cosines with them give its level, by which its logits are divided (csrc/cpu/segment.h). None divides by nothing.
    presence: the calibration of Segmentation.presence, None for none.
    lexicon: what words are read through; None compares their vectors as they are.
    shape_head: the tensors of pa3d.shape_head, which makes one vector of a whole shape; None for none.
    kinds: which parts such things have, for the presence of names; it needs a shape_head. None asks only the patches.
    scripts/calibrate_names.py writes outliers, bank, presence, lexicon and kinds.
    """

    config: EncoderConfig
    tensors: dict[str, NDArray[np.float32]]
    text_space: str
    temperature: float
    prompts: str = "auto"
    provenance: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    precisions: tuple[str, ...] = ()
    assign: str = "nearest"
    outliers: float = 0.0
    bank: NDArray[np.int8] | None = None
    presence: PresenceFit | None = None
    shape_head: Mapping[str, NDArray[np.float32]] | None = None
    lexicon: Lexicon | None = None
    kinds: Kinds | None = None

    def with_patches(self, patches: int | None) -> Checkpoint:
        """The same weights over another number of patches per shape; None changes nothing.

        The transformer takes any number of tokens. No lower precision was checked with another number, so "auto" is
        float32.
        Raises InputError.
        """
        if patches is None or patches == self.config.patches:
            return self
        if isinstance(patches, bool) or not isinstance(patches, int) or not 1 <= patches <= MAX_PATCHES:
            raise InputError(f"patches is {patches!r}; expected an integer from 1 to {MAX_PATCHES}, or None")
        return replace(self, config=replace(self.config, patches=patches), precisions=())

    def sha256(self) -> str:
        """A hash of what patch features and logits depend on: not presence, kinds, shape_head, prompts, provenance."""
        config = str(self.config).replace(", pass_points=0)", ")")  # as before there were passes
        digest = hashlib.sha256(f"{config}{self.temperature!r}{self.text_space}".encode())
        for name in sorted(self.tensors):
            digest.update(name.encode() + np.ascontiguousarray(self.tensors[name]).tobytes())
        if self.outliers or self.bank is not None:
            digest.update(f"{self.outliers!r}".encode())
            digest.update(b"" if self.bank is None else self.bank.tobytes())
        if self.lexicon is not None:
            digest.update(self.lexicon.rows.tobytes() + self.lexicon.meaning.tobytes())
        return digest.hexdigest()


def save(path: str | Path, checkpoint: Checkpoint, *, half: bool = False) -> None:
    """Write atomically; half stores float16, which is read back as float32."""
    from safetensors.numpy import save as serialize

    from pa3d.atomic import atomic_write

    check_tensors(checkpoint.config, checkpoint.tensors, str(path))
    dtype = np.float16 if half else np.float32
    tensors: dict[str, NDArray[Any]] = {k: np.ascontiguousarray(v, dtype) for k, v in checkpoint.tensors.items()}
    for name, tensor in (checkpoint.shape_head or {}).items():
        tensors[HEAD + name] = np.ascontiguousarray(tensor, dtype)
    if checkpoint.bank is not None:
        tensors[BANK] = np.ascontiguousarray(checkpoint.bank, np.int8)
    if checkpoint.lexicon is not None:
        tensors[LEXICON] = np.ascontiguousarray(checkpoint.lexicon.rows, np.int8)
        tensors[MEANING] = np.ascontiguousarray(checkpoint.lexicon.meaning, np.int32)
    if checkpoint.kinds is not None:
        for name, rows in zip(KINDS, checkpoint.kinds, strict=True):
            tensors[name] = np.ascontiguousarray(rows, np.int32 if name == KINDS[2] else np.int8)
    meta = {
        "format": FORMAT,
        "config": {k: v for k, v in checkpoint.config.to_dict().items() if k != "pass_points" or v},
        "text_space": checkpoint.text_space,
        "temperature": float(checkpoint.temperature),
        "prompts": checkpoint.prompts,
        "provenance": checkpoint.provenance,
        "precisions": list(checkpoint.precisions),
        "assign": checkpoint.assign,
    }
    if checkpoint.outliers:
        meta["outliers"] = float(checkpoint.outliers)
    if checkpoint.presence is not None:
        meta["presence"] = fit_numbers(checkpoint.presence)
    # One entry: safetensors writes several in random order, and equal checkpoints should be equal files.
    data = serialize(tensors, metadata={"pa3d": json.dumps(meta, sort_keys=True)})
    with atomic_write(path) as stream:
        stream.write(data)


def load(path: str | Path | None = None) -> Checkpoint:
    """Read a checkpoint; None is the embedded one. Raises InputError for a file that is not one of ours."""
    path = Path(path) if path is not None else EMBEDDED
    if path.suffix in (".pt", ".pth", ".bin", ".ckpt"):
        raise InputError(f"{path}: a pickle; convert it first: pa3d convert {path} model.safetensors")
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; expected a .safetensors file written by pa3d")
    try:
        file = _C.SafeTensors(os.fsencode(path))
        header = file.metadata("pa3d")
        if header is None:
            raise InputError(
                f"{path}: safetensors, but not a checkpoint of pa3d; use pa3d convert for the official one"
            )
        head: Mapping[str, Any] = ReadLater(file, sorted(name for name in file.names() if name.startswith(HEAD)))
        tensors = {name: file.read(name) for name in file.names() if not name.startswith(HEAD)}
        bank = tensors.pop(BANK, None)
        parts: list[Any] = [tensors.pop(name, None) for name in (LEXICON, MEANING)]
        lexicon = None if all(part is None for part in parts) else Lexicon(*parts)
        parts = [tensors.pop(name, None) for name in KINDS]
        kinds = None if all(part is None for part in parts) else Kinds(*parts)
        if path != EMBEDDED:
            head = dict(head)
    except _C.FileError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise InputError(f"{path}: not a readable safetensors file ({reason}); download or convert it again") from error
    try:
        meta = json.loads(header)
        if meta["format"] != FORMAT:
            raise ValueError(f"format {meta['format']}, this version reads {FORMAT}")
        config = EncoderConfig.from_dict(meta["config"])
        checkpoint = Checkpoint(
            config,
            tensors,
            meta["text_space"],
            float(meta["temperature"]),
            meta["prompts"],
            meta["provenance"],
            path.stem,
            tuple(meta["precisions"]),
            meta.get("assign", "nearest"),
            float(meta.get("outliers", 0)),
            bank,
            _presence_fit(meta["presence"]) if "presence" in meta else None,
            head if len(head) else None,
            lexicon,
            kinds,
        )
        if checkpoint.assign not in ASSIGN:
            raise ValueError(f"assign {checkpoint.assign!r}")
        if not 0 <= checkpoint.outliers < float("inf"):
            raise ValueError(f"outliers {checkpoint.outliers}")
        if not 0 < checkpoint.temperature < float("inf"):
            raise ValueError(f"temperature {checkpoint.temperature}")
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: its metadata is damaged ({error}); convert or train it again") from error
    check_tensors(config, tensors, str(path))
    _check_rows(path, BANK, bank, config.text_dim)
    if lexicon is not None:
        _check_lexicon(path, lexicon, config.text_dim)
    if kinds is None and checkpoint.presence is not None and checkpoint.presence.weight:
        raise InputError(f"{path}: its presence needs {', '.join(KINDS)}, which are missing; {CALIBRATE}")
    if kinds is not None:
        _check_kinds(path, kinds, config.text_dim)
        if not len(head):
            raise InputError(f"{path}: {KINDS[0]} without a shape head; make one with scripts/train_shape_head.py")
    if len(head) and path != EMBEDDED and (wrong := check_head(head, config.dim, config.text_dim)):
        raise InputError(f"{path}: {wrong}; make it again with scripts/train_shape_head.py")
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise InputError(f"{path}: {name} has NaN or infinite values; convert or train it again")
    return checkpoint


def _check_lexicon(path: Path, lexicon: Lexicon, width: int) -> None:
    for name, tensor, other in ((LEXICON, lexicon.rows, MEANING), (MEANING, lexicon.meaning, LEXICON)):
        if tensor is None:
            raise InputError(f"{path}: {other} without {name}; {CALIBRATE}")
    _check_rows(path, LEXICON, lexicon.rows, width)
    count, meaning = len(lexicon.rows), lexicon.meaning
    if meaning.dtype != np.int32 or meaning.shape != (count,):
        raise InputError(
            f"{path}: {MEANING} is {meaning.dtype} {meaning.shape}, expected int32 ({count},); {CALIBRATE}"
        )
    if not ((meaning >= 0) & (meaning < count)).all():
        raise InputError(f"{path}: {MEANING} has a number that is no row of {LEXICON}; {CALIBRATE}")


def _check_kinds(path: Path, kinds: Kinds, width: int) -> None:
    for name, tensor in zip(KINDS, kinds, strict=True):
        if tensor is None:
            raise InputError(f"{path}: {name} is missing; {', '.join(KINDS)} belong together; {CALIBRATE}")
    for name, tensor in zip(KINDS[:2], kinds[:2], strict=True):
        _check_rows(path, name, tensor, width)
    has = kinds.has
    if has.dtype != np.int32 or has.ndim != 2 or has.shape[1] != 2:
        raise InputError(f"{path}: {KINDS[2]} is {has.dtype} {has.shape}, expected int32 with rows of 2; {CALIBRATE}")
    if not ((has >= 0) & (has < (len(kinds.rows), len(kinds.parts)))).all():
        raise InputError(f"{path}: {KINDS[2]} has a number that is no row of {KINDS[0]} or {KINDS[1]}; {CALIBRATE}")


def _check_rows(path: Path, name: str, rows: NDArray[Any] | None, width: int) -> None:
    if rows is None:
        return
    if rows.dtype != np.int8 or rows.ndim != 2 or rows.shape[1] != width:
        raise InputError(
            f"{path}: {name} is {rows.dtype} {rows.shape}, expected int8 with rows of {width}; {CALIBRATE}"
        )
    if not (len(rows) and rows.any(axis=1).all()):
        raise InputError(f"{path}: {name} is empty or has a zero row; {CALIBRATE}")


class ReadLater(Mapping[str, NDArray[Any]]):
    """Tensors of the embedded model that not every start needs: they are read when one is first asked for. Pickled as a
    dict."""

    def __init__(self, file: _C.SafeTensors, names: list[str]) -> None:
        self._file, self._names = file, names
        self._tensors: dict[str, NDArray[Any]] | None = None

    def __getitem__(self, name: str) -> NDArray[Any]:
        if self._tensors is None:
            self._tensors = {name.removeprefix(HEAD): self._file.read(name) for name in self._names}
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(HEAD) for name in self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def check_tensors(config: EncoderConfig, tensors: dict[str, Any], where: str) -> None:
    """Raise InputError that names the first missing, extra or misshapen tensor."""
    shapes = config.shapes()
    _check_names(sorted(shapes), list(tensors), where)
    for name, shape in shapes.items():
        if tuple(tensors[name].shape) != shape:
            raise InputError(f"{where}: {name} has shape {tuple(tensors[name].shape)}, expected {shape}")
        if getattr(tensors[name].dtype, "kind", "f") != "f":
            raise InputError(f"{where}: {name} has integers, expected floating point; convert or train it again")


def convert_official(source: str | Path, target: str | Path) -> Checkpoint:
    """Read a published PatchAlign3D checkpoint (.pt) safely, check every name and shape, write safetensors.

    The file must hold {"model": ..., "proj": ...}; "temp", "args" and "epoch" are optional and go to the provenance.
    Raises InputError when it is not one, needs code to be read, or a key is missing or extra. Needs torch.
    """
    try:
        import torch
    except ImportError as error:
        raise InputError("reading a .pt file needs torch; install it with pip install 'pa3d[torch]'") from error
    import argparse

    source = Path(source)
    if not source.is_file():
        raise InputError(f"{source}: no such file; expected a PatchAlign3D checkpoint (.pt)")
    try:
        # Training scripts store their arguments as a Namespace, which holds plain values and runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            raw = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything from UnpicklingError to EOFError and RuntimeError here
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"{source}: not a checkpoint that can be read without running code ({reason}); "
            "expected the published PatchAlign3D .pt"
        ) from error
    if not isinstance(raw, dict) or not all(isinstance(raw.get(part), dict) for part in ("model", "proj")):
        content = sorted(map(str, raw)) if isinstance(raw, dict) else type(raw).__name__
        raise InputError(f"{source}: expected a dictionary with 'model' and 'proj', found {content}")
    config = EncoderConfig()
    norms = ("encoder.first_conv.1", "encoder.second_conv.1")
    tensors: dict[str, NDArray[np.float32]] = {}
    names = list(config.shapes())
    counters = [f"{n}.num_batches_tracked" for n in norms]
    _check_names([n for n in names if not n.startswith("proj.")] + counters, list(raw["model"]), f"{source}: model")
    _check_names([f"proj.{suffix}" for suffix in ("weight", "bias")], list(raw["proj"]), f"{source}: proj")
    for part in ("model", "proj"):
        for name, value in raw[part].items():
            if not isinstance(value, torch.Tensor):
                raise InputError(f"{source}: {part} {name} is a {type(value).__name__}, expected a tensor")
            if name not in counters:
                tensors[name] = value.float().numpy()
    check_tensors(config, tensors, str(source))
    provenance = {"source": source.name, "format": "PatchAlign3D", "epoch": str(raw.get("epoch", "unknown"))}
    checkpoint = Checkpoint(
        config, tensors, OFFICIAL_SPACE, OFFICIAL_TEMPERATURE, "auto", provenance, Path(target).stem
    )
    save(target, checkpoint)
    return checkpoint


def fit_numbers(fit: PresenceFit) -> list[float]:
    """As a checkpoint states them: without a weight of 0, as before there was one."""
    numbers = list(fit)
    return numbers if any(numbers[3:]) else numbers[:3]


def _presence_fit(values: Any) -> PresenceFit:
    fit = PresenceFit(*(float(value) for value in values))
    if not np.isfinite(fit).all():
        raise ValueError(f"presence {values}")
    return fit


def _check_names(expected: list[str], actual: list[str], where: str) -> None:
    missing = [n for n in expected if n not in actual]
    if missing:
        raise InputError(
            f"{where}: missing key {missing[0]} ({len(missing)} missing); not a checkpoint of this encoder"
        )
    extra = [n for n in actual if n not in expected]
    if extra:
        raise InputError(f"{where}: extra key {extra[0]} ({len(extra)} extra); not a checkpoint of this encoder")
