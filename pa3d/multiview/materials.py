"""Materials of a file, beyond the vertex colours that `pa3d.io.load` keeps: base colours and textures of its faces.

glTF: baseColorFactor and baseColorTexture (PNG or JPEG, inside the file or beside it) with KHR_texture_transform.
OBJ: Kd and map_Kd of the material libraries. Faces are in the order of `load`. An image that is missing or cannot be
decoded is left out and mentioned in `notes`, because a grey picture is better than none. Alpha, wrap modes other than
repeat, and all other properties of a material are not read.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.io import gltf as gltf_format
from pa3d.io import obj as obj_format
from pa3d.io._common import CorruptFileError, first_line, raise_as_input_error
from pa3d.io.gltf import Gltf
from pa3d.io.obj import Material, parse, parse_mtl
from pa3d.multiview.shade import Texture

_MOST_TEXELS = 2**26  # of one image; Pillow warns about larger ones


@dataclass
class Materials:
    """face_colors: (F, 3) uint8 sRGB, None where all are white. texture: None without images.

    notes: what was left out, one sentence for each.
    """

    face_colors: NDArray[np.uint8] | None = None
    texture: Texture | None = None
    notes: list[str] = field(default_factory=list)


def read_materials(path: Path, n_faces: int) -> Materials:
    """The materials of a mesh file that `load` has read, n_faces as there; empty for formats without any."""
    read = _READERS.get(path.suffix.lower())
    if read is None:
        return Materials()
    try:
        with raise_as_input_error(path.name, path.suffix[1:].upper()):
            materials = read(path)
    except InputError as error:
        return Materials(notes=[f"materials are left out: {error}"])
    colored = n_faces if materials.face_colors is None else len(materials.face_colors)
    textured = n_faces if materials.texture is None else len(materials.texture.corner_uv)
    if colored != n_faces or textured != n_faces:
        return Materials(notes=["its materials do not fit its faces and are left out"])
    return materials


class _Images:
    """Decoded images by their key, each once. An image that cannot be decoded has index -1 and a note."""

    def __init__(self, notes: list[str]) -> None:
        self.images: list[NDArray[np.uint8]] = []
        self.notes = notes
        self._index: dict[Any, int] = {}

    def index(self, key: Any, name: str, read: Callable[[], bytes]) -> int:
        if key not in self._index:
            self._index[key] = -1
            try:
                image = _decode(read())
            except (CorruptFileError, OSError, ValueError, SyntaxError) as error:  # the last two: of Pillow
                self.notes.append(f"texture {name} is left out: {first_line(error)}")
            else:
                self._index[key] = len(self.images)
                self.images.append(image)
        return self._index[key]


def _read_gltf(path: Path) -> Materials:
    gltf = Gltf.load(path)
    notes: list[str] = []
    images = _Images(notes)
    uvs, numbers, colors = [], [], []
    for instance in gltf.triangle_instances():
        number, faces = instance.primitive.material, np.asarray(instance.faces)
        material = gltf.materials[number] if 0 <= number < len(gltf.materials) else None
        corner_uv, image = np.zeros((*faces.shape, 2), np.float32), -1
        if material is not None and material.image >= 0:
            uv = instance.primitive.uv(material.uv_set)
            if uv is not None:
                uv = uv @ material.uv_transform[:, :2].T + material.uv_transform[:, 2]
                uv[:, 1] = 1 - uv[:, 1]
                corner_uv = np.nan_to_num(uv).astype(np.float32)[faces]
                image = images.index(
                    material.image, gltf.image_name(material.image), partial(gltf.file.image_bytes, material.image)
                )
            elif f"TEXCOORD_{material.uv_set}" in instance.primitive.attributes:
                notes.append(f"TEXCOORD_{material.uv_set} does not fit its mesh and is left out")
        uvs.append(corner_uv)
        numbers.append(np.full(len(faces), image, np.int32))
        colors.append(np.tile(_srgb(np.ones(3) if material is None else material.base_color), (len(faces), 1)))
    if not colors:
        return Materials()
    face_colors = np.concatenate(colors)
    texture = Texture(np.concatenate(uvs), images.images, np.concatenate(numbers)) if images.images else None
    return Materials(None if (face_colors == 255).all() else face_colors, texture, notes)


def _read_obj(path: Path) -> Materials:
    obj = parse(path.read_bytes())
    notes: list[str] = []
    library: dict[str, Material] = {}
    for name in obj.libraries:
        try:
            library |= parse_mtl(path.parent / name)
        except OSError as error:
            notes.append(f"material library {name} is left out: {first_line(error)}")
    if not library or not len(obj.faces):
        return Materials(notes=notes)
    try:
        uv, corners = obj.uv.astype(np.float32), obj.corner_uv
    except CorruptFileError:
        notes.append("texture coordinates cannot be read and are left out")
        uv, corners = np.zeros((0, 2), np.float32), np.full(obj.faces.shape, -1)
    usable = (corners >= 0).all(1)
    corner_uv = np.zeros((*corners.shape, 2), np.float32)
    corner_uv[usable] = uv[corners[usable]]

    images = _Images(notes)
    materials = [library.get(material, Material()) for _, _, material in obj.names]
    numbers = np.array(
        [images.index(m.texture, m.texture.name, m.texture.read_bytes) if m.texture else -1 for m in materials]
    )
    # With an image, exporters write any Kd; the image alone counts.
    white = np.full(3, 255, np.uint8)
    colors = np.array(
        [white if image >= 0 or m.color is None else m.color for m, image in zip(materials, numbers, strict=True)]
    )
    face_colors = colors[obj.face_name_index]
    face_image = np.where(usable, numbers[obj.face_name_index], -1)
    texture = Texture(corner_uv, images.images, face_image) if images.images else None
    return Materials(None if (face_colors == 255).all() else face_colors, texture, notes)


def _decode(data: bytes) -> NDArray[np.uint8]:  # (h, w, 3)
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > _MOST_TEXELS:
            raise ValueError(f"{image.width} x {image.height} texels are too many")
        return np.asarray(image.convert("RGB"))


def _srgb(linear: NDArray[np.float64]) -> NDArray[np.uint8]:
    x = np.clip(np.nan_to_num(linear), 0, 1)
    return np.rint(np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055) * 255).astype(np.uint8)


_READERS: dict[str, Callable[[Path], Materials]] = {
    **dict.fromkeys(gltf_format.FORMAT.suffixes, _read_gltf),
    **dict.fromkeys(obj_format.FORMAT.suffixes, _read_obj),
}
