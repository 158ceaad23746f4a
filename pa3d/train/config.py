"""The configuration of a run: dataclasses, read from TOML, changed by `section.field=value`, saved with the run."""

from __future__ import annotations

import tomllib
import types
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pa3d.atomic import atomic_write
from pa3d.checkpoint import OFFICIAL_SPACE
from pa3d.config import EncoderConfig
from pa3d.errors import InputError

Stage = Literal["stage1", "stage2", "joint"]
STAGES: tuple[str, ...] = get_args(Stage)


@dataclass(frozen=True)
class DataConfig:
    """Where shapes come from, and what is sampled from each.

    train, val: a folder in the official layout (labeled/...), a folder of shard-*.tar, or one with a subfolder of
        shards per group. Without val, the validation list of the official layout is used if there is one.
    weights: relative frequencies with which groups are drawn, with replacement; 1 for a group that is not named.
        Without weights every record is visited once per epoch.
    points: how many points of a shape the encoder gets, drawn anew each time.
    densities: relative frequencies of pairs "points/patches". Each batch draws one pair, and all its shapes have so
        many points and patches, instead of `points` and encoder.patches. With {"2048/128" = 0.9, "4096/256" = 0.1} one
        batch in ten has 4,096 points in 256 patches. Empty: no batch differs.
    frame: "sphere" moves the drawn points to mean 0 and largest norm 1, as at inference; "box" moves the whole shape to
        mean 0 and largest coordinate 0.75, as the published weights were trained (and Find3D).
    subsample: how points are drawn: "random"; or "mask_aware", which divides half of them equally among the parts, so
        that small parts are not lost.
    max_parts: largest number of parts per shape; of more parts, so many are chosen at random. 0 takes all.
    category_prompts: probability that the prompts of a shape name its category ("a seat of a chair"). Only categories
        of at least category_min records are named.
    paraphrases: table of other names of parts: "builtin"; or a file with lines name TAB paraphrase|paraphrase...; or ""
        for none.
    paraphrase: probability that a name is replaced by one of its paraphrases.
    absent: largest number of negative names: names that the shape does not have, with targets of 0
        (pa3d.train.text_bank.NegativeNameSampler). Their number is drawn from 1 to `absent`; there are fewer if not
        enough names qualify, and none if the prompts name the category. 0 for none. Not the option `--absent` of
        `pa3d eval`.
    patches: "cut" groups points into patches after augmentation. "precomputed" does so before it and caches the result.
    variants: for "precomputed", how many subsamples of each shape are cached; each time one is drawn.
    workers: processes that build batches; 0 builds them in a thread. prefetch: how many batches are built ahead.
    """

    train: str = ""
    val: str = ""
    weights: dict[str, float] = field(default_factory=dict)
    points: int = 2048
    densities: dict[str, float] = field(default_factory=dict)
    frame: Literal["sphere", "box"] = "sphere"
    subsample: Literal["random", "mask_aware"] = "random"
    max_parts: int = 0
    category_prompts: float = 0.0
    category_min: int = 20
    paraphrases: str = ""
    paraphrase: float = 0.3
    absent: int = 0
    patches: Literal["cut", "precomputed"] = "cut"
    variants: int = 4
    workers: int = 0
    prefetch: int = 4


@dataclass(frozen=True)
class AugmentationConfig:
    """kind: "none"; "paper", the augmentation of PatchAlign3D; or "free", which rotates by any yaw and does more.

    Fields of "paper":
        probability: probability that a shape is augmented at all.
        rotation: size: largest angle about each axis, in degrees.
        translation: size: largest offset along each axis, in units of the shape's radius.
        scale: size: smallest and largest factor.
        jitter: size: standard deviation of the noise of each coordinate, in units of the radius.
        jitter_clip: size: the noise is clipped at plus and minus this.
    Fields of "free", sizes:
        yaw: whether to rotate about the up axis by a random angle.
        tilt: standard deviation of the angles about the other two axes, in degrees.
        stretch: each axis is scaled by a factor from exp(-stretch) to exp(stretch).
        free_jitter: largest standard deviation of the noise of each coordinate, in units of the radius.
        view_cells: smallest and largest number of cells across the image of `view`.
    Fields of "free", probabilities:
        any_orientation: a uniformly random rotation, instead of yaw and tilt.
        mirror: mirrored left to right.
        crop: a plane cuts 5 to 40 % of the points away.
        view: only the points that one camera sees are kept: in each square cell of its image the nearest ones.
        table: of a shape with `view`, a table below the shape, whose points belong to no part.
        noise: noise with a standard deviation of 0.004 to 0.02, instead of free_jitter.
        uneven: the density falls towards one side.
        outliers: 0.2 to 2 % more points, uniform in a cube 1.5 times as large as the shape, which belong to no part.
    """

    kind: Literal["none", "paper", "free"] = "none"
    probability: float = 0.9
    rotation: float = 20.0
    translation: float = 0.02
    scale: tuple[float, float] = (0.9, 1.1)
    jitter: float = 0.01
    jitter_clip: float = 0.05
    yaw: bool = True
    tilt: float = 6.0
    any_orientation: float = 0.15
    stretch: float = 0.2
    mirror: float = 0.5
    free_jitter: float = 0.004
    crop: float = 0.1
    view: float = 0.0
    view_cells: tuple[float, float] = (22.0, 44.0)
    table: float = 0.0
    noise: float = 0.0
    uneven: float = 0.0
    outliers: float = 0.0


@dataclass(frozen=True)
class LossConfig:
    """alignment: the loss of stage 2, as in the "released" code or in the "paper" (pa3d.train.losses).

    visual: weight of the loss of stage 1 in `joint`.
    category: weight of the loss that compares the class token with the names of categories, in stage 2 and `joint`; 0
        for none. Only categories of at least data.category_min records take part. Validation leaves it out.
    partition: weight of the loss that lets the finest of a shape's names win where they overlap, in stage 2 and
        `joint`; 0 for none. Validation leaves it out.
    """

    alignment: Literal["released", "paper"] = "released"
    visual: float = 1.0
    category: float = 0.0
    partition: float = 0.0


@dataclass(frozen=True)
class OptimizerConfig:
    """
    kind: "adamw"; or "muon", which trains weight matrices of at least 64 by 64 with Muon and all other weights with
        AdamW, at the same learning rates (pa3d.train.muon).
    momentum: of Muon. beta1, beta2: of AdamW.
    lr: learning rate of the encoder.
    head_lr: learning rate of the heads: the projections after the encoder, and the temperature.
    decay_vectors: whether weight_decay also applies to vectors and single numbers: biases, norms, the temperature.
    batch: shapes of the global batch, over all processes.
    accumulate: number of micro-batches that the global batch is divided into, to save memory.
    clip: largest norm of the gradient; 0 does not clip.
    ema: decay per step of the exponential moving average (EMA) of the weights. The EMA is what checkpoints contain; 0
        saves the weights themselves.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    momentum: float = 0.95
    lr: float = 1e-4
    head_lr: float = 5e-4
    weight_decay: float = 0.05
    decay_vectors: bool = True
    beta1: float = 0.9
    beta2: float = 0.999
    batch: int = 32
    accumulate: int = 1
    clip: float = 0.0
    ema: float = 0.0


@dataclass(frozen=True)
class ScheduleConfig:
    """Length of a run and its learning rate.

    epochs: length, used where steps is 0.
    steps: length; 0 takes `epochs`.
    warmup: steps over which the learning rate rises linearly.
    kind: the learning rate after that: "constant"; "linear", which falls to 0 at the end of the run; or "cosine".
    decay: for "linear", the last fraction of the run, over which the rate falls.
    """

    epochs: int = 100
    steps: int = 0
    kind: Literal["constant", "linear", "cosine"] = "constant"
    warmup: int = 0
    decay: float = 0.3


@dataclass(frozen=True)
class RunConfig:
    """How the run is executed. Only device and threads change what a step computes, and only by rounding.

    device: "auto", "cpu", "cuda" or a torch device. threads: 0 is torch's default.
    save_every, log_every: steps between states, and between lines of progress.
    validate_every: steps between validations; 0 validates at the end only.
    val_shapes: most shapes of a validation, evenly spaced in the validation set.
    best: the metric that chooses best.safetensors: "val_miou" (stage 2), "val_loss", or "loss", the smoothed training
        loss; "auto" is the first of these that is measured.
    tensorboard: "auto" writes events if the package is installed, "on" requires it, "off" writes none.
    plot: whether to write loss.png.
    """

    device: str = "auto"
    threads: int = 0
    save_every: int = 500
    validate_every: int = 0
    val_shapes: int = 500
    best: Literal["auto", "val_miou", "val_loss", "loss"] = "auto"
    log_every: int = 20
    tensorboard: Literal["auto", "on", "off"] = "auto"
    plot: bool = True


@dataclass(frozen=True)
class TrainConfig:
    """One run.

    text_space: the text encoder of stage 2 and `joint`, by name (pa3d.text.text_encoder).
    freeze: "none" trains all weights. "official" trains the last block, the final norm, reduce_dim, the class token and
        its position, the projection and the temperature. All other weights and the batch statistics do not change.
        "as released" trains the same weights, but the frozen layers stay in train mode, as in the authors' code: they
        normalise by the statistics of the batch, and the running statistics change.
    precision: "fp32", or "bf16" for autocast.
    seed: the same seed, data and global batch give the same random numbers on any number of processes.
    Raises InputError for a value that is out of range.
    """

    stage: Stage = "stage2"
    text_space: str = OFFICIAL_SPACE
    freeze: Literal["none", "official", "as released"] = "none"
    precision: Literal["bf16", "fp32"] = "bf16"
    seed: int = 0
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    data: DataConfig = field(default_factory=DataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        o, d, s, r, a = self.optimizer, self.data, self.schedule, self.run, self.augmentation
        at_least = {
            "optimizer.batch": (o.batch, 1), "optimizer.accumulate": (o.accumulate, 1), "data.points": (d.points, 1),
            "data.max_parts": (d.max_parts, 0), "data.variants": (d.variants, 1), "data.workers": (d.workers, 0),
            "data.prefetch": (d.prefetch, 1), "data.absent": (d.absent, 0),
            "schedule.epochs": (s.epochs, 1), "schedule.steps": (s.steps, 0),
            "schedule.warmup": (s.warmup, 0), "run.save_every": (r.save_every, 1), "run.log_every": (r.log_every, 1),
            "run.validate_every": (r.validate_every, 0), "run.val_shapes": (r.val_shapes, 1), "seed": (self.seed, 0),
            "run.threads": (r.threads, 0), "optimizer.lr": (o.lr, 0), "optimizer.head_lr": (o.head_lr, 0),
            "optimizer.weight_decay": (o.weight_decay, 0), "optimizer.clip": (o.clip, 0),
            "loss.visual": (self.loss.visual, 0), "loss.category": (self.loss.category, 0),
            "loss.partition": (self.loss.partition, 0),
        }  # fmt: skip
        for name, (value, low) in at_least.items():
            if not value >= low:
                raise InputError(f"{name} is {value}; expected at least {low}")
        rates = {
            "data.category_prompts": d.category_prompts, "data.paraphrase": d.paraphrase, "optimizer.ema": o.ema,
            "augmentation.probability": a.probability, "schedule.decay": s.decay,
            "augmentation.view": a.view, "augmentation.table": a.table, "augmentation.noise": a.noise,
            "augmentation.uneven": a.uneven, "augmentation.outliers": a.outliers,
            "optimizer.beta1": o.beta1, "optimizer.beta2": o.beta2, "optimizer.momentum": o.momentum,
        }  # fmt: skip
        for name, rate in rates.items():
            if not 0 <= rate <= 1:
                raise InputError(f"{name} is {rate}; expected a number from 0 to 1")
        if o.batch % o.accumulate:
            raise InputError(f"optimizer.batch {o.batch} is not a multiple of optimizer.accumulate {o.accumulate}")
        fewest, most = a.view_cells
        if not 2 <= fewest <= most:
            raise InputError(
                f"augmentation.view_cells are [{fewest}, {most}]; expected two numbers of at least 2 in ascending order"
            )
        if any(not weight >= 0 for weight in d.weights.values()):
            raise InputError(f"data.weights are {d.weights}; expected numbers of at least 0")
        for text, weight in d.densities.items():
            points, patches = parse_density(text)
            if not (1 <= patches <= points and weight >= 0):
                raise InputError(
                    f"data.densities.{text} = {weight}; expected no more patches than points, and at least 0"
                )
        if d.densities and d.patches == "precomputed":
            raise InputError('data.densities goes with data.patches "cut", not with "precomputed"')


def parse_density(text: str) -> tuple[int, int]:
    """Points and patches of a key of data.densities. Raises InputError for another form."""
    points, slash, patches = text.partition("/")
    if not (slash and points.isdecimal() and patches.isdecimal()):
        raise InputError(f"data.densities has {text!r}; expected points/patches, such as 4096/256")
    return int(points), int(patches)


def load_config(path: str | Path, stage: Stage, overrides: Iterable[str] = ()) -> TrainConfig:
    """A configuration from a TOML file.

    overrides: such as "optimizer.lr=1e-4", with the value in TOML; quotes are optional.
    Raises InputError for a file that is not TOML or is for another stage, an unknown field, and a wrong value.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror}); give a .toml file such as those of configs/"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML ({error})") from error
    if values.setdefault("stage", stage) != stage:
        raise InputError(f"{path}: made for {values['stage']!r}, not for {stage}; use pa3d train {values['stage']}")
    for text in overrides:
        _override(values, text)
    return config_from_dict(values, str(path))


def config_from_dict(values: dict[str, Any], where: str = "configuration") -> TrainConfig:
    """A configuration from the dict that `to_dict` makes, or part of it; the rest has its defaults.

    Raises InputError, which names the first field that is unknown or has a wrong type.
    """
    try:
        return _build(TrainConfig, values, "")
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def with_overrides(config: TrainConfig, overrides: Iterable[str]) -> TrainConfig:
    """The configuration with each `section.field=value` applied."""
    values = to_dict(config)
    for text in overrides:
        _override(values, text)
    return config_from_dict(values, "--set")


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """As dicts and lists, for TOML and JSON."""
    return _plain(asdict(config))


def save_config(path: str | Path, config: TrainConfig) -> None:
    with atomic_write(path, "w") as file:
        file.write(to_toml(to_dict(config)))


def to_toml(values: dict[str, Any], prefix: str = "") -> str:
    """Numbers, strings, lists and dicts as TOML that reads back equal. prefix: of the names of sections."""
    lines = [f"{_key(key)} = {_toml_value(value)}" for key, value in values.items() if not isinstance(value, dict)]
    text = "".join(f"{line}\n" for line in lines)
    for key, value in values.items():
        if isinstance(value, dict):
            name = f"{prefix}{_key(key)}"
            text += f"\n[{name}]\n" + to_toml(value, f"{name}.")
    return text


def first_difference(a: TrainConfig, b: TrainConfig) -> str | None:
    """The dotted name of the first field by which two runs would compute different things; None if there is none."""
    ignored = {"run", "data.workers", "data.prefetch", "data.train", "data.val"}

    def compare(x: dict[str, Any], y: dict[str, Any], prefix: str) -> str | None:
        for key in x:
            name = f"{prefix}{key}"
            if name in ignored:
                continue
            if isinstance(x[key], dict) and key not in ("weights", "densities"):
                if changed := compare(x[key], y[key], f"{name}."):
                    return changed
            elif x[key] != y[key]:
                return name
        return None

    return compare(to_dict(a), to_dict(b), "")


def _override(values: dict[str, Any], text: str) -> None:
    name, equals, raw = text.partition("=")
    if not equals or not name.strip():
        raise InputError(f"--set {text}: expected section.field=value, such as optimizer.lr=1e-4")
    try:
        value = tomllib.loads(f"value = {raw.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    *sections, last = name.strip().split(".")
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise InputError(f"--set {text}: {section} is not a section")
    table[last] = value


def _build(cls: Any, values: dict[str, Any], prefix: str) -> Any:
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InputError(f"unknown field {prefix}{unknown[0]}; expected one of {', '.join(sorted(known))}")
    hints = get_type_hints(cls)
    return cls(**{key: _typed(hints[key], value, f"{prefix}{key}") for key, value in values.items()})


def _typed(hint: Any, value: Any, name: str) -> Any:
    origin = get_origin(hint)
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise InputError(f"{name} is {value!r}; expected a section [{name}]")
        return _build(hint, value, f"{name}.")
    if origin is Literal:
        if value not in get_args(hint):
            raise InputError(f"{name} is {value!r}; expected one of {', '.join(map(repr, get_args(hint)))}")
        return value
    if origin is tuple:
        element_types = get_args(hint)
        if not isinstance(value, list | tuple) or len(value) != len(element_types):
            raise InputError(f"{name} is {value!r}; expected a list of {len(element_types)} numbers")
        return tuple(_typed(t, v, f"{name}[{i}]") for i, (t, v) in enumerate(zip(element_types, value, strict=True)))
    if origin is dict:
        if not isinstance(value, dict):
            raise InputError(f"{name} is {value!r}; expected a section [{name}] of numbers")
        return {key: _typed(get_args(hint)[1], v, f"{name}.{key}") for key, v in value.items()}
    assert origin not in (Union, types.UnionType), f"{name}: no field of a configuration is optional"
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise InputError(f"{name} is {value!r}; expected {'text' if hint is str else hint.__name__}")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(v) for key, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _toml_value(name)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
    return repr(value)
