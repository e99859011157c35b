#!/usr/bin/env bash
# Runs the part of the tests that must hold on the newest jax, with the newest Python found.
# A name on the PATH may be a shim that fails, so that every candidate is tried by running it.
set -euo pipefail
cd "$(dirname "$0")/.."

newer='import sys; sys.exit(sys.version_info < (3, 12))'
found=""
for candidate in "${PYTHON:-python3}" python3.{15,14,13,12} "$HOME"/.pyenv/versions/3.1[2-9]*/bin/python; do
  if "$candidate" -c "$newer" >/dev/null 2>&1; then
    found="$candidate"
    break
  fi
done
if [ -z "$found" ]; then
  echo "test-next: no Python 3.12 or newer was found; the lane of the newest jax did not run"
  exit 0
fi

if [ ! -e .venv-next/ready ] || [ requirements.txt -nt .venv-next/ready ]; then
  "$found" -m venv .venv-next
  grep -vE '^(jax-triton|triton|mkdocs|mkdocstrings.python.|mypy|ruff|torch)==' requirements.txt > .venv-next/requirements.txt
  .venv-next/bin/python -m pip install --quiet --disable-pip-version-check -r .venv-next/requirements.txt
  .venv-next/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
  touch .venv-next/ready
fi
.venv-next/bin/python -c 'import sys, jax; print(f"test-next: Python {sys.version.split()[0]}, jax {jax.__version__}")'
.venv-next/bin/python -m pytest -q -n "${JOBS:-2}" --dist loadfile --no-loadscope-reorder tests/test_imports.py tests/test_public_api.py tests/ops tests/kernels tests/optim tests/models/test_narrow.py
