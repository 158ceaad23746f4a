"""python -m pa3d.cli."""

import sys

from pa3d.cli import main

sys.exit(main())
