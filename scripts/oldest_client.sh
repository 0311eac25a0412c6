#!/usr/bin/env bash
# Test a library's integration with the oldest version that pyproject.toml claims, in an environment of its own:
#
#     scripts/oldest_client.sh cohere [python]
#
# Warnings that the old version gives are not failures here.
set -euo pipefail

name=$1
python=${2:-python3}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/pandaprobe-otel-oldest.XXXXXX")
oldest=$("$python" - "$name" <<'PYTHON'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    extras = tomllib.load(file)["project"]["optional-dependencies"]
print(extras[sys.argv[1]][0].replace(">=", "=="))
PYTHON
)
"$python" -m venv "$work"
"$work/bin/pip" install --quiet -e ".[dev]"
"$work/bin/pip" install --quiet "$oldest"
echo "== $oldest"
"$work/bin/python" -m pytest -q -W ignore -p no:cacheprovider tests/integrations -k "$name"
