"""What is said of each kind of step but model calls: its name and attributes, at its beginning and at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import items, obj, string

from .model_calls import conversation

Attributes = dict[str, Any]


def beginning(kind: str, source: Any, event: Any) -> tuple[str, Attributes]:
    """Name of the span, and what is said of it whether or not content is wanted."""
    return _BEGINNINGS[kind](source, event)


def asked(kind: str, source: Any, event: Any) -> Content:
    """What the step was given to do."""
    return _ASKED[kind](source, event) if kind in _ASKED else {}


def answered(kind: str, event: Any) -> Content:
    """What came of it. `event` is the one that tells of its success."""
    return _ANSWERED[kind](event) if kind in _ANSWERED else {}


def given_session(kind: str, event: Any) -> str | None:
    """The conversation that the step is part of: a flow's state, if the app has named it, or that of a turn."""
    if kind == "flow":
        return string(obj(event.inputs).get("id"))
    return string(event.session_id) if kind == "turn" else None


def role(agent: Any, event: Any) -> str | None:
    """The agent's role, which is its name."""
    return string(getattr(agent, "role", None)) or string(obj(getattr(event, "agent_info", None)).get("role"))


# -- beginnings -------------------------------------------------------------------------------------------------------


def _chain(name: str | None, kind: str, **metadata: Any) -> tuple[str, Attributes]:
    told: Attributes = {ours.KIND: "CHAIN"}
    if metadata:
        told[ours.SPAN_METADATA] = to_json(metadata)
    return name or kind, told


def _crew(crew: Any, event: Any) -> tuple[str, Attributes]:
    process = getattr(getattr(crew, "process", None), "value", None)
    return _chain(string(event.crew_name), "crew", process=process)


def _task(task: Any, event: Any) -> tuple[str, Attributes]:
    return _chain(string(getattr(task, "name", None)), "task")


def _agent(agent: Any, event: Any) -> tuple[str, Attributes]:
    name = (role(agent, event) or "agent").strip()
    return name, {ours.KIND: "AGENT", ours.OPERATION_NAME: "invoke_agent", names.AGENT_NAME: name}


def _tool(_: Any, event: Any) -> tuple[str, Attributes]:
    name = event.tool_name
    told = {ours.OPERATION_NAME: "execute_tool", names.TOOL_NAME: name, names.TOOL_TYPE: "function"}
    return f"execute_tool {name}", told


def _retriever(name: str) -> Callable[[Any, Any], tuple[str, Attributes]]:
    told: Attributes = {ours.KIND: "RETRIEVER", ours.OPERATION_NAME: "retrieval"}
    return lambda source, event: (name, {**told, names.RETRIEVAL_TOP_K: getattr(event, "limit", None)})


_BEGINNINGS: Final[Mapping[str, Callable[[Any, Any], tuple[str, Attributes]]]] = {
    "flow": lambda flow, event: _chain(string(event.flow_name), "flow"),
    "turn": lambda flow, event: _chain(string(event.flow_name), "turn"),
    "method": lambda flow, event: _chain(string(event.method_name), "method"),
    "crew": _crew,
    "task": _task,
    "agent": _agent,
    "tool": _tool,
    "memory": _retriever("memory"),
    "knowledge": _retriever("knowledge"),
    "guardrail": lambda source, event: (string(event.guardrail_name) or "guardrail", {ours.KIND: "OTHER"}),
}


# -- content ----------------------------------------------------------------------------------------------------------


def _user(text: str) -> list[Part]:
    return conversation(text) if text else []


def _assistant(text: Any) -> list[Part]:
    return [{"role": "assistant", "parts": [parts.text(str(text))], "finish_reason": "stop"}] if text else []


def _asked_of_crew(crew: Any, event: Any) -> Content:
    """Its inputs; for a crew without any, what its tasks say."""
    inputs = obj(event.inputs)
    lines = [f"{key}: {value}" for key, value in inputs.items()]
    lines = lines or [str(task.description) for task in items(getattr(crew, "tasks", None))]
    return {names.INPUT_MESSAGES: _user("\n".join(lines))}


def _asked_of_task(task: Any, event: Any) -> Content:
    said = {name: getattr(task, name, None) for name in ("description", "expected_output")}
    return {ours.INPUT: {**said, **({"context": event.context} if event.context else {})}}


def _asked_of_agent(_: Any, event: Any) -> Content:
    prompt = getattr(event, "task_prompt", None)
    return {names.INPUT_MESSAGES: conversation(event.messages if prompt is None else prompt)}


_ASKED: Final[Mapping[str, Callable[[Any, Any], Content]]] = {
    "flow": lambda flow, event: {ours.INPUT: dict(obj(event.inputs))},
    "method": lambda flow, event: {ours.INPUT: dict(obj(event.params))},
    "crew": _asked_of_crew,
    "task": _asked_of_task,
    "agent": _asked_of_agent,
    "tool": lambda source, event: {names.TOOL_CALL_ARGUMENTS: parts.decoded_arguments(event.tool_args)},
    "memory": lambda source, event: {names.RETRIEVAL_QUERY: event.query},
}


def _answered_by_crew(event: Any) -> Content:
    return {names.OUTPUT_MESSAGES: _assistant(getattr(event.output, "raw", event.output))}


def _found_in_memory(event: Any) -> Content:
    found = items(event.results)
    return {names.RETRIEVAL_DOCUMENTS: [_memory(one) for one in found] or str(event.results)}


def _memory(match: Any) -> Part:
    """A match of CrewAI's memory: a record with its score."""
    record = getattr(match, "record", match)
    content = getattr(record, "content", None) or obj(record).get("content") or str(record)
    return {"content": content, "score": getattr(match, "score", None)}


_ANSWERED: Final[Mapping[str, Callable[[Any], Content]]] = {
    "flow": lambda event: {ours.OUTPUT: _plain(event.result)},
    "method": lambda event: {ours.OUTPUT: _plain(event.result)},
    "crew": _answered_by_crew,
    "task": lambda event: {ours.OUTPUT: event.output.raw},
    "agent": lambda event: {names.OUTPUT_MESSAGES: _assistant(event.output)},
    "tool": lambda event: {names.TOOL_CALL_RESULT: _plain(event.output)},
    "memory": _found_in_memory,
    "knowledge": lambda event: {
        names.RETRIEVAL_QUERY: event.query,
        names.RETRIEVAL_DOCUMENTS: [{"content": event.retrieved_knowledge}],
    },
    "guardrail": lambda event: {ours.OUTPUT: {"success": event.success, "error": event.error}},
}


def _plain(value: Any) -> Any:
    """What a flow or a tool passes on: the text of CrewAI's own outputs, everything else as it is."""
    raw = getattr(value, "raw", None)
    return raw if isinstance(raw, str) else value
