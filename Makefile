# Two commands matter: `make demo` and `make test`. Each sets up everything it needs in .venv, once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := plumbline-demo
ROOMS := fine_tune probes reports audit tests

# The second lane: the robustness tests under transformers 5, which flair excludes and TextAttack does without.
FIVE := .venv-transformers5
FIVE_BIN := $(FIVE)/bin
FIVE_READY := $(FIVE)/.ready
TEXTATTACK_NEEDS := bert-score datasets editdistance filelock jieba langdetect language_tool_python lemminflect \
  Levenshtein lru-dict more-itertools nltk num2words numpy OpenHowNet pandas pinyin scipy terminaltables tqdm word2number

.PHONY: help demo demo-clean test check test-transformers5 report format clean setup new-enough

help:
	@echo "make demo        train and audit a small model with planted defects; ends with a report"
	@echo "make demo-clean  the same without defects: no gap may be claimed"
	@echo "make test        style, types, import rules and tests"
	@echo "make test-transformers5   the robustness tests under transformers 5, in an environment of their own"
	@echo "make report      render the demo's report again"
	@echo "make format      lay the code out"
	@echo "make clean       remove what was built, the environment excepted"

new-enough:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Plumbline needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Install one and name it: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }

# torch comes first: where the package index serves a CPU build of the pinned version, it is taken before
# another package can ask for a different one.
$(READY): pyproject.toml constraints.txt | new-enough
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]'
	@touch $@

$(FIVE_READY): pyproject.toml constraints-transformers5.txt | new-enough
	test -x $(FIVE_BIN)/python || $(PYTHON) -m venv $(FIVE)
	$(FIVE_BIN)/python -m pip install --quiet --upgrade pip
	$(FIVE_BIN)/python -m pip install --quiet -c constraints-transformers5.txt torch
	$(FIVE_BIN)/python -m pip install --quiet -c constraints-transformers5.txt -e '.[explain]' 'transformers>=5,<6' \
	  greenlet pytest pytest-xdist hypothesis $(TEXTATTACK_NEEDS)
	$(FIVE_BIN)/python -m pip install --quiet -c constraints-transformers5.txt --no-deps textattack
	@touch $@

setup: $(READY)

demo: $(READY)
	$(BIN)/plumbline demo --out $(DEMO)

demo-clean: $(READY)
	$(BIN)/plumbline demo --clean --out $(DEMO)-clean

# Tests run in two processes; with more threads each they would wait for one another.
test check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check $(ROOMS)
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest

test-transformers5: $(FIVE_READY)
	$(FIVE_BIN)/python -m pytest tests/probes/engines tests/probes/robustness

report: $(READY)
	@test -f $(DEMO)/run/results.json || { echo "There is no finished demo in $(DEMO); run make demo first." >&2; exit 2; }
	$(BIN)/plumbline render $(DEMO)/run --out $(DEMO)/report.html

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format $(ROOMS)

clean:
	rm -rf $(DEMO) $(DEMO)-clean build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find $(ROOMS) -name __pycache__ -type d -prune -exec rm -rf {} +
