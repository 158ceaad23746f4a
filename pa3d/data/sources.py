"""What is known of harvested files beyond their geometry: where they come from, their licence, wrong names.

A licence is, in this order: what the caller says; what the table of known sources says; what a LICENSE or
COPYING file in the file's folder or above it says, as far as it can be recognised; the copyright entry of a
glTF file; "unknown".
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

# Path pattern: source, licence (SPDX). Patterns name a package's own folders, so that they hold for no other.
KNOWN_SOURCES: tuple[tuple[str, str, str], ...] = (
    (r"/webxr[^/]*/|@webxr-input-profiles/|/dist/profiles/", "webxr-input-profiles", "MIT"),
    (r"/metaworld/", "metaworld", "MIT"),
    (r"/flightgear/", "flightgear", "GPL-2.0-or-later"),
    (r"/quaternius[^/]*/", "quaternius", "CC0-1.0"),
    (r"/kenney[^/]*/", "kenney", "CC0-1.0"),
    (r"/kaykit[^/]*/", "kaykit", "CC0-1.0"),
    (r"/blendswap-cc-0\.sh3f$", "sweethome3d", "CC0-1.0"),
    (r"\.sh3f$", "sweethome3d", "CC-BY-3.0"),
)
# Path pattern: what the shape is, where the file's own name does not say it.
KNOWN_CATEGORIES: tuple[tuple[str, str], ...] = (
    (r"/webxr.*hand/|profiles/generic-.*hand/", "hand"),
    (r"/webxr|/dist/profiles/", "controller"),
    (r"/flightgear/", "aircraft"),
    (r"modular_|knight|kaykit_adventurers|cyberpunk_pack/character", "person"),
    (r"mech_pack|enemy_(2legs|large|flying)", "robot"),
)

# Names that the author's own naming gets wrong, found by looking at every shape of these sources. "a=b": the part
# called a is b, or nothing; "-": the shape's names mislead throughout, it is left out; "*": every shape of the source.
_CORRECTIONS = """
sweethome3d
BlendSwap-CC-0/armchair: handle=armrest, shoe=foot
BlendSwap-CC-0/cupcake: tail=stem
BlendSwap-CC-0/housePuzzle: -
BlendSwap-CC-0/plantie: arch=leaves
BlendSwap-CC-0/tableFan: -
BlendSwap-CC-0/upperCornerCabinet: -
BlendSwap-CC-0/winchesterArmchair: button=back
BlendSwap-CC-0/winchesterSofa: button=back
BlendSwap-CC-BY/coffeePress: thumb=
BlendSwap-CC-BY/hamburger: button=bottom
BlendSwap-CC-BY/kitchenLowerCabinet: drawer=door
BlendSwap-CC-BY/kitchenSink: drawer=door
BlendSwap-CC-BY/kitchenSmallLowerCabinet: drawer=door
BlendSwap-CC-BY/kitchenTools: drain=
BlendSwap-CC-BY/spatifilum: flower=leaves
BlendSwap-CC-BY/surveillanceCamera: -
BlendSwap-CC-BY/wheelchair: -
KatorLegaz/propane-stove: oven=body
KatorLegaz/trunk-large: -
Scopia/apples: -
Scopia/bonsai-tree: branch=leaves
Scopia/contemp_living_room: -
Scopia/dimmer-whites: plug=plate, interior=knob
Scopia/dining_room: glasses=pane
Scopia/dressing-table: -
Scopia/kitchenKnifeStandSet: sheet=blade
Scopia/kitchen_stool: -
Scopia/office_chair: -
Scopia/rectangle-swimming-pool: -
Scopia/rounded-dimmer: plug=plate, interior=knob
Scopia/square-double-switch: plug=plate
Scopia/square-switch: plug=plate
Scopia/stroller: -
Scopia/wine_bottle: tap=cap
metaworld
objects/box: bin=body, top box=lid
objects/dial: -
objects/doorlockA: door lock=case
objects/doorlockB: door lock=case
objects/faucet: faucet=handle, faucet handle=joint
objects/plug_wall: -
objects/puck_goal: rim=frame
objects/xyz_base: -
webxr-input-profiles
*: grip=grip button
samsung-gearvr/none: home button=body
quaternius
mech_pack/Stan: -
flightgear
F-4/F-4_lowpoly: face=body
Lights/NavLights: -
Jaguar-GR1/jaguar-gr1-low: -
Mirage2000/m2000-5_lowpoly: -
Models/757-200: frame=body
Models/BAE146-300: fuselage=body
Models/F-15-lowpoly: fuselage=body
Models/F-18-model: antenna=body
Models/JA-37-lowpoly: bottom air intake=fuselage, wrist=
Models/beech99: -
Models/c182: -
Models/c182rg: -
Models/typhoon-ai: -
SR-71/Blackbird-SR71A-lowpoly: base=body
"""

_LICENSE_NAMES = re.compile(r"(un)?licen[cs]e|copying|copyright|notice", re.I)
# What the text of a licence says: SPDX. The first match counts, so narrower ones come first.
_LICENSE_TEXTS: tuple[tuple[str, str], ...] = (
    (r"cc0|creative commons zero|publicdomain/zero", "CC0-1.0"),
    (r"by-nc-nd", "CC-BY-NC-ND"),
    (r"by-nc-sa", "CC-BY-NC-SA"),
    (r"by-nc|attribution-noncommercial", "CC-BY-NC"),
    (r"by-sa[/ -]4|attribution-sharealike 4", "CC-BY-SA-4.0"),
    (r"by-sa[/ -]3|attribution-sharealike 3", "CC-BY-SA-3.0"),
    (r"cc[- ]by[- /]4|licenses/by/4|attribution 4\.0", "CC-BY-4.0"),
    (r"cc[- ]by[- /]3|licenses/by/3|attribution 3\.0", "CC-BY-3.0"),
    (r"apache license,?\s+version 2", "Apache-2.0"),
    (r"gnu affero general public license", "AGPL"),
    (r"gnu lesser general public license", "LGPL"),
    (r"gnu general public license\s+version 3|gplv3|gpl-3", "GPL-3.0"),
    (r"gnu general public license\s+version 2|gplv2|gpl-2", "GPL-2.0"),
    (r"permission is hereby granted, free of charge", "MIT"),
    (r"mit license", "MIT"),
)


def origin(path: Path, copyright: str = "") -> tuple[str, str]:
    """Source and licence of a file; copyright is what the file itself says."""
    where = path.absolute().as_posix().lower()
    known = ((source, license) for pattern, source, license in KNOWN_SOURCES if re.search(pattern, where))
    return next(known, (path.absolute().parent.name, _license_near(path.absolute().parent) or _spdx(copyright)))


def category_of(path: Path) -> str:
    """What a file shows: known for its folder, else the words of its name."""
    where = path.absolute().as_posix().lower()
    known = next((name for pattern, name in KNOWN_CATEGORIES if re.search(pattern, where)), None)
    if known:
        return known
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path.stem)
    return " ".join(re.findall(r"[a-z]+", words.lower())) or path.stem


def corrections(source: str, id: str) -> dict[str, str] | None:
    """Wrong name -> right name of a shape's parts, {} for most; None for a shape that is to be left out."""
    table = _parsed()
    return table[source, id] if (source, id) in table else table.get((source, "*"), {})


@lru_cache(maxsize=1)
def _parsed() -> dict[tuple[str, str], dict[str, str] | None]:
    table: dict[tuple[str, str], dict[str, str] | None] = {}
    source = ""
    for line in _CORRECTIONS.split("\n"):
        id, colon, rules = line.partition(": ")
        if not colon:
            source = id or source
            continue
        pairs = (rule.partition("=")[::2] for rule in rules.split(", "))
        table[source, id] = None if rules == "-" else dict(pairs)
    return table


@lru_cache(maxsize=4096)
def _license_near(folder: Path, above: int = 2) -> str:
    """The licence that a file in this folder, or up to two above it, states; "" when none is recognised."""
    try:
        names = sorted(p for p in folder.iterdir() if _LICENSE_NAMES.match(p.name) and p.is_file())
    except OSError:
        return ""
    for path in names:
        try:
            text = path.read_bytes()[:20_000].decode("utf-8", "replace")
        except OSError:
            continue
        found = _spdx(text, unknown="")
        if found:
            return found
    return _license_near(folder.parent, above - 1) if above and folder.parent != folder else ""


def _spdx(text: str, unknown: str = "unknown") -> str:
    return next((spdx for pattern, spdx in _LICENSE_TEXTS if re.search(pattern, text, re.I)), unknown)
