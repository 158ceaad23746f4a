"""What a run shows: lines of progress, log.jsonl, TensorBoard events, a picture of the losses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from pa3d.atomic import atomic_write
from pa3d.errors import InputError
from pa3d.train.config import TrainConfig

LOG, PICTURE, EVENTS = "log.jsonl", "loss.png", "events"


class Monitor:
    """out: the folder of the run; None shows nothing, as for all processes but the first. first: the step that the run
    goes on from; what was logged after it belongs to steps that are done again, and is dropped."""

    def __init__(self, out: Path | None, config: TrainConfig, first: int, say: Callable[[str], None]) -> None:
        self._out, self._config, self._first, self._say = out, config, first, say
        self._rows: list[dict[str, Any]] = []
        self._file: Any = None
        self._events: Any = None

    def __enter__(self) -> Monitor:
        if self._out is None:
            return self
        path = self._out / LOG
        if path.is_file() and self._first > 0:
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last line end was cut off
            self._rows = [row for row in map(json.loads, lines) if row["step"] <= self._first]
        with atomic_write(path, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in self._rows)
        self._file = path.open("a", encoding="utf-8")
        if self._config.run.tensorboard != "off":
            self._events = _event_writer(self._out / EVENTS, self._first, self._config.run.tensorboard == "on")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()

    def step(self, step: int, steps: int, values: dict[str, float], shapes: float, left: float) -> None:
        """values: of this step; shapes: a second; left: seconds to the end."""
        timing = {"shapes_per_s": round(shapes, 2), "minutes_left": round(left / 60, 2)}
        self._write({"step": step, **values, **timing})
        self._say(f"step {step}/{steps}  loss {values['smooth']:.4f}  {shapes:.1f} shapes/s  {left / 60:.1f} min left")

    def validation(self, step: int, values: dict[str, float]) -> None:
        self._write({"step": step, **values})
        self._say(f"step {step}  " + "  ".join(f"{name} {value:.4f}" for name, value in values.items()))

    def _write(self, row: dict[str, Any]) -> None:
        if self._file is None:
            return
        self._rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        if self._events is not None:
            for name, value in row.items():
                if name != "step":
                    self._events.add_scalar(name, value, row["step"])

    def plot(self) -> None:
        """loss.png: losses and validation over steps. Without matplotlib there is none."""
        rows = [row for row in self._rows if "smooth" in row]
        if self._out is None or not self._config.run.plot or not rows:
            return
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            return
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        left = figure.add_subplot(xlabel="step", ylabel="loss", title=self._config.stage)
        at = [row["step"] for row in rows]
        left.plot(at, [row["loss"] for row in rows], color="0.8", linewidth=0.8, label="loss")
        left.plot(at, [row["smooth"] for row in rows], color="C0", label="smoothed")
        checked = [row for row in self._rows if "val_loss" in row]
        if checked:
            left.plot(
                [r["step"] for r in checked], [r["val_loss"] for r in checked], "o-", color="C1", label="val_loss"
            )
        left.legend(loc="upper right")
        scored = [row for row in checked if "val_miou" in row]
        if scored:
            right = left.twinx()
            right.plot([r["step"] for r in scored], [r["val_miou"] for r in scored], "s-", color="C2")
            right.set_ylabel("val_miou", color="C2")
        with atomic_write(self._out / PICTURE) as file:
            figure.savefig(file, format="png", dpi=100)


def _event_writer(folder: Path, first: int, demanded: bool) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        if demanded:
            raise InputError(
                "TensorBoard events need tensorboard; install it with pip install 'pa3d[train]'"
            ) from error
        return None
    return SummaryWriter(str(folder), purge_step=first or None)
