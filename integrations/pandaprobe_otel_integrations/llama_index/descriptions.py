"""What is known of a call of LlamaIndex when it begins, and of what it has found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._runs import Run
from pandaprobe_otel_integrations._shape import items, obj, string

from .kinds import Kind

_QUESTIONS: Final = ("str_or_query_bundle", "query", "query_bundle", "message", "user_msg", "query_str", "start_event")


def beginning(
    kind: Kind, instance: Any, arguments: Mapping[str, Any], parent: Run | None, *, with_content: bool
) -> tuple[str, dict[str, Any]]:
    """Name of the span, and what is known of it at once."""
    owner = type(instance).__name__
    agent = parent.agent if parent is not None else None
    if kind == "LLM":
        return "chat", {ours.OPERATION_NAME: "chat", names.PROVIDER: _provider(instance), names.AGENT_NAME: agent}
    if kind == "AGENT":
        name = string(getattr(instance, "name", None)) or owner
        return name, {ours.KIND: kind, ours.OPERATION_NAME: "invoke_agent", names.AGENT_NAME: name}
    attributes: dict[str, Any] = {ours.KIND: kind, names.AGENT_NAME: agent}
    if kind == "TOOL":
        name = str(instance.metadata.get_name())
        attributes |= {ours.OPERATION_NAME: "execute_tool", ours.TOOL_NAME: name, names.TOOL_TYPE: "function"}
        attributes[names.TOOL_CALL_ID] = parent.name if parent is not None and parent.span is None else None
        content = {names.TOOL_CALL_ARGUMENTS: _tool_arguments(arguments)}
    elif kind == "EMBEDDING":
        name = f"embeddings {getattr(instance, 'model_name', owner)}"
        attributes |= {ours.OPERATION_NAME: "embeddings", names.REQUEST_MODEL: getattr(instance, "model_name", None)}
        content = {ours.INPUT: next(iter(arguments.values()), None)}
    else:
        name, content = owner, {ours.INPUT: _asked(arguments)}
        if kind == "RETRIEVER":
            content = {names.RETRIEVAL_QUERY: _asked(arguments)}
    return name, attributes | (dict(encoded(content)) if with_content else {})


def _asked(arguments: Mapping[str, Any]) -> Any:
    """The question among the arguments: a text, or a bundle with one."""
    first = next((arguments[name] for name in _QUESTIONS if arguments.get(name) is not None), None)
    return getattr(first, "query_str", None) or (str(first) if first is not None else None)


def _tool_arguments(arguments: Mapping[str, Any]) -> Any:
    if "kwargs" not in arguments and "input" in arguments:
        return {"input": arguments["input"]}
    given = {str(at): value for at, value in enumerate(items(arguments.get("args")))}
    return {**given, **obj(arguments.get("kwargs"))}


def _provider(instance: Any) -> str:
    """The provider, by the package that the model's class comes from: `llama_index.llms.openai.base`."""
    parts = type(instance).__module__.split(".")
    return parts[2] if len(parts) > 3 and parts[:2] == ["llama_index", "llms"] else type(instance).__name__.lower()


def document(found: Any) -> dict[str, Any]:
    """A node that was found, with its text and its score."""
    node = getattr(found, "node", found)
    return {"id": node.node_id, "content": node.get_content(), "score": getattr(found, "score", None)}
