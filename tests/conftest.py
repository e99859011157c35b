"""What every test runs under: several CPU devices, programs compiled quickly and kept, GPU tests marked."""

import gc
import os
import signal
import time
from importlib.metadata import version
from pathlib import Path

# Compiling is most of the time here, and half of that is LLVM's own optimisation; who wants the programs
# that users get gives XLA_FLAGS=--xla_backend_optimization_level=3. Other flags of the caller stay too.
DEFAULTS = {"xla_force_host_platform_device_count": 8, "xla_backend_optimization_level": 0}
given = os.environ.get("XLA_FLAGS", "")
wanted = [f"--{name}={value}" for name, value in DEFAULTS.items() if name not in given]
os.environ["XLA_FLAGS"] = " ".join([*wanted, given]).strip()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Compiled programs are kept from run to run, by workers and by the processes that tests start. One of them
# may read what another is still writing, or was killed while writing: the checksum tells, JAX warns and
# compiles anew. That warning is ignored, here and in pyproject.toml.
KEPT = Path(__file__).parents[1] / ".cache" / "jax-tests"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(KEPT / version("jax"))
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["PYTHONWARNINGS"] = "ignore:Error reading persistent compilation cache entry"
os.environ["VFIJAX_CACHE"] = str(KEPT.parent / "nothing-fetched")  # whatever weights the user has fetched
DAYS = 14  # without being read, after which a program is dropped

import jax  # noqa: E402 - it reads the environment
import pytest  # noqa: E402

from vfijax import compilation  # noqa: E402

compilation.WORTH_SAYING = float("inf")  # on a busy machine even a small network may take long


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # once, before the workers start
        drop_old_programs()


def drop_old_programs():
    for file in KEPT.glob("*/*"):
        if time.time() - file.stat().st_atime > DAYS * 86400:
            file.unlink()


# What takes longest comes first, so that no worker is left with it at the end (`make test` deals out files).
DEAR = (
    "models/test_zooming",
    "ops/test_every_op",
    "models/test_narrow",
    "models/test_golden",
    "training",
    "models",
    "video/test_memory",
    "pruning",
    "kernels",
    "test_perceptual",
)


def rank_of(item):
    """The place of its file in the order of the run."""
    file = item.path.relative_to(Path(__file__).parent).as_posix()
    return next((i for i, start in enumerate(DEAR) if file.startswith(start)), len(DEAR))


def pytest_collection_finish(session):
    """A seventh of the time went to searching what is imported, and what is traced, for garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def pytest_collection_modifyitems(config, items):
    items.sort(key=rank_of)
    if jax.default_backend() == "gpu":
        return
    no_gpu = pytest.mark.skip(reason=f"needs an NVIDIA GPU; JAX sees {jax.default_backend()} only")
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(no_gpu)


@pytest.fixture(scope="module", autouse=True)
def programs_of_one_module():
    """Thousands of compiled programs would take gigabytes, and more memory maps than Linux allows."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def strict():
    """No silent broadcasting over ranks and no silent dtype promotion."""
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture
def signals():
    """Signals do what they do to a program in a terminal, whatever the tests were started with."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
