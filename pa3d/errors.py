"""The one exception that means: what the caller gave cannot be used; and failures in words."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input from outside. The message says what was wrong, what was expected and what to do.

    The command line prints it as one line and exits with code 2.
    """


def failure_reason(error: Exception, source: object) -> str:
    """Why a file could not be used, in one line. A damaged file can make a library raise anything."""
    if isinstance(error, InputError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return f"{source}: needs more memory than there is; simplify the shape"
    return f"{source}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
