# Two commands matter: `make demo` and `make test`. Each sets up everything it needs in .venv, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := plumbline-demo
ROOMS := fine_tune probes reports audit tests

.PHONY: help demo demo-clean test check report format clean setup

help:
	@echo "make demo        train and audit a small model with planted defects; ends with a report"
	@echo "make demo-clean  the same without defects: no gap may be claimed"
	@echo "make test        style, types, import rules and tests"
	@echo "make report      render the demo's report again"
	@echo "make format      lay the code out"
	@echo "make clean       remove what was built, the environment excepted"

# torch comes first: where the package index serves a CPU build of the pinned version, it is taken before
# another package can ask for a different one.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Plumbline needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Install one and name it: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]'
	@touch $@

setup: $(READY)

demo: $(READY)
	$(BIN)/plumbline demo --out $(DEMO)

demo-clean: $(READY)
	$(BIN)/plumbline demo --clean --out $(DEMO)-clean

test check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check $(ROOMS)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest

report: $(READY)
	@test -f $(DEMO)/run/results.json || { echo "There is no finished demo in $(DEMO); run make demo first." >&2; exit 2; }
	$(BIN)/plumbline render $(DEMO)/run --out $(DEMO)/report.html

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format $(ROOMS)

clean:
	rm -rf $(DEMO) $(DEMO)-clean build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(ROOMS) -name __pycache__ -type d -prune -exec rm -rf {} +
