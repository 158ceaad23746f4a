"""Compare two evaluations on the same shapes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pa3d.errors import InputError
from pa3d.evaluate.metrics import bootstrap_interval, mean_over_groups
from pa3d.evaluate.run import FORMAT


def compare(a: str | Path, b: str | Path, *, seed: int = 0) -> dict[str, Any]:
    """Paired differences of IoU, b minus a, over the shapes that both results.json have.

    miou, ciou: difference and its 95 % interval. Pairs of results are resampled, so that it does not matter how hard a
        shape is.
    better, worse, equal: numbers of shapes. unpaired: number of shapes that only one of them has.
    categories: difference and number of shapes of each.
    largest: the five shapes that lost most and the five that gained most.
    Raises InputError when a file is not a results.json, or the two differ in dataset or protocol.
    """
    first, second = _read(a), _read(b)
    for key in ("dataset", "protocol"):
        if first[key] != second[key]:
            names = [f for f in first[key] if first[key][f] != second[key].get(f)]
            raise InputError(
                f"{a} and {b} differ in {key} ({', '.join(names)}); only evaluations of the same kind can be compared"
            )
    before, after = ({r["id"]: r for r in results["shapes"] if r["miou"] is not None} for results in (first, second))
    ids = [key for key in before if key in after]
    if not ids:
        raise InputError(f"{a} and {b} have no shape in common; evaluate both on the same shapes")
    difference = np.array([after[key]["miou"] - before[key]["miou"] for key in ids])
    names = [before[key]["category"] for key in ids]
    order = np.argsort(difference, kind="stable")
    return {
        "a": first["method"],
        "b": second["method"],
        "dataset": first["dataset"],
        "protocol": first["protocol"]["name"],
        "shapes": len(ids),
        "unpaired": len(before) + len(after) - 2 * len(ids),
        "miou": _difference(difference, None, seed),
        "ciou": _difference(difference, names, seed),
        "better": int((difference > 0).sum()),
        "worse": int((difference < 0).sum()),
        "equal": int((difference == 0).sum()),
        "categories": {
            name: {
                "shapes": names.count(name),
                "difference": float(difference[[n == name for n in names]].mean()),
            }
            for name in sorted(set(names))
        },
        "largest": [
            {"id": ids[i], "difference": float(difference[i])}
            for i in dict.fromkeys([*order[:5].tolist(), *order[-5:].tolist()])
        ],
    }


def _difference(values: np.ndarray, groups: list[str] | None, seed: int) -> dict[str, Any]:
    return {
        "difference": mean_over_groups(values, groups),
        "interval": bootstrap_interval(values, groups, seed=seed),
    }


def _read(path: str | Path) -> dict[str, Any]:
    try:
        results = json.loads(Path(path).read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a results.json of pa3d eval") from error
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}); give a results.json of pa3d eval") from error
    if not isinstance(results, dict) or results.get("format") != FORMAT:
        raise InputError(f"{path}: not written by this version of pa3d eval; give a results.json of it")
    return results
