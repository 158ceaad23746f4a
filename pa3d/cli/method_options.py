"""Options of the methods of papers, which `pa3d eval` and `pa3d segment` share."""

from __future__ import annotations

import ast
from typing import Annotated, Any

from pa3d.cli.arguments import Option
from pa3d.errors import InputError

Method = Annotated[
    str | None,
    Option(
        metavar="cops|find3d|partslip|pointclipv2|satr",
        help="Use a method of a paper instead of the model, with weights that you have (docs/methods.md). The options "
        "of the model, such as --sample and --none, then have no effect.",
        show_default=False,
    ),
]
MethodWeights = Annotated[
    list[str] | None,
    Option(
        "--weights",
        metavar="ROLE=FILE",
        help="Weights of a network of --method, such as clip=ViT-B-16.pt; may be given several times "
        "(docs/methods.md).",
        show_default=False,
    ),
]
MethodForm = Annotated[
    str,
    Option(
        "--form",
        metavar="fair|published",
        help="For --method: without looking at the true labels and without errors, or what the authors ran.",
    ),
]
MethodSetting = Annotated[
    list[str] | None,
    Option(
        "--set",
        metavar="NAME=VALUE",
        help="Another value for a parameter of --method, such as views=5; may be given several times.",
        show_default=False,
    ),
]


class _ByMethod:
    """A method of a paper, called as a Segmenter is."""

    def __init__(self, method: Any) -> None:
        self._method = method

    def segment(self, shape: Any, parts: Any, *, category: str | None, **_: Any) -> Any:
        return self._method.segment(shape, parts, category)


def segment_by(name: str, weights: list[str] | None, form: str, setting: list[str] | None) -> Any:
    """A method of a paper in the place of a Segmenter. Raises InputError, also where it needs true labels."""
    from pa3d.methods import load_method

    method = load_method(name, method_weights(weights), form=form, **method_settings(setting))
    if getattr(method, "needs_ground_truth", False):
        raise InputError(f"--method {name}: in this form it looks at true labels, which only pa3d eval has")
    return _ByMethod(method)


def method_weights(given: list[str] | None) -> dict[str, str]:
    """By role. Raises InputError for a value without "="."""
    return dict(_pair(text, "--weights", "ROLE=FILE") for text in given or ())


def method_settings(given: list[str] | None) -> dict[str, Any]:
    """By name; a value is a Python number, tuple, True, False or None, and else text."""
    return {name: _value(text) for name, text in (_pair(text, "--set", "NAME=VALUE") for text in given or ())}


def _pair(text: str, option: str, expected: str) -> tuple[str, str]:
    name, equal, value = text.partition("=")
    if not (name and equal and value):
        raise InputError(f"{option} {text!r}: expected {expected}")
    return name, value


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
