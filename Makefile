# Everyday commands. Each makes .venv first if there is none, and installs into it only what the command needs.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
READY := .venv/.ready
RELEASE := .venv-release
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Coverage is of the tests that run storage and broker in their own process: a killed process reports nothing.
COVERING := tests/storage tests/broker tests/tools

# Tests start hundreds of processes. Without bytecode, which some environments ask for, each would compile all modules anew.
PYTEST := PYTHONDONTWRITEBYTECODE= $(if $(SYSTEM),PRETENDED_SYSTEM=$(SYSTEM) PYTHONPATH='$(CURDIR)/tests/portability/other_system:$(CURDIR)') $(BIN)/pytest

.PHONY: help demo serve test test-all cover clients browser screenshots lint types scripts format bench bench-peers bench-client \
  bench-workers crash worker-kills log-faults cluster-faults crash-states power-cuts syscalls flips soak promises brute-force prove mutants mutation-sample \
  fuzz-http fuzz-bytes reference site dist sbom requirements release-check diagrams spelling clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(INSTALLED): pyproject.toml
	@$(PYTHON) tools/before_install.py
	@$(PYTHON) -m venv .venv
	@$(PIP) --upgrade 'pip>=25.1'
	@$(PIP) --editable .
	@touch $@

$(READY): $(INSTALLED)
	@echo "Installing the tools for tests and checks into .venv, too. That takes a minute or two."
	@$(PIP) --group dev
	@touch $@

demo: $(INSTALLED)  ## run real work through a broker, kill it on the way, and check that nothing is lost (STAY=1: then look at its dashboard)
	$(BIN)/wonderq demo $(if $(STAY),--stay)

serve: $(INSTALLED)  ## run a broker on 127.0.0.1:7979 with its log in ./wonderq-data
	$(BIN)/wonderq serve

test: $(READY)  ## run the quick tests: at most 4 minutes on two cores; no root, no mounts, no other programs (SYSTEM=macos: without the calls of Linux)
	$(PYTEST) -n auto

test-all: $(READY)  ## run the slow tests too: kills, power cuts, system calls, real clients and servers, the wheel (needs root for some)
	$(PYTEST) -n auto -m slow

cover: $(READY)  ## measure branch coverage of the storage, the state and the broker
	$(BIN)/coverage run -m pytest $(COVERING)
	$(BIN)/coverage report --include='storage/wonderq_storage/*' --fail-under=100
	$(BIN)/coverage report --include='wonderq/state/*,wonderq/broker/*' --fail-under=95

clients: $(READY)  ## install the SQS clients that tests/clients runs: celery, the aws command, libraries, and those for Node.js
	$(PIP) --group clients
	$(PYTHON) -m venv .venv-clients
	.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	.venv-clients/bin/python -m pip install --quiet --disable-pip-version-check --group client-libraries
	if command -v npm > /dev/null; then cd tests/clients/node && npm ci --silent --no-audit --no-fund; fi

browser: $(READY)  ## install what tests/ui uses besides Chromium: Playwright, and axe-core for accessibility
	$(PIP) --group browser
	if command -v npm > /dev/null; then cd tests/ui/node && npm ci --silent --no-audit --no-fund; fi

screenshots: $(READY)  ## make the pictures of docs/DASHBOARD.md; needs Chromium, and `make browser`
	mkdir -p docs/dashboard
	WONDERQ_SCREENSHOTS=docs/dashboard $(BIN)/pytest -m slow tests/ui/test_tour.py

lint: $(READY) types scripts spelling  ## check style, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## check types
	$(BIN)/mypy

scripts:  ## check the types of the JavaScript, which are in JSDoc; without npm, say so and do nothing
	@if ! command -v npm > /dev/null; then echo "npm is not installed, so the JavaScript is not checked"; else cd tests/ui/node \
	  && { [ -x node_modules/.bin/tsc ] || npm ci --silent --no-audit --no-fund; } && node_modules/.bin/tsc; fi

spelling: $(READY)  ## check the spelling of the documentation and the code
	$(BIN)/codespell

format: $(READY)  ## format the code and fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)  ## run the benchmarks
	$(BIN)/pytest benchmarks --benchmark-only

bench-peers: $(READY)  ## compare WonderQ with other queues: ROUNDS rounds of MESSAGES messages (SVG=file draws a plot)
	$(PIP) --group peers
	$(BIN)/python -m benchmarks.peers --messages $(or $(MESSAGES),100000) --rounds $(or $(ROUNDS),5) $(if $(SVG),--svg $(SVG))

bench-client: $(READY)  ## compare the client with Redis Streams and with a request for each message: ROUNDS rounds
	$(PIP) --group peers
	$(BIN)/python -m benchmarks.client --rounds $(or $(ROUNDS),5)

bench-workers: $(READY)  ## compare the worker with those of Celery and dramatiq: ROUNDS rounds
	$(PIP) --group peers
	$(BIN)/python -m benchmarks.workers --rounds $(or $(ROUNDS),5)

crash: $(READY)  ## kill the broker CYCLES times under load and check every promise (SEED=n repeats a run)
	$(BIN)/python -m tests.crash --cycles $(or $(CYCLES),200) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.crash.pipeline --cycles $(or $(CYCLES),200) $(if $(SEED),--seed $(SEED))

worker-kills: $(READY)  ## kill workers, senders and their broker for CYCLES cycles, and check that every task is handled (SEED=n)
	$(BIN)/python -m tests.worker.kill_cycles --cycles $(or $(CYCLES),10) $(if $(SEED),--seed $(SEED))

log-faults: $(READY)  ## cause FAULTS faults around a log on three NATS servers, and check every promise (SEED=n; root for some)
	$(BIN)/python -m tests.log_faults --faults $(or $(FAULTS),100) $(if $(SEED),--seed $(SEED))

cluster-faults: $(READY)  ## cause FAULTS faults in a cluster of three nodes, and check every promise (SEED=n; root for some)
	$(BIN)/python -m tests.cluster_faults --faults $(or $(FAULTS),100) $(if $(SEED),--seed $(SEED))

crash-states: $(READY)  ## check STATES states of the disk that a crash can leave (SEED=n)
	$(BIN)/python -m tests.forgetful.explore --states $(or $(STATES),1000000) --processes 2 $(if $(SEED),--seed $(SEED))

power-cuts: $(READY)  ## cut the power of a FILESYSTEM (ext4, xfs) under a broker CUTS times; needs root (SEED=n)
	$(BIN)/python -m tests.powercut.cut_cycles --cuts $(or $(CUTS),200) --filesystem $(or $(FILESYSTEM),ext4) $(if $(SEED),--seed $(SEED))

syscalls: $(READY)  ## kill a process at every system call of WORKLOADS workloads, and fail every call; needs strace (SEED=n)
	$(BIN)/python -m tests.syscalls.kill_everywhere --workloads $(or $(WORKLOADS),10) $(if $(SEED),--seed $(SEED))

flips: $(READY)  ## flip every bit of a small data folder (SEED=n)
	$(BIN)/python -m tests.flips.every_bit $(if $(SEED),--seed $(SEED))

soak: $(READY)  ## run mixed traffic with kills, full disks and backups for MINUTES minutes, and check it all (SEED=n)
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30) $(if $(SEED),--seed $(SEED))

promises: $(READY)  ## hold a broker that is killed to the sentences of docs/SEMANTICS.md for MINUTES minutes (SEED=n, ONLY=scenario)
	$(BIN)/python -m tests.promises --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED)) $(if $(ONLY),--only $(ONLY))

brute-force: $(READY)  ## compare the history checker with an exhaustive search on HISTORIES histories (SEED=n)
	$(BIN)/python -m tests.crash.brute_force --histories $(or $(HISTORIES),100000) $(if $(SEED),--seed $(SEED))

prove: $(READY)  ## run all long proofs of a release on this commit, and write reports/COMMIT.json (SCALE=0.01, SEED=n, MINUTES=n, AT_ONCE=n; goes on)
	$(BIN)/python -m tests.prove $(if $(SCALE),--scale $(SCALE)) $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(AT_ONCE),--at-once $(AT_ONCE))

fuzz-http: $(READY)  ## compare the answers to CASES generated requests with the OpenAPI document (SEED=n)
	$(BIN)/python -m tests.fuzz.http --cases $(or $(CASES),10000) $(if $(SEED),--seed $(SEED))

fuzz-bytes: $(READY)  ## feed INPUTS damaged inputs to each parser, with atheris where it is available (SEED=n)
	-$(PIP) --group fuzz
	$(BIN)/python -m tests.fuzz.bytes --inputs $(or $(INPUTS),1000000) $(if $(SEED),--seed $(SEED))

mutants: $(READY)  ## plant each bug of the catalogue, and check that a test fails
	$(BIN)/python -m tests.mutants.run

mutation-sample: $(READY)  ## change SAMPLE places of each MODULE at random, and see that its tests notice (SEED=n)
	$(PIP) --group mutation
	$(BIN)/python -m tests.mutants.sampling $(MODULE) --sample $(or $(SAMPLE),10) $(if $(SEED),--seed $(SEED))

reference: $(READY)  ## write what is made from the program: pages of docs/reference, man pages, completion scripts
	$(BIN)/python -m tools.reference

site: $(READY)  ## build the documentation site into site/ (to read it: .venv/bin/python -m http.server --directory site)
	$(PIP) --group site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# An environment of its own, since twine and the aws command of `make clients` need different versions of a library.
$(RELEASE)/.ready: pyproject.toml
	@echo "Installing the tools for a release into $(RELEASE)."
	@$(PYTHON) -m venv $(RELEASE)
	@$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --group release
	@touch $@

dist: $(RELEASE)/.ready  ## build the wheel and the source distribution into dist/, and check them
	$(RELEASE)/bin/python -m tools.release.build

sbom: $(RELEASE)/.ready  ## write the bill of materials (CycloneDX) and the licences of what the image installs, into dist/
	$(RELEASE)/bin/python -m tools.release.bill

requirements: $(RELEASE)/.ready  ## pin the libraries of the container image to their newest versions, with hashes
	$(RELEASE)/bin/python -m tools.release.requirements

release-check: $(READY) $(RELEASE)/.ready  ## go through the checklist of a release, and list the steps that are left to you
	$(RELEASE)/bin/python -m tools.release

diagrams: $(READY)  ## draw the diagrams of docs/ for the site; needs npm, Chromium, `make site` and `make browser`
	$(BIN)/python -m tools.site.diagrams

clean:  ## remove all that the other targets made
	rm -rf .venv .venv-clients .venv-release .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks .coverage dist site
