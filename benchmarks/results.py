"""Results of a run: the environment it was made in, its file, its tables, and the targets."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

from benchmarks import data, deform, models, ops, sepconv, video, zooming
from benchmarks.measure import Ratio, Row
from benchmarks.peers import cores
from vfijax.environment import commit, versions
from vfijax.files import write_json

FORMAT = 1
ROOT = Path(__file__).parents[1]
PACKAGES = ("vfijax", "jax", "jaxlib", "flax", "optax", "numpy", "av", "torch")
TARGET_CORES = 2  # the cores that the targets are stated for
BUSY = 0.5  # load per core at the start from which a run is called busy


@dataclass(frozen=True)
class Results:
    """What one run measured.

    Attributes:
      environment: device, cores, versions, date and commit, by name.
      groups: the groups of rows that were run.
      rows: in the order they were measured.
    """

    environment: Mapping[str, Any]
    groups: Sequence[str]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Target:
    """A limit: of the ratio to a peer, or of the median in the unit of the row where `against` is None."""

    row: str
    against: str | None
    limit: float

    def measured(self, row: Row) -> float | None:
        if self.against is None:
            return row.median
        return row.ratios[self.against].value if self.against in row.ratios else None


# On two CPU cores, at 256x448.
TARGETS = (
    Target("op forward, F=5, C=3", ops.GRID_SAMPLES, 1.0),
    Target("op backward, F=5, C=3", ops.FORWARD, 3.5),
    Target(sepconv.label("forward"), sepconv.PEER, 1 / 3),
    Target(deform.label("forward", deform.WORKLOADS[0]), deform.GATHERS, 1 / 3),
    Target(deform.label("backward", deform.WORKLOADS[0]), ops.FORWARD, 3.0),
    Target(models.label("compressed_adacof"), ops.GATHERS, 0.8),
    Target(models.label("cdfi"), ops.GATHERS, 0.25),
    Target(zooming.LABEL, deform.GATHERS, 0.5),
    Target("train step, compressed_adacof", None, 1.5),
    # One core prepares a batch in a third of the time that two cores take for the step.
    Target(data.label("PNG triplets of 256x448"), data.STEP, 1 / 3),
    *(Target(video.memory_label(name), video.QUARTER, 1.1) for name in video.NAMES),
)


# --------------------------------------------------------------------------- environment


def environment() -> dict[str, Any]:
    """Where and with what a run is made; times mean nothing without it."""
    device = jax.devices()[0]
    return {
        "device": f"{device.platform}: {processor() if device.platform == 'cpu' else device.device_kind}",
        "cores": cores(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions(PACKAGES),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(ROOT, digits=12) or "unknown",
    }


def busy(environment: Mapping[str, Any]) -> str:
    """A warning when other work was waiting for the cores, else nothing."""
    load = environment["load"]
    if load is None or load < BUSY * environment["cores"]:
        return ""
    return (
        f"the load is {load} on {environment['cores']} cores: absolute times mean little, and PyTorch, whose "
        "threads wait for each other, suffers most; measure on a quiet machine"
    )


def processor() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


# --------------------------------------------------------------------------- file


def save(path: Path, results: Results) -> None:
    """Writes results as JSON; the file appears when it is complete."""
    write_json(path, {"format": FORMAT, **asdict(results)})


def load(path: Path) -> Results:
    """Reads what `save` wrote; raises ValueError for anything else, OSError for a file that is not there."""
    try:
        stored = json.loads(path.read_text())
        if stored["format"] != FORMAT:
            raise ValueError(f"{path}: results of format {stored['format']}; this version reads {FORMAT}")
        rows = [
            replace(Row(**row), ratios={peer: Ratio(**ratio) for peer, ratio in row["ratios"].items()})
            for row in stored["rows"]
        ]
        return Results(stored["environment"], stored["groups"], rows)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a file of results from benchmarks.run ({error!r})") from None


# --------------------------------------------------------------------------- tables


def markdown(results: Results) -> str:
    """The environment, all rows, and the targets, as Markdown."""
    blocks = [_environment_line(results.environment), rows_table(results.rows), targets_table(results)]
    left_out = [f"- {r.name}, {p}: left out, {why}" for r in results.rows for p, why in r.left_out.items()]
    return "\n\n".join([*blocks, *(["\n".join(left_out)] if left_out else [])])


def rows_table(rows: Sequence[Row]) -> str:
    """All rows as Markdown, one line per peer."""
    lines = [
        "| row | median | compile | compared with | its median | ratio (quartiles) |",
        "| --- | --: | --: | --- | --: | --: |",
    ]
    return "\n".join([*lines, *(line for row in rows for line in row_lines(row))])


def row_lines(row: Row) -> list[str]:
    """One line per peer."""
    notes = "; ".join([row.detail, *(f"{value:.3g} {name}" for name, value in row.figures.items())])
    compiling = "" if row.compile_s is None else f"{row.compile_s:.1f} s"
    own = [f"{row.name} ({notes})", amount(row.median, row.unit), compiling]
    peers = [
        [peer, amount(r.median, row.unit), f"{r.value:.2f} ({r.low:.2f} to {r.high:.2f})"]
        for peer, r in row.ratios.items()
    ]
    cells = [own + (peers[0] if peers else [""] * 3), *([""] * 3 + peer for peer in peers[1:])]
    return [f"| {' | '.join(line)} |" for line in cells]


def targets_table(results: Results) -> str:
    """Which targets were met; those of groups that were not run are left out."""
    by_name = {row.name: row for row in results.rows}
    lines = ["| target | limit | measured | |", "| --- | --: | --: | --- |"]
    for target in TARGETS:
        if target.row not in by_name:
            continue
        row = by_name[target.row]
        measured = target.measured(row)
        unit = "x" if target.against else f" {row.unit}"
        verdict = "not measured" if measured is None else "pass" if measured <= target.limit else "FAIL"
        what = f"{target.row} / {target.against}" if target.against else target.row
        number = "" if measured is None else f"{measured:.2f}{unit}"
        lines.append(f"| {what} | {target.limit:g}{unit} | {number} | {verdict} |")
    return "\n".join(lines)


def amount(value: float | None, unit: str) -> str:
    """A time in the unit that suits it, or another number with its unit."""
    if value is None:
        return "not measured"
    if unit == "s":
        return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.2f} s"
    return f"{value:.0f} {unit}"


def _environment_line(environment: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in environment["versions"].items() if number)
    count = environment["cores"]
    note = "" if count == TARGET_CORES else f" (the targets are stated for {TARGET_CORES})"
    return (
        f"{environment['device']}, {count} cores{note}, load {environment['load']} at the start; "
        f"Python {environment['python']}, {versions}; "
        f"{environment['date']}, commit {environment['commit']}."
    )
