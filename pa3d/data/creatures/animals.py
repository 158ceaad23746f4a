"""Animals: rigs of four-legged animals, birds, fish, reptiles, insects and others, with random proportions.

An animal stands on or near y = 0, faces +z and is about one unit long.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pa3d.data.creatures.body import Ball, Limb, Motion, Plate, Rig, rotation

Rng = np.random.Generator
Vector = NDArray[np.float64]

HEAD = ("head",)
BODY = ("body", "torso", "main body")
TAIL = ("tail",)
SNOUT = ("snout", "muzzle", "nose", *HEAD)
LEGS = {
    "front leg": ("front leg", "foreleg", "leg"),
    "back leg": ("back leg", "hind leg", "rear leg", "leg"),
    "leg": ("leg", "legs"),
}


@dataclass(frozen=True)
class Quadruped:
    """Proportions relative to a trunk of length 1; angles in degrees above the horizon."""

    leg: float = 0.6
    leg_radius: float = 0.06
    body: tuple[float, float] = (0.19, 0.23)  # half width, half height
    neck: tuple[float, float, float] = (0.4, 45, 0.1)  # length, angle, radius
    head: tuple[float, float] = (0.13, -20)  # radius, angle
    snout: tuple[float, float] = (0.2, 0.07)  # length, radius
    ears: str = "pointed"
    tail: tuple[float, float, float] = (0.5, 0.03, -50)  # length, radius, angle
    foot: str = "paw"
    horns: str = ""
    mane: float = 0.0
    sprawl: float = 0.0
    trunk: bool = False
    shell: bool = False
    squat: bool = False  # sits at times
    hind: float = 1.0  # girth of the hind leg against the front leg
    extra: str = ""  # hump, frill, plates, comb


def _chain(
    rig: Rig,
    stem: str,
    parent: str,
    points: Sequence[ArrayLike],
    radii: Sequence[float],
    keys: Sequence[str] | str,
    group: str,
    *,
    k: float = 0.03,
    tag: str = "",
    flat: float = 1.0,
    axis: tuple[float, float, float] = (0, 1, 0),
) -> str:
    """Add bones stem0, stem1 ... along points, each with a tapered limb. Returns the name of the last bone."""
    for i in range(len(points) - 1):
        name = f"{stem}{i}{tag}"
        joint = rig.bone(name, parent, points[i])
        key = keys if isinstance(keys, str) else keys[i]
        end = np.asarray(points[i + 1], np.float64)
        rig.primitives.append(Limb(name, key, joint, end, (radii[i], radii[i + 1]), k, group, flat=flat, axis=axis))
        parent = name
    return parent


def _ball(
    rig: Rig,
    bone: str,
    key: str,
    centre: ArrayLike,
    radii: tuple[float, float, float],
    k: float = 0.03,
    group: str = "body",
    rotation: Vector | None = None,
) -> None:
    rig.primitives.append(Ball(bone, key, np.asarray(centre, np.float64), radii, k, group, rotation))


def _jitter(rng: Rng, value: float, sigma: float = 0.12) -> float:
    """The value times a log-normal factor, cut at two standard deviations."""
    return float(value * np.exp(np.clip(rng.normal(0, sigma), -2 * sigma, 2 * sigma)))


def _direction(angle: float) -> Vector:
    """The unit vector (3,) in the yz plane at this angle above the horizon, in degrees."""
    return np.array([0, np.sin(np.radians(angle)), np.cos(np.radians(angle))])


# factors of leg length, leg radius, body, head and neck radius
BUILDS = {
    "usual": (1.0, 1.0, 1.0, 1.0, 1.0),
    "thin": (1.15, 0.75, 0.82, 0.92, 0.8),
    "stout": (0.75, 1.35, 1.15, 1.05, 1.15),
    "toy": (0.7, 1.5, 1.1, 1.5, 1.1),
    "blocky": (0.85, 1.25, 0.95, 1.2, 1.3),
}
EARS = ("pointed", "round", "floppy", "side", "long")


def _of_some_build(q: Quadruped, rng: Rng) -> Quadruped:
    """The animal in one of BUILDS, at times with other ears or a tail that is carried in another way."""
    build = BUILDS[str(rng.choice(list(BUILDS), p=[0.5, 0.15, 0.13, 0.13, 0.09]))]
    leg, thick, girth, head, neck = build if not q.sprawl else (1.0, *build[1:3], 1.0, 1.0)
    ears = str(rng.choice(EARS)) if q.ears in EARS[:4] and rng.random() < 0.2 else q.ears
    length, radius, angle = q.tail
    if radius <= 0.08 and rng.random() < 0.3:
        angle = rng.uniform(-80, 60)
    if radius <= 0.08 and rng.random() < 0.15:
        length *= rng.uniform(0.3, 0.6)
    return replace(
        q,
        leg=q.leg * leg * rng.uniform(0.85, 1.15),
        leg_radius=max(min(q.leg_radius * thick, 0.115), 0.028),
        body=(q.body[0] * girth * rng.uniform(0.85, 1.1), q.body[1] * girth),
        neck=(q.neck[0] * rng.uniform(0.75, 1.25), q.neck[1] + rng.uniform(-14, 14), q.neck[2] * neck),
        head=(q.head[0] * head, q.head[1] + rng.uniform(-8, 8)),
        snout=(q.snout[0] * rng.uniform(0.7, 1.2), q.snout[1] * head * rng.uniform(0.85, 1.15)),
        ears=ears,
        tail=(length, radius * rng.uniform(0.8, 1.25), angle),
    )


def _on_both_sides(motion: Motion) -> Motion:
    """The motion of bones, for the bones of these names on the left and on the right."""
    return {f"{bone}{tag}": turns for tag in "LR" for bone, turns in motion.items()}


LYING = _on_both_sides(
    {
        "front0": ((-78, 0, 4), (10, 4, 3)),
        "front1": ((10, 0, 0), (14, 0, 0)),
        "front2": ((0, 0, 0), (10, 0, 0)),
        "back0": ((-62, 0, 6), (10, 4, 3)),
        "back1": ((95, 0, 0), (14, 0, 0)),
        "back2": ((-40, 0, 0), (12, 0, 0)),
    }
)
GALLOP = _on_both_sides(
    {
        "front0": ((-42, 0, 0), (14, 3, 3)),
        "front1": ((20, 0, 0), (16, 0, 0)),
        "back0": ((38, 0, 0), (14, 3, 3)),
        "back1": ((12, 0, 0), (14, 0, 0)),
    }
)


def quadruped(q: Quadruped, rng: Rng) -> Rig:
    """A four-legged animal with these proportions, each varied."""
    v = partial(_jitter, rng)
    q = _of_some_build(q, rng)
    rig = Rig(cell=0.0165, weight_falloff=0.035)
    leg, wide, high = v(q.leg), v(q.body[0]), v(q.body[1])
    y = leg + 0.75 * high if not q.sprawl else leg + 0.5 * high
    rear, front = -0.5, 0.42
    rig.parts = {
        "body": BODY,
        "neck": ("neck",),
        "head": HEAD,
        "snout": SNOUT,
        "tail": TAIL,
        "ear": ("ear", "ears", *HEAD),
    }
    foot = ("hoof", "hooves", "foot") if q.foot == "hoof" else ("paw", "foot") if q.foot == "paw" else ("foot", "feet")
    for limb in ("front leg", "back leg"):
        upper = "shoulder" if limb == "front leg" else "haunch"
        rig.parts |= {limb: (f"upper {limb}", *LEGS[limb]), f"lower {limb}": (f"lower {limb}", *LEGS[limb])}
        rig.parts |= {upper: (f"upper {limb}", *LEGS[limb]), f"foot {limb}": (*foot, *LEGS[limb])}
    rig.bone("root", None, [0, y, 0])
    rig.bone("hips", "root", [0, y, rear * 0.35])
    rig.bone("ribs", "root", [0, y, front * 0.3])
    _ball(rig, "root", "body", [0, y - 0.02, -0.02], (wide, high * 0.97, 0.42), 0.1)
    _ball(rig, "hips", "body", [0, y + 0.02, rear * 0.72], (wide * 0.92, high * 0.9, 0.24), 0.1)
    _ball(rig, "ribs", "body", [0, y, front * 0.7], (wide * 0.96, high * 1.02, 0.24), 0.1)
    if q.shell:
        rig.parts["shell"] = ("shell", "carapace", "back")
        _ball(rig, "root", "shell", [0, y + 0.03, -0.04], (wide * 1.35, high * 1.35, 0.6), 0.02)
    if q.extra == "hump":
        for z in (-0.2, 0.16):
            _ball(rig, "root", "hump", [0, y + high, z], (wide * 0.55, 0.15, 0.13), 0.06)
        rig.parts["hump"] = ("hump", *BODY)
    if q.extra == "plates":
        rig.parts["plate"] = ("plate", "spike", "spikes on the back")
        for i in range(6):
            z = rear * 0.9 + 0.17 * i
            size = 0.13 - 0.028 * abs(i - 2.5)
            _ball(
                rig,
                "root",
                "plate",
                [0, y + high * 0.95 + size * 0.6, z],
                (0.025, size * 1.3, size * 0.7),
                0.01,
            )

    length, angle, thick = v(q.neck[0]), q.neck[1] + rng.normal(0, 6), v(q.neck[2])
    base = np.array([0, y + high * (0.35 if not q.sprawl else 0.1), front + 0.05])
    bend = angle + rng.uniform(0, 12)
    points = [
        base,
        base + 0.5 * length * _direction(angle - 4),
        base + 0.5 * length * (_direction(angle - 4) + _direction(bend)),
    ]
    last = _chain(rig, "neck", "ribs", points, (thick * 1.35, thick * 1.02, thick * 0.9), "neck", "neck", k=0.06)
    rig.blend["neck"] = 0.08
    size, nod = v(q.head[0]), q.head[1] + rng.normal(0, 6)
    rig.bone("head", last, points[-1])
    ahead, over = _direction(nod), _direction(nod + 90)
    skull = points[-1] + ahead * size * 0.5
    tilt = rotation("x", -nod)
    _ball(rig, "head", "head", skull, (size * 0.82, size * 0.9, size), 0.03, "head", tilt)
    rig.blend["head"] = 0.04
    reach, blunt = v(q.snout[0]), v(q.snout[1])
    nose = skull + ahead * (size * 0.55 + reach) - over * size * 0.25
    rig.primitives.append(
        Limb(
            "head",
            "snout",
            skull + ahead * size * 0.55 - over * size * 0.2,
            nose,
            (blunt * 1.3, blunt),
            0.04,
            "head",
        )
    )
    if q.trunk:
        rig.parts["trunk"] = ("trunk", "proboscis", "nose", *HEAD)
        rig.parts["tusk"] = ("tusk", "tusks", "tooth")
        start = nose
        line = [start + np.array([0, -s * 0.62 * (leg + 0.4), 0.05 * s]) for s in (0, 0.33, 0.66, 1)]
        _chain(
            rig,
            "trunk",
            "head",
            line,
            (blunt * 1.0, blunt * 0.8, blunt * 0.6, blunt * 0.5),
            "trunk",
            "head",
            k=0.03,
        )
        for side in (1, -1):
            tusk = skull + np.array([side * size * 0.45, -size * 0.6, size * 0.6])
            rig.primitives.append(
                Limb(
                    "head",
                    "tusk",
                    tusk,
                    tusk + [side * 0.03, -0.12, 0.22],
                    (0.03, 0.015),
                    0.01,
                    f"tusk{side}",
                )
            )
            rig.blend[f"tusk{side}"] = 0.01
    _ears(rig, rng, q.ears, skull, size, ahead, over)
    _horns(rig, rng, q.horns, skull, size, ahead, over, nose)
    if q.extra == "frill":
        rig.parts["frill"] = ("frill", "neck frill", *HEAD)
        _ball(
            rig,
            "head",
            "frill",
            skull + over * size * 0.7 - ahead * size * 0.5,
            (size * 1.7, size * 1.5, 0.05),
            0.02,
            "head",
            tilt @ rotation("x", 35),
        )
    if q.mane:
        rig.parts["mane"] = ("mane", "hair", "neck")
        m = q.mane * thick
        if q.foot == "paw":
            _ball(
                rig,
                last,
                "mane",
                points[-1] - ahead * size * 0.2,
                (size * 1.5, size * 1.65, size * 0.75),
                0.04,
                "neck",
                tilt,
            )
        else:
            crest = [p + _direction(angle + 90) * thick * 0.9 for p in (points[0], points[1], points[2])]
            for i in range(2):
                rig.primitives.append(
                    Limb(
                        f"neck{i}",
                        "mane",
                        crest[i],
                        crest[i + 1],
                        (m, m),
                        0.02,
                        "neck",
                        flat=0.45,
                        axis=(1, 0, 0),
                    )
                )

    stretch, root, droop = v(q.tail[0], 0.2), q.tail[1], q.tail[2] + rng.normal(0, 12)
    start = np.array([0, y + high * 0.45, rear - 0.14])
    if q.tail[1] > 0.08:
        start = np.array([0, y, rear - 0.05])
    line = [start]
    for i in range(3):
        lift = droop + (20 if droop > -30 else 0) * i
        line.append(line[-1] + stretch / 3 * _direction(lift) * [1, 1, -1])
    ends = (root, root * 0.85, root * 0.7, root * (0.25 if root > 0.06 else 0.6))
    tip = _chain(rig, "tail", "hips", line, ends, "tail", "tail")
    if q.foot == "hoof" and q.mane:
        rig.primitives.append(Limb("tail1", "tail", line[1], line[3], (root * 1.8, root * 1.4), 0.02, "tail"))
    elif q.foot == "hoof" or q.mane:
        _ball(rig, tip, "tail", line[-1], (root * 1.5, root * 2.4, root * 1.5), 0.02, "tail")
    rig.blend["tail"] = 0.04

    _legs(rig, rng, q, y, high, wide, (front * 0.78, rear * 0.78))
    rig.motion |= {
        "root": ((0, 0, 0), (2, 0, 2)),
        "hips": ((0, 0, 0), (3, 7, 3)),
        "ribs": ((0, 0, 0), (3, 7, 3)),
        "neck0": ((0, 0, 0), (11, 10, 3)),
        "neck1": ((0, 0, 0), (9, 10, 3)),
        "head": ((0, 0, 0), (10, 12, 8)),
        "trunk0": ((-20, 0, 0), (20, 8, 0)),
        "trunk1": ((-15, 0, 0), (25, 8, 5)),
        "trunk2": ((-10, 0, 0), (30, 8, 5)),
    }
    lift = 5 if q.tail[1] > 0.08 else 16
    rig.motion |= {f"tail{i}": ((0, 0, 0), (lift, 17, 0)) for i in range(3)}
    if not q.sprawl and not q.shell:
        rig.presets += [LYING, GALLOP] if q.leg > 0.3 else [LYING]
    if q.neck[0] > 0.3:
        rig.presets.append(
            {
                "neck0": ((40, 0, 0), (8, 6, 0)),
                "neck1": ((28, 0, 0), (8, 6, 0)),
                "head": ((-15, 0, 0), (8, 6, 4)),
            }
        )
    if q.squat:
        sit: Motion = {
            "root": ((-38, 0, 0), (5, 0, 0)),
            "neck0": ((18, 0, 0), (6, 10, 0)),
            "head": ((16, 0, 0), (6, 12, 0)),
            "tail0": ((-35, 0, 0), (5, 20, 0)),
        }
        for tag in "LR":
            sit |= {f"front{i}{tag}": ((38 if i == 0 else 0, 0, 0), (4, 0, 2)) for i in range(3)}
            sit |= {
                f"back0{tag}": ((-40, 0, 4), (6, 0, 3)),
                f"back1{tag}": ((70, 0, 0), (8, 0, 0)),
                f"back2{tag}": ((-20, 0, 0), (6, 0, 0)),
            }
        rig.presets.append(sit)
    return rig


def _ears(rig: Rig, rng: Rng, style: str, skull: Vector, size: float, ahead: Vector, over: Vector) -> None:
    shapes = {
        "pointed": (0.55, 0.3, 0.75, 0.12),
        "round": (0.6, 0.38, 0.4, 0.2),
        "long": (0.35, 0.3, 1.9, 0.2),
        "floppy": (0.85, 0.32, -0.75, 0.2),
        "side": (0.9, 0.28, 0.1, 0.7),
        "large": (1.1, 1.0, -0.5, 0.75),
    }
    if style not in shapes:
        del rig.parts["ear"]
        return
    out, width, rise, spread = shapes[style]
    width *= rng.uniform(0.8, 1.25)
    rise, spread = rise * rng.uniform(0.75, 1.4), spread * rng.uniform(0.5, 1.8)
    for side in (1, -1):
        base = (
            skull
            + np.array([side * size * min(out, 0.75), 0, 0])
            + over * size * (0.65 if rise > 0 else 0.45)
            - ahead * size * 0.25
        )
        end = base + np.array([side * size * spread, 0, 0]) + over * size * rise
        rig.primitives.append(
            Limb(
                "head",
                "ear",
                base,
                end,
                (size * width, size * width * 0.55),
                0.012,
                f"ear{side}",
                flat=0.42 if style != "large" else 0.16,
                axis=tuple(ahead),
            )
        )
        rig.blend[f"ear{side}"] = 0.012


def _horns(
    rig: Rig, rng: Rng, style: str, skull: Vector, size: float, ahead: Vector, over: Vector, nose: Vector
) -> None:
    if not style or (style in ("short", "antler") and rng.random() < 0.3):
        return
    rig.parts["horn"] = ("antler", "antlers", "horn") if style == "antler" else ("horn", "horns")
    if style in ("nose", "three"):
        rig.primitives.append(
            Limb(
                "head",
                "horn",
                nose + over * 0.03 - ahead * 0.05,
                nose + over * _jitter(rng, 0.2) + ahead * 0.04,
                (0.05, 0.016),
                0.015,
                "head",
            )
        )
    if style == "nose":
        return
    grow = rng.uniform(0.7, 1.5)
    for side in (1, -1):
        x = np.array([side, 0, 0])
        base = skull + x * size * 0.42 + over * size * 0.75
        lines = {
            "short": [base, base + x * 0.06 + over * 0.04, base + x * 0.09 + over * 0.13],
            "curved": [
                base,
                base + over * 0.13 - ahead * 0.09,
                base + x * 0.09 - ahead * 0.2,
                base + x * 0.13 - over * 0.1 - ahead * 0.1,
            ],
            "knob": [base, base + over * 0.09, base + over * 0.13],
            "antler": [base, base + x * 0.1 + over * 0.16, base + x * 0.13 + over * 0.36],
            "three": [base, base + over * 0.1 + ahead * 0.16, base + over * 0.2 + ahead * 0.33],
        }
        line = [base + (point - base) * grow for point in lines[style]]
        r = 0.03 if style != "curved" else 0.042
        group = f"horn{side}"
        for i in range(len(line) - 1):
            rig.primitives.append(
                Limb(
                    "head",
                    "horn",
                    line[i],
                    line[i + 1],
                    (r * (1 - 0.22 * i), r * (0.78 - 0.2 * i)),
                    0.012,
                    group,
                )
            )
        if style == "antler":
            for t, tine in (
                (0.5, ahead * 0.13 + over * 0.06),
                (1.0, ahead * 0.12 + over * 0.09),
                (1.5, x * 0.1 + over * 0.1),
            ):
                at = line[int(t)] + (t - int(t)) * (line[min(int(t) + 1, 2)] - line[int(t)])
                rig.primitives.append(Limb("head", "horn", at, at + tine, (0.022, 0.017), 0.012, group))
        rig.blend[group] = 0.012


def _legs(rig: Rig, rng: Rng, q: Quadruped, y: float, high: float, wide: float, places: tuple[float, float]) -> None:
    r, girth = _jitter(rng, q.leg_radius), rng.uniform(0.7, 1.2)
    plain = rng.random() < 0.2  # no shoulders and haunches: the leg begins at the body's lower side
    paw = 1.35 if q.foot == "paw" else 1.12 if q.foot == "hoof" else 1.25
    for name, z, parent, upper in (
        ("front", places[0], "ribs", "shoulder"),
        ("back", places[1], "hips", "haunch"),
    ):
        part, thick = f"{name} leg", r * (q.hind if name == "back" else 1)
        zig = 0.06 if name == "back" else -0.02
        top, sole = y - 0.12 * high, r * 0.8
        for side, tag in ((1, "L"), (-1, "R")):
            splay = q.sprawl * side
            x = side * (wide - thick * (0.35 if not splay else -0.2))
            hip = np.array([x, top, z])
            knee = np.array([x + splay * 0.9, top * (0.56 if not splay else 0.75), z + zig])
            hock = np.array([x + splay * 1.1, top * 0.27, z - zig * 1.1])
            toe = np.array([x + splay * 1.2, sole, z - zig * 0.3 + 0.02])
            group = f"{name}{tag}"
            rig.blend[group] = 0.05
            keys = [part, f"lower {part}", f"lower {part}"]
            _chain(
                rig,
                name,
                parent,
                [hip, knee, hock, toe],
                (thick * 1.55, thick * 1.05, thick * 0.8, thick * 0.78),
                keys,
                group,
                tag=tag,
            )
            if not splay and not plain:
                _ball(
                    rig,
                    f"{name}0{tag}",
                    upper,
                    hip - [side * thick * 0.3, thick * 0.2, 0],
                    (thick * 1.25, high * 0.62 * girth, thick * 2.0),
                    0.04,
                    group,
                )
            step = np.array([splay * 0.3, 0, r * (0.75 if q.foot != "hoof" else 0.3)])
            rig.primitives.append(
                Limb(
                    f"{name}2{tag}",
                    f"foot {part}",
                    toe,
                    toe + step,
                    (r * paw * 0.85, r * paw * 0.75),
                    0.02,
                    group,
                )
            )
            rig.motion |= {
                f"{name}0{tag}": ((0, 0, 2), (17, 4, 4)),
                f"{name}1{tag}": ((8 if name == "back" else 0, 0, 0), (13, 0, 3)),
                f"{name}2{tag}": ((-6 if name == "back" else 4, 0, 0), (13, 0, 3)),
            }


@dataclass(frozen=True)
class Bird:
    """Proportions relative to a trunk of length 1; pitch of the trunk in degrees above the horizon."""

    pitch: float = 25
    girth: float = 0.3
    neck: tuple[float, float] = (0.25, 0.13)
    head: float = 0.17
    beak: tuple[float, float] = (0.18, 0.05)
    leg: float = 0.4
    wing: tuple[float, float] = (1.1, 0.24)  # span of one wing, half chord
    tail: float = 0.5
    comb: bool = False
    flies: bool = True


# outlines of a spread wing from root to tip and back: part of its reach, part of its chord ahead
WINGS: dict[str, tuple[tuple[float, float], ...]] = {
    "broad": ((0, 0.42), (0.35, 0.55), (0.75, 0.48), (1, 0.1), (0.97, -0.2), (0.75, -0.5), (0.35, -0.58), (0, -0.5)),
    "pointed": ((0, 0.42), (0.35, 0.68), (0.65, 0.4), (1, -0.4), (0.65, -0.28), (0.35, -0.45), (0, -0.52)),
    "round": ((0, 0.4), (0.45, 0.52), (0.82, 0.35), (1, -0.05), (0.92, -0.42), (0.6, -0.62), (0.2, -0.58), (0, -0.45)),
    "swept": ((0, 0.5), (0.4, 0.32), (0.8, -0.2), (1, -0.75), (0.75, -0.72), (0.4, -0.55), (0, -0.5)),
    "plain": ((0, 0.5), (0.5, 0.45), (1, 0.3), (1, -0.3), (0.5, -0.45), (0, -0.5)),
    "bent": ((0, 0.35), (0.4, 0.85), (0.7, 0.55), (1, -0.15), (0.7, 0.0), (0.42, 0.05), (0.2, -0.4), (0, -0.5)),
}
# by how much of its length a tail reaches beyond its corners in the middle
BIRD_TAILS = {"fan": 0.22, "straight": 0.0, "forked": -0.5, "wedge": 0.5}


def _feathered(outline: Vector, fingers: int) -> Vector:  # (M, 2) -> (K, 2)
    """The outline of a wing whose outer rear edge is cut into fingers."""
    rear = int(outline[:, 0].argmax())
    a, b = outline[rear], outline[rear + 1]
    teeth: list[Vector] = []
    for i in range(1, 2 * fingers):
        inward = np.array([-0.16 if i % 2 else 0.04, 0.06 if i % 2 else -0.04])
        teeth.append(a + (b - a) * i / (2 * fingers) + inward)
    return np.concatenate([outline[: rear + 1], teeth, outline[rear + 1 :]])


def _spread_wings(rig: Rig, rng: Rng, b: Bird, shoulder: Vector, ahead: Vector, girth: float) -> None:
    """Flat wings of one of many outlines, cut at the elbow so that they bend there."""
    reach, chord = _jitter(rng, b.wing[0], 0.2), _jitter(rng, b.wing[1] * 2, 0.25)
    half, elbow = rng.uniform(0.0138, 0.026), rng.uniform(0.38, 0.5)
    outline = np.array(WINGS["plain" if b.wing[0] < 0.65 else str(rng.choice(list(WINGS)))])
    if rng.random() < 0.3 and b.wing[0] > 0.65:
        outline = _feathered(outline, int(rng.integers(2, 5)))
    outline = np.concatenate([[(-0.5 * girth / reach, outline[0, 1])], outline, [(-0.5 * girth / reach, -0.45)]])
    outline = outline * [reach, chord]
    tilt = ahead + np.array([0, rng.uniform(-0.1, 0.2), 0])
    for side, tag in ((1, "L"), (-1, "R")):
        x = np.array([side, 0, 0.0])
        root = shoulder * [side, 1, 1]
        rig.bone(f"wing0{tag}", "root", root)
        rig.bone(f"wing1{tag}", f"wing0{tag}", root + x * reach * elbow)
        for i, (low, high) in enumerate(((-9.0, reach * elbow), (reach * elbow, 9.0))):
            piece = _clip(outline, low, high)
            plate = Plate(f"wing{i}{tag}", "wing", root, x, tilt / np.linalg.norm(tilt), piece, half, 0.015)
            plate.group = f"wing{tag}"
            rig.primitives.append(plate)
        rig.blend[f"wing{tag}"] = rng.uniform(0.015, 0.04)
        rig.motion |= {f"wing0{tag}": ((0, 0, 4), (7, 9, 24)), f"wing1{tag}": ((0, 0, 0), (4, 9, 18))}
    if b.wing[0] < 0.65:
        hanging = {"wing0": ((0, 0, -62), (8, 6, 14)), "wing1": ((0, 0, -12), (4, 4, 5))}
        rig.presets.append({f"{bone}{tag}": m for bone, m in hanging.items() for tag in "LR"})
        return
    up = {"wing0": ((0, 0, 52), (6, 8, 16)), "wing1": ((0, 0, 12), (4, 6, 14))}
    half_open = {"wing0": ((0, 8, 12), (5, 12, 20)), "wing1": ((0, 40, -14), (4, 10, 14))}
    down = {"wing0": ((0, 0, -32), (5, 8, 12)), "wing1": ((0, 5, -14), (4, 6, 12))}
    rig.presets += [{f"{bone}{tag}": m for bone, m in pose.items() for tag in "LR"} for pose in (up, half_open, down)]


def _folded_wings(rig: Rig, rng: Rng, b: Bird, middle: Vector, pitch: float, girth: float) -> None:
    """Wings laid against the sides: a drop shape from the shoulder to beyond the rump, or hanging."""
    slope = np.radians(pitch + rng.uniform(-22, 8))
    back = -np.array([0, np.sin(slope), np.cos(slope)])
    long = rng.uniform(0.5, 0.95) * (0.75 if b.wing[0] < 0.65 else 1)
    deep, flat, out = girth * rng.uniform(0.45, 0.72), rng.uniform(0.25, 0.45), rng.uniform(0.82, 0.96)
    start = (
        middle + _direction(pitch) * rng.uniform(0.12, 0.25) + _direction(pitch + 90) * girth * rng.uniform(0.0, 0.3)
    )
    inward = girth * rng.uniform(0.25, 0.5)
    for side, tag in ((1, "L"), (-1, "R")):
        a = start + np.array([side * girth * out, 0, 0])
        end = a + back * long - np.array([side * inward, 0, 0])
        rig.bone(f"wing0{tag}", "root", a)
        limb = Limb(f"wing0{tag}", "wing", a, end, (deep, 0.045), 0.01, f"wing{tag}", flat=flat, axis=(1, 0, 0))
        rig.primitives.append(limb)
        rig.blend[f"wing{tag}"] = rng.uniform(0.008, 0.025)
        rig.motion[f"wing0{tag}"] = ((0, 0, 0), (3, 4, 3))


def _bird_tail(rig: Rig, rng: Rng, b: Bird, rear: Vector, pitch: float, girth: float) -> None:
    """A flat fan behind the rump, lifted or level; of some birds upright."""
    lift = pitch * rng.uniform(0.2, 0.9) - (rng.uniform(30, 70) if b.comb else rng.uniform(-12, 20))
    out, over = -_direction(lift), _direction(lift + 90)
    long, root = _jitter(rng, b.tail, 0.3), girth * rng.uniform(0.2, 0.4)
    wide = root + long * np.tan(np.radians(rng.uniform(2, 32)))
    beyond = BIRD_TAILS[str(rng.choice(list(BIRD_TAILS)))]
    t = np.linspace(-1, 1, 9)
    curve = 1 + beyond * (1 - (np.abs(t) if abs(beyond) > 0.3 else t**2))
    edge = np.stack([long * curve, wide * t], 1)
    outline = np.concatenate([[(-0.12, -root)], edge, [(-0.12, root)]])
    x = np.array([1.0, 0, 0])
    if b.comb and rng.random() < 0.6:
        x = over
    rig.primitives.append(Plate("tail0", "tail", rear, out, x, outline, rng.uniform(0.0138, 0.03), 0.02, "tail"))
    rig.blend["tail"] = rng.uniform(0.015, 0.05)


def _bird_legs(rig: Rig, rng: Rng, middle: Vector, over: Vector, girth: float, length: float, trail: bool) -> None:
    """Thin or stout legs to the ground, or stretched to the rear; toes, or a plain foot."""
    thick, apart, toes = rng.uniform(0.018, 0.04), rng.uniform(0.3, 0.5), rng.random() < 0.7
    thigh, size = thick * rng.uniform(1.2, 2.6), _jitter(rng, 0.13, 0.2)
    for side, tag in ((1, "L"), (-1, "R")):
        hip = middle - over * girth * 0.6 + [side * girth * apart, 0, -0.06]
        sole = np.array([hip[0], hip[1] - length, hip[2] + 0.06])
        if trail:
            sole = hip + [0, -0.1, -length]
        knee = (hip + sole) / 2 + ([0, 0, -0.05] if not trail else [0, -0.02, 0])
        radii = (thigh, thick, thick * 0.85)
        _chain(rig, "leg", "root", [hip, knee, sole], radii, "leg", f"leg{tag}", tag=tag)
        for yaw in (-34, 0, 34, 180) if toes else (0,):
            step = np.array([0, -0.005, size * (1 if yaw != 180 else 0.5)])
            end = sole + (rotation("y", yaw) @ step if not trail else rotation("y", yaw * 0.4) @ (-step))
            r = thick * 0.85 if toes else thick * 1.3
            rig.primitives.append(Limb(f"leg1{tag}", "foot", sole, end, (r, r * 0.8), 0.012, f"leg{tag}"))
        rig.blend[f"leg{tag}"] = 0.03
        rig.motion |= {f"leg0{tag}": ((0, 0, 0), (14, 4, 4)), f"leg1{tag}": ((0, 0, 0), (14, 0, 3))}


def _beak(rig: Rig, rng: Rng, b: Bird, skull: Vector, size: float) -> None:
    """A pointed, hooked or flat beak, long or short."""
    bill, stout = max(_jitter(rng, b.beak[0], 0.35), 0.04), _jitter(rng, b.beak[1], 0.25)
    shape, dip = str(rng.choice(["cone", "cone", "hook", "flat"])), rng.uniform(-0.1, 0.5)
    start = skull + [0, -size * 0.12, size * 0.72]
    end = start + np.array([0, -dip * bill, bill])
    ends, flat = (stout * 1.3, max(stout * (0.8 if shape == "flat" else 0.45), 0.014)), 1.0
    if shape == "flat":
        flat = 0.45
    rig.primitives.append(
        Limb("head", "beak", start, end, ends, 0.012, "beak", flat=flat, axis=(0.0, 1.0, 0.0)),
    )
    if shape == "hook":
        tip = end + [0, -stout * 1.3, stout * 0.2]
        rig.primitives.append(Limb("head", "beak", end, tip, (ends[1] * 1.2, 0.014), 0.012, "beak"))
    rig.blend["beak"] = 0.012


def bird(b: Bird, rng: Rng) -> Rig:
    """A bird that flies with wings spread, or stands with wings folded or spread; with legs or without."""
    v = partial(_jitter, rng)
    wing_words = ("wing", "wings") if b.wing[0] > 0.65 else ("wing", "flipper")
    rig = Rig(cell=0.015, weight_falloff=0.03)
    rig.parts = {
        "body": BODY,
        "neck": ("neck",),
        "head": HEAD,
        "beak": ("beak", "bill", *HEAD),
        "wing": wing_words,
        "tail": ("tail", "tail feathers"),
        "leg": LEGS["leg"],
        "foot": ("foot", "claw", *LEGS["leg"]),
        "comb": ("comb", "crest", *HEAD),
    }
    if not b.comb:
        del rig.parts["comb"]
    spread = rng.random() < (0.65 if b.flies else 0.25)
    flying = spread and b.flies and rng.random() < 0.65
    length, girth = v(b.leg, 0.2), max(v(b.girth * (0.75 if flying else 0.88), 0.22), 0.13)
    pitch = rng.normal(3, 7) if flying else b.pitch + rng.normal(0, 8)
    ahead, over = _direction(pitch), _direction(pitch + 90)
    middle = rig.bone("root", None, [0, length + girth * 0.6 + max(np.sin(np.radians(pitch)), 0) * 0.25, 0])
    chest, rump = rng.uniform(0.05, 0.2), girth * rng.uniform(0.3, 0.6)
    tilt, tall = rotation("x", -pitch), rng.uniform(0.85, 1.1)
    _ball(rig, "root", "body", middle + ahead * chest, (girth * 0.95, girth * tall, v(0.34)), 0.06, rotation=tilt)
    rear = middle - ahead * rng.uniform(0.36, 0.48) + over * girth * rng.uniform(-0.05, 0.25)
    rig.primitives.append(Limb("root", "body", middle + ahead * 0.1, rear, (girth * 0.92, rump), 0.08, "body"))

    neck, thick = v(b.neck[0], 0.25), min(v(b.neck[1], 0.2), girth * 0.75)
    base = middle + ahead * (chest + 0.22) + over * girth * (0.1 if flying else 0.35)
    rise = pitch + rng.uniform(-5, 45) if flying else max(pitch + 35, rng.uniform(50, 80))
    bend = 0 if flying and rng.random() < 0.6 else rng.uniform(-25, 25)
    points = [base, base + 0.5 * neck * _direction(rise - bend)]
    points.append(points[1] + 0.5 * neck * _direction(rise + bend))
    last = _chain(rig, "neck", "root", points, (thick * 1.3, thick, thick * 0.9), "neck", "neck", k=0.06)
    size = v(b.head, 0.2)
    rig.bone("head", last, points[-1])
    skull = points[-1] + _direction(min(rise, 55)) * size * 0.45
    _ball(rig, "head", "head", skull, (size * v(0.85, 0.08), size * 0.9, size * v(1.0, 0.1)), 0.03, "neck")
    rig.blend["neck"] = 0.08
    _beak(rig, rng, b, skull, size)
    if b.comb:
        crest = (0.028, size * v(0.45, 0.3), size * v(0.7))
        _ball(rig, "head", "comb", skull + [0, size * 0.95, size * 0.2], crest, 0.012, "beak")
    rig.bone("tail0", "root", rear)
    _bird_tail(rig, rng, b, rear, pitch, girth)
    if spread:
        shoulder = middle + ahead * rng.uniform(0.05, 0.2) + over * girth * rng.uniform(0, 0.4) + [girth * 0.7, 0, 0]
        _spread_wings(rig, rng, b, shoulder, ahead, girth)
    else:
        _folded_wings(rig, rng, b, middle + ahead * 0.05, pitch, girth)
    if not flying and rng.random() < 0.92:
        low = middle - ahead * max(np.sin(np.radians(pitch)), 0) * 0.3
        _bird_legs(rig, rng, low, over, girth, length, False)
    elif rng.random() < 0.4:
        _bird_legs(rig, rng, middle - ahead * 0.15, over, girth, min(length, 0.45), True)
    rig.motion |= {
        "root": ((0, 0, 0), (8, 0, 4)),
        "neck0": ((0, 0, 0), (12, 12, 4)),
        "neck1": ((0, 0, 0), (12, 12, 4)),
        "head": ((0, 0, 0), (12, 18, 6)),
        "tail0": ((0, 0, 0), (10, 6, 4)),
    }
    return rig


# half width and half height of the body, height of the head against the body, half height of the stem before the tail
FISH_SHAPES = {
    "slim": (0.075, 0.115, 0.85, 0.042),
    "tuna": (0.115, 0.15, 0.8, 0.024),
    "usual": (0.1, 0.19, 0.8, 0.05),
    "carp": (0.12, 0.22, 0.75, 0.06),
    "tall": (0.075, 0.31, 0.62, 0.06),
    "disc": (0.065, 0.38, 0.55, 0.07),
    "round": (0.18, 0.23, 0.85, 0.055),
}
# length, half height, depth of the notch against the length (below 0: the edge bulges) and bow of the leading edge
CAUDAL_FINS = {
    "forked": (0.24, 0.2, 0.6, 0.0),
    "lunate": (0.18, 0.26, 0.75, 0.05),
    "straight": (0.2, 0.15, 0.05, 0.03),
    "rounded": (0.2, 0.15, -0.35, 0.07),
    "fan": (0.26, 0.24, -0.15, 0.05),
    "small": (0.13, 0.1, 0.3, 0.0),
    "veil": (0.42, 0.26, 0.45, 0.08),
}
# for each fin along the back: front, rear (z), height, lean to the rear, and position of its highest point
DORSAL_FINS: dict[str, tuple[tuple[float, float, float, float, float], ...]] = {
    "long": ((0.2, -0.3, 0.06, 0.5, 0.35),),
    "low": ((0.14, -0.2, 0.045, 0.8, 0.4),),
    "high": ((0.1, -0.1, 0.15, 0.7, 0.35),),
    "short": ((0.05, -0.08, 0.08, 0.9, 0.3),),
    "sail": ((0.22, -0.3, 0.19, 0.35, 0.45),),
    "rear": ((-0.12, -0.32, 0.1, 0.8, 0.3),),
    "two": ((0.16, 0.0, 0.1, 0.7, 0.3), (-0.08, -0.3, 0.065, 0.8, 0.3)),
    "adipose": ((0.08, -0.08, 0.11, 0.7, 0.25), (-0.28, -0.34, 0.035, 1.0, 0.5)),
}
# the bones along a fish, each up to the next one's joint (z)
FISH_BONES = (("root", -0.1, 9.0), ("rear0", -0.35, -0.1), ("rear1", -0.58, -0.35), ("fluke", -9.0, -0.58))


def _clip(outline: Vector, low: float, high: float) -> Vector:  # (M, 2) -> (K, 2), the part with low <= u <= high
    for edge, sign in ((low, 1), (high, -1)):
        kept: list[Vector] = []
        for a, b in zip(outline, np.roll(outline, -1, 0), strict=True):
            da, db = sign * (a[0] - edge), sign * (b[0] - edge)
            if da >= 0:
                kept.append(a)
            if da * db < 0:
                kept.append(a + (b - a) * da / (da - db))
        outline = np.array(kept).reshape(-1, 2)
    return outline


def _midline_fin(rig: Rig, key: str, outline: ArrayLike, half: float, k: float = 0.015) -> None:
    """A fin in the plane x = 0 with this outline (z, y), cut where the bones of a fish meet so that it bends."""
    for bone, low, high in FISH_BONES:
        piece = _clip(np.asarray(outline, np.float64), low, high)
        if len(piece) > 2 and np.ptp(piece[:, 0]) > 0.005:
            u, v = np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
            rig.primitives.append(Plate(bone, key, np.zeros(3), u, v, piece, half, k, key))
    rig.blend[key] = k


def _edge_heights(rig: Rig, z: Vector, y: float) -> tuple[Vector, Vector]:
    """The heights (N,) of the belly and of the back at each z (N,), in the plane x = 0 about the axis y."""
    levels = y + np.linspace(-0.6, 0.6, 161)
    points = np.stack(np.broadcast_arrays(0.0, levels[None], z[:, None]), -1).reshape(-1, 3).astype(np.float32)
    inside = rig.field(points).reshape(len(z), -1) < 0
    low = np.where(inside, levels, np.inf).min(1)
    high = np.where(inside, levels, -np.inf).max(1)
    return np.where(np.isfinite(low), low, y), np.where(np.isfinite(high), high, y)


def _edge_fin(
    rig: Rig, rng: Rng, key: str, y: float, side: int, shape: tuple[float, float, float, float, float], half: float
) -> None:
    """A fin along the back (side 1) or the belly (-1): front, rear, height, lean and place of its highest point."""
    front, rear, height, lean, peak = shape
    t = np.linspace(0, 1, 11)
    z = front + (rear - front) * t
    base = _edge_heights(rig, z, y)[(side + 1) // 2]
    blunt = rng.uniform(0.4, 1.3)
    rise = np.where(t < peak, t / peak, (1 - t) / (1 - peak) * 0.9 + 0.1) ** blunt
    if rng.random() < 0.2:  # spines
        rise *= 1 - rng.uniform(0.15, 0.4) * (np.arange(11) % 2)
    tip = np.stack([z - lean * height * rise, base + side * height * rise], 1)
    root = np.stack([z, base - side * 0.035], 1)
    _midline_fin(rig, key, np.concatenate([root, tip[::-1]]), half)


def _caudal_outline(rng: Rng, stem: float, z: float, y: float, size: float) -> Vector:  # (M, 2): z, y
    """One of CAUDAL_FINS behind a stem of this half height that ends at z."""
    reach, half, notch, bow = CAUDAL_FINS[str(rng.choice(list(CAUDAL_FINS)))]
    reach, half = _jitter(rng, reach, 0.18) * size, _jitter(rng, half, 0.18) * size
    notch += rng.uniform(-0.1, 0.1)
    t = np.linspace(0, 1, 7)[:, None]
    root, tip = np.array([0.03, stem * 0.8]), np.array([-reach * min(1, 1 + notch), max(half, stem * 1.2)])
    middle = (root + tip) / 2 + [0.0, bow]
    lead = (1 - t) ** 2 * root + 2 * t * (1 - t) * middle + t**2 * tip
    end = np.array([-reach * (1 - 1.1 * notch), 0])  # the control point of both halves of the trailing edge
    trail = (
        (1 - t) ** 2 * tip + 2 * t * (1 - t) * (tip * [0.35, 0.4] + end * [0.65, 1]) + t**2 * (end * 0.8 + tip * 0.2)
    )
    upper = np.concatenate([lead, trail[1:]])
    upper[-1, 1] = 0
    lower = upper[-2::-1] * [1, -rng.uniform(0.85, 1.15)]
    return np.concatenate([upper, lower]) + [z, y]


def _side_fin(
    rig: Rig, bone: str, key: str, base: Vector, ahead: Vector, across: Vector, size: tuple[float, float], half: float
) -> None:
    """One of a pair of fins: from its base along ahead, as wide across as size[1] at its end."""
    u = ahead / np.linalg.norm(ahead)
    v = across - u * (across @ u)
    long, wide = size
    root, tip = min(wide * 0.5, 0.045), wide * 0.6
    outline = [(-0.02, -root), (0.5 * long, -tip), (0.85 * long, -tip * 0.9), (long, -tip * 0.1)]
    outline += [(0.92 * long, tip * 0.5), (0.5 * long, tip * 0.8), (-0.02, root)]
    plate = Plate(bone, key, base, u, v / np.linalg.norm(v), np.array(outline), half, 0.012, key + bone)
    rig.primitives.append(plate)
    rig.blend[key + bone] = 0.012


def fish(rng: Rng) -> Rig:
    """A bony fish: slim, tall and flat, or round, with thin or thick fins of many shapes."""
    v = partial(_jitter, rng)
    wide, high, brow, stem = FISH_SHAPES[str(rng.choice(list(FISH_SHAPES), p=[0.2, 0.1, 0.25, 0.15, 0.1, 0.1, 0.1]))]
    wide, high, brow, stem = v(wide, 0.15), v(high, 0.15), min(v(brow, 0.1), 0.95), v(stem, 0.15)
    rig = Rig(cell=0.013, weight_falloff=0.03)
    rig.parts = {
        "body": BODY,
        "head": HEAD,
        "tail": ("tail fin", "tail", "caudal fin", "fin"),
        "stem": BODY if rng.random() < 0.65 else ("tail", *BODY),
        "dorsal": ("dorsal fin", "top fin", "fin"),
        "pectoral": ("pectoral fin", "side fin", "flipper", "fin"),
        "ventral": ("anal fin", "bottom fin", "fin"),
        "pelvic": ("bottom fin", "fin"),
    }
    y, half = 0.5, rng.uniform(0.0118, 0.024)
    rig.bone("root", None, [0, y, 0.1])
    rig.bone("head", "root", [0, y, 0.3])
    rig.bone("rear0", "root", [0, y, -0.1])
    rig.bone("rear1", "rear0", [0, y, -0.35])
    end = rng.uniform(-0.6, -0.5)
    rig.bone("fluke", "rear1", [0, y, end + 0.03])
    drop, face = rng.uniform(-0.03, 0.02), v(0.25, 0.12)
    _ball(rig, "root", "body", [0, y, 0.04], (wide, high, v(0.38, 0.08)), 0.06)
    _ball(rig, "head", "head", [0, y + drop, 0.33], (wide * 0.86, high * brow, face), 0.08)
    flat: tuple[float, float, float] = (1, 0, 0)
    middle, tail = np.array([0, y, -0.38]), np.array([0, y, end])
    joint = max(stem * 1.25, high * rng.uniform(0.2, 0.32))
    rig.primitives += [
        Limb(
            "rear0",
            "body",
            np.array([0, y, -0.1]),
            middle,
            (high * 0.74, joint),
            0.08,
            "body",
            0,
            0.5,
            wide / high,
            flat,
        ),
        Limb("rear1", "stem", middle, tail, (joint, stem), 0.05, "body", 0, 0.5, max(wide / high, 0.45), flat),
    ]
    size = rng.uniform(0.7, 1.3)
    edges = DORSAL_FINS[str(rng.choice(list(DORSAL_FINS)))]
    belly = _edge_heights(rig, np.array([0.12]), y)[0]
    scale = v(1.0, 0.25)
    for front, rear, height, lean, peak in edges:
        shape = (front, rear, max(height * scale, 0.03), lean * rng.uniform(0.5, 1.3), peak * rng.uniform(0.7, 1.5))
        _edge_fin(rig, rng, "dorsal", y, 1, shape, half)
    if rng.random() < 0.85:
        front = rng.uniform(-0.18, -0.05)
        long, deep = (
            (0.22, 0.15) if high > 0.27 and rng.random() < 0.6 else (rng.uniform(0.08, 0.2), rng.uniform(0.03, 0.09))
        )
        _edge_fin(rig, rng, "ventral", y, -1, (front, front - long, deep, 0.8, rng.uniform(0.2, 0.5)), half)
    _midline_fin(rig, "tail", _caudal_outline(rng, stem, end, y, size), half)
    pelvic, splay, long = rng.random() < 0.7, rng.uniform(5, 75), v(0.15, 0.35)
    angle, dip = np.radians(splay), rng.uniform(-0.8, 0.2)
    z, level = rng.uniform(0.08, 0.2), y - high * rng.uniform(0.1, 0.45)
    at = np.sqrt(max(1 - ((level - y) / high) ** 2 - ((z - 0.04) / 0.5) ** 2, 0.2)) * wide
    level_fins = splay > 40 and rng.random() < 0.3  # spread as wings are
    across, broad = (0.0, 0.3, 1.0) if level_fins else (rng.uniform(0.1, 0.4), 1.0, 0.0), rng.uniform(0.4, 0.8)
    for side, tag in ((1, "L"), (-1, "R")):
        mirror = np.array([side, 1, 1])
        base = rig.bone(f"fin{tag}", "root", [side * at, level, z])
        ahead = np.array([side * np.sin(angle), dip, -np.cos(angle)])
        _side_fin(rig, f"fin{tag}", "pectoral", base, ahead, np.array(across) * mirror, (long, long * broad), half)
        rig.motion[f"fin{tag}"] = ((0, 0, 0), (6, 8, 10))
        if pelvic:
            low = np.array([side * wide * 0.3, float(belly[0]) + 0.02, 0.06])
            down = mirror * [0.35, -0.6, -1.0]
            _side_fin(rig, "root", "pelvic", low, down, mirror * [0.3, 1.0, 0], (long * 0.6, long * 0.35), half)
    rig.motion |= {"root": ((0, 0, 0), (5, 0, 3)), "head": ((0, 0, 0), (2, 4, 0))}
    rig.motion |= dict.fromkeys(("rear0", "rear1", "fluke"), ((0, 0, 0), (1.0, 10.0, 0.0)))
    return rig


def shark_or_whale(kind: str, rng: Rng) -> Rig:
    """A shark, dolphin or whale: a chain along z with fins."""
    v = partial(_jitter, rng)
    wide, high = {"shark": (0.14, 0.14), "dolphin": (0.14, 0.15), "whale": (0.24, 0.22)}[kind]
    wide, high = v(wide, 0.2), v(high, 0.2)
    rig = Rig(cell=0.013, weight_falloff=0.03)
    rig.parts = {
        "body": BODY,
        "head": HEAD,
        "tail": ("tail fin", "tail", "caudal fin", "fin"),
        "stem": ("tail", *BODY),
        "dorsal": ("dorsal fin", "top fin", "fin"),
        "pectoral": ("pectoral fin", "side fin", "flipper", "fin"),
        "snout": SNOUT,
    }
    y = 0.4
    rig.bone("root", None, [0, y, 0.1])
    rig.bone("head", "root", [0, y, 0.3])
    rig.bone("rear0", "root", [0, y, -0.1])
    rig.bone("rear1", "rear0", [0, y, -0.35])
    rig.bone("fluke", "rear1", [0, y, -0.58])
    _ball(rig, "root", "body", [0, y, 0.05], (wide, high, 0.42), 0.06)
    _ball(rig, "head", "head", [0, y - 0.01, 0.36], (wide * 0.82, high * 0.78, 0.26), 0.08)
    rig.primitives.append(
        Limb(
            "rear0",
            "body",
            np.array([0, y, -0.1]),
            np.array([0, y, -0.38]),
            (high * 0.75, high * 0.36),
            0.08,
            "body",
            flat=wide / high,
            axis=(1, 0, 0),
        )
    )
    rig.primitives.append(
        Limb(
            "rear1",
            "stem",
            np.array([0, y, -0.38]),
            np.array([0, y, -0.6]),
            (high * 0.36, high * 0.2),
            0.05,
            "body",
            flat=max(wide / high, 0.6),
            axis=(1, 0, 0),
        )
    )
    if kind == "dolphin":
        rig.primitives.append(
            Limb(
                "head",
                "snout",
                np.array([0, y - 0.03, 0.58]),
                np.array([0, y - 0.04, 0.74]),
                (0.05, 0.035),
                0.03,
                "body",
            )
        )
    flat = kind in ("dolphin", "whale")
    axis = (0.0, 1.0, 0.0) if flat else (1.0, 0.0, 0.0)
    lobe = v(0.24, 0.2)
    for side in (1, -1):
        away = np.array([side, 0, 0]) if flat else np.array([0, side, 0])
        start = np.array([0, y, -0.6])
        rig.primitives.append(
            Limb(
                "fluke",
                "tail",
                start,
                start + away * lobe * 0.75 - [0, 0, lobe * 0.7],
                (0.065, 0.03),
                0.03,
                "fluke",
                flat=0.3,
                axis=axis,
            )
        )
    rig.blend["fluke"] = 0.02
    z, size = rng.uniform(-0.08, 0.1), v(0.2, 0.25)
    top = np.array([0, y + high * 0.85, z])
    end = top + [0, size * 0.75, -size * 0.7]
    rig.primitives.append(
        Limb(
            "root",
            "dorsal",
            top,
            end,
            (0.09, 0.03),
            0.02,
            "dorsal",
            flat=0.22,
            axis=(1, 0, 0),
        )
    )
    rig.blend["dorsal"] = 0.02
    for side, tag in ((1, "L"), (-1, "R")):
        base = rig.bone(f"fin{tag}", "root", [side * wide * 0.85, y - high * 0.35, 0.2])
        tip = base + np.array([side * 0.8, -0.35, -0.75]) * v(0.34)
        rig.primitives.append(
            Limb(
                f"fin{tag}",
                "pectoral",
                base,
                tip,
                (0.065, 0.035),
                0.02,
                f"fin{tag}",
                flat=0.25,
                axis=(side * 0.3, 1, 0),
            )
        )
        rig.blend[f"fin{tag}"] = 0.02
        rig.motion[f"fin{tag}"] = ((0, 0, 0), (10, 15, 20))
    swing = (14.0, 2.0, 0.0) if flat else (1.0, 14.0, 0.0)
    rig.motion |= {"root": ((0, 0, 0), (6, 0, 4)), "head": ((0, 0, 0), (3, 5, 0))}
    rig.motion |= dict.fromkeys(("rear0", "rear1", "fluke"), ((0, 0, 0), swing))
    return rig


def tyrannosaur(rng: Rng) -> Rig:
    """A two-legged dinosaur with small arms and a heavy tail."""
    v = partial(_jitter, rng)
    rig = Rig(cell=0.019, weight_falloff=0.04)
    rig.parts = {
        "body": BODY,
        "neck": ("neck",),
        "head": HEAD,
        "snout": ("snout", "jaw", "mouth", *HEAD),
        "tail": TAIL,
        "arm": ("arm", "front leg"),
        "hand": ("hand", "claw", "arm", "front leg"),
        "thigh": ("thigh", "upper back leg", *LEGS["back leg"]),
        "shin": ("lower back leg", *LEGS["back leg"]),
        "foot": ("foot", "claw", *LEGS["back leg"]),
    }
    leg, girth = v(0.75), v(0.21)
    y = leg + 0.05
    rig.bone("root", None, [0, y, 0])
    rig.bone("ribs", "root", [0, y + 0.05, 0.2])
    _ball(rig, "root", "body", [0, y, -0.02], (girth * 0.85, girth, 0.3), 0.1)
    _ball(rig, "ribs", "body", [0, y + 0.1, 0.28], (girth * 0.78, girth * 0.9, 0.26), 0.1, rotation=rotation("x", -25))
    neck = np.array([0, y + 0.2, 0.42])
    up = neck + v(0.28) * _direction(52)
    _chain(rig, "neck", "ribs", [neck, up], (0.14, 0.105), "neck", "neck", k=0.06)
    rig.blend["neck"] = 0.08
    rig.bone("head", "neck0", up)
    size = v(0.13)
    _ball(rig, "head", "head", up + [0, 0.03, 0.06], (size * 0.8, size, size * 1.15), 0.04, "head")
    rig.primitives.append(
        Limb(
            "head",
            "snout",
            up + [0, 0.0, 0.16],
            up + [0, -0.04, 0.2 + v(0.2)],
            (size * 0.72, size * 0.48),
            0.04,
            "head",
        )
    )
    rig.blend["head"] = 0.05
    start, length = np.array([0, y, -0.24]), v(1.1)
    line = [start + [0, 0.02 * i, -length * i / 4] for i in range(5)]
    _chain(rig, "tail", "root", line, (0.16, 0.12, 0.085, 0.05, 0.022), "tail", "tail", k=0.06)
    rig.blend["tail"] = 0.08
    rig.motion |= {f"tail{i}": ((0, 0, 0), (8, 12, 0)) for i in range(4)}
    for side, tag in ((1, "L"), (-1, "R")):
        hip = np.array([side * girth * 0.75, y, -0.02])
        knee, hock = hip + [0, -0.42 * leg, 0.14], hip + [0, -0.75 * leg, -0.1]
        toe = np.array([hip[0], 0.045, hip[2] + 0.02])
        _chain(
            rig,
            "back",
            "root",
            [hip, knee, hock, toe],
            (0.15, 0.09, 0.055, 0.05),
            ["thigh", "shin", "shin"],
            f"leg{tag}",
            tag=tag,
        )
        for yaw in (-28, 0, 28):
            rig.primitives.append(
                Limb(
                    f"back2{tag}",
                    "foot",
                    toe,
                    toe + rotation("y", yaw) @ np.array([0, -0.01, 0.17]),
                    (0.048, 0.03),
                    0.02,
                    f"leg{tag}",
                )
            )
        shoulder = np.array([side * girth * 0.62, y + 0.06, 0.45])
        elbow = shoulder + [side * 0.03, -0.14, -0.02]
        wrist = elbow + [0, -0.04, 0.13]
        _chain(
            rig,
            "arm",
            "ribs",
            [shoulder, elbow, wrist, wrist + [0, -0.02, 0.06]],
            (0.05, 0.036, 0.028, 0.032),
            ["arm", "arm", "hand"],
            f"arm{tag}",
            tag=tag,
        )
        rig.blend |= {f"leg{tag}": 0.06, f"arm{tag}": 0.03}
        rig.motion |= {
            f"back0{tag}": ((0, 0, 0), (18, 3, 3)),
            f"back1{tag}": ((5, 0, 0), (14, 0, 0)),
            f"back2{tag}": ((0, 0, 0), (12, 0, 0)),
            f"arm0{tag}": ((0, 0, 0), (25, 8, 10)),
            f"arm1{tag}": ((0, 0, 0), (25, 0, 0)),
        }
    rig.motion |= {
        "root": ((0, 0, 0), (9, 0, 3)),
        "ribs": ((0, 0, 0), (6, 8, 0)),
        "neck0": ((0, 0, 0), (14, 14, 0)),
        "head": ((0, 0, 0), (10, 14, 6)),
    }
    return rig


def snake(rng: Rng) -> Rig:
    """A snake in bends along z."""
    rig = Rig(cell=0.012, weight_falloff=0.02, parts={"body": BODY, "head": HEAD, "tail": TAIL})
    thick, y, joints = _jitter(rng, 0.045, 0.25), 0.06, 12
    line = [np.array([0, y, 0.6 - 1.6 * i / joints]) for i in range(joints + 1)]
    rig.bone("root", None, line[0])
    radii = [thick * (0.8 if i == 0 else 1 if i < 8 else 1 - 0.18 * (i - 7)) for i in range(joints + 1)]
    _chain(rig, "coil", "root", line, radii, ["body"] * 9 + ["tail"] * 3, "body")
    rig.bone("head", "root", line[0])
    _ball(rig, "head", "head", line[0] + [0, 0.01, 0.06], (thick * 1.35, thick * 0.95, thick * 2.3), 0.02)
    bend, sign = rng.uniform(10, 26), 1.0
    rig.motion = {
        "head": ((0, 0, 0), (15, 20, 0)),
        "coil0": ((15, 0, 0), (14, 12, 0)),
        "coil1": ((-8, 0, 0), (8, 12, 0)),
    }
    for i in range(2, joints):
        rig.motion[f"coil{i}"] = ((0, sign * bend, 0), (1, 9, 0))
        sign = -sign if i % 3 == 0 else sign
    rig.presets = [{f"coil{i}": ((0, bend + 10, 0), (1, 5, 0)) for i in range(2, joints)}]
    return rig


def octopus(rng: Rng) -> Rig:
    """An octopus: a mantle over eight tentacles that lie, hang or curl; or a squid with a long mantle and fins."""
    rig = Rig(cell=0.015, weight_falloff=0.03)
    if rng.random() < 0.25:
        return _squid(rig, rng)
    rig.parts = {"head": ("head", "mantle", "body"), "tentacle": ("tentacle", "tentacles", "arm")}
    rig.categories = ("octopus",)
    size = _jitter(rng, 0.2, 0.25)
    lean = rng.uniform(-0.6, 0.1) if rng.random() < 0.4 else -0.05
    rig.bone("root", None, [0, 0.4, 0])
    tall = size * rng.uniform(0.85, 1.7)
    centre = [0, 0.4 + size * 0.8, lean * size]
    _ball(rig, "root", "head", centre, (size, tall, size * rng.uniform(0.9, 1.2)), 0.05)
    _ball(rig, "root", "head", [0, 0.38, 0.02], (size * 0.75, size * 0.6, size * 0.75), 0.06)
    if rng.random() < 0.5:  # eyes
        for side in (1, -1):
            _ball(rig, "root", "head", [side * size * 0.6, 0.44, size * 0.5], (size * 0.25,) * 3, 0.02)
    _arms(rig, rng, [0, 0.33, 0], size * 0.6, int(rng.choice([8, 8, 8, 6])), np.array([0, 1.0, 0]))
    return rig


def _squid(rig: Rig, rng: Rng) -> Rig:
    """A squid along z: a mantle like a cone with two fins, and arms ahead."""
    rig.parts = {
        "mantle": ("mantle", "body"),
        "head": HEAD,
        "fin": ("fin",),
        "tentacle": ("tentacle", "tentacles", "arm"),
    }
    rig.categories = ("squid",)
    wide, long = _jitter(rng, 0.14, 0.2), _jitter(rng, 0.7, 0.2)
    rig.bone("root", None, [0, 0.4, 0])
    start, end = np.array([0, 0.4, 0.0]), np.array([0, 0.4, -long])
    rig.primitives.append(Limb("root", "mantle", start, end, (wide, 0.03), 0.02, "trunk", bulge=wide * 0.25))
    _ball(rig, "root", "head", [0, 0.4, wide * 0.9], (wide * 0.8, wide * 0.75, wide * 0.9), 0.02, "head")
    span, root = wide * rng.uniform(1.2, 2.5), rng.uniform(0.3, 0.6) * long
    outline = np.array([(-0.02, root), (span, root * rng.uniform(0.3, 0.8)), (span * 0.8, 0.1), (-0.02, -0.03)])
    for side in (1, -1):
        x, z = np.array([side, 0, 0.0]), np.array([0, 0, 1.0])
        rig.primitives.append(Plate("root", "fin", end, x, z, outline, 0.016, 0.015, f"fin{side}"))
        rig.blend[f"fin{side}"] = 0.015
    _arms(rig, rng, [0, 0.4, wide * 1.3], wide * 0.4, int(rng.choice([8, 10])), np.array([0, 0, -1.0]))
    return rig


def _arms(rig: Rig, rng: Rng, centre: ArrayLike, ring: float, count: int, up: Vector) -> None:
    """Tentacles around the axis up, which leave it at an angle and bend towards it or away along their length."""
    length, thick = _jitter(rng, 0.75, 0.25), _jitter(rng, 0.06, 0.3)
    ahead = up[1] < 0.5
    first = rng.uniform(-85, -55) if ahead else rng.uniform(-70, 10)
    bend, steps = rng.uniform(-10, 10) if ahead else rng.uniform(-12, 45), 5
    tip = max(thick * rng.uniform(0.2, 0.6), 0.015)
    radii = np.linspace(1, 0, steps + 1) ** rng.uniform(0.7, 1.3) * (thick - tip) + tip
    whirl = rng.uniform(-20, 20) if rng.random() < 0.5 else 0.0
    for arm in range(count):
        angle, spread = first + rng.normal(0, 6), bend + rng.normal(0, 5)
        side = np.array([0, 0, 1.0]) if not ahead else np.array([0, 1.0, 0])
        spin = rotation(up, 360 * (arm + 0.5) / count)
        line = [np.asarray(centre) + spin @ side * ring]
        for i in range(steps):
            a = np.radians(angle + spread * i)
            out = rotation(up, whirl * i) @ (spin @ side)
            line.append(line[-1] + length / steps * (np.cos(a) * out + np.sin(a) * up))
        _chain(rig, f"arm{arm}-", "root", line, list(radii), "tentacle", f"arm{arm}")
        rig.blend[f"arm{arm}"] = 0.03
        rig.motion |= {f"arm{arm}-{i}": ((0, 0, 0), (13, 14, 13)) for i in range(steps)}


@dataclass(frozen=True)
class Arthropod:
    """Half width, height and length of thorax, abdomen and head; pairs of legs, their reach; antennae."""

    thorax: tuple[float, float, float]
    abdomen: tuple[float, float, float] | None
    head: tuple[float, float, float] | None
    pairs: int = 3
    reach: float = 0.42
    antennae: bool = True


ARTHROPODS = {
    "spider": Arthropod((0.13, 0.11, 0.16), (0.2, 0.18, 0.25), (0.095, 0.08, 0.095), 4, 0.6, False),
    "ant": Arthropod((0.09, 0.09, 0.18), (0.13, 0.12, 0.2), (0.12, 0.1, 0.12), 3, 0.45),
    "beetle": Arthropod((0.2, 0.12, 0.13), (0.24, 0.15, 0.34), (0.12, 0.09, 0.11), 3, 0.42),
    "bee": Arthropod((0.13, 0.13, 0.16), (0.13, 0.13, 0.24), (0.11, 0.11, 0.09), 3, 0.35),
    "butterfly": Arthropod((0.06, 0.055, 0.15), (0.05, 0.05, 0.26), (0.07, 0.07, 0.07), 3, 0.3),
    "crab": Arthropod((0.34, 0.13, 0.25), None, None, 4, 0.5, False),
}
# each leg: at these parts of its reach, its height against the body (0) and the ground (-1) and above (1)
INSECT_LEGS: dict[str, tuple[tuple[float, float], ...]] = {
    "arched": ((0.45, 0.6), (1.0, -1.0)),
    "high": ((0.4, 1.3), (0.9, -1.0)),
    "flat": ((0.5, -0.1), (1.0, -0.6)),
    "straight": ((0.5, -0.5), (1.0, -1.0)),
    "steep": ((0.3, 0.05), (0.5, -1.0)),
    "three": ((0.3, 0.6), (0.75, 0.1), (1.0, -1.0)),
    "hooked": ((0.4, 0.5), (0.75, -0.9), (1.0, -1.0)),
}


def _insect_legs(rig: Rig, rng: Rng, shape: Arthropod, y: float, kind: str, size: Vector) -> None:
    """Pairs of legs in a fan, all in one of INSECT_LEGS."""
    style = INSECT_LEGS[str(rng.choice(list(INSECT_LEGS)))]
    reach, thick = _jitter(rng, shape.reach, 0.25), np.clip(_jitter(rng, 0.026, 0.4), 0.015, 0.055)
    fan, forward = rng.uniform(12, 36) if kind != "crab" else rng.uniform(8, 22), rng.uniform(-12, 12)
    taper, rise = rng.uniform(0.45, 1.0), 0.14 * reach / 0.5 * rng.uniform(0.6, 1.5)
    foot = style[-1] if len(style) == 3 and rng.random() < 0.3 else None
    if foot is not None:
        rig.parts["foot"] = ("foot", *LEGS["leg"])
    middle, row = (shape.pairs - 1) / 2, size[2] * rng.uniform(0.9, 1.5) / max(shape.pairs - 1, 1)
    for side, tag in ((1, "L"), (-1, "R")):
        for i in range(shape.pairs):
            yaw = np.radians(90 + (i - middle) * fan + forward)
            out = np.array([side * np.sin(yaw), 0, np.cos(yaw)])
            start = np.array([side * size[0] * 0.72, y - size[1] * 0.35, row * (middle - i)])
            own = reach * (1 + 0.12 * abs(i - middle))
            line = [start]
            for along, height in style:
                drop = height * rise if height > 0 else height * (start[1] - 0.02)
                line.append(start + out * own * along + [0, drop, 0])
            radii = np.linspace(1.25, taper, len(line)) * thick
            keys = ["leg", "shin", "shin" if foot is None else "foot"][: len(style)]
            group = f"leg{i}{tag}"
            _chain(rig, f"leg{i}-", "root", line, list(np.maximum(radii, 0.0135)), keys, group, tag=tag, k=0.012)
            rig.blend[group] = 0.015
            rig.motion |= {f"leg{i}-{j}{tag}": ((0, 0, 0), (5, 12 if j == 0 else 5, 9)) for j in range(len(style))}


def _antennae(rig: Rig, rng: Rng, head: Vector, size: Vector) -> None:
    """A pair of feelers: straight, bent at an elbow, or bowed; short or long."""
    rig.parts["antenna"] = ("antenna", "antennae", "feeler")
    long, r = rng.uniform(0.12, 0.45), rng.uniform(0.0135, 0.022)
    out, up = rng.uniform(0.1, 1.0), rng.uniform(-0.1, 1.3)
    elbow = rng.uniform(-1.4, 0.4)
    for side in (1, -1):
        base = head + [side * size[0] * 0.4, size[1] * 0.6, size[2] * 0.6]
        first = np.array([side * out, up, 0.6])
        second = np.array([side * out * rng.uniform(0.5, 1), up + elbow, 1.0])
        middle = base + first / np.linalg.norm(first) * long * 0.45
        tip = middle + second / np.linalg.norm(second) * long * 0.55
        for a, b in ((base, middle), (middle, tip)):
            rig.primitives.append(Limb("head", "antenna", a, b, (r, r), 0.008, f"antenna{side}"))
        rig.blend[f"antenna{side}"] = 0.008


def _insect_wings(rig: Rig, rng: Rng, kind: str, y: float, size: Vector) -> None:
    """Two pairs of flat wings: broad ones of a butterfly, narrow ones of a bee, fly or dragonfly."""
    rig.parts["wing"] = ("wing", "wings")
    wide = kind == "butterfly"
    span, chord = _jitter(rng, 0.62 if wide else 0.5, 0.2), _jitter(rng, 0.4 if wide else 0.16, 0.25)
    sweep, hind, lift = rng.uniform(-0.1, 0.5) if wide else rng.uniform(-1.6, 0.1), rng.uniform(0.6, 0.95), 0.1
    pairs, half, square = 1 if not wide and rng.random() < 0.3 else 2, rng.uniform(0.0135, 0.02), rng.uniform(0.5, 1.1)
    t = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    for i in range(pairs):
        share = 1.0 if i == 0 else hind
        u = 0.5 - 0.52 * np.cos(t)
        outline = np.stack([u * span * share, np.sin(t) * chord * share * (0.25 + 0.5 * np.maximum(u, 0) ** square)], 1)
        along = sweep if i == 0 else sweep - rng.uniform(0.45, 0.9)
        for side, tag in ((1, "L"), (-1, "R")):
            name = f"wing{i}{tag}"
            root = rig.bone(name, "root", [side * size[0] * 0.4, y + size[1] * 0.7, size[2] * (0.3 - 0.6 * i)])
            out = np.array([side, lift, along]) / np.linalg.norm([1, lift, along])
            across = np.cross(out, [0, side, 0.0])
            plate = Plate(name, "wing", root, out, across / np.linalg.norm(across), outline, half, 0.01, name)
            rig.primitives.append(plate)
            rig.blend[name] = 0.01
            rig.motion[name] = ((0, 0, 18 if wide else 5), (4, 5, 25 if wide else 12))
    if wide:
        rig.presets.append({f"wing{i}{tag}": ((0, 0, 66), (3, 4, 8)) for i in range(pairs) for tag in "LR"})


def _crab_claws(rig: Rig, rng: Rng, y: float, size: Vector) -> None:
    """Two arms that end in pincers, small or large."""
    rig.parts["claw"] = ("claw", "pincer", "arm")
    grow, open_, ahead = rng.uniform(0.75, 1.7), rng.uniform(0.03, 0.07), rng.uniform(0.7, 1.2)
    for side, tag in ((1, "L"), (-1, "R")):
        bends = ((size[0] * 0.7, 0, size[2] * 0.6), (size[0] * 1.2, 0.05, 0.28 * ahead), (0.3, 0.05, 0.44 * ahead))
        line = [np.array([side * x, y + h, z]) for x, h, z in bends]
        radii = [0.04, 0.05, 0.06 * grow]
        last = _chain(rig, "claw", "root", line, radii, "claw", f"claw{tag}", tag=tag)
        for finger in (-open_, open_):
            tip = line[2] + np.array([finger - side * 0.05, 0, 0.16]) * grow
            rig.primitives.append(Limb(last, "claw", line[2], tip, (0.055 * grow, 0.022), 0.015, f"claw{tag}"))
        rig.motion |= {f"claw0{tag}": ((0, 0, 0), (15, 18, 12)), f"claw1{tag}": ((0, 0, 0), (10, 18, 10))}
        rig.blend[f"claw{tag}"] = 0.02


def arthropod(kind: str, rng: Rng) -> Rig:
    """A spider (8 legs), an ant or beetle (6), a bee or butterfly (6 and wings), a crab (8 and claws)."""
    v = partial(_jitter, rng)
    shape = ARTHROPODS[kind]
    rig = Rig(cell=0.0145, weight_falloff=0.025)
    rig.parts = {
        "thorax": ("thorax", *BODY) if shape.abdomen else ("shell", "carapace", *BODY),
        "abdomen": ("abdomen", "rear body", *BODY),
        "head": HEAD,
        "leg": LEGS["leg"],
        "shin": ("lower leg", *LEGS["leg"]),
    }
    y = v(0.26 if kind != "butterfly" else 0.16, 0.25)
    blend = rng.uniform(0.01, 0.05)
    rig.bone("root", None, [0, y, 0])
    size = np.array([v(x, 0.18) for x in shape.thorax])
    _ball(rig, "root", "thorax", [0, y, 0], (size[0], size[1], size[2]), blend)
    if shape.abdomen is None or shape.head is None:
        del rig.parts["head"], rig.parts["abdomen"]
    else:
        girth = np.exp(rng.normal(0, 0.18))
        rear = np.array([v(x, 0.12) * girth for x in shape.abdomen])
        stalk = rng.uniform(0.02, 0.1) if kind in ("ant", "bee") and rng.random() < 0.7 else 0.0
        joint = np.array([0, y, -size[2] * 0.9])
        rig.bone("abdomen", "root", joint)
        if stalk:
            end = joint - [0, 0, stalk + 0.05]
            rig.primitives.append(Limb("root", "thorax", joint, end, (0.03, 0.025), 0.02, "body"))
        pitch = rng.uniform(-12, 25) if kind != "beetle" else rng.uniform(-4, 8)
        centre = joint - [0, 0, stalk] - _direction(-pitch) * rear[2] * 0.85
        tilt = rotation("x", pitch)
        _ball(rig, "abdomen", "abdomen", centre, (rear[0], rear[1], rear[2]), blend, rotation=tilt)
        front = np.array([v(x, 0.18) for x in shape.head])
        joint = np.array([0, y, size[2] * 0.92])
        rig.bone("head", "root", joint)
        head = joint + [0, rng.uniform(-0.02, 0.04), front[2] * rng.uniform(0.55, 0.9)]
        _ball(rig, "head", "head", head, (front[0], front[1], front[2]), blend * 0.8)
        rig.motion |= {"abdomen": ((0, 0, 0), (9, 8, 0)), "head": ((0, 0, 0), (8, 14, 0))}
        if rng.random() < 0.3 and kind in ("ant", "beetle", "spider"):  # jaws
            for side in (1, -1):
                a = head + [side * front[0] * 0.45, -front[1] * 0.3, front[2] * 0.8]
                tip = a + [-side * 0.02, -0.01, rng.uniform(0.06, 0.14)]
                rig.primitives.append(Limb("head", "head", a, tip, (0.024, 0.0145), 0.01, "body"))
        if shape.antennae and rng.random() < 0.9:
            _antennae(rig, rng, head, front)
    if kind != "butterfly" or rng.random() < 0.55:
        _insect_legs(rig, rng, shape, y, kind, size)
    if kind == "crab":
        _crab_claws(rig, rng, y, size)
    if kind in ("bee", "butterfly"):
        _insect_wings(rig, rng, kind, y, size)
    rig.motion["root"] = ((0, 0, 0), (5, 0, 4))
    return rig


def pose_animal(rig: Rig, rng: Rng) -> dict[str, Vector]:
    """Random rotations around the rig's mean pose or one of its presets; left and right are often symmetric."""
    motion = dict(rig.motion)
    preset = rig.presets[int(rng.integers(len(rig.presets)))] if rig.presets and rng.random() < 0.45 else {}
    motion |= preset
    symmetric, amount = rng.random() < 0.4, rng.uniform(0.25, 1.2)
    drawn: dict[str, Vector] = {}
    rotations = {}
    for bone in rig.bones:
        if bone not in motion:
            continue
        mean, deviation = (np.asarray(m, np.float64) for m in motion[bone])
        stem, right = (bone[:-1], bone[-1] == "R") if bone[-1] in "LR" else (bone, False)
        noise = np.clip(rng.normal(size=3), -2, 2)
        if right and (symmetric or bone in preset or stem.startswith(("wing", "fin"))):
            noise = drawn.get(stem, noise)
        drawn[stem] = noise
        x, y, z = (mean + amount * deviation * noise) * ([1, -1, -1] if right else [1, 1, 1])
        rotations[bone] = rotation("y", y) @ rotation("x", x) @ rotation("z", z)
    return rotations


QUADRUPEDS: dict[str, tuple[Quadruped, tuple[str, ...]]] = {
    "horse": (
        Quadruped(
            0.85,
            0.055,
            (0.2, 0.23),
            (0.55, 52, 0.11),
            (0.11, -38),
            (0.24, 0.06),
            tail=(0.6, 0.035, -72),
            foot="hoof",
            mane=0.45,
        ),
        ("pony", "animal"),
    ),
    "zebra": (
        Quadruped(
            0.75,
            0.055,
            (0.2, 0.23),
            (0.45, 48, 0.11),
            (0.11, -38),
            (0.22, 0.06),
            tail=(0.5, 0.03, -72),
            foot="hoof",
            mane=0.4,
        ),
        ("donkey", "animal"),
    ),
    "dog": (
        Quadruped(
            0.58,
            0.05,
            (0.15, 0.18),
            (0.26, 52, 0.095),
            (0.12, -12),
            (0.16, 0.05),
            tail=(0.5, 0.032, 25),
            squat=True,
        ),
        ("wolf", "animal"),
    ),
    "hound": (
        Quadruped(
            0.45,
            0.052,
            (0.15, 0.18),
            (0.24, 50, 0.095),
            (0.125, -15),
            (0.15, 0.06),
            ears="floppy",
            tail=(0.45, 0.03, 35),
            squat=True,
        ),
        ("dog", "puppy"),
    ),
    "fox": (
        Quadruped(0.48, 0.042, (0.13, 0.155), (0.22, 42, 0.085), (0.11, -12), (0.14, 0.035), tail=(0.65, 0.075, -12)),
        ("animal",),
    ),
    "cat": (
        Quadruped(
            0.42,
            0.04,
            (0.13, 0.15),
            (0.17, 45, 0.08),
            (0.12, -8),
            (0.05, 0.045),
            tail=(0.75, 0.032, 20),
            squat=True,
        ),
        ("kitten", "animal"),
    ),
    "lion": (
        Quadruped(
            0.52,
            0.062,
            (0.17, 0.2),
            (0.24, 38, 0.12),
            (0.145, -15),
            (0.11, 0.075),
            ears="round",
            tail=(0.75, 0.026, -35),
            mane=1,
            squat=True,
        ),
        ("big cat", "animal"),
    ),
    "cow": (
        Quadruped(
            0.55,
            0.06,
            (0.24, 0.28),
            (0.32, 25, 0.13),
            (0.13, -35),
            (0.17, 0.08),
            "side",
            (0.6, 0.02, -80),
            "hoof",
            "short",
        ),
        ("bull", "ox", "animal"),
    ),
    "sheep": (
        Quadruped(
            0.42,
            0.045,
            (0.24, 0.26),
            (0.24, 42, 0.12),
            (0.11, -28),
            (0.12, 0.055),
            "side",
            (0.16, 0.045, -70),
            "hoof",
            "",
        ),
        ("lamb", "animal"),
    ),
    "goat": (
        Quadruped(
            0.55,
            0.045,
            (0.17, 0.2),
            (0.3, 48, 0.09),
            (0.1, -30),
            (0.14, 0.05),
            "side",
            (0.16, 0.03, 20),
            "hoof",
            "curved",
        ),
        ("ram", "animal"),
    ),
    "deer": (
        Quadruped(
            0.8,
            0.042,
            (0.16, 0.19),
            (0.45, 58, 0.08),
            (0.1, -20),
            (0.16, 0.045),
            "side",
            (0.14, 0.035, -40),
            "hoof",
            "antler",
        ),
        ("stag", "moose", "animal"),
    ),
    "elephant": (
        Quadruped(
            0.58,
            0.105,
            (0.31, 0.34),
            (0.2, 18, 0.2),
            (0.22, -22),
            (0.06, 0.1),
            "large",
            (0.45, 0.022, -78),
            "pad",
            trunk=True,
        ),
        ("animal",),
    ),
    "giraffe": (
        Quadruped(
            1.05,
            0.055,
            (0.18, 0.24),
            (1.25, 66, 0.095),
            (0.105, -22),
            (0.18, 0.05),
            "side",
            (0.5, 0.02, -78),
            "hoof",
            "knob",
        ),
        ("animal",),
    ),
    "pig": (
        Quadruped(
            0.27,
            0.055,
            (0.24, 0.25),
            (0.14, 10, 0.17),
            (0.155, -18),
            (0.1, 0.075),
            "pointed",
            (0.2, 0.02, 30),
            "hoof",
        ),
        ("boar", "animal"),
    ),
    "bear": (
        Quadruped(
            0.46,
            0.085,
            (0.24, 0.27),
            (0.24, 22, 0.16),
            (0.155, -12),
            (0.13, 0.07),
            "round",
            (0.08, 0.045, -40),
            squat=True,
        ),
        ("animal",),
    ),
    "rabbit": (
        Quadruped(
            0.28,
            0.05,
            (0.2, 0.21),
            (0.12, 50, 0.11),
            (0.155, -12),
            (0.05, 0.07),
            "long",
            (0.09, 0.075, 20),
            squat=True,
            hind=1.45,
        ),
        ("bunny", "hare", "animal"),
    ),
    "mouse": (
        Quadruped(0.18, 0.038, (0.19, 0.19), (0.1, 15, 0.12), (0.14, -12), (0.13, 0.04), "round", (0.85, 0.026, -8)),
        ("rat", "animal"),
    ),
    "camel": (
        Quadruped(
            0.85,
            0.055,
            (0.21, 0.24),
            (0.6, 48, 0.1),
            (0.11, -20),
            (0.18, 0.06),
            "round",
            (0.4, 0.022, -78),
            "pad",
            extra="hump",
        ),
        ("animal",),
    ),
    "rhino": (
        Quadruped(
            0.42,
            0.09,
            (0.28, 0.3),
            (0.22, 5, 0.19),
            (0.17, -28),
            (0.2, 0.1),
            "pointed",
            (0.35, 0.022, -75),
            "pad",
            "nose",
        ),
        ("rhinoceros", "animal"),
    ),
    "sauropod": (
        Quadruped(0.55, 0.1, (0.25, 0.27), (1.2, 48, 0.11), (0.1, -12), (0.1, 0.055), "", (1.4, 0.13, -14), "pad"),
        ("dinosaur", "brontosaurus"),
    ),
    "triceratops": (
        Quadruped(
            0.42,
            0.085,
            (0.27, 0.27),
            (0.14, 10, 0.17),
            (0.17, -25),
            (0.17, 0.07),
            "",
            (0.7, 0.11, -20),
            "pad",
            "three",
            extra="frill",
        ),
        ("dinosaur",),
    ),
    "stegosaurus": (
        Quadruped(
            0.42,
            0.08,
            (0.23, 0.29),
            (0.3, 0, 0.1),
            (0.09, -12),
            (0.1, 0.05),
            "",
            (0.85, 0.12, -10),
            "pad",
            extra="plates",
        ),
        ("dinosaur",),
    ),
    "lizard": (
        Quadruped(
            0.12,
            0.042,
            (0.14, 0.1),
            (0.15, 8, 0.085),
            (0.095, -4),
            (0.1, 0.05),
            "",
            (1.0, 0.085, -3),
            "pad",
            sprawl=0.17,
        ),
        ("gecko", "reptile"),
    ),
    "crocodile": (
        Quadruped(
            0.12,
            0.05,
            (0.18, 0.12),
            (0.14, 0, 0.12),
            (0.12, -2),
            (0.36, 0.06),
            "",
            (1.05, 0.11, -3),
            "pad",
            sprawl=0.16,
        ),
        ("alligator", "reptile"),
    ),
    "turtle": (
        Quadruped(
            0.14,
            0.06,
            (0.3, 0.17),
            (0.28, 15, 0.075),
            (0.11, 0),
            (0.05, 0.06),
            "",
            (0.25, 0.04, -15),
            "pad",
            sprawl=0.22,
            shell=True,
        ),
        ("tortoise",),
    ),
    "frog": (
        Quadruped(
            0.16,
            0.045,
            (0.26, 0.17),
            (0.06, 20, 0.17),
            (0.2, 0),
            (0.06, 0.13),
            "",
            (0.03, 0.04, -20),
            "pad",
            sprawl=0.24,
            hind=1.5,
        ),
        ("toad",),
    ),
}
BIRDS: dict[str, tuple[Bird, tuple[str, ...]]] = {
    "bird": (Bird(), ("sparrow", "pigeon", "animal")),
    "eagle": (Bird(30, 0.26, (0.24, 0.13), 0.15, (0.14, 0.06), 0.3, (1.5, 0.28), 0.55), ("hawk", "bird")),
    "duck": (
        Bird(8, 0.3, (0.42, 0.1), 0.15, (0.2, 0.055), 0.25, (0.9, 0.24), 0.25),
        ("goose", "swan", "bird"),
    ),
    "chicken": (
        Bird(22, 0.33, (0.32, 0.11), 0.13, (0.09, 0.045), 0.42, (0.68, 0.24), 0.42, comb=True, flies=False),
        ("hen", "rooster", "bird"),
    ),
    "ostrich": (
        Bird(12, 0.33, (1.05, 0.07), 0.11, (0.12, 0.04), 1.15, (0.68, 0.24), 0.35, flies=False),
        ("bird",),
    ),
    "heron": (
        Bird(28, 0.22, (0.85, 0.055), 0.1, (0.36, 0.035), 0.95, (1.1, 0.22), 0.25),
        ("flamingo", "stork", "crane", "bird"),
    ),
    "penguin": (
        Bird(78, 0.29, (0.12, 0.17), 0.18, (0.14, 0.04), 0.1, (0.55, 0.11), 0.16, flies=False),
        ("bird",),
    ),
    "owl": (Bird(68, 0.3, (0.08, 0.2), 0.25, (0.03, 0.045), 0.14, (0.95, 0.24), 0.3), ("bird",)),
}
ANIMALS: dict[str, tuple[Callable[[Rng], Rig], tuple[str, ...]]] = {
    **{kind: (partial(quadruped, shape), words) for kind, (shape, words) in QUADRUPEDS.items()},
    **{kind: (partial(bird, shape), words) for kind, (shape, words) in BIRDS.items()},
    "fish": (fish, ("goldfish", "animal")),
    **{
        kind: (partial(shark_or_whale, kind), words)
        for kind, words in (
            ("shark", ("fish",)),
            ("dolphin", ("animal",)),
            ("whale", ("animal",)),
        )
    },
    **{
        kind: (partial(arthropod, kind), words)
        for kind, words in (
            ("spider", ("insect",)),
            ("ant", ("insect",)),
            ("beetle", ("insect", "bug")),
            ("bee", ("insect", "fly")),
            ("butterfly", ("insect",)),
            ("crab", ("animal",)),
        )
    },
    "tyrannosaur": (tyrannosaur, ("dinosaur", "t-rex")),
    "snake": (snake, ("reptile",)),
    "octopus": (octopus, ("squid",)),
}
