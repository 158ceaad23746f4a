"""Operations on point sets: one module per operation, with its contract, checks, plain reference and gradient.

Each takes numpy arrays or torch tensors and returns the same kind on the same device. There are two exceptions.
`label_points`, `refine`, `merge_regions` and `components` take numpy arrays only. `train_embed` and `train_block` take
torch tensors only; their references are in pa3d.model.
"""

from __future__ import annotations

from pa3d.ops.components import components, components_reference
from pa3d.ops.fps import farthest_point_sample, farthest_point_sample_reference
from pa3d.ops.group import group, sample_and_group, sample_and_group_reference
from pa3d.ops.hierarchy import MergeTree, merge_regions, merge_regions_reference
from pa3d.ops.interpolate import interpolate, interpolate_reference
from pa3d.ops.knn import knn, knn_reference
from pa3d.ops.label_points import label_points, label_points_reference
from pa3d.ops.outliers import find_outliers, find_outliers_reference
from pa3d.ops.refine import Pieces, refine, refine_reference

__all__ = [
    "MergeTree",
    "Pieces",
    "components",
    "components_reference",
    "farthest_point_sample",
    "farthest_point_sample_reference",
    "find_outliers",
    "find_outliers_reference",
    "group",
    "interpolate",
    "interpolate_reference",
    "knn",
    "knn_reference",
    "label_points",
    "label_points_reference",
    "merge_regions",
    "merge_regions_reference",
    "refine",
    "refine_reference",
    "sample_and_group",
    "sample_and_group_reference",
]
