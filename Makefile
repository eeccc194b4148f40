# `make test` and `make demo` set everything up themselves; a second run is quick.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready

# Two threads that spin on a busy machine are slower than one (and erratic).
export OMP_NUM_THREADS ?= 1

.PHONY: quick test lint types pytest pythons zoo zoo-table demo docs serve-docs setup clean

test: lint types pytest

# While you work: the style, and the tests that break most often.
quick: lint
	$(BIN)/python -m pytest -m quick -q

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

# The core, without torch, on every other Python that is found: kept by pyenv or on the
# PATH. From 3.12 on pip takes PuLP 4, on 3.11 PuLP 3.
KEPT = $(wildcard $(HOME)/.pyenv/versions/$(1).*/bin/python)
ON_PATH = $(shell python$(1) -c "import sys; print(sys.executable)" 2>/dev/null)
OTHERS ?= $(foreach v,3.12 3.13 3.14,$(firstword $(call KEPT,$(v)) $(call ON_PATH,$(v))))
CONFORMING = tests/conformance/test_conformance.py::test_conformance
CORE_TESTS = tests/core tests/io tests/solvers/test_model_files.py \
  $(foreach s,milp cpsat greedy tabu,"$(CONFORMING)[$(s)]")

pythons:
	set -e; for python in $(OTHERS); do \
	  venv=$(VENV)-$$($$python -c "import sys; print('%d.%d' % sys.version_info[:2])"); \
	  echo "== $$($$python --version)"; \
	  test -x $$venv/bin/python || $$python -m venv $$venv; \
	  $$venv/bin/python -m pip install --quiet --upgrade "pip>=25.1"; \
	  $$venv/bin/python -m pip install --quiet --group core --editable .; \
	  $$venv/bin/python -m pytest --quiet -p no:cacheprovider $(CORE_TESTS); \
	done

# Networks of other packages, which pip finds for the torch that is pinned above
# (torchvision 0.28 is the one for torch 2.13); then the table of the guide, measured anew.
zoo: $(READY)
	$(BIN)/python -m pip install --quiet --group zoo
	$(BIN)/python -m pytest -m "zoo or not zoo" tests/pytorch/test_zoo.py

zoo-table: $(READY)
	$(BIN)/python -m pip install --quiet --group zoo
	$(BIN)/python -m benchmarks.zoo
	$(BIN)/python -m benchmarks.zoo --table docs/guide/networks.md

demo: $(READY)
	$(BIN)/sirfp-opt demo --out out/demo

# The documentation, into site/; or in the browser, built anew as pages change.
# DOCS_EXECUTE=true runs the notebooks, too, and shows what they draw.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

serve-docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

clean:
	rm -rf $(VENV) $(VENV)-3.* out dist build site .pytest_cache .mypy_cache .ruff_cache .hypothesis
