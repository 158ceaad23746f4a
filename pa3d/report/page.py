"""parts.html: one file that needs no network. It shows the shape, its parts, and scores as a heat map.

Plotly's script is part of the page. Coordinates, labels and scores are stored as base64 of their bytes, from which the
page makes its traces. Scores are rounded to 1/255.
"""

from __future__ import annotations

import base64
import html
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pa3d.report.files import to_y_up
from pa3d.report.table import not_found, part_rows, size_text
from pa3d.shape import compacted

if TYPE_CHECKING:
    from pa3d.segment import Segmentation

# With more than these a browser rotates the shape slowly, and the page grows by tens of megabytes.
MAX_FACES = 150_000
MAX_POINTS = 120_000


def parts_html(result: Segmentation) -> str:
    from plotly.offline import get_plotlyjs

    shape = result.shape
    x, y, z = to_y_up(shape.points, shape.up).T
    points = np.stack([x, -z, y], axis=1)  # plotly's up is z
    labels, scores, faces = result.labels, result.scores, shape.faces
    note = ""
    if faces is not None and result.face_labels is not None:
        labels = result.face_labels
        kept, faces = compacted(points, faces)  # or vertices that no face uses would make the picture smaller
        points = points[kept]
        if len(faces) > MAX_FACES:
            total = len(faces)
            points, faces, labels, merged = simplify(points, faces, labels, MAX_FACES)
            kept = kept[merged]
            note = f"Simplified for this page to {len(faces):,} of {total:,} faces."
        scores = scores[kept]
    elif len(points) > MAX_POINTS:
        kept = np.sort(np.random.default_rng(0).choice(len(points), MAX_POINTS, replace=False))
        note = f"Subsampled for this page to {len(kept):,} of {len(points):,} points."
        points, labels, scores = points[kept], labels[kept], scores[kept]
    rows = part_rows(result)
    data = {
        "shareOf": "of the surface" if shape.is_mesh else "of the points",
        "parts": [
            {
                "name": r.name,
                "color": r.color,
                "share": r.share,
                "confidence": r.mean_confidence,
                "label": r.label,
                "presence": r.presence,
                "found": r.found,
            }
            for r in rows
        ],
        "points": _base64(points, "<f4"),
        "faces": None if faces is None else _base64(faces, "<i4"),
        "labels": _base64(labels, "<i4"),
        "scores": _base64(np.rint(scores.T * 255), "u1"),
    }
    absent = not_found(rows)
    facts = "  ·  ".join(
        [
            size_text(shape),
            *([f"model {result.model}"] if result.model else []),
            *([f"not found: {', '.join(absent)}"] if absent else []),
            *([note] if note else []),
        ]
    )
    # "<" is escaped, so that no name can end the script element.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    fields = {
        "TITLE": html.escape(shape.name),
        "FACTS": html.escape(facts),
        "DATA": text,
        "PLOTLY": get_plotlyjs(),
    }
    return re.sub("@([A-Z]+)@", lambda match: fields[match[1]], _PAGE)


def simplify(
    points: NDArray[Any],  # (N, 3)
    faces: NDArray[np.int32],  # (F, 3)
    labels: NDArray[np.int32],  # (F,)
    max_faces: int,
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Merge vertices in the same cell of a grid and remove faces without area, until at most `max_faces` are left.

    Returns points, faces, labels of faces, and for each point the index of an input vertex in its cell.
    """
    low, extent = points.min(axis=0), float(np.ptp(points, axis=0).max())
    cells = 1024.0
    while True:
        x, y, z = np.floor((points - low) / extent * cells).astype(np.int64).T
        _, kept, cell = np.unique((x << 42) + (y << 21) + z, return_index=True, return_inverse=True)
        corners = cell[faces]
        a, b, c = corners.T
        nondegenerate = np.flatnonzero((a != b) & (b != c) & (c != a))
        if len(nondegenerate) <= max_faces:
            break
        cells *= max(0.5, min(0.95, (max_faces / len(nondegenerate)) ** 0.5))
    count = np.bincount(cell)
    means = np.stack([np.bincount(cell, points[:, i]) / count for i in range(3)], axis=1)
    return means.astype(np.float32), corners[nondegenerate].astype(np.int32), labels[nondegenerate], kept


def _base64(array: NDArray[Any], dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype).tobytes()).decode()


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>@TITLE@ - parts</title>
<style>
  html, body { height: 100%; margin: 0; }
  body { display: flex; flex-direction: column; background: #fff; color: #1f2328;
         font: 15px/1.4 system-ui, -apple-system, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
  header { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 24px; padding: 12px 24px;
           border-bottom: 1px solid #e5e7eb; }
  h1 { font-size: 20px; font-weight: 600; margin: 0; }
  .facts, .hint { color: #6b7280; font-size: 13px; }
  .facts { flex: 1; white-space: pre-wrap; }
  select { font: inherit; padding: 4px 8px; border: 1px solid #d1d5db; border-radius: 6px; background: #fff; }
  #view { flex: 1; min-height: 0; }
  footer { padding: 8px 24px; border-top: 1px solid #e5e7eb; }
</style>
</head>
<body>
<header>
  <h1>@TITLE@</h1>
  <span class="facts">@FACTS@</span>
  <label>Show <select id="mode"></select></label>
</header>
<div id="view"></div>
<footer class="hint">
  Drag to rotate, scroll to zoom. Click a part in the legend to hide it, double-click to see it alone.
</footer>
<script>@PLOTLY@</script>
<script type="application/json" id="data">@DATA@</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);

function decode(text, Type) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Type(bytes.buffer);
}

const points = decode(data.points, Float32Array);
const faces = data.faces === null ? null : decode(data.faces, Int32Array);
const labels = decode(data.labels, Int32Array);
const scores = decode(data.scores, Uint8Array);
const count = points.length / 3;
const lighting = {
  ambient: 0.6, diffuse: 0.6, specular: 0.08, roughness: 0.6, fresnel: 0.02,
  facenormalsepsilon: 0, vertexnormalsepsilon: 0,  // small faces are no degenerate faces
};
const lightposition = { x: -4000, y: -9000, z: 9000 };

const escape = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const percent = (share) => (100 * share).toFixed(1) + " %";

// Coordinates of chosen points in the form that plotly takes.
function coordinates(chosen) {
  const axes = [0, 1, 2].map(() => new Float32Array(chosen.length));
  chosen.forEach((point, index) => axes.forEach((axis, i) => { axis[index] = points[3 * point + i]; }));
  return { x: axes[0], y: axes[1], z: axes[2] };
}

// A mesh of some faces with only the vertices they use, or a cloud of some points.
function geometry(chosen) {
  if (faces === null) return { type: "scatter3d", mode: "markers", ...coordinates(chosen) };
  const remap = new Int32Array(count).fill(-1);
  const used = [];
  const corners = [0, 1, 2].map(() => new Int32Array(chosen.length));
  chosen.forEach((face, index) => corners.forEach((corner, i) => {
    const vertex = faces[3 * face + i];
    if (remap[vertex] < 0) remap[vertex] = used.push(vertex) - 1;
    corner[index] = remap[vertex];
  }));
  const [i, j, k] = corners;
  return { type: "mesh3d", ...coordinates(used), i, j, k, flatshading: true, lighting, lightposition, used };
}

const marker = {
  size: Math.min(7, Math.max(1.6, 260 / Math.sqrt(count))),
  line: { width: count > 20000 ? 0 : 0.6, color: "rgba(31, 35, 40, 0.35)" },
};

function partTraces() {
  return data.parts.flatMap((part) => {
    const chosen = [];
    labels.forEach((label, index) => { if (label === part.label) chosen.push(index); });
    if (chosen.length === 0) return [];
    const trace = geometry(chosen);
    delete trace.used;
    const confidenceText = part.confidence === null ? "" : "<br>mean confidence " + part.confidence.toFixed(2);
    const presenceText = part.presence === null ? ""
      : "<br>presence " + part.presence.toFixed(2) + (part.found ? "" : ", not found");
    const share = percent(part.share) + " " + data.shareOf;
    return [{
      ...trace,
      ...(faces === null ? { marker: { ...marker, color: part.color } } : { color: part.color }),
      name: escape(part.name) + "   " + percent(part.share),
      showlegend: true,
      hovertemplate: `<b>${escape(part.name)}</b><br>${share}${confidenceText}${presenceText}<extra></extra>`,
    }];
  });
}

function heatTrace(part) {
  const all = Array.from({ length: faces === null ? count : faces.length / 3 }, (_, index) => index);
  const trace = geometry(all);
  const value = Float32Array.from(trace.used ?? all, (point) => scores[part * count + point] / 255);
  delete trace.used;
  const scale = { colorscale: "Viridis", cmin: 0, cmax: 1, showscale: true,
                  colorbar: { title: { text: "score" }, thickness: 14, len: 0.7 } };
  const look = faces === null
    ? { marker: { ...marker, color: value, ...scale } }
    : { intensity: value, ...scale };
  const text = Array.from(value, (score) => score.toFixed(2));
  const hovertemplate = escape(data.parts[part].name) + " %{text}<extra></extra>";
  return { ...trace, ...look, text, hovertemplate, showlegend: false };
}

// The sides of the bounding box, scaled so that the longest is 1, so that every shape fits the same view.
function extents() {
  const sides = [0, 1, 2].map((axis) => {
    let [low, high] = [Infinity, -Infinity];
    for (let index = axis; index < points.length; index += 3) {
      low = Math.min(low, points[index]);
      high = Math.max(high, points[index]);
    }
    return high - low;
  });
  const longest = Math.max(...sides);
  const [x, y, z] = sides.map((side) => Math.max(side / longest, 1e-3));
  return { x, y, z };
}

const hidden = { visible: false };
const layout = {
  margin: { l: 0, r: 0, t: 0, b: 0 },
  paper_bgcolor: "#fff",
  uirevision: "keep",
  legend: { x: 0.99, xanchor: "right", y: 0.94, font: { size: 15 }, itemsizing: "constant" },
  scene: {
    xaxis: hidden, yaxis: hidden, zaxis: hidden, aspectmode: "manual", aspectratio: extents(),
    camera: { eye: { x: 0.85, y: -1.21, z: 0.54 }, up: { x: 0, y: 0, z: 1 } },
  },
};

const mode = document.getElementById("mode");
mode.add(new Option("parts", "parts"));
data.parts.forEach((part, index) => { if (part.label >= 0) mode.add(new Option("score of " + part.name, index)); });
function show() {
  const traces = mode.value === "parts" ? partTraces() : [heatTrace(Number(mode.value))];
  const modeBarButtons = [["resetCameraDefault3d", "toImage"]];
  return Plotly.react("view", traces, layout, { responsive: true, displaylogo: false, modeBarButtons });
}
mode.addEventListener("change", show);
show();
</script>
</body>
</html>
"""
