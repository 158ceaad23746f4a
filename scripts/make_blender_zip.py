"""The Blender add-on as a ZIP that installs in Blender 4 and 5: make blender.

The folder in it lets Blender before 4.2, which knows no extensions, install the same file.
"""

from __future__ import annotations

import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "integrations" / "blender"


def main() -> None:
    manifest = (FOLDER / "blender_manifest.toml").read_text(encoding="utf-8")
    facts = tomllib.loads(manifest)
    contents = {
        "__init__.py": (FOLDER / "pa3d_blender.py").read_text(encoding="utf-8"),
        "blender_manifest.toml": manifest,
        "LICENSE": (ROOT / "LICENSE").read_text(encoding="utf-8"),
    }
    out = ROOT / "dist" / f"{facts['id']}-{facts['version']}.zip"
    out.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in contents.items():
            # With one date for all, equal contents give equal bytes.
            file.writestr(zipfile.ZipInfo(f"{facts['id']}/{name}"), text, zipfile.ZIP_DEFLATED)
    print(out.relative_to(ROOT))


if __name__ == "__main__":
    main()
