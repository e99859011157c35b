"""The command line of training.

python -m train.main --model cdfi
python -m train.main --model compressed_adacof --net.taps 5 --data DIR --steps 2000 --out runs/mine
python -m train.main --net-from small --data DIR          # the network of a checkpoint, from scratch
python -m train.main --out runs/mine --resume
python -m train.main --model cdfi --distributed.coordinator HOST:PORT --distributed.process 0 \\
    --distributed.processes 2
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from train import flags, rundir
from train.config import TrainConfig
from train.loop import run
from train.presets import PRESETS
from train.sharding import connect, is_first
from vfijax import compilation
from vfijax.command import run_main, stop_requests
from vfijax.models import MODELS
from vfijax.weights.resolve import try_it

RUNS = Path("runs")
PROGRAM = "python -m train.main"  # or `vfijax train`


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Runs a training; returns the exit code. Messages and help call it `program`.

    0: the run reached its last step. 1: it could not start or go on, one line says why. 2: flags
    that do not exist. 128 + n: ended by signal n with a checkpoint. VFIJAX_DEBUG=1 shows tracebacks.
    """
    interrupted = "nothing was saved since the last checkpoint"
    return run_main(program, partial(_train, arguments, program), interrupted=interrupted)


def _train(arguments: Sequence[str] | None, program: str) -> int:
    compilation.set_up()
    config, out, resume = parse(arguments, program)
    outcome = run(config, out, resume=resume, stopping=stop_requests)
    if outcome.stopped_by and is_first():
        print(f"stopped after step {int(outcome.state.step)}; go on with")
        print(f"  {program} --out {out} --resume")
    elif is_first():
        print("done; try it with")
        print(try_it(config.net, out / "model"))
    return 128 + outcome.stopped_by if outcome.stopped_by else 0


def parse(arguments: Sequence[str] | None, program: str = PROGRAM) -> tuple[TrainConfig, Path, bool]:
    """The run that some arguments ask for: config, directory, whether to resume. Joins its processes.

    `--model`, `--preset` and `--net-from` choose a preset and its network, or `--resume` the config of a
    stored run; every other flag is a field of it.
    """
    names = ("--model", "--preset", "--net-from", "--out", "--resume", *flags.PROCESSES)
    first, rest = flags.leading(arguments, *names)
    if flags.asks_for_help(rest):
        chosen = first.model or first.preset or first.net_from
        default = flags.choose(first.model if chosen else flags.EXAMPLE, first.preset, first.net_from)
        flags.changed(default, rest, program=program, about=_about(default))
    connect(first.coordinator, first.process, first.processes, auto=first.auto)
    if first.resume and not (first.model or first.preset or first.net_from):
        out = Path(first.out or rundir.newest(RUNS))
        default = rundir.stored_config(out)
    else:
        default = flags.choose(first.model, first.preset, first.net_from)
        numbered = rundir.newest if first.resume else rundir.new
        out = Path(first.out or numbered(RUNS, default.net.name))
    config = flags.changed(default, rest, program=program, about=_about(default))
    return config, out, first.resume


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
