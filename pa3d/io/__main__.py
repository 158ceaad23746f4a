"""Prints the table of formats. `python -m pa3d.io docs/files.md` also writes it into that file."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pa3d.io import formats_table

print(formats_table())
for file in map(Path, sys.argv[1:]):
    text = re.sub(r"^\| format \|.*?\n(?!\|)", lambda _: formats_table() + "\n", file.read_text(), flags=re.M | re.S)
    file.write_text(text)
