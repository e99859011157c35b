# Two commands to begin with: `make demo` and `make test`. Every target sets up what it needs.

PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2

.PHONY: demo demo-train test test-next lint docs bench soak clean

demo: .venv/ready
	$(BIN)/python -m train.demo --out demo

demo-train: .venv/ready
	$(BIN)/python -m train.demo --train --out demo-train

test: .venv/ready
	$(BIN)/python -m pytest -n $(JOBS) -q

# Imports, ops, kernels, optim and narrow models on the newest jax, where a newer Python is found.
test-next:
	@PYTHON=$(PYTHON) bash scripts/test_next.sh

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mkdocs build --strict --quiet

# The pages and the API reference as a site, in site/; a broken link or reference is an error.
docs: .venv/ready
	$(BIN)/python -m mkdocs build --strict

# Training runs killed at ten random moments; each must end as if nothing had happened.
soak: .venv/ready
	SOAK=10 $(BIN)/python -m pytest -q tests/training/test_killed.py

bench: .venv/ready
	$(BIN)/python -m benchmarks.run

clean:
	rm -rf .venv .venv-next site

.venv/ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@
