"""What every test runs under: several CPU devices, strict arithmetic where asked, GPU tests marked."""

import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax
import pytest


def pytest_collection_modifyitems(config, items):
    if jax.default_backend() == "gpu":
        return
    no_gpu = pytest.mark.skip(reason=f"needs an NVIDIA GPU; JAX sees {jax.default_backend()} only")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(no_gpu)


@pytest.fixture
def strict():
    """No silent broadcasting over ranks and no silent dtype promotion."""
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield
