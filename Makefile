# The same verbs on a laptop and in CI (.ci/run calls the same tools). `make install` first, in an activated
# virtual environment. Tests that need an environment of their own are sessions of noxfile.py.

PYTHON ?= python

.PHONY: help install lint format type test outer mutants build docs demo ci

help:  ## list the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

install:  ## install for development, editable: both rings of the tests, the linters, the documentation
	$(PYTHON) -m pip install -c constraints.txt -e ".[dev,docs,lint,outer]"

lint:  ## rules and formatting
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

format:  ## put the source into shape
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

type:  ## both type checkers, strict
	$(PYTHON) -m mypy
	$(PYTHON) -m pyright --pythonpath "$$($(PYTHON) -c 'import sys; print(sys.executable)')"

test:  ## the inner ring of the tests: every promise, in minutes
	$(PYTHON) -m pytest

outer:  ## both rings: every cut of every stream, real minutes, crash loops, browsers; about half an hour
	$(PYTHON) -m pytest -m ""

ROOM ?= delivery
mutants:  ## break sampled places of ROOM and see which tests notice: no fewer than recorded in tests/mutants.json
	$(PYTHON) scripts/mutants.py map
	$(PYTHON) scripts/mutants.py check $(ROOM)

build:  ## source distribution and wheel, in dist/, checked: metadata, contents, size
	rm -rf dist
	$(PYTHON) scripts/check_distributions.py dist

docs:  ## the documentation, into site/: the pages that are written from the source first
	$(PYTHON) scripts/write_docs.py
	$(PYTHON) scripts/build_docs.py

demo:  ## trace a small agent against a local PandaProbe
	$(PYTHON) -m pandaprobe_otel.cli demo

ci:  ## what CI does, in fresh environments
	.ci/run
