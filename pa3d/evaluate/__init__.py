"""Measure how well a method names parts: datasets, protocols, metrics, and the run that combines them.

    dataset = open_dataset("faust", "data/faust")
    results = evaluate(dataset, Segmenter.from_pretrained(), "pa3d")

Papers differ in which points a method sees, which names it chooses from, and how an absent part or an unlabelled point
counts. Each of these rules is a field of a `Protocol`, and results.json contains the protocol.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "Dataset": "pa3d.evaluate.datasets",
    "LabelledShape": "pa3d.evaluate.datasets",
    "open_dataset": "pa3d.evaluate.datasets",
    "PROTOCOLS": "pa3d.evaluate.protocols",
    "Protocol": "pa3d.evaluate.protocols",
    "Method": "pa3d.evaluate.methods",
    "compare": "pa3d.evaluate.paired",
    "evaluate": "pa3d.evaluate.run",
}

__all__ = [
    "PROTOCOLS",
    "Dataset",
    "LabelledShape",
    "Method",
    "Protocol",
    "compare",
    "evaluate",
    "open_dataset",
]

if TYPE_CHECKING:
    from pa3d.evaluate.datasets import Dataset, LabelledShape, open_dataset
    from pa3d.evaluate.methods import Method
    from pa3d.evaluate.paired import compare
    from pa3d.evaluate.protocols import PROTOCOLS, Protocol
    from pa3d.evaluate.run import evaluate


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'pa3d.evaluate' has no attribute {name!r}")
