"""What a run shows: lines of progress, log.jsonl, TensorBoard events, and a picture of the losses."""

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


class MetricLogger:
    """
    out: the folder of the run; None logs nothing, in every process but the first.
    first_step: the step from which the run resumes. Rows of later steps are dropped, because those steps are repeated.
    log: called with every line of progress.
    """

    def __init__(self, out: Path | None, config: TrainConfig, first_step: int, log: Callable[[str], None]) -> None:
        self._out, self._config, self._first_step, self._log = out, config, first_step, log
        self._rows: list[dict[str, Any]] = []
        self._file: Any = None
        self._events: Any = None

    def __enter__(self) -> MetricLogger:
        if self._out is None:
            return self
        path = self._out / LOG
        if path.is_file() and self._first_step > 0:
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # without an incomplete last line
            self._rows = [row for row in map(json.loads, lines) if row["step"] <= self._first_step]
        with atomic_write(path, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in self._rows)
        self._file = path.open("a", encoding="utf-8")
        if self._config.run.tensorboard != "off":
            self._events = _event_writer(self._out / EVENTS, self._first_step, self._config.run.tensorboard == "on")
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()

    def log_step(
        self, step: int, total_steps: int, metrics: dict[str, float], shapes_per_second: float, seconds_left: float
    ) -> None:
        """metrics: of this step, among them "smooth", the smoothed loss."""
        minutes_left = seconds_left / 60
        timing = {"shapes_per_s": round(shapes_per_second, 2), "minutes_left": round(minutes_left, 2)}
        self._write({"step": step, **metrics, **timing})
        self._log(
            f"step {step}/{total_steps}  loss {metrics['smooth']:.4f}  {shapes_per_second:.1f} shapes/s  "
            f"{minutes_left:.1f} min left"
        )

    def log_validation(self, step: int, metrics: dict[str, float]) -> None:
        self._write({"step": step, **metrics})
        self._log(f"step {step}  " + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))

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
        """Write loss.png, losses and validation by step. Does nothing without matplotlib."""
        steps = [row for row in self._rows if "smooth" in row]
        if self._out is None or not self._config.run.plot or not steps:
            return
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError:
            return
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        FigureCanvasAgg(figure)
        loss_axes = figure.add_subplot(xlabel="step", ylabel="loss", title=self._config.stage)
        loss_axes.plot(*_columns(steps, "loss"), color="0.8", linewidth=0.8, label="loss")
        loss_axes.plot(*_columns(steps, "smooth"), color="C0", label="smoothed")
        if any("val_loss" in row for row in self._rows):
            loss_axes.plot(*_columns(self._rows, "val_loss"), "o-", color="C1", label="val_loss")
        loss_axes.legend(loc="upper right")
        if any("val_miou" in row for row in self._rows):
            miou_axes = loss_axes.twinx()
            miou_axes.plot(*_columns(self._rows, "val_miou"), "s-", color="C2")
            miou_axes.set_ylabel("val_miou", color="C2")
        with atomic_write(self._out / PICTURE) as file:
            figure.savefig(file, format="png", dpi=100)


def _columns(rows: list[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of the rows that have a metric."""
    chosen = [row for row in rows if name in row]
    return [row["step"] for row in chosen], [row[name] for row in chosen]


def _event_writer(folder: Path, first_step: int, required: bool) -> Any:
    """A SummaryWriter; None without tensorboard, or InputError where it is required."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        if required:
            raise InputError(
                "TensorBoard events need tensorboard; install it with pip install 'pa3d[train]'"
            ) from error
        return None
    return SummaryWriter(str(folder), purge_step=first_step or None)
