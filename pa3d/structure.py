"""The file's own structure as evidence: pieces that an author made, and the names of nodes and materials.

A unit is a connected component of the faces of one piece of the file (Shape.pieces), or of all faces where the file has
no pieces. It says two things, both softly:

- Its faces belong together, if it is small: units of at most a fifth of the surface hold together with BOND. Large
  units are often several parts in one: hard votes by component ruin welded scans.
- Its name says what it is: the words of its node, mesh, material or parent, whichever is nearest to one of the part
  names in the space of the text encoder. Names that say nothing ("Object_12", "Material.003", "Cube") are left out, and
  names that are near no part name weigh nothing.

Both become terms of the field that pa3d.ops.refine solves. The constants were chosen on labelled shapes:
docs/results.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.ops.components import components
from pa3d.ops.refine import Pieces
from pa3d.shape import Piece, Shape

SMALL = 0.2  # of the surface
BOND = 1.0
NAMED_BOND, LARGE_NAMED_BOND = 3.0, 1.0  # of units with a name, small and large
TEMPERATURE = 0.1  # of the cosines between names
NEAR, SURE = 0.6, 0.9  # cosines of the nearest part name at which a name begins to weigh, and at which it weighs most
NAME_WEIGHT = 2.0
MAX_NAMES = 256
PARENTS = 2

# What modelling programs and exporters write without meaning a part; also sides and colours.
_EMPTY_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a albedo armature base bl black blinn blue bone box br brown circle collada color colour comp component "
        "cone copy cube cylinder dae dark default diffuse empty export exported fbx final fl fr geo geom geometry "
        "glb gltf gray green grey grid group grp hi high icosphere id import imported index instance joint joints "
        "l lambert left lo lod low lt main mat material matrix mesh meshes model mtl new no node noname none null "
        "num obj object of old orange part phong pink plane poly polygon polysurface prim primitive purple r red "
        "rig right rl root rr rt scene shader shape skeleton sketchfab skin sphere standard surface temp test tex "
        "texture the tmp torus transform unnamed untitled uvsphere white yellow ",
    )
)


@dataclass
class Structure:
    """pieces: for pa3d.ops.refine. units: their number. names: the words that weigh, with the nearest part name."""

    pieces: Pieces
    units: int
    names: dict[str, str]

    def summary(self) -> dict[str, object]:
        return {"units": self.units, "names": self.names}


@dataclass
class Units:
    """The units of a mesh, whatever the part names are.

    unit (F,): that of each face. piece (U,): the piece of the file that each unit is of. small (U,): whether it is.
    """

    unit: NDArray[np.int32]
    piece: NDArray[np.int32]
    small: NDArray[np.bool_]


def find_units(shape: Shape) -> Units | None:
    """The units of a mesh; None for a cloud."""
    if shape.faces is None:
        return None
    labels = np.zeros(len(shape.faces), np.int32) if shape.face_piece is None else shape.face_piece
    unit = components(shape.points, shape.faces, np.ascontiguousarray(labels, np.int32))
    first = np.unique(unit, return_index=True)[1]
    areas = np.bincount(unit, shape.face_areas(), len(first))
    return Units(unit, labels[first], areas <= SMALL * areas.sum())


def find_structure(
    shape: Shape,
    part_names: list[str],
    vectors: NDArray[np.float32],  # (K, D) unit vectors of the part names
    embed: Callable[[list[str]], NDArray[np.float32]] | None,
    category: str | None = None,
    units: Units | None = None,
) -> Structure | None:
    """The structure of a mesh; None for a cloud, and for one unit whose name says nothing.

    embed: gives the unit vectors (n, D) of n names, in the space of `vectors`; None leaves names out. It may raise
        InputError for names that it cannot read.
    units: what find_units(shape) returns, if it was called before.
    """
    units = units or find_units(shape)
    if units is None:
        return None
    unit, small, count = units.unit, units.small, len(units.piece)
    evidence, weight, used = _name_evidence(shape, part_names, vectors, embed, category)
    if count == 1 and not used:
        return None
    bond = np.where(small, BOND, 0.0)
    if not used:
        return Structure(Pieces(unit, bond.astype(np.float32)), count, {})
    own = units.piece
    named = np.where(small, NAMED_BOND, LARGE_NAMED_BOND)
    bond = np.where(weight[own] > 0, named, bond).astype(np.float32)
    return Structure(Pieces(unit, bond, evidence[own], weight[own]), count, used)


def _name_evidence(
    shape: Shape,
    part_names: list[str],
    vectors: NDArray[np.float32],
    embed: Callable[[list[str]], NDArray[np.float32]] | None,
    category: str | None,
) -> tuple[NDArray[np.float32], NDArray[np.float32], dict[str, str]]:
    """For every piece of the file: log probabilities (P, K) of the part names and their weight (P,); and the words that
    weigh, with the nearest part name of each."""
    pieces = shape.pieces or (Piece(),)
    evidence = np.zeros((len(pieces), len(part_names)), np.float32)
    weight = np.zeros(len(pieces), np.float32)
    if embed is None or len(part_names) < 2:
        return evidence, weight, {}
    own = set() if category is None else set(name_words(category).split())
    texts = [[text for text in map(name_words, _names(piece)) if text and set(text.split()) - own] for piece in pieces]
    distinct = list(dict.fromkeys(text for row in texts for text in row))[:MAX_NAMES]
    cosine = dict(zip(distinct, _cosines(distinct, vectors, embed), strict=True))
    used = {}
    for i, row in enumerate(texts):
        known = [text for text in row if text in cosine and np.isfinite(cosine[text]).all()]
        if not known:
            continue
        best = max(known, key=lambda text: float(cosine[text].max()))  # the first of equals: node before material
        values = cosine[best]
        sure = float(np.clip((values.max() - NEAR) / (SURE - NEAR), 0, 1))
        if sure == 0:
            continue
        logits = (values - values.max()) / TEMPERATURE
        evidence[i] = np.maximum(logits - np.log(np.exp(logits).sum()), np.log(0.01))
        weight[i] = NAME_WEIGHT * sure
        used[best] = part_names[int(values.argmax())]
    return evidence, weight, used


def _names(piece: Piece) -> list[str]:
    return [piece.node, piece.mesh, piece.material, *piece.parents[:PARENTS]]


def _cosines(
    texts: list[str], vectors: NDArray[np.float32], embed: Callable[[list[str]], NDArray[np.float32]]
) -> list[NDArray[np.float32]]:  # (K,) each, NaN where the encoder cannot read the text
    if not texts:
        return []
    try:
        return list(embed(texts) @ vectors.T)
    except InputError:  # one of them: say which, one by one
        if len(texts) == 1:
            return [np.full(len(vectors), np.nan, np.float32)]
        return [row for text in texts for row in _cosines([text], vectors, embed)]


def name_words(raw: str) -> str:
    """The words of a raw name in lower case, without numbers, sides and what modelling programs write; "" if none.

    "wheel_frontLeft" gives "wheel front", "mat_glass" gives "glass", "Object_12" and "Material.003" give "".
    """
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", raw)
    words = [word.lower() for word in re.findall(r"[^\W\d_]+", text)]
    return " ".join(word for word in words if len(word) > 1 and word not in _EMPTY_WORDS)
