"""The forward pass against OpenVINO and onnxruntime, which get the exported graph, in float32, bf16 and int8.

The runtimes get the network alone: patch centres and members are inputs of their graph. pa3d samples and groups, too.
int8 of OpenVINO is NNCF's post-training quantisation, calibrated on clouds of the same kind. Its largest difference
from float32 is printed beside that of pa3d. Competitors that are not installed are left out: pip install 'pa3d[bench]'.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from _common import (
    QUICK,
    THREADS,
    Race,
    Run,
    check,
    encoder_flop,
    measure,
    native_precisions,
    official_checkpoint,
    random_cloud,
)
from _stages import LEAST_COSINE

from pa3d.frames import apply_normalization, normalization
from pa3d.native import NativeEncoder

RACE = "encode 2048 points, runtimes"
OPENVINO = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
COMPETITORS = [
    *(f"pa3d {precision}" for precision in OPENVINO),
    *(f"openvino {precision}" for precision in OPENVINO),
    "onnxruntime fp32",
]
CALIBRATION = 4 if QUICK else 32  # clouds


def points_of(seed: int) -> np.ndarray:  # (2048, 3), normalised
    points = random_cloud(2048, seed)
    return apply_normalization(points, *normalization(points))


@cache
def race() -> Race:
    checkpoint, points = official_checkpoint(), points_of(0)
    encoder = NativeEncoder(checkpoint, "fp32", THREADS)
    expected = encoder(points).features
    work = encoder_flop(checkpoint.config)
    runs: dict[str, Run] = {"pa3d fp32": lambda: encoder(points)}
    for precision in native_precisions()[1:]:
        other = NativeEncoder(checkpoint, precision, THREADS)
        compare(f"pa3d {precision}", other(points).features, expected, LEAST_COSINE[precision])
        runs[f"pa3d {precision}"] = lambda other=other: other(points)
    for name, make in runtimes(checkpoint, encoder):
        call = make()
        compare(name, call(), expected, LEAST_COSINE[name.split()[1]])
        runs[name] = call
    bounds = {"fp32": "fp32", "bf16": "bf16"}
    works = {name: (work, bounds[name.split()[1]]) for name in runs if name.split()[1] in bounds}
    return Race(RACE, runs, works)


def compare(name: str, features: np.ndarray, expected: np.ndarray, least: float) -> None:
    """Prints the largest difference from float32, and raises if a feature is another."""
    cosine = float(np.einsum("gd,gd->g", features, expected).min() / np.linalg.norm(features, axis=1).min())
    print(
        f"{name}: largest difference from pa3d fp32 {np.abs(features - expected).max():.1e}, least cosine {cosine:.5f}"
    )
    check(cosine > least, f"{name} differs: cosine {cosine:.5f}")


def runtimes(checkpoint: Any, encoder: NativeEncoder) -> Iterator[tuple[str, Callable[[], Callable[[], np.ndarray]]]]:
    """Names, and functions that build a call which returns the features."""
    try:
        from pa3d.onnx_export import build_model

        model = build_model(checkpoint, up="z", inputs="centers").SerializeToString()  # the axes of the model
    except ImportError:
        return

    def inputs(points: np.ndarray) -> dict[str, np.ndarray]:
        out = encoder(points)
        return {"points": points, "centers": out.centers, "members": out.members}

    given = inputs(points_of(0))
    if installed("openvino"):
        supported = openvino_precisions()
        for precision in OPENVINO:
            if precision in supported and (precision != "int8" or installed("nncf")):
                yield (
                    f"openvino {precision}",
                    lambda precision=precision: openvino_call(model, given, precision, inputs),
                )
    if installed("onnxruntime"):
        yield "onnxruntime fp32", lambda: onnxruntime_call(model, given)


def installed(name: str) -> bool:
    try:
        __import__(name)
    except ImportError:
        return False
    return True


def openvino_precisions() -> set[str]:
    """Those that OpenVINO computes in on this processor."""
    import openvino

    features = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return {name for name, feature in (("fp32", "FP32"), ("bf16", "BF16"), ("int8", "INT8")) if feature in features}


def openvino_call(
    model: bytes, given: dict[str, np.ndarray], precision: str, inputs: Callable[[np.ndarray], dict[str, np.ndarray]]
) -> Callable[[], np.ndarray]:
    import openvino

    core = openvino.Core()
    graph = core.read_model(model, b"")
    graph.reshape({name: list(array.shape) for name, array in given.items()})  # fixed sizes are faster
    if precision == "int8":
        import nncf

        data = nncf.Dataset([inputs(points_of(seed)) for seed in range(1, CALIBRATION + 1)])
        graph = nncf.quantize(graph, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=CALIBRATION)
    settings = {
        "INFERENCE_NUM_THREADS": THREADS,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": OPENVINO[precision],
    }
    request = core.compile_model(graph, "CPU", settings).create_infer_request()
    return lambda: request.infer(given, share_inputs=True)["features"]


def onnxruntime_call(model: bytes, given: dict[str, np.ndarray]) -> Callable[[], np.ndarray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would slow the next competitor
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["features"], given)[0]


@pytest.mark.parametrize("competitor", COMPETITORS)
def test_runtimes(benchmark: object, competitor: str) -> None:
    os.environ.setdefault("OPENVINO_TELEMETRY", "0")
    if competitor not in race().runs:
        pytest.skip("not installed, or this processor has no kernel for it")
    measure(benchmark, race(), competitor)
