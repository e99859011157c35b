"""Compiled programs are kept between runs of a command, and a command says when it waits for the compiler."""

import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import jax
import pytest

from vfijax import compilation
from vfijax.compilation import drop_damaged, folder, keep_compiled, prune

CALLERS = jax.config.jax_compilation_cache_dir  # tests/conftest.py


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"VFIJAX_COMPILATION_CACHE": "/fast/disk"}, "/fast/disk"),
        ({"VFIJAX_COMPILATION_CACHE": "~/here"}, "/home/me/here"),
        ({"VFIJAX_COMPILATION_CACHE": "off"}, None),
        ({"VFIJAX_COMPILATION_CACHE": "OFF", "VFIJAX_CACHE": "/c"}, None),
        ({"VFIJAX_CACHE": "/c"}, "/c/compiled"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/vfijax/compiled"),
        ({"VFIJAX_COMPILATION_CACHE": ""}, "/home/me/.cache/vfijax/compiled"),
        ({}, "/home/me/.cache/vfijax/compiled"),
    ],
)
@pytest.mark.skipif(sys.platform != "linux", reason="other platforms have another folder for this")
def test_the_environment_says_where_programs_are_kept(monkeypatch, environment, expected):
    for name in ("VFIJAX_COMPILATION_CACHE", "VFIJAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environment}.items():
        monkeypatch.setenv(name, value)
    assert folder() == (None if expected is None else Path(expected))


def test_what_the_caller_told_jax_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("VFIJAX_COMPILATION_CACHE", str(tmp_path / "kept"))
    assert keep_compiled() is None
    assert jax.config.jax_compilation_cache_dir == CALLERS and not (tmp_path / "kept").exists()


def test_a_folder_that_cannot_be_made_is_told_and_does_no_harm(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VFIJAX_COMPILATION_CACHE", str(tmp_path / "file"))
    jax.config.update("jax_compilation_cache_dir", None)
    try:
        assert keep_compiled() is None
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", CALLERS)
    assert "compiled programs are not kept" in (said := capsys.readouterr().err) and "off" in said


def test_what_was_not_used_for_longest_is_dropped_first_over_all_machines(tmp_path):
    for age, name in enumerate(["a/new-cache", "b/old-cache", "a/older-cache"]):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes(100))
        os.utime(file, (time.time() - 1000 * age,) * 2)
    prune(tmp_path, 300)
    assert len(list(tmp_path.glob("*/*"))) == 3
    prune(tmp_path, 250)
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["new-cache", "old-cache"]
    os.utime(tmp_path / "b" / "old-cache", (time.time(), time.time() - 5000))  # read just now
    os.utime(tmp_path / "a" / "new-cache", (time.time() - 9,) * 2)
    prune(tmp_path, 100)
    assert [path.name for path in tmp_path.glob("*/*")] == ["old-cache"]
    prune(tmp_path / "none", 0)


def test_damaged_programs_are_dropped_and_each_is_looked_at_once(tmp_path):
    whole = zlib.compress(bytes(1000))
    kept = {"whole-cache": whole, "zstd-cache": b"\x28\xb5\x2f\xfdrest"}
    for name, data in {**kept, "cut-cache": whole[:-3], "empty-cache": b"", "other-cache": b"x"}.items():
        (tmp_path / name).write_bytes(data)
    drop_damaged(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)
    (tmp_path / ".checked").touch()
    (tmp_path / "whole-cache").write_bytes(b"x")
    os.utime(tmp_path / "whole-cache", (0, 0))
    drop_damaged(tmp_path)
    assert (tmp_path / "whole-cache").exists()  # which was whole when it was written


PROGRAM = """
import sys, jax, jax.monitoring
from vfijax import compilation
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.extend(["hit"] * event.endswith("cache_hits")))
compilation.set_up()
if len(sys.argv) > 1:  # between set_up and the first use: jax has to notice
    [file.write_bytes(b"garbage") for file in compilation.folder().glob("*/*-cache")]
print(float(jax.jit(lambda x: (x * 2 + 1).sum())(jax.numpy.arange(5.0))), len(hits) > 0)
"""


@pytest.mark.slow
def test_a_second_process_reads_what_the_first_compiled_and_damage_is_harmless(tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "PYTHONWARNINGS"))}
    environment["VFIJAX_COMPILATION_CACHE"] = str(tmp_path)

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return done.stdout.split()

    assert run() == ["25.0", "False"]
    assert run() == ["25.0", "True"]
    assert run("damage") == ["25.0", "False"]
    assert run() == ["25.0", "False"]  # what was damaged is gone,
    assert run() == ["25.0", "True"]  # and made again


LOWERING, COMPILING = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


@pytest.mark.parametrize(("wait", "said"), [(0.3, "compiling (about 42 s the first time)\n"), (0, "")])
def test_a_command_says_that_it_compiles_where_that_takes_long(monkeypatch, capsys, wait, said):
    monkeypatch.setattr(compilation, "WORTH_SAYING", 0.2)
    compilation.set_up()
    compilation.set_up()
    jax.monitoring.record_event_duration_secs(LOWERING, 0.001)  # nothing to speak of
    jax.monitoring.record_event_duration_secs(LOWERING, 42 / compilation.PER_LOWERING)
    time.sleep(wait)
    jax.monitoring.record_event_duration_secs(COMPILING, 40.0)
    time.sleep(0.15)
    assert capsys.readouterr().err == said


def test_remarks_of_the_compiler_are_left_out_unless_asked_for(monkeypatch):
    from vfijax.command import quiet_compiler

    for debug, given, level in [("0", None, "3"), ("1", None, None), ("0", "1", "1")]:
        monkeypatch.setenv("VFIJAX_DEBUG", debug)
        monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
        if given:
            monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", given)
        quiet_compiler()
        assert os.environ.get("TF_CPP_MIN_LOG_LEVEL") == level


@pytest.mark.parametrize("module", ["vfijax.cli", "train.main"])
def test_a_program_is_quiet_before_jax_is_imported(module):
    """jax reads the level when it is imported."""
    code = (
        "import os, sys, importlib.abc\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'jax': print(os.environ.get('TF_CPP_MIN_LOG_LEVEL')); sys.exit()\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"import {module}, jax\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=root
    )
    assert done.stdout == "3\n", done.stderr
