"""More everyday kinds: seating, beds, fixtures, kitchenware, tools, toys, vehicles and outdoor objects.

Importing this module registers them; `pa3d.data.procedural` does not, so that the embedded corpus stays the same.
"""

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
)
from pa3d.data.procedural.registry import Builder, family


def four_legs(b: Builder, x: float, z: float, h: float, r: float, names: str, spread: float = 0) -> None:
    """Four legs from height h to the ground."""
    square = b.chance()
    for sx in (-1, 1):
        for sz in (-1, 1):
            top, foot = (sx * x, h, sz * z), (sx * (x + spread), 0, sz * (z + spread))
            b.add(bar(top, foot, 2 * r, 2 * r) if square else rod(top, foot, r, r * b.uniform(0.6, 1)), names)


def wheels(b: Builder, x: float, r: float, wide: float, at: tuple[float, ...], names: str = "wheel") -> None:
    """A pair of wheels at each z of `at`, on the ground."""
    for z in at:
        for s in (-1, 1):
            b.add(cylinder(r, wide, (s * x, r, z), axis="x", segments=24), names)
            b.add(cylinder(r * 0.45, wide * 1.15, (s * x, r, z), axis="x"), f"hub, {names}")


# ---- furniture ----


@family("crib", names={"rail": ("top rail", "side rail"), "slat": ("bar", "spindle")})
def crib(b: Builder) -> None:
    w, d, h, low = b.uniform(1.1, 1.4), b.uniform(0.6, 0.75), b.uniform(0.75, 1), b.uniform(0.25, 0.45)
    four_legs(b, w / 2, d / 2, h, b.uniform(0.02, 0.035), "post, leg")
    for s in (-1, 1):
        b.add(bar((-w / 2, h * 0.97, s * d / 2), (w / 2, h * 0.97, s * d / 2), 0.04, 0.04), "rail")
        b.add(bar((-w / 2, low, s * d / 2), (w / 2, low, s * d / 2), 0.03, 0.04), "rail")
        for x in np.linspace(-w / 2, w / 2, b.integers(8, 14))[1:-1]:
            b.add(rod((x, low, s * d / 2), (x, h * 0.96, s * d / 2), 0.01), "slat")
        b.add(box(0.03, h - low, d, (s * w / 2, (h + low) / 2, 0)), "end panel, headboard")
    b.add(box(w * 0.97, b.uniform(0.08, 0.14), d * 0.97, (0, low + 0.06, 0), bevel=0.03), "mattress")


@family("bunk bed", names={"guard rail": ("safety rail",), "rung": ("step", "ladder rung")})
def bunk_bed(b: Builder) -> None:
    w, d, h = b.uniform(1.8, 2.1), b.uniform(0.85, 1.1), b.uniform(1.5, 1.8)
    four_legs(b, w / 2, d / 2, h, b.uniform(0.03, 0.05), "post, leg")
    for y in (h * b.uniform(0.15, 0.25), h * b.uniform(0.6, 0.75)):
        b.add(box(w, 0.12, d, (0, y, 0)), "frame, bed frame")
        b.add(box(w * 0.96, b.uniform(0.1, 0.16), d * 0.95, (0, y + 0.1, 0), bevel=0.04), "mattress")
        b.add(box(0.35, 0.1, d * 0.6, (-w * 0.36, y + 0.2, 0), bevel=0.045), "pillow")
    for s in (-1, 1):
        b.add(bar((-w / 2, h * 0.95, s * d / 2), (w * 0.25, h * 0.95, s * d / 2), 0.03, 0.08), "guard rail")
    for x in (w * 0.3, w * 0.42):
        b.add(bar((x, 0, d / 2 + 0.15), (x, h * 0.9, d / 2 + 0.02), 0.03, 0.05), "ladder")
    for y in np.linspace(0.2, h * 0.8, b.integers(3, 6)):
        z = d / 2 + 0.15 - 0.13 * y / (h * 0.9)
        b.add(rod((w * 0.3, y, z), (w * 0.42, y, z), 0.015), "rung, ladder")


@family("rocking chair", names={"rocker": ("curved runner", "rocking foot"), "back": ("backrest",)})
def rocking_chair(b: Builder) -> None:
    w, h, tall = b.uniform(0.45, 0.55), b.uniform(0.38, 0.46), b.uniform(0.6, 0.8)
    b.add(box(w, 0.04, w, (0, h, 0), bevel=0.015), "seat")
    for s in (-1, 1):
        x = s * w / 2 * 0.92
        b.add(tube(arc(b.uniform(0.9, 1.3), 250, 292, (x, 0.95, 0.02), "zy"), 0.02), "rocker")
        for z in (-w / 2 * 0.85, w / 2 * 0.85):
            b.add(rod((x, h, z), (x, 0.02, z * 1.15), 0.018), "leg")
        b.add(rod((x, h, -w / 2), (x, h + tall, -w / 2 - 0.2), 0.018), "back, back post")
        if b.chance(0.8):
            b.add(bar((x, h + 0.22, -w / 2), (x, h + 0.22, w * 0.4), 0.05, 0.025), "arm, armrest")
            b.add(rod((x, h, w * 0.35), (x, h + 0.22, w * 0.35), 0.015), "arm support, arm")
    for x in np.linspace(-w / 2, w / 2, b.integers(5, 9))[1:-1]:
        b.add(rod((x, h + 0.02, -w / 2), (x, h + tall * 0.95, -w / 2 - 0.19), 0.009), "slat, back")
    b.add(bar((-w / 2, h + tall, -w / 2 - 0.2), (w / 2, h + tall, -w / 2 - 0.2), 0.03, 0.09), "top rail, back")


@family("folding chair")
def folding_chair(b: Builder) -> None:
    w, h, tall = b.uniform(0.4, 0.48), b.uniform(0.42, 0.48), b.uniform(0.32, 0.42)
    r = b.uniform(0.008, 0.014)
    for s in (-1, 1):
        x = s * w / 2
        b.add(rod((x, 0, 0.25), (x, h + tall, -0.28), r), "frame, leg")
        b.add(rod((x * 0.92, 0, -0.25), (x * 0.92, h, 0.2), r), "leg")
    b.add(box(w * 0.9, 0.03, b.uniform(0.34, 0.42), (0, h, 0), bevel=0.012), "seat")
    b.add(
        box(w, tall * b.uniform(0.4, 0.7), 0.025, (0, 0, 0), bevel=0.01)
        .rotate("x", -32)
        .translate(0, h + tall * 0.7, -0.23),
        "back",
    )
    b.add(rod((-w / 2, 0.12, 0.18), (w / 2, 0.12, 0.18), r * 0.8), "crossbar")


@family("beach chair", names={"fabric": ("cloth", "sling", "seat")})
def beach_chair(b: Builder) -> None:
    w, lean = b.uniform(0.5, 0.6), b.uniform(0.35, 0.6)
    path = np.array([(0, 0.28, 0.45), (0, 0.2, 0.05), (0, 0.2, -0.1), (0, 0.75, -0.1 - lean)])
    b.add(sweep(path, rounded_rectangle(w, 0.012), up=(0, 1, 0.3)), "fabric")
    for s in (-1, 1):
        x = s * w / 2
        b.add(tube(path + (x, 0.0, 0), 0.014), "frame")
        b.add(rod((x, 0, -0.4), (x, 0.42, 0.2), 0.013), "leg, frame")
        b.add(rod((x, 0, 0.4), (x, 0.42, -0.3), 0.013), "leg, frame")
        b.add(bar((x * 1.05, 0.43, -0.3), (x * 1.05, 0.43, 0.22), 0.05, 0.02), "armrest, arm")


@family("hammock", names={"hammock": ("fabric", "bed", "cloth"), "rope": ("cord", "string")})
def hammock(b: Builder) -> None:
    long, sag, wide, h = b.uniform(1.2, 1.7), b.uniform(0.3, 0.5), b.uniform(0.5, 0.8), b.uniform(0.9, 1.2)

    x = np.linspace(-long / 2, long / 2, 15)
    rows = np.stack([x, h - sag * (1 - (2 * x / long) ** 2) - 0.1, 0 * x], 1)
    width = 0.25 + 0.75 * (1 - (2 * x / long) ** 4)
    b.add(sweep(rows, rounded_rectangle(wide, 0.015), up=(0, 1, 0), sizes=width), "hammock")
    for s in (-1, 1):
        for z in np.linspace(-wide / 3, wide / 3, 5):
            b.add(rod((s * long / 2, h - 0.1, z * 0.3), (s * (long / 2 + 0.35), h + 0.1, 0), 0.006), "rope")
        b.add(rod((s * (long / 2 + 0.35), 0, 0), (s * (long / 2 + 0.35), h + 0.2, 0), 0.035), "post, pole, stand")
        b.add(box(0.1, 0.05, 0.8, (s * (long / 2 + 0.35), 0.025, 0)), "base, foot, stand")


@family("coat rack", names={"hook": ("peg", "coat hook"), "pole": ("post", "stand")})
def coat_rack(b: Builder) -> None:
    h, n = b.uniform(1.5, 1.9), b.integers(4, 8)
    b.add(rod((0, 0, 0), (0, h, 0), b.uniform(0.015, 0.03)), "pole")
    if b.chance():
        b.add(lathe([(0, 0), (0.2, 0), (0.19, 0.03), (0.04, 0.06), (0, 0.06)]), "base")
    else:
        for a in np.radians(np.arange(3) * 120):
            b.add(tube(bezier((0, 0.3, 0), (0.1 * np.cos(a), 0.1, 0.1 * np.sin(a)),
                              (0.25 * np.cos(a), 0, 0.25 * np.sin(a))), 0.015), "foot, leg, base")  # fmt: skip
    for i in range(n):
        a, y = 2 * np.pi * i / n, h - (i % 2) * b.uniform(0, 0.25)
        c, s = np.cos(a), np.sin(a)
        b.add(tube(bezier((0, y - 0.1, 0), (0.1 * c, y - 0.15, 0.1 * s), (0.17 * c, y, 0.17 * s)), 0.011), "hook")


@family("towel rack", names={"bar": ("rail", "towel bar"), "bracket": ("mount", "wall mount")})
def towel_rack(b: Builder) -> None:
    w, out = b.uniform(0.4, 0.8), b.uniform(0.06, 0.12)
    for i in range(b.integers(1, 3)):
        b.add(rod((-w / 2, -0.1 * i, out + 0.04 * i), (w / 2, -0.1 * i, out + 0.04 * i), 0.01), "bar")
    for s in (-1, 1):
        b.add(cylinder(0.035, 0.015, (s * w / 2, 0, 0), axis="z"), "bracket")
        b.add(bar((s * w / 2, 0, 0), (s * w / 2, -0.05, out + 0.05), 0.02, 0.02), "bracket")
    if b.chance(0.5):
        x = b.uniform(-w / 4, w / 4)
        path = np.array([(x, -0.4, out - 0.015), (x, 0, out - 0.015), (x, 0.014, out), (x, 0, out + 0.015),
                         (x, -b.uniform(0.2, 0.45), out + 0.02)])  # fmt: skip
        b.add(sweep(path, rounded_rectangle(w * 0.35, 0.012), up=(0, 0, 1)), "towel, cloth")


@family("ironing board", names={"board": ("top", "ironing surface")})
def ironing_board(b: Builder) -> None:
    long, w, h = b.uniform(1.1, 1.4), b.uniform(0.32, 0.42), b.uniform(0.75, 0.95)
    x = np.linspace(0, 1, 12)
    half = w / 2 * np.minimum(1, np.sqrt(1.02 - x**3))
    outline = np.concatenate([np.stack([half, (x - 0.5) * long], 1), np.stack([-half, (x - 0.5) * long], 1)[::-1]])
    b.add(extrude(outline, 0.03, "y", (0, h, 0)), "board")
    for s in (-1, 1):
        b.add(rod((s * 0.1, h, -long * 0.3), (s * 0.16, 0, long * 0.28), 0.012), "leg")
        b.add(rod((s * 0.06, h, long * 0.25), (s * 0.13, 0, -long * 0.3), 0.012), "leg")
    for z in (long * 0.28, -long * 0.3):
        b.add(rod((-0.18, 0.01, z), (0.18, 0.01, z), 0.014), "foot, crossbar")


# ---- kitchen and food ----


@family("blender", names={"jar": ("jug", "pitcher", "container"), "base": ("motor base", "body")})
def blender(b: Builder) -> None:
    r, h = b.uniform(0.09, 0.12), b.uniform(0.22, 0.3)
    b.add(
        stack(rounded_rectangle(2.4 * r, 2.4 * r, r * b.uniform(0.3, 1.1)), [(0, 1), (0.1, 0.95), (0.17, 0.7)]), "base"
    )
    b.add(hollow([(r * 0.6, 0.17), (r * 0.75, 0.22), (r * b.uniform(0.9, 1.1), 0.17 + h)], 0.008), "jar")
    top = 0.17 + h
    rows = [(0, top), (r * 1.05, top), (r, top + 0.03), (r * 0.3, top + 0.035), (r * 0.25, top + 0.06), (0, top + 0.06)]
    b.add(lathe(rows), "lid")
    b.add(
        tube(bezier((0, top - 0.02, -r), (0, top, -r - 0.11), (0, 0.24, -r - 0.1), (0, 0.24, -r * 0.8)), 0.012),
        "handle",
    )
    for i in range(b.integers(1, 4)):
        b.add(cylinder(0.014, 0.02, (0.035 * (i - 1.5), 0.06, 1.2 * r), axis="z"), "button")
    for a in (0, 90):
        b.add(box(r * 0.7, 0.004, 0.015, (0, 0.2, 0)).rotate("y", a + 20), "blade")


@family("toaster", names={"slot": ("bread slot", "opening"), "lever": ("handle", "push lever")})
def toaster(b: Builder) -> None:
    w, h, d, n = b.uniform(0.28, 0.42), b.uniform(0.17, 0.22), b.uniform(0.16, 0.28), b.integers(1, 2)
    b.add(box(w, h, d, (0, h / 2 + 0.02, 0), bevel=b.uniform(0.02, 0.06)), "body, case")
    for i in range(2 * n if d > 0.22 else n):
        z = (i - (2 * n if d > 0.22 else n) / 2 + 0.5) * d * 0.3
        b.add(hollow_box(w * 0.8, 0.03, 0.04, 0.006, (0, h + 0.015, z)), "slot")
        if b.chance(0.5):
            b.add(box(w * 0.45, h * 0.5, 0.018, (0, h + 0.05, z), corner=0.02), "bread, toast")
    b.add(box(0.03, 0.02, 0.06, (w / 2 + 0.015, h * b.uniform(0.4, 0.9), 0)), "lever")
    b.add(cylinder(0.018, 0.02, (w / 2 + 0.005, h * 0.3, d * 0.25), axis="x"), "knob, dial")
    four_legs(b, w * 0.4, d * 0.35, 0.02, 0.012, "foot")


@family("stand mixer", names={"bowl": ("mixing bowl",), "head": ("motor head", "upper body")})
def stand_mixer(b: Builder) -> None:
    b.add(box(0.2, 0.04, 0.38, (0, 0.02, 0.03), bevel=0.015, corner=0.08), "base")
    b.add(
        stack(rounded_rectangle(0.12, 0.1, 0.03), [(0.03, 1.1), (0.15, 0.9), (0.28, 1)]).translate(0, 0, -0.11),
        "column, neck, stand",
    )
    b.add(ellipsoid(0.075, 0.07, b.uniform(0.19, 0.22), (0, 0.32, 0.03)), "head")
    r = b.uniform(0.09, 0.11)
    b.add(hollow([(r * 0.45, 0.045), (r * 0.85, 0.09), (r, 0.2)], 0.005).translate(0, 0, 0.11), "bowl")
    b.add(rod((0, 0.28, 0.11), (0, 0.16, 0.11), 0.012), "shaft")
    for a in (0, 60, 120):
        loop = np.array(
            [(0, 0.17, 0), (0.045, 0.12, 0), (0.03, 0.07, 0), (0, 0.06, 0), (-0.03, 0.07, 0), (-0.045, 0.12, 0)]
        )
        b.add(tube(loop, 0.004, closed=True).rotate("y", a).translate(0, 0, 0.11), "whisk, beater")
    b.add(cylinder(0.015, 0.02, (0.08, 0.3, -0.02), axis="x"), "knob")


@family("whisk", names={"wire": ("whisk head", "loops")})
def whisk(b: Builder) -> None:
    long, r = b.uniform(0.14, 0.2), b.uniform(0.03, 0.055)
    b.add(
        lathe([(0, 0), (0.014, 0.005), (b.uniform(0.009, 0.016), 0.07), (0.011, long * 0.8), (0, long * 0.8)]), "handle"
    )
    top = long * 0.78
    for a in np.arange(b.integers(3, 6)) * 180 / 5:
        path = bezier((0.006, top, 0), (r * 1.6, top + 0.1, 0), (r * 1.2, top + 0.2, 0), (0, top + 0.19, 0))
        whole = np.concatenate([path, (path * (-1, 1, 1))[::-1][1:]])
        b.add(tube(whole, 0.0022, 6).rotate("y", float(a)), "wire")


@family("rolling pin", names={"roller": ("barrel", "body", "cylinder")})
def rolling_pin(b: Builder) -> None:
    long, r = b.uniform(0.2, 0.3), b.uniform(0.025, 0.04)
    b.add(cylinder(r, long, axis="x"), "roller")
    grip = b.uniform(0.07, 0.12)
    for s in (-1, 1):
        b.add(rod((s * long / 2, 0, 0), (s * (long / 2 + 0.02), 0, 0), r * 0.3), "neck, shaft")
        b.add(
            ellipsoid(grip / 2, r * b.uniform(0.4, 0.6), r * 0.5, (s * (long / 2 + 0.015 + grip / 2), 0, 0)), "handle"
        )


@family("ladle", names={"bowl": ("scoop", "cup")})
def ladle(b: Builder) -> None:
    r, long = b.uniform(0.035, 0.06), b.uniform(0.2, 0.32)
    t = np.linspace(-90, 0, 9)
    profile = np.stack([r * np.cos(np.radians(t)), r * np.sin(np.radians(t)) * b.uniform(0.6, 1)], 1)
    b.add(lathe(np.concatenate([profile, profile[::-1] * (0.94, 0.92)])), "bowl")
    path = bezier((0, 0, -r), (0, long * 0.4, -r), (0, long * 0.7, -r * 1.1), (0, long, -r - b.uniform(0, 0.06)))
    b.add(sweep(path, rounded_rectangle(b.uniform(0.008, 0.02), 0.005), up=(0, 0, 1)), "handle")
    if b.chance(0.5):
        b.add(tube(arc(0.012, -60, 200, (0, long, -r + 0.012), "zy"), 0.003), "hook, handle")


@family("cutting board")
def cutting_board(b: Builder) -> None:
    w, d, t = b.uniform(0.25, 0.4), b.uniform(0.18, 0.28), b.uniform(0.012, 0.03)
    b.add(box(w, t, d, corner=b.uniform(0.005, 0.05)), "board, body")
    long, wide = b.uniform(0.08, 0.14), b.uniform(0.03, 0.05)
    b.add(box(long, t, wide, (w / 2 + long / 2, 0, 0), corner=wide * 0.4), "handle")
    if b.chance(0.6):
        b.add(torus(wide * 0.25, t * 0.3, (w / 2 + long * 0.8, 0, 0)), "hole, handle hole")


@family("grater", names={"body": ("grating surface", "plate")})
def grater(b: Builder) -> None:
    w, d, h = b.uniform(0.09, 0.12), b.uniform(0.06, 0.09), b.uniform(0.18, 0.24)
    b.add(stack(rounded_rectangle(w, d, 0.01), [(0, 1), (h, b.uniform(0.55, 0.8))], caps=False), "body")
    b.add(torus(1, 0.03, axis="y").scale(w * 0.52, 0.1, d * 0.54).translate(0, 0.005, 0), "rim, base")
    b.add(
        tube(
            bezier((-w * 0.3, h, 0), (-w * 0.3, h + 0.06, 0), (w * 0.3, h + 0.06, 0), (w * 0.3, h, 0)),
            b.uniform(0.006, 0.011),
        ),
        "handle",
    )


@family("thermos", names={"cap": ("cup", "lid"), "body": ("flask", "vacuum flask")})
def thermos(b: Builder) -> None:
    r, h = b.uniform(0.035, 0.06), b.uniform(0.2, 0.32)
    b.add(lathe([(0, 0), (r, 0), (r, h * 0.78), (r * 0.8, h * 0.83), (0, h * 0.83)]), "body")
    b.add(lathe([(r * 0.85, h * 0.8), (r * 0.9, h * 0.82), (r * b.uniform(0.7, 0.9), h), (0, h)]), "cap")
    b.add(cylinder(r * 1.03, h * 0.06, (0, h * 0.04, 0)), "base, bottom")
    if b.chance(0.5):
        b.add(
            tube(bezier((0, h * 0.7, -r), (0, h * 0.72, -r * 2.2), (0, h * 0.25, -r * 2.2), (0, h * 0.3, -r)), 0.008),
            "handle",
        )
    if b.chance(0.4):
        b.add(
            tube(bezier((-r, h * 0.75, 0), (-r * 3, h * 1.3, 0), (r * 3, h * 1.3, 0), (r, h * 0.75, 0)), 0.006), "strap"
        )


@family("cake", names={"layer": ("tier", "cake"), "icing": ("frosting", "cream")})
def cake(b: Builder) -> None:
    y, r = 0.0, b.uniform(0.1, 0.16)
    if b.chance(0.6):
        b.add(lathe([(0, -0.012), (r * 1.3, -0.012), (r * 1.35, 0), (0, 0)]), "plate")
    for _ in range(b.integers(1, 3)):
        h = b.uniform(0.05, 0.09)
        b.add(cylinder(r, h, (0, y + h / 2, 0), segments=28), "layer")
        b.add(torus(r * 0.97, 0.012, (0, y + h, 0)), "icing")
        y, r = y + h, r * b.uniform(0.6, 0.85)
    for i in range(b.integers(1, 7)):
        a = i * 2.4
        x, z = r * 0.7 * np.cos(a), r * 0.7 * np.sin(a)
        b.add(rod((x, y, z), (x, y + 0.05, z), 0.004), "candle")
        b.add(ellipsoid(0.005, 0.01, 0.005, (x, y + 0.058, z)), "flame, candle")


@family("ice cream", names={"scoop": ("ice cream ball", "ice cream"), "cone": ("wafer", "waffle cone")})
def ice_cream(b: Builder) -> None:
    r, h = b.uniform(0.03, 0.045), b.uniform(0.1, 0.15)
    b.add(lathe([(0, 0), (r * 0.12, 0), (r, h), (r * 0.9, h), (0, h * 0.6)]), "cone")
    y = h + r * 0.5
    for i in range(b.integers(1, 3)):
        b.add(sphere(r * 1.1, (b.uniform(-0.004, 0.004), y, 0)), "scoop")
        y += r * 1.4
        if i == 0 and b.chance(0.3):
            b.add(rod((0, y - r, 0), (r * 0.8, y + r, 0), 0.006), "wafer stick, stick")
    if b.chance(0.3):
        b.add(sphere(0.012, (0, y - r * 0.25, 0)), "cherry")


@family("hamburger", names={"bun": ("bread",), "patty": ("meat",)})
def hamburger(b: Builder) -> None:
    r = b.uniform(0.05, 0.06)
    b.add(lathe([(0, 0), (r * 0.95, 0), (r, 0.01), (r * 0.98, 0.02), (0, 0.02)]), "lower bun, bun")
    y = 0.02
    for name, t, wide in (
        ("patty", 0.016, 1.02),
        ("cheese", 0.005, 1.05),
        ("tomato", 0.009, 0.95),
        ("lettuce", 0.007, 1.1),
    ):
        if name == "patty" or b.chance(0.7):
            if name == "cheese":
                b.add(box(r * 1.85, t, r * 1.85, (0, y + t / 2, 0)).rotate("y", b.uniform(0, 90)), name)
            else:
                b.add(cylinder(r * wide, t, (0, y + t / 2, 0), segments=26), name)
            y += t
    b.add(ellipsoid(r, b.uniform(0.03, 0.04), r, (0, y, 0), low=0), "upper bun, bun")


@family("banana bunch", names={"banana": ("fruit",), "stem": ("stalk",)})
def banana_bunch(b: Builder) -> None:
    for a in np.linspace(-40, 40, b.integers(2, 5)):
        path = arc(0.11, 200, 290, (0.1, 0.12, 0), "xy", steps=14)
        size = 0.02 * np.sin(np.linspace(0.35, 2.9, 14)) ** 0.6
        b.add(tube(path, size).rotate("y", float(a)), "banana")
    b.add(cylinder(0.012, 0.045, (0, 0.1, 0)), "stem")


@family("apple", names={"fruit": ("flesh", "body"), "stem": ("stalk",)})
def apple(b: Builder) -> None:
    r, t = b.uniform(0.035, 0.045), np.radians(np.linspace(-90, 90, 18))
    dent = 1 - 0.22 * np.abs(np.sin(t)) ** 6
    b.add(lathe(np.stack([r * np.cos(t), r * b.uniform(0.8, 1.05) * np.sin(t) * dent], 1)), "fruit")
    b.add(tube(bezier((0, r * 0.55, 0), (0.002, r, 0), (b.uniform(-0.01, 0.01), r * 1.4, 0)), 0.0018), "stem")
    if b.chance(0.6):
        leaf = (
            extrude(ellipse(0.016, 0.008, 12), 0.0012, "y").rotate("z", b.uniform(10, 50)).translate(0.014, r * 1.2, 0)
        )
        b.add(leaf, "leaf")


@family("pineapple", names={"crown": ("leaves", "leaf crown"), "fruit": ("body",)})
def pineapple(b: Builder) -> None:
    r, h = b.uniform(0.05, 0.07), b.uniform(0.08, 0.12)
    b.add(ellipsoid(r, h, r), "fruit")
    for ring, lift in ((0.045, 0.06), (0.025, 0.09), (0.01, 0.12)):
        for a in np.arange(7) * 2 * np.pi / 7 + ring * 40:
            tip = (ring * 1.8 * np.cos(a), h + lift, ring * 1.8 * np.sin(a))
            b.add(rod((0.01 * np.cos(a), h * 0.93, 0.01 * np.sin(a)), tip, 0.009, 0.001, 6), "crown")


# ---- appliances and devices ----


@family("hair dryer", names={"nozzle": ("mouth", "air outlet"), "barrel": ("body", "housing")})
def hair_dryer(b: Builder) -> None:
    r, long = b.uniform(0.035, 0.045), b.uniform(0.13, 0.18)
    b.add(
        lathe([(0, -long / 2), (r * 0.85, -long / 2), (r, -long * 0.3), (r * 0.8, long / 2), (0, long / 2)]).rotate(
            "x", 90
        ),
        "barrel",
    )
    b.add(cylinder(r * 0.85, 0.05, (0, 0, long / 2 + 0.02), top=r * b.uniform(0.6, 1.1), axis="z"), "nozzle")
    b.add(
        sweep(np.array([(0, -r * 0.5, -long * 0.2), (0, -0.16, -long * b.uniform(0.1, 0.35))]), ellipse(0.017, 0.022)),
        "handle",
    )
    b.add(box(0.012, 0.03, 0.01, (0, -0.07, -long * 0.2 + 0.02)), "switch, button")
    if b.chance(0.5):
        b.add(tube(bezier((0, -0.16, -0.04), (0, -0.25, -0.04), (0.1, -0.25, -0.1), (0.15, -0.2, -0.2)), 0.004), "cord")


@family("iron", names={"soleplate": ("plate", "sole", "base"), "body": ("housing",)})
def iron(b: Builder) -> None:
    long, w = b.uniform(0.22, 0.28), b.uniform(0.1, 0.13)
    x = np.linspace(0, 1, 9)
    half = w / 2 * np.sqrt(np.maximum(0, 1 - x**2.2))
    side = np.stack([half, (x - 0.5) * long], 1)
    outline = np.concatenate([side, (side * (-1, 1))[::-1][1:]])[:-1]
    b.add(extrude(outline, 0.012, "y"), "soleplate")
    b.add(stack(outline * 0.93, [(0.006, 1), (0.04, 0.95), (b.uniform(0.06, 0.08), 0.6)]), "body")
    b.add(
        tube(
            bezier((0, 0.06, -long * 0.42), (0, 0.16, -long * 0.4), (0, 0.16, long * 0.15), (0, 0.06, long * 0.2)),
            b.uniform(0.012, 0.018),
        ),
        "handle",
    )
    b.add(cylinder(0.014, 0.012, (0, 0.085, 0.03)), "dial, knob")
    if b.chance(0.5):
        b.add(tube(bezier((0, 0.08, -long * 0.42), (0, 0.12, -long * 0.7), (0.1, 0.2, -long)), 0.004), "cord")


@family("sewing machine", names={"arm": ("upper arm",), "hand wheel": ("wheel", "balance wheel")})
def sewing_machine(b: Builder) -> None:
    w = b.uniform(0.36, 0.44)
    b.add(box(w, 0.06, 0.18, (0, 0.03, 0), bevel=0.012), "base, bed")
    b.add(box(0.09, 0.22, 0.11, (w / 2 - 0.05, 0.17, 0), bevel=0.015), "column, pillar")
    b.add(box(w - 0.05, 0.08, 0.1, (0, 0.27, 0), bevel=0.02), "arm")
    b.add(box(0.08, 0.12, 0.1, (-w / 2 + 0.07, 0.24, 0), bevel=0.015), "head")
    b.add(rod((-w / 2 + 0.07, 0.19, 0), (-w / 2 + 0.07, 0.075, 0), 0.004), "shaft")
    b.add(box(0.025, 0.006, 0.04, (-w / 2 + 0.07, 0.075, 0)), "presser foot, foot")
    b.add(cylinder(0.05, 0.025, (w / 2 + 0.015, 0.26, 0), axis="x"), "hand wheel")
    for x in (0.02, 0.07):
        b.add(rod((x, 0.31, 0), (x, 0.37, 0), 0.003) + cylinder(0.016, 0.045, (x, 0.345, 0)), "spool, thread spool")
    b.add(cylinder(0.016, 0.012, (0.06, 0.27, 0.055), axis="z"), "knob, dial")


@family("radio", names={"antenna": ("aerial",), "speaker": ("speaker grille", "loudspeaker")})
def radio(b: Builder) -> None:
    w, h, d = b.uniform(0.2, 0.35), b.uniform(0.12, 0.2), b.uniform(0.06, 0.1)
    b.add(box(w, h, d, (0, h / 2, 0), bevel=b.uniform(0.005, 0.03)), "body, case")
    for s in (-1, 1) if b.chance() else (-1,):
        b.add(cylinder(h * 0.33, 0.012, (s * w * 0.27, h * 0.45, d / 2), axis="z", segments=28), "speaker")
    b.add(box(w * 0.3, h * 0.25, 0.008, (w * b.uniform(0, 0.1), h * 0.7, d / 2)), "display, dial, screen")
    for i in range(b.integers(1, 3)):
        b.add(cylinder(0.014, 0.02, (0.04 * i, h * 0.25, d / 2 + 0.005), axis="z"), "knob, dial knob")
    if b.chance(0.8):
        b.add(rod((w * 0.42, h, 0), (w * b.uniform(0.3, 0.8), h + b.uniform(0.12, 0.25), 0), 0.003), "antenna")
    if b.chance(0.6):
        b.add(
            tube(
                bezier(
                    (-w * 0.45, h * 0.9, 0), (-w * 0.45, h * 1.4, 0), (w * 0.45, h * 1.4, 0), (w * 0.45, h * 0.9, 0)
                ),
                0.008,
            ),
            "handle",
        )


@family("record player", names={"platter": ("turntable", "record"), "tonearm": ("arm", "pickup arm")})
def record_player(b: Builder) -> None:
    w, d, h = b.uniform(0.4, 0.48), b.uniform(0.32, 0.38), b.uniform(0.07, 0.12)
    b.add(box(w, h, d, (0, h / 2, 0), bevel=0.01), "base, body, case")
    b.add(cylinder(d * 0.42, 0.015, (-w * 0.1, h + 0.008, 0), segments=36), "platter")
    x, z = w * 0.38, -d * 0.3
    b.add(cylinder(0.02, 0.04, (x, h + 0.02, z)), "tonearm base, tonearm")
    b.add(tube(bezier((x, h + 0.04, z), (x, h + 0.04, d * 0.1), (w * 0.12, h + 0.03, d * 0.2)), 0.004), "tonearm")
    b.add(cylinder(0.014, 0.012, (w * 0.4, h + 0.006, d * 0.38)), "knob, button")
    if b.chance(0.6):
        cover = box(w, 0.012, d, (0, 0, d / 2)).rotate("x", -b.uniform(30, 90)).translate(0, h, -d / 2)
        b.add(cover, "lid, dust cover")
    four_legs(b, w * 0.42, d * 0.42, 0.001, 0.02, "foot")


@family("projector", names={"lens": ("objective",), "vent": ("air vent", "grille")})
def projector(b: Builder) -> None:
    w, h, d = b.uniform(0.26, 0.36), b.uniform(0.09, 0.13), b.uniform(0.2, 0.28)
    b.add(box(w, h, d, (0, h / 2 + 0.015, 0), bevel=b.uniform(0.008, 0.03)), "body, case")
    x = b.uniform(-0.3, 0.3) * w
    b.add(cylinder(h * 0.38, 0.05, (x, h * 0.55, d / 2 + 0.015), axis="z"), "lens")
    for i in range(5):
        b.add(
            box(0.004, h * 0.5, d * 0.3, (w / 2, h * 0.55, 0))
            .translate(0, 0, 0)
            .rotate("y", 0)
            .translate(0, 0, (i - 2) * 0.001),
            "vent",
        )
    for i in range(b.integers(2, 5)):
        b.add(cylinder(0.009, 0.008, (0.03 * i - 0.06, h + 0.018, -d * 0.2)), "button")
    four_legs(b, w * 0.4, d * 0.4, 0.016, 0.012, "foot")


@family("heater", names={"fin": ("rib", "column"), "wheel": ("caster",)})
def heater(b: Builder) -> None:
    n, h, d = b.integers(5, 11), b.uniform(0.45, 0.6), b.uniform(0.12, 0.17)
    for i in range(n):
        b.add(box(0.03, h, d, ((i - (n - 1) / 2) * 0.055, h / 2 + 0.08, 0), bevel=0.012, corner=0.014), "fin")
    x = n * 0.0275
    b.add(box(0.09, h * 0.95, d * 0.9, (x + 0.045, h / 2 + 0.08, 0), bevel=0.015), "control box, body")
    b.add(cylinder(0.025, 0.02, (x + 0.05, h * 0.8, d * 0.46), axis="z"), "knob, dial")
    for s in (-1, 1):
        b.add(bar((s * x * 0.7, 0.07, -d), (s * x * 0.7, 0.07, d), 0.03, 0.02), "foot, base")
        for z in (-d, d):
            b.add(cylinder(0.028, 0.02, (s * x * 0.7, 0.03, z), axis="x"), "wheel")


@family("air conditioner", names={"vent": ("air outlet", "louver"), "body": ("case", "housing")})
def air_conditioner(b: Builder) -> None:
    w, h, d = b.uniform(0.7, 0.95), b.uniform(0.24, 0.32), b.uniform(0.18, 0.25)
    b.add(box(w, h, d, bevel=b.uniform(0.02, 0.07)), "body")
    n = b.integers(1, 5)
    for i in range(n):
        b.add(box(w * 0.85, 0.008, 0.05, (0, -h * 0.35 + 0.022 * i, d / 2)), "vent")
    b.add(box(w * 0.12, h * 0.15, 0.008, (w * 0.33, -h * 0.1, d / 2)), "display")


@family("vending machine", names={"window": ("glass", "display window"), "tray": ("dispensing slot", "outlet")})
def vending_machine(b: Builder) -> None:
    w, h, d = b.uniform(0.8, 1.0), b.uniform(1.7, 1.95), b.uniform(0.6, 0.85)
    b.add(box(w, h, d, (0, h / 2, 0), bevel=0.015), "body, case")
    b.add(box(w * 0.62, h * 0.6, 0.02, (-w * 0.12, h * 0.6, d / 2)), "window")
    b.add(box(w * 0.62, h * 0.1, 0.03, (-w * 0.12, h * 0.15, d / 2)), "tray")
    b.add(box(w * 0.16, h * 0.16, 0.03, (w * 0.35, h * 0.65, d / 2)), "keypad, control panel")
    for i in range(12):
        b.add(
            box(0.025, 0.02, 0.02, (w * 0.35 + 0.035 * (i % 3 - 1), h * 0.62 + 0.03 * (i // 3), d / 2 + 0.02)), "button"
        )
    b.add(box(w * 0.08, 0.01, 0.03, (w * 0.35, h * 0.5, d / 2 + 0.015)), "coin slot")


@family("parking meter", names={"head": ("meter", "body"), "display": ("screen", "dial")})
def parking_meter(b: Builder) -> None:
    h = b.uniform(0.9, 1.2)
    b.add(rod((0, 0, 0), (0, h, 0), b.uniform(0.02, 0.035)), "pole, post")
    b.add(cylinder(0.08, 0.02, (0, 0.01, 0)), "base")
    b.add(box(0.16, 0.2, 0.1, (0, h + 0.1, 0), corner=0.04), "head")
    b.add(cylinder(0.08, 0.1, (0, h + 0.2, 0), axis="z"), "head")
    b.add(box(0.1, 0.06, 0.01, (0, h + 0.2, 0.052)), "display")
    b.add(box(0.01, 0.03, 0.012, (0.04, h + 0.09, 0.052)), "coin slot")
    b.add(cylinder(0.018, 0.02, (-0.03, h + 0.07, 0.055), axis="z"), "knob")


@family("fire hydrant", names={"outlet": ("nozzle", "side cap"), "cap": ("bonnet", "top")})
def fire_hydrant(b: Builder) -> None:
    r, h = b.uniform(0.09, 0.12), b.uniform(0.5, 0.65)
    b.add(lathe([(0, 0), (r * 1.6, 0), (r * 1.6, 0.04), (r, 0.05), (0, 0.05)]), "base, flange")
    b.add(cylinder(r, h, (0, h / 2 + 0.04, 0)), "body, barrel")
    b.add(lathe([(0, h), (r * 1.25, h), (r * 1.2, h + 0.05), (r * 0.6, h + 0.12), (0, h + 0.14)]), "cap")
    b.add(cylinder(0.02, 0.05, (0, h + 0.16, 0), segments=6), "nut, cap nut")
    for s in (-1, 1):
        b.add(cylinder(r * 0.5, 0.08, (s * (r + 0.03), h * 0.7, 0), axis="x"), "outlet")
    b.add(cylinder(r * 0.65, 0.08, (0, h * 0.65, r + 0.03), axis="z"), "outlet")


# ---- tools and sport ----


@family("pickaxe", names={"head": ("metal head", "blade")})
def pickaxe(b: Builder) -> None:
    long, wide = b.uniform(0.7, 0.95), b.uniform(0.25, 0.32)
    b.add(tube(np.array([(0, 0, 0), (0, long * 0.5, 0), (0, long, 0)]), [0.02, 0.015, 0.022]), "handle")
    path = arc(0.45, 90 - np.degrees(wide / 0.45), 90 + np.degrees(wide / 0.45), (0, long - 0.48, 0), steps=15)
    size = 0.028 * (1 - 0.85 * np.abs(np.linspace(-1, 1, 15)) ** 1.5)
    b.add(sweep(path, rounded_rectangle(2, 1.5, 0.2), up=(0, 0, 1), sizes=size), "head")


@family("trowel", names={"blade": ("scoop", "metal blade")})
def trowel(b: Builder) -> None:
    long, w = b.uniform(0.13, 0.18), b.uniform(0.06, 0.09)
    outline = np.array(
        [(-w / 2, 0), (w / 2, 0), (w / 2 * b.uniform(0.5, 1), long * 0.6), (0, long), (-w / 2 * 0.8, long * 0.6)]
    )
    b.add(
        extrude(outline, 0.004).deform(lambda p: p + np.stack([0 * p[:, 0], 0 * p[:, 0], 8 * p[:, 0] ** 2], 1)), "blade"
    )
    b.add(tube(bezier((0, 0.01, 0), (0, -0.03, 0.0), (0, -0.03, -0.04), (0, -0.06, -0.04)), 0.005), "neck, shank")
    b.add(rod((0, -0.055, -0.04), (0, -0.055 - b.uniform(0.1, 0.14), -0.04), 0.014, 0.017), "handle")


@family("tape measure", names={"tape": ("blade", "ribbon"), "case": ("body", "housing")})
def tape_measure(b: Builder) -> None:
    r, t = b.uniform(0.03, 0.04), b.uniform(0.025, 0.04)
    b.add(
        stack(rounded_rectangle(2 * r, 2 * r, r * 0.7), [(-t / 2, 0.95), (0, 1), (t / 2, 0.95)]).rotate("x", 90), "case"
    )
    out = b.uniform(0.05, 0.3)
    b.add(box(out, 0.002, t * 0.6, (r + out / 2, -r * 0.75, 0)), "tape")
    b.add(box(0.002, 0.02, t * 0.6, (r + out, -r * 0.75 - 0.008, 0)), "hook, tab")
    b.add(box(0.018, 0.012, t * 0.5, (r * 0.8, r * 0.8, 0), bevel=0.003), "button, lock")


@family("tennis ball machine", names={"hopper": ("ball bin", "basket")})
def ball_machine(b: Builder) -> None:
    w = b.uniform(0.35, 0.5)
    b.add(box(w, w * 1.1, w, (0, w * 0.55 + 0.1, 0), bevel=0.03), "body, case")
    b.add(hollow_box(w * 1.0, w * 0.5, w * 1.0, 0.012, (0, w * 1.45, 0), top=1.4), "hopper")
    b.add(cylinder(0.06, 0.1, (0, w * 0.8, w / 2 + 0.03), axis="z"), "barrel, outlet")
    for i in range(b.integers(3, 9)):
        b.add(sphere(0.035, (b.uniform(-0.3, 0.3) * w, w * 1.3 + 0.03 * (i // 3), b.uniform(-0.3, 0.3) * w)), "ball")
    wheels(b, w * 0.55, 0.09, 0.03, (-w * 0.3,))
    b.add(
        tube(
            np.array(
                [
                    (-w * 0.3, w, -w / 2),
                    (-w * 0.3, w * 1.3, -w * 0.9),
                    (w * 0.3, w * 1.3, -w * 0.9),
                    (w * 0.3, w, -w / 2),
                ]
            ),
            0.012,
        ),
        "handle",
    )


@family("dumbbell", names={"weight": ("plate", "end", "head"), "handle": ("grip", "bar")})
def dumbbell(b: Builder) -> None:
    long, r = b.uniform(0.12, 0.16), b.uniform(0.04, 0.07)
    b.add(rod((-long / 2, 0, 0), (long / 2, 0, 0), b.uniform(0.012, 0.018)), "handle")
    six = b.chance()
    for s in (-1, 1):
        n = 1 if six else b.integers(1, 3)
        for i in range(n):
            b.add(cylinder(r * (1 - 0.2 * i), 0.06 / n, (s * (long / 2 + 0.03 / n + i * 0.06 / n), 0, 0), axis="x",
                           segments=6 if six else 26), "weight")  # fmt: skip


@family("golf club", names={"head": ("club head",), "grip": ("handle",)})
def golf_club(b: Builder) -> None:
    long = b.uniform(0.9, 1.15)
    b.add(rod((0, 0, 0), (0, long, 0), 0.006, 0.008), "shaft")
    b.add(rod((0, long * 0.78, 0), (0, long, 0), 0.012, 0.015), "grip")
    if b.chance():
        b.add(ellipsoid(0.055, 0.03, 0.045, (0.035, 0, 0)), "head")
    else:
        b.add(
            extrude(np.array([(-0.01, -0.02), (0.08, -0.025), (0.085, 0.03), (0, 0.012)]), 0.015).rotate("y", 10),
            "head",
        )


@family("hockey stick", names={"blade": ("foot",), "shaft": ("stick", "handle")})
def hockey_stick(b: Builder) -> None:
    long = b.uniform(1.1, 1.5)
    b.add(bar((0, 0, 0), (0, long, 0), 0.02, 0.03, up=(1, 0, 0)), "shaft")
    b.add(bar((0, long * 0.85, 0), (0, long, 0), 0.026, 0.036, up=(1, 0, 0)), "grip, tape, shaft")
    b.add(
        sweep(
            bezier((0, 0.02, 0), (0.08, -0.04, 0), (0.3, -0.02, b.uniform(-0.03, 0.03))),
            rounded_rectangle(0.012, 0.07),
            up=(0, 1, 0),
        ),
        "blade",
    )


@family("bow", names={"limb": ("arm", "bow limb"), "string": ("bowstring",)})
def bow(b: Builder) -> None:
    h, deep = b.uniform(0.6, 0.8), b.uniform(0.15, 0.3)
    for s in (-1, 1):
        path = bezier((0, s * 0.08, deep), (0, s * h * 0.5, deep * 1.2), (0, s * h, deep * 0.3), (0, s * h, 0))
        b.add(sweep(path, rounded_rectangle(0.035, 0.015), up=(0, 0, 1), sizes=np.linspace(1, 0.5, len(path))), "limb")
    b.add(ellipsoid(0.02, 0.1, 0.026, (0, 0, deep)), "grip, handle")
    b.add(rod((0, -h, 0), (0, h, 0), 0.003), "string")
    if b.chance(0.5):
        b.add(rod((0, 0.02, -0.05), (0, 0.02, deep + 0.45), 0.005), "arrow shaft, arrow")
        b.add(rod((0, 0.02, deep + 0.45), (0, 0.02, deep + 0.52), 0.014, 0.001), "arrowhead, arrow")


@family("basketball hoop", names={"backboard": ("board",), "rim": ("hoop", "ring")})
def basketball_hoop(b: Builder) -> None:
    h, w = b.uniform(2.2, 3.0), b.uniform(0.9, 1.4)
    b.add(box(w, w * 0.65, 0.04, (0, h, 0)), "backboard")
    b.add(torus(0.23, 0.012, (0, h - w * 0.2, 0.27)), "rim")
    b.add(
        lathe([(0.225, h - w * 0.2), (0.15, h - w * 0.2 - 0.25), (0.13, h - w * 0.2 - 0.38)]).translate(0, 0, 0.27),
        "net",
    )
    b.add(rod((0, 0, -0.5), (0, h - 0.2, -0.5), 0.05), "pole, post")
    b.add(bar((0, h - 0.3, -0.5), (0, h - 0.05, 0), 0.06, 0.06), "arm, bracket")
    b.add(box(0.7, 0.15, 0.9, (0, 0.075, -0.7), bevel=0.03), "base")


@family("billiard table", names={"leg": ("support leg",), "playing surface": ("table top", "cloth", "felt")})
def billiard_table(b: Builder) -> None:
    w, d, h = b.uniform(2, 2.6), b.uniform(1.1, 1.4), b.uniform(0.75, 0.85)
    b.add(box(w, 0.08, d, (0, h, 0)), "playing surface")
    for s in (-1, 1):
        b.add(box(w + 0.2, 0.14, 0.12, (0, h + 0.02, s * (d / 2 + 0.05)), bevel=0.02), "rail, frame")
        b.add(box(0.12, 0.14, d, (s * (w / 2 + 0.05), h + 0.02, 0), bevel=0.02), "rail, frame")
    for x in (-w / 2, 0, w / 2):
        for s in (-1, 1):
            b.add(torus(0.06, 0.02, (x, h + 0.08, s * d / 2)), "pocket")
    b.add(box(w * 0.9, 0.2, d * 0.9, (0, h - 0.12, 0)), "body, cabinet")
    four_legs(b, w * 0.42, d * 0.4, h - 0.05, b.uniform(0.05, 0.09), "leg")
    for _ in range(b.integers(0, 9)):
        b.add(sphere(0.03, (b.uniform(-0.4, 0.4) * w, h + 0.07, b.uniform(-0.4, 0.4) * d)), "ball")


# ---- toys, music, outdoors ----


@family("rocking horse", names={"rocker": ("runner", "base"), "saddle": ("seat",)})
def rocking_horse(b: Builder) -> None:
    b.add(ellipsoid(0.1, 0.1, 0.22, (0, 0.42, 0)), "body, torso")
    b.add(rod((0, 0.46, 0.17), (0, 0.66, 0.3), 0.07, 0.05), "neck")
    b.add(ellipsoid(0.045, 0.05, 0.11, (0, 0.68, 0.36)).rotate("x", 15, (0, 0.68, 0.36)), "head")
    for s in (-1, 1):
        b.add(rod((s * 0.025, 0.72, 0.3), (s * 0.03, 0.78, 0.29), 0.014, 0.004), "ear")
        for z in (-0.15, 0.15):
            b.add(rod((s * 0.06, 0.38, z), (s * 0.13, 0.1, z * 1.5), 0.03, 0.022), "leg")
        b.add(tube(arc(0.75, 247, 293, (s * 0.13, 0.8, 0), "zy"), 0.022), "rocker")
        b.add(rod((0, 0.62, 0.27), (s * 0.12, 0.62, 0.27), 0.01), "handle")
    b.add(ellipsoid(0.08, 0.025, 0.1, (0, 0.52, -0.02)), "saddle")
    b.add(tube(bezier((0, 0.48, -0.2), (0, 0.5, -0.35), (0, 0.25, -0.35)), [0.025] * 13 + [0.008]), "tail")


# for each kind of plush animal: ears, their size against the head, muzzle, tail
PLUSH = {
    "bear": ("round", (0.3, 0.5), "ball", "ball"),
    "mouse": ("round", (0.5, 0.85), "cone", "long"),
    "rabbit": ("long", (0.8, 1.7), "ball", "ball"),
    "dog": ("hanging", (0.6, 1.0), "box", "short"),
    "cat": ("pointed", (0.45, 0.7), "small", "long"),
    "pig": ("pointed", (0.3, 0.5), "disc", "short"),
}


def plush_ears(b: Builder, kind: str, size: float, head: tuple[float, float, float], y: float) -> None:
    """A pair of ears on a head with these half axes about (0, y, 0), at an angle from the top of the head."""
    rx, ry, rz = head
    long, thick = rx * size, rx * b.uniform(0.1, 0.35)
    angle, tilt, turn, back = b.uniform(28, 68), b.uniform(-25, 25), b.uniform(-35, 35), b.uniform(-0.25, 0.15) * rz
    if kind == "round":
        wide = b.uniform(0.85, 1.15)
        ear = ellipsoid(long * wide, long, long * (b.uniform(0.15, 0.4) if b.chance(0.6) else b.uniform(0.5, 1)))
    elif kind == "long":
        angle, tilt = b.uniform(12, 40), b.uniform(-20, 100) if b.chance(0.35) else b.uniform(-15, 25)
        ear = ellipsoid(rx * b.uniform(0.18, 0.34), long / 2, thick, (0, long * 0.42, 0))
    elif kind == "hanging":
        angle, tilt = b.uniform(45, 75), b.uniform(115, 170)
        ear = ellipsoid(rx * b.uniform(0.25, 0.42), long / 2, thick, (0, long * 0.38, 0))
    else:
        tilt = b.uniform(-5, 50)
        ear = lathe(
            [(long * 0.5, -long * 0.3), (long * 0.42, long * 0.1), (long * 0.12, long * 0.62), (0, long * 0.66)], 14
        )
        ear = ear.scale(1, 1, b.uniform(0.3, 0.7))
    a = np.radians(angle)
    reach = b.uniform(0.9, 1.02) + (size * b.uniform(0.1, 0.5) if kind == "round" else 0)
    x, up = rx * reach * np.sin(a), ry * reach * np.cos(a)
    lean = -tilt if kind != "round" else -angle
    b.add_mirrored(
        ear.rotate("y", turn if kind != "hanging" else 0).rotate("z", lean).translate(x, y + up, back), "ear"
    )


def plush_face(b: Builder, kind: str, head: tuple[float, float, float], y: float) -> None:
    """Muzzle, nose and eyes, all or some of them."""
    rx, ry, rz = head
    low, wide = y - ry * b.uniform(0.15, 0.4), rx * b.uniform(0.32, 0.55)
    tall, deep = wide * b.uniform(0.65, 1), rz * b.uniform(0.25, 0.55)
    front = rz * 0.85
    if kind == "disc":
        b.add(cylinder(wide * 0.7, deep, (0, low, front), axis="z"), "muzzle, head")
    elif kind == "cone":
        b.add(cylinder(wide, deep * 2, (0, low, front + deep * 0.4), top=wide * 0.25, axis="z"), "muzzle, head")
    elif kind == "small":
        b.add(ellipsoid(wide * 0.7, tall * 0.6, deep * 0.6, (0, low, front)), "muzzle, head")
    else:
        long = deep * (1.5 if kind == "box" else 1)
        b.add(ellipsoid(wide, tall, long, (0, low, front)), "muzzle, head")
        deep = long
    if b.chance(0.6):
        size = rx * b.uniform(0.07, 0.16)
        b.add(ellipsoid(size * 1.3, size, size, (0, low + tall * 0.5, front + deep * 0.85)), "nose, head")
    if b.chance(0.5):
        size, apart = rx * b.uniform(0.07, 0.14), rx * b.uniform(0.28, 0.45)
        b.add_mirrored(sphere(size, (apart, y + ry * 0.15, rz * 0.88)), "eye, head")


def plush_limb(a: np.ndarray, end: np.ndarray, r: float, tip: float, flat: float) -> Mesh:
    """A stuffed arm or leg: a capsule from a to end, thicker or thinner at its end."""
    t = np.linspace(0, 1, 9)
    radius = r + (tip - r) * t
    first, last = -r * np.cos(np.radians([75, 45, 15])), tip * np.sin(np.radians([15, 45, 75, 88]))
    long = float(np.linalg.norm(end - a))
    along_ = np.concatenate([first, t * long, long + last])
    ring = np.concatenate([r * np.sin(np.radians([15, 45, 75])), radius, tip * np.cos(np.radians([15, 45, 75, 88]))])
    path = a + along_[:, None] * (end - a) / long
    return sweep(path, ellipse(1, flat, 14), sizes=ring)


def plush_limbs(b: Builder, torso: tuple[float, float, float], shoulder: float, hip: float, sits: bool) -> None:
    """Arms to the sides, forward or down; legs that sit forward or stand."""
    tx, ty, tz = torso
    r, long = tx * b.uniform(0.26, 0.42), ty * b.uniform(0.8, 1.5)
    tip, flat = r * b.uniform(0.75, 1.35), b.uniform(0.75, 1.1)
    out, ahead = b.uniform(-55, 35) if b.chance(0.7) else b.uniform(-80, -50), b.uniform(-10, 75)
    a = np.radians(out)
    sideways = np.array([np.cos(a), np.sin(a), 0])
    direction = sideways * np.cos(np.radians(ahead)) + np.array([0, -0.2, 1.0]) * np.sin(np.radians(ahead))
    start = np.array([tx * b.uniform(0.6, 0.85), shoulder, 0])
    b.add_mirrored(plush_limb(start, start + direction * long, r, tip, flat), "arm")
    r, long = tx * b.uniform(0.32, 0.5), ty * b.uniform(0.6, 1.3)
    tip = r * b.uniform(0.8, 1.3)
    spread = np.radians(b.uniform(5, 45))
    if sits:
        direction = np.array([np.sin(spread), b.uniform(-0.25, 0.1), np.cos(spread)])
        start = np.array([tx * 0.55, hip, tz * 0.3])
    else:
        direction = np.array([np.sin(spread * 0.4), -1, b.uniform(-0.1, 0.25)])
        start = np.array([tx * b.uniform(0.4, 0.6), hip, 0])
    end = start + direction * long
    b.add_mirrored(plush_limb(start, end, r, tip, b.uniform(0.85, 1.1)), "leg")
    if b.chance(0.5):  # a foot, turned up when it sits
        up = np.array([0, 1.0, 0]) if sits else np.array([0, -0.15, 1.0])
        foot = (
            ellipsoid(tip * 1.05, tip * b.uniform(1.2, 1.7), tip * 0.7)
            if sits
            else ellipsoid(tip * 1.05, tip * 0.8, tip * 1.6)
        )
        b.add_mirrored(foot.translate(*(end + up * tip * 0.35)), "foot, leg" if b.chance(0.3) else "leg")


@family("teddy bear toy", names={"muzzle": ("snout", "nose")})
def teddy_bear(b: Builder) -> None:
    """Plush animals that sit or stand: bears mostly, also mice, rabbits, dogs, cats and pigs."""
    kind = b.choice(*PLUSH, *["bear"] * 7)
    ears, sizes, muzzle, tail = PLUSH[kind]
    tx, ty = b.uniform(0.1, 0.16), b.uniform(0.13, 0.19)
    tz, egg = tx * b.uniform(0.75, 1.1), b.uniform(0.0, 0.35)
    torso = ellipsoid(tx, ty, tz, segments=24)
    b.add(torso.deform(lambda v: v * (1 - egg * v[:, 1:2] / ty * np.array([1, 0, 1]))), "torso, body, belly")
    rx = b.uniform(0.09, 0.17)
    ry, rz = rx * b.uniform(0.78, 1.02), rx * b.uniform(0.78, 1.05)
    y = ty * b.uniform(0.78, 0.98) + ry * b.uniform(0.72, 0.98)
    b.add(ellipsoid(rx, ry, rz, (0, y, 0), segments=24), "head")
    plush_ears(b, ears, b.uniform(*sizes), (rx, ry, rz), y)
    if b.chance(0.85):
        plush_face(b, muzzle, (rx, ry, rz), y)
    plush_limbs(b, (tx, ty, tz), ty * b.uniform(0.35, 0.7), -ty * b.uniform(0.5, 0.8), b.chance(0.6))
    if b.chance(0.5):
        back, low = -tz * 0.95, -ty * 0.5
        if tail == "ball":
            b.add(sphere(tx * b.uniform(0.2, 0.35), (0, low, back)), "tail")
        else:
            long = tx * (b.uniform(0.5, 0.8) if tail == "short" else b.uniform(1.2, 2.2))
            path = bezier(
                (0, low, back * 0.8),
                (0, low, back - long * 0.6),
                (0, low + long * b.uniform(0, 0.8), back - long * 0.8),
            )
            b.add(tube(path, tx * b.uniform(0.1, 0.18)), "tail")


@family("drum kit", names={"cymbal": ("metal plate",), "drum": ("drum shell",)})
def drum_kit(b: Builder) -> None:
    b.add(cylinder(0.27, 0.35, (0, 0.27, 0), axis="z", segments=28), "bass drum, drum")
    for x, r, h, y in (
        (-0.2, 0.14, 0.2, 0.68),
        (0.2, 0.15, 0.22, 0.68),
        (0.55, 0.2, 0.35, 0.35),
        (-0.5, 0.17, 0.14, 0.5),
    ):
        b.add(cylinder(r, h, (x, y, -0.05 if abs(x) < 0.3 else -0.3), segments=24), "drum")
        b.add(
            rod((x, 0, -0.05 if abs(x) < 0.3 else -0.3), (x, y, -0.05 if abs(x) < 0.3 else -0.3), 0.012), "stand, leg"
        )
    for x in (-0.6, 0.65):
        y = b.uniform(0.9, 1.1)
        b.add(rod((x, 0, 0), (x, y, 0), 0.01), "stand")
        b.add(
            lathe([(0, y + 0.02), (0.05, y + 0.015), (0.2, y), (0.2, y - 0.004), (0, y + 0.01)])
            .rotate("z", b.uniform(-15, 15), (x, y, 0))
            .translate(x, 0, 0),
            "cymbal",
        )
        for a in np.radians((90, 210, 330)):
            b.add(rod((x, 0.25, 0), (x + 0.2 * np.cos(a), 0, 0.2 * np.sin(a)), 0.008), "leg, stand")
    b.add(cylinder(0.16, 0.07, (0, 0.45, -0.7)), "seat, stool seat")
    b.add(rod((0, 0, -0.7), (0, 0.45, -0.7), 0.02), "stool leg, leg")


@family("trumpet", names={"bell": ("horn", "flare"), "valve": ("piston", "key")})
def trumpet(b: Builder) -> None:
    t = np.linspace(0, 1, 14)
    b.add(lathe(np.stack([0.006 + 0.055 * t**5, 0.2 * t], 1)).rotate("x", 90).translate(0, 0, 0.05), "bell")
    for y, x in ((0, 0.0), (-0.05, 0.02)):
        b.add(rod((x, y, -0.2), (x, y, 0.06), 0.006), "tube, pipe")
    for z, s in ((0.06, 1), (-0.14, -1)):
        b.add(
            tube(
                arc(0.025, -90, 90, (0.01, -0.025, z), "zy") * (1, 1, 1)
                if s > 0
                else arc(0.025, 90, 270, (0.01, -0.025, z), "zy"),
                0.006,
            ),
            "tube, pipe",
        )
    for i in range(3):
        z = -0.06 + 0.03 * i
        b.add(cylinder(0.012, 0.1, (0.01, -0.025, z)), "valve")
        b.add(
            rod((0.01, 0.02, z), (0.01, 0.05, z), 0.003) + cylinder(0.008, 0.004, (0.01, 0.052, z)),
            "button, valve button",
        )
    b.add(
        lathe([(0.004, 0), (0.004, 0.04), (0.012, 0.06), (0.008, 0.06)]).rotate("x", -90).translate(0, 0, -0.19),
        "mouthpiece",
    )


@family("swing", names={"frame": ("support", "stand"), "chain": ("rope",)})
def swing(b: Builder) -> None:
    w, h, n = b.uniform(1.2, 2), b.uniform(1.6, 2), b.integers(1, 2)
    b.add(rod((-w / 2, h, 0), (w / 2, h, 0), 0.04), "top bar, frame")
    for s in (-1, 1):
        for z in (-0.6, 0.6):
            b.add(rod((s * w / 2, h, 0), (s * (w / 2 + 0.1), 0, z), 0.035), "leg, frame")
    for i in range(n):
        x, a = (i - (n - 1) / 2) * w * 0.45, b.uniform(-25, 25)
        for s in (-1, 1):
            b.add(rod((x + s * 0.2, h, 0), (x + s * 0.2, 0.45, 0), 0.008).rotate("x", a, (0, h, 0)), "chain")
        b.add(box(0.45, 0.03, 0.2, (x, 0.45, 0)).rotate("x", a, (0, h, 0)), "seat")


@family("slide", names={"slide": ("chute", "ramp"), "rung": ("step",)})
def slide(b: Builder) -> None:
    h, long, w = b.uniform(1.1, 1.6), b.uniform(1.6, 2.2), b.uniform(0.4, 0.5)
    path = bezier((0, h, 0), (0, h * 0.9, long * 0.3), (0, 0.1, long * 0.7), (0, 0.15, long))
    b.add(sweep(path, rounded_rectangle(w, 0.02), up=(0, 1, 0)), "slide")
    for s in (-1, 1):
        b.add(tube(path + (s * w / 2, 0.06, 0), 0.025), "side wall, edge, rail")
        b.add(rod((s * w / 2, 0, -0.5), (s * w / 2, h, 0), 0.025), "ladder, support")
        b.add(
            tube(bezier((s * w / 2, h * 0.9, -0.1), (s * w / 2, h + 0.5, 0), (s * w / 2, h + 0.1, 0.3)), 0.015),
            "handrail, handle",
        )
    for t in np.linspace(0.15, 0.9, b.integers(4, 7)):
        b.add(rod((-w / 2, t * h, -0.5 * (1 - t)), (w / 2, t * h, -0.5 * (1 - t)), 0.018), "rung, ladder")


@family("bird cage", names={"bar": ("wire",), "perch": ("rod",)})
def bird_cage(b: Builder) -> None:
    r, h = b.uniform(0.14, 0.2), b.uniform(0.25, 0.4)
    b.add(lathe([(0, 0), (r * 1.1, 0), (r * 1.1, 0.04), (r, 0.04), (0, 0.015)]), "base, tray")
    n = b.integers(14, 24)
    for a in np.arange(n) * 2 * np.pi / n:
        c, s = r * np.cos(a), r * np.sin(a)
        b.add(
            tube(
                np.concatenate(
                    [[(c, 0.03, s)], bezier((c, h, s), (c, h + r * 0.7, s), (c * 0.1, h + r, s * 0.1), steps=6)]
                ),
                0.0025,
                5,
            ),
            "bar",
        )
    b.add(torus(r, 0.004, (0, h, 0)), "ring, hoop")
    b.add(rod((-r, h * 0.45, 0), (r, h * 0.45, 0), 0.006), "perch")
    b.add(torus(0.02, 0.003, (0, h + r + 0.02, 0), axis="z"), "hook, hanging ring")
    b.add(hollow_box(0.06, 0.03, 0.04, 0.004, (r * 0.7, 0.06, 0)), "food bowl, feeder")


@family("well", names={"wall": ("stone wall", "ring wall"), "roof": ("shelter",)})
def well(b: Builder) -> None:
    r, h = b.uniform(0.45, 0.6), b.uniform(0.5, 0.7)
    b.add(hollow([(r, 0), (r, h)], b.uniform(0.08, 0.15), floor=0.05), "wall")
    top = h + b.uniform(0.8, 1.1)
    for s in (-1, 1):
        b.add(bar((s * r, h * 0.5, 0), (s * r, top, 0), 0.08, 0.08), "post")
        b.add(box(0.04, 0.9, 2 * r + 0.4).rotate("z", s * 50).translate(s * 0.33, top + 0.15, 0), "roof")
    b.add(rod((-r, h + 0.5, 0), (r, h + 0.5, 0), 0.05), "roller, axle, drum")
    b.add(
        tube(
            np.array([(r, h + 0.5, 0), (r + 0.15, h + 0.5, 0), (r + 0.15, h + 0.3, 0), (r + 0.28, h + 0.3, 0)]), 0.018
        ),
        "crank, handle",
    )
    b.add(rod((0, h + 0.5, 0), (0, h + 0.2, 0), 0.01), "rope")
    b.add(hollow([(0.08, h), (0.11, h + 0.2)], 0.012), "bucket")


@family("fountain", names={"basin": ("bowl", "pool"), "column": ("pillar", "stem")})
def fountain(b: Builder) -> None:
    r, y = b.uniform(0.6, 0.9), 0.0
    b.add(hollow([(r * 0.95, 0), (r, 0.1), (r * 1.05, 0.25)], 0.06), "basin")
    for i in range(b.integers(1, 3)):
        h = b.uniform(0.25, 0.4)
        b.add(lathe([(0.12 / (i + 1), y), (0.05, y + 0.1), (0.07, y + h)]), "column")
        y += h
        r *= b.uniform(0.4, 0.6)
        b.add(hollow([(0.06, y), (r * 0.7, y + 0.05), (r, y + 0.12)], 0.025), "upper basin, basin")
    b.add(lathe([(0, y), (0.05, y + 0.05), (0.02, y + 0.12), (0.035, y + 0.16), (0, y + 0.2)]), "finial, top, spout")


@family("lighthouse", names={"lantern room": ("lamp room", "light"), "tower": ("body",)})
def lighthouse(b: Builder) -> None:
    h, r = b.uniform(1.4, 2), b.uniform(0.22, 0.32)
    b.add(lathe([(0, 0), (r * 1.5, 0), (r * 1.5, 0.1), (0, 0.1)]), "base, foundation")
    b.add(cylinder(r, h, (0, h / 2, 0), top=r * 0.65, segments=28), "tower")
    b.add(cylinder(r * 0.9, 0.05, (0, h, 0)), "gallery, balcony")
    b.add(torus(r * 0.88, 0.012, (0, h + 0.14, 0)), "railing")
    for a in np.arange(10) * 2 * np.pi / 10:
        b.add(
            rod(
                (r * 0.88 * np.cos(a), h, r * 0.88 * np.sin(a)),
                (r * 0.88 * np.cos(a), h + 0.14, r * 0.88 * np.sin(a)),
                0.008,
            ),
            "railing",
        )
    b.add(cylinder(r * 0.45, 0.25, (0, h + 0.14, 0)), "lantern room")
    b.add(cylinder(r * 0.6, 0.16, (0, h + 0.34, 0), top=0.01), "roof")
    b.add(box(0.13, 0.26, 0.05, (0, 0.2, r * 0.98)), "door")
    for i in range(b.integers(1, 4)):
        y = h * (0.4 + 0.14 * i)
        b.add(box(0.08, 0.12, 0.05, (0, y, r * (1 - 0.35 * y / h))), "window")


@family("fence")
def fence(b: Builder) -> None:
    n, h, gap = b.integers(5, 12), b.uniform(0.7, 1.2), b.uniform(0.1, 0.16)
    long = n * gap
    for y in (h * 0.3, h * 0.75):
        b.add(bar((-long / 2, y, -0.025), (long / 2, y, -0.025), 0.02, 0.05), "rail")
    for i in range(n):
        x = (i - (n - 1) / 2) * gap
        outline = np.array([(-gap * 0.35, 0), (gap * 0.35, 0), (gap * 0.35, h * 0.9), (0, h), (-gap * 0.35, h * 0.9)])
        b.add(extrude(outline, 0.018, at=(x, 0, 0)), "picket, slat, board")
    for s in (-1, 1):
        b.add(bar((s * long / 2, 0, -0.05), (s * long / 2, h * 1.05, -0.05), 0.07, 0.07), "post")


# ---- vehicles ----


@family("tricycle", names={"handlebar": ("handle", "steering bar"), "seat": ("saddle",)})
def tricycle(b: Builder) -> None:
    big, small = b.uniform(0.17, 0.22), b.uniform(0.09, 0.13)
    b.add(torus(big * 0.9, big * 0.13, (0, big, 0.35), axis="x"), "front wheel, wheel")
    wheels(b, 0.2, small, 0.04, (-0.25,))
    b.add(rod((-0.2, small, -0.25), (0.2, small, -0.25), 0.012), "axle")
    b.add(tube(bezier((0, 0.42, 0.3), (0, 0.2, 0.1), (0, small + 0.05, -0.25)), 0.02), "frame")
    b.add(rod((0, big, 0.35), (0, 0.6, 0.28), 0.015), "fork, steering column")
    b.add(tube(bezier((-0.2, 0.62, 0.18), (-0.1, 0.6, 0.3), (0.1, 0.6, 0.3), (0.2, 0.62, 0.18)), 0.012), "handlebar")
    for s in (-1, 1):
        b.add(cylinder(0.017, 0.08, (s * 0.19, 0.62, 0.19), axis="x"), "grip, handlebar")
        b.add(box(0.08, 0.02, 0.06, (s * 0.1, big + s * 0.07, 0.35)), "pedal")
    b.add(ellipsoid(0.09, 0.03, 0.12, (0, 0.33, -0.08)), "seat")


@family("wagon", names={"body": ("box", "tray", "bed"), "handle": ("pull handle",)})
def wagon(b: Builder) -> None:
    w, d, r = b.uniform(0.35, 0.45), b.uniform(0.6, 0.8), b.uniform(0.08, 0.12)
    b.add(hollow_box(w, b.uniform(0.1, 0.2), d, 0.015, (0, 2 * r + 0.06, 0)), "body")
    wheels(b, w * 0.45, r, 0.04, (-d * 0.35, d * 0.35))
    for z in (-d * 0.35, d * 0.35):
        b.add(rod((-w * 0.45, r, z), (w * 0.45, r, z), 0.012), "axle")
    b.add(rod((0, r * 1.3, d * 0.42), (0, b.uniform(0.3, 0.7), d * 0.42 + 0.5), 0.012), "handle")
    b.add(rod((-0.07, 0.6, d * 0.42 + 0.48), (0.07, 0.6, d * 0.42 + 0.48), 0.014), "grip, handle")


@family("forklift", names={"fork": ("prong", "tine"), "mast": ("lift frame",), "cab": ("roll cage", "cabin")})
def forklift(b: Builder) -> None:
    w, d, r = b.uniform(0.8, 1), b.uniform(1.1, 1.4), b.uniform(0.2, 0.26)
    b.add(box(w, 0.5, d, (0, r + 0.3, -0.1), bevel=0.05), "body")
    b.add(box(w, 0.45, 0.3, (0, r + 0.45, -d / 2 - 0.1), bevel=0.1), "counterweight, body")
    wheels(b, w / 2, r, 0.14, (-d * 0.4, d * 0.35))
    for s in (-1, 1):
        for z in (-d * 0.4, d * 0.25):
            b.add(rod((s * w * 0.42, r + 0.5, z), (s * w * 0.4, 1.75, z * 0.8), 0.03), "cab")
        b.add(bar((s * w * 0.3, 0.1, d / 2 + 0.05), (s * w * 0.3, b.uniform(1.7, 2), d / 2 + 0.05), 0.06, 0.1), "mast")
        b.add(bar((s * w * 0.2, 0.12, d / 2 + 0.12), (s * w * 0.2, 0.1, d / 2 + 0.95), 0.1, 0.035), "fork")
        b.add(bar((s * w * 0.2, 0.1, d / 2 + 0.12), (s * w * 0.2, 0.5, d / 2 + 0.12), 0.1, 0.035), "fork")
    b.add(box(w * 0.85, 0.05, d * 0.6, (0, 1.77, -0.08)), "roof, cab")
    b.add(
        box(0.4, 0.1, 0.4, (0, r + 0.6, -0.2), bevel=0.03) + box(0.4, 0.4, 0.1, (0, r + 0.8, -0.42), bevel=0.03), "seat"
    )
    b.add(torus(0.14, 0.02, (0, r + 0.85, 0.2)).rotate("x", 35, (0, r + 0.85, 0.2)), "steering wheel")


@family("excavator", names={"boom": ("arm",), "bucket": ("shovel", "scoop"), "track": ("crawler", "caterpillar track")})
def excavator(b: Builder) -> None:
    for s in (-1, 1):
        b.add(box(0.25, 0.3, 1.5, (s * 0.45, 0.15, 0), bevel=0.1), "track")
    b.add(cylinder(0.35, 0.1, (0, 0.34, 0)), "turntable, base")
    yaw = b.uniform(-60, 60) if b.chance() else 0.0
    pieces: list[tuple[Mesh, str]] = [
        (box(0.95, 0.4, 1.1, (0, 0.6, -0.15), bevel=0.05), "body"),
        (box(0.4, 0.6, 0.5, (-0.27, 0.85, 0.25), bevel=0.04), "cab, cabin"),
        (box(0.32, 0.35, 0.02, (-0.27, 0.95, 0.51)), "window"),
    ]
    a = np.array([0.15, 0.7, 0.4])
    k = a + (0, b.uniform(0.6, 0.9), b.uniform(0.6, 0.9))
    e = k + (0, -b.uniform(0.5, 0.9), b.uniform(0.3, 0.6))
    bent = np.array([a, (a + k) / 2 + (0, 0.15, 0), k])
    boom = sweep(bent, rounded_rectangle(0.14, 0.2), up=(0, 1, 0))
    bucket = hollow_box(0.35, 0.25, 0.3, 0.03).rotate("x", b.uniform(-120, -30)).translate(*(e + (0, -0.12, 0)))
    pieces += [(boom, "boom"),
               (bar(tuple(k), tuple(e), 0.11, 0.15), "stick, dipper arm"),
               (bucket, "bucket"),
               (rod(tuple(a + (0, 0, 0.15)), tuple((a + k) / 2), 0.035), "hydraulic cylinder, piston")]  # fmt: skip
    for mesh, names in pieces:
        b.add(mesh.rotate("y", yaw), names)


@family("hot air balloon", names={"basket": ("gondola",), "envelope": ("balloon",)})
def hot_air_balloon(b: Builder) -> None:
    r = b.uniform(0.45, 0.6)
    t = np.linspace(-82, 90, 18)
    b.add(
        lathe(np.stack([r * np.cos(np.radians(t)), r * np.sin(np.radians(t)) * np.where(t < 0, 1.35, 1)], 1)),
        "envelope",
    )
    y = -r * 1.34
    w = b.uniform(0.14, 0.2)
    b.add(hollow_box(w, w * 0.8, w, 0.012, (0, y - 0.3, 0), corner=0.02), "basket")
    for sx in (-1, 1):
        for sz in (-1, 1):
            b.add(
                rod((sx * w / 2, y - 0.22, sz * w / 2), (sx * r * 0.18, y + 0.04, sz * r * 0.18), 0.006), "rope, cable"
            )
    b.add(cylinder(0.03, 0.06, (0, y - 0.08, 0)), "burner")


@family("submarine", names={"hull": ("body",), "conning tower": ("sail tower", "tower")})
def submarine(b: Builder) -> None:
    long, r = b.uniform(0.9, 1.3), b.uniform(0.11, 0.18)
    b.add(ellipsoid(r, r, long / 2), "hull")
    b.add(box(r * 0.7, r * 1.2, long * 0.18, (0, r * 1.2, long * 0.08), corner=r * 0.3), "conning tower")
    b.add(
        tube(np.array([(0, r * 1.7, long * 0.08), (0, r * 2.5, long * 0.08), (0, r * 2.5, long * 0.12)]), 0.012),
        "periscope",
    )
    for s in (-1, 1):
        b.add(box(r * 1.2, 0.015, 0.1, (s * r * 0.8, 0, -long * 0.42)), "tail fin, fin")
        b.add(box(r, 0.015, 0.08, (s * r * 1.1, 0, long * 0.25)), "bow fin, fin")
    b.add(box(0.015, r * 1.8, 0.1, (0, 0, -long * 0.43)), "rudder")
    for a in range(b.integers(3, 5)):
        b.add(
            box(0.03, r * 0.8, 0.008, (0, r * 0.4, 0))
            .rotate("y", 30)
            .rotate("z", 72.0 * a)
            .translate(0, 0, -long * 0.52),
            "propeller",
        )


@family("sailboat", names={"sail": ("cloth", "canvas"), "hull": ("body",)})
def sailboat(b: Builder) -> None:
    long, w, h = b.uniform(1, 1.4), b.uniform(0.3, 0.45), b.uniform(1.2, 1.7)
    z = np.linspace(-0.5, 0.5, 11)
    half = w / 2 * np.sqrt(np.maximum(0.02, 1 - (np.maximum(z + 0.1, 0) / 0.6) ** 2))
    outline = np.concatenate([np.stack([half, z * long], 1), np.stack([-half, z * long], 1)[::-1]])
    b.add(stack(outline, [(-0.22, 0.25, 0.7), (-0.1, 0.8, 0.92), (0.03, 1, 1)]), "hull")
    b.add(rod((0, 0, 0.05), (0, h, 0.05), 0.018, 0.01), "mast")
    b.add(rod((0, 0.15, 0.04), (0, 0.15, -long * 0.45), 0.013), "boom")
    belly = b.uniform(0.02, 0.12)
    for names, a, c, top in (("main sail, sail", 0.03, -long * 0.44, 0.97), ("jib, sail", 0.08, long * 0.46, 0.85)):
        outline = np.array([(a, 0.17), (c, 0.17), (a + (c - a) * 0.45, h * 0.5), (a, h * top)])
        mesh = extrude(outline, 0.008, "x")
        side = belly * np.sin(np.pi * np.clip(mesh.vertices[:, 1] / h, 0, 1))
        mesh = Mesh(mesh.vertices + np.stack([side, 0 * side, 0 * side], 1), mesh.faces)
        b.add(mesh, names)
    b.add(box(0.015, 0.3, 0.12, (0, -0.15, -long * 0.5)), "rudder")
    b.add(box(0.02, 0.2, 0.25, (0, -0.3, 0)), "keel")


@family("drone", names={"propeller": ("rotor", "rotor blade"), "arm": ("boom",), "landing gear": ("leg", "skid")})
def drone(b: Builder) -> None:
    n, reach = b.choice("4", "4", "6"), b.uniform(0.16, 0.24)
    b.add(box(0.12, 0.05, 0.16, bevel=0.02), "body")
    b.add(sphere(0.025, (0, -0.045, 0.06)), "camera")
    for i in range(int(n)):
        a = 2 * np.pi * (i + 0.5) / int(n)
        x, z = reach * np.cos(a), reach * np.sin(a)
        b.add(rod((0, 0, 0), (x, 0.01, z), 0.011), "arm")
        b.add(cylinder(0.018, 0.035, (x, 0.02, z)), "motor")
        for turn in (0, 180):
            b.add(box(0.09, 0.004, 0.018, (0.045, 0, 0)).rotate("y", turn + 30 * i).translate(x, 0.042, z), "propeller")
    for s in (-1, 1):
        b.add(
            tube(
                np.array(
                    [
                        (s * 0.05, -0.02, 0.06),
                        (s * 0.08, -0.09, 0.06),
                        (s * 0.08, -0.09, -0.06),
                        (s * 0.05, -0.02, -0.06),
                    ]
                ),
                0.006,
            ),
            "landing gear",
        )


# where the belly is widest (part of the height), radius of foot and neck against it, roundness below and above
URNS = {
    "ball": (0.5, 0.45, 0.4, 1.0, 1.0),
    "amphora": (0.68, 0.18, 0.35, 0.9, 1.0),
    "pear": (0.3, 0.7, 0.25, 0.8, 1.3),
    "barrel": (0.5, 0.75, 0.7, 0.8, 0.8),
    "cylinder": (0.75, 0.9, 0.55, 0.5, 0.5),
    "cone": (0.9, 0.35, 0.8, 1.2, 0.6),
    "shoulder": (0.8, 0.4, 0.3, 0.8, 0.6),
    "bottle": (0.35, 0.75, 0.15, 0.6, 1.0),
    "krater": (0.6, 0.3, 0.85, 0.9, 0.7),
}


def _urn_side(b: Builder, h: float) -> np.ndarray:  # (N, 2): radius, y
    """The side of the belly of one of URNS, its largest radius 1."""
    at, foot, neck, below, above = URNS[b.choice(*URNS)]
    at = min(max(at + b.uniform(-0.1, 0.1), 0.15), 0.92)
    foot, neck = foot * b.uniform(0.8, 1.2), min(neck * b.uniform(0.75, 1.25), 0.92)
    t = np.linspace(0, 1, 20)
    rise = np.sin(np.clip(t / at, 0, 1) * np.pi / 2) ** (below * b.uniform(0.8, 1.2))
    fall = np.cos(np.clip((t - at) / (1 - at), 0, 1) * np.pi / 2) ** (above * b.uniform(0.8, 1.2))
    side = np.where(t < at, min(foot, 0.95) + (1 - min(foot, 0.95)) * rise, neck + (1 - neck) * fall)
    return np.stack([side, t * h], 1)


def _urn_handles(b: Builder, side: np.ndarray, mouth: float, h: float, top: float, flat: float) -> None:
    """One, two or three handles: from neck to shoulder, from rim to belly, or loops on the belly."""
    count = int(b.rng.choice([1, 2, 2, 2, 3]))
    kind, t = b.choice("neck", "neck", "rim", "loop", "scroll"), b.uniform(0.02, 0.06)

    def radius(y: float) -> float:
        return float(np.interp(y, side[:, 1], side[:, 0])) if y < h else mouth

    low = h * (b.uniform(0.5, 0.95) if kind != "loop" else b.uniform(0.4, 0.8))
    high = top * b.uniform(0.86, 0.99) if kind == "rim" else h + (top - h) * b.uniform(0.3, 0.8)
    out = b.uniform(0.15, 0.5)
    if kind == "loop":
        count = max(count, 2)
        high = low + h * b.uniform(0.12, 0.2)
    a, c = np.array([radius(high) * 0.95, high, 0]), np.array([radius(low) * 0.95, low, 0])
    up = b.uniform(0.3, 0.6) if kind == "scroll" else b.uniform(-0.02, 0.15)
    reach = max(radius((low + high) / 2), a[0], c[0]) + out
    path = bezier(a, (reach, high + up, 0), (reach, low + (high - low) * b.uniform(0, 0.6), 0), c, steps=18)
    if kind == "loop" and b.chance():  # a level grip
        r = radius(low) * 0.9
        path = bezier(
            (r, low, -0.16), (r + out, low + 0.03, -0.16), (r + out, low + 0.03, 0.16), (r, low, 0.16), steps=18
        )
    mesh = (
        tube(path, t, 8) if b.chance() else sweep(path, ellipse(t * b.uniform(1.2, 2.2), t * 0.7, 10), up=(0, 0.02, 1))
    )
    for i in range(count):
        b.add(mesh.scale(1, 1, flat).rotate("y", 360 * i / count), "handle")


@family(
    "urn",
    names={
        "body": ("vase body", "container", "main body"),
        "neck": ("vase neck",),
        "foot": ("base", "foot ring", "bottom"),
        "rim": ("lip",),
    },
)
def urn(b: Builder) -> None:
    """Vases, urns and amphoras: many profiles, round or square, with or without neck, foot, rim, lid, handles."""
    h, r = b.uniform(0.6, 1.2), b.uniform(0.25, 0.5)
    side = _urn_side(b, h) * [r, 1]
    sides = 4 if b.chance(0.08) else b.integers(6, 10) if b.chance(0.15) else b.integers(20, 40)
    flat = b.uniform(0.45, 0.8) if b.chance(0.1) else 1.0

    def turned(profile: object) -> Mesh:
        return lathe(np.asarray(profile), sides).rotate("y", 180 / sides).scale(1, 1, flat)

    b.add(turned([(0, 0), *side]), "body")
    mouth, top = float(side[-1, 0]), h
    if b.chance(0.8):
        tall, flare, pinch = b.uniform(0.05, 0.5), b.uniform(0, 1.0), b.uniform(0, 0.25)
        s = np.linspace(0, 1, 9)
        lip = mouth * (1 + flare * s ** b.uniform(2, 5) - pinch * np.sin(np.pi * s))
        ys = h + tall * s
        b.add(turned([*np.stack([lip, ys], 1), *np.stack([lip * 0.88, ys], 1)[::-1]]), "neck")
        mouth, top = float(lip[-1]), h + tall
    neck_top, neck_mouth = top, mouth
    if b.chance(0.55):
        out, tall = mouth * b.uniform(1.05, 1.3), b.uniform(0.02, 0.07)
        ring = [
            (mouth * 0.85, top),
            (mouth, top),
            (out, top + tall * 0.4),
            (out, top + tall),
            (mouth * 0.85, top + tall),
        ]
        b.add(turned(ring), "rim" if b.chance(0.6) else "rim, neck")
        top += tall
    if b.chance(0.6):
        f, tall = float(side[0, 0]), b.uniform(0.03, 0.2)
        waist, wide = f * b.uniform(0.5, 1.0), f * b.uniform(1.0, 1.6)
        b.add(turned([(0, -tall), (wide, -tall), (wide, -tall * 0.7), (waist, -tall * 0.4), (f * 0.95, 0.02)]), "foot")
    if b.chance(0.6):
        _urn_handles(b, side, neck_mouth, h, neck_top, flat if flat < 1 else 1.0)
    if b.chance(0.15):
        m, tall = mouth * 1.03, b.uniform(0.04, 0.15)
        b.add(turned([(m, top), (m, top + 0.02), (m * 0.6, top + tall), (0, top + tall * 1.2)]), "lid")
        b.add(sphere(m * b.uniform(0.15, 0.3), (0, top + tall * 1.3, 0)), "lid knob, knob, lid")
    if len({names for names, _ in b.pieces()}) == 1:
        b.add(
            turned([(mouth * 0.8, top), (mouth * 1.1, top), (mouth * 1.1, top + 0.04), (mouth * 0.8, top + 0.04)]),
            "rim",
        )


@family("goblet", names={"bowl": ("cup", "body"), "base": ("foot", "bottom")})
def goblet(b: Builder) -> None:
    """Goblets and chalices: a bowl on a plain or turned stem, with a flat, domed or stepped base."""
    r, deep, tall = b.uniform(0.25, 0.45), b.uniform(0.25, 0.7), b.uniform(0.12, 0.7)
    sides, stem = b.integers(8, 36), r * b.uniform(0.08, 0.22)
    t = np.linspace(0, 1, 14)
    side = np.maximum(r * np.sin(t * b.uniform(1.3, 2.3)) ** b.uniform(0.35, 1.0), stem * 0.9)
    b.add(hollow(np.stack([side, tall + deep * t], 1), r * b.uniform(0.04, 0.1), sides), "bowl")
    s = np.linspace(0, 1, 16)
    wave = np.ones(16)
    for _ in range(b.integers(0, 3)):  # knots
        wave += b.uniform(0.4, 1.6) * np.exp(-(((s - b.uniform(0.2, 0.85)) / b.uniform(0.05, 0.15)) ** 2))
    b.add(lathe([(0, 0), *np.stack([stem * wave, 0.01 + tall * s * 1.02], 1), (0, tall * 1.03)], sides), "stem")
    f, high, bow = r * b.uniform(0.6, 1.15), b.uniform(0.02, 0.12), b.uniform(0.6, 3.0)
    q = np.linspace(0, 1, 8)
    dome = np.stack([f + (stem - f) * q, high * (0.25 + 0.75 * q**bow)], 1)
    b.add(lathe([(0, 0), (f, 0), *dome], sides), "base")
    if b.chance(0.15):
        path = bezier(
            (r * 0.8, tall + deep * 0.8, 0),
            (r * 1.7, tall + deep, 0),
            (r * 1.5, tall, 0),
            (r * 0.6, tall + deep * 0.2, 0),
        )
        b.add_mirrored(tube(path, r * b.uniform(0.05, 0.1), 8), "handle")
