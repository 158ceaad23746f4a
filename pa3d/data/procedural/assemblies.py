"""Random assemblies: any body with any parts at plausible places, so that a part's name is not tied to one category.

>>> mesh = assemble(seed=7)   # a PartMesh without a category, y up, facing +z, its largest extent 1

A body is a box, a barrel, a ball, a vessel, a bottle, a slab or a stack of two boxes. It gets one to six kinds of
parts on its sides, top, front, back and underside: handles, spouts, ears, wings, lids, knobs, horns, antennas, screens,
buttons, doors, lenses, legs, wheels, tails, cords and others. Each place has its own list of parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pa3d.data.parts import PartMesh
from pa3d.data.procedural.primitives import (
    Mesh,
    arc,
    bar,
    bezier,
    blade,
    box,
    cylinder,
    ellipse,
    ellipsoid,
    extrude,
    hollow,
    lathe,
    rod,
    rounded_rectangle,
    sphere,
    stack,
    sweep,
    torus,
    tube,
)
from pa3d.data.procedural.registry import Builder


@dataclass(frozen=True)
class Body:
    """Half extents of the body about the origin, and whether it is round about the vertical axis."""

    x: float
    y: float
    z: float
    round: bool


Part = Callable[[Builder, Body], None]
PLACES: dict[str, list[Part]] = {"side": [], "top": [], "front": [], "back": [], "below": []}


def part(place: str) -> Callable[[Part], Part]:
    def register(draw: Part) -> Part:
        PLACES[place].append(draw)
        return draw

    return register


def assemble(seed: int) -> PartMesh:
    """One assembly; the same seed gives the same one."""
    rng = np.random.default_rng([seed, 0xA55E])
    b = Builder(rng)
    body = draw_body(b)
    places = list(PLACES)
    # At most two kinds of parts per place, so that they rarely intersect.
    missing = int(rng.integers(1, 7))
    while missing > 0 and places:
        place = places.pop(int(rng.integers(len(places))))
        count = min(missing, 1 if place in ("below", "top") else int(rng.integers(1, 3)))
        for index in rng.permutation(len(PLACES[place]))[:count]:
            PLACES[place][index](b, body)
        missing -= count
    mesh = b.mesh("", f"assembly-{seed}")
    mesh.source = "pa3d assemblies"
    return mesh


def draw_body(b: Builder) -> Body:
    names = b.choice("body, main body", "body, case", "body, housing", "body", "body, shell", "body, container")
    x, y, z = b.uniform(0.15, 0.5), b.uniform(0.12, 0.5), b.uniform(0.15, 0.5)
    kind = b.choice("box", "box", "barrel", "ball", "vessel", "bottle", "slab", "stack")
    if kind == "box":
        b.add(box(2 * x, 2 * y, 2 * z, bevel=b.uniform(0, 0.5) * min(x, y, z), top=b.uniform(0.7, 1.1)), names)
        return Body(x, y, z, False)
    if kind == "slab":
        y = b.uniform(0.03, 0.08)
        b.add(box(2 * x, 2 * y, 2 * z, corner=b.uniform(0, 0.7) * min(x, z)), names)
        return Body(x, y, z, False)
    if kind == "ball":
        b.add(ellipsoid(x, y, z), names)
        return Body(x, y, z, True)
    if kind == "vessel":
        t = np.linspace(0, 1, 9)
        profile = np.stack(
            [x * (b.uniform(0.4, 1) + (1 - b.uniform(0.4, 1)) * t) + 0.2 * x * np.sin(np.pi * t), y * (2 * t - 1)], 1
        )
        profile[:, 0] *= x / profile[:, 0].max()
        b.add(hollow(profile, b.uniform(0.03, 0.1) * x), names)
        return Body(x, y, x, True)
    if kind == "bottle":
        b.add(
            lathe(
                [(0, -y), (x, -y), (x, y * b.uniform(0, 0.5)), (x * b.uniform(0.3, 0.7), y * 0.8), (x * 0.3, y), (0, y)]
            ),
            names,
        )
        return Body(x, y, x, True)
    if kind == "stack":
        waist = b.uniform(-0.3, 0.3) * y
        b.add(box(2 * x, y + waist, 2 * z, (0, (waist - y) / 2, 0), bevel=b.uniform(0, 0.05)), names)
        b.add(box(1.5 * x, y - waist, 1.6 * z, (0, (y + waist) / 2, 0), bevel=b.uniform(0, 0.05)), names)
        return Body(x, y, z, False)
    if b.chance(0.5):
        b.add(cylinder(x, 2 * y, top=x * b.uniform(0.6, 1.2), segments=28), names)
        return Body(x, y, x, True)
    b.add(cylinder(y, 2 * z, axis="z", segments=28), names)
    return Body(y, y, z, False)


def on_sides(b: Builder, mesh: Mesh, names: str, one: float = 0.0) -> None:
    """Add the mesh on both sides, or with probability `one` on one side only."""
    if b.chance(one):
        b.add(mesh.mirror("x") if b.chance() else mesh, names)
    else:
        b.add_mirrored(mesh, names)


# ---- sides ----


@part("side")
def handle(b: Builder, o: Body) -> None:
    h, out = o.y * b.uniform(0.3, 0.7), b.uniform(0.08, 0.25)
    path = bezier((o.x * 0.9, h, 0), (o.x + out, h, 0), (o.x + out, -h, 0), (o.x * 0.9, -h, 0))
    r = b.uniform(0.012, 0.035)
    on_sides(b, sweep(path, ellipse(r, r * b.uniform(0.6, 1.5), 10)) if b.chance() else tube(path, r), "handle", 0.6)


@part("side")
def spout(b: Builder, o: Body) -> None:
    low, out = o.y * b.uniform(-0.4, 0.4), b.uniform(0.12, 0.35)
    path = bezier((o.x * 0.9, low, 0), (o.x + out * 0.6, low, 0), (o.x + out * 0.5, o.y, 0), (o.x + out, o.y * 1.05, 0))
    b.add(tube(path, np.linspace(b.uniform(0.035, 0.07), 0.02, len(path))), "spout")


@part("side")
def wings(b: Builder, o: Body) -> None:
    long, chord = b.uniform(0.3, 0.8), b.uniform(0.15, 0.4)
    rows = [
        (o.x * 0.8 + long * t, long * b.uniform(0, 0.2) * t, -0.3 * chord * t, chord * (1 - 0.6 * t), 0.3)
        for t in (0, 0.5, 1)
    ]
    on_sides(b, blade(np.array(rows), 0.1), "wing")


@part("side")
def arms(b: Builder, o: Body) -> None:
    y, a = o.y * b.uniform(0.1, 0.8), np.radians(b.uniform(-80, 60))
    long, r = b.uniform(0.2, 0.5), b.uniform(0.02, 0.05)
    elbow = np.array([o.x + long * 0.5 * np.cos(a), y + long * 0.5 * np.sin(a), 0])
    end = elbow + long * 0.5 * np.array([np.cos(a) * 0.6, np.sin(a), b.uniform(0, 0.8)])
    mesh = tube(np.array([(o.x * 0.85, y, 0), elbow, end]), r)
    on_sides(b, mesh, "arm")
    if b.chance(0.5):
        on_sides(b, sphere(r * 1.6, tuple(end)), "hand, arm" if b.chance(0.3) else "hand")


@part("side")
def ears(b: Builder, o: Body) -> None:
    r = b.uniform(0.06, 0.16)
    kind = b.chance()
    mesh = ellipsoid(r, r, r * 0.3) if kind else cylinder(r * 0.5, r * 2, top=0.004)
    on_sides(b, mesh.rotate("z", -b.uniform(10, 60)).translate(o.x * 0.75, o.y * (0.85 if o.round else 1), 0), "ear")


@part("side")
def side_strap(b: Builder, o: Body) -> None:
    path = bezier((-o.x, o.y * 0.6, 0), (-o.x * 1.4, o.y + 0.7, 0), (o.x * 1.4, o.y + 0.7, 0), (o.x, o.y * 0.6, 0))
    b.add(sweep(path, rounded_rectangle(0.008, b.uniform(0.03, 0.07)), up=(0, 0, 1)), "strap")


@part("side")
def crank(b: Builder, o: Body) -> None:
    x, long = o.x, b.uniform(0.08, 0.2)
    path = np.array([(x * 0.9, 0, 0), (x + 0.08, 0, 0), (x + 0.08, long, 0), (x + 0.2, long, 0)])
    b.add(tube(path, b.uniform(0.01, 0.02)), "crank")


@part("side")
def fins(b: Builder, o: Body) -> None:
    long = b.uniform(0.12, 0.3)
    outline = np.array([(0, -0.5), (1, -0.7), (0.6, -0.1), (0, 0.5)]) * (long, 2 * long)
    on_sides(
        b,
        extrude(outline, 0.015, "y").translate(o.x * 0.9, b.uniform(-0.5, 0.3) * o.y, b.uniform(-0.5, 0.3) * o.z),
        "fin",
    )


@part("side")
def tanks(b: Builder, o: Body) -> None:
    r = b.uniform(0.05, 0.12)
    on_sides(
        b,
        ellipsoid(r, r, b.uniform(0.12, 0.3)).translate(o.x + r * 0.8, b.uniform(-0.4, 0.4) * o.y, 0),
        b.choice("engine", "tank", "float"),
    )


# ---- top ----


@part("top")
def lid(b: Builder, o: Body) -> None:
    t = b.uniform(0.02, 0.06)
    mesh = (
        cylinder(o.x * b.uniform(0.6, 1.05), t, segments=28)
        if o.round
        else box(2 * o.x * b.uniform(0.8, 1.05), t, 2 * o.z * b.uniform(0.8, 1.05), bevel=0.01)
    )
    if b.chance(0.3):
        mesh = mesh.translate(0, 0, o.z).rotate("x", -b.uniform(20, 100)).translate(0, 0, -o.z)
    b.add(mesh.translate(0, o.y + t / 2, 0), "lid")
    if b.chance(0.6):
        b.add(sphere(b.uniform(0.02, 0.05), (0, o.y + t + 0.03, 0)), "knob, handle" if b.chance(0.3) else "knob")


@part("top")
def top_handle(b: Builder, o: Body) -> None:
    w, tall = o.x * b.uniform(0.4, 0.95), b.uniform(0.08, 0.3)
    path = bezier((-w, o.y * 0.9, 0), (-w, o.y + tall, 0), (w, o.y + tall, 0), (w, o.y * 0.9, 0))
    b.add(tube(path, b.uniform(0.012, 0.035)), "handle")


@part("top")
def antennas(b: Builder, o: Body) -> None:
    tall, lean = b.uniform(0.15, 0.6), b.uniform(0, 0.2)
    on_sides(
        b, rod((o.x * 0.3, o.y * 0.85, 0), (o.x * 0.3 + lean, o.y + tall, 0), b.uniform(0.006, 0.012)), "antenna", 0.5
    )


@part("top")
def horns(b: Builder, o: Body) -> None:
    x, tall = o.x * b.uniform(0.3, 0.7), b.uniform(0.15, 0.35)
    path = bezier(
        (x, o.y * 0.8, 0), (x * 1.6, o.y + tall * 0.4, 0), (x * b.uniform(1, 2), o.y + tall, b.uniform(-0.1, 0.2))
    )
    on_sides(b, tube(path, np.linspace(0.045, 0.004, len(path))), "horn")


@part("top")
def rotor(b: Builder, o: Body) -> None:
    y, n, long = o.y + 0.1, b.integers(2, 5), b.uniform(0.25, 0.6)
    b.add(rod((0, o.y * 0.8, 0), (0, y, 0), 0.02), "shaft, mast")
    for i in range(n):
        b.add(
            box(long, 0.008, 0.05, (long / 2, y, 0)).rotate("y", 360 * i / n),
            b.choice("propeller") if n < 4 else "rotor blade, propeller",
        )


@part("top")
def head(b: Builder, o: Body) -> None:
    r, lift = b.uniform(0.1, 0.22), b.uniform(0, 0.25)
    b.add(rod((0, o.y * 0.8, 0), (0, o.y + lift, b.uniform(0, 0.15)), r * b.uniform(0.35, 0.6)), "neck")
    b.add(ellipsoid(r, r * b.uniform(0.8, 1.2), r * b.uniform(0.8, 1.3), (0, o.y + lift + r * 0.7, 0.05)), "head")


@part("top")
def seat(b: Builder, o: Body) -> None:
    w = min(o.x, 0.35)
    b.add(box(2 * w, 0.06, 1.6 * w, (0, o.y + 0.03, 0), bevel=0.02), "seat")
    b.add(
        box(2 * w, b.uniform(0.2, 0.5), 0.05, (0, o.y + 0.2, -0.8 * w), bevel=0.02).rotate(
            "x", -b.uniform(0, 15), (0, o.y, -0.8 * w)
        ),
        "back, backrest",
    )


@part("top")
def chimney(b: Builder, o: Body) -> None:
    h = b.uniform(0.1, 0.35)
    b.add(
        cylinder(
            b.uniform(0.03, 0.08),
            h,
            (b.uniform(-0.5, 0.5) * o.x, o.y * (0.8 if o.round else 1) + h / 2, b.uniform(-0.4, 0.4) * o.z),
        ),
        b.choice("chimney", "exhaust pipe", "funnel"),
    )


@part("top")
def cap(b: Builder, o: Body) -> None:
    r, h = o.x * b.uniform(0.25, 0.6), b.uniform(0.04, 0.15)
    b.add(lathe([(0, o.y * 0.95), (r, o.y * 0.95), (r * b.uniform(0.7, 1), o.y + h), (0, o.y + h)]), "cap")


@part("top")
def hook(b: Builder, o: Body) -> None:
    r = b.uniform(0.05, 0.12)
    b.add(
        tube(arc(r, -90, b.uniform(120, 200), (0, o.y + r, 0)), r * 0.2), "hook" if b.chance() else "ring, hanging ring"
    )


@part("top")
def roof(b: Builder, o: Body) -> None:
    tall, over = b.uniform(0.15, 0.45), b.uniform(1, 1.25)
    if o.round:
        b.add(cylinder(o.x * over, tall, (0, o.y + tall / 2, 0), top=0.01), "roof")
    else:
        b.add(extrude(np.array([(-o.x * over, o.y), (o.x * over, o.y), (0, o.y + tall)]), 2 * o.z * over), "roof")


# ---- front ----


def on_front(o: Body, x: float, y: float) -> float:
    """z of the front surface at x and y, given as fractions of the half extents."""
    return o.z * (float(np.sqrt(max(0.05, 1 - x * x))) if o.round else 1.0)


@part("front")
def buttons(b: Builder, o: Body) -> None:
    n, r, y = b.integers(1, 6), b.uniform(0.015, 0.04), b.uniform(-0.6, 0.6)
    for i in range(n):
        x = (i - (n - 1) / 2) * 0.25
        b.add(
            cylinder(r, 0.03, (x * o.x, y * o.y, on_front(o, x, y)), axis="z"),
            b.choice("button") if r < 0.03 else "knob, dial",
        )


@part("front")
def screen(b: Builder, o: Body) -> None:
    w, h, y = b.uniform(0.4, 0.85), b.uniform(0.3, 0.7), b.uniform(-0.1, 0.3)
    b.add(box(2 * w * o.x, 2 * h * o.y * (1 - abs(y)), 0.03, (0, y * o.y, o.z)), "screen")


@part("front")
def door(b: Builder, o: Body) -> None:
    w, h = o.x * b.uniform(0.3, 0.95), o.y * b.uniform(0.6, 0.95)
    angle = b.uniform(0, 100) if b.chance(0.4) else 0.0
    pieces = [(box(2 * w, 2 * h, 0.03), "door"), (rod((0.8 * w, -0.05, 0.03), (0.8 * w, 0.05, 0.03), 0.012), "handle")]
    if b.chance(0.3):
        pieces.append((box(1.2 * w, h * 0.7, 0.036, (0, h * 0.3, 0)), "window"))
    for mesh, names in pieces:
        b.add(mesh.rotate("y", -angle, (-w, 0, 0)).translate(0, h - o.y, o.z + 0.01), names)


@part("front")
def drawers(b: Builder, o: Body) -> None:
    n = b.integers(1, 4)
    for i in range(n):
        y, out = o.y * (2 * (i + 0.5) / n - 1), b.uniform(0, 0.2) if b.chance(0.3) else 0.0
        b.add(box(1.8 * o.x, 1.7 * o.y / n, 0.04 + out, (0, y, o.z + out / 2)), "drawer")
        b.add(
            box(0.3 * o.x, 0.02, 0.03, (0, y, o.z + out + 0.035)),
            b.choice("handle") if n < 3 else "handle, drawer handle",
        )


@part("front")
def lens(b: Builder, o: Body) -> None:
    r, long = min(o.x, o.y) * b.uniform(0.3, 0.8), b.uniform(0.05, 0.25)
    b.add(cylinder(r, long, (0, 0, o.z + long / 2 - 0.02), top=r * b.uniform(0.8, 1.1), axis="z", segments=28), "lens")


@part("front")
def lights(b: Builder, o: Body) -> None:
    r = b.uniform(0.03, 0.08)
    on_sides(
        b,
        sphere(r, (o.x * 0.6, b.uniform(-0.4, 0.2) * o.y, on_front(o, 0.6, 0))),
        b.choice("headlight", "eye", "lamp, light"),
    )


@part("front")
def nozzle(b: Builder, o: Body) -> None:
    long, r = b.uniform(0.1, 0.35), b.uniform(0.03, 0.08)
    b.add(
        cylinder(
            r, long, (0, b.uniform(-0.3, 0.5) * o.y, o.z + long / 2 - 0.03), top=r * b.uniform(0.3, 1.2), axis="z"
        ),
        b.choice("nozzle", "barrel", "snout"),
    )


@part("front")
def beak(b: Builder, o: Body) -> None:
    long, r = b.uniform(0.08, 0.25), b.uniform(0.03, 0.07)
    b.add(
        cylinder(r, long, (0, b.uniform(0, 0.5) * o.y, o.z + long / 2 - 0.04), top=0.005, axis="z"),
        b.choice("beak", "nose", "spike"),
    )


@part("front")
def windows(b: Builder, o: Body) -> None:
    rows, columns = b.integers(1, 3), b.integers(1, 3)
    for i in range(rows):
        for j in range(columns):
            x, y = (j + 0.5) / columns * 2 - 1, (i + 0.5) / rows * 2 - 1
            b.add(
                box(o.x / columns, o.y / rows, 0.03, (0.8 * x * o.x, 0.8 * y * o.y, on_front(o, 0.8 * x, y))), "window"
            )


@part("front")
def speaker(b: Builder, o: Body) -> None:
    b.add(
        cylinder(
            min(o.x, o.y) * b.uniform(0.4, 0.8),
            0.02,
            (0, b.uniform(-0.2, 0.2) * o.y, o.z + 0.005),
            axis="z",
            segments=28,
        ),
        b.choice("speaker", "dial, face"),
    )


# ---- back ----


@part("back")
def tail(b: Builder, o: Body) -> None:
    long, lift = b.uniform(0.2, 0.6), b.uniform(-0.4, 0.6)
    path = bezier((0, 0, -o.z * 0.9), (0, 0.1, -o.z - long * 0.5), (b.uniform(-0.1, 0.1), lift * long, -o.z - long))
    b.add(tube(path, np.linspace(b.uniform(0.03, 0.08), 0.01, len(path))), "tail")


@part("back")
def cord(b: Builder, o: Body) -> None:
    path = bezier(
        (0, -o.y * 0.6, -o.z),
        (0, -o.y, -o.z - 0.4),
        (b.uniform(-0.5, 0.5), -o.y, -o.z - 0.1),
        (b.uniform(-0.6, 0.6), -o.y, -o.z - 0.6),
    )
    b.add(tube(path, b.uniform(0.007, 0.015)), "cord")


@part("back")
def tail_fin(b: Builder, o: Body) -> None:
    tall = b.uniform(0.15, 0.4)
    outline = np.array([(-o.z, 0), (-o.z * 0.3, 0), (-o.z - 0.05, tall), (-o.z - 0.15, tall)])
    b.add(extrude(outline, 0.02, "x").translate(0, o.y * 0.8, 0), "tail fin, fin" if b.chance() else "fin")


@part("back")
def long_grip(b: Builder, o: Body) -> None:
    long, r = b.uniform(0.3, 0.9), b.uniform(0.015, 0.05)
    b.add(rod((0, 0, -o.z * 0.9), (0, b.uniform(-0.2, 0.2), -o.z - long), r, r * b.uniform(0.7, 1.3)), "handle")


@part("back")
def flame(b: Builder, o: Body) -> None:
    r, n = b.uniform(0.04, 0.1), b.integers(1, 2)
    mesh = cylinder(r, 0.15, (o.x * 0.5 if n > 1 else 0, 0, -o.z - 0.05), top=r * 0.6, axis="z")
    (b.add_mirrored if n > 1 else b.add)(mesh, b.choice("exhaust, engine nozzle", "thruster, engine"))


# ---- below ----


@part("below")
def legs(b: Builder, o: Body) -> None:
    n, long, r, spread = b.integers(3, 6), b.uniform(0.1, 0.7), b.uniform(0.012, 0.05), b.uniform(0.9, 1.3)
    square = n == 4 and b.chance(0.8)
    for i in range(n):
        a = 2 * np.pi * (i + 0.5) / n
        c, s = (
            (np.sign(np.cos(a)) * 0.85, np.sign(np.sin(a)) * 0.85) if square else (0.75 * np.cos(a), 0.75 * np.sin(a))
        )
        if o.round:
            c, s = c * 0.8, s * 0.8
        top, foot = (c * o.x, -o.y * 0.8, s * o.z), (c * o.x * spread, -o.y - long, s * o.z * spread)
        b.add(rod(top, foot, r, r * b.uniform(0.6, 1)) if n != 4 else bar(top, foot, 2 * r, 2 * r), "leg")


@part("below")
def two_legs(b: Builder, o: Body) -> None:
    long, r = b.uniform(0.3, 0.7), b.uniform(0.03, 0.08)
    x, stride = o.x * b.uniform(0.3, 0.7), b.uniform(-0.2, 0.2)
    for s in (-1, 1):
        b.add(rod((s * x, -o.y * 0.8, 0), (s * x, -o.y - long, s * stride), r, r * 0.8), "leg")
        b.add(box(2 * r, r, 4 * r, (s * x, -o.y - long, s * stride + r), bevel=r * 0.3), "foot")


@part("below")
def rolling(b: Builder, o: Body) -> None:
    r, wide, axles = b.uniform(0.06, 0.2), b.uniform(0.03, 0.1), b.integers(1, 3)
    for i in range(axles):
        z = 0.0 if axles == 1 else o.z * 0.8 * (2 * i / (axles - 1) - 1)
        b.add_mirrored(
            cylinder(r, wide, (o.x * b.uniform(0.8, 1.05), -o.y - r * 0.4, z), axis="x", segments=24), "wheel"
        )


@part("below")
def base(b: Builder, o: Body) -> None:
    h = b.uniform(0.02, 0.15)
    if b.chance(0.5):
        b.add(
            cylinder(o.x * b.uniform(0.5, 1.3), h, (0, -o.y - h / 2, 0), top=o.x * b.uniform(0.3, 1), segments=28),
            "base",
        )
    else:
        b.add(
            box(2 * o.x * b.uniform(0.6, 1.3), h, 2 * o.z * b.uniform(0.6, 1.3), (0, -o.y - h / 2, 0), bevel=0.01),
            "base",
        )


@part("below")
def pole(b: Builder, o: Body) -> None:
    long = b.uniform(0.3, 1.2)
    b.add(
        rod((0, -o.y * 0.8, 0), (0, -o.y - long, 0), b.uniform(0.02, 0.05)), b.choice("pole", "stem", "handle", "shaft")
    )
    if b.chance(0.6):
        b.add(
            lathe([(0, -o.y - long), (0.25, -o.y - long), (0.2, -o.y - long + 0.04), (0, -o.y - long + 0.06)]), "base"
        )


@part("below")
def runners(b: Builder, o: Body) -> None:
    y = -o.y - b.uniform(0.08, 0.25)
    for s in (-1, 1):
        b.add(bar((s * o.x * 0.8, y, -o.z * 1.1), (s * o.x * 0.8, y, o.z * 1.1), 0.05, 0.03), "runner, skid")
        for z in (-0.6, 0.6):
            b.add(rod((s * o.x * 0.7, -o.y * 0.8, z * o.z), (s * o.x * 0.8, y, z * o.z), 0.02), "strut, support")


@part("below")
def grip(b: Builder, o: Body) -> None:
    long = b.uniform(0.15, 0.4)
    mesh = stack(rounded_rectangle(b.uniform(0.06, 0.12), b.uniform(0.08, 0.15), 0.03), [(-long, 0.9), (0, 1)])
    b.add(mesh.rotate("x", b.uniform(0, 25)).translate(0, -o.y * 0.9, -o.z * b.uniform(0, 0.7)), "grip, handle")
    if b.chance(0.6):
        b.add(torus(0.05, 0.01, (0, -o.y - 0.04, b.uniform(0, 0.3) * o.z), axis="x"), "trigger")
