# Every target makes or reuses .venv by itself: Python 3.11, pip, make and a package registry are all it takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# glibc gives large blocks back to the system after every batch and asks for them again: twice as slow.
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296

.PHONY: help demo test lint types unit bench docs clean

help: ## show this help
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(VENV)/installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
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

bench: $(VENV)/installed ## the tables of benchmarks/
	$(BIN)/python benchmarks/converter.py
	$(BIN)/python benchmarks/inference.py
	$(BIN)/python benchmarks/training.py

docs: $(VENV)/installed ## fill the generated parts of the pages
	$(BIN)/python docs/build.py

clean: ## remove what the targets made
	rm -rf $(VENV) demo runs build
