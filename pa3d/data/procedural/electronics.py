"""Screens, devices, appliances, switches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pa3d.data.procedural.primitives import (
    Mesh,
    arc,
    bezier,
    box,
    cylinder,
    ellipse,
    ellipsoid,
    extrude,
    grid,
    hollow,
    hollow_box,
    lathe,
    rod,
    rounded_rectangle,
    sphere,
    stack,
    sweep,
    torus,
    tube,
    union,
)
from pa3d.data.procedural.registry import COMMON, Builder, family


def keys(w: float, d: float, rows: int, columns: int, t: float) -> Mesh:
    """A block of keys in the x, z plane about the origin."""
    parts: list[Mesh] = []
    for r in range(rows):
        count = columns if r < rows - 1 else max(3, columns // 2)
        for c in range(count):
            x, z = ((c + 0.5) / count - 0.5) * w, ((r + 0.5) / rows - 0.5) * d
            parts.append(box(w / count * 0.85, t, d / rows * 0.85, (x, t / 2, z), top=0.9))
    return union(parts)


@family(
    "laptop",
    names={
        "screen": ("display", "monitor", "screen panel"),
        "keyboard": ("keys", "keypad"),
        "touchpad": ("trackpad", "track pad"),
        "base": ("bottom part", "body", "lower half"),
        "shaft": ("hinge",),
    },
)
def laptop(b: Builder) -> None:
    w, d, t = b.uniform(0.8, 1), b.uniform(0.5, 0.7), b.uniform(0.02, 0.06)
    wedge = b.chance(0.4)
    coarse = b.chance(0.35)
    base = "base" if not coarse else "base, keyboard"
    b.add(
        box(w, t, d, (0, t / 2, 0), bevel=b.uniform(0, 0.015), corner=b.uniform(0, 0.05))
        if not wedge
        else box(w, t, d, (0, t / 2, 0)),
        base,
    )
    kd = d * b.uniform(0.35, 0.55)
    b.add(
        keys(w * 0.9, kd, b.integers(4, 6), b.integers(9, 14), 0.012).translate(0, t, -d / 2 + kd / 2 + 0.05),
        "keyboard",
    )
    if b.chance(0.8):
        b.add(
            box(w * b.uniform(0.2, 0.35), 0.005, d * 0.22, (0, t + 0.003, d * 0.33)),
            "touchpad" if not coarse else "touchpad, keyboard",
        )
    angle, st, sh = b.uniform(80, 140), b.uniform(0.012, 0.035), d * b.uniform(0.9, 1)
    lid = (
        box(w, sh, st, (0, sh / 2, -st / 2), bevel=b.uniform(0, 0.01))
        if b.chance()
        else box(w, sh, st, (0, sh / 2, -st / 2))
    )
    lean = 90 - angle
    b.add(lid.rotate("x", lean).translate(0, t, -d / 2), "lid, screen" if b.chance(0.3) else "screen")
    b.add(box(w * 0.92, sh * 0.86, 0.004, (0, sh / 2, 0.004)).rotate("x", lean).translate(0, t, -d / 2), "screen")
    if b.chance(0.6):
        b.add_mirrored(cylinder(0.018, w * 0.12, (w * 0.3, t, -d / 2), axis="x"), "shaft")
    if b.chance(0.3):
        b.add(sphere(0.012, (0, sh * 0.965, 0.005)).rotate("x", lean).translate(0, t, -d / 2), "camera, webcam")


@family(
    "display",
    names={
        "screen": ("display", "monitor", "screen panel"),
        "support": ("stand", "neck", "pole"),
        "base": ("foot", "bottom base", "stand base"),
        "frame": ("bezel", "housing", "back cover"),
    },
)
def display(b: Builder) -> None:
    w, h, t = b.uniform(0.7, 1.2), b.uniform(0.4, 0.7), b.uniform(0.02, 0.1)
    stand, tilt = b.uniform(0.12, 0.35), b.uniform(-5, 12)
    curved = b.uniform(0, 0.25) if b.chance(0.3) else 0
    crt = b.chance(0.15)

    def curve(v: np.ndarray) -> np.ndarray:
        v[:, 2] += curved * v[:, 0] ** 2
        return v

    y = stand + h * 0.45
    edge = b.uniform(0.01, 0.05)
    b.add(
        box(w, h, t, (0, 0, -t / 2), bevel=b.uniform(0, 0.01)).deform(curve).rotate("x", -tilt).translate(0, y, 0),
        "frame" if b.chance(0.7) else "frame, screen",
    )
    xs = np.linspace(-0.5, 0.5, 9)
    face = np.array([[(x * (w - 2 * edge), q * (h - 2 * edge), 0.006) for q in (-0.5, 0.5)] for x in xs])
    b.add(grid(face).deform(curve).rotate("x", -tilt).translate(0, y, 0), "screen")
    if crt:
        b.add(box(w * 0.9, h * 0.9, 0.4, (0, y, -0.2 - t)), "housing, frame")
    kind = b.choice("neck", "neck", "v", "feet", "arm")
    bw, bd = w * b.uniform(0.25, 0.5), b.uniform(0.18, 0.3)
    if kind in ("neck", "arm"):
        mesh = (
            box(b.uniform(0.05, 0.15), y - 0.02, b.uniform(0.02, 0.05), (0, y / 2, -t - 0.03))
            if b.chance()
            else cylinder(b.uniform(0.02, 0.04), y, (0, y / 2, -t - 0.03))
        )
        b.add(mesh, "support")
        b.add(
            box(bw, 0.02, bd, (0, 0.01, -0.04), corner=b.uniform(0, 0.1))
            if b.chance()
            else cylinder(0.5, 0.02, (0, 0.01, -0.03)).scale(bw, 1, bd),
            "base",
        )
    elif kind == "v":
        for s in (-1, 1):
            b.add(
                tube([(0, y * 0.6, -t), (s * bw * 0.3, 0.03, 0), (s * bw * 0.6, 0.015, 0.12)], 0.018),
                "support",
            )
        b.add(rod((-bw * 0.6, 0.015, -0.12), (bw * 0.6, 0.015, -0.12), 0.018), "base")
    else:
        for s in (-1, 1):
            b.add(box(0.03, stand, 0.03, (s * w * 0.35, stand / 2, -t / 2)), "support, leg")
            b.add(box(0.04, 0.02, bd, (s * w * 0.35, 0.01, -t / 2)), "base, foot")
    if b.chance(0.25):
        for i in range(b.integers(1, 4)):
            b.add(box(0.02, 0.012, 0.012, (w * 0.3 + 0.03 * i, y - h / 2 + edge * 0.4, 0.004)), "button")


@family(
    "keyboard",
    names={
        "key": ("keys", "button", "keycap"),
        "body": ("base", "frame", "keyboard body", "base body"),
        "cord": ("cable", "wire"),
    },
)
def keyboard(b: Builder) -> None:
    w, d, t = 1.0, b.uniform(0.28, 0.45), b.uniform(0.02, 0.06)
    b.add(box(w, t, d, (0, t / 2, 0), bevel=b.uniform(0, 0.012)), "body")
    pad = w * b.uniform(0.7, 0.95)
    b.add(
        keys(pad, d * 0.85, b.integers(4, 6), b.integers(10, 16), b.uniform(0.015, 0.035)).translate(
            -(w - pad) / 2 + 0.02, t, 0
        ),
        "key",
    )
    if pad < 0.8:
        b.add(keys(w - pad - 0.06, d * 0.7, 4, 3, 0.02).translate(pad / 2 + 0.02, t, 0), "key")
    if b.chance(0.4):
        b.add(
            tube(
                bezier(
                    (0, t / 2, -d / 2), (0, 0, -d), (b.uniform(-0.5, 0.5), 0, -d), (b.uniform(-0.5, 0.5), 0, -d - 0.4)
                ),
                0.012,
                6,
            ),
            "cord",
        )


@family(
    "mouse",
    names={
        "body": ("main body", "shell", "base body"),
        "wheel": ("scroll wheel",),
        "cord": ("cable", "wire"),
        "button": ("mouse button", "click button"),
    },
)
def mouse(b: Builder) -> None:
    w, h, d = b.uniform(0.25, 0.32), b.uniform(0.15, 0.24), b.uniform(0.42, 0.5)
    half = [ellipsoid(w, h, d, low=0), stack(ellipse(w, d), [(-0.03, 0.93), (0, 1)])]
    b.add(half[0] + half[1], "body")
    for s in (-1, 1):
        x, z = np.meshgrid(np.linspace(0.06, 0.75, 5) * s * w, np.linspace(0.1, 0.62, 6) * d, indexing="ij")
        y = h * np.sqrt(np.maximum(1 - (x / w) ** 2 - (z / d) ** 2, 0)) + 0.012
        b.add(grid(np.stack([x, y, z], -1)), "button")
    b.add(cylinder(0.06, 0.035, (0, h * 0.87, d * 0.4), axis="x"), "wheel")
    if b.chance(0.55):
        b.add(
            tube(bezier((0, 0, d), (0, 0, d + 0.4), (0.3, 0, d + 0.3), (b.uniform(-0.4, 0.4), 0, d + 0.8)), 0.018, 6),
            "cord",
        )


@family(
    "phone",
    names={
        "body": ("phone body", "base body", "main body", "case"),
        "screen": ("display", "touch screen"),
        "button": ("key", "keypad"),
        "handset": ("receiver",),
        "camera": ("camera lens", "lens"),
    },
)
def phone(b: Builder) -> None:
    kind = b.choice("smart", "smart", "feature", "flip", "desk")
    w, h, t = b.uniform(0.42, 0.55), b.uniform(0.9, 1.05), b.uniform(0.05, 0.1)
    if kind == "desk":
        b.add(box(0.7, 0.14, 0.6, (0, 0.07, 0)).rotate("x", 8), "body")
        b.add(keys(0.3, 0.3, 4, 3, 0.03).rotate("x", 8).translate(0.12, 0.14, 0.02), "button")
        for z in (-0.24, 0.24):
            b.add(box(0.14, 0.1, 0.14, (-0.22, 0.18, z), bevel=0.03), "handset")
        b.add(box(0.1, 0.07, 0.55, (-0.22, 0.25, 0), bevel=0.03), "handset")
        b.add(
            tube(bezier((-0.22, 0.15, 0.28), (-0.5, 0.02, 0.5), (-0.6, 0, 0), (-0.35, 0.04, -0.1)), 0.015, 6),
            "cord, cable",
        )
        return
    b.add(box(w, h, t, bevel=b.uniform(0.005, t * 0.45), corner=0.06), "body")
    front = t / 2 + 0.003
    if kind == "smart":
        b.add(box(w * 0.92, h * b.uniform(0.8, 0.94), 0.004, (0, 0, front)), "screen")
        b.add(box(0.012, h * 0.12, t * 0.4, (w / 2, h * 0.2, 0)), "button, side button")
        for i in range(b.integers(1, 3)):
            b.add(cylinder(0.035, 0.02, (-w * 0.3, h * (0.4 - 0.09 * i), -front), axis="z"), "camera")
        if b.chance(0.3):
            b.add(cylinder(0.035, 0.01, (0, -h * 0.44, front), axis="z"), "button, home button")
        return
    k = keys(w * 0.8, h * 0.38, 4, 3, 0.02).rotate("x", 90)
    if kind == "feature":
        b.add(box(w * 0.8, h * 0.36, 0.006, (0, h * 0.24, front)), "screen")
        b.add(k.translate(0, -h * 0.25, front), "button")
        if b.chance(0.4):
            b.add(rod((w * 0.35, h / 2, 0), (w * 0.35, h / 2 + 0.2, 0), 0.025), "antenna")
    else:
        b.add(keys(w * 0.8, h * 0.75, 5, 3, 0.02).rotate("x", 90).translate(0, 0, front), "button")
        lid = box(w, h * 0.95, t * 0.8, (0, h * 0.47, 0), bevel=0.015) + box(
            w * 0.8, h * 0.7, 0.005, (0, h * 0.5, t * 0.42)
        )
        b.add(lid.rotate("x", b.uniform(-20, 60)).translate(0, h / 2, 0), "lid, flip cover, cover")


CAMERA = {
    "body": ("camera body", "main body", "base body"),
    "lens": ("camera lens", "objective", "lens barrel"),
    "button": ("shutter button", "push button", "knob"),
    "flash": ("flash unit", "flash light"),
    "viewfinder": ("view finder", "prism housing"),
    "strap": ("neck strap",),
}


def _camera_photo(b: Builder, kind: str, w: float, h: float, d: float, x: float, top: float) -> None:
    for i in range(b.integers(1, 3)):
        bx = w * (0.36 - 0.13 * i) * (1 if b.chance(0.85) else -1)
        if b.chance(0.7):
            b.add(
                cylinder(b.uniform(0.02, 0.06), b.uniform(0.03, 0.08), (bx, top + 0.015, b.uniform(-0.2, 0.2) * d)),
                "button",
            )
        else:
            b.add(box(0.08, 0.05, 0.06, (bx, top + 0.015, 0), bevel=0.01), "button")
    if kind == "reflex":
        b.add(
            box(w * b.uniform(0.25, 0.4), b.uniform(0.1, 0.2), d * 0.9, (x, top + 0.06, 0), top=b.uniform(0.5, 0.8)),
            "viewfinder",
        )
        if b.chance(0.6):
            b.add(
                box(w * 0.2, h * 0.9, d * b.uniform(0.4, 0.8), (-w * 0.42, 0, d * 0.4), bevel=0.05),
                "grip, handle, hand grip",
            )
        if b.chance(0.35):
            b.add(box(0.2, 0.16, 0.14, (x, top + 0.24, 0.02), bevel=0.02), "flash")
    elif b.chance(0.7):
        b.add(box(b.uniform(0.12, 0.22), b.uniform(0.06, 0.1), 0.03, (-w * 0.3, h * 0.34, d / 2), bevel=0.01), "flash")
        b.add(box(0.1, 0.07, 0.025, (w * 0.08 - x, h * 0.38, d / 2)), "viewfinder")
    if b.chance(0.4):
        b.add(box(w * 0.6, h * 0.7, 0.015, (-0.05, 0, -d / 2 - 0.005)), "screen, display")


def _camera_video(b: Builder, kind: str, w: float, h: float, d: float, x: float, top: float) -> None:
    b.add(
        tube(
            [
                (0, top, d * 0.35),
                (0, top + 0.14, d * 0.3),
                (0, top + 0.14, -d * 0.3),
                (0, top, -d * 0.35),
            ],
            0.03,
        ),
        "handle, grip",
    )
    b.add(box(0.03, h * 0.7, d * 0.4, (w / 2 + 0.1, 0, 0)).rotate("y", b.uniform(-60, 0)), "screen, display")
    b.add(cylinder(0.03, 0.04, (0, top, -d * 0.45)), "button")
    b.add(rod((0, top * 0.8, -d / 2), (0, top, -d / 2 - 0.15), 0.05), "viewfinder")


def _camera_security(b: Builder, kind: str, w: float, h: float, d: float, x: float, top: float) -> None:
    b.add(box(w * 1.2, 0.02, d * 1.1, (0, top + 0.02, 0.06)), "sun shield, hood, cover")
    b.add(
        tube([(0, -top, -d * 0.2), (0, -top - 0.2, -d * 0.3), (0, -top - 0.2, -d * 0.7)], 0.04),
        "bracket, support, mount",
    )


CAMERAS = {
    "reflex": _camera_photo,
    "compact": _camera_photo,
    "box": _camera_photo,
    "video": _camera_video,
    "security": _camera_security,
}


def _barrel(b: Builder, r: float, long: float) -> Mesh:
    """A lens along z from the origin: rings of several radii, a hollow front with a glass in it."""
    rings, rows, y = b.integers(1, 4), [(0.0, 0.0)], 0.0
    scale = 1.0
    for _ in range(rings):
        step = long / rings
        rows += [(r * scale, y), (r * scale, y + step * b.uniform(0.85, 1))]
        y += step
        scale *= b.uniform(0.82, 1.08)
    last = rows[-1][0]
    rows += [(last, y), (last * 0.88, y), (last * 0.75, y - min(0.04, long * 0.4)), (0, y - min(0.03, long * 0.3))]
    mesh = lathe(rows, 28)
    if b.chance(0.2):  # a hood
        mesh += lathe([(last * 0.98, y), (last * 1.3, y + r * 0.7), (last * 1.25, y + r * 0.7), (last * 0.9, y)], 28)
    return mesh.rotate("x", 90)


def _camera_twin(b: Builder) -> None:
    """An upright box with two lenses one above the other and a hood on top, shut or open."""
    w, h, d = b.uniform(0.4, 0.5), b.uniform(0.6, 0.8), b.uniform(0.4, 0.55)
    b.add(box(w, h, d, bevel=b.uniform(0, 0.04)), "body")
    for y in (-h * 0.2, h * 0.18):
        b.add(_barrel(b, w * b.uniform(0.26, 0.34), b.uniform(0.04, 0.12)).translate(0, y, d / 2), "lens")
    rise = b.uniform(0.03, 0.25)
    b.add(hollow_box(w * 0.75, rise, d * 0.75, 0.015, (0, h / 2 + rise / 2, 0), top=b.uniform(0.9, 1.1)), "viewfinder")
    for y in (-h * 0.2, h * 0.1):
        b.add(cylinder(b.uniform(0.04, 0.09), 0.06, (w / 2 + 0.02, y, 0), axis="x"), "button")


def _camera_instant(b: Builder) -> None:
    """A camera that pushes out its picture: a wedge with a wide mouth below the lens."""
    w, h, d = b.uniform(0.6, 0.8), b.uniform(0.45, 0.65), b.uniform(0.35, 0.5)
    b.add(box(w, h * 0.4, d, (0, -h * 0.3, 0), bevel=0.02), "body")
    b.add(box(w, h * 0.6, d * 0.7, (0, h * 0.2, -d * 0.1), bevel=0.03, top=b.uniform(0.7, 1)), "body")
    b.add(_barrel(b, w * b.uniform(0.13, 0.22), b.uniform(0.05, 0.15)).translate(0, h * 0.12, d * 0.25), "lens")
    b.add(box(w * 0.22, h * 0.16, 0.03, (-w * 0.3, h * 0.32, d * 0.26)), "flash")
    b.add(box(w * 0.12, h * 0.12, 0.03, (w * 0.3, h * 0.32, d * 0.26)), "viewfinder")
    b.add(cylinder(0.035, 0.03, (w * 0.33, h * 0.05, d * 0.26), axis="z"), "button")
    if b.chance(0.5):
        b.add(box(w * 0.75, 0.006, d * 0.5, (0, -h * 0.3, d * 0.6)), "picture")


def _camera_folding(b: Builder) -> None:
    """An old camera: a box, a bellows that narrows to the lens, a bed that folded down."""
    w, h, d = b.uniform(0.5, 0.8), b.uniform(0.45, 0.8), b.uniform(0.12, 0.3)
    long, folds = b.uniform(0.2, 0.5), b.integers(4, 9)
    b.add(box(w, h, d, bevel=b.uniform(0, 0.03)), "body")
    t = np.linspace(0, 1, 2 * folds + 1)
    scale = (1 - 0.5 * t) * np.where(np.arange(len(t)) % 2, 0.86, 1)
    bellows = stack(rounded_rectangle(w * 0.8, h * 0.8), np.stack([long * t, scale], 1)).rotate("x", 90)
    b.add(bellows.translate(0, 0, d / 2), "body")
    b.add(box(w * 0.5, h * 0.5, 0.04, (0, 0, d / 2 + long)), "frame, body")
    b.add(_barrel(b, h * b.uniform(0.13, 0.2), b.uniform(0.04, 0.12)).translate(0, 0, d / 2 + long), "lens")
    if b.chance(0.7):
        b.add(box(w * 0.7, 0.03, long * 1.2, (0, -h * 0.45, d / 2 + long * 0.6)), "base, body")
    b.add(cylinder(0.03, 0.05, (w * 0.3, h / 2, 0)), "button")
    if b.chance(0.4):
        b.add(tube(arc(w * 0.2, 0, 180, (0, h / 2, 0), r2=0.1), 0.015, 6), "handle, grip")


def _camera_watch(b: Builder) -> None:
    """A security camera on a ceiling or wall: a tube under a shield, or a ball in a cup; a foot with a joint."""
    mount, r = b.uniform(0.1, 0.2), b.uniform(0.1, 0.2)
    if b.chance(0.35):
        rows = [(0, 0.12), (r * 1.5, 0.12), (r * 1.5, 0.03), (r * 1.2, -0.03), (r, -0.03), (0, -0.03)]
        b.add(lathe(rows, 28), "body")
        b.add(ellipsoid(r * 1.05, r * 1.05, r * 1.05, (0, -0.03, 0), high=0), "cover")
        b.add(_barrel(b, r * 0.4, r * 0.5).rotate("x", b.uniform(20, 60)).translate(0, -r * 0.5, 0), "lens")
        return
    long, tilt = b.uniform(0.4, 0.8), b.uniform(-5, 35)
    shape = cylinder(r, long, axis="z") if b.chance() else box(2 * r, 1.8 * r, long, bevel=0.02)
    pieces = [(shape, "body"), (_barrel(b, r * 0.85, long * 0.08).translate(0, 0, long / 2), "lens")]
    if b.chance(0.6):
        pieces.append((box(2.3 * r, 0.015, long * 1.15, (0, r * 1.05, long * 0.1)), "sun shield, hood, cover"))
    if b.chance(0.3):
        pieces.append((rod((0, 0, -long / 2), (r, -0.1, -long), 0.012), "cord"))
    for mesh, names in pieces:
        b.add(mesh.rotate("x", tilt), names)
    s = 1 if b.chance() else -1
    path = [(0, s * r * 0.8, -long * 0.2), (0, s * (r + 0.15), -long * 0.25), (0, s * (r + 0.2), -long * 0.7)]
    path = path[: b.integers(2, 3)]
    b.add(tube(path, r * b.uniform(0.15, 0.35)) + sphere(r * 0.4, path[1]), "bracket, support, mount")
    foot = cylinder(mount, 0.03, axis="y" if len(path) == 2 else "z").translate(*path[-1])
    b.add(foot, "bracket, support, mount")


def _camera_web(b: Builder) -> None:
    """A webcam, a camera for sports or a camera for a child: a small body, one lens, a clip or a foot."""
    w, h, d = b.uniform(0.4, 0.8), b.uniform(0.3, 0.6), b.uniform(0.15, 0.35)
    kind = b.choice("ball", "block", "bar")
    r = min(w, h) * b.uniform(0.18, 0.4)
    if kind == "ball":
        b.add(sphere(h * 0.5), "body")
        b.add(
            torus(r, r * 0.15, (0, 0, h * 0.42), axis="z") + _barrel(b, r * 0.9, h * 0.1).translate(0, 0, h * 0.42),
            "lens",
        )
    else:
        if kind == "bar":
            h, r = h * 0.5, min(r, h * 0.22)
        b.add(box(w, h, d, bevel=b.uniform(0.01, 0.08), corner=h * 0.3), "body")
        x = 0.0 if kind == "bar" else b.uniform(-0.2, 0.2) * w
        b.add(_barrel(b, r, b.uniform(0.02, 0.12)).translate(x, 0, d / 2), "lens")
        if b.chance(0.5):
            b.add(box(w * 0.15, 0.03, d * 0.4, (w * 0.25, h / 2, 0), bevel=0.008), "button")
        if b.chance(0.3):
            b.add(box(w * 0.7, h * 0.75, 0.012, (0, 0, -d / 2)), "screen, display")
    low = -h / 2
    if b.chance(0.5):
        b.add(box(w * 0.5, 0.03, d, (0, low - 0.03, -d * 0.1)), "clip, support")
        b.add(box(w * 0.5, h * 0.6, 0.03, (0, low - h * 0.3, -d * 0.6)).rotate("x", 10), "clip, support")
    elif b.chance():
        b.add(rod((0, low - 0.15, 0), (0, low + 0.02, 0), 0.04), "support, stand")
        b.add(cylinder(w * 0.35, 0.03, (0, low - 0.16, 0)), "base, stand")
    if b.chance(0.4):
        b.add(tube(bezier((0, low, -d / 2), (0, low - 0.2, -d), (0.4, low, -d - 0.3)), 0.015, 6), "cord")


FURTHER_CAMERAS = {
    "twin": _camera_twin,
    "instant": _camera_instant,
    "folding": _camera_folding,
    "watch": _camera_watch,
    "web": _camera_web,
}


@family("camera", names=CAMERA)
def camera(b: Builder) -> None:
    """Facing +z: compacts, reflex, box, twin-lens, instant and folding cameras, webcams, security cameras."""
    if b.chance(0.45):
        FURTHER_CAMERAS[b.choice("watch", *FURTHER_CAMERAS)](b)
        return
    kind = b.choice("reflex", "reflex", "compact", "compact", "video", "box", "security")
    w, h, d = b.uniform(0.8, 1.0), b.uniform(0.45, 0.65), b.uniform(0.18, 0.4)
    if kind in ("video", "security"):
        w, h, d = b.uniform(0.25, 0.4), b.uniform(0.28, 0.4), b.uniform(0.6, 0.9)
    elif kind == "box":
        w, h, d = b.uniform(0.5, 0.7), b.uniform(0.5, 0.7), b.uniform(0.5, 0.7)
    b.add(box(w, h, d, bevel=b.uniform(0, 0.07), corner=b.uniform(0, 0.1)), "body")
    x = b.uniform(-0.15, 0.15) * w if kind not in ("video", "security") else 0
    r, long = h * b.uniform(0.28, 0.46), b.uniform(0.1, 0.6) if kind != "compact" else b.uniform(0.05, 0.2)
    rings = b.integers(1, 4)
    levels = np.linspace(0, long, rings + 1)
    scale = np.cumprod([1.0, *(b.uniform(0.82, 1.08) for _ in range(rings - 1))])
    profile = [(0.0, 0.0)]
    for i in range(rings):
        profile += [(r * scale[i], levels[i]), (r * scale[i], levels[i + 1])]
    last = profile[-1]
    profile += [
        (last[0] * 0.82, last[1]),
        (last[0] * 0.75, last[1] - min(0.03, long * 0.3)),
        (0, last[1] - 0.01),
    ]
    b.add(lathe(profile, 30).rotate("x", 90).translate(x, -h * b.uniform(0, 0.08), d / 2), "lens")
    top = h / 2
    CAMERAS[kind](b, kind, w, h, d, x, top)
    if b.chance(0.15) and kind in ("reflex", "compact"):
        b.add(
            sweep(
                bezier(
                    (-w / 2, top * 0.8, 0),
                    (-w, h * 2, -0.3),
                    (w, h * 2, -0.3),
                    (w / 2, top * 0.8, 0),
                    steps=22,
                ),
                rounded_rectangle(0.05, 0.012),
                up=(0, 0.01, 1),
            ),
            "strap",
        )
    if b.chance(0.12):
        for a in (90, 210, 330):
            c, s = np.cos(np.radians(a)), np.sin(np.radians(a))
            b.add(rod((0, -top, 0), (0.4 * c, -top - 0.9, 0.4 * s), 0.025), "tripod, leg, support")


@family(
    "remote",
    names={
        "button": ("push button", "key", "control button"),
        "body": ("remote body", "main body", "base body", "case"),
    },
)
def remote(b: Builder) -> None:
    w, h, t = b.uniform(0.22, 0.35), 1.0, b.uniform(0.06, 0.12)
    b.add(box(w, t, h, bevel=b.uniform(0.01, t * 0.45)), "body")
    rows, columns = b.integers(4, 9), b.integers(2, 4)
    for r in range(rows):
        for c in range(columns):
            x, z = ((c + 0.5) / columns - 0.5) * w * 0.85, (r / rows - 0.35) * h * 0.75
            s = min(w / columns, h / rows) * 0.33
            b.add(
                cylinder(s, 0.035, (x, t / 2, z), segments=10)
                if r % 2
                else box(1.8 * s, 0.035, 1.3 * s, (x, t / 2, z)),
                "button",
            )
    b.add(
        torus(w * 0.28, 0.03, (0, t / 2, -h * 0.38)) if b.chance() else cylinder(w * 0.1, 0.04, (0, t / 2, -h * 0.42)),
        "button",
    )


@family(
    "game controller",
    names={
        "button": ("push button", "face button"),
        "thumbstick": ("joystick", "analog stick", "stick"),
        "trigger": ("shoulder button",),
        "body": ("main body", "base body", "controller body"),
        "grip": ("handle", "hand grip"),
    },
)
def controller(b: Builder) -> None:
    w, d, t = 1.0, b.uniform(0.4, 0.5), b.uniform(0.14, 0.22)
    b.add(box(w * 0.8, t, d, bevel=t * 0.4), "body")
    long = b.uniform(0.25, 0.42)
    for s in (-1, 1):
        b.add(
            ellipsoid(0.13, t * 0.55, long).rotate("y", s * b.uniform(5, 25)).translate(s * w * 0.38, -0.02, d * 0.35),
            "grip, body",
        )
        b.add(box(0.2, t * 0.5, 0.08, (s * w * 0.28, 0.0, -d * 0.52), bevel=0.02), "trigger")
    top = t / 2
    for x, z in ((-0.15, 0.1), (0.15, 0.1)) if b.chance() else ((-0.3, -0.08), (0.13, 0.1)):
        b.add(
            cylinder(0.035, 0.07, (x, top + 0.02, z))
            + lathe([(0.07, 0), (0.07, 0.02), (0.0, 0.01)]).translate(x, top + 0.05, z),
            "thumbstick",
        )
    for i in range(4):
        a = np.pi / 2 * i
        b.add(
            cylinder(0.03, 0.04, (0.3 + 0.065 * np.cos(a), top, -0.08 + 0.065 * np.sin(a)), segments=12),
            "button",
        )
    b.add(
        box(0.14, 0.03, 0.045, (-0.3, top, 0.09 if b.chance() else -0.08)) + box(0.045, 0.03, 0.14, (-0.3, top, 0.09)),
        "d-pad, directional pad, button",
    )
    if b.chance():
        b.add(box(0.2, 0.02, 0.1, (0, top, -0.1)), "touchpad, track pad")


SWITCH = {
    "switch": ("button", "toggle", "rocker", "lever"),
    "plate": ("base", "frame", "cover plate", "base body", "wall plate"),
    "button": ("switch", "push button", "press button"),
    "body": ("base body", "main body", "housing", "box"),
}


def _switch_rocker(b: Builder, x: float, w: float, h: float, sw: float) -> None:
    tilt = b.uniform(4, 12) * (1 if b.chance() else -1)
    b.add(box(sw, h * b.uniform(0.35, 0.75), 0.06).rotate("x", tilt).translate(x, 0, 0.01), "switch")


def _switch_toggle(b: Builder, x: float, w: float, h: float, sw: float) -> None:
    tilt = b.uniform(25, 50) * (1 if b.chance() else -1)
    stick = (
        box(sw * 0.3, 0.09, b.uniform(0.2, 0.4), bevel=0.02)
        if b.chance()
        else lathe([(0, -0.2), (0.03, -0.2), (0.05, 0.15), (0, 0.2)]).rotate("x", 90)
    )
    b.add(stick.translate(0, 0, 0.15).rotate("x", tilt).translate(x, 0, 0), "switch")
    b.add(box(sw * 0.5, h * 0.25, 0.02, (x, 0, 0.005)), "switch frame, frame")


def _switch_buttons(b: Builder, x: float, w: float, h: float, sw: float) -> None:
    for j in range(b.integers(1, 3)):
        y, r = (0.28 - 0.28 * j) * h, min(sw * 0.35, 0.12)
        b.add(cylinder(r * 1.25, 0.03, (x, y, 0.01), axis="z"), "button ring, bezel")
        b.add(cylinder(r, b.uniform(0.06, 0.15), (x, y, 0.04), axis="z"), "button")


def _switch_emergency(b: Builder, x: float, w: float, h: float, sw: float) -> None:
    r = min(w, h) * b.uniform(0.22, 0.4)
    b.add(cylinder(r * 0.5, 0.2, (0, 0, 0.08), axis="z"), "stem, button shaft")
    b.add(
        lathe([(0, 0), (r, 0), (r, 0.08), (r * 0.6, 0.16), (0, 0.18)]).rotate("x", 90).translate(0, 0, 0.16),
        "button",
    )


def _switch_dimmer(b: Builder, x: float, w: float, h: float, sw: float) -> None:
    r = sw * 0.4
    b.add(
        lathe([(0, 0), (r, 0), (r * 0.85, b.uniform(0.1, 0.25)), (0, 0.2)]).rotate("x", 90).translate(x, 0, 0),
        "knob, dial, switch",
    )


def _switch_slider(b: Builder, x: float, w: float, h: float, sw: float) -> None:
    b.add(box(0.05, h * 0.6, 0.02, (x, 0, 0.005)), "slot, track")
    b.add(box(sw * 0.6, 0.12, 0.12, (x, b.uniform(-0.2, 0.2) * h, 0.06), bevel=0.02), "slider, switch")


SWITCH_KINDS = {
    "rocker": _switch_rocker,
    "toggle": _switch_toggle,
    "buttons": _switch_buttons,
    "emergency": _switch_emergency,
    "dimmer": _switch_dimmer,
    "slider": _switch_slider,
}


def surround(w: float, h: float, iw: float, ih: float, t: float, corner: float = 0) -> Mesh:
    """A rectangular ring about an opening iw x ih, from z = 0 to t."""
    loops = []
    for wide, tall, y, r in ((w, h, 0, corner), (w, h, t, corner), (iw, ih, t, corner / 2), (iw, ih, 0, corner / 2)):
        outline = rounded_rectangle(wide, tall, max(r, 1e-4))
        loops.append(np.concatenate([outline, np.full((len(outline), 1), y)], 1))
    return grid(loops, wrap_u=True, wrap_v=True)


def _small_switches(b: Builder, w: float, h: float, names: str) -> None:
    """One to three small buttons or rockers, mostly two, in the middle of a plate of 5 to 15 times their area."""
    count = (1, 2, 2, 2, 3)[b.integers(0, 4)]
    upright, gap, style = b.chance(0.4), b.uniform(1.02, 1.6), b.choice("round", "square", "tall", "rocker")
    size = np.sqrt(w * h / b.uniform(5, 15) / count)
    size = min(size, (h if upright else w) * 0.8 / (count * gap), min(w, h) * 0.8)
    up, proud = b.uniform(-0.1, 0.1) * h if b.chance(0.2) else 0.0, size * b.uniform(0.05, 0.5)
    tilt = b.uniform(3, 12) * (1 if b.chance() else -1) if style in ("rocker", "tall") else 0.0
    ring = b.chance(0.3)
    for i in range(count):
        at = (i - (count - 1) / 2) * size * gap
        x, y = (0.0, at + up) if upright else (at, up)
        if style == "round":
            mesh = cylinder(size / 2, proud * 1.5, axis="z", top=size * b.uniform(0.4, 0.5), segments=24)
        else:
            wide = size * 0.75 if style == "tall" else size
            mesh = box(wide, size * (1.2 if style == "tall" and not upright else 1), proud * 1.5, bevel=proud * 0.2)
        b.add(mesh.rotate("x", tilt).translate(x, y, proud * 0.25), names)
        if ring and style == "round":
            b.add(torus(size * 0.52, size * 0.05, (x, y, 0), axis="z"), "plate")
    if ring and style != "round":
        wide, tall = (size, size * gap * count) if upright else (size * gap * count, size)
        b.add(surround(wide * 1.3, tall * 1.3, wide * 1.1, tall * 1.1, proud * 0.6).translate(0, up, 0), "plate")


def _full_rockers(b: Builder, w: float, h: float, deep: float, gangs: int, names: str, frame: str) -> None:
    """A deep frame filled by flat rockers side by side, their faces a little below, level with or above its front."""
    edge = min(w / gangs, h) * b.uniform(0.04, 0.2)
    iw, ih, bars = w - 2 * edge, h - 2 * edge, b.chance(0.4)
    b.add(surround(w, h, iw, ih, deep, b.uniform(0, 0.1) * min(w, h)), frame)
    t, sunk, gap = deep * b.uniform(0.2, 0.9), deep * b.uniform(-0.15, 0.3), min(iw / gangs * 0.1, 0.03)
    bent = b.chance(0.3)
    for i in range(gangs):
        x, tilt = ((i + 0.5) / gangs - 0.5) * iw, b.uniform(0, 5) * (1 if b.chance() else -1)
        wide, tall = iw / gangs - gap * b.uniform(0.3, 1), ih * b.uniform(0.94, 0.995)
        pieces = [box(wide, tall, t)]
        if bent:  # two halves that meet in a ridge or a valley
            pieces = [box(wide, tall / 2, t, (0, s * tall / 4, 0)).rotate("x", s * tilt) for s in (-1, 1)]
            tilt = 0
        b.add(union(pieces).rotate("x", tilt).translate(x, 0, deep - sunk - t / 2), names)
        if i and bars:
            b.add(box(gap, ih, deep, (x - iw / gangs / 2, 0, deep / 2)), frame)


def _rear(b: Builder, w: float, h: float, z: float, names: str) -> None:
    """What a wall hides behind a plate whose back is at z: a box, the insert with its terminals, claws, a yoke."""
    share, deep = b.uniform(0.5, 0.95), b.uniform(0.15, 0.8) * min(w, h)
    bw, bh = w * share, h * share
    if b.chance(0.6):
        if b.chance(0.35):
            r = min(bw, bh) / 2
            can = hollow([(r, 0), (r, deep)], r * 0.05, 28) if b.chance(0.7) else cylinder(r, deep, (0, deep / 2, 0))
            b.add(can.rotate("x", 90).translate(0, 0, z - deep), names)
        else:
            case = hollow_box(bw, deep, bh, min(bw, bh) * b.uniform(0.02, 0.06)).rotate("x", 90)
            b.add(case.translate(0, 0, z - deep / 2), names)
    iw, ih, ideep = bw * b.uniform(0.5, 0.85), bh * b.uniform(0.5, 0.85), deep * b.uniform(0.3, 0.85)
    b.add(box(iw, ih, ideep, (0, 0, z - ideep / 2)), names)
    for _ in range(b.integers(0, 6)):
        size, x, y = b.uniform(0.05, 0.25) * ideep, b.uniform(-0.45, 0.45) * iw, b.uniform(-0.45, 0.45) * ih
        long = size * b.uniform(0.5, 3)
        if b.chance():
            b.add(box(size * b.uniform(0.4, 2), size, long, (x, y, z - ideep - long / 2)), names)
        else:
            b.add(cylinder(size / 2, long, (x, y, z - ideep - long / 2), axis="z", segments=12), names)
    if b.chance(0.4):
        b.add(box(bw * b.uniform(0.3, 0.6), h * b.uniform(0.9, 1.05), 0.02, (0, 0, z - 0.02)), names)
    if b.chance(0.25):
        b.add_mirrored(box(bw * 0.12, ih * 0.2, ideep * 0.6, (iw / 2, 0, z - ideep * 0.5)).rotate("y", 10), names)


@family("switch", names=SWITCH)
def switch(b: Builder) -> None:
    """Light switches and push button boxes, on a wall behind them (facing +z)."""
    kind = b.choice(*3 * ("small", "face"), *SWITCH_KINDS)
    single = kind in ("emergency", "small")
    count = b.integers(1, 4) if not single else 1
    w, h, t = b.uniform(0.55, 0.8) + 0.28 * (count - 1), b.uniform(0.8, 1), b.uniform(0.04, 0.3)
    if kind in ("small", "face") and b.chance():
        w = h * b.uniform(0.9, 1.1) * (1 if kind == "small" else count * b.uniform(0.5, 1))
    if kind == "small" and b.chance(0.25):
        w = h * b.uniform(1.3, 2)
    if kind in ("buttons", "emergency"):
        t = b.uniform(0.15, 0.6)
    upright = b.chance(0.3)
    rear = b.chance(0.55) if kind in ("small", "face") else b.chance(0.15)
    if rear:
        t = min(t, b.uniform(0.03, 0.12))
    base = "body, plate" if t > 0.15 else "plate"
    at, corner = -t / 2, b.uniform(0, 0.1)
    if kind == "face":
        _full_rockers(b, w, h, t, count, "switch", base)
        t, at = t * b.uniform(0.2, 0.5), 0.0
    if kind != "face" or not rear:
        b.add(box(w, h, t, (0, 0, at), bevel=b.uniform(0, min(0.05, t * 0.4)), corner=corner), base)
    if rear:
        _rear(b, w, h, at - t / 2, "body")
    if kind == "small":
        _small_switches(b, w, h, b.choice("button", "button, switch", "switch"))
    for i in range(count) if kind in SWITCH_KINDS else ():
        x = ((i + 0.5) / count - 0.5) * w * 0.9
        sw = w / count * b.uniform(0.4, 0.75)
        SWITCH_KINDS[kind](b, x, w, h, sw)
    if b.chance(0.4 if kind != "face" else 0):
        for y in (-h * 0.43, h * 0.43):
            b.add(cylinder(0.03, 0.02, (0, y, 0.005), axis="z", segments=10), "screw")
    if upright and kind in SWITCH_KINDS and kind != "emergency" and b.chance(0.3):
        b.add(box(0.12, 0.12, 0.02, (w * 0.35, -h * 0.38, 0.01)), "indicator light, light")


@family(
    "usb stick",
    names={
        "plug": ("connector", "usb plug"),
        "body": ("main body", "base body", "housing"),
        "cap": ("cover", "lid"),
        "rotation": ("swivel cover", "rotating cover", "cover"),
    },
)
def usb(b: Builder) -> None:
    w, t, long = b.uniform(0.25, 0.35), b.uniform(0.1, 0.16), b.uniform(0.5, 0.7)
    b.add(box(long, t, w, bevel=b.uniform(0, 0.05)), "body")
    b.add(box(0.25, t * 0.6, w * 0.75, (long / 2 + 0.12, 0, 0)), "plug")
    if b.chance():
        b.add(box(0.3, t, w, (long / 2 + (0.16 if b.chance() else 0.45), 0, 0), bevel=0.02), "cap")
    elif b.chance(0.6):
        angle = b.uniform(0, 180)
        for s in (-1, 1):
            b.add(
                box(long, 0.015, w * 1.02, (long * 0.42, s * t * 0.6, 0)).rotate("y", angle).translate(-long * 0.4),
                "rotation",
            )
    if b.chance(0.3):
        b.add(torus(0.06, 0.012, (-long / 2 - 0.05, 0, 0)), "ring, loop")


def _grip_bar(b: Builder, long: float, out: float, r: float) -> Mesh:
    """A bar along y on two stays, a little in from its ends or at them."""
    at = long * (0.5 if b.chance() else b.uniform(0.3, 0.47))
    if b.chance(0.4):
        mesh = box(2 * r, long, r * b.uniform(0.8, 2), (0, 0, out))
        stays = [box(1.6 * r, 2 * r, out, (0, s * (at - r), out / 2)) for s in (-1, 1)]
    else:
        mesh = rod((0, -long / 2, out), (0, long / 2, out), r, segments=8)
        stays = [rod((0, s * (at - r), 0), (0, s * (at - r), out), r * 0.8, segments=6) for s in (-1, 1)]
    return union([mesh, *stays])


def _grip_loop(b: Builder, long: float, out: float, r: float) -> Mesh:
    half = long / 2
    return tube([(0, -half, 0), (0, -half * 0.97, out), (0, half * 0.97, out), (0, half, 0)], r, 8)


def _grip_bow(b: Builder, long: float, out: float, r: float) -> Mesh:
    return tube(arc(long / 2, -90, 90, plane="zy", r2=long / 2, steps=10) * (1, 1, 2 * out / long), r, 8)


def _grip_recess(b: Builder, long: float, out: float, r: float) -> Mesh:
    # a shallow tray let into the door, nearly flush with it
    wide = r * b.uniform(2.5, 5)
    return hollow_box(wide, 1.2 * r, long, r * 0.3).rotate("x", 90).translate(0, 0, -r * 0.5)


def _grip_ledge(b: Builder, long: float, out: float, r: float) -> Mesh:
    return box(r * 1.5, long, out * 0.5, (0, 0, out * 0.25), bevel=r * 0.3)


GRIPS = {
    "bar": _grip_bar,
    "loop": _grip_loop,
    "bow": _grip_bow,
    "recess": _grip_recess,
    "ledge": _grip_ledge,
}


def front_door(
    b: Builder,
    w: float,
    h: float,
    z: float,
    y: float,
    hinge: str,
    angle: float,
    names: str = "door",
    handle: bool = True,
    x: float = 0,
    thick: float = 0.04,
    grip: Mesh | None = None,
    inside: Sequence[tuple[Mesh, str]] = (),
) -> None:
    """A door of an appliance on its front at z, with a handle, opened about a side or its lower edge.

    grip: a handle along y, drawn about the origin, in place of a random one; inside: what the door carries, placed
    from the middle of its back (z = 0).
    """
    pieces = [(box(w, h, thick, (0, 0, thick / 2), bevel=min(0.008, thick * 0.2)), names), *inside]
    if handle:
        long = (w * b.uniform(0.4, 0.9) if hinge == "bottom" else h * b.uniform(0.2, 0.85)) if grip is None else 0
        mesh = GRIPS[b.choice(*GRIPS, "bar", "loop")](b, long, 0.06, b.uniform(0.008, 0.018)) if grip is None else grip
        if hinge == "bottom":
            mesh = mesh.rotate("z", 90).translate(0, h * b.uniform(0.36, 0.45), thick)
        else:
            mesh = mesh.translate(w * 0.42 * (1 if hinge == "left" else -1), 0, thick)
        pieces.append((mesh, "handle, door handle"))
    for mesh, who in pieces:
        if hinge == "bottom":
            mesh = mesh.rotate("x", angle, (0, -h / 2, 0))
        else:
            s = -1 if hinge == "left" else 1
            mesh = mesh.rotate("y", s * angle, (s * w / 2, 0, 0))
        b.add(mesh.translate(x, y, z), who)


def shell(b: Builder, w: float, h: float, d: float, names: str = "body", wall: float = 0) -> float:
    """An appliance's box, open at the front, standing on y = 0; the wall's thickness, drawn where none is given.

    Five boards, one thick tub, or an outer and an inner tub of sheet with a gap between them.
    """
    wall = wall or b.uniform(0.015, 0.05)
    kind = b.choice("boards", "tub", "double")
    if kind == "boards":
        for s in (0, 1):
            b.add(box(w, wall, d, (0, wall / 2 + s * (h - wall), 0)), names)
        b.add(box(w, h, wall, (0, h / 2, (wall - d) / 2)), names)
        b.add_mirrored(box(wall, h, d, ((w - wall) / 2, h / 2, 0)), names)
        return wall
    thin = 0.15 * wall if kind == "double" else wall
    b.add(hollow_box(w, d, h, thin).rotate("x", 90).translate(0, h / 2, 0), names)
    if kind == "double":
        liner = hollow_box(w - 2 * (wall - thin), d - wall, h - 2 * (wall - thin), thin)
        b.add(liner.rotate("x", 90).translate(0, h / 2, wall / 2), names)
    return wall


def appliance_feet(b: Builder, w: float, d: float) -> None:
    """What an appliance stands on below y = 0: small feet, a plinth, or nothing."""
    kind = b.choice("feet", "feet", "plinth", "none")
    if kind == "feet":
        r, y = b.uniform(0.015, 0.035), b.uniform(0.01, 0.06)
        for sx in (-1, 1):
            for sz in (-1, 1):
                foot = cylinder(r, y, (sx * w * 0.42, -y / 2, sz * d * 0.4), top=r * b.uniform(0.7, 1), segments=12)
                b.add(foot, "foot")
    elif kind == "plinth":
        y, back = b.uniform(0.02, 0.12), b.uniform(0, 0.08)
        b.add(box(w * b.uniform(0.88, 1), y, d - back, (0, -y / 2, -back / 2)), "base")


BODY = {
    "body": ("main body", "base body", "cabinet", "housing", "frame"),
    "door": ("door panel", "front door"),
    "handle": ("door handle", "grip", "handle or grip"),
}


FRIDGES = {  # width, height, depth
    "cube": ((0.42, 0.6), (0.42, 0.65), (0.4, 0.6)),
    "counter": ((0.45, 0.65), (0.75, 1.0), (0.45, 0.65)),
    "medium": ((0.45, 0.8), (1.0, 1.5), (0.45, 0.7)),
    "tall": ((0.5, 0.75), (1.5, 2.1), (0.5, 0.75)),
    "wide": ((0.8, 1.1), (1.5, 1.95), (0.6, 0.85)),
}
# columns from the left, each with its compartments from the bottom (share of the height, what closes it): d a door,
# f two doors (French), p a drawer; one column that ends in "f" spans the whole width
FRIDGE_FRONTS = {
    "one": ["1d"],
    "freezer above": ["7d 3d", "6d 4d", "2d 1d"],
    "freezer below": ["3d 7d", "4d 6d", "1d 1d"],
    "drawers": ["3p 7d", "2p 2p 6d", "4p 3p 8d"],
    "french": ["3p 7f", "2p 2p 6f", "4p 6f", "3f 5f", "1f"],
    "side": ["1d|1d", "1d|1d", "3d 5d|1d", "1d|2d 5d"],
}


def _fridge_front(b: Builder, size: str) -> list[tuple[float, float, float, float, str]]:
    """Compartments as x, y of their lower left corner, width, height (all shares of the body) and what closes each."""
    kinds = {
        "cube": ("one",),
        "counter": ("one", "one", "freezer above"),
        "wide": ("french", "side", "french", "drawers"),
    }
    style = b.choice(*kinds.get(size, ("one", "freezer above", "freezer above", "freezer below", "drawers", "french")))
    columns = b.choice(*FRIDGE_FRONTS[style]).split("|")
    cut = b.uniform(0.38, 0.5) if len(columns) == 2 else 1.0
    cells = []
    for column, (x, wide) in zip(columns, ((0.0, cut), (cut, 1 - cut)), strict=False):
        rows, y = column.split(), 0.0
        total = sum(int(row[:-1]) for row in rows)
        for row in rows:
            tall = int(row[:-1]) / total
            cells.append((x, y, wide, tall, row[-1]))
            y += tall
    return cells


def _fridge_inside(b: Builder, x: float, y: float, w: float, h: float, d: float, front: float) -> None:
    """Shelves and crispers of a compartment; (x, y) the middle of its floor, front where its things end."""
    t, z, low = b.uniform(0.004, 0.02), front - d / 2, 0.0
    if h > 0.35 and b.chance(0.5):
        low, count = h * b.uniform(0.12, 0.25), b.integers(1, 2)
        for i in range(count):
            at = (x + ((i + 0.5) / count - 0.5) * w, y + low / 2, z)
            b.add(hollow_box(w / count * 0.94, low * 0.85, d * 0.95, 0.008, at), "drawer")
    for level in np.linspace(low, h, b.integers(3, 6 + bool(low)) if h > 0.3 else 3)[0 if low else 1 : -1]:
        b.add(box(w * 0.985, t, d, (x, y + level, z)), "shelf")
        if b.chance(0.2):
            b.add(box(w * 0.985, 3 * t, t, (x, y + level, front)), "shelf")


def _fridge_bins(b: Builder, w: float, h: float, thick: float, deep: float, names: str) -> list[tuple[Mesh, str]]:
    """The lining of a door and the trays on it, from the middle of the door's back."""
    pieces = [
        (hollow_box(w * 0.88, thick * 0.4, h * 0.92, 0.008).rotate("x", -90).translate(0, 0, -thick * 0.2), "door")
    ]
    for level in np.linspace(-0.42, 0.4, b.integers(2, 5))[: None if b.chance() else -1]:
        tray = hollow_box(w * 0.8, min(b.uniform(0.05, 0.1), h * 0.15), deep, 0.006, (0, level * h, -deep / 2))
        pieces.append((tray, names))
    return pieces


@family("refrigerator", names={**BODY, "shelf": ("inner shelf",), "base": ("plinth", "bottom base", "toe kick")})
def refrigerator(b: Builder) -> None:
    """With one to four doors, mostly shut; shelves, trays and drawers are inside of most, open or not."""
    size = b.choice("medium", "medium", "tall", "tall", *FRIDGES)
    w, h, d = (b.uniform(low, high) for low, high in FRIDGES[size])
    thick, inset = b.uniform(0.02, 0.12) * d / 0.5, b.chance(0.12)
    wall = shell(b, w, h, d, wall=b.uniform(0.02, 0.08))
    appliance_feet(b, w, d)
    style, full = b.choice(*GRIPS, "bar", "bar", "none"), b.chance(0.75)
    share = b.uniform(0.5, 0.9) if b.chance() else b.uniform(0.12, 0.45)
    out, r, gap = b.uniform(0.03, 0.08), b.uniform(0.007, 0.018), b.uniform(0.002, 0.01)
    bins = b.choice("door", "shelf", "none") if full else "none"
    deep, opened = b.uniform(0.06, 0.14) * d / 0.5, b.chance(0.25)
    drawer, swing = b.choice("drawer", "drawer, door"), b.choice("left", "left", "right")
    back = b.uniform(0.02, 0.05) if bins == "none" else deep + 0.03
    z, side = (d / 2 - thick, wall) if inset else (d / 2 + 0.002, 0.0)
    wide, tall = w - 2 * side, h - 2 * side
    for x0, y0, cw, ch, kind in _fridge_front(b, size):
        x, y, fw, fh = (x0 + cw / 2 - 0.5) * wide, h / 2 + (y0 + ch / 2 - 0.5) * tall, cw * wide - gap, ch * tall - gap
        if y0:
            b.add(box(cw * (w - 2 * wall), wall * 0.7, d * 0.93, (x, y - ch * tall / 2, -d * 0.02)), "body")
        if x0:
            b.add(box(wall * 0.7, h - 2 * wall, d * 0.93, (x - cw * wide / 2, h / 2, -d * 0.02)), "body")
        iw, ih, room = cw * wide - 2 * wall + side, ch * tall - 2 * wall, d - wall - back - thick * inset
        floor, depth = y - ih / 2, room * b.uniform(0.8, 0.97)
        if full and kind != "p":
            _fridge_inside(b, x, floor, iw, ih, depth, d / 2 - back - thick * inset)
        if kind == "p":
            pull = b.uniform(0.2, 0.6) * d if opened and b.chance() else 0
            parts = [(box(fw, fh, thick, (0, 0, thick / 2), bevel=min(0.008, thick * 0.2)), drawer)]
            if style != "none":
                grip = GRIPS[style](b, fw * max(share, 0.3), out, r).rotate("z", 90)
                parts.append((grip.translate(0, fh * 0.38, thick), "handle, door handle"))
            if full:
                parts.append((hollow_box(iw * 0.94, ih * 0.7, depth, 0.008, (0, -ih * 0.1, -depth / 2)), drawer))
            for mesh, names in parts:
                b.add(mesh.translate(x, y, z + pull), names)
            continue
        for s in (-1, 1) if kind == "f" else (0,):
            lw = fw / 2 - gap / 2 if s else fw
            hinge = "left" if s < 0 or (not s and x0 == 0 and (cw < 1 or swing == "left")) else "right"
            angle = b.uniform(15, 120) if opened and b.chance(0.7) else 0
            bar = GRIPS[style](b, fh * share, out, r) if style != "none" else None
            trays = _fridge_bins(b, lw, fh - 2 * wall, thick, deep, bins) if bins != "none" else ()
            front_door(
                b,
                lw,
                fh,
                z,
                y,
                hinge,
                angle,
                handle=bar is not None,
                x=x + s * fw / 4,
                thick=thick,
                grip=bar,
                inside=trays,
            )
    if size in ("tall", "wide") and b.chance(0.2):
        at = (-wide * 0.25, h * b.uniform(0.55, 0.7), z + thick)
        b.add(box(wide * 0.18, h * 0.14, 0.012, at), "control panel, panel")


@family(
    "oven",
    names={
        **BODY,
        "knob": ("dial", "control knob"),
        "burner": ("hob", "stove burner"),
        "rack": ("oven rack", "shelf"),
    },
)
def oven(b: Builder) -> None:
    w, h, d = b.uniform(0.6, 0.8), b.uniform(0.6, 0.95), b.uniform(0.55, 0.65)
    shell(b, w, h, d)
    appliance_feet(b, w, d)
    panel, thick = b.uniform(0.1, 0.16), b.uniform(0.03, 0.08)
    b.add(box(w, panel, 0.03, (0, h - panel / 2, d / 2)), "control panel, panel")
    for x in np.linspace(-w * 0.4, w * 0.4, b.integers(3, 6)):
        b.add(cylinder(0.032, 0.05, (x, h - panel / 2, d / 2 + 0.03), axis="z"), "knob")
    angle = b.uniform(15, 90) if b.chance(0.3) else 0
    dw, dh = w * 0.97, (h - panel) * 0.8
    pane = [(box(dw * b.uniform(0.5, 0.8), dh * b.uniform(0.35, 0.6), thick * 1.1, (0, 0, thick / 2)), "window, door")]
    front_door(b, dw, dh, d / 2, (h - panel) * 0.55, "bottom", angle, thick=thick, inside=pane[: b.integers(0, 1)])
    b.add(box(w * 0.97, (h - panel) * 0.13, 0.03, (0, (h - panel) * 0.07, d / 2)), "drawer")
    if angle or b.chance(0.6):
        b.add(box(w * 0.9, (h - panel) * 0.02, d * 0.85, (0, (h - panel) * 0.14, 0)), "body")
        for level in np.linspace(0.3, 0.75, b.integers(1, 3)):
            b.add(box(w * 0.9, 0.012, d * 0.8, (0, (h - panel) * level, 0)), "rack")
    if b.chance(0.8):
        for sx in (-1, 1):
            for sz in (-1, 1):
                b.add(torus(b.uniform(0.07, 0.11), 0.014, (sx * w * 0.23, h + 0.012, sz * d * 0.22)), "burner")
    if b.chance(0.3):
        b.add(box(w, 0.15, 0.04, (0, h + 0.07, -d / 2)), "back panel, backsplash")


@family(
    "microwave",
    names={
        **BODY,
        "display": ("screen", "panel display"),
        "button": ("key", "control button"),
        "plate": ("turntable", "tray"),
    },
)
def microwave(b: Builder) -> None:
    w, h, d = 1.0, b.uniform(0.5, 0.65), b.uniform(0.5, 0.7)
    wall = shell(b, w, h, d)
    appliance_feet(b, w, d)
    side = b.uniform(0.2, 0.28)
    x = w / 2 - side / 2
    b.add(box(side, h, 0.03, (x, h / 2, d / 2)), "control panel, panel")
    b.add(box(side * 0.75, h * 0.13, 0.015, (x, h * 0.82, d / 2 + 0.02)), "display")
    if b.chance(0.7):
        b.add(keys(side * 0.75, h * 0.45, 4, 3, 0.02).rotate("x", 90).translate(x, h * 0.45, d / 2 + 0.012), "button")
    else:
        for y in (0.3, 0.55):
            b.add(cylinder(side * 0.25, 0.06, (x, h * y, d / 2 + 0.03), axis="z"), "knob, dial")
    angle = b.uniform(20, 100) if b.chance(0.35) else 0
    dw, handle, thick = w - side, b.chance(0.7), b.uniform(0.03, 0.08)
    pane = [(box(dw * 0.7, h * b.uniform(0.5, 0.75), thick * 1.1, (0, 0, thick / 2)), "window, door")]
    front_door(
        b, dw, h, d / 2, h / 2, "left", angle, handle=handle, x=-side / 2, thick=thick, inside=pane[: b.integers(0, 1)]
    )
    if angle or b.chance(0.7):
        b.add(box(wall, h - 2 * wall, d - wall, (w / 2 - side, h / 2, 0)), "body")
        b.add(cylinder(min(0.3, d * 0.42, dw * 0.42), 0.02, (-side / 2, wall + 0.03, 0)), "plate")


@family("washing machine", names={**BODY, "button": ("knob", "control button"), "drum": ("tub", "inner drum")})
def washing_machine(b: Builder) -> None:
    w, h, d = b.uniform(0.6, 0.7), b.uniform(0.8, 0.95), b.uniform(0.5, 0.65)
    b.add(box(w, h, d, (0, h / 2, 0), bevel=0.015), "body")
    appliance_feet(b, w, d)
    if b.chance(0.75):
        r, y = w * b.uniform(0.3, 0.38), h * 0.42
        angle = b.uniform(30, 110) if b.chance(0.35) else 0
        ring = torus(r, 0.035, axis="z") + ellipsoid(r, r, 0.07)
        b.add(ring.translate(r).rotate("y", -angle).translate(-r, y, d / 2 + 0.03), "door")
        if angle or b.chance(0.6):
            deep = b.uniform(0.2, d * 0.8)
            drum = hollow([(r * 0.8, 0), (r * 0.85, deep)], 0.01).rotate("x", 90).translate(0, y, d / 2 - deep * 0.9)
            b.add(drum, "drum")
    else:
        b.add(
            box(w * 0.8, 0.03, d * 0.7, (0, 0, d * 0.35))
            .rotate("x", -b.uniform(0, 80))
            .translate(0, h + 0.01, -d * 0.25),
            "door, lid",
        )
        b.add(box(w, 0.14, 0.1, (0, h + 0.07, -d / 2 + 0.05)), "control panel, panel")
    y = h * 0.91
    b.add(box(w * 0.3, 0.09, 0.02, (-w * 0.3, y, d / 2 + 0.005)), "detergent drawer, drawer")
    for i in range(b.integers(2, 5)):
        b.add(cylinder(0.022, 0.03, (w * (0.05 + 0.09 * i), y, d / 2 + 0.01), axis="z", segments=12), "button")
    b.add(cylinder(0.05, 0.05, (-w * 0.05, y, d / 2 + 0.02), axis="z"), "knob, dial")


@family("dishwasher", names={**BODY, "rack": ("dish rack", "basket")})
def dishwasher(b: Builder) -> None:
    w, h, d = 0.6, b.uniform(0.75, 0.9), 0.6
    shell(b, w, h, d)
    appliance_feet(b, w, d)
    angle = b.uniform(20, 90) if b.chance() else 0
    front_door(b, w, h * 0.8, d / 2, h * 0.48, "bottom", angle, thick=b.uniform(0.03, 0.08))
    b.add(box(w, h * 0.11, 0.03, (0, h * 0.945, d / 2)), "control panel, panel")
    for x in np.linspace(0, w * 0.4, 4):
        b.add(box(0.03, 0.02, 0.02, (x, h * 0.945, d / 2 + 0.02)), "button")
    if angle or b.chance(0.7):
        for y in (h * 0.3, h * 0.6):
            for x in np.linspace(-w * 0.4, w * 0.4, 9):
                b.add(rod((x, y, -d * 0.4), (x, y, d * 0.45), 0.006, segments=5), "rack")


def _printer_panel(b: Builder, w: float, at: tuple[float, float, float], tilt: float) -> None:
    """A panel with a display and buttons on a front, tilted back."""
    wide, high = w * b.uniform(0.15, 0.5), w * b.uniform(0.08, 0.16)
    pieces = [(box(wide, high, 0.03), "control panel, panel")]
    if b.chance(0.7):
        pieces.append((box(wide * 0.4, high * 0.7, 0.012, (-wide * 0.25, 0, 0.018)), "display"))
    for i in range(b.integers(1, 8)):
        x, y = wide * (0.08 + 0.1 * (i % 4)), high * (0.2 - 0.4 * (i // 4))
        pieces.append((cylinder(high * 0.12, 0.03, (x, y, 0.015), axis="z", segments=10), "button"))
    for mesh, names in pieces:
        b.add(mesh.rotate("x", -tilt).translate(*at), names)


def _printer_flat(b: Builder) -> None:
    """A flat one for ink: a scanner lid, paper standing behind, a tray that folds out in front."""
    w, h, d = b.uniform(0.7, 1), b.uniform(0.18, 0.5), b.uniform(0.45, 0.8)
    wall, mouth = h * b.uniform(0.2, 0.35), h * b.uniform(0.2, 0.4)
    b.add(box(w, wall, d, (0, wall / 2, 0), bevel=b.uniform(0, 0.02)), "body")
    b.add(box(w, h - wall - mouth, d, (0, (h + wall + mouth) / 2, 0), bevel=b.uniform(0, 0.03)), "body")
    b.add_mirrored(box(w * 0.15, mouth, d, (w * 0.425, wall + mouth / 2, 0)), "body")
    b.add(box(w * 0.7, mouth, d * 0.5, (0, wall + mouth / 2, -d * 0.25)), "body")
    tilt, t = -b.uniform(10, 80) if b.chance(0.4) else 0.0, b.uniform(0.02, 0.08)
    lid = box(w * b.uniform(0.8, 0.99), t, d * 0.85, (0, t / 2, d * 0.425), bevel=0.008)
    b.add(lid.rotate("x", tilt).translate(0, h, -d * 0.45), "lid")
    if tilt:
        b.add(box(w * 0.7, 0.006, d * 0.6, (0, h + 0.003, 0)), "glass")
    if b.chance(0.7):
        out = b.uniform(0.1, 0.4)
        b.add(box(w * 0.6, 0.015, out + 0.1, (0, wall + 0.02, d / 2 + out / 2 - 0.05)).rotate("x", -3), "tray")
        if b.chance(0.4):
            b.add(box(w * 0.45, 0.006, out, (0, wall + 0.05, d / 2 + out * 0.3)), "paper")
    if b.chance(0.55):
        rise, lean = b.uniform(0.15, 0.4), -b.uniform(8, 30)
        b.add(box(w * 0.6, rise, 0.02, (0, rise / 2, 0)).rotate("x", lean).translate(0, h, -d * 0.47), "tray")
        if b.chance():
            sheet_ = box(w * 0.5, rise * 1.2, 0.008, (0, rise * 0.6, 0.02)).rotate("x", lean)
            b.add(sheet_.translate(0, h, -d * 0.47), "paper")
    _printer_panel(b, w, (b.uniform(-0.25, 0.25) * w, h * 0.85, d / 2), b.uniform(0, 50))


def _printer_laser(b: Builder) -> None:
    """A block for toner: paper drawers below, a hollow on its top where the sheets come out, a front flap."""
    w, h, d = b.uniform(0.6, 0.8), b.uniform(0.4, 0.7), b.uniform(0.6, 0.8)
    count, high = b.integers(1, 2), b.uniform(0.1, 0.15)
    for i in range(count):
        out = b.uniform(0.05, 0.4) if b.chance(0.25) else 0.0
        y = high * (i + 0.5)
        drawer = (
            hollow_box(w * 0.96, high * 0.85, d * 0.95, 0.02, (0, y, out))
            if out
            else box(w * 0.98, high * 0.92, d, (0, y, 0.005))
        )
        b.add(drawer, "drawer, tray")
        b.add(box(w * 0.3, high * 0.2, 0.03, (0, y + high * 0.1, d / 2 + out + 0.01), bevel=0.008), "handle")
    low = count * high
    b.add(box(w, h, d, (0, low + h / 2, 0), bevel=b.uniform(0, 0.03), top=b.uniform(0.9, 1)), "body")
    top, tilt = low + h, b.uniform(3, 15)
    b.add(box(w * 0.7, 0.02, d * 0.6, (0, top + 0.015, 0)).rotate("x", tilt, (0, top, 0)), "tray")
    if b.chance(0.4):
        b.add(box(w * 0.5, 0.01, d * 0.5, (0, top + 0.04, 0)).rotate("x", tilt, (0, top, 0)), "paper")
    if b.chance(0.6):
        turn = b.uniform(20, 90) if b.chance(0.4) else 0.0
        flap = box(w * 0.8, h * 0.45, 0.02, (0, h * 0.225, 0)).rotate("x", turn)
        b.add(flap.translate(0, low + h * 0.08, d / 2 + 0.01), b.choice("door", "tray"))
    if b.chance(0.35):
        t, rise = b.uniform(0.1, 0.2), b.uniform(0.15, 0.25)
        for x in (-w * 0.46, w * 0.46):
            b.add(box(0.05, rise, d * 0.5, (x, top + rise / 2, -d * 0.2)), "body")
        b.add(box(w, t, d * 0.9, (0, top + rise + t / 2, -d * 0.05), bevel=0.01), "body")
        lid = box(w * 0.97, 0.05, d * 0.85, (0, 0.025, d * 0.42), bevel=0.01)
        lid = lid.rotate("x", -b.uniform(0, 60) if b.chance() else 0)
        b.add(lid.translate(0, top + rise + t, -d * 0.47), "lid")
    _printer_panel(b, w, (w * b.uniform(-0.2, 0.3), top - 0.05, d / 2 + 0.01), b.uniform(10, 60))


def _printer_office(b: Builder) -> None:
    """A copier that stands on the floor: stacked drawers, a gap for the sheets, a scanner with a feeder, casters."""
    w, h, d, count = b.uniform(0.5, 0.65), b.uniform(0.8, 1.1), b.uniform(0.5, 0.6), b.integers(2, 4)
    body, gap = h * b.uniform(0.68, 0.78), h * b.uniform(0.08, 0.14)
    b.add(box(w, body, d, (0, body / 2, 0)), "body")
    tall = body * b.uniform(0.5, 0.7) / count
    for i in range(count):
        y = 0.04 + tall * (i + 0.5)
        b.add(box(w * 0.94, tall * 0.92, 0.02, (0, y, d / 2 + 0.008)), "drawer, tray")
        b.add(box(w * 0.3, 0.02, 0.025, (0, y + tall * 0.2, d / 2 + 0.025)), "handle")
    b.add(box(w, gap, d * 0.25, (0, body + gap / 2, -d * 0.37)), "body")
    b.add(box(w * 0.2, gap, d, (-w * 0.4, body + gap / 2, 0)), "body")
    b.add(box(w, h - body - gap, d, (0, (h + body + gap) / 2, 0)), "body")
    b.add(box(w * 0.7, 0.01, d * 0.6, (w * 0.1, body + 0.02, 0.03)), "tray")
    b.add(box(w * 0.98, 0.05, d * 0.95, (0, h + 0.025, 0), bevel=0.01), "lid")
    if b.chance(0.7):
        b.add(box(w * 0.4, 0.1, d * 0.6, (-w * 0.28, h + 0.09, -d * 0.1), bevel=0.02), "lid")
        b.add(box(w * 0.5, 0.012, d * 0.5).rotate("z", 12).translate(w * 0.15, h + 0.12, -d * 0.1), "tray")
    if b.chance(0.5):
        b.add(box(w * 0.4, 0.015, d * 0.5, (w * 0.2, 0, 0)).rotate("z", 20).translate(w / 2, body * 0.6, 0), "tray")
    _printer_panel(b, w * 1.2, (w * 0.15, h - 0.02, d / 2 + 0.05), b.uniform(30, 75))
    for x in (-w * 0.4, w * 0.4):
        for z in (-d * 0.4, d * 0.4):
            b.add(cylinder(0.025, 0.02, (x, -0.02, z), axis="x", segments=12), "wheel")


PRINTERS = {
    "flat": _printer_flat,
    "laser": _printer_laser,
    "office": _printer_office,
}


@family(
    "printer",
    names={
        "body": ("main body", "base body", "housing"),
        "tray": ("paper tray", "output tray"),
        "button": ("key", "control button"),
        "lid": ("cover", "scanner lid"),
        "paper": ("sheet", "sheet of paper"),
    },
)
def printer(b: Builder) -> None:
    """Ink and laser printers for a desk, copiers on the floor."""
    PRINTERS[b.choice("flat", "flat", "laser", "laser", "office")](b)


def _cup_below(b: Builder, x: float, y: float, z: float, r: float) -> None:
    h = r * b.uniform(1.2, 2.2)
    cup = hollow([(r * 0.7, 0), (r, h * 0.5), (r, h)], r * 0.08)
    handle = tube(arc(r * 0.5, -90, 90, (r, h * 0.5, 0)), r * 0.12, 6).rotate("y", b.uniform(-90, 90))
    b.add((cup + handle).translate(x, y, z), "cup")


def _coffee_pot(b: Builder, x: float, y: float, z: float, r: float, h: float) -> None:
    """A carafe of glass or steel: body, lid with a tab, a handle to the front or a side."""
    piece, shape = [], b.choice("belly", "cone", "can")
    s = np.linspace(0, 1, 9)
    side = {"belly": 0.65 + 0.35 * np.sin(np.pi * (0.1 + 0.75 * s)), "cone": 1 - 0.35 * s, "can": 1 - 0.05 * s}[shape]
    profile = np.stack([r * side, h * 0.9 * s], 1)
    piece.append((hollow(profile, 0.01), "container"))
    out, top = r * b.uniform(0.4, 0.8), profile[-1, 0]
    ends = [(0, h * 0.88, top), (0, h * 0.95, top + out), (0, h * 0.3, r + out), (0, h * 0.25, r * 0.95)]
    piece.append((tube(ends if b.chance() else bezier(*ends), r * b.uniform(0.06, 0.14), 8), "handle, container"))
    if b.chance(0.7):
        piece.append((cylinder(top * 1.03, h * 0.08, (0, h * 0.93, 0), top=top * 0.8), "lid, container"))
    turn = b.uniform(-80, 80)
    for mesh, names in piece:
        b.add(mesh.rotate("y", turn).translate(x, y, z), names)


def _coffee_controls(b: Builder, w: float, y: float, z: float) -> None:
    """Buttons, knobs, sometimes a display on the front at a height."""
    count, r = b.integers(1, 5), w * b.uniform(0.02, 0.05)
    names, square = b.choice("button", "button", "knob"), b.chance(0.3)
    for i in range(count):
        x = ((i + 0.5) / count - 0.5) * w * 0.7
        mesh = box(2 * r, 1.4 * r, 0.03) if square else cylinder(r, 0.04, axis="z", segments=14)
        b.add(mesh.translate(x, y, z + 0.01), names)
    if b.chance(0.3):
        b.add(box(w * 0.35, w * 0.14, 0.015, (0, y + w * 0.13, z)), "display")


def _coffee_drip(b: Builder) -> None:
    """A filter machine: a C with a hot plate, a basket above, a carafe between, a tank behind."""
    w, h, d = b.uniform(0.35, 0.65), b.uniform(0.65, 0.95), b.uniform(0.45, 0.7)
    head, back, foot = h * b.uniform(0.22, 0.42), d * b.uniform(0.25, 0.45), b.uniform(0.04, 0.1)
    round_ = b.uniform(0, 0.3) * w if b.chance() else 0.02
    b.add(box(w, h, back, (0, h / 2, (back - d) / 2), bevel=0.015), "body")
    reach = d * b.uniform(0.85, 1)
    b.add(box(w, head, reach, (0, h - head / 2, (reach - d) / 2), corner=round_), "body")
    b.add(box(w, foot, d, (0, foot / 2, 0), corner=round_), "base")
    z = -d / 2 + back + (d - back) * 0.5
    r = min(w * 0.4, (d - back) * 0.48)
    b.add(cylinder(r * 0.9, 0.012, (0, foot + 0.006, z)), "base")
    lid = box(w * 0.98, b.uniform(0.02, 0.06), reach * 0.95, (0, 0.02, reach * 0.47), corner=round_)
    tilt = -b.uniform(20, 95) if b.chance(0.3) else 0
    b.add(lid.rotate("x", tilt).translate(0, h, -d / 2), "lid")
    if tilt or b.chance(0.3):
        b.add(hollow([(r * 0.5, 0), (r * 0.8, head * 0.6)], 0.01).translate(0, h - head * 0.55, z), "filter")
    if b.chance(0.4):
        b.add(cylinder(r * 0.7, head * 0.3, (0, h - head - 0.03, z), top=r * 0.9), "filter")
    if b.chance(0.8):
        _coffee_pot(b, 0, foot + 0.012, z, r * b.uniform(0.75, 1), (h - head - foot) * b.uniform(0.75, 0.97))
    if b.chance(0.35):
        b.add(box(w * 0.1, h * 0.5, 0.02, (w * 0.3, h * 0.5, -d / 2 + back)), "water tank")
    _coffee_controls(b, w, *((h - head / 2, reach - d / 2) if b.chance(0.7) else (foot / 2, d / 2)))


def _coffee_espresso(b: Builder) -> None:
    """Group heads with filter holders by a handle, steam pipes, a tray below, cups on the top."""
    groups = b.choice("one", "one", "two")
    w = b.uniform(0.35, 0.6) if groups == "one" else b.uniform(0.7, 1.0)
    h, d, foot = b.uniform(0.5, 0.7), b.uniform(0.4, 0.6), b.uniform(0.06, 0.12)
    head, back = h * b.uniform(0.3, 0.45), d * b.uniform(0.45, 0.6)
    bevel = b.uniform(0.005, 0.04)
    b.add(box(w, h, back, (0, h / 2, (back - d) / 2), bevel=bevel), "body")
    b.add(box(w, head, d * 0.85, (0, h - head / 2, -d * 0.075), bevel=bevel), "body")
    b.add(box(w, foot, d, (0, foot / 2, 0), bevel=0.01), "base")
    b.add(box(w * 0.9, 0.012, (d - back) * 0.9, (0, foot + 0.005, back / 2)), "drip tray, base")
    z, y, r = -d / 2 + back + (d * 0.85 - back) * 0.5, h - head, b.uniform(0.045, 0.07)
    for x in (0.0,) if groups == "one" else (-w * 0.22, w * 0.22):
        b.add(cylinder(r, 0.06, (x, y - 0.02, z)), "brew head")
        turn = b.uniform(-40, 40)
        grip = rod((0, 0, r), (0, -b.uniform(0, 0.05), r + b.uniform(0.12, 0.25)), 0.015, 0.025)
        b.add((cylinder(r * 1.1, 0.04) + rod((0, 0, 0), (0, -0.06, 0), 0.012)).translate(x, y - 0.06, z), "filter")
        b.add(grip.rotate("y", turn).translate(x, y - 0.06, z), "handle")
        if b.chance(0.3):
            _cup_below(b, x, foot + 0.012, z, min(0.055, w * 0.15))
    for s in (1, -1) if b.chance(0.4) else (1,):
        pipe = bezier((s * w * 0.42, y, z), (s * w * 0.45, y * 0.6, z), (s * w * 0.5, foot * 1.8, z + 0.08))
        b.add(tube(pipe, 0.01, 6), "nozzle, spout")
        b.add(cylinder(0.03, 0.05, (s * w * 0.42, h - head * 0.35, d * 0.36), axis="z", segments=10), "knob")
    _coffee_controls(b, w * 0.6, h - head * 0.4, d * 0.35)
    if b.chance(0.4):
        for x in (-w * 0.45, w * 0.45):
            b.add(rod((x, h + 0.05, -d * 0.45), (x, h + 0.05, d * 0.3), 0.008, segments=6), "rail")
    elif b.chance():
        b.add(box(w * 0.8, 0.03, back * 0.8, (0, h + 0.01, (back - d) / 2), bevel=0.005), "lid")
    if b.chance(0.3):
        b.add(cylinder(0.09, 0.15, (w * 0.2, h + 0.08, -d * 0.25), top=0.14), "container")


def _coffee_pod(b: Builder) -> None:
    """A slim machine: a head on a column with a lever over it, a tank at the back, a cup on a tray."""
    w, h, d = b.uniform(0.2, 0.38), b.uniform(0.5, 0.8), b.uniform(0.5, 0.8)
    head, back, foot = h * b.uniform(0.25, 0.4), d * b.uniform(0.3, 0.45), b.uniform(0.03, 0.09)
    corner = w * b.uniform(0.05, 0.5)
    b.add(box(w, h, back, (0, h / 2, 0), corner=corner), "body")
    b.add(box(w * 0.95, head, d * 0.55, (0, h - head / 2, d * 0.2), bevel=w * b.uniform(0.02, 0.2)), "body")
    tray = box(w * 0.95, foot, d * 0.4, (0, foot / 2, back / 2 + d * 0.15), corner=corner)
    b.add(tray, "base")
    b.add(box(w, foot * 0.6, back, (0, foot * 0.3, 0)), "base")
    b.add(cylinder(0.03, 0.07, (0, h - head - 0.02, d * 0.33), top=0.035), "nozzle, spout, brew head")
    tank, deep = h * b.uniform(0.6, 1.0), d * 0.22
    behind = box(w * 0.9, tank, deep, (0, tank / 2 + foot, -back / 2 - deep / 2), corner=corner * 0.8)
    b.add(behind, "water tank")
    if b.chance(0.6):
        b.add(box(w * 0.92, 0.02, deep, (0, tank + foot + 0.01, -back / 2 - deep / 2)), "lid")
    if b.chance(0.75):
        tilt, reach = -b.uniform(0, 90) if b.chance(0.4) else 0.0, d * b.uniform(0.3, 0.5)
        arms = [(-w * 0.45, 0, 0), (-w * 0.45, 0.03, reach), (w * 0.45, 0.03, reach), (w * 0.45, 0, 0)]
        loop = tube(arms, 0.015, 8) if b.chance() else box(w * 0.8, 0.03, reach, (0, 0.03, reach / 2), bevel=0.01)
        b.add(loop.rotate("x", tilt).translate(0, h, 0), "lever, handle")
    if b.chance(0.5):
        _cup_below(b, 0, foot, back / 2 + d * 0.15, w * b.uniform(0.2, 0.33))
    for i in range(b.integers(1, 3)):
        b.add(cylinder(0.018, 0.015, (0.05 * i - 0.05, h + 0.005, b.uniform(0, 0.02) + d * 0.1), segments=12), "button")


def _coffee_full(b: Builder) -> None:
    """A machine with a grinder: a block with a niche, twin spouts, a display, a bean box on its top."""
    w, h, d = b.uniform(0.4, 0.55), b.uniform(0.6, 0.8), b.uniform(0.5, 0.7)
    side, niche, low = w * b.uniform(0.1, 0.25), h * b.uniform(0.35, 0.5), b.uniform(0.05, 0.1)
    b.add(box(w, h, d * 0.5, (0, h / 2, -d * 0.25), bevel=0.01), "body")
    b.add_mirrored(box(side, h, d * 0.5, (w / 2 - side / 2, h / 2, d * 0.25)), "body")
    top = h - low - niche
    b.add(box(w, top, d * 0.5, (0, h - top / 2, d * 0.25), bevel=0.01), "body")
    b.add(box(w, low, d * 0.6, (0, low / 2, d * 0.3), bevel=0.01), "drip tray, base")
    y = low + niche * b.uniform(0.5, 0.85)
    b.add(box(0.12, 0.08, 0.12, (0, y, d * 0.35), bevel=0.01), "nozzle, spout, brew head")
    b.add_mirrored(cylinder(0.012, 0.05, (0.03, y - 0.05, d * 0.38)), "nozzle, spout, brew head")
    b.add(box(w * 0.5, top * 0.45, 0.015, (0, h - top * 0.4, d / 2)), "display")
    _coffee_controls(b, w, h - top * 0.85, d / 2)
    if b.chance(0.6):
        b.add(hollow_box(w * 0.5, 0.12, d * 0.4, 0.015, (0, h + 0.06, -d * 0.15), top=1.15), "container")
        b.add(box(w * 0.58, 0.02, d * 0.46, (0, h + 0.13, -d * 0.15)), "lid")
    else:
        b.add(box(w * 0.8, 0.025, d * 0.4, (0, h + 0.01, -d * 0.2)), "lid")
    if b.chance():
        _cup_below(b, 0, low, d * 0.36, 0.05)


COFFEE_MACHINES = {
    "drip": _coffee_drip,
    "espresso": _coffee_espresso,
    "pod": _coffee_pod,
    "full": _coffee_full,
}


@family(
    "coffee machine",
    names={
        "body": ("main body", "base body", "housing"),
        "container": ("carafe", "coffee pot", "jug"),
        "lid": ("cover", "top lid"),
        "knob": ("dial", "control knob"),
        "base": ("drip tray", "bottom plate"),
    },
)
def coffee_machine(b: Builder) -> None:
    """Filter machines with a carafe, espresso machines with filter holders, capsule machines, machines with a mill."""
    COFFEE_MACHINES[b.choice("drip", "drip", "espresso", "espresso", "pod", "full")](b)


@family(
    "speaker",
    names={
        "body": ("main body", "base body", "cabinet", "enclosure"),
        "cone": ("driver", "woofer", "membrane"),
        "base": ("foot", "stand"),
    },
)
def speaker(b: Builder) -> None:
    w, h, d = b.uniform(0.35, 0.6), b.uniform(0.6, 1), b.uniform(0.3, 0.5)
    b.add(box(w, h, d, (0, h / 2, 0), bevel=b.uniform(0, 0.05)), "body")
    y = h * 0.3
    for r in (w * b.uniform(0.3, 0.42), w * b.uniform(0.14, 0.25)):
        b.add(torus(r, 0.02, (0, y, d / 2), axis="z"), "ring, cone")
        b.add(lathe([(r, 0.01), (r * 0.3, -0.03), (0, 0.01)]).rotate("x", 90).translate(0, y, d / 2 + 0.02), "cone")
        y += h * 0.42
    if b.chance(0.4):
        b.add(box(w * 1.1, 0.05, d * 1.1, (0, -0.025, 0)), "base")


@family(
    "microphone",
    names={
        "head": ("mesh", "grille"),
        "body": ("handle", "main body", "grip"),
        "stand": ("pole", "support"),
        "base": ("foot", "stand base"),
    },
)
def microphone(b: Builder) -> None:
    tilt = b.uniform(0, 60)
    head = sphere(0.11) if b.chance() else ellipsoid(0.1, 0.15, 0.1)
    body = lathe([(0, -0.5), (0.04, -0.5), (0.07, -0.08), (0.06, -0.05)])
    lift = b.uniform(0.9, 1.3) if b.chance(0.6) else 0
    b.add(head.translate(0, 0.02).rotate("x", tilt).translate(0, lift, 0), "head")
    b.add(body.rotate("x", tilt).translate(0, lift, 0), "body")
    if lift:
        z = -0.3 * np.sin(np.radians(tilt))
        b.add(rod((0, 0, z), (0, lift - 0.25, z), 0.018), "stand")
        b.add(lathe([(0, 0), (0.22, 0), (0.22, 0.02), (0.03, 0.05)]).translate(0, 0, z), "base")


@family(
    "vacuum cleaner",
    names={
        "body": ("main body", "base body", "canister"),
        "hose": ("tube", "pipe"),
        "head": ("nozzle", "floor head", "brush"),
        "handle": ("grip", "handle or grip"),
        "wheel": ("wheels",),
    },
)
def vacuum(b: Builder) -> None:
    b.add(ellipsoid(0.2, 0.17, 0.28, (0, 0.18, -0.3)), "body")
    b.add_mirrored(cylinder(0.12, 0.05, (0.2, 0.12, -0.35), axis="x"), "wheel")
    b.add(tube(bezier((0, 0.2, -0.05), (0, 0.5, 0.3), (0, 1.1, -0.2), (0, 0.95, 0.05), steps=24), 0.03), "hose")
    b.add(rod((0, 0.95, 0.05), (0, 0.06, 0.55), 0.022), "pipe, wand, tube")
    b.add(box(b.uniform(0.25, 0.4), 0.06, 0.13, (0, 0.03, 0.6), bevel=0.02), "head")
    b.add(tube(arc(0.08, 0, 180, (0, 0.33, -0.3), plane="zy"), 0.016), "handle")


@family(
    "robot",
    names={
        "head": ("robot head",),
        "torso": ("body", "chest", "main body"),
        "arm": ("robot arm",),
        "leg": ("robot leg",),
        "hand": ("claw", "gripper"),
        "foot": ("feet",),
        "eye": ("eyes",),
        "antenna": ("aerial",),
    },
)
def robot(b: Builder) -> None:
    w, h, d = b.uniform(0.3, 0.5), b.uniform(0.35, 0.5), b.uniform(0.2, 0.35)
    leg, r = b.uniform(0.2, 0.45), b.uniform(0.04, 0.08)
    b.add(box(w, h, d, (0, leg + h / 2, 0), bevel=b.uniform(0, 0.08), top=b.uniform(0.8, 1.2)), "torso")
    hs = b.uniform(0.18, 0.32)
    top = leg + h
    b.add(cylinder(0.05, 0.08, (0, top + 0.02, 0)), "neck")
    b.add(
        box(hs * 1.2, hs, hs, (0, top + 0.05 + hs / 2, 0), bevel=b.uniform(0, 0.06))
        if b.chance(0.7)
        else sphere(hs * 0.6, (0, top + hs * 0.6, 0)),
        "head",
    )
    b.add_mirrored(sphere(hs * 0.13, (hs * 0.27, top + hs * 0.65, hs * 0.53)), "eye, head")
    if b.chance(0.6):
        b.add(
            rod((0, top + hs, 0), (0, top + hs + 0.2, 0), 0.012) + sphere(0.03, (0, top + hs + 0.2, 0)),
            "antenna",
        )
    for s in (-1, 1):
        shoulder = (s * (w / 2 + r), top - 0.07, 0)
        elbow = (s * (w / 2 + r + b.uniform(0, 0.15)), top - 0.25 + b.uniform(0, 0.2), b.uniform(0, 0.15))
        hand = (elbow[0] + s * b.uniform(-0.1, 0.1), elbow[1] + b.uniform(-0.25, 0.1), elbow[2] + b.uniform(0, 0.2))
        b.add(tube([shoulder, elbow, hand], r), "arm")
        b.add(sphere(r * 1.4, hand) if b.chance() else box(0.12, 0.1, 0.1, hand), "hand, arm")
        x = s * w * 0.28
        b.add(rod((x, leg + 0.02, 0), (x, 0.05, 0), r * 1.1), "leg")
        b.add(box(r * 2.6, 0.07, r * 4, (x, 0.035, r), bevel=0.015), "foot, leg")


@family(
    "gear motor",
    names={
        "shaft": ("axle", "rod"),
        "gear": ("cog", "toothed wheel"),
        "body": ("housing", "main body", "base body"),
    },
)
def gear_motor(b: Builder) -> None:
    r, count = b.uniform(0.3, 0.5), b.integers(8, 20)
    a = np.linspace(0, 2 * np.pi, count * 4, endpoint=False)
    tooth = np.where((np.arange(count * 4) // 2) % 2, r, r * 0.83)
    b.add(extrude(np.stack([tooth * np.cos(a), tooth * np.sin(a)], 1), b.uniform(0.08, 0.2)), "gear")
    b.add(rod((0, 0, -0.25), (0, 0, 0.3), 0.06), "shaft")
    b.add(cylinder(r * b.uniform(0.6, 0.9), b.uniform(0.3, 0.6), (0, 0, -0.5), axis="z"), "body")


SWITCHES = {
    "switch": ("button", "toggle", "rocker", "lever"),
    "body": ("base body", "main body", "housing", "box", "base"),
}


def _rockers(b: Builder, w: float, h: float, count: int) -> None:
    tilt = b.uniform(5, 20) * (1 if b.chance() else -1)
    for i in range(count):
        x = ((i + 0.5) / count - 0.5) * w * 0.9
        key = box(w * 0.8 / count, h * b.uniform(0.6, 0.9), b.uniform(0.08, 0.25))
        b.add(key.rotate("x", tilt).translate(x, 0, 0), "switch")


def _one_rocker(b: Builder, w: float, h: float) -> None:
    _rockers(b, w, h, 1)


def _two_rockers(b: Builder, w: float, h: float) -> None:
    _rockers(b, w, h, 2)


def _stick(b: Builder, w: float, h: float) -> None:
    long, tilt = b.uniform(0.25, 0.9), b.uniform(10, 50) * (1 if b.chance() else -1)
    mesh = box(w * b.uniform(0.08, 0.2), 0.1, long, (0, 0, long / 2), bevel=0.02)
    if b.chance():
        mesh = rod((0, 0, 0), (0, 0, long), b.uniform(0.02, 0.04), b.uniform(0.04, 0.08))
    b.add(mesh.rotate("x", tilt), "switch")
    if b.chance(0.6):
        b.add(cylinder(w * 0.2, 0.12, (0, 0, 0.04), axis="z"), "collar, body")


def _push_button(b: Builder, w: float, h: float) -> None:
    r = min(w, h) * b.uniform(0.2, 0.45)
    button = cylinder(r, b.uniform(0.08, 0.4), (0, 0, 0.05), axis="z", segments=28 if b.chance() else 4)
    b.add(button, "button, switch")


def _slide(b: Builder, w: float, h: float) -> None:
    tall, deep = h * b.uniform(0.15, 0.3), b.uniform(0.08, 0.25)
    b.add(box(w * 0.5, tall, deep, (0, b.uniform(-0.25, 0.25) * h, 0.05), bevel=0.01), "switch")


def _knob(b: Builder, w: float, h: float) -> None:
    r = min(w, h) * b.uniform(0.25, 0.45)
    b.add(cylinder(r, 0.2, (0, 0, 0.1), axis="z", top=r * 0.85), "knob, switch")
    b.add(box(r * 0.3, r * 1.9, 0.1, (0, 0, 0.22)).rotate("z", b.uniform(0, 180)), "knob, switch")


def _paddle(b: Builder, w: float, h: float) -> None:
    long, tilt = b.uniform(0.25, 0.9), b.uniform(10, 50) * (1 if b.chance() else -1)
    mesh = box(w * b.uniform(0.3, 0.8), 0.1, long, (0, 0, long / 2), bevel=0.02)
    b.add(mesh.rotate("x", tilt), "switch")


def _tiny(b: Builder, w: float, h: float) -> None:
    # two small keys far apart from the edges of the face
    size, apart, proud = min(w, h) * b.uniform(0.15, 0.3), b.uniform(1.05, 1.8), b.uniform(0.02, 0.15)
    round_, upright = b.chance(), h > w if b.chance(0.8) else b.chance()
    for s in (-1, 1):
        x, y = (0.0, s * size * apart / 2) if upright else (s * size * apart / 2, 0.0)
        mesh = cylinder(size / 2, proud * 2, axis="z") if round_ else box(size, size, proud * 2, bevel=proud * 0.2)
        b.add(mesh.translate(x, y, 0), "switch")


def _face(b: Builder, w: float, h: float) -> None:
    _full_rockers(b, w, h, b.uniform(0.05, 0.3), b.integers(1, 3), "switch", "body")


ROCKER_SWITCHES = {
    "tiny": _tiny,
    "face": _face,
    "rocker": _one_rocker,
    "two": _two_rockers,
    "stick": _stick,
    "push": _push_button,
    "slide": _slide,
    "knob": _knob,
    "paddle": _paddle,
}


@family("rocker switch", tags=(COMMON,), names=SWITCHES)
def rocker_switch(b: Builder) -> None:
    """Switches to build in or to hold: a housing, what moves on its face, legs or terminals behind; facing up or
    ahead."""
    w, h, deep = b.uniform(0.3, 1.0), b.uniform(0.5, 1.0), b.uniform(0.15, 0.9)
    piece = Builder(b.rng)
    face = b.uniform(0.02, 0.1)
    if b.chance(0.7):
        piece.add(
            box(
                w * b.uniform(1.0, 1.25), h * b.uniform(1.0, 1.2), face, (0, 0, -face / 2), bevel=b.uniform(0, face / 3)
            ),
            "body",
        )
    shell = box(w, h, deep, (0, 0, -deep / 2 - face * 0.9), bevel=b.uniform(0, 0.05))
    piece.add(shell if b.chance(0.8) else cylinder(w / 2, deep, (0, 0, -deep / 2), axis="z"), "body")
    ROCKER_SWITCHES[b.choice("face", *ROCKER_SWITCHES)](piece, w, h)
    if deep < 0.45 and b.chance(0.6):
        _rear(piece, w, h, -deep - face * 0.9, "body")
    for _ in range(b.integers(0, 3) if deep < 0.7 else 0):
        x, y = b.uniform(-0.35, 0.35) * w, b.uniform(-0.35, 0.35) * h
        piece.add(box(0.06, 0.02, 0.25, (x, y, -deep - 0.12)), "terminal, pin")
    flat, turn = b.chance(0.35), 90.0 if b.chance(0.3) else 0.0
    for names, mesh in piece.pieces():
        turned = mesh.rotate("z", turn)
        b.add(turned.rotate("x", -90) if flat else turned, names)
