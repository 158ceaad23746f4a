"""Changes that keep the outer form of a file, so that they reach the code behind the checks of that form.

A mutator takes bytes and a random generator and returns other bytes, or None where the form is no longer there. What
changes single bytes is given by the caller: libFuzzer's own mutator.
"""

from __future__ import annotations

import io
import json
import random
import re
import struct
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any

from seeds import tarred, zipped

Bytes = Callable[[bytes], bytes]

NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 4, 5, 7, 127, 128, 255, 256, 32767, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53),
    *(2**63 - 1, 2**63, 2**64, 10**30, -(2**31), -(2**63), 0.5, -0.0, 1e-320, 1e38, 1e39, 1e308, 1e400, -1e400, 1.5),
    float("nan"),
)
WORDS = (b"nan", b"inf", b"-inf", b"1e999", b"0x10", b"1_0", b"-", b"+", b"", b"\xff", b"\0", b"\x85", b'"', b"#", b",")
MOST_UNPACKED = 1 << 20


def text(data: bytes, rng: random.Random, change: Bytes) -> bytes | None:
    """A word or line is changed, dropped, doubled, or moved."""
    lines = re.split(rb"(?<=\n)", data)
    at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
    what = rng.randrange(7)
    if what == 0:
        del lines[at]
    elif what == 1:
        lines.insert(to, lines[at])
    elif what == 2:
        lines[at], lines[to] = lines[to], lines[at]
    elif what == 3:
        lines[at] = lines[at] * rng.choice((2, 10, 200))
    else:
        words = re.split(rb"([\s,;=<>\"/]+)", lines[at])
        i = rng.randrange(len(words))
        new = str(rng.choice(NUMBERS)).encode() if rng.random() < 0.6 else rng.choice(WORDS)
        words[i] = rng.choice((new, rng.choice(words), words[i] * 2, change(words[i]) if words[i] else new))
        lines[at] = b"".join(words)
    return b"".join(lines)


def json_value(value: Any, rng: random.Random) -> Any:
    """One place of a JSON value is changed: another number or type, a key or entry dropped, doubled or moved."""
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in entries:
            places.append((node, key))
            collect(child)

    collect(value)
    if not places:
        return rng.choice((*NUMBERS, [], {}, "", None))
    node, key = rng.choice(places)
    other, other_key = rng.choice(places)
    what = rng.randrange(6)
    if what == 0 and isinstance(node, dict):
        del node[key]
    elif what == 0:
        node.pop(key)
    elif what == 1:
        node[key] = json.loads(json.dumps(other[other_key]))
    elif what == 2 and isinstance(node[key], list):
        node[key] = node[key] * rng.choice((2, 3, 50))
    elif what == 3:
        node[key] = rng.choice((None, True, [], {}, "", "a", "../x", [0], [[]], {"a": 1}, "\ud800", "data:,"))
    elif isinstance(node[key], int | float) and rng.random() < 0.5:
        node[key] = node[key] + rng.choice((1, -1, 4, 0.5))
    else:
        node[key] = rng.choice(NUMBERS)
    return value


def json_text(data: bytes, rng: random.Random, change: Bytes) -> bytes | None:
    try:
        value = json_value(json.loads(data), rng)
        return json.dumps(value).encode()
    except (ValueError, RecursionError, TypeError, OverflowError):
        return None


def glb(data: bytes, rng: random.Random, change: Bytes) -> bytes | None:
    if len(data) < 20:
        return None
    size = struct.unpack_from("<I", data, 12)[0]
    document, rest = data[20 : 20 + size], data[20 + size :]
    if rng.random() < 0.25 and len(rest) > 8:
        rest = rest[:8] + change(rest[8:])
        rest = struct.pack("<I", len(rest) - 8) + rest[4:]
    else:
        changed = json_text(document, rng, change)
        if changed is None:
            return None
        document = changed
    document += b" " * (-len(document) % 4)
    head = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(document) + len(rest), len(document), b"JSON")
    return head + document + rest


def safetensors(data: bytes, rng: random.Random, change: Bytes) -> bytes | None:
    size = int.from_bytes(data[:8], "little")
    if not 8 <= size <= len(data) - 8:
        return None
    header, rest = data[8 : 8 + size], data[8 + size :]
    try:
        value = json.loads(header)
        own = json.loads(value["__metadata__"]["pa3d"])
    except (ValueError, KeyError, TypeError, RecursionError):
        value = own = None
    if rng.random() < 0.3 and rest:
        rest = change(rest)
    elif own is not None and rng.random() < 0.7:
        value["__metadata__"]["pa3d"] = json.dumps(json_value(own, rng))
        header = json.dumps(value).encode()
    else:
        changed = json_text(header, rng, change)
        if changed is None:
            return None
        header = changed
    return struct.pack("<Q", len(header)) + header + rest


def _members(members: dict[str, bytes], rng: random.Random, change: Bytes) -> dict[str, bytes] | None:
    if not members:
        return None
    name = rng.choice(list(members))
    what = rng.random()
    if what < 0.1:
        del members[name]
    elif what < 0.2:
        members[change(name.encode()).decode("latin-1").replace("\0", "") or "x"] = members.pop(name)
    elif name.endswith((".json", "json")) and what < 0.8:
        members[name] = json_text(members[name], rng, change) or members[name]
    elif name.endswith((".xml", ".obj", ".model", ".properties")) and what < 0.8:
        members[name] = text(members[name], rng, change) or members[name]
    else:
        members[name] = change(members[name]) if members[name] else b"x"
    return members


def zip_archive(data: bytes, rng: random.Random, change: Bytes) -> bytes | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > MOST_UNPACKED:
                return None
            members = {name: archive.read(name) for name in archive.namelist()}
        changed = _members(members, rng, change)
        return None if changed is None else zipped(changed)
    except Exception:  # whatever a damaged archive may raise
        return None


def tar_archive(data: bytes, rng: random.Random, change: Bytes) -> bytes | None:
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            found = {member.name: archive.extractfile(member) for member in archive if member.size < MOST_UNPACKED}
            members = {name: stream.read() if stream else b"" for name, stream in found.items()}
        changed = _members(members, rng, change)
        return None if changed is None else tarred(changed)
    except Exception:  # whatever a damaged archive may raise
        return None


MUTATORS = {
    "text": text,
    "json": json_text,
    "glb": glb,
    "safetensors": safetensors,
    "zip": zip_archive,
    "tar": tar_archive,
}
