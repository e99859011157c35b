"""What a wheel holds: `train` and `datasets` under names of their own, and the commands that use them."""

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import vfijax.cli.programs as programs
from vfijax.cli import main
from vfijax.cli.programs import PROGRAMS

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("setup_of_vfijax", ROOT / "setup.py")
setup = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(setup)
OURS = ["vfijax", "pallas_kernels", "datasets", "train"]
SOURCES = sorted(path for package in OURS[2:] for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_renamed_module_imports_none_of_the_names_of_others(path):
    source = path.read_text()
    renamed = setup.renamed(source)
    assert renamed.count("\n") == source.count("\n")
    found = {
        node.module.split(".")[0]
        for node in ast.walk(ast.parse(renamed))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    assert not found & set(setup.NAMES)
    assert "python -m train." not in renamed and "python -m datasets" not in renamed


@pytest.mark.parametrize(
    ("source", "renamed"),
    [
        ("from train import flags\n", "from vfijax_train import flags\n"),
        (
            "def f():\n    from datasets.index import a as b\n",
            "def f():\n    from vfijax_datasets.index import a as b\n",
        ),
        (
            "from trained import x\nfrom datasets_of import y\n",
            "from trained import x\nfrom datasets_of import y\n",
        ),
        ('"""from train import x"""\n', '"""from train import x"""\n'),
        ("'python -m train.main --out x'", "'vfijax train --out x'"),
        ("'python -m datasets.patches DIR'", "'vfijax data patches DIR'"),
        ("'python -m train.ablation motion'", "'python -m vfijax_train.ablation motion'"),
    ],
)
def test_import_statements_and_commands_are_renamed_and_nothing_else(source, renamed):
    assert setup.renamed(source) == renamed


def test_a_module_of_ours_imported_by_its_name_stops_the_build():
    with pytest.raises(ValueError, match=r"line 2: import names from train\.main"):
        setup.renamed("x = 1\nimport train.main\n")


USED = """
import sys, datasets, vfijax
assert datasets.OF_OTHERS
import vfijax.cli.programs, vfijax_datasets.build, vfijax_train.loop, vfijax_train.presets
assert "train" not in sys.modules and sys.modules["datasets"] is datasets
assert "vfijax train" in vfijax.cli.programs.__doc__
from vfijax.cli import main
for command in (["train"], ["compress"], ["data", "build"], ["data", "patches"]):
    try:
        main([*command, "--help"])
    except SystemExit as end:
        assert end.code == 0
status = main(["train", "--model", "cdfy"])
print(vfijax_train.loop.__file__)
sys.exit(status)
"""


@pytest.mark.slow
def test_from_a_wheel_networks_are_trained_beside_another_package_called_datasets(tmp_path):
    checkout = tmp_path / "checkout"
    for package in OURS:
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    build = "import sys; from setuptools import build_meta as b; b.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, tmp_path], cwd=checkout, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    packages = {path.name for path in site.iterdir() if path.suffix != ".dist-info"}
    assert packages == {"vfijax", "pallas_kernels", "vfijax_train", "vfijax_datasets"}
    written = {path.relative_to(site / "vfijax_train") for path in (site / "vfijax_train").rglob("*.py")}
    assert written == {
        path.relative_to(ROOT / "train") for path in SOURCES if path.is_relative_to(ROOT / "train")
    }

    (site / "datasets").mkdir()
    (site / "datasets" / "__init__.py").write_text("OF_OTHERS = True\n")
    done = subprocess.run(
        [sys.executable, "-c", USED],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"},
    )
    assert done.stderr.startswith("vfijax train: error: unknown model 'cdfy'; did you mean 'cdfi'?"), (
        done.stderr
    )
    assert done.returncode == 1 and str(site) in done.stdout
    for command in ("train", "compress", "data build", "data patches"):
        assert f"usage: vfijax {command} " in done.stdout
    assert "python -m train" not in done.stdout


# In a checkout


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_checkout_has_the_programs_under_the_same_commands(name, capsys):
    with pytest.raises(SystemExit) as end:
        main([*name.split(), "--help"])
    assert end.value.code == 0
    assert f"usage: vfijax {name} " in capsys.readouterr().out


def test_help_lists_the_programs(capsys):
    assert main(["--help"]) == main(["data"]) == main(["data", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(said.count(name) >= 1 for name in PROGRAMS) and said.count("data patches") == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "unknown command 'trian'; did you mean 'train'?"),
        (["data", "biuld"], "unknown command 'data biuld'; did you mean 'data build'?"),
    ],
)
def test_an_unknown_program_names_the_nearest(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_without_the_extra_a_program_says_how_to_get_it(monkeypatch, capsys):
    def without(name):
        raise ModuleNotFoundError("No module named 'grain'", name="grain.python")

    monkeypatch.setattr(programs.importlib, "import_module", without)
    assert main(["train", "--model", "cdfi"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("vfijax train: error: grain is not installed") and "pip install" in error
    assert error.count("\n") == 1
