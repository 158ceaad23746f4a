"""PointCLIPv2 (Zhu et al., "PointCLIP V2", ICCV 2023, arXiv 2211.11682): depth pictures of a cloud, seen by CLIP.

The cloud is turned into ten views. In each, points become cells of a grid of 112 slices of 224 x 224, which are widened
by a maximum over 5 x 11 x 11 cells and smoothed by a Gaussian; the largest value along the depth is the picture. CLIP's
patch tokens of the picture, projected to the space of texts, are compared with the prompts of the parts. The logits are
smoothed, enlarged to the pixels, and read at the pixels of the points that the picture shows; a point sums them over
the views, and takes the part with the largest sum.

"fair" reads a point's logits at the pixel where the picture shows the point. It uses plain prompts and equal weights of
the views. Points that no view shows take the sums of the nearest point that is shown.
"published" reads at transposed pixels, as the authors' code does, so that part of the points read the ground. Points
that no view shows have logits of 0, so they get the first part. The authors also searched prompts and weights of views
on the test labels; give them as `tuned`, to which docs/methods.md has the format.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError
from pa3d.methods._common import CloudMethod, Labels, draw, one_torch_thread, part_prompts, upright
from pa3d.ops import knn
from pa3d.profiling import Stopwatch
from pa3d.rotations import axis_rotation
from pa3d.shape import Shape

if TYPE_CHECKING:
    from torch import Tensor

    from pa3d.methods.networks.clip import Clip

WEIGHTS = {"clip": "a checkpoint of OpenAI's CLIP ViT-B/16, as OpenCLIP reads it"}

_PI = float(np.pi)
# Three rotations a view, each by angles about x, y and z.
VIEWS = tuple(
    ((azimuth, 0.0, _PI / 2), (tilt, 0.0, 0.0), (0.0, _PI / 9, 0.0))
    for tilt in (_PI / 4, 0.0)
    for azimuth in (0.0, _PI / 2, _PI, 3 * _PI / 2)
) + tuple(((0.0, turn, _PI / 2), (_PI / 15, 0.0, 0.0), (0.0, _PI / 15, 0.0)) for turn in (-_PI / 2, _PI / 2))


@dataclass(frozen=True)
class PointClipV2Options:
    """points: how many are labelled, drawn with `seed`; the others take the label of the nearest of them.
    size, depth: pixels of a picture and slices of the grid; margin: pixels that are cut off on every side before CLIP.
    widen: cells of the maximum, in depth and in the plane. blur, sigma: cells of the Gaussian, and its deviations.
    visible: a point is shown if its own value and that of the picture differ by less.
    pool: patch tokens that are averaged to a side. scale: of the cosines.
    transposed: read logits and visibility at transposed pixels. fill_unseen: points that no view shows take the sums of
    the nearest one that is shown.
    prompt, prompt_with_category: one sentence for each part. tuned: a file with prompts and weights by category.
    """

    points: int | None = 2048
    seed: int = 0
    size: int = 224
    depth: int = 112
    margin: int = 20
    widen: tuple[int, int] = (5, 11)
    blur: int = 5
    sigma: tuple[float, float] = (2.0, 1.0)
    visible: float = 0.1
    pool: int = 6
    scale: float = 100.0
    transposed: bool = False
    fill_unseen: bool = True
    prompt: str = "{part}"
    prompt_with_category: str = "{part} of a {category}"
    tuned: str | None = None


FORMS = {"fair": PointClipV2Options(), "published": PointClipV2Options(transposed=True, fill_unseen=False)}


class PointClipV2(CloudMethod):
    """options and a CLIP (pa3d.methods.networks.clip), or an object with the same methods `tokens` and `text`."""

    name = "pointclipv2"
    gives_none = True

    def __init__(self, options: PointClipV2Options, clip: Clip) -> None:
        super().__init__(options, {"clip": clip.name})
        self.options: PointClipV2Options = options
        self.clip = clip
        self._zero_column = False
        self._tuned = _read_tuned(options.tuned)

    def configure(self, protocol: Any) -> None:
        self._zero_column = protocol.unlabelled == "zero"

    def label_cloud(
        self, cloud: Shape, parts: list[str], category: str | None, truth: NDArray[np.int32] | None, clock: Stopwatch
    ) -> Labels:
        o = self.options
        used = draw(len(cloud.points), o.points, o.seed)
        points = np.ascontiguousarray(cloud.points[used])
        with clock("text"), one_torch_thread():
            prompts, view_weights = self._prompts(parts, category)
            text = self.clip.text(prompts)
        with clock("points"):
            pixels, depth = project(upright(points, cloud.up), o)
        total, seen = np.zeros((len(points), len(parts))), np.zeros(len(points), bool)
        for pixel, d, weight in zip(pixels, depth, view_weights, strict=True):
            with clock("points"):
                picture, shown = depth_picture(pixel, d, o)
            with clock("encode"), one_torch_thread():
                tokens = self.clip.tokens(_for_clip(picture, o))
            with clock("label"), one_torch_thread():
                logits = pixel_logits(tokens, text, o).numpy()
                row, column = _cropped(pixel, o).T if not o.transposed else _cropped(pixel, o).T[::-1]
                total[shown] += weight * logits[row, column][shown]
                seen |= shown
        with clock("label"):
            if o.fill_unseen and seen.any() and not seen.all():
                near = knn(points[~seen], np.ascontiguousarray(points[seen]), 1)[0][:, 0]
                total[~seen] = total[seen][near]
            labels = total.argmax(axis=1).astype(np.int32)
            scores = _softmax(total)
            if self._zero_column:
                with_zero = _softmax(np.concatenate([total, np.zeros((len(total), 1))], axis=1))
                labels[total.max(axis=1) <= 0], scores = -1, with_zero[:, :-1]
            if len(used) < len(cloud.points):
                near = knn(cloud.points, points, 1)[0][:, 0]
                labels, scores = labels[near], scores[near]
        return labels, scores

    def _prompts(self, parts: Sequence[str], category: str | None) -> tuple[list[str], NDArray[np.float64]]:
        tuned = self._tuned.get((category or "").lower().replace(" ", ""))
        prompts = part_prompts(parts, category, self.options.prompt, self.options.prompt_with_category)
        if tuned is None:
            return prompts, np.ones(len(VIEWS))
        sentences = {name.lower(): text for name, text in tuned["prompts"].items()}
        return (
            [sentences.get(part.lower(), prompt) for part, prompt in zip(parts, prompts, strict=True)],
            np.asarray(tuned.get("view_weights", np.ones(len(VIEWS))), np.float64),
        )


def project(points: NDArray[np.float32], o: PointClipV2Options) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Pixels (V, N, 2), x before y, and depths (V, N) in slices, of upright points."""
    pixels, depths = [], []
    for view in VIEWS:
        turned = points.astype(np.float64)
        for angles in view:
            x, y, z = (axis_rotation(axis, angle) for axis, angle in enumerate(angles))
            turned = turned @ (x @ y @ z).T
        low, high = turned.min(axis=0), turned.max(axis=0)
        side = (high - low).max()
        turned = (turned - (low + high) / 2) / (side if side > 0 else 1.0) * 2
        plane = np.ceil((turned[:, :2] * 0.7 + 1) / 2 * o.size)
        pixels.append(np.clip(plane, 1, o.size - 2).astype(np.int64))
        depths.append(((turned[:, 2] + 1) / 2 + 0.3) / 1.3 * (o.depth - 2))
    return np.stack(pixels), np.stack(depths)


def depth_picture(
    pixel: NDArray[np.int64],  # (N, 2)
    depth: NDArray[np.float64],  # (N,)
    o: PointClipV2Options,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The picture (size, size) of a view, white where there is nothing, and which points it shows (N,).

    The first index of the picture is a point's x, the second its y. Of several points in a cell the deepest counts.
    """
    own_slice = np.ceil(depth).astype(np.int64)
    cell = np.column_stack([own_slice, pixel])
    # Only the part of the grid that points can reach is computed; the rest is 0.
    reach = np.array([o.widen[0] // 2, o.widen[1] // 2, o.widen[1] // 2]) + o.blur // 2
    shape = np.array([o.depth, o.size, o.size])
    low, high = np.maximum(cell.min(axis=0) - reach, 0), np.minimum(cell.max(axis=0) + reach + 1, shape)
    volume = np.zeros(high - low, np.float32)
    np.maximum.at(volume, tuple((cell - low).T), np.clip(depth, 1, o.depth - 2).astype(np.float32))
    for axis, width in enumerate((o.widen[0], o.widen[1], o.widen[1])):
        volume = _running_max(volume, axis, width)
    at = np.arange(o.blur) - o.blur // 2
    for axis, sigma in enumerate((o.sigma[0], o.sigma[1], o.sigma[1])):
        weight = np.exp(-(at**2) / (2 * sigma**2))
        volume = _blurred(volume, axis, (weight / weight.sum()).astype(np.float32))
    picture = np.ones((o.size, o.size), np.float32)
    picture[low[1] : high[1], low[2] : high[2]] = 1 - volume.max(axis=0) / volume.max()
    row, column = pixel.T if not o.transposed else pixel.T[::-1]
    place = np.stack([np.clip(own_slice, 1, o.depth - 3), row, column], axis=1)
    in_volume = ((place >= low) & (place < high)).all(axis=1)
    own = np.ones(len(pixel), np.float32)
    own[in_volume] = 1 - volume[tuple((place - low)[in_volume].T)] / volume.max()
    return picture, np.abs(picture[row, column] - own) < o.visible


def _running_max(values: NDArray[np.float32], axis: int, width: int) -> NDArray[np.float32]:
    """The maximum of `width` values around each, along an axis; there are zeros beyond the ends."""
    x = np.moveaxis(values, axis, 0)
    x = np.pad(x, ((width // 2, width - 1 - width // 2), (0, 0), (0, 0)))
    span = 1
    while span < width:  # x holds maxima of `span` values
        step = min(span, width - span)
        x = np.maximum(x[:-step], x[step:])
        span += step
    return np.moveaxis(x, 0, axis)


def _blurred(values: NDArray[np.float32], axis: int, weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum of neighbours along an axis times a symmetric weight; there are zeros beyond the ends."""
    x = np.moveaxis(values, axis, 0)
    n, half = len(x), len(weight) // 2
    x = np.pad(x, ((half, half), (0, 0), (0, 0)))
    total = weight[0] * x[:n]
    for i in range(1, len(weight)):
        total += weight[i] * x[i : i + n]
    return np.moveaxis(total, 0, axis)


def _for_clip(picture: NDArray[np.float32], o: PointClipV2Options) -> Tensor:  # (1, 3, size, size)
    """The picture without its margin, enlarged. CLIP's mean and deviation are not applied."""
    import torch
    from torch.nn import functional as F

    inner = torch.from_numpy(picture)[None, None, o.margin : o.size - o.margin, o.margin : o.size - o.margin]
    image = F.interpolate(inner, (o.size, o.size), mode="bilinear", align_corners=True)
    return image.expand(-1, 3, -1, -1).contiguous()


def _cropped(pixel: NDArray[np.int64], o: PointClipV2Options) -> NDArray[np.int64]:
    """Pixels of the enlarged inner picture."""
    inner = o.size - 2 * o.margin
    return np.clip(np.ceil((pixel - o.margin) * (o.size / inner)), 0, o.size - 1).astype(np.int64)


def pixel_logits(tokens: Tensor, text: Tensor, o: PointClipV2Options) -> Tensor:
    """Logits (size, size, K) of the pixels, from the unit tokens (1, g, g, D) of a view and unit vectors (K, D)."""
    from torch.nn import functional as F

    logits = o.scale * (tokens @ text.T).permute(0, 3, 1, 2)
    before = (o.pool - 1) // 2
    after = o.pool - 1 - before
    logits = F.avg_pool2d(F.pad(logits, (before, after, before, after), mode="replicate"), o.pool, 1)
    return F.interpolate(logits, (o.size, o.size), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float32]:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (shifted / shifted.sum(axis=1, keepdims=True)).astype(np.float32)


def _read_tuned(path: str | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        content = json.loads(Path(path).read_text())
        tuned = {category.lower().replace(" ", ""): entry for category, entry in content.items()}
        if any(
            not isinstance(entry["prompts"], dict) or len(entry.get("view_weights", VIEWS)) != len(VIEWS)
            for entry in tuned.values()
        ):
            raise ValueError(f"an entry without prompts, or not {len(VIEWS)} view_weights")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f'tuned {path}: {error}; expected JSON like {{"Chair": {{"prompts": {{"seat": "..."}}, "view_weights": '
            f"[{len(VIEWS)} numbers]}}}}"
        ) from error
    return tuned


def load(options: PointClipV2Options, weights: Mapping[str, Any]) -> PointClipV2:
    from pa3d.methods.networks.clip import load_clip

    return PointClipV2(options, load_clip(weights.get("clip")))
