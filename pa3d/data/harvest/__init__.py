"""A harvest collects shapes with named parts as training records: the names of their authors are the labels.

Readers by suffix: .glb and .gltf (nodes, materials; skins by pa3d.data.rigged), .obj (groups, objects,
materials), .ac (AC3D objects), .xml (MJCF bodies and meshes), .sh3f and .zip (archives of GLB, OBJ and AC3D; a
Sweet Home 3D library's catalogue gives names, categories and axes). A shape is kept when at least two parts have
names (pa3d.data.names) that cover at least 60 % of its surface. The report lists every other shape with the reason.
docs/harvest.md has all rules.
"""

from __future__ import annotations

from pa3d.data.harvest.judge import MIN_SURFACE, to_part_mesh
from pa3d.data.harvest.pieces import NamedMesh
from pa3d.data.harvest.report import HarvestReport
from pa3d.data.harvest.walk import Harvested, characters, harvest, harvest_with_rigs, read_unnamed

__all__ = [
    "MIN_SURFACE",
    "HarvestReport",
    "Harvested",
    "NamedMesh",
    "characters",
    "harvest",
    "harvest_with_rigs",
    "read_unnamed",
    "to_part_mesh",
]
