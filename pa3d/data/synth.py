"""Procedural objects and creatures by one name: the shapes that pa3d synth writes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pa3d.data.creatures import CREATURES, creature_mesh, synthesize_creature
from pa3d.data.parts import PartCloud, PartMesh
from pa3d.data.procedural import CATEGORIES, synthesize
from pa3d.errors import InputError


class Categories(NamedTuple):
    """Names that draw_mesh takes. A creature with the name of an object (the mouse) has "animal" before it."""

    objects: list[str]
    creatures: list[str]


def categories() -> Categories:
    """All names that draw_mesh takes, sorted."""
    creatures = [f"animal {kind}" if kind in CATEGORIES else kind for kind in CREATURES]
    return Categories(sorted(CATEGORIES), sorted(creatures))


def draw_mesh(category: str, seed: int) -> PartMesh:
    """One shape, y up; the same category and seed give the same shape. Raises InputError for an unknown category."""
    if category in CATEGORIES:
        return synthesize(category, seed)
    return creature_mesh(_kind(category), seed)


def draw_cloud(category: str, seed: int, points: int = 4096) -> PartCloud:
    """Points on such a shape's surface with overlapping masks; on a creature, points on its outer surface only."""
    if category in CATEGORIES:
        return synthesize(category, seed).sample(points, np.random.default_rng([seed, points]))
    return synthesize_creature(_kind(category), seed, points)


def _kind(category: str) -> str:
    kind = category.removeprefix("animal ")
    if kind not in CREATURES or (kind in CATEGORIES) != (kind != category):
        near = [name for name in (*categories().objects, *categories().creatures) if category and category in name]
        hint = f"such as {', '.join(near[:4])}" if near else "pa3d synth --list names them"
        raise InputError(f"unknown category {category!r}; expected one of {sum(map(len, categories()))}, {hint}")
    return kind
