# The same verbs on a laptop and in CI (.ci/run calls the same tools). `make install` first, in an activated
# virtual environment.

PYTHON ?= python
TYPED = pandaprobe_otel integrations/pandaprobe_otel_integrations

.PHONY: help install check lint format type test frameworks oldest-frameworks live bench build wheel-tests oldest-clients every-byte licences docs demo ci

help:  ## list the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

install:  ## install for development, editable, with every extra
	$(PYTHON) -m pip install -e ".[dev]"

check: lint type test  ## everything that must pass before a commit is shared

lint:  ## rules and formatting
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) scripts/write_docs.py --check

format:  ## put the source into shape
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

type:  ## both type checkers, strict
	$(PYTHON) -m mypy
	$(PYTHON) -m pyright --pythonpath "$$($(PYTHON) -c 'import sys; print(sys.executable)')"

test:  ## the test suite
	$(PYTHON) -m pytest

frameworks:  ## the tests with agent frameworks, each in an environment of its own
	$(PYTHON) tests/frameworks/run.py --all

oldest-frameworks:  ## the same with the oldest version of each that pyproject.toml claims, and what was current then
	$(PYTHON) tests/frameworks/run.py --all --oldest

bench:  ## the measurements that the numbers in the source come from
	@for file in benchmarks/*/bench_*.py; do echo "== $$file"; $(PYTHON) "$$file"; done

live:  ## real instrumentors against a scripted model, each in an environment of its own; needs uv and minutes
	$(PYTHON) tests/mapping/live/live_runs.py --write

build:  ## source distribution and wheel, in dist/, checked: metadata, contents, size, types
	rm -rf dist
	$(PYTHON) scripts/check_distributions.py dist --types

wheel-tests: build  ## the tests with the wheel and no sources: both Pythons, oldest and newest dependencies
	@for python in 3.11 3.13; do for versions in floor latest; do \
		echo "== Python $$python, $$versions"; \
		$(PYTHON) scripts/test_wheel.py dist/*.whl --python $$python --dependencies $$versions -- --reruns 2 || exit 1; \
	done; done

oldest-clients:  ## the tests of each client library with the oldest version that pyproject.toml claims
	scripts/oldest_client.sh

every-byte:  ## streams of every client library cut at each byte, and odd answers: about twenty minutes of CPU time
	EVERY_BYTE=1 $(PYTHON) -m pytest -n auto --dist worksteal \
		tests/integrations/conformance/test_cut_anywhere.py \
		tests/integrations/conformance/test_cut_recordings.py \
		tests/integrations/conformance/test_odd_bodies.py

licences:  ## docs/dependencies.md, and that every licence of a dependency is compatible
	$(PYTHON) scripts/dependencies.py docs/dependencies.md
	$(PYTHON) scripts/dependencies.py --check

docs:  ## the documentation, into site/: the pages that are written from the source first
	$(PYTHON) scripts/write_docs.py
	$(PYTHON) scripts/build_docs.py

demo:  ## trace a small agent against a local PandaProbe
	$(PYTHON) -m pandaprobe_otel.cli demo

ci:  ## what CI does, in fresh environments
	.ci/run
