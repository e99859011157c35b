"""The command line of training.

python -m train.main --model cdfi
python -m train.main --model compressed_adacof --net.taps 5 --data DIR --steps 2000 --out runs/mine
python -m train.main --net-from small --data DIR          # the network of a checkpoint, from scratch
python -m train.main --out runs/mine --resume
python -m train.main --model cdfi --distributed.coordinator HOST:PORT --distributed.process 0 \\
    --distributed.processes 2
"""

import argparse
import dataclasses
import difflib
import os
import signal
import sys
import typing
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import tyro
from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructFieldSpec, StructTypeInfo

from train import rundir
from train.config import TrainConfig, TrainError
from train.loop import run
from train.presets import NO_NET, PRESETS
from train.sharding import connect, is_first
from vfijax.checkpoint import load_config
from vfijax.command import stop_requests
from vfijax.models import MODELS, ModelConfig
from vfijax.weights.resolve import try_it

RUNS = Path("runs")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a training; returns the exit code.

    0: the run reached its last step. 1: it could not start or go on, one line says why. 2: flags
    that do not exist. 128 + n: ended by signal n with a checkpoint. VFIJAX_DEBUG=1 shows tracebacks.
    """
    try:
        config, out, resume = parse(connect(sys.argv[1:] if arguments is None else arguments))
        with stop_requests() as stop:
            outcome = run(config, out, resume=resume, stop=stop)
    except (ValueError, OSError) as error:
        if os.environ.get("VFIJAX_DEBUG"):
            raise
        print(f"train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("train: interrupted; nothing was saved since the last checkpoint", file=sys.stderr)
        return 128 + signal.SIGINT
    if not is_first():
        return 128 + outcome.stopped_by if outcome.stopped_by else 0
    if outcome.stopped_by:
        print(f"stopped after step {int(outcome.state.step)}; go on with")
        print(f"  python -m train.main --out {out} --resume")
        return 128 + outcome.stopped_by
    print("done; try it with")
    print(try_it(config.net, out / "model"))
    return 0


def parse(arguments: Sequence[str]) -> tuple[TrainConfig, Path, bool]:
    """The run that some arguments ask for: config, directory, whether to resume.

    `--model`, `--preset` and `--net-from` choose a preset and its network, or `--resume` the config of a
    stored run; every other flag is a field of it.
    """
    first, rest = _leading().parse_known_args(arguments)
    if first.resume and not (first.model or first.preset or first.net_from):
        out = Path(first.out or rundir.newest(RUNS))
        default = rundir.stored_config(out)
    else:
        default = choose(first.model, first.preset, first.net_from)
        numbered = rundir.newest if first.resume else rundir.new
        out = Path(first.out or numbered(RUNS, default.net.name))
    program, about = "python -m train.main", _about(default)
    with NET_FLAGS:
        config = tyro.cli(TrainConfig, default=default, args=rest, prog=program, description=about)
    return config, out, first.resume


def choose(model: str | None, preset: str | None, net_from: str = "") -> TrainConfig:
    """The preset of that name, or the model's own; for another model when both are given.

    With `net_from`, for the network of that checkpoint, which tells the model too.

    Raises:
      TrainError: neither is given, there is none of that name, or the checkpoint is of another model.
      CheckpointError: it cannot be read.
    """
    if model is not None and model not in MODELS:
        raise TrainError(f"unknown model {model!r}{_near(model, MODELS)} (models: {', '.join(MODELS)})")
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
        raise TrainError(f"no {kind} {name!r}{_near(name, PRESETS)} (presets: {', '.join(PRESETS)})")
    found = PRESETS[name]
    if model and net is None and found.net.name != model:
        net = MODELS[model]
    if net is None and found.net == NO_NET:
        raise TrainError(
            f"preset {name!r} is the recipe of a network that is not here; name one to train with --model"
        )
    return replace(found, net=net or found.net, net_from=net_from)


NET_FLAGS = ConstructorRegistry()


@NET_FLAGS.struct_rule
def _net_flags(info: StructTypeInfo) -> StructConstructorSpec | None:
    """The flags of a network: the fields of its config, but for its name and its table of widths."""
    net = info.default
    if not isinstance(net, ModelConfig):
        return None
    types = typing.get_type_hints(type(net))
    names = [f.name for f in dataclasses.fields(net) if f.name not in ("name", "widths")]
    fields = tuple(StructFieldSpec(name, types[name], getattr(net, name)) for name in names)
    return StructConstructorSpec(instantiate=net.replace, fields=fields)


def _near(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _leading() -> argparse.ArgumentParser:
    """The flags that are read before the others, because the others' defaults depend on them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model")
    parser.add_argument("--preset")
    parser.add_argument("--net-from", "--net_from", default="")
    parser.add_argument("--out")
    parser.add_argument("--resume", action="store_true")
    return parser


def _about(config: TrainConfig) -> str:
    return (
        "Trains a network for frame interpolation, or for space-time super-resolution (zooming_slowmo). "
        f"--model NAME: one of {', '.join(name for name in PRESETS if name in MODELS)}. "
        f"--preset NAME: a recipe, one of {', '.join(PRESETS)}; without it the model's own. "
        "--net-from CHECKPOINT: the network of that, from fresh parameters. "
        "--out DIR: the run directory, runs/MODEL-N if not given. "
        "--resume: go on with the run in --out, or with the newest one. "
        "--distributed.coordinator HOST:PORT, --distributed.process I, --distributed.processes N: "
        "this is one of several processes of a run; or --distributed.auto on a cluster that says so. "
        f"The defaults below are those of {config.net.name}."
    )


if __name__ == "__main__":
    sys.exit(main())
