"""The long training: evaluates the weights of a run, keeps a log, and prepares cooldown runs.

    python scripts/campaign.py evaluate MODEL --eval D/eval --tool D/../tools/real_shapes.py [--log log.tsv --note TEXT]
    python scripts/campaign.py branch runs/leg1 runs/leg1-decay --steps 200
    python scripts/campaign.py average BEFORE AFTER --share 0.75 -o OUT
    python scripts/campaign.py watch runs/leg1 --every 2000 --pid PID --log log.tsv --eval ... --tool ...

A phase ("leg") is a run of `pa3d train stage2` at a constant learning rate, on shards of scripts/campaign_corpus.py.
`branch` prepares a cooldown run, which makes a model to use: a copy of the state of a phase that trains for some more
steps while the learning rate falls to zero. `average` mixes its weights with those that the phase started from, which
keeps more of what these knew (Wortsman et al., CVPR 2022). `watch` pauses the training every so many steps (SIGSTOP),
evaluates the weights, and keeps the best ones in best.safetensors beside the log. The headline is the mean of mixed,
articulated, faust, chairs and objects.
real_shapes.py measures the first two folders; it is not part of this repository. docs/training.md has the log.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from pa3d.checkpoint import load, save
from pa3d.errors import InputError
from pa3d.train.config import config_from_dict, load_config, save_config, to_dict
from pa3d.train.logger import LOG
from pa3d.train.loop import CONFIG, LAST, STATE
from pa3d.train.run_state import read_state, write_state

REAL = ("mixed", "articulated")  # folders that the tool measures
FOLDERS = {"faust": ("faust", "faust"), "chairs": ("npz", "partnet_chairs"), "objects": ("npz", "partnet_objects")}
MEASURED = (*REAL, *FOLDERS)
RUN_PA3D = "import sys; from pa3d.cli import main; sys.exit(main())"
COLUMNS = ("time", "draws", "hours", "mean", *MEASURED, "note")


def evaluate(model: Path | None, data: Path, tool: Path) -> dict[str, float]:
    """Mean IoU in percent on every folder, and their mean. model: None for the embedded one."""
    mious: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "real.json"
        model_option = ["--model", str(model)] if model else []
        _run(
            [
                sys.executable,
                str(tool),
                *[str(data / name) for name in REAL],
                "--clean",
                "--json",
                str(out),
                *model_option,
            ]
        )
        report = json.loads(out.read_text())
        mious |= {name: float(report[name]["clean"]) for name in REAL}
        for name, (dataset, folder) in FOLDERS.items():
            arguments = [
                "eval",
                dataset,
                "--root",
                str(data / folder),
                "-o",
                f"{scratch}/{name}",
                "--no-pictures",
                "--json",
            ]
            summary = json.loads(_run([sys.executable, "-c", RUN_PA3D, *arguments, *model_option]))
            mious[name] = _miou(summary)
    mious["mean"] = sum(mious[name] for name in MEASURED) / len(MEASURED)
    return {name: round(value, 1) for name, value in mious.items()}


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def _miou(summary: dict[str, Any]) -> float:
    """Mean over shapes, as docs/results.md reports these folders."""
    return 100 * float(summary["miou"]["value"])


def progress(run: Path) -> tuple[int, float]:
    """The number of shapes drawn so far and the hours of training, from the log of a run."""
    rows = [json.loads(line) for line in (run / LOG).read_text().splitlines()]
    rows = [row for row in rows if "shapes_per_s" in row]
    if not rows:
        return 0, 0.0
    batch = load_config(run / CONFIG, "stage2").optimizer.batch
    seconds, last_step = 0.0, 0
    for row in rows:
        seconds += max(0, row["step"] - last_step) * batch / max(row["shapes_per_s"], 1e-9)
        last_step = row["step"]
    return last_step * batch, seconds / 3600


def add_row(log: Path, mious: dict[str, float], draws: int, hours: float, text: str) -> None:
    """Add a line to the log, tab-separated."""
    if not log.exists():
        log.write_text("\t".join(COLUMNS) + "\n")
    values = [
        time.strftime("%Y-%m-%d %H:%M"),
        str(draws),
        f"{hours:.2f}",
        *(str(mious[n]) for n in COLUMNS[3:-1]),
        text,
    ]
    with log.open("a") as file:
        file.write("\t".join(values) + "\n")


def branch(run: Path, out: Path, steps: int, threads: int | None = None, ema: float | None = None) -> None:
    """Copy the state of a run to a new one that trains `steps` more while the rate falls to zero.

    ema: of the new run, less than before so that its average forgets the weights from before the rate fell.

    `pa3d train stage2 OUT/config.toml --data SHARDS -o OUT` trains it.
    """
    state = read_state(run / STATE)
    if state is None:
        raise InputError(f"{run}: no {STATE} to branch from; wait for the first state of the run")
    if (out / STATE).exists():
        raise InputError(f"{out}: holds a run already; choose another folder")
    config = config_from_dict(state.config, str(run / STATE))
    total = state.step + steps
    config = replace(config, schedule=replace(config.schedule, kind="linear", steps=total, decay=steps / total))
    if threads is not None:
        config = replace(config, run=replace(config.run, threads=threads))
    if ema is not None:
        config = replace(config, optimizer=replace(config.optimizer, ema=ema))
    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(run / LOG, out / LOG)  # `progress` counts the hours before, too; later steps are dropped at the start
    save_config(out / CONFIG, config)
    write_state(out / STATE, replace(state, total_steps=total, config=to_dict(config)))


def average(before: Path, after: Path, share: float, out: Path) -> None:
    """Write a checkpoint whose weights are `share` those of `after` and for the rest those of `before`.

    What was measured for `before` is left out: precisions, outliers, bank, presence, lexicon, kinds and shape head.
    """
    if not 0 <= share <= 1:
        raise InputError(f"share is {share}; expected a number from 0 to 1")
    old, new = load(before), load(after)
    if old.config != new.config or old.text_space != new.text_space:
        raise InputError(f"{after}: has another configuration or text space than {before}; expected the same")
    mixed = {name: (1 - share) * old.tensors[name] + share * tensor for name, tensor in new.tensors.items()}
    temperature = old.temperature ** (1 - share) * new.temperature**share
    provenance = {"before": old.provenance, "after": new.provenance, "share": share}
    result = replace(
        old,
        tensors=mixed,
        temperature=temperature,
        provenance=provenance,
        precisions=(),
        outliers=0.0,
        bank=None,
        presence=None,
        shape_head=None,
        lexicon=None,
        kinds=None,
    )
    save(out, result, half=True)


def watch(run: Path, every: int, pid: int, log: Path, data: Path, tool: Path) -> None:
    """Evaluate the weights of a run every so many steps, until the process ends."""
    best, evaluated_step = log.with_name("best.safetensors"), 0
    rows = log.read_text().splitlines()[1:] if log.exists() else []
    highest = max((float(row.split("\t")[COLUMNS.index("mean")]) for row in rows), default=0.0)
    while _is_running(pid):
        last = run / LAST
        step = int(load(last).provenance["step"]) if last.is_file() else 0
        if step // every > evaluated_step // every:
            evaluated_step = step
            with tempfile.TemporaryDirectory() as scratch:
                model = Path(shutil.copy(last, scratch))
                os.kill(pid, signal.SIGSTOP)
                try:
                    mious = evaluate(model, data, tool)
                finally:
                    os.kill(pid, signal.SIGCONT)
                add_row(log, mious, *progress(run), f"{run.name}, step {step}, moving average")
                if mious["mean"] > highest:
                    highest = mious["mean"]
                    shutil.copy(model, best)
        time.sleep(60)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measured = argparse.ArgumentParser(add_help=False)
    measured.add_argument("--eval", type=Path, required=True, help="folder with mixed, articulated, faust, partnet_*")
    measured.add_argument("--tool", type=Path, required=True, help="real_shapes.py")
    one = commands.add_parser("evaluate", parents=[measured])
    one.add_argument("model", type=Path, nargs="?", help="a checkpoint; the embedded one if left out")
    one.add_argument("--log", type=Path)
    one.add_argument("--run", type=Path, help="the run whose draws and hours the log reports")
    one.add_argument("--note", default="")
    two = commands.add_parser("branch")
    two.add_argument("run", type=Path)
    two.add_argument("out", type=Path)
    two.add_argument("--steps", type=int, required=True)
    two.add_argument("--threads", type=int)
    two.add_argument("--ema", type=float, help="of the new run; that of the run if left out")
    three = commands.add_parser("average")
    three.add_argument("before", type=Path)
    three.add_argument("after", type=Path)
    three.add_argument("--share", type=float, required=True, help="of the weights after, from 0 to 1")
    three.add_argument("-o", "--out", type=Path, required=True)
    four = commands.add_parser("watch", parents=[measured])
    four.add_argument("run", type=Path)
    four.add_argument("--every", type=int, required=True, help="steps between evaluations")
    four.add_argument("--pid", type=int, required=True, help="the process that trains")
    four.add_argument("--log", type=Path, required=True)
    args = parser.parse_args()
    if args.command == "branch":
        branch(args.run, args.out, args.steps, args.threads, args.ema)
    elif args.command == "average":
        average(args.before, args.after, args.share, args.out)
    elif args.command == "watch":
        watch(args.run, args.every, args.pid, args.log, args.eval, args.tool)
    else:
        mious = evaluate(args.model, args.eval, args.tool)
        print(json.dumps(mious))
        if args.log:
            add_row(args.log, mious, *(progress(args.run) if args.run else (0, 0.0)), args.note)


if __name__ == "__main__":
    main()
