"""parts.html in headless Chromium, on a desktop and on a phone: clicks, the colours of pixels, an empty console."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, Page
from numpy.typing import NDArray

from pa3d import Segmentation, Shape
from pa3d.colors import UNLABELED_COLOR, part_colors, to_rgb
from pa3d.report.page import VIEWER, parts_html

SIZES = {"desktop": (1280, 800, False), "phone": (390, 844, True)}
NAMES = ["seat", "back of the chair", "leg", "wing"]
# Corners and faces of a box from 0 to 1.
CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float32)
FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4]]
    + [[1, 5, 7], [1, 7, 3]],
    np.int32,
)


def boxes() -> tuple[Segmentation, NDArray[np.int64]]:
    """Six boxes that do not hide each other from the front: a seat, a back, three legs, and one that is nothing."""
    places = [(0, 1, 0), (0, 3, 0), (-3, -2, 0), (0, -2, 0), (3, -2, 0), (-3, 3, 0)]
    labels = np.repeat(np.array([0, 1, 2, 2, 2, -1], np.int32), 12)
    points = np.concatenate([CORNERS + np.float32(place) for place in places])
    faces = np.concatenate([FACES + 8 * i for i in range(len(places))]).astype(np.int32)
    face_scores = np.full((72, 4), 0.1, np.float32)
    face_scores[np.arange(72), labels] = 0.7
    scores = np.tile(np.linspace(0, 1, 48, dtype=np.float32)[:, None], (1, 4))
    result = Segmentation(
        Shape(points, faces, name="boxes.glb"), NAMES, np.zeros(48, np.int32), scores, labels, face_scores,
        presence=np.float32([0.9, 0.8, 0.7, 0.2]), found=np.array([True, True, True, False]), model="a model",
    )  # fmt: skip
    return result, np.repeat([0, 0, 0, 1, 2, 0], 12)


def cloud() -> Segmentation:
    result, _ = boxes()
    points, face = result.shape.sample(6000)
    assert result.face_labels is not None and result.face_scores is not None
    return Segmentation(Shape(points, name="boxes.ply"), NAMES, result.face_labels[face], result.face_scores[face])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "parts.html"
    path.write_text(parts_html(*boxes()), encoding="utf-8")
    return path


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, browser: Browser, file: Path) -> Iterator[Page]:
    width, height, phone = SIZES[request.param]
    page = Page(browser, file, width, height, phone=phone)
    yield page
    assert page.problems() == []


def picture(page: Page) -> NDArray[np.int64]:
    """The pixels of the view."""
    page.evaluate("scrollTo(0, 0)")
    left, top, width, height = (round(value) for value in page.box("#canvas"))
    return page.screenshot()[top : top + height, left : left + width].astype(np.int64)


def of_color(image: NDArray[np.int64], color: str) -> NDArray[np.bool_]:
    """Pixels of a colour in any light, in the same direction from black, whose neighbours are so, too.

    So the edges, which are mixed with what is behind them, do not count.
    """
    rgb = to_rgb([color])[0].astype(float)
    brightness = np.linalg.norm(image, axis=2) / np.linalg.norm(rgb)
    cosine = (image @ rgb) / np.maximum(np.linalg.norm(image, axis=2) * np.linalg.norm(rgb), 1)
    found = np.pad((cosine > 0.9985) & (brightness > 0.5) & (brightness < 1.2), 1)
    height, width = image.shape[:2]
    return np.all([found[i : i + height, j : j + width] for i in range(3) for j in range(3)], axis=0)


COLORS = dict(zip([*NAMES, "none of these"], [*part_colors(4), UNLABELED_COLOR], strict=True))


def seen(image: NDArray[np.int64]) -> set[str]:
    return {name for name, color in COLORS.items() if of_color(image, color).sum() > 100}


def part(name: str) -> str:
    return f"li:nth-child({[*COLORS].index(name) + 1}) .part"


def only(name: str) -> str:
    return part(name).replace(".part", ".only")


EVERY = {"seat", "back of the chair", "leg", "none of these"}


def test_colours_stay_right_after_any_clicks(page: Page) -> None:
    """After every click the parts that should be seen are, in their colours and places, and no others."""
    first = picture(page)
    assert seen(first) == EVERY
    masks = {name: of_color(first, COLORS[name]) for name in EVERY}
    rng, shown = random.Random(0), set(EVERY)
    for _ in range(16):
        name = rng.choice(sorted(EVERY))
        action = rng.choice(["part", "part", "part", "only", "all", "double"])
        if action == "part":
            page.click(part(name))
            shown ^= {name}
        elif action == "double":
            page.click(part(name), count=2)
        elif action == "only":
            page.click(only(name))
            shown = set(EVERY) if shown == {name} else {name}
        else:
            page.click("#all")
            shown = set(EVERY)
        image = picture(page)
        for other, mask in masks.items():
            found = of_color(image, COLORS[other])
            if other in shown:
                assert found[mask].all(), f"{other} after {action} {name}"  # nothing moved, nothing stretched
            else:
                assert found.sum() < 0.1 * mask.sum(), f"{other} after {action} {name}"
        pressed = {n for n in EVERY if page.evaluate(f"document.querySelector('{part(n)}').ariaPressed") == "true"}
        assert pressed == shown
    page.click("#all")
    assert (picture(page) == first).all()


def test_scores_and_back(page: Page) -> None:
    first = picture(page)
    page.evaluate("mode.value = 'score0'; mode.dispatchEvent(new Event('change'))")
    heat = picture(page)
    assert not seen(heat) and page.evaluate("!scale.hidden")
    # The same outline, above the scale.
    above = slice(0, int(0.85 * len(first)))
    assert ((heat[above] < 250).any(axis=2) == (first[above] < 250).any(axis=2)).mean() > 0.999
    page.click(part("leg"))
    page.evaluate("mode.value = 'parts'; mode.dispatchEvent(new Event('change'))")
    assert seen(picture(page)) == EVERY - {"leg"} and page.evaluate("scale.hidden")
    page.click(part("leg"))
    assert (picture(page) == first).all()


def test_instances(page: Page) -> None:
    assert "3 instances" in page.evaluate(f"document.querySelector('{part('leg')} .note').textContent")
    page.evaluate("mode.value = 'instances'; mode.dispatchEvent(new Event('change'))")
    image = picture(page)
    legs = {tuple(color) for color in image[int(0.75 * len(image)) :].reshape(-1, 3) if color.min() < 245}
    middle = [color for color in legs if of_color(np.full((3, 3, 3), color), COLORS["leg"]).any()]
    assert middle and len(legs) > len(middle) + 2  # one leg has the colour of the part, two have others
    assert seen(image) >= EVERY


def test_presence_is_said(page: Page) -> None:
    rows = page.evaluate("[...document.querySelectorAll('#legend li')].map((row) => row.innerText)")
    assert [re.split(r"\n+", row)[:3] for row in rows] == [
        ["seat", "16.7 %", "1 instance · confidence 0.70 · presence 0.90"],
        ["back of the chair", "16.7 %", "1 instance · confidence 0.70 · presence 0.80"],
        ["leg", "50.0 %", "3 instances · confidence 0.70 · presence 0.70"],
        ["wing", "not found", "presence 0.20"],
        ["none of these", "16.7 %", "confidence 0.70"],
    ]
    assert page.evaluate("document.querySelector('.facts').textContent").endswith("not found: wing")


def test_without_presence_nothing_is_said_of_it(browser: Browser, tmp_path: Path) -> None:
    result = replace(boxes()[0], presence=None, found=None)
    (tmp_path / "a.html").write_text(parts_html(result))
    text = Page(browser, tmp_path / "a.html", 1280, 800).evaluate("document.body.innerText")
    assert "presence" not in text and "not found" not in text and "wing\n0.0 %" in text


def test_what_is_under_the_pointer_is_named(page: Page) -> None:
    """Beside it, within the view, and never over the legend."""
    image = picture(page)
    left, top, width, height = page.box("#canvas")
    for name in sorted(EVERY):
        rows, columns = np.nonzero(of_color(image, COLORS[name]))
        for place in (0, len(rows) // 2, -1):
            x, y = left + int(columns[place]), top + int(rows[place])
            page.click_at(x, y) if page.phone else page.move(x, y)
            page.wait_for("!hover.hidden")
            if place == len(rows) // 2:
                assert page.evaluate("hover.textContent").startswith(name)
            box = page.evaluate(
                "(() => { const b = hover.getBoundingClientRect();return [b.left, b.top, b.right, b.bottom]; })()"
            )
            assert box[0] >= left and box[1] >= top and box[2] <= left + width and box[3] <= top + height
    page.click(part("seat"))
    assert page.evaluate("hover.hidden")


def test_the_shape_turns_and_comes_back(page: Page) -> None:
    first = picture(page)
    left, top, width, height = page.box("#canvas")
    x, y = left + width / 2, top + height / 2
    page.drag((x, y), (x + 90, y + 40))
    turned = picture(page)
    assert (turned != first).any(axis=2).sum() > 2000 and seen(turned) == EVERY
    assert page.evaluate("scrollY") == 0  # a finger on the shape does not scroll the page
    page.evaluate("canvas.dispatchEvent(new WheelEvent('wheel', { deltaY: -300, cancelable: true }))")
    assert (picture(page) != turned).any(axis=2).sum() > 2000
    page.click("#reset")
    assert (picture(page) == first).all()


def test_the_page_fits(page: Page) -> None:
    width, height = page.evaluate("[innerWidth, innerHeight]")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sides = page.evaluate(
        "[...document.querySelectorAll('button, select, h1, .note, .facts')].map((e) => e.getBoundingClientRect())"
        ".map((b) => [b.left, b.right, b.height])"
    )
    assert all(left >= 0 and right <= width for left, right, _ in sides)
    right, bottom, left, top = page.evaluate(
        "(() => { const [v, a] = ['canvas', 'aside'].map((e) => document.querySelector(e).getBoundingClientRect());"
        "return [v.right, v.bottom, a.left, a.top]; })()"
    )
    assert left >= right or top >= bottom  # beside or below
    if page.phone:
        heights = page.evaluate(
            "[...document.querySelectorAll('.part, .only, .buttons button')].map((e) => e.offsetHeight)"
        )
        assert min(heights) >= 44  # of a finger
    else:
        assert page.evaluate("document.documentElement.scrollHeight") <= height


def test_graphics_memory_is_lost_and_restored(page: Page) -> None:
    page.click(part("seat"))
    before = picture(page)
    page.evaluate("globalThis.lose = canvas.getContext('webgl2').getExtension('WEBGL_lose_context')")
    page.evaluate("new Promise((done) => { canvas.addEventListener('webglcontextlost', done); lose.loseContext(); })")
    page.evaluate(
        "new Promise((done) => { canvas.addEventListener('webglcontextrestored', done);"
        "setTimeout(() => lose.restoreContext()); })"
    )
    assert (picture(page) == before).all()


def test_a_cloud(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(parts_html(cloud()))
    page = Page(browser, tmp_path / "a.html", 1280, 800)
    first = picture(page)
    assert seen(first) == EVERY
    page.click(part("leg"))
    image = picture(page)
    assert seen(image) == EVERY - {"leg"}
    assert of_color(image, COLORS["seat"])[of_color(first, COLORS["seat"])].all()
    assert page.problems() == []


def test_dark(browser: Browser, file: Path) -> None:
    page = Page(browser, file, 1280, 800, dark=True)
    image = picture(page)
    assert image[5, 5].max() < 60 and seen(image) == EVERY and page.problems() == []


def test_a_browser_without_webgl(browser: Browser, tmp_path: Path) -> None:
    text = parts_html(boxes()[0]).replace('getContext("webgl2"', 'getContext("no such"')
    (tmp_path / "a.html").write_text(text + "<ul><li id=legend></li></ul>")
    page = Page(browser, tmp_path / "a.html", 390, 844, ready="!document.getElementById('problem').hidden")
    assert "no WebGL 2" in page.evaluate("document.getElementById('problem').textContent")


def test_text_can_be_read() -> None:
    """A contrast of 4.5 to 1 at least, as WCAG 2.2 has it, in both schemes."""
    schemes = re.findall(r":root \{(.*?)\}", (VIEWER / "style.css").read_text(), re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colors = dict(re.findall(r"--(\w+): (#\w{6});", scheme))
        for text in ("text", "muted"):
            for back in ("back", "panel"):
                light, dark = sorted((luminance(colors[text]), luminance(colors[back])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, back)


def luminance(color: str) -> float:
    c = to_rgb([color])[0] / 255
    return float(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])
