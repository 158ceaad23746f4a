"""The live viewer: from a word, a move of the slider or a click to colours, for a mesh of 100,000 faces.

    python scripts/time_viewer.py [--faces 100000] [--repeats 15] [--no-browser] [--json FILE]

"server" is the time until the last message to the page is queued: what pa3d and viser compute. "page" is the time from
the input to the first frame with new colours in headless Chromium; it has no graphics card, so drawing takes it longer
than a browser with one. Every word and level is new. Medians, and the slowest; run it on a quiet machine. It needs
pa3d[view], and Chromium for "page".
"""

from __future__ import annotations

import argparse
import base64
import io
import itertools
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from pa3d import Segmenter, Shape
from pa3d.io import load
from pa3d.part_tree import default_vocabulary
from pa3d.view import Viewer

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))  # the browser of the tests
LIMIT = 20.0  # seconds to wait for colours


def mesh(faces: int) -> Shape:
    """The chair of the examples with its faces divided until there are so many."""
    import trimesh

    shape = load(ROOT / "examples" / "chair.glb")
    points, triangles = shape.points.astype(np.float64), shape.faces
    assert triangles is not None
    while 4 * len(triangles) <= faces:
        points, triangles = trimesh.remesh.subdivide(points, triangles)
    points, triangles = trimesh.remesh.subdivide(points, triangles, np.arange((faces - len(triangles)) // 3))
    return Shape(points.astype(np.float32), triangles.astype(np.int32), up=shape.up, name=f"{len(triangles):,} faces")


def inputs() -> Iterator[tuple[str, str, Any]]:
    """What is done, and to which control of the page, in turns; without end."""
    words = itertools.cycle(default_vocabulary())
    rng = np.random.default_rng(0)
    while True:
        yield "three names", "parts", ", ".join(itertools.islice(words, 3))
        yield "one word", "parts", next(words)
        level = float(rng.integers(10, 80)) / 100
        yield "a level, from words", "level", level
        yield "a level nearby", "level", level + 0.02


def measure_server(viewer: Viewer, repeats: int) -> dict[str, list[float]]:
    panel: Any = viewer._panel
    found: dict[str, list[float]] = {}
    for kind, control, value in itertools.islice(inputs(), 4 * (repeats + 1)):
        start = time.perf_counter()
        getattr(panel, control).value = value
        found.setdefault(kind, []).append(time.perf_counter() - start)
    panel.parts.value = "seat, back, leg"
    drawing: Any = viewer._drawing
    rng = np.random.default_rng(0)
    while len(found.setdefault("a click", [])) <= repeats:
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        event = SimpleNamespace(ray_origin=3 * direction, ray_direction=-direction, modifier=None)
        if drawing.hit(event.ray_origin, event.ray_direction, lambda group: True) is not None:
            start = time.perf_counter()
            viewer._click(event)
            found["a click"].append(time.perf_counter() - start)
    return {kind: times[1:] for kind, times in found.items()}  # the first ones build the tree


def measure_page(viewer: Viewer, repeats: int, profile: Path) -> dict[str, list[float]]:
    from browser import Browser, Page
    from view_site import INPUT, hues

    panel: Any = viewer._panel
    found: dict[str, list[float]] = {}
    with Browser(profile) as browser:
        page = Page(browser, viewer.address, 900, 420, ready="document.querySelector('canvas')")
        page.wait_for("document.body.innerText.includes('faces')")
        page.call("Page.startScreencast", format="jpeg", quality=60, everyNthFrame=1)

        def frames() -> Iterator[tuple[float, Any]]:
            """The frames that have come: when, and the hues of the shape."""
            from PIL import Image

            page.evaluate("0")
            at, events, browser.events[:] = time.perf_counter(), list(browser.events), []
            for event in events:
                if event["method"] == "Page.screencastFrame":
                    facts = event["params"]
                    page.call("Page.screencastFrameAck", sessionId=facts["sessionId"])
                    image = Image.open(io.BytesIO(base64.b64decode(facts["data"]))).convert("RGB")
                    yield at, hues(np.asarray(image).astype(np.int64)[:, :560])

        last: Any = np.full((420, 560), np.nan)
        for kind, control, value in itertools.islice(inputs(), 4 * (repeats + 1)):
            end = time.monotonic() + 1.0
            while time.monotonic() < end:  # until nothing moves
                for _, seen in frames():
                    last, end = seen, time.monotonic() + 1.0
            start = time.perf_counter()
            if control == "parts":
                field = INPUT.format(name="Parts")
                page.evaluate(f"(() => {{ const e = {field}; e.focus(); e.select(); }})()")
                start = time.perf_counter()
                page.call("Input.insertText", text=value)
            else:
                panel.level.value = value
            seconds = first_change(frames, last, start)
            if seconds is not None:
                found.setdefault(kind, []).append(seconds)
    return {kind: times[1:] for kind, times in found.items()}


def first_change(frames: Callable[[], Iterator[tuple[float, Any]]], last: Any, start: float) -> float | None:
    """Seconds until a frame in which the colours of many pixels are others; None if there is none."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        for at, seen in frames():
            if ((np.isnan(seen) != np.isnan(last)) | (np.abs(seen - last) > 0.03)).sum() > 500:
                return at - start
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    shape = mesh(arguments.faces)
    with Viewer(Segmenter.from_pretrained(), [shape]) as viewer:
        start = time.perf_counter()
        _ = viewer._shape.tree
        print(f"{shape.name}; the tree of its parts took {1e3 * (time.perf_counter() - start):.0f} ms")
        found = {"server": measure_server(viewer, arguments.repeats)}
        if not arguments.no_browser:
            folder = tempfile.mkdtemp()
            try:
                found["page"] = measure_page(viewer, arguments.repeats, Path(folder))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    print("| | what | median | slowest |\n|---|---|---|---|")
    for where, kinds in found.items():
        for kind, times in kinds.items():
            if times:
                print(f"| {where} | {kind} | {1e3 * statistics.median(times):.0f} ms | {1e3 * max(times):.0f} ms |")
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
