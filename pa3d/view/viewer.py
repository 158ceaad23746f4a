"""The page of the viewer: what it shows, and what happens when someone types, moves a slider or clicks."""

from __future__ import annotations

import io
import threading
import time
import zipfile
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from pa3d.errors import InputError
from pa3d.instances import element_weights
from pa3d.names import split_names
from pa3d.part_tree import default_vocabulary
from pa3d.report import result_files, size_text
from pa3d.segment import DEFAULT_SAMPLE, Segmenter
from pa3d.segmentation import Segmentation
from pa3d.shape import Shape
from pa3d.text import EMBEDDED
from pa3d.view.answers import Answer, Question, answer, level_of, of_result, plain
from pa3d.view.drawing import Drawing
from pa3d.view.panel import ALL_PARTS, ALONE, CLICKS, HIDDEN, IN_COLOR, LIKE_IT, Panel
from pa3d.view.scene import BESIDE_COLOR, ON_COLOR, Group, Hit, heat_groups, selected_groups, without
from pa3d.view.selection import Clicks, Selection, select
from pa3d.view.server import HOST, start_server, stop_server
from pa3d.view.sources import Source, Sources

PORT = 8080
MADE_WITH: tuple[str, ...] = ("category", "none", "sample", "seed")  # settings of a result that `view` takes over
MODIFIED = {"shift": "add", "cmd/ctrl": "take away"}  # what a click does with a key held


class Viewer:
    """A page on 127.0.0.1 that shows shapes and what any words name on them.

    address: of the page. result: the Segmentation that the page shows, of words or of a level without names; None while
    it shows neither. selected: the face or point that was clicked last, and selection: the part that was selected; both
    None after "Clear the selection".
    May be used as a context manager, which stops the server at its end.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        sources: Sequence[Source],
        *,
        parts: Sequence[str] = (),
        level: float | None = None,
        category: str | None = None,
        none: float | None = None,
        sample: int | None = DEFAULT_SAMPLE,
        up: str | None = None,
        seed: int = 0,
        columns: str | None = None,
        port: int = PORT,
    ) -> None:
        """sources: files and shapes, at least one; the first is shown. port: or the next one that is free.
        level: begin with the shape divided without names, as in OpenShape.parts.

        The others are as in Segmenter.segment, and columns as in pa3d.io.load.
        Raises InputError if viser is not installed, or the first source cannot be read.
        """
        if level is not None and not 0 <= level <= 1:
            raise InputError(f"level is {level!r}; expected a number from 0 (coarse) to 1 (fine)")
        load_options: dict[str, Any] = {"up": None if up == "auto" else up, "nan": "skip", "columns": columns}
        open_options: dict[str, Any] = {"sample": sample, "up": "auto" if up == "auto" else None, "seed": seed}
        self._segmenter = segmenter
        self._sources = Sources(segmenter, sources, load_options, open_options)
        self._lock = threading.RLock()
        self._asked = 0  # counts changes, so that only the last of several that wait is computed
        self._divides = level is not None  # whether the slider of granularity or the words were changed last
        self._name = self._sources.names[0]
        self._shape = self._sources.open(self._name)
        self._answer: Answer = plain(self._shape.shape, "")
        self._ready: tuple[Question, Answer, float] | None = None  # computed before it was asked for, and in how long
        self._kinds: list[tuple[str, float]] = []  # what the shape may be, as `propose` said
        self.selection: Selection | None = None
        self._hidden: set[str] = set()  # names of parts
        self._stopped = threading.Event()
        self._server = start_server(port)
        self._drawing = Drawing(self._server, self._click)
        self.address = f"http://{HOST}:{self._server.get_port()}"
        self._panel = Panel(
            self._server.gui, parts=", ".join(parts), category=category or "", none=none or 0.0, level=level,
            sources=self._sources.names,
        )  # fmt: skip
        self._connect()
        self._show_source()

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def result(self) -> Segmentation | None:
        return self._answer.result

    @property
    def selected(self) -> Hit | None:
        return None if self.selection is None else self.selection.last

    def wait(self) -> None:
        """Return when `stop` was called, from another thread. Ctrl-C raises KeyboardInterrupt."""
        while not self._stopped.wait(3600):
            pass

    def stop(self) -> None:
        """Stop the server and remove what was uploaded."""
        if not self._stopped.is_set():
            self._stopped.set()
            stop_server(self._server)
            self._sources.remove_uploads()

    def _repr_html_(self) -> str:
        return f'<iframe src="{self.address}" width="100%" height="600" style="border: 0"></iframe>'

    def _connect(self) -> None:
        """Say what the controls do."""
        panel = self._panel
        for handle in (panel.parts, panel.none, panel.category):
            handle.on_update(lambda _: self._changed(divides=False))
        panel.level.on_update(lambda _: self._changed(divides=True))
        panel.to_words.on_click(lambda _: self._changed(divides=False))
        panel.name_parts.on_click(lambda _: self._propose(panel.category.value.strip() or None))
        panel.on_kind(lambda number: self._propose(self._kinds[number][0]))
        panel.on_part(self._toggle)
        panel.original.on_update(lambda _: self._show_parts())
        panel.only.on_update(lambda _: self._show_parts())
        panel.show.on_update(lambda _: self._redraw())
        panel.clear.on_click(lambda _: self._select(None))
        panel.download_selection.on_click(lambda event: self._send_selection(event.client))
        panel.files.on_update(lambda _: self._choose(panel.files.value))
        panel.views.on_click(lambda event: self._drawing.look(event.client, panel.views.value))
        panel.upload.on_upload(lambda event: self._receive(panel.upload.value))
        panel.download.on_click(lambda event: self._send(event.client))
        self._server.on_client_connect(lambda client: self._drawing.look(client))

    # --- what is asked ---

    def _question(self) -> Question:
        panel = self._panel
        if self._divides:
            return Question(level=panel.level.value)
        return Question(
            tuple(split_names(panel.parts.value)), panel.category.value.strip() or None, float(panel.none.value)
        )

    def _changed(self, divides: bool) -> None:
        """Compute and draw again, unless there is a later change that does it."""
        self._asked += 1
        mine = self._asked
        with self._lock:
            if mine == self._asked:
                self._divides = divides
                self._update()

    def _update(self, problem: str = "") -> None:
        """Answer what is asked, and draw it. What was asked last is what is seen, so nothing stays selected."""
        panel, question = self._panel, self._question()
        start = time.perf_counter()
        try:
            if self._ready is not None and self._ready[0] == question:
                found, start = self._ready[1], start - self._ready[2]
            else:
                found = answer(self._shape, question, self._weights)
        except InputError as error:
            found, problem = plain(self._shape.shape, ""), str(error)
        spent = 1000 * (time.perf_counter() - start)
        self._ready = None
        lines = [f"{self._shape.shape.name}: {size_text(self._shape.shape)}"]
        if found.labels is not None or found.heat is not None:
            lines.append(f"{found.text} in {spent:.0f} ms")
            self._drawing.set_up(found.up)
        elif found.text:
            lines.append(found.text)
        if found.absent:
            lines.append(f"it does not seem to have: {', '.join(found.absent)}")
        with self._server.atomic():
            panel.write(lines, problem)
            panel.to_words.visible = self._divides
            panel.none.disabled = self._divides
            names = [row.name for row in found.rows]
            if names != [row.name for row in self._answer.rows]:
                self._hidden = set() if self._divides else self._hidden & set(names)
                if self._divides:  # "leg 2" is another part than before
                    panel.only.value = ALL_PARTS
            self._answer, self.selection = found, None
            self._describe()
            self._redraw()

    def _propose(self, category: str | None) -> None:
        """Find the names of the parts, of the likeliest category or of the one that is given, and ask for them."""
        with self._lock:
            if category is None and self._segmenter.checkpoint.shape_head is None:
                self._panel.write(
                    [self._shape.shape.name],
                    "This model cannot say what a shape is. Write what it is in Options, Category, and press again: "
                    "then the parts of such a thing are named.",
                )
                return
            start, none = time.perf_counter(), float(self._panel.none.value)
            try:
                result = self._shape.propose(category=category, none=none or None)
            except InputError as error:
                self._panel.write([self._shape.shape.name], str(error))
                return
            proposed = result.settings["proposed"]
            if proposed["categories"]:
                self._kinds = [(name, probability) for name, probability in proposed["categories"]]
            self._panel.show_kinds(self._kinds, proposed["category"])
            if self._panel.category.value.strip() and category is not None:
                self._panel.category.value = category
            question = Question(tuple(result.part_names), self._panel.category.value.strip() or None, none)
            if question.category is None and len(result.part_names) > 1:
                found = of_result(result, self._weights)
                self._ready = question, found, time.perf_counter() - start
            self._divides = False
            asked = self._asked
            self._panel.parts.value = ", ".join(result.part_names)
            if asked == self._asked:  # the field had these names before, and nothing was computed
                self._update()

    # --- parts ---

    def _toggle(self, number: int) -> None:
        """Hide or show the part of a button."""
        with self._lock:
            if number < len(self._answer.rows):  # the button may have gone since
                self._hidden ^= {self._answer.rows[number].name}
                self._show_parts()

    def _is_shown(self, name: str) -> bool:
        return name not in self._hidden and self._panel.only.value in (ALL_PARTS, name)

    def _group_is_shown(self, group: Group) -> bool:
        """Whether the part of a group is neither hidden nor left out for another."""
        if self._answer.heat is not None or (self.selection is not None and self._selection_shown() != HIDDEN):
            return True
        return all(self._is_shown(row.name) for row in self._answer.rows if row.label == group.label)

    def _show_parts(self) -> None:
        """Hide and show what is drawn, and say so on the buttons."""
        with self._lock, self._server.atomic():
            rows = self._answer.rows
            self._panel.list_parts([row.name for row in rows], self.selection is None)
            self._drawing.show(self._group_is_shown, self._panel.original.value)
            self._panel.show_rows(rows, self._is_shown)

    def _groups(self) -> list[Group]:
        if self.selection is None:
            return self._answer.groups
        shown, mask = self._selection_shown(), self.selection.mask
        if mask is None or shown == LIKE_IT:
            return heat_groups(self._shape.like(self.selection.last.position).elements)
        return without(self._answer.groups, mask) if shown == HIDDEN else selected_groups(mask, shown == ALONE)

    def _redraw(self) -> None:
        with self._lock, self._server.atomic():
            self._drawing.draw(self._groups())
            clicks = Clicks()  # none are marked where the selection is hidden
            if self.selection is not None and self._selection_shown() != HIDDEN:
                clicks = self.selection.clicks
            marks = [(hit.position, ON_COLOR) for hit in clicks.positive]
            self._drawing.mark([*marks, *((hit.position, BESIDE_COLOR) for hit in clicks.negative)])
            self._show_parts()

    # --- files ---

    def _choose(self, name: str) -> None:
        """Show another of the sources; one that cannot be read is named in the status line."""
        with self._lock:
            if name == self._name:
                return
            try:
                self._shape = self._sources.open(name)
            except InputError as error:
                self._panel.write([], str(error))
                self._panel.files.value = self._name
                return
            self._name = name
            self._show_source()

    def _show_source(self) -> None:
        """Draw a shape for the first time."""
        self._hidden, self._kinds, self._ready = set(), [], None
        self._weights = element_weights(self._shape.shape)
        missing = self._shape.shape.missing()
        if missing is not None and self._shape.shape.faces is None:
            self._weights[missing] = 0
        with self._server.atomic():
            self._panel.show_kinds([], None)
            self._drawing.set_shape(self._shape.shape)
            self._update()

    def _receive(self, file: Any) -> None:
        """Show a file that was uploaded."""
        with self._lock:
            try:
                name = self._sources.add_upload(file.name, file.content)
            except InputError as error:
                self._panel.write([], str(error))
                return
            self._panel.files.options = self._sources.names
            self._panel.files.value = name
            self._choose(name)

    def _send(self, client: Any) -> None:
        """Download the files of `pa3d segment` as a ZIP file."""
        with self._lock:
            result = self.result
        if result is None:
            self._panel.write([], "type the names of parts first, or move the slider of granularity")
            return
        _download(client, f"{Path(result.shape.name).stem}-parts.zip", result_files(result))

    # --- clicks ---

    def _click(self, event: Any) -> None:
        kind = MODIFIED.get(event.modifier) or CLICKS[self._panel.click.value]
        with self._lock:
            hit = self._drawing.hit(event.ray_origin, event.ray_direction, self._group_is_shown)
            if hit is None:
                return
            clicks = Clicks() if self.selection is None else self.selection.clicks
            try:
                self._select(select(self._shape, clicks.with_click(hit, kind), self._weights), begins=kind == "select")
            except InputError as error:
                self._panel.write([], str(error))

    def _select(self, selection: Selection | None, begins: bool = True) -> None:
        """Show what is selected; None shows again what was asked.

        begins: whether it is not the earlier selection with another click; it is then shown as a whole.
        """
        with self._lock, self._server.atomic():
            self.selection = selection
            if begins and self._panel.show.value != LIKE_IT:
                self._panel.show.value = IN_COLOR
            self._describe()
            self._redraw()

    def _selection_shown(self) -> str:
        """How the selection is shown: one of the choices of the panel."""
        without_part = self.selection is not None and self.selection.mask is None
        return LIKE_IT if without_part else str(self._panel.show.value)

    def _describe(self) -> None:
        """Write what the selection is: its share and likely names, and what was asked at its place."""
        selection = self.selection
        if selection is None:
            self._panel.describe(None)
            return
        asked = self._asked_at(selection.last.element)
        lines = [escape(asked)] if asked else []
        if selection.mask is None:
            lines.append(f"no part can be selected: {escape(selection.note)}")
            lines.append("bright: what is like this place")
        else:
            lines.insert(0, f"<b>selected: {100 * selection.share:.1f} %</b>")
        names = list(selection.names)
        if not names and self._segmenter.checkpoint.text_space == EMBEDDED:
            names = self._shape.likely_names(selection.last.position, list(default_vocabulary()))
        if names:
            lines.append("likely names: " + ", ".join(f"{escape(name)} {chance:.2f}" for name, chance in names))
        self._panel.describe(lines, has_mask=selection.mask is not None)

    def _asked_at(self, element: int) -> str:
        """What the page says of a face or point, whatever is selected."""
        found = self._answer
        if found.heat is not None:
            return f"{found.names[0]}: {found.heat[element]:.2f} here"
        if found.labels is None:
            return ""
        label = int(found.labels[element])
        if label < 0:
            return "none of the parts here"
        if self._divides or self.result is None:
            return f"here: {found.names[label]}"
        numbers = self.result.element_instances
        number, instances = int(numbers[element]) + 1, int(numbers[found.labels == label].max()) + 1
        score = float(self.result.element_scores[element, label])
        return f"{found.names[label]}, {number} of {instances}, score {score:.2f}"

    def _send_selection(self, client: Any) -> None:
        """Download the selection as `pa3d segment --split` writes a result: the shape with it named, and it alone."""
        with self._lock:
            if self.selection is None or self.selection.mask is None:
                return
            result = self.selection.segmentation(self._shape)
        _download(client, f"{Path(result.shape.name).stem}-selection.zip", result_files(result, split=True))


def _download(client: Any, name: str, files: dict[str, bytes]) -> None:
    client.send_file_download(name, zipped(files), save_immediately=True)


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
        if "level" in result.settings:  # divided without names
            asked: dict[str, Any] = {"level": level_of(len(result.part_names))}
        else:
            asked = {"parts": result.part_names}
        options = {**asked, **made, **up, **options}
    sources = [item.shape if isinstance(item, Segmentation) else item for item in items]
    sources = [Path(source) if isinstance(source, str) else source for source in sources]
    return Viewer(segmenter or Segmenter.from_pretrained(), sources, **options)
