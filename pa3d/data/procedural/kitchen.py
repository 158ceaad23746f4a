"""Vessels, pots, containers, cutlery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
    hollow,
    hollow_box,
    lathe,
    rod,
    rounded_rectangle,
    sheet,
    sphere,
    stack,
    sweep,
    torus,
    tube,
)
from pa3d.data.procedural.registry import COMMON, Builder, family


def _wall_straight(b: Builder, belly: float, steps: int, t: np.ndarray, low: float) -> np.ndarray:
    return np.ones(steps)


def _wall_cone(b: Builder, belly: float, steps: int, t: np.ndarray, low: float) -> np.ndarray:
    return low + (1 - low) * t if b.chance(0.7) else 1 - (1 - low) * t


def _wall_belly(b: Builder, belly: float, steps: int, t: np.ndarray, low: float) -> np.ndarray:
    return low + b.uniform(0.1, belly) * np.sin(np.pi * t ** b.uniform(0.6, 1.3))


def _wall_tulip(b: Builder, belly: float, steps: int, t: np.ndarray, low: float) -> np.ndarray:
    return low + (1 - low) * t**3 + 0.12 * np.sin(np.pi * t)


def _wall_foot(b: Builder, belly: float, steps: int, t: np.ndarray, low: float) -> np.ndarray:
    return np.minimum(1, (0.02 + t * b.uniform(2, 6)) ** 0.4)


WALL_KINDS = {
    "straight": _wall_straight,
    "cone": _wall_cone,
    "belly": _wall_belly,
    "tulip": _wall_tulip,
    "foot": _wall_foot,
}


def wall(b: Builder, r: float, h: float, taper: float = 0.3, belly: float = 0.3, steps: int = 14) -> np.ndarray:
    """A random vessel profile (steps, 2) from the foot to the rim at height h; r is its widest radius."""
    t = np.linspace(0, 1, steps)
    kind = b.choice("straight", "cone", "belly", "tulip", "foot")
    low = 1 - b.uniform(0, taper)
    shape = WALL_KINDS[kind](b, belly, steps, t, low)
    return np.stack([r * shape / shape.max(), h * t], 1)


def radius_at(profile: np.ndarray, y: float) -> float:
    return float(np.interp(y, profile[:, 1], profile[:, 0]))


def _side_handle_c(a: np.ndarray, c: np.ndarray, out: float) -> np.ndarray:
    return bezier(a, a + (out * 1.2, 0.1 * out, 0), c + (out * 1.2, -0.1 * out, 0), c, steps=16)


def _side_handle_ear(a: np.ndarray, c: np.ndarray, out: float) -> np.ndarray:
    return bezier(a, a + (out, out * 0.6, 0), c + (out * 1.3, out * 0.4, 0), c + (out * 0.3, 0, 0), c, steps=16)


def _side_handle_square(a: np.ndarray, c: np.ndarray, out: float) -> np.ndarray:
    return np.array(
        [
            a,
            a + (out * 0.7, 0, 0),
            a + (out * 0.8, -out * 0.1, 0),
            c + (out * 0.8, out * 0.1, 0),
            c + (out * 0.7, 0, 0),
            c,
        ]
    )


def _side_handle_slant(a: np.ndarray, c: np.ndarray, out: float) -> np.ndarray:
    return np.array([a, a + (out * 0.8, 0, 0), a + (out * 0.8, -out * 0.12, 0), c])


def _side_handle_ring(a: np.ndarray, c: np.ndarray, out: float) -> np.ndarray:
    middle, half = (a + c) / 2, (a[1] - c[1]) / 2
    deep = min(out, half * 1.2)
    return arc(deep, 115, -115, (middle[0] + deep * 0.35, middle[1], 0), steps=18, r2=half)


def _side_handle_low(a: np.ndarray, c: np.ndarray, out: float) -> np.ndarray:
    return bezier(a, a + (out * 0.4, 0, 0), c + (out * 2, out * 0.3, 0), c + (0, -out * 0.1, 0), steps=16)


def _side_handle_curl(a: np.ndarray, c: np.ndarray, out: float) -> np.ndarray:
    # its lower end rolls away from the wall
    return bezier(a, a + (out, out * 0.5, 0), c + (out * 1.6, 0, 0), c + (0, 0, 0), c + (out * 0.5, -out * 0.4, 0))


SIDE_HANDLE_KINDS = {
    "c": _side_handle_c,
    "ear": _side_handle_ear,
    "square": _side_handle_square,
    "slant": _side_handle_slant,
    "ring": _side_handle_ring,
    "low": _side_handle_low,
    "curl": _side_handle_curl,
}


def side_handle(
    b: Builder, profile: np.ndarray, low: float, high: float, names: str = "handle", closed: float = 0.85
) -> None:
    """A handle on the +x side between two heights of a vessel."""
    a = np.array([radius_at(profile, high) * 0.97, high, 0])
    c = np.array([radius_at(profile, low) * 0.97, low, 0])
    out = (high - low) * b.uniform(0.35, 1.1)
    t = (high - low) * (b.uniform(0.06, 0.13) if b.chance(0.7) else b.uniform(0.03, 0.2))
    kind = b.choice("c", *SIDE_HANDLE_KINDS)
    path = SIDE_HANDLE_KINDS[kind](a, c, out)
    if not b.chance(closed):
        path = path[: int(len(path) * 0.75) + 1]
    section = ellipse(t, t, 8) if b.chance() else rounded_rectangle(t * b.uniform(1.5, 3), t * 1.1, t * 0.3, 3)
    b.add(
        sweep(path, section, up=(0, 0.02, 1) if kind in ("square", "slant") else None)
        if len(section) != 8
        else tube(path, t, 8),
        names,
    )


def small_lid(b: Builder, r: float, y: float, names: str = "lid", knob: str = "lid knob, knob, lid") -> None:
    """A lid of radius r that lies at y, flat or domed, with or without a knob."""
    rise = r * b.uniform(0.05, 0.45)
    lip = r * b.uniform(0.03, 0.1)
    t = np.linspace(0, np.pi / 2, 8)
    b.add(
        lathe([(0, y), (r, y), (r, y + lip), *np.stack([r * 0.98 * np.cos(t), y + lip + rise * np.sin(t)], 1)]),
        names,
    )
    kind = b.choice("ball", "post", "loop", "none")
    top = y + lip + rise
    if kind == "ball":
        b.add(sphere(r * b.uniform(0.1, 0.22), (0, top + r * 0.1, 0)), knob)
    elif kind == "post":
        k = r * b.uniform(0.1, 0.25)
        b.add(
            lathe(
                [
                    (k * 0.5, top - 0.02 * r),
                    (k * 0.5, top + k),
                    (k, top + k),
                    (k, top + 1.6 * k),
                    (0, top + 1.6 * k),
                ]
            ),
            knob,
        )
    elif kind == "loop":
        b.add(tube(arc(r * 0.25, 0, 180, (0, top - r * 0.02, 0), r2=r * 0.25), r * 0.05, 8), knob)


MUG = {
    "cup": ("body", "mug body", "cup body", "container"),
    "handle": ("handle or grip", "grip", "ear", "mug handle"),
}


@family("mug", names=MUG)
def mug(b: Builder) -> None:
    r, h = b.uniform(0.25, 0.55), b.uniform(0.45, 1.1)
    profile = wall(b, r, h)
    b.add(hollow(profile, b.uniform(0.012, 0.07), 24 if b.chance(0.85) else b.integers(6, 10)), "cup")
    side_handle(b, profile, h * b.uniform(0.05, 0.4), h * b.uniform(0.62, 0.97), closed=0.92)
    if b.chance(0.15):
        small_lid(b, profile[-1, 0] * 1.02, h)


def _cup_side(b: Builder, r: float, h: float) -> np.ndarray:  # (N, 2): radius, y
    """Sides of cups: round at the foot, straight, conical, waisted, flared, on a foot ring."""
    t = np.linspace(0, 1, 14)
    kind = b.choice("bowl", "bowl", "straight", "cone", "waist", "flare", "barrel")
    k = b.uniform(0.1, 0.45)
    shape = {
        "bowl": 0.35 + 0.65 * t ** b.uniform(0.25, 0.8),
        "straight": np.minimum(1, 0.85 + t * 2),
        "cone": 1 - k + k * t,
        "waist": 1 - k * 0.5 * np.sin(np.pi * t),
        "flare": 0.6 + k * 0.3 * t + (0.4 - k * 0.3) * t**4,
        "barrel": 0.8 + 0.2 * np.sin(np.pi * np.clip(0.1 + 0.8 * t, 0, 1)),
    }[kind]
    side = np.stack([r * shape, h * t], 1)
    if not b.chance(0.35):
        return side
    foot, high = side[0, 0] * b.uniform(0.6, 0.95), h * b.uniform(0.03, 0.2)
    return np.concatenate([[(foot, 0)], [(foot * 0.9, high * 0.7)], side + (0, high)])


def _cup_handles(b: Builder, profile: np.ndarray, h: float) -> bool:
    """None, one or two handles; a thumb plate or a solid ear at times. Returns whether there is one."""
    kind = b.choice("one", "one", "one", "one", "two", "ear", "none")
    low, high = h * b.uniform(0.12, 0.45), h * b.uniform(0.62, 0.95)
    if kind == "ear":
        x, y = radius_at(profile, high) * 0.96, high - h * 0.05
        out, t = h * b.uniform(0.2, 0.45), b.uniform(0.015, 0.05)
        b.add(box(out, t, out * b.uniform(0.8, 1.3), (x + out / 2, y, 0), corner=out * b.uniform(0.1, 0.5)), "handle")
        return True
    if kind == "none":
        return False
    piece = Builder(b.rng)
    side_handle(piece, profile, low, high)
    for names, mesh in piece.pieces():
        b.add(mesh, names)
        if kind == "two":
            b.add(mesh.rotate("y", 180), names)
    return True


def _cup_tea(b: Builder) -> None:
    """Cups for tea, coffee and soup, with handles, on a saucer, at times with a spoon or what is in them."""
    r, h = b.uniform(0.25, 0.5), b.uniform(0.25, 0.75)
    profile = _cup_side(b, r, h)
    h = float(profile[-1, 1])
    sides = 28 if b.chance(0.85) else b.integers(6, 12)
    b.add(hollow(profile, b.uniform(0.012, 0.06), sides), "cup")
    handled = _cup_handles(b, profile, h)
    if b.chance(0.35) or not handled:
        s, lip = max(r, profile[0, 0]) * b.uniform(1.25, 1.9), b.uniform(0.02, 0.1)
        rows = [(0, -0.03), (s * 0.5, -0.03), (s, lip), (s, lip + 0.02), (s * 0.5, 0), (0, 0)]
        b.add(lathe(rows, 32), "saucer")
        if b.chance(0.25):
            b.add(rod((-s * 0.3, 0.03, s * 0.8), (s * 0.6, lip + 0.03, s * 0.5), 0.012), "spoon")
    if b.chance(0.15):
        small_lid(b, profile[-1, 0], h)


def _cup_paper(b: Builder, kind: str) -> None:
    """Cups to carry away and glasses: slim, with lid, sleeve, straw."""
    r, h = b.uniform(0.22, 0.38), b.uniform(0.5, 1.1)
    low = b.uniform(0.6, 1)
    profile = np.array([(r * low, 0), (r, h)])
    b.add(hollow(profile, b.uniform(0.008, 0.03)), "cup")
    b.add(torus(r, b.uniform(0.006, 0.015), (0, h, 0)), "cup")
    lidded = kind == "takeaway" or b.chance(0.3)
    if lidded:
        k, y, rise = r * b.uniform(1.02, 1.08), h - b.uniform(0.02, 0.06), b.uniform(0.03, 0.16)
        dish = [(k, y), (k, h + 0.02), (k * 0.9, h + 0.03), (k * b.uniform(0.6, 0.88), h + rise)]
        ball = [(k, y), (k, h + 0.02), *[(k * np.cos(a), h + 0.02 + r * np.sin(a)) for a in np.linspace(0.1, 1.3, 7)]]
        b.add(lathe(ball if b.chance(0.2) else [*dish, (0, h + rise - b.uniform(0, 0.025))]), "lid")
    if lidded and b.chance():
        y0, y1 = h * b.uniform(0.2, 0.4), h * b.uniform(0.55, 0.8)
        a, c = radius_at(profile, y0), radius_at(profile, y1)
        b.add(lathe([(a + 0.003, y0), (a + 0.014, y0), (c + 0.014, y1), (c + 0.003, y1)]), "sleeve")
    if b.chance(0.35):
        x, lean = b.uniform(-0.1, 0.1), b.uniform(-0.1, 0.15)
        end = (x + lean, h * b.uniform(1.2, 1.5), 0)
        path = [(x, 0.1, 0), end]
        if b.chance(0.3):
            path.append((end[0] + 0.15, end[1] + 0.08, 0))
        b.add(tube(path, b.uniform(0.01, 0.025), 8), "straw, drinking straw")


@family(
    "cup",
    names={"cup": ("body", "cup body", "container"), "saucer": ("plate", "dish"), "sleeve": ("cup sleeve",)},
)
def cup(b: Builder) -> None:
    kind = b.choice("tea", "tea", "tea", "takeaway", "tumbler")
    if kind == "tea":
        _cup_tea(b)
    else:
        _cup_paper(b, kind)


BOTTLE = {
    "body": ("bottle body", "main body", "base body", "container"),
    "lid": ("cap", "cover", "closure", "bottle cap", "stopper"),
    "neck": ("bottle neck", "mouth"),
}


def _bottle_screw(b: Builder, neck: float, y: float, c: float, ch: float) -> None:
    low, top, side = y - ch * b.uniform(0.5, 0.95), b.uniform(0.85, 1), b.integers(12, 28)
    b.add(lathe([(c * 0.7, low), (c, low), (c, low + ch * 0.9), (c * top, low + ch), (0, low + ch)], side), "lid")
    if b.chance(0.3):  # the ring that stays when it is opened
        b.add(lathe([(c * 1.02, low - ch * 0.2), (c * 1.02, low - ch * 0.03), (neck * 0.9, low - ch * 0.03)]), "lid")


def _bottle_tall(b: Builder, neck: float, y: float, c: float, ch: float) -> None:
    """A tall cap, straight or pointed as those of sauce and glue bottles."""
    high, tip = neck * b.uniform(1.5, 5), b.uniform(0.08, 1)
    c, low = neck * b.uniform(1.05, 2), y - neck * b.uniform(0.2, 0.8)
    b.add(lathe([(neck * 0.8, low), (c, low), (c, low + high * 0.3), (c * tip, low + high), (0, low + high)]), "lid")


def _bottle_cork(b: Builder, neck: float, y: float, c: float, ch: float) -> None:
    out, top = neck * b.uniform(0.3, 1.6), b.uniform(0.85, 1.25)
    low = y - neck * 0.6
    b.add(cylinder(neck * 0.85, out + neck * 0.6, (0, (low + y + out) / 2, 0), top=neck * top), "lid")
    if b.chance(0.25):
        b.add(sphere(neck * b.uniform(0.9, 1.6), (0, y + out + neck * 0.6, 0)), "lid")


def _bottle_crown(b: Builder, neck: float, y: float, c: float, ch: float) -> None:
    """The tin cap of beer bottles, its edge in waves."""
    r, high = neck * b.uniform(1.1, 1.35), neck * b.uniform(0.3, 0.6)
    wave = 1 + 0.05 * np.cos(21 * 2 * np.pi * np.arange(63) / 63)
    low = y - high * 0.7
    rows = [(low, r), (low + high * 0.6, r * 0.9), (low + high, r * 0.75), (low + high * 1.05, 0.001)]
    b.add(stack(ellipse(1, 1, 63) * wave[:, None], rows), "lid")


def _bottle_swing(b: Builder, neck: float, y: float, c: float, ch: float) -> None:
    """A stopper held by a wire."""
    b.add(
        lathe([(neck * 0.9, y - 0.01), (neck * 1.15, y + neck * 0.3), (neck * 0.8, y + neck * 0.8), (0, y + neck)]),
        "lid",
    )
    x, low = neck * 1.3, y - neck * b.uniform(1.2, 2)
    b.add(
        tube([(x, low, 0), (x, y + neck * 0.4, 0), (-x, y + neck * 0.4, 0), (-x, low, 0)], neck * 0.08, 6), "wire, lid"
    )
    b.add(torus(neck * 1.15, neck * 0.08, (0, low, 0)), "wire, lid")


def _bottle_pump(b: Builder, neck: float, y: float, c: float, ch: float) -> None:
    b.add(
        lathe(
            [
                (c, y - 0.05),
                (c, y + 0.04),
                (neck * 0.4, y + 0.07),
                (neck * 0.25, y + 0.07),
                (neck * 0.25, y + 0.16),
            ]
        ),
        "lid",
    )
    b.add(
        box(neck * 1.3, 0.05, neck * 1.3, (0, y + 0.18, 0), bevel=0.015)
        + rod((0, y + 0.18, 0), (0, y + 0.16, neck + 0.12), 0.02),
        "pump head, pump, dispenser head",
    )


def _bottle_spray(b: Builder, neck: float, y: float, c: float, ch: float) -> None:
    b.add(cylinder(c, 0.09, (0, y, 0)), "lid")
    b.add(
        box(neck * 1.4, 0.12, neck * 3.5, (0, y + 0.12, neck * 0.4), bevel=0.02),
        "spray head, dispenser head, nozzle",
    )
    b.add(
        sweep(
            bezier((0, y + 0.07, neck * 1.3), (0, y, neck * 1.5), (0, y - 0.1, neck * 2.2)),
            rounded_rectangle(neck * 0.6, 0.02),
        ),
        "trigger",
    )


def _bottle_sport(b: Builder, neck: float, y: float, c: float, ch: float) -> None:
    b.add(
        lathe(
            [
                (c, y - 0.06),
                (c, y),
                (c * 0.5, y + 0.05),
                (c * 0.4, y + 0.05),
                (c * 0.45, y + 0.13),
                (0, y + 0.13),
            ]
        ),
        "lid",
    )


def _bottle_round(b: Builder, neck: float, y: float, c: float, ch: float) -> None:
    b.add(ellipsoid(c, ch, c, (0, y + ch * 0.5, 0)), "lid")


BOTTLE_KINDS = {
    "screw": _bottle_screw,
    "tall": _bottle_tall,
    "cork": _bottle_cork,
    "crown": _bottle_crown,
    "swing": _bottle_swing,
    "pump": _bottle_pump,
    "spray": _bottle_spray,
    "sport": _bottle_sport,
    "round": _bottle_round,
}


@dataclass(frozen=True)
class Shape:
    """Ranges for a kind of bottle: radius, height of the straight side, shoulder and neck, radii of the neck."""

    r: tuple[float, float]
    side: tuple[float, float]
    shoulder: tuple[float, float]
    neck: tuple[float, float]  # height
    mouth: tuple[float, float]  # radius
    cone: tuple[float, float]  # radius of the neck's foot against its mouth
    lids: tuple[str, ...]


BOTTLES = {
    "wine": Shape(
        (0.12, 0.18),
        (0.5, 0.75),
        (0.05, 0.2),
        (0.2, 0.42),
        (0.036, 0.055),
        (1.0, 1.3),
        ("cork", "cork", "none", "screw"),
    ),
    "burgundy": Shape(
        (0.13, 0.19), (0.35, 0.55), (0.15, 0.35), (0.2, 0.4), (0.036, 0.05), (1.3, 2.0), ("cork", "none", "crown")
    ),
    "beer": Shape(
        (0.12, 0.19),
        (0.4, 0.6),
        (0.08, 0.25),
        (0.15, 0.4),
        (0.04, 0.06),
        (1.1, 1.7),
        ("crown", "crown", "crown", "none", "swing"),
    ),
    "sauce": Shape(
        (0.11, 0.2), (0.35, 0.6), (0.08, 0.3), (0.12, 0.4), (0.035, 0.07), (1.1, 2.2), ("tall", "screw", "cork")
    ),
    "soda": Shape(
        (0.16, 0.21),
        (0.45, 0.65),
        (0.15, 0.4),
        (0.04, 0.1),
        (0.055, 0.075),
        (1.0, 1.15),
        ("screw", "screw", "screw", "none"),
    ),
    "short": Shape(
        (0.16, 0.32),
        (0.35, 0.75),
        (0.02, 0.18),
        (0.03, 0.12),
        (0.04, 0.16),
        (1.0, 1.2),
        ("screw", "tall", "cork", "pump", "spray", "sport", "round"),
    ),
    "flask": Shape(
        (0.2, 0.34),
        (0.12, 0.4),
        (0.1, 0.35),
        (0.05, 0.3),
        (0.035, 0.08),
        (1.0, 1.8),
        ("cork", "cork", "round", "none", "screw"),
    ),
    "any": Shape(
        (0.14, 0.32),
        (0.4, 0.8),
        (0.04, 0.3),
        (0.05, 0.35),
        (0.04, 0.14),
        (1.0, 1.5),
        ("screw", "cork", "pump", "spray", "sport", "round", "none", "tall"),
    ),
}


def bottle_side(b: Builder, kind: str, r: float, h: float) -> np.ndarray:  # (N, 2): radius, y
    """The side from the bottom to the shoulder: straight, with a waist, conical, of a ball, or with grooves."""
    s = np.linspace(0.03, 1, 20)
    if kind == "flask" and b.chance(0.6):
        return np.stack([r * np.sin(np.pi * (0.14 + 0.36 * s)), h * s], 1)
    shape = np.ones(20)
    if b.chance(0.35):
        shape -= b.uniform(0, 0.15) * np.sin(np.pi * s) ** 2
    if b.chance(0.25):
        shape *= 1 + b.uniform(-0.25, 0.12) * (1 - s)
    if b.chance(0.35 if kind == "soda" else 0.12):
        shape -= b.uniform(0.01, 0.03) * (0.5 + 0.5 * np.cos(2 * np.pi * b.integers(3, 6) * s))
    return np.stack([r * shape, h * s], 1)


def bottle_base(b: Builder, body: Mesh, kind: str, r: float) -> Mesh:
    """The body with five petals at its foot, as soda bottles have, or as it was."""
    if not b.chance(0.6 if kind == "soda" else 0.03):
        return body
    deep, high = b.uniform(0.08, 0.25), r * b.uniform(0.4, 1)

    def petals(v: np.ndarray) -> np.ndarray:
        fade = np.clip(1 - v[:, 1] / high, 0, 1) ** 1.5
        wave = 0.5 - 0.5 * np.cos(5 * np.arctan2(v[:, 0], v[:, 2]))
        v[:, [0, 2]] *= (1 - fade * (0.15 + deep * wave))[:, None]
        v[:, 1] += high * 0.25 * fade * wave * (v[:, 1] < high * 0.2)
        return v

    return body.deform(petals)


def neck_start(b: Builder, shoulder: np.ndarray) -> int:  # (N, 2): radius, y
    """The point of a shoulder from which on it is so steep that it belongs to the neck."""
    limit = b.uniform(0.4, 0.75)
    slope = -np.diff(shoulder[:, 0]) / np.maximum(np.diff(shoulder[:, 1]), 1e-9)
    flat = np.flatnonzero(slope > limit)
    return int(flat[-1]) + 1 if len(flat) else len(shoulder) // 3


@family("bottle", names=BOTTLE)
def bottle(b: Builder) -> None:
    """Wine, beer, sauce, soda and other bottles; the neck starts where the shoulder has become steep."""
    kind = b.choice(*BOTTLES, "any", "short", "soda")
    shape = BOTTLES[kind]
    r, h, mouth = b.uniform(*shape.r), b.uniform(*shape.side), b.uniform(*shape.mouth)
    mouth = min(mouth, r * 0.7)
    shoulder, tall, foot = b.uniform(*shape.shoulder), b.uniform(*shape.neck), mouth * b.uniform(*shape.cone)
    foot = min(foot, r * 0.75)
    t = np.linspace(0, 1, 16)
    bend = b.choice("round", "s", "s", "straight", "sharp")
    blend = {"round": 1 - np.sqrt(1 - 0.98 * t**2), "s": 0.5 - 0.5 * np.cos(np.pi * t), "straight": t, "sharp": t}[bend]
    if bend == "sharp":
        shoulder *= b.uniform(0.15, 0.5)
    over = np.stack([r + (foot - r) * blend / blend[-1], h + shoulder * t], 1)
    side = bottle_side(b, kind, r, h)
    round_ = side[0, 0] * b.uniform(0.75, 0.98)
    over[:, 0] += (side[-1, 0] - r) * (1 - t)
    flat = b.chance(0.2) and kind in ("any", "short", "flask", "sauce")
    if flat:
        square = rounded_rectangle(1, b.uniform(0.5, 1), 0.15, 5) * 2
        square *= 0.5 / np.abs(square).max()
        rows = [
            (0, 2 * round_),
            *np.stack([side[:, 1], side[:, 0] * 2], 1),
            *np.stack([over[1:, 1], over[1:, 0] * 2], 1),
        ]
        b.add(stack(square, rows), "body")
    else:
        push = r * b.uniform(0, 0.2)
        start = neck_start(b, over)
        profile = [(0, push), (round_ * 0.85, 0), (round_, 0), *side, *over[1 : start + 1]]
        b.add(bottle_base(b, lathe(profile, 40), kind, r), "body")
        if start < len(over) - 1:
            b.add(lathe(over[start:]), "neck")
    top, y = h + shoulder, h + shoulder + tall
    n = np.linspace(0, 1, 8)
    curve = n ** b.uniform(0.6, 1.2)
    bulge = b.uniform(0, 0.12) * np.sin(np.pi * n) if b.chance(0.2) else 0 * n
    wall = np.stack([(foot + (mouth - foot) * curve) * (1 + bulge), top + tall * n], 1)
    b.add(lathe([*wall, (mouth * 0.75, y), (mouth * 0.75, y - tall * 0.4)]), "neck")
    if b.chance(0.4):
        ring, low = mouth * b.uniform(1.1, 1.45), y - min(tall * 0.5, mouth * b.uniform(0.3, 1.3))
        high = mouth * b.uniform(0.1, 0.4)
        b.add(
            lathe([(mouth * 0.9, low - high), (ring, low - high), (ring, low), (mouth * 0.9, low)]), "neck ring, neck"
        )
    c, ch = mouth * b.uniform(1.06, 1.6), min(mouth * b.uniform(0.4, 1.8), tall * 0.75 + 0.02)
    lid = b.choice(*shape.lids)
    if lid in BOTTLE_KINDS:
        BOTTLE_KINDS[lid](b, mouth, y, c, ch)
    if b.chance(0.15) and not flat:
        low, high = b.integers(3, 8), b.integers(11, 17)
        b.add(lathe(side[low:high] * (1.015, 1), 40), "label, band")
    if kind in ("any", "short", "flask") and b.chance(0.12):
        side_handle(b, np.array([(r, 0), (r, h), (foot, top)]), h * 0.3, top)


@family(
    "jar",
    names={"body": ("jar body", "container", "main body", "base body"), "lid": ("cap", "cover", "jar lid")},
)
def jar(b: Builder) -> None:
    r, h = b.uniform(0.3, 0.5), b.uniform(0.4, 1)
    profile = wall(b, r, h, 0.2)
    b.add(hollow(profile, 0.03), "body")
    c = profile[-1, 0] * b.uniform(0.95, 1.1)
    if b.chance():
        b.add(cylinder(c, b.uniform(0.06, 0.2), (0, h, 0)), "lid")
    else:
        small_lid(b, c, h)
    if b.chance(0.25):
        for m in (False, True):
            b.add(
                tube(
                    bezier(
                        (r * 0.9, h * 0.8, 0),
                        (r * 1.5, h * 0.8, 0),
                        (r * 1.4, h * 0.4, 0),
                        (r * 0.9, h * 0.45, 0),
                    ),
                    0.03,
                ).rotate("y", 180 * m),
                "handle",
            )


KETTLE = {
    "body": ("pot body", "kettle body", "main body", "container"),
    "lid": ("cover", "cap", "top lid"),
    "handle": ("grip", "handle or grip", "kettle handle"),
    "spout": ("nozzle", "beak", "pouring spout"),
}


def _spout_straight(b: Builder, r: float, y: float, h: float, out: float, rise: float) -> np.ndarray:
    return np.linspace((-r * 0.9, y, 0), (-r - out, y + rise, 0), 6)


def _spout_curved(b: Builder, r: float, y: float, h: float, out: float, rise: float) -> np.ndarray:
    return bezier((-r * 0.85, y, 0), (-r - out * 0.7, y, 0), (-r - out * 0.5, y + rise, 0), (-r - out, y + rise, 0))


def _spout_long(b: Builder, r: float, y: float, h: float, out: float, rise: float) -> np.ndarray:
    return bezier(
        (-r * 0.85, h * 0.2, 0),
        (-r - out, h * 0.15, 0),
        (-r - out * 0.2, h, 0),
        (-r - out, h * 1.05, 0),
        steps=18,
    )


SPOUT_PATHS = {
    "straight": _spout_straight,
    "curved": _spout_curved,
    "long": _spout_long,
}


def spout(b: Builder, profile: np.ndarray, h: float) -> None:
    """On the -x side."""
    kind = b.choice("curved", "straight", "beak", "long")
    y = h * b.uniform(0.2, 0.65)
    r = radius_at(profile, y)
    size = h * b.uniform(0.06, 0.13)
    if kind == "beak":
        y = h * 0.8
        r = radius_at(profile, y)
        b.add(
            sweep(
                [(-r * 0.8, y - 0.1 * h, 0), (-r * 1.15, y + 0.12 * h, 0), (-r * 1.3, h * 1.0, 0)],
                ellipse(1, 1.4, 12),
                up=(0, 1, 0),
                sizes=[size * 1.6, size * 1.3, size * 0.4],
            ),
            "spout",
        )
        return
    out, rise = b.uniform(0.4, 0.7) * h, b.uniform(0.3, 0.7) * h
    path = SPOUT_PATHS[kind](b, r, y, h, out, rise)
    sizes = np.linspace(size * b.uniform(1.1, 1.8), size * b.uniform(0.5, 0.8), len(path))
    b.add(tube(path, sizes, 12), "spout, base body")


KETTLE_PROFILES: dict[str, Callable[[Builder, np.ndarray], np.ndarray]] = {  # radius at height t, from 0 to 1
    "round": lambda b, t: np.sqrt(np.maximum(1 - (1.75 * t - 0.87) ** 2, 0.05)),
    "cone": lambda b, t: 1 - b.uniform(0.3, 0.55) * t,
    "cylinder": lambda b, t: np.where(t < 0.9, 1, 1 - (t - 0.9) * 3),
    "squat": lambda b, t: np.where(t < 0.45, 1, np.cos((t - 0.45) * 1.9)),
    "pear": lambda b, t: 1 - 0.65 * t**1.5 + 0.12 * np.sin(np.pi * t),
}


def kettle_lid(b: Builder, r: float, h: float, state: str) -> None:
    """The lid with its knob on the mouth, tilted at its edge, or missing."""
    if state == "off":
        return
    piece = Builder(b.rng)
    small_lid(piece, r, 0)
    tilt = b.uniform(30, 110) if state == "tilted" else 0.0
    for names, mesh in piece.pieces():
        b.add(mesh.rotate("z", -tilt, (r, 0, 0)).translate(0, h, 0), names)


def kettle_bar(b: Builder, profile: np.ndarray, h: float) -> None:
    """A handle as a straight grip between two uprights, or one pot handle out to a side."""
    foot, rise = radius_at(profile, h * 0.85) * b.uniform(0.6, 0.95), h * b.uniform(0.3, 0.7) + 0.1
    if b.chance(0.6):
        y, thin, thick = h * 0.85 + rise, b.uniform(0.008, 0.02), b.uniform(0.025, 0.05)
        b.add_mirrored(rod((foot, h * 0.8, 0), (foot * 0.9, y, 0), thin), "handle")
        b.add(rod((-foot * 0.95, y, 0), (foot * 0.95, y, 0), thick), "handle")
        return
    y = h * b.uniform(0.5, 0.8)
    at, long = radius_at(profile, y) * 0.95, b.uniform(0.25, 0.6)
    grip = rod((at, y, 0), (at + long, y + b.uniform(-0.02, 0.2), 0), b.uniform(0.02, 0.04), b.uniform(0.025, 0.06))
    b.add(grip.rotate("y", 90 if b.chance() else 0), "handle")


def draw_kettle(b: Builder) -> None:
    r, h = b.uniform(0.3, 0.5), b.uniform(0.35, 0.9)
    t = np.linspace(0, 1, 16)
    kind = b.choice(*KETTLE_PROFILES)
    shape = KETTLE_PROFILES[kind](b, t)
    if kind == "squat":
        h *= 0.75
    profile = np.stack([r * shape / shape.max(), h * t], 1)
    mouth = float(profile[-1, 0])
    lid = b.choice("on", "on", "on", "on", "tilted", "off")
    thin = b.uniform(0.01, 0.03)
    shell = lathe([(0, 0), *profile, (mouth * 0.9, h)]) if lid == "on" and b.chance(0.6) else hollow(profile, thin)
    b.add(shell, "body, base body")
    kettle_lid(b, mouth * b.uniform(0.8, 1), h, lid)
    spout(b, profile, h)
    if b.chance(0.2):  # a rib about the mouth or the widest place
        y = h if b.chance() else float(profile[int(profile[:, 0].argmax()), 1])
        b.add(torus(radius_at(profile, y), b.uniform(0.008, 0.02), (0, y, 0)), "body, base body")
    place = b.choice("side", "side", "over", "over", "top", "bar")
    if place == "bar":
        kettle_bar(b, profile, h)
        return
    if place == "side":
        side_handle(b, profile, h * b.uniform(0.15, 0.4), h * b.uniform(0.75, 1.0), closed=0.75)
    else:
        rise = h * b.uniform(0.35, 0.8) + 0.15
        foot = radius_at(profile, h * 0.9) * 0.95
        size = b.uniform(0.02, 0.045)
        if place == "over":
            path = arc(foot, 0, 180, (0, h * 0.9, 0), r2=rise, steps=20)
        else:
            path = np.array(
                [
                    (foot, h * 0.85, 0),
                    (foot, h * 0.9 + rise * 0.85, 0),
                    (foot * 0.85, h * 0.9 + rise, 0),
                    (-foot * 0.85, h * 0.9 + rise, 0),
                    (-foot, h * 0.9 + rise * 0.85, 0),
                    (-foot, h * 0.85, 0),
                ]
            )
        mesh = (
            tube(path, size)
            if b.chance()
            else sweep(path, rounded_rectangle(size * 3, size, size * 0.4), up=(0.01, 0.02, 1))
        )
        b.add(mesh.rotate("y", 90 if b.chance(0.1) else 0), "handle")
    if b.chance(0.25):
        b.add(cylinder(r * 1.03, 0.06, (0, -0.03, 0)), "base")


@family("kettle", names=KETTLE)
def kettle(b: Builder) -> None:
    draw_kettle(b)


@family("teapot", names={**KETTLE, "body": ("teapot body", "pot body", "main body", "container")})
def teapot(b: Builder) -> None:
    draw_kettle(b)


@family("watering can", names=KETTLE)
def watering_can(b: Builder) -> None:
    r, h = b.uniform(0.25, 0.35), b.uniform(0.4, 0.7)
    profile = wall(b, r, h, 0.2, 0.15)
    b.add(hollow(profile, 0.02), "body")
    out, high = b.uniform(0.4, 0.7), h * b.uniform(1, 1.4)
    tip = (-r - out, high, 0)
    b.add(tube([(-r * 0.85, h * 0.15, 0), tip], [0.06, 0.03]), "spout")
    if b.chance(0.7):
        b.add(lathe([(0.03, 0), (0.1, 0.1), (0, 0.12)]).rotate("z", 50).translate(*tip), "rose, sprinkler head, spout")
    b.add(
        tube(
            bezier(
                (r * 0.9, h * 0.2, 0),
                (r * 2.2, h * 0.5, 0),
                (r * 1.2, h * 1.9, 0),
                (-r * 0.7, h, 0),
                steps=20,
            ),
            0.025,
        ),
        "handle",
    )


@family(
    "pot",
    names={
        "body": ("pot body", "main body", "container", "base body"),
        "lid": ("cover", "pot lid"),
        "handle": ("grip", "side handle", "ear", "handle or grip"),
    },
)
def pot(b: Builder) -> None:
    r, h = b.uniform(0.35, 0.5), b.uniform(0.2, 0.7)
    profile = wall(b, r, h, 0.15, 0.15)
    b.add(hollow(profile, 0.025), "body")
    y = h * b.uniform(0.6, 0.9)
    size = r * b.uniform(0.06, 0.1)
    edge = radius_at(profile, y)
    if b.chance(0.35):
        length = b.uniform(0.5, 0.9)
        b.add(
            tube(
                [(edge, y, 0), (edge + length * 0.3, y + 0.03, 0), (edge + length, y + b.uniform(0, 0.15), 0)],
                [size * 0.7, size, size * 1.1],
            ),
            "long handle, handle",
        )
    else:
        out = r * b.uniform(0.2, 0.4)
        path = bezier(
            (edge * 0.95, y, -out),
            (edge + out * 1.3, y + 0.05, -out),
            (edge + out * 1.3, y + 0.05, out),
            (edge * 0.95, y, out),
        )
        b.add_mirrored(tube(path, size * 0.8), "handle")
    if b.chance(0.75):
        small_lid(b, profile[-1, 0] * b.uniform(0.98, 1.05), h, knob="lid handle, handle, lid")


@family("pan", names={"body": ("pan body", "cooking surface", "base body", "main body")})
def pan(b: Builder) -> None:
    r, h, t = b.uniform(0.35, 0.5), b.uniform(0.06, 0.18), 0.02
    low = r * b.uniform(0.7, 0.95)
    b.add(lathe([(0, 0), (low, 0), (r, h), (r - t, h), (low - t, t), (0, t)], 32), "body")
    length, size, tilt = b.uniform(0.5, 0.9), b.uniform(0.02, 0.045), b.uniform(0, 0.2)
    path = bezier((r * 0.97, h * 0.8, 0), (r + length * 0.4, h + tilt, 0), (r + length, h + tilt * 0.8, 0))
    b.add(
        sweep(
            path,
            rounded_rectangle(size * 2.2, size, size * 0.4),
            up=(0, 1, 0),
            sizes=np.linspace(0.8, 1.2, len(path)),
        ),
        "handle",
    )
    if b.chance(0.2):
        small_lid(b, r, h, knob="lid knob, knob")


@family(
    "bucket",
    names={
        "body": ("bucket body", "container", "main body", "base body", "pail"),
        "handle": ("grip", "bail", "handle or grip", "arc handle"),
    },
)
def bucket(b: Builder) -> None:
    r, h = b.uniform(0.32, 0.5), b.uniform(0.5, 1)
    low = r * b.uniform(0.6, 1)
    t = b.uniform(0.012, 0.03)
    round_ = b.chance(0.85)
    if round_:
        b.add(hollow([(low, 0), (r, h)], t, 32), "body")
    else:
        b.add(hollow_box(2 * low, h, 2 * low, t, (0, h / 2, 0), 0.1, r / low), "body")
    if b.chance():
        b.add(
            torus(r, t * b.uniform(0.8, 1.5), (0, h, 0)) if round_ else box(2 * r, 0.001, 0.02, (0, h, r)),
            "rim, edge",
        )
    y, bail = h * b.uniform(0.85, 0.97), b.uniform(0.01, 0.022)
    drop = b.choice("up", "down", "side", "tilted")
    angle = {"up": 0.0, "down": b.uniform(95, 120), "side": b.uniform(70, 90), "tilted": b.uniform(10, 60)}[drop] * (
        1 if b.chance() else -1
    )
    out = r * 1.03
    path = arc(out, 0, 180, r2=out * b.uniform(0.9, 1.25), steps=24)
    b.add(tube(path, bail, 8).rotate("x", angle).translate(0, y, 0), "handle")
    if b.chance(0.35):
        top = path[:, 1].max()
        b.add(
            cylinder(bail * 2.3, out * 0.6, (0, top, 0), axis="x").rotate("x", angle).translate(0, y, 0),
            "grip, handle",
        )
    b.add_mirrored(box(t * 2, 0.08, 0.08, (out, y, 0)), "ear, handle mount, lug" if b.chance() else "handle")
    if b.chance(0.12):
        small_lid(b, r, h)


@family("basket", names={"body": ("basket body", "container", "main body")})
def basket(b: Builder) -> None:
    w, d, h = b.uniform(0.5, 0.9), b.uniform(0.4, 0.6), b.uniform(0.25, 0.5)
    outline = rounded_rectangle(w, d, b.uniform(0, 0.25), 6)
    flare = b.uniform(1, 1.3)
    if b.chance():
        b.add(stack(outline, [(0, 1), (h, flare), (h, flare * 0.95), (0.02, 0.95)]), "body")
    else:
        b.add(stack(outline, [(0, 1), (0.02, 1)]), "bottom, body")
        for t in np.linspace(0.1, 1, b.integers(4, 8)):
            ring = outline * (1 + (flare - 1) * t)
            b.add(
                tube(np.stack([ring[:, 0], np.full(len(ring), h * t), ring[:, 1]], 1), 0.015, 6, closed=True),
                "body",
            )
        for i in range(0, len(outline), 2):
            x, z = outline[i]
            b.add(rod((x, 0, z), (x * flare, h, z * flare), 0.012, segments=6), "body")
    if b.chance(0.7):
        b.add(tube(arc(w / 2 * flare * 0.95, 0, 180, (0, h * 0.9, 0), r2=h * b.uniform(0.8, 1.6)), 0.02), "handle")
    else:
        b.add_mirrored(
            tube(arc(d * 0.2, 0, 180, (0, h, 0), plane="zy", r2=0.12), 0.015).translate(w / 2 * flare), "handle"
        )


@family("bowl", names={"bowl": ("container", "basin", "body"), "foot": ("base", "foot ring", "bottom")})
def bowl(b: Builder) -> None:
    r, h = b.uniform(0.4, 0.5), b.uniform(0.15, 0.45)
    t = np.linspace(0, 1, 12)
    profile = np.stack([r * (0.3 + 0.7 * np.sin(t * np.pi / 2) ** b.uniform(0.6, 1.2)), h * t], 1)
    b.add(hollow(profile, b.uniform(0.015, 0.04), 32), "bowl")
    f = r * b.uniform(0.25, 0.4)
    b.add(lathe([(0, -0.05), (f, -0.05), (f * 0.95, 0.02)]), "foot")
    if b.chance(0.2):
        small_lid(b, r, h)


@family(
    "vase",
    names={
        "body": ("vase body", "container", "main body"),
        "neck": ("vase neck",),
        "flower": ("flowers", "bloom"),
    },
)
def vase(b: Builder) -> None:
    h, neck_h = b.uniform(0.4, 0.8), b.uniform(0.1, 0.4)
    r = b.uniform(0.15, 0.4)
    t = np.linspace(0, 1, 14)
    neck = r * b.uniform(0.3, 0.6)
    side = r * np.sin(0.35 + t * 2.3) ** b.uniform(0.7, 1.4)
    side += (neck - side[-1]) * t**6
    b.add(lathe([(0, 0), *np.stack([side, h * t], 1)]), "body")
    s = np.linspace(0, 1, 8)
    lip = neck * (1 + b.uniform(0, 0.9) * s**3 - 0.1 * np.sin(np.pi * s))
    b.add(lathe([*np.stack([lip, h + neck_h * s], 1), *np.stack([lip * 0.9, h + neck_h * s], 1)[::-1]]), "neck")
    if b.chance(0.4):
        profile = np.array([*np.stack([side, h * t], 1), *np.stack([lip, h + neck_h * s], 1)[1:]])
        state = b.rng.integers(1 << 30)
        for m in (0, 1):
            again = Builder(np.random.default_rng(state))
            side_handle(again, profile, h * 0.6, h + neck_h * 0.8, closed=1)
            for names, mesh in again.pieces():
                b.add(mesh.rotate("y", 180 * m), names)
    elif b.chance(0.4):
        for _ in range(b.integers(1, 5)):
            top = (b.uniform(-0.3, 0.3), h + neck_h + b.uniform(0.25, 0.6), b.uniform(-0.3, 0.3))
            b.add(tube(bezier((0, h, 0), (0, h + neck_h, 0), top), 0.012, 6), "stem, flower stem")
            b.add(ellipsoid(0.08, 0.06, 0.08, top), "flower")


def _box_hinged(b: Builder, w: float, h: float, d: float, t: float, corner: float) -> None:
    lip = b.uniform(0.02, 0.2)
    lid = box(w, lip, d, (0, lip / 2, d / 2)).rotate("x", -b.uniform(0, 120))
    b.add(lid.translate(0, h, -d / 2), "lid")


def _box_flaps(b: Builder, w: float, h: float, d: float, t: float, corner: float) -> None:
    for s in (-1, 1):
        flap = box(w, t, d / 2, (0, 0, s * d / 4)).rotate(
            "x", -s * b.uniform(40, 210) if b.chance(0.8) else 0, (0, 0, 0)
        )
        b.add(flap.rotate("y", 180).translate(0, h, s * d / 2), "flap, lid")
        side = box(w / 2, t, d, (s * w / 4, 0, 0)).rotate("z", s * b.uniform(-70, 60))
        b.add(side.translate(s * w / 2, h, 0), "flap, lid")


def _box_chest(b: Builder, w: float, h: float, d: float, t: float, corner: float) -> None:
    bow = arc(d / 2, 0, 180, plane="xy", steps=14)[:, :2]
    lid = extrude(bow, w, axis="x", at=(0, 0, d / 2)).rotate("x", -b.uniform(0, 80) if b.chance() else 0)
    b.add(lid.translate(0, h, -d / 2), "lid")
    if b.chance():
        b.add(box(0.1, 0.12, 0.03, (0, h, d / 2), bevel=0.01), "lock, latch")


def _box_loose(b: Builder, w: float, h: float, d: float, t: float, corner: float) -> None:
    b.add(
        hollow_box(w * 1.03, b.uniform(0.05, 0.2), d * 1.03, t, corner=corner).rotate("x", 180).translate(0, h, 0),
        "lid",
    )


def _box_shut(b: Builder, w: float, h: float, d: float, t: float, corner: float) -> None:
    b.add(box(w * 1.01, 0.04, d * 1.01, (0, h + 0.02, 0), corner=corner), "lid")
    if b.chance():
        b.add(tube(arc(0.15, 0, 180, (0, h + 0.04, 0), r2=0.08), 0.015), "handle")


BOX_KINDS = {
    "hinged": _box_hinged,
    "flaps": _box_flaps,
    "chest": _box_chest,
    "loose": _box_loose,
    "shut": _box_shut,
}


@family(
    "box",
    names={
        "body": ("box body", "container", "main body", "base body"),
        "lid": ("cover", "top cover", "flap", "box lid"),
    },
)
def box_(b: Builder) -> None:
    w, h, d, t = b.uniform(0.5, 1), b.uniform(0.25, 0.8), b.uniform(0.4, 0.9), b.uniform(0.012, 0.04)
    corner = b.uniform(0, 0.15) if b.chance(0.3) else 0
    b.add(hollow_box(w, h, d, t, (0, h / 2, 0), corner), "body")
    kind = b.choice("hinged", "flaps", "loose", "chest", "shut")
    BOX_KINDS[kind](b, w, h, d, t, corner)
    if b.chance(0.2):
        b.add_mirrored(tube(arc(0.1, 180, 360, (w / 2 + 0.02, h * 0.7, 0), plane="zy"), 0.015), "handle")


def _bin_open(b: Builder) -> None:
    """A waste basket: a plain wall, or bars and hoops or slats, at times with feet, a rim or a bag."""
    r, h, low = b.uniform(0.2, 0.38), b.uniform(0.4, 0.85), b.uniform(0.65, 1)
    kind = b.choice("plain", "plain", "square", "bars", "slats")
    if kind == "square":
        deep = b.uniform(0.5, 1)
        mesh = hollow_box(2 * r * low, h, 2 * r * low, 0.015, (0, h / 2, 0), b.uniform(0, 0.1), 1 / low)
        b.add(mesh.scale(1, 1, deep), "body")
        for sx, sz, x, z in ((2 * r, 0.03, 0, r * deep), (0.03, 2 * r * deep, r, 0)):
            for side in (-1, 1):
                b.add(box(sx, 0.03, sz, (side * x, h, side * z)), "rim, edge")
        return
    if kind == "plain":
        b.add(hollow([(r * low, 0), (r, h)], b.uniform(0.008, 0.025), 28), "body")
    else:
        count, wide = (b.integers(16, 32), 0.006) if kind == "bars" else (b.integers(10, 18), r * 0.12)
        b.add(cylinder(r * low, 0.02, (0, 0.01, 0)), "body")
        for a in np.arange(count) * 360 / count:
            lath = rod((0, 0, r * low), (0, h, r), wide, segments=5)
            if kind == "slats":
                lath = box(wide * 2, h, 0.015, (0, h / 2, r * (1 + low) / 2))
            b.add(lath.rotate("y", a), "body")
        for y in (0.02, h * 0.5, h):
            b.add(
                torus(r * (low + (1 - low) * y / h) if kind == "bars" else r * (1 + low) / 2, 0.012, (0, y, 0)), "body"
            )
    rim = r * (1 + low) / 2 if kind == "slats" else r
    b.add(torus(rim, b.uniform(0.008, 0.025), (0, h, 0)), "rim, edge")
    if b.chance(0.2):
        b.add(hollow([(r * low * 0.85, 0.06), (r * 0.97, h)], 0.006), "bag")
        b.add(lathe([(r * 1.02, h * 0.8), (r * 1.03, h + 0.01), (r * 0.97, h + 0.01)]), "bag")


def _bin_pedal(b: Builder) -> None:
    """Round, half round or square, with a hinged lid, a pedal, a bucket inside, a foot ring."""
    r, h, shape = b.uniform(0.2, 0.36), b.uniform(0.45, 1), b.choice("round", "round", "square")
    deep = 1.0 if shape == "round" else b.uniform(0.5, 1)
    corner = r if shape == "round" else r * b.uniform(0.05, 0.4)
    outline = rounded_rectangle(2 * r, 2 * r * deep, corner, 8)
    rows = [(0, 1), (h, 1), (h, 0.95), (0.03, 0.95)]
    b.add(stack(outline, rows), "body")
    rise, dome = b.uniform(0.02, 0.18), b.chance(0.6)
    levels = [(0, 1.03), (0.025, 1.03)]
    levels += [(0.025 + rise * np.sin(a), 1.02 * np.cos(a)) for a in (0.3, 0.6, 0.9, 1.2)] if dome else [(rise, 0.98)]
    angle = b.uniform(15, 95) if b.chance(0.45) else 0.0
    lid = stack(outline, levels).rotate("x", -angle, (0, 0, -r * deep))
    b.add(lid.translate(0, h, 0), "lid")
    if angle or b.chance(0.4):
        inner = stack(outline * 0.88, [(0.05, 0.9), (h * 0.97, 1), (h * 0.97, 0.97), (0.07, 0.87)])
        b.add(inner, b.choice("bucket", "body"))
        if b.chance(0.4):
            b.add(tube(arc(r * 0.86, 0, 180, (0, h * 0.96, 0), plane="xz"), 0.008, 6), "handle")
    if b.chance(0.85):
        w = r * b.uniform(0.25, 0.7)
        b.add(box(w, 0.02, 0.14, (0, b.uniform(0.02, 0.05), r * deep + 0.04), bevel=0.006), "pedal")
    if b.chance(0.6):
        b.add(box(r * b.uniform(0.3, 0.8), 0.08, 0.05, (0, h - 0.01, -r * deep - 0.015), bevel=0.01), "hinge")
    if b.chance(0.4):
        b.add(stack(outline, [(-0.03, 1.03), (0.03, 1.03)]), "base")


def _bin_swing(b: Builder) -> None:
    """A tall bin whose hood holds a flap that swings, or with an opening under a roof."""
    w, d, h = b.uniform(0.35, 0.6), b.uniform(0.3, 0.5), b.uniform(0.6, 1)
    low, corner = b.uniform(0.75, 1), b.uniform(0.01, 0.1)
    b.add(hollow_box(w * low, h, d * low, 0.015, (0, h / 2, 0), corner, 1 / low), "body")
    rise, kind = b.uniform(0.15, 0.3), b.choice("gable", "ring", "hood")
    if kind == "gable":
        for s in (-1, 1):
            panel = np.array([(-d / 2, 0), (d / 2, 0), (0, rise)])
            b.add(extrude(panel, 0.02, "x", at=(s * w * 0.49, h, 0)), "lid")
            flap = box(w * 0.94, np.hypot(rise, d / 2), 0.015, (0, np.hypot(rise, d / 2) / 2, 0))
            lean = -s * np.degrees(np.arctan2(d / 2, rise))
            swing = b.uniform(0, 35) if s > 0 and b.chance() else 0
            b.add(flap.rotate("x", lean).translate(0, h, s * d / 2).rotate("x", swing, (0, h + rise, 0)), "flap, lid")
    elif kind == "ring":
        b.add(box(w * 1.03, 0.08, d * 1.03, (0, h + 0.03, 0), corner=corner), "lid")
        flap = box(w * 0.8, 0.02, d * 0.75, bevel=0.008).rotate("x", b.uniform(-60, 60))
        b.add(flap.translate(0, h + 0.08, 0), "flap, lid")
    else:
        b.add(box(w * 1.02, 0.03, d * 1.02, (0, h + rise, 0), bevel=0.01, top=b.uniform(0.6, 1)), "lid")
        b.add_mirrored(box(0.03, rise, d, (w / 2 - 0.015, h + rise / 2, 0)), "lid")
        if b.chance():
            b.add(box(w * 0.9, rise * 0.9, 0.015, (0, h + rise / 2, d / 2)).rotate("x", 15), "flap, lid")
    for s in (-1, 1) if b.chance(0.2) else ():
        b.add(box(0.02, 0.04, d * 0.3, (s * w * 0.53, h * 0.85, 0)), "handle")


def _bin_wheels(b: Builder) -> None:
    """A bin for the street: two wheels on an axle, a rim, a lid on hinges with a bar behind, or a container of four."""
    w, d, h, low = b.uniform(0.4, 0.75), b.uniform(0.4, 0.6), b.uniform(0.7, 1), b.uniform(0.7, 0.95)
    y = b.uniform(0.03, 0.08)
    b.add(hollow_box(w * low, h, d * low, 0.02, (0, y + h / 2, 0), 0.03, 1 / low), "body")
    top = y + h
    for x, z, sx, sz in ((0, 1, w * 1.04, 0.03), (0, -1, w * 1.04, 0.03), (1, 0, 0.03, d), (-1, 0, 0.03, d)):
        b.add(box(sx, b.uniform(0.03, 0.06), sz, (x * w / 2, top - 0.02, z * d / 2)), "rim, edge")
    dome, tilt = b.uniform(0.01, 0.2), b.uniform(15, 110) if b.chance(0.4) else 0.0
    lid = stack(rounded_rectangle(w * 1.06, d * 1.06, 0.04), [(0, 1), (0.03, 1), (0.03 + dome, b.uniform(0.5, 0.95))])
    grip_ = box(w * b.uniform(0.2, 0.8), 0.025, 0.04, (0, 0.015, d * 0.55))
    b.add(lid.rotate("x", -tilt, (0, 0, -d / 2)).translate(0, top, 0), "lid")
    if b.chance(0.5):
        b.add(grip_.rotate("x", -tilt, (0, 0, -d / 2)).translate(0, top, 0), "lid")
    back, r = -d / 2 - b.uniform(0.05, 0.1), b.uniform(0.06, 0.13)
    b.add(rod((-w * 0.45, top, back), (w * 0.45, top, back), b.uniform(0.012, 0.025)), "handle")
    for along in (-w * 0.4, 0.0, w * 0.4):
        b.add(box(0.03, 0.04, abs(back) - d / 2 + 0.04, (along, top, back / 2 - d / 4)), b.choice("hinge", "handle"))
    rear = -d * low / 2 - r * 0.2
    b.add_mirrored(cylinder(r, b.uniform(0.03, 0.07), (w * low / 2, r, rear), axis="x"), "wheel")
    b.add(rod((-w * low / 2, r, rear), (w * low / 2, r, rear), 0.015), "axle")
    if b.chance(0.25):
        b.add_mirrored(cylinder(r, 0.04, (w * low * 0.4, r, -rear), axis="x"), "wheel")


def _bin_post(b: Builder) -> None:
    """A bin of parks: held between posts or on one, of slats, under a roof, with an ashtray on its top."""
    r, h, y = b.uniform(0.16, 0.26), b.uniform(0.4, 0.6), b.uniform(0.2, 0.5)
    tilt, kind = b.uniform(0, 40) if b.chance(0.2) else 0.0, b.choice("posts", "pole", "legs")
    pot = hollow([(r * b.uniform(0.8, 1), y), (r, y + h)], 0.012)
    b.add(pot.rotate("x", tilt, (0, y + h * 0.7, 0)), "body")
    top = y + h * b.uniform(1.05, 1.5)
    if kind == "posts":
        arch = [(r * 1.15, 0, 0), (r * 1.15, top, 0), (-r * 1.15, top, 0), (-r * 1.15, 0, 0)]
        b.add(tube(arch if b.chance() else [*arch[:2]], 0.02, 8), "frame")
        b.add(tube([*arch[2:]], 0.02, 8), "frame")
        b.add(rod((-r * 1.2, y + h * 0.7, 0), (r * 1.2, y + h * 0.7, 0), 0.012), "frame")
    elif kind == "pole":
        b.add(cylinder(0.03, top, (0, top / 2, -r - 0.03)), "pole")
        b.add(box(0.08, h * 0.3, 0.05, (0, y + h * 0.6, -r - 0.01)), "bracket")
        b.add(cylinder(r * 0.7, 0.03, (0, 0.015, -r - 0.03)), "base")
    else:
        for a in (45, 135, 225, 315):
            b.add(rod((0, 0, r), (0, y + h, r), 0.015).rotate("y", a), "leg")
    if b.chance(0.5) and not tilt:
        rise = b.uniform(0.05, 0.2)
        b.add(lathe([(r * 1.15, top), (r * 0.9, top + rise * 0.6), (0, top + rise), (0, top)]), "lid")
        for a in (0, 120, 240) if kind != "posts" else ():
            b.add(rod((0, y + h, r * 0.9), (0, top, r * 0.9), 0.012).rotate("y", a), "frame")


def _bin_drum(b: Builder) -> None:
    """A round can of tin: ribs around it, a lid with a grip on it or beside it, two ear handles."""
    r, h, low = b.uniform(0.25, 0.38), b.uniform(0.6, 0.95), b.uniform(0.8, 1)
    s = np.linspace(0, 1, 25)
    ribs = b.uniform(0, 0.02) * np.cos(2 * np.pi * b.integers(3, 6) * s)
    b.add(hollow(np.stack([r * (low + (1 - low) * s) + ribs, h * s], 1), 0.015, 28), "body")
    lidded = b.chance(0.75)
    if lidded:
        rise = b.uniform(0.02, 0.2)
        lid = [lathe([(r * 1.05, -0.03), (r * 1.05, 0.02), (r * 0.7, rise * 0.7 + 0.02), (0, rise + 0.02)])]
        lid.append(tube(arc(r * 0.25, 0, 180, (0, rise, 0), r2=r * 0.25), 0.015, 6))
        aside = b.chance(0.25)
        for mesh, names in zip(lid, ("lid", "lid handle, handle, lid"), strict=True):
            placed = mesh.rotate("x", 74).translate(0, r, r * 1.35) if aside else mesh.translate(0, h, 0)
            b.add(placed, names)
    if b.chance(0.7) or not lidded:
        b.add_mirrored(tube(arc(0.08, -90, 90, (r * 0.97, h * 0.8, 0)), 0.015, 6), "handle")


BINS = {
    "open": _bin_open,
    "pedal": _bin_pedal,
    "swing": _bin_swing,
    "wheels": _bin_wheels,
    "post": _bin_post,
    "drum": _bin_drum,
}


@family(
    "trash can",
    names={
        "body": ("can body", "container", "bin body", "main body", "base body"),
        "lid": ("cover", "top cover", "flap lid"),
        "pedal": ("foot pedal", "footpedal"),
        "frame": ("outside frame", "outer frame"),
    },
)
def trash_can(b: Builder) -> None:
    """Baskets, pedal bins, bins with a flap, on wheels, on posts, tin cans; shut, open, with a bucket inside."""
    BINS[b.choice("pedal", "wheels", *BINS)](b)


@family(
    "wine glass",
    names={
        "bowl": ("glass bowl", "cup", "container"),
        "stem": ("stalk", "glass stem", "neck"),
        "base": ("foot", "glass base"),
    },
)
def wine_glass(b: Builder) -> None:
    r, h, stem = b.uniform(0.2, 0.4), b.uniform(0.2, 0.6), b.uniform(0.2, 0.6)
    t = np.linspace(0, 1, 12)
    close = b.uniform(0, 0.4)
    bowl_ = r * np.sin(np.minimum(t * 1.9, np.pi / 2)) * (1 - close * np.maximum(t - 0.5, 0) ** 1.5)
    b.add(hollow(np.stack([bowl_ + 0.012, stem + h * t], 1), 0.012), "bowl")
    b.add(lathe([(0.02, 0.02), (0.014, stem * 0.5), (0.03, stem)], 12), "stem")
    f = b.uniform(0.18, 0.3)
    b.add(lathe([(0, 0), (f, 0), (f, 0.01), (0.02, 0.035), (0, 0.035)]), "base")


def _knife_folding(b: Builder) -> None:
    """A pocket knife: two scales with a gap, one to three blades about the ends, open, half open or shut."""
    long, high, t = b.uniform(0.4, 0.6), b.uniform(0.06, 0.12), b.uniform(0.03, 0.08)
    blade_, count = long * b.uniform(0.7, 0.92), b.integers(1, 3)
    for s in (-1, 1):
        scale = box(long, high, t * 0.35, (-long / 2, 0, s * t * 0.34), bevel=t * 0.1, corner=high * b.uniform(0, 0.4))
        b.add(scale, "handle")
    b.add(box(long * 0.8, high * 0.15, t * 0.4, (-long / 2, -high * 0.4, 0)), "handle")
    for i in range(count):
        wide, reach = high * b.uniform(0.5, 0.85), blade_ * (1 if i == 0 else b.uniform(0.5, 0.9))
        edge = np.array([(0, wide / 2), (reach * 0.7, wide / 2), (reach, 0), (reach * 0.75, -wide / 2), (0, -wide / 2)])
        turn = b.choice("open", "open", "half", "shut") if i == 0 else b.choice("half", "shut")
        angle = {"open": 0.0, "half": b.uniform(20, 150), "shut": 178.0}[turn]
        mesh = extrude(edge, t * 0.15, at=(0, 0, (i - (count - 1) / 2) * t * 0.18)).rotate("z", angle)
        if i % 2:
            mesh = mesh.mirror("x").translate(-long * 0.9, 0, 0)
        b.add(mesh.translate(-long * 0.05, 0, 0), "blade")
    if b.chance(0.3):
        b.add(torus(high * 0.25, high * 0.05, (-long - high * 0.2, 0, 0), axis="z"), "ring")


def _knife_cutter(b: Builder) -> None:
    """A cutter with a blade that slides out of a slim housing by a button."""
    long, high, t = b.uniform(0.5, 0.8), b.uniform(0.07, 0.13), b.uniform(0.03, 0.06)
    out, slant = b.uniform(0.03, 0.35), high * 0.4
    b.add(box(long, high, t, (-long / 2, 0, 0), bevel=t * 0.25, corner=high * 0.2), "handle")
    wide = high * b.uniform(0.5, 0.75)
    edge = [(-long * 0.3, wide / 2), (out, wide / 2), (max(out - slant, -0.1), -wide / 2), (-long * 0.3, -wide / 2)]
    b.add(extrude(np.array(edge), t * 0.15), "blade")
    x = -long * b.uniform(0.1, 0.6)
    b.add(box(long * b.uniform(0.06, 0.14), high * 0.35, t * 0.6, (x, 0, t * 0.5), bevel=t * 0.1), "button")
    if b.chance(0.4):
        b.add(cylinder(high * 0.2, t * 1.2, (-long * b.uniform(0.7, 0.9), 0, 0), axis="z"), "screw")


@family(
    "knife",
    names={
        "blade": ("cutting blade", "knife blade", "metal blade"),
        "handle": ("handle or grip", "grip", "knife handle"),
        "guard": ("bolster", "hilt", "crossguard"),
    },
)
def knife(b: Builder) -> None:
    """Kitchen and table knives, daggers; pocket knives and cutters."""
    special = b.choice("folding", "cutter", *["none"] * 5)
    if special != "none":
        (_knife_folding if special == "folding" else _knife_cutter)(b)
        return
    length, wide, grip = b.uniform(0.4, 0.9), b.uniform(0.06, 0.2), b.uniform(0.3, 0.5)
    kind = b.choice("chef", "clip", "cleaver", "table", "dagger", "straight")
    back = wide / 2
    edge = {
        "chef": [
            (0, back),
            (length, back * 0.7),
            (length * 0.85, -back * 0.3),
            (length * 0.5, -back * 0.9),
            (0, -back),
        ],
        "clip": [(0, back), (length * 0.65, back), (length, 0), (length * 0.75, -back * 0.9), (0, -back)],
        "cleaver": [
            (0, back),
            (length * 0.7, back),
            (length * 0.7, -back * 3),
            (0.02, -back * 3),
            (0, -back),
        ],
        "table": [
            (0, back),
            (length * 0.9, back),
            (length, back * 0.3),
            (length * 0.95, -back),
            (length * 0.3, -back),
            (0, -back * 0.5),
        ],
        "dagger": [
            (0, back),
            (length * 0.8, back * 0.7),
            (length, 0),
            (length * 0.8, -back * 0.7),
            (0, -back),
        ],
        "straight": [(0, back), (length, back), (length, -back * 0.2), (length * 0.95, -back), (0, -back)],
    }[kind]
    b.add(extrude(np.array(edge), b.uniform(0.008, 0.025)), "blade")
    t = b.uniform(0.03, 0.06)
    hh = b.uniform(0.8, 1.1) * min(wide, 0.12)
    style = b.choice("bar", "round", "curved")
    if style == "bar":
        b.add(box(grip, hh, t, (-grip / 2, 0, 0), bevel=t * 0.3), "handle")
    elif style == "round":
        s = np.linspace(0, 1, 10)
        b.add(tube(np.stack([-grip * s, 0 * s, 0 * s], 1), hh * 0.42 * (1 + 0.15 * np.sin(s * 7))), "handle")
    else:
        path = bezier((0, 0, 0), (-grip * 0.5, hh * b.uniform(-0.5, 0.8), 0), (-grip, -hh * b.uniform(0, 0.8), 0))
        b.add(sweep(path, rounded_rectangle(t, hh, t * 0.3), up=(0, 1, 0)), "handle")
    if b.chance(0.35):
        b.add(box(0.03, wide * b.uniform(1, 1.8), t * 1.3, bevel=0.008), "guard")


def eating(b: Builder, head: Mesh, length: float) -> None:
    b.add(head, "head")
    wide, t = b.uniform(0.02, 0.05), b.uniform(0.01, 0.02)
    path = bezier((0, 0.02, -0.02), (0, 0.08, -length * 0.3), (0, 0, -length))
    b.add(
        sweep(path, rounded_rectangle(wide, t, t * 0.4), up=(0, 1, 0), sizes=np.linspace(0.6, 1.5, len(path))),
        "handle",
    )


@family("spoon", names={"head": ("bowl", "spoon bowl", "scoop")})
def spoon(b: Builder) -> None:
    w, d, depth = b.uniform(0.1, 0.2), b.uniform(0.2, 0.35), b.uniform(0.02, 0.1)

    def bowl_(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        angle, r = 2 * np.pi * v, 0.02 + 0.98 * u
        return np.stack([w * r * np.cos(angle), depth * (r**2 - 1) + 0.02, d / 2 + d / 2 * r * np.sin(angle)], -1)

    eating(b, sheet(bowl_, 0.01, 7, 20), b.uniform(0.5, 0.9))


@family("fork", names={"head": ("fork head",), "tine": ("prong", "tines")})
def fork(b: Builder) -> None:
    w, count, long = b.uniform(0.12, 0.22), b.integers(2, 4), b.uniform(0.15, 0.28)
    for x in np.linspace(-w / 2, w / 2, count):
        b.add(
            sweep(
                bezier((x, 0, 0.15), (x, -0.03, 0.15 + long / 2), (x, 0.02, 0.15 + long)),
                rounded_rectangle(w / count * 0.5, 0.015),
                up=(0, 1, 0),
            ),
            "tine, head",
        )
    eating(b, box(w * 1.2, 0.018, 0.17, (0, 0, 0.07), bevel=0.005), b.uniform(0.5, 0.9))


@family("pepper mill", names={"body": ("main body", "base body"), "head": ("top", "knob")})
def pepper_mill(b: Builder) -> None:
    r, h = b.uniform(0.15, 0.25), b.uniform(0.5, 1)
    t = np.linspace(0, 1, 16)
    b.add(lathe([(0, 0), *np.stack([r * (0.75 + 0.25 * np.cos(t * b.uniform(5, 9))), h * t], 1), (0, h)]), "body")
    b.add(lathe([(r * 0.6, h), (r * 0.95, h + 0.08), (r * 0.8, h + 0.22), (0.04, h + 0.3)]), "head")
    if b.chance():
        b.add(sphere(0.05, (0, h + 0.33, 0)), "tip, top knob")
    else:
        b.add(rod((0, h + 0.3, 0), (0.3, h + 0.34, 0), 0.02), "crank, handle")
        b.add(sphere(0.05, (0.3, h + 0.38, 0)), "crank knob, knob")


def _tumbler_spout(b: Builder, top: float, peak: float) -> None:
    b.add(box(top * 0.5, b.uniform(0.04, 0.1), top * 0.35, (0, peak, top * 0.45), bevel=0.01), "mouthpiece, lid")


def _tumbler_straw(b: Builder, top: float, peak: float) -> None:
    b.add(rod((0, peak - 0.05, 0), (b.uniform(-0.1, 0.1), peak + b.uniform(0.1, 0.35), 0), 0.02), "straw")


def _tumbler_loop(b: Builder, top: float, peak: float) -> None:
    b.add(
        tube(
            bezier(
                (-top * 0.6, peak, 0),
                (-top * 0.5, peak + 0.25, 0),
                (top * 0.5, peak + 0.25, 0),
                (top * 0.6, peak, 0),
            ),
            0.02,
        ),
        "handle",
    )


def _tumbler_button(b: Builder, top: float, peak: float) -> None:
    b.add(cylinder(top * 0.25, 0.05, (0, peak, 0)), "button")


TUMBLER_EXTRAS = {
    "spout": _tumbler_spout,
    "straw": _tumbler_straw,
    "loop": _tumbler_loop,
    "button": _tumbler_button,
}


def _tumbler_dome(b: Builder, h: float, top: float, rise: float, kind: str, low: float) -> list[tuple[float, float]]:
    t = np.linspace(0, np.pi / 2, 9)
    rows = [(top, low), *np.stack([top * np.cos(t), h + rise * np.sin(t)], 1)]
    return rows


def _tumbler_step(b: Builder, h: float, top: float, rise: float, kind: str, low: float) -> list[tuple[float, float]]:
    k = b.uniform(0.4, 0.75)
    rows = [(top, low), (top, h + rise * 0.4), (top * k, h + rise * 0.5), (top * k, h + rise), (0, h + rise)]
    return rows


def _tumbler_cone(b: Builder, h: float, top: float, rise: float, kind: str, low: float) -> list[tuple[float, float]]:
    return [(top, low), (top, h), (top * b.uniform(0.2, 0.6), h + rise), (0, h + rise)]


def _tumbler_cup(b: Builder, h: float, top: float, rise: float, kind: str, low: float) -> list[tuple[float, float]]:
    return [(top, low), (top * 0.97, h + rise), (top * 0.9, h + rise * 1.15), (0, h + rise * 1.15)]


def _tumbler_flat(b: Builder, h: float, top: float, rise: float, kind: str, low: float) -> list[tuple[float, float]]:
    lip = rise if kind == "screw" else rise * 0.3
    rows = [(top, low), (top, h + lip), (top * 0.9, h + lip * 1.1), (0, h + lip * 1.1)]
    return rows


TUMBLER_KINDS = {
    "dome": _tumbler_dome,
    "step": _tumbler_step,
    "cone": _tumbler_cone,
    "cup": _tumbler_cup,
    "flat": _tumbler_flat,
    "screw": _tumbler_flat,
}


@family(
    "tumbler",
    tags=(COMMON,),
    names={
        **BOTTLE,
        "body": ("cup body", "container", "main body", "base body"),
        "handle": ("grip", "handle or grip", "cup handle"),
        "straw": ("drinking straw",),
    },
)
def tumbler(b: Builder) -> None:
    """Closed cups to carry: thermos mugs, shakers, sippy cups, jugs with a lid as wide as they are."""
    r, h = b.uniform(0.2, 0.42), b.uniform(0.5, 1.1)
    foot, waist = b.uniform(0.6, 1.05), b.uniform(0, 0.12)
    s = np.linspace(0, 1, 14)
    profile = np.stack([r * (foot + (1 - foot) * s) * (1 - waist * np.sin(np.pi * s)), h * s], 1)
    names = "body" if b.chance(0.6) else "cup, body"
    b.add(lathe([(0, 0), *profile, (profile[-1, 0] * 0.96, h)], 28), names)
    top, rise = profile[-1, 0] * b.uniform(0.95, 1.12), b.uniform(0.05, 0.4)
    kind = b.choice("flat", "dome", "screw", "step", "cup", "cone")
    low = h - b.uniform(0, 0.08)
    rows = TUMBLER_KINDS[kind](b, h, top, rise, kind, low)
    b.add(lathe(rows, 28), "lid")
    peak = max(y for _, y in rows)
    extra = b.choice("none", "spout", "straw", "loop", "button", "none")
    if extra in TUMBLER_EXTRAS:
        TUMBLER_EXTRAS[extra](b, top, peak)
    for side in range(b.integers(0, 2) if extra != "loop" else 0):
        piece = Builder(b.rng)
        side_handle(piece, profile, h * b.uniform(0.08, 0.35), h * b.uniform(0.65, 0.95), closed=0.75)
        for handle_names, mesh in piece.pieces():
            b.add(mesh.rotate("y", 180 * side), handle_names)
    if b.chance(0.25):
        at = b.uniform(0.2, 0.6)
        wide = radius_at(profile, h * at) * 1.02
        b.add(lathe([(wide, h * at), (radius_at(profile, h * (at + 0.2)) * 1.02, h * (at + 0.2))]), "band, sleeve")


def _electric_kettle_cone(b: Builder, s: np.ndarray) -> np.ndarray:
    return 1 - b.uniform(0.1, 0.45) * s


def _electric_kettle_straight(b: Builder, s: np.ndarray) -> np.ndarray:
    return 1 - 0.1 * s**6


def _electric_kettle_belly(b: Builder, s: np.ndarray) -> np.ndarray:
    return 0.75 + 0.25 * np.sin(np.pi * np.clip(s * 0.8 + 0.15, 0, 1))


def _electric_kettle_ball(b: Builder, s: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(1 - (1.7 * s - 0.8) ** 2, 0.15))


ELECTRIC_KETTLE_KINDS = {
    "cone": _electric_kettle_cone,
    "straight": _electric_kettle_straight,
    "belly": _electric_kettle_belly,
    "ball": _electric_kettle_ball,
}


@family("electric kettle", tags=(COMMON,), names={**KETTLE, "base": ("power base", "bottom base", "foot")})
def electric_kettle(b: Builder) -> None:
    """A jug with the handle down its back, its lid as wide as its mouth, a short beak; and stove kettles with a
    long handle to the side."""
    r, h = b.uniform(0.26, 0.42), b.uniform(0.45, 0.95)
    s = np.linspace(0, 1, 14)
    kind = b.choice("cone", "straight", "belly", "ball")
    shape = ELECTRIC_KETTLE_KINDS[kind](b, s)
    profile = np.stack([r * shape / shape.max(), h * s], 1)
    mouth = float(profile[-1, 0])
    b.add(lathe([(0, 0), *profile, (mouth * 0.9, h)], 30), "body, base body")
    if b.chance(0.6):
        rise = b.uniform(0.02, 0.14)
        t = np.linspace(0, np.pi / 2, 8)
        low = h - b.uniform(0, 0.12)
        k = max(mouth, radius_at(profile, low)) * b.uniform(0.96, 1.04)
        b.add(lathe([(k, low), *np.stack([mouth * np.cos(t) ** 0.5, h + rise * np.sin(t)], 1)], 30), "lid")
        if b.chance(0.4):
            b.add(sphere_or_tab(b, mouth, h + rise), "lid knob, knob, lid")
    else:
        small_lid(b, mouth * b.uniform(0.85, 1.0), h)
    beak = b.uniform(0.05, 0.16)
    y = h * b.uniform(0.75, 0.95)
    at = radius_at(profile, y)
    path = [(-at * 0.8, y - 0.12 * h, 0), (-at - beak * 0.5, y, 0), (-at - beak, min(y + 0.14 * h, h * 1.02), 0)]
    b.add(
        sweep(path, ellipse(1, 1.3, 10), up=(0, 1, 0), sizes=np.array([1.0, 0.8, 0.35]) * b.uniform(0.05, 0.11)),
        "spout, base body",
    )
    if b.chance(0.7):
        out, t2 = b.uniform(0.14, 0.3), b.uniform(0.02, 0.05)
        high, low = h * b.uniform(0.9, 1.12), h * b.uniform(0.02, 0.4)
        a, c = min(mouth, radius_at(profile, min(high, h))) * 0.8, radius_at(profile, low) * 0.97
        ends = [(a, high, 0), (at + out, high, 0), (at + out, low + 0.1, 0), (c, low, 0)]
        if b.chance(0.3):
            ends = ends[:3]  # open below
        section = rounded_rectangle(t2 * b.uniform(1, 2.5), t2 * 1.3, t2 * 0.4, 3)
        curve = np.array(ends) if b.chance(0.4) else bezier(*ends, steps=16)
        b.add(sweep(curve, section, up=(0, 0.02, 1)), "handle")
    else:
        reach, tilt = b.uniform(0.4, 0.9), b.uniform(-0.05, 0.35)
        b.add(
            rod(
                (at * 0.9, h * 0.8, 0), (at + reach, h * (0.8 + tilt), 0), b.uniform(0.025, 0.05), b.uniform(0.03, 0.06)
            ),
            "handle",
        )
    if b.chance(0.4):
        b.add(
            lathe([(0, -0.06), (r * 1.08, -0.06), (r * 1.05, 0.0), (0, 0.01)], 30),
            "base" if b.chance() else "base body",
        )


def sphere_or_tab(b: Builder, mouth: float, y: float) -> Mesh:
    if b.chance():
        return ellipsoid(mouth * 0.2, 0.03, mouth * 0.2, (0, y + 0.01, 0))
    return box(mouth * 0.9, 0.03, 0.06, (mouth * 0.4, y, 0), bevel=0.01)


@family("soap bottle", tags=(COMMON,), names={**BOTTLE, "pump": ("pump head", "dispenser head", "nozzle")})
def soap_bottle(b: Builder) -> None:
    """Bottles with a short neck: shampoo, detergent with a grip, pill boxes, milk, flasks."""
    r, h = b.uniform(0.15, 0.34), b.uniform(0.45, 0.95)
    deep = b.uniform(0.4, 1)
    outline = rounded_rectangle(2 * r, 2 * r * deep, r * b.uniform(0.1, 1), 5)
    s = np.linspace(0, 1, 12)
    shape = 1 - b.uniform(0, 0.25) * s ** b.uniform(1, 6) - b.uniform(0, 0.15) * np.sin(np.pi * s)
    b.add(stack(outline, [(0, 0.92), *np.stack([0.03 + h * s, shape], 1)]), "body")
    neck, nh = r * min(1, deep) * b.uniform(0.25, 0.9), b.uniform(0.01, 0.12)
    top = h + 0.03
    b.add(lathe([(neck, top - 0.03), (neck, top + nh)], 20), "neck" if nh > 0.03 else "neck, body")
    c, ch = neck * b.uniform(1.02, 1.6), b.uniform(0.05, 0.35)
    y = top + nh * b.uniform(0.0, 0.8)
    b.add(lathe([(c, y), (c * b.uniform(0.75, 1), y + ch), (0, y + ch * b.uniform(1, 1.1))], 22), "lid")
    if b.chance(0.2):
        b.add(rod((0, y + ch, 0), (0, y + ch + 0.1, 0), 0.015) + box(0.06, 0.035, 0.2, (0, y + ch + 0.1, 0.06)), "pump")
    if b.chance(0.25):
        side_handle(b, np.array([(r, 0), (r * shape[-1], h)]), h * 0.35, h * 0.9)
