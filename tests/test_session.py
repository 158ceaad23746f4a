"""OpenShape: encoded once and asked many times, with the results of Segmenter.segment to the byte."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pa3d
from pa3d import InputError, OpenShape, Segmentation, Segmenter, Shape
from pa3d.report.files import labels_npz

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CHAIR, PERSON, OCTOPUS = (EXAMPLES / name for name in ("chair.glb", "person.glb", "octopus.ply"))


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained()


def scan() -> Shape:
    """A cloud with points that were not measured."""
    points = pa3d.load(OCTOPUS).points.copy()
    points[5::7] = np.nan
    return Shape(points, name="scan.ply")


CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "mesh": (CHAIR, {}),
    "pieces with names": (PERSON, {}),
    "cloud": (OCTOPUS, {"sample": 1024, "seed": 3}),
    "missing points": (scan, {}),
    "auto": (CHAIR, {"up": "auto"}),
    "auto, missing points": (scan, {"up": "auto"}),
    "all points": (CHAIR, {"sample": None, "up": "z"}),
}
QUESTIONS: list[tuple[list[str], dict[str, Any]]] = [
    (["seat", "back", "leg"], {}),
    (["head", "tentacle"], {"none": 0.4, "category": "animal"}),
    (["leg"], {"none": 0.3}),
    (["seat", "back", "leg"], {"refine": False, "structure": False, "assign": "membership"}),
    (["arm", "head", "leg", "torso"], {"structure": False}),
    (["arm", "head", "leg", "torso"], {"refine": False}),
    (["seat", "back", "leg"], {}),  # again, after others
]


def same(a: Segmentation, b: Segmentation) -> bool:
    return a == b and labels_npz(a) == labels_npz(b) and (a.settings, a.model) == (b.settings, b.model)


@pytest.mark.parametrize("case", CASES)
def test_a_shape_that_is_open_gives_what_segment_gives(segmenter: Segmenter, case: str) -> None:
    source, options = CASES[case]
    source = source() if callable(source) else source
    shape = segmenter.open(source, **options)
    for parts, asked in QUESTIONS:
        result, expected = shape.segment(parts, **asked), segmenter.segment(source, parts, **options, **asked)
        assert same(result, expected), (parts, asked)
        assert list(result.timings) == list(expected.timings)


def test_it_is_encoded_once(segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    clouds: list[int] = []
    encode = segmenter.encode_inputs
    monkeypatch.setattr(segmenter, "encode_inputs", lambda inputs: clouds.append(len(inputs)) or encode(inputs))
    shape = segmenter.open(CHAIR)
    assert clouds == []
    for _ in range(2):
        shape.segment(["seat", "leg"])
        shape.heat("leg")
        shape.like((0, 0.5, 0))
    assert clouds == [1]
    turned = segmenter.open(CHAIR, up="auto")
    for _ in range(2):
        turned.segment(["seat", "leg"])
    assert clouds == [1, 26, 1]


def test_threads_may_ask_at_once(segmenter: Segmenter) -> None:
    shape = segmenter.open(PERSON)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda question: shape.segment(question[0], **question[1]), QUESTIONS * 2))
    for result, (parts, asked) in zip(results, QUESTIONS * 2, strict=True):
        assert same(result, segmenter.segment(PERSON, parts, **asked))


@pytest.mark.parametrize("source", [CHAIR, scan], ids=["mesh", "missing points"])
@pytest.mark.parametrize("word", ["leg", "seat", "propeller"])
def test_heat_is_what_the_threshold_is_compared_with(segmenter: Segmenter, source: Any, word: str) -> None:
    source = source() if callable(source) else source
    shape = segmenter.open(source)
    heat = shape.heat(word, refine=False, structure=False)
    for threshold in (float(np.quantile(heat.elements, q)) for q in (0.2, 0.5, 0.9)):
        result = shape.segment([word], none=threshold, refine=False, structure=False)
        sure = np.abs(heat.elements - threshold) > 1e-6
        assert ((result.element_labels == 0) == (heat.elements >= threshold))[sure].all()
    missing = shape.shape.missing()
    assert missing is None or not heat.points[missing].any()


def test_heat_is_where_the_part_is(segmenter: Segmenter) -> None:
    """It is higher where the labels say so, and low everywhere if the shape has no such part."""
    shape = segmenter.open(CHAIR)
    labels = shape.segment(["seat", "back", "leg"])
    for word in labels.part_names:
        inside = labels.masks()[word]
        heat = shape.heat(word)
        assert heat.elements.min() >= 0 and heat.elements.max() <= 1
        assert len(heat.points) == len(shape.shape.points)
        assert heat.elements[inside].mean() > 2 * heat.elements[~inside].mean()
    assert shape.heat("propeller").elements.max() < shape.heat("leg").elements.max()


def test_like_a_leg_are_the_legs(segmenter: Segmenter) -> None:
    shape = segmenter.open(CHAIR)
    labels = shape.segment(["seat", "back", "leg"])
    leg = labels.part("leg").instances[0]
    heat = shape.like(leg.centroid)
    assert heat.elements.min() >= 0 and heat.elements.max() <= 1
    legs = labels.masks()["leg"]
    assert heat.elements[legs].mean() > 2 * heat.elements[~legs].mean()
    vector = shape.features_at(leg.centroid)
    words = segmenter.embed_text(["seat", "back", "leg"])
    assert vector.shape == (words.shape[1],) and abs(np.linalg.norm(vector) - 1) < 1e-5
    assert int((words @ vector).argmax()) == 2


def test_wrong_arguments(segmenter: Segmenter) -> None:
    shape = segmenter.open(CHAIR)
    assert isinstance(shape, OpenShape)
    with pytest.raises(InputError, match="none is 2"):
        shape.segment(["leg"], none=2)
    with pytest.raises(InputError, match="assign is 'far'"):
        shape.heat("leg", assign="far")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sample is 0"):
        segmenter.open(CHAIR, sample=0).segment(["leg"])
    with pytest.raises(InputError, match="up is 'w'"):
        segmenter.open(CHAIR, up="w")
