"""The layout of Find3D's engine on disk: what is written comes back, and what does not fit is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from pa3d.data.official import (  # noqa: E402
    OfficialRecord,
    OfficialViews,
    is_official,
    official_entries,
    read_entry,
    read_official,
    read_views,
    split_entry,
    write_entry,
    write_official,
    write_split,
    write_tiny_official,
)
from pa3d.data.parts import read_shards, write_shards  # noqa: E402
from pa3d.errors import InputError  # noqa: E402


def record(seed: int = 0, *, features: bool = True) -> OfficialRecord:
    rng = np.random.default_rng(seed)
    centers, vectors = rng.random((4, 3), np.float32), rng.random((4, 5), np.float32)
    return OfficialRecord(
        rng.random((50, 3), np.float32), ["seat", "leg"], rng.random((2, 50)) < 0.5, "office chair", f"a{seed}",
        centers if features else None, vectors if features else None,
    )  # fmt: skip


def views(seed: int = 0) -> OfficialViews:
    rng = np.random.default_rng(seed)
    faces = rng.integers(-1, 20, (11, 6, 8)).astype(np.int32)
    return OfficialViews(rng.integers(0, 256, (11, 6, 8, 3)).astype(np.uint8), faces, np.arange(50, dtype=np.int32))


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    records = [record(0), record(1, features=False)]
    assert write_official(records, tmp_path, "val", views=[views(0), views(1)]) == 2
    assert is_official(tmp_path) and is_official(tmp_path / "labeled") and not is_official(tmp_path / "labeled/split")
    assert official_entries(tmp_path, "val") == ["office_chair_a0", "office_chair_a1"]
    for before, after in zip(records, read_official(tmp_path / "labeled", "val"), strict=True):
        assert (before.points == after.points).all() and (before.masks == after.masks).all()
        assert (after.names, after.category, after.id) == (before.names, before.category, before.id)
        if before.patch_feats is None:
            assert after.patch_feats is None and after.centers_xyz is None
        else:
            assert (before.patch_feats == after.patch_feats).all() and (before.centers_xyz == after.centers_xyz).all()
    found = read_views(tmp_path, "office_chair_a1")
    assert (found.images == views(1).images).all() and (found.pix2face == views(1).pix2face).all()
    assert (found.point2face == views(1).point2face).all()
    with pytest.raises(InputError, match=r"patch_features\.pt: no such file"):
        list(read_official(tmp_path, "val", features=True))
    assert not list(tmp_path.rglob("*.tmp"))


def test_equal_labels_are_united_and_blank_ones_left_out(tmp_path: Path) -> None:
    masks = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]], bool)
    entry = write_entry(tmp_path, OfficialRecord(np.eye(3, dtype=np.float32), ["a", "b", "", "a"], masks, "x", "1"))
    found = read_entry(tmp_path, entry)
    assert found.names == ["a", "b"]
    assert found.masks.tolist() == [[True, True, True], [False, True, False]]


def test_files_of_the_engine_itself(tmp_path: Path) -> None:
    """Points with colours after them, masks of integers, labels without a last line end, pictures unpadded."""
    entry = write_entry(tmp_path, record(), views())
    points, oriented = tmp_path / "labeled/points/a0/points.pt", tmp_path / "labeled/rendered/office_chair_a0/oriented"
    torch.save(torch.cat([torch.load(points), torch.rand(50, 3)], 1).double(), points)
    masks = oriented / "masks/merged/mask2points.pt"
    torch.save(torch.load(masks).long(), masks)
    (oriented / "masks/merged/mask_labels.txt").write_text("seat\nleg")
    for number in range(11):
        (oriented / f"imgs/{number:02d}.png").rename(oriented / f"imgs/view_{number}.png")
    found = read_entry(tmp_path, entry)
    assert np.allclose(found.points, record().points) and found.points.dtype == np.float32
    assert (found.masks == record().masks).all() and found.names == ["seat", "leg"]
    assert (read_views(tmp_path, entry).images == views().images).all()


def test_turning_between_shards_and_this_layout(tmp_path: Path) -> None:
    before = record()
    cloud = before.to_part_cloud(license="CC0-1.0")
    assert (cloud.points == before.points[:, [0, 2, 1]]).all()  # y up
    write_shards([cloud], tmp_path)
    after = OfficialRecord.from_part_cloud(next(read_shards(tmp_path)))
    assert (after.points == before.points).all() and (after.centers_xyz == before.centers_xyz).all()
    # Shards keep features in half precision: 11 bits.
    assert np.abs(after.patch_feats - before.patch_feats).max() <= 2**-12


def test_tiny_set(tmp_path: Path) -> None:
    write_tiny_official(tmp_path)
    training, validation = list(read_official(tmp_path)), list(read_official(tmp_path, "val"))
    assert (len(training), len(validation)) == (6, 2)
    for found in [*training, *validation]:
        assert found.points.shape == (600, 3) and found.masks.shape == (len(found.names), 600)
        assert len(found.names) >= 2 and len(set(found.names)) == len(found.names)
        assert found.masks.any(axis=1).all() and found.masks.any(axis=0).mean() > 0.9
        assert found.centers_xyz.shape == (16, 3) and np.allclose(np.linalg.norm(found.patch_feats, axis=1), 1)
        lines = next((tmp_path / "labeled/rendered").glob(f"*_{found.id}")) / "oriented/masks/merged/mask_labels.txt"
        assert len(lines.read_text().splitlines()) == len(found.names) + 1
        seen = read_views(tmp_path, f"{found.category}_{found.id}")
        assert (seen.pix2face >= 0).any() and seen.pix2face.max() >= seen.point2face.min() >= 0
    write_tiny_official(tmp_path / "again")
    assert (next(read_official(tmp_path / "again")).points == training[0].points).all()


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.txt: no such file"):
        official_entries(tmp_path)
    write_split(tmp_path, "train", [])
    with pytest.raises(InputError, match="empty"):
        list(read_official(tmp_path))
    with pytest.raises(InputError, match="CATEGORY_UID"):
        split_entry("../../etc_x")
    entry = write_entry(tmp_path, record())
    merged = tmp_path / "labeled/rendered/office_chair_a0/oriented/masks/merged"
    (merged / "mask_labels.txt").write_text("seat\n")
    with pytest.raises(InputError, match=r"expected shape \(1, 50\)"):
        read_entry(tmp_path, entry)
    (merged / "mask2points.pt").write_bytes(b"not a tensor")
    with pytest.raises(InputError, match="not a readable file of tensors"):
        read_entry(tmp_path, entry)
    features = merged.parents[1] / "patch_dino/patch_features.pt"
    torch.save({"centers_xyz": torch.zeros(4, 3), "patch_feats": torch.zeros(4, 5), "feature_dim": 6}, features)
    write = write_entry(tmp_path, record(1))
    with pytest.raises(InputError, match="pictures"):
        (merged.parents[2].parent / f"{write}/oriented/imgs").mkdir()
        torch.save(torch.zeros(2, 3, 3), merged.parents[2].parent / f"{write}/oriented/pix2face.pt")
        torch.save(torch.zeros(50), tmp_path / "labeled/points/a1/point2face.pt")
        read_views(tmp_path, write)
    with pytest.raises(InputError, match="letters or digits"):
        write_entry(tmp_path, OfficialRecord(np.zeros((1, 3), np.float32), [], np.zeros((0, 1), bool), "x", "//"))


def test_damaged_tensors_are_named_and_bugs_are_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = write_entry(tmp_path, record())
    path = tmp_path / "labeled/points/a0/points.pt"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [whole[:length] for length in range(0, len(whole), 211)]
    for _ in range(40):
        changed = np.frombuffer(whole, np.uint8).copy()
        changed[rng.integers(0, 200, 4)] = rng.integers(0, 256, 4)
        damaged.append(changed.tobytes())
    for data in damaged:
        path.write_bytes(data)
        try:
            read_entry(tmp_path, entry)
        except InputError as error:
            assert "points.pt" in str(error)

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    path.write_bytes(whole)
    monkeypatch.setattr(torch, "load", broken)
    with pytest.raises(ZeroDivisionError):
        read_entry(tmp_path, entry)


def test_a_shape_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = write_entry(tmp_path, record(0))
    before = read_entry(tmp_path, entry)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_entry(tmp_path, record(0))
    assert (read_entry(tmp_path, entry).points == before.points).all()
    assert [path.name for path in (tmp_path / "labeled/points").iterdir()] == ["a0"]


def test_two_shapes_of_one_id(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two shapes"):
        write_official([record(0), record(0)], tmp_path)


def test_damaged_features(tmp_path: Path) -> None:
    entry = write_entry(tmp_path, record())
    features = tmp_path / "labeled/rendered/office_chair_a0/oriented/patch_dino/patch_features.pt"
    good = torch.load(features)
    for wrong in (
        {"feature_dim": 6},
        {"centers_xyz": torch.zeros(3, 3)},
        {"patch_feats": torch.full((4, 5), torch.nan)},
    ):
        torch.save({**good, **wrong}, features)
        with pytest.raises(InputError, match=r"patch_features\.pt"):
            read_entry(tmp_path, entry)
    torch.save([good], features)
    with pytest.raises(InputError, match="dictionary"):
        read_entry(tmp_path, entry)
    assert read_entry(tmp_path, entry, features=False).patch_feats is None
