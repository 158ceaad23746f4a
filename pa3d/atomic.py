"""Writing files and folders so that a reader sees all of one or nothing of it."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pa3d.errors import InputError


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "wb") -> Iterator[IO[Any]]:
    """A file object whose content appears under ``path`` only when the block ends without an error.

    mode: "wb", or "w" for UTF-8 text.
    Raises InputError when the folder cannot be written or the disk is full.
    """
    path = Path(path)
    if mode not in ("wb", "w"):
        raise ValueError(f"mode {mode!r} is not 'wb' or 'w'")
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    encoding = None if mode == "wb" else "utf-8"
    try:
        with open(beside, mode.replace("w", "x"), encoding=encoding, newline=encoding and "\n") as file:
            yield file
        os.replace(beside, path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path}: cannot be written ({reason}); choose another folder") from error
    finally:
        with suppress(OSError):
            beside.unlink()


@contextmanager
def atomic_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `target` when the block ends without an error.

    An earlier folder of that name stays as it was until then, and is then removed with all it holds.
    Raises InputError when a folder cannot be written there.
    """
    target = Path(target)
    temporary = target.absolute().parent / f".{target.name}.{secrets.token_hex(4)}.tmp"
    try:
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"{target}: cannot be created ({error.strerror}); choose another folder") from error
        yield temporary
        if target.is_dir():
            old = temporary.with_suffix(".old")
            os.replace(target, old)
            os.replace(temporary, target)
            shutil.rmtree(old)
        else:
            os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror or error}); choose another folder") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable_folder(path: str | os.PathLike[str]) -> Path:
    """The folder as a Path if files can be written to it, or if it can be created; nothing is created here.

    Raises InputError otherwise.
    """
    folder = Path(path)
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if os.path.exists(parent))
    if not os.path.isdir(existing):
        raise InputError(f"{folder}: {existing} is a file, not a folder; choose another output folder")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: no permission to write in {existing}; choose another output folder")
    return folder
