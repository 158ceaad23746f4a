"""Writing files and folders so that a reader sees all of one or nothing of it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
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
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
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


def write_files(
    folder: str | os.PathLike[str], contents: Mapping[str, bytes], obsolete: Iterable[str] = ()
) -> dict[str, Path]:
    """Write files into a folder, which is created if needed: all of them or, where one cannot be written, none.

    Of two processes that write into one folder at once, the later one's files remain, not some of each.
    contents: by name, which may have folders in it: "textures/wood.png".
    obsolete: names of files that are removed, because they belong to what was there before.
    Returns the path of each file. Raises InputError.
    """
    folder = Path(folder)
    staging = folder / f".{os.urandom(4).hex()}.tmp"
    name = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
        for name, content in contents.items():
            if os.path.isdir(folder / name):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            (staging / name).write_bytes(content)
        with _one_process_at_a_time(folder):
            for name in contents:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staging / name, folder / name)
            for old in obsolete:
                with suppress(OSError):
                    os.unlink(folder / old)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{folder / name}: cannot be written ({reason}); choose another folder") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return {name: folder / name for name in contents}


@contextmanager
def _one_process_at_a_time(folder: Path) -> Iterator[None]:
    """Waits until no other process is in this block with the same folder, where the file system has locks."""
    descriptor = None
    try:
        with suppress(ImportError, OSError):
            import fcntl

            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def lock(path: str | os.PathLike[str]) -> IO[bytes] | None:
    """A new file that this process holds locked until it closes it or ends; None if another process holds it."""
    import fcntl

    file = open(path, "wb")  # noqa: SIM115
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


@contextmanager
def atomic_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `target` when the block ends without an error.

    An earlier folder of that name stays as it was until then, and is then removed with all it holds.
    Raises InputError when a folder cannot be written there.
    """
    target = Path(target)
    temporary = target.absolute().parent / f".{target.name}.{os.urandom(4).hex()}.tmp"
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
