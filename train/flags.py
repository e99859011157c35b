"""The flags of the programs: some are read first, since the defaults of the others depend on them; the others
are fields of a config."""

import argparse
import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from train.config import TrainConfig, TrainError
from train.presets import NO_NET, PRESETS
from vfijax.checkpoint import load_config
from vfijax.command import given, nearest
from vfijax.models import MODELS, ModelConfig

Config = TypeVar("Config")
EXAMPLE = "cdfi"  # whose defaults are shown to who asks for help and names no model
PROCESSES = tuple(f"--distributed.{name}" for name in ("coordinator", "process", "processes", "auto"))
_LEADING: dict[str, dict[str, Any]] = {
    "--model": {},
    "--preset": {},
    "--net-from": {"default": ""},
    "--from": {"dest": "source", "default": ""},
    "--out": {},
    "--resume": {"action": "store_true"},
    "--width": {"type": int, "default": 0},
    "--score": {"nargs": "+", "default": []},
    "--protocol": {},
    "--distributed.coordinator": {"dest": "coordinator"},
    "--distributed.process": {"dest": "process", "type": int},
    "--distributed.processes": {"dest": "processes", "type": int},
    "--distributed.auto": {"dest": "auto", "action": "store_true"},
}


def leading(arguments: Sequence[str] | None, *names: str) -> tuple[argparse.Namespace, list[str]]:
    """The flags of these names, and the other arguments; those of the process for None.

    Ends the process with 2 for a flag without a value, or with one that does not fit.

    Raises:
      TrainError: the same of a flag that joins processes, which a launcher gives.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in names:
        spellings = dict.fromkeys((name, f"--{name[2:].replace('-', '_')}"))
        parser.add_argument(*spellings, **_LEADING[name])
    try:
        return parser.parse_known_args(given(arguments))
    except argparse.ArgumentError as error:
        if error.argument_name in PROCESSES:
            raise TrainError(str(error)) from None
        parser.error(str(error))


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether `changed` will print help and end the process with 0."""
    return any(argument in ("-h", "--help") for argument in arguments)


def changed(default: Config, arguments: Sequence[str], *, program: str, about: str) -> Config:
    """A config with the fields that flags name; ends the process with 2 for flags that do not exist."""
    with _NET_FLAGS:
        kind = type(default)
        return tyro.cli(kind, default=default, args=arguments, prog=program, description=about)


_NET_FLAGS = ConstructorRegistry()


@_NET_FLAGS.struct_rule
def _net_flags(info: StructTypeInfo) -> StructConstructorSpec | None:
    """The flags of a network: the fields of its config, but for its name and its table of widths."""
    net = info.default
    if not isinstance(net, ModelConfig):
        return None
    types = typing.get_type_hints(type(net))
    names = [f.name for f in dataclasses.fields(net) if f.name not in ("name", "widths")]
    fields = tuple(StructFieldSpec(name, types[name], getattr(net, name)) for name in names)
    return StructConstructorSpec(instantiate=net.replace, fields=fields)


def choose(model: str | None, preset: str | None, net_from: str = "") -> TrainConfig:
    """The preset of that name, or the model's own; for another model when both are given.

    With `net_from`, for the network of that checkpoint, which tells the model too.

    Raises:
      TrainError: neither is given, there is none of that name, or the checkpoint is of another model.
      CheckpointError: it cannot be read.
    """
    if model is not None and model not in MODELS:
        raise TrainError(f"unknown model {model!r}{nearest(model, MODELS)} (models: {', '.join(MODELS)})")
    net = load_config(net_from) if net_from else None
    if net and model and net.architecture != MODELS[model].architecture:
        raise TrainError(f"--net-from {net_from} holds {net.name}, not {model}; leave --model away")
    name = preset or model or (net.name if net else None)
    if name is None:
        raise TrainError(
            f"give --model, one of {', '.join(PRESETS)} (or --preset, --net-from, or --resume with --out)"
        )
    if name not in PRESETS:
        kind = "preset" if preset else "preset for model"
        raise TrainError(f"no {kind} {name!r}{nearest(name, PRESETS)} (presets: {', '.join(PRESETS)})")
    found = PRESETS[name]
    if model and net is None and found.net.name != model:
        net = MODELS[model]
    if net is None and found.net == NO_NET:
        raise TrainError(
            f"preset {name!r} is the recipe of a network that is not here; name one to train with --model"
        )
    return replace(found, net=net or found.net, net_from=net_from)
