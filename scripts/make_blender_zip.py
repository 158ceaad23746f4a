"""The Blender add-on as a ZIP that installs in Blender 4 and 5, in dist/ or the folder that is given: make blender.

The folder in it lets Blender before 4.2, which knows no extensions, install the same file.
"""

from __future__ import annotations

import sys
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
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{facts['id']}-{facts['version']}.zip"
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in contents.items():
            # With one date for all, equal contents give equal bytes.
            file.writestr(zipfile.ZipInfo(f"{facts['id']}/{name}"), text, zipfile.ZIP_DEFLATED)
    print(out)


if __name__ == "__main__":
    main()
