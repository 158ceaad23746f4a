"""What is fuzzed: everything that reads foreign bytes. A target takes a file and says in a word what came of it.

A target may raise InputError only. The shape formats come from pa3d.io, so that a new format is fuzzed as soon as it
is declared.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import seeds

from pa3d import io
from pa3d.checkpoint import load as load_checkpoint
from pa3d.cli.options import part_names
from pa3d.data.harvest.readers import READERS
from pa3d.data.harvest.walk import harvest
from pa3d.data.parts import read_shards
from pa3d.errors import InputError
from pa3d.evaluate import paired
from pa3d.evaluate.plain_pickle import load_pickled_dict
from pa3d.evaluate.run import FORMAT
from pa3d.keypoints import _example
from pa3d.segment import Segmentation, Segmenter
from pa3d.shape import Shape
from pa3d.text import check_names
from pa3d.text.minilm import MiniLM
from pa3d.text.vectors import TextVectors
from pa3d.train.config import load_config, to_toml

MOST_PIECES = 20  # of an archive


@dataclass
class Target:
    """run: reads the file at a path. seeds: valid files. mutator: of mutators.py, "" for bytes alone."""

    name: str
    file: str
    run: Callable[[Path], str]
    seeds: Callable[[], list[bytes]]
    mutator: str = ""


BY_SUFFIX = {
    **{
        ".glb": "glb",
        ".gltf": "json",
        ".npz": "zip",
        ".3mf": "zip",
        ".zae": "zip",
        ".zip": "zip",
        ".sh3f": "zip",
    },
    **dict.fromkeys((".npy", ".las", ".laz", ".fbx", ".usdc", ".usd", ".usdz"), ""),
}


def targets() -> Iterator[Target]:
    for suffix in io.SUFFIXES:
        kind = BY_SUFFIX.get(suffix, "text")
        yield Target(suffix[1:], "x" + suffix, _load, lambda s=suffix: seeds.of_suffix(s), kind)
    for suffix in (".glb", ".gltf", ".obj", ".ply", ".pcd"):  # written by pa3d itself, from the bytes of the file
        kind = BY_SUFFIX.get(suffix, "text")
        yield Target(f"asset-{suffix[1:]}", "x" + suffix, _asset, lambda s=suffix: seeds.of_suffix(s), kind)
    for suffix in READERS:
        if suffix not in (".gltf", ".fbx"):
            kind = BY_SUFFIX.get(suffix, "text")
            yield Target(
                f"harvest-{suffix[1:]}", "x" + suffix, _harvest, lambda s=suffix: seeds.harvest_files()[s], kind
            )
    yield Target("checkpoint", "x.safetensors", _checkpoint, seeds.checkpoints, "safetensors")
    yield Target("text-vectors", "x.safetensors", _text_vectors, lambda: [seeds.text_vectors()], "safetensors")
    yield Target("shard", "shard-00000.tar", _shard, lambda: [seeds.shard()], "tar")
    yield Target("names", "x.txt", _names, seeds.names, "text")
    yield Target("keypoints", "x.json", _keypoints, lambda: [KEYPOINTS], "json")
    yield Target("results", "x.json", _results, lambda: [RESULTS], "json")
    yield Target("config", "x.toml", _config, lambda: [p.read_bytes() for p in sorted(CONFIGS.glob("*.toml"))], "text")
    yield Target("pickled-labels", "x.npy", _pickled, lambda: [seeds.npy({"a": np.arange(3), "b": [{"c": 1.5}]})])
    yield Target("segment", "x.bin", _segment, lambda: [SEGMENT, SEGMENT[:6] + b"\1" + SEGMENT[7:]])


CONFIGS = Path(__file__).parents[2] / "configs"
KEYPOINTS = b'{"file": "x.glb", "up": "y", "keypoints": [{"name": "tip", "position": [0, 1.5, -2]}]}'
RESULTS = (
    b'{"format": FORMAT, "method": {"name": "pa3d"}, "dataset": {"name": "npz"}, "protocol": {"name": "pa3d"}, '
    b'"failed": [], "shapes": [{"id": "a", "category": "chair", "miou": 0.5}, '
    b'{"id": "b", "category": "chair", "miou": null}]}'
).replace(b"FORMAT", json.dumps(FORMAT).encode())
SEGMENT = (
    bytes([1, 2, 0, 0, 5, 6, 0]) + seeds.CORNERS.tobytes() + seeds.TRIANGLES.astype(np.uint8).tobytes() + b"seat,leg"
)


def _load(path: Path) -> str:
    size = path.stat().st_size
    tables = [suffix for format in io.formats() if format.table for suffix in format.suffixes]
    columns = ("2,3,1", "x,y,z", "a,2,c")[size % 9 // 3] if path.suffix in tables and size % 3 == 0 else None
    shape = io.load(path, nan="skip", columns=columns)
    missing = shape.missing()
    assert (missing is None or not shape.is_mesh) and shape.validate("skip") is shape
    return f"{'mesh' if shape.is_mesh else 'cloud'}, colours {shape.colors is not None}, missing {missing is not None}"


def _asset(path: Path) -> str:
    """A shape that can be read comes back in parts, and can be read again."""
    from pa3d.report.asset import asset_files

    shape = io.load(path, nan="skip")

    def labels(n: int) -> tuple[np.ndarray, np.ndarray]:
        return (np.arange(n) % 3 - 1).astype(np.int32), np.full((n, 2), 0.5, np.float32)

    faces = (None, None) if shape.faces is None else labels(len(shape.faces))
    files = asset_files(Segmentation(shape, ["a", "b"], *labels(len(shape.points)), *faces), split=True)
    for name in ("parts.glb", "parts.obj", "parts.ply", "parts.pcd"):
        if name in files:
            again = path.with_name(f"again{Path(name).suffix}")
            again.write_bytes(files[name])
            found = io.load(again, nan="skip")
            assert len(found.points) == len(shape.points), name
            assert shape.faces is None or found.faces is None or len(found.faces) == len(shape.faces), name
    return ", ".join(files)


def _harvest(path: Path) -> str:
    return f"{len(list(islice(harvest(path), MOST_PIECES)))} shapes"


def _checkpoint(path: Path) -> str:
    return f"encoder of {load_checkpoint(path).config.depth} blocks"


def _text_vectors(path: Path) -> str:
    return f"{len(TextVectors.load(path).names)} names"


def _shard(path: Path) -> str:
    from pa3d.train.records import ShardRecords

    one = [len(record.names) for record in read_shards(path.parent)]
    folder = ShardRecords(path.parent)
    return f"{len(one)} records, {sum(len(folder[i].names) for i in range(len(folder.infos)))} names"


@cache
def _encoder() -> MiniLM:
    return MiniLM()


def _names(path: Path) -> str:
    names = part_names(str(path))
    check_names(names)
    unreadable = sum(bool(_encoder().unsupported_reason(name)) for name in names)
    return f"{min(len(names), 9)} names, some unreadable {unreadable > 0}"


def _keypoints(path: Path) -> str:
    return f"{len(_example(path).names)} points"


def _results(path: Path) -> str:
    paired.compare(path, path)
    return "compared"


def _config(path: Path) -> str:
    config = load_config(path, "stage2")
    from pa3d.train.config import to_dict

    return f"{len(to_toml(to_dict(config))) > 0}"


def _pickled(path: Path) -> str:
    return f"{len(load_pickled_dict(path))} entries"


@cache
def _segmenter() -> Segmenter:
    return Segmenter(seeds.tiny_checkpoint(), precision="fp32", threads=1)


def _segment(path: Path) -> str:
    """Any shape with any names and options, to the files that pa3d segment writes, which are then read again."""
    from pa3d.report import summary
    from pa3d.report.files import labels_npz, painted_glb, painted_ply

    data = path.read_bytes()
    if len(data) < 7:
        raise InputError("too short")
    assign, sample, up, none, n, n_faces, kind = data[:7]
    dtype = np.dtype("<f4" if kind % 3 == 1 else "<f8" if kind % 3 == 2 else "<f4")
    body = data[7:].ljust(3 * n * dtype.itemsize + 3 * n_faces, b"\0")
    at = 3 * n * dtype.itemsize
    points = np.frombuffer(body, dtype, 3 * n).reshape(n, 3)
    faces = np.frombuffer(body, np.uint8, 3 * n_faces, at).reshape(-1, 3) if n_faces else None
    names = [name for name in body[at + 3 * n_faces :].decode("utf-8", "replace").split(",") if name][:5] or ["a", "b"]
    vectors = np.eye(max(len(names), 1), seeds.TINY.text_dim) + 0.1
    result = _segmenter().segment(
        Shape(points, faces, name=names[0]),
        names,
        text_vectors=vectors,
        assign=(None, "nearest", "membership", "smooth")[assign % 4],  # type: ignore[arg-type]
        sample=None if sample == 0 else sample,
        none=none / 255 or None,
        up="xyz"[up % 3],
    )
    k = len(names)
    assert result.labels.min() >= -1 and result.labels.max() < k and np.isfinite(result.scores).all()
    summary(result)
    labels_npz(result)
    written = painted_glb(result) if result.shape.is_mesh else painted_ply(result)
    again = path.with_name("again.glb" if result.shape.is_mesh else "again.ply")
    again.write_bytes(written)
    shape = io.load(again, up=result.shape.up, nan="skip")
    assert len(shape.points) == n
    return f"{'mesh' if result.shape.is_mesh else 'cloud'} of {k}"


if __name__ == "__main__":  # writes the seeds of every target to a folder, and prints their names
    for target in targets():
        folder = Path(sys.argv[1]) / target.name
        folder.mkdir(parents=True)
        found = [data for data in target.seeds() if data]
        for number, data in enumerate(found):
            (folder / f"seed{number}").write_bytes(data)
        if found:
            print(target.name)
    seeds.write_capi(Path(sys.argv[1]) / "capi")
