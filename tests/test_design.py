"""What the documents for developers say is true: paths, modules and functions exist, and no module is too long."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = ("docs/design.md", "docs/development.md", "CONTRIBUTING.md")
FOLDERS = "|".join(sorted(p.name for p in ROOT.iterdir() if p.is_dir() and p.name.isidentifier()))
# Names that the recipes invent, files of other projects, and files that a command or a machine with a GPU writes.
MADE_UP = re.compile(r"scale|toy|flash_attention|octants|NAME|_C\.pyi|out/|shapes/|shards/|\.venv|gpu\.md")


def text(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def paths(document: str) -> set[str]:
    """Everything that looks like a path of the repository, and the links. "{a,b}" stands for a and b."""
    found = set(re.findall(rf"(?<![\w./-])(?:{FOLDERS})/[\w./*{{}},-]*\w|(?<![\w/])[A-Z]+\.md", text(document)))
    expanded = set()
    for name in found:
        choice = re.search(r"\{([^}]*)\}?", name)
        options = choice[1].split(",") if choice else [""]
        expanded |= {name.replace(choice[0], option) if choice else name for option in options}
    return {name for name in expanded if not MADE_UP.search(name)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_exists(document: str) -> None:
    found = paths(document)
    assert found
    missing = [name for name in found if not any(ROOT.glob(name.rstrip("/")))]
    # Files that are named without their folder, because the sentence names it.
    bare = set(re.findall(r"`(\w+\.(?:py|cpp|inl|h|cu|toml))`", text(document)))
    missing += [n for n in bare if not MADE_UP.search(n) and not any((*ROOT.glob(n), *ROOT.glob(f"[!.]*/**/{n}")))]
    assert not missing, f"{document} names what does not exist: {', '.join(sorted(missing))}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", text(document)) if "://" not in link]
    assert all(((ROOT / document).parent / link).exists() for link in links), links


def resolve(name: str) -> Any:
    """A module, or something in one. "pa3d.segment" is a module, "pa3d.io.load" a function in one."""
    parts = name.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
            continue
        for part in parts[n:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_name_of_pa3d_can_be_resolved(document: str) -> None:
    missing = []
    for name in sorted(set(re.findall(r"`(pa3d(?:\.\w+)+)[`(]", text(document)))):
        if name == "pa3d.kernels":  # installed from kernels/, with Triton only
            continue
        try:
            resolve(name)
        except (AttributeError, ModuleNotFoundError):
            missing.append(name)
    assert not missing, f"{document} names what does not exist: {', '.join(missing)}"


def test_the_layers_are_those_of_the_contract() -> None:
    import tomllib

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(c for c in contracts if c["type"] == "layers")["layers"]
    table = text("docs/design.md").split("| layer | what |\n|---|---|\n")[1].split("\n\n")[0]
    rows = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()]
    assert rows == [re.findall(r"\w+", layer) for layer in layers]


def test_no_module_has_more_than_500_lines() -> None:
    allowed = ("pa3d/data/procedural/", "pa3d/data/creatures/")
    sources = [
        path
        for folder in ("pa3d", "kernels", "bench", "scripts", "csrc")
        for pattern in ("*.py", "*.cpp", "*.h", "*.inl", "*.cu", "*.cuh")
        for path in (ROOT / folder).rglob(pattern)
    ]
    lines = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8").count("\n") for path in sources}
    assert len(lines) > 200 and "pa3d/segment.py" in lines
    too_long = {name: n for name, n in lines.items() if n > 500 and not name.startswith(allowed)}
    assert not too_long
