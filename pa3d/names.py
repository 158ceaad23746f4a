"""Part names as people type them: words between commas or semicolons."""

from __future__ import annotations

import re

# Commas and semicolons: Latin, Arabic, N'Ko, Ethiopic, Mongolian, Chinese and Japanese, Lisu, Vai, Bamum.
SEPARATORS = re.compile(
    "[,;\n\r\u060c\u061b\u07f8\u1363\u1364\u1802\u1808\u3001\ua4fe\ua60d\ua6f5\ua6f6\ufe10\ufe11\ufe14\ufe50\ufe51\ufe54\uff0c\uff1b\uff64]"
)


def split_names(text: str) -> list[str]:
    """The names in a text such as "seat, back, leg", without spaces around them and without empty ones."""
    return [name for raw in SEPARATORS.split(text) if (name := strip_name(raw))]


def strip_name(raw: str) -> str:
    """A name without the spaces and byte order marks around it."""
    return raw.strip("\ufeff \t\r\n").strip()
