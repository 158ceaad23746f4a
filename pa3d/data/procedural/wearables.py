"""Hats, bags, shoes, glasses, headphones, watches."""

from __future__ import annotations

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
    hollow_box,
    lathe,
    loft,
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

HAT = {
    "crown": ("hat crown", "cap crown", "head cover", "hat top"),
    "brim": ("hat brim", "rim", "hat rim"),
    "visor": ("peak", "bill", "cap visor"),
    "button": ("top button", "squatchee"),
}


@family("cap", names=HAT)
def cap(b: Builder) -> None:
    """Baseball caps, flat caps, peaked caps, visors: a crown and a brim to the front only."""
    if b.chance(0.2):
        peaked_cap(b)
        return
    r, tall, long = 0.5, b.uniform(0.3, 0.62), b.uniform(0.5, 0.65)
    power = b.uniform(2, 3.5)
    kind = b.choice("baseball", "baseball", "baseball", "military", "flat", "trucker")
    shells = 2 if b.chance(0.6) else 1
    for inner in range(shells):
        k = 1 - 0.03 * inner
        t = np.linspace(0, 1, 14)
        if kind == "military":
            crown = lathe(
                [(r * k, 0), (r * k * b.uniform(0.97, 1.02), tall * 0.95), (r * k * 0.95, tall * k), (0, tall * k)],
                36,
            )
        elif kind == "flat":
            crown = lathe(
                np.stack(
                    [
                        r * k * (1.0 - 0.02 * t) * np.cos(t * np.pi / 2) ** 0.6,
                        tall * 0.65 * np.sin(t * np.pi / 2),
                    ],
                    1,
                ),
                36,
            )
            crown = crown.deform(lambda v: v - np.array([0, 1, 0]) * np.maximum(v[:, 2:], 0) * 0.45)
        else:
            angle = t * np.pi / 2
            crown = lathe(
                np.stack([r * k * np.cos(angle) ** (2 / power), tall * k * np.sin(angle) ** (2 / power)], 1),
                36,
            )
            if kind == "trucker":
                crown = crown.deform(lambda v: v + np.array([0, 1, 0]) * np.maximum(v[:, 2:], 0) * v[:, 1:2] * 0.35)
        b.add(crown.scale(1, 1, long / r), "crown")
    reach, curve, drop, width = b.uniform(0.25, 0.75), b.uniform(0, 0.35), b.uniform(-0.05, 0.3), b.uniform(45, 88)
    square = b.uniform(0.3, 1.1)

    def peak(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        angle = np.radians((2 * u - 1) * width)
        fade = np.maximum(np.cos((2 * u - 1) * np.pi / 2), 0) ** square
        out = v * reach * fade
        x, z = r * np.sin(angle) * (1 + 0.15 * v * fade), long * np.cos(angle) + out
        return np.stack([x, 0.01 - curve * (x / r) ** 2 * (v * 0.7 + 0.3) * 0.8 - drop * out, z], -1)

    b.add(sheet(peak, b.uniform(0.012, 0.03), 25, 9), "visor, brim")
    if kind != "flat" and b.chance(0.6):
        b.add(ellipsoid(0.04, 0.02, 0.04, (0, tall + 0.005, 0)), "button, crown" if b.chance() else "crown")
    if b.chance(0.25):
        b.add(lathe([(r * 1.01, 0), (r * 1.01, tall * 0.22)], 36).scale(1, 1, long / r), "band, crown")


def peaked_cap(b: Builder) -> None:
    """The cap of officers and drivers: a band, a wide flat top that overhangs it, a short peak under its front."""
    r, long, band = b.uniform(0.34, 0.42), b.uniform(0.42, 0.5), b.uniform(0.1, 0.24)
    over, rise = b.uniform(1.08, 1.5), b.uniform(0.04, 0.2)
    top = band + rise
    rows = [
        (r, 0),
        (r, band),
        (r * over, top),
        (r * over * 0.97, top + 0.02),
        (r * over * 0.5, top + b.uniform(0.0, 0.08)),
    ]
    rows.append((0, rows[-1][1]))
    tilt = b.uniform(-0.1, 0.35)  # the front of the top stands higher
    sway = b.uniform(0, 0.25)  # and the top may lie further back
    lift = np.array([0, 1, 0]) * tilt
    back = np.array([0, 0, -1]) * sway

    def lean(v: np.ndarray) -> np.ndarray:
        height = np.clip(v[:, 1:2] / top, 0, 1)
        return v + (lift * v[:, 2:] + back * 0.3) * height**2

    for inner in range(2 if b.chance(0.5) else 1):
        k = 1 - 0.04 * inner
        shell = np.array([(x * k, y * k) for x, y in rows])
        b.add(lathe(shell, 36).scale(1, 1, long / r).deform(lean), "crown")
    if b.chance(0.3):
        b.add(lathe([(r * 1.01, 0), (r * 1.01, band * 0.95)], 36).scale(1, 1, long / r), "band, crown")
    reach, drop, width = b.uniform(0.12, 0.32), b.uniform(0.15, 0.9), b.uniform(50, 80)

    def peak(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        angle = np.radians((2 * u - 1) * width)
        out = v * reach * np.maximum(np.cos((2 * u - 1) * np.pi / 2), 0) ** 0.6
        return np.stack([r * np.sin(angle) * (1 + 0.1 * v), 0.01 - drop * out, long * np.cos(angle) + out], -1)

    b.add(sheet(peak, b.uniform(0.008, 0.025), 25, 9), "visor, brim")


Profile = list[tuple[float, float]]  # (radius, height) from the edge to the top


def _profile_top(b: Builder, r: float, tall: float) -> tuple[Profile, float]:
    tall = b.uniform(0.5, 0.9)
    flare = b.uniform(0.95, 1.12)
    return [(r, 0), (r * 0.95, tall / 2), (r * flare, tall), (0, tall)], tall


def _profile_round(b: Builder, r: float, tall: float) -> tuple[Profile, float]:
    t = np.linspace(0, np.pi / 2, 12)
    return list(np.stack([r * np.cos(t) ** 0.7, tall * np.sin(t)], 1)), tall


def _profile_creased(b: Builder, r: float, tall: float) -> tuple[Profile, float]:
    return _shoulders(b, r, tall, 0.85), tall


def _profile_straw(b: Builder, r: float, tall: float) -> tuple[Profile, float]:
    return _shoulders(b, r, tall, 1), tall


def _profile_witch(b: Builder, r: float, tall: float) -> tuple[Profile, float]:
    tall = b.uniform(0.8, 1.2)
    return [(r, 0), (r * 0.5, tall * 0.5), (0.02, tall), (0, tall)], tall


def _shoulders(b: Builder, r: float, tall: float, middle: float) -> Profile:
    """A crown that narrows to its top; middle: height at the centre, against tall at the edge of the top."""
    top = b.uniform(0.7, 0.95)
    return [
        (r, 0),
        (r * (1 + top) / 2, tall * 0.8),
        (r * top * 0.95, tall),
        (r * top * 0.5, tall * 0.98),
        (0, tall * middle),
    ]


HAT_PROFILES = {
    "top": _profile_top,
    "bowler": _profile_round,
    "fedora": _profile_creased,
    "sun": _profile_round,
    "straw": _profile_straw,
    "cowboy": _profile_creased,
    "witch": _profile_witch,
}


@family("hat", names=HAT)
def hat(b: Builder) -> None:
    """Hats with a brim all round: top hats, bowlers, fedoras, cowboy and sun hats."""
    r, tall, long = 0.4, b.uniform(0.25, 0.7), b.uniform(0.42, 0.5)
    kind = b.choice(*HAT_PROFILES)
    rows, tall = HAT_PROFILES[kind](b, r, tall)
    crown = lathe(rows, 36)
    if kind in ("fedora", "cowboy"):
        crown = crown.deform(
            lambda v: v * np.where(v[:, 1:2] > 0.3 * tall, [1 - 0.25 * np.clip(v[0, 0] + 1, 0, 1), 1, 1], [1, 1, 1])
        )
    b.add(crown.scale(1, 1, long / r), "crown")
    if b.chance(0.4):
        inside = np.array([(x * 0.96, y * 0.96) for x, y in rows])
        b.add(lathe(inside, 36).scale(1, 1, long / r), "crown")
    wide = {"top": b.uniform(0.1, 0.2), "bowler": b.uniform(0.08, 0.22), "fedora": b.uniform(0.12, 0.3)}.get(
        kind, b.uniform(0.2, 0.65)
    )
    curl = b.uniform(0.3, 1) if kind == "cowboy" else b.uniform(-0.2, 0.35)
    droop = b.uniform(0, 0.35) if kind in ("sun", "bowler") else b.uniform(-0.1, 0.15)
    wave = b.uniform(0, 0.05) if kind == "sun" else 0

    def brim(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * u
        out = v * wide
        y = -droop * out + curl * out * np.abs(np.sin(angle)) ** 3 + wave * v * np.sin(5 * angle)
        return np.stack([(r + out) * np.sin(angle), y, (long + out) * np.cos(angle)], -1)

    b.add(sheet(brim, b.uniform(0.01, 0.03), 40, 7), "brim")
    if b.chance(0.5):
        low, high = r * 1.01, b.uniform(0.05, 0.12)
        b.add(lathe([(low, 0.01), (low * 0.995, high)], 36).scale(1, 1, long / r), "hat band, band, ribbon")


@family(
    "helmet",
    names={
        "shell": ("body", "outer shell", "crown"),
        "visor": ("peak", "face shield"),
        "strap": ("chin strap",),
    },
)
def helmet(b: Builder) -> None:
    tall, low = b.uniform(0.45, 0.6), b.uniform(-30, 5)
    for k in (1, 0.94):
        b.add(ellipsoid(0.45 * k, tall * k, 0.52 * k, low=low, segments=32), "shell")
    peaked = b.chance(0.65)
    if peaked:
        reach = b.uniform(0.03, 0.3)

        def peak(u: np.ndarray, v: np.ndarray) -> np.ndarray:
            angle = np.radians((2 * u - 1) * 70)
            out = v * reach * np.cos((2 * u - 1) * 1.5)
            return np.stack([0.45 * np.sin(angle), 0.02 - 0.2 * out, 0.52 * np.cos(angle) + out], -1)

        b.add(sheet(peak, 0.02, 15, 6), "visor")
    if not peaked or b.chance(0.5):
        b.add(
            sweep(
                bezier((0.42, 0, 0), (0.4, -0.65, 0.1), (-0.4, -0.65, 0.1), (-0.42, 0, 0), steps=20),
                rounded_rectangle(0.06, 0.012),
                up=(0, 0.01, 1),
            ),
            "strap",
        )
    if b.chance(0.3):
        b.add(
            sweep(arc(0.52, 30, 150, plane="zy", r2=tall + 0.01), rounded_rectangle(0.06, 0.04), up=(0, 1, 0.01)),
            "ridge, crest",
        )


@family("beanie", names=HAT)
def beanie(b: Builder) -> None:
    tall, fold, thick = b.uniform(0.45, 0.85), b.uniform(0.12, 0.38), b.uniform(0.0, 0.05)
    boxy = b.uniform(0.6, 1)  # below one the sides stand straighter than a ball's
    t = np.linspace(0, np.pi / 2, 14)
    crown = lathe(np.stack([0.42 * np.cos(t) ** boxy, tall * np.sin(t)], 1), 32)
    b.add(crown.scale(1, 1, b.uniform(1.0, 1.15)), "crown")
    out = 0.425 + thick
    b.add(
        lathe([(0.42, 0), (out, 0.02), (out, fold), (0.41, fold + 0.02)], 32).scale(1, 1, 1.08),
        "cuff, folded edge, brim",
    )
    if b.chance(0.6):
        b.add(sphere(b.uniform(0.07, 0.16), (0, tall + 0.06, 0)), "pompom, pom-pom, bobble")


BAG = {
    "body": ("bag body", "main body", "base body", "compartment"),
    "handle": ("bag handle", "grip", "handle or grip"),
    "strap": ("shoulder strap", "carrying strap", "belt"),
}


@family("handbag", names=BAG)
def handbag(b: Builder) -> None:
    w, h, d = b.uniform(0.5, 0.9), b.uniform(0.35, 0.75), b.uniform(0.12, 0.35)
    shape = rounded_rectangle(w, d, b.uniform(0, d / 2), 5)
    top = b.uniform(0.6, 1.05)
    open_ = b.chance(0.4)
    rows = [
        (0, 0.96),
        (h * 0.05, 1),
        (h * 0.6, (1 + top) / 2, (1 + top) / 2),
        (h, top, top if open_ else b.uniform(0.3, 1)),
    ]
    if open_:
        rows += [(h, top * 0.95, top * 0.93), (h * 0.06, 0.95)]
    b.add(stack(shape, rows), "body")
    rise, foot, r = b.uniform(0.15, 0.6), w * top * b.uniform(0.2, 0.42), b.uniform(0.008, 0.025)
    flat = b.chance()
    path = (
        arc(foot, 0, 180, r2=rise, steps=22)
        if b.chance(0.7)
        else np.array(
            [
                (foot, 0, 0),
                (foot, rise * 0.9, 0),
                (foot * 0.8, rise, 0),
                (-foot * 0.8, rise, 0),
                (-foot, rise * 0.9, 0),
                (-foot, 0, 0),
            ]
        )
    )
    mesh = sweep(path, rounded_rectangle(r * 3.5, r), up=(0.01, 0.02, 1)) if flat else tube(path, r, 8)
    for z in (-1, 1) if b.chance(0.65) else (0,):
        lean = mesh.rotate("x", z * b.uniform(0, 25) if b.chance(0.85) else z * 150)
        b.add(lean.translate(0, h * 0.96, z * d * 0.35), "handle")
    if b.chance(0.3):
        long = b.uniform(0.5, 1)
        b.add(
            sweep(
                arc(w * top / 2 * 1.02, 0, 180, (0, h * 0.85, 0), r2=long, steps=24),
                rounded_rectangle(0.04, 0.01),
                up=(0.01, 0.02, 1),
            ),
            "strap",
        )
    if b.chance(0.35) and not open_:
        b.add(box(w * 0.9, h * b.uniform(0.3, 0.6), 0.02, (0, h * 0.75, d / 2 + 0.01), bevel=0.006), "flap, cover")
    if b.chance(0.3):
        b.add(box(0.06, 0.05, 0.03, (0, h * 0.6, d / 2 + 0.03), bevel=0.008), "clasp, buckle, lock")
    if b.chance(0.2):
        b.add(box(w * 0.5, h * 0.35, 0.03, (0, h * 0.3, d / 2 + 0.01), bevel=0.01), "pocket, front pocket")


@family("backpack", names=BAG)
def backpack(b: Builder) -> None:
    w, h, d = b.uniform(0.45, 0.65), b.uniform(0.7, 1), b.uniform(0.22, 0.38)
    b.add(box(w, h, d, (0, h / 2, 0), bevel=b.uniform(0.03, 0.11), top=b.uniform(0.75, 1)), "body")
    if b.chance(0.75):
        b.add(
            box(w * b.uniform(0.6, 0.9), h * b.uniform(0.3, 0.5), d * 0.4, (0, h * 0.28, d * 0.6), bevel=0.04),
            "front pocket, pocket",
        )
    if b.chance(0.3):
        b.add_mirrored(box(0.08, h * 0.35, d * 0.7, (w / 2 + 0.03, h * 0.22, 0), bevel=0.03), "side pocket, pocket")
    if b.chance(0.3):
        b.add(box(w * 0.95, 0.08, d * 1.15, (0, h, 0.02), bevel=0.03), "flap, lid, cover")
    x, out, wide = w * b.uniform(0.2, 0.32), b.uniform(0.1, 0.28), b.uniform(0.05, 0.09)
    path = bezier(
        (x * 0.6, h * 0.93, -d * 0.42),
        (x, h * 1.05, -d / 2 - out * 1.6),
        (x * 1.2, h * 0.3, -d / 2 - out),
        (x * 1.4, h * 0.12, -d * 0.45),
        steps=18,
    )
    b.add_mirrored(sweep(path, rounded_rectangle(0.02, wide), up=(1, 0, 0)), "strap")
    if b.chance(0.8):
        b.add(
            sweep(
                arc(0.09, 0, 180, (0, h * 0.97, -d * 0.35), r2=b.uniform(0.05, 0.12)),
                rounded_rectangle(0.03, 0.012),
                up=(0, 0.01, 1),
            ),
            "handle",
        )


@family(
    "suitcase",
    names={
        "body": ("case body", "main body", "base body", "shell"),
        "handle": ("grip", "handle or grip"),
        "wheel": ("caster", "wheels"),
    },
)
def suitcase(b: Builder) -> None:
    w, h, d = b.uniform(0.5, 0.8), b.uniform(0.6, 1), b.uniform(0.2, 0.35)
    if b.chance(0.3):
        w, h = h, w * 0.8
        b.add(box(w, h, d, (0, h / 2, 0), bevel=b.uniform(0.01, 0.05)), "body")
    else:
        b.add(box(w, h, d, (0, h / 2, 0), bevel=b.uniform(0.01, 0.08)), "body")
        r = b.uniform(0.03, 0.06)
        for x in (-1, 1):
            for z in (-1, 1) if b.chance(0.6) else (-1,):
                b.add(cylinder(r, r * 0.8, (x * w * 0.4, -r * 0.6, z * d * 0.35), axis="x"), "wheel")
        if b.chance(0.75):
            rise, foot = b.uniform(0.1, 0.6), w * b.uniform(0.15, 0.3)
            b.add_mirrored(
                rod((foot, h * 0.95, -d * 0.38), (foot, h + rise, -d * 0.38), 0.013),
                "telescopic handle, pull handle, handle",
            )
            b.add(
                box(2 * foot + 0.06, 0.05, 0.05, (0, h + rise, -d * 0.38), bevel=0.015),
                "telescopic handle, pull handle, handle",
            )
        if b.chance(0.4):
            b.add(tube(arc(0.1, -90, 90, (w / 2, h / 2, 0), plane="xy", r2=0.12), 0.015), "side handle, handle")
    b.add(tube(arc(w * 0.13, 0, 180, (0, h, 0), r2=0.07), b.uniform(0.012, 0.022)), "handle")
    for _ in range(b.integers(0, 5)):
        y = h * b.uniform(0.1, 0.9)
        b.add(box(w * 0.9, 0.02, 0.02, (0, y, d / 2)), "rib, ridge")


@family(
    "shoe",
    names={
        "upper": ("shoe upper", "body", "shoe body"),
        "sole": ("outsole", "bottom", "shoe sole"),
        "heel": ("shoe heel",),
        "lace": ("shoelace", "laces"),
        "tongue": ("shoe tongue",),
    },
)
def shoe(b: Builder) -> None:
    kind = b.choice("sneaker", "sneaker", "boot", "heel", "slipper")
    long, wide = 1.0, b.uniform(0.3, 0.42)
    s = np.linspace(0, 1, 24, endpoint=False) * 2 * np.pi
    z, x = np.cos(s), np.sin(s)
    outline = np.stack([x * wide / 2 * (0.82 + 0.18 * z), z * long / 2], 1)
    high = b.uniform(0.25, 0.4) if kind == "heel" else 0.0
    t = b.uniform(0.03, 0.12)

    def lift(v: np.ndarray) -> np.ndarray:
        back = np.clip(0.5 - v[:, 2] / long, 0, 1)
        v[:, 1] += high * back * back * (3 - 2 * back)
        return v

    b.add(stack(outline, [(0, 0.97), (t / 2, 1), (t, 0.98)]).deform(lift), "sole")
    collar = {
        "sneaker": b.uniform(0.28, 0.45),
        "boot": b.uniform(0.6, 1.0),
        "heel": b.uniform(0.15, 0.25),
        "slipper": 0.2,
    }[kind]
    loops = []
    for q in np.linspace(0, 1, 8):
        y = t + q * collar
        front = 1 - (1 - (0.0 if kind != "slipper" else 0.3)) * min(1, q * 2.2) ** 0.7 * 0.62
        zz = np.where(z > 0, z * long / 2 * front, z * long / 2 * (1 - 0.05 * q))
        loops.append(np.stack([outline[:, 0] * (0.97 - 0.25 * q if q < 0.95 else 0.72), np.full(24, y), zz], 1))
    upper = np.stack(loops)
    b.add(open_skin(upper).deform(lift), "upper")
    if kind == "heel":
        b.add(stack(ellipse(0.06, 0.07, 12), [(0, 0.5), (high + t / 2, 1.4)]).translate(0, 0, -long * 0.42), "heel")
    elif b.chance(0.3):
        b.add(box(wide * 0.75, 0.08, 0.25, (0, -0.04, -long * 0.34)), "heel")
    if kind in ("sneaker", "boot") and b.chance(0.7):
        for i in range(b.integers(3, 6)):
            q = 0.25 + i * 0.11
            y, zf = t + q * collar, long / 2 * (1 - min(1, q * 2.2) ** 0.7 * 0.62)
            b.add(
                tube(
                    [
                        (-wide * 0.2, y + 0.01, zf - 0.08),
                        (0, y + 0.03, zf + 0.01),
                        (wide * 0.2, y + 0.01, zf - 0.08),
                    ],
                    0.014,
                    6,
                ),
                "lace",
            )


def open_skin(loops: np.ndarray) -> Mesh:
    """A skin over loops with its first end closed and the last open."""
    inner = loops[::-1].copy()
    inner[..., 0] *= 0.93
    inner[..., 2] *= 0.97
    return loft(np.concatenate([loops, inner]))


def _lens_shape(b: Builder, kind: str, w: float, h: float) -> np.ndarray:  # (M, 2)
    """The outline of a lens for the right eye, its outer side at +x."""
    s = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    if kind == "rect":
        return rounded_rectangle(w, h, h * b.uniform(0.1, 0.4), 5)
    shape = np.stack([np.cos(s) * w / 2, np.sin(s) * (w / 2 if kind == "round" else h / 2)], 1)
    if kind == "aviator":
        shape[:, 0] *= 1 - 0.2 * (shape[:, 1] / h < -0.1) * np.abs(shape[:, 1] / h)
        shape[:, 1] -= 0.18 * h * np.clip(shape[:, 0] / w, -0.5, 0.5)
    elif kind == "cat":
        shape[:, 1] += h * 0.35 * np.clip(shape[:, 0] / w + 0.1, 0, 1) * (shape[:, 1] > 0)
    elif kind == "square":
        shape = np.sign(shape) * np.abs(shape / (w / 2, h / 2)) ** 0.6 * (w / 2, h / 2)
        shape[:, 0] *= 1 + 0.12 * shape[:, 1] / h
    return shape


def _temple(b: Builder, long: float, t: float) -> Mesh:
    """An arm of glasses from a hinge at the origin to the rear: wire, bar or wide blade; straight or hooked."""
    drop, bend, lift = b.uniform(0, 0.25), b.uniform(0.65, 0.85), b.uniform(-0.03, 0.04)
    path = bezier((0, 0, 0.01), (0, lift, -long * 0.6), (0, lift, -long * bend), (0, -drop, -long), steps=16)
    thick, tall = t * b.uniform(0.5, 1.1), t * b.uniform(1, 4)
    if b.chance(0.4):
        return tube(path, t * b.uniform(0.6, 1.3), 8)
    ends = np.linspace(1, b.uniform(0.4, 1.3), len(path))
    return sweep(path, rounded_rectangle(tall, thick * 1.2, thick * 0.3, 2), up=(1, 0, 0), sizes=ends)


@family(
    "eyeglasses",
    names={
        "lens": ("glass", "lenses", "glass lens"),
        "temple": ("leg", "glasses leg", "temple arm", "arm"),
        "frame": ("body", "rim", "lens frame"),
        "bridge": ("nose bridge",),
    },
)
def eyeglasses(b: Builder) -> None:
    """Spectacles and sunglasses: thin wire to thick frames, whole, half or no rims, flat or wrapped around."""
    w, gap = b.uniform(0.36, 0.55), b.uniform(0.05, 0.16)
    h, t = w * b.uniform(0.45, 0.95), b.uniform(0.008, 0.02) if b.chance(0.45) else b.uniform(0.02, 0.06)
    shape = _lens_shape(b, b.choice("round", "rect", "rect", "aviator", "oval", "cat", "square"), w, h)
    x, wrap = gap / 2 + w / 2, b.uniform(0, 0.35) if b.chance(0.6) else 0.0
    depth = t * b.uniform(0.7, 1.6)
    rim = b.choice("full", "full", "full", "full", "full", "full", "upper", "none")

    def bent(mesh: Mesh) -> Mesh:
        return mesh.deform(lambda v: v - np.stack([0 * v[:, 0], 0 * v[:, 0], wrap * v[:, 0] ** 2], 1))

    if b.chance(0.9) or rim != "full":
        # Who names only frame and temples counts the lenses to the frame.
        b.add_mirrored(bent(extrude(shape, 0.012, at=(x, 0, 0))), "lens, frame" if b.chance(0.6) else "lens")
    loop = np.stack([shape[:, 0] + x, shape[:, 1], 0 * shape[:, 0]], 1)
    if rim == "full":
        section = ellipse(t, t, 8) if b.chance(0.5) else rounded_rectangle(t * 2, depth * 2, t * 0.3, 2)
        b.add_mirrored(bent(sweep(loop, section, closed=True, up=(0, 0, 1))), "frame")
    elif rim == "upper":
        upper = loop[loop[:, 1] > -0.05 * h]
        b.add_mirrored(bent(tube(upper[np.argsort(-upper[:, 0])], t, 8)), "frame")
    bow, level = h * b.uniform(0, 0.35), h * b.uniform(-0.05, 0.25)
    bridge = bezier((-gap / 2 - 0.02, level, 0), (0, level + bow, 0.03), (gap / 2 + 0.02, level, 0))
    b.add(tube(bridge, t * b.uniform(0.8, 1.2)), "bridge, frame")
    if b.chance(0.15):
        top = h * b.uniform(0.4, 0.5)
        b.add(tube([(-x, top, 0), (0, top, 0.0), (x, top, 0)], t * 0.8), "bridge, frame")
    level, side = h * b.uniform(0.0, 0.35), x + w / 2 + t * 0.3
    back = -wrap * side**2
    leg = _temple(b, b.uniform(0.8, 1.25), t)
    folded, spread, turn = b.chance(0.2), b.uniform(-6, 12), b.uniform(78, 92)
    if b.chance(0.5):
        b.add_mirrored(box(t * 2.2, t * 2.5, t * 2.5, (side, level, back - t * 0.5), bevel=t * 0.3), "frame")
    for sign in (-1, 1):
        mesh = leg if sign > 0 else leg.mirror("x")
        mesh = mesh.rotate("y", sign * (turn if folded else -spread))
        gap_behind = (0.03 + 2 * t) * (sign > 0) * folded
        b.add(mesh.translate(sign * side, level, back - 0.01 - gap_behind), "temple")


EAR = {
    "earcup": ("ear cup", "earphone", "ear piece", "speaker"),
    "headband": ("head band", "band", "head strap"),
    "cord": ("data wire", "cable", "wire", "cord wire"),
    "ear pad": ("cushion", "ear cushion"),
}


@family("headphones", names=EAR)
def headphones(b: Builder) -> None:
    r, w, t = b.uniform(0.14, 0.28), b.uniform(0.32, 0.45), b.uniform(0.06, 0.14)
    tall = b.uniform(0.4, 0.65)
    path = arc(w, 0, 180, r2=tall, steps=26)
    flat = b.chance(0.7)
    b.add(
        sweep(path, rounded_rectangle(b.uniform(0.06, 0.16), b.uniform(0.02, 0.05), 0.01), up=(0.001, 0.002, 1))
        if not flat
        else sweep(path, rounded_rectangle(b.uniform(0.015, 0.04), b.uniform(0.05, 0.14), 0.01), up=(0, 0.001, 1)),
        "headband",
    )
    if b.chance(0.4):
        b.add(
            sweep(path[6:-6] * (0.93, 0.93, 1), rounded_rectangle(0.03, 0.12, 0.01), up=(0, 0.001, 1)),
            "head cushion, headband",
        )
    oval = b.uniform(1, 1.35)
    for s in (-1, 1):
        b.add(cylinder(r, t, axis="x", segments=28).scale(1, oval, 1).translate(s * w, -0.05, 0), "earcup")
        if b.chance(0.8):
            b.add(
                torus(r * 0.78, r * 0.24, axis="x").scale(1, oval, 1).translate(s * (w - t * 0.55), -0.05, 0),
                "ear pad, earcup",
            )
    if b.chance(0.3):
        b.add(tube(bezier((-w, -0.1, 0.1), (-w, -0.3, 0.4), (-0.15, -0.3, 0.5)), 0.015), "microphone, mic boom")
    if b.chance(0.45):
        side = (-w, -0.05 - r * oval, 0)
        b.add(
            tube(
                bezier(
                    side,
                    (-w, -0.8, 0),
                    (b.uniform(-0.3, 0.3), -0.6, b.uniform(0, 0.3)),
                    (b.uniform(-0.3, 0.3), -1, 0),
                    steps=24,
                ),
                0.012,
                8,
            ),
            "cord",
        )


@family("earbuds", names=EAR)
def earbuds(b: Builder) -> None:
    size = b.uniform(0.07, 0.11)
    for s in (-1, 1):
        at = (s * 0.3, 0.5, 0)
        b.add(ellipsoid(size, size, size * 0.8, at), "earcup")
        b.add(cylinder(size * 0.5, size, (s * (0.3 - size), 0.5, 0), axis="x"), "ear tip, earcup")
        b.add(
            tube(
                bezier(at, (s * 0.3, 0.2, 0), (s * 0.02, 0.2, b.uniform(-0.2, 0.2)), (0, -0.1, 0), steps=18),
                0.016,
                8,
            ),
            "cord",
        )
    b.add(
        tube(
            bezier(
                (0, -0.1, 0), (b.uniform(-0.2, 0.2), -0.3, 0), (b.uniform(-0.2, 0.2), -0.5, 0.1), (0, -0.7, 0), steps=18
            ),
            0.018,
            8,
        ),
        "cord",
    )
    b.add(cylinder(0.03, 0.14, (0, -0.76, 0)), "plug, jack")


@family(
    "watch",
    names={
        "case": ("body", "watch case", "watch body"),
        "strap": ("band", "watch band", "bracelet"),
        "dial": ("face", "watch face", "screen"),
        "crown": ("winding crown", "button", "knob"),
        "hand": ("clock hand", "pointer"),
    },
)
def watch(b: Builder) -> None:
    r, t = b.uniform(0.2, 0.3), b.uniform(0.06, 0.12)
    square = b.chance(0.35)
    body = box(2 * r, t, 2 * r * b.uniform(1, 1.2), bevel=0.03) if square else cylinder(r, t, segments=30)
    lift = 0.42
    b.add(body.translate(0, lift, 0), "case")
    b.add(
        (box(1.7 * r, 0.012, 1.7 * r) if square else cylinder(r * 0.87, 0.012, segments=30)).translate(
            0, lift + t / 2 + 0.006, 0
        ),
        "dial",
    )
    for angle in (b.uniform(0, 360), b.uniform(0, 360)):
        b.add(
            box(0.015, 0.01, r * b.uniform(0.4, 0.7), (0, 0, r * 0.25))
            .rotate("y", angle)
            .translate(0, lift + t / 2 + 0.016, 0),
            "hand, dial",
        )
    b.add(cylinder(0.03, 0.05, (r + 0.02, lift, 0), axis="x"), "crown")
    wide = r * b.uniform(0.9, 1.5)
    if b.chance(0.6):
        path = arc(0.42, 115, 425, r2=b.uniform(0.36, 0.45), plane="zy", steps=30)
        b.add(sweep(path, rounded_rectangle(0.03, wide, 0.01), up=(1, 0, 0)), "strap")
    else:
        for s in (-1, 1):
            b.add(box(wide, 0.03, 0.7, (0, lift - 0.02, s * (r + 0.33))), "strap")
        b.add(box(wide * 1.15, 0.05, 0.06, (0, lift, r + 0.68)), "buckle, clasp")


@family("ring", names={"band": ("ring band", "body", "hoop"), "gem": ("stone", "diamond", "jewel")})
def ring(b: Builder) -> None:
    r, t = 0.4, b.uniform(0.03, 0.08)
    b.add(torus(r, t, axis="z"), "band")
    g = b.uniform(0.1, 0.2)
    b.add(
        lathe([(0, -g), (g, 0), (g * 0.65, g * 0.4), (0, g * 0.4)], b.integers(5, 12)).translate(0, r + t + g * 0.8, 0),
        "gem",
    )
    if b.chance(0.6):
        b.add(lathe([(g * 0.4, -g), (g * 0.9, 0)], 8).translate(0, r + t + g * 0.8, 0), "setting, prong")


@family("belt", names={"strap": ("band", "belt strap", "body"), "buckle": ("clasp", "belt buckle")})
def belt(b: Builder) -> None:
    r, wide = 0.5, b.uniform(0.06, 0.14)
    path = arc(r, 100, 445, plane="xz", r2=b.uniform(0.35, 0.5), steps=50)
    b.add(sweep(path, rounded_rectangle(0.015, wide), up=(0, 1, 0)), "strap")
    z = path[:, 2].max()
    b.add(
        tube(
            [
                (-0.07, -wide * 0.7, z + 0.02),
                (0.07, -wide * 0.7, z + 0.02),
                (0.07, wide * 0.7, z + 0.02),
                (-0.07, wide * 0.7, z + 0.02),
            ],
            0.015,
            6,
            closed=True,
        ),
        "buckle",
    )


@family("lunch box", names=BAG)
def lunch_box(b: Builder) -> None:
    w, h, d = b.uniform(0.6, 0.9), b.uniform(0.2, 0.5), b.uniform(0.25, 0.5)
    b.add(hollow_box(w, h, d, 0.02, (0, h / 2, 0), 0.05), "body")
    b.add(
        box(w, h * 0.4, d, (0, h * 0.2, d / 2), corner=0.05)
        .rotate("x", -b.uniform(0, 95) if b.chance() else 0)
        .translate(0, h, -d / 2),
        "lid",
    )
    b.add(tube(arc(0.13, 180, 360, (0, h * 0.7, d / 2), plane="xz", r2=-0.1), 0.018), "handle")
    b.add_mirrored(box(0.06, 0.1, 0.02, (w * 0.35, h, d / 2 + 0.01)), "latch, clasp")


def _hat_crown_round(b: Builder, r: float, tall: float, t: np.ndarray) -> np.ndarray:
    angle = t * np.pi / 2
    power = b.uniform(1.6, 3.5)
    rows = np.stack([r * np.cos(angle) ** (2 / power), tall * np.sin(angle) ** (2 / power)], 1)
    return rows


def _hat_crown_flat(b: Builder, r: float, tall: float, t: np.ndarray) -> np.ndarray:
    top = b.uniform(0.8, 1.1)
    rows = np.stack([r * (1 + (top - 1) * t), tall * t], 1)
    rows = np.concatenate([rows, [(r * top * 0.93, tall * 1.02), (0, tall * b.uniform(0.93, 1.04))]])
    return rows


def _hat_crown_pinched(b: Builder, r: float, tall: float, t: np.ndarray) -> np.ndarray:
    top = b.uniform(0.6, 0.9)
    rows = np.stack([r * (1 - (1 - top) * t**2), tall * t], 1)
    rows = np.concatenate([rows, [(r * top * 0.8, tall * 1.03), (r * top * 0.4, tall * 0.97), (0, tall * 0.85)]])
    return rows


def _hat_crown_cone(b: Builder, r: float, tall: float, t: np.ndarray) -> np.ndarray:
    return np.stack([r * (1 - t ** b.uniform(0.9, 1.6)), tall * t], 1)


HAT_CROWN_KINDS = {
    "round": _hat_crown_round,
    "flat": _hat_crown_flat,
    "pinched": _hat_crown_pinched,
    "cone": _hat_crown_cone,
}


def hat_crown(b: Builder, kind: str, r: float, tall: float) -> list[tuple[float, float]]:
    """The profile of a crown from its edge to its top."""
    t = np.linspace(0, 1, 12)
    rows = HAT_CROWN_KINDS[kind](b, r, tall, t)
    return [(float(x), float(y)) for x, y in rows]


def put_crown(b: Builder, rows: list[tuple[float, float]], long: float, shells: int, crease: float = 0.0) -> None:
    """An oval crown of one or two shells; a crease runs from front to back along its top."""
    tall = max(y for _, y in rows)
    for inner in range(shells):
        k = 1 - 0.05 * inner
        mesh = lathe([(x * k, y * (k if inner else 1)) for x, y in rows], 36).scale(1, 1, long)

        def dent(v: np.ndarray) -> np.ndarray:
            high = np.clip(v[:, 1:2] / tall, 0, 1) ** 3
            v[:, 1:2] -= crease * high * np.exp(-((v[:, :1] / 0.14) ** 2))
            v[:, :1] *= 1 - 0.4 * crease * high * np.clip(v[:, 2:] + 0.4, 0, 1)
            return v

        b.add(mesh.deform(dent) if crease else mesh, "crown")


def put_brim(b: Builder, r: float, long: float, wide: float, droop: float, curl: float, wave: float, y: float) -> None:
    """A brim all round: it falls or rises by droop, its sides curl up, its edge waves."""
    front = b.uniform(0.75, 1.35)  # how much wider in front than at the sides
    fall = b.uniform(0.8, 1.6)
    turns, phase = b.integers(2, 6), b.uniform(0, 6.28)

    def brim(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * u
        out = v * wide * (1 + (front - 1) * np.cos(angle) ** 2)
        rise = -droop * wide * v**fall + curl * out * np.abs(np.sin(angle)) ** 3 * v
        rise += wave * v**2 * np.sin(turns * angle + phase)
        return np.stack([(r + out) * np.sin(angle), y + rise, (r * long + out) * np.cos(angle)], -1)

    b.add(sheet(brim, b.uniform(0.008, 0.03), 48, 9), "brim")


def put_band(b: Builder, r: float, long: float, tall: float) -> None:
    low, high = b.uniform(0, 0.03), tall * b.uniform(0.12, 0.35)
    b.add(lathe([(r * 1.015, low), (r * 1.0, high)], 36).scale(1, 1, long), b.choice("hat band, band", "ribbon, crown"))


@family("sun hat", tags=(COMMON,), names=HAT)
def sun_hat(b: Builder) -> None:
    """A brim wider than the head, flat, floppy or waving."""
    r, tall, long = 0.3, b.uniform(0.18, 0.4), b.uniform(1.0, 1.25)
    rows = hat_crown(b, b.choice("round", "round", "flat", "pinched"), r, tall)
    put_crown(b, rows, long, b.integers(1, 2))
    put_brim(
        b,
        r,
        long,
        b.uniform(0.22, 0.65),
        b.uniform(-0.15, 0.75),
        b.uniform(-0.15, 0.25),
        b.uniform(0, 0.07),
        b.uniform(0, 0.02),
    )
    if b.chance(0.5):
        put_band(b, r, long, tall)


@family("cowboy hat", tags=(COMMON,), names=HAT)
def cowboy_hat(b: Builder) -> None:
    r, tall, long = 0.3, b.uniform(0.25, 0.45), b.uniform(1.1, 1.35)
    put_crown(b, hat_crown(b, b.choice("pinched", "round"), r, tall), long, b.integers(1, 2), b.uniform(0, 0.16))
    put_brim(b, r, long, b.uniform(0.2, 0.4), b.uniform(-0.1, 0.35), b.uniform(0.3, 1.2), 0, 0.0)
    if b.chance(0.6):
        put_band(b, r, long, tall)


@family("bucket hat", tags=(COMMON,), names=HAT)
def bucket_hat(b: Builder) -> None:
    """A brim that falls steeply, so that crown and brim are nearly one cone; cloches too."""
    r, tall, long = 0.34, b.uniform(0.25, 0.45), b.uniform(1.0, 1.2)
    put_crown(b, hat_crown(b, b.choice("flat", "round", "flat"), r, tall), long, b.integers(1, 2))
    put_brim(b, r, long, b.uniform(0.08, 0.3), b.uniform(0.6, 2.2), 0, b.uniform(0, 0.02), 0.0)
    if b.chance(0.3):
        put_band(b, r, long, tall)


@family("bowler hat", tags=(COMMON,), names=HAT)
def bowler_hat(b: Builder) -> None:
    """Bowlers, boaters, top hats, sombreros: stiff crowns on stiff brims whose edges turn up."""
    r, tall, long = 0.32, b.uniform(0.2, 0.6), b.uniform(1.0, 1.2)
    put_crown(b, hat_crown(b, b.choice("flat", "round", "cone", "pinched"), r, tall), long, b.integers(1, 2))
    wide = b.uniform(0.08, 0.5)
    put_brim(b, r, long, wide, b.uniform(-0.1, 0.15), b.uniform(0, 0.5), 0, 0.0)
    if b.chance(0.3):  # the edge turned up all round
        path = np.stack([np.sin(np.linspace(0, 6.1, 30)), 0 * np.arange(30), np.cos(np.linspace(0, 6.1, 30))], 1)
        rim = path * (r + wide, 0, r * long + wide) + (0, b.uniform(0, 0.03), 0)
        b.add(tube(rim, b.uniform(0.01, 0.03), 8, closed=True), "brim")
    if b.chance(0.5):
        put_band(b, r, long, tall)


@family("baseball cap", tags=(COMMON,), names=HAT)
def baseball_cap(b: Builder) -> None:
    """Crowns of six panels, with a foam front, or flat as on army caps; peaks of all lengths, flat or bent."""
    r, tall, long = 0.4, b.uniform(0.3, 0.6), b.uniform(1.05, 1.35)
    lean = b.uniform(-0.2, 0.4)
    top = hat_crown(b, b.choice("round", "round", "round", "flat"), r, tall)
    for inner in range(b.integers(1, 2)):
        k = 1 - 0.035 * inner
        crown = lathe([(x * k, y * k) for x, y in top], 36).scale(1, 1, long)
        b.add(crown.deform(lambda v: v + np.array([0, 1, 0]) * lean * np.maximum(v[:, 2:], 0) * v[:, 1:2]), "crown")
    reach, width, droop = b.uniform(0.12, 0.65), b.uniform(40, 88), b.uniform(-0.25, 0.6)
    arch, round_ = b.uniform(0, 0.8) if b.chance(0.75) else 0.0, b.uniform(0.2, 1.0)

    def peak(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        across = 2 * u - 1
        angle = np.radians(across * width)
        out = v * reach * np.maximum(np.cos(across * np.pi / 2), 0) ** round_
        x, z = r * np.sin(angle) * (1 + 0.2 * v), r * long * np.cos(angle) + out
        return np.stack([x, 0.01 - droop * out - arch * across**2 * v * reach, z], -1)

    b.add(sheet(peak, b.uniform(0.01, 0.03), 25, 9), "visor, brim")
    if b.chance(0.55):
        size, y = b.uniform(0.02, 0.045), max(y for _, y in top[-2:])
        b.add(ellipsoid(size, size * 0.6, size, (0, y, 0)), "button, crown" if b.chance(0.3) else "crown")
