"""The directory of a run, which says what made it.

run.json            config, command line, versions, git commit, device; every resumption
metrics.csv         losses, speed and scores by step
tensorboard/        the same for TensorBoard
curve.png           score of the network beside that of the blend, and the loss, by step
samples/            pictures of some validation triplets at each evaluation
checkpoints/        full states to resume from, by step
model/              the network with the best score so far, for `vfijax interpolate --model`
last/               the network at the newest checkpoint
batch_of_step_N.*   the batch that made the loss or the gradient infinite or NaN, if one did
"""

import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

import vfijax
from train.config import TrainConfig, TrainError, differences, from_json, to_json
from vfijax.checkpoint import put_back
from vfijax.environment import commit, versions
from vfijax.files import write_json

RUN = "run.json"
_PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def new(root: Path, model: str) -> Path:
    """The next free `<root>/<model>-<n>`."""
    taken = [int(path.name.rpartition("-")[2]) for path in _numbered(root, model)]
    return root / f"{model}-{max(taken, default=0) + 1}"


def newest(root: Path, model: str = "*") -> Path:
    """The run under `root` that was written to last; raises TrainError when there is none."""
    runs = [path for path in _numbered(root, model) if (path / RUN).is_file()]
    if not runs:
        raise TrainError(f"no run {root / model}-N to resume; name its directory with --out")
    return max(runs, key=lambda path: (path / RUN).stat().st_mtime)


def _numbered(root: Path, model: str) -> list[Path]:
    return [path for path in root.glob(f"{model}-*") if path.name.rpartition("-")[2].isdigit()]


def stored_config(out: Path) -> TrainConfig:
    """The config of the run in `out`; raises TrainError when there is none."""
    return from_json(_read(out)["config"])


def begin(out: Path, config: TrainConfig, resume: bool) -> None:
    """Makes the directory of a new run, or checks that the run in it may go on with `config`.

    Raises:
      TrainError: a run is there but `resume` is not given, or the other way round, or the configs
        differ in more than `train.config.FREE`.
    """
    if not resume:
        if got_somewhere(out):
            raise TrainError(f"{out} already holds a run; go on with --resume, or choose another --out")
        _write(out, {"format": 1, "config": to_json(config), "started": _occasion(), "resumed": []})
        return
    record = _read(out)
    changed = differences(from_json(record["config"]), config)
    if changed:
        listed = "; ".join(f"{name} was {old!r}, now {new!r}" for name, (old, new) in changed.items())
        raise TrainError(
            f"{out} was begun with another config: {listed}. Resume with the same, or use another --out"
        )
    for network in ("model", "last"):
        put_back(out / network)
    _write(out, record | {"config": to_json(config), "resumed": [*record["resumed"], _occasion()]})


def got_somewhere(out: Path) -> bool:
    """Whether `out` holds a run with a checkpoint; before that nothing is lost by starting again."""
    checkpoints = out / "checkpoints"
    found = checkpoints.is_dir() and any(path.name.isdigit() for path in checkpoints.iterdir())
    return found and (out / RUN).exists()


def _read(out: Path) -> dict[str, Any]:
    if not (out / RUN).is_file():
        raise TrainError(f"{out} holds no run to resume (no {RUN}); start without --resume")
    return read_json(out / RUN, "config")


def read_json(path: Path, key: str) -> dict[str, Any]:
    """What a file of ours holds; raises TrainError when it is damaged or lacks `key`."""
    try:
        stored = json.loads(path.read_text())
        stored[key]
        return stored
    except (ValueError, KeyError, TypeError):
        raise TrainError(f"{path} is damaged and cannot be read") from None


def _write(out: Path, record: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / RUN, record)


def _occasion() -> dict[str, Any]:
    """What runs here and now."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "device": jax.devices()[0].device_kind,
        "platform": jax.default_backend(),
        "processes": jax.process_count(),
        "python": platform.python_version(),
        "versions": {"vfijax": vfijax.__version__, **versions(_PACKAGES)},
        "git": commit(Path(__file__).parent),
    }
