"""Procedural objects: every family, many seeds, the promises that training relies on."""

from __future__ import annotations

import numpy as np
import pytest

from pa3d.data.procedural import CATEGORIES, HELD_OUT, HELD_OUT_PARTS, synthesize
from pa3d.data.procedural import primitives as prim
from pa3d.data.procedural.registry import COMMON, Builder, family
from pa3d.errors import InputError


def areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (vertices[faces[:, i]].astype(np.float64) for i in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def heights(mesh, name: str) -> np.ndarray:  # y of the centres of the faces that carry a name
    wanted = [i for i, names in enumerate(mesh.parts) if name in names]
    chosen = mesh.faces[np.isin(mesh.face_parts, wanted)]
    return mesh.vertices[chosen].mean(1)[:, 1]


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_every_family_gives_sound_meshes(category: str) -> None:
    for seed in range(12):
        mesh = synthesize(category, seed)
        assert mesh.category == category and mesh.id == f"{category}-{seed}"
        assert mesh.vertices.dtype == np.float32 and mesh.faces.dtype == np.int32
        assert np.isfinite(mesh.vertices).all()
        assert mesh.faces.min() >= 0 and mesh.faces.max() < len(mesh.vertices)
        assert len(mesh.face_parts) == len(mesh.faces)
        extent = np.ptp(mesh.vertices[np.unique(mesh.faces)], axis=0)
        assert extent.max() == pytest.approx(1, abs=1e-5)
        area = areas(mesh.vertices, mesh.faces)
        for index, names in enumerate(mesh.parts):
            assert names and len(set(names)) == len(names)
            assert all(n == n.strip().lower() and n for n in names)
            assert area[mesh.face_parts == index].sum() > 0, names
            assert not set(names) & set(HELD_OUT_PARTS), names
        finest = {names[0] for names in mesh.parts}
        assert len(finest) >= (1 if category in ("cup", "basket", "bowl", "usb stick") else 2), finest


def test_the_same_seed_gives_the_same_object_and_another_seed_another() -> None:
    for category in ("chair", "cap", "camera", "airplane"):
        first, again, other = synthesize(category, 5), synthesize(category, 5), synthesize(category, 6)
        assert np.array_equal(first.vertices, again.vertices) and first.parts == again.parts
        assert first.vertices.shape != other.vertices.shape or not np.array_equal(first.vertices, other.vertices)


def test_a_name_covers_the_whole_part_or_is_absent() -> None:
    for seed in range(20):
        mesh = synthesize("chair", seed)
        backs = [names for names in mesh.parts if "back" in names]
        assert len({"backrest" in names for names in backs}) == 1


def test_natural_poses() -> None:
    for seed in range(15):
        chair = synthesize("chair", seed)
        assert heights(chair, "leg").min() < heights(chair, "seat").mean() < heights(chair, "back").max()
        assert heights(chair, "leg").mean() < heights(chair, "seat").mean()
        cap = synthesize("cap", seed)
        assert heights(cap, "crown").max() > heights(cap, "visor").mean()
        visor = [i for i, names in enumerate(cap.parts) if "visor" in names]
        assert cap.vertices[cap.faces[np.isin(cap.face_parts, visor)]][..., 2].mean() > 0.1
        assert heights(synthesize("table", seed), "tabletop").mean() > 0
        assert heights(synthesize("bottle", seed), "body").mean() < heights(synthesize("bottle", seed), "neck").mean()


def test_enough_families_and_none_of_them_held_out() -> None:
    assert len(CATEGORIES) >= 45
    assert not set(HELD_OUT) & set(CATEGORIES)


def test_an_unknown_category_is_named_with_the_known_ones() -> None:
    with pytest.raises(InputError, match="unknown category 'umbrella'; expected one of: airplane, armchair,"):
        synthesize("umbrella", 0)


def test_primitive_areas_by_hand() -> None:
    cube = prim.box(1, 2, 3)
    assert areas(cube.vertices, cube.faces).sum() == pytest.approx(2 * (1 * 2 + 2 * 3 + 1 * 3))
    plate = prim.extrude([(0, 0), (2, 0), (2, 1), (1, 1), (1, 2), (0, 2)], 0.5)
    assert areas(plate.vertices, plate.faces).sum() == pytest.approx(2 * 3 + 8 * 0.5)
    ball = prim.sphere(1, segments=48)
    assert areas(ball.vertices, ball.faces).sum() == pytest.approx(4 * np.pi, rel=0.02)
    ring = prim.torus(1, 0.25, segments=64)
    assert areas(ring.vertices, ring.faces).sum() == pytest.approx(4 * np.pi**2 * 0.25, rel=0.03)
    pipe = prim.tube([(0, 0, 0), (0, 5, 0)], 1, 64)
    assert areas(pipe.vertices, pipe.faces).sum() == pytest.approx(2 * np.pi * 5 + 2 * np.pi, rel=0.01)
    top = prim.along(prim.cylinder(0.1, 2), "x")
    assert np.ptp(top.vertices, axis=0) == pytest.approx([2, 0.2, 0.2], abs=1e-3)


def test_a_second_family_of_one_name_raises() -> None:
    with pytest.raises(ValueError, match=r"family 'chair' is drawn by .*furniture\.chair already"):

        @family("chair")
        def chair(b: Builder) -> None:
            raise AssertionError("never drawn")

    assert CATEGORIES["chair"].draw.__module__ == "pa3d.data.procedural.furniture"


def test_further_families_of_common_kinds_are_tagged() -> None:
    """scripts/build_embedded_corpus.py draws these twice as often."""
    assert {name for name, known in CATEGORIES.items() if COMMON in known.tags} == {
        "sun hat", "cowboy hat", "bucket hat", "bowler hat", "baseball cap", "lounge chair", "tub chair", "block chair",
        "tumbler", "electric kettle", "soap bottle", "dresser", "wardrobe", "sideboard", "rocker switch", "marker",
    }  # fmt: skip
