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

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from train import rundir
from train.config import (
    DataConfig,
    EvalConfig,
    LogConfig,
    OptimConfig,
    PerceptualConfig,
    TrainConfig,
    TrainError,
    check,
    from_json,
    to_json,
)
from train.loop import Data, Outcome, predictions, run
from train.main import NET_FLAGS, choose
from train.presets import PRESETS
from train.report import read_metrics
from train.tasks import task_of
from vfijax import prune
from vfijax.checkpoint import load, put_back, save
from vfijax.losses import LossWeights
from vfijax.media import write_image
from vfijax.media.plot import line_chart
from vfijax.metrics import ssim
from vfijax.models import MODELS, ModelConfig
from vfijax.models.base import graph_of
from vfijax.params import ModelParams
from vfijax.prune.summary import UNITS, Summary

PLAN = "compress.json"
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
class Plan:
    """All stages."""

    net: ModelConfig
    """the network to compress"""
    source: Annotated[str, tyro.conf.Suppress] = ""
    """--from: its checkpoint; empty: start from scratch"""
    seed: int = 0
    """of parameters, order of data and augmentation"""
    devices: int = 1
    """devices that share a batch; 0 takes all"""
    parallel: Literal["jit", "pmap"] = "jit"
    """form of the step on several devices"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """of the convolutions while training"""
    size: tuple[int, int] = (720, 1280)
    """height and width of the frame for time, memory and multiply-adds in the table"""
    sparse: SparseConfig = field(default_factory=SparseConfig)
    shrink: ShrinkConfig = field(default_factory=ShrinkConfig)
    retrain_steps: int = 10_000
    """steps of the retraining"""
    retrain: OptimConfig = field(default_factory=OptimConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    perceptual: PerceptualConfig = field(default_factory=PerceptualConfig)
    data: DataConfig = field(default_factory=DataConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    log: LogConfig = field(default_factory=LogConfig)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs or goes on with a compression; exit codes as of `train.main.main`."""
    try:
        plan, out, resume = parse(sys.argv[1:] if arguments is None else arguments)
        stopped_by = compress(plan, out, resume=resume)
    except (ValueError, OSError) as error:
        if os.environ.get("VFIJAX_DEBUG"):
            raise
        print(f"compress: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("compress: interrupted; finished stages and checkpoints are kept", file=sys.stderr)
        return 128 + signal.SIGINT
    if stopped_by:
        print(f"stopped; go on with\n  python -m train.compress --out {out} --resume")
        return 128 + stopped_by
    return 0


def parse(arguments: Sequence[str]) -> tuple[Plan, Path, bool]:
    """What some arguments ask for: plan, directory, whether to resume."""
    first, rest = _leading().parse_known_args(arguments)
    if first.resume:
        if not first.out or rest or first.model or first.source:
            raise TrainError("--resume takes --out DIR and nothing else; the plan is stored there")
        return stored_plan(Path(first.out)), Path(first.out), True
    default = default_plan(first.model, first.source)
    program = "python -m train.compress"
    with NET_FLAGS:
        plan = tyro.cli(Plan, default=default, args=rest, prog=program, description=__doc__)
    return plan, Path(first.out or rundir.new(Path("runs"), f"{plan.net.name}-compressed")), False


def default_plan(model: str | None, source: str | None) -> Plan:
    """The paper's plan for a network, with the losses, data and retraining of its own preset."""
    preset = choose(model, None) if model in PRESETS or (model and model not in MODELS) else None
    net = load(source).config if source else preset.net if preset else None
    if net is None:
        raise TrainError("give --model NAME, or --from CHECKPOINT, or --resume with --out DIR")
    if preset and source and preset.net.architecture != net.architecture:
        raise TrainError(f"--from {source} holds {net.name}, not {model}; leave --model away")
    graph_of(net)  # says so where there is nothing to compress
    preset = preset or PRESETS.get(net.name, PRESETS["cdfi"])
    return Plan(
        net=net,
        source=source or "",
        retrain_steps=preset.steps,
        retrain=preset.optim,
        losses=preset.losses,
        data=preset.data,
        eval=preset.eval,
        log=preset.log,
    )


def compress(plan: Plan, out: Path, *, resume: bool = False) -> int | None:
    """Runs all stages that are not done yet.

    Args:
      plan: what to do.
      out: the directory for everything made.
      resume: go on with what is there.

    Returns:
      None when everything is done, else the number of the signal that ended it.

    Raises:
      TrainError: `out` does not fit `resume`, or a stage cannot be run.
    """
    for config in (sparse_run(plan), retrain_run(plan, plan.net, out)):
        check(config)
    _begin(out, plan, resume)
    outcome = _train(sparse_run(plan), out / "sparse")
    if outcome.stopped_by:
        return outcome.stopped_by
    draw_sparsity(out)
    small = shrink(plan, out)
    outcome = _train(retrain_run(plan, small.config, out), out / "retrain")
    if outcome.stopped_by:
        return outcome.stopped_by
    if not (out / "compressed").exists():
        save(
            out / "compressed", load(out / "retrain" / "model"), compressed_from=plan.source or plan.net.name
        )
    print(write_table(plan, out))
    print(f"done; the result is {out / 'compressed'}, the table {out / 'table.md'}")
    return None


# ------------------------------------------------------------------------------------------ stages


def sparse_run(plan: Plan) -> TrainConfig:
    """The training with l1 as a run of its own."""
    sparse = plan.sparse
    if sparse.items < 0:
        raise TrainError(f"--sparse.items is {sparse.items}; give 0 or more")
    limits = [limit for limit in (sparse.items, plan.data.limit) if limit]
    return TrainConfig(
        net=plan.net,
        steps=sparse.steps,
        seed=plan.seed,
        init_from=plan.source,
        losses=plan.losses,
        perceptual=plan.perceptual,
        data=replace(plan.data, limit=min(limits, default=0)),
        optim=OptimConfig(
            name="obproxsg",
            lr=sparse.lr,
            halve_every=sparse.steps,
            l1=sparse.l1,
            proximal_steps=sparse.proximal_steps,
            zero_below=sparse.eps,
            dense_biases=sparse.dense_biases,
        ),
        eval=replace(plan.eval, every=min(plan.eval.every, max(1, sparse.steps // EPOCHS))),
        log=plan.log,
        **_where(plan),
    )


def _where(plan: Plan) -> dict[str, Any]:
    return {"devices": plan.devices, "parallel": plan.parallel, "precision": plan.precision}


def retrain_run(plan: Plan, net: ModelConfig, out: Path) -> TrainConfig:
    """The training of the small network as a run of its own."""
    return TrainConfig(
        net=net,
        steps=plan.retrain_steps,
        seed=plan.seed,
        init_from=str(out / "shrunk") if plan.shrink.init == "slice" else "",
        losses=plan.losses,
        perceptual=plan.perceptual,
        data=plan.data,
        optim=plan.retrain,
        eval=plan.eval,
        log=plan.log,
        **_where(plan),
    )


def _train(config: TrainConfig, out: Path) -> Outcome:
    return run(config, out, resume=rundir.got_somewhere(out))


def shrink(plan: Plan, out: Path) -> ModelParams:
    """Report and small network of the sparsest parameters; what is there is read."""
    if (out / "shrunk").exists():
        return load(out / "shrunk")
    sparse = load(out / "sparse" / "last")
    report = prune.density(sparse)
    rundir.write(out / "density.csv", report.to_csv())
    write_image(out / "density.png", report.picture())
    asked = plan.shrink
    widths = prune.widths(
        report,
        rule=asked.rule,
        policy=asked.policy,
        multiple=asked.multiple,
        parameters=asked.parameters or None,
    )
    rundir.write(out / "widths.json", json.dumps(dict(widths), indent=1) + "\n")
    small = prune.shrink(sparse, widths, init="slice")
    save(out / "shrunk", small, density=report.density)
    counts = f"shrunk from {_count(sparse):,} to {_count(small):,} parameters"
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
    before = load(plan.source) if plan.source else None
    config = retrain_run(plan, small.config, out)
    models = {"before": before, "sparsest": sparse, "after": small}
    scores = {name: validation_scores(config, model) for name, model in models.items() if model is not None}
    costs = prune.summary(before or sparse, small, *plan.size)
    rundir.write(
        out / "table.json", json.dumps({"scores": scores, "costs": costs.to_json()}, indent=1) + "\n"
    )
    text = _markdown(scores, costs)
    rundir.write(out / "table.md", text)
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


def _count(params: ModelParams) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


# -------------------------------------------------------------------------------------------- plan


def _begin(out: Path, plan: Plan, resume: bool) -> None:
    stored = out / PLAN
    if rundir.got_somewhere(out / "sparse") and not resume:
        raise TrainError(f"{out} already holds a compression; go on with --resume, or choose another --out")
    if resume:
        for network in ("shrunk", "compressed"):
            put_back(out / network)
        return
    described = {"format": 1, "plan": to_json(plan), "command": sys.argv}
    rundir.write(stored, json.dumps(described, indent=1) + "\n")


def stored_plan(out: Path) -> Plan:
    """The plan of the compression in `out`; raises TrainError when there is none."""
    if not (out / PLAN).is_file():
        raise TrainError(f"{out} holds no compression to resume (no {PLAN}); start without --resume")
    stored = rundir.read_json(out / PLAN, "plan")["plan"]
    return from_json(stored | {"size": tuple(stored["size"])}, Plan)


def _leading() -> argparse.ArgumentParser:
    """The flags that are read before the others, because the others' defaults depend on them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--model")
    parser.add_argument("--from", dest="source")
    parser.add_argument("--out")
    parser.add_argument("--resume", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
