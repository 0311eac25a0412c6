"""OpenTelemetry's GenAI semantic conventions: current names first, then older ones that are still emitted.

Covers semantic conventions 1.27 to 1.44 and the semantic-conventions-genai repository that followed.
"""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping.dialect_table import Dialect, KindRule, Row, named
from pandaprobe_otel.mapping.messages import joined
from pandaprobe_otel.mapping.parameters import choices, simple, whole
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.usage import amounts, total
from pandaprobe_otel.mapping.values import count, decoded, number, one_of, structure, text, texts, usable

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

DIALECT: Final = Dialect(
    name="otel_genai",
    title="OpenTelemetry GenAI semantic conventions",
    namespaces=("gen_ai.", "mcp."),
    scopes=("semantic_kernel",),
    kinds=_KINDS,
    rows=_ROWS,
)
"""`mcp.session.id` is not read: it is the session of a transport, not of a user."""
