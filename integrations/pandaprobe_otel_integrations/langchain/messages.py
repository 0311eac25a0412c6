"""LangChain's messages, documents and states as plain values, without importing the library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.capture.tool_answers import Form
from pandaprobe_otel.mapping.attributes import CACHED
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Table, counted
from pandaprobe_otel_integrations._json import Content, Object, integer, items, number, obj, objects, string
from pandaprobe_otel_integrations._openai_protocol.chat_messages import image
from pandaprobe_otel_integrations._openai_protocol.usage import COUNTED, PARAMETERS, usage_attributes
from pandaprobe_otel_integrations._other_members import (
    Reader,
    answer_data,
    is_empty,
    parameters,
    pieces,
    reading,
    rest,
    told,
    tool_part,
    uncounted,
    with_rest,
)
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, patch
from pandaprobe_otel_integrations._runs import asked, json_or_text
from pandaprobe_otel_integrations._runs import plain as plain_value
from pandaprobe_otel_integrations._servers import provider_name

_ROLES: Final = {"human": "user", "ai": "assistant", "function": "tool", "AIMessageChunk": "assistant"}
_SHORT_ROLES: Final = frozenset({"user", "human", "assistant", "ai", "system", "developer"})
_BESIDE: Final = frozenset({"tool_calls", "function_call", "reasoning_content"})
"""Keys beside a message that repeat it, or that are read elsewhere."""
NOT_FOR_THE_MODEL: Final = "[not for the model: the tool's span has it]"
"""Placeholder for an artifact in a model's input. An artifact may be large, and is part of each later call."""


def is_message(value: Any) -> bool:
    """Return whether this is a LangChain message, by properties that every version has."""
    return (
        hasattr(value, "content")
        and isinstance(getattr(value, "type", None), str)
        and hasattr(value, "additional_kwargs")
    )


def role_of(message: Any) -> str:
    """Return the message's role by the conventions' names."""
    kind: str = message.type
    if kind == "chat":
        return string(getattr(message, "role", None)) or "user"
    return _ROLES.get(kind) or _ROLES.get(type(message).__name__) or kind


def conversation(messages: Iterable[Any]) -> list[Part]:
    """Return the messages of a model call in the conventions' form: a role, parts, and data that accompanies them."""
    return [message_part(message) for message in messages]


def message_part(message: Any, artifact: Any = NOT_FOR_THE_MODEL) -> Part:
    """Return one message: a role, parts, and data that accompanies them."""
    return {"role": role_of(message), "parts": message_parts(message, artifact), **beside(message)}


def beside(message: Any) -> dict[str, Any]:
    """Return values of a message beside its content: its author, and the data of its provider's package."""
    name = string(getattr(message, "name", None))
    found = {"name": name} if name else {}
    more = getattr(message, "additional_kwargs", None)
    return {**rest(obj(more), _BESIDE), **found} if more else found


def message_parts(message: Any, artifact: Any = NOT_FOR_THE_MODEL) -> list[Part]:
    """Return the parts of one message, its tool calls included. A tool's message says whether the tool failed."""
    if role_of(message) == "tool":
        answer = parts.tool_response(string(getattr(message, "tool_call_id", None)), plain(message.content))
        if getattr(message, "status", None) == "error":
            answer["is_error"] = True
        return [answer if is_empty(getattr(message, "artifact", None)) else {**answer, "artifact": artifact}]
    found = _content_parts(message.content)
    more = getattr(message, "additional_kwargs", None)
    if more and (thought := string(obj(more).get("reasoning_content"))):  # DeepSeek's package and others
        found.insert(0, parts.reasoning(thought))
    known = {part.get("id") for part in found if part["type"] == "tool_call"}
    calls = [*objects(getattr(message, "tool_calls", None)), *objects(getattr(message, "invalid_tool_calls", None))]
    found.extend(
        parts.tool_call(id=call.get("id"), name=call.get("name"), arguments=call.get("args"))
        for call in calls
        if call.get("id") not in known
    )
    return found


def plain(value: Any) -> Any:
    """Return any value that chains pass on, in a JSON form: messages as chat messages, documents, commands, states."""
    return plain_value(value, _own)


def _own(value: Any, inside: Callable[[Any], Any]) -> Any:
    if isinstance(value, tuple):
        pair = items(value)  # a message in short, as in `("user", "Hi")`
        is_message_in_short = len(pair) == 2 and pair[0] in _SHORT_ROLES and isinstance(pair[1], str)
        return {"role": _ROLES.get(pair[0], pair[0]), "content": pair[1]} if is_message_in_short else value  # pyright: ignore[reportUnknownVariableType]
    if is_message(value):
        return message_part(value, inside(getattr(value, "artifact", None)))
    if hasattr(value, "page_content"):
        return document(value)
    if hasattr(value, "to_messages"):  # a prompt's value
        return {"messages": conversation(value.to_messages())}
    if hasattr(value, "update") and hasattr(value, "goto"):  # langgraph.types.Command
        told = {name: getattr(value, name) for name in ("update", "resume", "goto", "graph")}
        return {name: inside(one) for name, one in told.items() if one not in (None, (), [])}
    if hasattr(value, "node") and hasattr(value, "arg"):  # langgraph.types.Send
        return {"node": value.node, "arg": inside(value.arg)}
    if hasattr(value, "interrupts") or (hasattr(value, "value") and hasattr(value, "id")):
        return inside(getattr(value, "value", None))
    return value


def document(value: Any) -> dict[str, Any]:
    """Return a retrieved document."""
    found: dict[str, Any] = {
        "content": getattr(value, "page_content", None),
        "metadata": plain(getattr(value, "metadata", None)),
    }
    for name in ("id", "score"):
        if (own := getattr(value, name, None)) is not None:
            found[name] = own
    return found


def interrupts(error: BaseException) -> list[Any]:
    """Return the questions of a graph that interrupts itself: the values in the interrupts of its exception."""
    given: Any = error.args[0] if error.args else ()
    return [plain(getattr(one, "value", one)) for one in items(given)]


def _other_block(kind: str, block: Object) -> Part:
    return {"type": kind or "unknown", **told({key: item for key, item in block.items() if key != "type"})}


def _thought(reasoning: Any, thinking: Any, summary: Any) -> Part | None:
    thought = string(reasoning) or string(thinking) or "\n".join(str(one.get("text") or "") for one in objects(summary))
    return parts.reasoning(thought) if thought else None


def _call(call_id: Any, own_id: Any, name: Any, *arguments: Any) -> Part:
    given = next((found for found in arguments if found is not None), None)
    return parts.tool_call(id=string(call_id) or string(own_id), name=name, arguments=given)


def _medium(block: Object) -> Part:
    kind, source = str(block["type"]), obj(block.get("source"))
    data = block.get("base64") or block.get("data") or source.get("data")
    file_id = string(block.get("file_id")) or string(block.get("id"))
    if data:
        mime_type = string(block.get("mime_type")) or string(source.get("media_type"))
        found = parts.base64_blob(str(data), kind, mime_type)
    elif file_id:
        found = parts.file_reference(file_id, kind, string(block.get("mime_type")))
    else:
        found = parts.media(str(block.get("url") or source.get("url") or ""), kind)
    return with_rest(found, block, _FILE)


_FILE: Final = frozenset(
    {"type", "base64", "data", "source", "source_type", "mime_type", "file_id", "id", "url", "index"}
)
_INDEXED: Final = frozenset({"type", "index"})
_REASONING: Final = reading(
    _thought, "reasoning", "thinking", "summary", beside=_INDEXED | {"signature", "encrypted_content"}
)
_CALL: Final = reading(
    _call, "call_id", "id", "name", "args", "input", "arguments", beside=_INDEXED | {"partial_json", "status"}
)
_READERS: Final[Mapping[str, Reader]] = {
    **dict.fromkeys(("reasoning", "thinking"), _REASONING),
    **dict.fromkeys(("tool_call", "tool_use", "function_call"), _CALL),
    # Pieces of calls that are complete beside the content, and data only for the service.
    **dict.fromkeys(("tool_call_chunk", "input_json_delta", "redacted_thinking"), lambda _: None),
    **dict.fromkeys(("image", "audio", "video", "file"), _medium),
    "image_url": reading(image, "image_url", beside=_INDEXED),
}
_content_parts: Final = pieces(
    _READERS, frozenset({"text", "input_text", "output_text"}), _other_block, beside=frozenset({"index"})
)
"""Reads content in LangChain's own form, OpenAI's or Anthropic's."""


# -- tools that a recording answers: the results of their functions, including messages and commands -------------------

TOOLS: Final = "langchain_core.tools.base"
_COMMAND: Final = "$command"
_DOCUMENT: Final = "$document"
_MESSAGE: Final = "$message"
_STEERING: Final = "GraphBubbleUp"
"""Base of the exceptions with which a tool waits for a person, or continues in a graph above."""


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `langchain_core.tools.base`."""
    for method, function in (("run", "_run"), ("arun", "_arun")):
        yield patch(module.BaseTool, method, asked(function, _arguments, form=_form))


def _arguments(original: OriginalCall) -> Mapping[str, Any]:
    """Return the model's arguments, without those that LangChain adds."""
    tool, given = original.owner, original.arg(0, "tool_input")
    if not isinstance(given, dict):
        return {"input": given}
    said = obj(given)
    without: Any = tool._filter_injected_args(said) if hasattr(tool, "_filter_injected_args") else said
    return {key: value for key, value in obj(without).items() if type(value).__name__ != "ToolRuntime"}


def _form(tool: Any, kwargs: dict[str, Any]) -> Form:
    has_artifact = getattr(tool, "response_format", None) == "content_and_artifact"
    is_for_model = bool(kwargs.get("tool_call_id"))

    def kept(result: Any) -> Any:
        found = _kept(result)
        return json_or_text(found) if is_for_model and not has_artifact else found

    def given(said: Any) -> Any:
        found = _given(said)
        if not has_artifact:
            return found
        return tuple(items(found)) if len(items(found)) == 2 else (found, None)

    return Form(kept=kept, given=given, steers=_steers)


def _steers(error: BaseException) -> bool:
    return any(base.__name__ == _STEERING for base in type(error).__mro__)


def _kept(value: Any) -> Any:
    """Return messages, documents and commands as JSON; anything else unchanged."""
    kinds = {base.__name__ for base in type(value).__mro__}
    if "BaseMessage" in kinds:
        return {_MESSAGE: import_module("langchain_core.messages").message_to_dict(value)}
    if "Document" in kinds:
        return {_DOCUMENT: value.model_dump(mode="json", exclude_none=True)}
    if is_dataclass(value) and type(value).__name__ in ("Command", "Send"):
        said = {each.name: _kept(getattr(value, each.name)) for each in fields(value)}
        return {_COMMAND: type(value).__name__, **{name: one for name, one in said.items() if one is not None}}
    if isinstance(value, dict):
        return {key: _kept(one) for key, one in obj(value).items()}
    if isinstance(value, (list, tuple)):
        return [_kept(one) for one in items(value)]
    return value


def _given(value: Any) -> Any:
    """Return JSON with its messages, documents and commands restored."""
    if isinstance(value, list):
        return [_given(one) for one in items(value)]
    if not isinstance(value, dict):
        return value
    said = obj(value)
    if set(said) == {_MESSAGE}:
        return import_module("langchain_core.messages").messages_from_dict([said[_MESSAGE]])[0]
    if set(said) == {_DOCUMENT}:
        return import_module("langchain_core.documents").Document.model_validate(said[_DOCUMENT])
    found = {name: _given(one) for name, one in said.items() if name != _COMMAND}
    if said.get(_COMMAND) in ("Command", "Send"):
        return getattr(import_module("langgraph.types"), str(said[_COMMAND]))(**found)
    return found


# -- LangChain's callbacks about a model call, as attributes of the GenAI conventions ----------------------------------

_READ: Final = PARAMETERS.known | {
    "model_name", "model_id", "reasoning_effort", "tools", "streaming", "stream_options", "_type",
}  # fmt: skip
"""Parameters of a call that are recorded in attributes."""
_SETTINGS: Final = {"ls_temperature": "temperature", "ls_max_tokens": "max_tokens", "ls_stop": "stop"}
"""LangChain's own names of parameters in the metadata of a run."""
_ANSWERED: Final = frozenset(
    {
        "model_name", "model", "model_provider", "id", "finish_reason", "stop_reason", "done_reason", "stopReason",
        "status", "system_fingerprint", "service_tier", "token_usage", "usage", "usage_metadata", "created",
        "created_at", "object", "role", "type", "done", "message",
    }
)  # fmt: skip
"""Members beside an answer that are recorded in attributes, or that are its creation time or format."""
_COUNTED: Final = {**COUNTED, **dict.fromkeys(("cache_read_input_tokens", "cache_creation_input_tokens"))}
_LOCAL_IDS: Final = ("run-", "lc_run-", "run--", "lc_")
"""Prefixes of the ids that LangChain gives to messages without an id from the service."""


def request_attributes(metadata: Object, given: Object) -> dict[str, Any]:
    """Return model, provider and parameters. `metadata` is the run's, `given` its `invocation_params`."""
    provider = string(metadata.get("ls_provider"))
    own = {name: value for key, name in _SETTINGS.items() if (value := metadata.get(key)) is not None}
    named = (metadata.get("ls_model_name"), *(given.get(key) for key in ("model", "model_name", "model_id")))
    model = next((name for value in named if (name := string(value)) is not None), None)
    return {
        names.PROVIDER: provider_name(provider) if provider else None,
        names.REASONING_LEVEL: string(given.get("reasoning_effort"))
        or string(obj(given.get("reasoning")).get("effort")),
        **PARAMETERS.read({**given, **own, "model": None}),
        names.REQUEST_MODEL: model,
    }


def tool_definitions(given: Object) -> list[Part]:
    """Return the tools that the model may call, each flat, for any provider's format."""
    return [_definition(tool) for tool in objects(given.get("tools"))]


def answer_attributes(result: Any) -> dict[str, Any]:
    """Return usage, ids and finish reasons of an `LLMResult`."""
    generations = _generations(result)
    said = [obj(getattr(_message(one), "response_metadata", None)) for one in generations]
    first: Object = said[0] if said else {}
    output = obj(getattr(result, "llm_output", None))
    return {
        names.RESPONSE_MODEL: string(first.get("model_name"))
        or string(first.get("model"))
        or string(output.get("model_name")),
        names.RESPONSE_ID: _response_id(generations, first),
        names.FINISH_REASONS: [reason for one in generations if (reason := finish_reason(one))] or None,
        names.SYSTEM_FINGERPRINT: string(first.get("system_fingerprint")),
        names.RESPONSE_SERVICE_TIER: string(first.get("service_tier")),
        **_usage(generations, output),
    }


def answer_content(result: Any) -> Content:
    """Return the messages of an `LLMResult`, or its texts, and the data of the provider's package beside them."""
    messages: list[Part] = []
    more: dict[str, Any] = _rest(obj(getattr(result, "llm_output", None)))
    for generation in _generations(result):
        message = _message(generation)
        text = getattr(generation, "text", "")
        found = message_parts(message) if message is not None else [{"type": "text", "content": text}]
        reason = finish_reason(generation) or "unknown"
        said = {"role": "assistant", "parts": found, "finish_reason": reason}
        messages.append(said if message is None else {**beside(message), **said})
        for bag in (getattr(generation, "generation_info", None), getattr(message, "response_metadata", None)):
            more.update(_rest(obj(bag)))
    return {names.OUTPUT_MESSAGES: messages, **answer_data(**more)}


def _rest(said: Object) -> dict[str, Any]:
    found = rest(said, _ANSWERED)
    if counted := uncounted(said.get("token_usage") or said.get("usage"), _COUNTED):
        found["usage"] = counted
    return found


def more_parameters(given: Object) -> Content:
    """Return the parameters without an attribute, such as the tool that must be called, or the schema of the answer."""
    return parameters(given, _READ)


def finish_reason(generation: Any) -> str | None:
    """Return the finish reason, in lower case if the service sends it in capitals (Gemini)."""
    message = _message(generation)
    for bag in (getattr(message, "response_metadata", None), getattr(generation, "generation_info", None)):
        said = obj(bag)
        for key in ("finish_reason", "stop_reason", "done_reason", "stopReason"):
            if reason := string(said.get(key)):
                return reason.lower() if reason.isupper() else reason
    return "stop" if obj(getattr(message, "response_metadata", None)).get("status") == "completed" else None


def _definition(tool: Object) -> Part:
    function = obj(tool.get("function")) or tool
    schema = next((function[key] for key in ("parameters", "input_schema") if function.get(key) is not None), None)
    name = string(function.get("name")) or string(tool.get("type"))
    return tool_part(function, "function", name, schema, "type", "parameters", "input_schema")


def _generations(result: Any) -> list[Any]:
    batches = items(getattr(result, "generations", None))
    return items(batches[0]) if batches else []


def _message(generation: Any) -> Any:
    return getattr(generation, "message", None)


def _response_id(generations: list[Any], said: Object) -> str | None:
    own = string(said.get("id"))
    if own is not None:
        return own
    given = string(getattr(_message(generations[0]), "id", None)) if generations else None
    return None if given is None or given.startswith(_LOCAL_IDS) else given


def _usage(generations: list[Any], output: Object) -> dict[str, Any]:
    """Return tokens of the call. As in LangChain, cache and reasoning are inside input and output.

    An answer from LangChain's own cache has none: it was paid for when it was made. LangChain marks it with a cost of
    0, a member that it uses for nothing else.
    """
    for generation in generations:
        usage = obj(getattr(_message(generation), "usage_metadata", None))
        if number(usage.get("total_cost")) == 0:
            return {CACHED: True}
        if usage:
            return _COUNTS.read(usage)
    return usage_attributes(obj(output.get("token_usage")) or obj(output.get("usage")))


_COUNTS: Final = Table(
    {
        "input_tokens": (names.INPUT_TOKENS, integer),
        "output_tokens": (names.OUTPUT_TOKENS, integer),
        "input_token_details": {
            "cache_read": (names.CACHE_READ_TOKENS, counted),
            "cache_creation": (names.CACHE_WRITE_TOKENS, counted),
            "audio": (names.AUDIO_INPUT_TOKENS, counted),
        },
        "output_token_details": {
            "reasoning": (names.REASONING_TOKENS, counted),
            "audio": (names.AUDIO_OUTPUT_TOKENS, counted),
        },
    }
)
