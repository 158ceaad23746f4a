"""`python -m pa3d.train stage1 CONFIG ...` is `pa3d train stage1 CONFIG ...`, for torchrun -m."""

import sys

from pa3d.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
