"""The page of the viewer: what it shows, and what happens when someone types or clicks."""

from __future__ import annotations

import io
import tempfile
import threading
import time
import zipfile
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from pa3d.errors import InputError
from pa3d.names import split_names
from pa3d.report import PartRow, not_found, part_rows, result_files, share_text, size_text, without_missing
from pa3d.segment import DEFAULT_SAMPLE, Segmenter
from pa3d.segmentation import Segmentation
from pa3d.session import Heat, OpenShape
from pa3d.shape import Shape
from pa3d.text import EMBEDDED
from pa3d.view.drawing import SIDES, Drawing
from pa3d.view.scene import Group, Hit, as_rgb, heat_groups, part_groups
from pa3d.view.server import HOST, start_server, stop_server

PORT = 8080
KEPT_OPEN = 4  # shapes whose encoding is kept
ALL_PARTS = "all parts"
MADE_WITH: tuple[str, ...] = ("category", "none", "sample", "seed")  # settings of a result that `view` takes over
# Their reader is a library that opens the files to which a file refers.
NOT_UPLOADED = (".usd", ".usda", ".usdc", ".usdz")
HIDDEN_COLOR = (222, 226, 230)

Source = Path | Shape


class Viewer:
    """A page on 127.0.0.1 that shows shapes and what any words name on them.

    address: of the page. result: the Segmentation that the page shows, None while no names are given. selected: the
    face or point that was clicked last, None after "Clear the selection".
    May be used as a context manager, which stops the server at its end.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        sources: Sequence[Source],
        *,
        parts: Sequence[str] = (),
        category: str | None = None,
        none: float | None = None,
        sample: int | None = DEFAULT_SAMPLE,
        up: str | None = None,
        seed: int = 0,
        columns: str | None = None,
        port: int = PORT,
    ) -> None:
        """sources: files and shapes, at least one; the first is shown. port: or the next one that is free.

        The others are as in Segmenter.segment, and columns as in pa3d.io.load.
        Raises InputError if viser is not installed, or the first source cannot be read.
        """
        self._segmenter = segmenter
        self._load_options: dict[str, Any] = {"up": None if up == "auto" else up, "nan": "skip", "columns": columns}
        self._open_options: dict[str, Any] = {"sample": sample, "up": "auto" if up == "auto" else None, "seed": seed}
        self._sources: dict[str, Source] = {}
        for source in sources:
            self._add_source(source.name, source)
        if not self._sources:
            raise InputError("nothing to show; give at least one file or shape")
        self._open: dict[str, OpenShape] = {}
        self._uploads = tempfile.TemporaryDirectory(prefix="pa3d-view-")
        self._lock = threading.RLock()
        self._asked = 0  # counts changes, so that only the last of several that wait is computed
        self._name = next(iter(self._sources))
        self._shape = self._open_source(self._name)
        self.result: Segmentation | None = None
        self.selected: Hit | None = None
        self._heat: Heat | None = None
        self._hidden: set[str] = set()  # names of parts
        self._rows: list[PartRow] = []  # the parts that the shape has
        self._buttons: list[Any] = []  # of the rows; there may be more, which are not seen
        self._stopped = threading.Event()
        self._server = start_server(port)
        self._drawing = Drawing(self._server, self._click)
        self.address = f"http://{HOST}:{self._server.get_port()}"
        self._make_page(", ".join(parts), category or "", none or 0.0)
        self._show_source()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait(self) -> None:
        """Return when `stop` was called, from another thread. Ctrl-C raises KeyboardInterrupt."""
        while not self._stopped.wait(3600):
            pass

    def stop(self) -> None:
        """Stop the server and remove what was uploaded."""
        if not self._stopped.is_set():
            self._stopped.set()
            stop_server(self._server)
            self._uploads.cleanup()

    def _repr_html_(self) -> str:
        return f'<iframe src="{self.address}" width="100%" height="600" style="border: 0"></iframe>'

    # --- the page ---

    def _make_page(self, parts: str, category: str, none: float) -> None:
        server, gui = self._server, self._server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
        self._parts = gui.add_text("Parts", parts, hint='Names such as "seat, back, leg", or one word to see its heat.')
        self._status = gui.add_html("")
        self._original = gui.add_checkbox("Original look", False)
        self._only = gui.add_dropdown("Only", (ALL_PARTS,), hint="Shows one part alone.")
        self._list = gui.add_folder("Parts: click to hide")
        self._clicked = gui.add_html("")
        self._clear = gui.add_button("Clear the selection", visible=False)
        with gui.add_folder("Options", expand_by_default=False):
            self._none = gui.add_slider(
                "Threshold", 0.0, 1.0, 0.01, none, hint="Less sure than this is grey: none of the parts (--none)."
            )
            self._category = gui.add_text("Category", category, hint="What the object is, if you know it (--category).")
            self._views = gui.add_button_group("View", SIDES)
        with gui.add_folder("Files", expand_by_default=len(self._sources) > 1):
            self._files = gui.add_dropdown("Shape", tuple(self._sources))
            self._upload = gui.add_upload_button("Open another file")
            self._download = gui.add_button("Download results")
        for handle in (self._parts, self._none, self._category):
            handle.on_update(lambda _: self._changed())
        self._original.on_update(lambda _: self._show_parts())
        self._only.on_update(lambda _: self._show_parts())
        self._clear.on_click(lambda _: self._select(None))
        self._files.on_update(lambda _: self._choose(self._files.value))
        self._views.on_click(lambda event: self._drawing.look(event.client, self._views.value))
        self._upload.on_upload(lambda event: self._receive(self._upload.value))
        self._download.on_click(lambda event: self._send(event.client))
        server.on_client_connect(lambda client: self._drawing.look(client))

    def _changed(self) -> None:
        """Compute and draw again, unless there is a later change that does it."""
        self._asked += 1
        mine = self._asked
        with self._lock:
            if mine == self._asked:
                self.selected = None
                self._describe()
                self._update()

    def _update(self) -> None:
        names = split_names(self._parts.value)
        start = time.perf_counter()
        self.result = self._heat = None
        note = ""
        category = self._category.value.strip() or None
        if names:
            try:
                if len(names) == 1:
                    self._heat = self._shape.heat(names[0], category=category)
                self.result = self._shape.segment(names, category=category, none=self._none.value or None)
            except InputError as error:
                note = str(error)
        spent = 1000 * (time.perf_counter() - start)
        size = f"{self._shape.shape.name}: {size_text(self._shape.shape)}"
        if self.result is None:
            text = escape(note) or "type the names of parts"
        else:
            found = self.result.settings.get("up_found")
            self._drawing.set_up(found)
            text = f"{f'{len(names)} names' if len(names) > 1 else 'heat'} in {spent:.0f} ms"
            if absent := not_found(part_rows(without_missing(self.result))):
                text += f"<br>it does not seem to have: {escape(', '.join(absent))}"
        self._status.content = _small(f"{escape(size)}<br>{text}")
        self._list_parts()
        self._redraw()

    def _list_parts(self) -> None:
        """A button for each part, in its colour; and the names of which one can be shown alone."""
        earlier = [row.name for row in self._rows]
        self._rows = [] if self.result is None else [r for r in part_rows(without_missing(self.result)) if r.count]
        names = [row.name for row in self._rows]
        while len(self._buttons) < len(names):
            with self._list:
                self._buttons.append(self._server.gui.add_button(""))
            self._buttons[-1].on_click(partial(self._toggle, len(self._buttons) - 1))
        if names != earlier:
            self._hidden &= set(names)
            options = (ALL_PARTS, *names)
            if self._only.value not in options:
                self._only.value = ALL_PARTS
            self._only.options = options
        self._list.visible = self._only.visible = bool(names) and self._heat is None and self.selected is None

    def _toggle(self, number: int, _: Any) -> None:
        """Hide or show the part of a button."""
        with self._lock:
            if number < len(self._rows):  # the button may have gone since
                self._hidden ^= {self._rows[number].name}
                self._show_parts()

    def _is_shown(self, name: str) -> bool:
        return name not in self._hidden and self._only.value in (ALL_PARTS, name)

    def _group_is_shown(self, group: Group) -> bool:
        """Whether the part of a group is neither hidden nor left out for another."""
        if self.selected is not None or self._heat is not None:
            return True
        return all(self._is_shown(row.name) for row in self._rows if row.label == group.label)

    def _show_parts(self) -> None:
        """Hide and show what is drawn, and say so on the buttons."""
        with self._lock, self._server.atomic():
            self._drawing.show(self._group_is_shown, self._original.value)
            for number, button in enumerate(self._buttons):
                button.visible = number < len(self._rows)
                if button.visible:
                    row = self._rows[number]
                    shown = self._is_shown(row.name)
                    button.color = as_rgb(row.color) if shown else HIDDEN_COLOR
                    button.label = f"{row.name} {share_text(row)}" + ("" if shown else " (hidden)")

    # --- what is drawn ---

    def _groups(self) -> list[Group]:
        if self.selected is not None:
            return heat_groups(self._shape.like(self.selected.position).elements)
        if self.result is None:
            count = len(self._shape.shape.points if self._shape.shape.faces is None else self._shape.shape.faces)
            return part_groups(np.full(count, -1, np.int32), 0)
        if self._heat is not None:
            return heat_groups(self._heat.elements, self._none.value)
        return part_groups(self.result.element_labels, len(self.result.part_names))

    def _redraw(self) -> None:
        with self._lock, self._server.atomic():
            self._drawing.draw(self._groups())
            self._show_parts()

    # --- files ---

    def _add_source(self, name: str, source: Source) -> str:
        """Add it to the list of shapes, under a name of its own."""
        number, own = 1, name
        while own in self._sources:
            number += 1
            own = f"{name} ({number})"
        self._sources[own] = source
        return own

    def _open_source(self, name: str) -> OpenShape:
        if name not in self._open:
            from pa3d.io import load

            source = self._sources[name]
            shape = source if isinstance(source, Shape) else load(source, **self._load_options)
            if len(self._open) >= KEPT_OPEN:
                del self._open[next(iter(self._open))]
            self._open[name] = self._segmenter.open(shape, **self._open_options)
        return self._open[name]

    def _choose(self, name: str) -> None:
        """Show another of the sources; one that cannot be read is named in the status line."""
        with self._lock:
            if name == self._name:
                return
            try:
                self._shape = self._open_source(name)
            except InputError as error:
                self._status.content = _small(f"<b>{escape(str(error))}</b>")
                self._files.value = self._name
                return
            self._name = name
            self._show_source()

    def _show_source(self) -> None:
        """Draw a shape for the first time."""
        self.selected, self._hidden = None, set()
        self._describe()
        with self._server.atomic():
            self._drawing.set_shape(self._shape.shape)
            self._update()

    def _receive(self, file: Any) -> None:
        """Show a file that was uploaded. It is kept in a temporary folder, under its name alone."""
        name = Path(file.name.replace("\\", "/")).name.strip(".") or "upload"
        if name.lower().endswith(NOT_UPLOADED):
            self._status.content = _small(f"<b>{escape(name)}: files that refer to others cannot be uploaded</b>")
            return
        with self._lock:
            folder = Path(tempfile.mkdtemp(dir=self._uploads.name))
            (folder / name).write_bytes(file.content)
            name = self._add_source(name, folder / name)
            try:
                self._open_source(name)
            except InputError as error:
                del self._sources[name]
                self._status.content = _small(f"<b>{escape(str(error))}</b>")
                return
            self._files.options = tuple(self._sources)
            self._files.value = name
            self._choose(name)

    def _send(self, client: Any) -> None:
        """Download the files of `pa3d segment` as a ZIP file."""
        with self._lock:
            result = self.result
        if result is None:
            self._status.content = _small("<b>type the names of parts first</b>")
            return
        client.send_file_download(
            f"{Path(result.shape.name).stem}-parts.zip", zipped(result_files(result)), save_immediately=True
        )

    # --- clicks ---

    def _click(self, event: Any) -> None:
        with self._lock:
            hit = self._drawing.hit(event.ray_origin, event.ray_direction, self._group_is_shown)
            if hit is not None:
                self._select(hit)

    def _select(self, hit: Hit | None) -> None:
        """Show what is like a place, its part and its likely names; None shows the parts again."""
        with self._lock:
            self.selected = hit
            self._list_parts()
            self._redraw()
            self._describe()

    def _describe(self) -> None:
        self._clear.visible = self.selected is not None
        if self.selected is None:
            self._clicked.content = ""
            return
        lines = []
        element, result = self.selected.element, self.result
        if result is not None:
            label = int(result.element_labels[element])
            if label < 0:
                lines.append("none of the parts")
            else:
                instances = len(result.parts[label].instances)
                number = int(result.element_instances[element]) + 1
                score = float(result.element_scores[element, label])
                lines.append(f"<b>{escape(result.part_names[label])}</b>, {number} of {instances}, score {score:.2f}")
        for title, words in self._known_words().items():
            names = self._shape.likely_names(self.selected.position, words)
            lines.append(f"{title}: " + ", ".join(f"{escape(name)} {chance:.2f}" for name, chance in names))
        lines.append("bright: what is like this place")
        self._clicked.content = _small("<br>".join(lines))

    def _known_words(self) -> dict[str, list[str]]:
        """The words that were typed, and names of parts of many things, by what they are."""
        words = {} if self.result is None else {"of your names": self.result.part_names}
        if self._segmenter.checkpoint.text_space == EMBEDDED:  # hundreds of names would take a large encoder minutes
            from pa3d.part_tree import default_vocabulary

            words["likely names"] = list(default_vocabulary())
        return words


def _small(html: str) -> str:
    return f'<div style="font-size: 0.8em; padding: 0.3em 0.8em; overflow-wrap: anywhere">{html}</div>'


def zipped(files: dict[str, bytes]) -> bytes:
    """A ZIP file; equal files give equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def view(
    result: Segmentation | Shape | str | Path | Sequence[Any],
    segmenter: Segmenter | None = None,
    **options: Any,
) -> Viewer:
    """Show a result, a shape, a file or several of them in the browser; in a notebook, below the cell.

    result: of a Segmentation, the names and the options that it was made with are shown first.
    segmenter: None uses the embedded model. options: those of Viewer, such as parts and port.
    Returns the Viewer, which runs until its `stop`. Raises InputError if viser is not installed.
    """
    items: list[Any] = list(result) if isinstance(result, list | tuple) else [result]
    if isinstance(result, Segmentation):
        made = {key: result.settings[key] for key in MADE_WITH if key in result.settings}
        up = {"up": "auto"} if result.settings.get("up") == "auto" else {}
        options = {"parts": result.part_names, **made, **up, **options}
    sources = [item.shape if isinstance(item, Segmentation) else item for item in items]
    sources = [Path(source) if isinstance(source, str) else source for source in sources]
    return Viewer(segmenter or Segmenter.from_pretrained(), sources, **options)
