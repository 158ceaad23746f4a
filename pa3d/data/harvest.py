"""Training records from shapes whose authors named their parts: no labelling, only reading and judging names.

Read by suffix: .glb and .gltf (nodes, materials; skins by pa3d.data.rigged), .obj (groups, objects,
materials), .ac (AC3D objects), .xml (MJCF bodies and meshes), .sh3f and .zip (archives of GLB, OBJ and AC3D; a
Sweet Home 3D library's catalogue gives names, categories and axes). A shape is kept when at least two parts have
names (pa3d.data.names) and they cover at least 60 % of its surface; everything else is listed in the report
with its reason. docs/harvest.md has all rules.
"""

from __future__ import annotations

import hashlib
import io
import re
import xml.etree.ElementTree as ElementTree
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.data.gltf import Gltf
from pa3d.data.names import BODY_PARTS, clean_words, is_body, part_names
from pa3d.data.parts import PartMesh
from pa3d.data.rigged import RiggedCharacter
from pa3d.data.sources import category_of, corrections, origin
from pa3d.errors import InputError
from pa3d.rotations import axis_angle_rotation
from pa3d.shape import triangle_areas

MIN_NAMES = 2
MIN_SURFACE = 0.6
MAX_ONE_PART = 0.96
_MIN_SHARE = 0.003
_MAX_FACES = 400_000
_MAX_BYTES = 1 << 30  # of a file, or of a member of an archive once unpacked

# Not surface: motion blur, light cones, shadows and collision stand-ins.
_OVERLAY = re.compile(
    r"prop.?(disc|disk|blur)|disque|blur|shadow|ombre|light.?(cone|map)|halo|flare|^flash|collision|contrail|vapou?r|"
    r"flame|afterburner|touch_?point|giro",
    re.I,
)


@dataclass
class HarvestReport:
    """What a harvest kept, and why it left the rest.

    kept: shapes a source; dropped: shapes a reason; names: shapes a part name; unnamed: words of pieces that
    got no name; licenses: shapes a licence; left: (shape or file, reason) of everything dropped, in order.
    """

    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    unnamed: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    left: list[tuple[str, str]] = field(default_factory=list)

    def keep(self, record: PartMesh) -> None:
        self.kept[record.source] += 1
        self.licenses[record.license] += 1
        self.names.update({name for names in record.parts for name in names})

    def drop(self, where: str, reason: str) -> None:
        self.dropped[reason] += 1
        self.left.append((where, reason))

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Files that could not be read, and why."""
        return [(where, reason) for where, reason in self.left if reason.startswith("unreadable")]

    def common_names(self, shapes: int = 5) -> list[str]:
        """Part names that at least so many shapes carry, the commonest first."""
        return [name for name, count in self.names.most_common() if count >= shapes]

    def __str__(self) -> str:
        kept = ", ".join(f"{source} {count}" for source, count in self.kept.most_common())
        licenses = ", ".join(f"{license} {count}" for license, count in self.licenses.most_common())
        dropped = "\n".join(f"  {count:5d}  {reason}" for reason, count in self.dropped.most_common())
        return (
            f"kept {self.kept.total()} shapes ({kept}) with {len(self.names)} part names, "
            f"{len(self.common_names())} of them in 5 shapes or more\n"
            f"licences: {licenses or '-'}\n"
            f"dropped {self.dropped.total()}{':' if self.dropped else ''}\n{dropped}"
        ).rstrip()


@dataclass
class NamedMesh:
    """A mesh in pieces as its author cut it. faces: (F, 3); piece: (F,) index into names.

    names: for every piece the raw names that could say what it is, the most telling first; copyright: what the
    file says of it.
    """

    vertices: NDArray[np.float64]  # (V, 3), y up
    faces: NDArray[np.int64]  # (F, 3)
    piece: NDArray[np.int64]  # (F,)
    names: list[tuple[str, ...]]
    category: str
    id: str
    copyright: str = ""


@dataclass
class Harvested:
    """A shape that was kept: its record in the pose of the file, the rig when it has one, and its file."""

    mesh: PartMesh
    character: RiggedCharacter | None
    file: Path


@dataclass
class _Unusable:
    """What a reader found no shape in, and why."""

    id: str
    reason: str


def harvest(
    paths: str | Path | Iterable[str | Path],
    *,
    license: str = "",
    source: str = "",
    category: str = "",
    report: HarvestReport | None = None,
) -> Iterator[PartMesh]:
    """Records of every usable shape in files, archives and folders (searched whole), in sorted order.

    license, source and category hold for all of them; where empty, pa3d.data.sources and the file's name decide
    ("unknown" else). Unreadable and meaningless shapes are listed in the report, not raised.
    Raises InputError for a path that does not exist.
    """
    found = survey(paths, license=license, source=source, category=category, report=report)
    return (shape.mesh for shape in found)


def survey(
    paths: str | Path | Iterable[str | Path],
    *,
    license: str = "",
    source: str = "",
    category: str = "",
    min_surface: float = MIN_SURFACE,
    report: HarvestReport | None = None,
) -> Iterator[Harvested]:
    """As harvest, with the rig of skinned characters, so that they can be posed anew.

    min_surface: the share of the surface that named parts must cover.
    """
    report = report if report is not None else HarvestReport()
    seen: set[bytes] = set()
    for path in _files(paths):
        for shape in _shapes(path, category, report):
            known_source, known_license = origin(path, shape.copyright)
            character = shape if isinstance(shape, RiggedCharacter) else None
            if corrections(known_source, shape.id) is None:
                report.drop(shape.id, "names that mislead, found by eye")
                continue
            if isinstance(shape, RiggedCharacter):
                record, reason = _judge(shape.bind(), min_surface)
            else:
                record, reason = to_part_mesh(shape, report, known_source, min_surface)
            if record is not None:
                record.source, record.license = source or known_source, license or known_license
                mark = _fingerprint(record)
                reason = "the same mesh as another shape" if mark in seen else ""
                seen.add(mark)
            if record is None or reason:
                report.drop(shape.id, reason)
                continue
            if character is not None:
                character.source, character.license = record.source, record.license
            report.keep(record)
            yield Harvested(record, character, path)


def characters(
    paths: str | Path | Iterable[str | Path], *, license: str = "", report: HarvestReport | None = None
) -> Iterator[RiggedCharacter]:
    """Every skinned glTF character of files and folders, to be posed at random. Others are passed over."""
    report = report if report is not None else HarvestReport()
    for path in _files(paths):
        if path.suffix.lower() not in (".glb", ".gltf"):
            continue
        try:
            gltf = Gltf.load(path)
            if not gltf.json.get("skins"):
                continue
            known_source, known_license = origin(path)
            yield RiggedCharacter.from_gltf(
                gltf, category=category_of(path), source=known_source, license=license or known_license,
                id=f"{path.parent.name}/{path.stem}",
            )  # fmt: skip
        except InputError as error:
            report.drop(str(path), _reason(error))


def to_part_mesh(
    shape: NamedMesh, report: HarvestReport | None = None, source: str = "", min_surface: float = MIN_SURFACE
) -> tuple[PartMesh | None, str]:
    """The record of a named mesh, or None and the reason why there is none."""
    wrong = corrections(source, shape.id) or {}
    parts: dict[tuple[str, ...], int] = {}
    index = np.full(len(shape.names), -1, np.int32)
    found = [next((n for raw in raws if (n := part_names(raw, shape.category, source))), ()) for raws in shape.names]
    found = [part_names(wrong[names[0]], corpus=source) if names and names[0] in wrong else names for names in found]
    alive = is_body({names[0] for names in found if names})
    for piece, (raws, names) in enumerate(zip(shape.names, found, strict=True)):
        if names and not alive and (names[0] in BODY_PARTS or "clothes" in names):
            names = names[:1]
        if names:
            index[piece] = parts.setdefault(names, len(parts))
        elif report is not None and raws:
            report.unnamed[" ".join(clean_words(raws[0], source))] += 1
    record = PartMesh(
        shape.vertices.astype(np.float32), shape.faces.astype(np.int32), index[shape.piece].astype(np.int32),
        list(parts), category=shape.category, id=shape.id,
    )  # fmt: skip
    return _judge(record, min_surface)


def _judge(record: PartMesh, min_surface: float) -> tuple[PartMesh | None, str]:
    """Keep what has two names over that much of its surface; a name that all parts share does not count."""
    if not len(record.faces):
        return None, "no triangles"
    if len(record.faces) > _MAX_FACES:
        return None, f"more than {_MAX_FACES} faces"
    if not np.isfinite(record.vertices).all():
        return None, "vertices that are not finite"
    area = triangle_areas(record.vertices, record.faces)
    total = area.sum()
    if not total > 0:
        return None, "no surface"
    share = np.bincount(record.face_parts + 1, area, len(record.parts) + 1)[1:] / total
    if not record.parts:
        return None, "no meaningful part name"
    seen = [set(names) for names, part in zip(record.parts, share, strict=True) if part > _MIN_SHARE]
    shared = set.intersection(*seen) if seen else set()
    if len({frozenset(names - shared) for names in seen} - {frozenset()}) < MIN_NAMES:
        return None, "fewer than two meaningful part names"
    if share.sum() < min_surface:
        return None, f"named parts cover less than {min_surface:.0%} of the surface"
    if share.max() > MAX_ONE_PART * share.sum():
        return None, f"one part covers more than {MAX_ONE_PART:.0%} of what is named"
    return record, ""


def _fingerprint(record: PartMesh) -> bytes:
    """Equal for meshes that are equal, whatever their names and place."""
    used = record.vertices[record.faces.ravel()]
    low, high = used.min(axis=0), used.max(axis=0)
    extent = max(float((high - low).max()), 1e-30)
    grid = np.rint((used - low) * (4096 / extent)).astype(np.int16)
    return hashlib.sha256(grid.tobytes() + record.face_parts.tobytes()).digest()


def _files(paths: str | Path | Iterable[str | Path]) -> Iterator[Path]:
    given = [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    for path in given:
        if not path.exists():
            raise InputError(f"{path}: no such file or folder; expected shapes to harvest")
        if path.is_file() and path.suffix.lower() not in _READERS:
            raise InputError(f"{path}: unsupported suffix {path.suffix!r}; expected one of {', '.join(_READERS)}")
    listed: set[Path] = set()
    for path in given:
        found = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in found:
            if file.suffix.lower() in _READERS and (real := file.resolve()) not in listed:
                listed.add(real)
                yield file


def _shapes(path: Path, category: str, report: HarvestReport) -> Iterator[NamedMesh | RiggedCharacter]:
    """What a file's reader gives; whatever else it says or stumbles over goes into the report."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: larger than {_MAX_BYTES >> 30} GiB; split it")
        for shape in _READERS[path.suffix.lower()](path, category):
            if isinstance(shape, _Unusable):
                report.drop(shape.id, shape.reason)
            else:
                yield shape
    except Exception as error:
        # A parser of foreign bytes can stumble in more ways than it can list; all mean a damaged file.
        report.drop(str(path), _reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, InputError):
        return "unreadable: " + re.sub(r"^.*?: ", "", str(error)).partition(";")[0]
    first = (str(error).splitlines() or [""])[0][:80]
    return f"unreadable: damaged ({type(error).__name__}{': ' + first if first else ''})"


class _Builder:
    """Collects pieces of a mesh: vertices, triangles and raw names."""

    def __init__(self) -> None:
        self.vertices: list[NDArray[np.float64]] = []
        self.faces: list[NDArray[np.int64]] = []
        self.piece: list[NDArray[np.int64]] = []
        self.names: dict[tuple[str, ...], int] = {}
        self.count = 0

    def add(self, vertices: NDArray[np.float64], faces: NDArray[np.int64], names: tuple[str, ...]) -> None:
        number = self.names.setdefault(names, len(self.names))
        self.vertices.append(vertices)
        self.faces.append(faces + self.count)
        self.piece.append(np.full(len(faces), number))
        self.count += len(vertices)

    def build(self, category: str, id: str) -> NamedMesh:
        vertices = np.concatenate(self.vertices) if self.vertices else np.zeros((0, 3))
        faces = np.concatenate(self.faces) if self.faces else np.zeros((0, 3), np.int64)
        piece = np.concatenate(self.piece) if self.piece else np.zeros(0, np.int64)
        return NamedMesh(vertices, faces, piece, list(self.names), category, id)


def _read_gltf(path: Path, category: str) -> Iterator[NamedMesh | RiggedCharacter]:
    yield _shape_of(Gltf.load(path), category or category_of(path), f"{path.parent.name}/{path.stem}")


def _shape_of(gltf: Gltf, category: str, id: str) -> NamedMesh | RiggedCharacter:
    copyright = str((gltf.json.get("asset") or {}).get("copyright", ""))
    shape: NamedMesh | RiggedCharacter
    if gltf.json.get("skins"):
        shape = RiggedCharacter.from_gltf(gltf, category=category, id=id)
    else:
        shape = gltf_pieces(gltf, category, id)
    shape.copyright = copyright
    return shape


def gltf_pieces(gltf: Gltf, category: str, id: str) -> NamedMesh:
    """Mesh nodes of the scene with their transforms applied.

    A node takes its own name, else that of a group above it. A node above that has a mesh itself is a joint
    (the torso an arm hangs from), and one that holds every mesh is the shape: neither names a part.
    """
    meshes = [i for i in gltf.reachable if gltf.nodes[i].mesh >= 0]
    below = Counter(a for i in meshes for a in gltf.ancestors(i))
    builder = _Builder()
    for index in meshes:
        node = gltf.nodes[index]
        if _OVERLAY.search(node.name):
            continue
        groups = [a for a in gltf.ancestors(index) if gltf.nodes[a].mesh < 0 and below[a] < len(meshes)]
        names = (node.name, *(gltf.nodes[a].name for a in groups))
        mesh_name = gltf.json["meshes"][node.mesh].get("name", "")
        for primitive in gltf.primitives(node.mesh):
            vertices = primitive.vertices @ node.world[:3, :3].T + node.world[:3, 3]
            builder.add(vertices, primitive.faces, (*names, mesh_name, primitive.material))
    return builder.build(category, id)


def _read_obj(path: Path, category: str) -> Iterator[NamedMesh]:
    yield parse_obj(path.read_bytes(), category or category_of(path), f"{path.parent.name}/{path.stem}")


def parse_obj(data: bytes, category: str, id: str) -> NamedMesh:
    """An OBJ file's faces by group, object and material. Raises InputError when damaged."""
    vertices: list[bytes] = []
    corners: list[int] = []
    sizes: list[int] = []
    piece: list[int] = []
    names: dict[tuple[str, ...], int] = {}
    group = thing = material = ""
    try:
        for line in data.replace(b"\\\n", b" ").split(b"\n"):
            if line[:2] == b"v ":
                vertices.append(line[2:])
            elif line[:2] == b"f ":
                refs = [int(word.partition(b"/")[0]) for word in line[2:].split()]
                corners.extend(r - 1 if r > 0 else len(vertices) + r for r in refs)
                sizes.append(len(refs))
                piece.append(names.setdefault((group, thing, material), len(names)))
            elif line[:2] in (b"g ", b"o ") or line[:7] == b"usemtl ":
                key, _, value = line.decode("utf-8", "replace").strip().partition(" ")
                if key == "g":
                    group = value
                elif key == "o":
                    group, thing = "", value
                else:
                    material = value
        points = np.array([line.split()[:3] for line in vertices], float).reshape(-1, 3)
        faces, owner = _fans(np.array(corners, np.int64), np.array(sizes, np.int64))
        if len(faces) and (faces.min() < 0 or faces.max() >= len(points)):
            raise ValueError("a face points at no vertex")
    except (ValueError, IndexError) as error:
        raise InputError(f"{id}: not a readable OBJ file ({error}); export it again") from error
    return NamedMesh(points, faces, np.array(piece, np.int64)[owner], list(names), category, id)


def _fans(corners: NDArray[np.int64], sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Triangles (F, 3) of polygons laid end to end in corners, and the polygon of each."""
    fans = np.maximum(sizes - 2, 0)
    owner = np.repeat(np.arange(len(sizes)), fans)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if len(sizes) else np.zeros(0, np.int64)
    step = np.arange(len(owner)) - np.repeat(np.cumsum(fans) - fans, fans)
    first = starts[owner].astype(np.int64)
    return np.stack([corners[first], corners[first + step + 1], corners[first + step + 2]], 1).reshape(-1, 3), owner


def _read_archive(path: Path, category: str) -> Iterator[NamedMesh | RiggedCharacter | _Unusable]:
    """GLB, OBJ and AC3D members of a zip; a furniture library's catalogue says what each is and how it is turned.

    A member that cannot be used is yielded as the reason why, so that the others are still read.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{path}: not a readable zip archive ({error}); download it again") from error
    with archive:
        catalogue = _catalogue(archive)
        for member in sorted(archive.namelist()):
            suffix = Path(member).suffix.lower()
            if suffix not in (".glb", ".obj", ".ac"):
                continue
            about = catalogue.get(member, {})
            kind = (
                category
                or re.sub(r"\W+", " ", about.get("name", "")).strip().lower()
                or category_of(path.parent / Path(member).name)
            )
            id = f"{path.stem}/{Path(member).stem}"
            try:
                if archive.getinfo(member).file_size > _MAX_BYTES:
                    raise InputError(f"{id}: larger than {_MAX_BYTES >> 30} GiB; split it")
                data = archive.read(member)
                if suffix == ".obj" and not _worth_reading(data, kind, origin(path)[0]):
                    yield _Unusable(id, "fewer than two meaningful part names")
                    continue
                shape: NamedMesh | RiggedCharacter
                if suffix == ".glb":
                    shape = _shape_of(Gltf(data, name=Path(member).name), kind, id)
                elif suffix == ".obj":
                    shape = parse_obj(data, kind, id)
                else:
                    shape = parse_ac3d(data.decode("latin-1"), kind, id)
                if "modelRotation" in about and isinstance(shape, NamedMesh):
                    turn = np.array(about["modelRotation"].split(), float).reshape(3, 3)
                    shape.vertices = shape.vertices @ turn.T
            except Exception as error:  # as in _shapes: one damaged member leaves the others
                yield _Unusable(f"{path}/{member}", _reason(error))
                continue
            yield shape


def _worth_reading(data: bytes, category: str, corpus: str) -> bool:
    """Whether an OBJ names two parts at all: most files of a library do not, and parsing them takes long."""
    found: set[tuple[str, ...]] = set()
    for raw in set(re.findall(rb"^(?:g|o|usemtl) (.*?)\s*$", data, re.M)):
        found.add(part_names(raw.decode("utf-8", "replace"), category, corpus))
    return len(found - {()}) >= MIN_NAMES


def _catalogue(archive: zipfile.ZipFile) -> dict[str, dict[str, str]]:
    """Properties of every model of a Sweet Home 3D library, by the model's file."""
    if "PluginFurnitureCatalog.properties" not in archive.namelist():
        return {}
    entries: dict[str, dict[str, str]] = defaultdict(dict)
    for line in archive.read("PluginFurnitureCatalog.properties").decode("latin-1").splitlines():
        match = re.match(r"(\w+)#(\d+)\s*=\s*(.*)", line)
        if match:
            entries[match[2]][match[1]] = match[3].strip()
    return {entry["model"].lstrip("/"): entry for entry in entries.values() if "model" in entry}


def _read_ac3d(path: Path, category: str) -> Iterator[NamedMesh]:
    yield parse_ac3d(path.read_text("latin-1"), category or category_of(path), f"{path.parent.name}/{path.stem}")


def parse_ac3d(text: str, category: str, id: str) -> NamedMesh:
    """An AC3D file (y up): every polygon object with its own name, else that of a group above it.

    Lines, and objects that stand for motion blur or light, are left out. Raises InputError when damaged.
    """
    lines = iter(text.splitlines())
    builder = _Builder()
    try:
        if not next(lines).startswith("AC3D"):
            raise ValueError("no AC3D header")
        for line in lines:
            if line.startswith("OBJECT"):
                _ac3d_object(lines, np.zeros(3), np.eye(3), (), builder)
    except (ValueError, IndexError, StopIteration) as error:
        reason = str(error) or "it ends too early"
        raise InputError(f"{id}: not a readable AC3D file ({reason}); export it again") from error
    return builder.build(category, id)


def _ac3d_object(
    lines: Iterator[str],
    offset: NDArray[np.float64],
    turn: NDArray[np.float64],
    above: tuple[str, ...],
    builder: _Builder,
) -> None:
    name, local, rotation = "", np.zeros(3), np.eye(3)
    vertices = np.zeros((0, 3))
    corners: list[int] = []
    sizes: list[int] = []
    kids, polygon = 0, True
    for line in lines:
        key, _, value = line.strip().partition(" ")
        if key == "name":
            name = value.strip('" ')
        elif key == "data":
            next(lines)
        elif key == "loc":
            local = np.array(value.split(), float)
        elif key == "rot":
            rotation = np.array(value.split(), float).reshape(3, 3)
        elif key == "numvert":
            vertices = np.array([next(lines).split()[:3] for _ in range(int(value))], float).reshape(-1, 3)
        elif key == "SURF":
            polygon = int(value, 16) & 0xF == 0
        elif key == "refs":
            refs = [int(next(lines).split()[0]) for _ in range(int(value))]
            if polygon:
                corners.extend(refs)
                sizes.append(len(refs))
        elif key == "kids":
            kids = int(value)
            break
    # Rows of rot are the images of the axes: a row vector is multiplied from the left.
    placed_turn, placed = rotation @ turn, local @ turn + offset
    if sizes and not _OVERLAY.search(name):
        faces, _ = _fans(np.array(corners, np.int64), np.array(sizes, np.int64))
        if len(faces) and faces.max() >= len(vertices):
            raise ValueError("a surface points at no vertex")
        builder.add(vertices @ placed_turn + placed, faces, (name, *above))
    group = above if sizes or name in ("", "world") else (name, *above)
    for _ in range(kids):
        for line in lines:
            if line.startswith("OBJECT"):
                break
        _ac3d_object(lines, placed, placed_turn, group, builder)


def _read_mjcf(path: Path, category: str) -> Iterator[NamedMesh]:
    if b"<mujoco" not in path.read_bytes()[:4096]:
        return
    try:
        root = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError) as error:
        raise InputError(f"{path}: not readable XML ({error})") from error
    if root.tag != "mujoco" or path.stem.endswith("dependencies"):
        return
    yield parse_mjcf(path, root, category or category_of(path))


def parse_mjcf(path: Path, root: ElementTree.Element, category: str) -> NamedMesh:
    """The visible geometry of a MuJoCo model, turned from z up to y up, by mesh, geom, material or body name.

    Included files are followed, except those from a folder named "scene", the stage the object stands on.
    Geometry of the groups from 3 up is for collisions by convention, and planes are floors: both are left
    out.
    """
    _include(path.parent, root)
    radians = any(c.get("angle") == "radian" for c in root.iter("compiler"))
    meshdir = next((c.get("meshdir") for c in root.iter("compiler") if c.get("meshdir")), "")
    assets = {m.get("name") or Path(m.get("file", "")).stem: m for m in root.iter("mesh") if m.get("file")}
    defaults = _mjcf_defaults(root)
    builder = _Builder()

    def walk(body: ElementTree.Element, frame: NDArray[np.float64], names: tuple[str, ...], inherited: str) -> None:
        for child in body:
            if child.tag == "body":
                own = child.get("name")
                walk(
                    child, frame @ _mjcf_frame(child, radians), ((own, *names) if own else names),
                    child.get("childclass", inherited),
                )  # fmt: skip
            elif child.tag == "geom":
                setting = {**defaults.get(child.get("class", inherited), {}), **child.attrib}
                solid = _mjcf_solid(setting, assets, path.parent / (meshdir or ""), path.parent)
                if solid is None or int(setting.get("group", 0)) >= 3:
                    continue
                vertices, faces = solid
                placed = frame @ (_between(setting) if "fromto" in setting else _mjcf_frame(child, radians))
                raws = tuple(
                    n for n in (setting.get("mesh"), setting.get("name"), setting.get("material"), *names) if n
                )
                builder.add(vertices @ placed[:3, :3].T + placed[:3, 3], faces, raws)

    for world in root.iter("worldbody"):
        walk(world, np.eye(4), (), "")
    shape = builder.build(category, f"{path.parent.name}/{path.stem}")
    shape.vertices = shape.vertices[:, [0, 2, 1]] * (1, 1, -1)
    return shape


def _include(folder: Path, element: ElementTree.Element) -> None:
    """Replace <include file> by the children of that file's root, in place."""
    for index in reversed(range(len(element))):
        child = element[index]
        if child.tag != "include":
            _include(folder, child)
            continue
        element.remove(child)
        target = folder / child.get("file", "")
        if target.parent.name != "scene" and target.is_file():
            included = ElementTree.parse(target).getroot()
            _include(folder, included)
            for offset, grandchild in enumerate(included):
                element.insert(index + offset, grandchild)


def _mjcf_defaults(root: ElementTree.Element) -> dict[str, dict[str, str]]:
    """Geom attributes a default class, nested classes inheriting from the outer ones."""
    found: dict[str, dict[str, str]] = {}

    def walk(default: ElementTree.Element, inherited: dict[str, str]) -> None:
        geom = default.find("geom")
        setting = {**inherited, **(geom.attrib if geom is not None else {})}
        found[default.get("class", "")] = setting
        for child in default.findall("default"):
            walk(child, setting)

    for outer in root.findall("default"):
        walk(outer, {})
    return found


def _mjcf_frame(element: ElementTree.Element, radians: bool) -> NDArray[np.float64]:
    frame = np.eye(4)
    frame[:3, 3] = np.array(element.get("pos", "0 0 0").split(), float)
    if element.get("quat"):
        w, x, y, z = np.array(element.get("quat", "").split(), float)
        norm = max(w * w + x * x + y * y + z * z, 1e-12)
        frame[:3, :3] = np.eye(3) + 2 / norm * np.array(
            [[-y * y - z * z, x * y - z * w, x * z + y * w], [x * y + z * w, -x * x - z * z, y * z - x * w],
             [x * z - y * w, y * z + x * w, -x * x - y * y]]
        )  # fmt: skip
    elif element.get("axisangle"):
        x, y, z, angle = np.array(element.get("axisangle", "").split(), float)
        frame[:3, :3] = axis_angle_rotation([x, y, z], angle if radians else float(np.radians(angle)))
    elif element.get("xyaxes"):
        first, second = np.array(element.get("xyaxes", "").split(), float).reshape(2, 3)
        x_axis = first / max(float(np.linalg.norm(first)), 1e-12)
        y_axis = second - (second @ x_axis) * x_axis
        y_axis /= max(float(np.linalg.norm(y_axis)), 1e-12)
        frame[:3, :3] = np.stack([x_axis, y_axis, np.cross(x_axis, y_axis)], axis=1)
    elif element.get("zaxis"):
        frame[:3, :3] = _turned_to(np.array(element.get("zaxis", "").split(), float))
    elif element.get("euler"):
        angles = np.array(element.get("euler", "").split(), float)
        for axis, angle in enumerate(angles if radians else np.radians(angles)):
            turn, (i, j) = np.eye(3), ((axis + 1) % 3, (axis + 2) % 3)
            turn[i, i] = turn[j, j] = np.cos(angle)
            turn[j, i], turn[i, j] = np.sin(angle), -np.sin(angle)
            frame[:3, :3] = frame[:3, :3] @ turn
    return frame


def _between(setting: dict[str, str]) -> NDArray[np.float64]:  # (4, 4)
    """The frame of a geom from one point to another: in the middle, z along."""
    a, b = np.array(setting["fromto"].split(), float).reshape(2, 3)
    frame = np.eye(4)
    frame[:3, :3], frame[:3, 3] = _turned_to(b - a), (a + b) / 2
    return frame


def _turned_to(direction: NDArray[np.float64]) -> NDArray[np.float64]:  # (3, 3)
    """The smallest rotation that takes z to a direction."""
    z = direction / max(float(np.linalg.norm(direction)), 1e-12)
    axis = np.cross([0.0, 0.0, 1.0], z)
    if np.linalg.norm(axis) < 1e-9:  # along z, or against it
        return np.eye(3) if z[2] >= 0 else np.diag([1.0, -1.0, -1.0])
    return axis_angle_rotation(axis, float(np.arccos(np.clip(z[2], -1, 1))))


def _mjcf_solid(
    setting: dict[str, str], assets: dict[str, ElementTree.Element], meshes: Path, folder: Path
) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
    """Vertices and faces of a geom in its own frame; None for planes and what cannot be read."""
    import trimesh

    if setting.get("mesh"):
        asset = assets.get(setting["mesh"])
        if asset is None:
            return None
        file = next((p for p in (meshes / asset.get("file", ""), folder / asset.get("file", "")) if p.is_file()), None)
        if file is None:
            return None
        kind = file.suffix[1:].lower()
        solid: Any = trimesh.load(io.BytesIO(file.read_bytes()), file_type=kind, force="mesh", process=False)
        scale = np.array(asset.get("scale", "1 1 1").split(), float)
        return np.asarray(solid.vertices) * scale, np.asarray(solid.faces, np.int64)
    kind, size = setting.get("type", "sphere"), np.array(setting.get("size", "0").split(), float)
    if "fromto" in setting:  # sizes along it follow from its ends
        a, b = np.array(setting["fromto"].split(), float).reshape(2, 3)
        length = float(np.linalg.norm(b - a))
        size = np.array([*size[: 2 if kind in ("box", "ellipsoid") and len(size) > 1 else 1], length / 2])
        size = np.array([size[0], size[0], length / 2]) if kind in ("box", "ellipsoid") and len(size) == 2 else size
    if not (len(size) and (size > 0).all()):
        return None
    if kind == "box" and len(size) == 3:
        solid = trimesh.creation.box(extents=2 * size)
    elif kind == "cylinder" and len(size) >= 2:
        solid = trimesh.creation.cylinder(radius=size[0], height=2 * size[1], sections=24)
    elif kind == "capsule" and len(size) >= 2:
        solid = trimesh.creation.capsule(radius=size[0], height=2 * size[1], count=[16, 16])
        solid.apply_translation(-solid.bounds.mean(axis=0))
    elif kind == "sphere":
        solid = trimesh.creation.icosphere(subdivisions=2, radius=size[0])
    elif kind == "ellipsoid" and len(size) == 3:
        solid = trimesh.creation.icosphere(subdivisions=2)
        solid.apply_scale(size)
    else:
        return None
    return np.asarray(solid.vertices, float), np.asarray(solid.faces, np.int64)


def _read_fbx(path: Path, category: str) -> Iterator[NamedMesh]:
    """FBX files are listed, not read: the bindings on PyPI are alphas, and one crashed on a file of two meshes."""
    raise InputError(f"{path}: FBX is not read, export it as GLB; Blender's importer reads it")


_READERS = {
    ".glb": _read_gltf,
    ".gltf": _read_gltf,
    ".obj": _read_obj,
    ".ac": _read_ac3d,
    ".xml": _read_mjcf,
    ".fbx": _read_fbx,
    ".sh3f": _read_archive,
    ".zip": _read_archive,
}
