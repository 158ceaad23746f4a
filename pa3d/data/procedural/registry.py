"""The table of families, the builder that they draw with, and the words for parts.

A family draws one object with a `Builder`. Random proportions come from `uniform`, `integers`, `chance` and `choice`.
`add(mesh, "slat, back")` adds a surface; the string lists the part's names, the finest first. A name may have other
wordings, in the family's own table or in `WORDINGS`. The builder draws once per object which of them the object has,
so that a name covers all of its part or is absent. The names in the string are always kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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

    def uniform(self, low: float, high: float) -> float:
        return float(low + (high - low) * self.rng.random())

    def integers(self, low: int, high: int) -> int:
        """An integer from low to high, both included (unlike numpy's)."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, p: float = 0.5) -> bool:
        """True with probability p."""
        return bool(self.rng.random() < p)

    def choice(self, *options: str) -> str:
        """One of the options, each as likely; an option may be given more than once."""
        return options[int(self.rng.integers(len(options)))]

    def add(self, mesh: Mesh, names: str) -> None:
        """Give a mesh to the part with these comma-separated names, the finest first."""
        self._parts.setdefault(names, []).append(mesh)

    def add_mirrored(self, mesh: Mesh, names: str, axis: str = "x") -> None:
        """Add the mesh and its mirror image."""
        self.add(mesh, names)
        self.add(mesh.mirror(axis), names)

    def pieces(self) -> list[tuple[str, Mesh]]:
        """All that was added so far, to move it as a whole into another builder."""
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


COMMON = "common"  # tag of a second family for a kind of object that people ask for often (a further hat, chair, cup)


@dataclass(frozen=True)
class Family:
    """A category of procedural objects: how to draw one, its own wordings for parts, and tags."""

    category: str
    draw: Draw
    wordings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()


CATEGORIES: dict[str, Family] = {}


def family(
    category: str, *, names: Mapping[str, tuple[str, ...]] | None = None, tags: Iterable[str] = ()
) -> Callable[[Draw], Draw]:
    """Register a drawing function.

    names: wordings of this category, in addition to `WORDINGS` or in place of them.
    Raises ValueError when the category already has a family.
    """

    def register(draw: Draw) -> Draw:
        if category in CATEGORIES:
            other = CATEGORIES[category].draw
            raise ValueError(
                f"family {category!r} is drawn by {other.__module__}.{other.__name__} already; choose another name"
            )
        CATEGORIES[category] = Family(category, draw, names or {}, frozenset(tags))
        return draw

    return register
