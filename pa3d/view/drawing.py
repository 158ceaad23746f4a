"""The shape on the page of the viewer: viser's scene and its cameras.

The shape is drawn with radius 1 around zero, in its own axes, because viser's cameras and lights are made for that.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.shape import Shape, compacted
from pa3d.view.scene import POINT_REACH, Group, Hit, Rgb, enclosing_sphere, original_glb, place_under

FIELD_OF_VIEW = float(np.radians(40))
# Up and front of each up axis: front is where the nose of a shape points, as in glTF and in Blender.
AXES = {"x": ((1, 0, 0), (0, 0, 1)), "y": ((0, 1, 0), (0, 0, 1)), "z": ((0, 0, 1), (0, -1, 0))}
SIDES = ("front", "side", "back", "top")
PHONE = 0.8  # width by height: below it the panel covers the lower half of the page
MODIFIERS = (None, "shift", "cmd/ctrl")  # keys that may be held at a click
MARK_RADIUS = 0.012


class Drawing:
    """What the pages of a server show of one shape.

    groups: what was drawn last.
    """

    def __init__(self, server: Any, clicked: Callable[[Any], None]) -> None:
        """clicked: is called with viser's event for a click on what is drawn, with no key or one of MODIFIERS held; see
        `hit`."""
        self._server, self._clicked = server, clicked
        self._marks: list[Any] = []
        self._drawn: dict[bytes, Any] = {}  # the node of each group, by its elements
        self._spare: list[Any] = []  # nodes that show nothing now
        self._numbers = itertools.count()
        self.groups: list[Group] = []
        server.scene.world_axes.visible = False
        server.initial_camera.fov = FIELD_OF_VIEW
        for modifier in MODIFIERS:
            server.scene.on_click(modifier=modifier)(self._scene_clicked)

    def set_shape(self, shape: Shape) -> None:
        """Show another shape, as its file shows it, and turn the cameras to it; `draw` then draws its groups."""
        for node in (*self._drawn.values(), *self._spare):  # they show another shape
            node.remove()
        self.shape, self.groups, self._drawn, self._spare = shape, [], {}, []
        self.mark([])
        self._center, self._radius = enclosing_sphere(shape)
        self._points = ((shape.points - self._center) / self._radius).astype(np.float32)
        self._point_size = 0.5 / len(shape.points) ** 0.5
        self._draw_original()
        self.set_up(None)
        for client in self._server.get_clients().values():
            self.look(client)

    def draw(self, groups: Sequence[Group]) -> None:
        """Draw groups in the place of the earlier ones; `show` then shows them.

        Elements that were drawn together before are not sent again; at most their colour is. Nodes that are not needed
        stay for later, because making one takes viser longer than changing it.
        """
        keys = [hashlib.blake2b(group.elements.tobytes(), digest_size=16).digest() for group in groups]
        with self._server.atomic():
            free = [node for key, node in self._drawn.items() if key not in keys] + self._spare
            drawn = {}
            for key, group in zip(keys, groups, strict=True):
                node = self._drawn.get(key)
                if node is None:
                    node = self._fill(free.pop() if free else None, group)
                else:
                    self._paint(node, group)
                drawn[key] = node
            for node in free:
                node.visible = False
            self._drawn, self._spare, self.groups = drawn, free, list(groups)

    def mark(self, places: Sequence[tuple[NDArray[np.float64], Rgb]]) -> None:  # (3,) each
        """Show points at places in the axes of the shape, relative to its origin, instead of the earlier ones."""
        with self._server.atomic():
            for mark in self._marks:
                mark.remove()
            self._marks = [
                self._server.scene.add_icosphere(
                    f"/clicks/{i}", MARK_RADIUS, color, subdivisions=2, cast_shadow=False, receive_shadow=False,
                    position=tuple(((place - self._center) / self._radius).tolist()),
                )
                for i, (place, color) in enumerate(places)
            ]  # fmt: skip

    def show(self, is_shown: Callable[[Group], bool], original: bool) -> None:
        """Show the file as it is, or those of the groups."""
        for group, node in zip(self.groups, self._drawn.values(), strict=True):
            node.visible = is_shown(group) and not original
        self._original.visible = original

    def hit(
        self, ray_origin: Sequence[float], ray_direction: Sequence[float], is_shown: Callable[[Group], bool]
    ) -> Hit | None:
        """The face or point of a shown group under a click; the ray is that of the page."""
        shape = self.shape
        shown = np.zeros(len(shape.points if shape.faces is None else shape.faces), bool)
        for group in self.groups:
            shown[group.elements] |= is_shown(group)
        origin = np.asarray(ray_origin, np.float64) * self._radius + self._center
        direction = np.asarray(ray_direction, np.float64)
        return place_under(shape, shown, origin, direction / np.linalg.norm(direction), POINT_REACH * self._radius)

    def set_up(self, up: Sequence[float] | None) -> None:
        """Which direction is up on the page; None: the up axis of the shape."""
        self._server.scene.set_up_direction(tuple(float(v) for v in (self._up() if up is None else up)))

    def look(self, client: Any, side: str | None = None) -> None:
        """Turn the camera of a page to one of SIDES, or to where a shape is seen first."""
        up, front = self._up(), np.array(AXES[self.shape.up[-1]][1], np.float64)
        right = np.cross(up, front)
        sides = {"front": front, "side": right, "back": -front, "top": up + 0.01 * front}
        direction = front + 0.5 * right + 0.4 * up if side is None else sides[side]
        aspect = client.camera.aspect
        distance = 1.05 / np.sin(np.arctan(np.tan(FIELD_OF_VIEW / 2) * min(1.0, aspect)))
        target = -0.2 * distance * np.tan(FIELD_OF_VIEW) * up if aspect < PHONE and side != "top" else np.zeros(3)
        with client.atomic():
            client.camera.fov = FIELD_OF_VIEW
            client.camera.up_direction = up
            client.camera.position = direction / np.linalg.norm(direction) * distance + target
            client.camera.look_at = target

    def _fill(self, node: Any | None, group: Group) -> Any:
        """A node that shows a group: a new one, or another one of the shape."""
        shape, scene = self.shape, self._server.scene
        name = f"/parts/{next(self._numbers)}"
        if shape.faces is None:
            missing = shape.missing()
            elements = group.elements if missing is None else group.elements[~missing[group.elements]]
            points, colors = self._points[elements], _colors(group, len(elements))
            if node is None:
                return scene.add_point_cloud(
                    name, points, colors, point_size=self._point_size, point_shape="circle", visible=False
                )
            node.points, node.colors = points, colors
            return node
        used, faces = compacted(self._points, shape.faces[group.elements])
        if node is None:
            node = scene.add_mesh_simple(
                name, self._points[used], faces, color=group.color, flat_shading=True, side="double",
                cast_shadow=False, receive_shadow=False, visible=False,
            )  # fmt: skip
            for modifier in MODIFIERS:
                node.on_click(modifier=modifier)(self._clicked)
            return node
        node.vertices, node.faces, node.color = self._points[used], faces, group.color
        return node

    def _paint(self, node: Any, group: Group) -> None:
        if self.shape.faces is None:
            node.colors = _colors(group, len(node.points))
        else:
            node.color = group.color

    def _scene_clicked(self, event: Any) -> None:
        # viser has no clicks on the points of a cloud, and clicks on the scene do not come from a touch screen.
        if self.shape.faces is None:
            self._clicked(event)

    def _up(self) -> NDArray[np.float64]:  # (3,)
        up = self.shape.up
        return np.array(AXES[up[-1]][0], np.float64) * (-1 if up[0] == "-" else 1)

    def _draw_original(self) -> None:
        shape, scene, missing = self.shape, self._server.scene, self.shape.missing()
        glb = original_glb(shape)
        if glb is not None:
            place = -(self._center + shape.origin) / self._radius
            self._original = scene.add_glb("/original", glb, scale=1 / self._radius, position=place, visible=False)
        elif shape.faces is None:
            seen = slice(None) if missing is None else ~missing
            colors = np.full((len(shape.points), 3), 120, np.uint8) if shape.colors is None else shape.colors
            self._original = scene.add_point_cloud(
                "/original", self._points[seen], colors[seen], point_size=self._point_size, visible=False
            )
        else:
            import trimesh

            mesh = trimesh.Trimesh(self._points, shape.faces, vertex_colors=shape.colors, process=False)
            self._original = scene.add_mesh_trimesh("/original", mesh, visible=False)


def _colors(group: Group, count: int) -> NDArray[np.uint8]:  # (count, 3)
    return np.tile(np.array(group.color, np.uint8), (count, 1))
