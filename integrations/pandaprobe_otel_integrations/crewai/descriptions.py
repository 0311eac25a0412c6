"""Name and attributes of each kind of step except model calls, at its start and its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._json import object_from_json, to_json
from pandaprobe_otel_integrations._other_members import RESPONSE, rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import items, obj, string

from .model_calls import conversation

Attributes = dict[str, Any]

_OF_TASKS: Final = (
    "description",
    "expected_output",
    "config",
    "output_file",
    "human_input",
    "guardrail",
    "guardrails",
    "output_pydantic",
    "output_json",
    "response_model",
)
_OF_REMOTE: Final = ("context_id", "agent_card", "provider", "skill_id", "metadata", "extensions")
_OF_RECORDS: Final = frozenset({"content", "embedding", "created_at", "last_accessed"})
_OF_MATCHES: Final = frozenset({"record", "score"})


def beginning(kind: str, source: Any, event: Any) -> tuple[str, Attributes]:
    """Return the name of the span, and its attributes that do not depend on the content switch."""
    return _BEGINNINGS[kind](source, event)


def asked(kind: str, source: Any, event: Any) -> Content:
    """Return the input of the step."""
    return _ASKED[kind](source, event) if kind in _ASKED else {}


def answered(kind: str, event: Any) -> Content:
    """Return the result of the step from the `event` that reports its success."""
    return _ANSWERED[kind](event) if kind in _ANSWERED else {}


def given_session(kind: str, event: Any) -> str | None:
    """Return the conversation of the step: a named flow state, or the session of a turn."""
    if kind == "flow":
        return string(obj(event.inputs).get("id"))
    return string(event.session_id) if kind == "turn" else None


def role(agent: Any, event: Any) -> str | None:
    """Return the agent's role, which is its name."""
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


def _remote(event: Any) -> tuple[str, Attributes]:
    """Return an agent of another service that uses A2A."""
    name = string(obj(event.agent_card).get("name")) or str(event.endpoint)
    return name, {
        ours.KIND: "AGENT",
        ours.OPERATION_NAME: "invoke_agent",
        names.AGENT_NAME: name,
        names.CONVERSATION_ID: string(event.context_id),
    }


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
    "mcp": _tool,
    "remote": lambda source, event: _remote(event),
    "saving": lambda source, event: ("save memory", {ours.KIND: "OTHER"}),
    "memory": _retriever("memory"),
    "knowledge": _retriever("knowledge"),
    "guardrail": lambda source, event: (string(event.guardrail_name) or "guardrail", {ours.KIND: "OTHER"}),
}


# -- content ----------------------------------------------------------------------------------------------------------


def _user(text: str) -> list[Part]:
    return conversation(text) if text else []


def _assistant(text: Any) -> list[Part]:
    return [{"role": "assistant", "parts": [parts.text(str(text))], "finish_reason": "stop"}] if text else []


def _input_of_crew(crew: Any, event: Any) -> Content:
    """Return the crew's inputs; if there are none, the descriptions of its tasks."""
    inputs = obj(event.inputs)
    if inputs:
        return {ours.INPUT: dict(inputs)}
    return {
        names.INPUT_MESSAGES: _user("\n".join(str(task.description) for task in items(getattr(crew, "tasks", None))))
    }


def _input_of_task(task: Any, event: Any) -> Content:
    """Return the task's text, the settings that affect the answer, and the outputs of earlier tasks."""
    said = rest({name: _setting(getattr(task, name, None) or None) for name in _OF_TASKS}, frozenset())
    return {ours.INPUT: {**said, **({"context": event.context} if event.context else {})}}


def _setting(value: Any) -> Any:
    """Return a setting unchanged, or a function by its name."""
    if isinstance(value, (list, tuple)):
        return [_setting(one) for one in items(value)]
    return getattr(value, "__qualname__", repr(value)) if callable(value) and not isinstance(value, type) else value


def _input_of_agent(_: Any, event: Any) -> Content:
    prompt = getattr(event, "task_prompt", None)
    return {names.INPUT_MESSAGES: conversation(event.messages if prompt is None else prompt)}


_ASKED: Final[Mapping[str, Callable[[Any, Any], Content]]] = {
    "flow": lambda flow, event: {ours.INPUT: dict(obj(event.inputs))},
    "method": lambda flow, event: {ours.INPUT: dict(obj(event.params))},
    "crew": _input_of_crew,
    "task": _input_of_task,
    "agent": _input_of_agent,
    "tool": lambda source, event: {names.TOOL_CALL_ARGUMENTS: parts.decoded_arguments(event.tool_args)},
    "mcp": lambda source, event: {names.TOOL_CALL_ARGUMENTS: dict(obj(event.tool_args))},
    "memory": lambda source, event: _input_of_memory(event),
    "saving": lambda source, event: {ours.INPUT: _only(event, "value", "metadata")},
    "remote": lambda source, event: {names.INPUT_MESSAGES: _user(event.task_description), **_rest(event, _OF_REMOTE)},
    "guardrail": lambda source, event: {ours.INPUT: {"guardrail": event.guardrail, "retry_count": event.retry_count}},
}


def _only(event: Any, *members: str) -> dict[str, Any]:
    """Return these members of an event, without empty ones."""
    return rest({name: getattr(event, name, None) for name in members}, frozenset())


def _rest(event: Any, members: tuple[str, ...]) -> Content:
    found = _only(event, *members)
    return {RESPONSE: {"response": found}} if found else {}


def _input_of_memory(event: Any) -> Content:
    """Return the query. With a score threshold, return the limit and the threshold too."""
    if getattr(event, "score_threshold", None) is None:
        return {names.RETRIEVAL_QUERY: event.query}
    return {ours.INPUT: _only(event, "query", "limit", "score_threshold")}


def beside(event: Any) -> tuple[str, Any] | None:
    """Return an event's data about the step in which it happens: a name, and the content under it."""
    told = _TOLD_BESIDE.get(event.type)
    found = _only(event, *told[1]) if told is not None else {}
    return (told[0], found) if told is not None and found else None


_TOLD_BESIDE: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "flow_input_requested": ("asked", ("message", "metadata")),
    "flow_input_received": ("input", ("message", "response", "metadata", "response_metadata")),
    "human_feedback_requested": ("asked", ("message", "output", "emit")),
    "human_feedback_received": ("feedback", ("feedback", "outcome")),
    "conversation_route_selected": ("routes", ("route", "user_message", "previous_intent")),
    "mcp_tool_execution_started": ("server", ("server_name", "server_url", "transport_type")),
    "hook_dispatched": ("hooks", ("interception_point", "abort_reason", "abort_source")),
}
"""Type of an event to the name under which its members are recorded, and those members."""


def _answered_by_crew(event: Any) -> Content:
    made = _plain(event.output)
    return {names.OUTPUT_MESSAGES: _assistant(made)} if isinstance(made, str) else {ours.OUTPUT: made}


def _found_in_memory(event: Any) -> Content:
    found = items(event.results)
    return {names.RETRIEVAL_DOCUMENTS: [_memory(one) for one in found] or str(event.results)}


def _memory(match: Any) -> Part:
    """Return a match of CrewAI's memory: a record with its score, and the other data of both."""
    record = getattr(match, "record", match)
    fields = obj(record)
    content = getattr(record, "content", None) or fields.get("content") or str(record)
    known = {**rest(fields, _OF_RECORDS), **rest(obj(match) if match is not record else {}, _OF_MATCHES)}
    found = {"content": content, "score": getattr(match, "score", None) or fields.get("score")}
    return {**found, "metadata": known} if known else found


def _left_by_method(event: Any) -> Content:
    """Return the method's result, and the flow's state after it."""
    state = obj(event.state)
    return {ours.OUTPUT: _plain(event.result), **({RESPONSE: {"response": {"state": dict(state)}}} if state else {})}


_ANSWERED: Final[Mapping[str, Callable[[Any], Content]]] = {
    "flow": _left_by_method,
    "method": _left_by_method,
    "crew": _answered_by_crew,
    "task": lambda event: {ours.OUTPUT: _plain(event.output)},
    "agent": lambda event: {names.OUTPUT_MESSAGES: _assistant(event.output)},
    "tool": lambda event: {names.TOOL_CALL_RESULT: _plain(event.output)},
    "mcp": lambda event: {names.TOOL_CALL_RESULT: _plain(event.result)},
    "remote": lambda event: {names.OUTPUT_MESSAGES: _assistant(event.result)},
    "memory": _found_in_memory,
    "knowledge": lambda event: {
        names.RETRIEVAL_QUERY: event.query,
        names.RETRIEVAL_DOCUMENTS: [{"content": event.retrieved_knowledge}],
    },
    "guardrail": lambda event: {
        ours.OUTPUT: {"success": event.success, "result": _plain(event.result), "error": event.error}
    },
}


def _plain(value: Any) -> Any:
    """Return the value that a crew, task, flow or tool passes on.

    CrewAI's own outputs become their text or their structured object. Everything else is returned unchanged.
    """
    raw = getattr(value, "raw", None)
    if not isinstance(raw, str):
        return value
    made = getattr(value, "json_dict", None) or getattr(value, "pydantic", None)
    if made is None:
        return raw
    told = dict(obj(made))
    return told if object_from_json(raw) is not None else {"raw": raw, "object": told}
