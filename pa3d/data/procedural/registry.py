"""The table of families, the builder that they draw with, and the words for parts.

A family draws one object with a `Builder`: random proportions from `u`, `n`, `chance`, `pick`; surfaces by
`add(mesh, "slat, back")`, where the string lists the part's names, finest first. Every name may have other
wordings, in the family's own table or in `WORDINGS`. Which of them an object carries is drawn once an object,
so that a name covers all of its part or is absent; the names in the string are always kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from pa3d.data.parts import PartMesh
from pa3d.data.procedural.primitives import Mesh, union

WORDINGS: dict[str, tuple[str, ...]] = {
    "back": ("backrest", "back rest", "back support"),
    "seat": ("seating surface", "sitting area", "seat part"),
    "leg": ("leg or support", "support leg", "supporting leg"),
    "handle": ("handle or grip", "grip", "hand grip", "handhold"),
    "lid": ("cover", "top cover"),
    "cap": ("cover", "closure"),
    "body": ("base body", "main body", "body part"),
    "wheel": ("tire", "wheels"),
    "base": ("bottom base", "base part", "foot base"),
    "spout": ("nozzle", "pouring spout"),
    "door": ("door panel", "swinging door"),
    "drawer": ("pull-out drawer", "drawer box"),
    "shelf": ("shelf board", "horizontal shelf"),
    "screen": ("display", "display screen", "screen panel"),
    "button": ("push button", "control button"),
    "blade": ("cutting blade", "metal blade"),
    "tabletop": ("top", "desktop", "table top", "table surface"),
    "strap": ("shoulder strap", "carrying strap"),
    "lens": ("glass lens",),
    "frame": ("outer frame", "frame structure"),
    "shade": ("lampshade", "lamp shade", "light shade"),
    "bulb": ("light bulb", "lamp bulb"),
    "pole": ("post", "stand pole"),
    "brim": ("hat brim", "rim of the hat"),
    "visor": ("peak", "bill", "brim"),
    "crown": ("top of the hat", "hat crown"),
    "wing": ("wings", "main wing"),
    "engine": ("motor",),
    "tail": ("tail section", "rear tail"),
    "fin": ("stabilizing fin", "fins"),
    "headlight": ("front light", "front lamp"),
    "windshield": ("windscreen", "front window"),
    "window": ("glass window", "window glass"),
    "roof": ("roof top", "top roof"),
    "cord": ("cable", "wire"),
    "support": ("stand", "support stand"),
    "neck": ("neck part",),
    "chimney": ("smokestack",),
    "stem": ("stalk",),
    "bowl": ("basin",),
}


class Builder:
    """Collects meshes with their part names; also the family's source of randomness."""

    def __init__(self, rng: np.random.Generator, wordings: Mapping[str, tuple[str, ...]] | None = None) -> None:
        self.rng = rng
        self.wordings = {**WORDINGS, **(wordings or {})}
        self._used: dict[str, tuple[str, ...]] = {}
        self._parts: dict[str, list[Mesh]] = {}

    def u(self, low: float, high: float) -> float:
        return float(low + (high - low) * self.rng.random())

    def n(self, low: int, high: int) -> int:
        """An integer in low..high, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, p: float = 0.5) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, *options: str) -> str:
        return options[int(self.rng.integers(len(options)))]

    def add(self, mesh: Mesh, names: str) -> None:
        """Give a mesh to the part with these comma-separated names, the finest first."""
        self._parts.setdefault(names, []).append(mesh)

    def sides(self, mesh: Mesh, names: str, axis: str = "x") -> None:
        """The mesh and its mirror image."""
        self.add(mesh, names)
        self.add(mesh.mirror(axis), names)

    def pieces(self) -> list[tuple[str, Mesh]]:
        """What was added so far, to be moved as a whole into another builder."""
        return [(names, mesh) for names, meshes in self._parts.items() for mesh in meshes]

    def _worded(self, names: str) -> tuple[str, ...]:
        listed = [name.strip() for name in names.split(",")]
        return tuple(dict.fromkeys([*listed, *(w for name in listed for w in self._wordings(name))]))

    def _wordings(self, name: str) -> tuple[str, ...]:
        if name not in self._used:
            options = self.wordings.get(name, ())
            self._used[name] = tuple(w for w in options if self.rng.random() < 0.5)
        return self._used[name]

    def mesh(self, category: str, name: str) -> PartMesh:
        """All that was added, centred, with its largest extent 1."""
        pieces = [union(meshes) for meshes in self._parts.values()]
        whole = union(pieces)
        low, high = whole.vertices.min(0), whole.vertices.max(0)
        vertices = (whole.vertices - (low + high) / 2) / max(float((high - low).max()), 1e-9)
        parts = np.repeat(np.arange(len(pieces)), [len(p.faces) for p in pieces])
        return PartMesh(
            vertices.astype(np.float32),
            whole.faces.astype(np.int32),
            parts.astype(np.int32),
            [self._worded(names) for names in self._parts],
            category=category,
            source="pa3d procedural",
            license="CC0-1.0",
            id=name,
        )


Draw = Callable[[Builder], None]


@dataclass(frozen=True)
class Family:
    """A category of procedural objects: how to draw one, and wordings of its own for parts."""

    category: str
    draw: Draw
    wordings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


CATEGORIES: dict[str, Family] = {}


def family(category: str, names: Mapping[str, tuple[str, ...]] | None = None) -> Callable[[Draw], Draw]:
    """Register a drawing function; names adds or replaces wordings for this category."""

    def register(draw: Draw) -> Draw:
        CATEGORIES[category] = Family(category, draw, names or {})
        return draw

    return register
