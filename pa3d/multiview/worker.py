"""The work of `pa3d prepare` on one source.

A worker turns a source into the bytes of its tar entries. It writes no file, apart from the folders of the official
layout: only the process that runs the whole job writes shards.
"""

from __future__ import annotations

import io
import re
import resource
import sys
import tarfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from pa3d.data.official import OfficialRecord, OfficialViews, read_entry, read_views, write_entry
from pa3d.data.parts import PartCloud, record_members
from pa3d.errors import InputError, failure_reason
from pa3d.multiview.backbones import Backbone, load_backbone
from pa3d.multiview.inputs import Source, read_source
from pa3d.multiview.job import PrepareOptions, PrepareResult
from pa3d.multiview.targets import add_targets, extract_tokens, prepare_shape
from pa3d.profiling import Stopwatch


class BackboneError(InputError):
    """The backbone cannot be loaded."""


@dataclass(frozen=True)
class PrepareTask:
    """prepare_source for an index and a source, with what is the same for all: the function of a worker."""

    options: PrepareOptions
    folder: str

    def __call__(self, task: tuple[int, Source]) -> PrepareResult:
        return prepare_source(*task, self.options, self.folder)


def prepare_source(index: int, source: Source, options: PrepareOptions, folder: str) -> PrepareResult:
    """Prepare one source.

    The result depends only on the arguments and the file. A file that cannot be used gives a result with an error,
    whatever is in it; nothing is raised.
    """
    clock = Stopwatch()
    start = time.perf_counter()
    try:
        record, views = _make_record(source, options, clock)
        with clock("pack"):
            if options.layout == "official":
                record.id = f"{options.split}{index:07d}-{record.id}"
                data = write_entry(folder, OfficialRecord.from_part_cloud(record), views).encode()
            else:
                data = tar_entries(f"{index:07d}", record)
    except BackboneError as error:
        return PrepareResult(index, error=str(error), fatal=True)
    except Exception as error:
        return PrepareResult(index, error=failure_reason(error, source))
    seconds = {**clock.seconds, "all": time.perf_counter() - start}
    return PrepareResult(index, data, seconds=seconds, peak_bytes=peak_memory())


def peak_memory() -> int:
    """The most bytes of memory that this process has used.

    On Linux, fork and exec pass ru_maxrss on, so that it would begin with the parent's; VmHWM is the process's own.
    """
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        if found := re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE):
            return 1024 * int(found[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _make_record(source: Source, options: PrepareOptions, clock: Stopwatch) -> tuple[PartCloud, OfficialViews | None]:
    if source.kind == "official":
        return _from_official(source, options, clock)
    backbone = _backbone(options.backbone, options.weights)
    with clock("read"):
        render_input = read_source(source, up=options.up, grey=options.grey)
    record, views = prepare_shape(render_input, backbone, options.views, clock)
    if views.face_of_pixel is None or views.point_face is None:
        return record, None
    return record, OfficialViews(views.images, views.face_of_pixel, views.point_face)


def _from_official(source: Source, options: PrepareOptions, clock: Stopwatch) -> tuple[PartCloud, OfficialViews | None]:
    """Points, masks and patch features as stored; missing features are computed from the stored images.

    As in the authors' code, a pixel counts for one point of its face, the first.
    """
    with clock("read"):
        record = read_entry(source.path, source.member).to_part_cloud()
        record.provenance["file"] = source.member
        if record.patch_features is not None:
            return record, None
        views = read_views(source.path, source.member)
    with clock("assign"):
        faces, first = np.unique(views.point2face, return_index=True)
        last = int(max(views.pix2face.max(), faces[-1]))
        point_of_face = np.full(last + 2, -1, np.int32)  # the last entry is what index -1 reads
        point_of_face[faces[faces >= 0]] = first[faces >= 0]
        point_of_pixel = point_of_face[np.where(views.pix2face >= 0, views.pix2face, -1)]
    backbone = _backbone(options.backbone, options.weights)
    with clock("backbone"):
        tokens = extract_tokens(views.images, backbone)
    add_targets(record, tokens, point_of_pixel, options.views, clock)
    record.provenance |= {"backbone": backbone.name, "views": len(views.images), "size": views.images.shape[1]}
    return record, views


@lru_cache(maxsize=1)
def _backbone(name: str, weights: str | None) -> Backbone:
    """Loaded once per process. One thread, because the sums of a convolution depend on the number of threads."""
    try:
        backbone = load_backbone(name, weights)
    except InputError as error:
        raise BackboneError(" ".join(str(error).split())) from error
    import torch

    torch.set_num_threads(1)
    return backbone


def tar_entries(key: str, record: PartCloud) -> bytes:
    """The tar entries of a record, without the end of the archive. Equal records give equal bytes."""
    out = io.BytesIO()
    for kind, data in record_members(record).items():
        info = tarfile.TarInfo(f"{key}.{kind}")
        info.size = len(data)
        out.write(info.tobuf(tarfile.USTAR_FORMAT))
        out.write(data)
        out.write(bytes(-len(data) % tarfile.BLOCKSIZE))
    return out.getvalue()
