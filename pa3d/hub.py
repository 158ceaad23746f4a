"""Models in the layout of the Hugging Face hub: a folder, or the name of a repository.

A folder of pa3d holds

    model.safetensors          the checkpoint (pa3d.checkpoint), complete in itself
    config.json                its settings once more, for tools that list models; pa3d does not read it
    text_vectors.safetensors   vectors of a vocabulary (pa3d.text.vectors), optional
    README.md                  the model card

A repository with `patchalign3d.pt` is one of the published checkpoints. It is converted by
`pa3d.checkpoint.convert_official`, with all its checks, and the result is kept in the cache of pa3d.

Of a repository, what is in the local cache of huggingface_hub is used without a look at the network.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.atomic import atomic_write, write_files
from pa3d.checkpoint import Checkpoint, convert_official, load, save
from pa3d.errors import InputError
from pa3d.text.cache import cache_folder
from pa3d.text.vectors import TextVectors

OFFICIAL_NAME = "patchalign3d/patchalign3d-encoder"
MODEL, CONFIG, VECTORS, CARD, PICKLE = (
    "model.safetensors", "config.json", "text_vectors.safetensors", "README.md", "patchalign3d.pt",
)  # fmt: skip
# owner/name or owner/name@revision, as the hub allows them.
_HUB_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w./-]+))?")
_FILE_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".onnx")


class Pretrained(NamedTuple):
    """A checkpoint, and the text vectors that came with it or None."""

    checkpoint: Checkpoint
    text_vectors: TextVectors | None = None


def load_pretrained(source: str | Path | None = None) -> Pretrained:
    """The embedded model (None), or one from a file, a folder, or a repository of the hub, "owner/name".

    "owner/name@revision" is a branch, tag or commit. What exists as a local path is never taken for a name.
    Raises InputError for what is none of these, or cannot be read or downloaded.
    """
    if source is None:
        return Pretrained(load())
    path = Path(source)
    if path.is_dir():
        return _read_folder(path, path.resolve().name)
    name = _HUB_NAME.fullmatch(os.fspath(source))
    if path.exists() or name is None or path.suffix in _FILE_SUFFIXES:
        return Pretrained(load(path))
    return _read_folder(_download(name[1], name[2]), name[1].rpartition("/")[2])


def save_pretrained(
    folder: str | Path,
    checkpoint: Checkpoint,
    parts: Sequence[str] | None = None,
    vectors: NDArray[np.float32] | None = None,  # (K, D)
    category: str | None = None,
) -> None:
    """Write the layout above; an existing model card stays.

    parts, vectors, category: names, their unit vectors, and the category of their prompts, to be stored with the model.
    Raises InputError when the folder cannot be written.
    """
    folder = Path(folder)
    text_vectors = None
    if parts is not None and vectors is not None:
        text_vectors = TextVectors(tuple(parts), vectors, checkpoint.text_space, category)
    from tempfile import TemporaryDirectory  # here, because its import takes long

    with TemporaryDirectory() as temporary:
        file = Path(temporary) / MODEL
        save(file, checkpoint, half=_is_exact_in_half(checkpoint))
        contents = {MODEL: file.read_bytes()}
    contents[CONFIG] = (json.dumps(_config(checkpoint), indent=2, sort_keys=True) + "\n").encode()
    if text_vectors is not None:
        contents[VECTORS] = text_vectors.to_bytes()
    if not (folder / CARD).exists():
        contents[CARD] = _card(checkpoint, text_vectors).encode()
    write_files(folder, contents, obsolete=[VECTORS] if text_vectors is None else [])


def _read_folder(folder: Path, name: str) -> Pretrained:
    if (folder / MODEL).is_file():
        checkpoint = load(folder / MODEL)
    elif (folder / PICKLE).is_file():
        checkpoint = _converted(folder / PICKLE)
    else:
        raise InputError(
            f"{folder}: no {MODEL} in this folder; expected one written by save_pretrained, or the published {PICKLE}"
        )
    checkpoint.name = name
    if not (folder / VECTORS).is_file():
        return Pretrained(checkpoint)
    vectors = TextVectors.load(folder / VECTORS)
    vectors.check_space(checkpoint.text_space, checkpoint.config.text_dim)
    return Pretrained(checkpoint, vectors)


def _converted(pickle: Path) -> Checkpoint:
    """The checkpoint of a published pickle, converted once; the conversion needs torch."""
    try:
        with open(pickle, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{pickle}: cannot be read ({error.strerror}); download it again") from error
    kept: Path | None = None
    with suppress(RuntimeError, InputError):  # no home folder; not there, or damaged
        kept = cache_folder() / "models" / f"{digest[:40]}.safetensors"
        return load(kept)
    from tempfile import TemporaryDirectory  # here, because its import takes long

    with TemporaryDirectory() as temporary:
        converted = Path(temporary) / MODEL
        checkpoint = convert_official(pickle, converted)
        if kept is not None:
            with suppress(OSError, InputError):  # a cache that cannot be written costs only time
                kept.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(kept) as copy:
                    copy.write(converted.read_bytes())
    return checkpoint


def _download(repository: str, revision: str | None) -> Path:
    """The folder of a repository in the cache of huggingface_hub; downloads what is not there."""
    name = f"{repository}@{revision}" if revision else repository
    try:
        from huggingface_hub import snapshot_download, try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
    except ImportError as error:
        raise InputError(
            f"{name}: no such file or folder, and models of the hub need huggingface_hub; "
            "give a path or install it with pip install 'pa3d[hub]'"
        ) from error

    def files(local_only: bool) -> Path | None:
        wanted = [MODEL, CONFIG, VECTORS, PICKLE]
        with _silent():
            folder = Path(
                snapshot_download(repository, revision=revision, allow_patterns=wanted, local_files_only=local_only)
            )
        return folder if (folder / MODEL).is_file() or (folder / PICKLE).is_file() else None

    with suppress(OSError, ValueError):  # not in the cache
        if (found := files(local_only=True)) is not None:
            return found
    try:
        found = files(local_only=False)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        what = "no such revision" if isinstance(error, RevisionNotFoundError) else "no such model, or it is private"
        raise InputError(f"{name}: no such file or folder, and on the hub {what}; check the name") from error
    except Exception as error:  # of the network, in the words of several libraries
        for file in (MODEL, PICKLE):  # downloaded before, without the smaller files
            cached = try_to_load_from_cache(repository, file, revision=revision)
            if isinstance(cached, str):
                return Path(cached).parent
        raise InputError(
            f"{name}: no such file or folder, not in the local cache of the hub, and it cannot be downloaded "
            f"({_reason(error)}); connect to the network, or run hf download {repository} elsewhere and give the folder"
        ) from error
    if found is None:
        raise InputError(f"{name}: the repository has no {MODEL} or {PICKLE}; it is not a model of pa3d")
    return found


@contextmanager
def _silent() -> Iterator[None]:
    """Without the warnings and progress bars of huggingface_hub: what fails is reported once, by the error."""
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger, shown = logging.getLogger("huggingface_hub"), not are_progress_bars_disabled()
    level = logger.level
    try:
        logger.setLevel(logging.CRITICAL)
        disable_progress_bars()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        if shown:
            enable_progress_bars()


def _reason(error: Exception) -> str:
    """The first sentence of the message."""
    lines = str(error).strip().splitlines()
    return lines[0].partition(". ")[0].rstrip(".") if lines else type(error).__name__


def _is_exact_in_half(checkpoint: Checkpoint) -> bool:
    """Whether float16 holds every weight, as it does for the embedded model."""
    with np.errstate(over="ignore"):
        return all(np.array_equal(t.astype(np.float16).astype(np.float32), t) for t in checkpoint.tensors.values())


def _config(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "model_type": "pa3d",
        "encoder": checkpoint.config.to_dict(),
        "text_space": checkpoint.text_space,
        "temperature": checkpoint.temperature,
        "prompts": checkpoint.prompts,
        "assign": checkpoint.assign,
        "precisions": list(checkpoint.precisions),
    }


def _card(checkpoint: Checkpoint, text_vectors: TextVectors | None) -> str:
    """A model card with what the checkpoint says of itself."""
    c = checkpoint.config
    millions = sum(tensor.size for tensor in checkpoint.tensors.values()) / 1e6
    notes = []
    if text_vectors is not None:
        category = f", for the category {text_vectors.category!r}" if text_vectors.category else ""
        names = ", ".join(text_vectors.names)
        notes.append(f"`{VECTORS}` has the vectors of these names{category}, which need no text encoder: {names}.")
    if licences := sorted(_licences(checkpoint.provenance)):
        notes.append(f"Licences of the training data, by the checkpoint: {', '.join(licences)}.")
    notes.append(f"The metadata of `{MODEL}` say how the weights were made.")
    paragraphs = "\n\n".join(notes)
    passes = f", in passes of about {c.pass_points:,} points" if c.pass_points else ""
    return f"""---
library_name: pa3d
tags: [3d, point-cloud, mesh, part-segmentation]
---

# {checkpoint.name or "A model of pa3d"}

An encoder of 3D shapes for pa3d, which names the parts of a mesh or point cloud from free text. The method is
PatchAlign3D ([arXiv 2601.02457](https://arxiv.org/abs/2601.02457)).

    import pa3d

    seg = pa3d.Segmenter.from_pretrained("owner/name")  # or the path of this folder
    seg.segment("chair.glb", ["seat", "back", "leg"])

{millions:.1f} M parameters; {c.patches} patches of {c.patch_size} points{passes}; text space {checkpoint.text_space},
{c.text_dim} dimensions.

{paragraphs}

To add here: training data, results, limits, and the licence of the weights.
"""


def _licences(provenance: Any) -> set[str]:
    """What the lists named "licenses" have, at any depth."""
    if not isinstance(provenance, dict):
        return set()
    own = provenance.get("licenses")
    found = {str(licence) for licence in own} if isinstance(own, list) else set()
    return found.union(*(_licences(value) for value in provenance.values()))
