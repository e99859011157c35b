"""`vfijax evaluate`: how good a model is, on triplets with a known middle frame, a video, or clips."""

import sys
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from vfijax.checkpoint import config_to_json
from vfijax.cli.contestants import Contestant, contestants
from vfijax.cli.making import approximation
from vfijax.cli.tables import clip_rows, clip_summary, rows, summary
from vfijax.clip_windows import WINDOW
from vfijax.command import print_table, progress, unused
from vfijax.environment import environment
from vfijax.files import write_json
from vfijax.media import Triplet, write_image
from vfijax.media.plot import line_chart
from vfijax.models import DEFAULT
from vfijax.pairs import MAX_DEPTH, dyadic_passes
from vfijax.params import ModelParams
from vfijax.perceptual import Lpips, load_lpips
from vfijax.scoring import (
    CLIP_SET_FRAMES,
    SET_SIZES,
    ClipReport,
    Report,
    find_clip_set,
    find_groups,
    find_set,
    sample,
    score_clips,
    score_triplets,
    score_video,
    write_worst,
)
from vfijax.weights.resolve import resolve


@dataclass(frozen=True)
class Args:
    """Scores a model by PSNR, SSIM, RMSE and mean absolute error (MAE), and LPIPS; errors are in [0, 1].

    On triplets it predicts the middle frame. On a video it drops frames, as a rule every second one, predicts
    them from those that it keeps, and reports the average of these (blend) beside it. On clips with --zoom it
    makes them of every second frame at a quarter of the size.
    """

    model: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CHECKPOINT [...]")] = ()
    """Checkpoints from `vfijax convert` or `python -m train.main`, published weights by the name under which
    `vfijax fetch` got them, such as `cdfi`, or models that need none: `flow` (taken if none is given),
    `flow_fine`, `flow_medium`, `guided`, `blend`; several are compared."""

    data: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=DIR [...]")] = ()
    """Folders of triplets: Vimeo-90K (its test list), Middlebury, UCF101, or any with three images in
    each folder. NAME labels the scores; middlebury, ucf101 and vimeo are checked for completeness."""

    sequences: bool = False
    """The folders of --data hold whole sequences, of which frames 0 1 2, 3 4 5, ... are triplets (DAVIS)."""

    sample: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Score on up to N triplets of each set, chosen by Python's random.Random(--seed); 0 takes all."""

    seed: int = 42
    """Of --sample."""

    crop: Annotated[int, tyro.conf.arg(metavar="PIXELS")] = 0
    """Cut squares of this side from the middle of the frames of --data first; 0 takes whole frames."""

    video: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A video, or a folder of images, to score on its own frames."""

    compare: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """With --video: write a video of the input held, the truth, the interpolated video and the error."""

    zoom: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME=DIR [...]")] = ()
    """Folders of full-size clips, each a folder of images, for models that make clips larger: Vid4, or the
    septuplets of Vimeo-90K, of which the names fast, medium and slow take the list fast_testset.txt and so
    on. All other models, and blend, are scored before and after bicubic enlargement."""

    published_windows: bool = False
    """With --zoom: the windows of the published evaluation, which drop up to five frames at the end of a
    clip; these have no score, whatever the method."""

    factor: Annotated[int, tyro.conf.arg(metavar="N")] = 2
    """With --video: keep every N-th frame and predict those between at their times: 2 drops every second
    frame, 4 predicts at 1/4, 1/2 and 3/4."""

    every: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """With --video: predict after every N-th frame only; 30 takes the triplets 0 1 2, 30 31 32, ..."""

    protocol: Literal[
        "published", "upstream", "target-max", "target-max-8bit", "sepconv", "sepconv-report"
    ] = "published"
    """published rounds to 8 bits first (CDFI); upstream takes PSNR of the raw output (AdaCoF); target-max
    too, with the maximum of the true frame as peak, and SSIM in an 11x11 window, and target-max-8bit does
    so after truncation to 8 bits (SepConv replication); sepconv truncates to 8 bits (SepConv, EDSC);
    sepconv-report has RMSE in 8-bit units. docs/evaluation.md says which document is scored how."""

    lpips: Literal["squeeze", "alex", "vgg"] | None = None
    """Adds LPIPS, version 0.1, with this network; lower is better. Needs --lpips-backbone."""

    lpips_backbone: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """torchvision's weights of SqueezeNet 1.1, AlexNet or VGG16: .pth, or .npz with the same names."""

    lpips_heads: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """The weights of the package lpips, weights/v0.1/NET.pth; found by itself where that is installed."""

    lpips_range: Literal["11", "01"] = "11"
    """What LPIPS is fed: images in [-1, 1], for which it was made, or in [0, 1], as published evaluations
    of frame interpolation do. The scores of the two do not compare."""

    out: Annotated[Path | None, tyro.conf.arg(metavar="DIR|FILE.json")] = None
    """A folder for scores.json and pictures (the curve of --video, --worst), or the JSON file itself,
    with pictures beside it."""

    worst: Annotated[int, tyro.conf.arg(metavar="N")] = 0
    """Write the N worst frames of every set as pictures."""

    overwrite: bool = False
    """Replace what is there of the files of --out and --compare."""

    @property
    def models(self) -> tuple[str, ...]:
        return self.model or (DEFAULT,)

    @property
    def folder(self) -> Path | None:
        """Where pictures go."""
        return self.out.parent if self.out is not None and self.out.suffix == ".json" else self.out

    @property
    def scores(self) -> Path | None:
        """The JSON file."""
        return self.out if self.out is None or self.out.suffix == ".json" else self.out / "scores.json"

    @property
    def curve(self) -> Path | None:
        """The picture of --video."""
        if self.folder is None or self.video is None:
            return None
        return self.folder / f"{_file_name(self.video.stem, 'psnr')}.png"

    def worst_frames(self, name: str, model: str) -> Path | None:
        """The folder for pictures of a set."""
        return self.folder / "worst" / _file_name(name, model) if self.folder and self.worst else None


@dataclass
class Session:
    """What one call has scored so far, and where it goes."""

    args: Args
    lpips: Lpips | None = None
    results: list[dict[str, Any]] = field(default_factory=list)
    summary: list[tuple[str, str, Report]] = field(default_factory=list)
    clips: list[tuple[str, str, ClipReport]] = field(default_factory=list)

    def add(self, data: str, source: Path, model: str, report: Report, **notes: Any) -> None:
        """Keeps a report and writes all so far, so that a later failure loses nothing."""
        self.summary.append((data, model, report))
        self._keep({"data": data, "path": str(source), "checkpoint": model, **notes, **report.to_json()})

    def add_clips(self, data: str, source: Path, by: Contestant, report: ClipReport, **notes: Any) -> None:
        """The same for clips."""
        self.clips.append((data, by.name, report))
        of = {"checkpoint": by.model, "method": by.name, "model": config_to_json(by.params.config)}
        self._keep({"data": data, "path": str(source), **of, **notes, **report.to_json()})

    def _keep(self, result: dict[str, Any]) -> None:
        self.results.append(result)
        if self.args.scores is not None:
            self.args.scores.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.args.scores, {"format": 1, "environment": environment(), "results": self.results})


def run(args: Args) -> None:
    sets = _check(args)
    clip_sets = _named("zoom", args.zoom)
    found = {name: find_clip_set(directory, name) for name, directory in clip_sets.items()}
    models = {name: resolve(name) for name in args.models}
    for name, params in models.items():
        if args.data or args.video is not None:
            params.config.check_kind("pair", f"--model {name}")
    session = Session(args, _lpips(args))
    for name, (directory, triplets) in sets.items():
        for model, params in models.items():
            _score_set(session, name, directory, triplets, model, params)
    if args.video is not None:
        _score_video(session, args.video, models)
    for name, directory in clip_sets.items():
        for contestant in contestants(models, args.published_windows):
            _score_clip_set(session, name, directory, found[name], contestant)
    if session.summary:
        print_table(summary(session.summary))
    if session.clips:
        print_table(clip_summary(session.clips))
    if args.out is not None:
        print(f"written to {args.out}")


def _check(args: Args) -> dict[str, tuple[Path, list[Triplet]]]:
    """Everything that can be wrong with the options, before any work; the triplets of every set."""
    if not args.data and args.video is None and not args.zoom:
        raise ValueError("nothing to score; give --data NAME=DIR, --video FILE or --zoom NAME=DIR")
    if args.published_windows and not args.zoom:
        raise ValueError("--published-windows belongs to --zoom NAME=DIR; give that too")
    if args.zoom and (args.lpips or args.protocol != Args().protocol):
        raise ValueError("--zoom has measures of its own; leave --protocol and --lpips away")
    if args.compare is not None and (args.video is None or len(args.model) > 1):
        raise ValueError("--compare shows one model on a video; give it with --video and a single --model")
    for option in ("factor", "every"):
        if getattr(args, option) != getattr(Args(), option) and args.video is None:
            raise ValueError(f"--{option} {getattr(args, option)} belongs to --video FILE; give that too")
    _check_choice(args)
    if args.worst < 0 or (args.worst and (args.out is None or not args.data)):
        raise ValueError(
            f"--worst {args.worst}: give a positive number, with --data to choose from and --out DIR"
        )
    if args.out is not None and args.out.suffix != ".json" and args.out.is_file():
        raise ValueError(f"--out {args.out}: is a file; give a folder, or a name that ends in .json")
    worst = [args.worst_frames(name, model) for name in _named("data", args.data) for model in args.models]
    written = (args.scores, args.compare, args.curve, *worst)
    unused(*filter(None, written), overwrite=args.overwrite)
    sets: dict[str, tuple[Path, list[Triplet]]] = {}
    for name, directory in _named("data", args.data).items():
        found = find_groups(directory) if args.sequences else find_set(directory)
        sets[name] = directory, sample(found, args.sample, args.seed) if args.sample else found
    return sets


def _named(option: str, entries: tuple[str, ...]) -> dict[str, Path]:
    """The directories of an option by their names."""
    directories: dict[str, Path] = {}
    for entry in entries:
        name, equals, directory = entry.partition("=")
        if not (name and equals and directory) or "/" in name:
            example = "middlebury=data/middlebury" if option == "data" else "vid4=data/vid4"
            raise ValueError(f"--{option} {entry}: give NAME=DIR, such as {example}")
        if name in directories:
            raise ValueError(f"--{option} {entry}: the name {name} is given twice; names must differ")
        directories[name] = Path(directory)
    return directories


def _check_choice(args: Args) -> None:
    """The options that say what of --data is scored."""
    for option in ("sample", "crop"):
        if getattr(args, option) < 0:
            raise ValueError(f"--{option} {getattr(args, option)}: give a positive number, or 0 to take all")
    given = [name for name in ("sequences", "sample", "crop") if getattr(args, name)]
    if given and not args.data:
        raise ValueError(f"--{given[0]} says what is taken of --data NAME=DIR; give that too")
    if args.seed != Args().seed and not args.sample:
        raise ValueError(f"--seed {args.seed} belongs to --sample N; give that too")


def _lpips(args: Args) -> Lpips | None:
    """The metric with its weights, if it is asked for; ValueError for options that do not go together."""
    if args.lpips is None:
        for option in ("backbone", "heads", "range"):
            if getattr(args, f"lpips_{option}") != getattr(Args(), f"lpips_{option}"):
                raise ValueError(f"--lpips-{option} belongs to --lpips NET; give that too")
        return None
    return load_lpips(args.lpips, args.lpips_backbone, args.lpips_heads, args.lpips_range)


def _score_set(
    session: Session, name: str, directory: Path, triplets: list[Triplet], model: str, params: ModelParams
) -> None:
    with progress(f"{name}, {model}") as show:
        report = score_triplets(
            params,
            triplets,
            protocol=session.args.protocol,
            lpips=session.lpips,
            crop=session.args.crop,
            progress=show,
        )
    expected = SET_SIZES.get(name, len(triplets))
    if len(triplets) != expected:
        note = f"{name} has {len(triplets)} triplets, published means are over {expected}: not comparable"
        print(f"vfijax: note: {note}", file=sys.stderr)
    taken = {option: getattr(session.args, option) for option in ("sequences", "sample", "seed", "crop")}
    whole = len(triplets) == expected and not session.args.crop
    session.add(name, directory, model, report, comparable=whole, taken=taken)
    print_table(rows(f"{name}, {model}", report))
    if folder := session.args.worst_frames(name, model):
        write_worst(folder, params, triplets, report, session.args.worst, crop=session.args.crop)
        print(f"worst frames in {folder}")


def _score_clip_set(
    session: Session, name: str, directory: Path, found: dict[str, list[Path]], contestant: Contestant
) -> None:
    window = WINDOW if session.args.published_windows else None
    with progress(f"{name}, {contestant.name}") as show:
        report = score_clips(contestant.method, found, window=window, progress=show)
    frames = sum(map(len, found.values()))
    expected = CLIP_SET_FRAMES.get(name, frames)
    if frames != expected:
        note = f"{name} has {frames} frames, published means are over {expected}: not comparable"
        print(f"vfijax: note: {note}", file=sys.stderr)
    if report.dropped:
        note = f"frames at the end of clips that have no score: {sum(report.dropped.values())}"
        print(f"vfijax: note: {name}: {note}", file=sys.stderr)
    taken = {"published_windows": session.args.published_windows}
    session.add_clips(name, directory, contestant, report, comparable=frames == expected, taken=taken)
    if table := clip_rows(f"{name}, {contestant.name}", report):
        print_table(table)


def _score_video(session: Session, video: Path, models: dict[str, ModelParams]) -> None:
    curves, baseline, factor = {}, {}, session.args.factor
    times = [Fraction(round(i / factor * 2**MAX_DEPTH), 2**MAX_DEPTH) for i in range(1, factor)]
    for model, params in models.items():
        each = sum(dyadic_passes([time]) for time in times)  # scoring asks for one after the other
        if note := approximation(params.config, factor, times, each):
            print(f"vfijax: note: {note}", file=sys.stderr)
        with progress(f"{video.name}, {model}") as show:
            report = score_video(
                params,
                video,
                protocol=session.args.protocol,
                lpips=session.lpips,
                factor=session.args.factor,
                every=session.args.every,
                compare=session.args.compare,
                progress=show,
            )
        session.add(video.name, video, model, report)
        print_table(rows(f"{video.name}, {model}", report))
        frames = [row.about["frame"] for row in report.rows]
        curves[model] = frames, [row.scores["psnr"] for row in report.rows]
        baseline["blend"] = frames, [row.scores["blend_psnr"] for row in report.rows]
    if session.args.curve is not None:
        curves = {**baseline, **curves}
        picture = line_chart(curves, title=video.name, x_label="predicted frame", y_label="PSNR in dB")
        write_image(session.args.curve, picture)
    else:
        print("give --out DIR to get the curve as a picture and the scores as JSON")
    if session.args.compare is not None:
        print(f"comparison in {session.args.compare}")


def _file_name(*parts: str) -> str:
    """Parts joined to a name for a file; models may be paths."""
    return "_".join("_".join(Path(part).parts).strip("/._") for part in parts)
