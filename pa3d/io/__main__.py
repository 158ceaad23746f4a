"""`python -m pa3d.io` prints the table of formats in docs/files.md."""

from __future__ import annotations

from pa3d.io import formats_table

print(formats_table())
