"""python -m pa3d.train stage1 CONFIG ..., as pa3d train: for torchrun -m."""

import sys

from pa3d.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
