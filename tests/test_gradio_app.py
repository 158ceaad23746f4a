"""examples/gradio_app.py, without starting its server. gradio is no dependency; without it, this is skipped."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pa3d import Segmenter
from pa3d.io import load
from pa3d.report.table import part_rows

gradio = pytest.importorskip("gradio", reason="gradio is not installed")
EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def app() -> Iterator[dict[str, Any]]:
    found = runpy.run_path(str(EXAMPLES / "gradio_app.py"))
    yield found
    found["RESULTS"].cleanup()


def test_the_parts_of_a_chair(app: dict[str, Any]) -> None:
    painted, rows, parts = app["segment"](str(EXAMPLES / "chair.glb"), "seat, back , leg,", "chair")
    result = Segmenter.from_pretrained().segment(EXAMPLES / "chair.glb", ["seat", "back", "leg"], category="chair")
    expected = [row for row in part_rows(result) if row.count]
    assert [row[0] for row in rows] == [row.name for row in expected]
    np.testing.assert_allclose(
        [float(row[1].rstrip("%")) / 100 for row in rows], [row.share for row in expected], atol=6e-4
    )
    painted_faces, face_labels = load(painted).faces, result.face_labels
    assert painted_faces is not None and face_labels is not None and len(painted_faces) == len(face_labels)
    assert {piece.node.split(".")[0] for piece in load(parts).pieces} >= {"seat", "back", "leg"}


@pytest.mark.parametrize(
    ("file", "names"), [(None, "seat"), ("chair.glb", " , "), ("chair.txt", "seat"), ("no.glb", "seat")]
)
def test_what_is_wrong_is_said(app: dict[str, Any], file: str | None, names: str) -> None:
    with pytest.raises(gradio.Error):
        app["segment"](file and str(EXAMPLES / file), names, "")


def test_the_page(app: dict[str, Any]) -> None:
    """What it shows, and what the button does."""
    config = app["page"].get_config_file()
    shown = {part["id"]: part["props"].get("label") for part in config["components"]}
    (call,) = config["dependencies"]
    assert [shown[number] for number in call["inputs"]] == ["Mesh", "Parts", "Category, if you know it"]
    assert shown[call["outputs"][0]] == "Parts"
    assert {kind for _, kind in call["targets"]} == {"click", "submit"}
