"""OpenTelemetry's GenAI semantic conventions: attributes, and content in events."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from pandaprobe_otel.mapping.dialect_table import Dialect, EventRow, KindRule, Row, named, other_kind
from pandaprobe_otel.mapping.messages import joined
from pandaprobe_otel.mapping.parameters import choices, simple, whole
from pandaprobe_otel.mapping.span_view import EventView, SpanView
from pandaprobe_otel.mapping.usage import amounts, total
from pandaprobe_otel.mapping.values import (
    count,
    decoded,
    dicts,
    is_absent,
    listed,
    number,
    one_of,
    structure,
    text,
    texts,
    type_of,
    usable,
)

# Current names come first, then older ones that are still emitted.

_OPERATIONS: Final = {
    "chat": "LLM", "generate_content": "LLM", "text_completion": "LLM", "completion": "LLM", "generate": "LLM",
    "response": "LLM", "responses": "LLM", "llm_request": "LLM", "embeddings": "EMBEDDING", "retrieval": "RETRIEVER",
    "vector_db_retrieve": "RETRIEVER", "search_memory": "RETRIEVER", "execute_tool": "TOOL", "invoke_agent": "AGENT",
    "create_agent": "AGENT", "invoke_workflow": "CHAIN", "execute_task": "CHAIN", "plan": "CHAIN",
    "agent_step": "CHAIN", "execute_event_loop_cycle": "CHAIN", "chain": "CHAIN",
    "handle_conversation_turn": "AGENT", "apply_guardrail": "OTHER",
}  # fmt: skip
_ANTHROPIC: Final = "com.anthropic.sdk.python"
_PROVIDERS: Final = {
    "az.ai.openai": "azure.ai.openai", "az.ai.inference": "azure.ai.inference", "vertex_ai": "gcp.vertex_ai",
    "gemini": "gcp.gemini",
}  # fmt: skip


def provider(value: Any) -> str | None:
    """Return the provider's name in lower case, with older names replaced by the current ones."""
    name = text(value)
    if name is None:
        return None
    name = name.lower()
    return _PROVIDERS.get(name, name)


def model(value: Any) -> str | None:
    """Return a model's name, or None for `unknown`."""
    name = text(value)
    return None if name is None or name.lower() == "unknown" else name


def finish_reasons(value: Any) -> list[str] | None:
    """Return finish reasons as a list of texts, from a list, JSON text, one text or the name of an enum member."""
    reasons = texts(value)
    if reasons is None:
        return None
    return [reason.rpartition(".")[2].lower() if reason.startswith("FinishReason.") else reason for reason in reasons]


def unknown_operation(value: Any) -> str | None:
    """Return the operation's name, unless the span's kind already expresses it."""
    name = text(value)
    return name if name is not None and _OPERATIONS.get(name.lower(), "OTHER") == "OTHER" else None


def seconds(value: Any) -> int | None:
    """Convert a duration in seconds to nanoseconds."""
    amount = number(value)
    return round(amount * 1_000_000_000) if amount is not None and 0 <= amount < 1e9 else None


def milliseconds(value: Any) -> int | None:
    """Convert a duration in milliseconds to nanoseconds."""
    amount = number(value)
    return round(amount * 1_000_000) if amount is not None and 0 <= amount < 1e12 else None


def _costs(tree: Any) -> dict[str, float] | None:
    """Return LiteLLM's costs of input, output and total; discounts and margins must not be added up."""
    known = ("input_cost", "output_cost", "total_cost", "input", "output", "total")
    return amounts({name: tree[name] for name in known if name in tree})


def is_present(kind: str) -> Any:
    """Return a rule that gives this kind if the attribute has a value."""

    def decide(value: Any, _: Any) -> str | None:
        return None if usable(value) is None else kind

    return decide


def _mcp(value: Any, _: Any) -> str | None:
    return "TOOL" if value == "tools/call" else None if usable(value) is None else "OTHER"


def _fetched(_: Any, view: SpanView) -> str | None:
    """Return OTHER for the fetch of an answer, which calls no model; with counts, it is the only span of the call."""
    if view.attributes.get("gen_ai.operation.name") != "fetch_response":
        return None
    return None if any(key.startswith("gen_ai.usage.") for key in view.attributes) else "OTHER"


def _without_operation(_: Any, view: SpanView) -> str | None:
    """Return OTHER for the Anthropic SDK, which names a model even if it calls none (token counts, sessions)."""
    return "OTHER" if view.scope_name == _ANTHROPIC else None


_KINDS: Final = (
    KindRule("gen_ai.operation.name", _OPERATIONS),
    KindRule("mcp.method.name", decide=_mcp, note="`tools/call` TOOL, else OTHER"),
    KindRule("gen_ai.tool.name", decide=is_present("TOOL"), note="present: TOOL"),
    KindRule("gen_ai.tool.call.id", decide=is_present("TOOL"), note="present: TOOL"),
    KindRule(decide=_fetched, note="operation `fetch_response` without token counts: OTHER"),
    KindRule(decide=_without_operation, note="scope `com.anthropic.sdk.python`, none of the above: OTHER"),
)

_ROWS: Final = (
    Row("session_id", "thread_id", text, late=True),
    Row("input", "gen_ai.input.messages", decoded, form="messages"),
    Row("output", "gen_ai.output.messages", joined, "JSON text or structured; pieces are joined", form="messages"),
    Row("system", "gen_ai.system_instructions", decoded, "parts or plain text; one system message in front"),
    Row("tool.input", ("gen_ai.tool.call.arguments", "gen_ai.tool.args"), None),
    Row("model", ("gen_ai.response.model", "gen_ai.request.model"), model, "of the answer, else of the request"),
    Row("metadata.request_model", "gen_ai.request.model", model, "only if another model answered"),
    Row("first_token_after", "gen_ai.response.time_to_first_chunk", seconds),
    Row("first_token_after", "gen_ai.server.time_to_first_token", milliseconds),
    Row("parameters.top_k", "gen_ai.request.top_k", whole),
    Row("parameters.n", "gen_ai.request.choice.count", choices),
    Row("usage.total", "gen_ai.usage.total_tokens", count, "only to distinguish the two meanings of input"),
    Row(
        "metadata.finish_reasons",
        ("gen_ai.response.finish_reasons", "anthropic.message.stop_reason", "gen_ai.response.finish_reason"),
        finish_reasons,
        "`FinishReason.STOP` (Semantic Kernel) is stop",
    ),
    Row(
        "metadata.span_kind",
        (
            "langfuse.observation.type",
            "openinference.span.kind",
            "langsmith.span.kind",
            "traceloop.span.kind",
            "mlflow.spanType",
        ),
        other_kind,
        "only if PandaProbe has no such kind",
    ),
    Row("metadata.operation", "gen_ai.operation.name", unknown_operation, "only if the kind does not say it"),
    Row("error_type", "error.type", text),
    Row("error_type", "gen_ai.response.status", one_of("failed"), "of an answer whose generation failed"),
    Row("error.flag", ("tool.status", "gen_ai.tool.status"), one_of("error")),
    Row("session_id", "gen_ai.conversation.id", text),
    Row("cost", "gen_ai.usage.cost", total, "US dollars", late=True),
    Row("cost", "gen_ai.cost.*", _costs, "US dollars: input, output and total (LiteLLM)", late=True),
    Row("metadata.provider", ("gen_ai.provider.name", "gen_ai.system"), provider),
    Row("parameters.seed", ("gen_ai.request.seed", "gen_ai.openai.request.seed"), whole),
    Row(
        "parameters.response_format",
        ("gen_ai.request.structured_output_schema", "gen_ai.openai.request.response_format"),
        decoded,
    ),
    Row("metadata.encoding_formats", "gen_ai.request.encoding_formats", texts),
    *named(
        None,
        {
            "tool.output": "gen_ai.tool.call.result",
            "metadata.stream": "gen_ai.request.stream",
        },
    ),
    *named(
        text,
        {
            "user_id": ("enduser.id", "gen_ai.request.user"),
            "tool_name": "gen_ai.tool.name",
            "query": ("gen_ai.retrieval.query.text", "gen_ai.memory.query.text"),
            "metadata.response_id": "gen_ai.response.id",
            "metadata.agent_name": "gen_ai.agent.name",
            "metadata.agent_id": "gen_ai.agent.id",
            "metadata.agent_description": "gen_ai.agent.description",
            "metadata.agent_version": "gen_ai.agent.version",
            "metadata.workflow_name": "gen_ai.workflow.name",
            "metadata.tool_call_id": "gen_ai.tool.call.id",
            "metadata.tool_description": "gen_ai.tool.description",
            "metadata.tool_type": "gen_ai.tool.type",
            "metadata.data_source_id": "gen_ai.data_source.id",
            "metadata.output_type": "gen_ai.output.type",
            "metadata.previous_response_id": "gen_ai.request.previous_response.id",
            "metadata.prompt_name": "gen_ai.prompt.name",
            "metadata.prompt_version": "gen_ai.prompt.version",
            "metadata.mcp_method": "mcp.method.name",
            "metadata.response_status": "gen_ai.response.status",
            "metadata.api_type": "openai.api.type",
            "metadata.service_tier": (
                "openai.response.service_tier",
                "gen_ai.openai.response.service_tier",
                "anthropic.response.service_tier",
            ),
            "metadata.system_fingerprint": (
                "openai.response.system_fingerprint",
                "gen_ai.openai.response.system_fingerprint",
            ),
        },
    ),
    *named(
        structure,
        {
            "documents": ("gen_ai.retrieval.documents", "gen_ai.memory.records"),
            "metadata.tools": "gen_ai.tool.definitions",
        },
    ),
    *named(
        simple,
        {
            "parameters.temperature": "gen_ai.request.temperature",
            "parameters.top_p": "gen_ai.request.top_p",
            "parameters.max_tokens": "gen_ai.request.max_tokens",
            "parameters.frequency_penalty": "gen_ai.request.frequency_penalty",
            "parameters.presence_penalty": "gen_ai.request.presence_penalty",
            "parameters.stop_sequences": "gen_ai.request.stop_sequences",
            "parameters.reasoning_effort": "gen_ai.request.reasoning.level",
            "parameters.service_tier": ("openai.request.service_tier", "gen_ai.openai.request.service_tier"),
        },
    ),
    *named(
        count,
        {
            "usage.prompt": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "gen_ai.response.input_tokens"),
            "usage.completion": (
                "gen_ai.usage.output_tokens",
                "gen_ai.usage.completion_tokens",
                "gen_ai.response.output_tokens",
            ),
            "usage.cache_read": (
                "gen_ai.usage.cache_read.input_tokens",
                "gen_ai.usage.cache_read_input_tokens",
                "gen_ai.usage.cache_read_tokens",
            ),
            "usage.cache_write": (
                "gen_ai.usage.cache_write.input_tokens",
                "gen_ai.usage.cache_creation.input_tokens",
                "gen_ai.usage.cache_creation_input_tokens",
                "gen_ai.usage.cache_write_input_tokens",
                "gen_ai.usage.cache_write_tokens",
            ),
            "usage.audio": "gen_ai.usage.audio.output_tokens",
            "usage.reasoning": ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
            "aggregated.prompt": "gen_ai.aggregated_usage.input_tokens",
            "aggregated.completion": "gen_ai.aggregated_usage.output_tokens",
            "aggregated.cache_read": "gen_ai.aggregated_usage.cache_read.input_tokens",
            "aggregated.cache_write": (
                "gen_ai.aggregated_usage.cache_write.input_tokens",
                "gen_ai.aggregated_usage.cache_creation.input_tokens",
            ),
            "aggregated.reasoning": "gen_ai.aggregated_usage.reasoning.output_tokens",
            "metadata.dimensions": "gen_ai.embeddings.dimension.count",
            "metadata.top_k": "gen_ai.retrieval.top_k",
        },
    ),
)

OTEL_GENAI: Final = Dialect(
    name="otel_genai",
    title="OpenTelemetry GenAI semantic conventions",
    namespaces=("gen_ai.", "mcp."),
    scopes=("semantic_kernel",),
    kinds=_KINDS,
    rows=_ROWS,
)
"""`mcp.session.id` is not read: it is the session of a transport, not of a user."""


# -- Content in events: span events, or log records joined by span id, one per message or one per side -----------------

_INPUTS: Final = {
    "gen_ai.system.message": "system",
    "gen_ai.developer.message": "developer",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
_CHOICE: Final = "gen_ai.choice"


def from_events(entries: Any, side: str) -> list[Any] | None:
    """Return the messages of one side from event bodies that carry their name as `event.name`."""
    found: list[Any] = []
    for entry in dicts(entries):
        name = entry.get("event.name")
        if side == "input" and name in _INPUTS:
            found.append(message(entry, _INPUTS[name]))
        elif side == "output" and name == _CHOICE:
            found.extend(choice(entry))
    return found or None


def message(body: Any, role: str) -> dict[str, Any]:
    """Return the message in an event's body. Its role is the body's role, else `role`."""
    return {**body, "role": body.get("role") or role, "content": usable(body.get("content"))}


def choice(body: Any) -> list[dict[str, Any]]:
    """Return the message in a choice's body, and the tool results that Strands adds to it."""
    inner = body.get("message")
    alone = {"content": inner if inner is not None else body.get("content")}
    source: Any = inner if type_of(inner) is dict else alone
    if is_absent(source.get("tool_calls")) and not is_absent(body.get("tool_calls")):
        source = {**source, "tool_calls": body["tool_calls"]}
    messages = [message(source, "assistant")]
    if reasons := finish_reasons(body.get("finish_reason")):
        messages[0]["finish_reason"] = reasons[0]
    results = decoded(body.get("tool.result"))
    if type_of(results) is list:
        messages.append({"role": "tool", "content": results})
    return messages


def first_time(events: list[EventView], _: SpanView) -> int | None:
    """Return the time of the first event."""
    return events[0].time_ns


def _body(event: EventView) -> Any:
    """Return the body of a log record, or the attributes of a span event."""
    body = decoded(event.body)
    if type_of(body) is dict:
        return body
    return dict(event.attributes)


def _inputs(events: list[EventView], view: SpanView) -> list[Any] | None:
    return [message(_body(event), _INPUTS[event.name]) for event in events] or None


def _outputs(events: list[EventView], _: SpanView) -> list[Any] | None:
    return [one for event in events for one in choice(_body(event))] or None


def _joined(attribute: str) -> Callable[[list[EventView], SpanView], list[Any] | None]:
    def convert(events: list[EventView], _: SpanView) -> list[Any] | None:
        joined: list[Any] = []
        for event in events:
            value = decoded(event.attributes.get(attribute))
            joined.extend([] if is_absent(value) else listed(value))
        return joined or None

    return convert


def _tool_input(events: list[EventView], _: SpanView) -> Any:
    return _body(events[0]).get("content")


def _tool_output(events: list[EventView], _: SpanView) -> Any:
    body = _body(events[-1])
    return body.get("message", body.get("content"))


# -- details events ---------------------------------------------------------------------------------------------------

DETAILS: Final = "gen_ai.client.inference.operation.details"
"""Name of events with the same attributes as the span.

Often one event has the input and another the output. So they are merged into the span's attributes. If both have an
attribute, the span's value is used and the event's value is kept under the event's name. Token counts of several calls
are added up.
"""


_OF_CALL: Final = ("gcp.vertex.agent.event_id", "gen_ai.response.id")
"""Attributes that distinguish the calls of one span, as OpenInference makes one for all calls of an ADK agent."""


def with_details(view: SpanView) -> SpanView:
    """Return the view with the attributes of its details events, or the view itself if it has none."""
    folded: dict[str, Any] = {}
    others: dict[str, list[Any]] = {}
    calls: dict[Any, dict[str, int]] = {}  # counts of each call, if the events are of several
    for event in view.events:
        if event.name == DETAILS:
            call = next((event.attributes[name] for name in _OF_CALL if name in event.attributes), None)
            for key, value in event.attributes.items():
                if key.startswith("gen_ai.usage.") and type_of(value) is int:
                    calls.setdefault(call, {})[key] = value
                elif key in folded:
                    value = _both(key, folded[key], value, others)
                folded[key] = value
    if not folded:
        return view
    own = {key: value for key, value in view.attributes.items() if not is_absent(value)}
    if len(calls) > 1:
        for key in {key for counts in calls.values() for key in counts}:
            numbers = [counts[key] for counts in calls.values() if key in counts]
            folded[key] = sum(numbers)
            if own.get(key) in numbers:
                del own[key]  # of the last call
    for key, value in own.items():
        if key in folded and decoded(folded[key]) != decoded(value):
            others.setdefault(f"{DETAILS}:{key}", []).append(folded[key])
    return dataclasses.replace(view, attributes={**folded, **own, **others})


def _both(key: str, earlier: Any, later: Any, others: dict[str, list[Any]]) -> Any:
    """Return both values joined if they are lists. Else return the later one and add the earlier one to `others`."""
    first, second = decoded(earlier), decoded(later)
    if first == second:
        return later
    if type_of(first) is list and type_of(second) is list:
        return [*first, *second]
    others.setdefault(f"{DETAILS}:{key}", []).append(earlier)
    return later


EVENTS: Final = Dialect(
    name="events",
    title="Content in span events and log records",
    events=(
        EventRow("input", tuple(_INPUTS), _inputs),
        EventRow("output", (_CHOICE,), _outputs, "one per choice"),
        EventRow("input", ("gen_ai.content.prompt",), _joined("gen_ai.prompt"), "attribute `gen_ai.prompt`"),
        EventRow(
            "output", ("gen_ai.content.completion",), _joined("gen_ai.completion"), "attribute `gen_ai.completion`"
        ),
        EventRow("tool.input", ("gen_ai.tool.message",), _tool_input, "on a TOOL span (Strands)"),
        EventRow("tool.output", (_CHOICE,), _tool_output, "on a TOOL span (Strands)"),
    ),
    note="Attributes of the event `gen_ai.client.inference.operation.details` are first added to those of the span.",
)
