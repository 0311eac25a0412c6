"""Vercel AI SDK, version 6 and older (scope `ai`); version 7 uses the GenAI conventions."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping.dialect_table import Dialect, EventRow, KindRule, Row, named
from pandaprobe_otel.mapping.dialects.events import first_time
from pandaprobe_otel.mapping.dialects.otel_genai import finish_reasons, milliseconds, model, provider
from pandaprobe_otel.mapping.parameters import selected
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.values import count, decoded, flat, is_absent, text, texts, type_of, usable

_NAMESPACES: Final = (
    "ai.operationId", "ai.model.", "ai.prompt", "ai.response.", "ai.usage.", "ai.toolCall.", "ai.value", "ai.embedding",
)  # fmt: skip
_CONTEXT: Final = frozenset({"sessionId", "userId", "tags"})


def _kind(value: Any, _: SpanView) -> str | None:
    operation = text(value)
    operation = operation.split()[0] if operation else ""
    if not operation.startswith("ai."):
        return None
    if operation.endswith((".doGenerate", ".doStream")):
        return "LLM"
    if operation.endswith(".doEmbed"):
        return "EMBEDDING"
    if operation.endswith(".doRerank"):
        return "RETRIEVER"
    if operation == "ai.toolCall":
        return "TOOL"
    return "CHAIN" if operation.startswith(("ai.embed", "ai.rerank")) else "AGENT"


def _prompt(value: Any) -> Any:
    """Return the messages of `ai.prompt`: `{system, prompt}` or `{system, messages}`."""
    source = decoded(value)
    if type_of(source) is not dict:
        return usable(source)
    messages: list[Any] = []
    if not is_absent(source.get("system")):
        messages.append({"role": "system", "content": source["system"]})
    for key in ("messages", "prompt"):
        given = source.get(key)
        if type_of(given) is list:
            messages.extend(given)
        elif not is_absent(given):
            messages.append({"role": "user", "content": given})
    return messages or None


def _response(tree: Any) -> list[Any] | None:
    """Return the assistant's message, made of `ai.response.text`, `.toolCalls`, `.object` and `.reasoning`."""
    parts: list[Any] = []
    if not is_absent(tree.get("reasoning")):
        parts.append({"type": "reasoning", "content": tree["reasoning"]})
    for key in ("text", "object"):
        if not is_absent(tree.get(key)):
            parts.append(tree[key])
            break
    calls = decoded(tree.get("toolCalls"))
    message = {"role": "assistant", "content": parts, "tool_calls": calls if type_of(calls) is list else []}
    return [message] if parts or message["tool_calls"] else None


def _values(value: Any) -> Any:
    """Return the embedded values, each given as JSON text, alone or in a list."""
    if type_of(value) is list:
        return [decoded(item) for item in value]
    return decoded(value)


def _tools(value: Any) -> list[Any] | None:
    return [decoded(item) for item in value] if type_of(value) is list and value else None


def _metadata(tree: Any) -> dict[str, Any]:
    return {key: item for key, item in flat(tree).items() if key not in _CONTEXT}


DIALECT: Final = Dialect(
    name="vercel_ai",
    title="Vercel AI SDK 6 and older",
    namespaces=_NAMESPACES,
    kinds=(
        KindRule("ai.operationId", decide=_kind, note="`*.doGenerate`, `*.doStream` LLM; `*.doEmbed` EMBEDDING; ..."),
        KindRule("operation.name", decide=_kind, note="first word, if it begins with `ai.`"),
    ),
    rows=(
        Row("input", "ai.prompt.messages", decoded, form="messages"),
        Row("input", "ai.prompt", _prompt, "system, and prompt or messages", form="messages"),
        Row("output", "ai.response.*", _response, form="messages"),
        *named(_values, dict.fromkeys(("input", "embedding.input"), ("ai.values", "ai.value"))),
        Row("function_id", "ai.telemetry.functionId", text, "`<function id>: <operation id>` is the name"),
        Row(
            "first_token_after",
            ("ai.response.msToFirstChunk", "ai.stream.msToFirstChunk"),
            milliseconds,
        ),
        Row("parameters", "ai.settings.*", selected, "camelCase; maxOutputTokens is max_tokens"),
        Row("metadata", "ai.telemetry.metadata.*", _metadata),
        Row("model", ("ai.response.model", "ai.model.id"), model),
        Row("metadata.provider", "ai.model.provider", provider),
        Row("metadata.finish_reasons", "ai.response.finishReason", finish_reasons),
        Row("metadata.tools", "ai.prompt.tools", _tools),
        Row("tags", "ai.telemetry.metadata.tags", texts),
        *named(
            None,
            {
                "tool.input": "ai.toolCall.args",
                "tool.output": "ai.toolCall.result",
            },
        ),
        *named(
            text,
            {
                "tool_name": "ai.toolCall.name",
                "metadata.tool_call_id": "ai.toolCall.id",
                "operation_id": "ai.operationId",
                "metadata.response_id": "ai.response.id",
                "session_id": "ai.telemetry.metadata.sessionId",
                "user_id": "ai.telemetry.metadata.userId",
            },
        ),
        *named(
            count,
            {
                "usage.prompt": ("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
                "usage.completion": ("ai.usage.outputTokens", "ai.usage.completionTokens"),
                "usage.total": "ai.usage.totalTokens",
                "usage.cache_read": ("ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens"),
                "usage.cache_write": "ai.usage.inputTokenDetails.cacheWriteTokens",
                "usage.reasoning": ("ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens"),
            },
        ),
    ),
    events=(EventRow("first_token_event", ("ai.stream.firstChunk",), first_time),),
    note="`ai.embedding` and `ai.embeddings` are not read: they are vectors.",
)
