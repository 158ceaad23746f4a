"""The live viewer, in headless Chromium and without it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from browser import TIMEOUT, Browser
from view_site import INPUT, check_console, counts, opened, seen, wait

from pa3d import Segmenter, Shape
from pa3d.cli import main
from pa3d.colors import part_colors, to_rgb
from pa3d.view.scene import HEAT_STEPS, heat_groups, original_glb, part_groups, place_under

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CHAIR, OCTOPUS = EXAMPLES / "chair.glb", EXAMPLES / "octopus.ply"
PARTS = ["seat", "back", "leg"]
# What a browser sends to open a websocket.
UPGRADE = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
UPGRADE |= {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained()


# --- what is drawn ---


def square() -> Shape:
    """Two triangles at z = 0 and two at z = 1, of the square from 0 to 1."""
    points = np.array([[x, y, z] for z in (0, 1) for x, y in ((0, 0), (1, 0), (1, 1), (0, 1))], np.float32)
    return Shape(points, np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32))


def test_the_place_under_a_click_is_the_nearest_shown_face() -> None:
    shape, up, down = square(), np.array([0.0, 0, 1]), np.array([0.0, 0, -1])
    every = np.ones(4, bool)

    def click(x: float, y: float, z: float, direction: Any, shown: Any = every) -> Any:
        return place_under(shape, shown, np.array([x, y, z]), direction, 0.1)

    hit = click(0.8, 0.3, 5, down)
    assert hit.element == 2 and np.allclose(hit.position, (0.8, 0.3, 1))
    assert click(0.3, 0.8, 5, down).element == 3
    assert click(0.8, 0.3, -5, up).element == 0
    assert click(0.8, 0.3, 5, down, every & [True, True, False, True]).element == 0  # what is hidden is not hit
    assert click(0.8, 0.3, 5, up) is None  # behind
    assert click(1.2, 0.3, 5, down) is None


def test_the_place_under_a_click_on_a_cloud() -> None:
    shape = Shape(np.float32([[0, 0, 0], [0, 0, 2], [1, 0, 0], [np.nan, 0, 0]]), name="cloud")
    every, origin, down = np.ones(4, bool), np.array([0.05, 0, 5]), np.array([0.0, 0, -1])
    assert place_under(shape, every, origin, down, 0.1).element == 1  # type: ignore[union-attr]
    assert place_under(shape, every & [True, False, True, True], origin, down, 0.1).element == 0  # type: ignore[union-attr]
    assert place_under(shape, every, origin, down, 0.01) is None


def test_groups_have_every_element_once() -> None:
    labels = np.array([2, -1, 0, 2, 2], np.int32)
    groups = part_groups(labels, 3)
    assert {group.label: group.elements.tolist() for group in groups} == {-1: [1], 0: [2], 2: [0, 3, 4]}
    colors = [tuple(color) for color in to_rgb(part_colors(3)).tolist()]
    assert {group.label: group.color for group in groups if group.label != -1} == {0: colors[0], 2: colors[2]}
    heat = np.linspace(0, 1, 1001, dtype=np.float32)
    groups = heat_groups(heat, 0.5)
    assert sorted(np.concatenate([group.elements for group in groups]).tolist()) == list(range(1001))
    assert groups[0].elements.tolist() == np.flatnonzero(heat < 0.5).tolist()
    assert len(groups) == 1 + HEAT_STEPS // 2 and groups[-1].color[0] > 200 > groups[1].color[0]  # yellow and green


def glb(tmp_path: Path, content: dict[str, Any]) -> Shape:
    data = json.dumps(content).encode()
    data += b" " * (-len(data) % 4)
    path = tmp_path / "file.glb"
    header = struct.pack("<4sII", b"glTF", 2, 20 + len(data)) + struct.pack("<I4s", len(data), b"JSON")
    path.write_bytes(header + data)
    return Shape(np.eye(3, dtype=np.float32), file=path)


def test_only_files_that_need_no_network_are_shown_as_they_are(tmp_path: Path) -> None:
    assert original_glb(glb(tmp_path, {"buffers": [{"byteLength": 4}]})) is not None
    assert original_glb(glb(tmp_path, {"images": [{"uri": "https://example.org/a.png"}]})) is None
    assert original_glb(glb(tmp_path, {"buffers": [{"uri": "../other.bin"}]})) is None
    assert original_glb(glb(tmp_path, {"extensionsUsed": ["KHR_draco_mesh_compression"]})) is None
    assert original_glb(Shape(np.eye(3, dtype=np.float32), file=tmp_path / "missing.glb")) is None
    assert original_glb(Shape(np.eye(3, dtype=np.float32))) is None


def test_without_viser_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    assert main(["view", str(CHAIR)]) == 2
    assert "pip install 'pa3d[view]'" in capsys.readouterr().err


def test_viser_is_imported_by_nothing_else() -> None:
    """`import pa3d`, `pa3d segment` and the modules of the viewer itself do not."""
    code = "import sys, pa3d.segment, pa3d.cli.segment, pa3d.report, pa3d.view; sys.exit('viser' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- the page ---


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture
def viewer(segmenter: Segmenter) -> Iterator[Any]:
    pytest.importorskip("viser")
    from pa3d.view import Viewer

    with Viewer(segmenter, [CHAIR, OCTOPUS]) as viewer:
        yield viewer


@pytest.mark.slow
def test_words_colours_clicks_and_downloads(
    browser: Browser, viewer: Any, segmenter: Segmenter, tmp_path: Path
) -> None:
    site = opened(browser, viewer, 900, 420)
    expected = segmenter.segment(CHAIR, PARTS)

    # Typed words become colours.
    assert not any(count > 200 for count in counts(site.picture(tmp_path / "none.png"), PARTS).values())
    site.type("Parts", ", ".join(PARTS))
    wait(lambda: all(count > 500 for count in counts(site.picture(), PARTS).values()))
    first = site.picture(tmp_path / "parts.png")
    assert viewer.result == expected
    masks = seen(first, PARTS)

    # A click is on the face under it: its part, as segment gives it, has the colour that is seen there.
    rng = np.random.default_rng(0)
    for label, name in enumerate(PARTS):
        inside = masks[name].copy()
        for axis in (0, 1):  # not at the border of a part
            for step in (-3, 3):
                inside &= np.roll(masks[name], step, axis)
        for y, x in rng.permutation(np.argwhere(inside))[:1]:
            site.page.click_at(float(x), float(y))
            wait(lambda: viewer.selected is not None)
            assert expected.element_labels[viewer.selected.element] == label
            site.wait_text(f"{name}, ")
            site.wait_text("likely names: ")
            if label == 0:
                site.choose("Show", "what is like it")
                wait(lambda: sum(counts(site.picture(), PARTS).values()) < 0.7 * sum(m.sum() for m in masks.values()))
                site.picture(tmp_path / "like.png")
            site.press("Clear")
            wait(lambda: all(count > 500 for count in counts(site.picture(), PARTS).values()))

    # Hidden parts go, and nothing else; one part alone; and all again.
    site.press("leg")
    wait(lambda: counts(site.picture(), PARTS)["leg"] < 100)
    hidden = seen(site.picture(tmp_path / "hidden.png"), PARTS)
    assert (hidden["back"] & masks["back"]).sum() > 0.98 * masks["back"].sum()
    site.press("leg")
    wait(lambda: counts(site.picture(), PARTS)["leg"] > 500)
    site.choose("Only", "back")
    wait(lambda: counts(site.picture(), PARTS)["seat"] < 100)
    assert counts(site.picture(), PARTS)["back"] > 500 and counts(site.picture(), PARTS)["leg"] < 100
    site.choose("Only", "all parts")
    wait(lambda: all(count > 500 for count in counts(site.picture(), PARTS).values()))

    # The download has the bytes of the command line; the summary also says how long things took.
    downloads = tmp_path / "downloads"
    browser.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
    site.press("Download results")
    archive = downloads / "chair-parts.zip"
    wait(archive.is_file)
    assert main(["segment", str(CHAIR), "--parts", ", ".join(PARTS), "-o", str(tmp_path / "out"), "-q"]) == 0
    with zipfile.ZipFile(archive) as files:
        assert sorted(files.namelist()) == sorted(os.listdir(tmp_path / "out"))
        for name in files.namelist():
            ours, theirs = files.read(name), (tmp_path / "out" / name).read_bytes()
            if name == "summary.json":
                ours, theirs = ({**json.loads(data), "seconds": None} for data in (ours, theirs))  # type: ignore[assignment]
            assert ours == theirs, name

    # One word is a heat map; no words, the plain shape; another file, its own labels.
    site.type("Parts", "leg")
    wait(lambda: viewer.result is not None and viewer.result.part_names == ["leg"])
    site.wait_text("heat in ")
    wait(lambda: counts(site.picture(), PARTS)["back"] < 100)
    site.picture(tmp_path / "heat.png")
    site.choose("Shape", "octopus.ply")
    site.type("Parts", "head, tentacle")
    wait(lambda: all(count > 500 for count in counts(site.picture(), ["head", "tentacle"]).values()))
    site.picture(tmp_path / "cloud.png")
    assert viewer.result == segmenter.segment(OCTOPUS, ["head", "tentacle"])
    check_console(site)


@pytest.mark.slow
def test_on_a_phone(browser: Browser, viewer: Any, segmenter: Segmenter, tmp_path: Path) -> None:
    site = opened(browser, viewer, 390, 844, phone=True)
    site.type("Parts", ", ".join(PARTS))
    wait(lambda: viewer.result == segmenter.segment(CHAIR, PARTS))
    wait(lambda: all(count > 100 for count in counts(site.picture()[:420], PARTS).values()))
    site.picture(tmp_path / "phone.png")
    left, _, width, _ = site.page.evaluate(
        f"(() => {{ const b = {INPUT.format(name='Parts')}.getBoundingClientRect(); "
        "return [b.left, b.top, b.width, b.height]; })()"
    )
    assert left >= 0 and left + width <= 390 and width > 120
    assert site.page.evaluate("document.documentElement.scrollWidth") <= 390
    y, x = np.argwhere(seen(site.picture()[:420], PARTS)["back"]).mean(axis=0)
    site.page.click_at(float(x), float(y))
    wait(lambda: viewer.selected is not None)
    site.wait_text("back, 1 of 1")
    check_console(site)


@pytest.mark.slow
def test_original_look_and_a_file_from_the_page(
    browser: Browser, viewer: Any, segmenter: Segmenter, tmp_path: Path
) -> None:
    site = opened(browser, viewer, 900, 420)
    site.type("Parts", "seat, leg")
    names = ["seat", "leg"]
    wait(lambda: all(count > 500 for count in counts(site.picture(), names).values()))
    site.page.evaluate(INPUT.format(name="Original look") + ".click()")
    wait(lambda: counts(site.picture(), names)["seat"] < 100)
    site.picture(tmp_path / "original.png")
    site.page.evaluate(INPUT.format(name="Original look") + ".click()")
    wait(lambda: all(count > 500 for count in counts(site.picture(), names).values()))
    root = site.page.call("DOM.getDocument")["root"]["nodeId"]
    field = site.page.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
    lamp = EXAMPLES / "lamp.glb"
    site.page.call("DOM.setFileInputFiles", nodeId=field, files=[str(lamp)])
    wait(lambda: viewer.result is not None and viewer.result.shape.name == "lamp.glb")
    assert np.array_equal(viewer.result.face_labels, segmenter.segment(lamp, names).face_labels)
    broken = tmp_path / "broken.glb"
    broken.write_bytes(b"glTF")
    site.page.call("DOM.setFileInputFiles", nodeId=field, files=[str(broken)])
    site.wait_text("broken.glb:")
    assert viewer.result.shape.name == "lamp.glb"
    check_console(site)


# --- the server ---


def test_nothing_but_the_page_is_served(viewer: Any) -> None:
    address = urlsplit(viewer.address)
    assert address.hostname == "127.0.0.1"

    def status(path: str, headers: dict[str, str] | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=30)
        try:
            connection.request("GET", path, headers=headers or {})
            return connection.getresponse().status
        finally:
            connection.close()

    assert status("/") == 200
    root = "/.." * 30
    for path in (
        f"{root}/etc/passwd",
        root.replace("..", "%2e%2e") + "/etc/passwd",
        f"/{CHAIR}",
        "//etc/passwd",
        "/chair.glb",
    ):
        assert status(path) == 404, path
    for origin, answer in (("https://example.org", 403), (viewer.address, 101), ("http://127.0.0.1.example.org", 403)):
        assert status("/", {**UPGRADE, "Origin": origin}) == answer, origin
    addresses = {line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
    addresses |= {line.split()[1] for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]}
    ours = {one.split(":")[0] for one in addresses if int(one.split(":")[1], 16) == address.port}
    assert ours == {"0100007F"}  # 127.0.0.1 and no other


def test_ctrl_c_ends_the_command_cleanly() -> None:
    pytest.importorskip("viser")
    command = [sys.executable, "-m", "pa3d.cli", "view", str(CHAIR), "--parts", "seat, leg", "--port", "8700"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job has it ignored
    )
    try:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().split()[0])
        connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=30)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, stdout.strip(), stderr) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


def test_a_result_in_a_notebook(segmenter: Segmenter) -> None:
    pytest.importorskip("viser")
    from pa3d.view import view

    result = segmenter.segment(CHAIR, ["seat", "leg"], none=0.25, category="chair", seed=3)
    with view(result, segmenter) as viewer:
        assert viewer.result == result and viewer.result.settings == result.settings
        assert f'<iframe src="{viewer.address}"' in viewer._repr_html_()
        viewer._panel.none.value = 0.9  # as the slider sets it
        expected = segmenter.segment(CHAIR, ["seat", "leg"], none=0.9, category="chair", seed=3)
        assert not np.array_equal(expected.labels, result.labels)
        wait(lambda: viewer.result == expected)
        viewer._panel.parts.value = "seat, leg, seat"  # what cannot be used is named, and the page goes on
        wait(lambda: viewer.result is None and "&#x27;seat&#x27; is given twice" in viewer._panel._status.content)
    with view([CHAIR, str(OCTOPUS)], segmenter) as viewer:
        assert viewer.result is None


def test_files_that_cannot_be_shown(segmenter: Segmenter, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("viser")
    assert main(["view", str(tmp_path / "missing.glb")]) == 2
    assert "missing.glb" in capsys.readouterr().err
    from pa3d import InputError
    from pa3d.view import Viewer

    with pytest.raises(InputError, match="nothing to show"):
        Viewer(segmenter, [])
