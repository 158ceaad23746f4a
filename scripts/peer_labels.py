"""Labels of peers' files, as they are and as GLB, for scripts/check_peer_files.py --labels.

The GLB holds the geometry that an independent reading gives, written by trimesh, with its faces in the file's order;
for the duck also that which another program made of it, in an order of its own. Faces are matched by their centroids.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import peer_readings
import trimesh
from peer_usd import read_usd
from scipy.spatial import cKDTree

from pa3d.io import load
from pa3d.segment import Segmentation, Segmenter

MODELS = "assimp/usr/share/assimp/models"
# File, its independent reading, part names, and a GLB that another program made of the same, if there is one.
FILES = [
    (f"{MODELS}/FBX/spider.fbx", peer_readings.fbx_by_assimp, "leg, body, head, tooth", ""),
    (f"{MODELS}/FBX/huesitos.fbx", peer_readings.fbx_by_hand, "trunk, branch", ""),
    (f"{MODELS}/Collada/duck.dae", peer_readings.dae_by_trimesh, "head, beak, body, eye", "KhronosSampleModels/Duck"),
    ("trimesh/models/shoulder.zae", peer_readings.dae_by_trimesh, "joint, housing", ""),
    ("usd-wg/test_assets/USDZ/CesiumMan/CesiumMan.usdz", read_usd, "head, arm, leg, torso", ""),
    ("usd-wg/test_assets/USDZ/BrainStem/BrainStem.usdz", read_usd, "head, arm, leg, torso", ""),
    ("trimesh/models/cube_and_sphere_same_name.3mf", peer_readings.threemf_by_trimesh, "cube, sphere", ""),
    ("trimesh/models/featuretype.3MF", peer_readings.threemf_by_trimesh, "hole, plate, slot", ""),
    ("trimesh/models/featuretype.STEP", peer_readings.by_trimesh, "hole, plate, slot", ""),
    ("trimesh/models/box_sides.STEP", peer_readings.by_trimesh, "side, base, corner", ""),
]

INTRODUCTION = """The share of faces that get the same label as from a GLB of the same geometry, made from the
independent reading. The GLB of google/draco has its faces in another order, so that other points are sampled:
shuffling the faces of the duck alone keeps 92 to 96 % of its labels."""


def compare_labels(peers: Path, folder: Path) -> str:
    """A Markdown table: the share of faces that get the same label as in the GLB."""
    segmenter = Segmenter.from_pretrained()
    rows = [INTRODUCTION, "", "| file | faces | same label as GLB |", "|---|---|---|"]
    for name, read, parts, other in FILES:
        mine = segmenter.segment(load(peers / name), parts.split(", "))
        points, faces = read(peers / name)
        # In the order of the file: another order of faces alone changes which points are sampled.
        _, order = cKDTree(centroids(points, faces)).query(centroids(mine.shape.points, mine.shape.faces))
        glb = folder / "same.glb"
        trimesh.Trimesh(points, faces[order], process=False).export(glb)
        theirs = segmenter.segment(load(glb), parts.split(", "))
        rows.append(f"| {Path(name).name} | {len(mine.shape.faces)} | {same_labels(mine, theirs):.2%} |")
        if other:
            made = next((peers / "draco" / "testdata" / other).rglob("*.glb"))
            theirs = segmenter.segment(load(made), parts.split(", "))
            share = same_labels(mine, theirs)
            rows.append(f"| {Path(name).name}, {made.name} of google/draco | {len(mine.shape.faces)} | {share:.2%} |")
    return "\n".join(rows)


def same_labels(mine: Segmentation, theirs: Segmentation) -> float:
    """The share of faces whose label is that of the face at the same place."""
    places = [centroids(result.shape.points, result.shape.faces) for result in (mine, theirs)]
    _, nearest = cKDTree(places[1]).query(places[0])
    return float((mine.face_labels == theirs.face_labels[nearest]).mean())


def centroids(points: np.ndarray, faces: np.ndarray) -> np.ndarray:  # (F, 3), in a box from 0 to 1: units may differ
    used = points[np.unique(faces)]
    low, extent = used.min(axis=0), (used.max(axis=0) - used.min(axis=0)).max()
    return (points[faces].mean(axis=1) - low) / extent
