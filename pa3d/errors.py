"""The one exception that means: what the caller gave cannot be used."""

from __future__ import annotations


class InputError(ValueError):
    """Bad input from outside. The message says what was wrong, what was expected and what to do.

    The command line prints it as one line and exits with code 2.
    """
