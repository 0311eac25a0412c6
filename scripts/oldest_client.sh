#!/usr/bin/env bash
# Test the integration of each client library with the oldest version in pyproject.toml, in a new environment, and print
# all results at the end:
#
#     scripts/oldest_client.sh                    # every client library
#     scripts/oldest_client.sh cohere openai      # these
#     scripts/oldest_client.sh litellm==1.90.0    # another version, to find an older one that passes
#     WRITE_PAGES=1 scripts/oldest_client.sh      # also write the counts into docs/providers.md
#
# PYTHON names the interpreter (default: python3). Warnings of old versions are not failures.
set -euo pipefail

python=${PYTHON:-python3}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/pandaprobe-otel-oldest.XXXXXX")
trap 'rm -rf "$work"' EXIT
((${#@})) || set -- anthropic bedrock cohere google_genai groq litellm mistralai ollama openai together

oldest_of() { # NAME[==VERSION]: print the requirement with its oldest version; bedrock has boto3 and aiobotocore too
    "$python" - "$1" <<'PYTHON'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    extras = tomllib.load(file)["project"]["optional-dependencies"]
name, _, version = sys.argv[1].partition("==")
oldest = extras[name][0].replace(">=", "==")
print(f"{oldest.partition('==')[0]}=={version}" if version else oldest)
if name == "bedrock":
    print(*(one.replace(">=", "==") for one in extras["dev"] if one.startswith(("boto3", "aiobotocore"))), sep="\n")
if name in ("anthropic", "groq", "openai"):
    print("httpx<0.28")  # the oldest clients pass an argument that newer httpx refuses
PYTHON
}

install() { # ENVIRONMENT ARGUMENTS...: with uv if it is installed, since it is much faster
    local environment=$1
    shift
    if command -v uv >/dev/null; then
        uv pip install --quiet --python "$environment/bin/python" "$@"
    else
        "$environment/bin/pip" install --quiet "$@"
    fi
}

results=()
for asked in "$@"; do
    mapfile -t oldest < <(oldest_of "$asked")
    name=${asked%%==*}
    environment="$work/$name"
    "$python" -m venv "$environment"
    install "$environment" -e ".[dev]"
    install "$environment" "${oldest[@]}"
    echo "== ${oldest[*]}"
    said=$(env -u WRITE_PAGES "$environment/bin/python" -m pytest -q -rs -W ignore -p no:cacheprovider -m "not exhaustive" tests/integrations -k "$name or ${name//_/-}" 2>&1) \
        && verdict=passed || verdict=FAILED
    [[ $verdict == passed ]] || echo "$said"
    last=$(grep -E '^[0-9]+ (passed|failed)|^=+ .*(passed|failed|error)' <<<"$said" | tail -n 1) || last="no result"
    results+=("$verdict  ${oldest[*]}  ($last)")
    [[ -z ${WRITE_PAGES:-} ]] || "$environment/bin/python" scripts/oldest_page.py "$name" "${oldest[@]}" <<<"$said"
    rm -rf "$environment"
done
printf '%s\n' "" "${results[@]}"
! printf '%s\n' "${results[@]}" | grep -q '^FAILED'
