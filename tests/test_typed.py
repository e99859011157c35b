"""What type checkers and editors see of the package."""

import ast
import inspect
import tomllib
from importlib.resources import files
from pathlib import Path

import pytest
from mypy import api

import vfijax

ROOT = Path(__file__).parents[1]

# A user's lines, each with what mypy must answer: a type that it reveals, an error code, or nothing.
LINES = (
    ("import numpy as np", None),
    ("import vfijax", None),
    ("frame = np.zeros((32, 32, 3), np.uint8)", None),
    ("params = vfijax.load()", None),
    ("reveal_type(params)", "vfijax.params.ModelParams"),
    ("reveal_type(vfijax.interpolate(params, frame, frame))", "Array"),
    ("reveal_type(vfijax.interpolate_n(params, frame, frame, 3))", "Iterator[jax"),
    ("reveal_type(vfijax.video.interpolate_video)", "pipeline.Summary"),
    ("reveal_type(vfijax.scoring.Report.worst)", "report.Row]"),
    ('x: int = vfijax.interpolate("nonsense")', "[assignment]"),
    ("vfijax.interpolate(params, frame)", "[call-arg]"),
    ("vfijax.interpolate_n(params, frame, frame, 'three')", "[arg-type]"),
    ("vfijax.nothing_like_this(3)", "[attr-defined]"),
    ("vfijax.video.nothing_like_this", "[attr-defined]"),
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Line number to what mypy says of it."""
    program = tmp_path_factory.mktemp("user") / "program.py"
    program.write_text("".join(f"{line}\n" for line, _ in LINES))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)  # and with the cache of `make lint`
        out, errors, _ = api.run(["--config-file", "pyproject.toml", str(program)])
    assert not errors
    found = {}
    for line in out.splitlines()[:-1]:
        _, number, said = line.split(":", 2)
        found.setdefault(int(number), []).append(said)
    return {number: "\n".join(said) for number, said in found.items()}


@pytest.mark.parametrize(("number", "line", "wanted"), [(i, *row) for i, row in enumerate(LINES, 1)])
def test_mypy_understands_a_users_line(answers, number, line, wanted):
    assert wanted in answers[number] if wanted else number not in answers


def test_names_for_type_checkers_are_those_given_out():
    tree = ast.parse(inspect.getsource(vfijax))
    block = next(n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    found = {alias.name: node.module for node in block.body for alias in node.names}
    modules = dict.fromkeys(vfijax._MODULES, "vfijax")
    assert found == vfijax._NAMES | modules
    assert sorted(vfijax._NAMES) == sorted(vfijax.__all__)


@pytest.mark.parametrize("package", ["vfijax", "pallas_kernels"])
def test_an_installed_package_says_that_it_is_typed(package):
    assert files(package).joinpath("py.typed").is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "py.typed" in project["tool"]["setuptools"]["package-data"][package]
