"""scripts/make_gallery.py and scripts/check_robustness.py on shapes that the tests draw."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pa3d.data.parts import write_shards
from pa3d.data.procedural import synthesize
from pa3d.data.synth import draw_cloud
from pa3d.report.part_mesh import part_mesh_glb

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_gallery_shows_what_was_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = script("make_gallery")
    monkeypatch.setattr(gallery, "COUNT", 2)
    sources, shards, out = (tmp_path / name for name in ("sources", "shards", "out"))
    for folder in (sources, out):
        folder.mkdir()
    # Chairs under names that nobody draws; one of them is among the training records, one is called a chair.
    for number, name in enumerate(("throne", "pew", "zafu", "gilded_chair")):
        (sources / f"{name}.glb").write_bytes(part_mesh_glb(synthesize("chair", number)))
    record = draw_cloud("chair", 1, 300)
    record.category = "pews"
    write_shards([record], shards)
    command = ["make_gallery", "--shards", str(shards), "--sources", str(sources), "--out", str(out)]
    pages = []
    for _ in range(2):
        monkeypatch.setattr(sys, "argv", command)
        gallery.main()
        pages.append((out / "gallery.md").read_text())
    assert pages[0] == pages[1]
    assert "| throne | sources/throne |" in pages[0] and "| zafu | sources/zafu |" in pages[0]
    assert "pew" not in pages[0] and "gilded" not in pages[0]
    assert pages[0].count("procedural, unseen seed") == 2
    from PIL import Image

    for name in ("never", "seen"):
        with Image.open(out / f"gallery-{name}.png") as image:
            assert len(image.convert("RGB").getcolors(1 << 20)) > 20
    assert sorted(path.name for path in out.iterdir()) == ["gallery-never.png", "gallery-seen.png", "gallery.md"]


def test_a_harvested_record_becomes_labels_of_faces() -> None:
    mesh = synthesize("table", 0)
    shape = script("make_gallery").labelled(mesh)
    for part, names in enumerate(mesh.parts):
        mine = shape.labels[mesh.face_parts == part]
        assert {shape.part_names[label] for label in mine} == {names[0]}
    corners = mesh.vertices[mesh.faces]
    assert shape.shape.faces is not None
    np.testing.assert_array_equal(shape.shape.points[shape.shape.faces], corners)


def test_every_wording_names_every_part() -> None:
    robustness = script("check_robustness")
    from pa3d.evaluate.labels import FAUST, SHAPENETPART

    expected = {"faust": set(FAUST), "chairs": set(SHAPENETPART["Chair"]), "caps": set(SHAPENETPART["Cap"])}
    assert set(robustness.WORDINGS) == set(robustness.DATASETS) == set(expected)
    for name, sets in robustness.WORDINGS.items():
        for wording in sets.values():
            assert set(wording) == expected[name]
            assert len(set(wording.values())) == len(wording) and not set(wording.values()) & set(wording)


def test_robustness_counts_as_the_evaluation_does(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pa3d.evaluate import evaluate
    from pa3d.evaluate.datasets import open_dataset
    from pa3d.evaluate.methods import SegmenterMethod

    robustness = script("check_robustness")
    arguments = ["--shared", str(shared), "--limit", "2", "--only", "language"]
    monkeypatch.setattr(sys, "argv", ["check_robustness", *arguments])
    monkeypatch.setattr(robustness, "DATASETS", {"chairs": robustness.DATASETS["chairs"]})
    robustness.main()
    told = capsys.readouterr().out
    found = evaluate(open_dataset("npz", shared / "data" / "eval" / "partnet_chairs"), SegmenterMethod())
    mean = np.mean([record["miou"] for record in found["shapes"][:2]])
    assert f"chairs, 2 shapes: {100 * mean:.1f} with its own names, upright" in told
