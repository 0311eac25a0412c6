#!/usr/bin/env bash
# Test the integrations of client libraries with the oldest versions that pyproject.toml claims, each in an
# environment of its own, and say in the end how each went:
#
#     scripts/oldest_client.sh                    # every client library
#     scripts/oldest_client.sh cohere openai      # these
#     scripts/oldest_client.sh litellm==1.90.0    # another version, to find an older one that passes
#     WRITE_PAGES=1 scripts/oldest_client.sh      # and write the counts into docs/providers.md
#
# PYTHON names the interpreter (default: python3). Warnings that an old version gives are not failures here.
set -euo pipefail

python=${PYTHON:-python3}
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d "${TMPDIR:-/tmp}/pandaprobe-otel-oldest.XXXXXX")
trap 'rm -rf "$work"' EXIT
((${#@})) || set -- anthropic bedrock cohere google_genai groq litellm mistralai ollama openai together

oldest_of() { # NAME[==VERSION]: its requirement with the oldest version; boto3 and aiobotocore follow botocore
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
    print("httpx<0.28")  # theirs of that time hand it an argument that it no longer knows
PYTHON
}

install() { # ENVIRONMENT ARGUMENTS...: with uv where it is there, which is many times as fast
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
