# `make run` and `make test` need Python 3.11 or newer and make; they make .venv and install what is missing.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11 python
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test soak lint bench studies docs clean

help:
	@echo "make run    train recipes/depth.py on its embedded data (ARGS='trainer.epochs=2' adds settings)"
	@echo "make test   the test suite (ARGS='tests/handlers -x' chooses)"
	@echo "make soak   tests that take minutes: hundreds of kills of one run"
	@echo "make lint   ruff, mypy, bandit, and known weaknesses of the packages (asks pypi.org)"
	@echo "make bench  what a training step costs beside other loops; how good the detectors are"
	@echo "make studies   what the five recipes' changes did, three seeds each: docs/results.md (some two hours)"
	@echo "make docs   the reference pages: docs/config.md, and the API under build/docs"
	@echo "make clean  remove .venv and caches"

# The first of PYTHON that runs, is new enough and can make environments (a name alone may be a shim with nothing behind).
$(BIN)/python:
	@for python in $(PYTHON); do \
		if "$$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "making $(VENV) with $$("$$python" --version)"; exec "$$python" -m venv $(VENV); \
		fi; \
	done; \
	echo "no Python 3.11 or newer with venv among: $(PYTHON). Install one, or say make PYTHON=/path/to/python" >&2; exit 2

$(VENV)/.installed: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable .
	@touch $@

$(VENV)/.installed-test: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[test]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[bench]'
	@touch $@

$(VENV)/.installed-docs: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[docs]'
	@touch $@

run: $(VENV)/.installed
	$(BIN)/python -m ignition.run recipes/depth.py $(ARGS)

test: $(VENV)/.installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --durations=10 $(ARGS)

soak: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m soak -v -rP --durations=0 $(ARGS)

lint: $(VENV)/.installed-test
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m bandit --quiet --recursive --configfile pyproject.toml ignition recipes
	$(BIN)/python .ci/audit.py

bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/step_overhead.py
	$(BIN)/python benchmarks/measurement_overhead.py
	$(BIN)/python benchmarks/detectors.py

# Runs that are there are not made again: interrupt it when you like, and say it again. Files in the order of their names.
studies: $(VENV)/.installed
	$(BIN)/python -m ignition.study $(sort $(wildcard configs/studies/*.yaml)) --report docs/results.md $(ARGS)

docs: $(VENV)/.installed-docs
	$(BIN)/python -m ignition.config.description > docs/config.md
	$(BIN)/python -m pdoc --docformat google --output-directory build/docs ignition

clean:
	rm -rf $(VENV) build .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
