"""Pickled dictionaries of arrays in .npy files, read without running code that they may contain."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from pa3d.errors import InputError

# Everything that arrays and plain values need, with both names of numpy's core, before and since version 2.
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is neither an array nor a plain value")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load_pickled_dict(path: str | Path) -> dict[str, Any]:
    """The dictionary that np.save wrote as an object array. Creates only numpy arrays and plain values.

    Raises InputError when the file is something else, is damaged, or asks for anything but arrays.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = getattr(np.lib.format, f"read_array_header_{version[0]}_0")
            _, _, dtype = read_header(file)
            content = _ArrayUnpickler(file).load() if dtype.hasobject else None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the file") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise InputError(
            f"{path}: not a dictionary of arrays that is safe to read ({error}); download the file again"
        ) from error
    value = content.item() if isinstance(content, np.ndarray) and content.ndim == 0 else content
    if not isinstance(value, dict):
        content_type = type(value).__name__ if dtype.hasobject else f"an array of {dtype}"
        raise InputError(f"{path}: expected a pickled dictionary as in PartNetE, found {content_type}")
    return value
