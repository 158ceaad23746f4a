"""Builds the shards that the embedded model was trained on: procedural objects and creatures, harvested shapes.

    python scripts/build_embedded_corpus.py --train DIR --sweethome DIR --webxr DIR --metaworld DIR -o shards/

Folders of harvested sources are optional; each becomes a group. pa3d/weights/MODEL_CARD.md says where they come from.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pa3d.data.creatures import CREATURES, synthesize_creature
from pa3d.data.harvest import HarvestReport, characters, harvest
from pa3d.data.paraphrases import HELD_OUT_PHRASES
from pa3d.data.parts import PartCloud, PartMesh, write_shards
from pa3d.data.procedural import CATEGORIES, HELD_OUT, HELD_OUT_PARTS, synthesize
from pa3d.data.procedural.registry import COMMON

POINTS = 4096


def sampled(meshes: Iterator[PartMesh], times: int, seed: int) -> Iterator[PartCloud]:
    rng = np.random.default_rng(seed)
    for mesh in meshes:
        for _ in range(times):
            yield mesh.sample(POINTS, rng)


def without_held_out(meshes: Iterator[PartMesh]) -> Iterator[PartMesh]:
    """Harvested shapes without those of categories and parts that are held out to be reported apart."""
    for mesh in meshes:
        words = {word for text in (mesh.category, mesh.id) for word in re.split(r"[^a-z]+", text.lower())}
        named = {name for names in mesh.parts for name in names}
        if not any(held in words or held + "s" in words for held in HELD_OUT) and not named & set(HELD_OUT_PARTS):
            yield mesh


def without_held_out_phrases(clouds: Iterator[PartCloud]) -> Iterator[PartCloud]:
    """Clouds without the wordings that are kept for measuring how the model takes new ones."""
    for cloud in clouds:
        keep = [i for i, name in enumerate(cloud.names) if name.lower() not in HELD_OUT_PHRASES]
        yield replace(cloud, names=[cloud.names[i] for i in keep], masks=cloud.masks[keep])


def objects(each: int) -> Iterator[PartCloud]:
    """Every category; the further families of common kinds twice as often."""
    rng = np.random.default_rng(1)
    for category in sorted(CATEGORIES):
        for seed in range(each * (2 if COMMON in CATEGORIES[category].tags else 1)):
            yield synthesize(category, seed).sample(POINTS, rng)


# Families of the kinds that ShapeNetPart and PartNetE are about, which are those that people ask for.
COMMON_KINDS = """airplane armchair baseball_cap block_chair bottle bowler_hat box bucket bucket_hat cabinet camera cap
car cart chair clock coffee_machine cowboy_hat cup desk dishwasher dispenser display door dresser electric_kettle
eyeglasses faucet guitar handbag hat headphones kettle keyboard knife lamp laptop lighter lounge_chair marker
microwave motorbike mouse mug office_chair oven pen phone pistol pot printer refrigerator remote rocker_switch
rocket safe scissors sideboard skateboard soap_bottle suitcase sun_hat switch table teapot trash_can tub_chair
tumbler usb_stick wardrobe washing_machine window"""


HATS = "baseball_cap bowler_hat bucket_hat cap cowboy_hat hat sun_hat"


def more(names: str, first: int, each: int) -> Iterator[PartCloud]:
    """Other shapes of these than `objects` has, by seeds from `first` on."""
    rng = np.random.default_rng(first)
    for name in names.split():
        category = name.replace("_", " ")
        for seed in range(first, first + each):
            yield synthesize(category, seed).sample(POINTS, rng)


def people(count: int) -> Iterator[PartCloud]:
    for seed in range(count):
        yield synthesize_creature("human", seed, POINTS)


def animals(each: int) -> Iterator[PartCloud]:
    for kind in sorted(CREATURES):
        if kind != "human":
            for seed in range(each):
                yield synthesize_creature(kind, seed, POINTS)


HUMANS = ("modular_men", "modular_women", "cyberpunk_pack/Character", "single_knight", "kaykit", "kenney_platformer")


def posed_characters(folder: Path, human: bool, poses: int, seed: int) -> Iterator[PartCloud]:
    rng = np.random.default_rng(seed)
    for character in characters(folder):
        if any(word in character.id for word in HUMANS) == human:
            for _ in range(poses):
                yield character.pose(rng).sample(POINTS, rng)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--train", type=Path, help="folder with quaternius_rigged and cc0_game_packs")
    parser.add_argument("--sweethome", type=Path, help="folder with the .sh3f libraries of sweethome3d-furniture")
    parser.add_argument("--webxr", type=Path, help="folder of profiles of @webxr-input-profiles/assets")
    parser.add_argument("--metaworld", type=Path, help="assets/objects of metaworld")
    parser.add_argument("--objects", type=int, default=90, help="procedural objects per category")
    parser.add_argument("--common", type=int, default=200, help="further ones of each of the commonest categories")
    parser.add_argument("--people", type=int, default=2400)
    parser.add_argument("--animals", type=int, default=36, help="procedural animals per kind")
    parser.add_argument("--only", nargs="*", help="build these groups alone")
    args = parser.parse_args()
    report = HarvestReport()
    groups = {
        "objects": objects(args.objects),
        "common": more(COMMON_KINDS, 1000, args.common),
        "hats": more(HATS, 3000, 2 * args.common),
        "people": people(args.people),
        "animals": animals(args.animals),
    }
    if args.train:
        groups["rigged_people"] = posed_characters(args.train, True, 48, 2)
        groups["rigged_others"] = posed_characters(args.train, False, 30, 3)
        groups["cc0"] = sampled(without_held_out(harvest(args.train / "cc0_game_packs", report=report)), 8, 4)
    for name, times in (("sweethome", 4), ("webxr", 3), ("metaworld", 8)):
        folder = getattr(args, name)
        if folder:
            groups[name] = sampled(without_held_out(harvest(folder, report=report)), times, 5)
    for name, records in groups.items():
        if args.only and name not in args.only:
            continue
        begun = time.monotonic()
        count = write_shards(without_held_out_phrases(records), args.out / name)
        print(f"{name}: {count} clouds in {time.monotonic() - begun:.0f} s", flush=True)
    print(report)


if __name__ == "__main__":
    main()
