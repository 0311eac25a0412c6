"""Calls of LlamaIndex in the form of the conventions: messages and answers of models, values, and kinds of calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from inspect import isasyncgen, isawaitable, isgenerator
from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Answer, finish_reason
from pandaprobe_otel_integrations._json import Content, Object, integer, items, obj, objects, string, to_json
from pandaprobe_otel_integrations._openai_protocol.chat import ChatCompletions
from pandaprobe_otel_integrations._openai_protocol.chat_messages import input_message, tool_definition
from pandaprobe_otel_integrations._openai_protocol.responses import Responses
from pandaprobe_otel_integrations._openai_protocol.usage import COUNTED, PARAMETERS, usage_attributes
from pandaprobe_otel_integrations._other_members import (
    RESPONSE,
    Reader,
    answer_data,
    parameters,
    reading,
    rest,
    with_rest,
)
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._runs import plain as plain_value
from pandaprobe_otel_integrations._spans import agent as agent_attributes
from pandaprobe_otel_integrations._spans import tool
from pandaprobe_otel_integrations.anthropic.messages import Messages

# -- requests of models ------------------------------------------------------------------------------------------------

_READ: Final = PARAMETERS.known | {"tools", "stream_options"}


def request_content(event: Any, request: Object) -> Content:
    """Return messages or prompt, tools, and the parameters without an attribute."""
    prompt = string(getattr(event, "prompt", None))
    return {
        names.INPUT_MESSAGES: parts.user_message(parts.texts(prompt)) if prompt else messages_of(event.messages),
        names.TOOL_DEFINITIONS: [tool_definition(one) for one in objects(request.get("tools"))],
        **parameters(request, _READ),
    }


def request_of(event: Any) -> Object:
    """Return the parameters of a call: its own, and the model's constant ones."""
    model = obj(event.model_dict)
    found = {name: model.get(name) for name in ("temperature", "max_tokens")}
    found["model"] = model.get("model") or model.get("model_name")
    return {**found, **obj(model.get("additional_kwargs")), **obj(event.additional_kwargs)}


# -- answers of models, with what LlamaIndex keeps of the service's own answer -----------------------------------------


class _Chat(ChatCompletions):
    """An answer with the members of chat completions, or of a service that is not known."""

    empty = (*ChatCompletions.empty, "created_at", "content", "message", "role", "type", "done")


_CHAT: Final = _Chat()
_MESSAGES: Final = Messages()
_RESPONSES: Final = Responses()


def answer_of(response: Any) -> tuple[dict[str, Any], Callable[[], Content]]:
    """Return the attributes and the content of a ChatResponse or a CompletionResponse."""
    raw, more = obj(getattr(response, "raw", None)), obj(getattr(response, "additional_kwargs", None))
    usage = obj(raw.get("usage"))
    protocol = _RESPONSES if "output" in raw else _MESSAGES if "input_tokens" in usage else _CHAT
    found = {**usage_attributes(more), **protocol.answer(raw, with_content=False).attributes}
    return found, lambda: _answer_content(response, protocol.answer(raw, with_content=True), more)


def _answer_content(response: Any, answer: Answer, more: Object) -> Content:
    theirs, *others = items(answer.content.get(names.OUTPUT_MESSAGES)) or [{}]
    message = getattr(response, "message", None)
    text = parts.texts(getattr(response, "text", None))
    own: Part = _message(message) if message is not None else {"role": "assistant", "parts": text}
    own["parts"] = own["parts"] or items(theirs.get("parts"))
    calls = any(part["type"] == "tool_call" for part in own["parts"])
    reason, *_ = answer.attributes.get(names.FINISH_REASONS) or ["tool_call" if calls else "stop"]
    beside = rest({**more, "logprobs": getattr(response, "logprobs", None)}, COUNTED.keys())
    return {
        names.OUTPUT_MESSAGES: [{**theirs, **own, "finish_reason": finish_reason(reason)}, *others],
        **answer_data(**{**beside, **obj(obj(answer.content.get(RESPONSE)).get("response"))}),
    }


# -- messages ----------------------------------------------------------------------------------------------------------

_BESIDE: Final = frozenset({"tool_calls", "tool_call_id"})
_FILE: Final = frozenset({"block_type", "url", "data", "image", "audio", "video", "document"})


def messages_of(messages: Iterable[Any]) -> list[Part]:
    """Return ChatMessages as messages with parts."""
    return [_message(each) for each in messages]


def _message(message: Any) -> Part:
    role = str(getattr(message.role, "value", message.role))
    more = obj(message.additional_kwargs)
    dumped = (block.model_dump(mode="json", exclude_none=True) for block in message.blocks)
    found = [part for block in dumped if (part := _block(block)) is not None]
    beside = rest(more, _BESIDE)
    if role == "tool":
        answer = parts.tool_response(more.get("tool_call_id"), parts.text_or(found))
        return {"role": role, "parts": [{**beside, **answer}]}
    known = {part.get("id") for part in found}
    calls = input_message({"role": "assistant", "tool_calls": more.get("tool_calls")})["parts"]
    return {**beside, "role": role, "parts": [*found, *(call for call in calls if call["id"] not in known)]}


def _block(block: Object) -> Part | None:
    kind = str(block.get("block_type"))
    return _READERS.get(kind, _medium)({name: _inside(value) for name, value in block.items()})


def _inside(value: Any) -> Any:
    """Return a member of a block with the blocks in it as parts."""
    if isinstance(value, list):
        return [_inside(each) for each in items(value)]  # pyright: ignore[reportUnknownArgumentType]
    return _block(obj(value)) if isinstance(value, dict) and "block_type" in value else value  # pyright: ignore[reportUnknownVariableType]


def _medium(block: Object) -> Part:
    kind = str(block["block_type"])
    found: Part = {"type": kind}
    if url := string(block.get("url")):
        found = parts.media(url, kind)
    elif data := string(block.get(kind)) or string(block.get("data")):  # LlamaIndex keeps base64
        found = parts.base64_blob(data, kind, string(block.get(f"{kind}_mimetype")))
    return with_rest(found, block, _FILE)


def _unless_empty(read: Callable[[str], Part]) -> Callable[[Any], Part | None]:
    return lambda text: read(text) if text else None


_KIND: Final = frozenset({"block_type"})
_READERS: Final[Mapping[str, Reader]] = {
    "text": reading(_unless_empty(parts.text), "text", beside=_KIND),
    "thinking": reading(_unless_empty(parts.reasoning), "content", beside=_KIND),
    "tool_call": reading(parts.tool_call, "tool_call_id", "tool_name", "tool_kwargs", beside=_KIND),
}

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
    kind: Any = value.__class__  # also that of an object behind a proxy, as a tool that a recording answers
    return {base.__name__ for base in kind.__mro__ if base.__module__.startswith(_OF_LLAMA_INDEX)}


# -- inputs and results of agents and teams ----------------------------------------------------------------------------

STEPS: Final = frozenset(
    {"init_run", "setup_agent", "run_agent_step", "parse_agent_output", "call_tool", "aggregate_tool_results"}
)
"""Steps of LlamaIndex's own agents, which get no span: their work is model calls and tools."""
_MESSAGES_OF_AGENTS: Final = ("chat_history", "user_msg")
_NOT_GIVEN: Final = frozenset({"memory", *_MESSAGES_OF_AGENTS})


def _asked(call: Call) -> Content:
    """Return the input of a run from the event that starts it: messages, and the app's other data."""
    if (event := call.arguments.get("start_event")) is None:
        return {}
    given: Mapping[str, Any] = {
        **{name: getattr(event, name, None) for name in _MESSAGES_OF_AGENTS},
        **dict(event.items()),
    }
    question = given.get("user_msg")
    messages = messages_of(items(given.get("chat_history")))
    if isinstance(question, str):
        messages += parts.user_message(parts.texts(question))
    elif question is not None:
        messages += messages_of([question])
    instructions = string(getattr(call.instance, "system_prompt", None))
    if messages and instructions and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "parts": [parts.text(instructions)]})
    more = {name: plain(value) for name, value in given.items() if name not in _NOT_GIVEN and value is not None}
    return _content(messages, more, names.INPUT_MESSAGES, ours.INPUT)


def _answered(result: Any) -> Content:
    """Return the result of a run: the answer, and the structured form that the app requested."""
    made = getattr(result, "result", None)
    response = getattr(made, "response", None)
    messages = [{**each, "finish_reason": "stop"} for each in messages_of([response] if response is not None else [])]
    structured = plain(getattr(made, "structured_response", None))
    more = {"structured_response": structured} if structured is not None else {}
    return _content(messages, more, names.OUTPUT_MESSAGES, ours.OUTPUT)


def _content(messages: list[Part], more: Mapping[str, Any], of_messages: str, of_all: str) -> Content:
    """Return the attribute for messages if there are only messages, otherwise the attribute for all data."""
    if not more:
        return {of_messages: messages}
    return {of_all: {"messages": messages, **more} if messages else more}


# -- the kinds of calls: name and attributes, input, and result of each ------------------------------------------------


@dataclass(frozen=True, slots=True)
class Call:
    """A call in LlamaIndex."""

    instance: Any
    """The object whose method is called; for a step, its event."""
    method: str
    arguments: Mapping[str, Any]
    tool_id: str | None = None
    """The model's id of a tool call."""

    @property
    def owner(self) -> str:
        """Return the name of the class whose method is called."""
        return type(self.instance).__name__

    @property
    def question(self) -> Any:
        """Return the question among the arguments: a text, or a bundle with one."""
        first = next((value for name in _QUESTIONS if (value := self.arguments.get(name)) is not None), None)
        return getattr(first, "query_str", None) or (str(first) if first is not None else None)


Attributes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of calls. The span's name is that of the class unless `begin` returns another."""

    kind: str
    begin: Callable[[Call], tuple[str, Attributes]]
    asked: Callable[[Call], Content] = lambda call: {}
    answered: Callable[[Any], Content] = lambda result: {}


_QUESTIONS: Final = ("str_or_query_bundle", "query", "query_bundle", "message", "user_msg", "query_str")


def _chain(call: Call) -> tuple[str, Attributes]:
    # The kind is the framework's own statement, so a span with it stays apart from the client's span of the same call.
    return call.owner, {ours.KIND: "CHAIN"}


def _agent(call: Call) -> tuple[str, Attributes]:
    name = string(getattr(call.instance, "name", None)) or call.owner
    return name, agent_attributes(name)


def _model(call: Call) -> tuple[str, Attributes]:
    """Return the provider from the package of the model's class: `llama_index.llms.openai.base`."""
    path = type(call.instance).__module__.split(".")
    provider = path[2] if len(path) > 3 and path[:2] == ["llama_index", "llms"] else call.owner.lower()
    return "chat", {ours.OPERATION_NAME: "chat", names.PROVIDER: provider}


def _tool(call: Call) -> tuple[str, Attributes]:
    name = str(call.instance.metadata.get_name())
    return name, {**tool(name, call.tool_id), ours.KIND: "TOOL"}


def _embedding(call: Call) -> tuple[str, Attributes]:
    model = getattr(call.instance, "model_name", None)
    return f"embeddings {model or call.owner}", {ours.OPERATION_NAME: "embeddings", names.REQUEST_MODEL: model}


def _search(call: Call) -> tuple[str, Attributes]:
    return call.owner, {
        ours.KIND: "RETRIEVER",
        names.RETRIEVAL_TOP_K: integer(getattr(call.instance, "similarity_top_k", None)),
    }


def _arguments(call: Call) -> Content:
    given = call.arguments
    if "kwargs" not in given and "input" in given:
        return {names.TOOL_CALL_ARGUMENTS: {"input": given["input"]}}
    named = {**{str(at): value for at, value in enumerate(items(given.get("args")))}, **obj(given.get("kwargs"))}
    return {names.TOOL_CALL_ARGUMENTS: {name: value for name, value in named.items() if not is_injected(value)}}


def _changed(call: Call) -> Content:
    return {
        ours.INPUT: {"query": call.question, "documents": [document(each) for each in items(call.arguments["nodes"])]}
    }


def _found(result: Any) -> Content:
    return {names.RETRIEVAL_DOCUMENTS: [document(each) for each in result]}


def _response(result: Any) -> Content:
    told = getattr(result, "response", None) or result
    return {ours.OUTPUT: told if isinstance(told, (str, dict, list)) else str(told)}


def _step(call: Call) -> tuple[str, Attributes]:
    return call.method, {ours.KIND: "CHAIN", ours.SPAN_METADATA: to_json({"event": names_of(call.instance)})}


STEP: Final = Kind(
    "CHAIN", _step, lambda call: {ours.INPUT: fields_of(call.instance)}, lambda event: {ours.OUTPUT: fields_of(event)}
)
"""A step of a workflow."""
_AGENT: Final = Kind("AGENT", _agent, _asked, _answered)
TEAM: Final = Kind("AGENT", _agent, _asked, _answered)
"""Several agents. One agent at a time has its turn, until it hands over to another."""
_ENGINE: Final = Kind("CHAIN", _chain, lambda call: {ours.INPUT: call.question}, _response)
_CALLS: Final[Mapping[str, tuple[tuple[str, ...], Kind]]] = {
    "BaseWorkflowAgent": (("run",), _AGENT),
    "AgentWorkflow": (("run",), TEAM),
    "Workflow": (
        ("run",),
        Kind(
            "CHAIN",
            _chain,
            lambda call: {ours.INPUT: fields_of(call.arguments["start_event"])},
            lambda result: {ours.OUTPUT: result_of(result)},
        ),
    ),
    "BaseLLM": (("chat", "stream_chat", "complete", "stream_complete"), Kind("LLM", _model)),
    "BaseTool": (
        ("call", "__call__"),
        Kind("TOOL", _tool, _arguments, lambda result: {names.TOOL_CALL_RESULT: getattr(result, "content", result)}),
    ),
    "BaseRetriever": (
        ("retrieve",),
        Kind("RETRIEVER", _search, lambda call: {names.RETRIEVAL_QUERY: call.question}, _found),
    ),
    "BaseEmbedding": (
        ("get_query_embedding", "get_text_embedding", "get_text_embedding_batch"),
        Kind("EMBEDDING", _embedding, lambda call: {ours.INPUT: next(iter(call.arguments.values()), None)}),
    ),
    "BaseQueryEngine": (("query",), _ENGINE),
    "BaseChatEngine": (("chat", "stream_chat"), _ENGINE),
    "BaseSynthesizer": (("synthesize",), _ENGINE),
    # The public methods only call this one, for which LlamaIndex makes spans.
    "BaseNodePostprocessor": (("_postprocess_nodes",), Kind("RETRIEVER", _search, _changed, _found)),
}
"""Base class to its methods and the kind of their calls; the name of an async method has an `a` more."""
_METHODS: Final = frozenset(method for methods, _ in _CALLS.values() for method in methods)


def kind_of(instance: Any, method: str) -> Kind | None:
    """Return the kind; None for internals of the framework."""
    name = method if method in _METHODS else method.replace("a", "", 1)
    if instance is None or name not in _METHODS:
        return None
    bases = _bases(instance)
    return next((kind for base, (methods, kind) in _CALLS.items() if base in bases and name in methods), None)


def is_team(instance: Any) -> bool:
    """Return whether this runs several agents."""
    return any(base.__name__ == "AgentWorkflow" for base in instance.__class__.__mro__)
