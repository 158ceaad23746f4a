"""pa3d search."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pa3d.cli.arguments import Argument, Option, echo
from pa3d.cli.options import Debug, Json, Model, Threads, part_names
from pa3d.cli.output import check_can_write, print_files, print_json
from pa3d.cli.progress import spinner
from pa3d.errors import InputError

if TYPE_CHECKING:
    from pa3d.search import Hit


def search(
    words_and_index: Annotated[
        list[str],
        Argument(
            metavar="[WORDS] INDEX",
            help='What to look for, such as "office chair with arms", and the index that pa3d embed wrote.',
            show_default=False,
        ),
    ],
    *,
    like: Annotated[
        Path | None, Option(metavar="FILE", help="Instead of words: find shapes like this mesh or point cloud.")
    ] = None,
    part: Annotated[
        str | None,
        Option(
            metavar="NAMES",
            help='Find shapes that have these parts: "leg", or "arm, wheel". With --like, parts like those of FILE.',
        ),
    ] = None,
    top: Annotated[int, Option(min=1, metavar="N", help="How many shapes to list.")] = 10,
    sheet: Annotated[
        Path | None,
        Option(metavar="FILE.png", help="Also write a contact sheet: pictures of the shapes that were found."),
    ] = None,
    model: Model = None,
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find shapes of an index by words, by another shape, or by their parts.

    Words are compared with whole shapes. "X with Y and Z" also looks for the parts Y and Z, each in the region of the
    shape that fits it best. docs/search.md says what the score is.
    """
    *words, path = words_and_index
    query = " ".join(words)
    if not query and like is None and part is None:
        raise InputError(f'nothing to look for in {path}; give words before it, such as "chair", or --like or --part')
    if query and like is not None:
        raise InputError(f"words ({query!r}) and --like were both given; give one of them")
    if sheet is not None:
        if sheet.suffix.lower() != ".png":
            raise InputError(f"--sheet {sheet}: expected a name that ends in .png")
        check_can_write(sheet.parent)
    names = part_names(part) if part is not None else []
    with spinner("searching", enabled=not json):
        from pa3d.search import ShapeIndex, parse_query

        index = ShapeIndex.load(path, model, threads)
        thing = ""
        if like is not None:
            hits = index.like(like, names or None, top)
        elif query:
            thing = parse_query(query)[0]
            hits = index.search(query, top, parts=names)
            names = [part.name for part in hits[0].parts]
        else:
            hits = index.search_part(names, top)
        if sheet is not None:
            from pa3d.atomic import atomic_write
            from pa3d.search.sheet import contact_sheet

            parts = f" with {', '.join(names)}" if names else ""
            title = (thing or (f"like {like.name}" if like is not None else "shapes")) + parts
            picture = contact_sheet(index, hits, title)
            sheet.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(sheet) as file:
                file.write(picture)
    if json:
        asked = {"words": thing or None, "like": like, "parts": names}
        rows = [_row(hit) for hit in hits]
        print_json({"index": path, "shapes": len(index), "query": asked, "results": rows, "sheet": sheet})
        return
    _print_hits(hits, names)
    if sheet is not None:
        print_files(sheet.parent, sheet.name)


def _row(hit: Hit) -> dict[str, Any]:
    parts = [{"name": part.name, "score": round(part.score, 6), "share": round(part.share, 6)} for part in hit.parts]
    whole = None if hit.whole is None else round(hit.whole, 6)
    return {"file": str(hit.path), "score": round(hit.score, 6), "whole": whole, "parts": parts}


def _print_hits(hits: list[Hit], names: list[str]) -> None:
    """A table: the score, that of the whole and of each part, and the file, whose path is never shortened."""
    both = bool(names) and hits[0].whole is not None
    headings = ["score", *(["whole"] if both else []), *(names if both or names[1:] else [])]
    widths = [max(len(heading), 6) for heading in headings]
    echo("  ".join([*(f"{heading:>{width}}" for heading, width in zip(headings, widths, strict=True)), "file"]))
    for hit in hits:
        parts = [part.score for part in hit.parts] if both or names[1:] else []
        values = [hit.score, *([hit.whole] if both else []), *parts]
        cells = (f"{value:{width}.3f}" for value, width in zip(values, widths, strict=True))
        echo("  ".join([*cells, _shown(hit.path)]))


def _shown(path: Path) -> str:
    """The path from the current folder, for a file below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
