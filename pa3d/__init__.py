"""pa3d: names the parts of 3D shapes from free text."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "Segmenter": "pa3d.segment",
    "Segmentation": "pa3d.segment",
    "OpenShape": "pa3d.session",
    "PatchFeatures": "pa3d.segment",
    "Shape": "pa3d.shape",
    "InputError": "pa3d.errors",
    "from_depth": "pa3d.inputs",
    "load": "pa3d.io",
}

__all__ = [*_PUBLIC, "__version__"]

if TYPE_CHECKING:
    from pa3d.errors import InputError as InputError
    from pa3d.inputs import from_depth as from_depth
    from pa3d.io import load as load
    from pa3d.segment import PatchFeatures as PatchFeatures
    from pa3d.segment import Segmentation as Segmentation
    from pa3d.segment import Segmenter as Segmenter
    from pa3d.session import OpenShape as OpenShape
    from pa3d.shape import Shape as Shape


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'pa3d' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
