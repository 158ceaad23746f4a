"""The long training's shapes, seeds and branches."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tiny import calibrated_checkpoint  # noqa: E402
from training import tiny_config, tiny_data  # noqa: E402

from pa3d.checkpoint import load, save  # noqa: E402
from pa3d.data.paraphrases import HELD_OUT_PHRASES  # noqa: E402
from pa3d.data.procedural import CATEGORIES, HELD_OUT, everyday, synthesize  # noqa: E402
from pa3d.data.procedural.assemblies import assemble  # noqa: E402
from pa3d.errors import InputError  # noqa: E402
from pa3d.train.config import load_config  # noqa: E402
from pa3d.train.loop import train  # noqa: E402
from pa3d.train.run_state import read_state  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import campaign  # noqa: E402

EVERYDAY = sorted(name for name in CATEGORIES if CATEGORIES[name].draw.__module__ == everyday.__name__)
# Importing the module registers its kinds. Other tests go through all kinds, so these are there for this module only.
FAMILIES = {name: CATEGORIES.pop(name) for name in EVERYDAY}


@pytest.fixture(autouse=True)
def everyday_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, family in FAMILIES.items():
        monkeypatch.setitem(CATEGORIES, name, family)


def test_everyday_kinds_have_parts_and_nothing_held_out() -> None:
    assert len(EVERYDAY) >= 60 and not set(EVERYDAY) & set(HELD_OUT)
    for name in EVERYDAY:
        cloud = synthesize(name, 5).sample(1000, np.random.default_rng(0))
        assert len(cloud.names) >= 2 and np.isfinite(cloud.points).all(), name
        assert not set(cloud.names) & set(HELD_OUT_PHRASES), name


def test_an_assembly_depends_only_on_its_seed() -> None:
    shapes = [assemble(seed) for seed in range(40)]
    assert all(len(shape.parts) >= 2 and shape.category == "" for shape in shapes)
    np.testing.assert_array_equal(shapes[3].vertices, assemble(3).vertices)
    names = {name for shape in shapes for part in shape.parts for name in part}
    assert len(names) > 60 and not names & set(HELD_OUT_PHRASES)


def test_a_branch_decays_to_zero_from_the_state(tmp_path: Path) -> None:
    config = tiny_config(schedule={"steps": 4}, optimizer={"kind": "muon", "ema": 0.9})
    train(config, tmp_path / "run", data=tiny_data(config))
    campaign.branch(tmp_path / "run", tmp_path / "decay", 5)
    decaying = load_config(tmp_path / "decay" / "config.toml", "stage2")
    assert decaying.schedule.steps == 9 and decaying.schedule.kind == "linear"
    a, b = read_state(tmp_path / "run" / "state.safetensors"), read_state(tmp_path / "decay" / "state.safetensors")
    assert a is not None and b is not None and all(torch.equal(a.tensors[k], b.tensors[k]) for k in a.tensors)
    train(decaying, tmp_path / "decay", data=tiny_data(decaying))
    after = read_state(tmp_path / "decay" / "state.safetensors")
    assert after is not None and after.step == 9
    draws, hours = campaign.progress(tmp_path / "decay")
    assert draws == 9 * 4 and hours > campaign.progress(tmp_path / "run")[1] > 0
    with pytest.raises(InputError, match="holds a run already"):
        campaign.branch(tmp_path / "run", tmp_path / "decay", 5)
    with pytest.raises(InputError, match="to branch from"):
        campaign.branch(tmp_path, tmp_path / "other", 5)


def test_an_average_lies_between_the_weights_and_keeps_nothing_measured(tmp_path: Path) -> None:
    config = tiny_config(schedule={"steps": 2})
    train(config, tmp_path / "a", data=tiny_data(config))
    train(tiny_config(schedule={"steps": 4}), tmp_path / "b", data=tiny_data(config))
    before, after, out = tmp_path / "a" / "last.safetensors", tmp_path / "b" / "last.safetensors", tmp_path / "mixed"
    old, new = load(before), load(after)
    measured = calibrated_checkpoint(old.config)
    names = ("outliers", "bank", "presence", "lexicon", "kinds", "shape_head")
    save(before, replace(old, precisions=("int8",), **{name: getattr(measured, name) for name in names}))
    campaign.average(before, after, 0.75, out)
    mixed = load(out)
    for name, tensor in mixed.tensors.items():
        expected = 0.25 * old.tensors[name] + 0.75 * new.tensors[name]
        np.testing.assert_allclose(tensor, expected, rtol=1e-3, atol=1e-6)  # stored as float16
    assert (mixed.precisions, mixed.outliers) == ((), 0.0)
    assert all(getattr(mixed, name) is None for name in names[1:])
    assert mixed.provenance == {"before": old.provenance, "after": new.provenance, "share": 0.75}
    with pytest.raises(InputError, match="share"):
        campaign.average(before, after, 1.5, out)


def test_the_log_is_a_table(tmp_path: Path) -> None:
    mious = {"mean": 50.0} | dict.fromkeys(campaign.MEASURED, 50.0)
    campaign.add_row(tmp_path / "log.tsv", mious, 320, 0.5, "first")
    campaign.add_row(tmp_path / "log.tsv", mious, 640, 1.0, "second")
    rows = [line.split("\t") for line in (tmp_path / "log.tsv").read_text().splitlines()]
    assert (
        len(rows) == 3
        and {len(row) for row in rows} == {len(campaign.COLUMNS)}
        and rows[2][1:4] == ["640", "1.00", "50.0"]
    )


def test_hands_are_those_of_rigged_people(shared: Path) -> None:
    import campaign_corpus

    from pa3d.data.harvest import characters

    character = next(iter(characters(shared / "data" / "train" / "turn2" / "makehuman_people", license="CC0-1.0")))
    rng, reaches, shapes = np.random.default_rng(0), [], set()
    for side in "lrlr":
        mesh = campaign_corpus.hand(character, side, rng)
        cloud = mesh.sample(4000, rng)
        share = dict(zip(cloud.names, cloud.masks.mean(axis=1), strict=True))
        assert {"palm", "thumb", "finger", "index finger", "middle finger", "ring finger", "little finger"} <= set(
            share
        )
        assert 0.2 < share["palm"] < 0.7 and share["finger"] > share["thumb"] > 0.02
        assert mesh.category == "hand" and mesh.license == "CC0-1.0"
        parts = {name: cloud.points[mask] for name, mask in zip(cloud.names, cloud.masks, strict=True)}
        palm = parts["palm"].mean(axis=0)
        reaches.append(np.linalg.norm(parts["middle finger"] - palm, axis=1).max())
        assert np.ptp(mesh.vertices, axis=0).max() < 0.3 * np.ptp(character.vertices[:, 1])  # nothing but the hand
        shapes.add(mesh.vertices.tobytes())
    assert len(shapes) == 4 and max(reaches) > 1.05 * min(reaches)  # the fingers curl more or less
