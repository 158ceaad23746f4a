"""The container of binary glTF, for what pa3d writes."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERTICES, INDICES = 34962, 34963  # targets of buffer views
FLOAT, UNSIGNED_BYTE, UNSIGNED_SHORT, UNSIGNED_INT = 5126, 5121, 5123, 5125  # component types
LARGEST_SHORT = 65534  # the highest index of 16 bits: glTF keeps the next one free


def index_type(n_vertices: int) -> tuple[int, str]:
    """The component type of indices of that many vertices, and its numpy type."""
    return (UNSIGNED_SHORT, "<u2") if n_vertices <= LARGEST_SHORT + 1 else (UNSIGNED_INT, "<u4")


def position_accessor(points: NDArray[np.float32]) -> dict[str, Any]:  # (N, 3)
    """The accessor of the points, in the first buffer view."""
    bounds = {"min": points.min(axis=0).tolist(), "max": points.max(axis=0).tolist()}
    return {"bufferView": 0, "componentType": FLOAT, "count": len(points), "type": "VEC3", **bounds}


def join_views(blobs: Sequence[tuple[bytes, dict[str, Any]]]) -> tuple[bytes, list[dict[str, Any]]]:
    """One buffer, and a view of it for each blob with what else the view says."""
    binary, views = b"", []
    for data, facts in blobs:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(data), **facts})
        binary += data + b"\0" * (-len(data) % 4)
    return binary, views


def pack_glb(document: dict[str, Any], binary: bytes, others: dict[bytes, bytes] | None = None) -> bytes:
    """A GLB of a document and its binary chunk, and of chunks of other kinds."""
    try:
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can only name
        text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = b"".join(
        struct.pack("<I4s", len(data), kind) + data
        for kind, data in {b"JSON": text, b"BIN\0": binary, **(others or {})}.items()
    )
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks
