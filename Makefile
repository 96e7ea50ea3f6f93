# make help lists the targets. Everything happens in .venv; nothing else on the machine is touched.
PYTHON ?= python3
# Where pip looks for torch; set it to pick a build, for example the one without GPU libraries (see README).
TORCH_INDEX ?=
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow check format clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(STAMP)  ## create .venv with everything the demo and the tests need

$(STAMP): pyproject.toml constraints.txt scripts/setup
	PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" scripts/setup $(VENV)
	@touch $@

demo: $(STAMP)  ## fit TIGER, SASRec and popularity on the built-in data and show what comes out
	$(BIN)/python -m recsmith.demo

test: $(STAMP)  ## the default test suite
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n $(WORKERS)

test-slow: $(STAMP)  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

check: $(STAMP)  ## lint, format, types, import contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## rewrite files in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove .venv and caches (never runs or data)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
