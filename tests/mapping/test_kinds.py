"""The kind of a span, and whether it is GenAI work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import captures
import pandaprobe_otel
from pandaprobe_otel.mapping import read_span
from pandaprobe_otel.mapping.dialect_table import CONTENT_FIELDS, CONTEXT_FIELDS, GROUPS, MERGED_FIELDS
from pandaprobe_otel.mapping.kinds import is_genai, is_plumbing
from pandaprobe_otel.mapping.shapes import DIALECTS
from views import mapped, mapped_span, view

KINDS: list[tuple[str, dict[str, Any], str, str]] = [
    # name, attributes, scope, kind
    ("x", {}, "", "OTHER"),
    ("x", {"pandaprobe.span.kind": "TOOL", "gen_ai.operation.name": "chat"}, "", "TOOL"),
    ("x", {"pandaprobe.span.kind": "retriever"}, "", "RETRIEVER"),
    ("x", {"pandaprobe.span.kind": "nonsense", "gen_ai.operation.name": "chat"}, "", "LLM"),
    ("x", {"gen_ai.operation.name": "chat", "http.request.method": "POST"}, "", "LLM"),
    ("x", {"gen_ai.operation.name": "text_completion"}, "", "LLM"),
    ("x", {"gen_ai.operation.name": "invoke_workflow"}, "", "CHAIN"),
    ("x", {"gen_ai.operation.name": "something_new"}, "", "OTHER"),
    ("x", {"gen_ai.operation.name": "something_new", "gen_ai.request.model": "m"}, "", "LLM"),
    ("x", {"openinference.span.kind": "LLM", "gen_ai.operation.name": "invoke_agent"}, "", "LLM"),
    ("x", {"openinference.span.kind": "GUARDRAIL"}, "", "OTHER"),
    ("x", {"openinference.span.kind": "UNKNOWN", "gen_ai.tool.name": "t"}, "", "TOOL"),
    ("x", {"langfuse.observation.type": "span", "gen_ai.operation.name": "chat"}, "", "LLM"),
    ("x", {"langsmith.span.kind": "prompt", "gen_ai.operation.name": "chat"}, "", "CHAIN"),
    ("x", {"operation.name": "ai.embed fn"}, "", "CHAIN"),
    ("x", {"operation.name": "GET /"}, "", "OTHER"),
    ("x", {"mlflow.spanType": '"CHAT_MODEL"'}, "", "LLM"),
    ("x", {"mcp.method.name": "tools/call"}, "", "TOOL"),
    ("x", {"gen_ai.tool.call.id": "c1"}, "", "TOOL"),
    ("call_llm", {}, "gcp.vertex.agent", "LLM"),
    ("call_llm", {}, "my.app", "OTHER"),
    ("execute_tool t", {}, "gcp.vertex.agent", "TOOL"),
    ("x", {"haystack.component.type": "PromptBuilder"}, "", "CHAIN"),
    ("anthropic.sessions.create", {"gen_ai.request.model": "m"}, "com.anthropic.sdk.python", "OTHER"),
    ("anthropic.messages.create", {"gen_ai.operation.name": "chat"}, "com.anthropic.sdk.python", "LLM"),
    ("x", {"gen_ai.prompt.0.content": "Hi"}, "", "LLM"),
    ("x", {"embedding.model_name": "m"}, "", "EMBEDDING"),
    ("x", {"db.system.name": "qdrant"}, "", "RETRIEVER"),
    ("x", {"gen_ai.usage.input_tokens": 5}, "", "OTHER"),
]


@pytest.mark.parametrize(("name", "attributes", "scope", "kind"), KINDS)
def test_the_first_rule_that_answers_decides(name: str, attributes: dict[str, Any], scope: str, kind: str) -> None:
    """A stated kind overrides an operation, an operation overrides a name, and a name overrides other attributes."""
    assert mapped_span(name, attributes, scope_name=scope)["kind"] == kind


@pytest.mark.parametrize("value", [None, 7, True, b"LLM", ["LLM"], {"LLM": 1}, "", "\x00"], ids=repr)
def test_odd_values_state_no_kind(value: Any) -> None:
    """An invalid value in an attribute of a kind is ignored."""
    for attribute in ("pandaprobe.span.kind", "openinference.span.kind", "gen_ai.operation.name", "ai.operationId"):
        assert mapped_span("x", {attribute: value})["kind"] == "OTHER"


@pytest.mark.parametrize(
    ("attributes", "scope", "genai", "plumbing"),
    [
        ({}, "my.app", False, False),
        ({"http.request.method": "GET"}, "opentelemetry.instrumentation.httpx", False, True),
        ({"db.system.name": "sqlite"}, "", False, True),
        ({"rpc.system": "grpc"}, "", False, True),
        ({"http.request.method": "POST", "gen_ai.provider.name": "anthropic"}, "", True, False),
        ({"gen_ai.usage.input_tokens": 5}, "", True, False),
        ({"pandaprobe.input": "1"}, "my.app", True, False),
        ({"session.id": "s", "http.route": "/"}, "my.app", False, True),
        ({"asgi.event.type": "http.response.body"}, "opentelemetry.instrumentation.fastapi", False, True),
        ({}, "openinference.instrumentation.langchain", True, False),
        ({}, "pydantic-ai", True, False),
        ({"mcp.method.name": "tools/call"}, "", True, False),
        ({"mcp.method.name": "tools/list", "rpc.system": "jsonrpc"}, "mcp-python-sdk", False, True),
        ({"http.request.method": "GET", "gen_ai.provider.name": "anthropic"}, "com.anthropic.sdk.python", False, False),
        ({"http.request.method": "POST", "gen_ai.provider.name": "anthropic"}, "com.anthropic.sdk.python", True, False),
    ],
)
def test_genai_work_and_plumbing(attributes: dict[str, Any], scope: str, genai: bool, plumbing: bool) -> None:
    """A span with any sign of GenAI is work; HTTP, database, messaging and RPC spans without one are plumbing."""
    seen = view("x", attributes, scope_name=scope)
    assert (is_genai(seen), is_plumbing(seen)) == (genai, plumbing)


def test_every_recorded_span_of_a_library_for_genai_shows_that_it_is_one() -> None:
    """All recorded spans of instrumentors are GenAI work, except those of Logfire and of a plain web app."""
    for name in captures.names():
        views = [read_span(span) for spans in captures.capture(name).traces for span in spans]
        if name.startswith("plain_otel"):
            assert not any(map(is_genai, views))
            assert {view.name for view in views if not is_plumbing(view)} == {"handle"}
        elif not name.startswith("logfire_plain"):
            assert all(map(is_genai, views)), name
            assert not any(map(is_plumbing, views)), name


@pytest.mark.parametrize(
    ("attributes", "spans"),
    [
        ({"logfire.span_type": "pending_span", "gen_ai.operation.name": "chat"}, 0),
        ({"logfire.span_type": "span"}, 1),
        ({"ag2.usage.kind": "model_call", "gen_ai.usage.input_tokens": 3}, 0),
        ({"ag2.usage.kind": "compaction"}, 1),
    ],
)
def test_announcements_and_repeated_accounts_are_no_spans(attributes: dict[str, Any], spans: int) -> None:
    """Logfire's pending spans and AG2's usage spans of model calls are dropped: each would count its span twice."""
    assert len(mapped(view("x", attributes))["spans"]) == spans


# -- the tables of dialects --------------------------------------------------------------------------------------------

PACKAGE = Path(pandaprobe_otel.__file__).parent


def test_every_dialect_is_listed_once() -> None:
    """Every dialect of the modules is listed once; an unlisted one would never be used."""
    texts = [path.read_text(encoding="utf-8") for path in (PACKAGE / "mapping" / "dialects").glob("*.py")]
    assert sum(text.count(": Final = Dialect(") for text in texts) == len({dialect.name for dialect in DIALECTS})
    assert len({dialect.title for dialect in DIALECTS}) == len(DIALECTS)


def test_rows_name_fields_that_exist() -> None:
    """Every row names an existing field; a misspelt one would silently fill nothing."""
    known = {
        *CONTENT_FIELDS, *CONTEXT_FIELDS, *MERGED_FIELDS, "tool_name", "display_name", "rendered_name",
        "function_id", "operation_id",
        "model", "cost", "cached", "error.own", "error.text", "error_type", "error.flag", "outcome", "first_token_ns",
        "first_token_after", "first_token_event", "root_tags",
    }  # fmt: skip
    fields = {row.field for dialect in DIALECTS for row in dialect.rows}
    fields |= {event.field for dialect in DIALECTS for event in dialect.events}
    assert {field for field in fields - known if field.partition(".")[0] not in GROUPS} == set()


def test_importing_the_mapping_costs_little() -> None:
    """The mapping imports no HTTP client, no models and no SDK, because instrumented processes import it."""
    program = """
import sys
before = set(sys.modules)
from pandaprobe_otel.mapping import map_views
from pandaprobe_otel.mapping.kinds import kind_of
print(sorted(name for name in set(sys.modules) - before if name.partition(".")[0] in
      ("httpx", "pydantic", "opentelemetry", "fastapi", "requests", "rich", "click", "yaml")))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
