"""Training records by number, from shards, the official layout or memory.

Opening a folder reads only names and categories. Points, masks and features stay on disk until their record is drawn,
so a data set may be larger than memory, and a process reads only what it trains on.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pa3d.data.official import is_official, official_entries, read_entry, split_entry
from pa3d.data.parts import PartCloud, record_from_members
from pa3d.errors import InputError
from pa3d.text import clean_name


@dataclass(frozen=True)
class RecordInfo:
    """What is known of a record before it is read. names: as `mask_rows_by_name` returns them."""

    names: tuple[str, ...]
    category: str
    license: str
    has_features: bool


class Records(Protocol):
    """Records by number; picklable, so that worker processes can have them."""

    infos: list[RecordInfo]

    def __getitem__(self, index: int) -> PartCloud:
        """Raises InputError when the record is damaged."""
        ...


def mask_rows_by_name(names: Sequence[str], category: str) -> dict[str, list[int]]:
    """From each clean name to the rows of the masks whose name it is.

    Names without a letter or digit are left out, and so is the category itself, which names no part.
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        with suppress(InputError):  # nothing is left of the name
            rows.setdefault(clean_name(name), []).append(row)
    if category:
        with suppress(InputError):
            rows.pop(clean_name(category), None)
    return rows


def merge_names(record: PartCloud) -> PartCloud:
    """The record with clean names; the mask of equal names is the union of their masks."""
    rows = mask_rows_by_name(record.names, record.category)
    masks = [record.masks[r].any(axis=0) for r in rows.values()]
    merged = np.stack(masks) if masks else np.zeros((0, len(record.points)), bool)
    return replace(record, names=list(rows), masks=merged)


class MemoryRecords:
    """Records that are in memory."""

    def __init__(self, records: Sequence[PartCloud]) -> None:
        self._records = [merge_names(record) for record in records]
        self.infos = [
            RecordInfo(tuple(r.names), r.category, r.license, r.patch_features is not None) for r in self._records
        ]

    def __getitem__(self, index: int) -> PartCloud:
        return self._records[index]


class ShardRecords:
    """A folder of shard-*.tar. Opening it indexes the offset of each record's files; they are read with the record.

    Raises InputError for a folder without shards, or with a damaged one.
    """

    def __init__(self, folder: str | Path) -> None:
        shards = sorted(Path(folder).glob("shard-*.tar"))
        if not shards:
            raise InputError(
                f"{folder}: no shard-*.tar here; expected a folder written by pa3d harvest, synth or prepare"
            )
        self._shards = shards
        self._locations: list[tuple[int, str, dict[str, tuple[int, int]]]] = []  # shard, key, suffix -> offset, size
        self.infos: list[RecordInfo] = []
        self._descriptors: dict[int, int] = {}  # of the shards opened so far
        for number, shard in enumerate(shards):
            self._index_shard(number, shard)

    def _index_shard(self, number: int, shard: Path) -> None:
        members: dict[str, dict[str, tuple[int, int]]] = {}
        try:
            with tarfile.open(shard) as tar:
                for member in tar:
                    key, _, suffix = member.name.partition(".")
                    members.setdefault(key, {})[suffix] = (member.offset_data, member.size)
            with open(shard, "rb") as file:
                for key in sorted(members):
                    offset, size = members[key]["json"]
                    file.seek(offset)
                    meta = json.loads(file.read(size))
                    names = tuple(mask_rows_by_name(meta["names"], meta["category"]))
                    self.infos.append(
                        RecordInfo(names, meta["category"], meta["license"], "features.npy" in members[key])
                    )
                    self._locations.append((number, key, members[key]))
        except (tarfile.TarError, OSError) as error:
            raise InputError(f"{shard}: not a readable tar shard ({error}); write it again") from error
        except (KeyError, ValueError) as error:
            raise InputError(f"{shard}: damaged ({type(error).__name__}: {error}); write the shard again") from error

    def __getitem__(self, index: int) -> PartCloud:
        number, key, members = self._locations[index]
        data = {suffix: os.pread(self._descriptor(number), size, offset) for suffix, (offset, size) in members.items()}
        return merge_names(record_from_members(self._shards[number], key, data))

    def _descriptor(self, number: int) -> int:
        if number not in self._descriptors:
            try:
                self._descriptors[number] = os.open(self._shards[number], os.O_RDONLY)
            except OSError as error:
                raise InputError(f"{self._shards[number]}: cannot be read ({error.strerror})") from error
        return self._descriptors[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptors": {}}  # each process opens its own

    def __del__(self) -> None:
        for descriptor in self.__dict__.get("_descriptors", {}).values():
            os.close(descriptor)


class OfficialRecords:
    """A split ("train", "val" or "test") of the official layout."""

    def __init__(self, root: str | Path, split: str) -> None:
        self._root, self._entries = Path(root), official_entries(root, split)
        self.infos = [self._info(entry) for entry in self._entries]

    def _info(self, entry: str) -> RecordInfo:
        category, _ = split_entry(entry)
        base = self._root if self._root.name == "labeled" else self._root / "labeled"
        folder = base / "rendered" / entry / "oriented"
        listing = folder / "masks" / "merged" / "mask_labels.txt"
        try:
            names = listing.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{listing}: cannot be read ({error}); expected one label per line") from error
        features = (folder / "patch_dino" / "patch_features.pt").is_file()
        return RecordInfo(tuple(mask_rows_by_name(names, category)), category, "unknown", features)

    def __getitem__(self, index: int) -> PartCloud:
        return merge_names(read_entry(self._root, self._entries[index]).to_part_cloud())


@dataclass(frozen=True)
class Group:
    """The records of one source that training can use; `usable` (n,) holds their indices in `records`."""

    name: str
    records: Records
    usable: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.usable)

    def info(self, index: int) -> RecordInfo:
        return self.records.infos[self.usable[index]]

    def __getitem__(self, index: int) -> PartCloud:
        return self.records[int(self.usable[index])]


def usable_group(name: str, records: Records, *, names: bool, features: bool) -> Group:
    """The records that have what the losses need. names: at least one part name. features: 2D features."""
    usable = [i for i, h in enumerate(records.infos) if (h.names or not names) and (h.has_features or not features)]
    return Group(name, records, np.array(usable, np.int64))


def open_groups(folder: str | Path, split: str, *, names: bool, features: bool) -> list[Group]:
    """The groups of a folder: one of the official layout or of shards, or one per subfolder with shards.

    split: of the official layout. names, features: what a record must have (`usable_group`).
    Raises InputError when the folder is none of these, or no record can be used.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{folder}: no such folder; expected the official layout or folders of shard-*.tar")
    if is_official(root):
        sources: dict[str, Records] = {"official": OfficialRecords(root, split)}
    elif any(root.glob("shard-*.tar")):
        sources = {root.name: ShardRecords(root)}
    else:
        folders = sorted(path for path in root.iterdir() if path.is_dir() and any(path.glob("shard-*.tar")))
        sources = {path.name: ShardRecords(path) for path in folders}
    if not sources:
        raise InputError(
            f"{folder}: no training data; expected labeled/ in the official layout, shard-*.tar, or subfolders of them"
        )
    groups = [usable_group(name, records, names=names, features=features) for name, records in sources.items()]
    groups = [group for group in groups if len(group)]
    if not groups:
        needs = " and ".join(["a named part"] * names + ["2D features (pa3d prepare)"] * features)
        count = sum(len(records.infos) for records in sources.values())
        raise InputError(f"{folder}: none of {count} records has {needs}; nothing to train on")
    return groups
