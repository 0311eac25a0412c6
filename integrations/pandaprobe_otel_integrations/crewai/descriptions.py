"""The kinds of steps: name, attributes, input and result of each, from CrewAI's events."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Table, finish_reason, with_cached
from pandaprobe_otel_integrations._json import (
    Content,
    Object,
    integer,
    items,
    obj,
    object_from_json,
    objects,
    string,
    to_json,
)
from pandaprobe_otel_integrations._openai_protocol.chat_messages import input_message, tool_definition
from pandaprobe_otel_integrations._openai_protocol.usage import COUNTED, PARAMETERS
from pandaprobe_otel_integrations._other_members import answer_data, parameters, rest, uncounted
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._servers import place_at, provider_name
from pandaprobe_otel_integrations._spans import RETRIEVAL, tool
from pandaprobe_otel_integrations._spans import agent as agent_attributes

# -- values that CrewAI's events cut at a depth. Deeper values appear as their Python `repr` ---------------------------

_DEPTH: Final = 5
"""Depth below which CrewAI writes a value's `repr`, for example of a picture's address or a tool's arguments."""


def mended(value: Any, depth: int = 0) -> Any:
    """Return the value as it was before an event cut it, if its text allows that."""
    if depth >= _DEPTH:
        return _read(value) if isinstance(value, str) else value
    if isinstance(value, Mapping):
        return {name: mended(item, depth + 1) for name, item in obj(value).items()}
    if isinstance(value, (list, tuple)):
        return [mended(item, depth + 1) for item in items(value)]
    return value


def _read(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


# -- CrewAI's events about a model call, as attributes of the GenAI conventions ----------------------------------------

_NOT_SENT: Final = PARAMETERS.known - {"max_completion_tokens", "max_output_tokens"} | {
    "stop_sequences", "provider", "llm_type", "is_litellm", "additional_params", "api", "prefer_upload",
    "base_url", "api_base", "custom_openai", "client_params", "interceptor", "callbacks", "timeout", "max_retries",
    "parse_tool_outputs", "auto_chain", "auto_chain_reasoning", "context_window_size",
}  # fmt: skip
"""Members that are recorded elsewhere, and settings of CrewAI and its client."""


def _first(*values: Any) -> int | None:
    return next((count for value in values if (count := integer(value)) is not None), None)


def _unless_zero(*values: Any) -> int | None:
    return _first(*values) or None


_COUNTS: Final = Table(
    {
        ("prompt_tokens", "input_tokens", "prompt_token_count", "inputTokens"): (names.INPUT_TOKENS, _first),
        ("completion_tokens", "output_tokens", "outputTokens"): (names.OUTPUT_TOKENS, _first),
        ("cached_prompt_tokens", "cacheReadInputTokens"): (names.CACHE_READ_TOKENS, _unless_zero),
        ("cache_creation_tokens", "cacheWriteInputTokens"): (names.CACHE_WRITE_TOKENS, _unless_zero),
        "reasoning_tokens": (names.REASONING_TOKENS, _unless_zero),
    }
)
_SUMS: Final = ("candidates_token_count", "total_tokens", "total_token_count", "totalTokens")
_COUNTED: Final = {**COUNTED, **dict.fromkeys((*_COUNTS.known, *_SUMS))}
_ASKED: Final = ("model", "temperature", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty")


def request_attributes(llm: Any, event: Any) -> dict[str, Any]:
    """Return model, provider, address and parameters of an LLMCallStartedEvent that `llm` has emitted."""
    said = string(getattr(llm, "provider", None)) or "openai"
    asked = {name: getattr(event, name, None) for name in (*_ASKED, "n", "stream")}
    return {
        **place_at(string(getattr(llm, "base_url", None)) or "", provider_name(said)),
        **PARAMETERS.read({**asked, "stop": getattr(event, "stop_sequences", None)}),
    }


def request_content(llm: Any, event: Any) -> Content:
    """Return the conversation, the tools and the other parameters of an LLMCallStartedEvent that `llm` has emitted."""
    return {
        names.INPUT_MESSAGES: conversation(mended(event.messages)),
        names.TOOL_DEFINITIONS: [tool_definition(one) for one in objects(mended(event.tools))],
        **parameters(_set_of(llm), _NOT_SENT),
    }


def _set_of(llm: Any) -> dict[str, Any]:
    """Return the app's settings of a model. The events contain only some of them."""
    chosen: Any = getattr(llm, "model_fields_set", None) or ()
    return {**{name: getattr(llm, name, None) for name in chosen}, **obj(getattr(llm, "additional_params", None))}


def conversation(messages: Any) -> list[Part]:
    """Return messages in CrewAI's own form, which is that of chat completions, or the text of a single one."""
    if isinstance(messages, str):
        return [{"role": "user", "parts": [parts.text(messages)]}]
    return [input_message(one) for one in objects(messages)]


def answer_attributes(event: Any) -> dict[str, Any]:
    """Return usage, id and finish reason of an LLMCallCompletedEvent; older versions of CrewAI contain less."""
    reason = string(getattr(event, "finish_reason", None))
    usage = obj(getattr(event, "usage", None))
    counts = _COUNTS.read(usage)
    return {
        names.RESPONSE_ID: string(getattr(event, "response_id", None)),
        names.FINISH_REASONS: [reason] if reason else None,
        # CrewAI includes cached tokens in Anthropic's input, but not in Bedrock's.
        **(with_cached(counts) if "inputTokens" in usage else counts),
    }


def answer_content(event: Any, thoughts: str) -> Content:
    """Return the answer: its text, or its tool calls."""
    response, calls = mended(event.response), tool_calls(event.response)
    said = [parts.reasoning(thoughts)] if thoughts else []
    said += calls or parts.texts(response if isinstance(response, str) else to_json(response))
    reason = string(getattr(event, "finish_reason", None)) or ("tool_calls" if calls else "stop")
    return {
        names.OUTPUT_MESSAGES: parts.answer_message(said, finish_reason(reason)),
        **answer_data(usage=uncounted(getattr(event, "usage", None), _COUNTED)),
    }


def tool_calls(response: Any) -> list[Part]:
    """Return the tool calls in a response, if it is a list of them in the provider's form."""
    found = [_tool_call(obj(one)) for one in items(mended(response))]
    return [one for one in found if one["name"]]


def _tool_call(call: Object) -> Part:
    described = obj(call.get("function")) or obj(call.get("function_call")) or call
    given = (call.get("call_id"), call.get("id"), call.get("toolUseId"))
    arguments = next((described[key] for key in ("arguments", "input", "args") if key in described), None)
    call_id = next((found for value in given if (found := string(value))), None)
    return parts.tool_call(id=call_id, name=described.get("name"), arguments=arguments)


Attributes = dict[str, Any]

_OF_TASKS: Final = (
    "description", "expected_output", "config", "output_file", "human_input", "guardrail", "guardrails",
    "output_pydantic", "output_json", "response_model",
)  # fmt: skip
_OF_REMOTE: Final = ("context_id", "agent_card", "provider", "skill_id", "metadata", "extensions")
_OF_RECORDS: Final = frozenset({"content", "embedding", "created_at", "last_accessed"})
_OF_MATCHES: Final = frozenset({"record", "score"})


def role(agent: Any, event: Any) -> str | None:
    """Return the agent's role, which is its name."""
    return string(getattr(agent, "role", None)) or string(obj(getattr(event, "agent_info", None)).get("role"))


# -- beginnings -------------------------------------------------------------------------------------------------------


def _model_call(llm: Any, event: Any) -> tuple[str, Attributes]:
    attributes = {ours.OPERATION_NAME: "chat", **request_attributes(llm, event)}
    model = attributes.get(names.REQUEST_MODEL)
    return (f"chat {model}" if model else "chat"), attributes


def _chain(name: Any, otherwise: str, session: Any = None, **metadata: Any) -> tuple[str, Attributes]:
    told = {ours.KIND: "CHAIN", names.CONVERSATION_ID: string(session)}
    return string(name) or otherwise, told | ({ours.SPAN_METADATA: to_json(metadata)} if metadata else {})


def _crew(crew: Any, event: Any) -> tuple[str, Attributes]:
    return _chain(event.crew_name, "crew", process=getattr(getattr(crew, "process", None), "value", None))


def _agent(agent: Any, event: Any) -> tuple[str, Attributes]:
    name = (role(agent, event) or "agent").strip()
    return name, agent_attributes(name)


def _tool(_: Any, event: Any) -> tuple[str, Attributes]:
    return f"execute_tool {event.tool_name}", tool(event.tool_name)


def _remote(_: Any, event: Any) -> tuple[str, Attributes]:
    """Return an agent of another service that uses A2A."""
    name = string(obj(event.agent_card).get("name")) or str(event.endpoint)
    return name, agent_attributes(name)


def _retrieval(name: str, event: Any) -> tuple[str, Attributes]:
    return name, {**RETRIEVAL, names.RETRIEVAL_TOP_K: getattr(event, "limit", None)}


# -- content ----------------------------------------------------------------------------------------------------------


def _user(text: str) -> list[Part]:
    return conversation(text) if text else []


def _assistant(text: Any) -> Content:
    return {names.OUTPUT_MESSAGES: parts.said(str(text)) if text else []}


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


def _input_of_remote(_: Any, event: Any) -> Content:
    return {names.INPUT_MESSAGES: _user(event.task_description), **answer_data(**_only(event, *_OF_REMOTE))}


def _input_of_memory(_: Any, event: Any) -> Content:
    """Return the query. With a score threshold, return the limit and the threshold too."""
    if getattr(event, "score_threshold", None) is None:
        return {names.RETRIEVAL_QUERY: event.query}
    return {ours.INPUT: _only(event, "query", "limit", "score_threshold")}


def _only(event: Any, *members: str) -> dict[str, Any]:
    """Return these members of an event, without empty ones."""
    return rest({name: getattr(event, name, None) for name in members}, frozenset())


def _answered_by_crew(event: Any) -> Content:
    made = _plain(event.output)
    return _assistant(made) if isinstance(made, str) else {ours.OUTPUT: made}


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
    return {ours.OUTPUT: _plain(event.result), **answer_data(state=dict(obj(event.state)))}


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


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of step: its name and attributes, its input, and its result from the event that reports its success."""

    begin: Callable[[Any, Any], tuple[str, Attributes]]
    asked: Callable[[Any, Any], Content] = lambda source, event: {}
    answered: Callable[[Any], Content] = lambda event: {}


KINDS: Final[Mapping[str, Kind]] = {
    "flow": Kind(
        lambda flow, event: _chain(event.flow_name, "flow", obj(event.inputs).get("id")),
        lambda flow, event: {ours.INPUT: dict(obj(event.inputs))},
        _left_by_method,
    ),
    "conversation_turn": Kind(lambda flow, event: _chain(event.flow_name, "turn", event.session_id)),
    "method_execution": Kind(
        lambda flow, event: _chain(event.method_name, "method"),
        lambda flow, event: {ours.INPUT: dict(obj(event.params))},
        _left_by_method,
    ),
    "crew_kickoff": Kind(_crew, _input_of_crew, _answered_by_crew),
    "task": Kind(
        lambda task, event: _chain(getattr(task, "name", None), "task"),
        _input_of_task,
        lambda event: {ours.OUTPUT: _plain(event.output)},
    ),
    "agent_execution": Kind(_agent, _input_of_agent, lambda event: _assistant(event.output)),
    "llm_call": Kind(_model_call, request_content),
    "tool_usage": Kind(
        _tool,
        lambda source, event: {names.TOOL_CALL_ARGUMENTS: parts.decoded_arguments(event.tool_args)},
        lambda event: {names.TOOL_CALL_RESULT: _plain(event.output)},
    ),
    "mcp_tool_execution": Kind(
        _tool,
        lambda source, event: {names.TOOL_CALL_ARGUMENTS: dict(obj(event.tool_args))},
        lambda event: {names.TOOL_CALL_RESULT: _plain(event.result)},
    ),
    "a2a_delegation": Kind(_remote, _input_of_remote, lambda event: _assistant(event.result)),
    "memory_save": Kind(
        lambda source, event: ("save memory", {ours.KIND: "OTHER"}),
        lambda source, event: {ours.INPUT: _only(event, "value", "metadata")},
    ),
    "memory_query": Kind(lambda source, event: _retrieval("memory", event), _input_of_memory, _found_in_memory),
    "knowledge_search_query": Kind(
        lambda source, event: _retrieval("knowledge", event),
        answered=lambda event: {
            names.RETRIEVAL_QUERY: event.query,
            names.RETRIEVAL_DOCUMENTS: [{"content": event.retrieved_knowledge}],
        },
    ),
    "llm_guardrail": Kind(
        lambda source, event: (string(event.guardrail_name) or "guardrail", {ours.KIND: "OTHER"}),
        lambda source, event: {ours.INPUT: {"guardrail": event.guardrail, "retry_count": event.retry_count}},
        lambda event: {ours.OUTPUT: {"success": event.success, "result": _plain(event.result), "error": event.error}},
    ),
}
"""The kinds of steps by the beginning of the types of their events. CrewAI's other scopes get no span."""


def beside(event: Any) -> tuple[str, Any] | None:
    """Return an event's data about the step in which it happens: a name, and the content under it."""
    name, *members = _BESIDE.get(event.type, ("",))
    found = _only(event, *members)
    return (name, found) if found else None


_BESIDE: Final[Mapping[str, tuple[str, ...]]] = {
    "flow_input_requested": ("asked", "message", "metadata"),
    "flow_input_received": ("input", "message", "response", "metadata", "response_metadata"),
    "human_feedback_requested": ("asked", "message", "output", "emit"),
    "human_feedback_received": ("feedback", "feedback", "outcome"),
    "conversation_route_selected": ("routes", "route", "user_message", "previous_intent"),
    "mcp_tool_execution_started": ("server", "server_name", "server_url", "transport_type"),
    "hook_dispatched": ("hooks", "interception_point", "abort_reason", "abort_source"),
}
"""Type of an event to the name under which its members are recorded, and those members."""
