"""What a run tells while it goes: lines on the screen, metrics.csv, TensorBoard, curve.png."""

import csv
import io
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.config import TrainError
from train.pictures import batch_sheet
from vfijax.command import PATIENCE, duration
from vfijax.files import write_text
from vfijax.media import write_image
from vfijax.media.plot import line_chart

METRICS = "metrics.csv"
Row = dict[str, float]


def read_metrics(out: Path) -> list[Row]:
    """The rows of metrics.csv; cells that were left empty are absent."""
    if not (out / METRICS).exists():
        return []
    with open(out / METRICS, newline="") as file:
        filled = [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    return [{n: int(cell) if n == "step" else float(cell) for n, cell in row.items()} for row in filled]


def to_csv(columns: list[str], rows: list[Row], header: bool = True) -> str:
    """Rows as CSV; a cell that a row lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def of_blend(scores: Row) -> Row:
    """Scores of the baseline under the names that they have beside those of the network."""
    return {f"blend_{name}": value for name, value in scores.items()}


def curves(rows: list[Row]) -> np.ndarray:
    """Every score beside that of the blend, and below them the loss, by step: uint8 [H, W, 3]."""

    def line(key: str) -> tuple[list[float], list[float]]:
        known = [row for row in rows if key in row]
        return [row["step"] for row in known], [row[key] for row in known]

    names = dict.fromkeys(name for row in rows for name in row if name.startswith("psnr"))
    charts = [
        line_chart(
            {"network": line(name), "blend": line(f"blend_{name}")},
            x_label="step",
            y_label=f"PSNR in dB, {_part(name)}".strip(", "),
        )
        for name in names
    ]
    if line("loss")[0]:
        charts.append(line_chart({"loss": line("loss")}, x_label="step", y_label="loss"))
    return np.concatenate(charts)


def _part(score: str) -> str:
    """Which frames a score is over: "psnr_original" to "original", nothing for all of them."""
    return score.removeprefix("psnr").lstrip("_")


class NotFinite(TrainError):
    """A loss or a gradient that is not finite, and the step where that happened."""

    def __init__(self, message: str, step: int):
        super().__init__(message)
        self.step = step


class Report:
    """Collects the scalars of every step and writes their means every few steps.

    The scalars of a step are fetched from the device when the next step has been sent to it, so
    that the device never waits for the log.

    Args:
      out: the run directory.
      scalars: names of what `collect` is given, in the order of metrics.csv.
      scores: names of what `evaluation` is given.
      start: the step that a run begins with or goes on from; what an interrupted run wrote of later
        steps is dropped, because it happens again.
      steps: the last step, for the estimate of the time left.
      every: steps between lines.
    """

    def __init__(
        self, out: Path, scalars: list[str], scores: Sequence[str], *, start: int, steps: int, every: int
    ):
        self.out, self.steps, self.every = out, steps, every
        scored = [*scores, *of_blend(dict.fromkeys(scores, 0.0))]
        self.columns = ["step", *scalars, "seconds_per_step", *scored, "density"]
        self.rows = [row for row in read_metrics(out) if row["step"] <= start]
        write_text(out / METRICS, to_csv(self.columns, self.rows))
        import tensorboardX  # which imports torch where it finds it: seconds that help need not wait

        self._board = tensorboardX.SummaryWriter(str(out / "tensorboard"), purge_step=start + 1)
        self._pending: tuple[int, Mapping[str, Any]] | None = None
        self._collected: list[Row] = []
        self._compiled = False
        self._said = time.perf_counter()
        self.start_clock()

    def close(self) -> None:
        self._board.close()

    def start_clock(self) -> None:
        """Begins to measure the time per step; call it after anything else that took time."""
        self._since, self._timed = time.perf_counter(), 0

    def say(self, text: str) -> None:
        print(text, flush=True)
        self._said = time.perf_counter()

    def collect(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Takes the scalars of a step, which may still be under way, and settles the step before."""
        self.settle()
        self._pending = (step, scalars)

    def settle(self) -> None:
        """Waits for the step collected last, and writes a line when one is due.

        Raises:
          NotFinite: the loss or the gradient is not.
        """
        if self._pending is None:
            return
        step, scalars = self._pending
        self._pending = None
        values = {name: float(np.asarray(scalars[name])) for name in self.columns if name in scalars}
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            raise NotFinite(f"{broken[0]} is {values[broken[0]]} at step {step}", step)
        self._account(step, values)

    def _account(self, step: int, values: Row) -> None:
        """Tells and writes what is due after a step."""
        self._collected.append(values)
        self._timed += 1
        if not self._compiled:  # the first step is mostly compilation
            self.say(f"first step (with compilation) {time.perf_counter() - self._since:.1f} s")
            self._compiled = True
            self.start_clock()
        if step % self.every == 0 or step == self.steps:
            self._line(step)
        elif time.perf_counter() - self._said > PATIENCE:
            self.say(self._progress(step, values))

    def _line(self, step: int) -> None:
        """The means since the last line, on the screen and in the files."""
        means = {name: float(np.mean([row[name] for row in self._collected])) for name in self._collected[0]}
        self.say(self._progress(step, means))
        speed = self._seconds_per_step()
        self.write(step, means | ({"seconds_per_step": speed} if speed else {}))
        self._collected = []
        self.start_clock()

    def _progress(self, step: int, values: Row) -> str:
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        speed = self._seconds_per_step()
        left = f"  {speed:.2f} s/step, {duration(speed * (self.steps - step))} left" if speed else ""
        return f"step {step:>{len(str(self.steps))}}/{self.steps}  {shown}{left}"

    def _seconds_per_step(self) -> float | None:
        """Since the clock was started; None when no step was timed yet."""
        return (time.perf_counter() - self._since) / self._timed if self._timed else None

    def write(self, step: int, values: Row) -> None:
        """One row of metrics.csv and the same for TensorBoard."""
        row = {"step": step, **{name: value for name, value in values.items() if name in self.columns}}
        self.rows.append(row)
        rounded = {name: value if name == "step" else float(f"{value:.7g}") for name, value in row.items()}
        with open(self.out / METRICS, "a", newline="") as file:
            file.write(to_csv(self.columns, [rounded], header=False))
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def evaluation(self, step: int, scores: Row, blend: Row, density: float) -> bool:
        """Writes scores, and the part of the parameters that is not zero; draws the curve.

        Returns:
          Whether `psnr` is the best so far.
        """
        best = max((row["psnr"] for row in self.rows if "psnr" in row), default=-math.inf)
        self.write(step, {**scores, **of_blend(blend), "density": density})
        write_image(self.out / "curve.png", curves(self.rows))
        zeros = f", density {100 * density:.1f} %" if density < 0.9995 else ""
        parts = (f"{_part(n)} {scores[n]:.3f} dB, blend {blend[n]:.3f} dB".strip() for n in scores)
        self.say(f"evaluation at step {step}: {'; '.join(parts)}{zeros}")
        return scores["psnr"] > best

    def samples(self, step: int, shown: dict[str, np.ndarray]) -> None:
        """Writes a picture of some sequences."""
        picture = batch_sheet(shown)
        (self.out / "samples").mkdir(exist_ok=True)
        write_image(self.out / "samples" / f"step_{step:07d}.png", picture)
        self._board.add_image("samples", picture, step, dataformats="HWC")


class Silent(Report):
    """That of the processes which tell and write nothing: it only notices what is not finite."""

    def __init__(
        self, out: Path, scalars: list[str], scores: Sequence[str], *, start: int, steps: int, every: int
    ):
        self.out, self.columns = out, scalars
        self._pending = None

    def close(self) -> None:
        """Nothing is open."""

    def start_clock(self) -> None:
        """Nothing is timed."""

    def say(self, text: str) -> None:
        """Nothing is said."""

    def _account(self, step: int, values: Row) -> None:
        """Nothing is written."""

    def evaluation(self, step: int, scores: Row, blend: Row, density: float) -> bool:
        return False

    def samples(self, step: int, shown: dict[str, np.ndarray]) -> None:
        """Nothing is drawn."""
