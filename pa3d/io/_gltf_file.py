"""The container of glTF 2.0: JSON document, buffers and accessors, every index and type checked.

Specification: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import WITHIN, CorruptFileError
from pa3d.io._gltf_compression import DRACO, MESHOPT, DracoMesh, decode_draco, decode_meshopt

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
MOST_IMPLICIT_VALUES = 2**26  # of an accessor without data: zeros that the file does not pay for

Json = dict[str, Any]


class GltfFile:
    """A parsed .glb or .gltf. folder: the folder of its external buffers and images; None if it has none.

    Raises CorruptFileError for a file that is not glTF 2.0. Extensions that do not change where triangles are, also
    required ones, are ignored.
    """

    def __init__(self, data: bytes, folder: Path | None = None) -> None:
        self.folder = folder
        self.chunks = _glb_chunks(data) if data[:4] == b"glTF" else {}  # of a GLB, by kind
        self._binary = self.chunks.get(b"BIN\0", b"")
        document = _parse_json(self.chunks[b"JSON"] if self.chunks else data)
        if not isinstance(document, dict) or not isinstance(document.get("asset"), dict):
            raise CorruptFileError("is JSON but not glTF 2.0: it has no 'asset'")
        self.document: Json = document
        version = str(document["asset"].get("version", "unknown"))
        if not version.startswith("2"):
            raise CorruptFileError(f"is glTF of version {version[:20]}", "convert it to version 2")
        self._buffers: dict[int, bytes] = {}
        self._decoded: dict[int, bytes] = {}  # of buffer views with meshopt
        self._draco: dict[int, DracoMesh] = {}  # of buffer views

    @property
    def uses_draco(self) -> bool:
        return any(DRACO in self._list(self.document, key) for key in ("extensionsUsed", "extensionsRequired"))

    def entries(self, kind: str) -> list[Json]:
        """All entries of a kind, such as "nodes"."""
        entries = self._list(self.document, kind)
        if not all(isinstance(entry, dict) for entry in entries):
            raise CorruptFileError(f"is damaged: its {kind} are not JSON objects")
        return entries

    def entry(self, kind: str, number: Any) -> Json:
        """One entry; CorruptFileError where there is none of that number."""
        entries = self.entries(kind)
        if not isinstance(number, int) or not 0 <= number < len(entries):
            raise CorruptFileError(f"is damaged: it refers to {kind}[{str(number)[:20]}] but has {len(entries)}")
        return entries[number]

    def accessor(self, number: Any) -> NDArray[Any]:  # (count, width)
        """An accessor's values in their own type; normalised integers come as float64 in [-1, 1] or [0, 1]."""
        return self._normalized(self.entry("accessors", number), self.stored_values(number))

    def stored_values(self, number: Any) -> NDArray[Any]:  # (count, width)
        """An accessor's values as they are stored."""
        accessor = self.entry("accessors", number)
        kind, width = COMPONENTS.get(non_negative_int(accessor, "componentType")), WIDTHS.get(str(accessor.get("type")))
        if kind is None or width is None:
            raise CorruptFileError(f"is damaged: accessor {number} has an unknown type")
        dtype, count = np.dtype(kind), non_negative_int(accessor, "count")
        if "bufferView" in accessor:
            values = self._values(accessor, dtype, width, count, f"accessor {number}")
        elif count * width <= MOST_IMPLICIT_VALUES:
            values = np.zeros((count, width), dtype)
        else:
            raise CorruptFileError(f"is damaged: accessor {number} declares {count} values but has no data")
        if "sparse" in accessor:
            values = self._with_sparse(values, mapping(accessor, "sparse"), number)
        return values

    def image_bytes(self, number: int) -> bytes:
        """The file of an image. Raises CorruptFileError or OSError when it is not there."""
        entry = self.entry("images", number)
        if "uri" in entry:
            return self._file(str(entry["uri"]))
        return self._view_bytes(self.entry("bufferViews", entry.get("bufferView")))

    def draco(self, primitive: Json) -> dict[str, NDArray[Any]]:
        """The attributes of a primitive that is compressed with Draco, and its "indices"; {} where it is not.

        Where the file holds the same uncompressed, too, that is taken.
        """
        mesh = self.draco_mesh(primitive)
        if mesh is None:
            return {}
        extension, attributes = mapping(mapping(primitive, "extensions"), DRACO), mapping(primitive, "attributes")
        found = {}
        for name in mapping(extension, "attributes").keys() & attributes.keys():
            values = mesh.attributes.get(non_negative_int(mapping(extension, "attributes"), name))
            accessor = self.entry("accessors", attributes[name])
            if values is None or values.shape[1] != WIDTHS.get(str(accessor.get("type"))):
                raise CorruptFileError(f"is damaged: its Draco data have no {name[:20]} as the file describes it")
            found[name] = self._normalized(accessor, values)
        if mesh.faces is not None:
            found["indices"] = mesh.faces.reshape(-1, 1)
        return found

    def draco_mesh(self, primitive: Json) -> DracoMesh | None:
        """What `draco` takes its values from, as they are stored."""
        extension = mapping(mapping(primitive, "extensions"), DRACO)
        position = self.entry("accessors", mapping(primitive, "attributes").get("POSITION"))
        if not extension or {"bufferView", "sparse"} & position.keys():
            return None
        number = non_negative_int(extension, "bufferView")
        if number not in self._draco:
            self._draco[number] = decode_draco(self._view_bytes(self.entry("bufferViews", number)))
        return self._draco[number]

    @staticmethod
    def _normalized(accessor: Json, values: NDArray[Any]) -> NDArray[Any]:
        if accessor.get("normalized") and values.dtype.kind in "iu":
            return np.maximum(values / np.iinfo(values.dtype).max, -1.0)
        return values

    def _view_bytes(self, view: Json) -> bytes:
        start, size = non_negative_int(view, "byteOffset", 0), non_negative_int(view, "byteLength")
        return self.buffer(view.get("buffer"))[start : start + size]

    def _meshopt(self, number: Any) -> bytes | None:
        """What a buffer view holds that is compressed with meshopt; None where the file holds it uncompressed."""
        view = self.entry("bufferViews", number)
        extensions = mapping(view, "extensions")
        name = next((name for name in MESHOPT if name in extensions), None)
        if name is None or "uri" in self.entry("buffers", view.get("buffer")):
            return None
        if number not in self._decoded:
            packed = mapping(extensions, name)
            self._decoded[number] = decode_meshopt(
                self._view_bytes(packed),
                non_negative_int(packed, "count"),
                non_negative_int(packed, "byteStride"),
                str(packed.get("mode")),
                str(packed.get("filter", "NONE")),
            )
        return self._decoded[number]

    def _with_sparse(self, values: NDArray[Any], sparse: Json, number: Any) -> NDArray[Any]:
        count, where, what = non_negative_int(sparse, "count"), mapping(sparse, "indices"), mapping(sparse, "values")
        kind = COMPONENTS.get(non_negative_int(where, "componentType"), "<f4")
        name = f"accessor {number}"
        rows = self._values(where, np.dtype(kind), 1, count, name)[:, 0]
        if np.dtype(kind).kind != "u" or rows.max(initial=0) >= len(values):
            raise CorruptFileError(f"is damaged: sparse accessor {number} replaces values outside 0..{len(values) - 1}")
        changed = values.copy()
        changed[rows] = self._values(what, values.dtype, values.shape[1], count, name)
        return changed

    def _values(self, place: Json, dtype: np.dtype[Any], width: int, count: int, name: str) -> NDArray[Any]:
        number = place.get("bufferView")
        view = self.entry("bufferViews", number)
        stride = non_negative_int(view, "byteStride", 0) or dtype.itemsize * width
        offset = non_negative_int(place, "byteOffset", 0)
        buffer, start = self._meshopt(number), 0
        if buffer is not None:
            size = len(buffer)
        else:
            buffer, start = self.buffer(view.get("buffer")), non_negative_int(view, "byteOffset", 0)
            size = non_negative_int(view, "byteLength")
        needed = offset + stride * (count - 1) + dtype.itemsize * width if count else 0
        if needed > size or start + size > len(buffer):
            raise CorruptFileError(f"is truncated or damaged: {name} reaches beyond its buffer")
        if count == 0:
            return np.empty((0, width), dtype)
        return np.ndarray((count, width), dtype, buffer, start + offset, (stride, dtype.itemsize))

    def buffer(self, number: Any) -> bytes:
        """The bytes of a buffer: the file's own, those of another file, or within the document."""
        entry = self.entry("buffers", number)
        if number not in self._buffers:
            if "uri" in entry:
                self._buffers[number] = self._file(str(entry["uri"]))
            else:
                self._buffers[number] = self._binary
        return self._buffers[number]

    def _file(self, uri: str) -> bytes:
        if uri.startswith("data:"):
            try:
                return base64.b64decode(uri.partition(",")[2])
            except ValueError:  # binascii.Error, or characters that are not ASCII
                raise CorruptFileError("is damaged: data within it are not base64") from None
        if "://" in uri:
            raise CorruptFileError(f"refers to data on the network ({uri[:60]})", "download them and correct the uri")
        try:
            if self.folder is None:
                raise OSError
            # A name may have been written without percent-encoding, although it should have been.
            names = dict.fromkeys((unquote(uri), uri))
            found = next((p for p in (self.folder / name for name in names) if p.is_file()), self.folder / unquote(uri))
            limit = WITHIN.get()
            if limit is not None and not found.resolve().is_relative_to(limit):
                raise OSError
            return found.read_bytes()
        except (OSError, ValueError):  # ValueError: a zero byte in the name
            raise CorruptFileError(
                f"needs the file {uri[:60]!r} beside it", "copy that, too, or export as GLB"
            ) from None

    @staticmethod
    def _list(entry: Json, key: str) -> list[Any]:
        value = entry.get(key, [])
        if not isinstance(value, list):
            raise CorruptFileError(f"is damaged: {key} is not a JSON array")
        return value


def mapping(entry: Json, key: str) -> Json:
    """A JSON object within another; {} where there is none."""
    value = entry.get(key, {})
    if not isinstance(value, dict):
        raise CorruptFileError(f"is damaged: {key} is not a JSON object")
    return value


def objects(entry: Json, key: str) -> list[Json]:
    """A list of JSON objects within another; [] where there is none."""
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(x, dict) for x in value):
        raise CorruptFileError(f"is damaged: {key} is not an array of JSON objects")
    return value


def non_negative_int(entry: Json, key: str, default: int | None = None) -> int:
    """An integer of at least 0."""
    value = entry.get(key, default)
    if isinstance(value, float) and value.is_integer():  # some exporters write 3.0
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise CorruptFileError(f"is damaged: {key} is {str(value)[:20]}, expected an integer")
    return value


def non_negative_ints(entry: Json, key: str) -> list[int]:
    """A list of integers of at least 0; [] where there is none."""
    value = entry.get(key, [])
    if not isinstance(value, list) or not all(isinstance(x, int) and x >= 0 for x in value):
        raise CorruptFileError(f"is damaged: {key} is not an array of integers")
    return value


def vector(entry: Json, key: str, default: Sequence[float]) -> NDArray[np.float64]:
    """Numbers of a fixed count, that of the default."""
    value = entry.get(key, default)
    fits = isinstance(value, (list, tuple)) and len(value) == len(default)
    if not fits or not all(isinstance(x, (int, float)) for x in value):
        raise CorruptFileError(f"is damaged: {key} is not {len(default)} numbers")
    return np.array(value, np.float64)


def _parse_json(data: bytes) -> Any:
    try:
        return json.loads(data.removeprefix(b"\xef\xbb\xbf"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise CorruptFileError("is damaged or not a glTF file: its JSON cannot be read") from None


def _glb_chunks(data: bytes) -> dict[bytes, bytes]:
    """The chunks of a GLB by their kind, of which JSON is always there."""
    if len(data) < 20:
        raise CorruptFileError("is truncated: it has no JSON chunk")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise CorruptFileError(f"is GLB of version {version}", "convert it to version 2")
    if length > len(data):
        raise CorruptFileError(f"is truncated: it declares {length} bytes but has {len(data)}")
    chunks: dict[bytes, bytes] = {}
    offset = 12
    while offset + 8 <= length:
        size, kind = struct.unpack_from("<I4s", data, offset)
        if offset + 8 + size > length:
            raise CorruptFileError(f"is damaged: a chunk of {size} bytes does not fit in it")
        chunks.setdefault(kind, data[offset + 8 : offset + 8 + size])
        offset += 8 + size
    if b"JSON" not in chunks:
        raise CorruptFileError("is damaged: it has no JSON chunk")
    return chunks
