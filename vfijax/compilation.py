"""What XLA has compiled, kept on disk between runs of a command.

A network takes seconds to minutes to compile, and the same again in every new process. jax can keep compiled
programs (`jax_compilation_cache_dir`); the commands turn that on, in a folder of vfijax with a bounded size,
and say what they are waiting for. `import vfijax` alone changes nothing.
"""

import hashlib
import os
import platform
import sys
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import jax
import jax.monitoring

from vfijax.command import duration
from vfijax.files import cache_folder

VARIABLE = "VFIJAX_COMPILATION_CACHE"  # a folder, or `off`
BYTES = 2**30  # kept at most; what has not been used for longest goes first
PER_LOWERING = 15.0  # seconds that XLA takes, for each of lowering: 10 to 24 in gradients of five networks
WORTH_SAYING = 5.0  # seconds expected, below which nothing is said
_CHECKED = ".checked"  # when the programs in a folder were last looked at


def folder() -> Path | None:
    """Where programs are kept, as the environment says; None for nowhere."""
    given = os.environ.get(VARIABLE, "").strip()
    if given.lower() in ("off", "0", "none", "no"):
        return None
    if given:
        return Path(given).expanduser()
    try:
        return cache_folder() / "compiled"
    except ValueError:  # no home
        return None


def set_up() -> None:
    """What commands do at their start: `keep_compiled`, and a line where compiling takes long."""
    keep_compiled()
    _tell()


def keep_compiled() -> Path | None:
    """Lets jax keep what it compiles from here on; for commands, at their start.

    Nothing is changed where the caller has told jax where to keep programs, as by JAX_COMPILATION_CACHE_DIR,
    and a note says so where the folder cannot be written. A damaged program is compiled anew.

    Returns:
      The folder of this machine's programs, None if none are kept here.
    """
    root = folder()
    if root is None or getattr(jax.config, "jax_compilation_cache_dir", None):
        return None
    own = root / _machine()
    try:
        own.mkdir(parents=True, exist_ok=True)
        drop_damaged(own)
        (own / _CHECKED).touch()
    except OSError as error:  # a home that cannot be written is no reason not to work
        reason = f"{error.filename}: {error.strerror}; {VARIABLE} names another folder, or is off"
        print(f"note: compiled programs are not kept: {reason}", file=sys.stderr)
        return None
    prune(root, BYTES)
    warnings.filterwarnings("ignore", ".*persistent compilation cache entry", UserWarning)
    jax.config.update("jax_compilation_cache_dir", str(own))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # many small ones take seconds too
    return own


def prune(root: Path, limit: int) -> None:
    """Deletes programs under `root`, the longest unused first, until `limit` bytes are left."""
    files = []
    for file in _programs(root, "**/*-cache"):
        try:
            found = file.stat()
        except OSError:  # another process was faster
            continue
        files.append((max(found.st_atime, found.st_mtime), found.st_size, file))
    size = sum(size for _, size, _ in files)
    for _, bytes_, file in sorted(files):
        if size <= limit:
            return
        file.unlink(missing_ok=True)
        size -= bytes_


def drop_damaged(own: Path) -> None:
    """Deletes programs that are incomplete, as a killed process or a full disk leaves them: jax would neither
    read nor replace them. Each is looked at once after it was written."""
    checked = own / _CHECKED
    since = checked.stat().st_mtime if checked.exists() else 0.0
    for file in _programs(own, "*-cache"):
        try:
            if file.stat().st_mtime >= since and not _is_whole(file.read_bytes()):
                file.unlink(missing_ok=True)
        except FileNotFoundError:  # another process was faster
            continue


def _programs(folder: Path, pattern: str) -> Iterator[Path]:
    return (file for file in folder.glob(pattern) if file.is_file())


def _is_whole(data: bytes) -> bool:
    """Whether jax can unpack a program, which it compresses by zstd or, where that is missing, by zlib."""
    if data.startswith(b"\x28\xb5\x2f\xfd"):
        return True  # zstd; jax notices what is wrong with it
    try:
        return bool(zlib.decompress(data))
    except zlib.error:
        return False


def _machine() -> str:
    """A name for what can run the same machine code: version of jax, and type of processor.

    A home may be shared by machines of which not all know the instructions of the others.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    known = sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))})
    text = "\n".join([platform.machine(), platform.processor(), *known])
    return f"jax-{jax.__version__}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@cache  # a process needs it once
def _tell() -> None:
    """Prints `compiling (about 40 s the first time)` on stderr while XLA is at it, unless it is soon done, as
    with a program that was kept. How long it takes follows roughly from how long the step before it took."""
    waiting: dict[int, threading.Timer] = {}  # by thread

    def say(seconds: float) -> None:
        first = " the first time" if getattr(jax.config, "jax_compilation_cache_dir", None) else ""
        with suppress(OSError):
            print(f"compiling (about {duration(seconds)}{first})", file=sys.stderr, flush=True)

    def heard(event: str, duration_secs: float, **kwargs: str | int) -> None:
        thread, expected = threading.get_ident(), PER_LOWERING * duration_secs
        if event.endswith("/jaxpr_to_mlir_module_duration") and expected >= WORTH_SAYING:
            waiting[thread] = threading.Timer(WORTH_SAYING / 2, say, [expected])
            waiting[thread].daemon = True
            waiting[thread].start()
        elif event.endswith("/backend_compile_duration") and thread in waiting:
            waiting.pop(thread).cancel()

    jax.monitoring.register_event_duration_secs_listener(heard)
