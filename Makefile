# `make test` and `make demo` set everything up themselves; a second run is quick.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

# Two threads that spin on a busy machine are slower than one (and erratic).
export OMP_NUM_THREADS ?= 1

.PHONY: test lint types pytest demo setup clean

test: lint types pytest

setup: $(READY)

# CPU torch is pinned and comes first: a bare `torch` would pull gigabytes of CUDA.
$(READY): pyproject.toml Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --group dev
	$(BIN)/python -m pip install --quiet --editable ".[all]"
	touch $@

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

pytest: $(READY)
	$(BIN)/python -m pytest

demo: $(READY)
	$(BIN)/sirfp-opt demo --out out/demo

clean:
	rm -rf $(VENV) out dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
