"""What every test runs under: several CPU devices, strict arithmetic where asked, GPU tests marked."""

import os
import shutil
import tempfile

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# What takes long to compile is kept for later tests and for the processes that tests start. Every worker
# has a folder of its own, since one that JAX is writing can be read half.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="vfijax-tests-")

import jax
import pytest


def pytest_collection_modifyitems(config, items):
    if jax.default_backend() == "gpu":
        return
    no_gpu = pytest.mark.skip(reason=f"needs an NVIDIA GPU; JAX sees {jax.default_backend()} only")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(no_gpu)


def pytest_unconfigure(config):
    shutil.rmtree(os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def programs_of_one_module():
    """Thousands of compiled programs would take gigabytes, and more memory maps than Linux allows."""
    yield
    jax.clear_caches()


@pytest.fixture
def strict():
    """No silent broadcasting over ranks and no silent dtype promotion."""
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield
