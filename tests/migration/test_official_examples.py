"""The official SDK's examples, run with it and with this library, which records everything that the SDK records.

The examples come from the package index and run unchanged; `official_names/` provides the SDK's import path.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

import pandaprobe_otel
import pandaprobe_otel_integrations
from bedrock_traffic import conversed
from command_line import clean_environment
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from provider_server import ProviderServer, Received, json_reply
from provider_server import Reply as AnyReply

# Without `bedrock/02_converse_stream.py`: the official wrapper fails, since it treats botocore's stream as an iterator.
EXAMPLES = (
    "decorators/01_support_agent.py",
    "decorators/02_multi_turn.py",
    "context_managers/01_rag_pipeline.py",
    "context_managers/02_multi_turn.py",
    "openai/02_streaming.py",
    "openai/03_multi_turn.py",
    "openai/04_responses_api.py",
    "anthropic/02_multi_turn.py",
    "anthropic/03_streaming.py",
    "gemini/02_multi_turn.py",
    "gemini/03_streaming.py",
    "bedrock/01_converse.py",
    "bedrock/03_invoke_model.py",
    "mistral/02_streaming.py",
    "mistral/03_multi_turn.py",
    "litellm/02_claude.py",
)
VERSION: Final = "0.6.0"
_OURS: Final = (
    Path(__file__).parent / "official_names",
    Path(pandaprobe_otel.__file__).parent.parent,
    Path(pandaprobe_otel_integrations.__file__).parent.parent,
)
_REDIRECT: Final = Path(__file__).parent / "official_redirect"
TRACE_FIELDS: Final = ("name", "status", "input", "output", "session_id", "user_id", "tags", "metadata")
SPAN_FIELDS: Final = (
    "status",
    "input",
    "output",
    "model",
    "token_usage",
    "cost",
    "model_parameters",
    "error",
    "completion_start_time",
    "metadata",
)
ALIASES: Final = {
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "maxTokens": "max_tokens",
    "text_tokens": "gen_ai.usage.text.output_tokens",
}
"""Names in the official recordings, and the names that OpenTelemetry's conventions use instead."""
_OF_ITS_OWN_RUN: Final = ("session_id", "user_id", "completion_start_time")
"""Fields that differ from run to run; only their presence is compared."""
_NOTHING: Final[tuple[Any, ...]] = (None, "", [], {})
_RUN_S: Final = 180


def download(directory: Path) -> Path:
    """Fetch the sources of the official SDK from the package index; return its folder of examples."""
    options = ["--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(directory)]
    command = [sys.executable, "-m", "pip", "download", *options, f"pandaprobe=={VERSION}"]
    subprocess.run(command, check=True, capture_output=True, timeout=_RUN_S)
    (archive,) = directory.glob("pandaprobe-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(directory, filter="data")
    return directory / f"pandaprobe-{VERSION}" / "examples"


def answer(conversation: Sequence[Message]) -> Reply:
    """Answer as the scripted model."""
    return Reply(text=f"Answer number {len(conversation)}.")


def recorded(example: Path, home: Path, before: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the traces of one run, oldest first, with their spans. Raise AssertionError with the program's output."""
    with LocalServer(limit=None) as server, ScriptedEndpoint(answer) as model, ProviderServer() as bedrock:
        bedrock.script = _of_bedrock
        given = os.environ.get("PYTHONPATH", "")
        path = os.pathsep.join([*map(str, before), str(_REDIRECT), given]).rstrip(os.pathsep)
        environment = clean_environment(
            home,
            **server.environment("examples"),
            PYTHONPATH=path,
            PYTHONWARNINGS="ignore",
            OPENAI_BASE_URL=model.base_url,
            OPENAI_API_KEY="sk-scripted",
            ANTHROPIC_BASE_URL=model.url,
            ANTHROPIC_API_KEY="sk-scripted",
            GOOGLE_GEMINI_BASE_URL=model.url,
            GEMINI_API_BASE=model.url,
            GOOGLE_API_KEY="scripted",
            GEMINI_API_KEY="scripted",
            AWS_ENDPOINT_URL_BEDROCK_RUNTIME=bedrock.url,
            AWS_ACCESS_KEY_ID="scripted",
            AWS_SECRET_ACCESS_KEY="scripted",
            MISTRAL_SERVER=model.url,
            MISTRAL_API_KEY="scripted",
            OPENAI_AGENTS_DISABLE_TRACING="0",
            LITELLM_LOCAL_MODEL_COST_MAP="True",
        )
        done = subprocess.run(
            [sys.executable, str(example)],
            env=environment,
            cwd=home,
            capture_output=True,
            text=True,
            timeout=_RUN_S,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "examples"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as http:
            listed = http.get("/traces", params={"limit": 100}).json()["items"]
            traces = [http.get(f"/traces/{trace['trace_id']}").json() for trace in listed]
        return sorted(traces, key=lambda trace: str(trace["started_at"]))


def _of_bedrock(asked: Received) -> AnyReply:
    """Return Bedrock's answer for the operation at the end of the path."""
    if asked.path.endswith("/converse"):
        return json_reply({**conversed(), "usage": {"inputTokens": 36, "outputTokens": 34, "totalTokens": 70}})
    usage = {"input_tokens": 11, "output_tokens": 7}
    said = {"type": "message", "role": "assistant", "content": [{"type": "text", "text": "It is."}], "usage": usage}
    return json_reply({"id": "msg_1", "model": "claude-haiku-5-5", "stop_reason": "end_turn", **said})


def missing_fields(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields that only the official trace has."""
    whole = json.dumps(mine, ensure_ascii=False)
    for name in TRACE_FIELDS:
        yield from _field("trace", name, theirs.get(name), mine.get(name), whole)
    left = list(mine["spans"])
    for span in theirs["spans"]:
        alike = [each for each in left if each["name"] == span["name"] or each["kind"] == span["kind"]]
        if not alike:
            yield f"{span['kind']} span {span['name']!r}"
            continue
        best = max(alike, key=lambda each: (each["name"] == span["name"], _likeness(span, each)))
        left.remove(best)
        whole = json.dumps(best, ensure_ascii=False)
        for name in SPAN_FIELDS:
            yield from _field(span["kind"], name, span.get(name), best.get(name), whole)


def _likeness(span: Mapping[str, Any], other: Mapping[str, Any]) -> int:
    return sum(span.get(name) == other.get(name) for name in SPAN_FIELDS)


def _field(where: str, name: str, theirs: Any, mine: Any, whole: str) -> Iterator[str]:
    """Compare one field: it must exist, and the official value must occur somewhere in ours (`whole`)."""
    if theirs in _NOTHING:
        return
    if mine in _NOTHING and not (name == "token_usage" and "aggregated_token_usage" in whole):
        yield f"{where}: {name}"
    elif name not in ("name", *_OF_ITS_OWN_RUN):
        yield from (f"{where}: {name}{path}" for path, leaf in _leaves(theirs) if not _has(whole, path, leaf))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the non-empty leaves of a value, each with the keys that lead to it."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item, path)
    elif value not in _NOTHING:
        yield path, value


def _has(whole: str, path: str, leaf: Any) -> bool:
    if path.endswith(".type") and leaf in ("text", "output_text"):
        return True  # equals a part that is only the text
    if path.endswith(".prefix") and leaf is False:
        return True  # a default of Mistral's client class, which the service does not send
    if isinstance(leaf, str):
        return json.dumps(leaf, ensure_ascii=False)[1:-1] in whole
    key = path.rpartition(".")[2]
    return any(f'"{each}": {json.dumps(leaf)}' in whole for each in (key, ALIASES.get(key, key)))


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the official SDK's examples."""
    return download(tmp_path_factory.mktemp("official"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_ours_has_every_field_that_theirs_has(name: str, examples: Path, tmp_path: Path) -> None:
    """This library makes as many traces as the SDK, and each of the SDK's values is in the same span."""
    official, ours = recorded(examples / name, tmp_path, ()), recorded(examples / name, tmp_path, _OURS)

    assert len(ours) == len(official) > 0
    assert [one for theirs, mine in zip(official, ours, strict=True) for one in missing_fields(theirs, mine)] == []
