"""Compressed geometry of glTF: Draco by the package DracoPy, meshopt by the package meshoptimizer.

Specifications: KHR_draco_mesh_compression, EXT_meshopt_compression and KHR_meshopt_compression, all at
https://github.com/KhronosGroup/glTF/tree/main/extensions/2.0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import CorruptFileError, first_line, missing_package

DRACO = "KHR_draco_mesh_compression"
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")


class DracoMesh(NamedTuple):
    """attributes: (V, width) by their unique ids; faces: None for a cloud."""

    attributes: dict[int, NDArray[Any]]
    faces: NDArray[np.int64] | None  # (F, 3)


def decode_draco(data: bytes) -> DracoMesh:
    """A Draco stream. Damaged ones may take much time and memory, so a file is better read in its own process."""
    try:
        import DracoPy
    except ImportError:
        raise missing_package(f"is compressed with Draco ({DRACO})", "DracoPy", "gltf") from None
    try:
        mesh = DracoPy.decode(data)
        attributes = {entry["unique_id"]: np.asarray(entry["data"]) for entry in mesh.attributes}
        faces = getattr(mesh, "faces", None)
    except MemoryError:
        raise
    except Exception as error:  # DracoPy lists no errors of its own; nothing of pa3d runs in this block
        raise CorruptFileError(f"is damaged: its Draco data cannot be read ({first_line(error)})") from error
    wide = {key: values.reshape(len(values), -1) for key, values in attributes.items()}
    return DracoMesh(wide, None if faces is None else np.asarray(faces, np.int64).reshape(-1, 3))


def decode_meshopt(data: bytes, count: int, stride: int, mode: str, filter: str) -> bytes:
    """A buffer view of `count` elements of `stride` bytes."""
    try:
        from meshoptimizer import decoder
    except ImportError:
        raise missing_package("is compressed with meshopt", "meshoptimizer", "gltf") from None
    filters = {"OCTAHEDRAL": "oct", "QUATERNION": "quat", "EXPONENTIAL": "exp"}
    if mode not in ("ATTRIBUTES", "TRIANGLES", "INDICES") or filter not in ("NONE", *filters):
        raise CorruptFileError(f"is compressed with an unknown mode of meshopt ({mode[:20]}, {filter[:20]})")
    try:
        if mode == "ATTRIBUTES":
            rows = decoder.decode_vertex_buffer(count, stride, data, np.dtype(("u1", stride)))
            if filter != "NONE":
                rows = getattr(decoder, f"decode_filter_{filters[filter]}")(rows, count, stride)
            return bytes(rows)
        decode = decoder.decode_index_buffer if mode == "TRIANGLES" else decoder.decode_index_sequence
        return bytes(decode(count, 4, data).astype(f"<u{stride}"))
    except (ValueError, RuntimeError, TypeError) as error:
        raise CorruptFileError(f"is damaged: its meshopt data cannot be read ({first_line(error)})") from error
