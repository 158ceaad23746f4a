"""FBX, COLLADA, USD, 3MF, STEP, and glTF with Draco and meshopt: values worked out by hand, names, damage, limits."""

from __future__ import annotations

import base64
import json
import locale
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pa3d.data.harvest import archives
from pa3d.errors import InputError
from pa3d.io import _isolated, load, read_geometry
from pa3d.io._common import CorruptFileError, Geometry
from pa3d.io._isolated import read_isolated
from pa3d.shape import Piece

DATA = Path(__file__).parent / "data"
# A wedge without symmetries: any wrong axis, sign or order shows.
POINTS = np.array([[0.0, 0, 0], [4, 0, 0], [4, 2, 0], [0, 2, 0], [0, 0, 1]])
FACES = np.array([[0, 2, 1], [0, 3, 2], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]])


def y_up(points: np.ndarray) -> np.ndarray:
    """z up to y up: x stays, z becomes y, y becomes -z."""
    return np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1)


def check(geometry: Geometry, points: np.ndarray, faces: np.ndarray, names: list[str] | None = None) -> None:
    np.testing.assert_allclose(geometry.points, points, atol=1e-6 * np.abs(points).max())
    np.testing.assert_array_equal(geometry.faces, faces)
    if names is not None:
        assert [name for name, _ in objects(geometry)] == names
        assert sum(count for _, count in objects(geometry)) == len(faces)


def objects(geometry: Geometry) -> list[tuple[str, int]]:
    """The node of each piece, and how many faces it has."""
    counts = np.bincount(geometry.face_piece, minlength=len(geometry.pieces))
    return [(piece.node, int(count)) for piece, count in zip(geometry.pieces, counts, strict=True)]


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


# --- FBX ---


def fbx(nodes: str, up: int = 1, front: int = 2, sign: int = 1, unit: float = 1) -> str:
    """ASCII FBX 7.4 with the wedge as geometry 100. nodes: its models and their connections."""
    polygons = ",".join(f"{a},{b},{-c - 1}" for a, b, c in FACES)
    properties = "".join(
        f'P: "{key}", "int", "Integer", "",{value}\n'
        for key, value in {
            "UpAxis": up,
            "UpAxisSign": 1,
            "FrontAxis": front,
            "FrontAxisSign": sign,
            "CoordAxis": 0,
            "CoordAxisSign": 1,
        }.items()
    )
    return (
        "; FBX 7.4.0 project file\nFBXHeaderExtension:  {\n FBXHeaderVersion: 1003\n FBXVersion: 7400\n}\n"
        f"GlobalSettings:  {{\n Version: 1000\n Properties70:  {{\n{properties}"
        f'P: "UnitScaleFactor", "double", "Number", "",{unit}\n }}\n}}\n'
        f'Objects:  {{\n Geometry: 100, "Geometry::wedge", "Mesh" {{\n'
        f"  Vertices: *{POINTS.size} {{\n a: {','.join(map(str, POINTS.ravel()))}\n }}\n"
        f"  PolygonVertexIndex: *{FACES.size} {{\n a: {polygons}\n }}\n  GeometryVersion: 124\n }}\n{nodes}"
    )


def model(number: int, name: str, **local: tuple[float, float, float]) -> str:
    names = {"move": "Lcl Translation", "turn": "Lcl Rotation", "scale": "Lcl Scaling"}
    rows = "".join(
        f'P: "{names[key]}", "{names[key]}", "", "A",{",".join(map(str, value))}\n' for key, value in local.items()
    )
    return f' Model: {number}, "Model::{name}", "Mesh" {{\n  Version: 232\n  Properties70:  {{\n{rows}  }}\n }}\n'


def connections(*pairs: tuple[int, int]) -> str:
    return "}\nConnections:  {\n" + "".join(f' C: "OO",{child},{parent}\n' for child, parent in pairs) + "}\n"


def test_fbx_units_transforms_instances_and_names(tmp_path: Path) -> None:
    # A node within another, both with the same geometry: 1 unit is 2.54 cm.
    nodes = model(1, "upper", move=(1, 0, 0), scale=(2, 2, 2)) + model(2, "Träger", turn=(0, 0, 90), move=(0, 3, 0))
    text = fbx(nodes + connections((1, 0), (2, 1), (100, 1), (100, 2)), unit=2.54)
    geometry = read_geometry(write(tmp_path, "a.fbx", text))
    upper = 2 * POINTS + [1, 0, 0]
    turned = np.stack([-POINTS[:, 1], POINTS[:, 0], POINTS[:, 2]], axis=1)  # by 90 degrees about z
    lower = 2 * (turned + [0, 3, 0]) + [1, 0, 0]
    faces = np.concatenate([FACES, FACES + len(POINTS)])
    check(geometry, 0.0254 * np.concatenate([upper, lower]), faces, ["upper", "Träger"])


def test_fbx_z_up_becomes_y_up(tmp_path: Path) -> None:
    nodes = model(1, "a") + connections((1, 0), (100, 1))
    geometry = read_geometry(write(tmp_path, "a.fbx", fbx(nodes, up=2, front=1, sign=-1, unit=100)))
    check(geometry, y_up(POINTS), FACES, ["a"])
    assert load(tmp_path / "a.fbx").up == "y"


def test_fbx_mirrored_nodes_keep_faces_outside(tmp_path: Path) -> None:
    nodes = model(1, "a", scale=(-1, 1, 1)) + connections((1, 0), (100, 1))
    check(read_geometry(write(tmp_path, "a.fbx", fbx(nodes, unit=100))), POINTS * [-1, 1, 1], FACES[:, ::-1])


# --- COLLADA ---


def dae(scene: str, up: str = "Y_UP", unit: str = "1", more: str = "", libraries: str = "") -> str:
    polygons = " ".join(str(i) for face in FACES for i in face)
    return f"""<?xml version="1.0" encoding="utf-8"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
 <asset><created>2020-01-01T00:00:00</created><modified>2020-01-01T00:00:00</modified>
  <unit name="u" meter="{unit}"/><up_axis>{up}</up_axis></asset>
 <library_geometries><geometry id="wedge" name="wedge"><mesh>
  <source id="p"><float_array id="pa" count="15">{" ".join(map(str, POINTS.ravel()))}</float_array>
   <technique_common><accessor source="#pa" count="5" stride="3"><param name="X" type="float"/>
   <param name="Y" type="float"/><param name="Z" type="float"/></accessor></technique_common></source>
  <vertices id="v"><input semantic="POSITION" source="#p"/></vertices>
  <polylist count="6"><input semantic="VERTEX" source="#v" offset="0"/><vcount>{"3 " * 6}</vcount><p>{polygons}</p>
  </polylist>{more}</mesh></geometry></library_geometries>{libraries}
 <library_visual_scenes><visual_scene id="s">{scene}</visual_scene></library_visual_scenes>
 <scene><instance_visual_scene url="#s"/></scene></COLLADA>"""


def test_collada_units_axes_transforms_instances_and_names(tmp_path: Path) -> None:
    scene = """<node id="n1" name="upper"><translate>1 0 0</translate><rotate>0 0 1 90</rotate><scale>2 2 2</scale>
     <instance_geometry url="#wedge"/><instance_node url="#n2"/></node>
     <node id="n3"><translate>0 0 9</translate><instance_node url="#n2"/></node>"""
    library = """<library_nodes><node id="n2" name="lower"><matrix>1 0 0 5 0 1 0 6 0 0 1 7 0 0 0 1</matrix>
     <instance_geometry url="#wedge"/></node></library_nodes>"""
    geometry = read_geometry(write(tmp_path, "a.dae", dae(scene, "Z_UP", "0.01", libraries=library)))

    def upper(points: np.ndarray) -> np.ndarray:
        return np.stack([-2 * points[:, 1] + 1, 2 * points[:, 0], 2 * points[:, 2]], axis=1)

    stands = [upper(POINTS), upper(POINTS + [5, 6, 7]), POINTS + [5, 6, 16]]
    faces = np.concatenate([FACES + 5 * i for i in range(3)])
    check(geometry, 0.01 * y_up(np.concatenate(stands)), faces, ["upper", "lower", "lower"])


def test_collada_x_up(tmp_path: Path) -> None:
    scene = '<node id="n"><instance_geometry url="#wedge"/></node>'
    expected = np.stack([-POINTS[:, 1], POINTS[:, 0], POINTS[:, 2]], axis=1)
    check(read_geometry(write(tmp_path, "a.dae", dae(scene, "X_UP"))), expected, FACES)


def test_collada_decimal_commas_lines_and_broken_materials(tmp_path: Path) -> None:
    lines = '<lines count="1"><input semantic="VERTEX" source="#v" offset="0"/><p>0 1</p></lines>'
    scene = """<node id="n"><translate>0,5 0 0</translate><instance_geometry url="#wedge"><bind_material>
     <technique_common><instance_material symbol="m" target="#nowhere"/></technique_common></bind_material>
     </instance_geometry><instance_light url="#none"/></node>"""
    text = dae(scene, unit="0,5", more=lines)
    check(read_geometry(write(tmp_path, "a.dae", text)), 0.5 * (POINTS + [0.5, 0, 0]), FACES)


def test_collada_skin_stands_where_its_joints_are(tmp_path: Path) -> None:
    """Two joints: one where it was bound, one moved by (0, 0, 10) since. The node of the mesh does not count."""
    skin = """<library_controllers><controller id="c"><skin source="#wedge">
     <bind_shape_matrix>1 0 0 0 0 1 0 0 0 0 1 3 0 0 0 1</bind_shape_matrix>
     <source id="j"><Name_array id="ja" count="2">still moved</Name_array><technique_common>
      <accessor source="#ja" count="2"><param name="JOINT" type="name"/></accessor></technique_common></source>
     <source id="b"><float_array id="ba" count="32">1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1
      </float_array><technique_common><accessor source="#ba" count="2" stride="16">
      <param name="TRANSFORM" type="float4x4"/></accessor></technique_common></source>
     <source id="w"><float_array id="wa" count="2">1 0.5</float_array><technique_common>
      <accessor source="#wa" count="2"><param name="WEIGHT" type="float"/></accessor></technique_common></source>
     <joints><input semantic="JOINT" source="#j"/><input semantic="INV_BIND_MATRIX" source="#b"/></joints>
     <vertex_weights count="5"><input semantic="JOINT" source="#j" offset="0"/>
      <input semantic="WEIGHT" source="#w" offset="1"/><vcount>1 1 1 1 2</vcount><v>0 0 0 0 1 0 1 0 0 1 1 1</v>
     </vertex_weights></skin></controller></library_controllers>"""
    scene = """<node id="r"><node id="a" sid="still" type="JOINT"/>
     <node id="b" sid="moved" type="JOINT"><translate>0 0 10</translate></node></node>
     <node id="m" name="skinned"><translate>99 99 99</translate><instance_controller url="#c"><skeleton>#r</skeleton>
     </instance_controller></node>"""
    lifted = np.array([0, 0, 10, 10, 5])  # the last vertex: half by each joint
    expected = POINTS + np.stack([0 * lifted, 0 * lifted, 3 + lifted], axis=1)
    text = dae(scene, libraries=skin)
    check(read_geometry(write(tmp_path, "a.dae", text)), expected, FACES, ["skinned"])


def test_collada_zipped(tmp_path: Path) -> None:
    scene = '<node id="n"><instance_geometry url="#wedge"/></node>'
    with zipfile.ZipFile(tmp_path / "a.zae", "w") as archive:
        archive.writestr("other.dae", "<nothing/>")
        archive.writestr("in/here.dae", dae(scene))
        archive.writestr("manifest.xml", "<dae_root>./in/here.dae</dae_root>")
    check(read_geometry(tmp_path / "a.zae"), POINTS, FACES)


def test_collada_in_a_damaged_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zae", "w") as archive:
        archive.writestr("scene.dae", dae('<node id="n"><instance_geometry url="#wedge"/></node>'))
    data = bytearray((tmp_path / "a.zae").read_bytes())
    end = data.rindex(b"PK\5\6")
    start = int.from_bytes(data[end + 16 : end + 20], "little")
    data[end + 16 : end + 20] = (start + 46).to_bytes(4, "little")  # then the document begins before the file
    with pytest.raises(InputError, match=r"a\.zae: is a damaged ZIP"):
        load(write(tmp_path, "a.zae", bytes(data)))
    # What pa3d harvest unpacks.
    zipped = write(tmp_path, "a.zip", bytes(data))
    with archives.open_archive(zipped) as archive, pytest.raises(CorruptFileError, match="cannot be unpacked"):
        archives.unpack(archive, "scene.dae")


def test_collada_colours_of_vertices(tmp_path: Path) -> None:
    colors = """<source id="k"><float_array id="ka" count="6">1 0 0 0 0 1</float_array><technique_common>
     <accessor source="#ka" count="2" stride="3"><param name="R" type="float"/><param name="G" type="float"/>
     <param name="B" type="float"/></accessor></technique_common></source>"""
    scene = '<node id="n"><instance_geometry url="#wedge"/></node>'
    text = dae(scene).replace("<vertices", colors + "<vertices")
    text = text.replace("<vcount>", '<input semantic="COLOR" source="#k" offset="1"/><vcount>')
    polygons = " ".join(f"{i} {int(i == 4)}" for face in FACES for i in face)
    text = text[: text.index("<p>") + 3] + polygons + text[text.index("</p>") :]
    geometry = read_geometry(write(tmp_path, "a.dae", text))
    np.testing.assert_array_equal(geometry.colors, [[255, 0, 0]] * 4 + [[0, 0, 255]])


# --- USD ---


def usda(body: str, up: str = "Y", unit: float = 1.0, more: str = "") -> str:
    return f'#usda 1.0\n(\n upAxis = "{up}"\n metersPerUnit = {unit}\n{more})\n{body}'


def usd_mesh(name: str = "wedge", more: str = "") -> str:
    corners = ", ".join(str(i) for face in FACES for i in face)
    points = ", ".join(str(tuple(point)) for point in POINTS.tolist())
    return (
        f'def Mesh "{name}" {{\n int[] faceVertexCounts = [{", ".join("3" * len(FACES))}]\n'
        f" int[] faceVertexIndices = [{corners}]\n point3f[] points = [{points}]\n{more}}}\n"
    )


MOVED = 'double3 xformOp:translate = (1, 2, 3)\n uniform token[] xformOpOrder = ["xformOp:translate"]\n'


@pytest.mark.parametrize("suffix", [".usda", ".usdc", ".usdz", ".usd"])
def test_usd_units_axes_transforms_and_names(tmp_path: Path, suffix: str) -> None:
    from pxr import Usd, UsdUtils

    text = usda(f'def Xform "top" {{\n {MOVED}{usd_mesh(more=MOVED)}}}\n', "Z", 0.01)
    source = write(tmp_path, "source.usda", text)
    path = tmp_path / f"a{suffix}"
    if suffix == ".usdz":
        assert UsdUtils.CreateNewUsdzPackage(str(source), str(path))
    else:
        Usd.Stage.Open(str(source)).Export(str(path))
    check(read_geometry(path), 0.01 * y_up(POINTS + [2, 4, 6]), FACES, ["wedge"])


def test_usd_leaves_out_what_is_not_shown(tmp_path: Path) -> None:
    hidden = 'def Xform "a" {\n token visibility = "invisible"\n' + usd_mesh("hidden") + "}\n"
    guide = usd_mesh("guide", 'uniform token purpose = "guide"\n')
    proxy = usd_mesh("proxy", 'uniform token purpose = "proxy"\n')
    render = usd_mesh("render", 'uniform token purpose = "render"\n')
    inactive = usd_mesh("off").replace('"off"', '"off" (active = false)')
    abstract = "class" + usd_mesh("abstract")[3:]
    curves = 'def BasisCurves "c" {\n point3f[] points = [(0, 0, 0), (9, 9, 9)]\n int[] curveVertexCounts = [2]\n}\n'
    text = usda(hidden + guide + proxy + render + inactive + abstract + curves)
    check(read_geometry(write(tmp_path, "a.usda", text)), POINTS, FACES, ["render"])


def test_usd_variants_references_and_instances(tmp_path: Path) -> None:
    part = usda(
        'def Xform "part" (\n variants = { string size = "big" }\n prepend variantSets = "size"\n) {\n'
        ' variantSet "size" = {\n "small" {\n' + usd_mesh("small") + '}\n "big" {\n' + usd_mesh("big") + "}\n }\n}\n",
        more=' defaultPrim = "part"\n',
    )
    write(tmp_path, "part.usda", part)
    instances = "".join(
        f'def "i{i}" (\n instanceable = true\n references = @./part.usda@\n) {{\n'
        f" double3 xformOp:translate = ({i}, 0, 0)\n"
        ' uniform token[] xformOpOrder = ["xformOp:translate"]\n}\n'
        for i in range(2)
    )
    geometry = read_geometry(write(tmp_path, "a.usda", usda(instances)))
    check(geometry, np.concatenate([POINTS, POINTS + [1, 0, 0]]), np.concatenate([FACES, FACES + 5]), ["big", "big"])


def test_usd_point_instancer(tmp_path: Path) -> None:
    text = usda(
        f'def PointInstancer "p" {{\n {MOVED} int[] protoIndices = [0, 0, 0]\n rel prototypes = [</p/proto>]\n'
        " point3f[] positions = [(0, 0, 0), (10, 0, 0), (20, 0, 0)]\n"
        " float3[] scales = [(1, 1, 1), (2, 2, 2), (1, 1, 1)]\n"
        " quath[] orientations = [(1, 0, 0, 0), (0, 0, 0, 1), (1, 0, 0, 0)]\n int64[] invisibleIds = [2]\n"
        f' def Xform "proto" {{\n {MOVED}{usd_mesh()}}}\n}}\n'
    )
    local = POINTS + [1, 2, 3]
    second = 2 * local * [-1, -1, 1] + [10, 0, 0]  # half a turn about z
    expected = np.concatenate([local, second]) + [1, 2, 3]
    check(read_geometry(write(tmp_path, "a.usda", text)), expected, np.concatenate([FACES, FACES + 5]))


def test_usd_orientation_holes_and_colours(tmp_path: Path) -> None:
    more = 'uniform token orientation = "leftHanded"\n int[] holeIndices = [1, 4]\n' + (
        " color3f[] primvars:displayColor = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0), (1, 1, 1)] ("
        ' interpolation = "vertex" )\n'
    )
    geometry = read_geometry(write(tmp_path, "a.usda", usda(usd_mesh(more=more))))
    check(geometry, POINTS, FACES[[0, 2, 3, 5]][:, ::-1])
    np.testing.assert_array_equal(geometry.colors, [*(255 * np.eye(3)).tolist(), [0, 0, 0], [255, 255, 255]])


def test_usd_first_frame_and_points(tmp_path: Path) -> None:
    moving = (
        "double3 xformOp:translate.timeSamples = { 5: (7, 0, 0), 9: (8, 0, 0) }\n"
        ' uniform token[] xformOpOrder = ["xformOp:translate"]\n'
    )
    for more in (" startTimeCode = 5\n endTimeCode = 9\n", ""):
        check(
            read_geometry(write(tmp_path, "a.usda", usda(usd_mesh(more=moving), more=more))), POINTS + [7, 0, 0], FACES
        )
    cloud = read_geometry(
        write(tmp_path, "b.usda", usda('def Points "p" {\n point3f[] points = [(0, 0, 0), (1, 2, 3)]\n}\n'))
    )
    assert cloud.faces is None
    np.testing.assert_array_equal(cloud.points, [[0, 0, 0], [1, 2, 3]])


@pytest.mark.parametrize(
    ("kind", "attributes", "box"),
    [
        ("Cube", "double size = 4", (4, 4, 4)),
        ("Sphere", "double radius = 2", (4, 4, 4)),
        ("Cylinder", 'double radius = 1\n double height = 6\n uniform token axis = "X"', (6, 2, 2)),
        ("Cone", 'double radius = 1\n double height = 6\n uniform token axis = "Y"', (2, 6, 2)),
        ("Capsule", "double radius = 1\n double height = 6", (2, 2, 8)),
        ("Plane", "double width = 3\n double length = 5", (3, 5, 0)),
    ],
)
def test_usd_solids(tmp_path: Path, kind: str, attributes: str, box: tuple[float, ...]) -> None:
    geometry = read_geometry(write(tmp_path, "a.usda", usda(f'def {kind} "s" {{\n {attributes}\n}}\n')))
    np.testing.assert_allclose(geometry.points.max(axis=0), np.array(box) / 2, atol=1e-9)
    np.testing.assert_allclose(geometry.points.min(axis=0), -np.array(box) / 2, atol=1e-9)
    corners = geometry.points[geometry.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outwards = (normals * corners.mean(axis=1)).sum(axis=1)
    assert (outwards > 0).all() or kind == "Plane"
    if kind != "Plane":  # closed: the volume under all faces is that of the solid, less what flat faces cut off
        exact = {"Cube": 64, "Sphere": 33.51, "Cylinder": 18.85, "Cone": 6.283, "Capsule": 23.04}[kind]
        assert 0.97 * exact < outwards.sum() / 6 <= exact * 1.001


def test_usd_skin_is_posed(tmp_path: Path) -> None:
    """Joint b hangs on a, and the animation lifts it by 10; the last vertex belongs to both."""
    skeleton = """def SkelRoot "root" {
 def Skeleton "skeleton" {
  uniform token[] joints = ["a", "a/b"]
  uniform matrix4d[] bindTransforms = MATRICES
  uniform matrix4d[] restTransforms = MATRICES
  rel skel:animationSource = </root/animation>
 }
 def SkelAnimation "animation" {
  uniform token[] joints = ["a/b"]
  float3[] translations = [(0, 0, 15)]
  quatf[] rotations = [(1, 0, 0, 0)]
  half3[] scales = [(1, 1, 1)]
 }
"""
    influences = (
        "rel skel:skeleton = </root/skeleton>\n"
        " uniform token[] skel:joints = %s\n"
        ' int[] primvars:skel:jointIndices = [%s] (elementSize = 2\n interpolation = "vertex")\n'
        " float[] primvars:skel:jointWeights = [1, 0, 1, 0, 1, 0, 1, 0, 0.5, 0.5]"
        ' (elementSize = 2\n interpolation = "vertex")\n'
    )
    api = '(prepend apiSchemas = ["SkelBindingAPI"])'
    expected = POINTS + np.outer([0, 0, 10, 10, 5], [0, 0, 1])
    for joints, indices in (
        ('["a", "a/b"]', "0, 1, 0, 1, 1, 0, 1, 0, 0, 1"),
        ('["a/b", "a"]', "1, 0, 1, 0, 0, 1, 0, 1, 1, 0"),  # in another order than the skeleton
    ):
        mesh = usd_mesh(more=influences % (joints, indices)).replace('"wedge"', f'"wedge" {api}')
        matrices = "[((1,0,0,0),(0,1,0,0),(0,0,1,0),(0,0,0,1)), ((1,0,0,0),(0,1,0,0),(0,0,1,0),(0,0,5,1))]"
        bones = skeleton.replace("MATRICES", matrices)
        text = usda(bones.replace('"skeleton" {', f'"skeleton" {api} {{') + mesh + "}\n")
        check(read_geometry(write(tmp_path, "a.usda", text)), expected, FACES)


# --- 3MF ---


@pytest.fixture
def same_locale() -> Iterator[None]:
    """lib3mf sets the locale of the process that writes with it."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


def test_3mf_units_components_transforms_and_names(tmp_path: Path, same_locale: None) -> None:
    import lib3mf

    model = lib3mf.get_wrapper().CreateModel()
    model.SetUnit(lib3mf.ModelUnit.Inch)
    mesh = model.AddMeshObject()
    mesh.SetName("wedge")
    for point in POINTS:
        mesh.AddVertex(lib3mf.Position((lib3mf.ctypes.c_float * 3)(*point)))
    for face in FACES:
        mesh.AddTriangle(lib3mf.Triangle((lib3mf.ctypes.c_uint32 * 3)(*map(int, face))))

    def matrix(*rows: tuple[float, float, float]) -> Any:
        transform = lib3mf.Transform()
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                transform.Fields[i][j] = value
        return transform

    both = model.AddComponentsObject()
    both.AddComponent(mesh, matrix((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 0)))
    both.AddComponent(mesh, matrix((0, 1, 0), (-1, 0, 0), (0, 0, 1), (10, 0, 0)))  # a quarter turn about z, then x + 10
    model.AddBuildItem(both, matrix((2, 0, 0), (0, 2, 0), (0, 0, 2), (0, 0, 7)))
    model.QueryWriter("3mf").WriteToFile(str(tmp_path / "a.3mf"))
    turned = np.stack([-POINTS[:, 1] + 10, POINTS[:, 0], POINTS[:, 2]], axis=1)
    expected = 0.0254 * (2 * np.concatenate([POINTS, turned]) + [0, 0, 7])
    check(read_geometry(tmp_path / "a.3mf"), expected, np.concatenate([FACES, FACES + 5]), ["wedge", "wedge"])


# --- STEP ---


def test_step_units_and_names(tmp_path: Path) -> None:
    """A box of 10 x 20 x 30 at (1, 2, 3) and a pin of radius 5 and height 40 at (50, 0, 0), in millimetres."""
    geometry = read_geometry(DATA / "parts.step")
    assert [name for name, _ in objects(geometry)] == ["box", "pin"]
    assert objects(geometry)[0][1] == 12
    box, pin = (geometry.points[np.unique(faces)] for faces in (geometry.faces[:12], geometry.faces[12:]))
    np.testing.assert_allclose(
        [box.min(axis=0), box.max(axis=0)], [[0.001, 0.002, 0.003], [0.011, 0.022, 0.033]], atol=1e-9
    )
    np.testing.assert_allclose(
        [pin.min(axis=0), pin.max(axis=0)], [[0.045, -0.005, 0], [0.055, 0.005, 0.04]], atol=2e-5
    )
    metres = (DATA / "parts.step").read_text().replace("SI_UNIT(.MILLI.,.METRE.)", "SI_UNIT($,.METRE.)")
    larger = read_geometry(write(tmp_path, "a.stp", metres))
    np.testing.assert_allclose(larger.points.max(axis=0), [55, 22, 40], atol=2e-2)


# --- glTF, compressed ---


def gltf(views: list[tuple[bytes, dict[str, Any]]], accessors: list[dict[str, Any]], primitive: dict[str, Any]) -> str:
    """glTF with a buffer for each view and one primitive. views: the bytes, and what else the view says."""
    return json.dumps(
        {
            "asset": {"version": "2.0"},
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0, "name": "a"}],
            "meshes": [{"primitives": [primitive]}],
            "accessors": accessors,
            "bufferViews": [{"buffer": i, "byteLength": len(data), **more} for i, (data, more) in enumerate(views)],
            "buffers": [
                {"byteLength": len(data), "uri": "data:;base64," + base64.b64encode(data).decode()} for data, _ in views
            ],
            "extensionsUsed": ["KHR_draco_mesh_compression", "EXT_meshopt_compression"],
        }
    )


def draco_gltf(data: bytes, attribute: int = 0) -> str:
    accessors = [
        {"componentType": 5126, "count": 5, "type": "VEC3"},
        {"componentType": 5125, "count": 18, "type": "SCALAR"},
    ]
    extension = {"bufferView": 0, "attributes": {"POSITION": attribute}}
    primitive = {
        "attributes": {"POSITION": 0},
        "indices": 1,
        "extensions": {"KHR_draco_mesh_compression": extension},
    }
    return gltf([(data, {})], accessors, primitive)


def test_draco(tmp_path: Path) -> None:
    import DracoPy

    data = DracoPy.encode(POINTS.astype(np.float32), FACES.astype(np.uint32), quantization_bits=14)
    geometry = read_geometry(write(tmp_path, "a.gltf", draco_gltf(data)))
    # Draco orders vertices and faces as it likes; 14 bits of 4 units are 0.00024.
    found = {frozenset(tuple(p) for p in triangle) for triangle in geometry.points[geometry.faces].round(2).tolist()}
    assert found == {frozenset(tuple(p) for p in triangle) for triangle in POINTS[FACES].tolist()}
    assert len(geometry.points) == 5 and objects(geometry) == [("a", 6)]
    for broken in (draco_gltf(data[:-20]), draco_gltf(b"DRACO" + bytes(50)), draco_gltf(data, attribute=3)):
        with pytest.raises(InputError, match="Draco data"):
            load(write(tmp_path, "a.gltf", broken))


@pytest.mark.parametrize("name", ["EXT_meshopt_compression", "KHR_meshopt_compression"])
@pytest.mark.parametrize("mode", ["TRIANGLES", "INDICES"])
@pytest.mark.parametrize("size", [2, 4])
def test_meshopt(tmp_path: Path, name: str, mode: str, size: int) -> None:
    text = meshopt_gltf(name, mode, size)
    geometry = read_geometry(write(tmp_path, "a.gltf", json.dumps(text)))
    np.testing.assert_array_equal(geometry.points, POINTS)
    rotated = [{tuple(np.roll(face, i)) for i in range(3)} for face in geometry.faces]  # the codec may turn triangles
    assert all(tuple(face) in turns for face, turns in zip(FACES.tolist(), rotated, strict=True))
    text["bufferViews"][0]["extensions"][name]["count"] = 4
    with pytest.raises(InputError, match=r"meshopt data cannot be read|reaches beyond its buffer"):
        load(write(tmp_path, "a.gltf", json.dumps(text)))


def meshopt_gltf(name: str, mode: str = "TRIANGLES", size: int = 4, filter: str = "NONE") -> dict[str, Any]:
    from meshoptimizer import encoder

    rows = POINTS.astype(np.float32)
    if filter == "EXPONENTIAL":  # mantissa in the low 24 bits, exponent above: 2**-2 times whole numbers is exact here
        whole = (POINTS * 4).astype(np.int32)
        rows = ((whole & 0xFFFFFF) | np.int32(-2 << 24)).astype(np.int32).view(np.float32)
    points = bytes(encoder.encode_vertex_buffer(rows, 5, 12))
    encode = encoder.encode_index_buffer if mode == "TRIANGLES" else encoder.encode_index_sequence
    indices = bytes(encode(FACES.ravel().astype(np.uint32), FACES.size, 5))

    def view(number: int, data: bytes, stride: int, count: int, mode: str, filter: str) -> dict[str, Any]:
        packed = {"buffer": number, "byteLength": len(data), "byteStride": stride, "count": count, "mode": mode}
        return {"buffer": 2, "extensions": {name: {**packed, "filter": filter}}, "byteLength": stride * count}

    text = json.loads(
        gltf(
            [
                (points, view(0, points, 12, 5, "ATTRIBUTES", filter)),
                (indices, view(1, indices, size, 18, mode, "NONE")),
            ],
            [
                {"bufferView": 0, "componentType": 5126, "count": 5, "type": "VEC3"},
                {"bufferView": 1, "componentType": {2: 5123, 4: 5125}[size], "count": 18, "type": "SCALAR"},
            ],
            {"attributes": {"POSITION": 0}, "indices": 1},
        )
    )
    text["buffers"].append({"byteLength": 60 + 18 * size, "extensions": {name: {"fallback": True}}})
    return text


def test_meshopt_filter(tmp_path: Path) -> None:
    text = meshopt_gltf("EXT_meshopt_compression", filter="EXPONENTIAL")
    np.testing.assert_array_equal(read_geometry(write(tmp_path, "a.gltf", json.dumps(text))).points, POINTS)


# --- damage, missing packages, crashes ---


@pytest.mark.parametrize("suffix", [".fbx", ".dae", ".zae", ".usda", ".usdc", ".usdz", ".3mf", ".step"])
@pytest.mark.parametrize(
    "data", [b"\0" * 200, b"<x/>", b"PK\3\4" + bytes(100), b"#usda 1.0\n(", b"Kaydara FBX Binary  \0"]
)
def test_damaged(tmp_path: Path, suffix: str, data: bytes) -> None:
    with pytest.raises(InputError) as error:
        load(write(tmp_path, f"a{suffix}", data))
    assert str(error.value).startswith(f"a{suffix}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("fbx", "ufbx", "formats"),
        ("dae", "collada", "formats"),
        ("usd", "pxr", "formats"),
        ("threemf", "lib3mf", "formats"),
        ("step", "cascadio", "formats"),
    ],
)
def test_a_missing_package_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, package: str, extra: str
) -> None:
    from importlib import import_module

    reader = import_module(f"pa3d.io.{module}")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CorruptFileError, match=rf"needs the package [\w-]+; pip install 'pa3d\[{extra}\]'"):
        getattr(reader, "parse", reader.read)(write(tmp_path, "a.x", b"x"))


def test_a_missing_decoder_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pa3d.io import gltf as reader

    meshopt = json.dumps(meshopt_gltf("EXT_meshopt_compression"))
    monkeypatch.setitem(sys.modules, "meshoptimizer", None)
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    for text in (meshopt, draco_gltf(b"")):
        with pytest.raises(CorruptFileError, match=r"is compressed with \w+.*; pip install 'pa3d\[gltf\]'"):
            reader.parse(write(tmp_path, "a.gltf", text))


def test_usd_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    text = usda(usd_mesh() + 'def "more" (references = @./gone.usda@) {}\n')
    with pytest.raises(InputError, match=r"needs the file 'gone\.usda' beside it"):
        load(write(tmp_path, "a.usda", text))
    materials = usda(usd_mesh() + 'def "looks" (references = @./gone.mtlx@) {}\n')  # holds no geometry
    check(read_geometry(write(tmp_path, "b.usda", materials)), POINTS, FACES)


def test_scenes_without_triangles_are_refused(tmp_path: Path) -> None:
    for path in (
        write(tmp_path, "a.usda", usda('def Xform "a" {}\n')),
        write(tmp_path, "a.dae", dae('<node id="n"/>')),
    ):
        with pytest.raises(InputError, match="has no triangles and no points in its scene"):
            load(path)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("crash", "not a valid TEST file: the library that reads it stopped with signal 11"),
        ("hang", "was not read in 1 seconds"),
        ("memory", "needs too much memory; decimate it"),
        ("corrupt", "is damaged: this and that; mend it"),
    ],
)
def test_a_reader_in_its_own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, message: str) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(_isolated, "SECONDS", 1)
    start = time.process_time()
    with pytest.raises(CorruptFileError, match=message):
        read_isolated(write(tmp_path, "a", what), "failing_reader", "TEST")
    assert time.process_time() - start < 2


def test_what_comes_back_from_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    geometry = read_isolated(write(tmp_path, "a", "well"), "failing_reader", "TEST")
    check(geometry, np.eye(3), np.array([[0, 1, 2]]), ["one"])
    np.testing.assert_array_equal(geometry.colors, np.full((3, 3), 7))
    assert geometry.pieces == (Piece("one", parents=("above", "top")),)
    with pytest.raises(RuntimeError, match="TypeError: a bug"):
        read_isolated(write(tmp_path, "a", "bug"), "failing_reader", "TEST")


def test_libraries_are_imported_only_for_their_files() -> None:
    code = (
        "import sys, pa3d, pa3d.io\npa3d.io.formats()\n"
        "names = 'ufbx', 'collada', 'pxr', 'lib3mf', 'cascadio', 'DracoPy', 'meshoptimizer'\n"
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
