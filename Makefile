# Every target makes or reuses .venv by itself: Python 3.11, pip, make and a package registry are all it takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The libraries the attacks are compared with have an environment of their own, as their pins clash with ours.
PEERS := .venv-peers
# glibc gives large blocks back to the system after every batch and asks for them again: twice as slow.
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296

.PHONY: help demo test lint types unit fuzz crash peers bench bench-peers study-results study-networks study-report docs clean

help: ## show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/installed $(PEERS)/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(@D)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

$(PEERS)/peers: $(PEERS)/installed tests/peers/requirements.txt
	$(PEERS)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement tests/peers/requirements.txt
	touch $@

demo: $(VENV)/installed ## attack a brain, see it noticed, reformed and segmented: demo/report.html
	$(BIN)/python -m monai_shield demo --output demo

test: lint types unit ## lint, types, and the tests with coverage

lint: $(VENV)/installed ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed ## mypy
	$(BIN)/mypy

unit: $(VENV)/installed ## pytest with coverage
	$(BIN)/python -m pytest --cov --cov-report=term

FUZZ_N ?= 600
FUZZ_SEED ?= 0
fuzz: $(VENV)/installed ## search for files and bundles that are not answered rightly (FUZZ_N=600 FUZZ_SEED=0); killed, it goes on
	$(BIN)/python tests/fuzz/run.py --number $(FUZZ_N) --seed $(FUZZ_SEED) --output runs/fuzz

CRASH_N ?= 30
crash: $(VENV)/installed ## kill every command CRASH_N times, run two at once, fill the disk; table in docs/bad_input.md
	$(BIN)/python tests/crash/run.py --number $(CRASH_N) --output runs/crash

peers: $(PEERS)/peers ## the attacks against those of other libraries, in .venv-peers
	SHIELD_PEERS=1 $(PEERS)/bin/python -m pytest tests/peers

bench: $(VENV)/installed ## the tables of benchmarks/
	$(BIN)/python benchmarks/converter.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/training.py

bench-peers: $(PEERS)/peers ## speed and memory of the attacks beside those of other libraries
	$(PEERS)/bin/python benchmarks/attacks.py

FROM ?= runs/paper_compact
TO ?= reproduction/results
study-results: $(VENV)/installed ## take over the results of a study (FROM=runs/paper_compact TO=reproduction/results), then study-report
	cp $(FROM)/results.json $(FROM)/spectra.npz $(TO)/
	$(MAKE) study-report

study-networks: ## take over the networks of a study (FROM, TO), without what trained them
	test -d $(FROM)/cells
	rm -rf $(TO)/networks
	mkdir -p $(TO)/networks
	tar -C $(FROM)/cells -cf - --exclude='*.csv' --exclude='*.checkpoint' targets detectors baseline_defenses | tar -C $(TO)/networks -xf -

study-report: $(VENV)/installed ## figures, pages and tables of reproduction/results, from each results.json and spectra.npz
	$(BIN)/python -m reproduction report reproduction/results
	$(BIN)/python -m reproduction report reproduction/results/further
	$(BIN)/python -m docs.build

docs: $(VENV)/installed ## fill the generated parts of the pages
	$(BIN)/python -m docs.build
	PYTHONPATH=tests $(BIN)/python -m revision.page

clean: ## remove what the targets made, not the runs of studies
	rm -rf $(VENV) $(PEERS) demo build
