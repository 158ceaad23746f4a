"""A glTF document to which data are added: what was there keeps its bytes and its numbers, and all becomes one GLB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import CorruptFileError
from pa3d.io._gltf_compression import DRACO, MESHOPT
from pa3d.io._gltf_file import COMPONENTS, GltfFile, Json, mapping, non_negative_int, non_negative_ints, objects
from pa3d.report.glb import INDICES, VERTICES, pack_glb

ALIGNMENT = 16  # of what is appended, in bytes; no type of glTF needs more
# Where a document refers to accessors, besides the attributes of primitives and of extensions.
_ACCESSOR_KEYS = ("indices", "input", "output", "inverseBindMatrices", "accessor")
_KINDS = (
    *("buffers", "bufferViews", "accessors", "meshes", "nodes"),
    *("scenes", "materials", "textures", "samplers", "images"),
)
_MIME_TYPES = {
    b"\x89PNG": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "image/webp",
    b"\xabKTX": "image/ktx2",
    b"DDS ": "image/vnd-ms.dds",
}


class GltfDocument:
    """A copy of a parsed file as JSON (`json`). Its buffers and images become part of the GLB; those that cannot be
    read keep their address."""

    def __init__(self, file: GltfFile) -> None:
        self.file = file
        self.json: Json = deepcopy(file.document)
        self._check()
        self._binary = bytearray()
        self._data: dict[int, bytes] = {}  # of buffer views that are new
        self._decoded: dict[int, NDArray[Any]] = {}  # of accessors that were compressed
        self._selected: dict[tuple[int, bytes], int] = {}  # accessors with some rows of others
        self._join_buffers()
        self._embed_images()

    def _check(self) -> None:
        """Raise CorruptFileError where what is changed here is not as glTF wants it."""
        for kind in _KINDS:
            self.file.entries(kind)
        for view in self.json.get("bufferViews", []):
            for place in (view, *_packed(view)):
                self.file.entry("buffers", place.get("buffer"))
                _check_integers(place, "buffer", "byteOffset", "byteLength")
                non_negative_int(place, "byteLength")
        for buffer in self.json.get("buffers", []):
            buffer["byteLength"] = non_negative_int(buffer, "byteLength")
        for accessor in self.json.get("accessors", []):
            _check_integers(accessor, "bufferView", "byteOffset", "componentType", "count")
        for mesh in self.json.get("meshes", []):
            for primitive in objects(mesh, "primitives"):
                _check_integers(primitive, "indices", "material", "mode")
                for group in (mapping(primitive, "attributes"), *objects(primitive, "targets")):
                    _check_integers(group, *group)
        for node in self.json.get("nodes", []):
            _check_integers(node, "mesh", "skin")
            mapping(node, "extensions")
        for scene in self.json.get("scenes", []):
            non_negative_ints(scene, "nodes")

    def entries(self, kind: str) -> list[Json]:
        """The list of all entries of a kind, such as "nodes", to be changed in place."""
        found: list[Json] = self.json.setdefault(kind, [])
        return found

    def add(self, kind: str, entry: Json) -> int:
        """Append an entry and return its number."""
        entries = self.entries(kind)
        entries.append(entry)
        return len(entries) - 1

    def add_view(self, data: bytes, target: int | None = None, stride: int = 0, slot: int | None = None) -> int:
        """A buffer view with these bytes, as a new entry or in the place of one that nothing refers to."""
        entry: Json = {"buffer": 0, "byteLength": len(data)}
        if stride:
            entry["byteStride"] = stride
        if target is not None:
            entry["target"] = target
        if slot is None:
            slot = self.add("bufferViews", entry)
        else:
            self.entries("bufferViews")[slot] = entry
        self._data[slot] = data
        return slot

    def unused_views(self, numbers: set[int]) -> list[int]:
        """Those of some buffer views that nothing refers to."""
        return sorted(numbers - set(_values(self.json, "bufferView")))

    def unused_accessors(self, numbers: set[int]) -> list[int]:
        """Those of some accessors that nothing refers to."""
        return sorted(numbers - {place[key] for place, key in _accessor_places(self.json)})

    def decode_draco(self) -> None:
        """Store uncompressed what is compressed with Draco: an index of another part needs the vertices as they are."""
        tasks: dict[int, tuple[NDArray[Any], int]] = {}  # of accessors: values, target
        packed: set[int] = set()
        for mesh, copy in zip(self.file.entries("meshes"), self.entries("meshes"), strict=True):
            for primitive, new in zip(objects(mesh, "primitives"), objects(copy, "primitives"), strict=True):
                if DRACO not in mapping(primitive, "extensions"):
                    continue
                extension = new["extensions"].pop(DRACO)
                if not new["extensions"]:
                    del new["extensions"]
                packed.add(int(extension["bufferView"]))
                decoded = self.file.draco_mesh(primitive)
                if decoded is None:
                    continue
                for name in extension["attributes"].keys() & new["attributes"].keys():
                    values = decoded.attributes[extension["attributes"][name]]
                    tasks[new["attributes"][name]] = values, VERTICES
                if decoded.faces is not None and "indices" in new:
                    tasks[new["indices"]] = decoded.faces.reshape(-1, 1), INDICES
        slots = iter(self.unused_views(packed))
        for number, (values, target) in sorted(tasks.items()):
            self._store(number, values, target, next(slots, None))
        if packed:
            self._drop_extension(DRACO)

    def _store(self, number: int, values: NDArray[Any], target: int, slot: int | None) -> None:
        """Give an accessor its values (count, width) in a buffer view of its own."""
        accessor = self.entries("accessors")[number]
        dtype = np.dtype(COMPONENTS[accessor["componentType"]])
        stored = (np.rint(values) if dtype.kind != "f" else values).astype(dtype)
        stride = stored.shape[1] * dtype.itemsize
        if target == VERTICES and stride % 4:  # each vertex begins at a multiple of four bytes
            wide = np.zeros((len(stored), stride + -stride % 4), np.uint8)
            wide[:, :stride] = stored.view(np.uint8).reshape(len(stored), -1)
            view = self.add_view(wide.tobytes(), target, wide.shape[1], slot)
        else:
            view = self.add_view(stored.tobytes(), target, 0, slot)
        accessor |= {"bufferView": view, "byteOffset": 0, "count": len(stored)}
        for key, value in (("min", stored.min), ("max", stored.max)):
            if key in accessor and len(stored):
                accessor[key] = value(axis=0).tolist()
        self._decoded[number] = stored

    def select_vertices(self, number: int, rows: NDArray[np.int64]) -> int:
        """A new accessor with some rows of another one."""
        key = number, rows.tobytes()
        if key not in self._selected:
            values = self._decoded[number] if number in self._decoded else self.file.stored_values(number)
            kept = ("componentType", "type", "normalized", "min", "max", "name", "extras")
            entry = self.entries("accessors")[number]
            new = self.add("accessors", {name: entry[name] for name in kept if name in entry})
            self._store(new, values[rows], VERTICES, None)
            self._selected[key] = new
        return self._selected[key]

    def drop_unused(self) -> None:
        """Leave out meshes, materials, textures, images, accessors and buffer views that nothing refers to."""
        self.json = json.loads(json.dumps(self.json))  # where objects were shared, each is now one of its own
        kept = {node["mesh"] for node in self.entries("nodes") if "mesh" in node}
        self._renumber("meshes", kept, [(self.json["nodes"], "mesh")])
        if "KHR_animation_pointer" not in self.json.get("extensionsUsed", []):  # which names materials by number
            meshes = self.json["meshes"]
            self._renumber("materials", set(_values(meshes, "material")), [(meshes, "material")])
            infos = list(_texture_infos(self.json.get("materials", [])))
            self._renumber("textures", {info["index"] for info in infos}, [(infos, "index")])
            textures = self.json.get("textures", [])
            for kind, key in (("images", "source"), ("samplers", "sampler")):
                self._renumber(kind, set(_values(textures, key)), [(textures, key)])
        places = list(_accessor_places(self.json))
        numbers = sorted({place[key] for place, key in places})
        new = {number: i for i, number in enumerate(numbers)}
        self.json["accessors"] = [self.json["accessors"][number] for number in numbers]
        for place, key in places:
            place[key] = new[place[key]]
        used = set(_values(self.json, "bufferView"))
        self._data = {number: self._view_data(number) for number in sorted(used)}
        order = {number: i for i, number in enumerate(sorted(used))}
        self._renumber("bufferViews", used, [(self.json, "bufferView")])
        self._data = {order[number]: data for number, data in self._data.items()}
        self._binary = bytearray()

    def _renumber(self, kind: str, kept: set[int], references: list[tuple[Any, str]]) -> None:
        """Leave out entries; references: where the others are named, and by which key."""
        if kind not in self.json:
            return
        new = {number: i for i, number in enumerate(sorted(kept))}
        self.json[kind] = [self.json[kind][number] for number in sorted(kept)]
        for place, key in references:
            _replace(place, key, new)
        if not self.json[kind]:
            del self.json[kind]

    def _view_data(self, number: int) -> bytes:
        """The bytes of a buffer view, compressed as they are."""
        view = self.json["bufferViews"][number]
        place = (_packed(view) or [view])[0]
        start = place.get("byteOffset", 0)
        return self._data.get(number, bytes(self._binary[start : start + place["byteLength"]]))

    def _drop_extension(self, name: str) -> None:
        for key in ("extensionsUsed", "extensionsRequired"):
            if name in self.json.get(key, []):
                self.json[key].remove(name)
                if not self.json[key]:
                    del self.json[key]

    def _join_buffers(self) -> None:
        """Make the buffers that can be read the first one, and say so in their views."""
        kept: list[Json] = []
        moved: dict[int, tuple[int, int]] = {}  # number and offset of each buffer in the new file
        first: Json = {}
        for number, entry in enumerate(self.json.get("buffers", [])):
            try:
                if "uri" not in entry and (number > 0 or not self.file.chunks):
                    raise CorruptFileError("has no data: a place for what meshopt unpacks")
                data = self.file.buffer(number)[: entry["byteLength"]]
            except CorruptFileError:
                moved[number] = 1 + len(kept), 0
                kept.append(entry)
                continue
            moved[number] = 0, self._append(data)
            first = first or {key: value for key, value in entry.items() if key != "uri"}
        self.json["buffers"] = [first, *kept]
        for view in self.json.get("bufferViews", []):
            for place in (view, *_packed(view)):
                number, offset = moved[place["buffer"]]
                place["buffer"] = number
                if offset:
                    place["byteOffset"] = place.get("byteOffset", 0) + offset

    def _embed_images(self) -> None:
        for number, image in enumerate(self.json.get("images", [])):
            uri = str(image.get("uri", ""))
            if not uri:
                continue
            try:
                data = self.file.image_bytes(number)
            except (CorruptFileError, OSError):  # on the network, or not there
                continue
            kind = next((kind for start, kind in _MIME_TYPES.items() if data.startswith(start)), "")
            if not kind:
                continue
            image |= {"bufferView": self.add_view(data), "mimeType": kind}
            del image["uri"]
            if not uri.startswith("data:"):
                image.setdefault("name", PurePosixPath(unquote(uri)).stem)

    def _append(self, data: bytes) -> int:
        """Where in the binary chunk these bytes are from now on."""
        self._binary += bytes(-len(self._binary) % ALIGNMENT)
        self._binary += data
        return len(self._binary) - len(data)

    def pack(self) -> bytes:
        """The GLB."""
        # What stands last and belonged to views that were replaced is left out: often the indices.
        old = (view for number, view in enumerate(self.entries("bufferViews")) if number not in self._data)
        places = (place for view in old for place in (view, *_packed(view)))
        ends = [place.get("byteOffset", 0) + place["byteLength"] for place in places if place["buffer"] == 0]
        del self._binary[max(ends, default=0) :]
        for number in sorted(self._data):
            view = self.json["bufferViews"][number]
            (_packed(view) or [view])[0]["byteOffset"] = self._append(self._data[number])
        self.json["buffers"][0]["byteLength"] = len(self._binary)
        others = {kind: data for kind, data in self.file.chunks.items() if kind not in (b"JSON", b"BIN\0")}
        return pack_glb(self.json, bytes(self._binary), others)


def _check_integers(entry: Json, *keys: str) -> None:
    """Raise CorruptFileError where an entry has other values; 3.0, as some exporters write, becomes 3."""
    for key in keys:
        if key in entry:
            entry[key] = non_negative_int(entry, key)


def _packed(view: Json) -> list[Json]:
    """Where the compressed data of a buffer view are."""
    extensions = mapping(view, "extensions")
    return [mapping(extensions, name) for name in MESHOPT if name in extensions]


def _values(entry: Any, key: str) -> Iterator[int]:
    """All integers under a key, anywhere in a document."""
    if isinstance(entry, dict):
        for name, value in entry.items():
            if name == key and isinstance(value, int):
                yield value
            elif isinstance(value, dict | list):
                yield from _values(value, key)
    elif isinstance(entry, list):
        for value in entry:
            if isinstance(value, dict | list):
                yield from _values(value, key)


def _replace(entry: Any, key: str, new: dict[int, int]) -> None:
    """Replace all integers under a key, anywhere in a document."""
    if isinstance(entry, dict):
        for name, value in entry.items():
            if name == key and isinstance(value, int):
                entry[name] = new[value]
            else:
                _replace(value, key, new)
    elif isinstance(entry, list):
        for value in entry:
            _replace(value, key, new)


def _texture_infos(entry: Any) -> Iterator[Json]:
    """Whatever names a texture, in materials and their extensions."""
    if isinstance(entry, dict):
        for name, value in entry.items():
            if name.endswith("Texture") and isinstance(value, dict) and isinstance(value.get("index"), int):
                yield value
            yield from _texture_infos(value)
    elif isinstance(entry, list):
        for value in entry:
            yield from _texture_infos(value)


def _accessor_places(document: Json) -> Iterator[tuple[Json, str]]:
    """Where a document names accessors, also in extensions as far as they do it as glTF does: object and key."""
    stack: list[Any] = [document]
    while stack:
        entry = stack.pop()
        if isinstance(entry, list):
            stack += entry
        elif isinstance(entry, dict):
            stack += entry.values()
            yield from ((entry, key) for key in _ACCESSOR_KEYS if isinstance(entry.get(key), int))
            groups = [entry.get("attributes"), *(entry["targets"] if isinstance(entry.get("targets"), list) else [])]
            for group in groups:
                if isinstance(group, dict):
                    yield from ((group, key) for key, value in group.items() if isinstance(value, int))
