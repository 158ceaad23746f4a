"""Runs in Blender's Python (tests/test_blender.py): installs the add-on, uses it, and writes what became of the scene.

python blender_addon.py ZIP FOUND.json extension|legacy '{"command": ..., "address": ..., "chair": ...}'
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import re
import sys
import tempfile
import time
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy
import numpy as np

import bmesh  # isort: skip: bpy brings these two
from mathutils import Matrix  # isort: skip

PARTS = "seat, back, leg"
OPTIONS: dict[str, str] = {}
SCENARIOS: dict[str, Callable[[], Any]] = {}
ADDON = ""


def scenario(function: Callable[[], Any]) -> Callable[[], Any]:
    SCENARIOS[function.__name__] = function
    return function


def install(zip_file: str, way: str) -> str:
    """The name of the module that Blender made of the ZIP."""
    if way == "extension":
        bpy.ops.extensions.package_install_files(filepath=zip_file, repo="user_default", enable_on_install=True)
    else:
        bpy.ops.preferences.addon_install(filepath=zip_file, enable_on_install=True)
    return next(addon.module for addon in bpy.context.preferences.addons if addon.module.endswith("pa3d_blender"))


def preferences() -> Any:
    return bpy.context.preferences.addons[ADDON].preferences


def clear() -> None:
    for items in (bpy.data.objects, bpy.data.meshes, bpy.data.materials, bpy.data.collections, bpy.data.curves):
        for item in list(items):
            items.remove(item)
    bpy.data.orphans_purge()
    preferences().door, preferences().address = "SERVER", OPTIONS["address"]


def run(**settings: Any) -> list[str]:
    """The level and text of what the operator reports, which Blender prints when it has no window."""
    settings = {"parts": PARTS, **settings}
    libc = ctypes.CDLL(None)
    stdout = os.dup(1)
    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        libc.fflush(None)
        os.dup2(file.fileno(), 1)
        try:
            result = bpy.ops.pa3d.segment(**settings)
            failed = ""
        except RuntimeError as error:
            failed = str(error).strip()
        finally:
            sys.stdout.flush()
            libc.fflush(None)
            os.dup2(stdout, 1)
            os.close(stdout)
        file.seek(0)
        printed = file.read().decode()
    if failed:
        level, _, text = failed.partition(": ")
        return [level.upper(), text]
    assert result == {"FINISHED"}
    ((level, text),) = re.findall(r"^(Info|Warning): (.*)", printed, re.MULTILINE)
    return [level.upper(), text]


def select(*objects: Any) -> None:
    bpy.ops.object.select_all(action="DESELECT")
    for obj in objects:
        obj.select_set(True)
    bpy.context.view_layer.objects.active = objects[0] if objects else None


def add(name: str, mesh: Any, matrix: Matrix | None = None, parent: Any = None) -> Any:
    obj = bpy.data.objects.new(name, mesh)
    bpy.context.collection.objects.link(obj)
    obj.parent = parent
    obj.matrix_basis = matrix or Matrix.Identity(4)
    bpy.context.view_layer.update()
    return obj


def box(name: str, size: tuple[float, float, float], middle: tuple[float, float, float], cuts: int = 3) -> Any:
    """A box of quads."""
    work = bmesh.new()
    bmesh.ops.create_cube(work, matrix=Matrix.Translation(middle) @ Matrix.Diagonal((*size, 1)))
    bmesh.ops.subdivide_edges(work, edges=work.edges[:], cuts=cuts, use_grid_fill=True)
    mesh = bpy.data.meshes.new(name)
    work.to_mesh(mesh)
    work.free()
    return mesh


def chair_of_boxes() -> list[Any]:
    """Six objects; the legs share a mesh."""
    leg = box("leg", (0.1, 0.1, 0.9), (0, 0, 0.45))
    legs = [add(f"leg {x} {y}", leg, Matrix.Translation((x, y, 0))) for x in (-0.4, 0.4) for y in (-0.4, 0.4)]
    return [
        add("seat", box("seat", (1, 1, 0.1), (0, 0, 0.95))),
        add("back", box("back", (1, 0.1, 1), (0, 0.45, 1.5))),
        *legs,
    ]


def one_mesh() -> Any:
    """The same as one object of quads, triangles and a polygon of many corners."""
    objects = chair_of_boxes()
    select(*objects)
    bpy.ops.object.convert(target="MESH")  # a mesh for each
    bpy.ops.object.join()
    obj = bpy.context.view_layer.objects.active
    obj.name = obj.data.name = "thing"
    work = bmesh.new()
    work.from_mesh(obj.data)
    work.faces.ensure_lookup_table()
    top = [face for face in work.faces if face.normal.z > 0.9 and face.calc_center_median().z < 1.1]
    bmesh.ops.dissolve_faces(work, faces=top)
    bmesh.ops.triangulate(work, faces=[face for face in work.faces if face.normal.x > 0.9])
    work.to_mesh(obj.data)
    work.free()
    return obj


def chair() -> Any:
    bpy.ops.import_scene.gltf(filepath=OPTIONS["chair"])
    (obj,) = (obj for obj in bpy.data.objects if obj.type == "MESH")
    select(obj)
    return obj


def labels(mesh: Any, name: str = "part") -> list[int]:
    return [item.value for item in mesh.attributes[name].data]


def fingerprint() -> Any:
    """What must not change when something fails."""
    meshes = [
        (
            m.name,
            len(m.vertices),
            len(m.polygons),
            sorted(a.name for a in m.attributes),
            [s and s.name for s in m.materials],
        )
        for m in bpy.data.meshes
    ]
    objects = [
        (o.name, o.hide_get(), o.parent and o.parent.name, [g.name for g in o.vertex_groups]) for o in bpy.data.objects
    ]
    return json.loads(json.dumps([meshes, objects, [m.name for m in bpy.data.materials]]))


def as_groups(obj: Any) -> Any:
    members = {g.name: [] for g in obj.vertex_groups}
    for vertex in obj.data.vertices:
        for entry in vertex.groups:
            assert entry.weight == 1
            members[obj.vertex_groups[entry.group].name].append(vertex.index)
    return members


def as_materials(obj: Any) -> Any:
    slots = [slot.material for slot in obj.material_slots]
    return {
        "slots": [material.name for material in slots],
        "colors": [list(material.diffuse_color)[:3] for material in slots],
        "nodes": [
            list(material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value)[:3]
            for material in slots
        ],
        "index": [polygon.material_index for polygon in obj.data.polygons],
    }


def as_objects() -> Any:
    return {
        o.name: {
            "type": o.type,
            "parent": o.parent and o.parent.name,
            "hidden": o.hide_get() and o.hide_render,
            "faces": len(o.data.polygons) if o.type == "MESH" else None,
            "vertices": len(o.data.vertices) if o.type == "MESH" else None,
            "labels": sorted(set(labels(o.data))) if o.type == "MESH" and "part" in o.data.attributes else None,
            "collections": sorted(c.name for c in o.users_collection),
            "selected": o.select_get(),
        }
        for o in bpy.data.objects
    }


def all_ways() -> Any:
    found: dict[str, Any] = {}
    obj = chair()
    corners = [list(polygon.vertices) for polygon in obj.data.polygons]
    found["reports"] = [run(result="GROUPS")]
    found["labels"], found["groups"] = labels(obj.data), as_groups(obj)
    found["reports"].append(run(result="MATERIALS"))
    found["materials"] = as_materials(obj)
    found["reports"].append(run(result="OBJECTS"))
    found["objects"], found["corners"] = as_objects(), corners
    return found


@scenario
def by_command() -> Any:
    preferences().door = "COMMAND"
    preferences().command = OPTIONS["command"]
    return all_ways()


@scenario
def by_server() -> Any:
    return all_ways()


@scenario
def by_port() -> Any:
    preferences().address = f"http://localhost:{OPTIONS['port']}/"
    obj = chair()
    run()
    return labels(obj.data)


@scenario
def in_blenders_python() -> Any:
    """pa3d where Blender's Python can import it; with options whose values are not plain."""
    preferences().door, preferences().command = "COMMAND", ""
    obj = chair()
    sys.path.append(OPTIONS["package"])
    try:
        run()
        upright = labels(obj.data)
        program = sys.modules[ADDON].program("")[0]
        preferences().command = OPTIONS["command"]
        run(up="-Z", category="-chair")
        return {"program": program, "python": sys.executable, "labels": upright, "upside_down": labels(obj.data)}
    finally:
        sys.path.remove(OPTIONS["package"])


def exported(obj: Any, name: str) -> Any:
    """The labels of the faces, and what tells how they follow from those of Blender's own export."""
    bpy.ops.export_scene.gltf(filepath=f"{OPTIONS['export']}-{name}.glb", use_selection=True)
    report = run()
    obj.data.calc_loop_triangles()
    triangles = sorted(obj.data.loop_triangles, key=lambda triangle: triangle.material_index)
    return {
        "report": report,
        "corners": [len(polygon.vertices) for polygon in obj.data.polygons],
        "labels": labels(obj.data),
        "triangle_polygon": [triangle.polygon_index for triangle in triangles],
        "area": [triangle.area for triangle in triangles],
    }


@scenario
def polygons() -> Any:
    """Quads, triangles and a large polygon."""
    return exported(one_mesh(), "polygons")


@scenario
def several_materials() -> Any:
    """Faces of three materials, one after the other."""
    obj = one_mesh()
    for name in ("wood", "metal", "cloth"):
        obj.data.materials.append(bpy.data.materials.new(name))
    for polygon in obj.data.polygons:
        polygon.material_index = polygon.index % 3
    return exported(obj, "several_materials")


@scenario
def majority() -> Any:
    """The largest share of the area decides, the lowest label of equals; faces without area count their triangles."""
    points = [(0, 0, 0), (4, 0, 0), (4, 1, 0), (1, 1, 0), (0, 5, 0), (0, 6, 0), (4, 6, 0), (4, 5, 0), (9, 9, 9)]
    mesh = bpy.data.meshes.new("few")
    mesh.from_pydata(points, [], [(0, 1, 2, 3), (4, 5, 6, 7), (8, 8, 8), (4, 7, 3)])
    obj = add("few", mesh)
    captured = sys.modules[ADDON].Captured(obj, bpy.context.evaluated_depsgraph_get())
    area = captured.area.tolist()
    answers = []
    for given in ([0, 1, 0, 1, 2, -1], [1, 0, 1, 0, -1, 3], [-1, -1, -1, -1, -1, -1]):
        answers.append(captured.labels(np.array(given, np.int32)).tolist())
    return {"area": area, "polygon": captured.polygon.tolist(), "answers": answers}


@scenario
def several_objects() -> Any:
    """Six objects as one shape, moved, turned and mirrored; the legs share a mesh."""
    objects = chair_of_boxes()
    place = (
        Matrix.Translation((50, -20, 7)) @ Matrix.Rotation(math.radians(30), 4, "Z") @ Matrix.Diagonal((-3, 3, 3, 1))
    )
    top = bpy.data.objects.new("top", None)
    bpy.context.collection.objects.link(top)
    for obj in objects:
        obj.parent = top
    top.matrix_basis = place
    bpy.context.view_layer.update()
    lamp = bpy.data.objects.new("light", bpy.data.lights.new("light", "POINT"))
    bpy.context.collection.objects.link(lamp)
    select(*objects, lamp)
    report = run(result="MATERIALS")
    return {
        "report": report,
        "labels": {obj.name: labels(obj.data) for obj in objects},
        "meshes": len({obj.data for obj in objects}),
        "slots": {obj.name: [slot.material.name for slot in obj.material_slots] for obj in objects},
        "materials": [material.name for material in bpy.data.materials],
    }


@scenario
def instances() -> Any:
    """Copies of a mesh whose labels differ get a mesh each; one that is not selected shows what its mesh has."""
    mesh = box("block", (1, 1, 1), (0, 0, 0))
    objects = [add(name, mesh, Matrix.Translation((0, 0, z))) for name, z in (("a", 0), ("b", 4), ("c", 9), ("d", 20))]
    module = sys.modules[ADDON]
    count = len(mesh.polygons)
    notes: list[str] = []
    given = [np.zeros(count, np.int32), np.zeros(count, np.int32), np.ones(count, np.int32)]
    module.write_in_place(list(zip(objects, given, strict=False)), ["x", "y"], ["#FF0000", "#00FF00"], "GROUPS", notes)
    return {
        "same": [obj.data == mesh for obj in objects],
        "labels": [sorted(set(labels(obj.data))) for obj in objects],
        "groups": [[g.name for g in obj.vertex_groups] for obj in objects],
        "notes": notes,
    }


@scenario
def each_alone() -> Any:
    first, second = one_mesh(), None
    second = add("second", first.data.copy(), Matrix.Translation((30, 0, 0)))
    select(first, second)
    report = run(together=False)
    return {"report": report, "labels": [labels(first.data), labels(second.data)]}


@scenario
def up_and_category() -> Any:
    """An object that lies on its back, with its up direction named, has the labels that it has upright."""
    obj = one_mesh()
    run(category="chair")
    upright = labels(obj.data)
    obj.matrix_basis = Matrix.Rotation(math.radians(-90), 4, "X")  # Z to Y
    bpy.context.view_layer.update()
    run(category="chair", up="Y")
    return [upright, labels(obj.data)]


@scenario
def far_away() -> Any:
    """Where float32 is coarser than a leg is thick."""
    obj = one_mesh()
    run()
    near = labels(obj.data)
    obj.matrix_basis = Matrix.Translation((4e6, -4e6, 0))
    bpy.context.view_layer.update()
    run()
    return [near, labels(obj.data)]


@scenario
def none_below() -> Any:
    obj = one_mesh()
    report = run(none=1.0, result="MATERIALS")
    return {"report": report, "labels": labels(obj.data), "slots": [slot.material.name for slot in obj.material_slots]}


@scenario
def modifiers() -> Any:
    """One that moves vertices, and one that makes other faces."""
    found = {}
    for kind in ("CAST", "SUBSURF"):
        clear()
        obj = one_mesh()
        modifier = obj.modifiers.new(kind, kind)
        if kind == "CAST":
            modifier.factor = 1.0
        captured = sys.modules[ADDON].Captured(obj, bpy.context.evaluated_depsgraph_get())
        report = run()
        extent = np.ptp(captured.points, axis=0).tolist()
        found[kind] = {"report": report, "extent": extent, "labelled": len(labels(obj.data)) == len(obj.data.polygons)}
    return found


@scenario
def again() -> Any:
    """A second run replaces the first, and leaves what others made."""
    obj = one_mesh()
    obj.vertex_groups.new(name="leg").add([0, 1], 0.25, "REPLACE")
    obj.data.materials.append(bpy.data.materials.new("wood"))
    obj.data.attributes.new("part", "FLOAT", "POINT")
    for result in ("GROUPS", "GROUPS", "MATERIALS", "MATERIALS"):
        run(result=result)
    found = {"groups": [g.name for g in obj.vertex_groups], "weight": obj.vertex_groups["leg"].weight(0)}
    found["slots"] = [slot.material.name for slot in obj.material_slots]
    found["attributes"] = sorted(a.name for a in obj.data.attributes if "part" in a.name)
    found["before"] = labels(obj.data, "pa3d_part")
    found["materials"] = sorted(material.name for material in bpy.data.materials)
    return found


def furnished() -> Any:
    """An object with a parent, a child, a collection, UVs, a group, a shape key, a loose vertex, a delta transform."""
    obj = one_mesh()
    mesh = obj.data
    work = bmesh.new()
    work.from_mesh(mesh)
    work.verts.new((0, 0, 3))
    work.to_mesh(mesh)
    work.free()
    mesh.uv_layers.new(name="map")
    obj.vertex_groups.new(name="pin").add(list(range(len(mesh.vertices))), 0.5, "REPLACE")
    obj.shape_key_add(name="Basis")
    obj.shape_key_add(name="taller").data[0].co.z += 1
    collection = bpy.data.collections.new("room")
    bpy.context.scene.collection.children.link(collection)
    collection.objects.link(obj)
    parent = add("floor", box("floor", (9, 9, 0.1), (0, 0, -1)), Matrix.Translation((3, 0, 0)))
    obj.parent, obj.matrix_parent_inverse = parent, Matrix.Translation((0, 2, 0))
    obj.matrix_basis = Matrix.Rotation(0.5, 4, "Z") @ Matrix.Diagonal((1, 2, 1, 1))
    obj.delta_location = (0, 0, 5)
    add("cup", box("cup", (0.1, 0.1, 0.1), (0, 0, 1)), parent=obj)
    select(obj)
    bpy.context.view_layer.update()
    return obj


def world_points(objects: list[Any]) -> list[list[float]]:
    rows = [list(o.matrix_world @ v.co) for o in objects for v in o.data.vertices]
    return sorted([round(x, 4) + 0.0 for x in row] for row in rows)


@scenario
def separated() -> Any:
    found = {}
    for original in ("HIDE", "REPLACE"):
        clear()
        obj = furnished()
        before = sorted({tuple(row) for row in world_points([obj])})
        cup = [list(row) for row in bpy.data.objects["cup"].matrix_world]
        report = run(result="OBJECTS", original=original)
        bpy.context.view_layer.update()
        pieces = [o for o in bpy.data.objects if o.name.startswith("thing.")]
        found[original] = {
            "report": report,
            "objects": as_objects(),
            "moved": before != sorted({tuple(row) for row in world_points(pieces)}),
            "cup": [list(row) for row in bpy.data.objects["cup"].matrix_world] == cup,
            "uv": [[layer.name for layer in o.data.uv_layers] for o in pieces],
            "groups": [[g.name for g in o.vertex_groups] for o in pieces],
            "keys": [
                [(k.name, len(k.data) == len(o.data.vertices)) for k in o.data.shape_keys.key_blocks] for o in pieces
            ],
            "valid": [not o.data.validate() for o in pieces],
            "meshes": sorted(mesh.name for mesh in bpy.data.meshes),
        }
    return found


@scenario
def undone() -> Any:
    """A step of undo takes back everything, and the next run works."""
    found = {}
    for result in ("GROUPS", "MATERIALS", "OBJECTS"):
        clear()
        one_mesh()
        before = fingerprint()
        bpy.ops.ed.undo_push(message="before")
        bpy.ops.pa3d.segment("EXEC_DEFAULT", True, parts=PARTS, result=result, original="REPLACE")
        changed = fingerprint() != before
        bpy.ops.ed.undo()
        found[result] = [changed, fingerprint() == before]
    return found


@scenario
def errors() -> Any:
    """What the user is told, and whether the scene is as it was."""
    found: dict[str, Any] = {}

    def check(name: str, **settings: Any) -> None:
        before = fingerprint()
        bpy.context.view_layer.update()
        report = run(**settings)
        found[name] = [*report, fingerprint() == before]

    obj = one_mesh()
    check("no names", parts=" , ;")
    select()
    check("nothing selected")
    points = add("points", bpy.data.meshes.new("points"))
    points.data.vertices.add(3)
    select(points)
    check("no faces")
    curve = bpy.data.objects.new("curve", bpy.data.curves.new("curve", "CURVE"))
    bpy.context.collection.objects.link(curve)
    select(curve)
    check("no mesh")
    select(obj)
    bpy.ops.object.mode_set(mode="EDIT")
    check("edit mode")
    bpy.ops.object.mode_set(mode="OBJECT")
    library = Path(OPTIONS["export"] + ".blend")
    bpy.data.libraries.write(str(library), {add("far", box("far", (1, 1, 1), (0, 0, 0)))})
    bpy.data.objects.remove(bpy.data.objects["far"])
    with bpy.data.libraries.load(str(library), link=True) as (_, wanted):
        wanted.objects = ["far"]
    linked = wanted.objects[0]
    bpy.context.collection.objects.link(linked)
    select(linked)
    check("linked")
    bpy.data.objects.remove(linked)
    broken = add("broken", box("broken", (1, 1, 1), (0, 0, 0)))
    broken.data.vertices[0].co.x = float("nan")
    select(broken)
    check("not finite")
    broken.data.vertices[0].co.x = 0
    broken.scale = (0, 0, 0)
    bpy.context.view_layer.update()
    check("no extent")
    select(obj)
    check("a refused name", parts="seat, \x01")
    obj.keyframe_insert("location", frame=1)
    check("animated", result="OBJECTS", original="REPLACE")
    obj.animation_data_clear()
    preferences().address = OPTIONS["export"] + ".socket"
    check("no server")
    preferences().address = "http://10.0.0.1:80"
    check("another machine")
    preferences().address = OPTIONS["stranger"]
    check("another server")
    preferences().door, preferences().command = "COMMAND", "/nowhere/pa3d"
    check("no program")
    preferences().command = sys.executable
    check("another program")
    preferences().command = OPTIONS["command"]
    check("refused by the program", parts="seat, \x01")
    return found


@scenario
def half_way() -> Any:
    """Something fails while pieces are made, or the mesh changes while pa3d works: the scene is as it was."""
    module = sys.modules[ADDON]
    obj = one_mesh()
    before = fingerprint()
    keep_faces, calls = module.keep_faces, []

    def failing(*arguments: Any, **more: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise MemoryError
        keep_faces(*arguments, **more)

    module.keep_faces = failing
    first = [*run(result="OBJECTS"), fingerprint() == before]
    module.keep_faces = keep_faces
    step = module.Server.step

    def meddling(self: Any, seconds: float) -> bool:
        if len(obj.data.polygons) == faces:
            obj.data.vertices.add(1)
        return bool(step(self, seconds))

    faces = len(obj.data.polygons)
    module.Server.step = meddling
    second = run()
    module.Server.step = step
    return {"memory": first, "changed": second, "attributes": "part" in obj.data.attributes}


class Window:
    """bpy.context with a window, which the package bpy cannot open; what is asked of it is counted."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.window = self.workspace = self.window_manager = self

    def __getattr__(self, name: str) -> Any:
        if (
            name in ("event_timer_add", "event_timer_remove", "modal_handler_add", "status_text_set")
            or "cursor" in name
        ):
            return lambda *arguments, **more: self.calls.append(name)
        return getattr(bpy.context, name)


def with_window(*events: str) -> Any:
    """The operator's own functions, as the button calls them, with these events; the last one is repeated."""
    operator = sys.modules[ADDON].PA3D_OT_segment
    functions = ("invoke", "modal", "cancel", "try_to", "start", "finish", "capture", "write")
    stand_in = type("StandIn", (), {name: getattr(operator, name) for name in functions})()
    for name, value in {"parts": PARTS, "category": "", "result": "GROUPS", "original": "HIDE"}.items():
        setattr(stand_in, name, value)
    stand_in.together, stand_in.none, stand_in.up = True, 0.0, "Z"
    reports: list[str] = []
    stand_in.report = lambda level, text: reports.append(text)
    context = Window()
    answers = [sorted(stand_in.invoke(context, None))[0]]
    folder = getattr(stand_in.work.job, "folder", None)
    for event in (*events, *[events[-1]] * 600):
        if answers[-1] not in ("RUNNING_MODAL", "PASS_THROUGH"):
            break
        answers.append(sorted(stand_in.modal(context, types.SimpleNamespace(type=event)))[0])
        folder = folder or getattr(stand_in.work.job, "folder", None)
        time.sleep(0.02)
    return {
        "answers": sorted(set(answers[:-1])),
        "last": answers[-1],
        "calls": {name: context.calls.count(name) for name in set(context.calls)},
        "text": reports[-1],
        "left": folder is not None and Path(folder.name).exists(),
    }


@scenario
def with_a_window() -> Any:
    found = {}
    obj = one_mesh()
    preferences().door, preferences().command = "COMMAND", OPTIONS["command"]
    found["escape"] = with_window("TIMER", "A", "MIDDLEMOUSE", "TIMER", "ESC")
    preferences().command = sys.executable
    found["failure"] = with_window("TIMER")
    found["unchanged"] = "part" not in obj.data.attributes and not obj.vertex_groups
    preferences().door = "SERVER"
    found["done"] = with_window("TIMER", "MIDDLEMOUSE", "TIMER")
    found["groups"] = [g.name for g in obj.vertex_groups]
    return found


@scenario
def switched_off() -> Any:
    """Off and on again."""
    import addon_utils

    addon_utils.disable(ADDON)
    gone = not hasattr(bpy.types.Scene, "pa3d")
    addon_utils.enable(ADDON)
    return [gone, hasattr(bpy.types.Scene, "pa3d"), hasattr(bpy.types, "PA3D_PT_parts")]


def main() -> None:
    global ADDON
    zip_file, out, way, options = sys.argv[1:]
    OPTIONS.update(json.loads(options))
    bpy.ops.wm.read_factory_settings(use_empty=True)
    ADDON = install(zip_file, way)
    found: dict[str, Any] = {"module": ADDON, "version": list(bpy.app.version)}
    if way == "extension":
        for name, function in SCENARIOS.items():
            print(f"-- {name}", flush=True)
            clear()
            try:
                found[name] = function()
            except Exception:
                found[name] = {"traceback": traceback.format_exc()}
    else:
        preferences().command = OPTIONS["command"]
        bpy.ops.import_scene.gltf(filepath=OPTIONS["chair"])
        (obj,) = (obj for obj in bpy.data.objects if obj.type == "MESH")
        select(obj)
        bpy.ops.pa3d.segment(parts=PARTS)
        found["labels"] = labels(obj.data)
    Path(out).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
