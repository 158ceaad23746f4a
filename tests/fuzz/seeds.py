"""Small valid files of every kind that pa3d reads: written by pa3d and trimesh, or by hand. The seeds of fuzzing."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import shutil
import struct
import tarfile
import tempfile
import zipfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pa3d.checkpoint import Checkpoint, Lexicon, save
from pa3d.config import EncoderConfig
from pa3d.data.parts import PartCloud, record_members
from pa3d.io import formats
from pa3d.io._common import Format
from pa3d.report.files import labels_npz, painted_glb, painted_ply
from pa3d.segment import Segmentation
from pa3d.shape import Shape
from pa3d.text.minilm import WEIGHTS
from pa3d.text.vectors import TextVectors

# The smallest encoder that the kernels take.
TINY = EncoderConfig(
    patches=8, patch_size=4, dim=16, depth=1, heads=2, mlp_hidden=16, embed=(8, 8, 8, 16), pos_hidden=8, text_dim=16,
    drop_path=0.0,
)  # fmt: skip
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1], [0.5, 1, 0.5]], np.float32)
TRIANGLES = np.array([[0, 1, 2], [0, 2, 3], [0, 4, 1], [1, 4, 2], [2, 4, 3], [3, 4, 0]], np.int32)
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30], [1, 1, 1]], np.uint8)
XYZ = "\n".join(" ".join(map(str, row)) for row in CORNERS.tolist())
ROWS = [" ".join(map(str, row)) for row in CORNERS.tolist()]


def tiny_checkpoint() -> Checkpoint:
    rng = np.random.default_rng(0)
    tensors = {k: (0.5 + rng.random(shape)).astype(np.float32) / 8 for k, shape in TINY.shapes().items()}
    return Checkpoint(TINY, tensors, "all-MiniLM-L6-v2", 0.07, name="tiny", precisions=("int8",))


def tiny_checkpoint_with_all() -> Checkpoint:
    """With passes, a lexicon and a bank."""
    rows = np.random.default_rng(1).integers(-127, 128, (6, TINY.text_dim)).astype(np.int8)
    lexicon = Lexicon(rows, np.array([0, 0, 2, 2, 4, 4], np.int32))
    config = replace(TINY, pass_points=3)
    return replace(tiny_checkpoint(), config=config, lexicon=lexicon, bank=rows, outliers=3.0)


def result(mesh: bool) -> Segmentation:
    names, labels = ["seat", "le\u00e7 \u5ea7"], np.array([0, 1, -1, 0, 1], np.int32)
    scores = np.full((5, 2), 0.5, np.float32)
    if not mesh:
        return Segmentation(Shape(CORNERS, colors=COLORS), names, labels, scores)
    faces, face_scores = np.array([0, 0, 1, 1, -1, 0], np.int32), np.full((6, 2), 0.5, np.float32)
    return Segmentation(Shape(CORNERS, TRIANGLES), names, labels, scores, faces, face_scores)


def rich_gltf() -> tuple[dict[str, Any], bytes]:
    """A scene with a skin, a morph target, instances, a sparse accessor, colours, a texture, a strip and points."""
    blobs: list[bytes] = []
    views: list[dict[str, Any]] = []
    accessors: list[dict[str, Any]] = []

    def add(values: Any, dtype: str, kind: str, **more: Any) -> int:
        array = np.asarray(values, dtype)
        views.append({"buffer": 0, "byteOffset": sum(map(len, blobs)), "byteLength": array.nbytes})
        blobs.append(array.tobytes() + bytes(-array.nbytes % 4))
        component = {"<f4": 5126, "<u2": 5123, "<u1": 5121}[dtype]
        accessors.append(
            {"bufferView": len(views) - 1, "componentType": component, "count": len(array), "type": kind, **more}
        )
        return len(accessors) - 1

    position, delta = add(CORNERS, "<f4", "VEC3"), add(CORNERS * 0.1, "<f4", "VEC3")
    color = add(COLORS, "<u1", "VEC3", normalized=True)
    joints, weights = add(np.zeros((5, 4)), "<u1", "VEC4"), add([[1, 0, 0, 0]] * 5, "<f4", "VEC4")
    bind, indices = add([np.eye(4).ravel()], "<f4", "MAT4"), add(TRIANGLES.ravel(), "<u2", "SCALAR")
    uv, moves = add(CORNERS[:, :2], "<f4", "VEC2"), add([[0, 0, 0], [2, 0, 0]], "<f4", "VEC3")
    where, what = add([4], "<u2", "SCALAR"), add([[0.5, 2, 0.5]], "<f4", "VEC3")
    accessors[position]["sparse"] = {
        "count": 1,
        "indices": {"bufferView": where, "componentType": 5123},
        "values": {"bufferView": what},
    }
    attributes = {"POSITION": position, "COLOR_0": color, "TEXCOORD_0": uv, "JOINTS_0": joints, "WEIGHTS_0": weights}
    primitive = {"attributes": attributes, "indices": indices, "material": 0, "targets": [{"POSITION": delta}]}
    strip = {"attributes": {"POSITION": position}, "indices": indices, "mode": 5}
    texture = {"index": 0, "texCoord": 0, "extensions": {"KHR_texture_transform": {"offset": [0, 1], "rotation": 0.5}}}
    document = {
        "asset": {"version": "2.0", "copyright": "CC0"},
        "scene": 0,
        "scenes": [{"nodes": [0, 3]}],
        "extensionsUsed": ["EXT_mesh_gpu_instancing"],
        "nodes": [
            {"name": "seat", "mesh": 0, "skin": 0, "children": [1, 2]},
            {"name": "bone", "rotation": [0, 0, 0, 1], "translation": [0, 1, 0], "scale": [1, 1, 1]},
            {
                "name": "leg",
                "mesh": 1,
                "matrix": np.diag([2.0, 2, 2, 1]).ravel().tolist(),
                "extensions": {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": moves}}},
            },
            {"name": "back", "mesh": 2},
        ],
        "meshes": [
            {"name": "a", "primitives": [primitive], "weights": [0.5]},
            {"name": "b", "primitives": [strip, {"attributes": {"POSITION": position}, "mode": 0}]},
            {"primitives": [{"attributes": {"POSITION": position}, "indices": indices, "mode": 6}]},
        ],
        "skins": [{"joints": [1], "inverseBindMatrices": bind}],
        "materials": [{"name": "m", "pbrMetallicRoughness": {"baseColorTexture": texture}}],
        "textures": [{"source": 0}],
        "images": [{"uri": "data:image/png;base64,AAAA"}],
        "animations": [],
        "buffers": [{"byteLength": sum(map(len, blobs))}],
        "bufferViews": views,
        "accessors": accessors,
    }
    return document, b"".join(blobs)


def glb(document: Any, binary: bytes) -> bytes:
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def gltf() -> bytes:
    document, binary = rich_gltf()
    uri = "data:application/octet-stream;base64," + base64.b64encode(binary).decode()
    document["buffers"] = [{"byteLength": len(binary), "uri": uri}]
    return json.dumps(document, separators=(",", ":")).encode()


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def shard() -> bytes:
    masks = np.array([[1, 0, 1, 0, 1], [0, 1, 0, 1, 0]], bool)
    record = PartCloud(CORNERS, ["seat", "leg"], masks, "chair", "made", "CC0", "a/b")
    record.centers, record.patch_features = CORNERS[:2], np.ones((2, 4), np.float32)
    return tarred({f"0000000.{kind}": data for kind, data in record_members(record).items()})


def checkpoints() -> list[bytes]:
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for made in (tiny_checkpoint(), tiny_checkpoint_with_all()):
            save(Path(folder) / "tiny.safetensors", made)
            files.append((Path(folder) / "tiny.safetensors").read_bytes())
    return files


def text_vectors() -> bytes:
    return TextVectors(
        ("seat", "left leg"), np.eye(2, TINY.text_dim, dtype=np.float32), "all-MiniLM-L6-v2", "chair"
    ).to_bytes()


def names() -> list[bytes]:
    texts = ["# parts\nseat\nback\n", "seat, back; leg", "\ufeffsi\u00e8ge\uff0c\u811a\r\n", "a\u0301\n\u00e1\n"]
    return [*(text.encode() for text in texts), "seat\nleg".encode("utf-16"), "si\u00e8ge".encode("latin-1")]


def las(compressed: bool) -> list[bytes]:
    try:
        import laspy
    except ImportError:
        return []
    found = []
    for number in (0, 2, 7):
        cloud = laspy.create(point_format=number, file_version="1.4")
        cloud.x, cloud.y, cloud.z = CORNERS.T.astype(np.float64)
        out = io.BytesIO()
        cloud.write(out, do_compress=compressed)
        found.append(out.getvalue())
    return found


def pcd(encoding: str) -> bytes:
    header = (
        "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z _ rgb\nSIZE 4 4 4 1 4\nTYPE F F F U F\nCOUNT 1 1 1 3 1\n"
        f"WIDTH 5\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 5\nDATA {encoding}\n"
    ).encode()
    if encoding == "ascii":
        return header + "".join(f"{row} 0 0 0 4.2e-39\n" for row in ROWS).encode()
    if encoding == "binary":
        return header + b"".join(struct.pack("<3f3BI", *row, 0, 0, 0, 255) for row in CORNERS)
    plain = CORNERS.T.tobytes() + bytes(15) + bytes(20)
    packed = b"".join(bytes([len(plain[i : i + 32]) - 1]) + plain[i : i + 32] for i in range(0, len(plain), 32))
    return header + struct.pack("<II", len(packed), len(plain)) + packed


def ply_strips() -> bytes:
    rows = "element vertex 5\nproperty float x\nproperty float y\nproperty float z\n"
    header = f"ply\nformat ascii 1.0\n{rows}element tristrips 1\nproperty list int int vertex_indices\nend_header\n"
    return f"{header}{XYZ}\n6 0 1 2 -1 3 4\n".encode()


def text_tables() -> list[bytes]:
    return [
        XYZ.encode(),
        b"x,y,z\n" + XYZ.replace(" ", ",").encode(),
        b",X,Y,Z,R,G,B\n" + "".join(f"{i},{row.replace(' ', ',')},1,2,3\n" for i, row in enumerate(ROWS)).encode(),
        b"5\n" + "".join(f"{row} 7 10 20 30\n" for row in ROWS).encode(),
        b"GPS Time;X;Y;Z\n" + "".join(f"0,5;{row.replace(' ', ';').replace('.', ',')}\n" for row in ROWS).encode(),
        b'# ID, X, Y, Z, R, G, B\n1 "0" 0 0 1 2 3\n2 1 0 0 1 2 3\n4 0 1 0 1 2 3\n',
    ]


AC3D = (
    b'AC3Db\nMATERIAL "" rgb 1 1 1 amb 0 0 0 emis 0 0 0 spec 0 0 0 shi 0 trans 0\nOBJECT world\nkids 2\n'
    b'OBJECT poly\nname "seat"\nloc 0 1 0\nrot 1 0 0 0 1 0 0 0 1\nnumvert 3\n0 0 0\n1 0 0\n0 1 0\nnumsurf 1\n'
    b'SURF 0x20\nmat 0\nrefs 3\n0 0 0\n1 1 0\n2 0 1\nkids 0\nOBJECT poly\nname "leg"\ndata 2\nhi\nnumvert 3\n0 0 0\n'
    b"-1 0 0\n0 -1 0\nnumsurf 1\nSURF 0x10\nrefs 3\n0 0 0\n1 0 0\n2 0 0\nkids 0\n"
)
MJCF = (
    b'<mujoco model="m"><compiler angle="radian" meshdir="a"/><default><default class="c"><geom group="1" size="1"/>'
    b'</default></default><asset><mesh name="x" file="x.obj" scale="1 1 1"/></asset><worldbody><body name="arm" '
    b'pos="0 0 1" euler="0 1 0" childclass="c"><geom type="box" size="1 1 1" quat="1 0 0 0"/><geom name="leg" '
    b'type="capsule" fromto="0 0 0 0 0 1" size="0.1"/><body name="hand"><geom type="sphere" zaxis="0 1 0"/>'
    b'<geom type="cylinder" size="1 2" axisangle="0 1 0 3"/><geom type="ellipsoid" size="1 2 3" xyaxes="1 0 0 0 1 0"/>'
    b'</body></body><include file="y.xml"/></worldbody></mujoco>'
)
OBJ = (
    "mtllib a.mtl\no chair\ng seat\nusemtl wood\n"
    + "".join(f"v {row}\n" for row in ROWS)
    + "vt 0 0\nvt 1 0\nvn 0 1 0\nf 1/1/1 2/2/1 3 4\ng leg\nf -1//1 \\\n -2//1 -3//1\nl 1 2\n"
).encode()
OFF_CLOUD = b"OFF 3 0 0\n0 0 0 1 1 1 2 2 3"
STL_TEXT = b"solid a\n" + b"".join(
    b"facet normal 0 0 1\nouter loop\n"
    + b"".join(b"vertex %s\n" % ROWS[i].encode() for i in face)
    + b"endloop\nendfacet\n"
    for face in TRIANGLES.tolist()
)  # fmt: skip


@cache
def shape_files() -> dict[str, list[bytes]]:
    """By suffix. Formats of other programs come from tests/data, or from trimesh where it writes them."""
    import trimesh

    mesh = trimesh.Trimesh(CORNERS, TRIANGLES, process=False)

    def exported(kind: str, **options: Any) -> bytes:
        data = mesh.export(file_type=kind, **options)
        return data if isinstance(data, bytes) else data.encode()

    tables = text_tables()
    colored = np.concatenate([CORNERS.astype(np.float64), COLORS], axis=1)
    found = {
        ".glb": [glb(*rich_gltf()), painted_glb(result(True)), exported("glb")],
        ".gltf": [gltf()],
        ".npy": [npy(CORNERS), npy(colored), npy(np.ones((3, 70)))],
        ".npz": [npz(points=CORNERS, colors=COLORS), npz(vertices=CORNERS, faces=TRIANGLES), labels_npz(result(True))],
        ".obj": [OBJ, exported("obj"), b"v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 1\n"],
        ".off": [exported("off"), b"COFF3 1 0\n0 0 0 1 2 3\n1 0 0 1 2 3\n0 1 0 1 2 3\n3 0 1 2\n", OFF_CLOUD],
        ".ply": [
            painted_ply(result(False)), exported("ply"), exported("ply", encoding="ascii"), ply_strips(),
            exported("ply").replace(b"little", b"big"),
        ],
        ".stl": [exported("stl"), STL_TEXT + b"endsolid a\n"],
        ".las": las(False),
        ".laz": las(True),
        ".pcd": [pcd("ascii"), pcd("binary"), pcd("binary_compressed")],
        **dict.fromkeys((".xyz", ".txt", ".csv", ".asc", ".pts"), tables),
    }  # fmt: skip
    found.update(cad_and_scene_files())
    return found


def of_suffix(suffix: str) -> list[bytes]:
    """Valid files of a suffix: of shape_files, else SEEDS in the test of the format, tests/test_NAME.py."""
    if suffix in shape_files():
        return shape_files()[suffix]
    module = formats_by_suffix()[suffix].read.__module__.rpartition(".")[2]
    path = Path(__file__).parents[1] / f"test_{module}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        return []
    test = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(test)
    found: list[bytes] = getattr(test, "SEEDS", {}).get(suffix, [])
    return found


def formats_by_suffix() -> dict[str, Format]:
    return {suffix: format for format in formats() for suffix in format.suffixes}


def cad_and_scene_files() -> dict[str, list[bytes]]:
    """By suffix: the formats of the extra `formats`. USD is written by its own library, STEP comes from tests/data."""
    from pxr import Usd, UsdUtils

    scene = dae()
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "a.usda")
        text.write_text(USDA)
        stage = Usd.Stage.Open(str(text))
        for suffix in (".usdc", ".usd"):
            stage.Export(f"{folder}/b{suffix}")
        UsdUtils.CreateNewUsdzPackage(str(text), f"{folder}/b.usdz")
        usd = {suffix: [Path(folder, f"b{suffix}").read_bytes()] for suffix in (".usdc", ".usd", ".usdz")}
    step = (Path(__file__).parents[1] / "data" / "parts.step").read_bytes()
    return {
        ".dae": [scene],
        ".zae": [zipped({"scene.dae": scene, "image.png": b"PNG"})],
        ".fbx": [fbx()],
        ".3mf": [threemf()],
        ".usda": [USDA.encode()],
        **usd,
        ".step": [step],
        ".stp": [step],
    }


def joined(values: Any, separator: str) -> str:
    return separator.join(map(str, np.ravel(values).tolist()))


def dae() -> bytes:
    return f"""<?xml version="1.0"?>
<COLLADA xmlns="http://www.collada.org/2005/11/COLLADASchema" version="1.4.1">
<asset><created>2020-01-01T00:00:00</created><modified>2020-01-01T00:00:00</modified>
<unit name="inch" meter="0.0254"/><up_axis>Z_UP</up_axis></asset>
<library_geometries><geometry id="g" name="g"><mesh><source id="p">
<float_array id="a" count="15">{joined(CORNERS, " ")}</float_array>
<technique_common><accessor source="#a" count="5" stride="3"><param name="X" type="float"/>
<param name="Y" type="float"/><param name="Z" type="float"/></accessor></technique_common></source>
<vertices id="v"><input semantic="POSITION" source="#p"/></vertices><triangles count="6">
<input semantic="VERTEX" source="#v" offset="0"/><p>{joined(TRIANGLES, " ")}</p></triangles></mesh></geometry>
</library_geometries><library_visual_scenes><visual_scene id="s"><node id="n" name="seat">
<translate>1 2 3</translate><rotate>0 0 1 90</rotate><instance_geometry url="#g"/></node></visual_scene>
</library_visual_scenes><scene><instance_visual_scene url="#s"/></scene></COLLADA>""".encode()


def fbx() -> bytes:
    polygons = ",".join(f"{a},{b},{-c - 1}" for a, b, c in TRIANGLES.tolist())
    return f"""; FBX 7.4.0 project file
FBXHeaderExtension:  {{
 FBXHeaderVersion: 1003
 FBXVersion: 7400
}}
GlobalSettings:  {{
 Properties70:  {{
  P: "UpAxis", "int", "Integer", "",2
  P: "UnitScaleFactor", "double", "Number", "",2.54
 }}
}}
Objects:  {{
 Geometry: 100, "Geometry::g", "Mesh" {{
  Vertices: *15 {{
   a: {joined(CORNERS, ",")}
  }}
  PolygonVertexIndex: *18 {{
   a: {polygons}
  }}
 }}
 Model: 1, "Model::seat", "Mesh" {{
  Properties70:  {{
   P: "Lcl Rotation", "Lcl Rotation", "", "A",0,90,0
  }}
 }}
}}
Connections:  {{
 C: "OO",1,0
 C: "OO",100,1
}}
""".encode()


def threemf() -> bytes:
    vertices = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in CORNERS.tolist())
    triangles = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in TRIANGLES.tolist())
    model = f"""<?xml version="1.0"?>
<model unit="inch" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02"><resources>
<object id="1" type="model" name="seat"><mesh><vertices>{vertices}</vertices><triangles>{triangles}</triangles></mesh>
</object></resources><build><item objectid="1" transform="0 1 0 -1 0 0 0 0 1 2 3 4"/></build></model>"""
    relations = """<?xml version="1.0"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r"
Target="/3D/a.model" Type="http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"/></Relationships>"""
    types = """<?xml version="1.0"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels"
ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="model"
ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>"""
    files = {"[Content_Types].xml": types, "_rels/.rels": relations, "3D/a.model": model}
    return zipped({name: text.encode() for name, text in files.items()})


USDA = f"""#usda 1.0
(
 upAxis = "Z"
 metersPerUnit = 0.01
)
def Xform "top" {{
 double3 xformOp:translate = (1, 2, 3)
 uniform token[] xformOpOrder = ["xformOp:translate"]
 def Mesh "seat" {{
  int[] faceVertexCounts = [3, 3, 3, 3, 3, 3]
  int[] faceVertexIndices = {TRIANGLES.ravel().tolist()}
  point3f[] points = [{", ".join(str(tuple(point)) for point in CORNERS.tolist())}]
 }}
 def Sphere "knob" {{
  double radius = 0.5
 }}
}}
"""


def harvest_files() -> dict[str, list[bytes]]:
    """By suffix."""
    catalogue = b"id#1=a\nname#1=Chair\nmodel#1=/b.obj\nmodelRotation#1=1 0 0 0 1 0 0 0 1\n"
    rich = glb(*rich_gltf())
    return {
        ".ac": [AC3D],
        ".xml": [MJCF],
        ".glb": [rich],
        ".obj": [OBJ],
        ".zip": [zipped({"a.glb": rich, "b.obj": OBJ, "c.ac": AC3D})],
        ".sh3f": [zipped({"PluginFurnitureCatalog.properties": catalogue, "b.obj": OBJ})],
    }


def write_capi(folder: Path) -> None:
    """What capi.cpp starts from: a tiny model, the text encoder, and a tokenizer of few words."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(checkpoints()[0])
    (folder / "vectors.safetensors").write_bytes(text_vectors())
    shutil.copy(WEIGHTS / "minilm-l6-v2.safetensors", folder / "weights.safetensors")
    tokenizer = json.loads((WEIGHTS / "minilm-tokenizer.json").read_bytes())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    vocabulary = tokenizer["model"]["vocab"]
    tokenizer["model"]["vocab"] = {word: number for word, number in vocabulary.items() if number < 120}
    (folder / "tokens-small.json").write_text(json.dumps(tokenizer))
