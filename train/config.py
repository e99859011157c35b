"""What a training run is made of; `train.main` turns every field into a flag (`--optim.lr 1e-4`)."""

import dataclasses
import json
import typing
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from tyro.conf import arg

from datasets import AUGMENTATIONS, Choice
from datasets.sources import SYNTHETIC
from vfijax.checkpoint import config_from_json, config_to_json
from vfijax.losses import LossWeights
from vfijax.models import ModelConfig


class TrainError(ValueError):
    """A training run that cannot start or go on; the message says why and what to do."""


@dataclass(frozen=True)
class DataConfig(Choice):
    """Where the triplets come from; for a network that makes clips larger, runs of seven frames."""

    source: Annotated[str, arg(aliases=["--data"])] = SYNTHETIC
    batch: int = 8
    """triplets per step"""
    augment: str = "cdfi"
    """flips, turns, crops and reversal of time as a document has them: none, adacof, cdfi, sepconv,
    sepconv_report, sepconv_replication, sepconv_replication_text, zooming_slowmo"""
    jitter: float = 0.0
    """brightness, contrast and colours vary by this fraction"""
    stride: int = 1
    """distance of the frames of a triplet in a clip; more gives larger motion. For frames at random times:
    the outer ones are 2 to twice this many frames apart"""
    apart: int = 1
    """triplets of a clip begin at multiples of this frame number"""
    threads: int = 2
    """that prepare batches ahead; the batches do not depend on it"""
    workers: int = 0
    """processes that do so, each with its threads and cache; the batches do not depend on it"""


@dataclass(frozen=True)
class OptimConfig:
    """Optimizer and learning rate."""

    name: Literal["adamax", "adam", "obproxsg"] = "adamax"
    """Adamax or Adam (Kingma and Ba); obproxsg makes parameters zero (see `train.compress`)"""
    lr: float = 1e-3
    """learning rate of the first steps"""
    schedule: Literal["halving", "constant", "cosine"] = "halving"
    """how the learning rate falls"""
    halve_every: int = 128_280
    """halving: steps between halvings; the default is 20 epochs of Vimeo-90K, batch 8"""
    period: int = 0
    """cosine: steps from the full rate to `lr_end`, after which it starts anew; 0: the whole run"""
    lr_end: float = 0.0
    """cosine: the learning rate at the end of a period"""
    warmup: int = 0
    """steps in which the rate rises linearly from 0 to what the schedule says"""
    b1: float = 0.9
    """decay of the mean of gradients"""
    b2: float = 0.999
    """decay of the greatest (Adamax) or mean squared (Adam) gradient"""
    eps: float = 1e-8
    """added to each gradient's size"""
    ema: float = 0.0
    """decay of a running mean of the weights, which is then what is scored and kept; 0: none"""
    l1: float = 0.0
    """obproxsg: weight of the l1 norm of the parameters"""
    proximal_steps: int = 0
    """obproxsg: steps before zeros stay zero"""
    zero_below: float = 0.0
    """obproxsg: after them, parameters up to this size become zero"""
    dense_biases: bool = False
    """obproxsg: leave biases and slopes out of it"""
    accumulate: int = 1
    """parts that each device takes its share of a batch in, one after the other, to need less memory"""


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation on fixed triplets or clips: PSNR of the network beside that of the blend."""

    every: int = 500
    """steps between evaluations; the last step is always evaluated"""
    limit: int = 32
    """triplets, spread evenly over the validation data; 0 takes all"""
    crop: int = 192
    """pixels taken from the middle of each side"""


@dataclass(frozen=True)
class LogConfig:
    """What is written while training."""

    every: int = 20
    """steps between lines of the log"""
    checkpoint_every: int = 500
    """steps between checkpoints; the last step always writes one"""
    keep: int = 3
    """newest checkpoints kept"""
    pictures: int = 3
    """triplets in the picture drawn at each evaluation; 0 draws none"""


@dataclass(frozen=True)
class PerceptualConfig:
    """Weights of the perceptual losses, which do not come with vfijax."""

    vgg16: str = ""
    """torchvision's VGG16, .pth or .npz, for `--losses.vgg`"""
    vgg19: str = ""
    """torchvision's VGG19, .pth or .npz, for `--losses.vgg19`"""


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run. With its seed it determines every number of the run on one device."""

    net: ModelConfig
    """the network"""
    steps: int = 10_000
    """optimizer steps of the whole run"""
    seed: int = 0
    """of parameters, order of data and augmentation"""
    start: Literal["blend", "published", "orthogonal"] = "blend"
    """blend: begin close to the average of the frames, which learns sooner; published: plainly random;
    orthogonal: kernels orthogonal with the gain of a ReLU, as in the replication of SepConv"""
    net_from: str = ""
    """a checkpoint whose network, with its widths, is trained, from fresh parameters"""
    init_from: str = ""
    """a checkpoint whose parameters replace those of the start wherever path and shape agree"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """of the convolutions while training; parameters, sampling and losses stay float32"""
    overfit: int = 0
    """train and score on this many fixed triplets, without augmentation: a check of model and losses"""
    reference_grads: bool = False
    """train with the gradients of the published CDFI code instead of the exact ones"""
    devices: int = 1
    """devices of each process that share a batch; 0 takes all"""
    parallel: Literal["jit", "pmap"] = "jit"
    """form of the step on several devices: one program over all, or the same program on each"""
    losses: LossWeights = field(default_factory=LossWeights)
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    log: LogConfig = field(default_factory=LogConfig)
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)


# What a resumed run may change: no parameter of the network at a given step depends on it, other than by
# the rounding of sums over devices and parts of a batch.
FREE = (
    "steps",
    "devices",
    "parallel",
    "optim.accumulate",
    "log.",
    "eval.every",
    "data.threads",
    "data.workers",
    "data.cache_gb",
    "data.dir",
    "perceptual.",
)

_POSITIVE = (
    *("steps", "data.crop", "data.batch", "data.stride", "data.apart", "data.cache_gb"),
    *("optim.lr", "optim.halve_every", "optim.accumulate", "eval.every", "eval.crop"),
    *("log.every", "log.checkpoint_every", "log.keep"),
)
_NOT_NEGATIVE = (
    *("seed", "overfit", "devices"),
    *("data.threads", "data.workers", "data.motion", "data.limit", "data.jitter"),
    *("optim.period", "optim.lr_end", "optim.warmup", "eval.limit", "log.pictures"),
)
_FRACTIONS = ("data.synthetic", "optim.ema")


def check(config: TrainConfig) -> None:
    """Raises TrainError for values that no run can have."""
    values = flatten(to_json(config))
    for name in _POSITIVE + _NOT_NEGATIVE:
        if values[name] < 0 or (values[name] == 0 and name in _POSITIVE):
            least = "more than 0" if name in _POSITIVE else "0 or more"
            raise TrainError(f"--{name} is {values[name]}; give {least}")
    for name in _FRACTIONS:
        if not 0 <= values[name] < 1:
            raise TrainError(f"--{name} is {values[name]}; give 0 or more, and less than 1")
    losses = dataclasses.asdict(config.losses)
    for name, weight in losses.items():
        if not weight >= 0:
            raise TrainError(f"--losses.{name} is {weight}; give 0 or more")
    if not any(losses.values()):
        raise TrainError("all loss weights are 0; give one, such as --losses.charbonnier 1")
    if config.data.crop % config.net.scale:
        raise TrainError(
            f"--data.crop is {config.data.crop}; {config.net.name} needs a multiple of {config.net.scale}"
        )
    if config.net.random_times and config.data.apart != 1:
        raise TrainError(f"--data.apart is {config.data.apart}; {config.net.name} takes frames at any place")
    if config.net.random_times and config.overfit and config.data.source == SYNTHETIC:
        raise TrainError(
            f"--overfit {config.overfit}: {config.net.name} wants triplets of files for that, not scenes; "
            "give --data DIR"
        )
    if config.optim.schedule != "cosine" and config.optim.period:
        raise TrainError("--optim.period belongs to --optim.schedule cosine")
    if config.data.augment not in AUGMENTATIONS:
        raise TrainError(f"--data.augment is {config.data.augment!r}; give one of {', '.join(AUGMENTATIONS)}")


def complete(config: TrainConfig) -> TrainConfig:
    """The config with the period of the cosine written out, so that a resumed run keeps it."""
    if config.optim.schedule != "cosine" or config.optim.period:
        return config
    return replace(config, optim=replace(config.optim, period=config.steps))


def to_json(config: Any) -> Any:
    """A config, such as `TrainConfig`, as JSON can hold it."""
    if isinstance(config, ModelConfig):
        return config_to_json(config)
    if not dataclasses.is_dataclass(config):
        return config
    return {field.name: to_json(getattr(config, field.name)) for field in dataclasses.fields(config)}


def from_json(stored: Any, kind: type[Any] = TrainConfig) -> Any:
    """The config that `to_json` stored; raises TrainError when the fields are those of another version."""
    if kind is ModelConfig:
        return config_from_json(stored)
    if not isinstance(stored, dict):
        return tuple(stored) if isinstance(stored, list) else stored  # JSON has lists for tuples
    types = typing.get_type_hints(kind)
    try:
        return kind(**{name: from_json(value, types[name]) for name, value in stored.items()})
    except (KeyError, TypeError) as error:
        raise TrainError(f"the stored training config is of another version of vfijax ({error})") from None


def flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} to {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def differences(stored: TrainConfig, given: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Fields that a resumed run may not change but which differ: name to (stored, given)."""
    # By way of JSON, which has no tuples: both sides are as a run stores them.
    before, after = (flatten(json.loads(json.dumps(to_json(each)))) for each in (stored, given))
    names = [name for name in {**before, **after} if not name.startswith(FREE)]
    pairs = {name: (before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
