"""The colours of parts, which are pa3d.colors."""

from __future__ import annotations

from pa3d.colors import UNLABELED_COLOR, part_colors, to_linear, to_rgb

__all__ = ["UNLABELED_COLOR", "part_colors", "to_linear", "to_rgb"]
