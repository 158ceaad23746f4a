"""report.html of an evaluation: one file without scripts, which loads nothing from the network."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.evaluate.datasets import Dataset
from pa3d.evaluate.methods import Method
from pa3d.evaluate.protocols import PreparedShape, Protocol, prepare
from pa3d.evaluate.score import predict
from pa3d.evaluate.summary import BASELINES, Record
from pa3d.evaluate.table import METRIC_NAMES, interval_text, method_text, percent

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328;
  max-width: 1080px; margin: 40px auto; padding: 0 24px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 40px 0 10px; }
h3 { font-size: 15px; margin: 20px 0 6px; }
p, figcaption { color: #57606a; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 14px 3px 0; text-align: right; border-bottom: 1px solid #e5e7eb; }
th { font-weight: 600; color: #57606a; }
th:first-child, td:first-child { text-align: left; }
.confusion { margin-top: 8px; }
.confusion td { min-width: 44px; padding: 4px; text-align: center; border: 1px solid #fff; }
.confusion th { padding: 4px; text-align: center; }
figure { margin: 0 0 20px; }
figure img { max-width: 100%; }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin: 0 5px 0 14px; }
svg text { font: 13px system-ui, sans-serif; fill: #1f2328; }
"""
BASELINE_NAMES = {
    "oracle": "ceiling: ground-truth label per patch",
    "majority": "most frequent part",
    "random": "uniform at random",
}
BLUE, RULE, INK = "#3D73C5", "#E5E7EB", "#1F2328"
MAX_FAILURES = 20

Results = dict[str, Any]


def report_html(results: Results, timings: dict[str, Any] | None, pictures: Sequence[tuple[str, bytes]] = ()) -> str:
    """The page of a results.json.

    timings: what timings.json holds. pictures: captions in HTML and PNGs, from `shape_pictures`.
    """
    head, summary, protocol = results["dataset"], results["summary"], results["protocol"]
    title = f"{method_text(results['method'])} on {head['name']}"
    description = f"{summary['shapes']:,} shapes of split {head['split']}, protocol {protocol['name']}."
    sections = [
        f"<h1>{escape(title)}</h1><p>{escape(description)} {escape(protocol['description'])}</p>",
        _failures(results["failed"]),
        f"<h2>Results</h2>{_metrics(summary)}",
        f"<h2>By category</h2>{_bars(results['categories'])}",
        f"<h2>Seconds per shape</h2>{_timings(timings)}",
        "<h2>Best, median and worst shapes</h2>" if pictures else "",
        *(_picture(caption, png) for caption, png in pictures),
        "<h2>Parts and their predictions</h2>",
        "<p>Rows are true parts, columns what was predicted, in percent of the row's points.</p>",
        *(_category(name, metrics) for name, metrics in results["categories"].items()),
        f"<h2>Rules</h2>{_rules(results)}",
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(sections)}</body></html>\n"
    )


def shape_pictures(results: Results, dataset: Dataset, method: Method) -> list[tuple[str, bytes]]:
    """Captions and pictures of the best, the median and the worst shape: truth on the left, prediction on the right.

    The method predicts them again.
    """
    ranked: list[Record] = sorted(results["shapes"], key=lambda record: (record["miou"], record["id"]))
    chosen = {"best": ranked[-1], "median": ranked[len(ranked) // 2], "worst": ranked[0]}
    try:
        protocol = Protocol(**results["protocol"])
    except TypeError as error:
        raise InputError(f"the results are of another version of pa3d ({error}); evaluate again") from error
    pictures = []
    for rank, record in chosen.items():
        prepared = prepare(dataset.load(dataset.ids.index(record["id"])), protocol, dataset)
        png = side_by_side(prepared, predict(method, prepared).predicted)
        pictures.append((_caption(rank, record), png))
    return pictures


def side_by_side(prepared: PreparedShape, predicted: NDArray[np.int32]) -> bytes:
    """Truth and prediction of a shape, each from two sides, as PNG."""
    from PIL import Image

    from pa3d.colors import UNLABELED_COLOR, part_colors, to_rgb
    from pa3d.report.files import to_y_up
    from pa3d.report.picture import Drawable, draw_views, point_normals

    points = to_y_up(prepared.points, prepared.cloud.up).astype(np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    unit = ((points - (low + high) / 2) / (np.linalg.norm(high - low) / 2)).astype(np.float32)
    normals, spacing = point_normals(unit)
    colors = (to_rgb([UNLABELED_COLOR, *part_colors(len(prepared.classes))]) / 255).astype(np.float32)
    tiles = []
    for labels in (prepared.truth, predicted):
        drawable = Drawable(unit, None, normals, labels + np.int32(1), colors, radius=0.75 * spacing)
        tiles += draw_views(drawable)[:2]
    image = Image.fromarray(np.concatenate(tiles, axis=1))
    image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()


def _caption(rank: str, record: Record) -> str:
    from pa3d.colors import part_colors

    parts = "".join(
        f'<span class="key" style="background:{color}"></span>{escape(name)} {percent(iou)}'
        for name, color, iou in zip(record["parts"], part_colors(len(record["parts"])), record["iou"], strict=True)
    )
    ceiling = percent(record["baselines"]["oracle"])
    return (
        f"<b>{rank}</b>: {escape(record['id'])} ({escape(record['category'])}), "
        f"mIoU {percent(record['miou'])}, ceiling {ceiling}<br>{parts}"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _metrics(summary: dict[str, Any]) -> str:
    rows = []
    for key, label in METRIC_NAMES.items():
        mark = " (headline)" if key == summary["headline"]["name"] else ""
        rows.append([label + mark, percent(summary[key]["value"]), interval_text(summary[key])])
    rows.append(["expected calibration error", percent(summary["calibration_error"]), ""])
    if "rotations" in summary:
        rotated = summary["rotations"]
        rows.append(["mIoU over rotations", percent(rotated["mean"]), f"worst {percent(rotated['worst'])}"])

    def pairs(names: dict[str, str], metrics: dict[str, Any]) -> list[list[str]]:
        return [
            [label, percent(metrics[name]["miou"]), percent(metrics[name]["ciou"])] for name, label in names.items()
        ]

    rules = {rule: f"absent parts: {rule}" for rule in summary["by_rule"]}
    return (
        _table(["%", "", "95 % interval"], rows)
        + "<h3>Ceiling and baselines</h3>"
        + _table(["%", "mIoU", "cIoU"], pairs({b: BASELINE_NAMES[b] for b in BASELINES}, summary["baselines"]))
        + "<h3>The same predictions under each rule for absent parts</h3>"
        + _table(["%", "mIoU", "cIoU"], pairs(rules, summary["by_rule"]))
    )


def _bars(categories: dict[str, Any]) -> str:
    """Bars with the mIoU of each category, and a tick at the ceiling."""
    left, width, pitch = 170, 600, 26
    rows = []
    ranked = sorted(categories.items(), key=lambda item: -(item[1]["miou"] or 0))
    for i, (name, metrics) in enumerate(ranked):
        y, value, ceiling = i * pitch, metrics["miou"] or 0, metrics["baselines"]["oracle"] or 0
        shapes = "1 shape" if metrics["shapes"] == 1 else f"{metrics['shapes']} shapes"
        rows += [
            f'<text x="{left - 12}" y="{y + 16}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{y + 5}" width="{width}" height="14" fill="{RULE}"/>',
            f'<rect x="{left}" y="{y + 5}" width="{width * value:.1f}" height="14" fill="{BLUE}"/>',
            f'<rect x="{left + width * ceiling:.1f}" y="{y + 2}" width="2" height="20" fill="{INK}"/>',
            f'<text x="{left + width + 12}" y="{y + 16}">'
            f"{percent(metrics['miou'])} of {percent(ceiling)}, {shapes}</text>",
        ]
    height = len(categories) * pitch
    return (
        f'<svg width="1000" height="{height}" viewBox="0 0 1000 {height}" role="img">{"".join(rows)}</svg>'
        "<p>Bars are mIoU; ticks are the ceiling.</p>"
    )


def _category(name: str, metrics: dict[str, Any]) -> str:
    """IoU of each part, and the confusion matrix."""
    parts = [*metrics["parts"], "none"]
    confusion = np.array(metrics["confusion"], float)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    ious = [[part, percent(row["iou"]), str(row["shapes"])] for part, row in metrics["parts"].items()]
    rows = ""
    for i, part in enumerate(parts):
        if confusion[i].sum() == 0:
            continue
        cells = "".join(
            f'<td style="background:rgb(61 115 197 / {value:.2f})">{100 * value:.0f}</td>' for value in share[i]
        )
        rows += f"<tr><td>{escape(part)}</td>{cells}</tr>"
    header = "".join(f"<th>{escape(part)}</th>" for part in parts)
    table = f'<table class="confusion"><tr><th></th>{header}</tr>{rows}</table>'
    return f"<h3>{escape(name)}</h3>{_table(['part', 'IoU', 'shapes'], ious)}{table}"


def _timings(timings: dict[str, Any] | None) -> str:
    if timings is None:
        return "<p>Not recorded.</p>"
    rows = []
    for stage, metrics in timings["stages"].items():
        keys = ("cold", "warm_median", "warm_p90", "total")
        cells = ["-" if metrics[key] is None else f"{metrics[key]:.4f}" for key in keys]
        rows.append([stage.replace("method.", "- "), *cells])
    description = (
        f"{timings['scored']:,} shapes in {timings['wall']:.1f} s, {timings['names']:.1f} s of it to prepare the "
        f"method; {timings['cpu']:.1f} s of processor time for all shapes. Workers, one "
        f"thread each: {timings['workers']}; {timings['machine']}. Cold is the first shape of each process."
    )
    header = ["stage", "cold", "warm median", "warm p90", "all shapes"]
    return f"<p>{escape(description)}</p>{_table(header, rows)}"


def _picture(caption: str, png: bytes) -> str:
    data = base64.b64encode(png).decode()
    image = f'<img alt="truth and prediction" src="data:image/png;base64,{data}">'
    return f"<figure><figcaption>{caption}</figcaption>{image}</figure>"


def _failures(failed: Sequence[dict[str, str]]) -> str:
    if not failed:
        return ""
    rows = [[row["id"], row["reason"]] for row in failed[:MAX_FAILURES]]
    remaining = len(failed) - MAX_FAILURES
    more = f"<p>and {remaining} more in results.json</p>" if remaining > 0 else ""
    return f"<h2>{len(failed)} shapes could not be scored</h2>{_table(['shape', 'reason'], rows)}{more}"


def _rules(results: Results) -> str:
    method = {f"method: {key}": value for key, value in results["method"].items()}
    settings = {**results["protocol"], **method}
    rows = [[key, str(value)] for key, value in settings.items() if key != "description"]
    return _table(["field", "value"], rows)
