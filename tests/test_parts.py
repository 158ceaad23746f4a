"""Training records: sampling a labelled mesh, and shards that come back as they went in."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pa3d.data.parts import PartCloud, PartMesh, read_shards, write_shards
from pa3d.errors import InputError


def two_squares() -> PartMesh:
    """A square of area 1 at z = 0 and one of area 3 (three times as wide) at z = 1."""
    low = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    high = [[0, 0, 1], [3, 0, 1], [3, 1, 1], [0, 1, 1]]
    faces = [[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]
    return PartMesh(
        np.array(low + high, np.float32),
        np.array(faces, np.int32),
        np.array([0, 0, 1, 1], np.int32),
        [("foot", "leg"), ("thigh", "leg")],
    )


def cloud(seed: int, points: int = 100, names: int = 3) -> PartCloud:
    rng = np.random.default_rng(seed)
    masks = rng.random((names, points)) > 0.5
    positions = rng.standard_normal((points, 3)).astype(np.float32)
    return PartCloud(positions, [f"part {i}" for i in range(names)], masks, "thing", "here", "MIT", f"id {seed}")


def test_sampling_follows_area_and_unites_names() -> None:
    record = two_squares().sample(4000, np.random.default_rng(0))
    masks = dict(zip(record.names, record.masks, strict=True))
    assert record.names == ["foot", "leg", "thigh"]
    # Stratified draws: the share of a quarter of the area is a quarter, up to one stratum at each end.
    assert abs(int(masks["foot"].sum()) - 1000) <= 2
    assert (masks["leg"]).all() and not (masks["foot"] & masks["thigh"]).any()
    assert (record.points[masks["foot"], 2] == 0).all() and (record.points[masks["thigh"], 2] == 1).all()


def test_a_mesh_without_surface() -> None:
    flat = two_squares()
    flat.vertices[:] = 0
    with pytest.raises(InputError, match="no surface to sample"):
        flat.sample(10, np.random.default_rng(0))


@pytest.mark.parametrize("count", [0, 1, 3, 7])
def test_shards_give_back_what_was_written(tmp_path: Path, count: int) -> None:
    records = [cloud(i, points=90 + i) for i in range(count)]
    assert write_shards(iter(records), tmp_path, shard_size=3) == count
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"shard-{i:05d}.tar" for i in range((count + 2) // 3)]
    if count == 0:
        with pytest.raises(InputError, match="no shard"):
            next(read_shards(tmp_path))
        return
    for before, after in zip(records, read_shards(tmp_path), strict=True):
        assert (before.points == after.points).all() and (before.masks == after.masks).all()
        assert (before.names, before.category, before.source, before.license, before.id) == (
            after.names,
            after.category,
            after.source,
            after.license,
            after.id,
        )


def test_a_failing_record_leaves_no_shard_under_its_name(tmp_path: Path) -> None:
    def records() -> object:
        yield cloud(0)
        raise RuntimeError("source broke")

    with pytest.raises(RuntimeError, match="source broke"):
        write_shards(records(), tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.glob("shard-*.tar"))


def test_damaged_shards(tmp_path: Path) -> None:
    write_shards([cloud(0)], tmp_path)
    shard = tmp_path / "shard-00000.tar"
    shard.write_bytes(shard.read_bytes()[:700])
    with pytest.raises(InputError, match=r"shard-00000\.tar"):
        list(read_shards(tmp_path))
    with tarfile.open(shard, "w"):
        pass
    assert list(read_shards(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": 3}, "'names' is not a list of names"),
        ({"names": ["a", 1, "c"]}, "'names' is not a list of names"),
        ({"names": ["a", "b"]}, r"masks \(3, 100\) for 2 names of 100 points"),
        ({"id": 7}, "'id' is not text"),
        ({"provenance": [1]}, "'provenance' is not an object"),
        ({"points": np.zeros((100, 2), np.float32)}, r"points \(100, 2\) of float32"),
        ({"points": np.full((100, 3), np.nan, np.float32)}, r"points \(100, 3\) of float32; expected finite numbers"),
        (
            {"centers": np.zeros((4, 3), np.float32), "patch_features": np.zeros((5, 8), np.float16)},
            r"features \(5, 8\) of centers \(4, 3\)",
        ),
    ],
)
def test_shards_of_other_types_and_shapes(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """The message names the record and what is wrong with it."""
    write_shards([replace(cloud(0), **change)], tmp_path)
    with pytest.raises(InputError, match=rf"shard-00000\.tar: record 0000000 is damaged \({message}"):
        list(read_shards(tmp_path))


def test_a_shard_that_declares_more_than_it_holds(tmp_path: Path) -> None:
    """Neither a count in the JSON nor one in the header of an array makes reading take the memory for it."""
    write_shards([cloud(0)], tmp_path)
    shard = tmp_path / "shard-00000.tar"
    data = shard.read_bytes()
    shard.write_bytes(data.replace(b'"points": 100', b'"points": 9e9'))
    assert next(read_shards(tmp_path)).masks.shape == (3, 100)
    shard.write_bytes(data.replace(b"(100, 3), }" + 10 * b" ", b"(9999999999999, 3), }"))
    with pytest.raises(InputError, match="record 0000000 is damaged"):
        list(read_shards(tmp_path))
