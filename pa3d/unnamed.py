"""What is asked of a shape when no part names are given."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pa3d.segmentation import Segmentation


@dataclass(frozen=True)
class Proposed:
    """The parts that such a thing has, by name (OpenShape.propose)."""

    category: str | None = None
    max_parts: int | None = None

    def segment(self, segmenter: Any, shape: Any, options: dict[str, Any]) -> Segmentation:
        """options: of Segmenter.segment."""
        result: Segmentation = segmenter.propose(shape, category=self.category, max_parts=self.max_parts, **options)
        return result


@dataclass(frozen=True)
class Divided:
    """Parts by what they look like (OpenShape.parts)."""

    count: int | None = None
    level: float | None = None

    def segment(self, segmenter: Any, shape: Any, options: dict[str, Any]) -> Segmentation:
        """options: of Segmenter.segment; those that are not of Segmenter.open change nothing."""
        known = {key: options[key] for key in ("sample", "up", "nan", "seed") if key in options}
        result: Segmentation = segmenter.parts(shape, count=self.count, level=self.level, **known)
        return result


Unnamed = Proposed | Divided


def facts(unnamed: Unnamed) -> dict[str, Any]:
    """For a file that says how results were made."""
    return {"kind": type(unnamed).__name__.lower(), **asdict(unnamed)}
