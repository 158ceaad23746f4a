"""What commands print and write: JSON, a check of the output folder, and a folder that replaces an earlier one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pa3d.cli.arguments import echo
from pa3d.errors import InputError


def print_json(value: dict[str, Any]) -> None:
    """Print a value as JSON. Paths and other objects become their text."""
    import json

    echo(json.dumps(value, indent=2, ensure_ascii=not writes_unicode(), default=str))


def writes_unicode() -> bool:
    """Whether standard output takes every character."""
    return (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "").startswith("utf")


def write_json(path: Path, value: dict[str, Any]) -> None:
    import json

    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def print_files(folder: Path, what: str) -> None:
    """The last line of a command: the folder, and what is in it now."""
    echo(f"{folder}{os.sep}: {what}")


def check_can_write(folder: Path) -> None:
    """Raise InputError unless the folder can be written to, or can be created. Leaves nothing behind."""
    from pa3d.atomic import check_writable_folder

    check_writable_folder(folder)
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    # Permissions are not enough: for root every folder looks writable, even those of /proc. Not by tempfile, whose
    # import takes longer than a short command has.
    probe = existing / f".{os.urandom(4).hex()}.tmp"
    try:
        try:
            with open(probe, "xb") as file:
                file.write(b"pa3d")
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another output folder") from error


@contextmanager
def replaced_folder(target: Path, marker: str, *, force: bool) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `target` when the block ends without an error.

    marker: the name of a file that the command writes into each of its folders. A folder that is not empty is
    replaced only if it has this file, and only with force. Raises InputError otherwise.
    """
    from pa3d.atomic import atomic_folder, check_writable_folder

    check_writable_folder(target)
    if target.is_dir() and any(target.iterdir()):
        if not (target / marker).is_file():
            raise InputError(f"{target}: holds other files; choose an empty or new folder")
        if not force:
            raise InputError(f"{target}: holds an earlier result; choose another folder, or --force to replace it")
    with atomic_folder(target) as folder:
        yield folder
