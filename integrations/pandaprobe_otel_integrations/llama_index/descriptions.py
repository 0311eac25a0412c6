"""Attributes of a call of LlamaIndex, at its start and its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._runs import Run
from pandaprobe_otel_integrations._shape import integer, items, obj, string

from .agent_turns import answered, asked, content
from .kinds import Kind
from .values import document, fields_of, is_injected, names_of, result_of

_QUESTIONS: Final = ("str_or_query_bundle", "query", "query_bundle", "message", "user_msg", "query_str")


def beginning(
    kind: Kind, instance: Any, arguments: Mapping[str, Any], parent: Run | None, *, with_content: bool
) -> tuple[str, dict[str, Any]]:
    """Return the name of the span, and its initial attributes."""
    owner = type(instance).__name__
    agent = parent.agent if parent is not None else None
    if kind == "LLM":
        return "chat", {ours.OPERATION_NAME: "chat", names.PROVIDER: _provider(instance), names.AGENT_NAME: agent}
    if kind == "AGENT":
        name = string(getattr(instance, "name", None)) or owner
        event = arguments.get("start_event")
        said = guarded(asked, instance, event) if with_content and event is not None else None
        return name, turn_beginning(name) | encoded(content(said or {}, names.INPUT_MESSAGES, ours.INPUT))
    # The kind is the framework's own statement, so a span with it stays apart from the client's span of the same call.
    attributes: dict[str, Any] = {ours.KIND: None if kind == "EMBEDDING" else kind, names.AGENT_NAME: agent}
    if kind == "TOOL":
        name = str(instance.metadata.get_name())
        attributes |= {ours.OPERATION_NAME: "execute_tool", ours.TOOL_NAME: name, names.TOOL_TYPE: "function"}
        attributes[names.TOOL_CALL_ID] = parent.name if parent is not None and parent.span is None else None
        told = {names.TOOL_CALL_ARGUMENTS: _tool_arguments(arguments)}
    elif kind == "EMBEDDING":
        name = f"embeddings {getattr(instance, 'model_name', owner)}"
        attributes |= {ours.OPERATION_NAME: "embeddings", names.REQUEST_MODEL: getattr(instance, "model_name", None)}
        told = {ours.INPUT: next(iter(arguments.values()), None)}
    elif "start_event" in arguments:
        name, told = owner, {ours.INPUT: guarded(fields_of, arguments["start_event"])}
    elif kind == "RETRIEVER" and "nodes" in arguments:
        found = [document(each) for each in items(arguments["nodes"])]
        name, told = owner, {ours.INPUT: {"query": _question(arguments), "documents": found}}
    elif kind == "RETRIEVER":
        name, told = owner, {names.RETRIEVAL_QUERY: _question(arguments)}
        attributes[names.RETRIEVAL_TOP_K] = integer(getattr(instance, "similarity_top_k", None))
    else:
        name, told = owner, {ours.INPUT: _question(arguments)}
    return name, attributes | (encoded(told) if with_content else {})


def name_of_ending(kind: Kind | None, arguments: Mapping[str, Any]) -> str:
    """Return the name under which `ending` finds a run: its kind, except for workflows and their steps."""
    if kind is None:
        return "STEP"
    return "WORKFLOW" if kind == "CHAIN" and "start_event" in arguments else kind


def ending(name: str, result: Any) -> dict[str, Any]:
    """Return the result of a run that is not a model call."""
    if name.startswith("TOOL"):
        return {names.TOOL_CALL_RESULT: getattr(result, "content", result)}
    if name == "RETRIEVER":
        return {names.RETRIEVAL_DOCUMENTS: [document(each) for each in result]}
    if name == "AGENT":
        return content(answered(getattr(result, "result", None)), names.OUTPUT_MESSAGES, ours.OUTPUT)
    if name in ("STEP", "WORKFLOW"):
        return {ours.OUTPUT: fields_of(result) if name == "STEP" else result_of(result)}
    if name == "CHAIN":
        told = getattr(result, "response", None) or result
        return {ours.OUTPUT: told if isinstance(told, (str, dict, list)) else str(told)}
    return {}


def turn_beginning(name: str) -> dict[str, Any]:
    """Return the initial attributes of an agent."""
    return {ours.KIND: "AGENT", ours.OPERATION_NAME: "invoke_agent", names.AGENT_NAME: name}


def step_beginning(method: str, event: Any, parent: Run | None, *, with_content: bool) -> tuple[str, dict[str, Any]]:
    """Return the initial attributes of a workflow's step."""
    said = to_json({"event": names_of(event)})
    attributes: dict[str, Any] = {ours.KIND: "CHAIN", ours.SPAN_METADATA: said}
    attributes[names.AGENT_NAME] = parent.agent if parent is not None else None
    return method, attributes | (encoded({ours.INPUT: guarded(fields_of, event)}) if with_content else {})


def _question(arguments: Mapping[str, Any]) -> Any:
    """Return the question among the arguments: a text, or a bundle with one."""
    first = next((arguments[name] for name in _QUESTIONS if arguments.get(name) is not None), None)
    return getattr(first, "query_str", None) or (str(first) if first is not None else None)


def _tool_arguments(arguments: Mapping[str, Any]) -> Any:
    if "kwargs" not in arguments and "input" in arguments:
        return {"input": arguments["input"]}
    given = {str(at): value for at, value in enumerate(items(arguments.get("args")))}
    given |= obj(arguments.get("kwargs"))
    return {name: value for name, value in given.items() if not is_injected(value)}


def _provider(instance: Any) -> str:
    """Return the provider from the package of the model's class: `llama_index.llms.openai.base`."""
    parts = type(instance).__module__.split(".")
    return parts[2] if len(parts) > 3 and parts[:2] == ["llama_index", "llms"] else type(instance).__name__.lower()
