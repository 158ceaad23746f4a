"""Tables of points: which columns are x, y and z. The right values are those that the rows are written from."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pa3d import InputError, load
from pa3d.cli import main

# Every value of the first three is another one, so that a wrong column cannot look right.
CLOUD = np.array([[0.5, 10.25, 100.125], [1.5, 11.25, 101.125], [2.75, 12.5, 103.0], [4.0, 14.75, 104.5]])
COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 20, 30)]


def write(folder: Path, name: str, data: bytes | str) -> Path:
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder / name


def table(row: str, header: str = "", ending: str = "\n") -> str:
    rows = [
        row.format(i=i, x=x, y=y, z=z, r=r, g=g, b=b, t=1.7e9 + i)
        for i, ((x, y, z), (r, g, b)) in enumerate(zip(CLOUD.tolist(), COLORS, strict=True))
    ]
    return "".join(line + ending for line in [*header.split("\n"), *rows] if line)


def points(path: Path, **options: Any) -> Any:
    shape = load(path, **options)
    return (shape.points + shape.origin).tolist()


@pytest.mark.parametrize(
    ("name", "header", "row", "columns"),
    [
        ("a.csv", "east,north,height,kind", "{x},{y},{z},7", "east,north,height"),
        ("a.csv", '"Easting [m]";"Northing [m]";"H";"n"', "{x};{y};{z};7", "easting [m],northing [m],h"),
        ("a.csv", "n,Easting [m],Northing [m],H", "7,{x},{y},{z}", "Easting,Northing,H"),
        ("a.txt", "", "{i} {x} {y} {z}", "2,3,4"),
        ("a.txt", "", "{t} {z} {x} {y}", "3,4,2"),
        ("a.txt", "# t lat lon alt", "{t} {x} {y} {z}", "lat,lon,alt"),
        ("a.txt", "nx ny nz x y z", "{x} {y} {z} 9 8 7", "nx,ny,nz"),
        ("a.xyz", "", "{x}\t{y}\t{z}\tseat", "1,2,3"),
        ("a.pts", "4", "{x} {y} {z} -100 {r} {g} {b}", "1,2,3"),
        ("a.csv", ",x,y,z", "{i},{x},{y},{z}", "2,3,4"),
    ],
)
def test_columns_that_are_named(tmp_path: Path, name: str, header: str, row: str, columns: str) -> None:
    path = write(tmp_path, name, table(row, header))
    assert points(path, columns=columns) == CLOUD.tolist()
    assert points(path, columns=columns.split(",")) == CLOUD.tolist()


def test_columns_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(300, 3))
    rows = "".join(f"{i},{x},{y},{z}\n" for i, (x, y, z) in enumerate(cloud))
    path = write(tmp_path, "scan.csv", rows)
    np.save(tmp_path / "wide.npy", np.concatenate([np.arange(300.0)[:, None], cloud], axis=1))
    np.save(tmp_path / "right.npy", cloud)
    labels = []
    for file, more in ((path, ["--columns", "2,3,4"]), ("wide.npy", ["--columns", "2,3,4"]), ("right.npy", [])):
        out = tmp_path / f"out{len(labels)}"
        assert main(["segment", str(tmp_path / file), "--parts", "seat, leg", "-o", str(out), "-q", *more]) == 0
        labels.append(np.load(out / "labels.npz")["labels"].tolist())
    assert labels[0] == labels[1] == labels[2]
    capsys.readouterr()
    assert main(["segment", str(path), "--parts", "seat, leg", "-o", str(tmp_path / "no")]) == 2
    message = capsys.readouterr().err
    assert "its first column only counts the rows (0, " in message and "--columns x,y,z" in message
    for command in ("keypoints", "render", "profile"):
        given = {"keypoints": ["--names", "seat"], "profile": ["--parts", "seat, leg", "-n", "1"]}.get(command, [])
        out = [] if command == "profile" else ["-o", str(tmp_path / command)]
        assert main([command, str(path), "--columns", "2,3,4", *given, *out]) == 0, command
        assert main([command, str(path), "--columns", "2,3,9", *given, *out]) == 2, command


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("a,b,q", r"has no columns a, b, q \(a, b, c, d\); name them with --columns"),
        ("2,3,5", r"has no columns 2, 3, 5 \(a, b, c, d\)"),
        ("0,1,2", "has no columns 0, 1, 2"),
        ("a,b", "columns are 'a,b'; expected three different ones"),
        ("a,b,b", "expected three different ones"),
        ([1, 2, ""], "expected three different ones"),
    ],
)
def test_columns_that_are_not_there(tmp_path: Path, columns: Any, message: str) -> None:
    path = write(tmp_path, "a.csv", table("{x},{y},{z},7", "a,b,c,d"))
    with pytest.raises(InputError, match=message):
        load(path, columns=columns)


def test_columns_of_what_is_no_table(tmp_path: Path) -> None:
    path = write(tmp_path, "a.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    with pytest.raises(InputError, match=r"a\.obj: columns were named, but only tables have them \(NPY, NPZ, XYZ"):
        load(path, columns="1,2,3")


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("pandas.csv", ",x,y,z", "{i},{x},{y},{z}"),
        ("pandas.tsv.txt", "\tx\ty\tz", "{i}\t{x}\t{y}\t{z}"),
        ("pandas-blank.txt", '"" x y z', "{i} {x} {y} {z}"),
        ("r.txt", '"x" "y" "z"', '"{i}" {x} {y} {z}'),  # write.table of R leaves out the name of its first column
        ("r.csv", '"","x","y","z"', '"{i}",{x},{y},{z}'),
        ("quoted.csv", '"Point ID","X","Y","Z"', '"{i}","{x}","{y}","{z}"'),
        ("single.csv", "'X','Y','Z'", "{x},{y},{z}"),
        ("fields.csv", "GPS Time;X;Y;Z", "{t};{x};{y};{z}"),
        ("units.txt", "GPS Time\tX [m]\tY (m)\tZ [m]", "{t}\t{x}\t{y}\t{z}"),
        ("velo.csv", "Points_m_XYZ:0,Points_m_XYZ:1,Points_m_XYZ:2,intensity,laser_id", "{x},{y},{z},{t},{i}"),
        ("velo2.csv", '"intensity","laser_id","X","Y","Z","distance_m"', "{t},{i},{x},{y},{z},5"),
        ("para.csv", '"Normals:0","Normals:1","Normals:2","Points:0","Points:1","Points:2"', "0,0,1,{x},{y},{z}"),
        ("para2.csv", '"v:0","v:1","v:2","Points:0","Points:1","Points:2"', "9,8,7,{x},{y},{z}"),
        ("compare.asc", "//X Y Z R G B Scalar_field Nx Ny Nz", "{x} {y} {z} {r} {g} {b} 0.5 0 0 1"),
        ("compare.txt", "//X,Y,Z", "{x},{y},{z}"),
        ("comma.csv", "label,x,y,z", '"seat, back",{x},{y},{z}'),
        ("order.csv", "z,y,x,label", "{z},{y},{x},seat"),
        ("points3D.txt", "# Points:\n#   POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, IDX)\n# n: 4",
         "{i} {x} {y} {z} {r} {g} {b} 0.5 7 8 9 10"),
        ("comment.csv", "# made by hand\n# on a Monday, with x and y\nid,x,y,z\n# the rows:", "{i},{x},{y},{z}"),
        ("scan.pts", "4", "{x} {y} {z} -100 {r} {g} {b}"),
        ("five.pts", "4", "{x} {y} {z} 100"),
        ("decimal.csv", "t;x;y;z", "{t};{x};{y};{z}"),
        ("trailing.csv", "x,y,z", "{x},{y},{z},"),
        ("trailing.txt", "x\ty\tz\t", "{x}\t{y}\t{z}\t"),
        ("spaces.csv", "x, y, z", "{x}, {y}, {z}"),
        ("indent.xyz", "", "   {x}   {y}   {z}"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_columns_that_a_header_names(tmp_path: Path, name: str, header: str, row: str, ending: str) -> None:
    text = table(row, header, ending)
    for mark in ("", "\ufeff"):
        assert points(write(tmp_path, name, mark + text)) == CLOUD.tolist()


def test_decimal_commas_and_other_encodings(tmp_path: Path) -> None:
    for separator in (";", "\t", " "):
        row = separator.join(("{x}", "{y}", "{z}"))
        text = table(row).replace(".", ",")
        assert points(write(tmp_path, "a.txt", text)) == CLOUD.tolist(), separator
    assert points(write(tmp_path, "a.csv", table("{x},{y},{z}", "x,y,z").encode("utf-16"))) == CLOUD.tolist()
    assert points(write(tmp_path, "a.csv", "# gr\u00f6\u00dfe\n".encode("latin-1") + table("{x},{y},{z}").encode()))


def test_missing_fields_are_missing_points(tmp_path: Path) -> None:
    text = table("{x},{y},{z}", "x,y,z")
    for gap in (",,", "NA,NA,NA", "nan,NaN,NAN", "null,null,null", "5,,6"):
        shape = load(write(tmp_path, "a.csv", text + gap + "\n"), nan="skip")
        assert (shape.points + shape.origin)[:4].tolist() == CLOUD.tolist()
        missing = shape.missing()
        assert missing is not None and missing.tolist() == [False] * 4 + [True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (table("{x},{y},{z},7", "a,b,c,d"), r"which columns are x, y and z \(a, b, c, d\); name them with --columns"),
        (table("{i} {x} {y} {z}"), r"first column only counts the rows \(0, 0\.5"),
        (table("{i} {x} {y} {z}").replace("\n0 ", "\n5 "), "first column only counts the rows"),
        ("".join(f"{3 * i + 17} 0.{i} 1.{i} 2.{i}\n" for i in range(5)), "first column only counts the rows"),
        (table("{t} {x} {y} {z}"), "first column looks like the time"),
        (table("seat {x} {y} {z}"), r"first three columns are not numbers \(seat"),
        (table("{t} {x} {y} {z}", "GPS Time X Y Z"), "more words than columns"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(write(tmp_path, "a.txt", text))


def npz(**arrays: Any) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def test_arrays(tmp_path: Path) -> None:
    wide = np.concatenate([np.arange(4.0)[:, None], CLOUD], axis=1)
    np.save(tmp_path / "a.npy", wide)
    assert points(tmp_path / "a.npy", columns="2,3,4") == CLOUD.tolist()
    with pytest.raises(
        InputError, match=r"\(4, 4\) of float64, which has no columns 2, 3, 5; give numbers from 1 to 4"
    ):
        load(tmp_path / "a.npy", columns="2,3,5")
    with pytest.raises(InputError, match="has no columns x, y, z"):
        load(tmp_path / "a.npy", columns="x,y,z")
    fields = np.zeros(4, [("intensity", "<u2"), ("Y", "<f4"), ("X", "<f4"), ("Z", "<f8"), ("normal", "<f4", (3,))])
    fields["X"], fields["Y"], fields["Z"] = CLOUD.T
    np.save(tmp_path / "f.npy", fields)
    assert points(tmp_path / "f.npy") == CLOUD.tolist()
    assert points(tmp_path / "f.npy", columns="3,2,4") == CLOUD.tolist()
    with pytest.raises(InputError, match="with the fields intensity, Y, X, Z, normal, not x, y, normal"):
        load(tmp_path / "f.npy", columns="x,y,normal")
    np.save(tmp_path / "g.npy", np.zeros(4, [("a", "f4"), ("b", "f4"), ("c", "f4")]))
    with pytest.raises(InputError, match="fields a, b, c, not x, y, z; name three with --columns"):
        load(tmp_path / "g.npy")
    assert points(write(tmp_path, "a.npz", npz(points=wide)), columns=[2, 3, 4]) == CLOUD.tolist()


def test_npz_of_a_cloud_and_a_mesh_is_the_mesh(tmp_path: Path) -> None:
    corners, faces = np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0]]), np.array([[0, 1, 2]])
    for keys in (("points", "vertices", "faces"), ("pos", "verts", "triangles"), ("pc", "vertices", "faces")):
        data = npz(**dict(zip(keys, (CLOUD, corners, faces), strict=True)))
        shape = load(write(tmp_path, "a.npz", data))
        assert shape.points.tolist() == corners.tolist() and shape.faces is not None
        assert shape.faces.tolist() == faces.tolist()


def test_rows_for_columns(tmp_path: Path) -> None:
    cloud = np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", cloud.T)
    assert np.array_equal(load(tmp_path / "a.npy").points, cloud)
    shape = load(write(tmp_path, "a.npz", npz(points=cloud.T)))
    assert np.array_equal(shape.points, cloud)
    with pytest.raises(InputError, match="transpose it"):
        load(write(tmp_path, "b.npz", npz(points=np.ones((6, 500)))))
    with pytest.raises(InputError, match="transpose it"):
        load(write(tmp_path, "a.txt", "\n".join(" ".join(map(str, row)) for row in cloud.T.tolist())))
    small = cloud[:5]  # (3, 5) may be three points with five columns, so it is taken as it is written
    np.save(tmp_path / "b.npy", small.T)
    assert load(tmp_path / "b.npy").points.tolist() == small.T[:, :3].tolist()
