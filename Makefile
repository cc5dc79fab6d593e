# The daily verbs. Each sets up .venv first if that is not there.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

# The tests that run storage, and what decides, in their own process: of one that is killed nothing is measured.
COVERING := tests/storage tests/broker tests/tools

DECIDING := wonderq/state/*,wonderq/broker/core.py,wonderq/broker/produce.py,wonderq/broker/claims.py,wonderq/broker/changes.py,$\
  wonderq/broker/queries.py,wonderq/broker/queues.py,wonderq/broker/transfers.py

.PHONY: help demo serve test cover clients lint types format bench bench-peers crash crash-states power-cuts syscalls flips soak \
  brute-force mutants fuzz-http fuzz-bytes clean

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

cover: $(READY)  ## branch coverage of storage, and of what decides in the broker
	$(BIN)/coverage run -m pytest $(COVERING)
	$(BIN)/coverage report --include='storage/wonderq_storage/*' --fail-under=100
	$(BIN)/coverage report --include='$(DECIDING)' --fail-under=95

clients: $(READY)  ## install the clients of SQS that tests/clients runs: celery, the aws command, and two for Node.js
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group clients
	if command -v npm > /dev/null; then cd tests/clients/node && npm ci --silent --no-audit --no-fund; fi

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

bench-peers: $(READY)  ## do the same work on WonderQ and on other queues, MESSAGES in each of ROUNDS (SVG=file to draw it)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group peers
	$(BIN)/python -m benchmarks.peers --messages $(or $(MESSAGES),100000) --rounds $(or $(ROUNDS),5) $(if $(SVG),--svg $(SVG))

crash: $(READY)  ## kill the broker CYCLES times under load and check every promise (SEED=n to repeat a run)
	$(BIN)/python -m tests.crash --cycles $(or $(CYCLES),200) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.crash.pipeline --cycles $(or $(CYCLES),200) $(if $(SEED),--seed $(SEED))

crash-states: $(READY)  ## crash at every operation on a disk that forgets, STATES times (SEED=n)
	$(BIN)/python -m tests.forgetful.explore --states $(or $(STATES),1000000) --processes 2 $(if $(SEED),--seed $(SEED))

power-cuts: $(READY)  ## cut the power of a FILESYSTEM (ext4, xfs) under a broker CUTS times; needs root (SEED=n)
	$(BIN)/python -m tests.powercut.cut_cycles --cuts $(or $(CUTS),200) --filesystem $(or $(FILESYSTEM),ext4) $(if $(SEED),--seed $(SEED))

syscalls: $(READY)  ## kill at every system call of WORKLOADS short lives, and fail each; needs strace (SEED=n)
	$(BIN)/python -m tests.syscalls.kill_everywhere --workloads $(or $(WORKLOADS),10) $(if $(SEED),--seed $(SEED))

flips: $(READY)  ## flip every bit of a small folder (SEED=n)
	$(BIN)/python -m tests.flips.every_bit $(if $(SEED),--seed $(SEED))

soak: $(READY)  ## mixed traffic, kills, full disks and backups for MINUTES, all checked (SEED=n)
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

brute-force: $(READY)  ## compare the history checker with a search through all that can have happened (SEED=n)
	$(BIN)/python -m tests.crash.brute_force --histories $(or $(HISTORIES),100000) $(if $(SEED),--seed $(SEED))

fuzz-http: $(READY)  ## compare answers to CASES requests, allowed ones and others, with the OpenAPI document (SEED=n)
	$(BIN)/python -m tests.fuzz.http --cases $(or $(CASES),10000) $(if $(SEED),--seed $(SEED))

fuzz-bytes: $(READY)  ## feed INPUTS spoiled bytes to each reader of bytes, with atheris where there is one (SEED=n)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check --group fuzz
	$(BIN)/python -m tests.fuzz.bytes --inputs $(or $(INPUTS),1000000) $(if $(SEED),--seed $(SEED))

mutants: $(READY)  ## plant each bug of the catalogue, and see which test notices
	$(BIN)/python -m tests.mutants.run

clean:  ## remove what the other targets made
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage dist
