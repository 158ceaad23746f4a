"""Records of shapes with named parts, and the tar shards that hold them.

A part may carry several names, the finest first (``("upper arm", "arm")``), so that a cloud's masks overlap: the
same point answers to every granularity its author or generator knew.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.io._common import first_line
from pa3d.io.npy import NUMPY_ERRORS
from pa3d.sampling import sample_surface

# MemoryError: a header that declares more than there is.
RECORD_ERRORS: tuple[type[Exception], ...] = (MemoryError, *NUMPY_ERRORS)


@dataclass
class PartCloud:
    """Points on a shape's surface, y up, with one boolean mask per part name (masks may overlap).

    centers, patch_features: what stage 1 is taught, unit vectors (pa3d prepare); None where there is none.
    provenance: how the record came to be: the file, and for prepared ones the views and the backbone.
    """

    points: NDArray[np.float32]  # (P, 3)
    names: list[str]  # L
    masks: NDArray[np.bool_]  # (L, P)
    category: str
    source: str
    license: str
    id: str
    centers: NDArray[np.float32] | None = None  # (G, 3)
    patch_features: NDArray[np.float32] | None = None  # (G, D)
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass
class PartMesh:
    """A triangle mesh, y up, whose faces belong to named parts.

    faces: (F, 3) int32; face_parts: (F,) int32 index into parts, -1 for none;
    parts: for every part its names, finest first, then coarser ones or synonyms; provenance as of a PartCloud.
    """

    vertices: NDArray[np.float32]  # (V, 3)
    faces: NDArray[np.int32]  # (F, 3)
    face_parts: NDArray[np.int32]  # (F,)
    parts: list[tuple[str, ...]] = field(default_factory=list)
    category: str = ""
    source: str = ""
    license: str = ""
    id: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)

    def sample(self, n: int, rng: np.random.Generator) -> PartCloud:
        """n area-weighted surface points; names that no point carries are dropped."""
        return self.sample_with_faces(n, rng)[0]

    def sample_with_faces(self, n: int, rng: np.random.Generator) -> tuple[PartCloud, NDArray[np.int32]]:
        """As sample, with the face of every point (n,)."""
        points, face = sample_surface(self.vertices, self.faces, n, rng, self.id or "mesh")
        part = self.face_parts[face]
        names: dict[str, NDArray[np.bool_]] = {}
        for index, synonyms in enumerate(self.parts):
            mine = part == index
            if mine.any():
                for name in synonyms:
                    names[name] = names.get(name, np.zeros(n, bool)) | mine
        masks = np.stack(list(names.values())) if names else np.zeros((0, n), bool)
        cloud = PartCloud(points, list(names), masks, self.category, self.source, self.license, self.id)
        return cloud, face


def write_shards(records: Iterable[PartCloud], folder: str | Path, *, shard_size: int = 500) -> int:
    """Write records as WebDataset tar shards ``shard-00000.tar`` ...; returns how many records were written.

    A record's members are those of `record_members`. A shard appears under its name only when complete.
    """
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    for number, shard in enumerate(_chunks(records, shard_size)):
        target = out / f"shard-{number:05d}.tar"
        partial = out / f".{target.name}.part"
        with tarfile.open(partial, "w") as tar:
            for record in shard:
                for kind, data in record_members(record).items():
                    _add(tar, f"{count:07d}.{kind}", data)
                count += 1
        os.replace(partial, target)
    return count


def record_members(record: PartCloud) -> dict[str, bytes]:
    """The files of a record in a shard, by the end of their names, after the number of the record.

    points.npy: (P, 3) float32.
    masks.npy: (L, ceil(P/8)) uint8, the packed bits of the masks.
    centers.npy, features.npy: (G, 3) float32 and (G, D) float16, if the record has patch features.
    json: names, category, source, license, id, points, and provenance if it is known.
    Equal records give equal bytes.
    """
    meta: dict[str, Any] = {k: getattr(record, k) for k in ("names", "category", "source", "license", "id")}
    meta["points"] = len(record.points)
    if record.provenance:
        meta["provenance"] = record.provenance
    members = {
        "points.npy": _npy(record.points.astype(np.float32)),
        "masks.npy": _npy(np.packbits(record.masks, axis=1)),
    }
    if record.centers is not None and record.patch_features is not None:
        members["centers.npy"] = _npy(record.centers.astype(np.float32))
        members["features.npy"] = _npy(record.patch_features.astype(np.float16))
    members["json"] = json.dumps(meta, sort_keys=True).encode()
    return members


def _chunks(records: Iterable[PartCloud], size: int) -> Iterator[Iterator[PartCloud]]:
    """Runs of at most `size` records, each to be used up before the next."""
    records = iter(records)
    for first in records:
        yield itertools.chain([first], itertools.islice(records, size - 1))


def read_shards(folder: str | Path) -> Iterator[PartCloud]:
    """Every record of a folder of shards, in order. Raises InputError when there is none or a shard is damaged."""
    shards = sorted(Path(folder).glob("shard-*.tar"))
    if not shards:
        raise InputError(f"{folder}: no shard-*.tar here; expected a folder written by pa3d harvest, synth or prepare")
    for shard in shards:
        parts: dict[str, dict[str, bytes]] = {}
        try:
            with tarfile.open(shard) as tar:
                for member in tar:
                    key, _, kind = member.name.partition(".")
                    stream = tar.extractfile(member)
                    parts.setdefault(key, {})[kind] = stream.read() if stream else b""
        except (tarfile.TarError, OSError) as error:
            raise InputError(f"{shard}: not a readable tar shard ({error}); write it again") from error
        for key in sorted(parts):
            yield record_from_members(shard, key, parts[key])


def record_from_members(shard: Path, key: str, members: dict[str, bytes]) -> PartCloud:
    """What `record_members` made; shard and key are for the message of the InputError that damage raises."""
    try:
        meta = json.loads(members["json"])
        points = np.load(io.BytesIO(members["points.npy"]), allow_pickle=False)
        bits = np.load(io.BytesIO(members["masks.npy"]), allow_pickle=False)
        masks = np.unpackbits(bits, axis=1)[:, : len(points)].astype(bool)  # padding follows the last point
        record = PartCloud(
            points, meta["names"], masks, meta["category"], meta["source"], meta["license"], meta["id"],
            provenance=meta.get("provenance", {}),
        )  # fmt: skip
        if "features.npy" in members:
            record.centers = np.load(io.BytesIO(members["centers.npy"]), allow_pickle=False)
            features = np.load(io.BytesIO(members["features.npy"]), allow_pickle=False)
            record.patch_features = features.astype(np.float32)
        _check_record(record)
        return record
    except RECORD_ERRORS as error:
        raise InputError(f"{shard}: record {key} is damaged ({first_line(error)}); write the shard again") from error


def _check_record(record: PartCloud) -> None:
    """Raises ValueError unless types and shapes are those of a PartCloud."""
    if not (isinstance(record.names, list) and all(isinstance(name, str) for name in record.names)):
        raise ValueError("'names' is not a list of names")
    for key in ("category", "source", "license", "id"):
        if not isinstance(getattr(record, key), str):
            raise ValueError(f"'{key}' is not text")
    if not isinstance(record.provenance, dict):
        raise ValueError("'provenance' is not an object")
    shape = record.points.shape
    if record.points.dtype.kind != "f" or shape[1:] != (3,) or not np.isfinite(record.points).all():
        raise ValueError(f"points {shape} of {record.points.dtype}; expected finite numbers (P, 3)")
    if record.masks.shape != (len(record.names), len(record.points)):
        raise ValueError(f"masks {record.masks.shape} for {len(record.names)} names of {len(record.points)} points")
    if record.patch_features is not None and record.centers is not None:
        centers, features = record.centers.shape, record.patch_features.shape
        if centers[1:] != (3,) or len(features) != 2 or features[0] != centers[0]:
            raise ValueError(f"features {features} of centers {centers}; expected (G, D) of (G, 3)")


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
