"""What stands around the code: licence, citation, links, and the commands that documents name."""

import importlib
import re
import tomllib
from pathlib import Path

import pytest
import yaml

import vfijax

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def anchors(page):
    """The names that a link may give to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_citation_file_has_what_its_format_requires_and_agrees_with_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0" and citation["type"] == "software"
    assert citation["version"] == vfijax.__version__ and citation["license"] == PROJECT["license"]
    assert citation["authors"] == [{"name": "The vfijax authors"}]
    assert len(citation["references"]) == 9
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year"} <= reference.keys()
        assert reference["type"] in ("conference-paper", "article")
        assert all(person.keys() == {"family-names", "given-names"} for person in reference["authors"])


def test_the_licence_is_whole_and_goes_into_the_package():
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0" and PROJECT["license-files"] == ["LICENSE"]
    assert "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text


def test_the_readme_is_short_enough_to_be_read():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings_that_exist(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_name_programs_and_targets_that_exist(page):
    shell = "\n".join(re.findall(r"^```(?:sh)?\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
    makefile = (ROOT / "Makefile").read_text()
    for targets in re.findall(r"^make ([\w \-]+?)(?: *#.*)?$", shell, re.MULTILINE):
        assert [name for name in targets.split() if f"\n{name}:" not in makefile] == []
    for module in re.findall(r"python -m ([\w.]+)", shell):
        if module.split(".")[0] in ("train", "datasets", "benchmarks", "examples", "vfijax"):
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def exported():
    """Packages of the API pages and the functions and classes that they list."""
    for package in ("ops", "models", "losses", "perceptual", "prune", "optim", "scoring", "video", "media"):
        module = importlib.import_module(f"vfijax.{package}")
        for name in module.__all__:
            if callable(getattr(module, name)):
                yield f"vfijax.{package}", name


@pytest.mark.parametrize(("package", "name"), list(exported()))
def test_every_name_that_a_package_gives_out_is_on_an_api_page(package, name):
    text = "\n".join(page.read_text() for page in ROOT.glob("docs/api/*.md"))
    # The generator shows what a package lists, but takes a module for a function of the same name.
    hidden = (ROOT / package.replace(".", "/") / f"{name}.py").exists()
    assert f"::: {package}.{name}.{name}\n" in text if hidden else f"::: {package}\n" in text
