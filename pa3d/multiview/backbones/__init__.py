"""2D networks that describe images densely: images in, a grid of tokens out.

Every backbone takes images (V, H, W, 3) uint8 and returns tokens (V, gh, gw, C) float32. The grid spans the image:
token (r, c) stands for the cell of H / gh by W / gw pixels in row r and column c, the convention of
`pa3d.ops.backproject` (align_corners=False).

Each module of this package whose name does not begin with an underscore is a backbone, or several sizes of one. It
declares:

    MODELS                name -> one line for help texts
    EXTRA                 the extra of pip that installs what it needs
    find_weights(name)    the file of weights on this machine; InputError when there is none. Nothing is downloaded.
    load(name, file)      the backbone with the weights of that file

Nothing else has to name it: the names below and the error messages come from these declarations. Only the help of
`pa3d prepare --backbone` names two models as examples, because help must not wait for imports. The modules are imported
to list the names. So they import numpy and torch only inside functions.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from pa3d.errors import InputError
from pa3d.multiview.backbones._common import read_weights

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["DEFAULT", "MODELS", "NAMES", "Backbone", "load_backbone", "read_weights"]

DEFAULT = "efficientnet-lite0"


class Backbone(Protocol):
    """name: the model, which also says which weights; dim: C."""

    name: str
    dim: int

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]: ...  # (V, H, W, 3) -> (V, gh, gw, C)


class _BackboneModule(Protocol):
    MODELS: Mapping[str, str]
    EXTRA: str

    def find_weights(self, name: str) -> Path: ...
    def load(self, name: str, file: Path) -> Backbone: ...


def _discover() -> dict[str, _BackboneModule]:
    """The module of every model, the default first. A name that two modules declare raises ValueError."""
    modules: dict[str, _BackboneModule] = {}
    for info in pkgutil.iter_modules(__path__):
        if info.name.startswith("_"):
            continue
        module = cast(_BackboneModule, importlib.import_module(f"{__name__}.{info.name}"))
        for name in module.MODELS:
            if name in modules:
                raise ValueError(f"backbone {name} is declared twice; rename it in {info.name}.py")
            modules[name] = module
    return dict(sorted(modules.items(), key=lambda item: item[0] != DEFAULT))


_MODULES = _discover()
MODELS: dict[str, str] = {name: module.MODELS[name] for name, module in _MODULES.items()}
NAMES = tuple(MODELS)


def load_backbone(name: str = DEFAULT, weights: str | Path | None = None) -> Backbone:
    """A backbone by name.

    weights: a file to use instead of the installed or cached weights.
    Raises InputError when the name is unknown, torch is not installed, or no weights are found. The message says where
    they were looked for and how to get them.
    """
    if name not in _MODULES:
        raise InputError(f"backbone {name!r} is unknown; expected one of {', '.join(NAMES)}")
    module = _MODULES[name]
    if find_spec("torch") is None:
        raise InputError(f"backbone {name} needs torch; pip install 'pa3d[{module.EXTRA}]'")
    return module.load(name, Path(weights) if weights is not None else module.find_weights(name))
