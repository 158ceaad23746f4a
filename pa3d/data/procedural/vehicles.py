"""Things that fly, roll and float."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pa3d.data.procedural.primitives import (
    Mesh,
    arc,
    bezier,
    blade,
    box,
    cylinder,
    ellipse,
    ellipsoid,
    extrude,
    grid,
    hollow_box,
    lathe,
    loft,
    rod,
    rounded_rectangle,
    sphere,
    sweep,
    torus,
    tube,
)
from pa3d.data.procedural.registry import Builder, family


def wheel(r: float, w: float, spokes: int = 0) -> Mesh:
    """A wheel about the x axis: a full disc, or a tyre with a hub and spokes."""
    if not spokes:
        profile = [(0, -w * 0.3), (r * 0.6, -w * 0.35), (r * 0.7, -w / 2), (r * 0.95, -w / 2), (r, -w * 0.3)]
        return lathe([*profile, *[(x, -y) for x, y in reversed(profile)]], 24).rotate("z", 90)
    mesh = torus(r - w / 2, w / 2, axis="x") + cylinder(r * 0.12, w * 1.2, axis="x")
    for angle in 360 / spokes * np.arange(spokes):
        mesh += rod((0, 0, 0), (0, r - w / 2, 0), max(0.012 * r, w * 0.08), segments=5).rotate("x", angle)
    return mesh


def rotor(count: int, r: float, chord: float, axis: str = "y") -> Mesh:
    """Blades about the y axis, or turned to spin about z."""
    one = blade([(0.02, 0, 0, chord * 0.6, 1), (r * 0.3, 0, 0, chord, 1), (r, 0, 0, chord * 0.7, 1)], 0.12)
    mesh = one
    for i in range(1, count):
        mesh += one.rotate("y", 360 / count * i)
    return mesh if axis == "y" else mesh.rotate("x", 90)


PLANE = {
    "body": ("fuselage", "main body", "airplane body"),
    "wing": ("wings", "main wing"),
    "tail": ("tail section", "tail wing", "empennage"),
    "engine": ("engine or frame", "jet engine", "motor"),
    "propeller": ("prop", "airscrew"),
}
Range = tuple[float, float]


@dataclass(frozen=True)
class Plane:
    """Ranges for a kind of aeroplane whose fuselage is one unit long."""

    girth: Range  # half height of the fuselage
    span: Range  # of one wing
    chord: Range  # at the root
    taper: Range  # chord at the tip against that at the root
    sweep: Range  # how far the tip lies behind the root, against the span
    levels: tuple[str, ...]  # heights of the wing
    engines: tuple[str, ...]
    tails: tuple[str, ...] = ("low", "low", "mid")
    nose: Range = (0.05, 0.3)  # length of the nose
    rear: Range = (0.25, 0.6)  # length of the narrowing tail
    gap: float = 1.0  # distance from the wing to the tailplane, against that of an airliner


PLANES = {
    "airliner": Plane(
        (0.04, 0.075), (0.36, 0.56), (0.13, 0.24), (0.2, 0.4), (0.3, 0.75), ("low",), ("wing", "wing", "wing4", "rear")
    ),
    "business": Plane(
        (0.045, 0.07), (0.32, 0.5), (0.12, 0.2), (0.25, 0.5), (0.2, 0.6), ("low",), ("rear",), ("high", "high", "cross")
    ),
    "prop": Plane(
        (0.05, 0.095),
        (0.45, 0.75),
        (0.13, 0.24),
        (0.5, 1),
        (-0.04, 0.12),
        ("low", "low", "mid", "high", "strut"),
        ("nose",),
        nose=(0.03, 0.2),
        rear=(0.4, 0.75),
    ),
    "twin": Plane(
        (0.045, 0.085),
        (0.42, 0.7),
        (0.12, 0.2),
        (0.4, 0.8),
        (-0.03, 0.15),
        ("low", "mid", "high"),
        ("props",),
        ("low", "mid", "high", "twin"),
    ),
    "transport": Plane(
        (0.065, 0.1),
        (0.42, 0.62),
        (0.12, 0.2),
        (0.3, 0.6),
        (0.0, 0.5),
        ("high",),
        ("props4", "wing4", "wing", "props"),
        ("high", "high", "low"),
        rear=(0.35, 0.55),
    ),
    "fighter": Plane(
        (0.035, 0.065),
        (0.24, 0.42),
        (0.28, 0.5),
        (0.1, 0.45),
        (0.4, 1.1),
        ("mid", "mid", "low", "high"),
        ("jet", "jet2"),
        ("low", "mid", "fins", "fins"),
        (0.2, 0.45),
        (0.05, 0.3),
        0.15,
    ),
    "delta": Plane(
        (0.035, 0.07),
        (0.22, 0.4),
        (0.42, 0.62),
        (0.0, 0.15),
        (1.0, 1.5),
        ("mid", "low"),
        ("jet", "jet2"),
        ("low", "fins", "none"),
        (0.2, 0.5),
        (0.05, 0.25),
        0.1,
    ),
    "glider": Plane(
        (0.03, 0.05),
        (0.65, 1.1),
        (0.06, 0.13),
        (0.35, 0.8),
        (-0.02, 0.08),
        ("mid", "high"),
        ("none",),
        ("high", "high", "cross", "low"),
        (0.1, 0.3),
        (0.5, 0.7),
    ),
    "biplane": Plane(
        (0.05, 0.08),
        (0.42, 0.62),
        (0.14, 0.22),
        (0.8, 1),
        (-0.02, 0.1),
        ("low",),
        ("nose",),
        ("low",),
        (0.03, 0.1),
        (0.5, 0.75),
    ),
}


@dataclass(frozen=True)
class Wing:
    """Where a wing lies: the middle of its root, its half span, and the chords and shifts of its tip."""

    x: float
    y: float
    z: float
    span: float
    chord: float
    tip: float  # chord
    back: float  # shift of the tip's middle to the rear
    rise: float

    def at(self, f: float) -> tuple[float, float, float, float]:
        """x, y, z of the middle and the chord, a fraction f of the way to the tip."""
        chord = self.chord + (self.tip - self.chord) * f
        return self.x + (self.span - self.x) * f, self.y + self.rise * f, self.z - self.back * f, chord


def swept(
    x: float, y: float, front: float, span: float, chord: float, taper: float, sweep_: float, rise: float
) -> Wing:
    """A wing by the front of its root and the sweep of its leading edge."""
    tip = max(chord * taper, 0.012)
    back = sweep_ * (span - x) + (tip - chord) / 2
    return Wing(x, y, front - chord / 2, span, chord, tip, back, rise)


def wing_mesh(wing: Wing, thick: float, flat: bool, round_: bool, root: float = 0.0) -> Mesh:
    """A wing to the right: of one profile, or a flat board; its tip round or cut; its root swollen by this much."""
    stops = [0.0, 1.0] if flat else [0.0, 0.5, 0.94, 1.0] if round_ else [0.0, 0.5, 1.0]
    if root:
        stops[1:1] = [0.06, 0.14, 0.24]
    rows = []
    for f in stops:
        x, y, z, chord = wing.at(f)
        swell = root * max(1 - f / 0.24, 0) ** 2
        cut = 0.6 if f == 1 and round_ and not flat else 1
        wide = chord * (1 + swell) * cut
        rows.append((x, y, z - (chord - wide) * (0.15 if cut < 1 else -0.1), wide, 1 + swell))
    if not flat:
        return blade(rows, thick, 16)
    corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
    loops = [[(x, y + thick * wing.chord / 4 * v, z + c / 2 * u) for u, v in corners] for x, y, z, c, _ in rows]
    return loft(loops)


def fuselage(b: Builder, kind: Plane, r: float, wide: float) -> tuple[Mesh, float]:
    """A body along z from 0.5 to -0.5 and the height of its axis at the rear; round, boxy or oval."""
    nose, rear, end = b.uniform(*kind.nose), b.uniform(*kind.rear), b.uniform(0.05, 0.45)
    if kind.rear[1] < 0.4:
        end = b.uniform(0.4, 0.95)
    blunt, slim = b.uniform(0.35, 0.9), b.uniform(1.0, 1.8)
    s = np.linspace(0, 1, 26) ** 1.15
    ahead = np.clip(s / nose, 0, 1)
    front = np.clip(1 - (1 - ahead) ** 2, 0.0004, 1) ** blunt
    behind = 1 - (1 - end) * np.clip((s - 1 + rear) / rear, 0, 1) ** slim
    size = r * front * behind
    lift = r * b.uniform(0, 1) * (1 - end) * np.clip((s - 1 + rear) / rear, 0, 1) ** slim
    dip = -r * b.uniform(0, 0.35) * (1 - ahead) ** 2
    power = b.choice("round", "round", "round", "boxy")
    angle = 2 * np.pi * np.arange(20) / 20
    p = 1.0 if power == "round" else b.uniform(0.35, 0.7)
    ring = np.stack(
        [
            wide * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** p,
            np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** p,
        ],
        1,
    )
    loops = np.empty((len(s), 20, 3))
    loops[..., :2] = size[:, None, None] * ring
    loops[..., 1] += (lift + dip)[:, None]
    loops[..., 2] = (0.5 - s)[:, None]
    return loft(loops), float(lift[-1])


def pod(r: float, long: float) -> Mesh:
    """A jet engine along z, its middle at the origin."""
    rows = [(0, -0.45), (0.55, -0.5), (0.9, -0.1), (1, 0.25), (0.95, 0.48), (0.85, 0.5), (0.7, 0.4), (0, 0.38)]
    return lathe([(r * x, long * y) for x, y in rows], 18).rotate("x", 90)


def wing_engines(b: Builder, kind: str, wing: Wing, r: float) -> None:
    """Two or four engines at the wings: jets on pylons, or motors with propellers in nacelles."""
    jets = kind.startswith("wing")
    er = r * (b.uniform(0.3, 0.7) if jets else b.uniform(0.25, 0.45))
    long = er * (b.uniform(2.5, 5) if jets else b.uniform(5, 9))
    first = max(b.uniform(0.22, 0.42), (r + er * 1.6 - wing.x) / max(wing.span - wing.x, 1e-6))
    hang, ahead = b.uniform(0.9, 1.7), b.uniform(0.0, 0.8)
    radius, count, blades = er * b.uniform(1.8, 3), b.integers(2, 6), b.uniform(0.18, 0.35)
    pylon = b.choice("engine", "engine", "wing")
    for f in (first, first + b.uniform(0.22, 0.34)) if kind.endswith("4") else (first,):
        x, y, z, chord = wing.at(f)
        lead = z + chord / 2
        if jets:
            low, ez = y - er * hang, lead + long * (ahead - 0.4)
            b.add_mirrored(pod(er, long).translate(x, low, ez), "engine")
            b.add_mirrored(
                box(er * 0.2, er * hang, min(long * 0.8, chord), (x, y - er * hang / 2, ez - long * 0.3)), pylon
            )
            continue
        rows = [
            (0, 0),
            (er * 0.4, 0),
            (er, -long * 0.15),
            (er * 0.95, -long * 0.45),
            (er * 0.3, -long * 0.95),
            (0, -long),
        ]
        ez, low = lead + long * 0.35, y + er * b.uniform(-0.5, 0.3)
        b.add_mirrored(lathe([(p, -q) for p, q in rows], 16).rotate("x", -90).translate(x, low, ez), "engine")
        disc = rotor(count, radius, radius * blades, "z").rotate("z", b.uniform(0, 120))
        b.add_mirrored(disc.translate(x, low, ez + 0.004), "propeller")
        b.add_mirrored(ellipsoid(er * 0.35, er * 0.35, er * 0.7, (x, low, ez)), "spinner, propeller hub, propeller")


def body_engines(b: Builder, kind: str, r: float, rear: float, tail_front: float) -> None:
    """Engines at the fuselage: beside its rear, behind it, or at its nose with a propeller."""
    if kind == "rear":
        er = r * b.uniform(0.4, 0.65)
        long, z = er * b.uniform(3, 5.5), min(tail_front - 0.02, -0.2) + b.uniform(-0.06, 0.04)
        x, y = r * b.uniform(0.95, 1.1) + er * 0.9, rear * 0.6 + r * b.uniform(0.0, 0.5)
        b.add_mirrored(pod(er, long).translate(x, y, z), "engine")
        b.add_mirrored(box(x, er * 0.25, long * 0.5, (x / 2, y, z)), "engine" if b.chance(0.7) else "body")
    elif kind in ("jet", "jet2"):
        er = r * (b.uniform(0.5, 0.75) if kind == "jet2" else b.uniform(0.6, 0.95))
        nozzle = lathe([(0, 0.03), (er, 0.05), (er * 0.75, -0.05), (er * 0.65, -0.05), (0, 0.02)]).rotate("x", 90)
        for x in (-0.85 * er, 0.85 * er) if kind == "jet2" else (0.0,):
            b.add(nozzle.translate(x, rear, -0.5), "engine")
        if b.chance(0.6):
            h, long = r * b.uniform(0.8, 1.4), b.uniform(0.2, 0.55)
            intake = box(r * b.uniform(0.6, 1.1), h, long, bevel=r * b.uniform(0.05, 0.3))
            b.add_mirrored(intake.translate(r * 0.9, -r * 0.1, 0.12 - long / 2 + b.uniform(-0.05, 0.1)), "body")
    elif kind == "nose":
        radius, blades = b.uniform(0.1, 0.19), b.uniform(0.12, 0.28)
        disc = rotor(b.integers(2, 4), radius, radius * blades, "z").rotate("z", b.uniform(0, 120))
        b.add(disc.translate(0, 0, 0.51), "propeller")
        size = r * b.uniform(0.25, 0.5)
        b.add(ellipsoid(size, size, size * b.uniform(1.2, 2), (0, 0, 0.51)), "spinner, propeller hub, propeller")
        if b.chance(0.6):
            long = b.uniform(0.05, 0.14)
            b.add(cylinder(r * b.uniform(0.85, 1.08), long, (0, 0, 0.5 - long / 2), axis="z"), "engine")


def tail_unit(
    b: Builder, kind: str, wing: Wing, r: float, rear: float, front: float, look: tuple[float, bool, bool]
) -> None:
    """Fin and tailplane: low, mid, crossed, as a T, with two fins; front: where the tailplane's root starts (z)."""
    thick, flat, round_ = look
    end = -0.5 + b.uniform(-0.03, 0.08)
    chord = float(np.clip(front - end, 0.05, 0.2))
    th, taper, lean = b.uniform(0.1, 0.2), b.uniform(0.35, 0.85), b.uniform(0.1, 1.1)
    if kind == "high":
        taper, lean = b.uniform(0.6, 0.9), b.uniform(0.2, 0.8)
    base, names = rear + r * 0.2, "vertical stabilizer, tail fin, tail"
    deep = chord * b.uniform(0.9, 1.4)
    fin = swept(0, 0, end + deep, th + r * 0.3, deep, taper, lean, 0)
    upright = wing_mesh(fin, thick, flat, round_ and kind != "high", 0.9 if b.chance(0.2) and not flat else 0).rotate(
        "z", 90
    )
    span = float(np.clip(wing.span * b.uniform(0.15, 0.5), r * 1.8, 0.4))
    level, root = base - r * b.uniform(0, 0.5), 0.0
    if kind == "mid":
        level = base + r * 0.4
    elif kind == "cross":
        level = base + th * b.uniform(0.35, 0.7)
    elif kind == "high":
        level = base + (th + r * 0.3) * 0.97
    shift = lean * (level - base) if kind in ("cross", "high") else 0.0
    size = chord * (b.uniform(0.6, 0.9) if shift else b.uniform(0.8, 1))
    sweep_ = b.uniform(0.3, 1.0) if wing.back > 0.08 else b.uniform(0, 0.35)
    lead = end + deep - shift if shift else end + chord
    plane = swept(
        root,
        level,
        lead,
        span,
        size,
        b.uniform(0.3, 0.95),
        sweep_,
        b.uniform(-0.15, 0.2) * span if kind in ("low", "mid", "fins") else 0,
    )
    if kind != "none":
        b.add_mirrored(wing_mesh(plane, thick, flat, round_), "horizontal stabilizer, tail")
    if kind == "fins" or (kind == "none" and b.chance(0.3)):
        apart = r * b.uniform(0.7, 1.3)
        b.add_mirrored(
            upright.rotate("z", -b.uniform(0, 28)).translate(apart, base - r * 0.4, b.uniform(0, 0.06)), names
        )
    elif kind == "twin":
        x, y, z, _ = plane.at(0.97)
        b.add_mirrored(upright.scale(1, 0.75, 0.8).translate(x, y - th * b.uniform(0.1, 0.35), z - 0.8 * fin.z), names)
    else:
        b.add(upright.translate(0, base, 0), names)


def wings(b: Builder, name: str, wing: Wing, r: float, look: tuple[float, bool, bool]) -> None:
    thick, flat, round_ = look
    root = b.uniform(0.2, 0.9) if b.chance(0.4) and not flat else 0.0
    b.add_mirrored(wing_mesh(wing, thick, flat, round_, root), "wing")
    if name in ("airliner", "business", "transport") and b.chance(0.35):  # a fairing
        long = wing.chord * b.uniform(0.8, 1.1)
        b.add(ellipsoid(r * b.uniform(0.95, 1.2), r * b.uniform(0.4, 0.7), long, (0, wing.y, wing.z)), "body")
    if name in ("airliner", "business", "glider") and b.chance(0.4):
        small = swept(0, 0, wing.tip / 2, b.uniform(0.03, 0.09), wing.tip, b.uniform(0.3, 0.7), b.uniform(0.4, 1), 0)
        x, y, z, _ = wing.at(1)
        b.add_mirrored(
            wing_mesh(small, thick, flat, False).rotate("z", b.uniform(40, 90)).translate(x, y, z), "winglet, wing"
        )


def second_wing(b: Builder, wing: Wing, r: float, look: tuple[float, bool, bool]) -> None:
    """The upper wing of a biplane and the struts to it."""
    upper = replace(wing, y=wing.y + b.uniform(0.13, 0.22), z=wing.z + b.uniform(0, 0.06), rise=b.uniform(0, 0.03))
    b.add_mirrored(wing_mesh(upper, *look), "wing")
    for f in (0.45, 0.8) if b.chance() else (0.7,):
        (x, y, z, c), (_, top, tz, _) = wing.at(f), upper.at(f)
        for side in (-0.3, 0.3):
            b.add_mirrored(rod((x, y, z + side * c), (x, top, tz + side * c), 0.006), "strut, wing strut")
    for side in (-0.3, 0.3):
        z = upper.z + side * wing.chord
        b.add_mirrored(rod((r * 0.5, r * 0.5, z), (r * 1.1, upper.y, z), 0.006), "strut, wing strut")


def cockpit(b: Builder, name: str, r: float, wide: float) -> None:
    if name in ("airliner", "business", "transport"):
        if b.chance(0.25):
            b.add(ellipsoid(r * wide * 0.6, r * 0.35, 0.05, (0, r * 0.55, 0.42)), "cockpit, cockpit window")
        return
    if not b.chance(0.65):
        return
    long, high = b.uniform(0.06, 0.16), r * b.uniform(0.45, 0.9)
    z = b.uniform(0.15, 0.28) if name in ("fighter", "delta", "glider") else b.uniform(-0.02, 0.22)
    b.add(ellipsoid(r * wide * b.uniform(0.45, 0.85), high, long, (0, r * 0.7, z)), "cockpit, cockpit window")
    if b.chance(0.2):  # a spine behind it
        b.add(tube([(0, r * 0.7, z), (0, r * 0.6, z - long * 2.5)], [r * 0.5, r * 0.2], 12), "body")


def landing_gear(b: Builder, r: float) -> None:
    ground, size, thick = -r - b.uniform(0.03, 0.1), b.uniform(0.014, 0.035), b.uniform(0.005, 0.012)
    main, wide = b.uniform(-0.08, 0.2), b.uniform(0.06, 0.14)
    last = b.uniform(0.3, 0.4) if main < 0.1 else -0.45
    for x, z in ((0, last), (wide, main), (-wide, main)):
        foot, s = (-r * 0.6, size * 0.5) if z < -0.4 else (ground, size)
        b.add(rod((x * 0.6, -r * 0.3, z), (x, foot, z), thick), "landing gear")
        b.add(wheel(s, s * 0.7).translate(x, foot, z), "wheel, landing gear")


@family("airplane", names=PLANE)
def airplane(b: Builder) -> None:
    """Facing +z: airliners, propeller planes, transports, fighters, gliders, biplanes; smooth or of boards."""
    name = b.choice(*PLANES, "airliner", "airliner", "airliner", "prop", "fighter")
    if name == "biplane" and b.chance():
        name = "prop"
    kind = PLANES[name]
    r, wide = b.uniform(*kind.girth), b.uniform(0.75, 1.15)
    look = (b.uniform(0.06, 0.17), b.chance(0.15), b.chance(0.6))  # thickness, boards, round tips
    body, rear = fuselage(b, kind, r, wide)
    b.add(body, "body")
    level = b.choice(*kind.levels)
    y = {"low": -r * b.uniform(0.4, 0.85), "mid": 0.0, "high": r * b.uniform(0.75, 1.0), "strut": r * 1.05}[level]
    chord, span = b.uniform(*kind.chord), b.uniform(*kind.span)
    front = b.uniform(0.08, 0.2) if kind.gap == 1 else -0.28 + chord + b.uniform(-0.04, 0.12)
    rise = span * b.uniform(-0.02, 0.14) if level == "low" else span * b.uniform(-0.12, 0.06)
    x = 0.0 if y >= r * 0.95 else r * wide * 0.3
    wing = swept(x, y, front, span, chord, b.uniform(*kind.taper), b.uniform(*kind.sweep), rise)
    wings(b, name, wing, r, look)
    if name == "biplane":
        second_wing(b, wing, r, look)
    if level == "strut" or (level == "high" and name == "prop" and b.chance(0.4)):
        sx, sy, sz, _ = wing.at(b.uniform(0.35, 0.6))
        b.add_mirrored(rod((r * wide * 0.7, -r * 0.6, wing.z), (sx, sy, sz), 0.007), "strut, wing strut")
    engine = b.choice(*kind.engines)
    tail = "high" if engine == "rear" and b.chance(0.7) else b.choice(*kind.tails)
    tail_front = -0.5 + b.uniform(0.1, 0.2) if kind.gap == 1 else front - chord - b.uniform(-0.02, 0.04)
    tail_unit(b, tail, wing, r, rear, min(tail_front, -0.32), look)
    if engine.startswith(("wing", "prop")):
        wing_engines(b, engine, wing, r)
    else:
        body_engines(b, engine, r, rear, min(tail_front, -0.32))
    cockpit(b, name, r, wide)
    if b.chance(0.35):
        landing_gear(b, r)


# along the hull from tail end to nose: place, half width, half height, height of the middle
HELI_HULLS = {
    "egg": (
        (-0.25, 0.25, 0.3, 0.1),
        (-0.1, 0.75, 0.8, 0.0),
        (0.15, 1, 1, 0),
        (0.3, 0.85, 0.8, 0),
        (0.4, 0.35, 0.35, -0.1),
    ),
    "bubble": ((-0.12, 0.45, 0.5, 0.1), (0, 0.85, 0.9, 0), (0.15, 1, 1, 0), (0.27, 0.75, 0.8, 0), (0.34, 0.3, 0.35, 0)),
    "long": (
        (-0.35, 0.4, 0.4, 0.3),
        (-0.2, 0.9, 0.85, 0.05),
        (0.15, 1, 1, 0),
        (0.35, 0.9, 0.8, -0.1),
        (0.5, 0.35, 0.3, -0.35),
    ),
    "slim": (
        (-0.3, 0.4, 0.45, 0.2),
        (-0.1, 0.8, 1, 0),
        (0.1, 0.8, 1, 0),
        (0.3, 0.6, 0.65, -0.15),
        (0.5, 0.25, 0.25, -0.4),
    ),
    "box": ((-0.3, 0.8, 0.5, 0.3), (-0.22, 1, 1, 0), (0.1, 1, 1, 0), (0.25, 0.95, 0.9, 0), (0.36, 0.6, 0.45, -0.2)),
}


def _heli_hull(b: Builder, w: float, h: float) -> float:
    """The fuselage, and often its glazed front; returns how far behind its middle it ends."""
    kind = b.choice(*HELI_HULLS)
    rows, long = np.array(HELI_HULLS[kind]), b.uniform(0.85, 1.25)
    t = np.linspace(0, 1, len(rows))
    fine = np.stack([np.interp(np.linspace(0, 1, 17), t, column) for column in rows.T], 1)
    fine[1:-1] = (fine[:-2] + 2 * fine[1:-1] + fine[2:]) / 4
    section = ellipse(1, 1, 20) if kind != "box" and b.chance(0.8) else rounded_rectangle(2, 2, b.uniform(0.3, 0.8), 4)

    def skin(part: np.ndarray, grow: float) -> Mesh:
        ring = np.stack([section[:, 0], section[:, 1], 0 * section[:, 0]], 1)
        return loft(
            [ring * [wide * w * grow, tall * h * grow, 1] + [0, up * h, z * long] for z, wide, tall, up in part]
        )

    b.add(skin(fine, 1), "body")
    if b.chance():
        start = b.integers(10, 13)
        glass = skin(fine[start:], 1.02)
        b.add(glass.scale(0.96, b.uniform(0.6, 0.9), 1).translate(0, h * 0.12, 0.01), "cockpit, windshield")
    return float(rows[0, 0] * long)


def _heli_tail(b: Builder, start: float, h: float) -> None:
    """A boom with fins and a rotor at its end."""
    end, lift = -b.uniform(0.5, 0.8), b.uniform(-0.02, 0.12)
    first, last = h * b.uniform(0.2, 0.5), b.uniform(0.015, 0.04)
    path = [(0, h * 0.15, start + 0.08), (0, lift * 0.6, (start + end) / 2), (0, lift, end)]
    b.add(tube(path, [first, (first + last) / 2, last], 14), "tail")
    up, chord, sweep_ = b.uniform(0.1, 0.26), b.uniform(0.07, 0.16), b.uniform(-0.14, 0.02)
    fin = blade([(0, 0, 0, chord, 1), (up, 0, sweep_, chord * b.uniform(0.4, 0.9), 1)], 0.1)
    b.add(fin.rotate("z", 90).translate(0, lift, end + 0.03), "tail fin, tail")
    if b.chance(0.3):
        b.add(fin.scale(0.5).rotate("z", -90).translate(0, lift, end + 0.03), "tail fin, tail")
    if b.chance(0.5):
        span = b.uniform(0.08, 0.2)
        plane = blade([(-span, 0, 0, chord * 0.6, 1), (0, 0, 0, chord * 0.7, 1), (span, 0, 0, chord * 0.6, 1)], 0.1)
        b.add(plane.translate(0, lift * 0.9, end + b.uniform(0.03, 0.2)), "tail fin, tail")
    x, y = b.uniform(0.02, 0.04), lift + b.uniform(0, up * 0.9)
    tail_rotor = rotor(b.integers(2, 4), b.uniform(0.07, 0.14), b.uniform(0.018, 0.035))
    b.add(tail_rotor.rotate("z", 90).translate(x, y, end - 0.01), "tail rotor, tail")


def _heli_gear(b: Builder, w: float, h: float) -> None:
    """Skids, or three wheels."""
    if b.chance(0.7):
        x, y, r = w * b.uniform(0.8, 1.2), -h - b.uniform(0.03, 0.09), b.uniform(0.008, 0.016)
        long = b.uniform(0.15, 0.3)
        front, tip = 0.08 + long, b.uniform(0, 0.05)
        b.add_mirrored(tube([(x, y, 0.06 - long), (x, y, front), (x, y + tip, front + 0.06)], r), "skid")
        for z in (0.06 - long * 0.5, 0.06 + long * 0.5):
            b.add_mirrored(rod((w * 0.45, -h * 0.65, z), (x, y, z), r * 0.8), "skid")
        return
    r, z = b.uniform(0.025, 0.045), b.uniform(-0.1, 0.0)
    for x, at in ((0, 0.26), (w * 0.8, z), (-w * 0.8, z)):
        b.add(wheel(r, 0.03).translate(x, -h - r * 0.3, at), "wheel")


@family(
    "helicopter",
    names={
        "body": ("fuselage", "cabin", "main body"),
        "rotor": ("main rotor", "rotor blades", "propeller"),
        "tail": ("tail boom",),
        "skid": ("landing skid", "landing gear"),
    },
)
def helicopter(b: Builder) -> None:
    """Egg shapes, bubbles, long transports and slim gunships with two to five blades."""
    w, h = b.uniform(0.09, 0.17), b.uniform(0.1, 0.17)
    _heli_tail(b, _heli_hull(b, w, h), h)
    top, z = h + b.uniform(0.04, 0.1), b.uniform(0.02, 0.12)
    if b.chance(0.5):  # a housing on the roof
        house = ellipsoid(w * 0.55, h * 0.35, b.uniform(0.12, 0.22), (0, h * 0.9, z - 0.05))
        b.add(house, "engine, body" if b.chance() else "body")
    b.add(rod((0, h * 0.7, z), (0, top, z), b.uniform(0.012, 0.03)), "mast, rotor shaft")
    blades = rotor(b.integers(2, 5), b.uniform(0.42, 0.75), b.uniform(0.03, 0.07))
    b.add(blades.rotate("y", b.uniform(0, 90)).translate(0, top, z), "rotor")
    if b.chance(0.9):
        _heli_gear(b, w, h)
    if b.chance(0.2):
        span = w + b.uniform(0.08, 0.2)
        b.add_mirrored(
            blade([(w * 0.5, 0, 0, 0.12, 1), (span, -0.03, 0, 0.08, 1)], 0.12).translate(0, -0.02, 0.0), "wing"
        )


CAR = {
    "body": ("car body", "main body", "chassis", "frame"),
    "hood": ("bonnet", "engine hood"),
    "roof": ("car roof", "top"),
    "wheel": ("tire", "wheels"),
    "windshield": ("windscreen", "front window"),
}


@family("car", names=CAR)
def car(b: Builder) -> None:
    """Facing +z: sedans, hatchbacks, vans, pickups, sports cars."""
    kind = b.choice("sedan", "sedan", "hatch", "suv", "sport", "pickup", "convertible")
    w = b.uniform(0.36, 0.46)
    r = b.uniform(0.075, 0.11) * (1.15 if kind == "suv" else 1)
    low = r * b.uniform(0.5, 0.9)
    belt = low + b.uniform(0.12, 0.19)
    top = belt + (b.uniform(0.09, 0.13) if kind == "sport" else b.uniform(0.13, 0.2))
    if kind == "suv":
        top += 0.04
    front, cowl = 0.5, b.uniform(0.12, 0.24)
    rear = {
        "sedan": -0.32,
        "sport": -0.3,
        "hatch": -0.49,
        "suv": -0.49,
        "pickup": -0.03,
        "convertible": -0.25,
    }[kind]
    dip = b.uniform(0.01, 0.05)
    side = [
        (-0.5, low),
        (-0.5, belt - b.uniform(0, 0.04)),
        (rear, belt),
        (cowl, belt),
        (front, belt - dip - 0.03),
        (front + 0.01, low),
    ]
    b.add(extrude(np.array(side), w, axis="x"), "body")
    b.add(
        sweep(
            [(0, belt + 0.006, cowl), (0, belt - dip - 0.018, front - 0.02)],
            rounded_rectangle(w * 0.92, 0.018),
            up=(0, 1, 0),
        ),
        "hood",
    )
    if kind != "convertible":
        lean, back_lean = b.uniform(0.07, 0.16), b.uniform(0.02, 0.1)
        rf, rb = cowl - lean, rear + back_lean
        wt = w * b.uniform(0.75, 0.92)
        loops = [
            [(-w / 2, belt, rear), (w / 2, belt, rear), (w / 2, belt, cowl), (-w / 2, belt, cowl)],
            [(-wt / 2, top, rb), (wt / 2, top, rb), (wt / 2, top, rf), (-wt / 2, top, rf)],
        ]
        if b.chance(0.6):
            b.add(
                grid_of(
                    [
                        (-w * 0.45, belt, cowl),
                        (w * 0.45, belt, cowl),
                        (wt * 0.45, top, rf),
                        (-wt * 0.45, top, rf),
                    ],
                    0.012,
                ),
                "windshield, window",
            )
            b.add(
                grid_of(
                    [
                        (-w * 0.45, belt, rear),
                        (w * 0.45, belt, rear),
                        (wt * 0.45, top, rb),
                        (-wt * 0.45, top, rb),
                    ],
                    -0.012,
                ),
                "rear window, window",
            )
            for s in (-1, 1):
                b.add(
                    grid_of(
                        [
                            (s * w / 2, belt, rear + 0.02),
                            (s * w / 2, belt, cowl - 0.02),
                            (s * wt / 2, top, rf),
                            (s * wt / 2, top, rb),
                        ],
                        0,
                    ),
                    "side window, window",
                )
        else:
            b.add(loft(np.array(loops), caps=False), "cabin, body" if b.chance() else "body")
        b.add(box(wt, 0.015, rf - rb, (0, top, (rf + rb) / 2), bevel=0.006), "roof")
    else:
        for x in (-0.2, 0.2):
            b.add(
                box(w * 0.3, 0.1, 0.05, (x * w, belt + 0.04, -0.05)) + box(w * 0.3, 0.04, 0.12, (x * w, belt, 0.0)),
                "seat",
            )
        b.add(box(w * 0.85, 0.12, 0.012, (0, belt + 0.05, cowl)).rotate("x", -30, (0, belt, cowl)), "windshield")
    if kind == "pickup":
        b.add(hollow_box(w * 0.98, 0.1, 0.45, 0.02, (0, belt + 0.01, -0.27)), "truck bed, cargo bed, body")
    axle = b.uniform(0.28, 0.34)
    ww = b.uniform(0.05, 0.08)
    for z in (axle, -axle):
        b.add_mirrored(wheel(r, ww).translate(w / 2 - ww * 0.3, r, z), "wheel")
    if b.chance(0.5):
        b.add_mirrored(ellipsoid(0.035, 0.025, 0.015, (w * 0.36, belt - dip - 0.06, front)), "headlight")
        b.add_mirrored(box(0.06, 0.03, 0.015, (w * 0.36, belt - 0.06, -0.5)), "taillight, rear light")
    if b.chance(0.5):
        b.add(box(w * 1.02, 0.05, 0.04, (0, low + 0.02, front)), "front bumper, bumper")
        b.add(box(w * 1.02, 0.05, 0.04, (0, low + 0.02, -0.5)), "rear bumper, bumper")
    if b.chance(0.4):
        b.add_mirrored(box(0.04, 0.03, 0.02, (w / 2 + 0.02, belt + 0.02, cowl - 0.06)), "side mirror, mirror")
    if kind == "sport" and b.chance():
        b.add(box(w * 0.9, 0.012, 0.07, (0, belt + 0.06, -0.46)), "spoiler, rear wing")


def grid_of(corners: list[tuple[float, float, float]], shift: float) -> Mesh:
    """A quad moved along z by shift."""
    return Mesh(np.array(corners) + (0, 0, shift * 0.3), np.array([[0, 1, 2], [0, 2, 3]]))


def _truck_box(b: Builder, w: float, low: float, long: float, z: float) -> None:
    tall = b.uniform(0.25, 0.42)
    b.add(box(w * 1.05, tall, long, (0, low + 0.02 + tall / 2, z)), "container")


def _truck_tank(b: Builder, w: float, low: float, long: float, z: float) -> None:
    b.add(cylinder(w * 0.5, long, (0, low + w * 0.5, z), axis="z"), "tank, container")


def _truck_open(b: Builder, w: float, low: float, long: float, z: float) -> None:
    b.add(hollow_box(w, 0.18, long, 0.02, (0, low + 0.11, z)), "cargo bed, container")


def _truck_flat(b: Builder, w: float, low: float, long: float, z: float) -> None:
    b.add(box(w, 0.025, long, (0, low + 0.03, z)), "flatbed, cargo bed")


TRUCK_KINDS = {
    "box": _truck_box,
    "tank": _truck_tank,
    "open": _truck_open,
    "flat": _truck_flat,
}


@family(
    "truck",
    names={
        "cab": ("cabin", "driver cab"),
        "container": ("cargo box", "trailer", "load"),
        "chassis": ("frame", "body"),
        "wheel": ("tire", "wheels"),
    },
)
def truck(b: Builder) -> None:
    w, r = b.uniform(0.24, 0.3), b.uniform(0.055, 0.075)
    low = r * 1.2
    ch, cd = b.uniform(0.2, 0.3), b.uniform(0.16, 0.24)
    b.add(box(w * 0.7, 0.04, 1, (0, low, 0)), "chassis")
    b.add(box(w, ch, cd, (0, low + ch / 2, 0.5 - cd / 2), bevel=0.015, top=b.uniform(0.9, 1)), "cab")
    b.add(box(w * 0.85, ch * 0.35, 0.012, (0, low + ch * 0.68, 0.502)), "windshield, window")
    long = 1 - cd - b.uniform(0.02, 0.08)
    z = -0.5 + long / 2
    kind = b.choice("box", "tank", "open", "flat")
    TRUCK_KINDS[kind](b, w, low, long, z)
    for az in (0.5 - cd * 0.5, -0.3, -0.3 + 2.3 * r) if b.chance() else (0.5 - cd * 0.5, -0.32):
        b.add_mirrored(wheel(r, 0.05).translate(w / 2 - 0.02, r, az), "wheel")


@family(
    "bus",
    names={
        "body": ("bus body", "main body"),
        "window": ("glass window", "side window"),
        "wheel": ("tire", "wheels"),
        "roof": ("top",),
    },
)
def bus(b: Builder) -> None:
    w, h, r = b.uniform(0.22, 0.28), b.uniform(0.24, 0.42), b.uniform(0.05, 0.065)
    low = r * 0.8
    b.add(box(w, h, 1, (0, low + h / 2, 0), bevel=0.012), "body")
    b.add(box(w * 0.97, 0.012, 0.97, (0, low + h + 0.004, 0)), "roof")
    count = b.integers(4, 8)
    for z in np.linspace(-0.42, 0.34, count):
        b.add_mirrored(box(0.012, h * 0.3, 0.6 / count, (w / 2, low + h * 0.65, z)), "window")
    b.add(box(w * 0.88, h * 0.4, 0.012, (0, low + h * 0.62, 0.5)), "windshield, window")
    b.add(box(0.012, h * 0.75, 0.09, (w / 2, low + h * 0.42, 0.43)), "door")
    for z in (0.3, -0.3):
        b.add_mirrored(wheel(r, 0.05).translate(w / 2 - 0.02, r, z), "wheel")


@family(
    "train",
    names={
        "body": ("boiler", "main body", "engine body"),
        "cab": ("cabin", "driver cab"),
        "chimney": ("smokestack", "funnel"),
        "wheel": ("wheels",),
    },
)
def train(b: Builder) -> None:
    r, w = b.uniform(0.07, 0.1), 0.24
    if b.chance(0.6):
        b.add(box(w, 0.05, 0.95, (0, 0.16, 0)), "chassis, frame")
        b.add(cylinder(0.12, 0.6, (0, 0.3, 0.15), axis="z"), "body")
        b.add(box(w * 1.05, 0.3, 0.26, (0, 0.33, -0.3)), "cab")
        b.add(box(w * 1.2, 0.03, 0.32, (0, 0.49, -0.3)), "roof")
        b.add(lathe([(0.035, 0.38), (0.035, 0.5), (0.06, 0.58), (0.04, 0.58)]).translate(0, 0, 0.36), "chimney")
        b.add(ellipsoid(0.05, 0.06, 0.05, (0, 0.42, 0.1)), "steam bulge, bell")
    else:
        b.add(box(w, 0.32, 0.95, (0, 0.3, 0), bevel=0.03), "body")
        for z in np.linspace(-0.35, 0.3, 5):
            b.add_mirrored(box(0.012, 0.09, 0.09, (w / 2, 0.36, z)), "window")
        b.add(box(w * 0.8, 0.1, 0.012, (0, 0.37, 0.477)), "windshield, window")
    for z in np.linspace(-0.34, 0.34, b.integers(3, 5)):
        b.add_mirrored(cylinder(r, 0.03, (w * 0.42, r, z), axis="x"), "wheel")


MOTO = {
    "wheel": ("tire", "wheels"),
    "seat": ("saddle", "seat cushion"),
    "handlebar": ("handles or handlebars", "handle", "handlebars"),
    "gas tank": ("fuel tank", "tank"),
    "headlight": ("front light", "head lamp"),
    "engine": ("engine or frame", "motor"),
    "frame": ("engine or frame", "body frame"),
}


@family("motorbike", names=MOTO)
def motorbike(b: Builder) -> None:
    """Facing +z."""
    r, w = b.uniform(0.16, 0.22), b.uniform(0.05, 0.1)
    zf, zr = b.uniform(0.36, 0.48), -b.uniform(0.3, 0.38)
    spokes = b.integers(5, 14) if b.chance() else 0
    b.add(wheel(r, w, spokes).translate(0, r, zf), "wheel")
    b.add(wheel(r, w * b.uniform(1, 1.3), spokes).translate(0, r, zr), "wheel")
    head = np.array([0, r * 2 + b.uniform(0.12, 0.22), zf - b.uniform(0.14, 0.28)])
    for s in (-1, 1):
        b.add(rod((s * (w / 2 + 0.015), r, zf), (s * 0.04, head[1], head[2]), 0.014), "front fork, fork, frame")
        b.add(rod((s * (w / 2 + 0.02), r, zr), (s * 0.04, r * 1.1, zr * 0.2), 0.014), "swingarm, frame")
        b.add(rod((s * 0.03, r * 1.0, 0), (s * 0.03, head[1] - 0.05, head[2] - 0.02), 0.014), "frame")
    seat_y = r * 2 + b.uniform(-0.02, 0.06)
    b.add(
        sweep(
            bezier((0, seat_y + 0.02, 0.02), (0, seat_y - 0.01, -0.15), (0, seat_y + b.uniform(0.02, 0.1), zr - 0.06)),
            rounded_rectangle(b.uniform(0.1, 0.16), 0.06, 0.02),
            up=(0, 1, 0),
        ),
        "seat",
    )
    tank = ellipsoid(
        b.uniform(0.07, 0.1),
        b.uniform(0.06, 0.09),
        b.uniform(0.13, 0.18),
        (0, seat_y + 0.07, (head[2] + 0.02) / 2 + 0.03),
    )
    b.add(tank, "gas tank")
    size = b.uniform(0.14, 0.2)
    b.add(
        box(size, size * 1.1, size * 1.5, (0, r * 1.15, 0.03), bevel=0.02)
        + cylinder(size * 0.35, size * 1.2, (0, r * 0.9, 0.0), axis="x"),
        "engine",
    )
    spread, rise, back = b.uniform(0.18, 0.32), b.uniform(0.02, 0.2), b.uniform(0.02, 0.16)
    b.add(
        tube(
            [
                (-spread, head[1] + rise, head[2] - back),
                (-spread * 0.5, head[1] + rise, head[2]),
                (0, head[1], head[2] + 0.01),
                (spread * 0.5, head[1] + rise, head[2]),
                (spread, head[1] + rise, head[2] - back),
            ],
            0.014,
        ),
        "handlebar",
    )
    for s in (-1, 1):
        b.add(
            rod(
                (s * spread, head[1] + rise, head[2] - back),
                (s * spread * 0.72, head[1] + rise, head[2] - back * 0.5),
                0.02,
            ),
            "grip, handlebar",
        )
    b.add(ellipsoid(0.055, 0.055, 0.05, (0, head[1] - 0.04, head[2] + 0.07)), "headlight")
    if b.chance(0.8):
        x = 0.1
        b.add(
            tube(
                bezier(
                    (x * 0.6, r, 0.1),
                    (x, r * 0.5, 0.05),
                    (x, r * 0.7, zr * 0.5),
                    (x, r * b.uniform(0.8, 1.4), zr - 0.1),
                ),
                np.linspace(0.018, 0.035, 14),
            ),
            "exhaust pipe, exhaust, muffler",
        )
    for z, p in ((zf, 0.7), (zr, 0.6)):
        if b.chance(p):
            b.add(
                sweep(
                    arc(r + 0.025, 20, 160, (0, r, z), plane="zy"),
                    rounded_rectangle(w * 1.3, 0.012),
                    up=(0, 0.9, 0.1),
                ),
                "fender, mudguard",
            )
    if b.chance(0.25):
        b.add(box(0.18, 0.18, 0.012).rotate("x", -30).translate(0, head[1] + 0.09, head[2] + 0.07), "windshield")


@family(
    "bicycle",
    names={
        "wheel": ("tire", "wheels"),
        "seat": ("saddle", "bike seat"),
        "handlebar": ("handlebars", "handle"),
        "frame": ("bike frame", "body frame"),
        "pedal": ("foot pedal",),
        "fork": ("front fork",),
    },
)
def bicycle(b: Builder) -> None:
    r, t = b.uniform(0.26, 0.32), b.uniform(0.012, 0.022)
    zf, zr = 0.48, -0.45
    for z in (zf, zr):
        b.add(wheel(r, b.uniform(0.025, 0.06), b.integers(8, 18)).translate(0, r, z), "wheel")
    crank = (0, r * 0.9, -0.08)
    head = (0, r + b.uniform(0.3, 0.42), zf - 0.17)
    post = (0, r + b.uniform(0.25, 0.36), -0.2)
    step = b.chance(0.3)
    lowhead = (0, head[1] - 0.09, head[2] + 0.03)
    for p, q in (
        (crank, lowhead),
        (crank, post),
        (head if not step else lowhead, post if not step else (0, r * 1.3, -0.14)),
    ):
        b.add(rod(p, q, t), "frame")
    for s in (-1, 1):
        b.add(rod(post, (s * 0.03, r, zr), t * 0.7), "frame")
        b.add(rod(crank, (s * 0.03, r, zr), t * 0.7), "frame")
        b.add(rod(lowhead, (s * 0.03, r, zf), t * 0.9), "fork, frame")
        foot = (s * 0.09, crank[1] + s * 0.11, crank[2] + s * 0.04)
        b.add(rod((s * 0.05, crank[1], crank[2]), (s * 0.06, foot[1], foot[2]), t * 0.6), "crank, crank arm")
        b.add(box(0.08, 0.02, 0.06, foot), "pedal")
    b.add(rod(head, lowhead, t * 1.4), "frame")
    b.add(cylinder(0.07, 0.01, (0.04, crank[1], crank[2]), axis="x"), "chainring, gear")
    seat_y = post[1] + b.uniform(0.08, 0.2)
    b.add(rod(post, (0, seat_y, post[2] - 0.03), t * 0.8), "seat post, frame")
    b.add(
        extrude(
            np.array([(0.0, 0.12), (0.03, 0.1), (0.03, 0), (0.08, -0.1), (-0.08, -0.1), (-0.03, 0), (-0.03, 0.1)]),
            0.04,
            axis="y",
            at=(0, seat_y, post[2] - 0.03),
        ),
        "seat",
    )
    hy, hz, spread = head[1] + b.uniform(0.05, 0.12), head[2] - 0.02, b.uniform(0.2, 0.3)
    b.add(rod(head, (0, hy, hz), t), "stem, handlebar")
    kind = b.choice("flat", "drop", "up")
    tip = {"flat": (0.0, -0.05), "drop": (-0.14, 0.06), "up": (0.08, -0.2)}[kind]
    for s in (-1, 1):
        path = bezier(
            (0, hy, hz),
            (s * spread, hy, hz + 0.06),
            (s * spread, hy + tip[0], hz + 0.1),
            (s * spread, hy + tip[0], hz + tip[1]),
        )
        b.add(tube(path, t * 0.8), "handlebar")
    if b.chance(0.25):
        b.add(hollow_box(0.25, 0.16, 0.18, 0.012, (0, hy - 0.04, hz + 0.17)), "basket, front basket")


def _boat_sail(b: Builder, w: float, h: float) -> None:
    tall = b.uniform(0.7, 1.1)
    b.add(rod((0, -h * 0.8, 0.05), (0, tall, 0.05), 0.012), "mast")
    b.add(rod((0, 0.1, 0.05), (0, 0.1, -0.42), 0.01), "boom")
    b.add(
        extrude(np.array([(0.04, 0.12), (-0.42, 0.12), (0.04, tall * 0.95)]), 0.008, axis="x"),
        "mainsail, sail",
    )
    if b.chance(0.7):
        b.add(
            extrude(np.array([(0.07, 0.1), (0.48, 0.05), (0.06, tall * 0.8)]), 0.008, axis="x"),
            "jib, sail",
        )


def _boat_row(b: Builder, w: float, h: float) -> None:
    for z in (-0.25, 0.05):
        b.add(box(w * 0.85, 0.015, 0.09, (0, -0.02, z)), "bench, seat")
    for sx in (-1, 1):
        b.add(rod((sx * w * 0.2, 0.06, 0), (sx * w * 1.1, -h * 0.6, 0.05), 0.01), "oar, paddle")
        b.add(ellipsoid(0.08, 0.012, 0.03, (sx * w * 1.15, -h * 0.65, 0.05)), "oar blade, oar, paddle")


def _boat_motor(b: Builder, w: float, h: float) -> None:
    b.add(box(w * 0.85, 0.012, 0.75, (0, -0.01, -0.1)), "deck")
    b.add(box(w * 0.6, 0.16, 0.3, (0, 0.08, -0.05), bevel=0.015, top=0.85), "cabin")
    if b.chance():
        b.add(cylinder(0.04, 0.14, (0, 0.22, -0.12)), "chimney, funnel")
    b.add(box(0.08, 0.16, 0.08, (0, -0.02, -0.53), bevel=0.015), "engine, outboard motor")


BOATS = {
    "sail": _boat_sail,
    "row": _boat_row,
    "motor": _boat_motor,
}


@family(
    "boat",
    names={
        "hull": ("body", "boat body", "main body"),
        "sail": ("sailcloth",),
        "mast": ("pole", "post"),
        "cabin": ("deckhouse", "cab"),
        "deck": ("floor",),
    },
)
def boat(b: Builder) -> None:
    w, h = b.uniform(0.25, 0.4), b.uniform(0.1, 0.2)
    s = np.linspace(-0.5, 0.5, 14)
    beam = np.maximum(1 - np.maximum(s + 0.05, 0) ** 2 / 0.3, 0.02) ** 0.8 * np.where(
        s < -0.2, 1 - (s + 0.2) ** 2 * b.uniform(0.5, 4), 1
    )
    u = np.linspace(-1, 1, 9)
    loops = []
    for k in (1.0, 0.93):
        loops.append(
            np.stack(
                [
                    np.stack(
                        [
                            u * w / 2 * e * k,
                            h * (np.abs(u) ** b.uniform(2.1, 2.2) - 1) * (0.6 + 0.4 * e)
                            + (0.08 if z > 0.3 else 0) * (z - 0.3) * 4
                            + (1 - k) * 0.15 * (1 - np.abs(u)),
                            np.full(9, z),
                        ],
                        1,
                    )
                    for e, z in zip(beam, s, strict=True)
                ]
            )
        )

    for points in loops:
        b.add(grid(points), "hull")
    kind = b.choice("sail", "sail", "row", "motor")
    BOATS[kind](b, w, h)


@family(
    "rocket",
    names={
        "body": ("rocket body", "main body", "fuselage"),
        "fin": ("fins", "stabilizing fin", "tail fin"),
        "nose": ("nose cone", "tip", "cone"),
        "engine": ("nozzle", "thruster", "exhaust"),
    },
)
def rocket(b: Builder) -> None:
    r, h, nose = b.uniform(0.06, 0.16), b.uniform(0.5, 0.9), b.uniform(0.12, 0.4)
    t = np.linspace(0, 1, 14)
    belly = b.uniform(0, 0.3) if b.chance(0.35) else 0
    side = r * (1 - belly * (2 * t - 0.9) ** 2)
    b.add(lathe([(0, 0), *np.stack([side, h * t], 1)]), "body")
    power = b.uniform(0.5, 1)
    b.add(lathe([*np.stack([side[-1] * (1 - t) ** power, h + nose * t], 1)]), "nose")
    count, reach, chord, slant = b.integers(3, 5), b.uniform(0.08, 0.22), b.uniform(0.12, 0.3), b.uniform(-0.15, 0.1)
    fin = np.array(
        [
            (side[0] * 0.9, 0.02),
            (side[0] + reach, slant),
            (side[0] + reach, slant + chord * b.uniform(0.1, 0.5)),
            (side[0] * 0.95, chord),
        ]
    )
    for angle in 360 / count * np.arange(count) + b.uniform(0, 60):
        b.add(extrude(fin, b.uniform(0.01, 0.025)).rotate("y", angle), "fin")
    if b.chance(0.6):
        k = side[0] * b.uniform(0.5, 0.8)
        b.add(lathe([(k * 0.6, 0.01), (k, -0.1), (k * 0.85, -0.1), (0, 0)]), "engine")
    if b.chance(0.25):
        for angle in (0, 180):
            booster = lathe([(0, 0), (r * 0.4, 0), (r * 0.4, h * 0.5), (0, h * 0.5 + r)]).translate(r * 1.4)
            b.add(booster.rotate("y", angle), "booster, side booster")
    if b.chance(0.2):
        b.add(torus(r * 0.35, 0.015, (0, h * 0.75, r), axis="z"), "window, porthole")


@family(
    "skateboard",
    names={
        "deck": ("board", "main board", "platform"),
        "wheel": ("wheels", "roller"),
        "truck": ("axle", "wheel truck"),
    },
)
def skateboard(b: Builder) -> None:
    w, long, t = b.uniform(0.2, 0.32), 1.0, b.uniform(0.012, 0.03)
    kick = b.uniform(0, 0.5)
    outline = (
        rounded_rectangle(w, long, w / 2 * b.uniform(0.5, 1), 7) if b.chance(0.7) else ellipse(w / 2, long / 2, 30)
    )
    z = np.linspace(-0.5, 0.5, 21)
    half = np.array(
        [
            np.max(np.abs(outline[:, 0])) * max(0.02, 1 - max(0.0, (abs(q) - 0.5 + w / 2) / (w / 2)) ** 2) ** 0.5
            for q in z
        ]
    )
    y = kick * np.maximum(np.abs(z) - 0.32, 0)
    loops = [
        np.stack([np.array([-1, 1, 1, -1]) * h, np.array([0, 0, t, t]) + q, np.full(4, p)], 1)
        for h, q, p in zip(half, y, z, strict=True)
    ]
    b.add(loft(np.stack(loops)), "deck")
    r, ww = b.uniform(0.03, 0.05), b.uniform(0.03, 0.05)
    for zz in (-0.3, 0.3):
        drop = -r - b.uniform(0.01, 0.03)
        b.add(
            rod((-w * 0.4, drop, zz), (w * 0.4, drop, zz), 0.012) + box(0.08, -drop, 0.08, (0, drop / 2, zz), top=1.2),
            "truck",
        )
        b.add_mirrored(cylinder(r, ww, (w * 0.4, drop, zz), axis="x"), "wheel")
    if b.chance(0.1):
        b.add(
            sweep(arc(w * 0.4, 0, 180, (0, t, 0.2), r2=0.06), rounded_rectangle(0.06, 0.01), up=(0.001, 0.01, 1)),
            "belt for foot, foot strap",
        )


@family(
    "scooter",
    names={
        "deck": ("board", "platform", "footboard"),
        "wheel": ("wheels", "tire"),
        "handlebar": ("handle", "handles"),
        "pole": ("steering column", "stem", "post"),
    },
)
def scooter(b: Builder) -> None:
    r, h = b.uniform(0.06, 0.12), b.uniform(0.7, 1)
    b.add(box(0.13, 0.03, 0.6, (0, r * 1.1, -0.05), bevel=0.01), "deck")
    for z in (0.42, -0.4):
        b.add(wheel(r, 0.04).translate(0, r, z), "wheel")
    b.add(rod((0, r * 1.1, 0.24), (0, r * 2.4, 0.36), 0.02), "pole")
    b.add(rod((0, r, 0.42), (0, h, 0.3), 0.018), "pole")
    b.add(rod((-0.22, h, 0.3), (0.22, h, 0.3), 0.016), "handlebar")
    b.add_mirrored(rod((0.12, h, 0.3), (0.23, h, 0.3), 0.024), "grip, handlebar")


def _cart_shopping(b: Builder, w: float, d: float, r: float) -> None:
    low = 0.45
    b.add(hollow_box(w * 0.85, 0.35, d * 0.85, 0.015, (0, low + 0.18, 0), top=1.15), "body")
    for s in (-1, 1):
        path = [(s * w * 0.4, r * 2, d * 0.45), (s * w * 0.4, r * 2, -d * 0.4), (s * w * 0.4, low + 0.4, -d * 0.5)]
        b.add(tube(path, 0.014), "frame")
    _push_bar(b, w, d, low + 0.42)


def _cart_flat(b: Builder, w: float, d: float, r: float) -> None:
    b.add(box(w, 0.04, d, (0, 2 * r, 0)), "platform, body")
    _push_handle(b, w, d, 2 * r)


def _cart_wagon(b: Builder, w: float, d: float, r: float) -> None:
    low = 2 * r
    b.add(hollow_box(w, b.uniform(0.15, 0.35), d, 0.02, (0, low + 0.1, 0)), "body")
    b.add(rod((0, low, d / 2), (0, low + 0.25, d / 2 + 0.5), 0.016), "handle")
    b.add(rod((-0.08, low + 0.25, d / 2 + 0.5), (0.08, low + 0.25, d / 2 + 0.5), 0.016), "handle")


def _cart_tiers(b: Builder, w: float, d: float, r: float) -> None:
    low = 2 * r
    for y in (low, 0.5, 0.85):
        b.add(box(w, 0.025, d, (0, y, 0)), "shelf, tray")
    for x in (-1, 1):
        for z in (-1, 1):
            b.add(rod((x * w * 0.48, low, z * d * 0.48), (x * w * 0.48, 0.88, z * d * 0.48), 0.014), "frame")
    _push_handle(b, w, d, low)


def _push_handle(b: Builder, w: float, d: float, low: float) -> None:
    b.add_mirrored(rod((w * 0.45, low, -d / 2), (w * 0.45, 1.0, -d / 2 - 0.05), 0.016), "handle")
    _push_bar(b, w, d, 1.0)


def _push_bar(b: Builder, w: float, d: float, y: float) -> None:
    b.add(rod((-w * 0.45, y, -d / 2 - 0.06), (w * 0.45, y, -d / 2 - 0.06), 0.02), "handle")


CARTS = {
    "shopping": _cart_shopping,
    "flat": _cart_flat,
    "wagon": _cart_wagon,
    "tiers": _cart_tiers,
}


@family(
    "cart",
    names={
        "body": ("basket", "container", "cart body"),
        "wheel": ("wheels", "caster"),
        "handle": ("push handle", "handle or grip", "push bar"),
        "frame": ("cart frame",),
    },
)
def cart(b: Builder) -> None:
    w, d, r = b.uniform(0.4, 0.6), b.uniform(0.6, 0.9), b.uniform(0.05, 0.12)
    CARTS[b.choice(*CARTS)](b, w, d, r)
    for z in (-1, 1):
        b.add_mirrored(wheel(r, 0.04).translate(w * 0.43, r, z * d * 0.4), "wheel")


@family(
    "tank",
    names={
        "hull": ("body", "main body", "chassis"),
        "turret": ("gun turret", "top"),
        "barrel": ("gun barrel", "cannon", "gun"),
        "track": ("caterpillar track", "tread", "wheel"),
    },
)
def tank(b: Builder) -> None:
    w, long, h = b.uniform(0.4, 0.5), b.uniform(0.75, 0.95), b.uniform(0.12, 0.18)
    b.add(box(w, h, long, (0, 0.1 + h / 2, 0), bevel=0.02, top=0.92), "hull")
    track = np.array(
        [
            (-long * 0.5, 0.1),
            (-long * 0.42, 0.0),
            (long * 0.42, 0),
            (long * 0.5, 0.1),
            (long * 0.44, 0.19),
            (-long * 0.44, 0.19),
        ]
    )
    b.add_mirrored(extrude(track, 0.1, axis="x", at=(w / 2, 0, 0)), "track")
    tr = w * b.uniform(0.3, 0.42)
    yaw = b.uniform(-60, 60) if b.chance(0.4) else 0
    b.add(
        lathe([(tr, 0), (tr, 0.06), (tr * 0.75, 0.13), (0, 0.14)], b.integers(6, 24))
        .rotate("y", yaw)
        .translate(0, 0.1 + h, -0.03),
        "turret",
    )
    b.add(
        rod((0, 0.06, tr * 0.7), (0, 0.06 + b.uniform(0, 0.1), tr + b.uniform(0.3, 0.6)), 0.022)
        .rotate("y", yaw)
        .translate(0, 0.1 + h, -0.03),
        "barrel",
    )


@family("space shuttle", names=PLANE)
def shuttle(b: Builder) -> None:
    r = 0.1
    s = np.linspace(0, 1, 18)
    b.add(tube(np.stack([0 * s, 0 * s, 0.5 - s], 1), r * np.minimum(1, (s * 5 + 0.01) ** 0.6), 16), "body")
    b.add_mirrored(
        blade(
            [
                (r * 0.5, -r * 0.5, -0.05, 0.75, 0.4),
                (r * 1.6, -r * 0.5, -0.22, 0.45, 0.6),
                (b.uniform(0.3, 0.4), -r * 0.5, -0.36, 0.16, 1),
            ],
            0.08,
        ),
        "wing",
    )
    b.add(
        blade([(0, 0, 0, 0.2, 1), (0.22, 0, -0.1, 0.1, 1)], 0.1).rotate("z", 90).translate(0, r * 0.8, -0.4),
        "tail fin, tail",
    )
    for x, y in ((0, 0.05), (-0.05, -0.03), (0.05, -0.03)):
        b.add(lathe([(0.02, 0), (0.05, -0.08), (0, -0.02)]).rotate("x", 90).translate(x, y, -0.5), "engine")
    if b.chance():
        b.add(sphere(0.045, (0, r * 0.7, 0.32)), "cockpit, cockpit window")
