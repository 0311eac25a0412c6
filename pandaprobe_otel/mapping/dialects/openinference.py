"""OpenInference (semantic conventions 0.1.42): flattened messages, JSON text in `input.value` and `output.value`."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping import parameters
from pandaprobe_otel.mapping.dialect_table import Dialect, EventRow, KindRule, Row, named, other_kind
from pandaprobe_otel.mapping.dialects.events import first_time
from pandaprobe_otel.mapping.dialects.otel_genai import finish_reasons, model, provider
from pandaprobe_otel.mapping.usage import amounts
from pandaprobe_otel.mapping.values import count, decoded, items, mapping, text, texts, type_of

_NAMESPACES: Final = (
    "openinference.", "llm.", "input.value", "output.value", "embedding.", "retrieval.", "reranker.", "tool.",
)  # fmt: skip
_KINDS: Final = {
    "llm": "LLM", "embedding": "EMBEDDING", "retriever": "RETRIEVER", "tool": "TOOL", "agent": "AGENT",
    "chain": "CHAIN", "reranker": "RETRIEVER", "prompt": "CHAIN", "guardrail": "OTHER", "evaluator": "OTHER",
}  # fmt: skip


def messages(tree: Any) -> list[Any] | None:
    """Return the messages of `llm.input_messages.*` or `llm.output_messages.*` in OpenAI's form."""
    return [_message(entry.get("message")) for entry in items(tree) if type_of(entry) is dict] or None


def _message(source: Any) -> dict[str, Any]:
    if type_of(source) is not dict:
        return {}
    message = {key: source[key] for key in ("role", "content", "name", "tool_call_id") if key in source}
    parts = [_part(part) for part in items(source.get("contents"))]
    if parts:
        message["content"] = parts
    calls = [_call(call.get("tool_call")) for call in items(source.get("tool_calls")) if type_of(call) is dict]
    if calls:
        message["tool_calls"] = calls
    if "function_call_name" in source:
        message["function_call"] = {
            "name": source["function_call_name"],
            "arguments": source.get("function_call_arguments_json"),
        }
    return message


def _prompts(tree: Any) -> list[Any] | None:
    return _completions(tree, "prompt", "user")


def _choices(tree: Any) -> list[Any] | None:
    return _completions(tree, "completion", "assistant")


def _completions(tree: Any, key: str, role: str) -> list[Any] | None:
    entries = [entry.get(key) for entry in items(tree) if type_of(entry) is dict]
    said = [entry.get("text") for entry in entries if type_of(entry) is dict]
    return [{"role": role, "content": one} for one in said if type_of(one) is str] or None


def _part(source: Any) -> Any:
    if type_of(source) is not dict:
        return source
    part = source.get("message_content")
    if type_of(part) is not dict:
        return _call(source.get("tool_call"))
    # Anthropic's instrumentor repeats a call as content; calls are identified by their ids and counted once.
    return {**part, **_call(source["tool_call"])} if type_of(source.get("tool_call")) is dict else part


def _call(source: Any) -> dict[str, Any]:
    if type_of(source) is not dict:
        return {}
    function = source.get("function")
    return {"id": source.get("id"), "type": "function", "function": function if type_of(function) is dict else {}}


def documents(tree: Any) -> list[Any] | None:
    """Return the documents of `retrieval.documents.*` and similar families."""
    found: list[Any] = []
    for entry in items(tree):
        document: Any = entry.get("document") if type_of(entry) is dict else None
        if type_of(document) is dict:
            found.append({**document, "metadata": decoded(document.get("metadata"))})
    return found or None


def _texts(tree: Any) -> list[Any] | None:
    entries: list[Any] = [entry.get("embedding") for entry in items(tree) if type_of(entry) is dict]
    return [entry["text"] for entry in entries if type_of(entry) is dict and type_of(entry.get("text")) is str] or None


def _tools(tree: Any) -> list[Any] | None:
    tools: list[Any] = []
    for entry in items(tree):
        tool: Any = entry.get("tool") if type_of(entry) is dict else None
        if type_of(tool) is dict and "json_schema" in tool:
            tools.append(decoded(tool["json_schema"]))
    return tools or None


def _costs(tree: Any) -> dict[str, float] | None:
    return amounts({key: item for key, item in tree.items() if type_of(item) is not dict})


def _cost_details(tree: Any) -> Any:
    return {key: item for key, item in tree.items() if type_of(item) is dict} or None


def _prompt_template(tree: Any) -> Any:
    return {key: decoded(item) for key, item in tree.items()} or None


DIALECT: Final = Dialect(
    name="openinference",
    title="OpenInference",
    namespaces=_NAMESPACES,
    scopes=("openinference.instrumentation",),
    kinds=(KindRule("openinference.span.kind", _KINDS, states=True, note="UNKNOWN says nothing"),),
    rows=(
        Row("metadata.span_kind", "openinference.span.kind", other_kind, "only if PandaProbe has no such kind"),
        *named(messages, {"input": "llm.input_messages.*", "output": "llm.output_messages.*"}, form="messages"),
        Row("input", "llm.prompts.*", _prompts, form="messages"),
        Row("output", "llm.choices.*", _choices, form="messages"),
        *named(None, {"input": "input.value", "output": "output.value"}, "only if there are no messages", late=True),
        Row("embedding.input", "embedding.embeddings.*", _texts),
        Row("metadata.request_model", "llm.request.model_name", model, "only if another model answered"),
        Row("parameters", ("llm.invocation_parameters", "embedding.invocation_parameters"), parameters.bag),
        Row("cost", "llm.cost.*", _costs, "prompt is input, completion is output"),
        Row("metadata", "metadata", mapping),
        Row("documents", ("retrieval.documents.*", "reranker.output_documents.*"), documents),
        Row(
            "model", ("llm.response.model_name", "llm.model_name", "embedding.model_name", "reranker.model_name"), model
        ),
        Row("metadata.provider", ("llm.provider", "llm.system"), provider),
        Row("metadata.cost_details", "llm.cost.*", _cost_details),
        Row("metadata.finish_reasons", "llm.finish_reason", finish_reasons),
        Row("metadata.tools", "llm.tools.*", _tools),
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
