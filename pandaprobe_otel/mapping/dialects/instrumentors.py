"""Vocabularies of instrumentors: OpenInference, OpenLLMetry (Traceloop), and the Vercel AI SDK."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from pandaprobe_otel.mapping import parameters
from pandaprobe_otel.mapping.dialect_table import Convert, Dialect, EventRow, KindRule, Row, named
from pandaprobe_otel.mapping.dialects.otel_genai import finish_reasons, first_time, milliseconds, model, provider
from pandaprobe_otel.mapping.messages import typed_parts
from pandaprobe_otel.mapping.parameters import selected, simple, whole
from pandaprobe_otel.mapping.span_view import SpanView
from pandaprobe_otel.mapping.usage import amounts
from pandaprobe_otel.mapping.values import (
    count,
    decoded,
    dicts,
    flat,
    inside,
    is_absent,
    items,
    mapping,
    text,
    texts,
    type_of,
    usable,
)

# -- OpenInference (semantic conventions 0.1.42): flattened messages, JSON text in `input.value` and `output.value` ----

_OPENINFERENCE_NAMESPACES: Final = (
    "openinference.", "llm.", "input.value", "output.value", "embedding.", "retrieval.", "reranker.", "tool.",
)  # fmt: skip
_OPENINFERENCE_KINDS: Final = {
    "llm": "LLM", "embedding": "EMBEDDING", "retriever": "RETRIEVER", "tool": "TOOL", "agent": "AGENT",
    "chain": "CHAIN", "reranker": "RETRIEVER", "prompt": "CHAIN", "guardrail": "OTHER", "evaluator": "OTHER",
}  # fmt: skip


def _each(*place: str, then: Convert) -> Convert:
    """Return a converter from an indexed family to the converted values at this place in its entries."""

    def convert(tree: Any) -> list[Any] | None:
        found: list[Any] = items(tree)
        for key in place:
            found = [inside(entry).get(key) for entry in found]
        return [made for one in found if one is not None and (made := then(one)) is not None] or None

    return convert


def _said_by(role: str) -> Convert:
    return lambda words: {"role": role, "content": words}


def _openinference_message(source: Any) -> dict[str, Any]:
    source = inside(source)
    message = {key: source[key] for key in ("role", "content", "name", "tool_call_id") if key in source}
    parts = [_part(part) for part in items(source.get("contents"))]
    if parts:
        message["content"] = parts
    calls = [_call(call.get("tool_call")) for call in items(source.get("tool_calls"))]
    if calls:
        message["tool_calls"] = calls
    if "function_call_name" in source:
        message["function_call"] = {
            "name": source["function_call_name"],
            "arguments": source.get("function_call_arguments_json"),
        }
    return message


def _part(source: Any) -> Any:
    # Anthropic's instrumentor repeats a call as content; calls are identified by their ids and counted once.
    return {**inside(source, "message_content"), **_call(source.get("tool_call"))}


def _call(source: Any) -> dict[str, Any]:
    if type_of(source) is not dict:
        return {}
    return {"id": source.get("id"), "type": "function", "function": inside(source, "function")}


def _document(source: Any) -> dict[str, Any] | None:
    document = inside(source)
    return {**document, "metadata": decoded(document.get("metadata"))} if document else None


def _costs(tree: Any) -> dict[str, float] | None:
    return amounts({key: item for key, item in tree.items() if type_of(item) is not dict})


def _cost_details(tree: Any) -> Any:
    return {key: item for key, item in tree.items() if type_of(item) is dict} or None


def _prompt_template(tree: Any) -> Any:
    return {key: decoded(item) for key, item in tree.items()} or None


_MESSAGES: Final = _each("message", then=_openinference_message)

OPENINFERENCE: Final = Dialect(
    name="openinference",
    title="OpenInference",
    namespaces=_OPENINFERENCE_NAMESPACES,
    scopes=("openinference.instrumentation",),
    kinds=(KindRule("openinference.span.kind", _OPENINFERENCE_KINDS, states=True, note="UNKNOWN says nothing"),),
    rows=(
        *named(
            _each("message", then=_openinference_message),
            {"input": "llm.input_messages.*", "output": "llm.output_messages.*"},
            form="messages",
        ),
        Row("input", "llm.prompts.*", _each("prompt", "text", then=_said_by("user")), form="messages"),
        Row("output", "llm.choices.*", _each("completion", "text", then=_said_by("assistant")), form="messages"),
        *named(None, {"input": "input.value", "output": "output.value"}, "only if there are no messages", late=True),
        Row("embedding.input", "embedding.embeddings.*", _each("embedding", "text", then=usable)),
        Row("metadata.request_model", "llm.request.model_name", model, "only if another model answered"),
        Row("parameters", ("llm.invocation_parameters", "embedding.invocation_parameters"), parameters.bag),
        Row("cost", "llm.cost.*", _costs, "prompt is input, completion is output"),
        Row("metadata", "metadata", mapping),
        Row("documents", ("retrieval.documents.*", "reranker.output_documents.*"), _each("document", then=_document)),
        Row(
            "model", ("llm.response.model_name", "llm.model_name", "embedding.model_name", "reranker.model_name"), model
        ),
        Row("metadata.provider", ("llm.provider", "llm.system"), provider),
        Row("metadata.cost_details", "llm.cost.*", _cost_details),
        Row("metadata.finish_reasons", "llm.finish_reason", finish_reasons),
        Row("metadata.tools", "llm.tools.*", _each("tool", "json_schema", then=decoded)),
        Row("metadata.prompt_template", "llm.prompt_template.*", _prompt_template),
        Row("tags", "tag.tags", texts),
        *named(
            text,
            {
                "query": "reranker.query",
                "tool_name": "tool.name",
                "metadata.tool_description": "tool.description",
                "metadata.tool_call_id": ("tool_call.id", "tool.id"),
                "metadata.agent_name": "agent.name",
                "metadata.graph_node_id": "graph.node.id",
                "metadata.graph_node_parent_id": "graph.node.parent_id",
                "metadata.graph_node_name": "graph.node.name",
            },
        ),
        *named(
            count,
            {
                "usage.prompt": "llm.token_count.prompt",
                "usage.completion": "llm.token_count.completion",
                "usage.total": "llm.token_count.total",
                "usage.cache_read": (
                    "llm.token_count.prompt_details.cache_read",
                    "llm.token_count.prompt_details.cache_input",
                ),
                "usage.cache_write": "llm.token_count.prompt_details.cache_write",
                "usage.reasoning": "llm.token_count.completion_details.reasoning",
                "usage.audio": "llm.token_count.completion_details.audio",
                "metadata.top_k": "reranker.top_k",
            },
        ),
    ),
    events=(EventRow("first_token_event", ("First Token Stream Event",), first_time),),
    note="`tool.parameters` is a schema in some instrumentors and arguments in others, so it is never an input.",
)


# -- OpenLLMetry (Traceloop): decorators' entities, indexed prompts up to 0.47, the GenAI conventions from 0.60 on -----

_TRACELOOP_KINDS: Final = {"workflow": "CHAIN", "task": "CHAIN", "agent": "AGENT", "tool": "TOOL"}
_REQUEST_TYPES: Final = {"chat": "LLM", "completion": "LLM", "embedding": "EMBEDDING", "rerank": "RETRIEVER"}
_ROLES: Final = ("user", "system", "assistant")


def _traceloop_message(default: str, source: Any) -> dict[str, Any]:
    role = source.get("role")
    if role == "thinking":
        return {"role": "assistant", "content": [{"type": "thinking", "thinking": source.get("content")}]}
    message: dict[str, Any] = {"role": role or default, "content": source.get("content")}
    if type_of(message["content"]) is str:
        message["content"] = typed_parts(message["content"]) or message["content"]
    for key in _ROLES:
        if "content" not in source and type_of(source.get(key)) is str:  # written for the legacy completions API
            message = {"role": key, "content": source[key]}
    for key in ("tool_call_id", "reasoning", "name"):
        if not is_absent(source.get(key)):
            message[key] = source[key]
    calls = items(source.get("tool_calls"))
    if calls:
        message["tool_calls"] = calls
    return message


def _function(source: Any) -> dict[str, Any]:
    function = {key: decoded(item) if key == "parameters" else item for key, item in source.items()}
    return {"type": "function", "function": function}


_PROMPTS: Final = _each(then=partial(_traceloop_message, "user"))
_COMPLETIONS: Final = _each(then=partial(_traceloop_message, "assistant"))

TRACELOOP: Final = Dialect(
    name="traceloop",
    title="OpenLLMetry (Traceloop)",
    namespaces=("traceloop.span.", "traceloop.entity.", "llm.request.", "llm.usage."),
    scopes=("traceloop.",),
    kinds=(
        KindRule("traceloop.span.kind", _TRACELOOP_KINDS),
        KindRule("llm.request.type", _REQUEST_TYPES),
    ),
    rows=(
        Row(
            "input",
            "gen_ai.prompt.*",
            _PROMPTS,
            "up to 0.47, by number",
            form="messages",
        ),
        Row(
            "output",
            "gen_ai.completion.*",
            _COMPLETIONS,
            "up to 0.47, by number",
            form="messages",
        ),
        *named(
            None,
            {"input": "traceloop.entity.input", "output": "traceloop.entity.output"},
            "envelopes are taken off",
            late=True,
        ),
        Row(
            "parameters.reasoning_effort",
            ("gen_ai.request.reasoning_effort", "llm.request.reasoning_effort"),
            simple,
        ),
        Row("session_id", "traceloop.association.properties.session_id", text),
        Row(
            "session_id",
            ("traceloop.association.properties.thread_id", "traceloop.association.properties.chat_id"),
            text,
            late=True,
        ),
        Row("metadata", "traceloop.association.properties.*", flat),
        Row("embedding.input", "gen_ai.prompt.*", _each("content", then=usable)),
        Row("parameters.top_k", "llm.top_k", whole),
        Row("metadata.tools", "llm.request.functions.*", _each(then=_function)),
        Row("metadata.finish_reasons", "gen_ai.completion.*", _each("finish_reason", then=text)),
        Row("metadata.stream", ("gen_ai.is_streaming", "llm.is_streaming")),
        *named(
            text,
            {
                "tool_name": "traceloop.entity.name",
                "metadata.workflow_name": "traceloop.workflow.name",
                "metadata.entity_path": "traceloop.entity.path",
                "user_id": ("gen_ai.user", "llm.user", "traceloop.association.properties.user_id"),
            },
        ),
        *named(
            count,
            {
                "usage.prompt": "llm.usage.prompt_tokens",
                "usage.completion": "llm.usage.completion_tokens",
                "usage.total": "llm.usage.total_tokens",
            },
        ),
        *named(
            simple,
            {
                "parameters.temperature": "llm.temperature",
                "parameters.top_p": "llm.top_p",
                "parameters.frequency_penalty": "llm.frequency_penalty",
                "parameters.presence_penalty": "llm.presence_penalty",
                "parameters.stop_sequences": "llm.chat.stop_sequences",
            },
        ),
    ),
    events=(
        EventRow(
            "first_token_event",
            ("llm.content.completion.chunk", "gen_ai.content.completion.chunk"),
            first_time,
            "the first of them; the chunks themselves are never copied",
        ),
    ),
)


# -- Vercel AI SDK, version 6 and older (scope `ai`); version 7 uses the GenAI conventions -----------------------------

_VERCEL_AI_NAMESPACES: Final = (
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
    message = {"role": "assistant", "content": parts, "tool_calls": dicts(decoded(tree.get("toolCalls")))}
    return [message] if parts or message["tool_calls"] else None


def _values(value: Any) -> Any:
    """Return the embedded values, each given as JSON text, alone or in a list."""
    if type_of(value) is list:
        return [decoded(item) for item in value]
    return decoded(value)


def _vercel_ai_tools(value: Any) -> list[Any] | None:
    return [decoded(item) for item in value] if type_of(value) is list and value else None


def _metadata(tree: Any) -> dict[str, Any]:
    return {key: item for key, item in flat(tree).items() if key not in _CONTEXT}


VERCEL_AI: Final = Dialect(
    name="vercel_ai",
    title="Vercel AI SDK 6 and older",
    namespaces=_VERCEL_AI_NAMESPACES,
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
        Row("metadata.tools", "ai.prompt.tools", _vercel_ai_tools),
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
