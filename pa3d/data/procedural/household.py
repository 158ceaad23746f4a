"""Lamps, fixtures, openings, plants, buildings and small things of the house."""

from __future__ import annotations

import numpy as np

from pa3d.data.procedural.primitives import (
    Mesh,
    arc,
    bar,
    bezier,
    box,
    cylinder,
    ellipsoid,
    extrude,
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
from pa3d.data.procedural.registry import Builder, family

LAMP = {
    "shade": ("lampshade", "lamp shade", "light shade"),
    "base": ("lamp base", "foot", "bottom base"),
    "pole": ("post", "stand pole", "stem", "body"),
    "bulb": ("light bulb", "lamp bulb"),
    "bracket": ("fixing bracket", "mount", "wall mount"),
}


def shade(b: Builder, r: float, h: float) -> Mesh:
    """A lampshade around the y axis, its middle at the origin, open at least below."""
    kind = b.choice("cone", "cone", "drum", "dome", "bell", "globe", "square")
    t = np.linspace(0, 1, 10)
    if kind == "globe":
        return ellipsoid(r * 0.8, r * 0.8, r * 0.8)
    if kind == "square":
        return stack(rounded_rectangle(2 * r, 2 * r), [(-h / 2, 0.9), (h / 2, b.uniform(0.4, 0.9))], caps=False)
    if kind == "dome":
        profile = np.stack([r * np.cos(t * np.pi / 2), h * (np.sin(t * np.pi / 2) - 0.5)], 1)
    elif kind == "bell":
        profile = np.stack([r * (1 - 0.75 * t**0.6), h * (t - 0.5)], 1)
    else:
        top = b.uniform(0.3, 0.8) if kind == "cone" else 1.0
        profile = np.array([(r, -h / 2), (r * top, h / 2)])
    inner = profile[::-1] - (0.012, 0)
    inner[:, 0] = np.maximum(inner[:, 0], 0)
    return lathe(np.concatenate([profile, inner]), 28)


def _lamp_table(b: Builder, kind: str, r: float, h: float) -> None:
    tall = b.uniform(0.35, 0.7) if kind == "table" else b.uniform(1.1, 1.7)
    if kind == "tripod":
        for a in np.radians((90, 210, 330)):
            b.add(rod((0, tall, 0), (0.3 * np.cos(a), 0, 0.3 * np.sin(a)), 0.015), "leg, base")
    else:
        foot = b.uniform(0.1, 0.2)
        b.add(
            lathe(
                [(0, 0), (foot, 0), (foot, 0.02), (foot * b.uniform(0.2, 0.8), b.uniform(0.03, 0.07)), (0, 0.08)],
                28,
            )
            if b.chance(0.75)
            else box(2 * foot, 0.04, 2 * foot, (0, 0.02, 0), bevel=0.01),
            "base",
        )
        t = np.linspace(0, 1, 16)
        thick = b.uniform(0.01, 0.025)
        belly = b.uniform(0.03, 0.13) if kind == "table" and b.chance(0.6) else 0
        body = thick + belly * np.sin(np.pi * np.minimum(1, t * b.uniform(1, 1.6))) ** 2 * (1 + 0.2 * np.sin(t * 12))
        b.add(
            lathe([(0, 0.03), *np.stack([body, 0.03 + tall * t], 1), (0, tall)]),
            "body, pole" if belly else "pole",
        )
    b.add(shade(b, r, h).translate(0, tall + h * b.uniform(0, 0.4), 0), "shade")
    if b.chance(0.6):
        b.add(sphere(0.045, (0, tall + 0.03, 0)), "bulb")
    if b.chance(0.15):
        b.add(rod((r * 0.4, tall - h * 0.9, 0), (r * 0.4, tall, 0), 0.006), "pull chain, switch")


def _lamp_desk(b: Builder, kind: str, r: float, h: float) -> None:
    foot = b.uniform(0.09, 0.15)
    b.add(cylinder(foot, 0.03, (0, 0.015, 0)), "base")
    l1, l2, a1, a2 = b.uniform(0.25, 0.4), b.uniform(0.25, 0.4), b.uniform(-35, 10), b.uniform(20, 75)
    p = np.array([0, 0.03, 0])
    q = p + l1 * np.array([0, np.cos(np.radians(a1)), np.sin(np.radians(a1))])
    s = q + l2 * np.array([0, np.cos(np.radians(a2)), np.sin(np.radians(a2))])
    if b.chance(0.3):
        b.add(tube(bezier(p, q, q + (0, 0.1, 0.1), s, steps=20), 0.014), "arm, pole")
    else:
        b.add(rod(p, q, 0.013), "arm, pole")
        b.add(rod(q, s, 0.013), "arm, pole")
        b.add(cylinder(0.025, 0.05, tuple(q), axis="x"), "joint, hinge")
    sr, tilt = b.uniform(0.07, 0.13), b.uniform(-60, 10)
    b.add(
        lathe([(sr, -0.12), (sr * 0.9, -0.06), (0.03, 0.03), (0.03, 0.06), (0, 0.06)]).rotate("x", tilt).translate(*s),
        "shade",
    )
    b.add(sphere(0.035, (0, -0.07, 0)).rotate("x", tilt).translate(*s), "bulb")


def _lamp_ceiling(b: Builder, kind: str, r: float, h: float) -> None:
    drop, count = b.uniform(0.3, 0.8), b.integers(1, 6) if b.chance(0.4) else 1
    b.add(cylinder(b.uniform(0.06, 0.12), 0.04, (0, drop, 0)), "ceiling mount, bracket, base")
    b.add(rod((0, 0, 0), (0, drop, 0), 0.009), "cord, pole" if b.chance() else "chain, pole")
    if count == 1:
        b.add(shade(b, r, h), "shade")
        b.add(sphere(0.05, (0, -h * 0.1, 0)), "bulb")
    else:
        state = int(b.rng.integers(1 << 30))
        for a in np.radians(360 / count * np.arange(count)):
            x, z = 0.35 * np.cos(a), 0.35 * np.sin(a)
            b.add(
                tube(bezier((0, 0.05, 0), (x * 0.6, -0.15, z * 0.6), (x, -0.1, z), (x, 0.02, z)), 0.014),
                "arm, lamp arm",
            )
            again = Builder(np.random.default_rng(state))
            b.add(shade(again, 0.11, 0.13).translate(x, 0.08, z), "shade")


def _lamp_wall(b: Builder, kind: str, r: float, h: float) -> None:
    b.add(
        cylinder(0.1, 0.03, (0, 0, -0.2), axis="z") if b.chance() else box(0.14, 0.25, 0.03, (0, 0, -0.2)),
        "bracket, base",
    )
    b.add(tube(bezier((0, 0, -0.2), (0, -0.1, -0.05), (0, -0.1, 0.02), (0, 0.05, 0.02)), 0.014), "arm, pole")
    b.add(shade(b, r * 0.7, h * 0.7).translate(0, 0.12, 0.02), "shade")
    b.add(sphere(0.035, (0, 0.1, 0.02)), "bulb")


LAMP_KINDS = {
    "table": _lamp_table,
    "floor": _lamp_table,
    "tripod": _lamp_table,
    "desk": _lamp_desk,
    "ceiling": _lamp_ceiling,
    "wall": _lamp_wall,
}


@family("lamp", names=LAMP)
def lamp(b: Builder) -> None:
    kind = b.choice("table", "table", "floor", "desk", "ceiling", "tripod", "wall")
    r, h = b.uniform(0.15, 0.3), b.uniform(0.15, 0.4)
    LAMP_KINDS[kind](b, kind, r, h)


@family("street lamp", names=LAMP)
def street_lamp(b: Builder) -> None:
    h, r = b.uniform(1.5, 2.2), b.uniform(0.02, 0.035)
    b.add(lathe([(0, 0), (r * 3, 0), (r * 2.5, 0.15), (r, 0.22)]), "base")
    b.add(rod((0, 0.2, 0), (0, h, 0), r, r * 0.7), "pole")
    sides = (1, -1) if b.chance(0.35) else (1,)
    if b.chance(0.7):
        for s in sides:
            b.add(
                tube(
                    bezier((0, h, 0), (0, h + 0.2, 0), (s * 0.4, h + 0.25, 0), (s * 0.5, h + 0.15, 0)),
                    r * 0.7,
                ),
                "arm, pole",
            )
            b.add(ellipsoid(0.14, 0.035, 0.07, (s * 0.58, h + 0.13, 0)), "lamp head, light, shade")
    else:
        b.add(
            lathe([(0.05, h), (0.11, h + 0.22), (0.13, h + 0.24), (0, h + 0.36)], 6),
            "lamp head, light, lantern",
        )


def _door_lever(b: Builder, s: float, t: float, r: float, size: float) -> Mesh:
    # on a round rose or a long plate; it points away from the leaf's edge
    z, long = t / 2 + b.uniform(2, 4) * r, size * b.uniform(0.8, 1.4)
    mesh = rod((0, 0, t / 2), (0, 0, z), r, segments=8)
    if b.chance(0.3):
        mesh += box(2.5 * r, size * b.uniform(1.5, 3), r * 0.6, (0, -size * 0.4, t / 2 + r * 0.3))
    elif b.chance():
        mesh += cylinder(2.2 * r, r * 0.7, (0, 0, t / 2 + r * 0.3), axis="z", segments=14)
    if b.chance(0.3):
        return mesh + box(long, 1.6 * r, r, (s * long / 2, 0, z))
    return mesh + rod((-s * r, 0, z), (s * long, 0, z), r, segments=8)


def _door_knob(b: Builder, s: float, t: float, r: float, size: float) -> Mesh:
    z, ball = t / 2 + 3 * r, r * b.uniform(1.8, 2.6)
    rose = cylinder(ball * 1.1, r * 0.6, (0, 0, t / 2 + r * 0.3), axis="z", segments=14)
    return rose + rod((0, 0, t / 2), (0, 0, z), r * 0.9) + sphere(ball, (0, 0, z + ball * 0.6), segments=14)


def _door_bar(b: Builder, s: float, t: float, r: float, size: float) -> Mesh:
    half, z = size * b.uniform(0.8, 3.5), t / 2 + b.uniform(2.5, 5) * r
    stays = [rod((0, y, t / 2), (0, y, z), r * 0.8, segments=6) for y in (-half * 0.85, half * 0.85)]
    return union([rod((0, -half, z), (0, half, z), r, segments=8), *stays])


def _door_push(b: Builder, s: float, t: float, r: float, size: float) -> Mesh:
    # a bar across the leaf to push it open
    long, z = size * b.uniform(3, 5), t / 2 + 3 * r
    stays = [box(2 * r, 3 * r, 3 * r, (s * x, 0, t / 2 + 1.5 * r)) for x in (0.1 * long, 0.95 * long)]
    return union([box(long, 2 * r, 1.2 * r, (s * long / 2, 0, z)), *stays])


DOOR_HANDLES = {
    "lever": _door_lever,
    "knob": _door_knob,
    "bar": _door_bar,
    "push": _door_push,
}


def _leaf_flush(b: Builder, w: float, h: float, t: float) -> list[tuple[Mesh, str]]:
    return [(box(w, h, t), "door")]


def _leaf_panels(b: Builder, w: float, h: float, t: float) -> list[tuple[Mesh, str]]:
    rows, columns, pieces = b.integers(1, 4), b.integers(1, 2), [(box(w, h, t), "door")]
    pw, ph, raised = w * 0.8 / columns, h * 0.9 / rows, b.uniform(1.15, 1.6)
    for i in range(rows):
        for j in range(columns):
            at = (((j + 0.5) - columns / 2) * pw, ((i + 0.5) - rows / 2) * ph, 0)
            pieces.append((box(pw * 0.8, ph * 0.85, t * raised, at, bevel=t * 0.2), "door"))
    return pieces


def _leaf_glass(b: Builder, w: float, h: float, t: float) -> list[tuple[Mesh, str]]:
    # stiles and rails about one pane or a lattice of them, from some height up
    stile, low = w * b.uniform(0.06, 0.22), h * (b.uniform(0.03, 0.12) if b.chance() else b.uniform(0.25, 0.6))
    gw, gh, names = w - 2 * stile, h - low - stile, b.choice("glass", "glass, door", "window, glass")
    y, rows, columns = low + gh / 2 - h / 2, b.integers(1, 5), b.integers(1, 3)
    pieces = [(box(stile, h, t, (s * (w - stile) / 2, 0, 0)), "door") for s in (-1, 1)]
    pieces += [(box(gw, low, t, (0, (low - h) / 2, 0)), "door"), (box(gw, stile, t, (0, (h - stile) / 2, 0)), "door")]
    pieces.append((box(gw, gh, t * b.uniform(0.1, 0.4), (0, y, 0)), names))
    thin = min(0.012, gw * 0.05)
    for i in range(1, rows):
        pieces.append((box(gw, thin, t * 0.8, (0, y + (i / rows - 0.5) * gh, 0)), "door"))
    for j in range(1, columns):
        pieces.append((box(thin, gh, t * 0.8, ((j / columns - 0.5) * gw, y, 0)), "door"))
    return pieces


def _leaf_boards(b: Builder, w: float, h: float, t: float) -> list[tuple[Mesh, str]]:
    # upright planks on ledges, or louvres in a frame
    count, stile = b.integers(4, 8), w * 0.12
    if b.chance():
        pieces = [(box(w / count * 0.94, h, t, (((i + 0.5) / count - 0.5) * w, 0, 0)), "door") for i in range(count)]
        return pieces + [(box(w * 0.9, h * 0.08, t, (0, y * h, -t * 0.8)), "door") for y in (-0.38, 0, 0.38)]
    pieces = [(box(stile, h, t, (s * (w - stile) / 2, 0, 0)), "door") for s in (-1, 1)]
    pieces += [(box(w, stile, t, (0, s * (h - stile) / 2, 0)), "door") for s in (-1, 1)]
    inside = h - 2 * stile
    for i in range(3 * count):
        slat = box(w - 2 * stile, t * 0.2, inside / count / 3 * 1.1).rotate("x", 50)
        pieces.append((slat.translate(0, ((i + 0.5) / count / 3 - 0.5) * inside, 0), "door"))
    return pieces


DOOR_LEAVES = {
    "flush": _leaf_flush,
    "panels": _leaf_panels,
    "glass": _leaf_glass,
    "boards": _leaf_boards,
}


def _door_frame(b: Builder, w: float, h: float, f: float, deep: float) -> None:
    """Posts and head about an opening w x h, sometimes with a sill, casings on the wall, a light above."""
    b.add_mirrored(box(f, h + f, deep, (w / 2 + f / 2, (h + f) / 2, 0)), "frame")
    b.add(box(w, f, deep, (0, h + f / 2, 0)), "frame")
    if b.chance(0.35):
        t = b.uniform(0.004, f)
        b.add(box(w + 2 * f, t, deep * b.uniform(0.8, 1.3), (0, -t / 2, 0)), b.choice("frame", "threshold, frame"))
    if b.chance(0.35):
        wide, t = f * b.uniform(0.8, 2), b.uniform(0.006, 0.02)
        for s in (-1, 1) if b.chance(0.7) else (1,):
            z = s * (deep + t) / 2
            b.add_mirrored(box(wide, h + f, t, (w / 2 + wide / 2, (h + f) / 2, z)), "frame")
            b.add(box(w + 2 * wide, wide, t, (0, h + wide / 2, z)), "frame")
    if b.chance(0.12):
        tall = b.uniform(0.1, 0.25)
        b.add_mirrored(box(f, tall, deep, (w / 2 + f / 2, h + f + tall / 2, 0)), "frame")
        b.add(box(w + 2 * f, f, deep, (0, h + 1.5 * f + tall, 0)), "frame")
        b.add(box(w, tall, 0.01, (0, h + f + tall / 2, 0)), "top window, window")


@family(
    "door",
    names={
        "frame": ("door frame", "outside frame", "outer frame"),
        "door": ("door panel", "door leaf"),
        "handle": ("door handle", "handle or grip"),
        "threshold": ("sill",),
        "glass": ("pane", "window pane"),
    },
)
def door(b: Builder) -> None:
    """One leaf or two in a frame, shut or ajar, with small handles on both sides."""
    w, h, t, f = b.uniform(0.32, 0.56), 1.0, b.uniform(0.012, 0.05), b.uniform(0.015, 0.09)
    leaves = 2 if b.chance(0.25) else 1
    gap, deep = b.uniform(0.001, 0.008), t * b.uniform(1.0, 4)
    _door_frame(b, w * leaves, h, f, deep)
    angle = b.uniform(3, 110) if b.chance(0.4) else 0.0
    z = (deep - t) / 2 * b.integers(-1, 1)
    style, leaf = b.choice("lever", "lever", "knob", "bar", "push", "none"), b.choice("glass", *DOOR_LEAVES)
    hinges, both, r, size = b.chance(0.3), b.chance(0.85), b.uniform(0.004, 0.012), b.uniform(0.04, 0.1)
    height, edge = h * b.uniform(0.42, 0.52), w * b.uniform(0.86, 0.95)
    pieces = DOOR_LEAVES[leaf](b, w - 2 * gap, h - 2 * gap, t)
    if style != "none":
        handle = DOOR_HANDLES[style](b, -1, t, r, min(size, w * 0.17) if style == "push" else size)
        pieces.append((handle.translate(edge - w / 2, height - h / 2, 0), "handle"))
        if both:
            pieces.append((handle.mirror("z").translate(edge - w / 2, height - h / 2, 0), "handle"))
    if hinges:
        for y in (-0.4, 0, 0.4)[:: b.integers(1, 2)]:
            pieces.append((cylinder(0.008, 0.06, (-w / 2, y * h, t / 2), segments=8), "hinge"))
    first = -1 if leaves == 2 or b.chance() else 1
    for s in (first, -first)[:leaves]:
        turn = angle if s == first or b.chance() else 0.0
        for mesh, names in pieces:
            placed = (mesh if s < 0 else mesh.mirror("x")).translate(-s * w / 2, h / 2, 0)
            b.add(placed.rotate("y", s * turn).translate(s * w * leaves / 2, 0, z), names)


@family(
    "window",
    names={
        "frame": ("window frame", "outer frame"),
        "pane": ("glass", "window glass", "window"),
        "sill": ("window sill", "ledge"),
        "handle": ("latch", "window handle"),
    },
)
def window(b: Builder) -> None:
    w, h, f = b.uniform(0.6, 1.2), b.uniform(0.6, 1.2), b.uniform(0.03, 0.08)
    for s in (-1, 1):
        b.add(box(f, h, 0.07, (s * w / 2, 0, 0)), "frame")
        b.add(box(w + f, f, 0.07, (0, s * h / 2, 0)), "frame")
    columns = b.integers(1, 3)
    angle = b.uniform(20, 80) if b.chance(0.35) else 0
    for i in range(columns):
        cw = w / columns
        at = (i / columns - 0.5) * w
        swing = angle if b.chance(0.6) else 0
        pieces = [(box(cw - f * 0.5, h - f, 0.012, (cw / 2, 0, 0)), "pane")]
        for x in (f * 0.35, cw - f * 0.35):
            pieces.append((box(f * 0.6, h - f, 0.04, (x, 0, 0)), "sash, frame"))
        for y in (-h / 2 + f, h / 2 - f):
            pieces.append((box(cw, f * 0.6, 0.04, (cw / 2, y, 0)), "sash, frame"))
        if b.chance():
            pieces.append((box(0.03, 0.14, 0.05, (cw - f * 0.35, 0, 0.04)), "handle"))
        for mesh, names in pieces:
            b.add(mesh.rotate("y", -swing).translate(at, 0, 0), names)
    if b.chance(0.6):
        b.add(box(w * 1.15, 0.035, 0.2, (0, -h / 2 - f / 2, 0.08)), "sill")
    if b.chance(0.2):
        b.add_mirrored(box(w / 2, h, 0.03, (w * 0.8, 0, 0.03)), "shutter")


@family(
    "clock",
    names={
        "hand": ("clock hand", "pointer"),
        "face": ("dial", "clock face"),
        "frame": ("case", "body", "housing"),
        "base": ("foot", "stand"),
    },
)
def clock(b: Builder) -> None:
    r, t = b.uniform(0.3, 0.5), b.uniform(0.04, 0.15)
    square = b.chance(0.25)
    b.add(box(2 * r, 2 * r, t, bevel=0.02) if square else cylinder(r, t, axis="z", segments=36), "frame")
    if not square:
        b.add(torus(r, b.uniform(0.015, 0.05), (0, 0, t / 2), axis="z"), "frame")
    b.add(cylinder(r * 0.9, 0.01, (0, 0, t / 2 + 0.006), axis="z", segments=36), "face")
    for length, wide in ((0.8, 0.025), (0.5, 0.035)):
        hand = extrude(
            np.array([(-wide, -0.06), (wide, -0.06), (wide * 0.4, r * length), (-wide * 0.4, r * length)]),
            0.012,
        )
        b.add(hand.rotate("z", b.uniform(0, 360)).translate(0, 0, t / 2 + 0.025), "hand")
    if b.chance(0.4):
        for s in (-1, 1):
            b.add(rod((s * r * 0.5, -r * 0.8, 0), (s * r * 0.75, -r * 1.2, 0), 0.03), "leg, foot")
        if b.chance(0.7):
            b.add_mirrored(ellipsoid(0.12, 0.09, 0.09, (r * 0.6, r * 0.95, 0)), "bell, alarm bell")
    elif b.chance(0.25):
        long = b.uniform(1, 1.8)
        b.add(box(2.2 * r, long, t * 1.5, (0, -r - long / 2, -t * 0.3)), "case, body")
        b.add(box(2.6 * r, 0.14, t * 2.4, (0, -r - long, -t * 0.3)), "base")
        b.add(
            rod((0, -r, t * 0.6), (0, -r - long * 0.5, t * 0.6), 0.01)
            + cylinder(0.09, 0.02, (0, -r - long * 0.55, t * 0.6), axis="z"),
            "pendulum",
        )


@family(
    "faucet",
    names={
        "spout": ("nozzle", "tap spout", "water outlet"),
        "switch": ("handle", "tap handle", "lever", "knob"),
        "base": ("body", "foot", "bottom base"),
    },
)
def faucet(b: Builder) -> None:
    r, h, out = b.uniform(0.03, 0.06), b.uniform(0.15, 0.7), b.uniform(0.3, 0.5)
    b.add(cylinder(r * b.uniform(1.5, 2.2), 0.03, (0, 0.015, 0)), "base")
    b.add(cylinder(r * 1.25, 0.18, (0, 0.11, 0)), "base")
    kind = b.choice("arch", "straight", "square")
    if kind == "arch":
        path = bezier((0, 0.1, 0), (0, h + 0.4, 0), (0, h + 0.5, out), (0, h * 0.5 + 0.1, out), steps=20)
    elif kind == "straight":
        path = np.array([(0, 0.15, 0), (0, 0.18, 0.05), (0, 0.18 + h * 0.4, out), (0, 0.14 + h * 0.4, out + 0.02)])
    else:
        path = np.array([(0, 0.1, 0), (0, h + 0.15, 0), (0, h + 0.15, out), (0, h + 0.05, out)])
    b.add(
        tube(path, r * b.uniform(0.6, 0.95))
        if b.chance(0.7)
        else sweep(path, rounded_rectangle(r * 2, r * 1.2), up=(1, 0, 0)),
        "spout",
    )
    style = b.choice("lever", "side", "two")
    if style == "lever":
        top = 0.2
        b.add(rod((0, top, -0.01), (0, top + b.uniform(0.05, 0.25), -b.uniform(0.1, 0.3)), r * 0.5), "switch")
    elif style == "side":
        b.add(cylinder(r * 0.8, 0.1, (r + 0.05, 0.12, 0), axis="x"), "switch")
        b.add(rod((r + 0.09, 0.12, 0), (r + 0.12, 0.12 + b.uniform(0.1, 0.25), 0), r * 0.35), "switch")
    else:
        gap = b.uniform(0.15, 0.3)
        b.add(box(gap * 2, 0.05, r * 2.5, (0, 0.03, 0)), "base")
        for s in (-1, 1):
            b.add(cylinder(r, 0.1, (s * gap, 0.09, 0)), "switch")
            for a in (b.uniform(0, 90),) if b.chance() else (0, 90):
                b.add(rod((-0.09, 0, 0), (0.09, 0, 0), r * 0.35).rotate("y", a).translate(s * gap, 0.15, 0), "switch")


@family(
    "sink",
    names={
        "bowl": ("basin", "sink bowl"),
        "faucet": ("tap", "water tap"),
        "drain": ("drain hole", "plug hole"),
        "pedestal": ("base", "column", "support"),
        "countertop": ("counter", "top"),
    },
)
def sink(b: Builder) -> None:
    w, d, h = b.uniform(0.5, 0.8), b.uniform(0.4, 0.55), b.uniform(0.12, 0.25)
    if b.chance(0.6):
        t = np.linspace(0.1, 1, 9)
        b.add(
            hollow(np.stack([0.5 * np.sin(t * np.pi / 2) ** 0.6, h * (t - 1)], 1), 0.03, 32).scale(w, 1, d),
            "bowl",
        )
    else:
        b.add(hollow_box(w, h, d, 0.03, (0, -h / 2, 0), 0.05), "bowl")
    if b.chance(0.35):
        cw = w * 1.7
        for s in (-1, 1):
            b.add(box((cw - w) / 2, 0.04, d * 1.25, (s * (w + (cw - w) / 2) / 2, 0, 0)), "countertop")
        b.add(box(cw, 0.04, 0.12, (0, 0, -d / 2 - 0.06)), "countertop")
    b.add(cylinder(0.03, 0.01, (0, -h + 0.045, 0)), "drain")
    z = -d / 2 - 0.01
    b.add(
        tube(
            bezier((0, 0, z), (0, b.uniform(0.25, 0.45), z), (0, b.uniform(0.25, 0.4), z + 0.2), (0, 0.1, z + 0.2)),
            0.02,
        ),
        "spout, faucet",
    )
    b.add(cylinder(0.035, 0.06, (0, 0.03, z)), "faucet")
    b.add_mirrored(cylinder(0.025, 0.06, (0.1, 0.03, z)), "faucet handle, faucet")
    if b.chance(0.45):
        b.add(lathe([(0, -0.8), (0.14, -0.8), (0.09, -0.6), (0.09, -h - 0.1), (0.14, -h + 0.01)]), "pedestal")


@family(
    "bathtub",
    names={"tub": ("body", "basin", "bath"), "faucet": ("tap", "water tap"), "foot": ("leg", "feet")},
)
def bathtub(b: Builder) -> None:
    w, d, h = b.uniform(1.3, 1.7), b.uniform(0.6, 0.8), b.uniform(0.4, 0.6)
    outline = rounded_rectangle(w, d, b.uniform(0.03, d / 2), 8)
    b.add(stack(outline, [(0, b.uniform(0.75, 1)), (h, 1), (h, 0.93, 0.88), (0.06, 0.75, 0.7)]), "tub")
    b.add(
        tube(
            [(-w * 0.44, h, 0), (-w * 0.44, h + 0.2, 0), (-w * 0.34, h + 0.2, 0), (-w * 0.34, h + 0.14, 0)],
            0.022,
        ),
        "faucet",
    )
    if b.chance():
        for x in (-1, 1):
            for z in (-1, 1):
                b.add(rod((x * w * 0.33, 0.05, z * d * 0.33), (x * w * 0.36, -0.12, z * d * 0.38), 0.03), "foot")


def _plant_bush(b: Builder, kind: str, h: float) -> None:
    b.add(rod((0, h * 0.8, 0), (0, h + 0.3, 0), 0.025), "stem")
    for _ in range(b.integers(1, 6)):
        s = b.uniform(0.14, 0.26)
        b.add(
            ellipsoid(
                s,
                s * b.uniform(0.8, 1.2),
                s,
                (b.uniform(-0.14, 0.14), h + 0.38 + b.uniform(-0.1, 0.2), b.uniform(-0.14, 0.14)),
            ),
            "foliage, leaf",
        )


def _plant_cactus(b: Builder, kind: str, h: float) -> None:
    tall = b.uniform(0.4, 0.8)
    b.add(ellipsoid(0.11, tall / 2, 0.11, (0, h + tall * 0.4, 0)), "stem, body")
    for s in (-1, 1):
        y = h + tall * b.uniform(0.3, 0.6)
        b.add(
            tube([(0, y, 0), (s * 0.2, y, 0), (s * 0.22, y + 0.05, 0), (s * 0.22, y + 0.2, 0)], 0.05),
            "arm, branch",
        )
    if b.chance():
        b.add(ellipsoid(0.06, 0.04, 0.06, (0, h + tall * 0.92, 0)), "flower")


def _plant_leaves(b: Builder, kind: str, h: float) -> None:
    for _ in range(b.integers(6, 14)):
        a, out, up = b.uniform(0, 2 * np.pi), b.uniform(0.1, 0.4), b.uniform(0.3, 0.8)
        x, z = out * np.cos(a), out * np.sin(a)
        if kind == "blades":
            path = bezier((0, h * 0.85, 0), (x * 0.3, h + up, z * 0.3), (x, h + up * b.uniform(0.5, 1), z))
            b.add(
                sweep(
                    path,
                    rounded_rectangle(0.06, 0.008),
                    up=(0.1, 0.5, 0.1),
                    sizes=np.linspace(1, 0.15, len(path)),
                ),
                "leaf",
            )
        else:
            b.add(
                tube(bezier((0, h * 0.85, 0), (0, h + up * 0.5, 0), (x, h + up, z), steps=8), 0.01, 6),
                "stem",
            )
            b.add(
                ellipsoid(0.12, 0.012, 0.07).rotate("y", -np.degrees(a)).translate(x * 1.2, h + up, z * 1.2),
                "leaf",
            )


PLANTS = {
    "bush": _plant_bush,
    "cactus": _plant_cactus,
    "blades": _plant_leaves,
    "leaves": _plant_leaves,
}


@family(
    "potted plant",
    names={
        "pot": ("plant pot", "flower pot", "container", "planter"),
        "leaf": ("leaves", "foliage"),
        "stem": ("stalk", "trunk"),
        "flower": ("bloom", "blossom"),
        "soil": ("earth", "dirt"),
    },
)
def potted_plant(b: Builder) -> None:
    r, h = b.uniform(0.15, 0.3), b.uniform(0.2, 0.45)
    if b.chance(0.75):
        b.add(hollow([(r * b.uniform(0.6, 0.9), 0), (r, h)], 0.02), "pot")
        b.add(cylinder(r * 0.93, 0.01, (0, h * 0.9, 0)), "soil")
    else:
        b.add(hollow_box(2 * r, h, 2 * r, 0.02, (0, h / 2, 0)), "pot")
    kind = b.choice("blades", "bush", "cactus", "leaves")
    PLANTS[kind](b, kind, h)


def _tree_conifer(b: Builder, h: float, r: float) -> None:
    count = b.integers(1, 4)
    for i in range(count):
        w = b.uniform(0.3, 0.45) * (1 - 0.22 * i)
        b.add(lathe([(0, 0), (w, 0), (0, 0.55)]).translate(0, h * 0.5 + 0.3 * i, 0), "foliage")


def _tree_round(b: Builder, h: float, r: float) -> None:
    for _ in range(b.integers(1, 7)):
        s = b.uniform(0.22, 0.4)
        b.add(
            ellipsoid(
                s,
                s * b.uniform(0.8, 1.2),
                s,
                (b.uniform(-0.25, 0.25), h + 0.2 + b.uniform(-0.1, 0.25), b.uniform(-0.25, 0.25)),
            ),
            "foliage",
        )
    for s in (-1, 1):
        b.add(rod((0, h * 0.6, 0), (s * 0.2, h, 0.05), r * 0.5, r * 0.3), "branch")


def _tree_palm(b: Builder, h: float, r: float) -> None:
    for a in np.linspace(0, 2 * np.pi, b.integers(6, 10), endpoint=False):
        x, z = 0.5 * np.cos(a), 0.5 * np.sin(a)
        path = bezier((0, h, 0), (x * 0.5, h + 0.25, z * 0.5), (x, h - 0.1, z))
        b.add(
            sweep(
                path,
                rounded_rectangle(0.14, 0.01),
                up=(0, 1, 0),
                sizes=np.linspace(0.5, 0.2, len(path)) + 0.6 * np.sin(np.linspace(0, 3, len(path))),
            ),
            "leaf, foliage",
        )


TREES = {
    "conifer": _tree_conifer,
    "round": _tree_round,
    "palm": _tree_palm,
}


@family(
    "tree",
    names={
        "trunk": ("stem", "tree trunk"),
        "foliage": ("leaves", "treetop", "tree crown"),
        "branch": ("limb", "bough"),
    },
)
def tree(b: Builder) -> None:
    h, r = b.uniform(0.4, 0.9), b.uniform(0.04, 0.09)
    b.add(rod((0, 0, 0), (0, h, 0), r * 1.3, r * 0.7), "trunk")
    kind = b.choice("conifer", "round", "palm")
    TREES[kind](b, h, r)


@family(
    "flower",
    names={
        "petal": ("petals", "blossom"),
        "stem": ("stalk",),
        "leaf": ("leaves",),
        "center": ("flower center", "pistil"),
    },
)
def flower(b: Builder) -> None:
    h, count, r = b.uniform(0.6, 1), b.integers(5, 12), b.uniform(0.14, 0.28)
    b.add(tube(bezier((0, 0, 0), (b.uniform(-0.1, 0.1), h * 0.5, 0), (0, h, 0)), 0.018), "stem")
    cup, tilt = b.uniform(0, 60), b.uniform(0, 60)
    for a in 360 / count * np.arange(count):
        petal = ellipsoid(r * 0.6, 0.012, r * 2.2 / count + 0.03, (r * 0.7, 0, 0)).rotate("z", cup).rotate("y", a)
        b.add(petal.rotate("x", tilt).translate(0, h, 0), "petal")
    b.add(ellipsoid(r * 0.28, r * 0.15, r * 0.28).rotate("x", tilt).translate(0, h, 0), "center")
    for s in (-1, 1):
        if b.chance(0.8):
            b.add(
                ellipsoid(0.15, 0.01, 0.05, (0.13, 0, 0))
                .rotate("z", 35)
                .rotate("y", 90 + s * 90)
                .translate(0, h * b.uniform(0.2, 0.5), 0),
                "leaf",
            )


@family("mushroom", names={"cap": ("top", "mushroom cap"), "stem": ("stalk", "stipe", "foot")})
def mushroom(b: Builder) -> None:
    r, h, s = b.uniform(0.25, 0.5), b.uniform(0.3, 0.8), b.uniform(0.06, 0.16)
    t = np.linspace(0, np.pi / 2, 10)
    rise = r * b.uniform(0.4, 1.2)
    b.add(lathe([(0, h), (r, h - b.uniform(0, 0.08)), *np.stack([r * np.cos(t), h + rise * np.sin(t)], 1)]), "cap")
    b.add(lathe([(0, 0), (s * b.uniform(1, 1.5), 0), (s * 0.8, h * 0.6), (s, h + 0.01)]), "stem")


@family(
    "snowman",
    names={
        "head": ("snowman head",),
        "body": ("torso", "main body"),
        "hat": ("top hat",),
        "nose": ("carrot nose",),
        "arm": ("stick arm", "twig"),
    },
)
def snowman(b: Builder) -> None:
    y, r = 0.0, b.uniform(0.32, 0.42)
    for i in range(3 if b.chance(0.7) else 2):
        last = r
        b.add(sphere(r, (0, y + r * 0.9, 0)), "body" if i == 0 or (i == 1 and r > 0.22) else "head")
        y += r * 1.55
        r *= b.uniform(0.68, 0.78)
    b.add(lathe([(0.03, 0), (0, 0.2)]).rotate("x", 90).translate(0, y - last * 0.5, last * 0.9), "nose, head")
    b.add_mirrored(tube([(last * 1.1, y - 2 * last, 0), (0.6, y - last * b.uniform(0.8, 2.4), 0.05)], 0.018), "arm")
    if b.chance(0.7):
        b.add(
            cylinder(last * 1.05, 0.02, (0, y + last * 0.12, 0))
            + cylinder(last * 0.65, 0.2, (0, y + last * 0.12 + 0.1, 0)),
            "hat",
        )


@family(
    "house",
    names={
        "roof": ("rooftop", "top"),
        "wall": ("walls", "body", "main body"),
        "door": ("front door", "entrance"),
        "window": ("windows",),
        "chimney": ("smokestack",),
    },
)
def house(b: Builder) -> None:
    w, h, d = b.uniform(0.6, 1), b.uniform(0.3, 0.7), b.uniform(0.5, 0.9)
    b.add(box(w, h, d, (0, h / 2, 0)), "wall")
    rise, over = b.uniform(0.15, 0.5), b.uniform(1.0, 1.2)
    kind = b.choice("gable", "hip", "flat")
    if kind == "gable":
        b.add(extrude(np.array([(-w * over / 2, h), (w * over / 2, h), (0, h + rise)]), d * over), "roof")
    elif kind == "hip":
        b.add(stack(rounded_rectangle(w * over, d * over), [(h, 1), (h + rise, b.uniform(0, 0.5), 0.05)]), "roof")
    else:
        b.add(box(w * over, 0.05, d * over, (0, h + 0.025, 0)), "roof")
    b.add(box(w * 0.18, h * b.uniform(0.45, 0.65), 0.03, (b.uniform(-0.15, 0.15) * w, h * 0.27, d / 2)), "door")
    for s in (-1, 1):
        b.add(box(w * 0.17, h * 0.25, 0.025, (s * w * 0.32, h * 0.6, d / 2)), "window")
        b.add(box(0.025, h * 0.25, d * 0.2, (s * w / 2, h * 0.6, b.uniform(-0.2, 0.2) * d)), "window")
    if b.chance(0.6):
        b.add(box(0.1, rise + 0.15, 0.1, (w * 0.25, h + rise * 0.6, -d * 0.15)), "chimney")


@family(
    "castle tower",
    names={
        "wall": ("tower body", "body"),
        "roof": ("top", "spire"),
        "battlement": ("parapet", "crenellation"),
    },
)
def tower(b: Builder) -> None:
    r, h = b.uniform(0.18, 0.35), b.uniform(0.7, 1.2)
    b.add(lathe([(0, 0), (r * b.uniform(1, 1.2), 0), (r, h), (0, h)], b.integers(6, 28)), "wall")
    if b.chance():
        b.add(lathe([(0, h), (r * 1.2, h), (0, h + b.uniform(0.3, 0.7))], 24), "roof")
        b.add(rod((0, h, 0), (0, h + 0.9, 0), 0.01), "flag pole, pole")
        b.add(box(0.2, 0.1, 0.008, (0.1, h + 0.84, 0)), "flag")
    else:
        for a in np.radians(np.arange(0, 360, 45)):
            b.add(box(0.1, 0.14, 0.1, (r * np.cos(a), h + 0.06, r * np.sin(a))), "battlement")
    b.add(box(r * 0.6, h * 0.25, 0.05, (0, h * 0.125, r)), "door")


@family(
    "candle holder",
    names={
        "candle": ("wax", "candle stick"),
        "flame": ("fire",),
        "base": ("foot", "plate"),
        "stem": ("stalk", "column", "body"),
    },
)
def candle_holder(b: Builder) -> None:
    h, foot, count = b.uniform(0.2, 0.6), b.uniform(0.14, 0.25), 1 if b.chance(0.6) else 3
    b.add(lathe([(0, 0), (foot, 0), (foot, 0.02), (0.04, 0.05)]), "base")
    t = np.linspace(0, 1, 12)
    b.add(lathe(np.stack([0.03 * (1 + 0.4 * np.sin(t * b.uniform(4, 14))), 0.03 + h * t], 1)), "stem")
    for i in range(count):
        x = (i - (count - 1) / 2) * 0.25
        y = 0.03 + h - abs(x) * 0.2
        if x:
            b.add(tube(bezier((0, h * 0.6, 0), (x, h * 0.45, 0), (x, y, 0)), 0.016), "arm")
        b.add(lathe([(0, -0.02), (0.06, 0), (0.06, 0.03), (0.03, 0.02)]).translate(x, y, 0), "cup, candle cup")
        tall = b.uniform(0.15, 0.45)
        b.add(cylinder(0.03, tall, (x, y + tall / 2, 0)), "candle")
        if b.chance(0.7):
            b.add(ellipsoid(0.018, 0.045, 0.018, (x, y + tall + 0.04, 0)), "flame")


@family(
    "lighter",
    names={
        "body": ("main body", "base body", "case"),
        "lid": ("cover", "cap"),
        "wheel": ("spark wheel", "flint wheel"),
        "button": ("lever", "push button"),
    },
)
def lighter(b: Builder) -> None:
    w, h, d = b.uniform(0.28, 0.42), b.uniform(0.6, 0.75), b.uniform(0.13, 0.22)
    if b.chance():
        b.add(box(w, h, d, (0, h / 2, 0), bevel=0.02), "body")
        lid = box(w, 0.28, d, (-w / 2, 0.14, 0), bevel=0.02)
        b.add(lid.rotate("z", -b.uniform(0, 130) if b.chance(0.7) else 0).translate(w / 2, h, 0), "lid")
        b.add(box(w * 0.6, 0.14, d * 0.7, (-w * 0.08, h + 0.06, 0)), "wind guard, chimney")
    else:
        b.add(box(w, h, d, (0, h / 2, 0), bevel=b.uniform(0.02, 0.1)), "body")
        b.add(box(w * 0.6, 0.12, d * 0.9, (-w * 0.15, h + 0.05, 0), bevel=0.02), "wind guard, metal guard")
        b.add(box(w * 0.3, 0.05, d * 0.6, (w * 0.34, h + 0.025, 0)), "button")
    b.add(cylinder(0.055, d * 0.5, (w * 0.2, h + 0.09, 0), axis="z"), "wheel")


@family(
    "mirror",
    names={
        "frame": ("rim", "outer frame"),
        "glass": ("mirror surface", "mirror glass"),
        "stand": ("base", "support"),
    },
)
def mirror(b: Builder) -> None:
    w, h, t = b.uniform(0.25, 0.45), b.uniform(0.35, 0.6), b.uniform(0.02, 0.05)
    y = h + 0.15
    if b.chance():
        ring = arc(w, 0, 360, (0, y, 0), r2=h, steps=41)[:-1]
        b.add(tube(ring, t, 8, closed=True), "frame")
        b.add(cylinder(1, 0.01, axis="z", segments=36).scale(w, h, 1).translate(0, y, 0), "glass")
    else:
        for s in (-1, 1):
            b.add(box(2 * t, 2 * h, t, (s * w, y, 0)), "frame")
            b.add(box(2 * w + 2 * t, 2 * t, t, (0, y + s * h, 0)), "frame")
        b.add(box(2 * w, 2 * h, 0.008, (0, y, 0)), "glass")
    if b.chance(0.5):
        b.add(rod((0, 0.02, 0), (0, y - h, 0), 0.025), "stand")
        b.add(cylinder(0.2, 0.03, (0, 0.01, 0)), "base, stand")
    elif b.chance():
        b.add(rod((0, y - h, 0), (0, y - h - 0.5, 0), 0.035), "handle, grip")


@family(
    "padlock",
    names={"body": ("lock body", "main body", "base body"), "shackle": ("loop", "lock loop", "hook")},
)
def padlock(b: Builder) -> None:
    w, h, d, r = b.uniform(0.45, 0.6), b.uniform(0.4, 0.6), b.uniform(0.15, 0.25), b.uniform(0.03, 0.06)
    b.add(
        box(w, h, d, (0, h / 2, 0), bevel=b.uniform(0, 0.07))
        if b.chance(0.7)
        else cylinder(w / 2, d, (0, h / 2, 0), axis="z"),
        "body",
    )
    k = w * b.uniform(0.25, 0.38)
    lift = b.uniform(0.1, 0.3)
    path = np.concatenate([[(k, h - 0.05, 0)], arc(k, 0, 180, (0, h + lift, 0)), [(-k, h - 0.05, 0)]])
    if b.chance(0.3):
        path = path[:-1]
    b.add(tube(path, r).rotate("y", b.uniform(0, 60) if b.chance(0.2) else 0, (k, 0, 0)), "shackle")
    b.add(cylinder(0.05, 0.02, (0, h * 0.4, d / 2), axis="z"), "keyhole, lock")


@family(
    "safe",
    names={
        "body": ("main body", "base body", "box"),
        "door": ("safe door", "door panel"),
        "handle": ("wheel handle", "lever"),
        "button": ("key", "keypad"),
        "switch": ("knob", "dial", "combination dial"),
    },
)
def safe(b: Builder) -> None:
    w, h, d = b.uniform(0.5, 0.8), b.uniform(0.5, 0.9), b.uniform(0.4, 0.6)
    b.add(hollow_box(w, d, h, 0.05).rotate("x", 90).translate(0, h / 2, 0), "body")
    angle = -b.uniform(20, 110) if b.chance(0.35) else 0
    pieces = [(box(w * 0.86, h * 0.88, 0.05, (w * 0.43, 0, 0)), "door")]
    if b.chance(0.6):
        pieces.append((cylinder(0.07, 0.06, (w * 0.6, h * 0.1, 0.05), axis="z"), "switch"))
    else:
        for i in range(9):
            pieces.append(
                (
                    box(0.035, 0.035, 0.02, (w * 0.5 + 0.05 * (i % 3), h * 0.2 - 0.05 * (i // 3), 0.03)),
                    "button",
                )
            )
    for a in (0, 60, 120):
        pieces.append(
            (rod((-0.1, 0, 0.08), (0.1, 0, 0.08), 0.012).rotate("z", a).translate(w * 0.3, -h * 0.15, 0), "handle")
        )
    for mesh, names in pieces:
        b.add(mesh.rotate("y", angle).translate(-w * 0.43, h / 2, d / 2), names)


@family(
    "dispenser",
    names={
        "body": ("bottle", "container", "main body", "base body"),
        "head": ("pump head", "pump", "nozzle"),
        "lid": ("cap", "cover"),
    },
)
def dispenser(b: Builder) -> None:
    r, h = b.uniform(0.16, 0.28), b.uniform(0.4, 0.7)
    if b.chance():
        b.add(lathe([(0, 0), (r, 0), (r, h * 0.85), (r * 0.4, h), (0, h)]), "body")
    else:
        b.add(box(2 * r, h, 2 * r * b.uniform(0.5, 1), (0, h / 2, 0), bevel=0.05), "body")
    b.add(cylinder(r * 0.45, 0.08, (0, h + 0.02, 0)), "lid")
    b.add(rod((0, h, 0), (0, h + 0.18, 0), 0.022), "head")
    b.add(
        box(0.12, 0.06, 0.14, (0, h + 0.2, 0), bevel=0.015)
        + tube([(0, h + 0.2, 0.03), (0, h + 0.2, r + 0.08), (0, h + 0.15, r + 0.1)], 0.02),
        "head",
    )


@family(
    "mailbox",
    names={
        "body": ("box", "main body", "base body"),
        "door": ("lid", "flap"),
        "flag": ("signal flag",),
        "pole": ("post", "leg", "support"),
    },
)
def mailbox(b: Builder) -> None:
    w, d, h, post = b.uniform(0.25, 0.35), b.uniform(0.45, 0.6), b.uniform(0.12, 0.2), b.uniform(0.4, 0.9)
    outline = np.concatenate([[(-w / 2, 0)], [(w / 2, 0)], arc(w / 2, 0, 180, (0, h, 0), steps=12)[:, :2]])
    b.add(extrude(outline, d, at=(0, post, 0)), "body")
    b.add(
        extrude(outline, 0.02).rotate("x", b.uniform(0, 95) if b.chance() else 0).translate(0, post, d / 2 + 0.015),
        "door",
    )
    b.add(box(0.07, post, 0.07, (0, post / 2, 0)), "pole")
    b.add(
        box(0.015, 0.2, 0.03, (w / 2 + 0.01, post + h + 0.05, 0))
        + box(0.015, 0.06, 0.1, (w / 2 + 0.01, post + h + 0.14, 0.04)),
        "flag",
    )


@family("barbell", names={"bar": ("handle", "rod", "grip"), "weight": ("plate", "disc", "weight plate")})
def barbell(b: Builder) -> None:
    long, r = b.uniform(0.4, 1.4), b.uniform(0.015, 0.03)
    b.add(rod((-long / 2, 0, 0), (long / 2, 0, 0), r), "bar")
    x = long / 2 * b.uniform(0.6, 0.85)
    for i in range(b.integers(1, 3)):
        size = b.uniform(0.08, 0.25)
        mesh = (
            cylinder(size, 0.04, (x - 0.05 * i, 0, 0), axis="x", segments=b.integers(6, 26))
            if b.chance(0.8)
            else sphere(size * 0.7, (x, 0, 0))
        )
        b.add_mirrored(mesh, "weight")


@family(
    "trophy",
    names={
        "cup": ("bowl", "body"),
        "handle": ("ear", "grip"),
        "stem": ("stalk", "neck"),
        "base": ("foot", "pedestal", "plinth"),
    },
)
def trophy(b: Builder) -> None:
    r, h, s = b.uniform(0.2, 0.35), b.uniform(0.3, 0.55), b.uniform(0.1, 0.25)
    y = 0.18 + s
    t = np.linspace(0, 1, 10)
    profile = np.stack([r * (0.25 + 0.75 * t ** b.uniform(0.3, 0.7)), y + h * t], 1)
    b.add(hollow(profile, 0.02), "cup")
    b.add(lathe([(0.12, 0.15), (0.03, 0.2), (0.05, 0.18 + s * 0.6), (0.05, y + 0.02)]), "stem")
    b.add(box(0.35, 0.16, 0.35, (0, 0.08, 0)) if b.chance() else cylinder(0.2, 0.16, (0, 0.08, 0)), "base")
    if b.chance(0.85):
        b.add_mirrored(
            tube(
                bezier(
                    (r * 0.95, y + h * 0.9, 0),
                    (r * 2, y + h, 0),
                    (r * 1.6, y + h * 0.3, 0),
                    (r * 0.65, y + h * 0.25, 0),
                ),
                0.025,
            ),
            "handle",
        )


@family(
    "picture frame",
    names={
        "frame": ("outer frame", "border"),
        "picture": ("photo", "canvas", "image"),
        "stand": ("support", "leg"),
    },
)
def picture_frame(b: Builder) -> None:
    w, h, f = b.uniform(0.4, 0.8), b.uniform(0.4, 0.8), b.uniform(0.03, 0.1)
    tilt = -b.uniform(5, 15)
    for s in (-1, 1):
        b.add(box(f, h + f, 0.04, (s * w / 2, 0, 0)).rotate("x", tilt), "frame")
        b.add(box(w, f, 0.04, (0, s * h / 2, 0)).rotate("x", tilt), "frame")
    b.add(box(w, h, 0.012).rotate("x", tilt), "picture")
    if b.chance(0.6):
        b.add(bar((0, 0.05, -0.02), (0, -h / 2 - f / 2, -0.25), 0.06, 0.01), "stand")


@family(
    "fire extinguisher",
    names={
        "body": ("tank", "cylinder", "main body"),
        "hose": ("tube", "pipe"),
        "handle": ("lever", "grip"),
        "nozzle": ("horn", "spout"),
    },
)
def fire_extinguisher(b: Builder) -> None:
    r, h = b.uniform(0.14, 0.2), b.uniform(0.6, 0.85)
    t = np.linspace(0, np.pi / 2, 7)
    b.add(lathe([(0, 0), (r, 0), *np.stack([r * np.cos(t), h + r * np.sin(t)], 1)]), "body")
    top = h + r
    b.add(cylinder(0.04, 0.08, (0, top + 0.03, 0)), "valve, neck")
    b.add(
        box(0.04, 0.02, 0.25, (0, top + 0.12, 0.08)).rotate("x", -15, (0, top, 0))
        + box(0.04, 0.02, 0.2, (0, top + 0.06, 0.08)),
        "handle",
    )
    b.add(
        tube(
            bezier((0.03, top + 0.04, 0), (0.35, top + 0.05, 0), (0.3, h * 0.5, 0), (r + 0.04, h * 0.3, 0)),
            0.018,
        ),
        "hose",
    )
    b.add(cylinder(0.02, 0.2, (r + 0.04, h * 0.2, 0), top=0.035), "nozzle")


@family(
    "windmill",
    names={
        "blade": ("sail", "rotor blade", "wing"),
        "tower": ("body", "pole", "post"),
        "hub": ("rotor hub", "nacelle"),
    },
)
def windmill(b: Builder) -> None:
    h, count, r = b.uniform(0.9, 1.4), b.integers(3, 5), b.uniform(0.35, 0.65)
    old = b.chance()
    b.add(
        lathe(
            [(0, 0), (0.25 if old else 0.06, 0), (0.16 if old else 0.03, h), (0, h + (0.15 if old else 0))],
            12,
        ),
        "tower",
    )
    z = 0.2 if old else 0.1
    b.add(cylinder(0.04, 0.25, (0, h, 0.05), axis="z"), "hub")
    turn = b.uniform(0, 90)
    for i in range(count):
        sail = box(0.13 if old else 0.06, r, 0.012, (0.05, r / 2 + 0.05, 0), top=1 if old else 0.3)
        b.add(sail.rotate("y", 15).rotate("z", turn + 360 / count * i).translate(0, h, z), "blade")


@family(
    "traffic light",
    names={
        "light": ("lamp", "signal light", "lens"),
        "housing": ("body", "box", "case"),
        "pole": ("post", "support"),
    },
)
def traffic_light(b: Builder) -> None:
    h, count = b.uniform(0.6, 1.3), b.integers(2, 3)
    b.add(cylinder(0.03, h, (0, h / 2, -0.02)), "pole")
    b.add(box(0.22, 0.22 * count, 0.14, (0, h + 0.1 * count, 0), bevel=0.02), "housing")
    for i in range(count):
        y = h + 0.1 * count + (i - (count - 1) / 2) * 0.2
        b.add(ellipsoid(0.075, 0.075, 0.04, (0, y, 0.08)), "light")
        b.add(
            lathe([(0.09, 0), (0.09, 0.1)], 20, arc=180).rotate("x", 90).rotate("z", 90).translate(0, y, 0.06),
            "light hood, hood",
        )
    if b.chance():
        b.add(cylinder(0.15, 0.04, (0, 0.02, -0.02)), "base, foot")


@family(
    "bird house",
    names={
        "roof": ("top",),
        "body": ("box", "wall", "main body"),
        "hole": ("entrance", "opening"),
        "perch": ("stick",),
        "pole": ("post", "support"),
    },
)
def bird_house(b: Builder) -> None:
    w, h = b.uniform(0.35, 0.5), b.uniform(0.35, 0.55)
    b.add(box(w, h, w, (0, h / 2, 0)), "body")
    rise = b.uniform(0.15, 0.35)
    for s in (-1, 1):
        b.add(
            bar((0, h + rise, 0), (s * w * 0.65, h - 0.03, 0), w * 1.25, 0.025, up=(s * rise, w * 0.6, 0)),
            "roof",
        )
    b.add(torus(0.08, 0.015, (0, h * 0.6, w / 2), axis="z"), "hole")
    b.add(rod((0, h * 0.3, w / 2), (0, h * 0.3, w / 2 + 0.13), 0.014), "perch")
    if b.chance():
        b.add(rod((0, 0, 0), (0, -b.uniform(0.4, 1), 0), 0.035), "pole")
