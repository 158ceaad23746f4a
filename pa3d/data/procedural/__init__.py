"""Procedural everyday objects with named parts: the rigid training shapes of the embedded model.

>>> mesh = synthesize("chair", seed=7)   # a PartMesh, y up, facing +z, its largest extent 1

`HELD_OUT` lists everyday categories that no family draws, and `HELD_OUT_PARTS` part names and wordings that
none uses. So the model can be measured separately on categories and names that it was not trained on.
"""

from __future__ import annotations

import zlib

import numpy as np

from pa3d.data.parts import PartMesh
from pa3d.data.procedural import (  # noqa: F401
    electronics,
    furniture,
    household,
    kitchen,
    tools,
    vehicles,
    wearables,
)
from pa3d.data.procedural.registry import CATEGORIES, Builder, Family, family
from pa3d.errors import InputError

HELD_OUT: tuple[str, ...] = (
    "umbrella",
    "wheelbarrow",
    "stapler",
    "globe",
    "syringe",
    "stroller",
    "piano",
    "toilet",
    "pliers",
    "fan",
    "tent",
    "microscope",
)
HELD_OUT_PARTS: tuple[str, ...] = (
    "canopy",
    "plunger",
    "needle",
    "jaw",
    "toilet tank",
    "flush button",
    "fan blade",
    "piano key",
    "eyepiece",
    "tent pole",
    "place to sit",
    "dome",
)

__all__ = ["CATEGORIES", "HELD_OUT", "HELD_OUT_PARTS", "Builder", "Family", "family", "synthesize"]


def synthesize(category: str, seed: int) -> PartMesh:
    """One object of a category; the same seed gives the same object.

    Raises InputError when no family draws the category.
    """
    known = CATEGORIES.get(category)
    if known is None:
        raise InputError(f"unknown category {category!r}; expected one of: {', '.join(sorted(CATEGORIES))}")
    rng = np.random.default_rng([seed, zlib.crc32(category.encode())])
    builder = Builder(rng, known.wordings)
    known.draw(builder)
    return builder.mesh(category, f"{category}-{seed}")
