"""Processor time of the methods of papers on the shapes of a folder, in seconds a shape on one thread.

    OMP_NUM_THREADS=1 python scripts/time_methods.py DATASET FOLDER [NAME ...] [--shapes 5]

Processor time hardly depends on other programs that run at the same time. Networks whose weights are not here get
random ones, which take the same time. Boxes come from true labels, so no detector is measured; what makes the boxes is
counted apart, in "encode".
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

from pa3d.evaluate.datasets import open_dataset
from pa3d.evaluate.protocols import prepare, resolve
from pa3d.evaluate.score import predict
from pa3d.methods import NAMES, load_method
from pa3d.profiling import Stopwatch

WEIGHTS: dict[str, dict[str, str]] = {
    "cops": {},
    "find3d": {"model": "random", "text": "random"},
    "partslip": {"detector": "truth"},
    "pointclipv2": {"clip": "random"},
    "satr": {"detector": "truth"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset")
    parser.add_argument("folder")
    parser.add_argument("names", nargs="*", default=list(NAMES))
    parser.add_argument("--shapes", type=int, default=5)
    options = parser.parse_args()
    time.perf_counter = time.process_time  # the stages of a Stopwatch as well
    dataset = open_dataset(options.dataset, options.folder)
    protocol = resolve("pa3d", dataset.name)
    indices = np.linspace(0, len(dataset) - 1, min(options.shapes, len(dataset))).round().astype(int)
    cases = [prepare(dataset.load(int(i)), protocol, dataset) for i in indices]
    for name in options.names:
        method = load_method(name, WEIGHTS[name])
        predict(method, cases[0])  # loads libraries
        rows = [_timed(method, case) for case in cases]
        stages = {stage: np.median([row.get(stage, 0) for row in rows]) for stage in rows[0]}
        print(f"{name:12}", "  ".join(f"{stage} {seconds:.2f}" for stage, seconds in stages.items()))


def _timed(method: Any, case: Any) -> dict[str, float]:
    clock = Stopwatch()
    with clock("all"):
        result = predict(method, case)
    return {**clock.seconds, **result.timings}


if __name__ == "__main__":
    main()
