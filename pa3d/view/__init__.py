"""A live viewer in the browser: type words and see the parts at once. It needs viser (`pip install 'pa3d[view]'`).

    pa3d view chair.glb                              # on the command line

    from pa3d.view import view                       # in a notebook
    view(seg.segment("chair.glb", ["seat", "leg"]))

viser serves the page and draws it. Its client is in its Python package, so the browser needs no network. viewer.py has
the page and what it does, drawing.py the shape and the cameras, server.py the server. scene.py says what is drawn and
knows nothing of viser.
"""

from __future__ import annotations

from pa3d.view.viewer import Viewer, view

__all__ = ["Viewer", "view"]
