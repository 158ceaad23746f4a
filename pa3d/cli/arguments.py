"""Options and arguments of commands, declared without typer, because importing typer takes longer than segmenting.

A command that is spelled plainly is parsed here (`parse`). Whatever is not plain goes to typer: help, errors, rare
spellings such as `-qo FOLDER`. typer gets the same declarations (`for_typer`), so there is one list of options.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints


class Option:
    """An option: its names, --name of the parameter by default, and what typer.Option takes by keyword."""

    def __init__(self, *names: str, **settings: Any) -> None:
        self.names, self.settings = names, settings


class Argument:
    """An argument by position, with what typer.Argument takes by keyword."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings


def echo(message: str = "", err: bool = False) -> None:
    print(message, file=sys.stderr if err else sys.stdout, flush=True)


def for_typer(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, with typer's annotations."""
    import typer

    hints = get_type_hints(function, include_extras=True)
    for name, hint in hints.items():
        if get_origin(hint) is Annotated:
            kind, declared = get_args(hint)
            if isinstance(declared, Option):
                declared = typer.Option(*declared.names, **declared.settings)
            elif isinstance(declared, Argument):
                declared = typer.Argument(**declared.settings)
            hints[name] = Annotated[kind, declared]

    @functools.wraps(function)
    def command(**arguments: Any) -> Any:
        return function(**arguments)

    parameters = inspect.signature(function).parameters.values()
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter.replace(annotation=hints[parameter.name]) for parameter in parameters]
    )
    command.__annotations__ = hints
    return command


def parse(function: Callable[..., Any], words: Sequence[str]) -> dict[str, Any] | None:
    """The arguments for a command, without the defaults; None where typer must decide.

    Plain is: every option by one of its full names, at most once, with a valid value as the next word, which does not
    begin with "-"; and nothing is missing or left over.
    """
    options: dict[str, tuple[str, type, dict[str, Any]]] = {}
    positions: list[tuple[str, type, dict[str, Any]]] = []
    several: tuple[str, type, dict[str, Any]] | None = None  # an argument that takes all words that are left
    required = set()
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        if get_origin(hints[name]) is not Annotated:
            return None
        hint, declared = get_args(hints[name])
        if not isinstance(declared, Option | Argument):
            return None
        kind = _without_none(hint)
        if parameter.default is inspect.Parameter.empty:
            required.add(name)
        if isinstance(declared, Argument) and get_origin(kind) is list and get_args(kind)[0] in _READERS:
            several = (name, get_args(kind)[0], declared.settings)
            continue
        if kind not in (bool, *_READERS):
            continue  # an option that is rarely used, such as one that may be repeated
        if isinstance(declared, Argument):
            positions.append((name, kind, declared.settings))
            continue
        for spelling in declared.names or ([f"--{name.replace('_', '-')}"] if kind is not bool else []):
            options[spelling] = (name, kind, declared.settings)
    found: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        if word.startswith("-"):
            if word not in options:
                return None
            name, kind, settings = options[word]
            value = True if kind is bool else _read(kind, next(rest, ""), settings)
        elif positions:
            name, kind, settings = positions.pop(0)
            value = _read(kind, word, settings)
        elif several is not None:
            name, kind, settings = several
            if (value := _read(kind, word, settings)) is None:
                return None
            found.setdefault(name, []).append(value)
            continue
        else:
            return None
        if value is None or name in found:
            return None
        found[name] = value
    return found if required <= found.keys() else None


def _without_none(hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        return kinds[0] if len(kinds) == 1 else None
    return hint


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text, re.ASCII) else None


_READERS: dict[type, Callable[[str], Any]] = {
    str: str,
    Path: Path,
    int: lambda text: int(text) if re.fullmatch("[0-9]{1,18}", text) else None,
    float: _number,
}


def _read(kind: type, word: str, settings: dict[str, Any]) -> Any:
    """The value of a word, None where it is not plain."""
    if not word or word.startswith("-"):
        return None
    value = _READERS[kind](word)
    if value is None or kind not in (int, float):
        return value
    return value if settings.get("min", -math.inf) <= value <= settings.get("max", math.inf) else None
