"""What pyproject.toml cannot say: a wheel holds `train` and `datasets` under names of their own.

In a checkout they are `train` and `datasets`. These names are too general to put into other people's
environments, where `datasets` is another library, so that a wheel has them as `vfijax_train` and
`vfijax_datasets`. Only the names in import statements differ, and in the commands that texts name: `vfijax
train` where a checkout has `python -m train.main`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

NAMES = {"train": "vfijax_train", "datasets": "vfijax_datasets"}
COMMANDS = {
    "python -m train.main": "vfijax train",
    "python -m train.compress": "vfijax compress",
    "python -m datasets.build": "vfijax data build",
    "python -m datasets.patches": "vfijax data patches",
}
_COMMAND = re.compile(r"python -m (?:train|datasets)\b(?:\.\w+)?")


def renamed(source: str) -> str:
    """A module of ours as it is in a wheel; line by line the same otherwise."""
    lines = source.split("\n")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] in NAMES for alias in node.names):
            raise ValueError(f"line {node.lineno}: import names from {node.names[0].name}, not the module")
        if isinstance(node, ast.ImportFrom) and node.module and (root := node.module.split(".")[0]) in NAMES:
            line = lines[node.lineno - 1]
            lines[node.lineno - 1] = line.replace(f"from {root}", f"from {NAMES[root]}", 1)
    return _COMMAND.sub(_installed, "\n".join(lines))


def _installed(found: re.Match[str]) -> str:
    """What starts a program: the command, or for programs without one the module."""
    return COMMANDS.get(found[0], found[0].replace("-m ", "-m vfijax_"))


class BuildPy(build_py):
    """Adds the renamed packages to what is installed; an editable installation has them in its checkout."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            own = [(source, Path(self.build_lib, source)) for source in Path("vfijax").rglob("*.py")]
            for source, target in [*own, *self._pairs()]:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(renamed(source.read_text(encoding="utf-8")), encoding="utf-8")

    def _pairs(self) -> Iterator[tuple[Path, Path]]:
        for name, own in NAMES.items():
            for source in sorted(Path(name).rglob("*.py")):
                yield source, Path(self.build_lib, own, *source.parts[1:])

    def get_source_files(self) -> list[str]:
        """Also for the source distribution, which keeps the names of the checkout."""
        return [*super().get_source_files(), *(str(source) for source, _ in self._pairs())]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        own = [] if self.editable_mode else [str(target) for _, target in self._pairs()]
        return [*super().get_outputs(include_bytecode), *own]


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildPy})
