# The same verbs on a laptop and in CI (.ci/run calls the same tools). `make install` first, in an activated
# virtual environment.

PYTHON ?= python
PYTHONS ?= 3.11 3.13
TYPED = pandaprobe_otel integrations/pandaprobe_otel_integrations

.PHONY: help install constraints check lint format type test outer frameworks oldest-frameworks live bench scan fuzz load mutants build wheel-tests extras examples oldest-clients licences docs prose screenshots demo ci

help:  ## list the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

install:  ## install for development, editable: both rings of the tests, the linters, the documentation
	$(PYTHON) -m pip install -c constraints.txt -e ".[dev,docs,lint,outer]"

constraints:  ## name the newest versions that agree, for every Python, in constraints.txt
	$(PYTHON) -m uv pip compile --quiet --universal --upgrade --python-version 3.11 --no-annotate \
		--custom-compile-command "make constraints" --extra dev --extra docs --extra lint --extra outer \
		pyproject.toml --output-file constraints.txt

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

test:  ## the inner ring of the tests: every promise, in minutes
	$(PYTHON) -m pytest

outer:  ## both rings: every cut of every stream, real minutes, crash loops, browsers; about half an hour
	$(PYTHON) -m pytest -m ""

frameworks:  ## the tests with agent frameworks, each in an environment of its own
	$(PYTHON) tests/frameworks/run.py --all

oldest-frameworks:  ## the same with the oldest version of each that pyproject.toml claims, and what was current then
	$(PYTHON) tests/frameworks/run.py --all --oldest

bench:  ## the measurements that the numbers in the source come from
	@for file in benchmarks/*/bench_*.py; do echo "== $$file"; $(PYTHON) "$$file"; done

live:  ## real instrumentors against a scripted model, each in an environment of its own; needs uv and minutes
	$(PYTHON) tests/mapping/live/live_runs.py --write

scan:  ## secrets planted in every field of every dialect, client, spool and cassette: none comes out where none may
	$(PYTHON) -m pytest -m "" tests/mapping/test_no_content.py tests/mapping/test_privacy.py tests/capture/test_planted.py \
		tests/integrations/test_planting.py tests/assembly/test_recovery.py tests/replay/test_scrubbing.py

fuzz:  ## 10,000 odd requests to the gateway, by HTTP and gRPC, and to the local server; seeds are kept; minutes
	PANDAPROBE_TEST_EXAMPLES=55 $(PYTHON) -m pytest -m "" --timeout 3600 tests/gateway/test_fuzz.py tests/gateway/test_json.py \
		tests/local/test_any_request.py tests/local/test_failed_requests.py

load:  ## ten minutes of 5,000 spans/s to the gateway, beside slow and malformed senders; an idle machine
	$(PYTHON) benchmarks/gateway/load.py --minutes 10

ROOM ?= delivery
mutants:  ## break sampled places of ROOM and see which tests notice: no fewer than recorded in tests/mutants.json
	$(PYTHON) scripts/mutants.py map
	$(PYTHON) scripts/mutants.py check $(ROOM)

build:  ## source distribution and wheel, in dist/, checked: metadata, contents, size, types
	rm -rf dist
	$(PYTHON) scripts/check_distributions.py dist --types

wheel-tests: build  ## the tests with the wheel and no sources: several Pythons, oldest and newest dependencies
	@for python in $(PYTHONS); do for versions in floor latest; do \
		echo "== Python $$python, $$versions"; \
		$(PYTHON) scripts/test_wheel.py dist/*.whl --python $$python --dependencies $$versions || exit 1; \
	done; done

extras:  ## each extra alone in an environment of its own, with the program on its page
	$(PYTHON) scripts/test_extras.py

examples:  ## each example as its reader runs it: alone, with what it says to install, without a key
	$(PYTHON) scripts/test_examples.py

oldest-clients:  ## the tests of each client library with the oldest version that pyproject.toml claims
	scripts/oldest_client.sh

licences:  ## docs/dependencies.md, and that every licence of a dependency is compatible
	$(PYTHON) scripts/dependencies.py docs/dependencies.md
	$(PYTHON) scripts/dependencies.py --check

docs:  ## the documentation, into site/: the pages that are written from the source first
	$(PYTHON) scripts/write_docs.py
	$(PYTHON) scripts/build_docs.py

PROSE = textlint@15.8.0 @textlint-rule/textlint-rule-preset-google@0.1.2 textlint-rule-write-good@2.0.0 \
	textlint-filter-rule-allowlist@4.0.0

prose:  ## the hand-written pages against Google's developer style and write-good (.textlintrc.json); needs Node.js 20
	npx --yes $(addprefix --package=,$(PROSE)) textlint "*.md" "docs/**/*.md"

screenshots:  ## the pictures of the local PandaProbe in docs/images/, in light and dark, on a desk and on a phone
	$(PYTHON) scripts/screenshots.py

demo:  ## trace a small agent against a local PandaProbe
	$(PYTHON) -m pandaprobe_otel.cli demo

ci:  ## what CI does, in fresh environments
	.ci/run
