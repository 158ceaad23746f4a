"""Builds the shards of one phase ("leg") of the long training: the embedded model's sources with other seeds, and more.

    python scripts/campaign_corpus.py -o corpus/leg1 --leg 1 --train DIR --further DIR --sweethome DIR --webxr DIR \
        --metaworld DIR

Every phase draws other shapes, poses and points than the phases before it and than scripts/build_embedded_corpus.py
(seeds begin at 100,000 times the number of the phase). Folders of harvested sources are optional; each becomes a group.
docs/training.md says where they come from and under which licences.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from build_embedded_corpus import COMMON_KINDS, HATS, HUMANS, without_held_out, without_held_out_phrases

from pa3d.data.creatures import CREATURES, synthesize_creature
from pa3d.data.harvest import HarvestReport, characters, harvest_with_rigs
from pa3d.data.parts import PartCloud, PartMesh, write_shards
from pa3d.data.procedural import CATEGORIES, everyday, synthesize
from pa3d.data.procedural.assemblies import assemble
from pa3d.data.rigged import RiggedCharacter, face_joints, random_rotations
from pa3d.errors import InputError
from pa3d.io.gltf import Gltf
from pa3d.rotations import axis_angle_rotation, random_rotation

POINTS = 8192  # of a cloud: enough for a draw of 8,192 points, and for a view that keeps some of them
SEEDS_PER_LEG = 100_000

# Folder: licence and clouds per shape. The licence is "" where the files or pa3d.data.sources state it.
FURTHER_SOURCES: dict[str, tuple[str, int]] = {
    "infinigen": ("BSD-3-Clause", 6),
    "quaternius_relabelled": ("CC0-1.0", 5),
    "scene_synthesizer": ("Apache-2.0", 5),
    "sketchfab_ccby": ("CC-BY-4.0", 6),
    "quaternius_named": ("CC0-1.0", 6),
    "pmndrs_market": ("CC0-1.0", 6),
    "kenney_racing": ("CC0-1.0", 6),
    "mujoco_bigym": ("Apache-2.0", 6),
    "mujoco_dmc": ("Apache-2.0", 6),
    "mujoco_flybody": ("Apache-2.0", 6),
    "mujoco_gymrob": ("MIT", 6),
    "mujoco_ikeafurn": ("MIT", 6),
    "mujoco_libero": ("MIT", 6),
    "mujoco_robocasa": ("MIT", 6),
    "robots": ("BSD-3-Clause", 6),
    "hra_organs": ("CC-BY-4.0", 4),
    "babylon_meshes": ("CC-BY-4.0", 6),
    "godot_demos": ("MIT", 4),
    "ifc_buildings": ("MIT", 6),
}
# Files that state no author, or that show figures of games.
EXCLUDED = ("iridescentdish", "entitled_goose", "cat_murdered")
RIGGED: dict[str, tuple[str, int]] = {"quaternius_rigged": ("CC0-1.0", 30), "makehuman_people": ("CC0-1.0", 60)}


@dataclass(frozen=True)
class Sources:
    """Folders of shapes; None leaves their groups out."""

    train: Path | None
    further_root: Path | None
    sweethome: Path | None
    webxr: Path | None
    metaworld: Path | None


def synthesized(categories: list[str], first: int, each: int) -> Iterator[PartCloud]:
    """`each` objects of every category, one category after the other; the seeds begin at `first`."""
    rng = np.random.default_rng(first)
    for category in categories:
        for seed in range(first, first + each):
            yield synthesize(category, seed).sample(POINTS, rng)


def assembled(first: int, count: int) -> Iterator[PartCloud]:
    rng = np.random.default_rng(first)
    for seed in range(first, first + count):
        yield assemble(seed).sample(POINTS, rng)


def creatures(kinds: list[str], first: int, each: int) -> Iterator[PartCloud]:
    for kind in kinds:
        for seed in range(first, first + each):
            yield synthesize_creature(kind, seed, POINTS)


def harvested(folder: Path, license: str, times: int, seed: int) -> Iterator[PartCloud]:
    """`times` clouds of every harvested shape that is not held out; rigged shapes are skipped."""
    rng, report = np.random.default_rng(seed), HarvestReport()
    shapes = (
        s
        for s in harvest_with_rigs(folder, license=license, report=report)
        if s.character is None and not s.file.stem.startswith(EXCLUDED)
    )
    for mesh in without_held_out(replace(s.mesh, license=stated_license(s.file) or s.mesh.license) for s in shapes):
        for _ in range(times):
            yield mesh.sample(POINTS, rng)
    print(f"{folder.name}: {report}", flush=True)


def stated_license(file: Path) -> str:
    """The licence that Sketchfab writes into a GLB ("CC-BY-4.0 (http://...)"), as SPDX; "" where there is none."""
    if file.suffix.lower() != ".glb":
        return ""
    extras = Gltf.load(file).file.document["asset"].get("extras")
    words = str(extras.get("license", "")).split() if isinstance(extras, dict) else []
    return {"CC0-1.0": "CC0-1.0", "CC0": "CC0-1.0"}.get(words[0], words[0]) if words else ""


def many(folders: list[tuple[Path, str, int]], seed: int) -> Iterator[PartCloud]:
    for number, (folder, license, times) in enumerate(folders):
        yield from harvested(folder, license, times, seed + number)


def posed_characters(train: Path, human: bool, poses: int, seed: int) -> Iterator[PartCloud]:
    """Rigged people, or all other rigged characters, from the two folders whose licences are known."""
    rng = np.random.default_rng(seed)
    for character in characters([train / "quaternius_rigged", train / "cc0_game_packs"]):
        if any(word in character.id for word in HUMANS) == human:
            for _ in range(poses):
                yield character.pose(rng).sample(POINTS, rng)


def more_posed(folders: list[tuple[Path, str, int]], seed: int) -> Iterator[PartCloud]:
    """`times` clouds of every rigged character, each in a random pose."""
    for number, (folder, license, poses) in enumerate(folders):
        rng = np.random.default_rng(seed + number)
        for character in characters(folder, license=license):
            for _ in range(poses):
                yield character.pose(rng).sample(POINTS, rng)


# Kinds whose generators were written anew after the measures of docs/training.md: clouds of each, for a size of 1.
REDRAWN = {
    "table": 500, "refrigerator": 500, "switch": 300, "rocker switch": 200, "door": 300, "bottle": 300, "desk": 150,
    "oven": 80, "dishwasher": 80, "microwave": 80, "washing machine": 80, "airplane": 500, "teddy bear toy": 400,
    "fish": 460, "shark": 60, "eyeglasses": 300,
}  # fmt: skip


def redrawn(first: int, size: float) -> Iterator[PartCloud]:
    """The kinds of REDRAWN, by seeds from `first` on."""
    for kind, count in REDRAWN.items():
        each = max(1, round(count * size))
        yield from creatures([kind], first, each) if kind in CREATURES else synthesized([kind], first, each)


FINGERS = ("thumb", "index", "middle", "ring", "pinky")


def hand(character: RiggedCharacter, side: str, rng: np.random.Generator) -> PartMesh:
    """A hand of a rigged person (`side` "l" or "r"), its fingers curled at random, in any orientation; now and then
    with a piece of the forearm. The joints are those of makehuman_people: hand_l, index_01_l, ..., lowerarm_l."""
    names, pivots = character.joint_names, character.pivots
    joint = {name.removesuffix(f"_{side}"): i for i, name in enumerate(names) if name.endswith(f"_{side}")}
    wrist = pivots[joint["hand"]]
    along = pivots[joint["middle_01"]] - wrist
    normal = np.cross(pivots[joint["index_01"]] - wrist, pivots[joint["pinky_01"]] - wrist)
    normal *= np.sign(normal @ (pivots[joint["thumb_03"]] - wrist)) / np.linalg.norm(normal)  # to the side of the palm
    rotations = random_rotations(character, rng, 1.0)
    fist = rng.uniform(0, 1) ** 2
    for finger in FINGERS:
        curl = np.clip(fist + rng.normal(0, 0.15), 0, 1) * (35 if finger == "thumb" else 80)
        for bone in ("01", "02", "03"):
            turn = np.radians(curl + rng.normal(0, 5))
            rotations[joint[f"{finger}_{bone}"]] = axis_angle_rotation(np.cross(along, normal), turn)
    vertices = character.posed(rotations)
    used = vertices[character.faces]
    of_face = face_joints(character.faces, character.joints, character.weights)
    parts = [(), ("palm", "hand"), ("wrist", "forearm"), ("thumb",)]
    parts += [("finger", f"{'little' if finger == 'pinky' else finger} finger") for finger in FINGERS[1:]]
    part = np.zeros(len(names), np.int32)
    part[joint["hand"]] = 1
    for i, finger in enumerate(FINGERS):
        part[[joint[f"{finger}_{bone}"] for bone in ("01", "02", "03")]] = 3 + i
    label = part[of_face]
    if rng.random() < 0.5:
        near = np.linalg.norm(used.mean(1) - used[label == 1].mean((0, 1)), axis=1)
        reach = rng.uniform(1.0, 2.0) * np.linalg.norm(along)
        label[(of_face == joint["lowerarm"]) & (near < reach)] = 2
    faces, label = character.faces[label > 0], label[label > 0]
    kept, inverse = np.unique(faces, return_inverse=True)
    turned = vertices[kept] @ random_rotation(rng).T
    return PartMesh(
        turned.astype(np.float32), inverse.reshape(-1, 3).astype(np.int32), label, parts,
        "hand", character.source, character.license, f"{character.id} hand {side}",
    )  # fmt: skip


def hands(folder: Path, license: str, poses: int, seed: int) -> Iterator[PartCloud]:
    """`poses` clouds of each hand of the people in the folder."""
    rng = np.random.default_rng(seed)
    for character in characters(folder, license=license):
        for side in "lr":
            for _ in range(poses):
                yield hand(character, side, rng).sample(POINTS, rng)


def groups(sources: Sources, leg: int, size: float) -> dict[str, Callable[[], Iterator[PartCloud]]]:
    """The clouds of each group, by its name.

    size: factor on the number of shapes; 1 gives about 49,000 clouds.
    """
    first = SEEDS_PER_LEG * leg
    common = [name.replace("_", " ") for name in COMMON_KINDS.split()]
    hat_kinds = [name.replace("_", " ") for name in HATS.split()]
    everyday_kinds = {name for name in CATEGORIES if CATEGORIES[name].draw.__module__ == everyday.__name__}
    kinds = sorted(kind for kind in CREATURES if kind != "human")

    def count(n: int) -> int:
        return max(1, round(n * size))

    made: dict[str, Callable[[], Iterator[PartCloud]]] = {
        "objects": lambda: synthesized(sorted(set(CATEGORIES) - everyday_kinds), first, count(100)),
        "everyday": lambda: synthesized(sorted(everyday_kinds), first, count(60)),
        "assemblies": lambda: assembled(first, count(4000)),
        "common": lambda: synthesized(common, first + 10_000, count(100)),
        "hats": lambda: synthesized(hat_kinds, first + 20_000, count(200)),
        "redrawn": lambda: redrawn(first + 30_000, size),
        "people": lambda: creatures(["human"], first, count(2400)),
        "animals": lambda: creatures(kinds, first, count(36)),
    }
    if sources.train:
        train = sources.train
        made["rigged_people"] = lambda: posed_characters(train, True, count(60), first + 2)
        made["rigged_others"] = lambda: posed_characters(train, False, count(36), first + 3)
        made["cc0"] = lambda: harvested(train / "cc0_game_packs", "", 8, first + 4)
    for name, times in (("sweethome", 6), ("webxr", 4), ("metaworld", 8)):
        if folder := getattr(sources, name):
            made[name] = lambda folder=folder, times=times: harvested(folder, "", times, first + 5)  # type: ignore[misc]
    if sources.further_root:
        further_root = sources.further_root
        few = [
            (further_root / n, *v)
            for n, v in FURTHER_SOURCES.items()
            if n.startswith(("mujoco", "robots", "hra", "baby", "godot"))
        ]
        few += [
            (further_root / n, *FURTHER_SOURCES[n])
            for n in ("ifc_buildings", "kenney_racing", "pmndrs_market", "quaternius_named")
        ]
        for name in ("infinigen", "quaternius_relabelled", "scene_synthesizer", "sketchfab_ccby"):
            license, times = FURTHER_SOURCES[name]
            made[name] = lambda n=name, v=license, t=times: harvested(further_root / n, v, t, first + 6)  # type: ignore[misc]
        made["few"] = lambda: many(few, first + 100)
        people = RIGGED["makehuman_people"]
        made["hands"] = lambda: hands(further_root / "makehuman_people", people[0], count(15), first + 300)
        made["more_rigged"] = lambda: more_posed([(further_root / n, *v) for n, v in RIGGED.items()], first + 200)
    return made


def licensed(clouds: Iterator[PartCloud]) -> Iterator[PartCloud]:
    """The same clouds. Raises InputError for one whose licence is unknown."""
    for cloud in clouds:
        if cloud.license in ("", "unknown"):
            raise InputError(
                f"{cloud.source} {cloud.id}: unknown licence; leave the shape out or add it to FURTHER_SOURCES"
            )
        yield cloud


def build(task: tuple[Sources, int, float, str, Path]) -> str:
    sources, leg, size, name, out = task
    begun = time.monotonic()
    partial = out / ".partial" / name  # an interrupted build leaves no group that looks complete
    done = write_shards(licensed(without_held_out_phrases(groups(sources, leg, size)[name]())), partial)
    partial.rename(out / name)
    return f"{name}: {done} clouds in {time.monotonic() - begun:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--leg", type=int, required=True, help="number of the leg, from 1; sets the seeds")
    parser.add_argument("--train", type=Path, help="folder with quaternius_rigged and cc0_game_packs")
    parser.add_argument("--further", type=Path, help="folder with the further sources")
    parser.add_argument("--sweethome", type=Path, help="folder with the .sh3f libraries of sweethome3d-furniture")
    parser.add_argument("--webxr", type=Path, help="folder of profiles of @webxr-input-profiles/assets")
    parser.add_argument("--metaworld", type=Path, help="assets/objects of metaworld")
    parser.add_argument("--size", type=float, default=1.0, help="factor on the number of shapes and poses")
    parser.add_argument("--jobs", type=int, default=1, help="groups built at once")
    parser.add_argument("--only", nargs="*", help="build only these groups")
    args = parser.parse_args()
    if args.leg < 1:
        raise InputError(f"--leg is {args.leg}; expected at least 1 (leg 0 has the seeds of the embedded corpus)")
    sources = Sources(args.train, args.further, args.sweethome, args.webxr, args.metaworld)
    names = args.only or list(groups(sources, args.leg, args.size))
    tasks = [(sources, args.leg, args.size, name, args.out) for name in names if not (args.out / name).exists()]
    with Pool(args.jobs) as pool:
        for line in pool.imap_unordered(build, tasks):
            print(line, flush=True)


if __name__ == "__main__":
    main()
