"""Vocabularies of frameworks: Pydantic AI with Logfire, Google ADK, Haystack."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.mapping.content import whole_content
from pandaprobe_otel.mapping.dialect_table import Dialect, KindRule, Row, named
from pandaprobe_otel.mapping.dialects.otel_genai import from_events
from pandaprobe_otel.mapping.messages import messages_in, to_json
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.usage import BAG_NAMES, counts_from, provider_counts, total
from pandaprobe_otel.mapping.values import count, decoded, dicts, inside, mapping, text, texts, type_of, usable

# -- Pydantic AI (1.0 to 2.68, instrumentation versions 1 to 6) and Logfire (5.4) --------------------------------------

_MESSAGES: Final = ("pydantic_ai.all_messages", "all_messages_events")
_DETAIL_NAMES: Final = {
    **BAG_NAMES, "thoughts_tokens": "reasoning", "audio_tokens": "audio",
    "accepted_prediction_tokens": "accepted_prediction", "rejected_prediction_tokens": "rejected_prediction",
}  # fmt: skip


def details(tree: Any) -> dict[str, int] | None:
    """Return the counters under `details.*`: a provider's raw numbers, whose input excludes cached tokens."""
    counts = counts_from(tree, _DETAIL_NAMES)
    if not counts:
        return None
    return {**counts, "cache_excluded": 1}


def _messages_of_run(value: Any) -> list[Any] | None:
    """Return the run's messages up to the user's last one."""
    messages = decoded(value)
    return messages[: _last_user(messages) + 1] or None if type_of(messages) is list else None


def _answered(value: Any) -> list[Any] | None:
    messages = decoded(value)
    return messages[_last_user(messages) + 1 :] or None if type_of(messages) is list else None


def _last_user(messages: list[Any]) -> int:
    return max((index for index, message in enumerate(messages) if _is_of_user(message)), default=-1)


def _is_of_user(message: Any) -> bool:
    """Return whether a message with the role `user` comes from the user; tool results have that role too."""
    if type_of(message) is not dict or message.get("role") != "user":
        return False
    parts = message.get("parts")
    if type_of(parts) is not list:
        return True
    return any(type_of(part) is dict and part.get("type") != "tool_call_response" for part in parts)


def _final_result(value: Any) -> list[Any] | None:
    value = usable(value)
    if value is None:
        return None
    return [{"role": "assistant", "content": value if type_of(value) is str else to_json(value)}]


def _pydantic_ai_tools(value: Any) -> list[Any] | None:
    """Return the tool definitions in `model_request_parameters`, for versions without `gen_ai.tool.definitions`."""
    asked = inside(value)
    return [
        {
            "type": "function",
            "name": tool["name"],
            "description": tool.get("description"),
            "parameters": tool.get("parameters_json_schema"),
        }
        for tool in (*dicts(asked.get("function_tools")), *dicts(asked.get("output_tools")))
        if text(tool.get("name")) is not None
    ] or None


def _is_agent(_: Any, view: SpanView) -> str | None:
    if view.name == "agent run" and view.scope_name.startswith("pydantic-ai"):
        return "AGENT"
    return "AGENT" if "agent_name" in view.attributes and "gen_ai.request.model" not in view.attributes else None


def _is_tools(_: Any, view: SpanView) -> str | None:
    return "CHAIN" if view.name in ("running tools", "AutoFunctionInvocationLoop") else None


# -- Logfire's spans of the OpenAI Agents SDK --------------------------------------------------------------------------

_AGENTS: Final = "logfire.openai_agents"
_REPEATING: Final = ("name", "events", "request_data", "response", "response_id", "usage")
"""Attributes that mostly repeat others: they get names of a dialect, so that only what the span lacks is kept."""
_CONSTANT: Final = {"type": ("custom",), "sdk_span_type": ("turn", "task"), "name": ("turn",)}
_TOOL: Final = {"gen_ai.operation.name": "execute_tool"}
_AGENT: Final = {"gen_ai.operation.name": "invoke_agent"}
_STEP: Final = {"openinference.span.kind": "CHAIN"}
_SUMS: Final = {
    "gen_ai.aggregated_usage.input_tokens": "usage.input_tokens",
    "gen_ai.aggregated_usage.output_tokens": "usage.output_tokens",
    "gen_ai.aggregated_usage.cache_read.input_tokens": "usage.cached_input_tokens",
}
_DETAILS: Final = {
    "gen_ai.usage.cache_read.input_tokens": "usage.input_tokens_details.cached_tokens",
    "gen_ai.usage.reasoning.output_tokens": "usage.output_tokens_details.reasoning_tokens",
}
_AGENT_SPANS: Final[Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]] = {
    "OpenAI": (_AGENT, {"logfire.msg": "name", "gen_ai.conversation.id": "group_id"}),
    "Agent": (_AGENT, {"logfire.msg": "name", "gen_ai.agent.name": "name"}),
    "Task:": (_STEP, _SUMS),
    "Turn": (_STEP, _SUMS),
    "Function:": (
        _TOOL,
        {"gen_ai.tool.name": "name", "gen_ai.tool.call.arguments": "input", "gen_ai.tool.call.result": "output"},
    ),
    "Handoff:": (
        _TOOL,
        {
            "gen_ai.tool.name": "to_agent",
            "gen_ai.tool.call.arguments": "from_agent",
            "gen_ai.tool.call.result": "to_agent",
        },
    ),
    "Responses": (
        {},
        # The answer is read as the service gave it, because the events lack its reasoning.
        {
            **_DETAILS,
            "gen_ai.system_instructions": "response.instructions",
            "gen_ai.input.messages": "raw_input",
            "gen_ai.output.messages": "response.output",
            "gen_ai.tool.definitions": "response.tools",
            "llm.invocation_parameters": "model_settings",
        },
    ),
    "Chat": (
        {"gen_ai.operation.name": "chat"},
        {
            **_DETAILS,
            "gen_ai.input.messages": "input",
            "gen_ai.output.messages": "output",
            "llm.invocation_parameters": "model_config",
        },
    ),
}
"""By the first word of the message's template: attributes of such spans, and the places of the values of others."""


def with_conventions(view: SpanView) -> SpanView:
    """Return a span of Logfire; its spans of the OpenAI Agents SDK have the names of the GenAI conventions instead.

    Their own names (`name`, `input`, `output`) mean anything on other spans, so no row can read them.
    """
    if view.scope_name != _AGENTS:
        return view
    own = dict(view.attributes)
    told, places = _AGENT_SPANS.get(str(own.get("logfire.msg_template")).partition(" ")[0], ({}, {}))
    found = {**told, **{name: _at(own, *place.split(".")) for name, place in places.items()}}
    if str(found.get("logfire.msg")) not in str(own.get("logfire.msg")):
        found["logfire.msg"] = None
    if "to_agent" in own:
        found["gen_ai.tool.name"] = f"handoff to {own['to_agent']}"
    own = {
        f"{_AGENTS}.{name}" if name in _REPEATING else name: item
        for name, item in own.items()
        if (name in _REPEATING or name not in places.values()) and item not in _CONSTANT.get(name, ())
    }
    own |= {name: item for name, item in found.items() if usable(item) is not None}
    error = mapping(own.get("error"))
    if error is None or text(error.get("message")) is None or view.status_description is not None:
        return dataclasses.replace(view, attributes=own)
    own["error"] = {key: item for key, item in error.items() if key != "message"}
    return dataclasses.replace(view, attributes=own, status_code="ERROR", status_description=error["message"])


def _at(value: Any, *place: str) -> Any:
    return inside(value, *place[:-1]).get(place[-1])


_DEFAULTS: Final = {
    "output_mode": "text", "allow_text_output": True, "allow_image_output": False, "strict": False,
    "sequential": False, "defer_loading": False, "toolset_id": "<agent>",
}  # fmt: skip


PYDANTIC_AI: Final = Dialect(
    name="pydantic_ai",
    title="Pydantic AI and Logfire",
    namespaces=("pydantic_ai.", "all_messages_events", "model_request_parameters", f"{_AGENTS}."),
    scopes=("pydantic-ai", _AGENTS),
    kinds=(
        KindRule(decide=_is_agent, note="name `agent run`, or `agent_name` without a request model: AGENT"),
        KindRule(decide=_is_tools, note="names `running tools` and `AutoFunctionInvocationLoop`: CHAIN"),
    ),
    rows=(
        Row("input", _MESSAGES, _messages_of_run, form="messages"),
        Row("output", "final_result", _final_result, form="messages"),
        Row("output", _MESSAGES, _answered, form="messages"),
        Row("input", "events", lambda value: from_events(decoded(value), "input"), form="messages"),
        Row("output", "events", lambda value: from_events(decoded(value), "output"), form="messages"),
        Row("embedding.input", "inputs", None),
        Row("usage.bag", "gen_ai.usage.details.*", details),
        Row("cost", "operation.cost", total, "US dollars"),
        Row("rendered_name", "logfire.msg", text, "the span's name is a template; with content only"),
        Row("aggregated.bag", "gen_ai.aggregated_usage.details.*", details),
        Row("metadata.tools", "model_request_parameters", _pydantic_ai_tools),
        Row("tags", "logfire.tags", texts),
        Row("metadata.log_level", "logfire.level_num", count),
        *named(
            None,
            {
                "tool.input": "tool_arguments",
                "tool.output": "tool_response",
            },
        ),
        *named(
            text,
            {
                "model": "model_name",
                "metadata.agent_name": "agent_name",
            },
        ),
    ),
    defaults={"model_request_parameters": _DEFAULTS},
    note="Spans whose `logfire.span_type` is `pending_span` are left out.",
)


# -- Google ADK: version 1 stores Gemini's requests and responses as JSON text; version 2 uses the GenAI conventions ---

_NAMES: Final = (
    ("call_llm", "LLM"), ("generate_content", "LLM"), ("agent_run", "AGENT"), ("invoke_agent", "AGENT"),
    ("execute_tool", "TOOL"), ("invocation", "CHAIN"), ("invoke_workflow", "CHAIN"),
)  # fmt: skip
_COUNTS: Final = {
    "prompt_token_count": "prompt", "candidates_token_count": "completion_without_reasoning",
    "cached_content_token_count": "cache_read", "thoughts_token_count": "reasoning", "total_token_count": "total",
}  # fmt: skip


def _google_adk_kind(_: Any, view: SpanView) -> str | None:
    if view.scope_name != "gcp.vertex.agent":
        return None
    return next((kind for name, kind in _NAMES if view.name.startswith(name)), None)


def _request(value: Any) -> list[Any] | None:
    request = inside(value)
    asked = {key: request[key] for key in ("contents", "messages", "config") if key in request}
    found = whole_content(asked, "input", is_call=True)
    return None if found is None else messages_in(found.value)


def _response(value: Any) -> list[Any] | None:
    content = inside(value, "content")
    return [content] if content else None


def _google_adk_usage(value: Any) -> dict[str, int] | None:
    """Return Gemini's own counts, where the candidates do not include the thoughts."""
    return counts_from(inside(value, "usage_metadata"), _COUNTS) or None


def _tool_response(value: Any) -> Any:
    value = decoded(usable(value))
    return None if value == {"result": "<not specified>"} else value


def _google_adk_tools(value: Any) -> list[Any] | None:
    return [
        {"type": "function", "function": one}
        for tool in dicts(inside(value, "config").get("tools"))
        for one in dicts(tool.get("function_declarations"))
    ] or None


GOOGLE_ADK: Final = Dialect(
    name="google_adk",
    title="Google ADK",
    namespaces=("gcp.vertex.agent.",),
    scopes=("gcp.vertex.agent",),
    kinds=(KindRule(decide=_google_adk_kind, note="scope `gcp.vertex.agent` and the beginning of the name"),),
    rows=(
        Row("input", "gcp.vertex.agent.llm_request", _request, form="messages"),
        Row("output", "gcp.vertex.agent.llm_response", _response, form="messages"),
        Row(
            "usage.bag",
            "gcp.vertex.agent.llm_response",
            _google_adk_usage,
            "thoughts are added where they are left out",
        ),
        Row("tool.input", "gcp.vertex.agent.tool_call_args"),
        Row("tool.output", "gcp.vertex.agent.tool_response", _tool_response),
        Row("metadata.tools", "gcp.vertex.agent.llm_request", _google_adk_tools),
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


# -- Haystack (3.4) without an instrumentor; it has content only if HAYSTACK_CONTENT_TRACING_ENABLED is set ------------

_SUFFIXES: Final = (
    ("Generator", "LLM"), ("Retriever", "RETRIEVER"), ("Ranker", "RETRIEVER"), ("Embedder", "EMBEDDING"),
    ("ToolInvoker", "TOOL"), ("Agent", "AGENT"),
)  # fmt: skip


def _haystack_kind(value: Any, _: SpanView) -> str | None:
    name = text(value)
    if name is None:
        return None
    return next((kind for suffix, kind in _SUFFIXES if name.endswith(suffix)), "CHAIN")


def _pipeline(_: Any, view: SpanView) -> str | None:
    return "CHAIN" if view.name.startswith("haystack.") and "pipeline" in view.name else None


def _reply_meta(value: Any) -> Any:
    output = inside(value)
    if replies := dicts(output.get("replies")):
        return inside(replies[0], "meta")
    return next(iter(dicts(output.get("meta"))), inside(output, "meta"))


def _model(value: Any) -> str | None:
    return text(_reply_meta(value).get("model"))


def _haystack_usage(value: Any) -> dict[str, int] | None:
    return provider_counts(_reply_meta(value).get("usage"))


HAYSTACK: Final = Dialect(
    name="haystack",
    title="Haystack",
    namespaces=("haystack.",),
    scopes=("haystack",),
    kinds=(
        KindRule(
            "haystack.component.type",
            decide=_haystack_kind,
            note="by suffix: Generator LLM, Retriever and Ranker RETRIEVER, ...",
        ),
        KindRule(decide=_pipeline, note="names `haystack.pipeline.*`: CHAIN"),
    ),
    rows=(
        *named(
            None,
            {
                "input": ("haystack.component.input", "haystack.pipeline.input_data"),
                "output": ("haystack.component.output", "haystack.pipeline.output_data"),
            },
            late=True,
        ),
        Row("model", "haystack.component.output", _model, "of the first reply"),
        Row("usage.bag", "haystack.component.output", _haystack_usage, "of the first reply"),
        *named(
            text,
            {
                "display_name": "haystack.component.name",
                "metadata.component_type": "haystack.component.type",
            },
        ),
    ),
)
