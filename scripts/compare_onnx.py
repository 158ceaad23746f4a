"""The ONNX graph in onnxruntime against pa3d, on this machine: equal results, size of the file, and ratios of times.

    OMP_NUM_THREADS=1 python scripts/compare_onnx.py              # the table of docs/embedding.md
    OMP_NUM_THREADS=1 python scripts/compare_onnx.py --model official.safetensors

pa3d runs in float32 at the instruction level in use, onnxruntime with as many threads. They take turns in one process,
and the ratio is the median over the turns of processor time, which other processes disturb least.
A row is printed only if the centres are equal, the features within 1e-4 and 99.9 % of the labels equal.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime

from pa3d import _C
from pa3d.onnx_export import OPSET, export_onnx
from pa3d.segment import Segmenter

SIZES = (512, 2048, 8192, 20000)
NAMES = [f"part {i}" for i in range(8)]


def bumpy_sphere(n: int) -> np.ndarray:  # (n, 3)
    direction = np.random.default_rng(n).standard_normal((n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = 0.7 + 0.2 * np.sin(5 * direction[:, :1]) * np.cos(4 * direction[:, 1:2])
    return (direction * radius).astype(np.float32)


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="A checkpoint instead of the embedded one.")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    threads = _C.max_threads()
    segmenter = Segmenter.from_pretrained(options.model, precision="fp32", threads=threads)
    checkpoint = segmenter.checkpoint
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(path, checkpoint, scores=True)
        size = path.stat().st_size / 1e6
        session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    versions = f"onnxruntime {version('onnxruntime')}, pa3d {version('pa3d')}, {platform.machine()} {_C.isa()}"
    print(f"{checkpoint.name}: opset {OPSET}, {size:.1f} MB; {versions}, threads {threads}")
    vectors = np.random.default_rng(0).standard_normal((len(NAMES), checkpoint.config.text_dim)).astype(np.float32)
    for n in SIZES:
        points = bumpy_sphere(n)

        def theirs(points: np.ndarray = points) -> list[np.ndarray]:
            return session.run(None, {"points": points, "text_vectors": vectors})

        def ours(points: np.ndarray = points) -> object:
            return segmenter.segment(points, NAMES, text_vectors=vectors, sample=None)

        centers, features, _, labels = theirs()
        encoded, shown = segmenter.encode(points), segmenter.segment(points, NAMES, text_vectors=vectors, sample=None)
        equal = np.array_equal(centers, encoded.centers) and np.abs(features - encoded.features).max() <= 1e-4
        if not equal or (labels == shown.labels).mean() < 0.999:
            sys.exit(f"{n} points: results differ; nothing is timed")
        pairs = [(seconds(theirs), seconds(ours)) for _ in range(options.rounds)]
        ratio = statistics.median(a / b for a, b in pairs)
        print(f"{n:6} points: onnxruntime takes {ratio:.2f} of the time of pa3d", flush=True)


if __name__ == "__main__":
    main()
