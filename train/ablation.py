"""The ablations of the documents, one command each.

python -m train.ablation dsepconv --data DIR --score ucf101=DIR vimeo=DIR --out runs/dsepconv-table
python -m train.ablation losses --data PATCHES --perceptual.vgg19 vgg19-dcbb9e9d.pth --out runs/losses
python -m train.ablation dsepconv --width 8 --steps 300 --data.crop 64 --data.batch 4     # for a laptop
python -m train.ablation motion --out runs/motion                                  # trains nothing

`dsepconv` and `losses` train variants of one network with one recipe and one seed. A variant is an
ordinary run in a directory of its own (`train.rundir`); the same command goes on with what is there, and
does not repeat what is finished. `motion` is in `train.ablation_motion`.

ablation.json, ablation.csv     the table: variants, parameters, scores by set, settings
ablation.png                    the same drawn
VARIANT/                        the run of a variant, with scores.json
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from train import ablation_motion, flags, rundir
from train.ablation_table import Row, kernel_sizes, learning_curves, show, write_csv
from train.config import TrainConfig, TrainError, check, complete, differences, to_json
from train.data import Data
from train.loop import run
from train.presets import PRESETS
from train.state import Checkpoints
from vfijax import compilation
from vfijax.channels import Widths
from vfijax.checkpoint import load
from vfijax.command import Stopping, progress, run_main, stop_requests
from vfijax.environment import environment
from vfijax.files import write_json
from vfijax.losses import LossWeights
from vfijax.media import Triplet, write_image
from vfijax.models import create
from vfijax.params import ModelParams
from vfijax.scoring import find_set, measure, predict, score_triplets
from vfijax.scoring.protocols import PROTOCOLS, protocol_for

TABLE, SCORES = "ablation.json", "scores.json"
VALIDATION = "validation"  # the name of the run's own validation triplets in the table

Sets = dict[str, tuple[Path, list[Triplet]]]
Scores = dict[str, dict[str, float]]  # set, measure


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Attributes:
      about: column to text, what tells it from the others.
      config: its training.
      lacks: what must be given first, where it cannot be trained.
    """

    about: dict[str, str]
    config: TrainConfig
    lacks: str = ""


@dataclass(frozen=True)
class Study:
    """Variants of one training.

    Attributes:
      about: what is compared, and where it is published.
      preset: the recipe.
      variants: from the recipe, with the user's changes, to name and variant.
      protocol: how the documents score, an entry of `PROTOCOLS`.
      picture: of the finished rows and the directory with the runs.
    """

    about: str
    preset: str
    variants: Callable[[TrainConfig], dict[str, Variant]]
    protocol: str
    picture: Callable[[list[Row], Path], np.ndarray]


def kernel_variants(recipe: TrainConfig) -> dict[str, Variant]:
    """Kernels of 1x1, 3x3 and 5x5, each with and without masks (DSepConv, section 4.1 of the review)."""
    return {
        f"{taps}x{taps}{'_masks' if masks else ''}": Variant(
            {"kernel": f"{taps}x{taps}", "masks": "yes" if masks else "no"},
            replace(recipe, net=recipe.net.replace(taps=taps, masks=masks)),
        )
        for taps in (1, 3, 5)
        for masks in (False, True)
    }


_NONE = LossWeights(charbonnier=0.0)
LOSSES: dict[str, LossWeights] = {  # of the reports 1 (l1, l2) and 3 (all but l2)
    "l1": replace(_NONE, l1=1.0),
    "l2": replace(_NONE, l2=1.0),
    "ssim": replace(_NONE, ssim=1.0),
    "vgg": replace(_NONE, vgg19=1e-5),
    "l1_vgg_1e-5": replace(_NONE, l1=1.0, vgg19=1e-5),
    "l1_vgg_5e-5": replace(_NONE, l1=1.0, vgg19=5e-5),
}


def loss_variants(recipe: TrainConfig) -> dict[str, Variant]:
    """The losses of the reports on SepConv; those with VGG19 features need its weights."""

    def variant(losses: LossWeights) -> Variant:
        terms = [f"{weight:g} {term}" for term, weight in dataclasses.asdict(losses).items() if weight]
        lacking = losses.vgg19 and not recipe.perceptual.vgg19
        return Variant(
            {"loss": " + ".join(terms)},
            replace(recipe, losses=losses),
            "needs --perceptual.vgg19" if lacking else "",
        )

    return {name: variant(losses) for name, losses in LOSSES.items()}


STUDIES: dict[str, Study] = {
    "dsepconv": Study(
        "Kernel size and masks of DSepConv (AAAI 2020).",
        "dsepconv",
        kernel_variants,
        "sepconv",
        lambda rows, out: kernel_sizes(rows),
    ),
    "losses": Study(
        "The losses of the reports on SepConv, beside the average of the frames.",
        "sepconv_replication",
        loss_variants,
        "target-max-8bit",
        learning_curves,
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs or goes on with an ablation; exit codes as of `train.main.main`."""
    body = partial(_main, sys.argv[1:] if arguments is None else arguments)
    return run_main("train.ablation", body, interrupted="finished variants and checkpoints are kept")


def _main(arguments: Sequence[str]) -> int:
    compilation.set_up()
    name, *rest = [*arguments] or [""]
    if name == "motion":
        return ablation_motion.main(rest)
    if name in ("-h", "--help"):
        print(f"{__doc__}\npython -m train.ablation NAME --help lists the options of one of them.")
        return 0
    if name not in STUDIES:
        raise TrainError(f"give the name of an ablation: {', '.join([*STUDIES, 'motion'])}, not {name!r}")
    asked = parse(name, rest)
    stopped_by = carry_out(asked, stop_requests)
    if stopped_by:
        print("stopped; the same command goes on")
    return 128 + stopped_by if stopped_by else 0


@dataclass(frozen=True)
class Asked:
    """What a command line asks for.

    Attributes:
      name: the entry of `STUDIES`.
      recipe: of all variants, with the user's changes.
      width: most channels of a layer; 0 leaves them as published.
      out: the directory for everything made.
      sets: name to directory and triplets to score on.
      protocol: the entry of `PROTOCOLS`.
    """

    name: str
    recipe: TrainConfig
    width: int
    out: Path
    sets: Sets
    protocol: str

    @property
    def study(self) -> Study:
        return STUDIES[self.name]

    def variants(self) -> dict[str, Variant]:
        """Those of the study, as wide as asked for."""
        found = self.study.variants(self.recipe)
        if not self.width:
            return found
        return {name: replace(v, config=_narrowed(v.config, self.width)) for name, v in found.items()}


def _narrowed(config: TrainConfig, width: int) -> TrainConfig:
    full = getattr(config.net, "widths", {})
    widths = Widths.of({space: min(channels, width) for space, channels in full.items()})
    return replace(config, net=config.net.replace(widths=widths))


def parse(name: str, arguments: Sequence[str]) -> Asked:
    """The recipe of the study with the flags of `train.main`, and flags of its own."""
    study = STUDIES[name]
    first, rest = flags.leading(arguments, "--out", "--width", "--score", "--protocol")
    if first.width < 0:
        raise TrainError(f"--width is {first.width}; give 1 or more, or 0 for the published network")
    about = (
        f"{study.about} The defaults below are those of the preset {study.preset}. --out DIR: the directory, "
        f"runs/ablation-{name} if not given. --width N: at most N channels in a layer, for a small machine. "
        "--score NAME=DIR [...]: sets to score on; without them the run's own validation triplets. "
        f"--protocol NAME: one of {', '.join(PROTOCOLS)}; without it {study.protocol}."
    )
    recipe = flags.changed(
        PRESETS[study.preset], rest, program=f"python -m train.ablation {name}", about=about
    )
    protocol = protocol_for(first.protocol or study.protocol).name
    out = Path(first.out or Path("runs", f"ablation-{name}"))
    return Asked(name, complete(recipe), first.width, out, dict(map(_set, first.score)), protocol)


def _set(entry: str) -> tuple[str, tuple[Path, list[Triplet]]]:
    name, equals, directory = entry.partition("=")
    if not (name and equals and directory):
        raise TrainError(f"--score {entry}: give NAME=DIR, such as ucf101=data/ucf101")
    return name, (Path(directory), find_set(directory))


def carry_out(asked: Asked, stopping: Stopping) -> int | None:
    """Trains and scores all variants that are not finished, and writes the table after each.

    Returns:
      None when everything is done, else the number of the signal that ended it.

    Raises:
      TrainError: a variant cannot be trained, or its directory holds a run with another config.
    """
    variants = asked.variants()
    for variant in variants.values():
        check(variant.config)
    rows = [_blend_row(asked, next(iter(variants.values())))]
    for name, variant in variants.items():
        if variant.lacks:
            rows.append(Row(name, variant.about, lacks=variant.lacks))
            continue
        print(f"--- {name}")
        stopped_by = train(variant.config, asked.out / name, stopping)
        if stopped_by:
            return stopped_by
        params = load(asked.out / name / "model")
        rows.append(Row(name, variant.about, params.size, _kept_scores(asked, variant, name, params)))
        write_table(asked, rows)
    show(rows, title=asked.study.about)
    write_table(asked, rows)
    print(f"ablation.json, .csv and .png in {asked.out}")
    return None


def train(config: TrainConfig, out: Path, stopping: Stopping) -> int | None:
    """A run that is begun, gone on with, or left alone when it has reached its last step."""
    resume = rundir.got_somewhere(out)
    if resume and (Checkpoints(out / "checkpoints", config.log.keep).latest() or 0) >= config.steps:
        changed = differences(rundir.stored_config(out), config)
        if not changed:
            print(f"{out} is finished")
            return None
        raise TrainError(f"{out} was trained with another {', '.join(changed)}; choose another --out")
    return run(config, out, resume=resume, stopping=stopping).stopped_by


# ------------------------------------------------------------------------------------------ scores


def _blend_row(asked: Asked, variant: Variant) -> Row:
    about = dict.fromkeys(variant.about, "")
    about[next(iter(about))] = "linear blend"
    return Row("blend", about, 0, scores(asked, variant.config, create("blend", 0)))


def _kept_scores(asked: Asked, variant: Variant, name: str, params: ModelParams) -> Scores:
    """The scores beside a run, made when they are not those of its network, these sets and this protocol."""
    path = asked.out / name / SCORES
    made_of: dict[str, Any] = {
        "protocol": asked.protocol,
        "sets": {name: [str(place), len(found)] for name, (place, found) in asked.sets.items()},
        "config": to_json(variant.config),
    }
    stored = rundir.read_json(path, "scores") if path.is_file() else {}
    if stored.get("made_of") == json.loads(json.dumps(made_of)):
        return {set_: {m: float(v) for m, v in of.items()} for set_, of in stored["scores"].items()}
    found = scores(asked, variant.config, params)
    write_json(path, {"format": 1, "made_of": made_of, "scores": found})
    return found


def scores(asked: Asked, config: TrainConfig, params: ModelParams) -> Scores:
    """Set to measure to mean, on the sets asked for, else on the validation triplets of the run."""
    if not asked.sets:
        protocol = protocol_for(asked.protocol)
        rows = [
            measure(predict(params, first, last), middle, protocol, f"triplet {i}")
            for i, (first, middle, last) in enumerate(Data.of(config).sequences)
        ]
        return {VALIDATION: {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}}
    found: Scores = {}
    for name, (_, triplets) in asked.sets.items():
        with progress(name) as shown:
            found[name] = score_triplets(params, triplets, protocol=asked.protocol, progress=shown).means
    return found


def write_table(asked: Asked, rows: list[Row]) -> None:
    """ablation.json, ablation.csv and ablation.png of the rows so far."""
    described = {
        "format": 1,
        "ablation": asked.name,
        "protocol": PROTOCOLS[asked.protocol].describe,
        "environment": environment(),
        "steps": asked.recipe.steps,
        "seed": asked.recipe.seed,
        "frames": {name: len(found) for name, (_, found) in asked.sets.items()},
        "rows": [row.to_json() for row in rows],
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    write_json(asked.out / TABLE, described)
    write_csv(asked.out / "ablation.csv", rows)
    write_image(asked.out / "ablation.png", asked.study.picture(rows, asked.out))


if __name__ == "__main__":
    sys.exit(main())
