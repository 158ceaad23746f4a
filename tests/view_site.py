"""A page of the viewer in headless Chromium, by what a person reads, clicks and sees."""

from __future__ import annotations

import colorsys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from browser import TIMEOUT, Browser, Page
from numpy.typing import NDArray

from pa3d.colors import part_colors, to_rgb

# Warnings of three.js: about viser, and about the emulated graphics card.
KNOWN_WARNINGS = ("THREE.Clock", "KHR_parallel_shader_compile extension not supported")
LABEL = "[...document.querySelectorAll('label')].find((l) => l.innerText.trim() === {name!r})"
# The input of the row that has a label.
INPUT = "(() => {{ let e = " + LABEL + "; while (!e.querySelector('input')) e = e.parentElement; "
INPUT += "return e.querySelector('input'); }})()"
BUTTON = "[...document.querySelectorAll('button')].find((b) => b.innerText.trim().startsWith({name!r}))"


def wait(done: Callable[[], bool]) -> None:
    """Until something holds on the server, or in the picture."""
    end = time.monotonic() + TIMEOUT
    while not done():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.5)


class Site:
    """A page of the viewer, by what a person reads and clicks."""

    def __init__(self, page: Page, viewer: Any) -> None:
        self.page, self.viewer = page, viewer

    def type(self, label: str, text: str) -> None:
        self.page.evaluate(f"(() => {{ const e = {INPUT.format(name=label)}; e.focus(); e.select(); }})()")
        for letter in text:
            self.page.call("Input.insertText", text=letter)

    def slide(self, label: str, value: str) -> None:
        """Type a value into the field beside a slider."""
        field = INPUT.format(name=label).replace("querySelector('input')", "querySelector('input:not([type=hidden])')")
        self.page.evaluate(f"(() => {{ const e = {field}; e.focus(); e.select(); }})()")
        for letter in value:
            self.page.call("Input.insertText", text=letter)

    def press(self, name: str) -> None:
        self.page.wait_for(BUTTON.format(name=name))
        self.page.evaluate(BUTTON.format(name=name) + ".click()")

    def choose(self, label: str, option: str) -> None:
        self.page.evaluate(INPUT.format(name=label) + ".click()")
        found = f"[...document.querySelectorAll('[role=option]')].find((o) => o.innerText.trim() === {option!r})"
        self.page.wait_for(found)
        self.page.evaluate(found + ".click()")

    def wait_text(self, text: str) -> None:
        self.page.wait_for(f"document.body.innerText.includes({text!r})")

    def picture(self, path: Path | None = None) -> NDArray[np.int64]:
        return self.page.screenshot(path).astype(np.int64)


def hues(image: NDArray[np.int64]) -> NDArray[np.float64]:  # (H, W) of 0 to 1, NaN for what is nearly grey
    low, high = image.min(axis=2), image.max(axis=2)
    spread = np.maximum(high - low, 1)
    r, g, b = (image[..., i] for i in range(3))
    hue = np.select([high == r, high == g], [(g - b) / spread % 6, (b - r) / spread + 2], (r - g) / spread + 4) / 6
    return np.where(high - low > 40, hue, np.nan)


def seen(image: NDArray[np.int64], names: list[str]) -> dict[str, NDArray[np.bool_]]:
    """The pixels of each part: the hue does not depend on the light. Without the panel at the right."""
    hue = hues(image[:, :560])
    colors = [colorsys.rgb_to_hsv(*(to_rgb([color])[0] / 255))[0] for color in part_colors(len(names))]
    apart = np.array([np.abs((hue - color + 0.5) % 1 - 0.5) for color in colors])
    return {name: apart[i] < 0.03 for i, name in enumerate(names)}


def counts(image: NDArray[np.int64], names: list[str]) -> dict[str, int]:
    return {name: int(mask.sum()) for name, mask in seen(image, names).items()}


def opened(browser: Browser, viewer: Any, width: int, height: int, *, phone: bool = False) -> Site:
    site = Site(
        Page(browser, viewer.address, width, height, phone=phone, ready="document.querySelector('canvas')"), viewer
    )
    site.wait_text("808 faces")
    notice = "document.querySelector('.mantine-Notification-closeButton')"
    site.page.wait_for(notice)  # that there is no graphics card
    site.page.evaluate(notice + ".click()")
    site.page.wait_for("!" + notice)
    return site


def check_console(site: Site) -> None:
    problems = [problem for problem in site.page.problems() if not any(known in problem for known in KNOWN_WARNINGS)]
    assert problems == []


def selected_pixels(image: NDArray[np.int64], color: tuple[int, int, int]) -> NDArray[np.bool_]:
    """The pixels in the hue of a colour, without the panel at the right."""
    hue = colorsys.rgb_to_hsv(*(channel / 255 for channel in color))[0]
    return np.abs((hues(image[:, :560]) - hue + 0.5) % 1 - 0.5) < 0.03
