"""Scores as tables on the screen."""

from collections.abc import Iterable, Mapping

from rich.table import Table

from vfijax.scoring import CLIP_MEASURES, KINDS, ClipReport, Report, Row

ROWS_SHOWN = 24  # of larger sets the worst frames are listed, and clips not at all
HEADINGS = {  # in the order of the protocols
    "psnr": "PSNR dB",
    "psnr_y": "PSNR Y dB",
    "ssim": "SSIM",
    "ssim_y": "SSIM Y",
    "ssim_gaussian": "SSIM 11x11",
    "rmse": "RMSE",
    "rmse_255": "RMSE of 255",
    "mean_absolute_error": "MAE",
    "lpips": "LPIPS",  # Protocol.lpips says which
}


def summary(results: list[tuple[str, str, Report]]) -> Table:
    """The means of every set and model, which are given with their reports."""
    table = _of_report("Mean over frames", ["data", "model", "frames"], results[0][2])
    models = {model for _, model, _ in results}
    for data, model, report in results:
        table.add_row(data, model, str(len(report.rows)), *_cells(report.means))
        baseline = {k.removeprefix("blend_"): v for k, v in report.means.items() if k.startswith("blend_")}
        if baseline and "blend" not in models:
            table.add_row(data, "(blend)", str(len(report.rows)), *_cells(baseline))
    return table


def rows(title: str, report: Report) -> Table:
    """The frames of a set, or the worst of them where they are many."""
    shown: list[Row] | tuple[Row, ...] = report.rows
    if len(shown) > ROWS_SHOWN:
        shown = report.worst(ROWS_SHOWN // 2)
        title = f"{title}: the {len(shown)} worst of {len(report.rows)} frames"
    baseline = "blend_psnr" in report.means and report.config.architecture != "blend"
    table = _of_report(title, ["frame"], report)
    if baseline:
        table.add_column("blend PSNR", justify="right")
    for row in shown:
        extra = [f"{row.scores['blend_psnr']:.3f}"] if baseline else []
        table.add_row(row.name, *_cells(row.scores), *extra)
    return table


def clip_summary(results: list[tuple[str, str, ClipReport]]) -> Table:
    """The means of every set and method: over all frames, the interpolated, and the original ones."""
    table = _of_clips("Mean over the frames of a clip, then over clips", "method")
    for data, method, report in results:
        kinds = [(f"{len(report.chosen(kind))} {kind}", report.means(kind)) for kind in KINDS]
        table.add_row(f"{method}\non {data}", *_lines(kinds))
    return table


def clip_rows(title: str, report: ClipReport) -> Table | None:
    """The means of every clip; None where they are many."""
    if len(report.clips) > ROWS_SHOWN:
        return None
    table = _of_clips(title, "clip")
    for clip in report.clips:
        kinds = [
            (f"{len(report.chosen(kind, clip))} {kind}", report.clip_means(kind, clip)) for kind in KINDS
        ]
        table.add_row(clip, *_lines(kinds))
    return table


def _of_clips(title: str, name: str) -> Table:
    table = _table(title, [name, "frames"], CLIP_MEASURES)
    table.show_lines = True
    return table


def _lines(kinds: list[tuple[str, dict[str, float]]]) -> list[str]:
    """The cells of one row, with a line in each for every kind of frame."""
    return ["\n".join(cells) for cells in zip(*([name, *_cells(m)] for name, m in kinds), strict=True)]


def _of_report(title: str, names: list[str], report: Report) -> Table:
    return _table(title, names, report.protocol.measures, report.protocol.lpips)


def _table(title: str, names: list[str], measures: Iterable[str], lpips: str = "") -> Table:
    table = Table(title=title, title_justify="left")
    for name in names:
        table.add_column(name, overflow="fold")
    for measure in measures:
        heading = lpips if measure == "lpips" else HEADINGS[measure]
        table.add_column(heading, justify="right", no_wrap=measure != "lpips")
    return table


def _cells(scores: Mapping[str, float]) -> list[str]:
    names = [name for name in HEADINGS if name in scores]
    return [f"{scores[n]:.3f}" if n.startswith("psnr") else f"{scores[n]:.5f}" for n in names]
