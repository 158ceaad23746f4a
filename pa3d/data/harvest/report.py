"""What a harvest kept, and why it left the rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pa3d.data.parts import PartMesh


@dataclass
class HarvestReport:
    """What a harvest kept, and why it left the rest.

    kept: shapes a source; dropped: shapes a reason; names: shapes a part name; unnamed: words of pieces that
    got no name; licenses: shapes a licence; left: (shape or file, reason) of everything dropped, in order.
    """

    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    unnamed: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    left: list[tuple[str, str]] = field(default_factory=list)

    def keep(self, record: PartMesh) -> None:
        self.kept[record.source] += 1
        self.licenses[record.license] += 1
        self.names.update({name for names in record.parts for name in names})

    def drop(self, where: str, reason: str) -> None:
        self.dropped[reason] += 1
        self.left.append((where, reason))

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """Files that could not be read, and why."""
        return [(where, reason) for where, reason in self.left if reason.startswith("unreadable")]

    def common_names(self, shapes: int = 5) -> list[str]:
        """Part names that at least so many shapes carry, the commonest first."""
        return [name for name, count in self.names.most_common() if count >= shapes]

    def __str__(self) -> str:
        kept = ", ".join(f"{source} {count}" for source, count in self.kept.most_common())
        licenses = ", ".join(f"{license} {count}" for license, count in self.licenses.most_common())
        dropped = "\n".join(f"  {count:5d}  {reason}" for reason, count in self.dropped.most_common())
        return (
            f"kept {self.kept.total()} shapes ({kept}) with {len(self.names)} part names, "
            f"{len(self.common_names())} of them in 5 shapes or more\n"
            f"licences: {licenses or '-'}\n"
            f"dropped {self.dropped.total()}{':' if self.dropped else ''}\n{dropped}"
        ).rstrip()
