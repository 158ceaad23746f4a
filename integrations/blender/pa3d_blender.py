"""pa3d in Blender: select objects, type the names of parts, and get them as vertex groups, materials or objects.

One file, for Blender 4.0 and later. It needs nothing beyond Blender's own Python: the work is done by the program pa3d,
or by a running `pa3d serve`. No thread touches Blender's data: a timer looks after a process or a socket.
"""

import contextlib
import importlib.util
import json
import os
import re
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlencode

import bmesh
import bpy
import numpy as np
from bpy.props import BoolProperty, EnumProperty, FloatProperty, PointerProperty, StringProperty
from mathutils import Matrix

bl_info = {  # for Blender before 4.2; later ones read blender_manifest.toml
    "name": "pa3d: parts by name",
    "author": "pa3d developers",
    "version": (0, 1, 0),
    "blender": (4, 0, 0),
    "location": "3D View > Sidebar > pa3d",
    "description": "Find the parts of a mesh by their names",
    "category": "Mesh",
}

SEPARATORS = re.compile("[,;\n\uff0c\uff1b\u3001\u060c\u061b]")
UP = {"Z": "y", "X": "x", "Y": "-z", "-Z": "-y", "-X": "-x", "-Y": "z", "AUTO": "auto"}  # Blender's axes in the file's
VIEW_EVENTS = {"MIDDLEMOUSE", "WHEELUPMOUSE", "WHEELDOWNMOUSE", "TRACKPADPAN", "TRACKPADZOOM", "NDOF_MOTION"}
NO_PART = "none"
NO_PART_COLOR = "#B8BCC2"  # as pa3d paints it


class Problem(Exception):
    """What the user is told."""


# ---- from Blender's meshes to a GLB file


def read(collection, attribute, dtype, width=1):
    """One attribute of all items of a collection of Blender: (n,) or (n, width)."""
    values = np.empty(len(collection) * width, dtype)
    collection.foreach_get(attribute, values)
    return values if width == 1 else values.reshape(-1, width)


def topology(mesh):
    """What two meshes with the same vertices, corners and faces have in common."""
    starts, corners = read(mesh.polygons, "loop_start", np.int32), read(mesh.loops, "vertex_index", np.int32)
    return len(mesh.vertices), starts.tobytes(), corners.tobytes()


class Captured:
    """The triangles of an object where it stands in the scene, in glTF's axes, sorted by material.

    points (V, 3); triangles (T, 3); polygon (T,): the face of the mesh that each triangle was cut from; area (T,).
    material (T,): index into material_names, -1 for none.
    """

    def __init__(self, obj, depsgraph):
        self.name, self.mesh_name, self.topology = obj.name, obj.data.name, topology(obj.data)
        evaluated = obj.evaluated_get(depsgraph)
        mesh = evaluated.to_mesh()
        try:
            # Labels belong to the faces of the object's own mesh, so the modifiers may move them, but not change them.
            self.with_modifiers = topology(mesh) == self.topology
            if not self.with_modifiers:
                mesh = obj.data
            mesh.calc_loop_triangles()
            points = read(mesh.vertices, "co", np.float32, 3)
            triangles = read(mesh.loop_triangles, "vertices", np.int32, 3)
            polygon = read(mesh.loop_triangles, "polygon_index", np.int32)
            slot = read(mesh.polygons, "material_index", np.int32)
        finally:
            evaluated.to_mesh_clear()
        world = np.array(evaluated.matrix_world, np.float64)
        if np.linalg.det(world[:3, :3]) < 0:
            triangles = triangles[:, ::-1]
        points = (points @ world[:3, :3].T + world[:3, 3])[:, [0, 2, 1]] * (1, 1, -1)
        if not np.isfinite(points).all():
            raise Problem(f"{obj.name}: some of its vertices have no finite coordinates")
        a, b, c = (points[triangles[:, i]] for i in range(3))
        # Materials that pa3d made say nothing new: they count as none.
        found = [s.material if s.material and "pa3d_part" not in s.material else None for s in obj.material_slots]
        self.material_names = [material.name if material else None for material in found]
        own = np.array([i if material else -1 for i, material in enumerate(found)] or [-1])
        material = own[np.clip(slot, 0, len(own) - 1)][polygon]
        order = np.argsort(material, kind="stable")
        self.points, self.triangles, self.polygon = points, triangles[order], polygon[order]
        self.material = material[order]
        self.area = np.linalg.norm(np.cross(b - a, c - a), axis=1)[order] / 2
        self.parents = []
        while obj.parent and len(self.parents) < 2:
            obj = obj.parent
            self.parents.append(obj.name)

    def labels(self, triangle_labels):
        """The label of each face (P,): that of the largest share of its area."""
        count = len(self.topology[1]) // 4
        area = self.area.copy()
        area[np.bincount(self.polygon, area, count)[self.polygon] <= 0] = 1  # faces without area: by number
        lowest = int(triangle_labels.min())
        span = int(triangle_labels.max()) - lowest + 1
        pairs, where = np.unique(self.polygon * np.int64(span) + triangle_labels - lowest, return_inverse=True)
        sums = np.bincount(where.reshape(-1), area)
        labels = np.empty(count, np.int32)
        ascending = np.lexsort((-pairs, sums))  # the last of equals is kept, so the lowest label
        labels[pairs[ascending] // span] = pairs[ascending] % span + lowest
        return labels


def glb(shape):
    """A list of captured objects as one GLB file: a node each, and a primitive for each of its materials."""
    every = np.concatenate([item.points for item in shape])
    low, high = every.min(axis=0), every.max(axis=0)
    center = (low + high) / 2
    far = np.abs(center).max() > 100 * (high - low).max()  # where float32 would be too coarse
    chunks, materials, nodes, roots, meshes, accessors, views = [], {}, [], [], [], [], []

    def view(array, target):
        views.append({"buffer": 0, "byteOffset": sum(map(len, chunks)), "byteLength": array.nbytes, "target": target})
        chunks.append(array.tobytes())
        return len(views) - 1

    def accessor(number, kind, component, count, **more):
        accessors.append({"bufferView": number, "type": kind, "componentType": component, "count": count, **more})
        return len(accessors) - 1

    for item in shape:
        points = (item.points - center * far).astype(np.float32)
        bounds = {"min": points.min(axis=0).tolist(), "max": points.max(axis=0).tolist()}
        position = accessor(view(points, 34962), "VEC3", 5126, len(points), **bounds)
        corners = view(np.ascontiguousarray(item.triangles, np.uint32), 34963)
        primitives, start = [], 0
        for material, count in zip(*np.unique(item.material, return_counts=True), strict=True):
            indices = accessor(corners, "SCALAR", 5125, int(count) * 3, byteOffset=start * 12)
            primitives.append({"attributes": {"POSITION": position}, "indices": indices})
            if material >= 0:
                name = item.material_names[material]
                primitives[-1]["material"] = materials.setdefault(name, len(materials))
            start += int(count)
        nodes.append({"name": item.name, "mesh": len(meshes)})
        meshes.append({"name": item.mesh_name, "primitives": primitives})
        for parent in item.parents:
            nodes.append({"name": parent, "children": [len(nodes) - 1]})
        roots.append(len(nodes) - 1)
    data = b"".join(chunks)
    document = {
        **{"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": roots}], "nodes": nodes, "meshes": meshes},
        **{"accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": len(data)}]},
        **({"materials": [{"name": name} for name in materials]} if materials else {}),
    }
    head = json.dumps(document).encode()
    head += b" " * (-len(head) % 4)
    sizes = [len(head), len(data)]
    header = b"glTF" + np.array([2, 28 + sum(sizes)], "<u4").tobytes()
    return b"".join([header, *(part for size, kind, body in zip(sizes, (b"JSON", b"BIN\0"), (head, data), strict=True)
                               for part in (np.array(size, "<u4").tobytes(), kind, body))])  # fmt: skip


# ---- the two ways to pa3d: step() waits a little and says whether the answer is there; answer() gives it; stop() ends


def program(path):
    """The command that runs pa3d, and its environment. Raises Problem if there is none."""
    if path:
        found = shutil.which(bpy.path.abspath(path))
        if found is None:
            raise Problem(f"{path}: no such program; set the path of pa3d in the preferences of this add-on")
    elif importlib.util.find_spec("pa3d") is not None:
        return [sys.executable, "-m", "pa3d.cli"], {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    else:
        found = shutil.which("pa3d")
        if found is None:
            raise Problem("pa3d was not found; install it, and set its path in the preferences of this add-on")
    # What is meant for Blender's Python must not reach that of pa3d.
    return [found], {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "PYTHONPATH")}


class Command:
    """`pa3d segment` in a process of its own."""

    def __init__(self, path, data, names, settings):
        command, environment = program(path)
        self.folder = tempfile.TemporaryDirectory(prefix="pa3d-")
        try:
            here = Path(self.folder.name)
            (here / "shape.glb").write_bytes(data)
            (here / "parts.txt").write_text("\n".join(names), encoding="utf-8")
            self.out = here / "out"
            command += ["segment", str(here / "shape.glb"), "--parts", str(here / "parts.txt"), "-o", str(self.out)]
            command += ["--no-pictures", "--json"]
            for key, value in settings.items():  # pa3d starts sooner where a value is the next word
                command += [f"--{key}={value}"] if value.startswith("-") else [f"--{key}", value]
            self.printed = [here / "stdout", here / "stderr"]
            with open(self.printed[0], "wb") as out, open(self.printed[1], "wb") as errors:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=out, stderr=errors, cwd=here, env=environment,
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                )  # fmt: skip
        except BaseException:
            self.folder.cleanup()
            raise

    def step(self, seconds):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is not None

    def answer(self):
        out, errors = (path.read_text(encoding="utf-8", errors="replace") for path in self.printed)
        if self.process.returncode:
            lines = errors.strip().splitlines() or [f"it ended with code {self.process.returncode}"]
            said = next((line for line in lines if line.startswith("error: ")), lines[-1])
            raise Problem(f"pa3d: {said.removeprefix('error: ')}")
        try:
            with np.load(self.out / "labels.npz") as arrays:
                return json.loads(out), arrays["face_labels"]
        except (OSError, ValueError, KeyError) as error:
            raise Problem(f"{self.process.args[0]} did not answer as pa3d does ({error})") from None

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


class Server:
    """A running `pa3d serve`, over HTTP on a port of this machine or on a Unix socket."""

    def __init__(self, address, data, names, settings):
        address = address.strip()
        host, _, port = address.removeprefix("http://").rstrip("/").rpartition(":")
        self.address = address
        try:
            if port.isdecimal() and host in ("", "127.0.0.1", "localhost"):
                self.socket = socket.create_connection(("127.0.0.1", int(port)), timeout=5)
            elif address and "://" not in address and hasattr(socket, "AF_UNIX"):
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.connect(bpy.path.abspath(address))
            else:
                raise Problem(f"{address or 'no address'}: expected a port of this machine, or the path of a socket")
        except (OSError, OverflowError) as error:
            raise Problem(f"no server at {address} ({error}); start it: pa3d serve {port or address}") from None
        query = urlencode({"name": "shape.glb", "parts": "\n".join(names), "labels": "true", **settings})
        head = f"POST /segment?{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
        self.left, self.received = memoryview(head.encode() + data), bytearray()
        self.socket.setblocking(False)

    def step(self, seconds):
        end = time.monotonic() + seconds
        while (wait := end - time.monotonic()) > 0:
            readable, writable, _ = select.select([self.socket], [self.socket] if self.left else [], [], wait)
            try:
                if readable:
                    block = self.socket.recv(1 << 20)
                    if not block:
                        return True
                    self.received += block
                elif writable:
                    self.left = self.left[self.socket.send(self.left[: 1 << 20]) :]
            except BlockingIOError:
                pass
            except OSError:  # the server refused the rest; what it said has come, or nothing has
                return True
        return False

    def answer(self):
        head, _, body = bytes(self.received).partition(b"\r\n\r\n")
        try:
            status = int(head.split()[1])
            said = json.loads(body) if body.strip() else {}
            if status == 200:
                return said, np.array(said["face_labels"], np.int32)
        except (IndexError, ValueError, KeyError, TypeError):
            raise Problem(f"the server at {self.address} did not answer as pa3d serve does") from None
        raise Problem(f"pa3d serve: {said.get('error', 'busy; try again')}" if isinstance(said, dict) else f"{status}")

    def stop(self):
        self.socket.close()


class Work:
    """Asks pa3d about one shape after the other. Touches no data of Blender."""

    def __init__(self, shapes, names, settings, door):
        self.shapes, self.names, self.settings, self.door = shapes, names, settings, door
        self.answers, self.job = [], None

    def step(self, seconds):
        """Wait for at most this long; True when all the answers are there. Raises Problem, and OSError."""
        if self.job is None:
            self.job = self.door(glb(self.shapes[len(self.answers)]), self.names, self.settings)
        if self.job.step(seconds):
            summary, labels = self.job.answer()
            shape = self.shapes[len(self.answers)]
            if len(labels) != sum(len(item.triangles) for item in shape) or len(summary["parts"]) != len(self.names):
                raise Problem("pa3d answered for another shape or other names")
            self.answers.append((summary, labels))
            self.stop()
        return len(self.answers) == len(self.shapes)

    def stop(self):
        if self.job is not None:
            self.job.stop()
            self.job = None


# ---- from labels to Blender's data


def write_attribute(mesh, labels, names):
    """The face attribute `part`, or `pa3d_part` where that name is taken: the number of the part, -1 for none."""
    kinds = {a.name: (a.domain, a.data_type) for a in mesh.attributes}
    name = "part" if kinds.get("part", ("FACE", "INT")) == ("FACE", "INT") else "pa3d_part"
    attribute = mesh.attributes[name] if name in kinds else mesh.attributes.new(name, "INT", "FACE")
    attribute.data.foreach_set("value", np.ascontiguousarray(labels, np.int32))
    mesh["pa3d_parts"] = "\n".join(names)
    mesh.update()


def write_groups(obj, labels, names):
    """A vertex group for each part; a vertex between two parts is in both. Those of an earlier run are replaced."""
    mesh = obj.data
    for name in mesh.get("pa3d_groups", "").split("\n"):
        if name in obj.vertex_groups:
            obj.vertex_groups.remove(obj.vertex_groups[name])
    corners = read(mesh.loops, "vertex_index", np.int32)
    of_corner = np.repeat(labels, read(mesh.polygons, "loop_total", np.int32))
    made = []
    for label in np.unique(labels[labels >= 0]):
        group = obj.vertex_groups.new(name=names[label])
        group.add(np.unique(corners[of_corner == label]).tolist(), 1.0, "REPLACE")
        made.append(group.name)
    mesh["pa3d_groups"] = "\n".join(made)


def part_material(name, color):
    """The material of a part, in the part's colour; one that pa3d made before is used again."""
    for material in bpy.data.materials:
        if (material.get("pa3d_part"), material.get("pa3d_color")) == (name, color) and not material.library:
            return material
    material = bpy.data.materials.new(name)
    material["pa3d_part"], material["pa3d_color"] = name, color
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    rgba = (*np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).tolist(), 1.0)
    material.diffuse_color = rgba
    if material.node_tree is None:  # before Blender 5, where each material has one
        material.use_nodes = True
    for node in material.node_tree.nodes:
        if node.type == "BSDF_PRINCIPLED":
            node.inputs["Base Color"].default_value = rgba
    return material


def write_materials(obj, labels, names, colors):
    """A slot for each part, after the object's own slots. Those of an earlier run are replaced."""
    mesh = obj.data
    for i in reversed(range(len(mesh.materials))):
        if mesh.materials[i] and "pa3d_part" in mesh.materials[i]:
            mesh.materials.pop(index=i)
    slot = np.empty(len(labels), np.int32)
    found = np.unique(labels)
    for label in (*found[found >= 0], *found[found < 0]):
        slot[labels == label] = len(mesh.materials)
        named = (names[label], colors[label]) if label >= 0 else (NO_PART, NO_PART_COLOR)
        mesh.materials.append(part_material(*named))
    mesh.polygons.foreach_set("material_index", slot)
    mesh.update()


def has_loose(mesh):
    """Whether there are vertices or edges without a face."""
    corners = (("vertex_index", mesh.vertices), ("edge_index", mesh.edges))
    return any(len(np.unique(read(mesh.loops, name, np.int32))) < len(items) for name, items in corners)


def keep_faces(mesh, kept, keep_loose):
    """Remove the other faces, and what has no face if not keep_loose."""
    work = bmesh.new()
    try:
        work.from_mesh(mesh)
        others = [face for face, stays in zip(work.faces, kept.tolist(), strict=True) if not stays]
        bmesh.ops.delete(work, geom=others, context="FACES")
        if not keep_loose:
            bmesh.ops.delete(work, geom=[edge for edge in work.edges if not edge.link_faces], context="EDGES")
            bmesh.ops.delete(work, geom=[vert for vert in work.verts if not vert.link_faces], context="VERTS")
        work.to_mesh(mesh)
    finally:
        work.free()


def make_pieces(obj, labels, names):
    """A child of the object for each part, with all that the object has. Loose vertices go to the first."""
    pieces, loose = [], has_loose(obj.data)
    try:
        for label in np.unique(labels):
            piece = obj.copy()
            pieces.append(piece)
            piece.data = obj.data.copy()
            piece.name = piece.data.name = f"{obj.name}.{names[label] if label >= 0 else NO_PART}"
            keep_faces(piece.data, labels == label, keep_loose=not loose or len(pieces) == 1)
            write_attribute(piece.data, np.full(len(piece.data.polygons), label), names)
            piece.animation_data_clear()  # it moves with its parent
            piece.constraints.clear()
            piece.parent, piece.parent_type, piece.parent_bone = obj, "OBJECT", ""
            piece.delta_location, piece.delta_scale = (0, 0, 0), (1, 1, 1)
            piece.delta_rotation_euler, piece.delta_rotation_quaternion = (0, 0, 0), (1, 0, 0, 0)
            piece.matrix_parent_inverse = piece.matrix_basis = Matrix.Identity(4)
            for collection in obj.users_collection:
                collection.objects.link(piece)
    except BaseException:
        remove(pieces)
        raise
    return pieces


def remove(objects):
    for obj in objects:
        mesh = obj.data
        bpy.data.objects.remove(obj)
        if mesh is not None and mesh.users == 0:
            bpy.data.meshes.remove(mesh)


def replace_by_empty(obj):
    """An empty in place of the object, with its name, parent, children and transform."""
    empty = bpy.data.objects.new(obj.name, None)
    empty.rotation_mode, empty.parent, empty.parent_type = obj.rotation_mode, obj.parent, obj.parent_type
    empty.parent_bone, empty.matrix_parent_inverse = obj.parent_bone, obj.matrix_parent_inverse
    empty.parent_vertices = obj.parent_vertices
    for name in ("location", "rotation_euler", "rotation_quaternion", "scale"):
        setattr(empty, f"delta_{name}", getattr(obj, f"delta_{name}"))
    empty.matrix_basis = obj.matrix_basis  # it includes the deltas
    name = obj.name
    obj.user_remap(empty)  # children, collections, and what else refers to it
    remove([obj])
    empty.name = name


def selected_meshes(context):
    """The selected meshes that have faces, by name, and notes about what was left out. Raises Problem."""
    if context.mode != "OBJECT":
        raise Problem(f"this works in Object Mode only; leave {context.mode.replace('_', ' ').title()} first")
    chosen = [obj for obj in context.selected_objects if obj.type == "MESH" and obj.data.polygons]
    rest = sorted(obj.name for obj in context.selected_objects if obj not in chosen)
    if not chosen:
        raise Problem(f"no faces: {', '.join(rest)}" if rest else "select an object with a mesh")
    for obj in chosen:
        if any(data.library or data.override_library for data in (obj, obj.data)):
            raise Problem(f"{obj.name} is linked from another file; make it local first: Object, Relations, Make Local")
    notes = [f"{', '.join(rest)}: no faces, left out"] if rest else []
    return sorted(chosen, key=lambda obj: obj.name), notes


def check_separable(obj, original):
    """Raise Problem for objects whose pieces would stand elsewhere than the object does."""
    if obj.parent and obj.parent_type in ("ARMATURE", "LATTICE"):
        raise Problem(f"{obj.name}: its parent deforms it; give it a modifier for that before it is separated")
    if original == "REPLACE":
        if obj.constraints or obj.animation_data:
            raise Problem(f"{obj.name} has constraints, drivers or animation; keep the original, which moves its parts")
        if any(child.parent_type.startswith("VERTEX") for child in obj.children):
            raise Problem(f"{obj.name}: its children follow its vertices; keep the original")


def write_in_place(found, names, colors, result, notes):
    """Vertex groups or materials on the meshes of (object, labels) pairs."""
    done = {}
    for obj, labels in found:
        earlier = done.get(obj.data)
        if earlier is not None:
            if (earlier == labels).all():
                continue
            obj.data = obj.data.copy()
            notes.append(f"{obj.name} has other parts than its copies and got a mesh of its own")
        done[obj.data] = labels
        write_attribute(obj.data, labels, names)
        if result == "GROUPS":
            write_groups(obj, labels, names)
        else:
            write_materials(obj, labels, names, colors)
    chosen = {obj for obj, _ in found}
    others = [obj.name for obj in bpy.data.objects if obj.type == "MESH" and obj.data in done and obj not in chosen]
    if others:
        notes.append(f"{', '.join(others)}: same mesh, so the same parts")


def write_objects(context, found, names, original):
    """The parts of (object, labels) pairs as objects of their own."""
    pieces = []
    try:
        for obj, labels in found:
            pieces += make_pieces(obj, labels, names)
    except BaseException:
        remove(pieces)
        raise
    for obj, _ in found:
        if original == "REPLACE":
            replace_by_empty(obj)
        else:
            obj.hide_set(True)
            obj.hide_render = True
    for piece in pieces:
        if piece.name in context.view_layer.objects:
            piece.select_set(True)
            context.view_layer.objects.active = piece


# ---- what Blender shows


class Settings:
    parts: StringProperty(name="Parts", description="The names of the parts, with commas: seat, back, leg")
    category: StringProperty(name="Category", description="What the object is, if you know it: chair")
    result: EnumProperty(
        name="Result",
        items=[
            ("GROUPS", "Vertex Groups", "A vertex group for each part; a vertex between two parts is in both"),
            ("MATERIALS", "Materials", "A material slot for each part, in the part's color, after the others"),
            ("OBJECTS", "Objects", "An object for each part, as children of the original"),
        ],
    )
    original: EnumProperty(
        name="Original",
        description="What becomes of an object when its parts become objects",
        items=[
            ("HIDE", "Hide", "Keep the original, hidden, as the parent of its parts"),
            ("REPLACE", "Replace", "An empty with the original's name takes its place"),
        ],
    )
    together: BoolProperty(
        name="One Shape",
        description="The selected objects are pieces of one thing; otherwise each is a thing of its own",
        default=True,
    )
    none: FloatProperty(
        name="None Below",
        description="Faces whose best probability is below this get none of the parts; 0: each face gets one",
        min=0,
        max=1,
    )
    up: EnumProperty(
        name="Up",
        description="Which direction of the scene is up for the object",
        items=[(axis, axis, "") for axis in UP if axis != "AUTO"]
        + [("AUTO", "Find", "Try 26 directions and take the one in which the names fit best")],
    )


class Pa3dSettings(Settings, bpy.types.PropertyGroup):
    """What the panel shows."""


class PA3D_OT_segment(Settings, bpy.types.Operator):
    bl_idname = "pa3d.segment"
    bl_label = "Find Parts"
    bl_description = "Find the parts of the selected meshes by their names"
    bl_options = {"REGISTER", "UNDO"}  # noqa: RUF012

    def invoke(self, context, event):
        """With a window, wait in a timer: the view can be moved, and Esc ends it."""
        if context.window is None:
            return self.execute(context)
        if not self.start(context):
            return {"CANCELLED"}
        self.timer = context.window_manager.event_timer_add(0.1, window=context.window)
        context.window_manager.modal_handler_add(self)
        context.window.cursor_modal_set("WAIT")
        return {"RUNNING_MODAL"}

    def modal(self, context, event):
        if event.type == "ESC":
            self.cancel(context)
            self.report({"WARNING"}, "pa3d was ended; nothing has changed")
            return {"CANCELLED"}
        if event.type != "TIMER":
            return {"PASS_THROUGH"} if event.type in VIEW_EVENTS else {"RUNNING_MODAL"}
        number = min(len(self.work.answers) + 1, len(self.work.shapes))
        context.workspace.status_text_set(f"pa3d: shape {number} of {len(self.work.shapes)}; Esc ends it")
        done = None
        try:
            done = self.try_to(self.work.step, 0.02)
        finally:
            if done is not False:
                self.cancel(context)
        if done is False:
            return {"RUNNING_MODAL"}
        return self.finish(context) if done else {"CANCELLED"}

    def execute(self, context):
        if not self.start(context):
            return {"CANCELLED"}
        try:
            while not (done := self.try_to(self.work.step, 1.0)):
                if done is None:
                    return {"CANCELLED"}
        finally:
            self.work.stop()
        return self.finish(context)

    def cancel(self, context):
        """Also called by Blender when it closes the window or opens another file."""
        self.work.stop()
        context.window_manager.event_timer_remove(self.timer)
        if context.window is not None:
            context.window.cursor_modal_restore()
            context.workspace.status_text_set(None)

    def try_to(self, function, *arguments):
        """What the function returns; None if it fails, which the user is told."""
        try:
            return function(*arguments)
        except (Problem, OSError, RuntimeError) as error:  # RuntimeError: Blender refuses something
            self.report({"ERROR"}, str(error))
        except MemoryError:
            self.report({"ERROR"}, "not enough memory for these meshes")
        return None

    def start(self, context):
        return self.try_to(self.capture, context)

    def finish(self, context):
        return self.try_to(self.write, context) or {"CANCELLED"}

    def capture(self, context):
        names = list(dict.fromkeys(name for raw in SEPARATORS.split(self.parts) if (name := raw.strip())))
        if not names:
            raise Problem("type the names of the parts, with commas: seat, back, leg")
        objects, self.notes = selected_meshes(context)
        if self.result == "OBJECTS":
            for obj in objects:
                check_separable(obj, self.original)
        depsgraph = context.evaluated_depsgraph_get()
        captured = [Captured(obj, depsgraph) for obj in objects]
        changed = [item.name for item in captured if not item.with_modifiers]
        if changed:
            self.notes.append(f"{', '.join(changed)}: modifiers make other faces, so the mesh without them was used")
        settings = {"up": UP[self.up]}
        if self.category.strip():
            settings["category"] = self.category.strip()
        if self.none > 0:
            settings["none"] = f"{self.none:.6g}"
        preferences = context.preferences.addons[__package__ or __name__].preferences
        door, where = (Server, preferences.address) if preferences.door == "SERVER" else (Command, preferences.command)
        shapes = [captured] if self.together else [[item] for item in captured]
        self.work = Work(shapes, names, settings, lambda *arguments: door(where, *arguments))
        return True

    def write(self, context):
        """Change the scene: all of it or nothing."""
        names, area = self.work.names, np.zeros(len(self.work.names) + 1)
        found = []
        for shape, (_, labels) in zip(self.work.shapes, self.work.answers, strict=True):
            start = 0
            for item in shape:
                own = labels[start : start + len(item.triangles)]
                start += len(item.triangles)
                area += np.bincount(own + 1, item.area, len(area))
                obj = bpy.data.objects.get(item.name)
                if obj is None or obj.type != "MESH" or obj.mode != "OBJECT" or topology(obj.data) != item.topology:
                    raise Problem(f"{item.name} has changed since; nothing was done")
                found.append((obj, item.labels(own)))
        parts = self.work.answers[0][0]["parts"]
        if self.result == "OBJECTS":
            write_objects(context, found, names, self.original)
        else:
            write_in_place(found, names, [part["color"] for part in parts], self.result, self.notes)
        shares = area / (area.sum() or 1)
        text = ", ".join(f"{name} {share:.0%}" for name, share in zip((NO_PART, *names), shares, strict=True) if share)
        absent = set.intersection(*(set(summary["not_found"]) for summary, _ in self.work.answers))
        self.notes[:0] = [f"not found: {', '.join(name for name in names if name in absent)}"] if absent else []
        self.report({"WARNING" if self.notes else "INFO"}, "; ".join([text, *self.notes]))
        return {"FINISHED"}


class PA3D_PT_parts(bpy.types.Panel):
    bl_label = "Parts by Name"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "pa3d"

    def draw(self, context):
        settings, column = context.scene.pa3d, self.layout.column()
        column.use_property_split, column.use_property_decorate = True, False
        for name in Settings.__annotations__:
            if name != "original" or settings.result == "OBJECTS":
                column.prop(settings, name)
        button = self.layout.row()
        button.enabled = context.mode == "OBJECT"
        button.scale_y = 1.5
        operator = button.operator(PA3D_OT_segment.bl_idname, icon="MOD_EXPLODE")
        for name in Settings.__annotations__:
            setattr(operator, name, getattr(settings, name))
        if context.mode != "OBJECT":
            self.layout.label(text="In Object Mode only", icon="INFO")


class Pa3dPreferences(bpy.types.AddonPreferences):
    bl_idname = __package__ or __name__

    door: EnumProperty(
        name="pa3d",
        items=[
            ("COMMAND", "Program", "Start pa3d for each shape"),
            ("SERVER", "Server", "Ask a running `pa3d serve`, which answers sooner"),
        ],
    )
    command: StringProperty(
        name="Program",
        description="The path of pa3d; empty: pa3d in Blender's Python if it is there, else the one on the PATH",
        subtype="FILE_PATH",
    )
    address: StringProperty(
        name="Address",
        description="What `pa3d serve` was given: a port of this machine, or the path of a socket",
        default="8765",
    )

    def draw(self, context):
        self.layout.prop(self, "door", expand=True)
        self.layout.prop(self, "address" if self.door == "SERVER" else "command")


CLASSES = (Pa3dSettings, Pa3dPreferences, PA3D_OT_segment, PA3D_PT_parts)


def register():
    for item in CLASSES:
        bpy.utils.register_class(item)
    bpy.types.Scene.pa3d = PointerProperty(type=Pa3dSettings)


def unregister():
    del bpy.types.Scene.pa3d
    for item in reversed(CLASSES):
        bpy.utils.unregister_class(item)
