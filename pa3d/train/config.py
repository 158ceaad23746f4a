"""What a run is made of: typed dataclasses, read from TOML, changed by `section.field=value`, saved with the run."""

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
    """Where shapes come from and what is drawn from each.

    train, val: a folder in the official layout (labeled/...), of shard-*.tar, or with a subfolder of shards a group.
        Without val, the official layout's own list `val` is taken, else there is no validation.
    weights: how often each group is drawn, with replacement; a group that is not named gets 1. Without weights
        every record comes once an epoch.
    points: how many of a shape's points the encoder sees. subsample: "random", or "mask_aware", which gives every
        part its share first, so that small parts are not lost.
    max_parts: names a shape, drawn at random where there are more; 0 takes all.
    category_prompts: probability that prompts name the category, where category_min records share it.
    paraphrases: "builtin" or a file (name TAB paraphrase|paraphrase...): with probability paraphrase a name is
        replaced by one of its paraphrases; "" never.
    patches: "cut" after augmentation, or "precomputed": once for each of `variants` subsamples of a shape, before
        it, and moved along.
    workers: processes that make batches; 0 makes them in a thread. prefetch: batches made ahead.
    """

    train: str = ""
    val: str = ""
    weights: dict[str, float] = field(default_factory=dict)
    points: int = 2048
    subsample: Literal["random", "mask_aware"] = "random"
    max_parts: int = 0
    category_prompts: float = 0.0
    category_min: int = 20
    paraphrases: str = ""
    paraphrase: float = 0.3
    patches: Literal["cut", "precomputed"] = "cut"
    variants: int = 4
    workers: int = 0
    prefetch: int = 4


@dataclass(frozen=True)
class AugmentationConfig:
    """kind: "none"; "paper", rigid motion and jitter as PatchAlign3D states them; "free", any yaw and more.

    paper, with `probability` a shape: rotation, degrees about each axis; translation and jitter in units of the
    shape's radius, jitter a normal deviation cut off at jitter_clip; scale, the two limits of one factor.
    free: yaw by any angle; tilt, deviation in degrees of the other two; any_orientation, probability of a uniform
    rotation instead; stretch, log of the largest factor an axis; mirror and crop, probabilities; free_jitter.
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


@dataclass(frozen=True)
class LossConfig:
    """alignment: "released" or "paper" (pa3d.train.losses). visual: weight of stage 1's loss in `joint`."""

    alignment: Literal["released", "paper"] = "released"
    visual: float = 1.0


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW. lr: of the encoder; head_lr: of the projections and the temperature. decay_vectors: whether biases, norms
    and single numbers decay, too. accumulate: parts that a batch is cut into. clip: largest norm of the gradient, 0
    for none. ema: decay of the moving average of the weights that is saved; 0 saves the weights themselves."""

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
    """Length and shape of a run. steps: 0 takes epochs. warmup: steps of linear rise. kind: after it "constant",
    "linear" (falls to zero over the last `decay` of the run) or "cosine"."""

    epochs: int = 100
    steps: int = 0
    kind: Literal["constant", "linear", "cosine"] = "constant"
    warmup: int = 0
    decay: float = 0.3


@dataclass(frozen=True)
class RunConfig:
    """How it is run. Of this, threads and device alone change what a step computes, and those by rounding.

    save_every: steps between states. validate_every: steps between validations, 0 for one at the end.
    val_shapes: at most so many shapes of the validation set, spread evenly.
    best: what decides which weights are kept as best.safetensors: "val_miou" (stage 2), "val_loss", or "loss", the
        smoothed training loss; "auto" is the first of them that there is.
    tensorboard: "auto" writes events where the package is installed, "on" demands it, "off" does not.
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
    """One run. text_space: of stage 2. freeze: "none", or "official": the last block, the final norm, reduce_dim, class
    token and its position, projection and temperature train, the rest stays bit by bit, batch statistics included.
    precision: "bf16" is autocast. The same seed, data and global batch give the same draws on any number of processes.
    """

    stage: Stage = "stage2"
    text_space: str = OFFICIAL_SPACE
    freeze: Literal["none", "official"] = "none"
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
        o, d, s, r = self.optimizer, self.data, self.schedule, self.run
        at_least = {
            "optimizer.batch": (o.batch, 1), "optimizer.accumulate": (o.accumulate, 1), "data.points": (d.points, 1),
            "data.max_parts": (d.max_parts, 0), "data.variants": (d.variants, 1), "data.workers": (d.workers, 0),
            "data.prefetch": (d.prefetch, 1), "schedule.epochs": (s.epochs, 1), "schedule.steps": (s.steps, 0),
            "schedule.warmup": (s.warmup, 0), "run.save_every": (r.save_every, 1), "run.log_every": (r.log_every, 1),
            "run.validate_every": (r.validate_every, 0), "run.val_shapes": (r.val_shapes, 1), "seed": (self.seed, 0),
            "run.threads": (r.threads, 0), "optimizer.lr": (o.lr, 0), "optimizer.head_lr": (o.head_lr, 0),
            "optimizer.weight_decay": (o.weight_decay, 0), "optimizer.clip": (o.clip, 0),
        }  # fmt: skip
        for name, (value, low) in at_least.items():
            if not value >= low:
                raise InputError(f"{name} is {value}; expected at least {low}")
        rates = {
            "data.category_prompts": d.category_prompts, "data.paraphrase": d.paraphrase, "optimizer.ema": o.ema,
            "augmentation.probability": self.augmentation.probability, "schedule.decay": s.decay,
            "optimizer.beta1": o.beta1, "optimizer.beta2": o.beta2,
        }  # fmt: skip
        for name, rate in rates.items():
            if not 0 <= rate <= 1:
                raise InputError(f"{name} is {rate}; expected a number from 0 to 1")
        if o.batch % o.accumulate:
            raise InputError(f"optimizer.batch {o.batch} is not a multiple of optimizer.accumulate {o.accumulate}")
        if any(not weight >= 0 for weight in d.weights.values()):
            raise InputError(f"data.weights are {d.weights}; expected numbers of at least 0")


def load_config(path: str | Path, stage: Stage, overrides: Iterable[str] = ()) -> TrainConfig:
    """A configuration from a TOML file. overrides: "optimizer.lr=1e-4", the value as TOML writes it, quotes optional.

    Raises InputError for a file that is not TOML, an unknown field or a value of another type.
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
    """Raises InputError that names the first field that is unknown or of the wrong type."""
    try:
        return _build(TrainConfig, values, "")
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def with_overrides(config: TrainConfig, overrides: Iterable[str]) -> TrainConfig:
    """The configuration with `section.field=value` applied."""
    values = to_dict(config)
    for text in overrides:
        _override(values, text)
    return config_from_dict(values, "--set")


def to_dict(config: TrainConfig) -> dict[str, Any]:
    return _plain(asdict(config))


def save_config(path: str | Path, config: TrainConfig) -> None:
    with atomic_write(path, "w") as file:
        file.write(to_toml(to_dict(config)))


def to_toml(values: dict[str, Any], prefix: str = "") -> str:
    """Numbers, texts, lists and tables as TOML that reads back equal."""
    lines = [f"{_key(key)} = {_toml_value(value)}" for key, value in values.items() if not isinstance(value, dict)]
    text = "".join(f"{line}\n" for line in lines)
    for key, value in values.items():
        if isinstance(value, dict):
            name = f"{prefix}{_key(key)}"
            text += f"\n[{name}]\n" + to_toml(value, f"{name}.")
    return text


def difference(a: TrainConfig, b: TrainConfig) -> str | None:
    """The first field in which two configurations would not compute the same, by its dotted name."""
    ignored = {"run", "data.workers", "data.prefetch", "data.train", "data.val"}

    def first(x: dict[str, Any], y: dict[str, Any], prefix: str) -> str | None:
        for key in x:
            name = f"{prefix}{key}"
            if name in ignored:
                continue
            if isinstance(x[key], dict) and key != "weights":
                found = first(x[key], y[key], f"{name}.")
                if found:
                    return found
            elif x[key] != y[key]:
                return name
        return None

    return first(to_dict(a), to_dict(b), "")


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
        kinds = get_args(hint)
        if not isinstance(value, list | tuple) or len(value) != len(kinds):
            raise InputError(f"{name} is {value!r}; expected a list of {len(kinds)} numbers")
        return tuple(_typed(kind, v, f"{name}[{i}]") for i, (kind, v) in enumerate(zip(kinds, value, strict=True)))
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
