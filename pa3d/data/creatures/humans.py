"""People: a rig with random build, and random poses within plausible joint limits.

The body is one unit tall, faces +z and has its arms at half height in the rest pose. The boundaries of parts are those
of skinned body models. The neck belongs to the head. The top of the shoulder belongs to the torso, and the arm begins
at the height of the armpit. The leg begins at the groin, higher in front than behind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pa3d.data.creatures.body import Array, Ball, Limb, Rig, align_vectors, rotation

Rng = np.random.Generator
Rotation = NDArray[np.float64]

HEAD = ("head", "head of the person", "human head", "head and neck")
TORSO = ("torso", "trunk", "body", "upper body", "main body")
ARM = ("arm", "arm with hand", "human arm", "whole arm")
LEG = ("leg", "leg with foot", "human leg", "whole leg")
UPPER_ARM = ("upper arm", "biceps", *ARM)
FOREARM = ("forearm", "lower arm", *ARM)
HAND = ("hand", "palm and fingers", *ARM)
THIGH = ("thigh", "upper leg", *LEG)
SHIN = ("shin", "lower leg", "calf", *LEG)
FOOT = ("foot", "feet", *LEG)
PARTS = {
    "head": HEAD,
    "face": ("face", *HEAD),
    "hair": ("hair", "hairstyle", *HEAD),
    "hat": ("hat", "headgear", *HEAD),
    "neck": ("neck", "throat", *HEAD),
    "shoulder": ("shoulder", *TORSO),
    "chest": ("chest", "thorax", "front of the torso", *TORSO),
    "belly": ("belly", "abdomen", "stomach", "front of the torso", *TORSO),
    "upper back": ("back", "upper back", *TORSO),
    "lower back": ("back", "lower back", *TORSO),
    "pelvis": ("pelvis", "hips", *TORSO),
    "buttocks": ("buttocks", "backside", "pelvis", "hips", *TORSO),
    "upper arm": UPPER_ARM,
    "forearm": FOREARM,
    "hand": HAND,
    "fingers": ("fingers", *HAND),
    "thigh": THIGH,
    "shin": SHIN,
    "foot": FOOT,
}


def human(rng: Rng) -> Rig:
    """A person of random age, sex, build and clothing, one unit tall, standing in the rest pose."""
    style = rng.choice(["adult", "child", "toy"], p=[0.72, 0.14, 0.14])
    female = bool(rng.random() < 0.5)
    child, toy = style == "child", style == "toy"
    fat = float(np.clip(rng.normal(0, 0.45), -0.7, 1.3))
    muscle = float(np.clip(rng.normal(0.3 if not female else 0.0, 0.4), -0.4, 1.2))
    width = 1 + 0.14 * fat + 0.05 * muscle
    head = rng.uniform(0.062, 0.069) * (rng.uniform(1.15, 1.4) if child else rng.uniform(1.1, 2.0) if toy else 1)
    neck = rng.uniform(0.018, 0.04) * (0.8 if child or toy else 1)
    chin = 1 - 2 * head * 0.96
    collar = chin - neck
    crotch = collar * rng.uniform(0.535, 0.575) * (0.92 if child else rng.uniform(0.8, 1) if toy else 1)
    trunk = collar - crotch
    shoulder = (rng.uniform(0.098, 0.108) if female else rng.uniform(0.108, 0.122)) * (1 + 0.05 * fat + 0.05 * muscle)
    shoulder *= collar / 0.835
    hip = rng.uniform(0.044, 0.051) * (1.06 if female else 1) * (1 + 0.12 * max(fat, 0))
    limb = (1 + 0.2 * fat + 0.13 * muscle) * (rng.uniform(0.9, 1.5) if toy else 1.08 if child else 1)
    boxy = 4 if toy and rng.random() < 0.5 else 2

    rig = Rig(parts=dict(PARTS), cell=float(rng.choice([0.012, 0.02, 0.03])) if toy else 0.0095)
    rig.weight_falloff = 0.018
    pelvis = rig.bone("pelvis", None, [0, crotch + 0.16 * trunk, 0])
    rig.bone("spine", "pelvis", [0, crotch + 0.36 * trunk, -0.008])
    rig.bone("chest", "spine", [0, crotch + 0.6 * trunk, -0.01])
    rig.bone("neck", "chest", [0, collar - 0.015, -0.012])
    rig.bone("head", "neck", [0, chin + 0.012, 0.0])

    def ball(
        bone: str,
        key: str,
        centre: tuple[float, float, float],
        radii: tuple[float, float, float],
        k: float,
        g: str = "trunk",
    ) -> None:
        rig.primitives.append(Ball(bone, key, np.array(centre), radii, k, g, power=boxy))

    y = crotch + trunk * np.array([0.13, 0.4, 0.68, 0.87])
    depth = 0.062 * (1 + 0.25 * fat)
    slim = (0.9 if female else 1.02) + 0.2 * max(fat, -0.3) + rng.uniform(-0.06, 0.08)
    ball(
        "pelvis",
        "pelvis",
        (0, y[0], -0.004),
        (0.084 * width * (1.06 if female else 1), trunk * 0.2, depth * 1.02),
        0.04,
    )
    ball(
        "spine",
        "belly",
        (0, y[1], 0.004 + 0.016 * max(fat, 0)),
        (0.086 * slim, trunk * 0.26, depth * (0.92 + 0.25 * max(fat, 0))),
        0.05,
    )
    ball(
        "chest",
        "chest",
        (0, y[2], -0.004),
        (0.087 * width, trunk * 0.27, depth * (1.08 + 0.12 * muscle)),
        0.05,
    )
    ball("chest", "chest", (0, y[3], -0.01), (shoulder * 0.82, trunk * 0.11, depth * 0.8), 0.05)
    if fat > 0.5:
        ball("spine", "belly", (0, y[1] - 0.02 * trunk, 0.04), (0.075 * slim, trunk * 0.2, 0.055 * fat), 0.05)
    bust = rng.uniform(0.026, 0.042)
    for side in (1, -1):
        rig.primitives.append(
            Limb(
                "chest",
                "chest",
                np.array([side * 0.02, collar, -0.014]),
                np.array([side * shoulder * 0.8, y[3] + 0.03 * trunk, -0.012]),
                (0.028, 0.034 * limb),
                0.03,
            )
        )
        ball(
            "pelvis",
            "buttocks",
            (side * 0.042, crotch + 0.07 * trunk, -0.028),
            (0.048 * width, 0.052, 0.045 + 0.01 * female),
            0.03,
        )
        if female and not child:
            ball(
                "chest",
                "chest",
                (side * 0.04, crotch + 0.68 * trunk, depth * 0.75),
                (bust * 1.1, bust, bust),
                0.025,
            )
        elif muscle > 0.2:
            ball(
                "chest",
                "chest",
                (side * 0.042, crotch + 0.74 * trunk, depth * 0.72),
                (0.045, 0.03, 0.022),
                0.025,
            )

    thick = rng.uniform(0.031, 0.036) * (1 + 0.2 * max(fat, 0) + 0.2 * max(muscle, 0)) * (1.25 if toy else 1)
    lean = rng.uniform(0, 0.012)
    rig.primitives.append(
        Limb(
            "neck",
            "neck",
            np.array([0, collar - 0.02, -0.014]),
            np.array([0, chin + 0.03, lean]),
            (thick * 1.05, thick * 0.95),
            0.025,
        )
    )
    face = head * rng.uniform(0.72, 0.82)
    ball(
        "head",
        "head",
        (0, 1 - head * 0.95, lean - 0.004),
        (face, head * 0.95, head * rng.uniform(0.86, 0.95)),
        0.02,
    )
    ball(
        "head",
        "head",
        (0, chin + head * 0.55, lean + head * 0.25),
        (face * 0.78, head * 0.62, head * 0.62),
        0.02,
    )
    if rng.random() < 0.85:
        ball(
            "head",
            "head",
            (0, chin + head * 0.75, lean + head * 0.88),
            (head * 0.13, head * 0.22, head * 0.2),
            0.012,
        )
        for side in (1, -1):
            ball(
                "head",
                "head",
                (side * face, chin + head * 0.9, lean - 0.004),
                (head * 0.1, head * 0.24, head * 0.15),
                0.006,
            )
    _headwear(rig, rng, head, face, chin, lean, female)

    fingers = not toy and rng.random() < 0.7
    upper, fore = rng.uniform(0.155, 0.172) * collar / 0.835, rng.uniform(0.138, 0.155) * collar / 0.835
    thigh, foot_y, groin = rng.uniform(0.5, 0.53), rng.uniform(0.042, 0.05), rng.uniform(0.028, 0.055)
    sleeve = rng.uniform(1.1, 1.5) if rng.random() < 0.25 else 1
    trouser = rng.uniform(1.1, 1.45) if rng.random() < 0.25 else 1
    flare, boot = rng.uniform(1.0, trouser), rng.uniform(1, 1.25) * (1.3 if toy else 1)
    armpit = float(np.clip(rng.normal(0.27, 0.04), 0.16, 0.38))  # where along the upper arm the arm begins
    palm = rng.uniform(0.034, 0.042) * (1.3 if toy else 1)
    grip = rng.uniform(0.0, 1.2) if rng.random() < 0.4 else rng.uniform(0, 0.3)
    for side, tag in ((1, "L"), (-1, "R")):
        joint = np.array([side * shoulder, y[3] + 0.02 * trunk, -0.01])
        rig.bone(f"clavicle{tag}", "chest", [side * 0.02, collar - 0.02, -0.01])
        rig.bone(f"upper arm{tag}", f"clavicle{tag}", joint)
        out = np.array([side * np.sin(np.radians(50)), -np.cos(np.radians(50)), 0])
        elbow = rig.bone(f"forearm{tag}", f"upper arm{tag}", joint + upper * out)
        wrist = rig.bone(f"hand{tag}", f"forearm{tag}", elbow + fore * out)
        arm = f"arm{tag}"
        rig.blend[arm] = 0.025
        rig.primitives += [
            Limb(
                f"upper arm{tag}",
                "shoulder",
                joint,
                elbow,
                (0.034 * limb, 0.0235 * limb * sleeve),
                0.02,
                arm,
                0.003 + 0.006 * max(muscle, 0),
                0.45,
                cuts=((armpit, "upper arm"),),
            ),
            Limb(
                f"forearm{tag}",
                "forearm",
                elbow,
                wrist,
                (0.023 * limb * sleeve, 0.0165 * limb * sleeve),
                0.02,
                arm,
                0.003 + 0.004 * max(muscle, 0),
                0.25,
            ),
            Ball(
                f"clavicle{tag}",
                "shoulder",
                joint + [-side * 0.008, 0.004, 0],
                (0.034 * limb, 0.036 * limb, 0.034 * limb),
                0.02,
                arm,
            ),
        ]
        _hand(rig, f"hand{tag}", arm, wrist, out, palm, grip, limb, fingers)

        socket = np.array([side * hip, crotch + 0.14 * trunk, -0.002])
        rig.bone(f"thigh{tag}", "pelvis", socket)
        spread = np.array([side * np.sin(np.radians(7)), -np.cos(np.radians(7)), 0])
        length = (socket[1] - foot_y) / np.cos(np.radians(7))
        knee = rig.bone(f"shin{tag}", f"thigh{tag}", socket + length * thigh * spread + [0, 0, 0.004])
        ankle = rig.bone(f"foot{tag}", f"shin{tag}", socket + length * spread + [0, 0, -0.012])
        leg = f"leg{tag}"
        rig.blend[leg] = 0.02
        thick_leg = limb * (1 + 0.04 * female)
        rig.primitives += [
            Limb(
                f"thigh{tag}",
                "thigh",
                socket,
                knee,
                (0.052 * thick_leg, 0.034 * limb * trouser),
                0.025,
                leg,
                0.004,
                0.3,
            ),
            Limb(
                f"shin{tag}",
                "shin",
                knee,
                ankle,
                (0.033 * limb * trouser, 0.0215 * limb * flare),
                0.025,
                leg,
                0.006,
                0.3,
            ),
        ]
        if trouser == 1:
            rig.primitives.append(
                Ball(
                    f"shin{tag}",
                    "shin",
                    knee + (ankle - knee) * 0.32 + [0, 0, -0.012],
                    (0.024 * limb, 0.07, 0.024 * limb),
                    0.02,
                    leg,
                )
            )
        heel, toe = ankle + [0, -foot_y * 0.55, -0.016], ankle + [side * 0.012, -foot_y * 0.68, 0.085]
        rig.primitives += [
            Limb(f"foot{tag}", "foot", ankle, heel, (0.022 * boot, 0.02 * boot), 0.02, leg),
            Limb(
                f"foot{tag}",
                "foot",
                heel,
                toe,
                (0.021 * boot, 0.025 * boot),
                0.02,
                leg,
                flat=0.62,
                axis=(0, 1, 0),
            ),
            Limb(f"foot{tag}", "foot", ankle, toe, (0.02 * boot, 0.012 * boot), 0.02, leg),
        ]

    brow = chin + head * rng.uniform(1.05, 1.3)

    def relabel(v: Array, keys: list[str], key: NDArray[np.int64]) -> None:
        number = {name: i for i, name in enumerate(keys)}
        x, back = np.abs(v[:, 0]), v[:, 2] < pelvis[2] - 0.012
        low = np.isin(key, [number[k] for k in ("pelvis", "buttocks", "thigh", "belly")])
        front = np.clip(0.5 + v[:, 2] / (1.5 * depth), 0, 1)
        height = (
            crotch
            - 0.004
            + groin * front * np.clip((x - 0.012) / 0.05, 0, 1)
            + 0.025 * np.clip((x - 0.05) / 0.06, 0, 1)
        )
        key[low & (v[:, 1] < height)] = number["thigh"]
        key[low & (v[:, 1] >= height) & (v[:, 1] < crotch + 0.3 * trunk)] = number["pelvis"]
        key[low & (v[:, 1] >= height) & back & (v[:, 1] < crotch + 0.2 * trunk)] = number["buttocks"]
        middle = np.isin(key, [number["belly"], number["pelvis"]]) & (v[:, 1] >= crotch + 0.3 * trunk)
        key[middle] = number["belly"]
        key[np.isin(key, [number["belly"], number["chest"]]) & (v[:, 1] > crotch + 0.56 * trunk)] = number["chest"]
        key[(key == number["chest"]) & (v[:, 1] <= crotch + 0.56 * trunk)] = number["belly"]
        key[(key == number["belly"]) & back] = number["lower back"]
        key[(key == number["chest"]) & back] = number["upper back"]
        key[(key == number["head"]) & (v[:, 2] > lean + 0.25 * head) & (v[:, 1] < brow)] = number["face"]
        base = collar - 0.004 - 0.45 * (v[:, 2] - lean)
        key[(key == number["neck"]) & (v[:, 1] < base)] = number["chest"]
        key[(key == number["chest"]) & (v[:, 1] > base) & (x < 1.25 * thick)] = number["neck"]

    rig.relabel = relabel
    adult, young = ("woman", "girl") if female else ("man", "boy")
    rig.categories = ("person", "human", "human body", young if child else "character" if toy else adult)
    return rig


def _headwear(rig: Rig, rng: Rng, head: float, face: float, chin: float, lean: float, female: bool) -> None:
    kind = rng.random()

    def add(key: str, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> None:
        rig.primitives.append(Ball("head", key, np.array(centre), radii, 0.01))

    if kind < 0.3:
        puff = rng.uniform(1.04, 1.2)
        add(
            "hair",
            (0, chin + head * 1.12, lean - head * 0.2),
            (face * puff, head * 0.92 * puff, head * 0.86 * puff),
        )
        if female and rng.random() < 0.7:
            length = rng.uniform(0.3, 1.0) * head
            start = np.array([0, chin + head, lean - head * 0.55])
            rig.primitives.append(
                Limb(
                    "head",
                    "hair",
                    start,
                    start - [0, length, 0.2 * head],
                    (face * 0.8, face * 0.6),
                    0.015,
                    flat=0.5,
                )
            )
        elif female:
            add("hair", (0, chin + head * 1.5, lean - head * 1.05), (head * 0.35, head * 0.35, head * 0.3))
    elif kind < 0.4:
        crown = rng.uniform(0.5, 0.9)
        add("hat", (0, chin + head * 1.65, lean - 0.004), (face * 1.12, head * crown, head * 1.02))
        if rng.random() < 0.7:
            reach = rng.uniform(0.2, 0.7) * head
            ahead = rng.random() < 0.5
            centre = np.array([0, chin + head * 1.5, lean + (reach if ahead else 0)])
            wide = (
                face * (1.1 if ahead else 1.1 + reach / head),
                head * 0.14,
                head * (1 if ahead else 1.0 + reach / head),
            )
            rig.primitives.append(Ball("head", "hat", centre, wide, 0.008))


def _hand(
    rig: Rig,
    bone: str,
    group: str,
    wrist: Rotation,
    out: Rotation,
    palm: float,
    grip: float,
    limb: float,
    fingers: bool,
) -> None:
    ahead, normal = np.array([0, 0, 1.0]), np.cross(out, [0, 0, 1.0])
    normal *= -np.sign(normal[1])  # the palm looks down, the thumb forward
    middle = wrist + out * palm * 1.05
    rig.primitives.append(
        Limb(
            bone,
            "hand",
            wrist,
            middle + out * palm * 0.5,
            (0.0155 * limb, palm * 0.62),
            0.014,
            group,
            flat=0.5,
            axis=tuple(normal),
        )
    )
    tip = middle + out * palm * 0.3 + ahead * palm * 0.95 + normal * palm * 0.2 * grip
    rig.primitives.append(
        Limb(
            bone,
            "fingers",
            middle + ahead * palm * 0.35 - out * palm * 0.5,
            tip,
            (0.0095, 0.0085),
            0.008,
            group,
        )
    )
    curl = out * np.cos(grip) + normal * np.sin(grip)
    if not fingers:
        end = middle + out * palm * 0.6 + curl * palm * 1.0
        rig.primitives.append(
            Limb(
                bone,
                "fingers",
                middle + out * palm * 0.5,
                end,
                (palm * 0.58, palm * 0.4),
                0.012,
                group,
                flat=0.5,
                axis=tuple(normal),
            )
        )
        return
    for i in range(4):
        shift = ahead * palm * (0.48 - 0.32 * i)
        root = middle + out * palm * 0.75 + shift * 0.95
        length = palm * (1.0, 1.12, 1.05, 0.85)[i]
        rig.primitives.append(
            Limb(bone, "fingers", root, root + curl * length + shift * 0.3, (0.0092, 0.0075), 0.004, group)
        )


def _arm(rng: Rng, mode: str, side: int) -> tuple[Rotation, Rotation]:
    """Directions of the upper arm and the forearm in the axes of the chest."""
    n = rng.normal
    table = {
        "down": ((0.16 + 0.08 * n(), -1, 0.12 * n()), 12),
        "a": ((np.tan(np.radians(rng.uniform(20, 60))), -1, 0.1 * n()), 12),
        "t": ((1, 0.12 * n(), 0.15 * n()), 10),
        "up": ((0.35 + 0.25 * n(), 1, 0.15 * n()), 20),
        "forward": ((0.1 + 0.15 * n(), 0.25 * n(), 1), 15),
        "behind": ((0.3, -1, -0.6 + 0.2 * n()), 25),
        "cross": ((-0.35 + 0.1 * n(), -0.1 + 0.2 * n(), 0.9), 20),
        "swing": ((0.15 + 0.05 * n(), -1, 0.7 * n()), 60),
    }
    fixed = {
        "akimbo": ((0.75, -0.75, -0.25), (-0.75, -0.6, 0.4)),
        "folded": ((0.3, -0.9, 0.35), (-0.9, 0.12, 0.5)),
        "to head": ((0.85, 0.4, 0.15), (-0.55, 0.75, 0.15)),
        "to face": ((0.3, -0.6, 0.7), (-0.35, 0.85, 0.35)),
        "wave": ((0.95, -0.1, 0.15), (0.15, 1, 0.15)),
        "flex": ((1, 0, 0.0), (-0.2, 0.95, 0.1)),
        "carry": ((0.2, -1, 0.05), (-0.05, 0.05, 1)),
        "pray": ((0.25, -0.7, 0.6), (-0.45, 0.3, 0.8)),
    }
    if mode in fixed:
        upper, fore = (np.array(v) + 0.12 * n(size=3) for v in fixed[mode])
    else:
        if mode in table:
            direction, flexion = table[mode]
            upper = np.array(direction)
        else:
            upper, flexion = n(size=3) * [1, 1, 0.8] + [0.55, -0.1, 0.45], 50
        upper = upper / np.linalg.norm(upper)
        bend = np.array([-0.3, 0.4, 1.0]) + 0.35 * n(size=3)
        bend -= upper * (bend @ upper)
        bend /= max(float(np.linalg.norm(bend)), 1e-6)
        angle = np.radians(min(abs(n()) * flexion, 125))
        fore = np.cos(angle) * upper + np.sin(angle) * bend
    mirror = np.array([side, 1, 1])
    return upper / np.linalg.norm(upper) * mirror, fore / np.linalg.norm(fore) * mirror


ARM_MODES = [
    "down",
    "a",
    "t",
    "up",
    "forward",
    "behind",
    "cross",
    "swing",
    "akimbo",
    "folded",
    "to head",
    "to face",
    "wave",
    "flex",
    "carry",
    "pray",
    "any",
]
ARM_ODDS = np.array([12, 12, 7, 7, 6, 3, 3, 6, 6, 4, 3, 3, 3, 3, 4, 3, 15.0])
LEG_MODES = [
    "stand",
    "wide",
    "walk",
    "run",
    "lunge",
    "kick",
    "sit",
    "crouch",
    "knee up",
    "heel up",
    "cross",
    "kneel",
]
LEG_ODDS = np.array([34, 10, 12, 6, 5, 5, 6, 4, 7, 4, 3, 3.0])


def _legs(rng: Rng, mode: str) -> tuple[list[tuple[float, float, float]], float]:
    """(hip flexion, abduction, knee flexion) of both legs and a forward lean of the body, in degrees."""
    u = rng.uniform
    if mode == "stand":
        return [(u(-6, 8), u(-5, 8), u(0, 8)), (u(-6, 8), u(-5, 8), u(0, 8))], u(-4, 4)
    if mode == "wide":
        wide = u(8, 32)
        return [(u(-5, 12), wide, u(0, 15)), (u(-5, 12), wide * u(0.6, 1), u(0, 15))], 0
    if mode == "walk":
        return [(u(12, 35), u(-3, 4), u(0, 20)), (u(-28, -8), u(-3, 4), u(5, 35))], u(0, 6)
    if mode == "run":
        return [(u(40, 80), u(-3, 5), u(50, 110)), (u(-30, -5), u(-3, 5), u(10, 70))], u(5, 20)
    if mode == "lunge":
        return [(u(55, 85), u(0, 10), u(55, 90)), (u(-35, -10), u(0, 10), u(5, 50))], u(-5, 20)
    if mode == "kick":
        return [(u(50, 95), u(-5, 15), u(0, 35)), (u(-8, 5), u(0, 8), u(0, 12))], u(-20, 5)
    if mode == "sit":
        flexion, knee = u(75, 95), u(60, 100)
        return [(flexion + u(-5, 5), u(-3, 12), knee), (flexion + u(-5, 5), u(-3, 12), knee + u(-8, 8))], 0
    if mode == "crouch":
        flexion, knee = u(50, 105), u(70, 125)
        return [(flexion, u(0, 18), knee), (flexion + u(-8, 8), u(0, 18), knee)], u(10, 35)
    if mode == "knee up":
        return [(u(45, 105), u(-5, 25), u(45, 120)), (u(-5, 5), u(-3, 5), u(0, 8))], u(-6, 4)
    if mode == "heel up":
        return [(u(-15, 15), u(-3, 6), u(50, 110)), (u(-5, 5), u(-3, 5), u(0, 8))], u(-3, 6)
    if mode == "cross":
        return [(u(3, 14), u(-16, -9), u(0, 12)), (u(-10, -2), u(-15, -8), u(0, 8))], 0
    return [(u(80, 95), u(0, 8), u(80, 95)), (u(-8, 5), u(0, 8), u(80, 95))], u(-5, 5)


def pose_human(rig: Rig, rng: Rng) -> dict[str, Rotation]:
    """Random rotations of a human's bones."""
    n, u = rng.normal, rng.uniform
    rest_arm = {side: np.array([side * np.sin(np.radians(50)), -np.cos(np.radians(50)), 0]) for side in (1, -1)}
    mode = str(rng.choice(LEG_MODES, p=LEG_ODDS / LEG_ODDS.sum()))
    legs, lean = _legs(rng, mode)
    if rng.random() < 0.5:
        legs = legs[::-1]
    bend = abs(n()) * 45 if mode in ("stand", "wide") and rng.random() < 0.15 else n() * 6 + 2
    bend, tilt, twist = float(np.clip(bend, -20, 85)), n() * 6, n() * 13
    if rng.random() < 0.15:
        tilt, twist = tilt + n() * 10, twist + n() * 20
    rotations = {"pelvis": rotation("y", 0.3 * twist) @ rotation("x", lean + bend * 0.35) @ rotation("z", 0.2 * tilt)}
    for bone in ("spine", "chest"):
        rotations[bone] = rotation("y", 0.4 * twist) @ rotation("x", bend * 0.32) @ rotation("z", 0.45 * tilt)
    rotations["neck"] = rotation("y", n() * 12) @ rotation("x", n() * 8 - 0.2 * bend) @ rotation("z", n() * 5)
    rotations["head"] = rotation("y", n() * 14) @ rotation("x", n() * 9 - 0.1 * bend) @ rotation("z", n() * 5)
    odds = ARM_ODDS / ARM_ODDS.sum()
    mode_left = str(rng.choice(ARM_MODES, p=odds))
    mode_right = mode_left if rng.random() < 0.55 else str(rng.choice(ARM_MODES, p=odds))
    for side, tag, arm_mode, (flexion, abduction, knee) in zip(
        (1, -1), "LR", (mode_left, mode_right), legs, strict=True
    ):
        upper, fore = _arm(rng, arm_mode, side)
        raised = max(float(upper[1]) + 0.4, 0) * 20 + n() * 3
        shrug = rotation("z", side * raised) @ rotation("y", -side * float(upper[2]) * 10)
        raised_arm = align_vectors(rest_arm[side], shrug.T @ upper)
        rotations[f"clavicle{tag}"] = shrug
        rotations[f"upper arm{tag}"] = raised_arm
        rotations[f"forearm{tag}"] = align_vectors(rest_arm[side], (shrug @ raised_arm).T @ fore)
        rotations[f"hand{tag}"] = (
            rotation(rest_arm[side], float(np.clip(n() * 45, -80, 80)))
            @ rotation("z", n() * 15)
            @ rotation("y", n() * 12)
        )
        flexion += 0.35 * bend if mode in ("stand", "wide") else 0  # the pelvis leans, the legs stay
        opened = side * (abduction - (2 if abs(flexion) < 20 else 0))
        thigh = rotation("y", side * abs(n()) * 8) @ rotation("x", -flexion) @ rotation("z", opened)
        rotations[f"thigh{tag}"] = thigh
        rotations[f"shin{tag}"] = rotation("x", knee)
        flat = rotations["pelvis"] @ thigh @ rotation("x", knee)
        level = rotation("y", side * u(-5, 25))
        blend = rotation("x", n() * 12) if mode in ("kick", "run", "heel up", "kneel") else flat.T @ level
        angle = np.degrees(np.arccos(np.clip((np.trace(blend) - 1) / 2, -1, 1)))
        axis = np.array([blend[2, 1] - blend[1, 2], blend[0, 2] - blend[2, 0], blend[1, 0] - blend[0, 1]])
        rotations[f"foot{tag}"] = rotation(axis, float(min(angle, 40))) if angle > 1e-3 else blend
    return rotations


BUST_TRUNKS = ("shoulders", "shoulders", "chest", "block", "neck")
BUST_BASES = ("none", "block", "round", "socle", "socle")


def bust(rng: Rng) -> Rig:
    """A sculpted head with neck and shoulders, often on a base; about one unit tall."""
    rig = Rig(cell=float(rng.choice([0.015, 0.018, 0.026])), weight_falloff=0.04)
    rig.parts = {
        "head": ("head",),
        "face": ("face", "head"),
        "nose": ("nose", "face", "head"),
        "ear": ("ear", "head"),
        "hair": ("hair", "head"),
        "hat": ("hat", "headgear", "head"),
        "neck": ("neck",),
        "shoulder": ("shoulder", "body"),
        "chest": ("chest", "body"),
        "base": ("base", "pedestal"),
    }
    low = _bust_base(rig, rng)
    size, thick = rng.uniform(0.17, 0.24), rng.uniform(0.075, 0.115)
    collar = _bust_trunk(rig, rng, low, thick)
    chin = collar + rng.uniform(0.06, 0.17)
    lean = rng.uniform(0.0, 0.05)
    rig.bone("neck", "root", [0, collar, 0])
    rig.bone("head", "neck", [0, chin + 0.05, 0])
    start, end = np.array([0, collar - 0.06, -0.02]), np.array([0, chin + size * 0.5, lean - 0.02])
    rig.primitives.append(Limb("neck", "neck", start, end, (thick * rng.uniform(1.05, 1.4), thick), 0.06, "neck"))
    rig.blend |= {"neck": rng.uniform(0.03, 0.09), "head": 0.03}
    middle, brow = np.array([0, chin + size, lean]), rng.uniform(0.25, 0.6)
    _bust_head(rig, rng, middle, size)

    def relabel(v: Array, keys: list[str], key: NDArray[np.int64]) -> None:
        front = (v[:, 2] > middle[2] + 0.22 * size) & (v[:, 1] < middle[1] + brow * size)
        key[(key == keys.index("head")) & front] = keys.index("face")
        key[(key == keys.index("face")) & (v[:, 2] < middle[2] - 0.02 * size)] = keys.index("head")

    rig.relabel = relabel
    rig.motion = {
        "root": ((0, 0, 0), (2, 0, 2)),
        "neck": ((0, 0, 0), (8, 14, 5)),
        "head": ((0, 0, 0), (8, 16, 5)),
    }
    return rig


def _bust_base(rig: Rig, rng: Rng) -> float:
    """The base under a bust; returns its height."""
    rig.bone("root", None, [0, 0, 0])
    kind, wide, tall = str(rng.choice(BUST_BASES)), rng.uniform(0.11, 0.2), rng.uniform(0.05, 0.12)

    def ball(y: float, radii: tuple[float, float, float], power: int) -> None:
        rig.primitives.append(Ball("root", "base", np.array([0, y, 0]), radii, 0.015, "base", power=power))

    if kind == "none":
        return 0.0
    if kind == "block":
        ball(tall, (wide, tall, wide * rng.uniform(0.7, 1)), 8)
        return 2 * tall
    if kind == "round":
        ball(tall, (wide, tall, wide), 2)
        ball(tall * 0.5, (wide * 1.05, tall * 0.5, wide * 1.05), 2)
        return 2 * tall
    ball(0.03, (wide, 0.035, wide), int(rng.choice([2, 8])))
    r = wide * rng.uniform(0.35, 0.6)
    top = np.array([0, 0.06 + 2 * tall, 0])
    rig.primitives.append(
        Limb("root", "base", np.array([0, 0.03, 0]), top, (r, r * rng.uniform(0.7, 1.4)), 0.03, "base")
    )
    return float(top[1])


def _bust_trunk(rig: Rig, rng: Rng, low: float, thick: float) -> float:
    """The chest and shoulders of a bust, which stand at this height; returns the height of the collar."""
    kind, tall = str(rng.choice(BUST_TRUNKS)), rng.uniform(0.24, 0.42)
    wide, deep = rng.uniform(0.17, 0.23), rng.uniform(0.12, 0.16)
    rig.blend["trunk"] = 0.012
    if kind == "neck":  # the neck alone, which widens to its cut
        foot = np.array([0, low + 0.03, 0.0])
        rig.primitives.append(Limb("root", "chest", foot, foot + [0, 0.06, 0], (thick * 1.7, thick * 1.3), 0.05))
        return low + 0.1
    middle = np.array([0, low + tall * 0.5, 0])
    if kind == "block":
        rig.primitives.append(Ball("root", "chest", middle, (wide * 1.15, tall * 0.5, deep), 0.03, power=6))
        return low + tall * 0.95
    rig.primitives.append(Ball("root", "chest", middle, (wide, tall * 0.56, deep), 0.05, power=int(rng.choice([2, 4]))))
    if kind == "shoulders":
        out, drop, cut = wide * rng.uniform(0.95, 1.25), rng.uniform(0.04, 0.1), rng.uniform(0.02, 0.12)
        for side in (1, -1):
            joint = np.array([side * out, low + tall - drop - 0.04, -0.01])
            r = rng.uniform(0.075, 0.095)
            top = np.array([side * 0.06, low + tall - 0.03, -0.02])
            arm = joint + [side * 0.02, -cut, 0]
            rig.primitives += [
                Limb("root", "shoulder", top, joint, (thick * 0.8, r), 0.08),
                Limb("root", "shoulder", joint, arm, (r, r * 0.95), 0.04),
            ]
    return low + tall * 0.98


def _bust_head(rig: Rig, rng: Rng, middle: Rotation, size: float) -> None:
    """Skull, face, nose, ears, hair or hat about this point; the features may be missing."""

    def ball(key: str, at: tuple[float, float, float], radii: tuple[float, float, float], k: float = 0.03) -> None:
        centre, half = middle + size * np.array(at), size * np.array(radii)
        rig.primitives.append(Ball("head", key, centre, (half[0], half[1], half[2]), k, "head"))

    wide, long = rng.uniform(0.68, 0.82), rng.uniform(0.9, 1.05)
    ball("head", (0, 0.1, -0.08), (wide, 0.88, 0.9))
    ball("face", (0, -0.35 * long, 0.2), (wide * 0.8, 0.62 * long, 0.62), 0.05)
    if rng.random() < 0.9:
        ball("face", (0, -0.78 * long, 0.48), (0.25, 0.16, 0.22), 0.04)  # chin
        nose = rng.uniform(0.1, 0.16)
        ball("nose", (0, -0.2, 0.9), (nose, 0.24, 0.2), 0.015)
        ball("face", (0, 0.08, 0.7), (wide * 0.7, 0.08, 0.16), 0.04)  # brow
        ball("face", (0, -0.52, 0.78), (0.24, 0.07, 0.1), 0.02)  # mouth
        for side in (1, -1):
            ball("ear", (side * wide, -0.12, -0.05), (0.1, 0.24, 0.15), 0.01)
    if rng.random() < 0.2:
        ball("face", (0, -0.95, 0.4), (0.42, rng.uniform(0.3, 0.55), 0.35), 0.03)  # beard
    kind, puff = rng.random(), rng.uniform(1.02, 1.2)
    if kind < 0.55:
        ball("hair", (0, 0.26, -0.22), (wide * puff * 1.04, 0.8 * puff, 0.86 * puff), 0.012)
        if rng.random() < 0.4:
            ball("hair", (0, -0.45, -0.5), (wide * puff, rng.uniform(0.5, 1.0), 0.42), 0.02)
        elif rng.random() < 0.3:
            ball("hair", (0, 0.3, -1.1), (0.35, 0.35, 0.3), 0.02)
    elif kind < 0.68:
        ball("hat", (0, 0.6, -0.06), (wide * 1.12, rng.uniform(0.4, 0.8), 1.0), 0.01)
        if rng.random() < 0.6:
            ball("hat", (0, 0.5, 0.05), (wide * 1.5, 0.13, 1.35), 0.01)
