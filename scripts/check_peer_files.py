"""Read the test files of other projects and compare them with an independent reading; writes a table for docs/files.md.

    python scripts/check_peer_files.py PEERS [--docs docs/files.md] [--labels]

PEERS is a folder with these folders in it, those that are missing are left out:

    assimp    dpkg -x of Debian's package assimp-testmodels
    trimesh   a clone of github.com/mikedh/trimesh, or its models/
    draco     a clone of github.com/google/draco
    webgltf   a clone of github.com/webgltf/webgltf-sample-models
    usd-wg    a clone of github.com/usd-wg/assets

Every file with a suffix that pa3d reads is loaded, apart from text files (.txt), which are not shapes there. A file is
right if these are as in an independent reading (scripts/peer_readings.py): the number of faces, or of points of a
cloud; the number of vertices that faces use, as they are or distinct; and the bounding box. It is refused if `load`
says why not, else wrong. --labels also compares labels with those of the same geometry as GLB (scripts/peer_labels.py).

Needs the extras formats and gltf, and for the independent readings: pip install lxml networkx assimp-py gmsh.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from peer_readings import Reading, Summary, UnreadableError, read_independently, summary_of

from pa3d.errors import InputError
from pa3d.io import SUFFIXES, formats, load
from pa3d.shape import Shape

SOURCES = {
    "assimp": "assimp-testmodels of Debian",
    "trimesh": "mikedh/trimesh, models/",
    "draco": "google/draco",
    "webgltf": "webgltf/webgltf-sample-models",
    "usd-wg": "usd-wg/assets",
}
BEGIN, END = "<!-- made by scripts/check_peer_files.py -->\n", "<!-- end -->\n"
# What a refusal says, and the reason it stands under.
REASONS = {
    r"glTF of version|GLB of version": "is glTF 1.0, which has another structure",
    r"no triangles and no points|no points; give": "has no triangles and no points: only lines, lights, cameras, "
    "materials or nothing",
    r"has no vertices|file is empty|truncated, without triangles": "is empty, on purpose",
    r"needs the file": "refers to a file that is not there",
    r"points are equal|zero area": "has one point, or no area",
    r"NaN or infinite": 'has NaN or infinite coordinates (clouds are read with `nan="skip"`)',
    r"truncated": "is truncated, or declares more than it holds",
    r"outside 0\.\.|vertex numbers other": "has faces that refer to vertices outside the mesh",
    r"form a loop|two parents|appears twice": "has nodes that form no tree, which glTF forbids",
    r"the up axis|its up axis": "names an up axis that does not exist",
    r"no FBX file|no USD file|no COLLADA": "is damaged on purpose, or of another format than its suffix says",
    r"is damaged": "breaks its format",
}


class Result(NamedTuple):
    """state: right, refused or wrong; about: the reason, or what differs."""

    source: str
    format: str
    file: str
    state: str
    about: str


def check(file: Path, source: str, root: Path) -> Result:
    name = str(file.relative_to(root)).removeprefix("usr/share/assimp/models/")
    kind = next(f.name for f in formats() if file.suffix.lower() in f.suffixes)
    try:
        shape = load(file)
    except InputError as error:
        return Result(source, kind, name, "refused", str(error).partition(": ")[2])
    ours = summary_of(_reading(shape))
    try:
        others = read_independently(file)
    except UnreadableError as error:
        return Result(source, kind, name, "uncompared", str(error))
    problems = [f"{label}: {problem}" for label, other in others.items() if (problem := differences(ours, other))]
    if len(problems) < len(others):  # one of them agrees: the other is wrong where they differ
        return Result(source, kind, name, "right", "; ".join(problems))
    return Result(source, kind, name, "wrong", "; ".join(problems))


def _reading(shape: Shape) -> Reading:
    faces = None if shape.faces is None else np.asarray(shape.faces, np.int64)
    return Reading(shape.points.astype(np.float64) + shape.origin, faces)


def differences(ours: Summary, other: Summary) -> str:
    """What differs between two summaries; empty if nothing does."""
    if other.faces != -1 and ours.faces != other.faces:
        return f"{ours.faces} faces, not {other.faces}"
    if other.vertices and not any(a == b for a, b in zip(ours.vertices, other.vertices, strict=True)):
        return (
            f"{ours.vertices[0]} vertices ({ours.vertices[1]} distinct), not {other.vertices[0]} ({other.vertices[1]})"
        )
    extent = max(float((other.high - other.low).max()), 1e-30)
    apart = np.abs([ours.low - other.low, ours.high - other.high]).max() / extent
    magnitude = np.abs([other.low, other.high]).max() / extent  # far from zero, float32 rounds more
    if not apart <= other.tolerance * max(1.0, magnitude):
        boxes = (f"{s.low.round(4).tolist()} to {s.high.round(4).tolist()}" for s in (ours, other))
        return "bounding box " + ", not ".join(boxes)
    return ""


def reason_of(message: str) -> str:
    return next((reason for pattern, reason in REASONS.items() if re.search(pattern, message)), message)


def document(results: list[Result]) -> str:
    """The table, the refusals by reason, and what could not be compared, as Markdown."""
    rows = ["| files of | format | files | right | refused | not compared | wrong |", "|---|---|---|---|---|---|---|"]
    counts: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for result in results:
        counts[result.source, result.format][result.state] += 1
    states = ("right", "refused", "uncompared", "wrong")
    for (source, kind), count in counts.items():
        rows.append(
            f"| {SOURCES[source]} | {kind} | {count.total()} | " + " | ".join(str(count[s]) for s in states) + " |"
        )
    total = Counter(result.state for result in results)
    rows.append(f"| all | | {len(results)} | " + " | ".join(str(total[s]) for s in states) + " |")
    parts = ["\n".join(rows)]
    refused: dict[str, list[str]] = defaultdict(list)
    for result in results:
        if result.state == "refused":
            refused[reason_of(result.about)].append(f"{result.source}/{result.file}")
    if refused:
        parts.append("Refused, because the file")
        parts.append("\n".join(f"- {reason} ({len(files)}): {_listed(files)}" for reason, files in refused.items()))
    for state, title in (("uncompared", "Read, but not compared:"), ("wrong", "Wrong:")):
        listed = [f"- {r.source}/{r.file}: {r.about}" for r in results if r.state == state]
        if listed:
            parts += [title, "\n".join(listed)]
    odd = [f"- {r.source}/{r.file}: {r.about}" for r in results if r.state == "right" and r.about]
    if odd:
        parts += ["Right by one independent reading, although another differs:", "\n".join(odd)]
    return "\n\n".join(parts) + "\n"


def _listed(files: list[str]) -> str:
    """Files, those of a folder shortened."""
    folders: dict[str, list[str]] = defaultdict(list)
    for file in files:
        folder, _, name = file.rpartition("/")
        folders[folder].append(name)
    if len(files) <= 12:
        return ", ".join(f"`{file}`" for file in files)
    tops = Counter("/".join(file.split("/")[:3]) for file in files)
    return ", ".join(f"`{top}`" + (f" ({count})" if count > 1 else "") for top, count in tops.items())


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("peers", type=Path)
    arguments.add_argument("--docs", type=Path, help="the Markdown file to write the table into")
    arguments.add_argument("--only", default="", help="only files whose path has this in it")
    arguments.add_argument("--labels", action="store_true", help="also compare labels with those of the same as GLB")
    given = arguments.parse_args()
    results = []
    for source in SOURCES:
        root = given.peers / source
        root = root / "models" if source == "trimesh" and (root / "models").is_dir() else root
        for file in sorted(root.rglob("*")):
            if file.suffix.lower() in set(SUFFIXES) - {".txt"} and file.is_file() and given.only in str(file):
                results.append(check(file, source, root))
                result = results[-1]
                print(f"{result.state:10s} {source}/{result.file} {result.about[:200]}", flush=True)
    text = document(results)
    if given.labels:
        from peer_labels import compare_labels

        with tempfile.TemporaryDirectory() as folder:
            text += "\n" + compare_labels(given.peers, Path(folder)) + "\n"
    print(text)
    if given.docs:
        before, _, rest = given.docs.read_text().partition(BEGIN)
        given.docs.write_text(before + BEGIN + "\n" + text + "\n" + END + rest.partition(END)[2])
    return int(any(result.state == "wrong" for result in results))


if __name__ == "__main__":
    sys.exit(main())
