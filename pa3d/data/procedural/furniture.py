"""Seats, tables, storage, beds."""

from __future__ import annotations

import numpy as np

from pa3d.data.procedural.primitives import (
    Mesh,
    arc,
    bar,
    bezier,
    box,
    cylinder,
    extrude,
    lathe,
    rod,
    rounded_rectangle,
    sheet,
    stack,
    sweep,
    torus,
    tube,
)
from pa3d.data.procedural.registry import COMMON, Builder, family

SEAT_WORDS = {
    "leg": ("leg or support", "support leg", "base", "chair leg"),
    "back": ("backrest", "back rest", "chair back", "back support"),
    "seat": ("seating surface", "seat surface", "seat part"),
    "arm": ("armrest", "arm rest", "chair arm"),
    "cushion": ("pad", "seat cushion"),
    "stretcher": ("leg stretcher", "bar stretcher", "crossbar"),
    "wheel": ("caster", "caster wheel", "castor"),
    "column": ("central support", "gas lift", "post"),
}


def _leg_round(a: np.ndarray, c: np.ndarray, r: float, sx: int, sz: int) -> Mesh:
    return rod(a, c, r)


def _leg_square(a: np.ndarray, c: np.ndarray, r: float, sx: int, sz: int) -> Mesh:
    return bar(a, c, 2 * r, 2 * r, up=(0, 0, 1))


def _leg_taper(a: np.ndarray, c: np.ndarray, r: float, sx: int, sz: int) -> Mesh:
    return rod(a, c, r * 1.2, r * 0.5)


def _leg_turned(a: np.ndarray, c: np.ndarray, r: float, sx: int, sz: int) -> Mesh:
    t = np.linspace(0, 1, 12)
    return tube(a + (c - a) * t[:, None], r * (0.8 + 0.35 * np.sin(t * 14)))


def _leg_cabriole(a: np.ndarray, c: np.ndarray, r: float, sx: int, sz: int) -> Mesh:
    top = float(a[1])
    mid1, mid2 = a + (sx * r * 2, -top * 0.2, sz * r * 2), c + (-sx * r, top * 0.3, -sz * r)
    return tube(bezier(a, mid1, mid2, c), np.linspace(1.4, 0.7, 14) * r)


LEG_STYLES = {  # a leg from a at the top to c on the ground, radius r, in the corner (sx, sz)
    "round": _leg_round,
    "square": _leg_square,
    "taper": _leg_taper,
    "turned": _leg_turned,
    "cabriole": _leg_cabriole,
}


def legs(
    b: Builder,
    w: float,
    d: float,
    top: float,
    names: str,
    splay: float = 0,
    r: float = 0.03,
    style: str | None = None,
) -> None:
    """Four legs under a rectangle w x d whose underside is at y = top."""
    style = style or b.choice(*LEG_STYLES)
    for sx in (-1, 1):
        for sz in (-1, 1):
            a = np.array([sx * (w / 2 - r * 1.2), top, sz * (d / 2 - r * 1.2)])
            c = a + (sx * splay, 0, sz * splay)
            c[1] = 0
            b.add(LEG_STYLES[style](a, c, r, sx, sz), names)


def stretchers(b: Builder, w: float, d: float, y: float, r: float, names: str) -> None:
    style = b.choice("sides", "h", "all")
    for s in (-1, 1):
        b.add(rod((s * w / 2, y, -d / 2), (s * w / 2, y, d / 2), r), names)
        if style == "all":
            b.add(rod((-w / 2, y * 1.15, s * d / 2), (w / 2, y * 1.15, s * d / 2), r), names)
    if style == "h":
        b.add(rod((-w / 2, y, 0), (w / 2, y, 0), r), names)


def star_base(b: Builder, top: float, reach: float, leg_names: str, column_names: str, wheels: bool) -> None:
    """A column on a star of feet, with or without castors."""
    count = b.integers(3, 6) if not wheels else b.integers(4, 6)
    wheel_r = b.uniform(0.025, 0.045) if wheels else 0
    hub = 2 * wheel_r + b.uniform(0.02, 0.06)
    column_r = b.uniform(0.02, 0.04)
    b.add(cylinder(column_r, top - hub, (0, (top + hub) / 2, 0)), column_names)
    for angle in 360 / count * np.arange(count) + b.uniform(0, 90):
        x, z = reach * np.cos(np.radians(angle)), reach * np.sin(np.radians(angle))
        b.add(bar((0, hub, 0), (x, 2 * wheel_r + 0.012, z), b.uniform(0.035, 0.05), 0.03), leg_names)
        if wheels:
            for offset in (-0.015, 0.015):
                wheel = cylinder(wheel_r, 0.02, (offset, 0, 0), axis="x").rotate("y", b.uniform(0, 360))
                b.add(wheel.translate(x, wheel_r, z), "wheel")


def _chair_base_four(b: Builder, w: float, d: float, top: float, style: str, r: float) -> None:
    splay = b.uniform(0.03, 0.12) if style == "splayed" else 0
    legs(b, w, d, top, "leg", splay, r)
    if b.chance(0.35):
        stretchers(b, w - 2 * r, d - 2 * r, top * b.uniform(0.25, 0.6), r * 0.6, "stretcher, leg")


def _chair_base_star(b: Builder, w: float, d: float, top: float, style: str, r: float) -> None:
    star_base(b, top, b.uniform(0.22, 0.32), "leg", "column, leg", b.chance(0.6))


def _chair_base_sled(b: Builder, w: float, d: float, top: float, style: str, r: float) -> None:
    for s in (-1, 1):
        x = s * (w / 2 - r)
        path = [(x, top, d / 2 - r), (x, r, d / 2 + r), (x, r, -d / 2 - r), (x, top, -d / 2 + r)]
        b.add(tube(path, r * 0.7), "leg")


def _chair_base_panel(b: Builder, w: float, d: float, top: float, style: str, r: float) -> None:
    for s in (-1, 1):
        b.add(box(r * 1.5, top, d * b.uniform(0.85, 1), (s * (w / 2 - r), top / 2, 0)), "leg")
    if b.chance():
        b.add(box(w - 2 * r, top * 0.3, r, (0, top * 0.7, -d * 0.3)), "leg")


def _chair_base_cantilever(b: Builder, w: float, d: float, top: float, style: str, r: float) -> None:
    for s in (-1, 1):
        x = s * (w / 2 - r)
        b.add(tube([(x, top, -d * 0.3), (x, top - r, d / 2), (x, r, d / 2), (x, r, -d / 2)], r * 0.7), "leg")
    b.add(rod((-w / 2 + r, r, -d / 2), (w / 2 - r, r, -d / 2), r * 0.7), "leg")


def _chair_base_slab(b: Builder, w: float, d: float, top: float, style: str, r: float) -> None:
    # boards as wide as the seat: upright, leaning, crossed, or one that comes forward
    wide, t = w * b.uniform(0.5, 1), b.uniform(0.015, 0.06)
    kind = b.choice("upright", "leaning", "crossed", "forward")
    spread = {"upright": 0.0, "leaning": b.uniform(0.04, 0.2), "crossed": -d * 0.8, "forward": 0.0}[kind]
    if kind == "forward":
        b.add(bar((0, top, -d * b.uniform(0.2, 0.5)), (0, 0, d * b.uniform(0.1, 0.5)), wide, t), "leg")
        b.add(box(wide, t, d * b.uniform(0.7, 1.1), (0, t / 2, 0)), "foot, leg")
    else:
        for s in (-1, 1):
            z = s * d * 0.4
            b.add(bar((0, top, z), (0, 0, z + s * spread), wide, t), "leg")


def _chair_base_pedestal(b: Builder, w: float, d: float, top: float, style: str, r: float) -> None:
    foot = b.uniform(0.16, 0.25)
    b.add(
        lathe([(0, 0), (foot, 0), (foot, 0.02), (0.04, 0.06), (0.03, top * 0.5), (0.06, top), (0, top)]),
        "leg",
    )


def _chair_base_folding(b: Builder, w: float, d: float, top: float, style: str, r: float) -> None:
    for s in (-1, 1):
        x = s * (w / 2 - r)
        b.add(bar((x, top, -d / 2), (x * 0.95, 0, d / 2), r * 1.4, r * 1.4), "leg")
        b.add(bar((x * 0.9, top, d / 2), (x * 0.9, 0, -d / 2), r * 1.4, r * 1.4), "leg")
    b.add(rod((-w / 2, r, -d / 2), (w / 2, r, -d / 2), r * 0.6), "leg")


CHAIR_BASE_STYLES = {
    "four": _chair_base_four,
    "splayed": _chair_base_four,
    "star": _chair_base_star,
    "sled": _chair_base_sled,
    "panel": _chair_base_panel,
    "cantilever": _chair_base_cantilever,
    "slab": _chair_base_slab,
    "pedestal": _chair_base_pedestal,
    "folding": _chair_base_folding,
}


def chair_base(b: Builder, w: float, d: float, top: float) -> None:
    style = b.choice(
        "four", "four", "splayed", "splayed", "star", "sled", "panel", "cantilever", "pedestal", "folding", "slab"
    )
    r = b.uniform(0.015, 0.04)
    CHAIR_BASE_STYLES[style](b, w, d, top, style, r)


def _chair_seat_flat(b: Builder, w: float, d: float, y: float, t: float) -> None:
    b.add(box(w, t, d, (0, y + t / 2, 0)), "seat")


def _chair_seat_bevel(b: Builder, w: float, d: float, y: float, t: float) -> None:
    t *= 1.5
    b.add(box(w, t, d, (0, y + t / 2, 0), bevel=t * 0.45), "seat")


def _chair_seat_round(b: Builder, w: float, d: float, y: float, t: float) -> None:
    b.add(cylinder(0.5, t, (0, y + t / 2, 0), segments=28).scale(w, 1, d), "seat")


def _chair_seat_scoop(b: Builder, w: float, d: float, y: float, t: float) -> None:
    depth = b.uniform(0.02, 0.06)

    def scoop(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        drop = -depth * (np.sin(np.pi * u) * np.sin(np.pi * np.clip(v * 1.1, 0, 1))) ** 0.7
        return np.stack([(u - 0.5) * w, y + t + drop, (v - 0.5) * d], -1)

    b.add(sheet(scoop, t), "seat")


def _chair_seat_cushion(b: Builder, w: float, d: float, y: float, t: float) -> None:
    b.add(box(w, t, d, (0, y + t / 2, 0)), "seat frame, seat")
    b.add(box(w * 0.95, t * 2, d * 0.95, (0, y + 2 * t, 0), bevel=t * 0.9), "cushion, seat")


def _chair_seat_slats(b: Builder, w: float, d: float, y: float, t: float) -> None:
    count = b.integers(4, 8)
    for i in range(count):
        z = ((i + 0.5) / count - 0.5) * d
        b.add(box(w, t, d / count * 0.75, (0, y + t / 2, z)), "seat")


def _chair_seat_trapezoid(b: Builder, w: float, d: float, y: float, t: float) -> None:
    shape = rounded_rectangle(w, d, 0.06)
    shape[:, 0] *= 0.85 + 0.15 * (shape[:, 1] / d + 0.5) * 2
    b.add(stack(shape, [(y, 0.97), (y + t / 2, 1), (y + t, 0.97)]), "seat")


CHAIR_SEAT_STYLES = {
    "flat": _chair_seat_flat,
    "bevel": _chair_seat_bevel,
    "round": _chair_seat_round,
    "scoop": _chair_seat_scoop,
    "cushion": _chair_seat_cushion,
    "slats": _chair_seat_slats,
    "trapezoid": _chair_seat_trapezoid,
}


def chair_seat(b: Builder, w: float, d: float, y: float, t: float) -> None:
    """A seat whose underside is at y."""
    style = b.choice("flat", "bevel", "round", "scoop", "cushion", "slats", "trapezoid")
    CHAIR_SEAT_STYLES[style](b, w, d, y, t)


def _chair_back_panel(b: Builder, w: float, h: float, t: float, style: str, pieces: list[tuple[Mesh, str]]) -> None:
    pieces.append(
        (box(w * b.uniform(0.8, 1), h, t, (0, h / 2, 0), bevel=b.uniform(0, t / 2), top=b.uniform(0.75, 1)), "back")
    )


def _chair_back_round(b: Builder, w: float, h: float, t: float, style: str, pieces: list[tuple[Mesh, str]]) -> None:
    gap = h * b.uniform(0.1, 0.4)
    tall = h - gap
    oval = np.stack([np.cos(np.linspace(0, 6.05, 25)) * w * 0.42, np.sin(np.linspace(0, 6.05, 25)) * tall / 2], 1)
    pieces.append((extrude(oval, t, at=(0, gap + tall / 2, 0)), "back"))
    for s in (-1, 1):
        pieces.append((rod((s * w * 0.25, 0, 0), (s * w * 0.25, gap + tall * 0.2, 0), t * 0.4), "back post, back"))


def _chair_back_curved(b: Builder, w: float, h: float, t: float, style: str, pieces: list[tuple[Mesh, str]]) -> None:
    low = h * 0.7 if style == "low rail" else 0 if style == "shell" else h * b.uniform(0, 0.4)
    curve = b.uniform(0.05, 0.2)

    def curved(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        across = 2 * u - 1
        return np.stack([across * w / 2, low + (h - low) * v * (1 - 0.15 * across**4), curve * across**2 - 0.01], -1)

    pieces.append((sheet(curved, t), "back"))
    if low > 0.02:
        for s in (-1, 1):
            foot, head = (s * w * 0.42, 0, curve * 0.5), (s * w * 0.42, low + 0.05, curve * 0.7)
            pieces.append((rod(foot, head, t * 0.5), "back post, back"))


def _chair_back_slats(b: Builder, w: float, h: float, t: float, style: str, pieces: list[tuple[Mesh, str]]) -> None:
    post = b.uniform(0.012, 0.03)
    for s in (-1, 1):
        pieces.append((rod((s * (w / 2 - post), 0, 0), (s * (w / 2 - post), h, 0), post), "back post, back"))
    rail = h * b.uniform(0.08, 0.2)
    pieces.append((box(w, rail, t, (0, h - rail / 2, 0), bevel=t * 0.3), "top rail, back"))
    inner = w - 2 * post
    if style == "ladder":
        for level in np.linspace(0.15, 0.75, b.integers(2, 4)):
            pieces.append((box(inner, h * 0.09, t * 0.7, (0, h * level, 0)), "slat, back"))
    elif style == "frame":
        pieces.append((box(inner, h * 0.55, t * 0.6, (0, h * 0.5, 0)), "back panel, back"))
    elif style == "splat":
        shape = np.array([(-0.5, 0), (-0.3, 0.3), (-0.5, 0.6), (-0.35, 1), (0.35, 1), (0.5, 0.6), (0.3, 0.3), (0.5, 0)])
        pieces.append((extrude(shape * (w * b.uniform(0.25, 0.5), h * 0.9), t * 0.6), "splat, back"))
    else:
        count = b.integers(3, 8)
        wide = inner / count * b.uniform(0.3, 0.7) if style == "slats" else post
        for x in np.linspace(-inner / 2, inner / 2, count + 2)[1:-1]:
            pieces.append((box(wide, h - rail, t * 0.6, (x, (h - rail) / 2, 0)), "slat, back"))


CHAIR_BACK_STYLES = {
    "panel": _chair_back_panel,
    "round": _chair_back_round,
    "curved": _chair_back_curved,
    "shell": _chair_back_curved,
    "low rail": _chair_back_curved,
    "slats": _chair_back_slats,
    "ladder": _chair_back_slats,
    "frame": _chair_back_slats,
    "spindles": _chair_back_slats,
    "splat": _chair_back_slats,
}


def chair_back(b: Builder, w: float, d: float, y: float, h: float, t: float) -> None:
    style = b.choice(
        "panel",
        "panel",
        "slats",
        "ladder",
        "frame",
        "curved",
        "shell",
        "spindles",
        "splat",
        "round",
        "low rail",
    )
    lean = b.uniform(0, 16)
    bow = b.uniform(0, 0.08)
    z = -d / 2 + t / 2
    pieces: list[tuple[Mesh, str]] = []
    CHAIR_BACK_STYLES[style](b, w, h, t, style, pieces)
    for mesh, names in pieces:
        bent = mesh.deform(lambda v: v - np.array([0, 0, 1]) * (bow * (1 - (2 * v[:, :1] / w) ** 2)))
        b.add(bent.rotate("x", -lean).translate(0, y, z), names)


def _arms_post(b: Builder, x: float, y: float, h: float, t: float, z0: float, z1: float, length: float) -> None:
    b.add_mirrored(box(t, t * 0.7, length, (x, y + h, (z0 + z1) / 2), bevel=b.uniform(0, t * 0.3)), "arm")
    b.add_mirrored(rod((x, y - 0.02, z1 - t), (x, y + h, z1 - t), t * 0.4), "arm support, arm")


def _arms_loop(b: Builder, x: float, y: float, h: float, t: float, z0: float, z1: float, length: float) -> None:
    path = [(x, y, z1 - 0.05), (x, y + h * 0.8, z1), (x, y + h, z1 - 0.06), (x, y + h, z0)]
    b.add_mirrored(tube(path, t * 0.4), "arm")


def _arms_panel(b: Builder, x: float, y: float, h: float, t: float, z0: float, z1: float, length: float) -> None:
    b.add_mirrored(box(t, h + 0.02, length, (x, y + h / 2, (z0 + z1) / 2), bevel=t * 0.3), "arm")


def _arms_hung(b: Builder, x: float, y: float, h: float, t: float, z0: float, z1: float, length: float) -> None:
    b.add_mirrored(bar((x, y + h, z0), (x, y + h * b.uniform(0.9, 1.2), z1), t, t * 0.7), "arm")
    b.add_mirrored(bar((x, y, z0 + 0.04), (x, y + h, z0 + 0.04), t * 0.8, t * 0.6, up=(0, 0, 1)), "arm support, arm")


def _arms_curved(b: Builder, x: float, y: float, h: float, t: float, z0: float, z1: float, length: float) -> None:
    b.add_mirrored(
        tube(
            bezier((x, y + h, z0), (x + 0.04, y + h * 1.2, 0), (x, y + h, z1 + 0.08), (x, y, z1 - 0.08)),
            t * 0.5,
        ),
        "arm",
    )


CHAIR_ARMS = {
    "post": _arms_post,
    "loop": _arms_loop,
    "panel": _arms_panel,
    "hung": _arms_hung,
    "curved": _arms_curved,
}


def chair_arms(b: Builder, w: float, d: float, y: float) -> None:
    h, t = b.uniform(0.15, 0.28), b.uniform(0.02, 0.06)
    style = b.choice(*CHAIR_ARMS)
    x = w / 2 + b.uniform(-0.01, 0.04)
    length = d * b.uniform(0.6, 1)
    z0 = -d / 2
    CHAIR_ARMS[style](b, x, y, h, t, z0, z0 + length, length)


def flowing_seat(b: Builder, w: float, d: float, y: float, t: float) -> None:
    """Seat and back as one bent board, rounded or curled where they meet."""
    tall, lean, curl = b.uniform(0.3, 0.75), b.uniform(0.0, 0.25), b.uniform(-0.12, 0.12)
    dip = b.uniform(0, 0.08)

    def seat(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        along = v * d - d / 2
        return np.stack([(u - 0.5) * w, y + t - dip * np.sin(np.pi * v) + 0.02 * v**4, along], -1)

    def back(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        z = -d / 2 - lean * v + curl * np.sin(np.pi * v) - curl * v**3
        return np.stack([(u - 0.5) * w * (1 - 0.1 * v), y + t + tall * v, z], -1)

    b.add(sheet(seat, t, 9, 14), "seat")
    b.add(sheet(back, t, 9, 14), "back")


def draw_chair(b: Builder, arms: float) -> None:
    w, d, y = b.uniform(0.36, 0.6), b.uniform(0.36, 0.55), b.uniform(0.3, 0.5)
    t = b.uniform(0.015, 0.06)
    chair_base(b, w, d, y)
    if b.chance(0.15):
        flowing_seat(b, w, d, y, t)
    else:
        chair_seat(b, w, d, y, t)
        chair_back(b, w * b.uniform(0.85, 1.0), d, y + t * 0.5, b.uniform(0.28, 0.75), b.uniform(0.015, 0.06))
    if b.chance(arms):
        chair_arms(b, w, d, y + t)


@family("chair", names=SEAT_WORDS)
def chair(b: Builder) -> None:
    draw_chair(b, 0.4)


@family("armchair", names=SEAT_WORDS)
def armchair(b: Builder) -> None:
    if b.chance(0.35):
        draw_chair(b, 1)
    else:
        upholstered(b, b.uniform(0.6, 0.85), 1)


@family(
    "sofa",
    names={**SEAT_WORDS, "seat": ("seat cushion", "seating surface"), "base": ("sofa base", "bottom frame")},
)
def sofa(b: Builder) -> None:
    seats = b.integers(2, 4)
    upholstered(b, seats * b.uniform(0.5, 0.7), seats)


def upholstered(b: Builder, w: float, seats: int) -> None:
    d, foot, y = b.uniform(0.7, 0.9), b.uniform(0.03, 0.15), b.uniform(0.22, 0.32)
    arm_w, arm_h = b.uniform(0.08, 0.25), b.uniform(0.15, 0.3)
    back_t, back_h = b.uniform(0.12, 0.28), b.uniform(0.3, 0.6)
    soft = b.uniform(0.01, 0.09)
    armless = b.chance(0.08)
    inner = w if armless else w - 2 * arm_w
    b.add(box(w, y - foot, d, (0, (y + foot) / 2, 0), bevel=b.uniform(0, 0.03)), "base")
    legs(b, w * 0.96, d * 0.94, foot, "leg", r=b.uniform(0.015, 0.035), style=b.choice("round", "square", "taper"))
    gap = b.uniform(0, 0.015)
    cushion = b.uniform(0.1, 0.18)
    deep = d - back_t * 0.8
    for i in range(seats):
        x = ((i + 0.5) / seats - 0.5) * inner
        wide = inner / seats - gap
        b.add(box(wide, cushion, deep, (x, y + cushion / 2, (d - deep) / 2), bevel=soft), "seat")
    lean = b.uniform(0, 14)
    if b.chance(0.5):
        for i in range(seats):
            x = ((i + 0.5) / seats - 0.5) * inner
            pad = box(inner / seats - gap, back_h, back_t * 0.6, (0, back_h / 2, 0), bevel=soft).rotate("x", -lean)
            b.add(pad.translate(x, y + cushion * 0.9, -d / 2 + back_t * 0.8), "back cushion, back")
    b.add(
        box(w if b.chance() else inner, back_h, back_t * 0.7, (0, back_h / 2, 0), bevel=soft)
        .rotate("x", -lean)
        .translate(0, y + 0.03, -d / 2 + back_t * 0.4),
        "back",
    )
    if not armless:
        x = (w - arm_w) / 2
        if b.chance(0.3):
            b.add_mirrored(box(arm_w * 0.8, arm_h, d, (x, y + arm_h / 2, 0)), "arm")
            b.add_mirrored(cylinder(arm_w * 0.6, d, (x, y + arm_h, 0), axis="z"), "arm")
        else:
            b.add_mirrored(box(arm_w, y - foot + arm_h, d, (x, foot + (y - foot + arm_h) / 2, 0), bevel=soft), "arm")
    if b.chance(0.3):
        size = b.uniform(0.25, 0.35)
        pillow = (
            box(size, size, 0.12, bevel=0.05)
            .rotate("x", -20)
            .translate(b.uniform(-0.3, 0.3) * inner, y + cushion + size / 2, 0)
        )
        b.add(pillow, "pillow, throw pillow")


@family("office chair", names={**SEAT_WORDS, "leg": ("base", "star leg", "leg or support")})
def office_chair(b: Builder) -> None:
    w, d, y, t = b.uniform(0.42, 0.55), b.uniform(0.42, 0.52), b.uniform(0.4, 0.52), b.uniform(0.04, 0.09)
    star_base(b, y, b.uniform(0.26, 0.34), "leg", "column, base", b.chance(0.9))
    b.add(box(w, t, d, (0, y + t / 2, 0), bevel=t * b.uniform(0.1, 0.5), corner=b.uniform(0, 0.15)), "seat")
    low, h = b.uniform(0.02, 0.15), b.uniform(0.35, 0.7)
    curve, lean, bt, bw = b.uniform(0, 0.12), b.uniform(2, 15), b.uniform(0.02, 0.07), w * b.uniform(0.75, 1)

    def back(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        across = 2 * u - 1
        lumbar = 0.03 * np.sin(np.pi * v)
        return np.stack([across * bw / 2 * (1 - 0.2 * v**3), low + h * v, curve * across**2 + lumbar], -1)

    b.add(sheet(back, bt).rotate("x", -lean).translate(0, y + t, -d / 2), "back")
    b.add(
        tube(
            bezier(
                (0, y, 0),
                (0, y - 0.03, -d * 0.6),
                (0, y + low, -d / 2 - 0.08),
                (0, y + t + low + 0.1, -d / 2 - 0.04),
            ),
            0.022,
        ),
        "back support",
    )
    if b.chance(0.4):
        z = -d / 2 - np.sin(np.radians(lean)) * (low + h) - 0.01
        b.add(
            box(
                bw * 0.55,
                0.12,
                bt,
                (0, y + t + (low + h) * np.cos(np.radians(lean)) + 0.08, z),
                bevel=bt * 0.4,
            ),
            "headrest, head rest",
        )
    if b.chance(0.75):
        h, x = b.uniform(0.17, 0.25), w / 2 + 0.03
        b.add_mirrored(
            box(b.uniform(0.04, 0.08), 0.03, b.uniform(0.2, 0.3), (x, y + t + h, 0), bevel=0.01), "arm pad, arm"
        )
        if b.chance():
            b.add_mirrored(bar((x, y + 0.01, 0), (x, y + t + h, 0), 0.05, 0.025, up=(0, 0, 1)), "arm support, arm")
            b.add_mirrored(bar((0.1, y, 0), (x, y + 0.01, 0), 0.04, 0.02), "arm support, arm")
        else:
            path = [(x - 0.03, y, 0.08), (x, y + t + h, 0.1), (x, y + t + h, -0.1), (x - 0.03, y, -0.08)]
            b.add_mirrored(tube(path, 0.015), "arm support, arm")


def _stool_legs(b: Builder, w: float, y: float) -> None:
    splay, r = b.uniform(0, 0.1), b.uniform(0.012, 0.03)
    legs(b, w * 0.85, w * 0.85, y, "leg", splay, r)
    stretchers(b, w * 0.85, w * 0.85, y * 0.3, r * 0.6, "stretcher, footrest")


def _stool_three(b: Builder, w: float, y: float) -> None:
    for angle in np.radians([90, 210, 330]):
        c, s = np.cos(angle), np.sin(angle)
        b.add(rod((c * w * 0.3, y, s * w * 0.3), (c * w * 0.55, 0, s * w * 0.55), b.uniform(0.015, 0.03)), "leg")


def _stool_star(b: Builder, w: float, y: float) -> None:
    star_base(b, y, w * 0.7, "leg", "column, leg", b.chance())


def _stool_pedestal(b: Builder, w: float, y: float) -> None:
    foot = w * b.uniform(0.45, 0.6)
    b.add(lathe([(0, 0), (foot, 0), (foot, 0.015), (0.03, 0.05), (0.03, y), (0, y)]), "base, leg")
    if b.chance():
        b.add(torus(w * 0.35, 0.012, (0, y * 0.35, 0)), "footrest, foot ring")
        b.add(rod((-w * 0.35, y * 0.35, 0), (w * 0.35, y * 0.35, 0), 0.01), "footrest, foot ring")


STOOL_KINDS = {
    "legs": _stool_legs,
    "three": _stool_three,
    "star": _stool_star,
    "pedestal": _stool_pedestal,
}


@family("stool", names=SEAT_WORDS)
def stool(b: Builder) -> None:
    w, y, t = b.uniform(0.28, 0.45), b.uniform(0.3, 0.8), b.uniform(0.02, 0.1)
    kind = b.choice("legs", "legs", "star", "pedestal", "three")
    STOOL_KINDS[kind](b, w, y)
    shape = b.choice("round", "square", "saddle")
    if shape == "round":
        b.add(lathe([(0, y), (w / 2 * 0.96, y), (w / 2, y + t / 2), (w / 2 * 0.93, y + t), (0, y + t)]), "seat")
    elif shape == "square":
        b.add(box(w, t, w, (0, y + t / 2, 0), bevel=b.uniform(0, t / 2)), "seat")
    else:
        b.add(
            box(w, t, w * 0.7, (0, y + t / 2, 0), bevel=t * 0.3).deform(
                lambda v: v + np.array([0, 0.8, 0]) * v[:, :1] ** 2
            ),
            "seat",
        )
    if b.chance(0.25):
        h = b.uniform(0.1, 0.3)
        path = arc(w * 0.45, 20, 160, (0, y + t + h, 0), plane="xz") * (1, 1, -1)
        b.add(sweep(path, rounded_rectangle(0.02, h * 0.5, 0), up=(0, 1, 0)), "back")
        for s in (-1, 1):
            b.add(
                rod((s * w * 0.25, y, -w * 0.37), (s * w * 0.25, y + t + h, -w * 0.37), 0.01),
                "back post, back",
            )


@family("bench", names=SEAT_WORDS)
def bench(b: Builder) -> None:
    w, d, y, t = b.uniform(1, 1.8), b.uniform(0.3, 0.5), b.uniform(0.35, 0.48), b.uniform(0.02, 0.06)
    if b.chance():
        legs(b, w, d, y, "leg", b.uniform(0, 0.05), b.uniform(0.02, 0.04))
    else:
        for x in (-w * 0.42, w * 0.42) if b.chance() else (-w * 0.42, 0, w * 0.42):
            b.add(box(b.uniform(0.04, 0.1), y, d * 0.9, (x, y / 2, 0)), "leg")
    if b.chance():
        count = b.integers(3, 6)
        for i in range(count):
            b.add(box(w, t, d / count * 0.8, (0, y + t / 2, ((i + 0.5) / count - 0.5) * d)), "slat, seat")
    else:
        b.add(box(w, t, d, (0, y + t / 2, 0), bevel=b.uniform(0, t / 2)), "seat")
    if b.chance(0.7):
        h, lean, count = b.uniform(0.3, 0.5), b.uniform(0, 15), b.integers(1, 4)
        for i in range(count):
            slat = box(w, h / count * 0.75, t, (0, h * (i + 0.7) / (count + 0.2), 0)).rotate("x", -lean)
            b.add(slat.translate(0, y + t, -d / 2), "slat, back" if count > 1 else "back")
        for x in (-w * 0.42, w * 0.42):
            b.add(
                box(0.05, h, t, (x, h / 2, -t)).rotate("x", -lean).translate(0, y + t * 0.5, -d / 2), "back post, back"
            )
        if b.chance():
            b.add_mirrored(box(0.05, 0.03, d, (w / 2 - 0.03, y + 0.2, 0)), "arm")
            b.add_mirrored(
                rod((w / 2 - 0.03, y, d / 2 - 0.05), (w / 2 - 0.03, y + 0.2, d / 2 - 0.05), 0.02),
                "arm support, arm",
            )


TABLE_WORDS = {
    "leg": ("leg or support", "support leg", "table leg", "base"),
    "base": ("table base", "support", "leg or support"),
    "stretcher": ("leg stretcher", "bar stretcher", "crossbar"),
    "wheel": ("caster wheel", "castor"),
}

ENDS, LONG = ((-1, -1, -1, 1), (1, -1, 1, 1)), ((-1, -1, 1, -1), (-1, 1, 1, 1))
TABLE_STRETCHERS = {  # from x, z to x, z; the legs stand at -1 and 1
    "h": (*ENDS, (-1, 0, 1, 0)),
    "turned h": (*LONG, (0, -1, 0, 1)),
    "double h": (*ENDS, (-1, -0.35, 1, -0.35), (-1, 0.35, 1, 0.35)),
    "x": ((-1, -1, 1, 1), (-1, 1, 1, -1)),
    "box": (*ENDS, *LONG),
    "u": (*ENDS, (-1, -1, 1, -1)),
    "ends": ENDS,
    "long": LONG,
}


def _table_stretchers(b: Builder, x: float, z: float, room: float, r: float, splay: float, top: float) -> None:
    """Bars between legs at (+-x, +-z) under the top, on one or two levels below room."""
    style = b.choice(*TABLE_STRETCHERS)
    thick = r * (b.uniform(1.6, 2) if b.chance() else b.uniform(0.5, 1.3))
    tall, round_ = thick * b.uniform(0.5, 2), b.chance(0.35)
    low = max(tall / 2, room * (b.uniform(0.05, 0.6) if b.chance(0.8) else 0))
    for y in (low, low + (room - low) * b.uniform(0.25, 0.7)) if b.chance(0.2) else (low,):
        out = splay * (1 - y / top)
        for x0, z0, x1, z1 in TABLE_STRETCHERS[style]:
            start, end = (x0 * (x + out), y, z0 * (z + out)), (x1 * (x + out), y, z1 * (z + out))
            b.add(rod(start, end, thick / 2) if round_ else bar(start, end, thick, tall), "stretcher")


def _table_shelves(b: Builder, w: float, d: float, room: float) -> None:
    """One or two boards below a table's top, under y = room."""
    count, style = 1 if b.chance(0.7) else 2, b.choice("board", "board", "board", "slats", "rim")
    t, low = min(b.uniform(0.006, 0.045), room * 0.2), b.uniform(0.05, 0.5)
    slats, rim = b.integers(4, 9), t + min(b.uniform(0.01, 0.06), room * 0.1)
    names = "shelf, lower shelf" if count == 1 else "shelf"
    for share in np.linspace(low, low + b.uniform(0.2, 0.42), count):
        y = room * share + t / 2
        if style == "slats":
            for i in range(slats):
                b.add(box(w, t, d / slats * 0.75, (0, y, ((i + 0.5) / slats - 0.5) * d)), names)
            continue
        b.add(box(w, t, d, (0, y, 0)), names)
        if style == "rim":
            b.add_mirrored(box(t, rim, d, (w / 2, y, 0)), names)
            b.add_mirrored(box(w, rim, t, (0, y, d / 2)), names, "z")


def caster(b: Builder, at: tuple[float, float, float], r: float, names: tuple[str, str]) -> None:
    """A wheel of radius r in a fork, whose top is at a point; names of the wheel and of the fork."""
    turn, wide = b.uniform(0, 360), r * 0.7
    fork = box(1.2 * r, 0.12 * r, 1.2 * r, (0, -0.06 * r, 0)) + box(wide + 0.3 * r, 0.15 * r, 0.8 * r, (0, -0.2 * r, 0))
    for s in (-1, 1):
        fork += box(0.12 * r, 1.3 * r, 0.6 * r, (s * (wide / 2 + 0.1 * r), -0.75 * r, 0.1 * r))
    wheel = cylinder(r, wide, (0, -1.3 * r, 0.2 * r), axis="x", segments=16)
    b.add(wheel.rotate("y", turn).translate(*at), names[0])
    b.add(fork.rotate("y", turn).translate(*at), names[1])


def casters(b: Builder, x: float, z: float, r: float, y: float = 0, middle: float = 0) -> None:
    """Four of them whose tops are at height y and (middle +- x, +- z)."""
    names = ("wheel", "wheel") if b.chance() else ("wheel, caster", "caster, wheel")
    for sx in (-1, 1):
        for sz in (-1, 1):
            caster(b, (middle + sx * x, y, sz * z), r, names)


def _aprons(b: Builder, x: float, z: float, top: float, drop: float, names: str, sides: str) -> None:
    """Boards on edge under the top, around +-x and +-z: all round, on the ends, or all but the front."""
    t, share = b.uniform(0.006, 0.03), b.uniform(0.85, 1)
    b.add_mirrored(box(t, drop, 2 * z * share, (x, top - drop / 2, 0)), names)
    if sides != "ends":
        board = box(2 * x * share, drop, t, (0, top - drop / 2, -z))
        b.add(board, names)
        if sides == "all":
            b.add(board.mirror("z"), names)


def _table_drawers(b: Builder, w: float, d: float, top: float, drop: float, names: str) -> None:
    """Drawers side by side over all of a width w under the top, in a frame of runners."""
    columns, wall = min(b.integers(1, 3), max(1, int(w / 0.2))), min(b.uniform(0.006, 0.02), drop * 0.1)
    if b.chance(0.75):
        frame = b.choice(names, "frame")
        for x in np.linspace(-(w - wall) / 2, (w - wall) / 2, columns + 1):
            b.add(box(wall, drop, d * 0.97, (x, top - drop / 2, 0)), frame)
        if b.chance():
            b.add(box(w, wall, d * 0.97, (0, top - drop - wall / 2, 0)), frame)
        else:
            b.add_mirrored(box(w, wall, 2 * wall, (0, top - drop - wall / 2, d * 0.47)), frame, "z")
        if b.chance(0.7):
            b.add(box(w, drop, wall, (0, top - drop / 2, -d / 2)), frame)
    rows = 2 if drop > 0.2 and b.chance(0.4) else 1
    opened = 0.4 if b.chance(0.3) else 0.0
    drawers(b, w, drop, d * 0.95, (0, top - 0.002, d / 2), columns, rows, opened, boxes=0.9)


def _underframe(
    b: Builder, w: float, d: float, top: float, r: float, splay: float = 0, slabs: bool = False, lot: float = 1
) -> None:
    """What joins the legs of a table, w x d over their outer sides: drawers, aprons, shelves, stretchers, castors.

    slabs: boards stand at both ends in place of four legs; lot: scales how often each is there.
    """
    if b.chance(0.3):
        return
    x, z, names = w / 2 - 1.2 * r, d / 2 - 1.2 * r, b.choice("apron, table frame", "panel, apron", "panel")
    between, deep = max(2 * x - 2 * r, 0.3 * w), d if slabs else max(d - r, 0.5 * d)
    drop = 0.0
    if b.chance(0.3 * lot):
        drop = min(b.uniform(0.05, 0.28), top * 0.6)
        _table_drawers(b, between, deep * b.uniform(0.85, 1), top, drop, names)
        if b.chance() and not slabs:
            _aprons(b, x, z, top, drop, names, b.choice("ends", "three"))
    elif b.chance(0.5 * lot):
        drop = min(b.uniform(0.03, 0.15), top * 0.6) if b.chance(0.75) else top * b.uniform(0.3, 0.9)
        _aprons(b, between / 2 if slabs else x, z, top, drop, names, b.choice("all", "all", "three", "ends"))
    room = max(top - drop, top * 0.2)
    if b.chance(0.35 * lot):
        inside = b.uniform(0.85, 1)
        _table_shelves(b, between if slabs else 2 * x * inside, 2 * z * inside, room)
    elif b.chance(0.4 * lot):
        _table_stretchers(b, x, z, room, r, splay, top)
    if b.chance(0.16 * lot):
        casters(b, x + splay, z + splay, min(b.uniform(0.015, 0.055), top * 0.3))


def _table_legs(b: Builder, w: float, d: float, lw: float, ld: float, top: float, t: float, r: float) -> None:
    splay = min(b.uniform(0, 0.1), top * 0.25) if b.chance(0.25) else 0
    style = None
    if b.chance(0.3):  # square legs flush with the edges
        lw, ld, style, splay = lw + 0.4 * r, ld + 0.4 * r, "square", 0
    legs(b, lw, ld, top, "leg", splay, r, style)
    _underframe(b, lw, ld, top, r, splay, lot=1.25)


def _table_pedestal(b: Builder, w: float, d: float, lw: float, ld: float, top: float, t: float, r: float) -> None:
    foot = min(w, d) * b.uniform(0.25, 0.42)
    column = b.uniform(0.03, 0.08)
    if b.chance():
        b.add(lathe([(0, 0), (foot, 0), (foot, 0.025), (column, 0.07), (0, 0.07)]), "base")
    else:
        for angle in (45, 135, 225, 315):
            tip = (foot * 1.2 * np.cos(np.radians(angle)), 0.02, foot * 1.2 * np.sin(np.radians(angle)))
            b.add(
                tube(bezier((0, top * 0.3, 0), (tip[0] * 0.7, top * 0.3, tip[2] * 0.7), tip), 0.025),
                "base",
            )
    wave = b.uniform(0, 0.4)
    level = np.linspace(0, 1, 12)
    turned = np.stack([column * (1 + wave * np.sin(9 * level)), 0.05 + (top - 0.05) * level], 1)
    b.add(lathe([(0, 0.05), *turned, (0, top)]), "pedestal, column, leg")


def _table_panels(b: Builder, w: float, d: float, lw: float, ld: float, top: float, t: float, r: float) -> None:
    r = min(r, 0.03)
    for s in (-1, 1):
        b.add(box(2 * r, top, ld, (s * (lw / 2 - r), top / 2, 0)), "leg")
    _underframe(b, lw, ld, top, r, slabs=True, lot=1.25)


def _table_frame(b: Builder, w: float, d: float, lw: float, ld: float, top: float, t: float, r: float) -> None:
    # a flat loop of bars at each end, at the front and back, or of both kinds
    r = min(r, top * 0.2)
    x, z, kind = lw / 2 - r, ld / 2 - r, b.choice("ends", "ends", "long", "both")
    loops = [[(s * x, z), (s * x, -z)] for s in (-1, 1)] if kind != "long" else []
    loops += [[(x, s * z), (-x, s * z)] for s in (-1, 1)] if kind != "ends" else []
    for (x0, z0), (x1, z1) in loops:
        for y in (r, top - r):
            b.add(bar((x0, y, z0), (x1, y, z1), 2 * r, 2 * r), "leg")
        for px, pz in ((x0, z0), (x1, z1)):
            b.add(box(2 * r, top, 2 * r, (px, top / 2, pz)), "leg")
    _underframe(b, lw, ld, top, r)


def _table_chest(b: Builder, w: float, d: float, lw: float, ld: float, top: float, t: float, r: float) -> None:
    # a case under the top: open, with drawers, or both
    y = min(b.uniform(0, 0.15), top * 0.3)
    inside, wall = top - y, min(b.uniform(0.008, 0.03), top * 0.1)
    names = b.choice("panel", "panel, apron", "body, table frame")
    b.add_mirrored(box(wall, inside, ld, ((lw - wall) / 2, y + inside / 2, 0)), names)
    b.add(box(lw, wall, ld, (0, y + wall / 2, 0)), names)
    if b.chance(0.7):
        b.add(box(lw, inside, wall, (0, y + inside / 2, -(ld - wall) / 2)), names)
    if y > 0.02:
        if b.chance(0.4):
            casters(b, lw * 0.45, ld * 0.43, y / 2.3, y)
        else:
            legs(b, lw, ld, y, "leg", r=min(r, y * 0.4), style=b.choice("round", "square", "taper"))
    drop = inside * b.uniform(0.3, 1) - wall if b.chance(0.7) else 0.0
    if drop:
        rows = b.integers(1, 2) if drop > 0.12 else 1
        drawers(b, lw - 2 * wall, drop, ld * 0.9, (0, top - wall / 2, ld / 2), b.integers(1, 3), rows, boxes=0.9)
    elif b.chance(0.7):
        b.add(box(lw - 2 * wall, wall, ld * 0.96, (0, y + inside * b.uniform(0.3, 0.7), 0)), "shelf")


def _table_trestle(b: Builder, w: float, d: float, lw: float, ld: float, top: float, t: float, r: float) -> None:
    for s in (-1, 1):
        x = s * lw * 0.4
        b.add(bar((x, 0, -ld / 2), (x, top, -ld * 0.1), 2 * r, 2 * r, up=(1, 0, 0)), "leg")
        b.add(bar((x, 0, ld / 2), (x, top, ld * 0.1), 2 * r, 2 * r, up=(1, 0, 0)), "leg")
    b.add(bar((-lw * 0.4, top * 0.3, 0), (lw * 0.4, top * 0.3, 0), 2 * r, 2 * r), "stretcher, leg")


def _table_hairpin(b: Builder, w: float, d: float, lw: float, ld: float, top: float, t: float, r: float) -> None:
    for sx in (-1, 1):
        for sz in (-1, 1):
            x, z = sx * lw * 0.42, sz * ld * 0.42
            b.add(tube([(x - 0.06, top, z), (x, 0, z), (x + 0.06, top, z)], 0.009), "leg")
    if b.chance(0.3):
        _table_shelves(b, lw * 0.84, ld * 0.84, top)


def _table_cross(b: Builder, w: float, d: float, lw: float, ld: float, top: float, t: float, r: float) -> None:
    for s in (-1, 1):
        x = s * lw * 0.4
        b.add(bar((x, 0, -ld / 2), (x, top, ld / 2), 2 * r, 2 * r, up=(1, 0, 0)), "leg")
        b.add(bar((x, 0, ld / 2), (x, top, -ld / 2), 2 * r, 2 * r, up=(1, 0, 0)), "leg")


def _table_double(b: Builder, w: float, d: float, lw: float, ld: float, top: float, t: float, r: float) -> None:
    for s in (-1, 1):
        x = s * lw * 0.35
        b.add(bar((x, 0.03, 0), (x, top, 0), 0.08, 0.06, up=(0, 0, 1)), "leg")
        b.add(box(0.07, 0.05, ld * 0.9, (x, 0.025, 0)), "foot, leg")


TABLE_BASES = {
    "legs": _table_legs,
    "pedestal": _table_pedestal,
    "panels": _table_panels,
    "frame": _table_frame,
    "chest": _table_chest,
    "trestle": _table_trestle,
    "hairpin": _table_hairpin,
    "cross": _table_cross,
    "double": _table_double,
}


TABLE_SIZES = {  # width, depth, height, thickness of the top
    "any": ((0.6, 1.8), (0.5, 1.0), (0.3, 0.9), (0.015, 0.08)),
    "dining": ((0.9, 2.4), (0.6, 1.1), (0.65, 0.8), (0.01, 0.07)),
    "coffee": ((0.6, 1.5), (0.4, 1.0), (0.22, 0.5), (0.01, 0.1)),
    "low": ((0.7, 1.6), (0.5, 1.2), (0.13, 0.3), (0.015, 0.12)),
    "side": ((0.3, 0.6), (0.3, 0.6), (0.35, 0.8), (0.008, 0.06)),
    "console": ((0.8, 1.7), (0.22, 0.45), (0.65, 0.95), (0.015, 0.07)),
    "tall": ((0.5, 1.3), (0.4, 0.8), (0.9, 1.3), (0.015, 0.08)),
}


def _tabletop(b: Builder, w: float, d: float, y: float, t: float, shape: str) -> None:
    """A top whose underside is at y."""
    if shape in ("round", "oval", "octagon"):
        sides = 8 if shape == "octagon" else 36
        b.add(cylinder(0.5, t, (0, y + t / 2, 0), segments=sides).scale(w, 1, d), "tabletop")
    elif shape == "planks":
        count, gap = b.integers(2, 8), b.uniform(0.85, 0.995)
        for i in range(count):
            b.add(box(w, t, d / count * gap, (0, y + t / 2, ((i + 0.5) / count - 0.5) * d)), "tabletop")
    else:
        corner = b.uniform(0.02, 0.15) if shape == "soft" else 0
        b.add(box(w, t, d, (0, y + t / 2, 0), bevel=b.uniform(0, t * 0.4), corner=corner), "tabletop")


@family("table", names=TABLE_WORDS)
def table(b: Builder) -> None:
    ranges = TABLE_SIZES[b.choice("any", "coffee", "coffee", *TABLE_SIZES)]
    w, d, h, t = (b.uniform(low, high) for low, high in ranges)
    t = min(t * (2 if b.chance(0.1) else 1), h * 0.45)
    top = h - t
    shape = b.choice("rect", "rect", "rect", "rect", "round", "oval", "soft", "octagon", "planks")
    r = min(b.uniform(0.008, 0.05), 0.08 * min(w, d))
    if shape in ("round", "octagon"):
        w = d
    _tabletop(b, w, d, top, t, shape)
    over = b.uniform(0.66, 0.75) if shape in ("round", "oval", "octagon") else 1.0
    if over == 1 and b.chance(0.7):
        over = b.uniform(0.85, 1) if b.chance(0.7) else b.uniform(0.6, 0.85)
    lw, ld = w * over, d * over * (b.uniform(0.9, 1) if over < 1 else 1)
    kind = b.choice(
        *("legs", "legs", "legs", "legs", "legs", "panels", "frame", "chest"),
        *("pedestal", "trestle", "hairpin", "cross", "double"),
    )
    TABLE_BASES[kind](b, w, d, lw, ld, top, t, r)


def _pull_knob(size: float) -> Mesh:
    r = min(size * 0.3, 0.025)
    mesh = lathe([(0, 0), (r * 0.4, 0), (r * 0.4, r * 0.8), (r, r), (r * 0.8, r * 1.9), (0, r * 2)], 12).rotate("x", 90)
    return mesh


def _pull_bar(size: float) -> Mesh:
    mesh = rod((-size / 2, 0, 0.03), (size / 2, 0, 0.03), 0.008, segments=8)
    mesh += rod((-size * 0.4, 0, 0), (-size * 0.4, 0, 0.03), 0.006, segments=6) + rod(
        (size * 0.4, 0, 0), (size * 0.4, 0, 0.03), 0.006, segments=6
    )
    return mesh


def _pull_bow(size: float) -> Mesh:
    return tube(arc(size / 2, 0, 180, plane="xz", r2=0.04, steps=10), 0.008, 8)


def _pull_cup(size: float) -> Mesh:
    return box(size, 0.025, 0.02, (0, 0, 0.01), bevel=0.006)


PULL_STYLES = {
    "knob": _pull_knob,
    "bar": _pull_bar,
    "bow": _pull_bow,
    "cup": _pull_cup,
}


def pull(
    b: Builder,
    x: float,
    y: float,
    z: float,
    size: float,
    names: str = "handle",
    style: str = "",
    upright: bool = False,
) -> None:
    """A furniture handle on a front that faces +z."""
    style = style or b.choice("bar", "knob", "bow", "cup")
    mesh = PULL_STYLES[style](size)
    b.add((mesh.rotate("z", 90) if upright else mesh).translate(x, y, z), names)


def drawers(
    b: Builder,
    w: float,
    h: float,
    d: float,
    at: tuple[float, float, float],
    columns: int,
    rows: int,
    opened: float = 0.2,
    boxes: float = 0.6,
) -> None:
    """A block of drawers; at is the middle of the block's upper front edge.

    opened: chance of a drawer to be out; boxes: chance that the closed ones have their insides too.
    """
    cw, rh = w / columns, h / rows
    style, size = b.choice("bar", "knob", "bow", "cup", "none"), cw * b.uniform(0.2, 0.5)
    whole, fill = b.chance(boxes), b.uniform(0.93, 0.99)
    fw, fh, wall, front = cw * fill, rh * min(fill, 0.96), min(b.uniform(0.005, 0.014), cw * 0.05), min(0.02, d * 0.1)
    tall = fh * b.uniform(0.55, 0.9)
    for c in range(columns):
        for r in range(rows):
            x, y = at[0] + (c + 0.5) * cw - w / 2, at[1] - (r + 0.5) * rh
            z = at[2] + (b.uniform(0.2, 0.7) * d if b.chance(opened) else 0)
            b.add(box(fw, fh, front, (x, y, z)), "drawer front, drawer")
            if whole or z > at[2]:
                low, deep = y - fh * 0.46, d * 0.92
                b.add(box(fw * 0.94, wall, deep, (x, low + wall / 2, z - deep / 2)), "drawer")
                b.add(box(fw * 0.94, tall, wall, (x, low + tall / 2, z - deep)), "drawer")
                for s in (-1, 1):
                    b.add(box(wall, tall, deep, (x + s * fw * 0.46, low + tall / 2, z - deep / 2)), "drawer")
            if style != "none":
                pull(b, x, y, z + front / 2, size, "handle, drawer handle", style)


@family("desk", names=TABLE_WORDS)
def desk(b: Builder) -> None:
    w, d, h, t = b.uniform(1, 1.7), b.uniform(0.5, 0.8), b.uniform(0.68, 0.8), b.uniform(0.02, 0.05)
    top = h - t
    b.add(box(w, t, d, (0, top + t / 2, 0), bevel=b.uniform(0, t / 3)), "tabletop")
    left, right = b.choice("drawers", "legs", "panel", "cabinet"), b.choice("drawers", "legs", "panel")
    for s, kind in ((-1, left), (1, right)):
        x, cw = s * w * 0.36, w * b.uniform(0.2, 0.27)
        if kind in ("drawers", "cabinet"):
            low = b.uniform(0, 0.1)
            x = s * (w / 2 - cw / 2 - 0.01)
            if b.chance(0.3):
                b.add(box(cw, top - low, d * 0.92, (x, (top + low) / 2, -0.01)), "cabinet frame, cabinet, body")
            else:
                case = Builder(b.rng)
                carcass(case, cw, top - low, d * 0.92, low, b.uniform(0.008, 0.02), "cabinet frame, cabinet, body")
                for names, mesh in case.pieces():
                    b.add(mesh.translate(x, 0, -0.01), names)
            if low > 0.05 and b.chance(0.6):
                casters(b, cw * 0.4, d * 0.38, low / 2.3, low, x)
            front = d * 0.45 + 0.005
            if kind == "drawers":
                rows = b.integers(2, 4)
                drawers(b, cw * 0.96, (top - low) * 0.94, d * 0.8, (x, top - 0.01, front), 1, rows, 0.1, 0.85)
            else:
                b.add(
                    box(cw * 0.94, (top - low) * 0.94, 0.02, (x, (top + low) / 2, front)),
                    "door, cabinet door",
                )
                pull(
                    b,
                    x - s * cw * 0.35,
                    (top + low) / 2,
                    front + 0.01,
                    0.1,
                    "handle, door handle",
                    upright=True,
                )
        elif kind == "panel":
            b.add(box(0.03, top, d * 0.95, (s * (w / 2 - 0.03), top / 2, 0)), "leg")
        else:
            for z in (-d * 0.44, d * 0.44):
                b.add(rod((s * w * 0.47, top, z), (s * w * 0.47, 0, z), 0.025), "leg")
    tray = b.chance(0.15)
    if not tray and b.chance(0.35):
        _table_drawers(b, w * 0.42, d * 0.85, top, b.uniform(0.06, 0.14), "apron, table frame")
    if b.chance(0.4):
        b.add(box(w * 0.9, top * 0.5, 0.015, (0, top * 0.72, -d * 0.45)), "back panel, modesty panel")
    if b.chance(0.3):
        hutch = b.uniform(0.2, 0.5)
        for x in (-w * 0.49, w * 0.49):
            b.add(box(0.02, hutch, 0.22, (x, h + hutch / 2, -d / 2 + 0.12)), "hutch frame, hutch")
        b.add(box(w, 0.02, 0.22, (0, h + hutch, -d / 2 + 0.12)), "shelf, hutch")
    if tray:
        b.add(box(w * 0.4, 0.015, d * 0.35, (0, top - 0.08, d * 0.35)), "keyboard tray")


CABINET_WORDS = {
    "cabinet frame": ("frame", "cabinet body", "body", "carcass", "cabinet"),
    "countertop": ("top", "worktop", "counter"),
    "base": ("plinth", "bottom base", "toe kick"),
    "handle": ("pull", "handle or grip", "door handle"),
    "shelf": ("shelf board", "inner shelf", "horizontal board"),
    "door": ("cabinet door", "door panel"),
    "back panel": ("back board", "rear panel"),
}


def carcass(b: Builder, w: float, h: float, d: float, y: float, t: float, names: str = "cabinet frame") -> None:
    """A box open to the front: sides, top, bottom, back."""
    for s in (-1, 1):
        b.add(box(t, h, d, (s * (w - t) / 2, y + h / 2, 0)), f"side panel, {names}")
    b.add(box(w - 2 * t, t, d, (0, y + t / 2, 0)), f"bottom panel, {names}")
    b.add(box(w - 2 * t, t, d, (0, y + h - t / 2, 0)), f"top panel, {names}")
    b.add(box(w - 2 * t, h - 2 * t, t * 0.5, (0, y + h / 2, -d / 2 + t / 4)), f"back panel, {names}")


def feet(b: Builder, w: float, d: float, y: float) -> None:
    kind = b.choice("legs", "plinth", "wheels") if y > 0.04 else "plinth"
    if kind == "legs":
        legs(b, w, d, y, "leg, cabinet base", r=min(0.03, y * 0.4), style=b.choice("round", "square", "taper"))
    elif kind == "plinth":
        b.add(box(w * 0.96, y, d * 0.92, (0, y / 2, -d * 0.03)), "base, cabinet base")
    else:
        r = y * 0.45
        for sx in (-1, 1):
            for sz in (-1, 1):
                b.add(cylinder(r, r, (sx * (w / 2 - r), r, sz * (d / 2 - r)), axis="x"), "wheel, cabinet base")
                b.add(
                    rod(
                        (sx * (w / 2 - r), r, sz * (d / 2 - r)),
                        (sx * (w / 2 - r), y, sz * (d / 2 - r)),
                        r * 0.3,
                    ),
                    "caster support, base, cabinet base",
                )


def cell(b: Builder, x: float, y: float, w: float, h: float, d: float, front: float, style: str) -> None:
    """One compartment of a cabinet's front, (x, y) its middle: doors, drawers or open shelves."""
    kind = (
        b.choice("door", "door", "doors", "drawers", "open")
        if h > w * 0.5
        else b.choice("drawers", "drawers", "door", "open")
    )
    if kind == "drawers":
        drawers(
            b,
            w,
            h,
            d * 0.9,
            (x, y + h / 2, front),
            b.integers(1, 2) if w > h else 1,
            max(1, round(h / b.uniform(0.15, 0.3))),
            0.15,
        )
        return
    open_angle = b.uniform(20, 115) if b.chance(0.35) else 0
    if kind == "open" or open_angle or b.chance(0.2):
        for level in np.linspace(0, 1, b.integers(1, 4) + 2)[1:-1]:
            b.add(box(w * 0.99, 0.015, d * 0.92, (x, y + (level - 0.5) * h, front - d * 0.48)), "shelf")
    if kind == "open":
        return
    leaves = [(-1, w)] if kind == "door" else [(-1, w / 2), (1, w / 2)]
    if kind == "door" and b.chance():
        leaves = [(1, w)]
    paneled, size = b.chance(0.3), b.uniform(0.06, 0.25)
    at = b.choice("middle", "top", "bottom")
    for side, lw in leaves:
        hinge = x + side * w / 2
        piece = Builder(b.rng)
        piece.add(box(lw * 0.97, h * 0.97, 0.02, (-side * lw / 2, 0, 0.01)), "door")
        if paneled:
            piece.add(box(lw * 0.65, h * 0.72, 0.012, (-side * lw / 2, 0, 0.022), bevel=0.005), "door")
        if style != "none":
            hy = {"middle": 0.0, "top": h * 0.3, "bottom": -h * 0.3}[at]
            pull(
                piece,
                -side * lw * 0.86,
                hy,
                0.02,
                min(size, h * 0.5),
                "handle, door handle",
                style,
                upright=True,
            )
        swing = side * open_angle * (1 if b.chance(0.7) else 0)
        for names, mesh in piece.pieces():
            b.add(mesh.rotate("y", swing).translate(hinge, y, front), names)


@family("cabinet", names=CABINET_WORDS)
def cabinet(b: Builder) -> None:
    w, h, d, t = b.uniform(0.4, 1.6), b.uniform(0.4, 1.8), b.uniform(0.3, 0.6), b.uniform(0.012, 0.035)
    y = b.uniform(0.03, 0.2) if b.chance(0.75) else 0.0
    carcass(b, w, h, d, y, t)
    if y:
        feet(b, w, d, y)
    if b.chance(0.4):
        b.add(
            box(
                w * b.uniform(1, 1.06),
                b.uniform(0.015, 0.05),
                d * b.uniform(1, 1.06),
                (0, y + h + 0.01, 0.01),
                bevel=0.004,
            ),
            "countertop",
        )
    columns = max(1, min(4, round(w / b.uniform(0.35, 0.7))))
    rows = max(1, min(3, round(h / b.uniform(0.45, 1.0))))
    style = b.choice("bar", "knob", "bow", "cup", "none")
    edges = np.linspace(-w / 2 + t, w / 2 - t, columns + 1)
    cuts = np.cumsum([0, *(b.uniform(0.5, 1.5) for _ in range(rows))])
    levels = y + t + cuts / cuts[-1] * (h - 2 * t)
    for c in range(1, columns):
        b.add(box(t, h - 2 * t, d * 0.95, (edges[c], y + h / 2, 0)), "divider, vertical divider, cabinet frame")
    for r in range(rows):
        if r:
            b.add(box(w - 2 * t, t, d * 0.95, (0, levels[r], 0)), "shelf, cabinet frame")
        for c in range(columns):
            cw = edges[c + 1] - edges[c]
            cell(
                b,
                (edges[c] + edges[c + 1]) / 2,
                (levels[r] + levels[r + 1]) / 2,
                cw,
                levels[r + 1] - levels[r],
                d,
                d / 2,
                style,
            )


@family(
    "bookshelf",
    names={**CABINET_WORDS, "book": ("books",), "shelf": ("shelf board", "shelf surface", "surface")},
)
def bookshelf(b: Builder) -> None:
    w, h, d, t = b.uniform(0.4, 1.4), b.uniform(0.6, 2), b.uniform(0.2, 0.4), b.uniform(0.012, 0.04)
    backless, posts = b.chance(0.35), b.chance(0.25)
    y = b.uniform(0.02, 0.1) if b.chance(0.4) else 0
    if y:
        feet(b, w, d, y)
    for s in (-1, 1):
        if posts:
            for z in (-1, 1):
                b.add(
                    rod((s * (w / 2 - t), y, z * (d / 2 - t)), (s * (w / 2 - t), y + h, z * (d / 2 - t)), t),
                    "post, cabinet frame",
                )
        else:
            b.add(box(t, h, d, (s * (w - t) / 2, y + h / 2, 0)), "side panel, cabinet frame")
    if not backless:
        b.add(box(w, h, 0.008, (0, y + h / 2, -d / 2)), "back panel, cabinet frame")
    levels = np.linspace(0, 1, b.integers(2, 6) + 1)
    columns = 1 if posts else b.integers(1, 3)
    for i, level in enumerate(levels):
        b.add(box(w - t, t, d, (0, y + t / 2 + level * (h - t), 0)), "shelf")
        if i < len(levels) - 1:
            for c in range(1, columns):
                b.add(
                    box(
                        t,
                        h * (levels[1] - levels[0]),
                        d * 0.95,
                        ((c / columns - 0.5) * w, y + (level + levels[1] / 2) * h, 0),
                    ),
                    "divider, cabinet frame",
                )
            if b.chance(0.3):
                x, room = -w / 2 + t * 2, h * (levels[1] - levels[0])
                while x < w / 2 - t * 2 - 0.05 and b.chance(0.9):
                    bw, bh = b.uniform(0.02, 0.05), room * b.uniform(0.5, 0.85)
                    b.add(
                        box(bw, bh, d * b.uniform(0.5, 0.8), (x + bw / 2, y + t + level * (h - t) + bh / 2, 0)),
                        "book",
                    )
                    x += bw + 0.001


@family(
    "bed",
    names={
        "mattress": ("sleep area", "bed mattress", "sleeping surface"),
        "frame": ("bed frame", "bed base"),
        "headboard": ("head board",),
        "blanket": ("bedspread", "duvet", "cover"),
        "pillow": ("cushion",),
    },
)
def bed(b: Builder) -> None:
    w, d, y = b.uniform(0.8, 1.9), b.uniform(1.8, 2.1), b.uniform(0.12, 0.35)
    rail, mat = b.uniform(0.08, 0.25), b.uniform(0.12, 0.28)
    style = b.choice("legs", "box", "legs")
    low = y if style == "legs" else 0
    b.add(box(w, y + rail - low, d, (0, (y + rail + low) / 2, 0), bevel=b.uniform(0, 0.03)), "frame")
    if style == "legs":
        legs(b, w, d, y, "leg", r=b.uniform(0.025, 0.05), style=b.choice("round", "square", "taper"))
    top = y + rail + mat * 0.8
    b.add(box(w * 0.95, mat, d * 0.96, (0, top - mat / 2, 0.01), bevel=b.uniform(0.02, 0.06)), "mattress")
    for name, z, high, p in (
        ("headboard", -d / 2, b.uniform(0.4, 1.0), 0.85),
        ("footboard", d / 2, b.uniform(0.1, 0.4), 0.35),
    ):
        if not b.chance(p):
            continue
        tall = y + rail + high
        if b.chance(0.6):
            b.add(
                box(w * b.uniform(1, 1.08), tall, b.uniform(0.03, 0.1), (0, tall / 2, z), bevel=b.uniform(0, 0.015)),
                name,
            )
        else:
            for x in (-w / 2, w / 2):
                b.add(rod((x, 0, z), (x, tall, z), 0.03), name)
            for x in np.linspace(-w / 2, w / 2, b.integers(5, 12))[1:-1]:
                b.add(rod((x, y, z), (x, tall * 0.97, z), 0.012), name)
            b.add(rod((-w / 2, tall, z), (w / 2, tall, z), 0.025), name)
    if b.chance(0.75):
        count = 1 if w < 1.2 else 2
        for i in range(count):
            x = ((i + 0.5) / count - 0.5) * w * 0.9
            b.add(
                box(
                    w * 0.75 / count,
                    b.uniform(0.1, 0.16),
                    b.uniform(0.3, 0.42),
                    (x, top + 0.06, -d / 2 + 0.3),
                    bevel=0.05,
                ),
                "pillow",
            )
    if b.chance(0.6):
        long = d * b.uniform(0.4, 0.72)
        drop = mat * b.uniform(0.2, 0.9)
        b.add(
            box(w * 0.99, drop + 0.04, long, (0, top + 0.03 - drop / 2, d / 2 - long / 2 + 0.01), bevel=0.02),
            "blanket",
        )
    if b.chance(0.15):
        for x in (-w / 2, w / 2):
            for z in (-d / 2, d / 2):
                b.add(rod((x, 0, z), (x, 2.0, z), 0.03), "bed post, post")


@family("ladder", names={"rung": ("step", "ladder step"), "rail": ("side rail", "frame", "leg")})
def ladder(b: Builder) -> None:
    h, w, count, r = b.uniform(1.5, 2.5), b.uniform(0.3, 0.5), b.integers(4, 9), b.uniform(0.015, 0.03)
    fold = b.uniform(10, 22) if b.chance() else 0
    flat = b.chance()
    for sign in (-1, 1) if fold else (1,):
        for s in (-1, 1):
            b.add(
                bar((s * w / 2, 0, 0), (s * w / 2 * 0.8, h, 0), 2 * r, 2 * r, up=(0, 0, 1))
                .translate(0, -h, 0)
                .rotate("x", -sign * fold),
                "rail",
            )
        if sign == 1:
            for i in range(count):
                y = h * (i + 0.7) / (count + 0.3)
                half = w / 2 * (1 - 0.2 * y / h)
                rung = box(2 * half, r, 0.08, (0, y, 0)) if flat else rod((-half, y, 0), (half, y, 0), r * 0.8)
                b.add(rung.translate(0, -h, 0).rotate("x", -fold), "rung")
        else:
            for y in (0.15 * h, 0.6 * h):
                b.add(
                    rod((-w * 0.45, y - h, 0), (w * 0.45, y - h, 0), r * 0.7).rotate("x", fold),
                    "brace, support bar",
                )
    if fold:
        b.add(box(w, 0.03, 0.2, bevel=0.005), "top step, top cap")


def _easy_legs(b: Builder, w: float, d: float, top: float, r: float) -> None:
    legs(b, w * 0.9, d * 0.9, top, "leg", b.uniform(0, 0.08), r)


def _easy_plinth(b: Builder, w: float, d: float, top: float, r: float) -> None:
    b.add(
        box(w * b.uniform(0.6, 1), top, d * b.uniform(0.6, 1), (0, top / 2, 0), top=b.uniform(0.8, 1.1)),
        "base, leg",
    )


def _easy_drum(b: Builder, w: float, d: float, top: float, r: float) -> None:
    foot, waist = w * b.uniform(0.3, 0.5), w * b.uniform(0.15, 0.45)
    b.add(lathe([(0, 0), (foot, 0), (waist, top / 2), (w * b.uniform(0.25, 0.45), top), (0, top)]), "base, leg")


def _easy_skids(b: Builder, w: float, d: float, top: float, r: float) -> None:
    for s in (-1, 1):
        x = s * w * 0.45
        rock = b.uniform(-0.02, 0.1)
        path = bezier((x, r + rock, d * 0.6), (x, r - rock, d * 0.2), (x, r - rock, -d * 0.2), (x, r + rock, -d * 0.6))
        b.add(tube(path, r), "leg")
        for z in (-1, 1):
            b.add(rod((x, top, z * d * 0.35), (x, r, z * d * 0.4), r), "leg")


def _easy_disc(b: Builder, w: float, d: float, top: float, r: float) -> None:
    foot = w * b.uniform(0.3, 0.5)
    b.add(
        lathe([(0, 0), (foot, 0), (foot, 0.02), (0.05, 0.04), (0.03, top * 0.6), (0.05, top), (0, top)]),
        "base, leg",
    )


def _easy_star(b: Builder, w: float, d: float, top: float, r: float) -> None:
    star_base(b, top, w * b.uniform(0.4, 0.6), "leg", "column, leg", b.chance(0.4))


def _easy_cross(b: Builder, w: float, d: float, top: float, r: float) -> None:
    for s in (-1, 1):
        x = s * w * 0.45
        b.add(bar((x, 0, d * 0.5), (x, top, -d * 0.45), 2 * r, 2 * r, up=(1, 0, 0)), "leg")
        b.add(bar((x, 0, -d * 0.5), (x, top, d * 0.45), 2 * r, 2 * r, up=(1, 0, 0)), "leg")


def _easy_wire(b: Builder, w: float, d: float, top: float, r: float) -> None:
    count = b.integers(8, 16)
    for angle in 2 * np.pi * np.arange(count) / count:
        c, s = np.cos(angle), np.sin(angle)
        b.add(rod((c * w * 0.4, 0, s * d * 0.4), (c * w * 0.2, top, s * d * 0.2), r * 0.5, segments=6), "leg")
    b.add(torus(w * 0.4, r * 0.6, (0, r, 0)).scale(1, 1, d / w), "base, leg")


def _easy_frame(b: Builder, w: float, d: float, top: float, r: float) -> None:
    for s in (-1, 1):
        b.add(box(2 * r, 2 * r, d, (s * (w / 2 - r), r, 0)), "leg")
        for z in (-1, 1):
            b.add(box(2 * r, top, 2 * r, (s * (w / 2 - r), top / 2, z * (d / 2 - r))), "leg")


EASY_BASES = {
    "legs": _easy_legs,
    "plinth": _easy_plinth,
    "drum": _easy_drum,
    "skids": _easy_skids,
    "disc": _easy_disc,
    "star": _easy_star,
    "cross": _easy_cross,
    "wire": _easy_wire,
    "frame": _easy_frame,
}


def easy_base(b: Builder, w: float, d: float, top: float) -> None:
    """What carries an easy chair: also plinths, drums, skids, discs and crosses as wide as the seat."""
    kind = b.choice(*EASY_BASES)
    r = b.uniform(0.012, 0.035)
    if top < 0.08:
        kind = "legs"
    EASY_BASES[kind](b, w, d, top, r)


@family("lounge chair", tags=(COMMON,), names=SEAT_WORDS)
def lounge_chair(b: Builder) -> None:
    """A low seat and a long, leaning back, thin or upholstered."""
    w, d, y, t = b.uniform(0.5, 0.75), b.uniform(0.5, 0.8), b.uniform(0.15, 0.4), b.uniform(0.02, 0.16)
    easy_base(b, w, d, y)
    slope = b.uniform(0, 15)
    soft = b.uniform(0.1, 0.49) * t
    b.add(
        box(w, t, d, (0, t / 2, 0), bevel=soft).rotate("x", slope).translate(0, y, 0), b.choice("seat", "cushion, seat")
    )
    tall, lean, bt = b.uniform(0.4, 0.9), b.uniform(10, 35), b.uniform(0.02, 0.14)
    bow = b.uniform(0, 0.15)

    def back(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        across = 2 * u - 1
        return np.stack([across * w / 2 * (1 - 0.15 * v**2), tall * v, bow * across**2 + 0.04 * np.sin(3 * v)], -1)

    lift = y + np.sin(np.radians(slope)) * d / 2
    b.add(sheet(back, bt, 11, 11).rotate("x", -lean).translate(0, lift, -d / 2 + bt / 2), "back")
    if b.chance(0.3):
        z = -d / 2 - np.sin(np.radians(lean)) * tall * 0.85 + bt
        b.add(
            box(w * 0.6, 0.14, 0.08, (0, lift + np.cos(np.radians(lean)) * tall * 0.85, z), bevel=0.03),
            "headrest, back",
        )
    if b.chance(0.5):
        chair_arms(b, w, d, y + t)


@family("tub chair", tags=(COMMON,), names=SEAT_WORDS)
def tub_chair(b: Builder) -> None:
    """Back and arms as one wall round the seat, as high in front as behind or falling; eggs and balls too."""
    w, y, t = b.uniform(0.55, 0.8), b.uniform(0.06, 0.4), b.uniform(0.03, 0.12)
    deep = w * b.uniform(0.85, 1.1)
    easy_base(b, w * 0.9, deep * 0.9, y)
    round_, low, high = b.uniform(2, 5), b.uniform(0.0, 0.3), b.uniform(0.35, 0.85)
    open_at = b.uniform(25, 70)  # degrees either side of the front
    steep, flare = b.uniform(0.8, 3), b.uniform(-0.1, 0.15)
    split = b.uniform(40, 75)  # where arms become back, from the rear

    def wall(from_: float, to: float) -> Mesh:
        def surface(u: np.ndarray, v: np.ndarray) -> np.ndarray:
            degrees = from_ + (to - from_) * u
            a = np.radians(degrees)
            c, s = np.cos(a), np.sin(a)
            k = (np.abs(c) ** round_ + np.abs(s) ** round_) ** (-1 / round_)
            behind = np.clip((180 - np.abs(degrees)) / (180 - open_at), 0, 1)  # 0 at the rear, 1 in front
            top = low + (high - low) * (1 - behind**steep)
            out = 1 + flare * v
            return np.stack([s * k * w / 2 * out, y + (top + 0.12) * v, c * k * deep / 2 * out], -1)

        return sheet(surface, t, 17, 9)

    b.add(wall(180 - split, 180) + wall(-180, -180 + split), "back")
    if 180 - split > open_at + 5:
        armed = "arm" if low > 0.06 or b.chance(0.5) else "back"
        b.add(wall(open_at, 180 - split), armed)
        b.add(wall(-180 + split, -open_at), armed)
    outline = np.array([(np.cos(a), np.sin(a)) for a in np.linspace(0, 6.1, 30)])
    outline = np.sign(outline) * np.abs(outline) ** (2 / round_) * (w * 0.46, deep * 0.46)
    thick = b.uniform(0.05, 0.2)
    b.add(stack(outline, [(y, 0.96), (y + thick * 0.3, 1), (y + thick * 0.8, 1), (y + thick, 0.93)]), "seat")


def _block_sides(b: Builder, w: float, d: float, y: float, t: float, bt: float) -> None:
    arms = b.chance(0.6)
    high = y + (b.uniform(0.15, 0.25) if arms else 0)
    for s in (-1, 1):
        x, side = s * (w / 2 + bt / 2), b.uniform(0.8, 1)
        b.add(box(bt, y, d * side, (x, y / 2, 0)), "leg")
        if arms:
            b.add(box(bt, high - y, d * side, (x, (y + high) / 2, 0)), "arm")


def _block_box(b: Builder, w: float, d: float, y: float, t: float, bt: float) -> None:
    b.add(box(w * b.uniform(0.7, 1), y, d * b.uniform(0.7, 1), (0, y / 2, 0)), "base, leg")


def _block_back_legs(b: Builder, w: float, d: float, y: float, t: float, bt: float) -> None:
    for s in (-1, 1):
        b.add(box(bt, y, bt, (s * (w / 2 - bt / 2), y / 2, d / 2 - bt / 2)), "leg")
        b.add(box(bt, y, bt, (s * (w / 2 - bt / 2), y / 2, -d / 2 + bt / 2)), "leg")


def _block_waterfall(b: Builder, w: float, d: float, y: float, t: float, bt: float) -> None:
    b.add(box(w, y, bt, (0, y / 2, d / 2 - bt / 2)), "leg")
    if b.chance():
        b.add(box(w, y, bt, (0, y / 2, -d / 2 + bt / 2)), "leg")


def _block_throne(b: Builder, w: float, d: float, y: float, t: float, bt: float) -> None:
    b.add(box(w, y, d, (0, y / 2, 0)), "base, leg")
    b.add_mirrored(box(bt * 1.3, b.uniform(0.15, 0.25), d, (w / 2, y + t + 0.08, 0), bevel=0.01), "arm")


BLOCK_BASES = {
    "sides": _block_sides,
    "box": _block_box,
    "back legs": _block_back_legs,
    "waterfall": _block_waterfall,
    "throne": _block_throne,
}


@family("block chair", tags=(COMMON,), names=SEAT_WORDS)
def block_chair(b: Builder) -> None:
    """Boards and blocks: sides that are legs and arms at once, boxes for a base, backs down to the floor."""
    w, d, y, t = b.uniform(0.4, 0.7), b.uniform(0.4, 0.65), b.uniform(0.25, 0.5), b.uniform(0.02, 0.1)
    tall, bt = b.uniform(0.3, 0.75), b.uniform(0.02, 0.12)
    kind = b.choice(*BLOCK_BASES)
    b.add(box(w, t, d, (0, y + t / 2, 0), bevel=b.uniform(0, t / 3)), "seat")
    BLOCK_BASES[kind](b, w, d, y, t, bt)
    if kind == "throne":
        tall *= 1.4
    lean = b.uniform(0, 12) if kind != "back legs" else 0
    pieces = [box(w * b.uniform(0.8, 1), tall, bt, (0, tall / 2, 0), bevel=b.uniform(0, bt / 3), top=b.uniform(0.7, 1))]
    if b.chance(0.3):
        pieces.append(box(w * 0.7, tall * 0.6, bt, (0, tall / 2, bt * 0.7), bevel=bt * 0.3))
    for piece in pieces:
        b.add(piece.rotate("x", -lean).translate(0, y + t * 0.5, -d / 2 + bt / 2), "back")


def faced(b: Builder, w: float, h: float, d: float, y: float, columns: int, rows: int, kinds: tuple[str, ...]) -> None:
    """A carcass whose front is divided into cells, each of one of the kinds: drawers or what a cabinet's cell is."""
    t = b.uniform(0.012, 0.04)
    carcass(b, w, h, d, y, t)
    if y:
        feet(b, w, d, y)
    style = b.choice("bar", "knob", "bow", "cup", "none")
    cw, ch = (w - 2 * t) / columns, (h - 2 * t) / rows
    for c in range(columns):
        if c:
            b.add(box(t, h - 2 * t, d * 0.95, (c * cw - (w / 2 - t), y + h / 2, 0)), "divider, cabinet frame")
        kind = b.choice(*kinds)
        for r in range(rows):
            x, low = (c + 0.5) * cw - (w / 2 - t), y + t + r * ch
            if r:
                b.add(box(cw, t, d * 0.95, (x, low, 0)), "shelf, cabinet frame" if b.chance() else "cabinet frame")
            if kind == "drawers":
                drawers(b, cw, ch, d * 0.9, (x, low + ch, d / 2), 1, b.integers(1, 2), 0.4 if b.chance(0.4) else 0.0)
            elif kind == "open":
                b.add(box(cw, t, d * 0.92, (x, low + ch / 2, -d * 0.02)), "shelf")
            else:
                cell(b, x, low + ch / 2, cw, ch, d, d / 2, style)


@family("dresser", tags=(COMMON,), names=CABINET_WORDS)
def dresser(b: Builder) -> None:
    columns = b.integers(1, 3)
    faced(
        b,
        columns * b.uniform(0.35, 0.7),
        b.uniform(0.5, 1.3),
        b.uniform(0.35, 0.55),
        b.uniform(0.03, 0.2),
        columns,
        b.integers(2, 5),
        ("drawers",),
    )


@family("wardrobe", tags=(COMMON,), names=CABINET_WORDS)
def wardrobe(b: Builder) -> None:
    columns = b.integers(1, 3)
    faced(
        b,
        columns * b.uniform(0.45, 0.7),
        b.uniform(1.5, 2.1),
        b.uniform(0.45, 0.65),
        b.uniform(0, 0.12),
        columns,
        b.integers(1, 2),
        ("doors", "doors", "drawers"),
    )


@family("sideboard", tags=(COMMON,), names=CABINET_WORDS)
def sideboard(b: Builder) -> None:
    """Low and wide: sideboards, stands for televisions, kitchen units."""
    columns = b.integers(2, 4)
    w, h, d, y = columns * b.uniform(0.35, 0.6), b.uniform(0.3, 0.85), b.uniform(0.35, 0.6), b.uniform(0, 0.25)
    faced(b, w, h, d, y, columns, b.integers(1, 2), ("doors", "drawers", "open"))
    if b.chance(0.5):
        b.add(box(w * 1.03, b.uniform(0.02, 0.05), d * 1.05, (0, y + h + 0.015, 0.01)), "countertop, cabinet frame")
