"""The file's own structure as evidence, and what refinement and structure do in Segmenter.segment."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_segmentation import boxes

from pa3d.errors import InputError
from pa3d.segment import Segmenter
from pa3d.shape import Piece, Shape
from pa3d.structure import BOND, LARGE_NAMED_BOND, NAMED_BOND, find_structure, name_words

PARTS = ["wheel", "body", "window"]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained(threads=1)


def car(names: list[str], materials: list[str] | None = None) -> Shape:
    """A large box and two small ones, each a piece of its own."""
    points, faces = boxes((0, 0, 0, 4, 1, 2), (0, -0.6, 0, 0.5, -0.1, 0.2), (3, -0.6, 0, 3.5, -0.1, 0.2))
    materials = materials or [""] * 3
    pieces = tuple(Piece(node=name, material=material) for name, material in zip(names, materials, strict=True))
    return Shape(points, faces, pieces=pieces, face_piece=np.repeat(np.arange(3), 12).astype(np.int32), name="car")


def embed(names: list[str]) -> np.ndarray:
    """Vectors by hand: a tire is nearly a wheel, anything unknown is near nothing."""
    known = {"wheel": [1, 0, 0, 0], "body": [0, 1, 0, 0], "window": [0, 0, 1, 0], "tire": [0.9, 0, 0, 0.436]}
    for name in names:
        if name == "unreadable":
            raise InputError("cannot be read")
    words = [next((known[w] for w in name.split() if w in known), [0, 0, 0, 1]) for name in names]
    return np.array(words, np.float32)


VECTORS = embed(PARTS)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("wheel_frontLeft", "wheel front"),
        ("mat_glass", "glass"),
        ("LowerArm.L", "lower arm"),
        ("HTMLBody2", "html body"),
        *(
            (raw, "")
            for raw in ("Object_12", "Material.003", "Cube", "Cube.001", "mesh_0", "Red", "", "L", "12", "lambert1")
        ),
        *((raw, "") for raw in ("polySurface12_phong1", "defaultMaterial", "Mesh_Node-Left")),
        ("Rad_vorne", "rad vorne"),
        ("колесо.L", "колесо"),
    ],
)
def test_name_words(raw: str, words: str) -> None:
    assert name_words(raw) == words


def test_names_of_nodes_weigh() -> None:
    found = find_structure(car(["Object_1", "wheel_L", "tireR.001"]), PARTS, VECTORS, embed)
    assert found is not None and found.units == 3 and found.names == {"wheel": "wheel", "tire": "wheel"}
    pieces = found.pieces
    assert pieces.piece.tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert pieces.bond == pytest.approx([0, NAMED_BOND, NAMED_BOND])  # the box is more than a fifth of the surface
    assert pieces.evidence is not None and pieces.weight is not None
    assert pieces.evidence.argmax(axis=1)[1:].tolist() == [0, 0]
    assert pieces.weight[0] == 0 and pieces.weight[1] > 0 and pieces.weight[2] == pytest.approx(pieces.weight[1])
    named = find_structure(car(["body", "x", "y"]), PARTS, VECTORS, embed)
    assert named is not None and named.pieces.bond == pytest.approx([LARGE_NAMED_BOND, BOND, BOND])


def test_the_nearest_of_node_mesh_material_and_parents_counts() -> None:
    shape = car(["Object_1", "Object_2", "Object_3"], ["body", "Material.001", "wheel"])
    pieces = (*shape.pieces[:2], replace(shape.pieces[2], node="handle", parents=("tire", "wheel")))
    found = find_structure(replace(shape, pieces=pieces), PARTS, VECTORS, embed)
    assert found is not None and found.names == {"body": "body", "wheel": "wheel"}


@pytest.mark.parametrize("names", [["Object_1", "Cube", "Material"], ["apple", "pear", "unreadable"]])
def test_names_without_meaning_weigh_nothing(names: list[str]) -> None:
    found = find_structure(car(names), PARTS, VECTORS, embed)
    assert found is not None and found.names == {} and found.pieces.evidence is None
    assert found.pieces.bond == pytest.approx([0, BOND, BOND])


def test_what_has_no_structure() -> None:
    points, faces = boxes((0, 0, 0, 1, 1, 1))
    assert find_structure(Shape(points, faces), PARTS, VECTORS, embed) is None
    assert find_structure(Shape(points), PARTS, VECTORS, embed) is None
    whole = Shape(points, faces, pieces=(Piece(node="car"),), face_piece=np.zeros(12, np.int32))
    assert find_structure(whole, PARTS, VECTORS, embed) is None
    assert find_structure(car(["wheel"] * 3), ["wheel"], VECTORS[:1], embed).names == {}  # type: ignore[union-attr]
    assert find_structure(car(["wheel"] * 3), PARTS, VECTORS, None).names == {}  # type: ignore[union-attr]


def test_the_category_is_not_a_part() -> None:
    found = find_structure(car(["wheel", "x", "y"]), PARTS, VECTORS, embed, category="wheel")
    assert found is not None and found.names == {}


def test_segment_says_and_uses_it(segmenter: Segmenter) -> None:
    shape = car(["Object_1", "wheel_L", "wheel_R"])
    result = segmenter.segment(shape, PARTS)
    assert result.settings["structure"] == {"units": 3, "names": {"wheel": "wheel"}}
    assert result.face_labels is not None and (result.face_labels[12:] == 0).all()
    assert (result.labels[8:] == 0).all() and len(result.part("wheel").instances) == 2
    off = segmenter.segment(shape, PARTS, structure=False)
    assert off.settings["structure"] is None
    nameless = segmenter.segment(car(["Object_1", "Cube", "Cube.001"]), PARTS)
    assert nameless.settings["structure"] == {"units": 3, "names": {}}


def test_a_single_piece_is_the_same_to_the_bit(segmenter: Segmenter) -> None:
    from pa3d.io import load

    for shape in (load("examples/octopus.ply"), Shape(*boxes((0, 0, 0, 1, 2, 3)))):
        for refine in (True, False):
            with_it, without = (
                segmenter.segment(shape, ["head", "tail"], refine=refine, structure=structure)
                for structure in (True, False)
            )
            assert with_it == without and with_it.settings["structure"] is None


@pytest.mark.parametrize("none", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("file", ["examples/chair.glb", "examples/octopus.ply"])
def test_labels_are_those_of_the_largest_scores(segmenter: Segmenter, file: str, none: float | None) -> None:
    result = segmenter.segment(file, ["seat", "leg", "banana"], none=none)
    for labels, scores in ((result.labels, result.scores), (result.element_labels, result.element_scores)):
        assert scores.sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert ((labels == scores.argmax(axis=1)) | (labels == -1)).all()
        assert (labels >= 0).all() if not none else True
    if none == 1.0:
        assert (result.labels == -1).all()


def test_more_is_none_of_the_parts_the_higher_the_threshold(segmenter: Segmenter) -> None:
    shares = [
        (segmenter.segment("examples/chair.glb", ["seat", "leg", "banana"], none=t).element_labels < 0).mean()
        for t in (0.1, 0.3, 0.5, 0.7, 0.9)
    ]
    assert shares == sorted(shares) and shares[-1] > shares[0]


def test_refined_borders_have_fewer_pieces(segmenter: Segmenter) -> None:
    """The fingers' borders of a person are ragged without refinement."""
    before, after = (
        segmenter.segment("examples/person.glb", ["head", "arm", "leg", "torso"], refine=refine, structure=False)
        for refine in (False, True)
    )
    from pa3d.ops import components

    pieces = [int(components(r.shape.points, r.shape.faces, r.element_labels).max()) for r in (before, after)]
    assert pieces[1] <= pieces[0]
    assert (before.element_labels == after.element_labels).mean() > 0.85
