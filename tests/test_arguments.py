"""pa3d.cli.arguments parses plain command lines as typer does, and leaves every other to typer."""

from __future__ import annotations

import inspect
import random
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
import typer

from pa3d.cli.arguments import Argument, Option, for_typer, parse

COMMANDS = ("segment", "keypoints", "profile", "info")
WORDS = {
    str: ["seat, back", "x", "all"],
    Path: ["a.glb", "out/b"],
    int: ["1", "12", "007"],
    float: ["0", "0.25", "1", "0.5"],
    bool: [],
}
REST = [
    "",
    "-",
    "--",
    "-1",
    "--json",
    "--no-such",
    "-h",
    "--help",
    "-qo",
    "--out=x",
    "-ox",
    "1e-1",
    "nan",
    "x y",
    "2.5",
    "1",
]


def command(name: str) -> Any:
    return getattr(import_module(f"pa3d.cli.{name}"), name)


def by_typer(function: Any, words: list[str]) -> dict[str, Any] | None:
    """All arguments that typer gives to the command; None for an error, and for help."""
    app = typer.Typer(add_completion=False)
    app.command()(for_typer(function))
    try:
        found = typer.main.get_command(app).make_context("pa3d", list(words)).params
    except Exception as error:
        assert hasattr(error, "format_message") or type(error).__name__ == "Exit", error
        return None
    paths = {name for name, hint in get_type_hints(function).items() if Path in (hint, *get_args(hint))}
    found = {k: None if v == () else v for k, v in found.items()}  # no value of what may be repeated
    found = {k: [Path(word) for word in v] if isinstance(v, list | tuple) else v for k, v in found.items()}
    return {k: Path(v) if k in paths and v is not None else v for k, v in found.items()}


def defaults(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def spellings(function: Any) -> list[tuple[list[str], type]]:
    """Names of each option, none for an argument, and its type."""
    found = []
    for name, hint in get_type_hints(function, include_extras=True).items():
        if get_origin(hint) is Annotated:
            kind, declared = get_args(hint)
            names = (declared.names or [f"--{name.replace('_', '-')}"]) if isinstance(declared, Option) else []
            if isinstance(declared, Argument) and list in map(get_origin, get_args(kind)):
                found.append(([], Path))
            elif not get_args(kind) or list not in map(get_origin, get_args(kind)):
                kind = next(k for k in (bool, Path, str, int, float) if k in (kind, *get_args(kind)))
                found.append((list(names), kind))
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_plain_lines_are_parsed_here_and_as_typer_does(name: str) -> None:
    function, random_ = command(name), random.Random(0)
    for _ in range(40):
        words: list[list[str]] = []
        for names, kind in spellings(function):
            if not names or "--parts" in names or "--names" in names or random_.random() < 0.4:
                value = [] if kind is bool else [random_.choice(WORDS[kind])]
                words.append(([random_.choice(names)] if names else []) + value)
        random_.shuffle(words)
        line = [word for group in words for word in group]
        expected, found = by_typer(function, line), parse(function, line)
        assert (found is None) == (expected is None), line
        assert found is None or {**defaults(function), **found} == expected, line


@pytest.mark.parametrize("name", COMMANDS)
def test_other_lines_are_never_parsed_otherwise(name: str) -> None:
    """Random lines of names, values, and words that are neither."""
    function, random_, parsed = command(name), random.Random(1), 0
    pieces = [spelling for names, _ in spellings(function) for spelling in names]
    pieces += [f"--{name}" for name in inspect.signature(function).parameters]
    pieces += [word for words in WORDS.values() for word in words] + REST
    start = ["a.glb", "--parts", "x"] if name == "segment" else []
    for _ in range(400):
        line = start + random_.choices(pieces, k=random_.randrange(5))
        found = parse(function, line)
        if found is not None:
            parsed += 1
            assert {**defaults(function), **found} == by_typer(function, line), line
    assert parsed > 0


@pytest.mark.parametrize(
    "words",
    [
        ["a.glb", "--parts"],
        ["a.glb", "b.glb", "", "--parts", "x"],
        ["a.glb", "--parts", "x", "--parts", "y"],
        ["a.glb", "--parts=x"],
        ["a.glb", "--part", "x"],
        ["a.glb", "--parts", "x", "--none", "2"],
        ["a.glb", "--parts", "x", "--none", "-1"],
        ["a.glb", "--parts", "x", "--threads", "0"],
        ["a.glb", "--parts", "x", "--threads", "1.5"],
        ["a.glb", "--parts", "x", "--help"],
        ["--", "a.glb", "--parts", "x"],
        ["", "--parts", "x"],
    ],
)
def test_typer_decides(words: list[str]) -> None:
    assert parse(command("segment"), words) is None


def test_several_files() -> None:
    found = parse(command("segment"), ["a.glb", "--parts", "x", "b.glb", "c"])
    assert found == {"files": [Path("a.glb"), Path("b.glb"), Path("c")], "parts": "x"}
