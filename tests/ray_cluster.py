"""A task of a Ray cluster on this machine, to be killed."""

from __future__ import annotations

import os
import signal


def kill_one() -> list[int]:
    """SIGKILL to a process that runs a task of ours, or is about to."""
    import psutil  # Ray brings it along

    for process in psutil.process_iter(["pid", "cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if line.startswith("ray::") and "_answer" in line:
            os.kill(process.info["pid"], signal.SIGKILL)
            return [process.info["pid"]]
    return []
