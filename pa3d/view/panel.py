"""The controls of the page, from top to bottom; viewer.py says what they do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from pa3d.report import PartRow, share_text
from pa3d.view.drawing import SIDES
from pa3d.view.scene import Rgb, as_rgb

ALL_PARTS = "all parts"
HIDDEN_COLOR: Rgb = (222, 226, 230)
CHOSEN_COLOR: Rgb = (61, 115, 197)
# What a click does, by what the page calls it; and how a selection is shown.
CLICKS = {"selects a part": "select", "adds to it": "add", "takes away": "take away"}
IN_COLOR, ALONE, HIDDEN, LIKE_IT = "in colour", "alone", "hidden", "what is like it"
START_LEVEL = 0.4  # where the slider of granularity stands at first


class Panel:
    """Handles of viser by what they are for. What is written in them is HTML that `write` made safe."""

    def __init__(
        self, gui: Any, *, parts: str, category: str, none: float, level: float | None, sources: Sequence[str]
    ) -> None:
        self._gui = gui
        gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
        self.parts = gui.add_text("Parts", parts, hint='Names such as "seat, back, leg", or one word to see its heat.')
        self.name_parts = gui.add_button(
            "Name the parts", hint="Finds what the shape is, and the names of the parts that it has."
        )
        self.level = gui.add_slider(
            "Granularity", 0.0, 1.0, 0.01, START_LEVEL if level is None else level,
            hint="Divides the shape without your names, from 2 parts at the left to 64 at the right.",
        )  # fmt: skip
        self.to_words = gui.add_button("Back to words", visible=level is not None)
        self._status = gui.add_html("")
        self._kinds = gui.add_folder("It may be: click another", visible=False)
        self._selection = gui.add_folder("Selection", visible=False)
        with self._selection:
            self._clicked = gui.add_html("")
            self.show = gui.add_dropdown("Show", (IN_COLOR, ALONE, HIDDEN, LIKE_IT))
            self.click = gui.add_dropdown(
                "A click", tuple(CLICKS), hint="With shift a click adds, and with ctrl it takes away."
            )
            self.download_selection = gui.add_button("Download the selection")
            self.clear = gui.add_button("Clear the selection")
        self.original = gui.add_checkbox("Original look", False)
        self.only = gui.add_dropdown("Only", (ALL_PARTS,), hint="Shows one part alone.")
        self._list = gui.add_folder("Parts: click to hide")
        with gui.add_folder("Options", expand_by_default=False):
            self.none = gui.add_slider(
                "Threshold", 0.0, 1.0, 0.01, none,
                hint="Less sure than this is grey: none of the parts (--none). Parts without names have none.",
            )  # fmt: skip
            self.category = gui.add_text("Category", category, hint="What the object is, if you know it (--category).")
            self.views = gui.add_button_group("View", SIDES)
        with gui.add_folder("Files", expand_by_default=len(sources) > 1):
            self.files = gui.add_dropdown("Shape", tuple(sources))
            self.upload = gui.add_upload_button("Open another file")
            self.download = gui.add_button("Download results")
        self._part_buttons = Buttons(gui, self._list)
        self._kind_buttons = Buttons(gui, self._kinds)

    def on_part(self, clicked: Callable[[int], None]) -> None:
        """clicked: is called with the number of a row of `show_rows`."""
        self._part_buttons.clicked = clicked

    def on_kind(self, clicked: Callable[[int], None]) -> None:
        """clicked: is called with the number of a category of `show_kinds`."""
        self._kind_buttons.clicked = clicked

    def write(self, lines: Sequence[str], problem: str = "") -> None:
        """The status: lines of text, and in bold what went wrong."""
        parts = [escape(line) for line in lines] + ([f"<b>{escape(problem)}</b>"] if problem else [])
        self._status.content = small_html(parts)

    def show_rows(self, rows: Sequence[PartRow], is_shown: Callable[[str], bool]) -> None:
        """A button for each part, in its colour, which is grey if the part is hidden."""
        self._part_buttons.show(
            [
                (f"{row.name} {share_text(row)}", as_rgb(row.color))
                if is_shown(row.name)
                else (f"{row.name} {share_text(row)} (hidden)", HIDDEN_COLOR)
                for row in rows
            ]
        )

    def list_parts(self, names: Sequence[str], shown: bool) -> None:
        """The parts of which one can be shown alone; shown: whether they are what is drawn."""
        options = (ALL_PARTS, *names)
        if self.only.value not in options:
            self.only.value = ALL_PARTS
        if self.only.options != options:
            self.only.options = options
        self._list.visible = self.only.visible = bool(names) and shown

    def show_kinds(self, kinds: Sequence[tuple[str, float]], chosen: str | None) -> None:
        """What the shape may be: names and probabilities, and which was taken."""
        self._kinds.visible = bool(kinds)
        self._kind_buttons.show(
            [(f"{name} {100 * p:.0f} %", CHOSEN_COLOR if name == chosen else HIDDEN_COLOR) for name, p in kinds]
        )

    def describe(self, lines: Sequence[str] | None, *, has_mask: bool = True) -> None:
        """What is selected, in HTML; None: nothing. has_mask: whether it is a part, or only a place."""
        self._selection.visible = lines is not None
        if lines is None:  # the next click begins anew
            self.click.value = next(iter(CLICKS))
        self.show.visible = self.click.visible = self.download_selection.visible = has_mask
        self._clicked.content = small_html(lines or [])


class Buttons:
    """Buttons in a folder that change their text. There may be more than are seen, because making one takes time."""

    def __init__(self, gui: Any, folder: Any) -> None:
        self._gui, self._folder = gui, folder
        self._buttons: list[Any] = []
        self.clicked: Callable[[int], None] = lambda number: None

    def show(self, texts: Sequence[tuple[str, Rgb]]) -> None:
        while len(self._buttons) < len(texts):
            with self._folder:
                self._buttons.append(self._gui.add_button(""))
            number = len(self._buttons) - 1
            self._buttons[-1].on_click(lambda _, number=number: self.clicked(number))
        for number, button in enumerate(self._buttons):
            button.visible = number < len(texts)
            if button.visible:
                button.label, button.color = texts[number]


def small_html(lines: Sequence[str]) -> str:
    text = "<br>".join(lines)
    return f'<div style="font-size: 0.8em; padding: 0.3em 0.8em; overflow-wrap: anywhere">{text}</div>' if text else ""
