"""The shapes that the page lists: files that were given, files that were uploaded, and those that are open."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pa3d.errors import InputError
from pa3d.segment import Segmenter
from pa3d.session import OpenShape
from pa3d.shape import Shape

KEPT_OPEN = 4  # shapes whose encoding is kept
# Their reader is a library that opens the files to which a file refers.
NOT_UPLOADED = (".usd", ".usda", ".usdc", ".usdz")

Source = Path | Shape


class Sources:
    """Shapes by the names that the page shows. load, open: options of pa3d.io.load and of Segmenter.open."""

    def __init__(
        self, segmenter: Segmenter, sources: Sequence[Source], load: dict[str, Any], open: dict[str, Any]
    ) -> None:
        self._segmenter, self._load_options, self._open_options = segmenter, load, open
        self._sources: dict[str, Source] = {}
        self._open: dict[str, OpenShape] = {}
        for source in sources:
            self._add(source.name, source)
        if not self._sources:
            raise InputError("nothing to show; give at least one file or shape")
        self._uploads = tempfile.TemporaryDirectory(prefix="pa3d-view-")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._sources)

    def open(self, name: str) -> OpenShape:
        """Raises InputError for a file that cannot be read."""
        if name not in self._open:
            from pa3d.io import load

            source = self._sources[name]
            shape = source if isinstance(source, Shape) else load(source, **self._load_options)
            if len(self._open) >= KEPT_OPEN:
                del self._open[next(iter(self._open))]
            self._open[name] = self._segmenter.open(shape, **self._open_options)
        return self._open[name]

    def add_upload(self, name: str, content: bytes) -> str:
        """Keep a file in a temporary folder, under its name alone, and return its name on the list.

        Raises InputError for a file that cannot be read; it is then not listed.
        """
        name = Path(name.replace("\\", "/")).name.strip(".") or "upload"
        if name.lower().endswith(NOT_UPLOADED):
            raise InputError(f"{name}: files that refer to others cannot be uploaded; give them on the command line")
        folder = Path(tempfile.mkdtemp(dir=self._uploads.name))
        (folder / name).write_bytes(content)
        listed = self._add(name, folder / name)
        try:
            self.open(listed)
        except InputError:
            del self._sources[listed]
            raise
        return listed

    def remove_uploads(self) -> None:
        self._uploads.cleanup()

    def _add(self, name: str, source: Source) -> str:
        """Add it under a name of its own."""
        number, own = 1, name
        while own in self._sources:
            number += 1
            own = f"{name} ({number})"
        self._sources[own] = source
        return own
