"""Imports point one way: from higher ranks to lower ones (docs/design.md, part 2)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("vfijax", "pallas_kernels", "datasets", "train", "benchmarks")

RANKS = {
    "pallas_kernels": 0,
    "vfijax.command": 0,
    "vfijax.files": 0,
    "vfijax.download": 0,
    "vfijax.media": 0,
    "datasets": 0,
    "datasets.builders": 0,
    "datasets.patches": 0,
    "vfijax.ops": 1,
    "vfijax.layers": 1,
    "vfijax.environment": 1,
    "vfijax.levels": 1,
    "vfijax.channels": 1,
    "vfijax.params": 1,
    "vfijax.optim": 1,
    "vfijax.torch_weights": 1,
    "vfijax.trees": 1,
    "vfijax.window_sums": 1,
    "vfijax.clip_windows": 1,
    "vfijax.compilation": 1,
    "vfijax.inputs": 1,
    "vfijax.models": 2,
    "vfijax.losses": 2,
    "vfijax.metrics": 2,
    "vfijax.perceptual": 2,
    "vfijax.checkpoint": 3,
    "vfijax.convert": 3,
    "vfijax.prune": 3,
    "vfijax.weights": 3,
    "vfijax.clips": 4,
    "vfijax.pairs": 4,
    "vfijax.scoring": 4,
    "vfijax.video": 5,
    "vfijax.cli": 5,
    "vfijax.__main__": 5,
    "vfijax.prune.__main__": 5,
    "vfijax": 5,  # the names it gives out are imported on first use
    "vfijax.__version__": 0,
    "train": 6,
    "benchmarks": 7,
}
# Of our own packages, those of rank 0 may use these alone.
HALLWAY = {"vfijax.command", "vfijax.files"}
SEALED = {
    "pallas_kernels": set(),
    "vfijax.command": set(),
    "vfijax.files": set(),
    "vfijax.download": HALLWAY,
    "vfijax.media": HALLWAY,
    "datasets": {"datasets.builders", "datasets.patches", "vfijax.media", *HALLWAY},
    "datasets.builders": {"datasets", "vfijax.media", *HALLWAY},
    "datasets.patches": {"datasets", "datasets.builders", "vfijax.media", *HALLWAY},
}


def modules():
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(path):
    """Absolute names of our own packages that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in PACKAGES)


def home(name):
    """The longest entry of RANKS that a module belongs to."""
    found = [entry for entry in RANKS if name == entry or name.startswith(f"{entry}.")]
    return max(found, key=len) if found else None


MODULES = dict(modules())


@pytest.mark.parametrize("name", MODULES)
def test_module_imports_from_its_own_rank_or_below(name):
    own = home(name)
    assert own and (own != "vfijax" or name == "vfijax"), f"{name} has no rank; add it to RANKS"
    for imported in imports(MODULES[name]):
        other = home(imported)
        ranks = RANKS[own], RANKS[other]
        assert ranks[1] <= ranks[0], f"{name} (rank {ranks[0]}) imports {imported} (rank {ranks[1]})"
        if own in SEALED and other != own:
            assert other in SEALED[own], f"{name} may not import {imported}"


def test_a_program_of_training_is_nobodys_library():
    programs = {
        name
        for name, path in MODULES.items()
        if name.startswith("train.") and '__name__ == "__main__"' in path.read_text()
    }
    assert {"train.main", "train.compress", "train.ablation", "train.demo", "train.ship"} <= programs
    for name, path in MODULES.items():
        for imported in imports(path):
            module = imported if imported in MODULES else imported.rpartition(".")[0]
            assert module not in programs, f"{name} imports {imported}"


def test_import_of_vfijax_is_light():
    """No video, data or torch import, and not even jax before it is needed."""
    heavy = ["av", "grain", "jax", "matplotlib", "orbax", "torch", "tyro"]
    code = f"import sys, vfijax; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_media_needs_no_jax():
    code = (
        "import sys, pkgutil, importlib, vfijax.media as m\n"
        "[importlib.import_module(f'vfijax.media.{i.name}') for i in pkgutil.iter_modules(m.__path__)]\n"
        "print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "False"
