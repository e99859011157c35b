"""What the package gives out: names, documentation, and how its functions are called."""

import importlib
import inspect
import operator
import pkgutil
from importlib.metadata import version

import pytest

import vfijax
import vfijax.models
import vfijax.ops


def modules():
    for package in ("vfijax", "pallas_kernels"):
        yield package
        path = importlib.import_module(package).__path__
        yield from (found.name for found in pkgutil.walk_packages(path, f"{package}."))


MODULES = [name for name in modules() if not name.endswith("__main__")]
# The insides of media are given out by their package; every command has the same undocumented `run`.
DOCUMENTED = [name for name in MODULES if not name.startswith(("vfijax.media.", "vfijax.cli."))]


def public(module):
    """Functions and classes under a public name: those listed, else those defined in the module."""
    listed = getattr(module, "__all__", None)
    for name, value in vars(module).items():
        own = getattr(value, "__module__", None) == module.__name__ and not name.startswith("_")
        if name in listed if listed is not None else own:
            unwrapped = inspect.unwrap(value) if callable(value) else value
            if inspect.isfunction(unwrapped) or inspect.isclass(unwrapped):
                yield name, value


@pytest.mark.parametrize("name", [*vfijax.__all__, *vfijax._MODULES])
def test_every_public_name_resolves_and_is_listed(name):
    assert getattr(vfijax, name) is not None
    assert name in dir(vfijax)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'vfijax' has no attribute 'interpolat'"):
        operator.attrgetter("interpolat")(vfijax)


def test_the_version_is_that_of_the_package():
    assert vfijax.__version__ == version("vfijax")


@pytest.mark.parametrize("name", MODULES)
def test_every_module_is_documented_and_has_all_names_it_lists(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert [listed for listed in getattr(module, "__all__", ()) if not hasattr(module, listed)] == []


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_public_function_and_class_is_documented(name):
    found = dict(public(importlib.import_module(name)))
    # A dataclass without a docstring gets its signature as one.
    bare = [n for n, v in found.items() if not v.__doc__ or v.__doc__.startswith(f"{n}(")]
    assert bare == []


@pytest.mark.parametrize("name", vfijax.ops.__all__)
def test_options_of_an_op_are_given_by_name_and_implementation_is_the_last(name):
    op = inspect.unwrap(getattr(vfijax.ops, name))
    parameters = inspect.signature(op).parameters.values()
    options = [p for p in parameters if p.default is not p.empty and p.name != "mask"]  # an array
    assert options and all(p.kind is p.KEYWORD_ONLY for p in options)
    assert next(iter(parameters)).name == "image"
    assert options[-1].name == "implementation" and options[-1].default == "auto"


@pytest.mark.parametrize("function", [vfijax.interpolate, vfijax.interpolate_n, vfijax.models.forward])
def test_options_of_the_main_functions_are_given_by_name(function):
    parameters = inspect.signature(function).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters if p.default is not p.empty)
    assert [p.name for p in parameters][:3] == ["params", "f0", "f1"]


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("adacof_pls", "adacof_plus"),
        ("cdfi-fp", "cdfi_fp"),
        ("compresed_adacof", "compressed_adacof"),
        ("blnd", "blend"),
    ],
)
def test_a_misspelt_model_is_answered_with_the_nearest_name(misspelt, meant):
    with pytest.raises(ValueError, match=f"unknown model '{misspelt}'; did you mean '{meant}'"):
        vfijax.create(misspelt, 0)
