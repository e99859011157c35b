"""The rows of an ablation, on screen, as CSV and as pictures."""

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from train.report import METRICS, read_metrics
from vfijax.command import print_table
from vfijax.files import write_text
from vfijax.media.plot import line_chart


@dataclass(frozen=True)
class Row:
    """One variant.

    Attributes:
      name: of the variant, and of the directory of its run.
      about: column to text, what tells it from the others; the same columns in all rows.
      parameters: of the network.
      scores: set to measure to mean; PSNR in dB.
      lacks: why there are no scores.
    """

    name: str
    about: dict[str, str]
    parameters: int = 0
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    lacks: str = ""

    def to_json(self) -> dict[str, Any]:
        """For `vfijax.files.write_json`."""
        given = {"parameters": self.parameters, "scores": self.scores} if self.scores else {}
        return {"name": self.name, **self.about, **given, **({"skipped": self.lacks} if self.lacks else {})}


def columns(rows: list[Row]) -> list[tuple[str, str]]:
    """The (set, measure) pairs of a table."""
    scored = next((row.scores for row in rows if row.scores), {})
    return [(name, measure) for name, values in scored.items() for measure in values]


def show(rows: list[Row], *, title: str) -> None:
    """Prints the table."""
    table = Table(title=title, title_justify="left")
    for heading in rows[0].about:
        table.add_column(heading)
    for heading in ("parameters", *(f"{name} {measure}" for name, measure in columns(rows))):
        table.add_column(heading, justify="right")
    for row in rows:
        cells = [_cell(row, name, measure) for name, measure in columns(rows)] if row.scores else [row.lacks]
        table.add_row(*row.about.values(), f"{row.parameters:,}" if row.parameters else "", *cells)
    print_table(table)


def _cell(row: Row, name: str, measure: str) -> str:
    value = row.scores[name][measure]
    return f"{value:.3f}" if measure == "psnr" else f"{value:.5f}"


def write_csv(path: Path, rows: list[Row]) -> None:
    """The table with a line per variant; scores with all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    pairs = columns(rows)
    writer.writerow(["name", *rows[0].about, "parameters", *(f"{s} {m}" for s, m in pairs), "skipped"])
    for row in rows:
        values = [row.scores[s][m] for s, m in pairs] if row.scores else [""] * len(pairs)
        writer.writerow([row.name, *row.about.values(), row.parameters or "", *values, row.lacks])
    write_text(path, text.getvalue())


def kernel_sizes(rows: list[Row]) -> np.ndarray:
    """PSNR against the kernel size, with and without masks, beside the blend; one chart per set."""
    blend, *networks = rows

    def curve(name: str, masks: str) -> tuple[list[int], list[float]]:
        chosen = [row for row in networks if row.about["masks"] == masks]
        return [_size(row) for row in chosen], [row.scores[name]["psnr"] for row in chosen]

    charts = []
    for name in blend.scores:
        curves = {"with masks": curve(name, "yes"), "without masks": curve(name, "no")}
        sizes = [_size(row) for row in networks]
        flat = [blend.scores[name]["psnr"]] * len(sizes)
        curves["linear blend"] = sizes, flat
        charts.append(line_chart(curves, title=name, x_label="kernel size n", y_label="PSNR in dB"))
    return np.concatenate(charts)


def _size(row: Row) -> int:
    return int(row.about["kernel"].partition("x")[0])


def learning_curves(rows: list[Row], out: Path) -> np.ndarray:
    """PSNR on the validation triplets by step, one curve per loss."""
    curves = {}
    for row in rows:
        if (out / row.name / METRICS).is_file():
            seen = [line for line in read_metrics(out / row.name) if "psnr" in line]
            curves[row.name] = [line["step"] for line in seen], [line["psnr"] for line in seen]
            curves["linear blend"] = (
                [line["step"] for line in seen],
                [line["blend_psnr"] for line in seen],
            )
    return line_chart(curves, title="validation", x_label="step", y_label="PSNR in dB")
