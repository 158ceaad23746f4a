"""Procedural objects and creatures by one name, and as files: what pa3d synth writes."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from pa3d.data.creatures import CREATURES, creature_mesh, synthesize_creature
from pa3d.data.parts import PartCloud, PartMesh
from pa3d.data.procedural import CATEGORIES, synthesize
from pa3d.errors import InputError


class Categories(NamedTuple):
    """Names that draw_mesh takes. A creature called as an object is (the mouse) is told apart by a word before it."""

    objects: list[str]
    creatures: list[str]


def categories() -> Categories:
    creatures = [f"animal {kind}" if kind in CATEGORIES else kind for kind in CREATURES]
    return Categories(sorted(CATEGORIES), sorted(creatures))


def draw_mesh(category: str, seed: int) -> PartMesh:
    """One shape, y up; the same category and seed give the same shape. Raises InputError for an unknown category."""
    if category in CATEGORIES:
        return synthesize(category, seed)
    return creature_mesh(_kind(category), seed)


def draw_cloud(category: str, seed: int, points: int = 4096) -> PartCloud:
    """Points of such a shape's surface with overlapping masks; of creatures, of what of it lies outside."""
    if category in CATEGORIES:
        return synthesize(category, seed).sample(points, np.random.default_rng([seed, points]))
    return synthesize_creature(_kind(category), seed, points)


def named_glb(mesh: PartMesh) -> bytes:
    """A GLB with a node, a mesh and a material a part, named by the part's finest name."""
    from pa3d.report.files import parts_glb
    from pa3d.segment import Segmentation
    from pa3d.shape import Shape

    names = [words[0] for words in mesh.parts]
    shape = Shape(mesh.vertices, mesh.faces, name=re.sub(r"\W+", "-", mesh.id or mesh.category) or "shape")
    nothing = np.zeros((0, len(names)), np.float32)
    labels = np.zeros(len(mesh.vertices), np.int32)
    return parts_glb(Segmentation(shape, names, labels, nothing, mesh.face_parts.astype(np.int32), nothing))


def _kind(category: str) -> str:
    kind = category.removeprefix("animal ")
    if kind not in CREATURES or (kind in CATEGORIES) != (kind != category):
        near = [name for name in (*categories().objects, *categories().creatures) if category and category in name]
        hint = f"such as {', '.join(near[:4])}" if near else "pa3d synth --list names them"
        raise InputError(f"unknown category {category!r}; expected one of {sum(map(len, categories()))}, {hint}")
    return kind
