"""Messages and answers of LlamaIndex's models in the form of the conventions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, fields, is_dataclass
from inspect import isasyncgen, isawaitable, isgenerator
from typing import Any, Final, Literal

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import Content, Object, encoded, integer, items, obj, objects, string, to_json
from pandaprobe_otel_integrations._openai_protocol.usage import COUNTED, usage_attributes
from pandaprobe_otel_integrations._other_members import PARAMETERS, RESPONSE, rest, told, uncounted, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._runs import Run
from pandaprobe_otel_integrations._runs import plain as plain_value
from pandaprobe_otel_integrations._spans import agent as agent_attributes
from pandaprobe_otel_integrations._spans import tool
from pandaprobe_otel_integrations.anthropic.messages import Messages

_ANTHROPIC: Final = Messages()
_READ: Final = frozenset({"tools", "max_tokens", "model", "temperature", "stream", "stream_options"})
_BESIDE: Final = frozenset({"tool_calls", "tool_call_id"})
_TEXT: Final = frozenset({"block_type", "text"})
_THOUGHT: Final = frozenset({"block_type", "content"})
_CALL: Final = frozenset({"block_type", "tool_call_id", "tool_name", "tool_kwargs"})
_FILE: Final = frozenset({"block_type", "url", "data", "image", "audio", "video", "document"})
_ANSWERED: Final = frozenset(
    {
        "id", "object", "created", "created_at", "model", "usage", "choices", "content", "message", "role", "type",
        "stop_reason", "done", "done_reason", "output",
    }
)  # fmt: skip
"""Members of a provider's answer that are recorded elsewhere, or that are its time and format."""
_CHOICE: Final = frozenset({"index", "message", "delta", "finish_reason", "text"})
_SAID: Final = frozenset({"content", "role", "tool_calls", "refusal", "function_call"})
_COUNTED: Final = {**COUNTED, **dict.fromkeys(("cache_read_input_tokens", "cache_creation_input_tokens"))}
_REASONS: Final = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_call"}


def messages_of(messages: Iterable[Any]) -> list[Part]:
    """Return ChatMessages as messages with parts."""
    return [_message(each) for each in messages]


def answer_of(response: Any) -> list[Part]:
    """Return the answer of a ChatResponse or a CompletionResponse."""
    message = getattr(response, "message", None)
    if message is None:
        text = string(getattr(response, "text", None))
        return [{"role": "assistant", "parts": [parts.text(text)], "finish_reason": "stop"}] if text else []
    found = _message(message)
    calls = any(part["type"] == "tool_call" for part in found["parts"])
    return [{**found, "finish_reason": _reason(response) or ("tool_call" if calls else "stop")}]


def rest_of_answer(response: Any) -> Content:
    """Return values of the provider and its package beside the answer."""
    raw = obj(getattr(response, "raw", None))
    found = {**rest(obj(getattr(response, "additional_kwargs", None)), COUNTED.keys()), **rest(raw, _ANSWERED)}
    choices = [
        {**rest(choice, _CHOICE), **rest(obj(choice.get("message")), _SAID)} for choice in objects(raw.get("choices"))
    ]
    if any(choices):
        found["choices"] = choices
    if counted := uncounted(raw.get("usage"), _COUNTED):
        found["usage"] = counted
    if logprobs := items(getattr(response, "logprobs", None)):
        found["logprobs"] = [[rest(obj(token), frozenset({"bytes"})) for token in items(tokens)] for tokens in logprobs]
    return {RESPONSE: {"response": found}} if found else {}


def parameters_of(model: Object, more: Object) -> Content:
    """Return the parameters without an attribute: those of the call, and the model's constant ones."""
    found = {**rest(obj(model.get("additional_kwargs")), _READ), **rest(more, _READ)}
    return {PARAMETERS: found} if found else {}


def _reason(response: Any) -> str | None:
    raw = obj(getattr(response, "raw", None))
    choices = objects(raw.get("choices"))
    said = string(choices[0].get("finish_reason")) if choices else string(raw.get("stop_reason"))
    return "tool_call" if said == "tool_calls" else _REASONS.get(said or "", said)


def answer_attributes(response: Any) -> dict[str, Any]:
    """Return model, id and tokens from the provider's data."""
    raw = obj(getattr(response, "raw", None))
    usage = obj(raw.get("usage"))
    more = obj(getattr(response, "additional_kwargs", None))
    if "input_tokens" in usage:
        found = dict(_ANTHROPIC.answer({"usage": usage}, with_content=False).attributes)
    elif usage:
        found = usage_attributes(usage)
    else:
        found = {
            names.INPUT_TOKENS: integer(more.get("prompt_tokens")),
            names.OUTPUT_TOKENS: integer(more.get("completion_tokens")),
        }
    return {**found, names.RESPONSE_MODEL: string(raw.get("model")), names.RESPONSE_ID: string(raw.get("id"))}


def request_attributes(model: Object, more: Object) -> dict[str, Any]:
    """Return model and parameters of a call."""
    return {
        names.REQUEST_MODEL: string(model.get("model")) or string(model.get("model_name")),
        names.TEMPERATURE: model.get("temperature") if isinstance(model.get("temperature"), float) else None,
        names.MAX_TOKENS: integer(model.get("max_tokens")) or integer(more.get("max_tokens")),
    }


def tool_definitions(more: Object) -> list[Part]:
    """Return the tools that the model may call. LlamaIndex has them in OpenAI's form for many providers."""
    return [{"type": "function", **obj(tool.get("function"))} for tool in objects(more.get("tools"))]


def _message(message: Any) -> Part:
    role = str(getattr(message.role, "value", message.role))
    more = obj(message.additional_kwargs)
    found = [part for block in message.blocks if (part := _block(block)) is not None]
    beside = rest(more, _BESIDE)
    if role == "tool":
        text = "\n".join(str(part.get("content")) for part in found)
        answer = parts.tool_response(id=more.get("tool_call_id"), response=text)
        return {"role": role, "parts": [{**beside, **answer}]}
    known = {part["id"] for part in found if part["type"] == "tool_call"}
    for call in objects(more.get("tool_calls")):
        function = obj(call.get("function"))
        if call.get("id") not in known:
            name = string(function.get("name"))
            found.append(parts.tool_call(id=call.get("id"), name=name, arguments=function.get("arguments")))
    return {**beside, "role": role, "parts": found}


def _block(block: Any) -> Part | None:
    kind = str(getattr(block, "block_type", ""))
    if kind == "text":
        return _whole(parts.text(block.text), block, _TEXT) if block.text else None
    if kind == "thinking":
        return _whole(parts.reasoning(block.content), block, _THOUGHT) if block.content else None
    if kind == "tool_call":
        call = parts.tool_call(id=block.tool_call_id, name=block.tool_name, arguments=block.tool_kwargs)
        return _whole(call, block, _CALL)
    url = getattr(block, "url", None)
    if url is not None:
        return _whole(parts.media(str(url), kind), block, _FILE)
    data = getattr(block, kind, None) or getattr(block, "data", None)
    if isinstance(data, bytes):  # LlamaIndex keeps base64
        mime_type = string(getattr(block, f"{kind}_mimetype", None))
        return _whole(parts.base64_blob(data.decode("latin-1"), kind, mime_type), block, _FILE)
    return _whole({"type": kind}, block, _FILE) if kind else None


def _whole(part: Part, block: Any, known: Set[str]) -> Part:
    """Return a part with the other fields of its block that are set."""
    others = {
        name: value for name in block.model_fields_set - known if (value := getattr(block, name, None)) is not None
    }
    return with_rest(part, {name: _plain(value) for name, value in others.items()}, frozenset()) if others else part


def _plain(value: Any) -> Any:
    if hasattr(value, "block_type"):
        return _block(value)
    if isinstance(value, list):
        return [_plain(each) for each in items(value)]  # pyright: ignore[reportUnknownArgumentType]
    if value is None or isinstance(value, (str, int, float, bool, dict)):
        return told(value)
    return told(dict(obj(value))) or str(value)


# -- values of LlamaIndex as plain data: the inputs and results of workflows and their steps ---------------------------

_OF_LLAMA_INDEX: Final = ("llama_index.", "workflows")


def event_in(arguments: Mapping[str, Any]) -> Any:
    """Return the event that a step gets, under any argument name; several collected events as a list."""
    collected: Any = None
    for value in arguments.values():
        if "Event" in _bases(value):
            return value
        if isinstance(value, list) and value and "Event" in _bases(value[0]):
            collected = items(value)
    return collected


def names_of(event: Any) -> str | list[str]:
    """Return the classes of one event or of several."""
    return [str(type(each).__name__) for each in items(event)] if isinstance(event, list) else type(event).__name__


def fields_of(event: Any) -> Any:
    """Return the fields of an event, including undeclared ones; for several events, a list with the fields of each."""
    if isinstance(event, list):
        return [fields_of(each) for each in items(event)]
    return {name: plain(value) for name, value in _items(event)}


def result_of(event: Any) -> Any:
    """Return the result of a workflow: that of a `StopEvent`, otherwise the fields of the app's own event."""
    told = fields_of(event) if "Event" in _bases(event) else plain(event)
    return told["result"] if isinstance(told, dict) and told.keys() == {"result"} else told  # pyright: ignore[reportUnknownVariableType]


def plain(value: Any) -> Any:
    """Return messages with parts, nodes as documents, models and data classes by fields, and components by name."""
    return plain_value(value, _own)


def _own(value: Any, inside: Callable[[Any], Any]) -> Any:
    bases = _bases(value)
    if "ChatMessage" in bases:
        return messages_of([value])[0]
    if "NodeWithScore" in bases or "BaseNode" in bases:
        return document(value)
    if "BaseComponent" in bases or _is_work(value):
        return f"<{type(value).__name__}>"  # models and indexes: no data, and they contain keys
    kind: Any = value.__class__
    return {name: inside(item) for name, item in _items(value)} if hasattr(kind, "model_fields") else value


def document(found: Any) -> dict[str, Any]:
    """Return a node from a search, with its text, its score and its metadata."""
    node = getattr(found, "node", found)
    told = {"id": node.node_id, "content": node.get_content(), "score": getattr(found, "score", None)}
    return {**told, "metadata": plain(node.metadata)} if getattr(node, "metadata", None) else told


def is_injected(value: Any) -> bool:
    """Return whether the framework passes this to a function itself: the context of the workflow."""
    return "Context" in _bases(value)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the fields of an event or model, also the undeclared ones, except for operations in progress."""
    kind: Any = value.__class__
    declared = [each.name for each in fields(value)] if is_dataclass(value) else getattr(kind, "model_fields", ())
    found: dict[str, Any] = {name: getattr(value, name, None) for name in declared}
    found = {**found, **(getattr(value, "_data", None) or {}), "result": getattr(value, "_result", None)}
    yield from ((str(name), item) for name, item in found.items() if item is not None and not _is_work(item))


def _is_work(value: Any) -> bool:
    """Return whether this is an operation in progress and not data: an unread stream, a context."""
    return isgenerator(value) or isasyncgen(value) or isawaitable(value) or is_injected(value)


def _bases(value: Any) -> set[str]:
    return {base.__name__ for base in type(value).__mro__ if base.__module__.startswith(_OF_LLAMA_INDEX)}


# -- the agents of a team (`AgentWorkflow`). One agent at a time has its turn, until it hands over to another ----------

STEPS: Final = frozenset(
    {"init_run", "setup_agent", "run_agent_step", "parse_agent_output", "call_tool", "aggregate_tool_results"}
)
"""Steps of LlamaIndex's own agents, which get no span: their work is model calls and tools."""
_MESSAGES: Final = ("chat_history", "user_msg")
_NOT_GIVEN: Final = frozenset({"memory", *_MESSAGES})


@dataclass(slots=True, eq=False, kw_only=True)
class TeamRun(Run):
    """The run of a team."""

    turn: Run | None = None
    """The turn of the current agent."""

    def has_turn_of(self, agent: str | None) -> bool:
        """Return whether the current turn is this agent's. An event without a name belongs to the current agent."""
        return agent is None or (self.turn is not None and self.turn.agent == agent)


def asked(agent: Any, event: Any) -> dict[str, Any]:
    """Return the input of a run from the event that starts it: messages, and the app's other data."""
    given: Mapping[str, Any] = {**{name: getattr(event, name, None) for name in _MESSAGES}, **dict(event.items())}
    history, question = items(given.get("chat_history")), given.get("user_msg")
    messages = messages_of(history)
    if isinstance(question, str):
        messages.append({"role": "user", "parts": [{"type": "text", "content": question}]})
    elif question is not None:
        messages += messages_of([question])
    instructions = string(getattr(agent, "system_prompt", None))
    if messages and instructions and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "parts": [{"type": "text", "content": instructions}]})
    more = {name: plain(value) for name, value in given.items() if name not in _NOT_GIVEN and value is not None}
    return {"messages": messages, **more} if messages else more


def answered(result: Any) -> dict[str, Any]:
    """Return the result of a run: the answer, and the structured form that the app requested."""
    response = getattr(result, "response", None)
    messages = [{**each, "finish_reason": "stop"} for each in messages_of([response] if response is not None else [])]
    structured = plain(getattr(result, "structured_response", None))
    return {"messages": messages, **({"structured_response": structured} if structured is not None else {})}


def content(said: Mapping[str, Any], messages_name: str, whole_name: str) -> dict[str, Any]:
    """Return the attribute for messages if there are only messages, otherwise the attribute for all data."""
    if [*said] == ["messages"]:
        return {messages_name: said["messages"]}
    return {whole_name: said}


# -- the kind of a span of LlamaIndex's dispatcher, from its class and method name -------------------------------------

Kind = Literal["AGENT", "CHAIN", "LLM", "TOOL", "RETRIEVER", "EMBEDDING"]

_CALLS: Final[tuple[tuple[str, frozenset[str], Kind], ...]] = (
    ("BaseWorkflowAgent", frozenset({"run"}), "AGENT"),
    ("AgentWorkflow", frozenset({"run"}), "AGENT"),
    ("Workflow", frozenset({"run"}), "CHAIN"),
    (
        "BaseLLM",
        frozenset(
            {"chat", "achat", "stream_chat", "astream_chat", "complete", "acomplete", "stream_complete",
             "astream_complete"}
        ),
        "LLM",
    ),
    ("BaseTool", frozenset({"call", "acall", "__call__"}), "TOOL"),
    ("BaseRetriever", frozenset({"retrieve", "aretrieve"}), "RETRIEVER"),
    (
        "BaseEmbedding",
        frozenset(
            {"get_query_embedding", "aget_query_embedding", "get_text_embedding", "aget_text_embedding",
             "get_text_embedding_batch", "aget_text_embedding_batch"}
        ),
        "EMBEDDING",
    ),
    ("BaseQueryEngine", frozenset({"query", "aquery"}), "CHAIN"),
    ("BaseChatEngine", frozenset({"chat", "achat", "stream_chat", "astream_chat"}), "CHAIN"),
    ("BaseSynthesizer", frozenset({"synthesize", "asynthesize"}), "CHAIN"),
    # The public methods only call these, for which LlamaIndex makes spans.
    ("BaseNodePostprocessor", frozenset({"_postprocess_nodes", "_apostprocess_nodes"}), "RETRIEVER"),
)  # fmt: skip


_METHODS: Final = frozenset(name for _, methods, _ in _CALLS for name in methods)


def kind_of(instance: Any, method: str) -> Kind | None:
    """Return the kind; None for internals of the framework."""
    if instance is None or method not in _METHODS:
        return None
    bases = {base.__name__ for base in instance.__class__.__mro__ if base.__module__.startswith(_OF_LLAMA_INDEX)}
    return next((kind for base, methods, kind in _CALLS if base in bases and method in methods), None)


def is_team(instance: Any) -> bool:
    """Return whether this runs several agents."""
    return any(base.__name__ == "AgentWorkflow" for base in instance.__class__.__mro__)


# -- attributes of a call of LlamaIndex, at its start and its end ------------------------------------------------------

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
        return name, agent_attributes(name) | encoded(content(said or {}, names.INPUT_MESSAGES, ours.INPUT))
    # The kind is the framework's own statement, so a span with it stays apart from the client's span of the same call.
    attributes: dict[str, Any] = {ours.KIND: None if kind == "EMBEDDING" else kind, names.AGENT_NAME: agent}
    if kind == "TOOL":
        name = str(instance.metadata.get_name())
        attributes |= tool(name, parent.name if parent is not None and parent.span is None else None)
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
