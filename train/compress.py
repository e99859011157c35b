"""Compresses a network in one command: sparsify, report, shrink, retrain, compare (CDFI, section 3).

python -m train.compress --model adacof --from weights/adacof --data DIR --out runs/small
python -m train.compress --model adacof --data DIR --out runs/small     # from scratch, in one shot
python -m train.compress --out runs/small --resume

Every stage leaves its result in the directory; what is there is not done again.

compress.json       what was asked for, and the command
sparse/             run directory of the training with l1 (`train.rundir`)
sparsity.png        density and PSNR by step, and PSNR by density (figure 5 of the paper)
density.csv, density.png, widths.json     what each layer still needs, and the widths made of it
shrunk/             the small network before it is trained again
retrain/            run directory of the training of the small network
compressed/         the result
table.md, table.json     before and after (table 1 of the paper)
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from tyro.conf import Suppress, arg

from train import flags, rundir
from train.config import OptimConfig, TrainConfig, TrainError, check, from_json, to_json
from train.data import Data
from train.loop import run
from train.presets import PRESETS
from train.report import read_metrics
from train.scores import predictions
from train.tasks import task_of
from vfijax import compilation, prune
from vfijax.checkpoint import load, put_back, save
from vfijax.command import Stopping, never, run_main, stop_requests
from vfijax.files import write_json, write_text
from vfijax.media import write_image
from vfijax.media.plot import line_chart
from vfijax.metrics import ssim
from vfijax.models import MODELS, ModelConfig
from vfijax.models.base import graph_of
from vfijax.params import ModelParams
from vfijax.prune.summary import UNITS, Summary

PROGRAM = "python -m train.compress"  # or `vfijax compress`
PLAN, FORMAT = "compress.json", 2  # raise FORMAT when the meaning of a stored plan changes
EPOCHS = 20  # points at least in the picture of sparsity, as in the paper


@dataclass(frozen=True)
class SparseConfig:
    """The training with l1. The defaults are the paper's and its code's: 20 epochs of 1000 triplets."""

    steps: int = 2500
    """steps of the whole stage"""
    proximal_steps: int = 1250
    """steps of the proximal phase; after them zeros stay zero (orthant phase)"""
    lr: float = 1e-2
    """learning rate"""
    l1: float = 1e-4
    """weight of the l1 norm of the parameters"""
    eps: float = 0.0
    """orthant phase: parameters up to this size become zero"""
    dense_biases: bool = False
    """leave biases out of it"""
    items: int = 1000
    """take the first items of the data only, as the paper does; 0 takes all (or --data.limit)"""


@dataclass(frozen=True)
class ShrinkConfig:
    """From densities to the small network."""

    rule: Literal["paper", "sqrt", "exact"] = "paper"
    """how widths follow from densities, see docs/pruning.md"""
    policy: Literal["max", "min"] = "max"
    """what a tensor with several users gets: what the neediest or the least needy one asks for"""
    multiple: int = 1
    """round widths up to a multiple"""
    parameters: int = 0
    """choose widths so that the network has at most this many parameters; 0: as the rule says"""
    init: Literal["fresh", "slice"] = "fresh"
    """fresh: retrain from scratch, as the paper does; slice: from the strongest channels"""


@dataclass(frozen=True)
class Retraining(TrainConfig):
    """The training of the small network; that with l1 differs from it by `SparseConfig`.

    `net` is the network to compress, and `init_from` (--from) its checkpoint; empty: start from scratch.
    """

    steps: Annotated[int, arg(name="retrain-steps")] = 10_000
    """steps of the retraining"""
    optim: Annotated[OptimConfig, arg(name="retrain")] = field(default_factory=OptimConfig)
    net_from: Annotated[str, Suppress] = ""
    init_from: Annotated[str, Suppress] = ""


@dataclass(frozen=True)
class Plan:
    """All stages."""

    training: Annotated[Retraining, arg(name="")]
    size: tuple[int, int] = (720, 1280)
    """height and width of the frame for time, memory and multiply-adds in the table"""
    sparse: SparseConfig = field(default_factory=SparseConfig)
    shrink: ShrinkConfig = field(default_factory=ShrinkConfig)


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Runs or goes on with a compression; exit codes as of `train.main.main`."""
    interrupted = "finished stages and checkpoints are kept"
    return run_main(program, partial(_main, arguments, program), interrupted=interrupted)


def _main(arguments: Sequence[str] | None, program: str) -> int:
    compilation.set_up()
    plan, out, resume = parse(arguments, program)
    stopped_by = compress(plan, out, resume=resume, stopping=stop_requests)
    if stopped_by:
        print(f"stopped; go on with\n  {program} --out {out} --resume")
    return 128 + stopped_by if stopped_by else 0


def parse(arguments: Sequence[str] | None, program: str = PROGRAM) -> tuple[Plan, Path, bool]:
    """What some arguments ask for: plan, directory, whether to resume."""
    first, rest = flags.leading(arguments, "--model", "--from", "--out", "--resume")
    if flags.asks_for_help(rest):
        default = default_plan(first.model if first.model or first.source else flags.EXAMPLE, first.source)
        flags.changed(default, rest, program=program, about=_about(program))
    if first.resume:
        if not first.out or rest or first.model or first.source:
            raise TrainError("--resume takes --out DIR and nothing else; the plan is stored there")
        return stored_plan(Path(first.out)), Path(first.out), True
    default = default_plan(first.model, first.source)
    plan = flags.changed(default, rest, program=program, about=_about(program))
    out = first.out or rundir.new(Path("runs"), f"{plan.training.net.name}-compressed")
    return plan, Path(out), False


def _about(program: str) -> str:
    """The text above, whose lines help would join if they were no paragraphs."""
    return (__doc__ or "").replace("\n", "\n\n").replace(PROGRAM, program)


def default_plan(model: str | None, source: str) -> Plan:
    """The paper's plan for a network, with the losses, data and retraining of its own preset."""
    preset = flags.choose(model, None) if model in PRESETS or (model and model not in MODELS) else None
    net = load(source).config if source else preset.net if preset else None
    if net is None:
        raise TrainError("give --model NAME, or --from CHECKPOINT, or --resume with --out DIR")
    if preset and source and preset.net.architecture != net.architecture:
        raise TrainError(f"--from {source} holds {net.name}, not {model}; leave --model away")
    graph_of(net)  # says so where there is nothing to compress
    preset = preset or PRESETS.get(net.name, PRESETS["cdfi"])
    return Plan(Retraining(**{**vars(preset), "net": net, "init_from": source}))


def compress(plan: Plan, out: Path, *, resume: bool = False, stopping: Stopping = never) -> int | None:
    """Runs all stages that are not done yet.

    Args:
      plan: what to do.
      out: the directory for everything made.
      resume: go on with what is there.
      stopping: ends a training that is under way, see `train.loop.run`.

    Returns:
      None when everything is done, else the number of the signal that ended it.

    Raises:
      TrainError: `out` does not fit `resume`, or a stage cannot be run.
    """
    sparse = sparse_run(plan)
    for config in (sparse, plan.training):
        check(config)
    _begin(out, plan, resume)
    stopped_by = _train(sparse, out / "sparse", stopping)
    if stopped_by:
        return stopped_by
    draw_sparsity(out)
    small = shrink(plan, out)
    stopped_by = _train(retrain_run(plan, small.config, out), out / "retrain", stopping)
    if stopped_by:
        return stopped_by
    if not (out / "compressed").exists():
        source = plan.training.init_from or plan.training.net.name
        save(out / "compressed", load(out / "retrain" / "model"), compressed_from=source)
    print(write_table(plan, out))
    print(f"done; the result is {out / 'compressed'}, the table {out / 'table.md'}")
    return None


# ------------------------------------------------------------------------------------------ stages


def sparse_run(plan: Plan) -> TrainConfig:
    """The training with l1 as a run of its own."""
    sparse, whole = plan.sparse, plan.training
    if sparse.items < 0:
        raise TrainError(f"--sparse.items is {sparse.items}; give 0 or more")
    limits = [limit for limit in (sparse.items, whole.data.limit) if limit]
    optim = OptimConfig(
        name="obproxsg",
        lr=sparse.lr,
        halve_every=sparse.steps,
        l1=sparse.l1,
        proximal_steps=sparse.proximal_steps,
        zero_below=sparse.eps,
        dense_biases=sparse.dense_biases,
    )
    return replace(
        whole,
        steps=sparse.steps,
        optim=optim,
        data=replace(whole.data, limit=min(limits, default=0)),
        eval=replace(whole.eval, every=min(whole.eval.every, max(1, sparse.steps // EPOCHS))),
    )


def retrain_run(plan: Plan, net: ModelConfig, out: Path) -> TrainConfig:
    """The training of the small network as a run of its own."""
    start = str(out / "shrunk") if plan.shrink.init == "slice" else ""
    return replace(plan.training, net=net, init_from=start)


def _train(config: TrainConfig, out: Path, stopping: Stopping) -> int | None:
    return run(config, out, resume=rundir.got_somewhere(out), stopping=stopping).stopped_by


def shrink(plan: Plan, out: Path) -> ModelParams:
    """Report and small network of the sparsest parameters; what is there is read."""
    if (out / "shrunk").exists():
        return load(out / "shrunk")
    sparse = load(out / "sparse" / "last")
    report = prune.density(sparse)
    report.write_csv(out / "density.csv")
    write_image(out / "density.png", report.picture())
    asked = plan.shrink
    widths = prune.widths(
        report,
        rule=asked.rule,
        policy=asked.policy,
        multiple=asked.multiple,
        parameters=asked.parameters or None,
    )
    write_json(out / "widths.json", widths)
    small = prune.shrink(sparse, widths, init="slice")
    save(out / "shrunk", small, density=report.density)
    counts = f"shrunk from {sparse.size:,} to {small.size:,} parameters"
    print(f"density {100 * report.density:.1f} %; {counts}")
    return small


def draw_sparsity(out: Path) -> None:
    """Density and score while zeros were made."""
    rows = [row for row in read_metrics(out / "sparse") if "density" in row]
    steps, density, psnr = ([row[key] for row in rows] for key in ("step", "density", "psnr"))
    charts = [
        line_chart({"density": (steps, density)}, x_label="step", y_label="density"),
        line_chart({"PSNR": (steps, psnr)}, x_label="step", y_label="PSNR in dB"),
        line_chart({"PSNR": (density, psnr)}, x_label="density", y_label="PSNR in dB"),
    ]
    write_image(out / "sparsity.png", np.concatenate(charts))


# ------------------------------------------------------------------------------------------- table


def write_table(plan: Plan, out: Path) -> str:
    """Scores and costs before, at the sparsest point, and after, as the paper's table 1 has them."""
    sparse, small = load(out / "sparse" / "last"), load(out / "compressed")
    before = load(plan.training.init_from) if plan.training.init_from else None
    config = retrain_run(plan, small.config, out)
    models = {"before": before, "sparsest": sparse, "after": small}
    scores = {name: validation_scores(config, model) for name, model in models.items() if model is not None}
    costs = prune.summary(before or sparse, small, *plan.size)
    write_json(out / "table.json", {"scores": scores, "costs": costs.to_json()})
    text = _markdown(scores, costs)
    write_text(out / "table.md", text)
    return text


def validation_scores(config: TrainConfig, params: ModelParams) -> dict[str, float]:
    """Mean PSNR in dB and SSIM over the validation triplets, or clips, of a run."""
    sequences = Data.of(config).sequences
    truth = jnp.asarray(task_of(config.net).truth(sequences), jnp.float32) / 255
    seen = list(predictions(params, sequences))
    frames = jnp.asarray(np.concatenate([s["prediction"] for s in seen]), jnp.float32) / 255
    psnr = np.concatenate([s["psnr"] for s in seen])
    return {"PSNR, dB": float(psnr.mean()), "SSIM": float(ssim(frames, truth).mean())}


def _markdown(scores: dict[str, dict[str, float]], costs: Summary) -> str:
    """A table with a column per network; costs are those of the first and of the small one."""
    rows = {
        measure: [f"{s[measure]:.4g}" for s in scores.values()] for measure in next(iter(scores.values()))
    }
    between = [""] * (len(scores) - 2)
    for name, (label, unit) in UNITS.items():
        ends = [getattr(side, name) for side in (costs.before, costs.after)]
        if None not in ends:
            first, last = (f"{value / unit:.4g}" for value in ends)
            rows[label] = [first, *between, last]
    lines = [
        ["", *scores],
        ["---", *["--:"] * len(scores)],
        *([label, *cells] for label, cells in rows.items()),
    ]
    note = f"Frames of {costs.width}x{costs.height} for costs; {jax.devices()[0].device_kind}.\n"
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n\n" + note


# -------------------------------------------------------------------------------------------- plan


def _begin(out: Path, plan: Plan, resume: bool) -> None:
    if rundir.got_somewhere(out / "sparse") and not resume:
        raise TrainError(f"{out} already holds a compression; go on with --resume, or choose another --out")
    if resume:
        for network in ("shrunk", "compressed"):
            put_back(out / network)
        return
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / PLAN, {"format": FORMAT, "plan": to_json(plan), "command": sys.argv})


def stored_plan(out: Path) -> Plan:
    """The plan of the compression in `out`; raises TrainError when there is none, or of another version."""
    if not (out / PLAN).is_file():
        raise TrainError(f"{out} holds no compression to resume (no {PLAN}); start without --resume")
    stored = rundir.read_json(out / PLAN, "plan")
    if stored.get("format") != FORMAT:
        raise TrainError(
            f"{out / PLAN} has format {stored.get('format')}, this version of vfijax reads {FORMAT}; go on "
            "with the version that wrote it, or start again with another --out"
        )
    plan: Plan = from_json(stored["plan"], Plan)
    return plan


if __name__ == "__main__":
    sys.exit(main())
