"""Further shapes of the commonest kinds: hats with wide or falling brims, easy chairs, closed cups and jugs, storage
with drawers and doors, switches in housings, pens with long caps."""

from __future__ import annotations

import numpy as np

from pa3d.data.procedural.furniture import (
    CABINET_WORDS,
    SEAT_WORDS,
    carcass,
    cell,
    chair_arms,
    drawers,
    feet,
    legs,
    star_base,
)
from pa3d.data.procedural.kitchen import BOTTLE, KETTLE, radius_at, side_handle, small_lid
from pa3d.data.procedural.primitives import (
    Mesh,
    bar,
    bezier,
    box,
    cylinder,
    ellipse,
    ellipsoid,
    lathe,
    rod,
    rounded_rectangle,
    sheet,
    stack,
    sweep,
    torus,
    tube,
)
from pa3d.data.procedural.registry import Builder, family
from pa3d.data.procedural.tools import PEN
from pa3d.data.procedural.wearables import HAT

# ---- hats ----


def hat_crown(b: Builder, kind: str, r: float, tall: float) -> list[tuple[float, float]]:
    """The profile of a crown from its edge to its top."""
    t = np.linspace(0, 1, 12)
    if kind == "round":
        angle = t * np.pi / 2
        power = b.u(1.6, 3.5)
        rows = np.stack([r * np.cos(angle) ** (2 / power), tall * np.sin(angle) ** (2 / power)], 1)
    elif kind == "flat":
        top = b.u(0.8, 1.1)
        rows = np.stack([r * (1 + (top - 1) * t), tall * t], 1)
        rows = np.concatenate([rows, [(r * top * 0.93, tall * 1.02), (0, tall * b.u(0.93, 1.04))]])
    elif kind == "pinched":
        top = b.u(0.6, 0.9)
        rows = np.stack([r * (1 - (1 - top) * t**2), tall * t], 1)
        rows = np.concatenate([rows, [(r * top * 0.8, tall * 1.03), (r * top * 0.4, tall * 0.97), (0, tall * 0.85)]])
    else:
        rows = np.stack([r * (1 - t ** b.u(0.9, 1.6)), tall * t], 1)
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

        b.add(mesh.bend(dent) if crease else mesh, "crown")


def put_brim(b: Builder, r: float, long: float, wide: float, droop: float, curl: float, wave: float, y: float) -> None:
    """A brim all round: it falls or rises by droop, its sides curl up, its edge waves."""
    front = b.u(0.75, 1.35)  # how much wider in front than at the sides
    fall = b.u(0.8, 1.6)
    turns, phase = b.n(2, 6), b.u(0, 6.28)

    def brim(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        angle = 2 * np.pi * u
        out = v * wide * (1 + (front - 1) * np.cos(angle) ** 2)
        rise = -droop * wide * v**fall + curl * out * np.abs(np.sin(angle)) ** 3 * v
        rise += wave * v**2 * np.sin(turns * angle + phase)
        return np.stack([(r + out) * np.sin(angle), y + rise, (r * long + out) * np.cos(angle)], -1)

    b.add(sheet(brim, b.u(0.008, 0.03), 48, 9), "brim")


def put_band(b: Builder, r: float, long: float, tall: float) -> None:
    low, high = b.u(0, 0.03), tall * b.u(0.12, 0.35)
    b.add(lathe([(r * 1.015, low), (r * 1.0, high)], 36).scale(1, 1, long), b.pick("hat band, band", "ribbon, crown"))


@family("sun hat", names=HAT)
def sun_hat(b: Builder) -> None:
    """A brim wider than the head, flat, floppy or waving."""
    r, tall, long = 0.3, b.u(0.18, 0.4), b.u(1.0, 1.25)
    rows = hat_crown(b, b.pick("round", "round", "flat", "pinched"), r, tall)
    put_crown(b, rows, long, b.n(1, 2))
    put_brim(b, r, long, b.u(0.22, 0.65), b.u(-0.15, 0.75), b.u(-0.15, 0.25), b.u(0, 0.07), b.u(0, 0.02))
    if b.chance(0.5):
        put_band(b, r, long, tall)


@family("cowboy hat", names=HAT)
def cowboy_hat(b: Builder) -> None:
    r, tall, long = 0.3, b.u(0.25, 0.45), b.u(1.1, 1.35)
    put_crown(b, hat_crown(b, b.pick("pinched", "round"), r, tall), long, b.n(1, 2), b.u(0, 0.16))
    put_brim(b, r, long, b.u(0.2, 0.4), b.u(-0.1, 0.35), b.u(0.3, 1.2), 0, 0.0)
    if b.chance(0.6):
        put_band(b, r, long, tall)


@family("bucket hat", names=HAT)
def bucket_hat(b: Builder) -> None:
    """A brim that falls steeply, so that crown and brim are nearly one cone; cloches too."""
    r, tall, long = 0.34, b.u(0.25, 0.45), b.u(1.0, 1.2)
    put_crown(b, hat_crown(b, b.pick("flat", "round", "flat"), r, tall), long, b.n(1, 2))
    put_brim(b, r, long, b.u(0.08, 0.3), b.u(0.6, 2.2), 0, b.u(0, 0.02), 0.0)
    if b.chance(0.3):
        put_band(b, r, long, tall)


@family("bowler hat", names=HAT)
def bowler_hat(b: Builder) -> None:
    """Bowlers, boaters, top hats, sombreros: stiff crowns on stiff brims whose edges turn up."""
    r, tall, long = 0.32, b.u(0.2, 0.6), b.u(1.0, 1.2)
    put_crown(b, hat_crown(b, b.pick("flat", "round", "cone", "pinched"), r, tall), long, b.n(1, 2))
    wide = b.u(0.08, 0.5)
    put_brim(b, r, long, wide, b.u(-0.1, 0.15), b.u(0, 0.5), 0, 0.0)
    if b.chance(0.3):  # the edge turned up all round
        path = np.stack([np.sin(np.linspace(0, 6.1, 30)), 0 * np.arange(30), np.cos(np.linspace(0, 6.1, 30))], 1)
        rim = path * (r + wide, 0, r * long + wide) + (0, b.u(0, 0.03), 0)
        b.add(tube(rim, b.u(0.01, 0.03), 8, closed=True), "brim")
    if b.chance(0.5):
        put_band(b, r, long, tall)


@family("baseball cap", names=HAT)
def baseball_cap(b: Builder) -> None:
    """Crowns of six panels or a foam front; the peak long or short, flat or bent, at a slope of its own."""
    r, tall, long = 0.4, b.u(0.3, 0.6), b.u(1.05, 1.35)
    lean = b.u(-0.2, 0.4)
    for inner in range(b.n(1, 2)):
        k = 1 - 0.035 * inner
        rows = hat_crown(b, "round", r * k, tall * k)
        crown = lathe(rows, 36).scale(1, 1, long)
        b.add(crown.bend(lambda v: v + np.array([0, 1, 0]) * lean * np.maximum(v[:, 2:], 0) * v[:, 1:2]), "crown")
    reach, width, droop = b.u(0.15, 0.6), b.u(40, 85), b.u(-0.25, 0.6)
    arch, round_ = b.u(0, 0.5), b.u(0.3, 1.0)

    def peak(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        across = 2 * u - 1
        angle = np.radians(across * width)
        out = v * reach * np.maximum(np.cos(across * np.pi / 2), 0) ** round_
        x, z = r * np.sin(angle) * (1 + 0.2 * v), r * long * np.cos(angle) + out
        return np.stack([x, 0.01 - droop * out - arch * across**2 * v * reach, z], -1)

    b.add(sheet(peak, b.u(0.01, 0.03), 25, 9), "visor, brim")
    if b.chance(0.4):
        b.add(ellipsoid(0.035, 0.02, 0.035, (0, tall + 0.005, 0)), "crown")


# ---- chairs ----


def easy_base(b: Builder, w: float, d: float, top: float) -> None:
    """What carries an easy chair: also plinths, drums, skids, discs and crosses as wide as the seat."""
    kind = b.pick("legs", "plinth", "drum", "skids", "disc", "star", "cross", "wire", "frame")
    r = b.u(0.012, 0.035)
    if kind == "legs" or top < 0.08:
        legs(b, w * 0.9, d * 0.9, top, "leg", b.u(0, 0.08), r)
    elif kind == "plinth":
        b.add(box(w * b.u(0.6, 1), top, d * b.u(0.6, 1), (0, top / 2, 0), top=b.u(0.8, 1.1)), "base, leg")
    elif kind == "drum":
        foot, waist = w * b.u(0.3, 0.5), w * b.u(0.15, 0.45)
        b.add(lathe([(0, 0), (foot, 0), (waist, top / 2), (w * b.u(0.25, 0.45), top), (0, top)]), "base, leg")
    elif kind == "skids":
        for s in (-1, 1):
            x = s * w * 0.45
            rock = b.u(-0.02, 0.1)
            path = bezier(
                (x, r + rock, d * 0.6), (x, r - rock, d * 0.2), (x, r - rock, -d * 0.2), (x, r + rock, -d * 0.6)
            )
            b.add(tube(path, r), "leg")
            for z in (-1, 1):
                b.add(rod((x, top, z * d * 0.35), (x, r, z * d * 0.4), r), "leg")
    elif kind == "disc":
        foot = w * b.u(0.3, 0.5)
        b.add(
            lathe([(0, 0), (foot, 0), (foot, 0.02), (0.05, 0.04), (0.03, top * 0.6), (0.05, top), (0, top)]),
            "base, leg",
        )
    elif kind == "star":
        star_base(b, top, w * b.u(0.4, 0.6), "leg", "column, leg", b.chance(0.4))
    elif kind == "cross":
        for s in (-1, 1):
            x = s * w * 0.45
            b.add(bar((x, 0, d * 0.5), (x, top, -d * 0.45), 2 * r, 2 * r, up=(1, 0, 0)), "leg")
            b.add(bar((x, 0, -d * 0.5), (x, top, d * 0.45), 2 * r, 2 * r, up=(1, 0, 0)), "leg")
    elif kind == "wire":
        count = b.n(8, 16)
        for angle in 2 * np.pi * np.arange(count) / count:
            c, s = np.cos(angle), np.sin(angle)
            b.add(rod((c * w * 0.4, 0, s * d * 0.4), (c * w * 0.2, top, s * d * 0.2), r * 0.5, segments=6), "leg")
        b.add(torus(w * 0.4, r * 0.6, (0, r, 0)).scale(1, 1, d / w), "base, leg")
    else:
        for s in (-1, 1):
            b.add(box(2 * r, 2 * r, d, (s * (w / 2 - r), r, 0)), "leg")
            for z in (-1, 1):
                b.add(box(2 * r, top, 2 * r, (s * (w / 2 - r), top / 2, z * (d / 2 - r))), "leg")


@family("lounge chair", names=SEAT_WORDS)
def lounge_chair(b: Builder) -> None:
    """A low seat and a long, leaning back, thin or upholstered."""
    w, d, y, t = b.u(0.5, 0.75), b.u(0.5, 0.8), b.u(0.15, 0.4), b.u(0.02, 0.16)
    easy_base(b, w, d, y)
    slope = b.u(0, 15)
    soft = b.u(0.1, 0.49) * t
    b.add(box(w, t, d, (0, t / 2, 0), bevel=soft).turn("x", slope).at(0, y, 0), b.pick("seat", "cushion, seat"))
    tall, lean, bt = b.u(0.4, 0.9), b.u(10, 35), b.u(0.02, 0.14)
    bow = b.u(0, 0.15)

    def back(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        across = 2 * u - 1
        return np.stack([across * w / 2 * (1 - 0.15 * v**2), tall * v, bow * across**2 + 0.04 * np.sin(3 * v)], -1)

    lift = y + np.sin(np.radians(slope)) * d / 2
    b.add(sheet(back, bt, 11, 11).turn("x", -lean).at(0, lift, -d / 2 + bt / 2), "back")
    if b.chance(0.3):
        z = -d / 2 - np.sin(np.radians(lean)) * tall * 0.85 + bt
        b.add(
            box(w * 0.6, 0.14, 0.08, (0, lift + np.cos(np.radians(lean)) * tall * 0.85, z), bevel=0.03),
            "headrest, back",
        )
    if b.chance(0.5):
        chair_arms(b, w, d, y + t)


@family("tub chair", names=SEAT_WORDS)
def tub_chair(b: Builder) -> None:
    """Back and arms as one wall round the seat, as high in front as behind or falling; eggs and balls too."""
    w, y, t = b.u(0.55, 0.8), b.u(0.06, 0.4), b.u(0.03, 0.12)
    deep = w * b.u(0.85, 1.1)
    easy_base(b, w * 0.9, deep * 0.9, y)
    round_, low, high = b.u(2, 5), b.u(0.0, 0.3), b.u(0.35, 0.85)
    open_at = b.u(25, 70)  # degrees either side of the front
    steep, flare = b.u(0.8, 3), b.u(-0.1, 0.15)
    split = b.u(40, 75)  # where arms become back, from the rear

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
    thick = b.u(0.05, 0.2)
    b.add(stack(outline, [(y, 0.96), (y + thick * 0.3, 1), (y + thick * 0.8, 1), (y + thick, 0.93)]), "seat")


@family("block chair", names=SEAT_WORDS)
def block_chair(b: Builder) -> None:
    """Boards and blocks: sides that are legs and arms at once, boxes for a base, backs down to the floor."""
    w, d, y, t = b.u(0.4, 0.7), b.u(0.4, 0.65), b.u(0.25, 0.5), b.u(0.02, 0.1)
    tall, bt = b.u(0.3, 0.75), b.u(0.02, 0.12)
    kind = b.pick("sides", "box", "back legs", "waterfall", "throne")
    b.add(box(w, t, d, (0, y + t / 2, 0), bevel=b.u(0, t / 3)), "seat")
    down = 0.0
    if kind == "sides":
        arms = b.chance(0.6)
        high = y + (b.u(0.15, 0.25) if arms else 0)
        for s in (-1, 1):
            x, side = s * (w / 2 + bt / 2), b.u(0.8, 1)
            b.add(box(bt, y, d * side, (x, y / 2, 0)), "leg")
            if arms:
                b.add(box(bt, high - y, d * side, (x, (y + high) / 2, 0)), "arm")
    elif kind == "box":
        b.add(box(w * b.u(0.7, 1), y, d * b.u(0.7, 1), (0, y / 2, 0)), "base, leg")
    elif kind == "back legs":
        down = y
        for s in (-1, 1):
            b.add(box(bt, y, bt, (s * (w / 2 - bt / 2), y / 2, d / 2 - bt / 2)), "leg")
            b.add(box(bt, y, bt, (s * (w / 2 - bt / 2), y / 2, -d / 2 + bt / 2)), "leg")
    elif kind == "waterfall":
        b.add(box(w, y, bt, (0, y / 2, d / 2 - bt / 2)), "leg")
        if b.chance():
            b.add(box(w, y, bt, (0, y / 2, -d / 2 + bt / 2)), "leg")
    else:
        b.add(box(w, y, d, (0, y / 2, 0)), "base, leg")
        b.sides(box(bt * 1.3, b.u(0.15, 0.25), d, (w / 2, y + t + 0.08, 0), bevel=0.01), "arm")
        tall *= 1.4
    lean = b.u(0, 12) if not down else 0
    pieces = [box(w * b.u(0.8, 1), tall, bt, (0, tall / 2, 0), bevel=b.u(0, bt / 3), top=b.u(0.7, 1))]
    if b.chance(0.3):
        pieces.append(box(w * 0.7, tall * 0.6, bt, (0, tall / 2, bt * 0.7), bevel=bt * 0.3))
    for piece in pieces:
        b.add(piece.turn("x", -lean).at(0, y + t * 0.5, -d / 2 + bt / 2), "back")


# ---- vessels ----


@family(
    "tumbler",
    names={
        **BOTTLE,
        "body": ("cup body", "container", "main body", "base body"),
        "handle": ("grip", "handle or grip", "cup handle"),
        "straw": ("drinking straw",),
    },
)
def tumbler(b: Builder) -> None:
    """Closed cups to carry: thermos mugs, shakers, sippy cups, jugs with a lid as wide as they are."""
    r, h = b.u(0.2, 0.42), b.u(0.5, 1.1)
    foot, waist = b.u(0.6, 1.05), b.u(0, 0.12)
    s = np.linspace(0, 1, 14)
    profile = np.stack([r * (foot + (1 - foot) * s) * (1 - waist * np.sin(np.pi * s)), h * s], 1)
    names = "body" if b.chance(0.6) else "cup, body"
    b.add(lathe([(0, 0), *profile, (profile[-1, 0] * 0.96, h)], 28), names)
    top, rise = profile[-1, 0] * b.u(0.95, 1.12), b.u(0.05, 0.4)
    kind = b.pick("flat", "dome", "screw", "step", "cup", "cone")
    low = h - b.u(0, 0.08)
    if kind == "dome":
        t = np.linspace(0, np.pi / 2, 9)
        rows = [(top, low), *np.stack([top * np.cos(t), h + rise * np.sin(t)], 1)]
    elif kind == "step":
        k = b.u(0.4, 0.75)
        rows = [(top, low), (top, h + rise * 0.4), (top * k, h + rise * 0.5), (top * k, h + rise), (0, h + rise)]
    elif kind == "cone":
        rows = [(top, low), (top, h), (top * b.u(0.2, 0.6), h + rise), (0, h + rise)]
    elif kind == "cup":
        rows = [(top, low), (top * 0.97, h + rise), (top * 0.9, h + rise * 1.15), (0, h + rise * 1.15)]
    else:
        lip = rise if kind == "screw" else rise * 0.3
        rows = [(top, low), (top, h + lip), (top * 0.9, h + lip * 1.1), (0, h + lip * 1.1)]
    b.add(lathe(rows, 28), "lid")
    peak = max(y for _, y in rows)
    extra = b.pick("none", "spout", "straw", "loop", "button", "none")
    if extra == "spout":
        b.add(box(top * 0.5, b.u(0.04, 0.1), top * 0.35, (0, peak, top * 0.45), bevel=0.01), "mouthpiece, lid")
    elif extra == "straw":
        b.add(rod((0, peak - 0.05, 0), (b.u(-0.1, 0.1), peak + b.u(0.1, 0.35), 0), 0.02), "straw")
    elif extra == "loop":
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
    elif extra == "button":
        b.add(cylinder(top * 0.25, 0.05, (0, peak, 0)), "button")
    for side in range(b.n(0, 2) if extra != "loop" else 0):
        piece = Builder(b.rng)
        side_handle(piece, profile, h * b.u(0.08, 0.35), h * b.u(0.65, 0.95), closed=0.75)
        for handle_names, mesh in piece.pieces():
            b.add(mesh.turn("y", 180 * side), handle_names)
    if b.chance(0.25):
        at = b.u(0.2, 0.6)
        wide = radius_at(profile, h * at) * 1.02
        b.add(lathe([(wide, h * at), (radius_at(profile, h * (at + 0.2)) * 1.02, h * (at + 0.2))]), "band, sleeve")


@family("electric kettle", names={**KETTLE, "base": ("power base", "bottom base", "foot")})
def electric_kettle(b: Builder) -> None:
    """A jug with the handle down its back, its lid as wide as its mouth, a short beak; and stove kettles with a
    long handle to the side."""
    r, h = b.u(0.26, 0.42), b.u(0.45, 0.95)
    s = np.linspace(0, 1, 14)
    kind = b.pick("cone", "straight", "belly", "ball")
    if kind == "cone":
        shape = 1 - b.u(0.1, 0.45) * s
    elif kind == "straight":
        shape = 1 - 0.1 * s**6
    elif kind == "belly":
        shape = 0.75 + 0.25 * np.sin(np.pi * np.clip(s * 0.8 + 0.15, 0, 1))
    else:
        shape = np.sqrt(np.maximum(1 - (1.7 * s - 0.8) ** 2, 0.15))
    profile = np.stack([r * shape / shape.max(), h * s], 1)
    mouth = float(profile[-1, 0])
    b.add(lathe([(0, 0), *profile, (mouth * 0.9, h)], 30), "body, base body")
    if b.chance(0.6):
        rise = b.u(0.02, 0.14)
        t = np.linspace(0, np.pi / 2, 8)
        low = h - b.u(0, 0.12)
        k = max(mouth, radius_at(profile, low)) * b.u(0.96, 1.04)
        b.add(lathe([(k, low), *np.stack([mouth * np.cos(t) ** 0.5, h + rise * np.sin(t)], 1)], 30), "lid")
        if b.chance(0.4):
            b.add(sphere_or_tab(b, mouth, h + rise), "lid knob, knob, lid")
    else:
        small_lid(b, mouth * b.u(0.85, 1.0), h)
    beak = b.u(0.05, 0.16)
    y = h * b.u(0.75, 0.95)
    at = radius_at(profile, y)
    path = [(-at * 0.8, y - 0.12 * h, 0), (-at - beak * 0.5, y, 0), (-at - beak, min(y + 0.14 * h, h * 1.02), 0)]
    b.add(
        sweep(path, ellipse(1, 1.3, 10), up=(0, 1, 0), sizes=np.array([1.0, 0.8, 0.35]) * b.u(0.05, 0.11)),
        "spout, base body",
    )
    if b.chance(0.7):
        out, t2 = b.u(0.14, 0.3), b.u(0.02, 0.05)
        high, low = h * b.u(0.9, 1.12), h * b.u(0.02, 0.4)
        a, c = min(mouth, radius_at(profile, min(high, h))) * 0.8, radius_at(profile, low) * 0.97
        ends = [(a, high, 0), (at + out, high, 0), (at + out, low + 0.1, 0), (c, low, 0)]
        if b.chance(0.3):
            ends = ends[:3]  # open below
        section = rounded_rectangle(t2 * b.u(1, 2.5), t2 * 1.3, t2 * 0.4, 3)
        curve = np.array(ends) if b.chance(0.4) else bezier(*ends, steps=16)
        b.add(sweep(curve, section, up=(0, 0.02, 1)), "handle")
    else:
        reach, tilt = b.u(0.4, 0.9), b.u(-0.05, 0.35)
        b.add(
            rod((at * 0.9, h * 0.8, 0), (at + reach, h * (0.8 + tilt), 0), b.u(0.025, 0.05), b.u(0.03, 0.06)), "handle"
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


@family("soap bottle", names={**BOTTLE, "pump": ("pump head", "dispenser head", "nozzle")})
def soap_bottle(b: Builder) -> None:
    """Bottles with a short neck: shampoo, detergent with a grip, pill boxes, milk, flasks."""
    r, h = b.u(0.15, 0.34), b.u(0.45, 0.95)
    deep = b.u(0.4, 1)
    outline = rounded_rectangle(2 * r, 2 * r * deep, r * b.u(0.1, 1), 5)
    s = np.linspace(0, 1, 12)
    shape = 1 - b.u(0, 0.25) * s ** b.u(1, 6) - b.u(0, 0.15) * np.sin(np.pi * s)
    b.add(stack(outline, [(0, 0.92), *np.stack([0.03 + h * s, shape], 1)]), "body")
    neck, nh = r * min(1, deep) * b.u(0.25, 0.9), b.u(0.01, 0.12)
    top = h + 0.03
    b.add(lathe([(neck, top - 0.03), (neck, top + nh)], 20), "neck" if nh > 0.03 else "neck, body")
    c, ch = neck * b.u(1.02, 1.6), b.u(0.05, 0.35)
    y = top + nh * b.u(0.0, 0.8)
    b.add(lathe([(c, y), (c * b.u(0.75, 1), y + ch), (0, y + ch * b.u(1, 1.1))], 22), "lid")
    if b.chance(0.2):
        b.add(rod((0, y + ch, 0), (0, y + ch + 0.1, 0), 0.015) + box(0.06, 0.035, 0.2, (0, y + ch + 0.1, 0.06)), "pump")
    if b.chance(0.25):
        side_handle(b, np.array([(r, 0), (r * shape[-1], h)]), h * 0.35, h * 0.9)


# ---- storage ----


def faced(b: Builder, w: float, h: float, d: float, y: float, columns: int, rows: int, kinds: tuple[str, ...]) -> None:
    """A carcass whose front is divided into cells, each of one of the kinds: drawers or what a cabinet's cell is."""
    t = b.u(0.012, 0.04)
    carcass(b, w, h, d, y, t)
    if y:
        feet(b, w, d, y)
    style = b.pick("bar", "knob", "bow", "cup", "none")
    cw, ch = (w - 2 * t) / columns, (h - 2 * t) / rows
    for c in range(columns):
        if c:
            b.add(box(t, h - 2 * t, d * 0.95, (c * cw - (w / 2 - t), y + h / 2, 0)), "divider, cabinet frame")
        kind = b.pick(*kinds)
        for r in range(rows):
            x, low = (c + 0.5) * cw - (w / 2 - t), y + t + r * ch
            if r:
                b.add(box(cw, t, d * 0.95, (x, low, 0)), "shelf, cabinet frame" if b.chance() else "cabinet frame")
            if kind == "drawers":
                drawers(b, cw, ch, d * 0.9, (x, low + ch, d / 2), 1, b.n(1, 2), 0.4 if b.chance(0.4) else 0.0)
            elif kind == "open":
                b.add(box(cw, t, d * 0.92, (x, low + ch / 2, -d * 0.02)), "shelf")
            else:
                cell(b, x, low + ch / 2, cw, ch, d, d / 2, style)


@family("dresser", names=CABINET_WORDS)
def dresser(b: Builder) -> None:
    columns = b.n(1, 3)
    faced(b, columns * b.u(0.35, 0.7), b.u(0.5, 1.3), b.u(0.35, 0.55), b.u(0.03, 0.2), columns, b.n(2, 5), ("drawers",))


@family("wardrobe", names=CABINET_WORDS)
def wardrobe(b: Builder) -> None:
    columns = b.n(1, 3)
    faced(
        b,
        columns * b.u(0.45, 0.7),
        b.u(1.5, 2.1),
        b.u(0.45, 0.65),
        b.u(0, 0.12),
        columns,
        b.n(1, 2),
        ("doors", "doors", "drawers"),
    )


@family("sideboard", names=CABINET_WORDS)
def sideboard(b: Builder) -> None:
    """Low and wide: sideboards, stands for televisions, kitchen units."""
    columns = b.n(2, 4)
    w, h, d, y = columns * b.u(0.35, 0.6), b.u(0.3, 0.85), b.u(0.35, 0.6), b.u(0, 0.25)
    faced(b, w, h, d, y, columns, b.n(1, 2), ("doors", "drawers", "open"))
    if b.chance(0.5):
        b.add(box(w * 1.03, b.u(0.02, 0.05), d * 1.05, (0, y + h + 0.015, 0.01)), "countertop, cabinet frame")


# ---- switches and pens ----

SWITCHES = {
    "switch": ("button", "toggle", "rocker", "lever"),
    "body": ("base body", "main body", "housing", "box", "base"),
}


@family("rocker switch", names=SWITCHES)
def rocker_switch(b: Builder) -> None:
    """Switches to build in or to hold: a housing, what moves on its face, legs or terminals behind; facing up or
    ahead."""
    w, h, deep = b.u(0.3, 1.0), b.u(0.5, 1.0), b.u(0.15, 0.9)
    piece = Builder(b.rng)
    face = b.u(0.02, 0.1)
    if b.chance(0.7):
        piece.add(box(w * b.u(1.0, 1.25), h * b.u(1.0, 1.2), face, (0, 0, -face / 2), bevel=b.u(0, face / 3)), "body")
    shell = box(w, h, deep, (0, 0, -deep / 2 - face * 0.9), bevel=b.u(0, 0.05))
    piece.add(shell if b.chance(0.8) else cylinder(w / 2, deep, (0, 0, -deep / 2), axis="z"), "body")
    kind = b.pick("rocker", "two", "stick", "push", "slide", "knob", "paddle")
    if kind in ("rocker", "two"):
        count, tilt = (2 if kind == "two" else 1), b.u(5, 20) * (1 if b.chance() else -1)
        for i in range(count):
            x = ((i + 0.5) / count - 0.5) * w * 0.9
            piece.add(box(w * 0.8 / count, h * b.u(0.6, 0.9), b.u(0.08, 0.25)).turn("x", tilt).at(x, 0, 0), "switch")
    elif kind in ("stick", "paddle"):
        long, tilt = b.u(0.25, 0.9), b.u(10, 50) * (1 if b.chance() else -1)
        wide = w * b.u(0.08, 0.2) if kind == "stick" else w * b.u(0.3, 0.8)
        mesh = box(wide, 0.1, long, (0, 0, long / 2), bevel=0.02)
        if kind == "stick" and b.chance():
            mesh = rod((0, 0, 0), (0, 0, long), b.u(0.02, 0.04), b.u(0.04, 0.08))
        piece.add(mesh.turn("x", tilt), "switch")
        if kind == "stick" and b.chance(0.6):
            piece.add(cylinder(w * 0.2, 0.12, (0, 0, 0.04), axis="z"), "collar, body")
    elif kind == "push":
        r = min(w, h) * b.u(0.2, 0.45)
        piece.add(
            cylinder(r, b.u(0.08, 0.4), (0, 0, 0.05), axis="z", segments=28 if b.chance() else 4), "button, switch"
        )
    elif kind == "knob":
        r = min(w, h) * b.u(0.25, 0.45)
        piece.add(cylinder(r, 0.2, (0, 0, 0.1), axis="z", top=r * 0.85), "knob, switch")
        piece.add(box(r * 0.3, r * 1.9, 0.1, (0, 0, 0.22)).turn("z", b.u(0, 180)), "knob, switch")
    else:
        piece.add(
            box(w * 0.5, h * b.u(0.15, 0.3), b.u(0.08, 0.25), (0, b.u(-0.25, 0.25) * h, 0.05), bevel=0.01), "switch"
        )
    for _ in range(b.n(0, 3) if deep < 0.7 else 0):
        x, y = b.u(-0.35, 0.35) * w, b.u(-0.35, 0.35) * h
        piece.add(box(0.06, 0.02, 0.25, (x, y, -deep - 0.12)), "terminal, pin")
    flat, turn = b.chance(0.35), 90.0 if b.chance(0.3) else 0.0
    for names, mesh in piece.pieces():
        turned = mesh.turn("z", turn)
        b.add(turned.turn("x", -90) if flat else turned, names)


@family("marker", names={**PEN, "body": ("barrel", "pen body", "main body", "base body")})
def marker(b: Builder) -> None:
    """Thick pens under a cap of a third to a half of their length, upright, on their cap or lying."""
    piece = Builder(b.rng)
    r, cap = b.u(0.035, 0.1), b.u(0.2, 0.5)
    s = np.linspace(0, 1, 10)
    taper = 1 - b.u(-0.1, 0.35) * s
    rows = np.stack([r * taper, cap * 0.8 + (1 - cap * 0.8) * s], 1)
    outline = ellipse(1, b.u(0.6, 1) if b.chance(0.2) else 1, 20)
    piece.add(stack(outline, [(y, x) for x, y in rows]), "body")
    k, end = r * b.u(1.02, 1.3), b.u(0.5, 1)
    piece.add(stack(outline, [(0, k * end * 0.9), (0.02, k * end), (cap * 0.5, k), (cap, k)]), "cap")
    if b.chance(0.6):
        long = cap * b.u(0.6, 1)
        piece.add(
            box(r * b.u(0.3, 0.7), long, r * 0.25, (0, 0.02 + long / 2, k * 1.2))
            + box(r * 0.4, 0.02, k * 0.5, (0, 0.03, k)),
            "clip, cap" if b.chance() else "clip",
        )
    if b.chance(0.4):
        piece.add(lathe([(0, 0.99), (r * 0.7, 0.99), (r * 0.6, 1.04), (0, 1.05)], 16), "end, body")
    turn = {"cap down": 0, "cap up": 180, "lying": 90}[b.pick("cap down", "cap up", "cap up", "lying")]
    for names, mesh in piece.pieces():
        b.add(mesh.turn("x", turn), names)
