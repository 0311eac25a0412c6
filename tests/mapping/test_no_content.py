"""Without content, only names, ids and the app's own metadata are sent; each field is tested with a secret."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from pandaprobe_otel.mapping import EventView, LogView, MappingOptions, SpanView, map_views
from pandaprobe_otel.mapping.evaluation_results import evaluation_scores
from pandaprobe_otel.mapping.precedence import DIALECTS

SECRET = "s3cr3t canary"
FORMS: dict[str, Any] = {
    "text": SECRET,
    "object": json.dumps({"name": SECRET, "content": SECRET, "description": SECRET, "inner": {"value": SECRET}}),
    "messages": json.dumps([{"role": "user", "content": SECRET, "name": SECRET, "parts": [{"content": SECRET}]}]),
    "texts": [SECRET, SECRET],
}
KINDS: tuple[dict[str, Any], ...] = (
    {},
    *({"gen_ai.operation.name": name} for name in ("chat", "execute_tool", "invoke_agent", "embeddings", "retrieval")),
    *({"openinference.span.kind": name} for name in ("LLM", "TOOL", "RETRIEVER", "CHAIN")),
)
NAMES_AND_IDS = {
    "name", "session_id", "user_id", "environment", "release",
    "spans[].name", "spans[].model", "spans[].error",
    *(f"spans[].metadata.{key}" for key in (
        "agent_id", "agent_name", "agent_version", "chat_id", "code.function.name", "component_type",
        "data_source_id", "db.collection.name",
        "db.system.name", "encoding_formats", "entity_path", "error_type", "event_id", "finish_reasons",
        "graph_node_id", "graph_node_name", "graph_node_parent_id", "http.request.method", "invocation_id",
        "level", "mcp_method", "messaging.destination.name", "messaging.system", "mlflow_request_id", "model",
        "operation", "output_type",
        "previous_response_id", "prompt_name", "prompt_version", "provider", "request_model", "response_id",
        "rpc.method", "server.address", "session_id", "span_kind", "stream", "thread_id", "tool_call_id", "tool_name",
        "tool_type", "user_id", "workflow_name", "scope",
        "api_type", "guardrail_id", "guardrail_name", "knowledge_base_id", "mcp_protocol_version", "memory_id",
        "memory_store_id", "memory_store_name", "memory_type", "prompt_id", "prompt_vendor", "response_status",
        "service_tier", "stream_cursor", "system_fingerprint", "conversation_compacted",
    )),
}  # fmt: skip
"""Fields that may have a text of the emitter under any `capture`, or under `capture="metadata"`."""
OF_THE_APP = (
    "langfuse.trace.metadata", "langfuse.observation.metadata", "langfuse.version", "pandaprobe.metadata",
    "pandaprobe.span.metadata", "metadata", "langsmith.metadata.", "traceloop.association.properties.",
    "ai.telemetry.metadata.", "langfuse.trace.tags", "langsmith.span.tags", "tag.tags", "pandaprobe.tags",
    "logfire.tags", "langfuse.observation.prompt.version",
)  # fmt: skip
"""Attributes with which an app describes a trace on purpose: its metadata and tags."""
ALWAYS = {key for key in NAMES_AND_IDS if ".metadata." not in key}


def every_attribute() -> Iterator[str]:
    """Yield the names of attributes that any dialect reads, with examples of name families."""
    for dialect in DIALECTS:
        for row in dialect.rows:
            for source in row.sources:
                if source.endswith(".*"):
                    yield from (source[:-1] + rest for rest in ("x", "0.message.content", "0.name", "0.description"))
                else:
                    yield source
        for rule in dialect.kinds:
            if rule.attribute:
                yield rule.attribute
    yield from ("app.note", "url.query", "http.url", "exception.message", "process.command_args", "code.stacktrace")


def places(value: Any, place: str = "") -> Iterator[str]:
    """Yield the fields of a body that contain the secret."""
    if isinstance(value, dict):
        for key, item in value.items():
            if SECRET in key:
                yield f"{place} (a key)"
            yield from places(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for item in value:
            yield from places(item, place + "[]" if place == "spans" else place)
    elif isinstance(value, str) and SECRET in value:
        yield place


def view(attributes: dict[str, Any], **fields: Any) -> SpanView:
    """Return a span with these attributes."""
    return SpanView("step", 5, 6, None, start_ns=1, end_ns=2, attributes=attributes, **fields)


@pytest.mark.parametrize("capture", ["metadata", "off"])
def test_no_attribute_of_any_dialect_lets_content_out(capture: Any) -> None:
    """No attribute puts content into a field that is not listed above."""
    allowed = NAMES_AND_IDS if capture == "metadata" else ALWAYS
    options = MappingOptions(capture=capture)
    out: set[tuple[str, str]] = set()
    for name in {*every_attribute()}:
        if capture == "metadata" and name.startswith(OF_THE_APP):
            continue
        for kind in KINDS:
            for form in FORMS.values():
                if name not in kind:
                    found = places(map_views([view({**kind, name: form})], options=options).body())
                    out |= {(name, place) for place in found if place not in allowed}

    assert out == set()


@pytest.mark.parametrize("capture", ["metadata", "off"])
@pytest.mark.parametrize("scope", ["logfire", "app"])
@pytest.mark.parametrize("size", [1, 1000])
def test_a_rendered_name_is_content(capture: Any, scope: str, size: int) -> None:
    """A name rendered from a template is content, so the template becomes the name."""
    attributes = {
        "logfire.msg_template": "answer {question}",
        "logfire.msg": f"answer {SECRET * size}",
        "question": SECRET,
    }
    spans = [SpanView("answer {question}", 5, 6, None, start_ns=1, end_ns=2, attributes=attributes, scope_name=scope)]
    body = map_views(spans, options=MappingOptions(capture=capture)).body()

    assert [*places(body)] == []
    assert (body["name"], body["spans"][0]["name"]) == ("answer {question}",) * 2
    assert SECRET in map_views(spans).body()["name"]


@pytest.mark.parametrize("capture", ["metadata", "off"])
def test_a_rendered_name_that_is_not_the_name_is_content_too(capture: Any) -> None:
    """A rendered name beside a tool's own name is left out, because it is content too."""
    attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "pay", "logfire.msg": f"pay {SECRET}"}
    body = map_views([view(attributes)], options=MappingOptions(capture=capture)).body()

    assert [*places(body)] == []
    assert body["spans"][0]["name"] == "pay"
    assert [*places(map_views([view(attributes)]).body())] == ["spans[].metadata.rendered_name"]


@pytest.mark.parametrize("capture", ["metadata", "off"])
def test_events_logs_and_resources_hold_no_content_either(capture: Any) -> None:
    """Status messages, events, log records, the resource and reasons of evaluations are left out as well."""
    event = EventView("note", 2, {"message": SECRET, "gen_ai.evaluation.explanation": SECRET}, SECRET)
    failure = EventView(
        "exception", 2, {"exception.type": "E", "exception.message": SECRET, "exception.stacktrace": SECRET}
    )
    judged = EventView(
        "gen_ai.evaluation.result",
        2,
        {"gen_ai.evaluation.name": "n", "gen_ai.evaluation.score.value": 1.0, "gen_ai.evaluation.explanation": SECRET},
    )
    span = view(
        {"gen_ai.operation.name": "chat"},
        status_code="ERROR",
        status_description=SECRET,
        events=(event, failure, judged),
        resource={"service.name": "shop", "process.command_args": SECRET, "host.name": SECRET},
    )
    logs = [LogView(5, 6, EventView(name, 2, {"content": SECRET}, SECRET)) for name in ("gen_ai.choice", "note")]
    options = MappingOptions(capture=capture)

    assert [*places(map_views([span], logs, options=options).body())] == []
    assert [*places({"scores": evaluation_scores([span], logs, options)})] == []
