"""pa3d render: views of a shape as PNG files."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pa3d.cli.options import Columns, Debug, Quiet, ShapeFile, Up, check_choice
from pa3d.cli.output import check_can_write, print_files
from pa3d.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pa3d.cameras import Cameras
    from pa3d.shape import Shape

PRESETS = ("around10", "rings", "icosahedral12", "icosahedral20", "front")
STYLES = ("lit", "unlit", "depth", "normals")
COLORS = ("auto", "grey", "vertex", "texture")
MAX_SIZE = 4096  # width and height of a view in pixels
MAX_VIEWS = 1000
_SHEET_SIZE = 320  # of a view on the contact sheet at most, in pixels


def render(
    file: ShapeFile,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FOLDER", help="Where the pictures go.  [default: ./NAME-views]"),
    ] = None,
    views: Annotated[str, typer.Option(metavar="|".join(PRESETS), help="Where the cameras stand.")] = "around10",
    elevations: Annotated[
        str | None,
        typer.Option(
            metavar="DEGREES", help='Rings of cameras at these angles, instead of a preset, such as "-20, 30".'
        ),
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, max=MAX_VIEWS, metavar="N", help="Cameras of each ring of --elevations.")
    ] = 8,
    orthographic: Annotated[
        bool, typer.Option("--orthographic", help="Draw --elevations without perspective.")
    ] = False,
    size: Annotated[
        int, typer.Option(min=16, max=MAX_SIZE, metavar="N", help="Width and height of a view in pixels.")
    ] = 500,
    style: Annotated[
        str,
        typer.Option(
            metavar="|".join(STYLES),
            help="lit: shaded; unlit: plain colours; depth: near is white; normals: directions as colours.",
        ),
    ] = "lit",
    color: Annotated[
        str,
        typer.Option(metavar="|".join(COLORS), help="Which colours to draw. auto takes textures and vertex colours."),
    ] = "auto",
    background: Annotated[str, typer.Option(metavar="white|black", help="The colour behind the shape.")] = "white",
    flat: Annotated[bool, typer.Option("--flat", help="Shade each face by itself instead of smoothly.")] = False,
    radius: Annotated[
        float | None, typer.Option(metavar="R", help="Radius of a cloud's points, for a shape of radius 1.")
    ] = None,
    up: Up = None,
    columns: Columns = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw views of a mesh or a point cloud, and one picture of all views.

    Writes view_000.png and so on, sheet.png, and cameras.json with the matrix of each camera.
    """
    import json

    from pa3d.atomic import atomic_write
    from pa3d.io import load
    from pa3d.multiview.shade import contact_sheet

    for name, value, choices in (
        ("views", views, PRESETS),
        ("style", style, STYLES),
        ("color", color, COLORS),
        ("background", background, ("white", "black")),
    ):
        check_choice(name, value, choices)
    if radius is not None and not 0 < radius < 10:
        raise InputError(f"--radius {radius:g}: expected a number between 0 and 10")
    folder = out if out is not None else Path(f"{file.stem}-views")
    check_can_write(folder)
    cameras = _cameras(views, elevations, count, orthographic)
    shape = load(file, up=up, columns=columns)
    points, center, scale = _normalized(shape)
    colors = _colors(file, shape, color)
    pictures = _render(points, shape, cameras, size, colors, style, background, not flat, radius)

    folder.mkdir(parents=True, exist_ok=True)
    names = [f"view_{number:03d}.png" for number in range(len(pictures))]
    for name, picture in zip(names, pictures, strict=True):
        with atomic_write(folder / name) as target:
            target.write(_png(picture))
    step = max(1, -(-size // _SHEET_SIZE))
    with atomic_write(folder / "sheet.png") as target:
        target.write(_png(_downsampled(contact_sheet(pictures, background=background), step)))
    facts = {
        "size": size,
        "projection": "perspective" if cameras.perspective else "orthographic",
        "fov": cameras.fov,
        "half_extent": None if cameras.perspective else cameras.half_extent,
        "near": cameras.near,
        "shape": {"up": shape.up, "center": center.tolist(), "scale": scale},
        "views": [{"file": n, "world_to_camera": m.tolist()} for n, m in zip(names, cameras.view, strict=True)],
    }
    with atomic_write(folder / "cameras.json", "w") as target:
        json.dump(facts, target, indent=1)
    if not quiet:
        for note in colors.get("notes", ()):
            print(f"{shape.name}: {note}", file=sys.stderr)
        print_files(folder, f"{len(names)} views of {size} x {size}, sheet.png, cameras.json")


def _cameras(views: str, elevations: str | None, count: int, orthographic: bool) -> Cameras:
    from pa3d.cameras import Cameras

    if elevations is None:
        return Cameras.preset(views)
    try:
        degrees = [float(word) for word in elevations.split(",")]
    except ValueError:
        degrees = []
    if not degrees or not all(-90 <= d <= 90 for d in degrees):
        raise InputError(f'--elevations {elevations}: expected degrees from -90 to 90, such as "-20, 30"')
    if len(degrees) * count > MAX_VIEWS:
        raise InputError(f"--count {count}: {len(degrees)} rings would have more than {MAX_VIEWS} views")
    return Cameras.rings(degrees, count, fov=None) if orthographic else Cameras.rings(degrees, count)


def _normalized(shape: Shape) -> tuple[NDArray[np.float32], NDArray[np.float64], float]:
    """Upright points (N, 3) in the unit sphere, the centre of their bounding box (3,), and the scale factor."""
    import numpy as np

    from pa3d.report.files import to_y_up

    points = to_y_up(shape.points, shape.up).astype(np.float64)
    surface = points if shape.faces is None else points[np.unique(shape.faces)]  # without unused vertices
    center = (surface.min(axis=0) + surface.max(axis=0)) / 2
    scale = 1 / float(np.linalg.norm(surface - center, axis=1).max())
    return np.ascontiguousarray((points - center) * scale, np.float32), center, scale


def _colors(file: Path, shape: Shape, color: str) -> dict[str, Any]:
    """Those of face_colors, vertex_colors, texture and notes that the shape has."""
    colors: dict[str, Any] = {}
    if color in ("auto", "vertex") and shape.colors is not None:
        colors["vertex_colors"] = shape.colors
    if color in ("auto", "texture") and shape.faces is not None:
        from pa3d.multiview.materials import read_materials

        materials = read_materials(file, len(shape.faces))
        colors |= {"face_colors": materials.face_colors, "texture": materials.texture, "notes": materials.notes}
    if color == "vertex" and not colors:
        raise InputError(f"{shape.name}: has no vertex colours; leave out --color vertex, or use --color grey")
    if color == "texture" and colors.get("texture") is None and colors.get("face_colors") is None:
        why = "; ".join(colors.get("notes", [])) or "only GLB, glTF and OBJ have them"
        raise InputError(f"{shape.name}: has no textures or material colours ({why}); use --color auto or grey")
    return colors


def _render(
    points: NDArray[np.float32],
    shape: Shape,
    cameras: Cameras,
    size: int,
    colors: dict[str, Any],
    style: Any,
    background: str,
    smooth: bool,
    radius: float | None,
) -> NDArray[np.uint8]:  # (V, H, W, 3)
    from pa3d.multiview import shade

    if shape.faces is None:
        return shade.render_points(
            points,
            cameras,
            size,
            point_colors=colors.get("vertex_colors"),
            radius=radius,
            style=style,
            background=background,
        )
    return shade.render(
        points,
        shape.faces,
        cameras,
        size,
        face_colors=colors.get("face_colors"),
        vertex_colors=colors.get("vertex_colors"),
        texture=colors.get("texture"),
        smooth=smooth,
        style=style,
        background=background,
    )


def _downsampled(image: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Means over step x step pixels. Pixels at the edges that do not fill a square are cut off."""
    import numpy as np

    from pa3d.multiview.shade import downsample

    if step == 1:
        return image
    height, width = (side // step * step for side in image.shape[:2])
    return np.rint(downsample(image[:height, :width].astype(np.float64), step)).astype(np.uint8)


def _png(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG", compress_level=3)
    return out.getvalue()
