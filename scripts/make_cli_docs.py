"""docs/cli.md: every command of pa3d with all its options, from the commands themselves.

python scripts/make_cli_docs.py            # after a change of pa3d/cli; make test compares the file with the commands
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from pa3d.cli import make_app

TARGET = Path(__file__).resolve().parents[1] / "docs" / "cli.md"
INTRODUCTION = """\
# Command line

This page is written by `scripts/make_cli_docs.py`; `pa3d COMMAND --help` shows the same.

An error is reported as one line on stderr, `error: ...`; `--debug` adds the traceback. Progress goes to stderr, and
results go to stdout. `pa3d --version` shows the version.

| exit code | |
|---|---|
| 0 | success |
| 1 | standard output cannot be written (full disk, closed pipe), or a bug of pa3d |
| 2 | invalid input, of which nothing is written; output files that cannot be written; or not enough memory |
| 3 | `pa3d segment` of many files, or `pa3d embed`: some of them failed; the results of the others are written |
| 130 | interrupted |

A *patch* is a group of neighbouring points; the model compares patches with part names. A label of -1 means *none*: the
point belongs to none of the parts.
"""
# Options that most commands have. They end each table, in this order.
LAST = ("--quiet", "--json", "--debug")


def document() -> str:
    """The text of docs/cli.md."""
    root = typer.main.get_command(make_app())
    listing = [f"| [`{name}`](#{_anchor(name)}) | {_first_sentence(command.help)} |" for name, command in _walk(root)]
    parts = [INTRODUCTION, "\n".join(["| command | |", "|---|---|", *listing]) + "\n"]
    parts += [_section(name, command) for name, command in _walk(root)]
    return "\n".join(parts)


def _walk(group: Any, prefix: str = "pa3d") -> Iterator[tuple[str, Any]]:
    """(name, command) of all commands, in the order of the help."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _walk(command, f"{prefix} {name}")
        else:
            # The group of `eval` runs this command when no other is named.
            yield f"{prefix} {name}".replace("pa3d eval run", "pa3d eval"), command


def _section(name: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option"]
    options.sort(key=lambda p: LAST.index(p.opts[-1]) if p.opts[-1] in LAST else -1)
    required = [f"{p.opts[0]} {p.metavar}" for p in options if p.required]
    usage = " ".join([name, *(_argument(p) for p in arguments), *required, "[OPTIONS]"])
    rows = [f"| `{_argument(p)}` | {_text(p)} |" for p in arguments]
    rows += [f"| {_option(p)} | {_text(p)} |" for p in options]
    return "\n".join([f"## {name}", "", f"    {usage}", "", _prose(command.help), "", "| | |", "|---|---|", *rows, ""])


def _argument(parameter: Any) -> str:
    return parameter.metavar if parameter.required else f"[{parameter.metavar}]"


def _option(parameter: Any) -> str:
    """The names of an option, the short one first, and what it takes."""
    names = sorted(parameter.opts, key=len)
    value = "" if parameter.is_flag else " " + parameter.metavar
    return ", ".join(f"`{name}`" for name in names[:-1]) + (", " if names[1:] else "") + _code(names[-1] + value)


def _code(text: str) -> str:
    return "`" + text.replace("|", "\\|") + "`"


def _text(parameter: Any) -> str:
    """The help of a parameter with its default."""
    text = " ".join((parameter.help or "").split())
    default = parameter.default
    if isinstance(default, int | float | str) and not isinstance(default, bool) and default != "":
        text += f" [default: {default}]"
    return re.sub(r"\[default: (.*)\]$", r"Default: \1.", text).replace("|", "\\|")


def _prose(text: str) -> str:
    """The paragraphs of a help text, one per line."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.strip()))


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s", _prose(text))[0]


def _anchor(name: str) -> str:
    return name.replace(" ", "-")


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
