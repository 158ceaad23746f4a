"""Training records by number: shards, the official layout or memory, read when asked for.

Opening a folder reads names and categories alone; points, masks and features stay on disk until their record is drawn,
so that a set may be larger than memory and every process reads only what it trains on.
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
from pa3d.text import clean


@dataclass(frozen=True)
class Header:
    """What is known of a record before it is read. names: cleaned, as `labels` leaves them."""

    names: tuple[str, ...]
    category: str
    license: str
    has_features: bool


class Records(Protocol):
    """Records by number. Can be sent to other processes."""

    headers: list[Header]

    def __getitem__(self, index: int) -> PartCloud:
        """Raises InputError when the record is damaged."""
        ...


def labels(names: Sequence[str], category: str) -> dict[str, list[int]]:
    """Cleaned name -> its rows. Names that read alike are one part; those that read as the category, or as nothing,
    are left out."""
    kept: dict[str, list[int]] = {}
    for row, name in enumerate(names):
        try:
            kept.setdefault(clean(name), []).append(row)
        except InputError:
            continue
    if category:
        with suppress(InputError):
            kept.pop(clean(category), None)
    return kept


def cleaned(record: PartCloud) -> PartCloud:
    """The record with the names and masks that `labels` keeps."""
    kept = labels(record.names, record.category)
    masks = [record.masks[rows].any(axis=0) for rows in kept.values()]
    united = np.stack(masks) if masks else np.zeros((0, len(record.points)), bool)
    return replace(record, names=list(kept), masks=united)


class MemoryRecords:
    """A list of records."""

    def __init__(self, records: Sequence[PartCloud]) -> None:
        self._records = [cleaned(record) for record in records]
        self.headers = [
            Header(tuple(r.names), r.category, r.license, r.patch_features is not None) for r in self._records
        ]

    def __getitem__(self, index: int) -> PartCloud:
        return self._records[index]


class ShardRecords:
    """A folder of shard-*.tar, read by position: the shards' members are listed once, their data when drawn."""

    def __init__(self, folder: str | Path) -> None:
        shards = sorted(Path(folder).glob("shard-*.tar"))
        if not shards:
            raise InputError(
                f"{folder}: no shard-*.tar here; expected a folder written by pa3d harvest, synth or prepare"
            )
        self._shards = shards
        self._places: list[tuple[int, str, dict[str, tuple[int, int]]]] = []  # shard, key, kind -> offset, size
        self.headers: list[Header] = []
        self._files: dict[int, int] = {}
        for number, shard in enumerate(shards):
            self._list(number, shard)

    def _list(self, number: int, shard: Path) -> None:
        members: dict[str, dict[str, tuple[int, int]]] = {}
        try:
            with tarfile.open(shard) as tar:
                for member in tar:
                    key, _, kind = member.name.partition(".")
                    members.setdefault(key, {})[kind] = (member.offset_data, member.size)
            with open(shard, "rb") as file:
                for key in sorted(members):
                    offset, size = members[key]["json"]
                    file.seek(offset)
                    meta = json.loads(file.read(size))
                    names = tuple(labels(meta["names"], meta["category"]))
                    self.headers.append(
                        Header(names, meta["category"], meta["license"], "features.npy" in members[key])
                    )
                    self._places.append((number, key, members[key]))
        except (tarfile.TarError, OSError) as error:
            raise InputError(f"{shard}: not a readable tar shard ({error}); write it again") from error
        except (KeyError, ValueError) as error:
            raise InputError(f"{shard}: damaged ({type(error).__name__}: {error}); write the shard again") from error

    def __getitem__(self, index: int) -> PartCloud:
        number, key, members = self._places[index]
        data = {kind: os.pread(self._file(number), size, offset) for kind, (offset, size) in members.items()}
        return cleaned(record_from_members(self._shards[number], key, data))

    def _file(self, number: int) -> int:
        if number not in self._files:
            try:
                self._files[number] = os.open(self._shards[number], os.O_RDONLY)
            except OSError as error:
                raise InputError(f"{self._shards[number]}: cannot be read ({error.strerror})") from error
        return self._files[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}

    def __del__(self) -> None:
        for file in self.__dict__.get("_files", {}).values():
            os.close(file)


class OfficialRecords:
    """A split of the official layout."""

    def __init__(self, root: str | Path, split: str) -> None:
        self._root, self._entries = Path(root), official_entries(root, split)
        self.headers = [self._header(entry) for entry in self._entries]

    def _header(self, entry: str) -> Header:
        category, _ = split_entry(entry)
        base = self._root if self._root.name == "labeled" else self._root / "labeled"
        folder = base / "rendered" / entry / "oriented"
        listing = folder / "masks" / "merged" / "mask_labels.txt"
        try:
            names = listing.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{listing}: cannot be read ({error}); expected a label a line") from error
        features = (folder / "patch_dino" / "patch_features.pt").is_file()
        return Header(tuple(labels(names, category)), category, "unknown", features)

    def __getitem__(self, index: int) -> PartCloud:
        return cleaned(read_entry(self._root, self._entries[index]).to_part_cloud())


@dataclass(frozen=True)
class Group:
    """The records of one source that training may draw: usable holds their numbers."""

    name: str
    records: Records
    usable: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.usable)

    def header(self, index: int) -> Header:
        return self.records.headers[self.usable[index]]

    def __getitem__(self, index: int) -> PartCloud:
        return self.records[int(self.usable[index])]


def usable_group(name: str, records: Records, *, names: bool, features: bool) -> Group:
    """Records that have what the losses need: a part's name, 2D features, or both."""
    keep = [i for i, h in enumerate(records.headers) if (h.names or not names) and (h.has_features or not features)]
    return Group(name, records, np.array(keep, np.int64))


def open_groups(folder: str | Path, split: str, *, names: bool, features: bool) -> list[Group]:
    """The groups of a folder: a split of the official layout, shards, or a subfolder of shards a group.

    Raises InputError when it is none of these, or no record can be used.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"{folder}: no such folder; expected the official layout or folders of shard-*.tar")
    if is_official(root):
        found: dict[str, Records] = {"official": OfficialRecords(root, split)}
    elif any(root.glob("shard-*.tar")):
        found = {root.name: ShardRecords(root)}
    else:
        folders = sorted(path for path in root.iterdir() if path.is_dir() and any(path.glob("shard-*.tar")))
        found = {path.name: ShardRecords(path) for path in folders}
    if not found:
        raise InputError(
            f"{folder}: no training data; expected labeled/ in the official layout, shard-*.tar, or subfolders of them"
        )
    groups = [usable_group(name, records, names=names, features=features) for name, records in found.items()]
    groups = [group for group in groups if len(group)]
    if not groups:
        needs = " and ".join(["a named part"] * names + ["2D features (pa3d prepare)"] * features)
        count = sum(len(records.headers) for records in found.values())
        raise InputError(f"{folder}: none of {count} records has {needs}; nothing to train on")
    return groups
