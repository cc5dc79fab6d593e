# The daily verbs. Each sets up .venv first if that is not there.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help demo serve test lint types format bench crash clean

help:  ## say what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(READY): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
	@touch $@

demo: $(READY)  ## watch a broker work, be killed, and lose nothing
	$(BIN)/wonderq demo

serve: $(READY)  ## run a broker on 127.0.0.1:7979 with its log in ./wonderq-data
	$(BIN)/wonderq serve

test: $(READY)  ## run the tests (under 5 minutes)
	$(BIN)/pytest -n auto

lint: $(READY) types  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

format: $(READY)  ## put the code into the common form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## measure
	$(BIN)/pytest benchmarks --benchmark-only

crash: $(READY)  ## kill the broker CYCLES times under load and check every promise (SEED=n to repeat a run)
	$(BIN)/python -m tests.crash.kill_cycles --cycles $(or $(CYCLES),200) $(if $(SEED),--seed $(SEED))

clean:  ## remove what the other targets made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks dist
