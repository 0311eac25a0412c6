"""Input and output of a span: chat messages if the value contains any, else the value itself.

They depend on the kind. An LLM span has a conversation, a TOOL span arguments and a result, a RETRIEVER span a query
and documents, and an EMBEDDING span texts as input and no output (vectors are never sent).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from pandaprobe_otel.mapping.clean import vector_marker
from pandaprobe_otel.mapping.messages import LANGCHAIN_TYPES, Conversation, unwrapped
from pandaprobe_otel.mapping.parameters import KNOWN as KNOWN_PARAMETERS
from pandaprobe_otel.mapping.values import (
    decoded,
    dicts,
    first_of,
    inside,
    is_absent,
    listed,
    number,
    type_of,
    usable,
)

DEFAULT_ROLE: Final = {"input": "user", "output": "assistant"}


def _add_instructions(talk: Conversation, request: Any) -> None:
    for key in _SYSTEM_KEYS:
        if not is_absent(request.get(key)):
            talk.add_system(request[key])
            break
    config = request.get("config")
    if type_of(config) is dict and not is_absent(config.get("system_instruction")):
        talk.add_system(config["system_instruction"])


_SYSTEM_KEYS: Final = ("system", "instructions", "system_instruction", "systemInstruction")


class Content(NamedTuple):
    """Content of one side of a span."""

    value: Any
    """None if there is no content."""
    reasoning: Sequence[str] = ()


def whole_content(value: Any, side: str, *, is_call: bool) -> Content | None:
    """Return the messages in a value, or the whole value with normalized messages if it has other content too.

    For requests and answers of a model call (`is_call`), only the messages remain: parameters have their own fields.
    """
    kind, key = type_of(value), None
    if kind is list:
        raw: Any = value if _are_messages(value) else _updates(value)
    elif kind is dict and not _TALK_MARKS.isdisjoint(value):
        raw, key = _inside(value, side)
    else:
        raw = None
    if raw is None:
        return None
    talk = Conversation()
    talk.add_all(raw, DEFAULT_ROLE[side])
    if kind is dict:
        beside = {name for name in value if name != key and name not in _SYSTEM_KEYS}
        if key is not None and beside and not (is_call and beside <= _CALL_VOCABULARY):
            return Content({**value, key: talk.messages}, talk.reasoning)
        _add_instructions(talk, value)
    return Content(talk.content(), talk.reasoning)


_CALL_VOCABULARY: Final = KNOWN_PARAMETERS | {
    "model", "modelId", "model_id", "tools", "tool_choice", "functions", "function_call", "stream", "config", "user",
    "store", "metadata", "parallel_tool_calls", "extra_headers", "extra_body", "timeout", "safety_settings",
    "generation_config", "generation_kwargs", "kwargs", "params", "headers", "api_base", "base_url",
    "previous_response_id", "conversation", "include", "text", "id", "usage", "finish_reason",
}  # fmt: skip
"""Keys of model requests besides the messages."""


_TALK_MARKS: Final = frozenset(
    {
        "role", "type", "messages", "contents", "input", "choices", "generations", "candidates", "replies",
        "message", "content", "output", "data",
    }
)  # fmt: skip
"""Keys of objects that contain messages. Most other objects have none of them, so they are excluded at once."""


def _inside(value: Any, side: str) -> tuple[Any, str | None]:
    """Return (raw messages, key) of a request or a framework's state; the key is None for a message or an answer."""
    if _is_message(value):
        return [value], None
    for key in ("messages", "contents", "input") if side == "input" else ("messages",):
        inner = value.get(key)
        if type_of(inner) is list and inner:
            inner = _first_list(inner)
            if _are_messages(inner):
                return inner, key
    return (None if side == "input" else _in_response(value)), None


def _updates(commands: list[Any]) -> Any:
    """Return the messages in LangGraph's commands (`{"update": {"messages": [...]}}`); None if there are none."""
    messages: list[Any] = []
    for command in commands:
        added: Any = inside(command, "update").get("messages")
        if type_of(added) is not list:
            return None
        messages.extend(added)
    return messages if messages and _are_messages(messages) else None


def _in_response(value: Any) -> Any:
    for key in _ANSWERS:
        if type_of(answers := value.get(key)) is list and answers:
            return [first_of(one, *_SAID) if type_of(one) is dict else one for one in _first_list(answers)]
    for key in ("replies", "output"):  # Haystack, and the items of OpenAI's responses
        if type_of(items := value.get(key)) is list and items and _are_messages(items):
            return items
    message, content, output = value.get("message"), value.get("content"), value.get("output")
    if type_of(message) is dict and _is_message(message):
        return [message]
    if type_of(content) is dict and type_of(content.get("parts")) is list:  # Gemini, as Google ADK stores it
        return [content]
    return _in_response(output) if type_of(output) is dict and "message" in output else None


_ANSWERS: Final = ("choices", "generations", "candidates")
_SAID: Final = ("message", "content", "text")
"""Keys of the message or text in one of several answers."""


def _first_list(items: list[Any]) -> list[Any]:
    return items[0] if type_of(items[0]) is list else items


def _are_messages(items: list[Any]) -> bool:
    return bool(items) and all(type_of(item) is dict and _is_message(item) for item in items)


_ITEM_TYPES: Final = frozenset({"function_call", "function_call_output", "reasoning", "message"})


def _is_message(item: Any) -> bool:
    role = item.get("role")
    if type_of(role) is str:
        return "content" in item or "parts" in item or "tool_calls" in item
    inner = unwrapped(item)
    of_type = inner.get("type")
    if type_of(of_type) is not str:
        return False
    if of_type in _ITEM_TYPES:
        return bool(inner.keys() & {"call_id", "summary", "content"})
    return of_type.lower() in LANGCHAIN_TYPES and "content" in inner


def unwrap_envelope(value: Any) -> Any:
    """Return the content of the envelopes of decorators: `{"args", "kwargs"}`, LangChain's inputs and outputs."""
    if type_of(value) is not dict or ENVELOPE_MARKS.isdisjoint(value):
        return value
    args, kwargs = value.get("args"), value.get("kwargs")
    if type_of(args) is list and type_of(kwargs) is dict and value.keys() <= _CALL_KEYS:
        if not kwargs and len(args) == 1:
            return args[0]
        if not args:
            return kwargs or None
        return value
    for key in ("inputs", "outputs", "input_str", "output"):
        if key in value and value.keys() <= _ENVELOPE_KEYS and (key != "output" or "kwargs" in value):
            return decoded(value[key])
    return value


ENVELOPE_MARKS: Final = frozenset({"kwargs", "inputs", "outputs", "input_str"})
_ENVELOPE_KEYS: Final = frozenset({"inputs", "outputs", "output", "input_str", "tags", "metadata", "kwargs"})


_CALL_KEYS: Final = frozenset({"args", "kwargs", "sanitize_inputs_outputs"})

MARKS: Final = ENVELOPE_MARKS | _TALK_MARKS
"""Keys that mark envelopes and messages. An object without any of them is not an envelope and contains no messages."""


def parsed(raw: Any) -> Any:
    """Return the value in JSON text, even if it was encoded twice."""
    value = decoded(raw)
    return raw if value is raw else decoded(value)


def any_content(value: Any, kind: str, side: str, *, own: bool) -> Content:
    """Return the content of a parsed value for an LLM, AGENT, CHAIN or OTHER span; the value itself if it is plain.

    `own` is true for a value that the app has set itself; it is kept whole even for a model call.
    """
    inner = value if own else unwrap_envelope(value)
    if inner is None or (is_absent(inner) and not own):
        return Content(None)
    content = whole_content(inner, side, is_call=kind == "LLM" and not own)
    if content is not None:
        return content
    if kind == "LLM" and type_of(inner) is str:
        return Content({"messages": [{"role": DEFAULT_ROLE[side], "content": inner}]})
    return Content(inner)


def without_constructors(value: Any, depth: int = 32) -> Any:
    """Return the value with LangChain's constructors (`{"lc": 1, "kwargs": {...}}`) replaced by their arguments.

    The name of a message's class becomes the type of the message.
    """
    kind = type_of(value)
    if depth <= 0 or kind not in (dict, list):
        return value
    if kind is list:
        return [without_constructors(item, depth - 1) for item in value]
    if "lc" in value and type_of(value.get("kwargs")) is dict:
        path = value.get("id")
        name = str(path[-1]).removesuffix("Chunk") if type_of(path) is list and path else ""
        value = {**value["kwargs"], "type": name} if "Message" in name else value["kwargs"]
    return {key: without_constructors(item, depth - 1) for key, item in value.items()}


RESULT_MARKS: Final = frozenset({"tool_call_id", "data"})


def arguments(value: Any, own: bool) -> Any:
    """Return a tool's arguments: those in a message that calls the tool (older Strands), or the value."""
    return _of_the_only_part(value, "tool_call", "arguments")


def tool_result(value: Any, own: bool) -> Any:
    """Return a tool's result: that in a message (LangChain; Strands, if the tool failed), or the value."""
    value = _of_the_only_part(value, "tool_call_response", "response")
    inner: Any = unwrapped(value) if type_of(value) is dict else {}
    of_type = str(inner.get("type", "")).lower()
    is_of_tool = of_type == "toolmessage" or (of_type == "tool" and ("tool_call_id" in inner or inner is not value))
    if is_of_tool and "content" in inner:
        return decoded(inner["content"])
    return value


def _of_the_only_part(messages: Any, kind: str, key: str) -> Any:
    parts = [part for message in dicts(messages) for part in listed(message.get("parts"))]
    if len(parts) != 1 or type_of(parts[0]) is not dict or parts[0].get("type") != kind:
        return messages
    return parts[0].get(key, messages)


_TEXT_KEYS: Final = ("page_content", "content", "text", "pageContent", "document")
_VECTOR_KEYS: Final = frozenset({"embedding", "embeddings", "vector", "sparse_embedding", "dense_vector", "values"})
_DOCUMENT_KEYS: Final = (
    _VECTOR_KEYS | set(_TEXT_KEYS) | {"metadata", "meta", "id", "id_", "node_id", "doc_id", "score", "type", "blob"}
)
_LIST_KEYS: Final = ("documents", "nodes", "results", "matches", "docs", "source_nodes")
_QUERY_KEYS: Final = ("query", "query_str", "query_text", "question", "input", "text", "q")
_INPUT_KEYS: Final = ("input", "inputs", "texts", "text", "documents", "contents", "values", "value")
_MIN_VECTOR: Final = 8
_MAX_LEVELS: Final = 64
_NUMBERS: Final = frozenset({int, float})


def documents(value: Any, own: bool) -> Any:
    """Return retrieved documents as `[{page_content, metadata, id, score}]`; other values are returned unchanged.

    A value that the app has set itself (`own`) is kept whole, with its documents converted in place.
    """
    value = decoded(value)
    if is_absent(value) and not own:
        return None
    if type_of(value) is dict:
        key = next((key for key in _LIST_KEYS if type_of(value.get(key)) is list), None)
        if key is None:
            return value
        found = [_document(item) for item in value[key]]
        return {**value, key: found} if own and len(value) > 1 else found
    if type_of(value) is not list:
        return value
    return [_document(item) for item in value]


def _document(item: Any) -> Any:
    if type_of(item) is not dict:
        return item
    outer, item = item, _inner(item)
    text = next((item[key] for key in _TEXT_KEYS if not is_absent(item.get(key))), None)
    metadata = decoded(item.get("metadata", item.get("meta")))
    beside = {key: found for key, found in item.items() if key not in _DOCUMENT_KEYS and found is not None}
    if metadata is None and text is not None:
        metadata, beside = beside, {}  # Haystack flattens a document's metadata into the document
    known = {
        "page_content": text,
        "metadata": None if is_absent(metadata) else metadata,
        "id": first_of(item, "id", "id_", "node_id", "doc_id"),
        "score": number(outer.get("score", item.get("score"))),
    }
    result = {key: found for key, found in known.items() if found is not None}
    return {**result, **beside} if outer is item else result  # in a wrapper, others may be the store's own records


def _inner(item: Any) -> Any:
    """Return the document inside LlamaIndex's scored nodes and LangChain's constructors."""
    for key in ("node", "document", "kwargs"):
        inner = item.get(key)
        if type_of(inner) is dict and inner:
            return inner
    return item


def query_text(value: Any, own: bool) -> Any:
    """Return the query in a retriever's arguments. In a value of the app (`own`), it must be the only argument."""
    if type_of(value) is dict and not (own and len(value) > 1):
        for key in _QUERY_KEYS:
            if type_of(value.get(key)) is str and value[key]:
                return value[key]
    return value


def embedding_input(value: Any, own: bool) -> Any:
    """Return the embedded text, or a list of several texts, without vectors.

    A value of the app (`own`) with more than these texts is kept whole.
    """
    if own and type_of(value) is dict and value.keys() - _INPUT_KEYS:
        return without_vectors(value)
    for _ in range(_MAX_LEVELS):
        if type_of(value) is not dict:
            break
        value = decoded(next((value[key] for key in _INPUT_KEYS if not is_absent(value.get(key))), None))
    if type_of(value) is not list:
        return usable(value)
    if value and all(type_of(item) is dict and "role" in item for item in value):
        talk = Conversation()
        talk.add_all(value, "user")
        value = talk.messages
    return [text for text in map(_embedded_text, value) if text is not None] or None


def _embedded_text(item: Any) -> Any:
    if type_of(item) is dict:
        return next((item[key] for key in _TEXT_KEYS if type_of(item.get(key)) is str), None)
    return item if type_of(item) is str else None


# -- vectors, which are never sent ------------------------------------------------------------------------------------


def is_vector(value: list[Any]) -> bool:
    """Return whether the list is an embedding: at least eight items, all of them numbers."""
    return len(value) >= _MIN_VECTOR and all(type_of(item) in _NUMBERS for item in value)


def _is_of_vector(item: Any) -> bool:
    """Return whether the item of a list may be one of a vector; the middle of a long one is cut."""
    return type_of(item) in _NUMBERS or (type_of(item) is str and item.startswith("…[cut "))


def vectors_left_out(value: Any, own: bool) -> Any:
    """Return an embedding's output, which is sent only if the app has set it (`own`): it may contain more."""
    return without_vectors(value) if own else None


def without_vectors(value: Any, level: int = 0) -> Any:
    """Return the value with each list of numbers in it, however short, replaced by a marker."""
    kind = type_of(value)
    if level >= _MAX_LEVELS or kind not in (dict, list):
        return value
    if kind is dict:
        return {key: without_vectors(item, level + 1) for key, item in value.items()}
    if value and type_of(value[0]) in _NUMBERS and all(map(_is_of_vector, value)):
        return vector_marker(len(value))
    return [without_vectors(item, level + 1) for item in value]
