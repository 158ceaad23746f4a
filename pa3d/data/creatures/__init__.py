"""Procedural people and animals in random poses, with named parts at several granularities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pa3d.data.creatures.animals import ANIMALS, pose_animal
from pa3d.data.creatures.body import Body, Rig
from pa3d.data.creatures.humans import bust, human, pose_human
from pa3d.data.parts import PartCloud, PartMesh
from pa3d.errors import InputError

POSES_PER_BODY = 12  # a body costs about twenty times as much as a pose, so that consecutive seeds share one


@dataclass(frozen=True)
class Creature:
    """A kind of creature: how to make its rig, how to pose it, and the words for its category."""

    make: Callable[[np.random.Generator], Rig]
    pose: Callable[[Rig, np.random.Generator], dict[str, NDArray[np.float64]]]
    categories: tuple[str, ...]


CREATURES: dict[str, Creature] = {
    "human": Creature(human, pose_human, ("person", "human", "human body", "man", "woman", "boy", "girl", "character")),
    "bust": Creature(bust, pose_animal, ("bust", "statue", "sculpture")),
    **{kind: Creature(make, pose_animal, (kind, *words)) for kind, (make, words) in ANIMALS.items()},
}


def synthesize_creature(kind: str, seed: int, points: int = 4096) -> PartCloud:
    """A creature of this kind: (points, 3) float32 on its surface, y up, facing +z, with overlapping masks.

    People are about one unit tall, animals about one unit long. The same kind, seed and points give the
    same record; seeds 12 i to 12 i + 11 share a body in different poses and stretches. Raises InputError
    for an unknown kind, a negative seed, or fewer than one point.
    """
    if points < 1:
        raise InputError(f"points {points}: expected at least one point")
    creature, body, rng, stretch = _prepare(kind, seed)
    for _ in range(4):
        transforms = body.transforms(creature.pose(body.rig, rng), stretch)
        cloud, keys, hidden = body.sample(points, transforms, rng)
        if hidden < 0.08:
            break
    names: dict[str, NDArray[np.bool_]] = {}
    for index, synonyms in enumerate(body.rig.parts.values()):
        mine = keys == index
        if mine.any():
            for name in synonyms:
                names[name] = names.get(name, np.zeros(points, bool)) | mine
    category = str(rng.choice(body.rig.categories or creature.categories))
    return PartCloud(
        cloud,
        list(names),
        np.stack(list(names.values())),
        category,
        "pa3d creatures",
        "MIT",
        f"{kind}-{seed}",
    )


def creature_mesh(kind: str, seed: int) -> PartMesh:
    """A creature of this kind as a closed mesh in a random pose. Its limbs may intersect.

    The body is that of synthesize_creature with the same seed, the pose is another. Raises InputError as that does.
    """
    creature, body, rng, stretch = _prepare(kind, seed)
    vertices = body.pose(body.transforms(creature.pose(body.rig, rng), stretch))
    return PartMesh(
        vertices.astype(np.float32),
        body.faces,
        body.face_keys.astype(np.int32),
        list(body.rig.parts.values()),
        category=str(rng.choice(body.rig.categories or creature.categories)),
        source="pa3d creatures",
        license="MIT",
        id=f"{kind}-{seed}",
    )


def _prepare(kind: str, seed: int) -> tuple[Creature, Body, np.random.Generator, NDArray[np.float64]]:
    """The kind, its body, the random generator of this seed, and the scale of the body along each axis."""
    if kind not in CREATURES:
        raise InputError(f"kind {kind!r} is unknown; expected one of {', '.join(CREATURES)}")
    if seed < 0:
        raise InputError(f"seed {seed}: expected a seed of 0 or more")
    rng = np.random.default_rng([seed, 1, *kind.encode()])
    return CREATURES[kind], _body(kind, seed // POSES_PER_BODY), rng, np.exp(rng.normal(0, 0.05, 3))


@lru_cache(maxsize=64)
def _body(kind: str, index: int) -> Body:
    return CREATURES[kind].make(np.random.default_rng([index, 0, *kind.encode()])).build()
