"""Keypoints as files: keypoints.json, which `like` reads again, and keypoints.ply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pa3d.atomic import write_files
from pa3d.report.files import painted_ply
from pa3d.segment import Segmentation
from pa3d.shape import Shape

if TYPE_CHECKING:
    from pa3d.keypoints import Keypoints


def write_keypoints(result: Keypoints, folder: Path) -> dict[str, Path]:
    """Write keypoints.json and keypoints.ply to a folder, which is created if needed; returns their paths by kind.

    Both appear or none. Raises InputError when it cannot be written.
    """
    labels = np.array([result.names.index(found.name) for found in result.found], np.int32)
    scores = np.zeros((len(labels), len(result.names)), np.float32)
    scores[np.arange(len(labels)), labels] = [found.score for found in result.found]
    positions = np.stack([found.position for found in result.found]) - result.shape.origin
    cloud = Shape(positions.astype(np.float32), up=result.shape.up, name="keypoints", origin=result.shape.origin)
    facts: dict[str, Any] = {**result.to_dict(), "model": result.model, "settings": result.settings}
    facts["file"] = str(Path(facts["file"]).absolute())
    contents = {
        "keypoints": ("keypoints.json", (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()),
        "points": ("keypoints.ply", painted_ply(Segmentation(cloud, result.names, labels, scores))),
    }
    paths = write_files(folder, dict(contents.values()))
    return {kind: paths[name] for kind, (name, _) in contents.items()}
