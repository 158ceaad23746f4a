"""Published methods of naming the parts of shapes, on pa3d's kernels and with weights that the user has.

    method = load_method("cops", {"backbone": "dinov2_vitb14_pretrain.pth", "clip": "ViT-B-16.pt"})
    result = method.segment("chair.glb", ["seat", "back", "leg"], category="chair")

Each method is one module, which reads from top to bottom. Its docstring says what the method does and which paper it is
from. Its parameters are a dataclass whose defaults are the paper's. A module declares:

    FORMS       name -> parameters. "fair" is the default. "published" is what the authors ran to get their figures,
    also
                where it looks at the true labels or has an error. The docstring says what differs.
    WEIGHTS     role -> what belongs there; the keys of `weights`
    load        makes the method

The authors' code is not used: the modules follow the papers and notes on the code. docs/methods.md compares the
methods.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from pa3d.errors import InputError
from pa3d.methods._common import PublishedMethod

__all__ = ["NAMES", "PublishedMethod", "load_method"]

NAMES = ("cops", "find3d", "partslip", "pointclipv2", "satr")


def load_method(
    name: str,
    weights: Mapping[str, Any] | None = None,
    *,
    form: str = "fair",
    **changes: Any,
) -> PublishedMethod:
    """A method by name.

    weights: by role, a file or a loaded network. docs/methods.md lists the roles of each method and where to get the
        files. Nothing is downloaded. "random" in place of a file makes a network with random weights, to try the
        pipeline.
    form: "fair", or "published".
    changes: parameters to replace, by name.
    Raises InputError for an unknown name, form, role or parameter, and for weights that are missing or cannot be read.
    """
    if name not in NAMES:
        raise InputError(f"method {name!r} is unknown; expected one of {', '.join(NAMES)}")
    module = importlib.import_module(f"pa3d.methods.{name}")
    if form not in module.FORMS:
        raise InputError(f"{name} has no form {form!r}; expected one of {', '.join(module.FORMS)}")
    given = dict(weights or {})
    if unknown := sorted(set(given) - set(module.WEIGHTS)):
        roles = ", ".join(f"{role} ({what})" for role, what in module.WEIGHTS.items())
        raise InputError(f"{name} has no weights {unknown[0]!r}; expected {roles}")
    options = module.FORMS[form]
    known = [field.name for field in fields(options)]
    if unknown := sorted(set(changes) - set(known)):
        raise InputError(f"{name} has no parameter {unknown[0]!r}; expected one of {', '.join(known)}")
    method: PublishedMethod = module.load(replace(options, **changes), given)
    method.form = form if not changes else f"{form}, with {', '.join(sorted(changes))} changed"
    return method
