"""Which shapes a harvest kept, and why it dropped the others."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pa3d.data.parts import PartMesh


@dataclass
class HarvestReport:
    """Which shapes a harvest kept, and why it dropped the others.

    kept: number of shapes per source; drop_reasons: per reason; names: per part name; licenses: per licence.
    unnamed: words of pieces that got no name. dropped: (shape or file, reason) of everything dropped, in order.
    """

    kept: Counter[str] = field(default_factory=Counter)
    drop_reasons: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    unnamed: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    dropped: list[tuple[str, str]] = field(default_factory=list)

    def keep(self, record: PartMesh) -> None:
        self.kept[record.source] += 1
        self.licenses[record.license] += 1
        self.names.update({name for names in record.parts for name in names})

    def drop(self, where: str, reason: str) -> None:
        self.drop_reasons[reason] += 1
        self.dropped.append((where, reason))

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Files that could not be read, and why."""
        return [(where, reason) for where, reason in self.dropped if reason.startswith("unreadable")]

    def common_names(self, shapes: int = 5) -> list[str]:
        """Part names that at least so many shapes have, most frequent first."""
        return [name for name, count in self.names.most_common() if count >= shapes]

    def __str__(self) -> str:
        kept = ", ".join(f"{source} {count}" for source, count in self.kept.most_common())
        licenses = ", ".join(f"{license} {count}" for license, count in self.licenses.most_common())
        dropped = "\n".join(f"  {count:5d}  {reason}" for reason, count in self.drop_reasons.most_common())
        return (
            f"kept {self.kept.total()} shapes ({kept}) with {len(self.names)} part names, "
            f"{len(self.common_names())} of them in 5 shapes or more\n"
            f"licences: {licenses or '-'}\n"
            f"dropped {self.drop_reasons.total()}{':' if self.drop_reasons else ''}\n{dropped}"
        ).rstrip()
