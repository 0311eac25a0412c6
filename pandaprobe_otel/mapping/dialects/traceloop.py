"""OpenLLMetry (Traceloop): decorators' entities, indexed prompts up to 0.47, the GenAI conventions from 0.60 on."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping.dialect_table import Dialect, EventRow, KindRule, Row, named, other_kind
from pandaprobe_otel.mapping.dialects.events import first_time
from pandaprobe_otel.mapping.messages import typed_parts
from pandaprobe_otel.mapping.parameters import simple, whole
from pandaprobe_otel.mapping.values import count, decoded, flat, is_absent, items, text, type_of

_KINDS: Final = {"workflow": "CHAIN", "task": "CHAIN", "agent": "AGENT", "tool": "TOOL"}
_REQUEST_TYPES: Final = {"chat": "LLM", "completion": "LLM", "embedding": "EMBEDDING", "rerank": "RETRIEVER"}
_ROLES: Final = ("user", "system", "assistant")


def prompts(tree: Any) -> list[Any] | None:
    """Return the messages of `gen_ai.prompt.N.*`."""
    return [_message(entry, "user") for entry in items(tree) if type_of(entry) is dict] or None


def completions(tree: Any) -> list[Any] | None:
    """Return the messages of `gen_ai.completion.N.*`."""
    return [_message(entry, "assistant") for entry in items(tree) if type_of(entry) is dict] or None


def _message(source: Any, default: str) -> dict[str, Any]:
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


def _embedded(tree: Any) -> list[Any] | None:
    entries = [entry.get("content") for entry in items(tree) if type_of(entry) is dict]
    return [entry for entry in entries if type_of(entry) is str] or None


def _functions(tree: Any) -> list[Any] | None:
    tools = [
        {
            "type": "function",
            "function": {key: decoded(item) if key == "parameters" else item for key, item in entry.items()},
        }
        for entry in items(tree)
        if type_of(entry) is dict
    ]
    return tools or None


def _finish_reasons(tree: Any) -> list[str] | None:
    reasons = [entry.get("finish_reason") for entry in items(tree) if type_of(entry) is dict]
    return [reason for reason in reasons if type_of(reason) is str and reason] or None


DIALECT: Final = Dialect(
    name="traceloop",
    title="OpenLLMetry (Traceloop)",
    namespaces=("traceloop.span.", "traceloop.entity.", "llm.request.", "llm.usage."),
    scopes=("traceloop.",),
    kinds=(
        KindRule("traceloop.span.kind", _KINDS),
        KindRule("llm.request.type", _REQUEST_TYPES),
    ),
    rows=(
        Row("metadata.span_kind", "traceloop.span.kind", other_kind, "only if PandaProbe has no such kind"),
        Row("input", "gen_ai.prompt.*", prompts, "up to 0.47, by number", form="messages"),
        Row("output", "gen_ai.completion.*", completions, "up to 0.47, by number", form="messages"),
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
        Row("embedding.input", "gen_ai.prompt.*", _embedded),
        Row("parameters.top_k", "llm.top_k", whole),
        Row("metadata.tools", "llm.request.functions.*", _functions),
        Row("metadata.finish_reasons", "gen_ai.completion.*", _finish_reasons),
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
