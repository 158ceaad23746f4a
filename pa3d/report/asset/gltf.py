"""parts.glb of a glTF file: the file itself, in which each primitive is split by part.

What was in the file keeps its bytes and its number. Only indices are new: the pieces of a primitive use its vertices.
Of a node whose mesh is split, each piece becomes a child node with a mesh, both named after the part; a skin goes to
these nodes. Beside a node without parent that has a skin, they become its neighbours, because glTF wants skinned meshes
at the top. A mesh with morph targets stays one mesh, whose primitives are the pieces: their weights, which animations
and other extensions set, belong to the node and to the mesh.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pa3d.io._gltf_file import COMPONENTS, Json, mapping
from pa3d.io.gltf import INSTANCING, POINTS, TRIANGLES, Gltf, Primitive
from pa3d.report.asset.cut import Cut, members
from pa3d.report.asset.gltf_document import GltfDocument
from pa3d.report.glb import FLOAT, INDICES, VERTICES, index_type

PART = "_PART"  # the attribute that says the label at each vertex


class _Source(NamedTuple):
    """A primitive of the file that is to be split where it stands: which elements of the cut are its own."""

    primitive: Primitive
    elements: slice


def parts_glb(gltf: Gltf, cut: Cut, only: int | None = None) -> bytes | None:
    """A file with its primitives split; None where it has other elements than the cut.

    only: a label, of a part whose pieces alone are kept, with their vertices, materials and textures.
    """
    placed: dict[int, dict[int, list[_Source]]] = {}  # by node and instance
    count = 0
    instances = list(gltf.primitive_instances())
    for instance in [i for i in instances if i.faces is not None] or instances:
        size = len(instance.vertices if instance.faces is None else instance.faces)
        if size:
            source = _Source(instance.primitive, slice(count, count + size))
            placed.setdefault(instance.node, {}).setdefault(instance.instance, []).append(source)
        count += size
    if count != len(cut.numbers):
        return None
    return _Splitter(gltf, cut, placed, only).split()


class _Splitter:
    def __init__(
        self, gltf: Gltf, cut: Cut, placed: dict[int, dict[int, list[_Source]]], only: int | None = None
    ) -> None:
        self.gltf, self.cut, self.placed, self.only = gltf, cut, placed, only
        self.document = GltfDocument(gltf.file)
        self.document.decode_draco()
        self.nodes, self.meshes = self.document.entries("nodes"), self.document.entries("meshes")
        self.originals = [dict(mesh) for mesh in self.meshes]
        users = Counter(node.mesh for node in gltf.nodes if node.mesh >= 0)
        split = Counter(gltf.nodes[number].mesh for number in placed)
        # Meshes that only nodes use which are split: their entries are free for pieces.
        self.free = {mesh for mesh, count in split.items() if users[mesh] == count}
        self.in_place: dict[tuple[int, str], int] = {}  # meshes that are split in place, by what they became
        self.indices: dict[tuple[int, int, bytes], _Indices] = {}
        self.labelled: list[tuple[Json, int, int]] = []  # attributes, label, number of vertices

    def split(self) -> bytes:
        for number, copies in self.placed.items():
            self._split_node(number, copies)
        self._write_indices()
        self._write_labels()
        if self.only is not None:
            for number in range(len(self.gltf.nodes)):
                if number not in self.placed:  # of other scenes
                    self.nodes[number].pop("mesh", None)
                    self.nodes[number].pop("skin", None)
            self.document.drop_unused()
        return self.document.pack()

    def _split_node(self, number: int, copies: dict[int, list[_Source]]) -> None:
        node, mesh = self.nodes[number], self.gltf.nodes[number].mesh
        first, *others = copies.values()
        if all(self._cut_equally(first, other) for other in others):
            self._split_mesh(number, mesh, first, mapping(node, "extensions").get(INSTANCING))
            return
        # Instances that are cut differently become nodes of their own.
        instancing = node["extensions"].pop(INSTANCING)
        places = {key.lower(): self.gltf.file.accessor(value) for key, value in instancing["attributes"].items()}
        for copy, sources in copies.items():
            place = {k: v[copy].tolist() for k, v in places.items() if k in ("translation", "rotation", "scale")}
            name = f"{node.get('name', '')} {copy + 1}".strip()
            child = self.document.add("nodes", {"name": name, "mesh": mesh, **place})
            if "weights" in node:
                self.nodes[child]["weights"] = list(node["weights"])
            self._adopt(number, [child])
            self._split_mesh(child, mesh, sources, None)
        for key in ("mesh", "weights"):
            node.pop(key, None)
        if not node["extensions"]:
            del node["extensions"]

    def _cut_equally(self, first: list[_Source], other: list[_Source]) -> bool:
        numbers = self.cut.numbers
        return all(np.array_equal(numbers[a.elements], numbers[b.elements]) for a, b in zip(first, other, strict=True))

    def _split_mesh(self, number: int, mesh: int, sources: list[_Source], instancing: Json | None) -> None:
        """Split the mesh of one node."""
        node, original = self.nodes[number], self.originals[mesh]
        by_number = {source.primitive.number: source for source in sources}
        if any("targets" in primitive for primitive in original["primitives"]):
            self._split_in_place(node, mesh, by_number)
            return
        pieces: dict[int, list[Json]] = {}
        elements: dict[int, list[NDArray[np.int64]]] = {}
        for source in sources:
            for piece, primitive, own in self._pieces(mesh, source):
                pieces.setdefault(piece, []).append(primitive)
                elements.setdefault(piece, []).append(own)
        skin = node.get("skin")
        self._leave(number, mesh, set(by_number), instancing)
        children = []
        for piece, primitives in sorted(pieces.items()):
            extras = self.cut.extras(piece, np.concatenate(elements[piece]))
            name = self.cut.pieces[piece].name
            entry = {**original, "name": name, "primitives": primitives, "extras": _joined(original, extras)}
            child: Json = {"name": name, "mesh": self._new_mesh(mesh, entry), "extras": extras}
            if skin is not None:
                child["skin"] = skin
            if instancing is not None:
                child["extensions"] = {INSTANCING: instancing}
            children.append(self.document.add("nodes", child))
        if skin is not None and self.gltf.nodes[number].parent < 0:
            self._place_beside(number, children)
        else:
            self._adopt(number, children)

    def _leave(self, number: int, mesh: int, split: set[int], instancing: Json | None) -> None:
        """Take the primitives that were split from a node: what is left are lines and points."""
        node, original = self.nodes[number], self.originals[mesh]
        left = [primitive for i, primitive in enumerate(original["primitives"]) if i not in split]
        if left and self.only is None:
            key = mesh, "left"
            if key not in self.in_place:
                self.in_place[key] = self._new_mesh(mesh, {**original, "primitives": left})
            node["mesh"] = self.in_place[key]
            return
        node.pop("mesh", None)
        node.pop("skin", None)
        node.pop("weights", None)
        if instancing is not None:
            del node["extensions"][INSTANCING]
        if node.get("extensions") == {}:
            del node["extensions"]

    def _split_in_place(self, node: Json, mesh: int, by_number: dict[int, _Source]) -> None:
        original = self.originals[mesh]
        primitives: list[Json] = []
        said: list[tuple[bytes, str]] = []  # equal for nodes whose meshes become the same
        for number, primitive in enumerate(original["primitives"]):
            if number not in by_number:
                primitives += [primitive] if self.only is None else []
                continue
            for piece, new, own in self._pieces(mesh, by_number[number]):
                extras = {"name": self.cut.pieces[piece].name, **self.cut.extras(piece, own)}
                new["extras"] = _joined(new, extras)
                primitives.append(new)
                said.append((self.cut.numbers[by_number[number].elements].tobytes(), str(extras)))
        if not primitives:
            for name in ("mesh", "skin", "weights"):
                node.pop(name, None)
            return
        key = mesh, str(said)
        if key not in self.in_place:
            self.in_place[key] = self._new_mesh(mesh, {**original, "primitives": primitives})
        node["mesh"] = self.in_place[key]

    def _new_mesh(self, mesh: int, entry: Json) -> int:
        """The number of a new mesh; the first one takes the place of that which it replaces."""
        if mesh in self.free:
            self.free.remove(mesh)
            self.meshes[mesh] = entry
            return mesh
        return self.document.add("meshes", entry)

    def _adopt(self, number: int, children: list[int]) -> None:
        if children:
            self.nodes[number].setdefault("children", []).extend(children)

    def _place_beside(self, number: int, others: list[int]) -> None:
        """Put nodes where a node of no parent is, and say there what its pieces are."""
        node = self.nodes[number]
        for scene in self.document.json.get("scenes", []):
            if number in scene.get("nodes", []):
                scene["nodes"] += others
        visibility = mapping(node, "extensions").get("KHR_node_visibility")
        for other in others:
            self.nodes[other] |= {k: node[k] for k in ("translation", "rotation", "scale", "matrix") if k in node}
            if visibility is not None:
                self.nodes[other]["extensions"] = {"KHR_node_visibility": visibility}
        if isinstance(node.setdefault("extras", {}), dict):
            node["extras"]["parts"] = [self.nodes[other]["name"] for other in others]

    def _pieces(self, mesh: int, source: _Source) -> Iterator[tuple[int, Json, NDArray[np.int64]]]:
        """For each piece of a primitive: its number, the primitive, and its elements of the cut."""
        primitive = source.primitive
        original: Json = self.originals[mesh]["primitives"][primitive.number]
        found = members(self.cut.numbers[source.elements])
        for piece, rows in found.items():
            if self.only is not None and self.cut.pieces[piece].label != self.only:
                continue
            new: Json = {**original, "attributes": dict(original["attributes"])}
            count = len(primitive.vertices)
            if len(found) > 1:
                key = mesh, primitive.number, rows.tobytes()
                if key not in self.indices:
                    self.indices[key] = self._indices(original, primitive, rows)
                self.indices[key].users.append(new)
                new.pop("indices", None)
                if original.get("mode", TRIANGLES) not in (TRIANGLES, POINTS):
                    new["mode"] = TRIANGLES
                if self.only is not None:
                    count = self._select_vertices(new, key)
            self.labelled.append((new["attributes"], self.cut.pieces[piece].label, count))
            yield piece, new, source.elements.start + rows

    def _select_vertices(self, primitive: Json, key: tuple[int, int, bytes]) -> int:
        """Give a primitive only the vertices that its indices use; returns how many these are."""
        indices = self.indices[key]
        rows = indices.rows
        if rows is None:
            rows, values = np.unique(indices.values, return_inverse=True)
            kind, dtype = index_type(len(rows))
            self.indices[key] = _Indices(values.reshape(-1).astype(dtype), kind, None, indices.users, rows)

        def selected(group: Json) -> Json:
            return {name: self.document.select_vertices(number, rows) for name, number in group.items()}

        primitive["attributes"] = selected(primitive["attributes"])
        if "targets" in primitive:
            primitive["targets"] = [selected(target) for target in primitive["targets"]]
        return len(rows)

    def _indices(self, original: Json, primitive: Primitive, rows: NDArray[np.int64]) -> _Indices:
        before = original.get("indices")
        if primitive.faces is not None:
            values = primitive.faces[rows].reshape(-1)
        elif before is None:
            values = rows
        else:
            values = self.gltf.file.accessor(before)[:, 0].astype(np.int64)
            values = values[np.isin(values, rows)]
        if before is None:
            kind, _ = index_type(len(primitive.vertices))
        else:
            kind = self.document.entries("accessors")[before]["componentType"]
        return _Indices(values.astype(COMPONENTS[kind]), kind, before, [])

    def _write_indices(self) -> None:
        """Store the new indices, in the place of accessors and buffer views that are no longer used."""
        accessors = self.document.entries("accessors")
        sources = {new.before for new in self.indices.values() if new.before is not None}
        free = self.document.unused_accessors(sources)
        groups: dict[int, list[_Indices]] = {}  # by the buffer view of the old indices
        for new in self.indices.values():
            view = -1 if new.before is None else accessors[new.before].get("bufferView", -1)
            groups.setdefault(view, []).append(new)
        for number in free:
            accessors[number] = {}
        free_views = self.document.unused_views({view for view in groups if view >= 0})
        for view, group in groups.items():
            offsets, data = [], bytearray()
            for new in group:
                offsets.append(len(data))
                data += new.values.tobytes()
                data += bytes(-len(data) % 4)
            number = self.document.add_view(bytes(data), INDICES, slot=view if view in free_views else None)
            for new, offset in zip(group, offsets, strict=True):
                entry: Json = {"bufferView": number, "byteOffset": offset, "componentType": new.kind}
                entry |= {"count": len(new.values), "type": "SCALAR"}
                if new.before in free:
                    free.remove(new.before)
                    accessors[new.before] = entry
                    index = new.before
                else:
                    index = self.document.add("accessors", entry)
                for primitive in new.users:
                    primitive["indices"] = index

    def _write_labels(self) -> None:
        """The attribute _PART: each piece has its label at all vertices, because pieces share vertices."""
        counts: dict[int, int] = {}
        for _, label, count in self.labelled:
            counts[label] = max(counts.get(label, 0), count)
        offsets, data = {}, b""
        for label, count in counts.items():
            offsets[label] = len(data)
            data += np.full(count, label, "<f4").tobytes()
        view = self.document.add_view(data, VERTICES, 4)
        numbers: dict[tuple[int, int], int] = {}
        for attributes, label, count in self.labelled:
            if (label, count) not in numbers:
                accessor: Json = {"bufferView": view, "byteOffset": offsets[label], "componentType": FLOAT}
                numbers[label, count] = self.document.add("accessors", accessor | {"count": count, "type": "SCALAR"})
            attributes[PART] = numbers[label, count]


def _joined(entry: Json, extras: Json) -> Json:
    """What an entry says in its extras, and more."""
    before = entry.get("extras")
    return {**before, **extras} if isinstance(before, dict) else extras


class _Indices(NamedTuple):
    """Indices of a piece: values, component type, the accessor that they were in, and the primitives that use them."""

    values: NDArray[Any]
    kind: int
    before: int | None
    users: list[Json]
    rows: NDArray[np.int64] | None = None  # the vertices that they select
