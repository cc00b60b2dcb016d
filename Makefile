# Every target makes or reuses .venv by itself: Python 3.11, pip, make and a package registry are all it takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The libraries the attacks are compared with have an environment of their own, as their pins clash with ours.
PEERS := .venv-peers
# glibc gives large blocks back to the system after every batch and asks for them again: twice as slow.
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296

.PHONY: help demo test lint types unit peers bench bench-peers study-results study-report docs clean

help: ## show this help
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

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

peers: $(PEERS)/peers ## the attacks against those of other libraries, in .venv-peers
	SHIELD_PEERS=1 $(PEERS)/bin/python -m pytest tests/peers

bench: $(VENV)/installed ## the tables of benchmarks/
	$(BIN)/python benchmarks/converter.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/training.py

bench-peers: $(PEERS)/peers ## speed and memory of the attacks beside those of other libraries
	$(PEERS)/bin/python benchmarks/attacks.py

study-results: $(VENV)/installed ## take over the results of the compact study from runs/, then study-report
	cp runs/paper_compact/results.json runs/paper_compact/spectra.npz docs/study/
	$(MAKE) study-report

study-report: $(VENV)/installed ## figures, page and tables of docs/study, from its results.json and spectra.npz
	$(BIN)/python -m monai_shield report docs/study
	$(BIN)/python docs/build.py

docs: $(VENV)/installed ## fill the generated parts of the pages
	$(BIN)/python docs/build.py

clean: ## remove what the targets made
	rm -rf $(VENV) $(PEERS) demo runs build
