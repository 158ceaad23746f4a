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


def _lamp_cord(b: Builder, start: tuple[float, float, float], out: float) -> None:
    """A cord over the floor from the foot, sometimes with a switch in it or a plug at its end."""
    x, y, z = start
    side = b.uniform(-1, 1) * out
    end = (x + side, y, z - out * 1.6)
    path = bezier(start, (x, y, z - out), (x + 2 * side, y, z - out * 0.5), end, steps=18)
    b.add(tube(path, b.uniform(0.004, 0.009), 6), "cord")
    if b.chance(0.4):
        b.add(box(0.03, 0.02, 0.06, path[9], bevel=0.004), "switch")
    if b.chance(0.4):
        b.add(box(0.04, 0.03, 0.05, end, bevel=0.006), "plug")


def _lamp_arc(b: Builder, kind: str, r: float, h: float) -> None:
    """A floor lamp whose pole bends far over, or that carries arms with a shade each."""
    tall, out = b.uniform(1.0, 1.6), b.uniform(0.4, 0.9)
    foot, t = b.uniform(0.12, 0.22), b.uniform(0.008, 0.018)
    slab = box(2 * foot, 0.05, 1.6 * foot, (0, 0.025, 0), bevel=0.008)
    b.add(slab if b.chance(0.4) else cylinder(foot, b.uniform(0.02, 0.07), (0, 0.02, 0)), "base")
    if b.chance(0.65):
        path = bezier((0, 0, 0), (0, tall * 1.2, 0), (0, tall * 1.5, out), (0, tall * 0.95, out), steps=20)
        b.add(tube(path, t, 8), "pole")
        b.add(shade(b, r, h * 0.7).translate(0, tall * 0.95 - h * 0.2, out), "shade")
        b.add(sphere(0.045, (0, tall * 0.95 - h * 0.2, out)), "bulb")
        return
    b.add(rod((0, 0, 0), (0, tall, 0), t), "pole")
    count, lamp_r = b.integers(2, 5), r * b.uniform(0.35, 0.55)
    again = int(b.rng.integers(1 << 30))
    for i in range(count):
        y, turn = tall * (1 - 0.12 * i), i * 360 / count + b.uniform(-20, 20)
        arm = tube(bezier((0, y - 0.1, 0), (0, y - 0.1, out * 0.3), (0, y + 0.05, out * 0.4)), t * 0.7, 6)
        head = shade(Builder(np.random.default_rng(again)), lamp_r, lamp_r * 1.3).translate(0, y + 0.08, out * 0.4)
        b.add(arm.rotate("y", turn), "arm, pole")
        b.add(head.rotate("y", turn), "shade")


def _lamp_screen(b: Builder, kind: str, r: float, h: float) -> None:
    """A desk lamp with a bar of light, a banker's shade, a bendable neck or a clip."""
    tall, style = b.uniform(0.3, 0.6), b.choice("bar", "banker", "neck", "clip")
    foot, reach = b.uniform(0.08, 0.14), b.uniform(0.15, 0.4)
    if style == "clip":
        b.add(box(0.06, 0.02, 0.16, (0, 0.05, 0.0)) + box(0.06, 0.02, 0.16, (0, 0, 0)).rotate("x", -8), "clip, base")
        b.add(cylinder(0.015, 0.07, (0, 0.02, -0.06), axis="x"), "hinge")
    else:
        base = cylinder(foot, 0.03, (0, 0.015, 0)) if b.chance() else box(2 * foot, 0.03, 1.5 * foot, (0, 0.015, 0))
        b.add(base, "base")
        if b.chance(0.5):
            b.add(cylinder(0.018, 0.02, (foot * 0.4, 0.035, foot * 0.4)), "button")
    if style == "banker":
        b.add(rod((0, 0, 0), (0, tall, 0), 0.015), "pole")
        b.add_mirrored(rod((0.0, tall, 0), (0.12, tall, 0), 0.008), "arm")
        half = lathe([(0.09, -0.16), (0.09, 0.16)], 14, arc=180).rotate("z", 90)
        b.add(half.translate(0, tall, 0), "shade")
        b.add(rod((-0.13, tall, 0), (0.13, tall, 0), 0.02), "bulb")
        b.add(rod((0.1, tall - 0.2, 0.05), (0.1, tall, 0.05), 0.004, segments=5), "pull chain, switch")
        return
    path = bezier((0, 0.02, 0), (0, tall * 1.1, -0.1), (0, tall * 1.3, reach * 0.7), (0, tall * 0.9, reach), steps=20)
    if style == "bar" and b.chance():
        path = np.array([(0, 0.02, 0), (0, tall, -0.02), (0, tall * 1.02, 0.02), (0, tall, reach)])
    b.add(tube(path, b.uniform(0.008, 0.016), 8), "arm, pole")
    if style == "bar":
        w, d = b.uniform(0.06, 0.5), b.uniform(0.05, 0.3)
        b.add(box(w, 0.025, d, (0, path[-1][1], reach), bevel=0.008), "shade")
        b.add(box(w * 0.9, 0.006, d * 0.8, (0, path[-1][1] - 0.015, reach)), "bulb")
        return
    size, tilt = b.uniform(0.05, 0.11), -b.uniform(0, 60)
    rows = [(size, -0.1), (size * b.uniform(0.4, 1), 0), (size * 0.3, 0.06), (0, 0.06)]
    b.add(lathe(rows).rotate("x", tilt).translate(*path[-1]), "shade")
    b.add(sphere(0.03, (0, -0.06, 0)).rotate("x", tilt).translate(*path[-1]), "bulb")


def _chain(a: float, c: float, size: float) -> Mesh:
    """Links in turn from height a up to c."""
    count = max(2, int((c - a) / (size * 2.4)))
    links = [torus(size, size * 0.25, axis="z", segments=10).scale(0.6, 1, 1) for _ in range(count)]
    step = (c - a) / count
    return union([m.rotate("y", 90 * (i % 2)).translate(0, a + (i + 0.5) * step, 0) for i, m in enumerate(links)])


def _lamp_hanging(b: Builder, kind: str, r: float, h: float) -> None:
    """Pendants on cords, chains or rods: one, some in a row under a rail, or a bunch; wide bowls, bare bulbs, rings."""
    drop, count = b.uniform(0.25, 1.2), b.choice("one", "one", "rail", "bunch")
    hang, names = b.choice("cord", "chain", "rod"), {"cord": "cord, pole", "chain": "chain, pole", "rod": "pole"}
    n = 1 if count == "one" else b.integers(2, 5)
    gap = max(2.2 * r, 0.3)
    small = r * b.uniform(0.5, 1)
    state, bare, wide = int(b.rng.integers(1 << 30)), b.chance(0.15), b.uniform(0.25, 1.2)
    for i in range(n):
        x, z = ((i - (n - 1) / 2) * gap, 0.0) if count == "rail" else (0.0, 0.0)
        if count == "bunch":
            x, z = small * 1.2 * np.cos(i * 2 * np.pi / n), small * 1.2 * np.sin(i * 2 * np.pi / n)
        low = b.uniform(-0.3, 0.2) if count == "bunch" else 0.0
        line = (
            _chain(low, drop, 0.022)
            if hang == "chain"
            else rod((0, low, 0), (0, drop, 0), 0.005 if hang == "cord" else 0.012, segments=7)
        )
        b.add(line.translate(x, 0, z), names[hang])
        if bare:
            b.add(cylinder(0.03, 0.08, (x, low, z)), "socket")
        else:
            mesh = shade(Builder(np.random.default_rng(state)), small if n > 1 else r, h * wide)
            b.add(mesh.translate(x, low - h * wide * 0.4, z), "shade")
            b.add(rod((x, low - 0.05, z), (x, low + 0.03, z), 0.025), "socket, shade")
        if bare or b.chance(0.7):
            b.add(sphere(0.05, (x, low - 0.08, z)), "bulb")
    size = b.uniform(0.05, 0.11)
    mount = (
        box(gap * n, 0.04, 0.08, (0, drop, 0))
        if count == "rail"
        else lathe(
            [(0, drop - 0.03), (size * 0.4, drop - 0.03), (size, drop), (size, drop + 0.02), (0, drop + 0.02)]
        ).scale(1 if n == 1 else small * 1.5 / size, 1, 1 if n == 1 else small * 1.5 / size)
    )
    b.add(mount, "ceiling mount, bracket, base")


LAMP_KINDS = {
    "table": _lamp_table,
    "floor": _lamp_table,
    "tripod": _lamp_table,
    "desk": _lamp_desk,
    "ceiling": _lamp_ceiling,
    "wall": _lamp_wall,
    "arc": _lamp_arc,
    "screen": _lamp_screen,
    "hanging": _lamp_hanging,
}


@family("lamp", names=LAMP)
def lamp(b: Builder) -> None:
    """Table, floor, desk, wall and hanging lamps."""
    kind = b.choice(
        "table", "table", "floor", "desk", "ceiling", "tripod", "wall", "arc", "screen", "hanging", "hanging"
    )
    r, h = b.uniform(0.12, 0.32), b.uniform(0.12, 0.45)
    LAMP_KINDS[kind](b, kind, r, h)
    if kind in ("table", "floor", "desk", "arc", "screen") and b.chance(0.3):
        _lamp_cord(b, (0, 0.012, -0.08), b.uniform(0.1, 0.35))


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


def _window_grip(b: Builder) -> Mesh:
    """A small lever or knob on the front of a sash, about its foot."""
    long, r = b.uniform(0.05, 0.12), b.uniform(0.006, 0.014)
    if b.chance(0.3):
        return rod((0, 0, 0), (0, 0, 0.03), r) + sphere(r * 2, (0, 0, 0.035), 10)
    plate = box(3 * r, long * 0.6, 0.008, (0, 0, 0.004))
    lever = rod((0, 0, 0.025), (0, -long, 0.025), r, segments=6).rotate("z", b.uniform(0, 90))
    return plate + rod((0, 0, 0), (0, 0, 0.03), r, segments=6) + lever


def _sash(b: Builder, w: float, h: float, f: float, t: float, rows: int, columns: int) -> list[tuple[Mesh, str]]:
    """A pane in its sash, its lower left corner at the origin, with bars across."""
    glass = box(w - 1.4 * f, h - 1.4 * f, t * b.uniform(0.1, 0.4), (w / 2, h / 2, 0))
    pieces = [(glass, "pane")]
    pieces += [(box(f, h, t, (x, h / 2, 0)), "sash, frame") for x in (f / 2, w - f / 2)]
    pieces += [(box(w - 2 * f, f, t, (w / 2, y, 0)), "sash, frame") for y in (f / 2, h - f / 2)]
    thin = f * b.uniform(0.25, 0.6)
    for i in range(1, rows):
        pieces.append((box(w - 2 * f, thin, t * 0.8, (w / 2, f + (h - 2 * f) * i / rows, 0)), "sash, frame"))
    for j in range(1, columns):
        pieces.append((box(thin, h - 2 * f, t * 0.8, (f + (w - 2 * f) * j / columns, h / 2, 0)), "sash, frame"))
    return pieces


def _window_swing(b: Builder, pieces: list[tuple[Mesh, str]], w: float, h: float, side: str) -> list[tuple[Mesh, str]]:
    angle = b.uniform(5, 100)
    axis, pivot, turn = {
        "left": ("y", (0, 0, 0), -angle),
        "right": ("y", (w, 0, 0), angle),
        "top": ("x", (0, h, 0), -angle * 0.6),
        "bottom": ("x", (0, 0, 0), angle * 0.4),
        "middle": ("x", (0, h / 2, 0), angle * 0.7),
    }[side]
    return [(mesh.rotate(axis, turn, pivot), names) for mesh, names in pieces]


def _window_leaves(b: Builder, w: float, h: float, f: float, t: float) -> None:
    """Sashes side by side that swing, some of them open; sometimes a fixed row above."""
    columns, split = b.integers(1, 3), b.uniform(0.6, 0.8) if b.chance(0.3) else 1.0
    rows, bars = (b.integers(1, 4), b.integers(1, 3)) if b.chance(0.5) else (1, 1)
    cw, ch, open_ = w / columns, h * split, b.chance(0.45)
    for i in range(columns):
        pieces = _sash(b, cw * 0.995, ch * 0.995, f, t, rows, bars)
        side = b.choice("left", "right", "top", "bottom", "middle") if columns == 1 else "right" if i else "left"
        if b.chance(0.6):
            x = {"left": cw - f / 2, "right": f / 2}.get(side, cw / 2)
            y = ch / 2 if side in ("left", "right") else f / 2
            pieces.append((_window_grip(b).translate(x, y, t / 2), "handle"))
        if b.chance(0.3) and side in ("left", "right"):
            x = 0.0 if side == "left" else cw
            pieces += [(cylinder(0.012, 0.06, (x, y * ch, t / 2), segments=8), "hinge") for y in (0.15, 0.85)]
        if open_ and b.chance(0.7):
            pieces = _window_swing(b, pieces, cw, ch, side)
        for mesh, names in pieces:
            b.add(mesh.translate(-w / 2 + i * cw, 0, 0), names)
        if split < 1:
            for mesh, names in _sash(b, cw, h - ch, f * 0.8, t, 1, 1):
                b.add(mesh.translate(-w / 2 + i * cw, ch, 0), names)
    if columns > 1 and b.chance(0.4):
        for i in range(1, columns):
            b.add(box(f * 0.7, h, t * 1.3, (-w / 2 + i * cw, h / 2, -t)), "frame")


def _window_slide(b: Builder, w: float, h: float, f: float, t: float) -> None:
    """Two or three sashes in tracks one behind the other, sideways or up."""
    upright, count = b.chance(0.45), b.integers(2, 3)
    count = 2 if upright else count
    cw, ch = (w, h / 2 + f / 2) if upright else (w / count + f / 2, h)
    rows, bars, open_ = b.integers(1, 2), b.integers(1, 3), b.uniform(0, 0.85) if b.chance(0.5) else 0.0
    for i in range(count):
        pieces = _sash(b, cw, ch, f, t, rows, bars)
        at = i * (h - ch) if upright else i * (w - cw) / (count - 1)
        if i == 0:
            at += open_ * (h - ch if upright else (w - cw) / (count - 1))
            grip_ = (
                box(0.1, 0.02, 0.03, (cw / 2, f / 2, t / 2))
                if upright
                else _window_grip(b).translate(f / 2, ch / 2, t / 2)
            )
            pieces.append((grip_, "handle"))
        x, y = (-w / 2, at) if upright else (-w / 2 + at, 0.0)
        for mesh, names in pieces:
            b.add(mesh.translate(x, y, t * 1.1 * (0.5 - i % 2)), names)
    if not upright:
        b.add(box(w, f * 0.2, t * 3, (0, f * 0.1, 0)), "track, frame")


def _window_arched(b: Builder, w: float, h: float, f: float, t: float) -> None:
    """Under a round arch with rays, over one or two sashes."""
    columns, rows, bars = b.integers(1, 2), b.integers(1, 4), b.integers(1, 2)
    for i in range(columns):
        for mesh, names in _sash(b, w / columns, h, f, t, rows, bars):
            b.add(mesh.translate(-w / 2 + i * w / columns, 0, 0), names)
    r = w / 2
    half = np.array([*arc(r, 0, 180, (0, h, 0), steps=14)[:, :2]])
    b.add(extrude(half, t * 0.3), "pane")
    b.add(tube(arc(r + f / 2, 0, 180, (0, h, 0), steps=18), f * 0.6, 6), "frame")
    for a in np.linspace(0, 180, b.integers(2, 5))[1:-1]:
        b.add(rod((0, 0, 0), (r, 0, 0), f * 0.25, segments=6).rotate("z", a).translate(0, h, 0), "frame")
    b.add(box(w, f * 0.6, t, (0, h, 0)), "frame")


WINDOWS = {
    "leaves": _window_leaves,
    "slide": _window_slide,
    "arched": _window_arched,
}


def _window_extras(b: Builder, w: float, h: float, f: float, deep: float, low: float) -> None:
    if b.chance(0.45):
        out, t = b.uniform(0.04, 0.25), b.uniform(0.015, 0.05)
        b.add(box(w + b.uniform(2, 6) * f, t, deep + out, (0, low - t / 2, out / 2)), "sill")
    if b.chance(0.2):
        angle = b.uniform(0, 80) if b.chance() else 0
        t, wide = 0.025, w / 2
        leaf = box(wide, h, t, (wide / 2, 0, 0))
        slats = b.integers(5, 12) if b.chance(0.6) else 0
        for i in range(slats):
            y = ((i + 0.5) / slats - 0.5) * h * 0.9
            leaf += box(wide * 0.8, h / slats * 0.6, t * 0.5, (wide / 2, y, t * 0.6)).rotate("x", 10, (0, y, 0))
        leaf = leaf.rotate("y", -angle).translate(w / 2 + f, h / 2, deep / 2 + t)
        b.add_mirrored(leaf, "shutter")
    if b.chance(0.1):
        drop, count = h * b.uniform(0.3, 1), b.integers(8, 20)
        for i in range(count):
            slat = box(w * 0.95, 0.004, 0.04).rotate("x", 35).translate(0, h - drop * (i + 0.5) / count, -deep * 0.7)
            b.add(slat, "blind")


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
    """Casements, sliding and hung windows, arches; shut or open, with or without bars, sill and shutters."""
    w, h = b.uniform(0.4, 1.4), b.uniform(0.4, 1.3)
    f, t, deep = b.uniform(0.015, 0.09), b.uniform(0.02, 0.05), b.uniform(0.05, 0.2)
    kind = b.choice("leaves", "leaves", "leaves", "slide", "slide", "arched")
    b.add_mirrored(box(f, h, deep, (w / 2 + f / 2, h / 2, 0)), "frame")
    b.add(box(w + 2 * f, f, deep, (0, -f / 2, 0)), "frame")
    if kind != "arched":
        b.add(box(w + 2 * f, f, deep, (0, h + f / 2, 0)), "frame")
    WINDOWS[kind](b, w, h, f * b.uniform(0.5, 1), t)
    _window_extras(b, w, h, f, deep, -f)


def _dial(b: Builder, r: float, z: float, square: bool = False) -> None:
    """The face with marks, two or three hands and sometimes a glass before it."""
    plate = box(2 * r, 2 * r, 0.01, (0, 0, z)) if square else cylinder(r, 0.01, (0, 0, z), axis="z", segments=32)
    b.add(plate, "face")
    marks, size = b.choice("none", "four", "twelve", "twelve"), b.uniform(0.04, 0.15) * r
    for i in range(12 if marks == "twelve" else 4 if marks == "four" else 0):
        mark = box(size * 0.3, size, 0.01, (0, r * 0.86, z + 0.008))
        b.add(mark.rotate("z", i * 30 if marks == "twelve" else i * 90), "face")
    long, wide = b.uniform(0.65, 0.92), r * b.uniform(0.02, 0.09)
    kind = b.choice("bar", "pointed", "spade")
    hands = [(long, wide), (long * b.uniform(0.5, 0.75), wide * b.uniform(1, 1.5))]
    for i, (reach, w) in enumerate(hands + ([(long, wide * 0.3)] if b.chance(0.35) else [])):
        tip = {"bar": 1.0, "pointed": 0.1, "spade": 0.4}[kind]
        back, end = -r * 0.15, r * reach
        hand = extrude(np.array([(-w, back), (w, back), (w * tip, end), (-w * tip, end)]), 0.008)
        if kind == "spade":
            hand += cylinder(w * 2, 0.008, (0, end * 0.8, 0), axis="z", segments=10)
        b.add(hand.rotate("z", b.uniform(0, 360)).translate(0, 0, z + 0.015 + 0.01 * i), "hand")
    b.add(cylinder(wide * 2, 0.03, (0, 0, z + 0.02), axis="z", segments=12), "hand")
    if b.chance(0.15):
        b.add(ellipsoid(r, r, r * b.uniform(0.02, 0.2), (0, 0, z + 0.04)), "glass")


def _clock_wall(b: Builder) -> None:
    r, t = b.uniform(0.3, 0.5), b.uniform(0.015, 0.15)
    kind, rim = b.choice("round", "round", "round", "square", "polygon", "sun", "none"), b.uniform(0.01, 0.12)
    if kind == "square":
        f = rim + 0.01
        b.add(box(2 * r + 2 * f, 2 * r + 2 * f, t, bevel=b.uniform(0, 0.02)), "frame")
        b.add_mirrored(box(f, 2 * r, t * 0.5, (r + f / 2, 0, t / 2)), "frame")
        b.add(box(2 * r + 2 * f, f, t * 0.5, (0, r + f / 2, t / 2)), "frame")
        b.add(box(2 * r + 2 * f, f, t * 0.5, (0, -r - f / 2, t / 2)), "frame")
    elif kind != "none":
        sides = b.integers(6, 12) if kind == "polygon" else 36
        outer, z = r + rim, t * b.uniform(0.5, 1)
        ring = [(r, t / 2), (r + rim * 0.2, z), (outer, z * b.uniform(0.4, 1)), (outer, -t / 2), (0, -t / 2)]
        b.add(lathe(ring, sides).rotate("x", 90), "frame")
    rays = b.integers(8, 24) if kind == "sun" else 0
    for i in range(rays):
        ray = rod((0, r, 0), (0, r * b.uniform(1.3, 1.8), 0), 0.02, b.uniform(0.004, 0.03), segments=6)
        b.add(ray.rotate("z", i * 360 / rays), "frame")
    if kind == "none":
        b.add(cylinder(r * b.uniform(0.15, 0.8), 0.04, (0, 0, -0.02), axis="z"), "frame")
    _dial(b, r * 0.995, t * 0.3 + 0.006 if kind != "square" else t / 2 + 0.006, kind == "square")
    if b.chance(0.2):
        b.add(box(0.06, 0.02, 0.2, (0, r + rim, -t / 2 - 0.08)), "bracket")


def _clock_alarm(b: Builder) -> None:
    r, t = b.uniform(0.3, 0.45), b.uniform(0.1, 0.3)
    case = lathe([(r * 0.9, t / 2), (r, t / 2 + 0.03), (r * 1.06, t / 3), (r * 1.06, -t / 3), (r * 0.8, -t / 2)], 30)
    b.add((case + lathe([(r * 0.8, -t / 2), (0, -t / 2)], 30)).rotate("x", 90), "frame")
    _dial(b, r * 0.92, t / 2)
    for s in (-1, 1):
        leg = rod((s * r * 0.55, -r * 0.8, 0), (s * r * 0.8, -r * 1.3, 0.02), 0.03, b.uniform(0.015, 0.05))
        b.add(leg, "leg, foot")
    if b.chance(0.75):
        size, tilt = r * b.uniform(0.25, 0.45), b.uniform(25, 45)
        for s in (-1, 1):
            bell = ellipsoid(size, size * 0.7, size, low=0) + rod((0, -r * 0.3, 0), (0, size * 0.8, 0), 0.015)
            b.add(bell.translate(0, r * 1.2, 0).rotate("z", -s * tilt), "bell, alarm bell")
        if b.chance(0.6):
            b.add(tube(arc(r * 0.7, 25, 155, (0, r * 1.0, 0), r2=r * b.uniform(0.6, 1)), 0.015, 6), "handle")
        b.add(rod((0, r, 0), (0, r * 1.4, 0), 0.012) + cylinder(0.04, 0.06, (0, r * 1.4, 0), axis="x"), "hammer")
    for _ in range(b.integers(0, 4)):
        x, y = r * b.uniform(-0.5, 0.5), r * b.uniform(-0.5, 0.5)
        b.add(cylinder(0.035, 0.08, (x, y, -t / 2 - 0.03), axis="z", segments=10), "knob")


def _clock_digital(b: Builder) -> None:
    w, h, d = b.uniform(0.6, 1), b.uniform(0.2, 0.5), b.uniform(0.12, 0.45)
    b.add(box(w, h, d, (0, h / 2, 0), bevel=b.uniform(0, 0.06), top=b.uniform(0.85, 1)), "frame")
    b.add(box(w * 0.85, h * 0.7, 0.02, (0, h / 2, d / 2)), "screen, face")
    for i in range(b.integers(1, 5)):
        b.add(box(w * 0.1, 0.03, d * 0.2, (w * (0.15 * i - 0.3), h, b.uniform(-0.1, 0.1) * d), bevel=0.005), "button")
    if b.chance(0.5):
        b.add_mirrored(box(w * 0.12, 0.03, d * 0.9, (w * 0.35, -0.01, 0)), "base, foot")


def _clock_mantel(b: Builder) -> None:
    """On a shelf: a case with a round or pointed top, of arched wings, or a stand with pillars."""
    r, t, kind = b.uniform(0.2, 0.35), b.uniform(0.1, 0.3), b.choice("arch", "gable", "wings", "pillars")
    w, low = r * b.uniform(1.15, 1.7), -r * b.uniform(1.2, 2.2)
    gable = np.array([(w, r * 0.8), (0, r * 2), (-w, r * 0.8)])
    top = {"gable": gable, "arch": arc(w, 0, 180, r2=max(r * 1.15, w))[:, :2]}
    wings = [(w * 2.4, low * 0.85), *bezier((w * 2, low * 0.7), (w * 1.2, 0), (w * 0.9, r), (0, r * 1.3), steps=8)]
    if kind == "pillars":
        b.add(lathe([(r, t / 2), (r * 1.12, t / 2), (r * 1.12, -t / 2), (0, -t / 2)], 28).rotate("x", 90), "frame")
        for s in (-1, 1):
            b.add(rod((s * r * 0.8, low, 0), (s * r * 0.8, -r * 0.5, 0), r * 0.12), "frame")
    else:
        if kind == "wings":
            outline = np.array([*wings, *[(-x, y) for x, y in reversed(wings)]])
        else:
            outline = np.array([(-w, low), (w, low), *top[kind]])
        b.add(extrude(outline, t), "case, body")
        b.add(torus(r, r * 0.06, (0, 0, t / 2), axis="z"), "frame")
    _dial(b, r * 0.95, t / 2 + 0.006)
    wide = w * (5.2 if kind == "wings" else 2.3)
    b.add(box(wide, r * 0.25, t * 1.4, (0, low - r * 0.1, 0), bevel=0.01), "base")
    for s in (-1, 1):
        if kind != "wings" and b.chance(0.4):
            b.add(sphere(r * 0.1, (s * w * 0.9, low - r * 0.3, t * 0.4)), "foot, base")


def _clock_tall(b: Builder) -> None:
    """A grandfather or a cuckoo clock: a case with pendulum, chains, weights."""
    r, long, house = b.uniform(0.14, 0.24), b.uniform(0.6, 1.6), b.chance(0.4)
    t, w = r * b.uniform(0.8, 1.5), r * b.uniform(1.15, 1.5)
    z = t / 2
    b.add(box(2 * w, 2.3 * r, t, bevel=0.01), "case, body")
    b.add(torus(r, r * 0.07, (0, 0, z), axis="z"), "frame")
    _dial(b, r * 0.95, z + 0.006)
    if house or b.chance(0.6):
        outline = np.array([(-w * 1.3, r), (0, r * b.uniform(1.5, 2.3)), (w * 1.3, r), (w * 1.1, r), (-w * 1.1, r)])
        b.add(extrude(outline[:3], t * 1.3), "roof" if house else "case, body")
    low = -1.15 * r - long
    if not house:
        wall = w * 0.12
        b.add_mirrored(box(wall, long, t, (w * 0.8, -1.15 * r - long / 2, 0)), "case, body")
        b.add(box(1.6 * w, long, wall, (0, -1.15 * r - long / 2, -t / 2)), "case, body")
        if b.chance(0.5):
            b.add(box(1.5 * w, long, 0.01, (0, -1.15 * r - long / 2, z)), "glass" if b.chance() else "door")
        b.add(box(2.1 * w, long * 0.3, t * 1.2, (0, low - long * 0.15, 0), bevel=0.01), "base")
    else:
        low = -1.15 * r - long * 0.6
    end = low * b.uniform(0.6, 0.9)
    b.add(rod((0, -r, 0), (0, end, 0), 0.008), "pendulum")
    b.add(cylinder(r * b.uniform(0.3, 0.55), 0.02, (0, end, 0), axis="z"), "pendulum")
    for s in (-1, 1) if house or b.chance(0.4) else ():
        y = end * b.uniform(0.6, 1.1)
        b.add(rod((s * w * 0.4, -r, 0), (s * w * 0.4, y, 0), 0.005, segments=5), "chain")
        b.add(cylinder(r * 0.15, r * 0.7, (s * w * 0.4, y, 0), top=r * 0.1), "weight")


CLOCKS = {
    "wall": _clock_wall,
    "alarm": _clock_alarm,
    "digital": _clock_digital,
    "mantel": _clock_mantel,
    "tall": _clock_tall,
}


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
    """Wall, alarm, digital, shelf and long-case clocks, the face to the front."""
    CLOCKS[b.choice("wall", "wall", "wall", "alarm", "digital", "mantel", "tall")](b)


def _faucet_arch(b: Builder, h: float, out: float) -> np.ndarray:
    return bezier((0, 0, 0), (0, h * 1.4, 0), (0, h * 1.5, out), (0, h * b.uniform(0.3, 0.8), out), steps=20)


def _faucet_goose(b: Builder, h: float, out: float) -> np.ndarray:
    # an upright pipe, half a circle, a short way down
    top, r = h * b.uniform(0.8, 1.4), out / 2
    drop = top - b.uniform(0, 0.7) * h
    return np.array([(0, 0, 0), (0, top / 2, 0), *arc(r, 180, 0, (0, top, r), plane="zy", steps=14), (0, drop, out)])


def _faucet_slope(b: Builder, h: float, out: float) -> np.ndarray:
    rise = h * b.uniform(-0.05, 0.5)
    return np.array([(0, 0, -0.01), (0, 0.02, 0.03), (0, 0.03 + rise, out * 0.95), (0, rise - 0.03, out)])


def _faucet_square(b: Builder, h: float, out: float) -> np.ndarray:
    return np.array([(0, 0, 0), (0, h, 0), (0, h, out), (0, h * b.uniform(0.7, 0.95), out)])


def _faucet_low(b: Builder, h: float, out: float) -> np.ndarray:
    return bezier((0, 0, 0), (0, h * 0.2, out * 0.4), (0, h * 0.35, out * 0.8), (0, -h * 0.1, out), steps=12)


FAUCET_PATHS = {
    "arch": _faucet_arch,
    "goose": _faucet_goose,
    "slope": _faucet_slope,
    "square": _faucet_square,
    "low": _faucet_low,
}


def _faucet_spout(b: Builder, r: float, kind: str, high: float, out: float) -> Mesh:
    """A spout that starts at the origin: round, flat and wide, or tapered; sometimes with a spray head or a coil."""
    path = FAUCET_PATHS[kind](b, high, out)
    style = b.choice("round", "round", "taper", "flat")
    if style == "flat":
        wide, thick = r * b.uniform(1.5, 5), r * b.uniform(0.3, 1.4)
        return sweep(path, rounded_rectangle(wide, thick, thick * b.uniform(0, 0.5)), up=(0.0, 0.001, 1))
    sizes = np.linspace(1, b.uniform(0.5, 0.9), len(path)) if style == "taper" else np.ones(len(path))
    mesh = tube(path, r * sizes, 12)
    end, ahead = path[-1], (path[-1] - path[-2]) / np.linalg.norm(path[-1] - path[-2])
    if b.chance(0.4):
        mesh += rod(end - ahead * r * 0.2, end + ahead * r * b.uniform(0.4, 1.2), r * b.uniform(1.05, 1.5))
    elif kind in ("goose", "arch") and b.chance(0.4):
        mesh += rod(end - ahead * 0.02, end + ahead * b.uniform(0.08, 0.2), r * 1.1, r * b.uniform(1.2, 1.8))
    if kind == "goose" and b.chance(0.2):
        mesh += union([torus(r * 1.5, r * 0.3, (0, y, 0), segments=14) for y in np.arange(0.05, high * 0.8, r)])
    return mesh


def _valve_cross(b: Builder, r: float, size: float) -> Mesh:
    y, mesh = r * b.uniform(1.2, 3), rod((0, 0, 0), (0, r * 3, 0), r * 0.6)
    for a in (0, 90):
        bar_ = rod((-size, 0, 0), (size, 0, 0), r * 0.35, segments=8)
        if b.chance():
            bar_ += sphere(r * 0.55, (size, 0, 0), 8) + sphere(r * 0.55, (-size, 0, 0), 8)
        mesh += bar_.rotate("y", a).translate(0, y, 0)
    return mesh.rotate("y", b.uniform(0, 90))


def _valve_lever(b: Builder, r: float, size: float) -> Mesh:
    y, rise = r * b.uniform(0.8, 2), size * b.uniform(-0.1, 1)
    mesh = cylinder(r, y, (0, y / 2, 0), top=r * b.uniform(0.7, 1))
    end = np.array([size * 1.7, y + rise, 0])
    if b.chance():
        return mesh + bar((0, y * 0.8, 0), end, r * b.uniform(0.6, 1.6), r * b.uniform(0.25, 0.6))
    return mesh + rod((0, y * 0.8, 0), end, r * b.uniform(0.25, 0.5), r * b.uniform(0.3, 0.6))


def _valve_knob(b: Builder, r: float, size: float) -> Mesh:
    k, y = r * b.uniform(1.1, 2), r * b.uniform(1.5, 3.5)
    rows = [(0, 0), (k * b.uniform(0.5, 1), 0), (k, y * b.uniform(0.3, 0.8)), (k * b.uniform(0.6, 1), y), (0, y)]
    return lathe(rows, b.integers(5, 20))


def _valve_wheel(b: Builder, r: float, size: float) -> Mesh:
    y = r * b.uniform(1.5, 3)
    ring, spoke = torus(size, r * 0.35, (0, y, 0), segments=18), rod((-size, y, 0), (size, y, 0), r * 0.25, segments=6)
    return ring + spoke + spoke.rotate("y", 90) + rod((0, 0, 0), (0, y, 0), r * 0.4)


def _valve_wing(b: Builder, r: float, size: float) -> Mesh:
    y = r * b.uniform(1.5, 3)
    return rod((0, 0, 0), (0, y, 0), r * 0.5) + box(size * 2, r * b.uniform(0.6, 1.5), r * 0.5, (0, y, 0), bevel=0.005)


VALVES = {
    "cross": _valve_cross,
    "lever": _valve_lever,
    "knob": _valve_knob,
    "wheel": _valve_wheel,
    "wing": _valve_wing,
}


def _faucet_single(b: Builder, r: float) -> None:
    """A column with one lever on its top, its side or its back, or with a sensor and no lever."""
    tall, wide = b.uniform(0.04, 0.45), r * b.uniform(1.0, 1.8)
    if b.chance(0.8):
        b.add(cylinder(wide * b.uniform(1.1, 1.6), 0.02, (0, 0.01, 0)), "base")
    if b.chance(0.2):
        b.add(box(b.uniform(0.25, 0.5), 0.015, wide * 2.6, (0, 0.008, 0), corner=wide), "base")
    square = b.chance(0.25)
    column = (
        box(2 * wide, tall, 2 * wide, (0, tall / 2, 0), bevel=0.006)
        if square
        else cylinder(wide, tall, (0, tall / 2, 0), top=wide * b.uniform(0.8, 1))
    )
    b.add(column, "base")
    place = b.choice("top", "top", "side", "side", "none")
    kind = b.choice("low", "slope", "square") if place == "top" else b.choice(*FAUCET_PATHS)
    at = tall * b.uniform(0.5, 0.95) if kind in ("low", "slope") else tall * 0.98
    b.add(_faucet_spout(b, r, kind, b.uniform(0.1, 0.6), b.uniform(0.2, 0.5)).translate(0, at, 0), "spout")
    size = b.uniform(0.05, 0.13)
    if place == "top":
        turn = b.choice("back", "front", "aside")
        handle = _valve_lever(b, wide * 0.9, size).rotate("y", {"back": 90, "front": -90, "aside": 0}[turn])
        b.add((handle if b.chance(0.85) else _valve_knob(b, wide * 0.7, size)).translate(0, tall, 0), "switch")
    elif place == "side":
        handle = _valve_lever(b, wide * b.uniform(0.4, 0.9), size).rotate("y", b.uniform(0, 360)).rotate("z", -90)
        side = 1 if b.chance(0.7) else -1
        handle = handle if side > 0 else handle.mirror("x")
        b.add(handle.translate(side * wide * 0.8, tall * b.uniform(0.4, 0.8), 0), "switch")


def _faucet_two(b: Builder, r: float) -> None:
    """A spout between two valves, on a plate, alone, or under a bridge."""
    gap, kind = b.uniform(0.1, 0.3), b.choice("plate", "alone", "bridge")
    high, out, wide = b.uniform(0.15, 0.5), b.uniform(0.2, 0.45), r * b.uniform(1, 1.7)
    foot = b.uniform(0.03, 0.16)
    start = 0.0
    if kind == "plate":
        start = b.uniform(0.02, 0.07)
        b.add(box(gap * 2 + 3 * wide, start, wide * 3, (0, start / 2, 0), corner=wide * b.uniform(0, 1.5)), "base")
    elif kind == "bridge":
        start = b.uniform(0.08, 0.2)
        foot = start + wide
        b.add(rod((-gap, start, 0), (gap, start, 0), wide * 0.8), "base")
    if kind != "bridge":
        b.add(lathe([(wide * 1.4, start), (wide * 1.3, start + 0.02), (wide, start + 0.05), (0, start + 0.06)]), "base")
    spout = _faucet_spout(b, r, b.choice("arch", "goose", "square", "low", "slope"), high, out)
    b.add(spout.translate(0, start, 0), "spout")
    valve, size = b.choice("cross", "cross", "lever", "lever", "knob", "wheel", "wing"), b.uniform(0.04, 0.09)
    handle = VALVES[valve](b, wide * 0.8, min(size, gap * 0.7))
    y = start + foot if kind != "bridge" else foot
    for s in (-1, 1):
        b.add(cylinder(wide, y, (s * gap, y / 2, 0), top=wide * 0.8), "base")
        b.add((handle if s > 0 else handle.mirror("x")).translate(s * gap, y, 0), "switch")


def _faucet_wall(b: Builder, r: float) -> None:
    """Out of the wall behind: two valves on a bar, or one spout with a lever."""
    gap, deep, out = b.uniform(0.12, 0.25), b.uniform(0.06, 0.15), b.uniform(0.15, 0.4)
    wide = r * b.uniform(1, 1.6)
    spout = _faucet_spout(b, r, b.choice("low", "slope", "arch"), b.uniform(0.08, 0.3), out)
    if b.chance(0.3):
        b.add(box(gap * 2.4, wide * 3, 0.02, (0, 0, -deep), bevel=0.005), "base")
    else:
        b.add_mirrored(cylinder(wide * 1.8, 0.015, (gap, 0, -deep), axis="z"), "base")
    b.add_mirrored(rod((gap, 0, -deep), (gap, 0, 0), wide * 0.8), "base")
    b.add(rod((-gap * 1.1, 0, 0), (gap * 1.1, 0, 0), wide), "base")
    b.add(spout.translate(0, -wide * 0.5 if b.chance() else wide * 0.5, 0), "spout")
    handle = VALVES[b.choice(*VALVES)](b, wide * 0.8, b.uniform(0.04, 0.09))
    turn = b.choice("up", "out", "front")
    for s in (-1, 1):
        placed = {"up": handle, "out": handle.rotate("z", -90), "front": handle.rotate("x", 90)}[turn]
        placed = placed.translate(gap * 1.1 if turn == "out" else gap, 0 if turn == "out" else wide * 0.5, 0)
        b.add(placed if s > 0 else placed.mirror("x"), "switch")


def _faucet_garden(b: Builder, r: float) -> None:
    """A tap of a barrel or a garden: a pipe from the back, a valve on top, a mouth that bends down."""
    deep, out, drop = b.uniform(0.1, 0.3), b.uniform(0.1, 0.25), b.uniform(0.06, 0.2)
    wide = r * b.uniform(1.2, 2)
    if b.chance(0.6):
        b.add(cylinder(wide * 1.8, 0.02, (0, 0, -deep), axis="z", segments=b.integers(6, 20)), "base")
    b.add(rod((0, 0, -deep), (0, 0, 0.02), wide), "base")
    b.add(sphere(wide * b.uniform(1.1, 1.6)), "base")
    b.add(tube(bezier((0, 0, 0), (0, 0, out), (0, 0.0, out), (0, -drop, out), steps=10), r * 1.1), "spout")
    b.add(rod((0, -drop, out), (0, -drop - 0.03, out), r * b.uniform(1.1, 1.6)), "spout")
    neck = b.uniform(0.04, 0.12)
    b.add(cylinder(wide * 0.7, neck, (0, wide + neck / 2, 0), segments=b.integers(6, 16)), "base")
    handle = VALVES[b.choice("wing", "wing", "wheel", "cross", "lever")](b, wide * 0.6, b.uniform(0.06, 0.12))
    b.add(handle.rotate("y", b.uniform(0, 360)).translate(0, wide + neck, 0), "switch")


FAUCETS = {
    "single": _faucet_single,
    "two": _faucet_two,
    "wall": _faucet_wall,
    "garden": _faucet_garden,
}


@family(
    "faucet",
    names={
        "spout": ("nozzle", "tap spout", "water outlet"),
        "switch": ("handle", "tap handle", "lever", "knob"),
        "base": ("body", "foot", "bottom base"),
    },
)
def faucet(b: Builder) -> None:
    """Mixers, pillars with two valves, taps in a wall, garden taps; the spout to the front."""
    FAUCETS[b.choice("single", "single", "single", "two", "two", "wall", "garden")](b, b.uniform(0.018, 0.05))


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


def _pump(b: Builder, r: float, y: float) -> Mesh:
    """A head to press down about the y axis: stem, knob, nozzle to the front."""
    stem, size = r * b.uniform(0.3, 2), r * b.uniform(0.7, 1.3)
    top, reach = y + stem, size + r * b.uniform(0.3, 2.5)
    mesh = rod((0, y - 0.02, 0), (0, top, 0), r * b.uniform(0.2, 0.45))
    kind, high = b.choice("block", "disc", "swan", "flat"), r * b.uniform(0.4, 0.9)
    if kind == "swan":
        path = bezier((0, top, 0), (0, top + high * 2, 0), (0, top + high * 1.5, reach), (0, top - high, reach))
        return mesh + tube(path, r * b.uniform(0.2, 0.35), 8)
    if kind == "flat":
        wide = size * b.uniform(0.5, 1)
        return mesh + box(wide, high * 0.6, size + reach, (0, top, (reach - size) / 2), bevel=high * 0.1)
    head = (
        cylinder(size * 0.8, high, (0, top, 0))
        if kind == "disc"
        else box(size * 1.4, high, size * 1.6, (0, top, 0), bevel=high * 0.2)
    )
    end = [(0, top, 0), (0, top + high * 0.1, reach), (0, top - high * b.uniform(0.1, 0.9), reach * 1.12)]
    return mesh + head + tube(end, r * b.uniform(0.15, 0.3), 8)


def _dispenser_bottle(b: Builder) -> None:
    """A bottle with a collar and a pump; round, oval, square, of a jug, or double-walled."""
    r, h, kind = b.uniform(0.12, 0.3), b.uniform(0.25, 0.8), b.choice("round", "belly", "oval", "square", "cone")
    s = np.linspace(0, 1, 12)
    neck, deep = r * b.uniform(0.25, 0.6), b.uniform(0.4, 1)
    shape = {"belly": 0.75 + 0.25 * np.sin(np.pi * s * b.uniform(0.6, 1)), "cone": 1 - b.uniform(0.1, 0.5) * s}
    side = shape.get(kind, np.ones(12)) * r
    shoulder = h * b.uniform(0.02, 0.3)
    rows = [(0, side[0] * 0.92), *np.stack([0.02 + h * s, side], 1), (0.02 + h + shoulder, neck)]
    outline = (
        rounded_rectangle(2, 2 * deep, b.uniform(0.05, 0.5))
        if kind == "square"
        else np.stack([np.sin(2 * np.pi * np.arange(24) / 24), np.cos(2 * np.pi * np.arange(24) / 24)], 1)
        * (1, deep if kind == "oval" else 1)
    )
    b.add(stack(outline, [(y, x) for y, x in rows]), "body")
    y, collar, high = 0.02 + h + shoulder, neck * b.uniform(1.0, 1.3), b.uniform(0.03, 0.1)
    b.add(lathe([(collar, y - 0.02), (collar, y + high * 0.8), (collar * 0.6, y + high), (0, y + high)]), "lid")
    turn = b.uniform(0, 360) if b.chance(0.3) else 0
    b.add(_pump(b, neck * b.uniform(0.8, 1.4), y + high).rotate("y", turn), "head")
    if b.chance(0.3):
        b.add(rod((0, 0.05, 0), (0, y, 0), neck * 0.15, segments=6), "tube, head")


def _dispenser_spray(b: Builder) -> None:
    r, h = b.uniform(0.12, 0.22), b.uniform(0.35, 0.6)
    neck, k = r * b.uniform(0.25, 0.45), b.uniform(0.7, 1)
    rows = [(0, 0), (r, 0), (r, h * 0.6), (r * k, h * 0.75), (neck, h * 0.95), (neck, h)]
    b.add(lathe(rows, 24).scale(1, 1, b.uniform(0.5, 1)), "body")
    b.add(cylinder(neck * 1.3, 0.07, (0, h + 0.02, 0)), "lid")
    y, long = h + b.uniform(0.1, 0.18), r * b.uniform(1.2, 2)
    b.add(box(neck * 1.6, 0.1, long, (0, y, long * 0.15), bevel=0.02), "head")
    b.add(cylinder(0.03, 0.05, (0, y + 0.01, long * 0.67), axis="z") + rod((0, h, 0), (0, y, 0), neck * 0.7), "head")
    path = bezier((0, y, long * 0.4), (0, y - 0.08, long * 0.4), (0, y - 0.16, long * b.uniform(0.5, 0.8)))
    b.add(sweep(path, rounded_rectangle(neck, 0.02), up=(0, 0.01, 1)), "trigger, head")


def _dispenser_wall(b: Builder) -> None:
    """A box on a wall for soap or towels: a cover, a lever or button below, a window for the level."""
    w, h, d = b.uniform(0.3, 0.7), b.uniform(0.5, 0.9), b.uniform(0.25, 0.4)
    b.add(box(w, h, d * 0.4, (0, 0, -d * 0.3), bevel=b.uniform(0, 0.03)), "body")
    front = box(w, h * 0.75, d * 0.7, (0, h * 0.1, d * 0.2), bevel=b.uniform(0.01, 0.1), top=b.uniform(0.7, 1))
    b.add(front.rotate("x", b.uniform(20, 70) if b.chance(0.15) else 0, (0, -h * 0.28, 0)), "lid")
    kind = b.choice("lever", "button", "nozzle", "paper")
    if kind == "lever":
        b.add(box(w * b.uniform(0.4, 0.9), h * 0.25, 0.04, (0, -h * 0.33, d * 0.45), bevel=0.015), "head")
    elif kind == "button":
        b.add(cylinder(w * 0.2, 0.06, (0, -h * 0.05, d * 0.56), axis="z"), "button")
    elif kind == "paper":
        b.add(box(w * 0.8, h * 0.3, 0.008, (0, -h * 0.45, d * 0.15)), "paper")
    if kind != "paper":
        b.add(cylinder(0.03, 0.1, (0, -h * 0.45, d * 0.15), top=0.04), "head")
    if b.chance(0.4):
        b.add(box(w * 0.15, h * 0.4, 0.01, (0, h * 0.15, d * 0.555)), "window")


def _dispenser_water(b: Builder) -> None:
    """A water cooler: a cabinet with a niche, taps, a tray, a bottle upside down on its top."""
    w, h, d = b.uniform(0.3, 0.4), b.uniform(0.5, 1), b.uniform(0.28, 0.4)
    niche, low = h * b.uniform(0.2, 0.35), h * b.uniform(0.45, 0.55)
    top = low + niche
    b.add(box(w, low, d, (0, low / 2, 0), bevel=0.01) + box(w, h - top, d, (0, (h + top) / 2, 0), bevel=0.01), "body")
    b.add(box(w, niche * 1.1, d * 0.6, (0, low + niche / 2, -d * 0.2)), "body")
    count = b.integers(1, 3)
    for i in range(count):
        x = ((i + 0.5) / count - 0.5) * w * 0.8
        tap = rod((x, top - niche * 0.2, d * 0.1), (x, top - niche * 0.2, d * 0.3), 0.02)
        b.add(tap + rod((x, top - niche * 0.2, d * 0.28), (x, top - niche * 0.45, d * 0.28), 0.015), "tap, head")
        b.add(box(0.04, 0.02, 0.06, (x, top - niche * 0.1, d * 0.33)), "button")
    b.add(box(w * 0.8, 0.02, d * 0.45, (0, low + 0.01, d * 0.28)), "drip tray, tray")
    if b.chance(0.75):
        r, tall = w * b.uniform(0.32, 0.45), b.uniform(0.25, 0.45)
        rows = [(r * 0.25, h - 0.02), (r * 0.25, h + 0.04), (r, h + 0.14), (r, h + tall), (r * 0.9, h + tall + 0.03)]
        b.add(lathe([*rows, (0, h + tall + 0.03)]), "water tank, tank")


DISPENSERS = {
    "bottle": _dispenser_bottle,
    "spray": _dispenser_spray,
    "wall": _dispenser_wall,
    "water": _dispenser_water,
}


@family(
    "dispenser",
    names={
        "body": ("bottle", "container", "main body", "base body"),
        "head": ("pump head", "pump", "nozzle"),
        "lid": ("cap", "cover"),
    },
)
def dispenser(b: Builder) -> None:
    """Pump bottles above all; sprays, boxes on a wall, water coolers."""
    DISPENSERS[b.choice("bottle", "bottle", "bottle", "bottle", "spray", "wall", "water")](b)


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
