"""Hand tools, weapons, writing and playing things."""

from __future__ import annotations

import numpy as np

from pa3d.data.procedural.primitives import (
    Mesh,
    arc,
    bar,
    bezier,
    box,
    cylinder,
    ellipse,
    ellipsoid,
    extrude,
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


def grip(
    b: Builder, a: tuple[float, float, float], c: tuple[float, float, float], r: float, names: str = "handle"
) -> None:
    """A handle from a to c: a plain rod, an oval one, or one with a swelling."""
    p, q = np.array(a, float), np.array(c, float)
    s = np.linspace(0, 1, 12)
    kind = b.choice("plain", "swell", "bar", "ridged")
    path = p + (q - p) * s[:, None]
    if kind == "bar":
        b.add(sweep([p, q], rounded_rectangle(2 * r, 1.4 * r, r * 0.4), up=(0.1, 0.2, 1)), names)
    else:
        swell = {"plain": 0 * s, "swell": 0.3 * np.sin(np.pi * s), "ridged": 0.12 * np.sin(s * 30)}[kind]
        b.add(tube(path, r * (1 + swell)), names)


@family(
    "scissors",
    names={
        "blade": ("cutting blade", "knife edge", "metal blade"),
        "handle": ("finger loop", "handle or grip", "grip", "finger ring"),
        "screw": ("pivot", "rivet", "joint"),
    },
)
def scissors(b: Builder) -> None:
    long, wide, back = b.uniform(0.5, 0.8), b.uniform(0.05, 0.1), b.uniform(0.25, 0.4)
    angle = b.uniform(2, 32) if b.chance(0.8) else 0.5
    r1, r2, t = b.uniform(0.09, 0.16), b.uniform(0.09, 0.2), b.uniform(0.014, 0.03)
    lying = b.chance()
    pieces: list[tuple[Mesh, str]] = []
    for s in (-1, 1):
        edge = np.array(
            [
                (-wide / 2, -0.06),
                (wide / 2, -0.06),
                (wide / 2, long * 0.6),
                (wide * 0.1, long),
                (-wide / 2, long * 0.7),
            ]
        )
        if s < 0:
            edge = edge * (-1, 1)
        pieces.append((extrude(edge, 0.014, at=(0, 0, s * 0.008)).rotate("z", s * angle), "blade"))
        r, oval = (r1 if s < 0 else r2), b.uniform(1, 1.7)
        shank = [(0, -0.04, s * 0.008), (-s * r * 0.1, -back * 0.5, 0), (-s * r * 0.25, -back, 0)]
        pieces.append((tube(bezier(*shank), np.linspace(wide * 0.35, t, 14), 8).rotate("z", s * angle), "handle"))
        ring = arc(r, 0, 360, (-s * r * 0.95, -back - r * oval * 0.8, 0), r2=r * oval, steps=25)[:-1]
        pieces.append((tube(ring, t, 8, closed=True).rotate("z", s * angle), "handle"))
    pieces.append((cylinder(b.uniform(0.018, 0.035), 0.05, axis="z"), "screw"))
    for mesh, names in pieces:
        b.add(mesh.rotate("x", -90) if lying else mesh, names)


@family("hammer", names={"head": ("hammer head", "metal head"), "claw": ("hammer claw", "nail puller")})
def hammer(b: Builder) -> None:
    h, r = b.uniform(0.7, 1), b.uniform(0.025, 0.05)
    grip(b, (0, 0, 0), (0, h, 0), r)
    kind = b.choice("claw", "claw", "sledge", "mallet", "ball")
    size = b.uniform(0.06, 0.1)
    if kind in ("sledge", "mallet"):
        size *= b.uniform(1.2, 2)
        long = b.uniform(0.25, 0.5)
        head = (
            box(long, size * 1.6, size * 1.6, (0, h, 0), bevel=0.015)
            if b.chance()
            else cylinder(size, long, (0, h, 0), axis="x")
        )
        b.add(head, "head")
    else:
        b.add(box(0.14, size * 1.2, size, (0, h, 0), bevel=0.01), "head")
        b.add(
            cylinder(size * 0.45, 0.1, (0.1, h, 0), axis="x") + cylinder(size * 0.65, 0.06, (0.17, h, 0), axis="x"),
            "face, striking face, head",
        )
        if kind == "claw":
            for z in (-1, 1):
                path = bezier(
                    (-0.05, h + 0.01, z * size * 0.2),
                    (-0.2, h + 0.03, z * size * 0.3),
                    (-0.26, h - 0.12, z * size * 0.5),
                )
                b.add(
                    sweep(
                        path,
                        rounded_rectangle(size * 0.35, 0.04),
                        up=(0, 1, 0),
                        sizes=np.linspace(1.2, 0.5, 14),
                    ),
                    "claw, head",
                )
        else:
            b.add(sphere(size * 0.6, (-0.12, h, 0)), "head")


@family("axe", names={"head": ("axe head", "blade"), "handle": ("shaft", "handle or grip", "haft")})
def axe(b: Builder) -> None:
    h = b.uniform(0.8, 1.1)
    b.add(
        sweep(
            bezier((0.02, 0, 0), (-0.04, h * 0.3, 0), (0.03, h * 0.6, 0), (0, h, 0)),
            rounded_rectangle(0.06, 0.035, 0.012),
            up=(0, 0.001, 1),
        ),
        "handle",
    )
    for s in (1, -1) if b.chance(0.25) else (1,):
        w, e = b.uniform(0.2, 0.35), b.uniform(0.12, 0.28)
        edge = np.array(
            [(-0.04, 0.06), (0.05, 0.05), (w, e), (w * 1.12, 0), (w, -e), (0.05, -0.05), (-0.04, -0.06)]
        ) * (s, 1)
        b.add(extrude(edge, 0.045, at=(0, h - 0.08, 0)), "head")


@family(
    "screwdriver",
    names={
        "shaft": ("shank", "metal rod", "rod"),
        "tip": ("head", "bit"),
        "handle": ("grip", "handle or grip"),
    },
)
def screwdriver(b: Builder) -> None:
    r, grip_, shaft = b.uniform(0.06, 0.12), b.uniform(0.3, 0.5), b.uniform(0.3, 0.8)
    s = np.linspace(0, 1, 14)
    b.add(
        lathe(
            [(0, 0), *np.stack([r * (0.75 + 0.25 * np.sin(s * b.uniform(3, 9))), grip_ * s], 1), (0, grip_)],
            b.integers(6, 16),
        ),
        "handle",
    )
    k = r * b.uniform(0.2, 0.35)
    b.add(rod((0, grip_, 0), (0, grip_ + shaft, 0), k), "shaft")
    b.add(
        stack(
            rounded_rectangle(2 * k, 2 * k),
            [(grip_ + shaft, 1), (grip_ + shaft + 0.04, 1.3, 0.6), (grip_ + shaft + 0.09, 1.0, 0.2)],
        ),
        "tip, shaft",
    )


@family("wrench", names={"head": ("wrench head", "open end", "end"), "handle": ("shank", "shaft", "grip")})
def wrench(b: Builder) -> None:
    long, wide, t = b.uniform(0.7, 1), b.uniform(0.06, 0.12), b.uniform(0.03, 0.06)
    b.add(box(wide, long, t, (0, long / 2, 0), bevel=0.01), "handle")
    for y, kind in ((long, b.choice("open", "ring")), (0.0, b.choice("open", "ring", "none"))):
        r = wide * b.uniform(0.9, 1.4)
        s = 1 if y else -1
        if kind == "open":
            b.add(
                sweep(
                    arc(r, s * 115, s * 425, (0, y + s * r * 0.8, 0), steps=20),
                    rounded_rectangle(r * 0.7, t * 1.2),
                    up=(0, 0, 1),
                ),
                "head",
            )
        elif kind == "ring":
            b.add(torus(r, r * 0.35, (0, y + s * r, 0), axis="z"), "head")


@family(
    "shovel",
    names={
        "blade": ("head", "scoop", "shovel head"),
        "shaft": ("pole", "handle", "stick"),
        "handle": ("grip", "handle or grip"),
    },
)
def shovel(b: Builder) -> None:
    h, w, blade, r = b.uniform(0.7, 1.2), b.uniform(0.22, 0.36), b.uniform(0.3, 0.45), b.uniform(0.018, 0.03)
    point, curve = b.uniform(0, 0.5), b.uniform(0.05, 0.2)

    def scoop(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        x = (2 * u - 1) * w / 2 * (1 - point * np.maximum(0, 1 - 2.5 * v) ** 2)
        return np.stack([x, v * blade - blade, curve * (2 * u - 1) ** 2 * w + 0.05 * (1 - v)], -1)

    b.add(sheet(scoop, 0.014, 12, 12), "blade")
    b.add(rod((0, -0.1, 0), (0, h, 0), r), "shaft")
    if b.chance(0.7):
        s = b.uniform(0.07, 0.12)
        b.add(
            tube(
                [(0, h - 0.02, 0), (-s, h + s, 0), (-s, h + s * 1.8, 0), (s, h + s * 1.8, 0), (s, h + s, 0)],
                r,
                closed=True,
            ),
            "handle",
        )


@family(
    "broom",
    names={"handle": ("stick", "pole", "handle or grip", "shaft"), "bristle": ("brush", "bristles", "head")},
)
def broom(b: Builder) -> None:
    h, w, tall = b.uniform(0.9, 1.3), b.uniform(0.25, 0.5), b.uniform(0.12, 0.35)
    b.add(rod((0, tall, 0), (0, tall + h, b.uniform(-0.1, 0.1)), b.uniform(0.012, 0.025)), "handle")
    if b.chance(0.6):
        b.add(box(w, 0.06, 0.09, (0, tall, 0), bevel=0.02), "brush head, holder")
        b.add(box(w * b.uniform(1, 1.25), tall, b.uniform(0.08, 0.14), (0, tall / 2, 0), top=0.8), "bristle")
    else:
        b.add(stack(ellipse(1, 0.5), [(0, w / 2), (tall, w * 0.3), (tall * 1.6, 0.03)]), "bristle")


@family("rake", names={"tine": ("tooth", "prong"), "head": ("rake head",), "handle": ("pole", "stick", "shaft")})
def rake(b: Builder) -> None:
    h, w, count = b.uniform(0.9, 1.2), b.uniform(0.3, 0.5), b.integers(6, 14)
    b.add(rod((0, 0.1, 0), (0, h, 0), 0.02), "handle")
    b.add(box(w, 0.035, 0.035, (0, 0.1, 0)), "crossbar, head")
    for x in np.linspace(-w / 2, w / 2, count):
        b.add(tube(bezier((x, 0.1, 0), (x, 0.02, 0), (x, 0, 0.1)), 0.01, 6), "tine, head")


@family(
    "sword",
    names={
        "blade": ("cutting blade", "sword blade"),
        "handle": ("hilt", "grip", "handle or grip"),
        "guard": ("crossguard", "cross guard", "hand guard"),
        "pommel": ("end knob",),
    },
)
def sword(b: Builder) -> None:
    long, wide, grip_ = b.uniform(0.7, 1.1), b.uniform(0.04, 0.1), b.uniform(0.15, 0.3)
    bend = b.uniform(0, 0.15) if b.chance(0.4) else 0
    s = np.linspace(0, 1, 14)
    path = np.stack([bend * s**2, long * s, 0 * s], 1)
    b.add(
        sweep(
            path,
            [(-1, 0), (0, 0.2), (1, 0), (0, -0.2)],
            up=(0, 0, 1),
            sizes=wide / 2 * np.minimum(1, (1.02 - s) * b.uniform(4, 12)) ** 0.6,
        ),
        "blade",
    )
    grip(b, (0, 0, 0), (0, -grip_, 0), 0.025)
    if b.chance(0.85):
        g = b.uniform(0.1, 0.25)
        b.add(box(2 * g, 0.03, 0.05, bevel=0.01) if b.chance(0.7) else cylinder(g * 0.6, 0.02), "guard")
    if b.chance(0.7):
        b.add(sphere(b.uniform(0.03, 0.05), (0, -grip_ - 0.02, 0)), "pommel, handle")


GUN = {
    "barrel": ("gun barrel", "muzzle", "slide"),
    "handle": ("handle or grip", "grip", "pistol grip"),
    "trigger": ("trigger and guard", "trigger part"),
    "guard": ("trigger guard", "trigger and guard"),
    "stock": ("butt", "shoulder stock"),
}


def trigger(b: Builder, x: float, y: float) -> None:
    s = b.uniform(0.05, 0.08)
    b.add(
        tube(
            [(x - s, y, 0), (x - s * 0.8, y - s * 1.5, 0), (x + s * 0.9, y - s * 1.5, 0), (x + s, y, 0)],
            0.011,
            6,
        ),
        "guard, trigger and guard",
    )
    b.add(
        tube(bezier((x, y, 0), (x + 0.02, y - s * 0.6, 0), (x - 0.01, y - s * 1.1, 0)), 0.011, 6),
        "trigger, trigger and guard",
    )


@family("pistol", names=GUN)
def pistol(b: Builder) -> None:
    long, h, t = b.uniform(0.6, 0.95), b.uniform(0.1, 0.18), b.uniform(0.06, 0.1)
    lean, tall = b.uniform(5, 28), b.uniform(0.32, 0.5)
    revolver = b.chance(0.3)
    if revolver:
        b.add(rod((long * 0.3, 0.02, 0), (long, 0.02, 0), h * 0.28), "barrel")
        b.add(box(long * 0.4, h, t * 0.8, (long * 0.15, 0, 0), bevel=0.02), "frame, body")
        b.add(cylinder(h * 0.6, 0.2, (long * 0.22, 0, 0), axis="x"), "cylinder, drum")
        b.add(tube(bezier((-0.03, h * 0.4, 0), (-0.08, h * 0.9, 0), (-0.1, h * 0.9, 0)), 0.018), "hammer")
    else:
        b.add(box(long, h * 0.6, t, (long / 2 - 0.08, h * 0.2, 0), bevel=b.uniform(0, 0.02)), "barrel")
        b.add(box(long * b.uniform(0.5, 0.8), h * 0.5, t * 0.9, (long * 0.25, -h * 0.25, 0)), "frame, body")
        if b.chance():
            b.add(rod((long - 0.1, h * 0.2, 0), (long - 0.02, h * 0.2, 0), h * 0.18), "muzzle, barrel")
    handle = box(b.uniform(0.14, 0.2), tall, t, (0, -tall / 2, 0), bevel=0.025)
    b.add(handle.rotate("z", -lean).translate(0.04, -h * 0.2, 0), "handle")
    trigger(b, 0.04 + b.uniform(0.16, 0.2), -h * 0.5)
    if b.chance(0.4):
        b.add(box(0.02, 0.03, 0.02, (long - 0.14, h * 0.6, 0)), "sight, front sight")


@family("rifle", names=GUN)
def rifle(b: Builder) -> None:
    long, r = b.uniform(0.4, 0.7), b.uniform(0.012, 0.025)
    b.add(rod((0.3, 0.03, 0), (0.3 + long, 0.03, 0), r), "barrel")
    b.add(box(0.5, b.uniform(0.07, 0.12), 0.05, (0.1, 0.02, 0), bevel=0.01), "receiver, body")
    drop = b.uniform(0.03, 0.14)
    shape = np.array(
        [
            (-0.15, 0.06),
            (-0.62, 0.04 - drop * 0.3),
            (-0.62, -0.1 - drop),
            (-0.3, -0.05 - drop * 0.2),
            (-0.15, -0.03),
        ]
    )
    b.add(extrude(shape, 0.045), "stock")
    if b.chance(0.6):
        b.add(box(0.07, 0.2, 0.045, (0, -0.1, 0), bevel=0.012).rotate("z", -18).translate(-0.08, -0.02, 0), "handle")
    if b.chance(0.6):
        b.add(
            box(0.09, b.uniform(0.12, 0.3), 0.035, (0, -0.1, 0)).rotate("z", b.uniform(0, 20)).translate(0.2, -0.02, 0),
            "magazine, clip",
        )
    if b.chance(0.6):
        b.add(box(long * 0.6, 0.06, 0.055, (0.35 + long * 0.25, 0.02, 0), bevel=0.01), "handguard, forend")
    if b.chance(0.4):
        b.add(
            lathe([(0, -0.15), (0.035, -0.15), (0.022, -0.05), (0.022, 0.06), (0.04, 0.16), (0, 0.16)])
            .rotate("z", -90)
            .translate(0.1, 0.13, 0),
            "scope, sight",
        )
    trigger(b, 0.03, -0.03)


PEN = {
    "body": ("barrel", "pen body", "main body", "base body", "shaft"),
    "cap": ("cover", "lid", "pen cap"),
    "tip": ("nib", "point", "pen tip"),
    "clip": ("pocket clip", "pen clip"),
    "button": ("push button", "clicker", "top button"),
}


@family("pen", names=PEN)
def pen(b: Builder) -> None:
    r, h = b.uniform(0.025, 0.06), 1.0
    kind = b.choice("capped", "click", "click", "open", "marker", "posted")
    cap = b.uniform(0.25, 0.4)
    sides = b.integers(6, 20)
    s = np.linspace(0, 1, 10)
    swell = 1 + b.uniform(0, 0.15) * np.sin(np.pi * s)
    low = 0.08 if kind != "capped" else 0.03
    b.add(
        lathe([(r * 0.6, low), *np.stack([r * swell, low + 0.1 + (h - low - 0.1) * s], 1), (0, h)], sides),
        "body",
    )
    if kind != "capped":
        b.add(lathe([(0, 0), (r * 0.15, 0.01), (r * 0.62, low), (0, low)], sides), "tip")
    if kind in ("capped", "posted", "marker") or b.chance(0.2):
        k = r * b.uniform(1.1, 1.35)
        at = 0.0 if kind == "capped" else h - cap * 0.7
        ends = (
            [(0, at), (k * 0.85, at), (k, at + 0.03), (k, at + cap)]
            if kind == "capped"
            else [(k, at), (k, at + cap), (k * 0.8, at + cap + 0.02), (0, at + cap + 0.02)]
        )
        b.add(lathe(ends, 18), "cap")
        if b.chance(0.75):
            y0, y1 = (at + 0.02, at + cap * 0.9) if kind == "capped" else (at + cap * 0.2, at + cap)
            far = y0 if kind == "capped" else y1
            b.add(
                box(r * 0.6, y1 - y0, r * 0.25, (0, (y0 + y1) / 2, k * 1.35))
                + box(r * 0.6, 0.02, k * 0.5, (0, far, k * 1.15)),
                "clip",
            )
        if kind == "capped" and b.chance(0.3):
            b.add(cylinder(r * 0.7, 0.03, (0, h, 0)), "end, button")
    else:
        b.add(cylinder(r * b.uniform(0.35, 0.7), b.uniform(0.04, 0.1), (0, h + 0.02, 0)), "button")
        if b.chance(0.8):
            b.add(
                box(r * 0.6, 0.26, r * 0.25, (0, h - 0.16, r * 1.4))
                + box(r * 0.6, 0.02, r * 0.6, (0, h - 0.03, r * 1.15)),
                "clip",
            )
        if b.chance(0.4):
            b.add(lathe([(r * 1.12, 0.15), (r * 1.18, 0.22), (r * 1.12, 0.36)]), "rubber grip, grip")


@family(
    "pencil",
    names={"body": ("shaft", "main body", "pencil body"), "tip": ("point", "lead"), "eraser": ("rubber",)},
)
def pencil(b: Builder) -> None:
    r = b.uniform(0.025, 0.05)
    b.add(cylinder(r, 0.75, (0, 0.5, 0), segments=6), "body")
    b.add(lathe([(0, 0), (r, 0.13)], 12), "tip")
    b.add(cylinder(r, 0.06, (0, 0.905, 0)), "metal band, band")
    b.add(lathe([(r, 0.93), (r * 0.9, 1), (0, 1.01)]), "eraser")


@family(
    "paintbrush",
    names={"bristle": ("bristles", "brush", "hair"), "handle": ("grip", "stick", "handle or grip")},
)
def paintbrush(b: Builder) -> None:
    w, t = b.uniform(0.05, 0.25), b.uniform(0.03, 0.06)
    flat = w > 0.12
    s = np.linspace(0, 1, 12)
    b.add(
        stack(
            ellipse(1, t / w if flat else 1),
            np.stack([0.35 + 0.65 * s, w * 0.4 * (1 - 0.6 * s**0.5 + 0.15 * np.sin(s * 6))], 1),
        ),
        "handle",
    )
    outline = rounded_rectangle(w, t, t / 2) if flat else ellipse(w / 2, w / 2)
    b.add(stack(outline, [(0.22, 1.02), (0.37, 1.02)]), "metal band, band")
    b.add(stack(outline, [(0, 0.9 if flat else 0.1), (0.1, 1), (0.23, 1)]), "bristle")


@family(
    "toothbrush",
    names={"bristle": ("bristles", "brush"), "handle": ("grip", "handle or grip"), "head": ("brush head",)},
)
def toothbrush(b: Builder) -> None:
    path = bezier((0, 0, 0), (0, 0.4, 0.05), (0, 0.7, -0.03), (0, 0.78, 0))
    b.add(
        sweep(path, rounded_rectangle(0.07, 0.04, 0.015), up=(0, 0, 1), sizes=np.linspace(1.1, 0.55, 14)),
        "handle",
    )
    b.add(box(0.08, 0.22, 0.025, (0, 0.88, 0), bevel=0.01), "head")
    b.add(box(0.07, 0.19, 0.08, (0, 0.88, 0.05)), "bristle")


@family("saw", names={"blade": ("saw blade", "cutting blade"), "handle": ("grip", "handle or grip")})
def saw(b: Builder) -> None:
    long, wide, tip = b.uniform(0.7, 0.9), b.uniform(0.15, 0.25), b.uniform(0.06, 0.12)
    teeth = b.integers(10, 25)
    x = np.linspace(0, long, 2 * teeth + 1)
    low = np.stack([x, np.where(np.arange(len(x)) % 2, -0.02, 0.0)], 1)
    b.add(extrude(np.concatenate([low, [(long, tip), (0, wide)]]), 0.012), "blade")
    ring = [
        (0, wide * 0.9, 0),
        (-0.15, wide * 1.1, 0),
        (-0.27, wide * 0.7, 0),
        (-0.22, -0.02, 0),
        (-0.05, -0.06, 0),
        (0.02, 0.06, 0),
    ]
    b.add(tube(ring, b.uniform(0.025, 0.04), closed=True), "handle")


@family(
    "drill",
    names={
        "body": ("main body", "base body", "motor housing"),
        "handle": ("grip", "handle or grip"),
        "bit": ("drill bit", "tip"),
        "chuck": ("drill chuck",),
        "trigger": ("switch", "trigger button"),
    },
)
def drill(b: Builder) -> None:
    r, long = b.uniform(0.1, 0.14), b.uniform(0.4, 0.55)
    b.add(cylinder(r, long, axis="x", top=r * b.uniform(0.8, 1)), "body")
    b.add(cylinder(r * 0.75, 0.14, (long / 2 + 0.06, 0, 0), axis="x", top=r * 0.35), "chuck")
    b.add(rod((long / 2 + 0.1, 0, 0), (long / 2 + b.uniform(0.3, 0.5), 0, 0), 0.016), "bit")
    tall = b.uniform(0.35, 0.45)
    b.add(
        box(0.14, tall, 0.11, (0, -tall / 2, 0), bevel=0.03)
        .rotate("z", -b.uniform(0, 18))
        .translate(-0.06, -r * 0.5, 0),
        "handle",
    )
    b.add(box(0.28, 0.12, 0.18, (-0.1, -tall - r * 0.5, 0), bevel=0.02), "battery, battery pack, base")
    b.add(box(0.05, 0.1, 0.05, (0.06, -r - 0.07, 0), bevel=0.01), "trigger")


def fretted(b: Builder, neck_y: float, long: float, w: float, depth: float) -> None:
    """Neck, fingerboard, headstock with pegs above y."""
    b.add(box(w, long, depth, (0, neck_y + long / 2, 0), bevel=depth * 0.2, top=0.85), "neck")
    if b.chance(0.6):
        b.add(
            box(w, long * 1.15, 0.015, (0, neck_y + long * 0.43, depth / 2 + 0.008), top=0.85),
            "fingerboard, fretboard, neck",
        )
    top, hw, hl = neck_y + long, w * b.uniform(1.3, 2), b.uniform(0.14, 0.24)
    shape = b.choice("sym", "side", "v")
    outline = {
        "sym": [
            (-w * 0.45, 0),
            (-hw / 2, hl * 0.25),
            (-hw * 0.45, hl),
            (hw * 0.45, hl),
            (hw / 2, hl * 0.25),
            (w * 0.45, 0),
        ],
        "side": [
            (-w * 0.45, 0),
            (-hw * 0.7, hl * 0.9),
            (-hw * 0.2, hl * 1.05),
            (hw * 0.35, hl * 0.2),
            (w * 0.45, 0),
        ],
        "v": [(-w * 0.45, 0), (-hw * 0.6, hl), (0, hl * 0.75), (hw * 0.6, hl), (w * 0.45, 0)],
    }[shape]
    b.add(
        extrude(np.array(outline), depth * 0.7, at=(0, top, 0)).rotate("x", -b.uniform(0, 14), (0, top, 0)),
        "headstock, head",
    )
    for i in range(3):
        y = top + hl * (0.3 + 0.25 * i)
        for s in (-1, 1):
            b.add(ellipsoid(0.025, 0.014, 0.02, (s * (hw / 2 + 0.025), y, -0.01)), "tuning peg, peg, headstock")


GUITAR = {
    "headstock": ("head", "guitar head", "peghead"),
    "neck": ("guitar neck", "fretboard"),
    "body": ("guitar body", "main body", "base body"),
}


@family("guitar", names=GUITAR)
def guitar(b: Builder) -> None:
    kind = b.choice("acoustic", "acoustic", "electric", "electric", "v", "ukulele")
    long, depth = b.uniform(0.75, 0.95), b.uniform(0.1, 0.2)
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    upper, waist = b.uniform(0.6, 0.85), b.uniform(0.1, 0.3)
    if kind in ("acoustic", "ukulele"):
        y = np.sin(t)
        x = (
            np.cos(t)
            * (1 - waist * np.exp(-((y - 0.15) ** 2) / 0.12))
            * np.where(y > 0, 1 - (1 - upper) * np.clip(y * 2, 0, 1), 1)
        )
        outline = np.stack([x * long * 0.38, y * long / 2], 1)
    elif kind == "electric":
        depth = b.uniform(0.04, 0.08)
        long *= 0.8
        horn_l, horn_r = b.uniform(0.8, 1.25), b.uniform(0.6, 1.05)
        outline = (
            np.array(
                [
                    (-0.06, 0.36),
                    (-0.14, 0.36),
                    (-0.24, 0.5 * horn_l),
                    (-0.33, 0.42 * horn_l),
                    (-0.27, 0.1),
                    (-0.36, -0.2),
                    (-0.28, -0.43),
                    (0, -0.5),
                    (0.28, -0.43),
                    (0.36, -0.2),
                    (0.27, 0.08),
                    (0.33, 0.38 * horn_r),
                    (0.24, 0.46 * horn_r),
                    (0.12, 0.32),
                    (0.06, 0.32),
                ]
            )
            * long
            * (1.05, 1)
        )
    else:
        depth = 0.06
        outline = (
            np.array([(-0.07, 0.4), (-0.5, -0.5), (-0.3, -0.55), (0, -0.1), (0.3, -0.55), (0.5, -0.5), (0.07, 0.4)])
            * long
            * 0.8
        )
        long *= 0.8
    b.add(extrude(outline, depth), "body")
    if kind == "ukulele":
        long *= 1.15
    w = b.uniform(0.07, 0.1)
    fretted(b, long / 2 * (0.95 if kind in ("acoustic", "ukulele") else 0.7), b.uniform(0.55, 0.85), w, 0.05)
    front = depth / 2
    if kind in ("acoustic", "ukulele"):
        b.add(torus(0.11, 0.012, (0, long * 0.15, front), axis="z"), "sound hole, rosette, body")
        b.add(box(0.28, 0.04, 0.03, (0, -long * 0.22, front)), "bridge, body")
    else:
        for pickup in (-0.02, -0.12):
            b.add(box(0.2, 0.05, 0.03, (0, pickup, front)), "pickup, body")
        b.add(box(0.18, 0.06, 0.03, (0, -0.24, front)), "bridge, body")
        for i in range(b.integers(1, 4)):
            b.add(cylinder(0.02, 0.03, (0.17 + 0.03 * i, -0.12 - 0.08 * i, front), axis="z"), "knob, body")
    if b.chance(0.15):
        b.add(
            sweep(
                bezier(
                    (0.05, long * 0.4, -0.05),
                    (0.9, long, -0.3),
                    (0.9, -long, -0.3),
                    (0, -long / 2, -0.02),
                    steps=24,
                ),
                rounded_rectangle(0.04, 0.008),
                up=(0, 0.01, 1),
            ),
            "strap",
        )


@family("violin", names={**GUITAR, "headstock": ("scroll", "head")})
def violin(b: Builder) -> None:
    t = np.linspace(0, 2 * np.pi, 44, endpoint=False)
    y = np.sin(t)
    x = np.cos(t) * (1 - 0.42 * np.exp(-((y - 0.05) ** 2) / 0.04)) * np.where(y > 0, 0.82, 1)
    outline = np.stack([x * 0.21, y * 0.36], 1)
    loops = [
        np.stack([outline[:, 0] * k, outline[:, 1] * k, np.full(len(t), z)], 1)
        for k, z in ((0.4, -0.06), (1, -0.04), (1, 0.04), (0.4, 0.065))
    ]
    b.add(loft(np.stack(loops)), "body")
    b.add(box(0.045, 0.32, 0.035, (0, 0.46, 0.03)), "neck")
    b.add(box(0.045, 0.5, 0.012, (0, 0.36, 0.065)), "fingerboard, neck")
    b.add(torus(0.035, 0.018, (0, 0.66, 0.01), axis="x"), "headstock")
    for i in range(4):
        b.add(
            rod(
                (-0.07 if i % 2 else 0, 0.57 + 0.02 * i, 0.02),
                (0.07 if i % 2 == 0 else 0, 0.57 + 0.02 * i, 0.02),
                0.009,
            ),
            "tuning peg, peg",
        )
    b.add(box(0.09, 0.015, 0.06, (0, -0.05, 0.09)), "bridge")
    b.add(box(0.05, 0.16, 0.012, (0, -0.22, 0.09), top=1.3), "tailpiece")
    b.add(ellipsoid(0.06, 0.045, 0.02, (-0.09, -0.32, 0.07)), "chin rest")


@family(
    "drum",
    names={
        "shell": ("body", "drum body", "drum shell"),
        "head": ("drumhead", "skin", "membrane"),
        "stick": ("drumstick",),
    },
)
def drum(b: Builder) -> None:
    r, h = b.uniform(0.35, 0.5), b.uniform(0.2, 0.9)
    low = r * b.uniform(0.7, 1)
    b.add(lathe([(low, 0), (r * b.uniform(1, 1.15), h * 0.6), (r, h)], 32), "shell")
    b.add(lathe([(0, h), (r, h)], 32), "head")
    b.add(torus(r * 1.02, 0.018, (0, h, 0)) + torus(low * 1.02, 0.018), "hoop, rim")
    if b.chance(0.4):
        for z in (-0.1, 0.1):
            b.add(rod((-0.4, h + 0.04, z), (0.4, h + 0.05, -z), 0.014), "stick")


@family(
    "racket",
    names={
        "head": ("racket head", "hitting surface"),
        "handle": ("grip", "handle or grip"),
        "strings": ("string bed", "net"),
        "frame": ("rim", "hoop"),
    },
)
def racket(b: Builder) -> None:
    w, h = b.uniform(0.26, 0.36), b.uniform(0.3, 0.45)
    if b.chance():
        b.add(extrude(ellipse(w, h * 0.85, 30), b.uniform(0.02, 0.05)), "paddle, blade, head")
        b.add(box(0.1, 0.35, 0.07, (0, -h * 0.85 - 0.12, 0), bevel=0.025), "handle")
    else:
        ring = arc(w, 0, 360, r2=h, steps=33)[:-1]
        b.add(tube(ring, 0.02, 8, closed=True), "frame, head")
        for q in np.linspace(-0.85, 0.85, b.integers(7, 13)):
            x, y = w * q, h * np.sqrt(1 - q * q)
            b.add(rod((x, -y, 0), (x, y, 0), 0.004, segments=4), "strings, head")
            b.add(
                rod((-w * np.sqrt(1 - q * q), h * q, 0), (w * np.sqrt(1 - q * q), h * q, 0), 0.004, segments=4),
                "strings, head",
            )
        for s in (-1, 1):
            b.add(rod((s * w * 0.45, -h * 0.87, 0), (0, -h - 0.25, 0), 0.018), "throat, shaft")
        b.add(rod((0, -h - 0.22, 0), (0, -h - 0.65, 0), 0.03), "handle")


@family(
    "magnifying glass",
    names={"lens": ("glass", "glass lens"), "frame": ("rim", "ring"), "handle": ("grip", "handle or grip")},
)
def magnifying_glass(b: Builder) -> None:
    r = b.uniform(0.25, 0.4)
    b.add(ellipsoid(r, r, 0.03), "lens")
    b.add(torus(r, 0.035, axis="z"), "frame")
    grip(b, (0, -r - 0.03, 0), (0, -r - b.uniform(0.4, 0.7), 0), 0.04)


@family(
    "key",
    names={"bow": ("head", "handle", "key head"), "shaft": ("blade", "shank"), "tooth": ("bit", "teeth")},
)
def key(b: Builder) -> None:
    r, long = b.uniform(0.13, 0.22), b.uniform(0.5, 0.75)
    b.add(torus(r, b.uniform(0.03, 0.07), axis="z").scale(1, b.uniform(0.7, 1.1), 0.6), "bow")
    b.add(box(0.08, long, 0.03, (0, -r - long / 2, 0)), "shaft")
    for i in range(b.integers(2, 5)):
        b.add(box(b.uniform(0.05, 0.13), 0.05, 0.03, (0.07, -r - long + 0.06 + 0.08 * i, 0)), "tooth")


@family("lever", names={"base": ("foot",), "arm": ("rod", "lever arm")})
def lever(b: Builder) -> None:
    """A stand with a lever: base, post, arm, knob."""
    b.add(box(0.6, 0.1, 0.4, (0, 0.05, 0), bevel=0.02), "base")
    b.add(rod((0, 0.1, 0), (0, 0.6, 0), 0.05), "post, support")
    tilt = b.uniform(-30, 60)
    b.add(bar((-0.1, 0, 0), (0.55, 0, 0), 0.06, 0.04).rotate("z", tilt).translate(0, 0.6, 0), "arm")
    b.add(sphere(0.07, (0.58, 0, 0)).rotate("z", tilt).translate(0, 0.6, 0), "knob, handle")


@family("marker", tags=(COMMON,), names={**PEN, "body": ("barrel", "pen body", "main body", "base body")})
def marker(b: Builder) -> None:
    """Thick pens under a cap of a third to a half of their length, upright, on their cap or lying."""
    piece = Builder(b.rng)
    r, cap = b.uniform(0.035, 0.1), b.uniform(0.2, 0.5)
    s = np.linspace(0, 1, 10)
    taper = 1 - b.uniform(-0.1, 0.35) * s
    rows = np.stack([r * taper, cap * 0.8 + (1 - cap * 0.8) * s], 1)
    outline = ellipse(1, b.uniform(0.6, 1) if b.chance(0.2) else 1, 20)
    piece.add(stack(outline, [(y, x) for x, y in rows]), "body")
    k, end = r * b.uniform(1.02, 1.3), b.uniform(0.5, 1)
    piece.add(stack(outline, [(0, k * end * 0.9), (0.02, k * end), (cap * 0.5, k), (cap, k)]), "cap")
    if b.chance(0.6):
        long = cap * b.uniform(0.6, 1)
        piece.add(
            box(r * b.uniform(0.3, 0.7), long, r * 0.25, (0, 0.02 + long / 2, k * 1.2))
            + box(r * 0.4, 0.02, k * 0.5, (0, 0.03, k)),
            "clip, cap" if b.chance() else "clip",
        )
    if b.chance(0.4):
        piece.add(lathe([(0, 0.99), (r * 0.7, 0.99), (r * 0.6, 1.04), (0, 1.05)], 16), "end, body")
    turn = {"cap down": 0, "cap up": 180, "lying": 90}[b.choice("cap down", "cap up", "cap up", "lying")]
    for names, mesh in piece.pieces():
        b.add(mesh.rotate("x", turn), names)
