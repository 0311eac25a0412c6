"""Google ADK: version 1 stores Gemini's requests and responses as JSON text; version 2 uses the GenAI conventions."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping.content import whole_content
from pandaprobe_otel.mapping.dialect_table import Dialect, KindRule, Row, named
from pandaprobe_otel.mapping.messages import messages_in
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.usage import counts_from
from pandaprobe_otel.mapping.values import decoded, mapping, text, type_of, usable

_NAMES: Final = (
    ("call_llm", "LLM"), ("generate_content", "LLM"), ("agent_run", "AGENT"), ("invoke_agent", "AGENT"),
    ("execute_tool", "TOOL"), ("invocation", "CHAIN"), ("invoke_workflow", "CHAIN"),
)  # fmt: skip
_COUNTS: Final = {
    "prompt_token_count": "prompt", "candidates_token_count": "completion_without_reasoning",
    "cached_content_token_count": "cache_read", "thoughts_token_count": "reasoning", "total_token_count": "total",
}  # fmt: skip


def _kind(_: Any, view: SpanView) -> str | None:
    if view.scope_name != "gcp.vertex.agent":
        return None
    return next((kind for name, kind in _NAMES if view.name.startswith(name)), None)


def _request(value: Any) -> list[Any] | None:
    request = mapping(value) or {}
    asked = {key: request[key] for key in ("contents", "messages", "config") if key in request}
    found = whole_content(asked, "input", is_call=True)
    return None if found is None else messages_in(found.value)


def _response(value: Any) -> list[Any] | None:
    content = (mapping(value) or {}).get("content")
    return [content] if type_of(content) is dict else None


def _usage(value: Any) -> dict[str, int] | None:
    """Return Gemini's own counts, where the candidates do not include the thoughts."""
    usage: Any = (mapping(value) or {}).get("usage_metadata")
    return counts_from(usage, _COUNTS) or None if type_of(usage) is dict else None


def _tool_response(value: Any) -> Any:
    value = decoded(usable(value))
    return None if value == {"result": "<not specified>"} else value


def _tools(value: Any) -> list[Any] | None:
    config: Any = (mapping(value) or {}).get("config")
    tools: Any = config.get("tools") if type_of(config) is dict else None
    declared: list[Any] = []
    for tool in tools if type_of(tools) is list else ():
        listed = tool.get("function_declarations") if type_of(tool) is dict else None
        declared.extend({"type": "function", "function": one} for one in listed or () if type_of(one) is dict)
    return declared or None


DIALECT: Final = Dialect(
    name="google_adk",
    title="Google ADK",
    namespaces=("gcp.vertex.agent.",),
    scopes=("gcp.vertex.agent",),
    kinds=(KindRule(decide=_kind, note="scope `gcp.vertex.agent` and the beginning of the name"),),
    rows=(
        Row("input", "gcp.vertex.agent.llm_request", _request, form="messages"),
        Row("output", "gcp.vertex.agent.llm_response", _response, form="messages"),
        Row("usage.bag", "gcp.vertex.agent.llm_response", _usage, "thoughts are added where output leaves them out"),
        Row("tool.input", "gcp.vertex.agent.tool_call_args"),
        Row("tool.output", "gcp.vertex.agent.tool_response", _tool_response),
        Row("metadata.tools", "gcp.vertex.agent.llm_request", _tools),
        *named(
            text,
            {
                "session_id": "gcp.vertex.agent.session_id",
                "metadata.invocation_id": "gcp.vertex.agent.invocation_id",
                "metadata.event_id": "gcp.vertex.agent.event_id",
            },
        ),
    ),
)
