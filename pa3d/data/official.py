"""The official layout: reads and writes training data in the files of Find3D's engine and PatchAlign3D.

    ROOT/labeled/points/UID/points.pt               (P, C >= 3) floats, the first three x, y, z
    ROOT/labeled/points/UID/point2face.pt           (P,) integers, the face each point lies on
    ROOT/labeled/rendered/CATEGORY_UID/oriented/    UID is what follows the last underscore
        imgs/                                       one picture per view, in the order of the numbers in their names
        pix2face.pt                                 (V, H, W) integers, -1 where no face is seen
        masks/merged/mask2points.pt                 (M, P) bool, or numbers of which > 0 counts
        masks/merged/mask_labels.txt                one label per line, M lines; equal labels are united
        patch_dino/patch_features.pt                a dict: centers_xyz (G, 3), patch_feats (G, D), feature_dim D
    ROOT/labeled/split/{train,val}.txt              one CATEGORY_UID per line

Points are in the axes of the encoder, z up. A y-up shape is written with y and z exchanged
(`pa3d.frames.TO_MODEL_AXES`), as the method does at inference. Needs torch.
"""

from __future__ import annotations

import pickle
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pa3d.atomic import atomic_folder, atomic_write
from pa3d.data.parts import PartCloud
from pa3d.errors import InputError

SPLITS = ("train", "val")

# What torch.load raises for a damaged file: its zip reader, its unpickler, and the functions that rebuild a tensor.
_DAMAGED_TENSORS = (
    pickle.UnpicklingError,
    struct.error,
    RuntimeError,
    EOFError,
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    OverflowError,
)


@dataclass
class OfficialRecord:
    """One shape of the layout. centers_xyz and patch_feats are None where the shape has no patch features."""

    points: NDArray[np.float32]  # (P, 3) z up
    names: list[str]  # M, no two equal
    masks: NDArray[np.bool_]  # (M, P), may overlap
    category: str
    id: str
    centers_xyz: NDArray[np.float32] | None = None  # (G, 3)
    patch_feats: NDArray[np.float32] | None = None  # (G, D)

    def to_part_cloud(self, *, source: str = "official layout", license: str = "unknown") -> PartCloud:
        """The same shape y up, as shards hold it."""
        cloud = PartCloud(_swap(self.points), self.names, self.masks, self.category, source, license, self.id)
        if self.centers_xyz is not None:
            cloud.centers, cloud.patch_features = _swap(self.centers_xyz), self.patch_feats
        return cloud

    @staticmethod
    def from_part_cloud(cloud: PartCloud) -> OfficialRecord:
        """A record of a shard, turned z up."""
        centers = None if cloud.centers is None else _swap(cloud.centers)
        return OfficialRecord(
            _swap(cloud.points), cloud.names, cloud.masks, cloud.category, cloud.id, centers, cloud.patch_features
        )


@dataclass
class OfficialViews:
    """What the layout keeps of a shape's views. images: (V, H, W, 3) uint8; pix2face: (V, H, W); point2face: (P,)."""

    images: NDArray[np.uint8]
    pix2face: NDArray[np.integer]
    point2face: NDArray[np.integer]


def is_official(root: str | Path) -> bool:
    """Whether a folder holds this layout."""
    return (_labeled(root) / "rendered").is_dir() and (_labeled(root) / "points").is_dir()


def read_official(root: str | Path, split: str = "train", *, features: bool | None = None) -> Iterator[OfficialRecord]:
    """Every shape of a split, in the order of its list.

    root: the folder that holds `labeled`, or that folder itself.
    features: True demands patch features of every shape, False leaves them unread, None takes what there is.
    Raises InputError when the split is missing or empty, or a shape's files are missing, damaged or do not fit
    together.
    """
    for entry in official_entries(root, split):
        yield read_entry(root, entry, features=features)


def official_entries(root: str | Path, split: str = "train") -> list[str]:
    """The shapes of a split, CATEGORY_UID each. Raises InputError when there is none."""
    path = _labeled(root) / "split" / f"{split}.txt"
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a list of shapes, one CATEGORY_UID per line")
    lines = path.read_text(encoding="utf-8").splitlines()
    entries = [line.strip() for line in lines if line.strip()]
    if not entries:
        raise InputError(f"{path}: the list is empty; expected one CATEGORY_UID per line")
    return entries


def read_entry(root: str | Path, entry: str, *, features: bool | None = None) -> OfficialRecord:
    """One shape by its line in the split. Raises InputError as `read_official` does."""
    category, uid = split_entry(entry)
    points_file = _labeled(root) / "points" / uid / "points.pt"
    folder = _oriented(root, entry)
    points = _array(points_file, 2, np.float32)
    if points.shape[1] < 3 or len(points) == 0 or not np.isfinite(points[:, :3]).all():
        raise InputError(f"{points_file}: expected finite points (P, 3 or more), got {points.shape}")
    masks_file = folder / "masks" / "merged" / "mask2points.pt"
    masks = _array(masks_file, 2) > 0
    labels_file = masks_file.with_name("mask_labels.txt")
    if not labels_file.is_file():
        raise InputError(f"{labels_file}: no such file; expected one label per line")
    labels = [line.strip() for line in labels_file.read_text(encoding="utf-8").splitlines()]
    if masks.shape != (len(labels), len(points)):
        raise InputError(
            f"{masks_file}: expected shape ({len(labels)}, {len(points)}), one row per line of {labels_file.name}"
            f" and one column per point, got {masks.shape}"
        )
    names, united = unite(labels, masks)
    record = OfficialRecord(np.ascontiguousarray(points[:, :3]), names, united, category, uid)
    features_file = folder / "patch_dino" / "patch_features.pt"
    if features or (features is None and features_file.is_file()):
        record.centers_xyz, record.patch_feats = _patch_features(features_file)
    return record


def read_views(root: str | Path, entry: str) -> OfficialViews:
    """A shape's pictures and the faces they show. Raises InputError when they are missing or do not fit together."""
    from PIL import Image, UnidentifiedImageError

    _, uid = split_entry(entry)
    folder = _oriented(root, entry)
    pix2face = _array(folder / "pix2face.pt", 3)
    point2face = _array(_labeled(root) / "points" / uid / "point2face.pt", 1)
    files = sorted((folder / "imgs").glob("*"), key=_by_number) if (folder / "imgs").is_dir() else []
    if len(files) != len(pix2face):
        raise InputError(f"{folder / 'imgs'}: expected {len(pix2face)} pictures, as pix2face.pt has, got {len(files)}")
    images = []
    for file in files:
        try:
            with Image.open(file) as picture:
                images.append(np.asarray(picture.convert("RGB")))
        except (OSError, UnidentifiedImageError) as error:
            raise InputError(f"{file}: not a readable picture ({error}); render it again") from error
        if images[-1].shape[:2] != pix2face.shape[1:]:
            raise InputError(f"{file}: expected {pix2face.shape[1:]} pixels as in pix2face.pt, got {images[-1].shape}")
    return OfficialViews(np.stack(images), pix2face, point2face)


def write_official(
    records: Iterable[OfficialRecord], root: str | Path, split: str = "train", *, views: Sequence[OfficialViews] = ()
) -> int:
    """Write shapes and then the split that lists them; returns how many. views: as many as records, or none.

    A shape's folder appears when it is complete, and the split when all are. Raises InputError when two records have
    one id, or one has none, or the folder cannot be written.
    """
    entries: dict[str, str] = {}
    for number, record in enumerate(records):
        entry = write_entry(root, record, views[number] if views else None)
        if entries.setdefault(split_entry(entry)[1], entry) != entry or len(entries) <= number:
            raise InputError(f"{record.id}: two shapes would have the uid {split_entry(entry)[1]}; rename one of them")
    write_split(root, split, entries.values())
    return len(entries)


def write_split(root: str | Path, split: str, entries: Iterable[str]) -> None:
    """The list of a split's shapes."""
    path = _labeled(root) / "split" / f"{split}.txt"
    _make(path.parent)
    with atomic_write(path, "w") as file:
        file.writelines(f"{entry}\n" for entry in entries)


def write_entry(root: str | Path, record: OfficialRecord, views: OfficialViews | None = None) -> str:
    """One shape's files; returns its line for the split, CATEGORY_UID. What the shape had before is replaced."""
    import torch

    uid = re.sub(r"[^A-Za-z0-9.-]+", "-", record.id).strip("-.")
    if not uid:
        raise InputError(f"a shape with the id {record.id!r} cannot be written; give it letters or digits")
    entry = f"{re.sub(r'[^A-Za-z0-9.-]+', '_', record.category).strip('_.') or 'object'}_{uid}"
    with atomic_folder(_labeled(root) / "points" / uid) as points:
        torch.save(torch.from_numpy(record.points), points / "points.pt")
        if views is not None:
            torch.save(torch.from_numpy(views.point2face), points / "point2face.pt")
    with atomic_folder(_labeled(root) / "rendered" / entry) as rendered:
        merged = rendered / "oriented" / "masks" / "merged"
        merged.mkdir(parents=True)
        torch.save(torch.from_numpy(record.masks), merged / "mask2points.pt")
        (merged / "mask_labels.txt").write_text("".join(f"{name}\n" for name in record.names), encoding="utf-8")
        if record.centers_xyz is not None and record.patch_feats is not None:
            (rendered / "oriented" / "patch_dino").mkdir()
            features = {
                "centers_xyz": torch.from_numpy(record.centers_xyz),
                "patch_feats": torch.from_numpy(record.patch_feats),
                "feature_dim": record.patch_feats.shape[1],
            }
            torch.save(features, rendered / "oriented" / "patch_dino" / "patch_features.pt")
        if views is not None:
            from PIL import Image

            (rendered / "oriented" / "imgs").mkdir()
            torch.save(torch.from_numpy(views.pix2face), rendered / "oriented" / "pix2face.pt")
            for number, image in enumerate(views.images):
                Image.fromarray(image).save(rendered / "oriented" / "imgs" / f"{number:02d}.png")
    return entry


def write_tiny_official(
    root: str | Path,
    *,
    shapes: int = 6,
    validation: int = 2,
    points: int = 600,
    patches: int = 16,
    feature_dim: int = 8,
    categories: Sequence[str] = ("chair", "mug", "table"),
    seed: int = 0,
) -> None:
    """A set in this layout, small enough for tests: procedural shapes, one view each, made-up patch features.

    The feature of a patch depends on where its centre lies, smoothly, so that a student can learn it. The first
    label of each shape is written twice, half of its points each, so that readers have labels to unite.
    """
    from pa3d.cameras import Cameras
    from pa3d.data.procedural import synthesize
    from pa3d.ops import farthest_point_sample
    from pa3d.ops.rasterize import rasterize
    from pa3d.sampling import sample_surface

    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((3, feature_dim)).astype(np.float32)
    written = []
    for number in range(shapes + validation):
        category = categories[number % len(categories)]
        mesh = synthesize(category, seed + number)
        xyz, face = sample_surface(mesh.vertices, mesh.faces, points, rng)
        part = mesh.face_parts[face]
        masks = {mesh.parts[index][0]: part == index for index in np.unique(part)}
        record = OfficialRecord(_swap(xyz), list(masks), np.stack([*masks.values()]), category, f"tiny{number:04d}")
        half = rng.random(points) < 0.5
        record.names = [record.names[0], *record.names]
        record.masks = np.concatenate([record.masks[:1] & half, record.masks[:1] & ~half, record.masks[1:]])
        record.centers_xyz = record.points[farthest_point_sample(record.points[None], patches)[0]]
        features = np.sin(3 * record.centers_xyz @ mixing) + 0.5 * record.centers_xyz @ mixing
        record.patch_feats = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-6)
        faces = rasterize(mesh.vertices, mesh.faces, Cameras.preset("front"), 32, barycentric=False).face_id
        images = np.repeat(np.where(faces[..., None] >= 0, 128, 255).astype(np.uint8), 3, axis=3)
        written.append(write_entry(root, record, OfficialViews(images, faces, face)))
    write_split(root, "train", written[:shapes])
    write_split(root, "val", written[shapes:])


def split_entry(entry: str) -> tuple[str, str]:
    """CATEGORY_UID as category, with blanks for underscores, and uid. Raises InputError for anything else."""
    category, _, uid = entry.rpartition("_")
    if not category or not uid or "/" in entry or "\\" in entry or uid.startswith("."):
        raise InputError(f"{entry!r}: expected CATEGORY_UID, such as chair_0a1b2c, in the list of a split")
    return category.replace("_", " "), uid


def unite(labels: Sequence[str], masks: NDArray[np.bool_]) -> tuple[list[str], NDArray[np.bool_]]:
    """One mask per label, in order of first appearance: the union of those that carry it. Blank labels are left out."""
    names = list(dict.fromkeys(label for label in labels if label))
    united = np.zeros((len(names), masks.shape[1]), bool)
    for label, mask in zip(labels, masks, strict=True):
        if label:
            united[names.index(label)] |= mask
    return names, united


def _swap(points: NDArray[np.float32]) -> NDArray[np.float32]:  # (N, 3)
    """y up to the encoder's axes, and back: the exchange is its own inverse."""
    return np.ascontiguousarray(points[:, [0, 2, 1]])


def _labeled(root: str | Path) -> Path:
    root = Path(root)
    return root if root.name == "labeled" else root / "labeled"


def _oriented(root: str | Path, entry: str) -> Path:
    return _labeled(root) / "rendered" / entry / "oriented"


def _by_number(path: Path) -> tuple[int, str]:
    """Pictures by the last number in their names, so that 10 follows 9 whether or not zeros lead."""
    numbers = re.findall(r"\d+", path.stem)
    return (int(numbers[-1]) if numbers else -1, path.name)


def _load(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise InputError(f"{path}: reading it needs torch; pip install 'pa3d[torch]'") from None
    if not path.is_file():
        raise InputError(f"{path}: no such file; the layout is described in pa3d.data.official")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGED_TENSORS as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise InputError(f"{path}: not a readable file of tensors ({reason}); write it again") from error


def _tensor(path: Path, value: Any, rank: int) -> NDArray[Any]:
    if not hasattr(value, "numpy") or value.ndim != rank:
        got = tuple(value.shape) if hasattr(value, "shape") else type(value).__name__
        raise InputError(f"{path}: expected a tensor of {rank} dimensions, got {got}")
    value = value.detach()
    return np.asarray((value.float() if value.is_floating_point() else value).numpy())


def _array(path: Path, rank: int, dtype: type | None = None) -> NDArray[Any]:
    tensor = _tensor(path, _load(path), rank)
    return tensor if dtype is None else tensor.astype(dtype)


def _patch_features(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    content = _load(path)
    if not isinstance(content, dict) or not {"centers_xyz", "patch_feats"} <= content.keys():
        raise InputError(f"{path}: expected a dictionary with centers_xyz and patch_feats; write it again")
    centers, features = (_tensor(path, content[key], 2).astype(np.float32) for key in ("centers_xyz", "patch_feats"))
    wide = content.get("feature_dim", features.shape[1])
    if centers.shape != (len(features), 3) or not len(features) or wide != features.shape[1]:
        raise InputError(
            f"{path}: centers_xyz {centers.shape}, patch_feats {features.shape} and feature_dim {wide} do not fit; "
            "expected (G, 3), (G, D) and D"
        )
    if not (np.isfinite(centers).all() and np.isfinite(features).all()):
        raise InputError(f"{path}: NaN or infinite values; write it again")
    return centers, features


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be created ({error.strerror}); choose another folder") from error
