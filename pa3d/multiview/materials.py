"""What the faces of a file look like, beyond the vertex colours that `pa3d.io.load` keeps: base colours and textures.

glTF: baseColorFactor and baseColorTexture (PNG or JPEG, inside the file or beside it) with KHR_texture_transform.
OBJ: Kd and map_Kd of the material libraries. Faces come in the order of `load`. An image that is missing or cannot
be decoded is left out and told about, for a grey picture is better than none. Alpha, wrapping other than repetition,
and what lights a surface otherwise are not read.
"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from pa3d.io._common import triangulate
from pa3d.io.gltf import BeyondCoreError, Scene, open_scene
from pa3d.multiview.shade import Texture

_MOST_TEXELS = 2**26  # of one image; Pillow warns about larger ones


@dataclass
class Materials:
    """face_colors: (F, 3) uint8 sRGB, None where all are white. texture: None without images.

    notes: what was left out, a sentence each.
    """

    face_colors: NDArray[np.uint8] | None = None
    texture: Texture | None = None
    notes: list[str] = field(default_factory=list)


def read_materials(path: Path, n_faces: int) -> Materials:
    """The materials of a mesh file that `load` has read, n_faces as there; empty for formats without any."""
    suffix = path.suffix.lower()
    with np.errstate(all="ignore"):
        if suffix in (".glb", ".gltf"):
            try:
                found = _Gltf(open_scene(path)).materials()
            except BeyondCoreError:
                return Materials(notes=["textures of compressed or sparse glTF are not read"])
        elif suffix == ".obj":
            found = _read_obj(path)
        else:
            return Materials()
    colored = n_faces if found.face_colors is None else len(found.face_colors)
    textured = n_faces if found.texture is None else len(found.texture.corner_uv)
    if colored != n_faces or textured != n_faces:
        return Materials(notes=["its materials do not fit its faces and are left out"])
    return found


class _Images:
    """Decoded images by their key, each once; what fails is noted and None."""

    def __init__(self, notes: list[str]) -> None:
        self.images: list[NDArray[np.uint8]] = []
        self.notes = notes
        self.found: dict[Any, int] = {}

    def index(self, key: Any, name: str, read: Any) -> int:
        if key not in self.found:
            self.found[key] = -1
            try:
                image = _decode(read())
            except (OSError, ValueError, KeyError, IndexError, TypeError, SyntaxError) as error:
                self.notes.append(f"texture {name} is left out: {_reason(error)}")
            else:
                self.found[key] = len(self.images)
                self.images.append(image)
        return self.found[key]


class _Gltf:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.notes: list[str] = []
        self.images = _Images(self.notes)

    def materials(self) -> Materials:
        self.scene.geometry()
        uvs, numbers, colors = [], [], []
        for primitive, corners in self.scene.corners:
            material = self._material(primitive)
            look = material.get("pbrMetallicRoughness", {})
            factor = np.asarray([*look.get("baseColorFactor", ()), 1, 1, 1], np.float64)[:3]
            colors.append(np.tile(_srgb(factor), (len(corners), 1)))
            uv, image = self._texture(primitive, look.get("baseColorTexture"), corners)
            uvs.append(uv)
            numbers.append(np.full(len(corners), image, np.int32))
        if not colors:
            return Materials()
        face_colors = np.concatenate(colors)
        texture = None
        if self.images.images:
            texture = Texture(np.concatenate(uvs), self.images.images, np.concatenate(numbers))
        plain = bool((face_colors == 255).all())
        return Materials(None if plain else face_colors, texture, self.notes)

    def _material(self, primitive: dict[str, Any]) -> dict[str, Any]:
        materials, number = self.scene.document.get("materials", []), primitive.get("material")
        return materials[number] if isinstance(number, int) and 0 <= number < len(materials) else {}

    def _texture(
        self, primitive: dict[str, Any], entry: dict[str, Any] | None, corners: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], int]:
        none = np.zeros((*corners.shape, 2), np.float32), -1
        if not isinstance(entry, dict):
            return none
        transform = entry.get("extensions", {}).get("KHR_texture_transform", {})
        name = f"TEXCOORD_{transform.get('texCoord', entry.get('texCoord', 0))}"
        if name not in primitive["attributes"]:
            return none
        image = self._image(entry.get("index"))
        values = self.scene.accessor(primitive["attributes"][name]).astype(np.float64)
        if values.dtype.kind != "f" or values.shape[1] != 2 or corners.max(initial=-1) >= len(values):
            self.notes.append(f"{name} does not fit its mesh and is left out")
            return none
        turn = transform.get("rotation", 0.0)
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        values = values * transform.get("scale", (1, 1)) @ rotation.T + transform.get("offset", (0, 0))
        values[:, 1] = 1 - values[:, 1]
        return np.nan_to_num(values).astype(np.float32)[corners], image

    def _image(self, texture: Any) -> int:
        document = self.scene.document
        try:
            number = document["textures"][texture]["source"]
            entry = document["images"][number]
        except (KeyError, IndexError, TypeError):
            number, entry = None, {}
        return self.images.index(number, str(entry.get("name", number)), lambda: self._bytes(entry))

    def _bytes(self, entry: dict[str, Any]) -> bytes:
        uri = entry.get("uri")
        if uri is None:
            view = self.scene.document["bufferViews"][entry["bufferView"]]
            start = view.get("byteOffset", 0)
            return self.scene.buffers[view["buffer"]][start : start + view["byteLength"]]
        if uri.startswith("data:"):
            return base64.b64decode(uri.partition(",")[2])
        return (self.scene.folder / unquote(uri)).read_bytes()


def _read_obj(path: Path) -> Materials:
    """The second reading of an OBJ: texture coordinates, and the material of each face."""
    data = path.read_bytes().replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    notes: list[str] = []
    library: dict[str, dict[str, Any]] = {}
    places: list[list[bytes]] = []
    polygons, coordinates_before, material_of = [], [], []
    current = ""
    for line in data.split(b"\n"):
        word, _, rest = line.strip().partition(b" ")
        if word == b"vt":
            places.append(rest.split()[:2])
        elif word == b"f":
            polygons.append(rest.split())
            coordinates_before.append(len(places))
            material_of.append(current)
        elif word == b"usemtl":
            current = rest.strip().decode("utf-8", "replace")
        elif word == b"mtllib":
            name = rest.strip().decode("utf-8", "replace")
            library |= _read_mtl(path.parent / name, notes)
    if not library or not polygons:
        return Materials(notes=notes)
    try:
        uv = np.array([[float(x) for x in place] for place in places], np.float32).reshape(-1, 2)
    except ValueError:
        notes.append("texture coordinates cannot be read and are left out")
        uv = np.zeros((0, 2), np.float32)
    counts = np.array([len(polygon) for polygon in polygons])
    corner = np.full(counts.sum(), -1)
    at = 0
    for polygon, before in zip(polygons, coordinates_before, strict=True):
        for reference in polygon:
            parts = reference.split(b"/")
            if len(parts) > 1 and re.fullmatch(rb"[+-]?\d+", parts[1]):
                number = int(parts[1])
                corner[at] = number - 1 if number > 0 else before + number
            at += 1
    corners = triangulate(counts, corner)  # (F, 3)
    owner = np.repeat(np.arange(len(polygons)), np.maximum(counts - 2, 0))
    usable = ((corners >= 0) & (corners < len(uv))).all(1)
    corner_uv = np.zeros((*corners.shape, 2), np.float32)
    corner_uv[usable] = uv[corners[usable]]

    images = _Images(notes)
    names = sorted(set(material_of))
    looks = [library.get(name, {}) for name in names]
    colors = np.array([look.get("color", (255, 255, 255)) for look in looks], np.uint8)
    numbers = np.array(
        [images.index(look["map"], look["map"].name, look["map"].read_bytes) if "map" in look else -1 for look in looks]
    )
    of_face = np.searchsorted(names, material_of)[owner]
    face_image = np.where(usable, numbers[of_face], -1)
    # With an image, exporters write any Kd; the image alone counts.
    colors[numbers >= 0] = 255
    face_colors = colors[of_face]
    texture = Texture(corner_uv, images.images, face_image) if images.images else None
    return Materials(None if (face_colors == 255).all() else face_colors, texture, notes)


def _read_mtl(path: Path, notes: list[str]) -> dict[str, dict[str, Any]]:
    """Kd as sRGB bytes and the file of map_Kd of every material."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        notes.append(f"material library {path.name} is left out: {_reason(error)}")
        return {}
    found: dict[str, dict[str, Any]] = {}
    look: dict[str, Any] = {}
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if word == "newmtl":
            look = found.setdefault(rest.strip(), {})
        elif word == "Kd":
            try:
                rgb = np.array([float(x) for x in rest.split()[:3]])
            except ValueError:
                continue
            if rgb.shape == (3,) and np.isfinite(rgb).all():
                look["color"] = np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)
        elif word == "map_Kd":
            # Options come first, each a word that begins with "-" and its numbers; the name may hold blanks.
            name = re.sub(r"^(-\w+(\s+(on|off|[-+.\d]+))*\s+)*", "", rest.strip()).replace("\\", "/")
            look["map"] = path.parent / name
    return found


def _decode(data: bytes) -> NDArray[np.uint8]:  # (h, w, 3)
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        if image.width * image.height > _MOST_TEXELS:
            raise ValueError(f"{image.width} x {image.height} texels are too many")
        return np.asarray(image.convert("RGB"))


def _srgb(linear: NDArray[np.float64]) -> NDArray[np.uint8]:
    x = np.clip(np.nan_to_num(linear), 0, 1)
    return np.rint(np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055) * 255).astype(np.uint8)


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0][:100]
    return text or type(error).__name__
