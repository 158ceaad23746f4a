"""The live viewer without names: granularity, selections and proposals, in headless Chromium and without it."""

from __future__ import annotations

import colorsys
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import trimesh
from browser import Browser
from numpy.typing import NDArray
from view_site import INPUT, check_console, hues, opened, selected_pixels, wait

from pa3d import OpenShape, Segmenter, Shape
from pa3d.categories import find_category
from pa3d.colors import part_colors, to_rgb
from pa3d.part_tree import _sq_distances
from pa3d.propose import propose
from pa3d.report import result_files
from pa3d.shape_head import ShapeHead
from pa3d.view.answers import Question, answer, level_of
from pa3d.view.panel import ALONE, CLICKS, HIDDEN, IN_COLOR, LIKE_IT
from pa3d.view.scene import BESIDE_COLOR, ON_COLOR, SELECTED_COLOR, Hit, as_rgb, heat_groups, selected_groups, without
from pa3d.view.selection import NAMELESS, Clicks, select

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CHAIR, OCTOPUS = EXAMPLES / "chair.glb", EXAMPLES / "octopus.ply"
PARTS = ["seat", "back", "leg"]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained()


@pytest.fixture(scope="module")
def chair(segmenter: Segmenter) -> OpenShape:
    return segmenter.open(CHAIR)


@pytest.fixture(scope="module")
def telling(segmenter: Segmenter) -> Segmenter:
    """A model with a head for whole shapes; it tells anything, because it was not trained."""
    config, rng = segmenter.config, np.random.default_rng(0)
    shapes = ShapeHead.shapes(config.dim, 8, config.text_dim)
    head = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    return Segmenter(replace(segmenter.checkpoint, shape_head=head))


def weights_of(shape: Shape) -> NDArray[np.float64]:
    return np.ones(len(shape.points)) if shape.faces is None else shape.face_areas()


def hit_of(shape: Shape, element: int) -> Hit:
    """A click in the middle of a face, or at a point."""
    place = shape.points[element] if shape.faces is None else shape.points[shape.faces[element]].mean(axis=0)
    return Hit(element, place.astype(np.float64))


# --- what is asked and selected ---


def test_a_level_shows_the_parts_of_that_level(segmenter: Segmenter, chair: OpenShape) -> None:
    for level in (0.0, 0.4, 1.0):
        found, expected = answer(chair, Question(level=level), weights_of(chair.shape)), chair.parts(level=level)
        assert np.array_equal(found.labels, expected.face_labels) and found.names == expected.part_names
        assert {group.label: group.elements.tolist() for group in found.groups} == {
            label: np.flatnonzero(expected.face_labels == label).tolist() for label in range(len(expected.part_names))
        }
        assert found.result == expected and [row.name for row in found.rows] == expected.part_names
        assert [row.share for row in found.rows] == pytest.approx([part.share for part in expected.parts], abs=1e-5)
    assert [chair.tree.count_at(level_of(count)) for count in range(2, 65)] == list(range(2, 65))
    assert level_of(1) == 0 and level_of(100) == 1


def test_points_without_coordinates_have_no_part(segmenter: Segmenter) -> None:
    from pa3d.io import load

    shape = load(OCTOPUS)
    points = shape.points.copy()
    points[::50] = np.nan
    cloud = segmenter.open(replace(shape, points=points))
    weights = np.isfinite(points[:, 0]).astype(np.float64)
    found = answer(cloud, Question(level=0.5), weights)
    assert found.result is not None and np.array_equal(found.labels, found.result.labels)
    assert found.labels is not None and (found.labels[::50] == -1).all()
    assert sum(row.share for row in found.rows) == pytest.approx(1, abs=1e-4) and found.rows[-1].label >= 0
    selection = select(cloud, Clicks((hit_of(cloud.shape, 1),)), weights)
    assert selection.mask is not None and selection.mask[1] and not selection.mask[::50].any()
    result = selection.segmentation(cloud)
    assert np.array_equal(result.labels == 0, selection.mask) and result_files(result, pictures=False, html=False)


def test_one_word_is_refined_once(chair: OpenShape, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = weights_of(chair.shape)
    with monkeypatch.context() as patch:
        patch.setattr(OpenShape, "segment", lambda *_, **__: pytest.fail("the heat needs no segmentation"))
        found = answer(chair, Question(("leg",), none=0.5), weights)
    assert np.array_equal(found.heat, chair.heat("leg").elements) and not found.absent
    assert found.result == chair.segment(["leg"], none=0.5)
    absent = answer(chair, Question(("propeller",)), weights)
    assert (absent.absent == ["propeller"]) == (not chair.segment(["propeller"]).found[0])  # type: ignore[index]


def test_selections_are_those_of_select(chair: OpenShape) -> None:
    shape = chair.shape
    on, other, beside = hit_of(shape, 0), hit_of(shape, 500), hit_of(shape, 700)
    clicks = Clicks().with_click(on, "select")
    weights = weights_of(shape)
    one = select(chair, clicks, weights)
    assert one.mask is not None and np.array_equal(one.mask, chair.select([on.position])) and one.mask[0]
    assert one.share == pytest.approx(weights[one.mask].sum() / weights.sum())
    assert len(one.names) == 5 and one.names == tuple(chair.tree.likely_names(one.mask))
    clicks = clicks.with_click(other, "add").with_click(beside, "take away")
    mask = chair.select([on.position, other.position], [beside.position])
    three = select(chair, clicks, weights)
    assert np.array_equal(three.mask, mask) and three.last == other
    assert clicks.with_click(beside, "select") == Clicks((beside,))
    assert Clicks().with_click(on, "add") == Clicks((on,))
    with pytest.raises(Exception, match="nothing is selected yet"):
        Clicks().with_click(on, "take away")


def test_a_selection_is_written_as_a_result_of_one_part(chair: OpenShape) -> None:
    shape = replace(chair.shape, origin=np.array([1000.0, 0, 0]))
    moved = chair.model.open(shape)  # type: ignore[attr-defined]
    selection = select(moved, Clicks((hit_of(shape, 0),)), weights_of(shape))
    assert selection.mask is not None
    result = selection.segmentation(moved)
    assert result.part_names == [selection.names[0][0]] and result.part(result.part_names[0]).share == pytest.approx(
        selection.share
    )
    assert np.array_equal(result.face_labels == 0, selection.mask)
    assert result.settings["positive"][0][0] > 999 and result.settings["negative"] == []
    # A vertex between faces of both goes to the larger area.
    assert set(np.unique(shape.faces[selection.mask])) >= set(np.flatnonzero(result.labels == 0).tolist())  # type: ignore[index]
    files = result_files(result, pictures=False, html=False, split=True)
    name = next(name for name in files if name.startswith("split/") and "none" not in name)
    alone = trimesh.load(io.BytesIO(files[name]), file_type="glb", force="mesh")
    assert len(alone.faces) == selection.mask.sum()
    assert json.loads(files["summary.json"])["settings"]["positive"] == result.settings["positive"]
    assert replace(selection, names=()).segmentation(moved).part_names == [NAMELESS]


def test_groups_of_a_selection() -> None:
    mask = np.array([True, False, True, False])
    assert [(g.color, g.elements.tolist()) for g in selected_groups(mask, alone=True)] == [(SELECTED_COLOR, [0, 2])]
    assert [g.elements.tolist() for g in selected_groups(mask)] == [[0, 2], [1, 3]]
    groups = selected_groups(~mask)
    assert [g.elements.tolist() for g in without(groups, mask)] == [[1, 3]]


@pytest.mark.parametrize("file", [CHAIR, EXAMPLES / "lamp.glb"])
def test_the_leaf_at_a_place_is_that_of_the_nearest_face(segmenter: Segmenter, file: Path) -> None:
    tree, rng = segmenter.open(file).tree, np.random.default_rng(0)
    points, faces = tree.shape.points.astype(np.float64), tree.shape.faces
    assert faces is not None
    low, high = points.min(axis=0), points.max(axis=0)
    places = [*rng.uniform(low - 1, high + 1, (20, 3)), *points[faces[rng.integers(len(faces), size=20)]].mean(axis=1)]
    for place in places:
        expected = tree.tree.leaf[_sq_distances(points, faces, place).argmin()]
        assert tree.leaf_at(place + tree.shape.origin) == expected


# --- the page without a browser ---


@pytest.fixture
def viewer(segmenter: Segmenter) -> Iterator[Any]:
    pytest.importorskip("viser")
    from pa3d.view import Viewer

    with Viewer(segmenter, [CHAIR, OCTOPUS], parts=PARTS) as viewer:
        yield viewer


def click(viewer: Any, element: int, modifier: str | None = None) -> Hit:
    """A ray from outside at the middle of a face, as the page sends it."""
    shape = viewer._shape.shape
    hit = hit_of(shape, element)
    drawing = viewer._drawing
    a, b, c = shape.points[shape.faces[element]].astype(np.float64)
    normal = np.cross(b - a, c - a)
    place, direction = (hit.position - drawing._center) / drawing._radius, normal / np.linalg.norm(normal)
    viewer._click(
        SimpleNamespace(ray_origin=place + 1e-3 * direction, ray_direction=-direction, modifier=modifier, client=None)
    )
    return hit


def test_words_and_granularity_take_turns(viewer: Any, chair: OpenShape) -> None:
    panel, words = viewer._panel, chair.segment(PARTS)
    assert viewer.result == words and not panel.to_words.visible and not panel.none.disabled
    panel.level.value = 0.2
    assert viewer.result == chair.parts(level=0.2)
    assert panel.to_words.visible and panel.none.disabled and panel.parts.value == ", ".join(PARTS)
    hidden = viewer._answer.rows[0].name
    viewer._toggle(0)
    assert hidden in viewer._hidden
    panel.level.value = 0.7
    assert viewer.result == chair.parts(level=0.7) and not viewer._hidden  # these are other parts
    panel.to_words.value = True
    assert viewer.result == words and not panel.to_words.visible and not panel.none.disabled
    panel.level.value = 0.2
    panel.parts.value = "seat, leg"
    assert viewer.result == chair.segment(["seat", "leg"])


def test_clicks_select_add_and_take_away(viewer: Any, chair: OpenShape) -> None:
    panel = viewer._panel
    first = click(viewer, 0)
    assert viewer.selected.element == 0 and np.array_equal(viewer.selection.mask, chair.select([first.position]))
    assert {group.color for group in viewer._drawing.groups} > {SELECTED_COLOR}
    assert "likely names" in panel._clicked.content and "score" in panel._clicked.content
    second = click(viewer, 500, "shift")
    assert np.array_equal(viewer.selection.mask, chair.select([first.position, second.position]))
    third = click(viewer, 700, "cmd/ctrl")
    mask = chair.select([first.position, second.position], [third.position])
    assert np.array_equal(viewer.selection.mask, mask)
    assert [mark.color for mark in viewer._drawing._marks] == [ON_COLOR, ON_COLOR, BESIDE_COLOR]
    # Without keys, as on a phone.
    panel.clear.value = True
    assert viewer.selection is None and viewer.selected is None and not viewer._drawing._marks
    click(viewer, 0)
    for mode, element in zip(list(CLICKS)[1:], (500, 700), strict=True):
        panel.click.value = mode
        click(viewer, element)
    assert np.array_equal(viewer.selection.mask, mask)
    # Places that cannot be told apart are named, and nothing changes.
    click(viewer, 0)
    assert "same smallest region" in panel._status.content and np.array_equal(viewer.selection.mask, mask)
    # What is asked next is what is seen.
    panel.level.value = 0.3
    assert viewer.selection is None and viewer.result == chair.parts(level=0.3)
    click(viewer, 0)
    assert "here: " in panel._clicked.content
    panel.parts.value = "leg"
    click(viewer, 0)
    assert "leg: " in panel._clicked.content and "result" not in vars(viewer._answer)  # no segmentation was needed


def test_a_selection_alone_hidden_and_what_is_like_it(viewer: Any, chair: OpenShape) -> None:
    panel, drawing = viewer._panel, viewer._drawing
    click(viewer, 0)
    mask = viewer.selection.mask
    panel.show.value = ALONE
    assert [group.elements.tolist() for group in drawing.groups] == [np.flatnonzero(mask).tolist()]
    panel.show.value = HIDDEN
    assert not drawing._marks  # they would float in the air
    left = np.concatenate([group.elements for group in drawing.groups])
    assert sorted(left.tolist()) == np.flatnonzero(~mask).tolist()
    assert all((viewer.result.face_labels[group.elements] == group.label).all() for group in drawing.groups)
    element = int(np.flatnonzero(~mask & (chair.shape.face_areas() > 0))[0])
    click(viewer, element)
    assert panel.show.value == IN_COLOR and viewer.selection.mask[element]  # the new one is seen
    panel.show.value = LIKE_IT
    heat = chair.like(viewer.selected.position).elements
    expected = [(group.color, group.elements.tolist()) for group in heat_groups(heat)]
    assert [(group.color, group.elements.tolist()) for group in drawing.groups] == expected
    sent: list[tuple[str, bytes]] = []
    client = SimpleNamespace(send_file_download=lambda name, data, **_: sent.append((name, data)))
    viewer._send_selection(client)
    viewer._send(client)
    assert [name for name, _ in sent] == ["chair-selection.zip", "chair-parts.zip"]
    written = result_files(viewer.selection.segmentation(chair), split=True)
    with zipfile.ZipFile(io.BytesIO(sent[0][1])) as files:
        assert files.read("labels.npz") == written["labels.npz"]
        assert sorted(files.namelist()) == sorted(written)


def test_names_are_proposed_only_by_a_model_that_can(segmenter: Segmenter, chair: OpenShape) -> None:
    pytest.importorskip("viser")
    from pa3d.view import Viewer

    headless = Segmenter(replace(segmenter.checkpoint, shape_head=None))
    own = headless.open(CHAIR)
    with Viewer(headless, [CHAIR], parts=PARTS) as viewer:
        panel = viewer._panel
        panel.name_parts.value = True
        assert "cannot say what a shape is" in panel._status.content and viewer.result == own.segment(PARTS)
        panel.category.value = "chair"
        panel.name_parts.value = True
        names = own.propose(category="chair").part_names
        assert panel.parts.value == ", ".join(names) and set(names) <= set(find_category("chair").parts)
        assert viewer.result == own.segment(names, category="chair")
        panel.category.value = "chairlike"
        panel.name_parts.value = True
        assert "is not one of" in panel._status.content
        assert viewer.result is not None and viewer.result.part_names == names


def test_a_proposal_fills_the_words_and_others_can_be_chosen(
    telling: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("viser")
    from pa3d.view import Viewer

    with Viewer(telling, [CHAIR]) as viewer:
        panel, shape = viewer._panel, telling.open(CHAIR)
        panel.level.value = 0.5
        calls = []
        monkeypatch.setattr("pa3d.propose.propose", lambda *a: calls.append(a) or propose(*a))
        monkeypatch.setattr("pa3d.view.viewer.answer", lambda *_: pytest.fail("the proposal was computed already"))
        panel.name_parts.value = True
        monkeypatch.undo()
        expected = shape.propose()
        assert len(calls) == 1 and viewer.result == expected and viewer.result.settings["proposed"]
        assert panel.parts.value == ", ".join(expected.part_names) and not panel.to_words.visible
        labels = [button.label for button in panel._kind_buttons._buttons]
        assert len(labels) == 5 and labels[0].startswith(expected.settings["proposed"]["category"])
        other = viewer._kinds[1][0]
        panel._kind_buttons._buttons[1].value = True
        assert viewer.result == shape.propose(category=other) and len(viewer._kinds) == 5
        panel._kind_buttons._buttons[1].value = True  # again
        assert viewer.result == shape.propose(category=other)


def test_a_shape_that_needs_names_to_stand_upright(segmenter: Segmenter) -> None:
    pytest.importorskip("viser")
    from pa3d.view import Viewer

    with Viewer(segmenter, [CHAIR], parts=["leg"], up="auto") as viewer:
        panel = viewer._panel
        assert viewer._answer.up == pytest.approx(viewer.result.settings["up_found"], abs=1e-6)
        click(viewer, 0)
        assert viewer.selection.mask is None and "no part can be selected" in panel._clicked.content
        assert not panel.show.visible and "likely names" in panel._clicked.content
        viewer._send_selection(None)  # nothing
        panel.level.value = 0.5
        assert "needs part names" in panel._status.content and viewer.result is None
        panel.to_words.value = True
        assert viewer.result.part_names == ["leg"]


def test_a_result_without_names_in_a_notebook(segmenter: Segmenter, chair: OpenShape) -> None:
    pytest.importorskip("viser")
    from pa3d.view import view

    for result in (chair.parts(level=0.37), chair.parts(count=9), chair.parts()):
        with view(result, segmenter) as viewer:
            assert viewer.result == result and viewer._panel.to_words.visible
    with pytest.raises(Exception, match="level is 2"):
        view(CHAIR, segmenter, level=2)


# --- the page ---


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def shown(picture: NDArray[np.int64], names: list[str]) -> set[str]:
    """The parts whose hue, of any shade, is on at least 30 pixels."""
    seen = hues(picture[:, :560])
    rgb = to_rgb(part_colors(len(names))) / 255
    return {
        name
        for name, color in zip(names, rgb, strict=True)
        if (np.abs((seen - colorsys.rgb_to_hsv(*color)[0] + 0.5) % 1 - 0.5) < 0.03).sum() > 30
    }


@pytest.mark.slow
def test_granularity_and_selection_in_the_browser(
    browser: Browser, segmenter: Segmenter, chair: OpenShape, tmp_path: Path
) -> None:
    pytest.importorskip("viser")
    from pa3d.view import Viewer

    with Viewer(segmenter, [CHAIR], parts=PARTS) as viewer:
        site = opened(browser, viewer, 900, 560)
        wait(lambda: len(shown(site.picture(), PARTS)) == 3)

        # The slider divides the shape, and the colours are those of `parts`.
        site.slide("Granularity", "0")
        site.wait_text("2 parts without names")
        expected = chair.parts(level=0)
        assert viewer.result == expected
        wait(lambda: len(shown(site.picture(), expected.part_names)) == 2)
        assert shown(site.picture(tmp_path / "level-0.png"), PARTS) < set(PARTS)
        site.slide("Granularity", "0.3")
        expected = chair.parts(level=0.3)
        wait(lambda: viewer.result == expected)
        site.wait_text(f"{len(expected.part_names)} parts without names")
        site.wait_text(expected.part_names[-1])
        wait(lambda: len(shown(site.picture(), expected.part_names)) >= len(expected.part_names) - 1)
        site.picture(tmp_path / "level-3.png")
        site.press("Back to words")
        wait(lambda: len(shown(site.picture(), PARTS)) == 3 and viewer.result == chair.segment(PARTS))

        # A click selects what `select` gives at its place, and that is what is coloured.
        y, x = np.argwhere(selected_pixels(site.picture(), as_rgb(part_colors(3)[1]))).mean(axis=0)
        site.page.click_at(float(x), float(y))
        wait(lambda: viewer.selection is not None)
        assert np.array_equal(viewer.selection.mask, chair.select([viewer.selected.position]))
        site.wait_text("selected: ")
        wait(lambda: selected_pixels(site.picture(), SELECTED_COLOR).sum() > 300)
        picture = site.picture(tmp_path / "selected.png")
        around = np.s_[int(y) - 6 : int(y) + 7, int(x) - 6 : int(x) + 7]  # there is a mark at the place itself
        assert selected_pixels(picture, SELECTED_COLOR)[around].any()
        grey = np.isnan(hues(picture[:, :560])) & (picture[:, :560].max(axis=2) < 225)
        for axis in (0, 1):  # not at the border of the shape
            for step in (-3, 3):
                grey &= np.roll(grey, step, axis)
        y, x = np.argwhere(grey)[0]
        before = viewer.selection
        site.page.click_at(float(x), float(y), modifiers=8)  # shift
        wait(lambda: viewer.selection is not before)
        places = [hit.position for hit in viewer.selection.clicks.positive]
        assert len(places) == 2 and np.array_equal(viewer.selection.mask, chair.select(places))
        site.picture(tmp_path / "added.png")
        pixels = selected_pixels(site.picture(), SELECTED_COLOR).sum()
        site.choose("Show", "hidden")
        wait(lambda: selected_pixels(site.picture(), SELECTED_COLOR).sum() < 0.05 * pixels)
        site.picture(tmp_path / "hidden.png")
        site.choose("Show", "alone")
        wait(lambda: selected_pixels(site.picture(), SELECTED_COLOR).sum() > 0.9 * pixels)
        site.picture(tmp_path / "alone.png")
        downloads = tmp_path / "downloads"
        browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        site.press("Download the selection")
        wait((downloads / "chair-selection.zip").is_file)
        site.press("Clear the selection")
        wait(lambda: len(shown(site.picture(), PARTS)) == 3)
        check_console(site)


@pytest.mark.slow
def test_a_proposal_in_the_browser(browser: Browser, telling: Segmenter, tmp_path: Path) -> None:
    pytest.importorskip("viser")
    from pa3d.view import Viewer

    expected = telling.propose(CHAIR)
    with Viewer(telling, [CHAIR]) as viewer:
        site = opened(browser, viewer, 900, 560)
        site.press("Name the parts")
        names = ", ".join(expected.part_names)
        site.page.wait_for(f"{INPUT.format(name='Parts')}.value === {json.dumps(names)}")
        assert viewer.result == expected
        for name, _ in expected.settings["proposed"]["categories"]:
            site.wait_text(name)
        site.picture(tmp_path / "proposed.png")
        other = expected.settings["proposed"]["categories"][1][0]
        site.press(other)
        names = ", ".join(telling.propose(CHAIR, category=other).part_names)
        site.page.wait_for(f"{INPUT.format(name='Parts')}.value === {json.dumps(names)}")
        check_console(site)


@pytest.mark.slow
def test_granularity_and_selection_on_a_phone(
    browser: Browser, segmenter: Segmenter, chair: OpenShape, tmp_path: Path
) -> None:
    pytest.importorskip("viser")
    from pa3d.view import Viewer

    with Viewer(segmenter, [CHAIR], level=0.3) as viewer:
        site = opened(browser, viewer, 390, 844, phone=True)
        names = chair.parts(level=0.3).part_names
        wait(lambda: len(shown(site.picture()[:420], names)) >= len(names) - 1)
        site.picture(tmp_path / "phone-level.png")
        assert site.page.evaluate("document.documentElement.scrollWidth") <= 390
        y, x = np.argwhere(~np.isnan(hues(site.picture()[:420]))).mean(axis=0)
        site.page.click_at(float(x), float(y))
        wait(lambda: viewer.selection is not None)
        assert np.array_equal(viewer.selection.mask, chair.select([viewer.selected.position]))
        site.wait_text("selected: ")
        wait(lambda: selected_pixels(site.picture()[:420], SELECTED_COLOR).sum() > 100)
        site.picture(tmp_path / "phone-selected.png")
        for label in ("Show", "A click"):
            left, top, width, _ = site.page.evaluate(
                f"(() => {{ const b = {INPUT.format(name=label)}.getBoundingClientRect(); "
                "return [b.left, b.top, b.width, b.height]; })()"
            )
            assert left >= 0 and left + width <= 390 and width > 100 and top < 844
        check_console(site)
