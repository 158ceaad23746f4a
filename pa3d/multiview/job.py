"""The options of a run of `pa3d prepare`, and the result of each of its shapes."""

from __future__ import annotations

from dataclasses import dataclass, field

from pa3d.errors import InputError
from pa3d.frames import UP_AXES
from pa3d.multiview.backbones import DEFAULT, NAMES
from pa3d.multiview.targets import ViewOptions

LAYOUTS = ("shards", "official")


@dataclass(frozen=True)
class PrepareOptions:
    """Everything that the shards depend on, apart from the shapes.

    views: how shapes are rendered and targets are computed.
    backbone, weights: the 2D network, and a file of its weights instead of the installed or cached ones.
    up: the axis that points up in files whose format does not say it.
    grey: leave colours and textures out.
    shard_size: sources per shard.
    layout: "shards" (WebDataset), or "official", the folders of the method's authors; split: the split of the latter.
    Raises InputError for a value that cannot be used.
    """

    views: ViewOptions = field(default_factory=ViewOptions)
    backbone: str = DEFAULT
    weights: str | None = None
    up: str = "y"
    grey: bool = False
    shard_size: int = 500
    layout: str = "shards"
    split: str = "train"

    def __post_init__(self) -> None:
        if self.up not in UP_AXES:
            raise InputError(f"up axis {self.up!r} is unknown; give one of {', '.join(UP_AXES)}")
        if self.backbone not in NAMES:
            raise InputError(f"backbone {self.backbone!r} is unknown; expected one of {', '.join(NAMES)}")
        if self.layout not in LAYOUTS:
            raise InputError(f"layout {self.layout!r}: expected one of {', '.join(LAYOUTS)}")
        if self.shard_size < 1:
            raise InputError(f"shard size {self.shard_size}: expected at least 1")
        if not self.split.isidentifier():
            raise InputError(f"split {self.split!r}: expected a word such as train or val")


@dataclass
class PrepareResult:
    """What `prepare_source` returns for a source: the tar entries of its record, or an error.

    data: in the official layout, the line of the split instead.
    fatal: every other source would fail too, because the backbone cannot be loaded.
    seconds: time per stage; peak_bytes: the most memory that the process has used.
    """

    index: int
    data: bytes = b""
    error: str = ""
    fatal: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
