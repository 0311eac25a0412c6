"""Conversion of chat messages in any dialect to PandaProbe's normal form, `{"messages": [{"role", "content", ...}]}`.

The normal form is the wire format of OpenAI's chat API: `tool_calls` hold arguments as JSON text, and a tool's result
is a separate message with the role `tool`. Reasoning is moved out of the messages.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any, Final

from pandaprobe_otel.mapping.values import decoded, dicts, first_of, inside, is_absent, listed, type_of, word

_STANDARD_ROLES: Final = frozenset({"user", "assistant", "system", "developer", "tool"})
ROLES: Final = {
    "human": "user", "ai": "assistant", "aimessagechunk": "assistant", "model": "assistant", "bot": "assistant",
    "function": "tool", "tool-call": "assistant", "tool-response": "tool", **{role: role for role in _STANDARD_ROLES},
}  # fmt: skip
"""Normal role for each role of other vocabularies; a role that is not listed is kept."""

LANGCHAIN_TYPES: Final = {
    "human": "user", "ai": "assistant", "system": "system", "tool": "tool", "function": "tool", "chat": "user",
    "humanmessage": "user", "aimessage": "assistant", "aimessagechunk": "assistant", "systemmessage": "system",
    "toolmessage": "tool", "functionmessage": "tool", "humanmessagechunk": "user", "chatmessage": "user",
}  # fmt: skip
_ITEM_ROLES: Final = {
    "function_call": "assistant", "tool_call": "assistant", "tool_use": "assistant", "tool-call": "assistant",
    "reasoning": "assistant", "message": "assistant", "output_text": "assistant",
    "function_call_output": "tool", "tool_result": "tool", "tool_call_response": "tool", "tool-result": "tool",
}  # fmt: skip
_CALL_IDS: Final = ("call_id", "tool_use_id", "toolUseId", "toolCallId", "tool_call_id", "id")
_ENVELOPE: Final = frozenset({"role", "content", "parts", "name", "finish_reason", "tool_calls", *_CALL_IDS}) | {
    "type", "status", "index", "object", "created_at", "message", "additional_kwargs", "response_metadata",
    "usage_metadata", "invalid_tool_calls", "function_call", "refusal", "reasoning", "reasoning_content",
    "reasoning_details", "thinking", "lc_attributes", "usage", "meta", "_meta", "metadata", "options",
    "providerOptions", "timestamp", "model", "example", "event.name", "gen_ai.message.index",
    "gen_ai.system", "gen_ai.provider.name", "summary", "encrypted_content", "arguments", "output", "input", "args",
    "result", "response", "kind", "data", "text", "value", "thought", "thought_signature", "cache_control", "toolName",
}  # fmt: skip
"""Keys of messages and parts that are read or that describe the call. Values that were not read are found by
comparison.
"""


def _beside(item: Any) -> dict[str, Any]:
    """Return the fields of a message or part that no reader used, to be kept with it."""
    if item.keys() <= _ENVELOPE:
        return {}
    return {key: value for key, value in item.items() if key not in _ENVELOPE and not is_absent(value)}


END: Final = object()
"""Result of `take_texts` at the end of the list."""


def take_texts(items: Iterator[Any], into: list[dict[str, Any]]) -> Any:
    """Convert the next messages of a list, as long as each consists of one text.

    The text is in the form of the current conventions, or stands next to the role. Return the first message of another
    form, or `END` if there is none. These forms are by far the most frequent. They take 0.2 µs here, but 2 µs in
    `Conversation.add` (benchmarks/mapping).
    """
    for item in items:
        try:  # a message of another form fails here or does not match
            said = item["role"]
            if "content" in item:
                words = item["content"]
                if len(item) != 2 or said == "tool" or said not in _STANDARD_ROLES:
                    return item
                if type_of(words) is not str or not words or words[:2] == "[{":
                    return item
            else:
                (part,) = item["parts"]
                words = part["content"]
                if part["type"] != "text" or type_of(words) is not str or not words:
                    return item
                if said not in _STANDARD_ROLES or len(part) != 2 or (len(item) != 2 and not _only_finished(item)):
                    return item
        except (KeyError, TypeError, ValueError):
            return item
        into.append({"role": said, "content": words})
    return END


def _only_finished(item: Any) -> bool:
    """Return whether the message has only a role, parts and the usual finish reason."""
    return len(item) == 3 and item.get("finish_reason") in ("stop", "")


def messages_in(value: Any) -> list[dict[str, Any]]:
    """Return the messages of a body's input or output; empty for a value in another form."""
    return dicts(value.get("messages")) if type_of(value) is dict else []


class Conversation:
    """Messages in normal form, and the reasoning removed from them."""

    __slots__ = ("messages", "reasoning")

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.reasoning: list[str] = []

    def add_all(self, raw: Any, role: str) -> None:
        """Add every message of a list, a single message, or text; `role` is the default role."""
        if type_of(raw) is list and raw and type_of(raw[0]) is list:
            raw = raw[0]  # LangChain batches: one list of messages per prompt
        items = iter(listed(raw))
        while (item := take_texts(items, self.messages)) is not END:
            self.add(item, role)

    def add(self, item: Any, role: str) -> None:
        """Add one message in any shape."""
        kind = type_of(item)
        if kind is dict:
            inner = unwrapped(item)
            self._add_message(inner, _role_of(inner, role))
        elif kind is str:
            if item:
                self.messages.append({"role": role, "content": item})
        elif kind is list and len(item) == 2 and type_of(item[0]) is str and type_of(item[1]) is str:
            self.add({"role": item[0], "content": item[1]}, role)  # LangChain's ("human", "Hi")

    def add_system(self, instructions: Any) -> None:
        """Insert system instructions at the front, unless there is a system message already."""
        if self.messages and self.messages[0]["role"] in ("system", "developer"):
            return
        draft = Draft([])
        draft.add_all(decoded(instructions))
        content = draft.body()
        if content is not None:
            self.messages.insert(0, {"role": "system", "content": content})

    def content(self) -> dict[str, Any] | None:
        """Return `{"messages": [...]}`; None if there is no message."""
        return {"messages": self.messages} if self.messages else None

    def _add_message(self, item: Any, role: str) -> None:
        draft = Draft(self.reasoning)
        raw, parts = item.get("content"), item.get("parts")
        if type_of(parts) is list or (type_of(parts) is str and is_absent(raw)):
            raw = parts
        elif "role" not in item and word(item.get("type")) in _ITEM_ROLES and item["type"] != "message":
            raw = [item]
        elif type_of(raw) is str:
            raw = typed_parts(raw) or raw
        if role == "tool" and not _holds_result(raw):
            if raw == "" or not is_absent(raw):
                _add_result(draft, {**item, "response": raw})
        else:
            draft.add_all(raw)
            _add_fields(draft, item)
        content, said = draft.body(), list[dict[str, Any]]()
        if content is not None or draft.calls:
            own: dict[str, Any] = {"role": role, "content": content}
            if draft.calls:
                own["tool_calls"] = draft.calls
            if word(item.get("name")) and "call_id" not in item:
                own["name"] = item["name"]
            said = [own | _beside(item) if "role" in item else own]
        # Results answer earlier calls, so they go before the user's next message but after the assistant's message.
        self.messages += [*said, *draft.results] if role == "assistant" else [*draft.results, *said]


def unwrapped(item: Any) -> Any:
    """Return the message inside LangChain's dumps (`{type, data}`) and generations."""
    for _ in range(3):
        if type_of(item.get("data")) is dict and word(item.get("type")) in LANGCHAIN_TYPES:
            item = {"type": item["type"], **item["data"]}
        elif type_of(item.get("message")) is dict and "role" not in item:
            item = item["message"]
        else:
            break
    return item


def _role_of(item: Any, default: str) -> str:
    role = word(item.get("role"))
    if role and role != "unknown":
        if role == "user" and item.get("tool_call_id"):  # Anthropic's API gives tool results the role `user`
            return "tool"
        return ROLES.get(role.lower(), role)
    of_type = word(item.get("type")).lower()
    return LANGCHAIN_TYPES.get(of_type) or _ITEM_ROLES.get(of_type) or default


def typed_parts(text: str) -> Any:
    """Return the parts if the text is a JSON list of typed parts; None for text that a user may have typed."""
    raw: Any = decoded(text) if text[:2] == "[{" else None
    return raw if type_of(raw) is list and all(type_of(part) is dict and _is_part(part) for part in raw) else None


def _is_part(part: Any) -> bool:
    return type_of(part.get("type")) is str or bool(part.keys() & {"text", "toolUse", "toolResult", "reasoningContent"})


def _holds_result(raw: Any) -> bool:
    return any(
        word(part.get("type")) in _RESULT_TYPES or not part.keys().isdisjoint(_RESULT_KEYS) for part in dicts(raw)
    )


def _add_fields(draft: Draft, item: Any) -> None:
    """Read the fields next to the content: tool calls, refusals, reasoning."""
    calls = item.get("tool_calls")
    if is_absent(calls):
        calls = inside(item, "additional_kwargs").get("tool_calls")
    for given in (decoded(calls), item.get("invalid_tool_calls"), [item.get("function_call")]):
        for call in dicts(given):
            _add_call(draft, call)
    if not draft.content:
        draft.add(item.get("refusal"))
    draft.add_reasoning(first_of(item, "reasoning", "reasoning_content", "thinking"))


# -- parts of a message -----------------------------------------------------------------------------------------------

# In the forms of OpenTelemetry GenAI, OpenAI's chat and responses APIs, Anthropic, Bedrock Converse, Gemini, the Vercel
# AI SDK and LangChain.


class Draft:
    """Message whose parts are being read."""

    __slots__ = ("calls", "content", "reasoning", "results")

    def __init__(self, reasoning: list[str]) -> None:
        self.content: list[Any] = []
        self.calls: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] = []
        self.reasoning = reasoning

    def add_all(self, parts: Any) -> None:
        """Add the parts of a list, or a single part."""
        for part in listed(parts):
            self.add(part)

    def add(self, part: Any) -> None:
        """Sort one part into content, calls, results or reasoning. An unknown part is kept as content."""
        if type_of(part) is str:
            if part:
                self.content.append({"type": "text", "text": part})
        elif type_of(part) is dict:
            of_type = part.get("type") or part.get("kind")
            if of_type is None:
                part, of_type = _typed(part)
            reader = _READERS.get(word(of_type))
            if reader is not None:
                reader(self, part)
            elif len(part) > 1 or (part and "type" not in part):  # a type alone is no content
                self.content.append(part)
        elif part is not None:
            self.content.append(part)

    def add_reasoning(self, found: Any) -> None:
        """Add the texts of reasoning: a text, blocks, or JSON text of blocks."""
        if type_of(found) is str and found.lstrip()[:1] == "[":
            found = decoded(found)
        for item in listed(found):
            words = first_of(item, *_REASONING_KEYS) if type_of(item) is dict else item
            if type_of(words) is str:
                if words.strip():
                    self.reasoning.append(words)
            elif words is not None:
                self.add_reasoning(words)

    def body(self) -> Any:
        """Return the content: one text if all parts are text, else a list of parts; None if there are no parts."""
        content = self.content
        if not content:
            return None
        if all(type_of(part) is dict and part.get("type") == "text" and len(part) == 2 for part in content):
            return "\n".join(part["text"] for part in content)
        return content


_REASONING_KEYS: Final = ("content", "text", "thinking", "reasoning", "summary", "reasoningText")


def _typed(part: Any) -> tuple[Any, str | None]:
    """Return a part without a type, and its type: Bedrock and Gemini name the part by its key."""
    for key, of_type in _TYPES.items():
        inner = part.get(key)
        if not is_absent(inner):
            if type_of(inner) is dict:
                return {**inner, "type": of_type}, of_type
            return (part, of_type) if of_type in ("text", "message") else (part, None)
    return part, None


def _add_text(draft: Draft, part: Any) -> None:
    text = first_of(part, "text", "content", "value")
    if part.get("thought") is True:
        draft.add_reasoning(text)
    elif type_of(text) is str and len(part) > 2 and (beside := _beside(part)):
        draft.content.append({"type": "text", "text": text, **beside})  # citations and similar data
    elif type_of(text) is str:
        draft.add(text)


def _add_call(draft: Draft, call: Any) -> None:
    """Add a tool call in any shape, once per id."""
    inner, identity = inside(call, "function") or call, first_of(call, *_CALL_IDS)
    if identity is None or all(known["id"] != identity for known in draft.calls):
        arguments = first_of(inner, "arguments", "args", "input")
        function = {
            "name": first_of(inner, "name", "toolName", "tool_name"),
            "arguments": "{}" if arguments is None else arguments if type_of(arguments) is str else to_json(arguments),
        }
        draft.calls.append({"id": identity, "type": "function", "function": function})


def _add_result(draft: Draft, part: Any) -> None:
    value, identity = first_of(part, "response", "result", "content", "output"), first_of(part, *_CALL_IDS)
    if value is not None:
        result = {"role": "tool", "tool_call_id": identity, "content": _result_text(value), "name": part.get("name")}
        draft.results.append({key: item for key, item in result.items() if item or key == "content"} | _beside(part))


def _result_text(value: Any) -> str:
    """Return a tool's result as text: text unchanged, blocks of text joined, anything else as JSON."""
    if type_of(value) is dict and "value" in value and type_of(value.get("type")) is str and len(value) <= 3:
        value = value["value"]
    if type_of(value) is str:
        return str(value)
    texts = [
        first_of(block, "text", "content")
        for block in dicts(listed(value))
        if block.keys() <= _TEXT_BLOCK_KEYS and block.get("type", "text" if "text" in block else "") in _TEXT_TYPES
    ]
    are_all = len(texts) == len(listed(value)) and all(type_of(text) is str for text in texts)
    return "\n".join(texts) if texts and are_all else to_json(value)


def to_json(value: Any) -> str:
    """Return JSON text with Python's default separators, as in the wire format of arguments."""
    try:
        return _encode_json(value)
    except (TypeError, ValueError, RecursionError):
        return str(type(value).__name__)


_encode_json: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode
_TEXT_TYPES: Final = ("text", "input_text", "output_text", "summary_text")
_TEXT_BLOCK_KEYS: Final = frozenset(
    {"type", "text", "content", "annotations", "citations", "id", "cache_control", "index"}
)

_DATA_KEYS: Final = ("data", "file_data", "bytes", "content")
_INNER_KEYS: Final = ("source", "image")
_URL_KEYS: Final = ("url", "uri", "file_url", "image_url", "file_uri", "fileUri")
_MIME_KEYS: Final = ("mime_type", "mimeType", "mediaType", "media_type")
_ADDRESSES: Final = ("http://", "https://", "data:", "gs://", "s3://", "file:")


def _add_media(draft: Draft, part: Any) -> None:
    """Add an image or a file, whose data or address stands in the part or in an object inside it."""
    held, of_type = part, part.get("type")
    while type_of(inner := first_of(held, *_INNER_KEYS)) is dict:  # OpenInference: image.image.url
        held = {**{key: item for key, item in held.items() if key not in _INNER_KEYS}, **inner}
    data, mime, name = first_of(held, *_DATA_KEYS), str(first_of(held, *_MIME_KEYS) or ""), "file_data"
    if data is None or type_of(data) is int:  # the number of bytes of removed data
        data = first_of(held, *_INNER_KEYS, *_URL_KEYS)
    elif not mime and "format" in part:
        mime = f"image/{part['format']}"  # Bedrock
    is_image = "image" in (held.get("modality"), of_type) or mime.startswith("image/") or of_type == "input_image"
    if type_of(data) is bytes:
        data = base64.b64encode(data).decode()
    if type_of(data) is str:
        if of_type == "document" and held.get("type") == "text":
            draft.add(data)
            return
        if data.startswith(_ADDRESSES):
            name = "url"
        else:
            data = f"data:{mime or ('image/png' if is_image else 'application/octet-stream')};base64,{data}"
    elif data is not None:
        is_image = False
    elif "sha256" in held:  # the emitter has removed the data, so the emitter's description replaces the data
        data = {key: value for key, value in held.items() if key not in ("type", "modality") and value is not None}
    else:
        data, name, is_image = first_of(held, "file_id", "id"), "file_id", False
    if data is None:
        draft.content.append(part)
    elif is_image:
        detail = {"detail": part["detail"]} if part.get("detail") and name == "url" else {}
        draft.content.append({"type": "image_url", "image_url": {"url": data, **detail}})
    else:
        draft.content.append({"type": "file", "file": {name: data}})


def _add_file(draft: Draft, part: Any) -> None:
    if type_of(part.get("file")) is dict:
        draft.content.append(part)
    else:
        _add_media(draft, part)


_RESULT_TYPES: Final = ("tool_call_response", "tool_result", "tool-result", "function_call_output", "toolResult")
_RESULT_KEYS: Final = ("toolResult", "function_response", "functionResponse")
_READERS: Final[dict[str, Callable[[Draft, Any], None]]] = {
    **dict.fromkeys(_TEXT_TYPES, _add_text),
    **dict.fromkeys(("tool_call", "tool_use", "function_call", "tool-call", "function", "toolUse"), _add_call),
    **dict.fromkeys(_RESULT_TYPES, _add_result),
    **dict.fromkeys(
        ("reasoning", "thinking", "redacted_thinking", "reasoning_content"),
        lambda draft, part: draft.add_reasoning(first_of(part, *_REASONING_KEYS)),
    ),
    **dict.fromkeys(("file", "input_file"), _add_file),
    **dict.fromkeys(("blob", "uri", "image", "input_image", "document"), _add_media),
    "refusal": lambda draft, part: draft.add(part.get("refusal")),
    "message": lambda draft, part: draft.add_all(first_of(part, "content", "parts")),
}
"""Readers of parts by their types."""

_TYPES: Final = {
    "toolUse": "tool_use", "reasoningContent": "reasoning", "function_call": "tool_call", "functionCall": "tool_call",
    **dict.fromkeys(_RESULT_KEYS, "tool_result"), "inline_data": "blob", "inlineData": "blob", "file_data": "uri",
    "fileData": "uri", "text": "text", "content": "text", "image": "image", "parts": "message",
}  # fmt: skip
"""Types of parts without a type, by the key that holds the part."""


# -- streamed answers with one message per chunk (Google ADK 2.13) ----------------------------------------------------


def joined(value: Any) -> Any:
    """Return the messages of an answer (JSON text or structured), with the chunks of each message joined.

    The conventions require a finish reason for each message. If the reason is empty, the message has not finished, and
    the next one continues it.
    """
    messages = decoded(value)
    if not any(one.get("finish_reason") == "" for one in dicts(messages)):
        return messages
    whole: list[dict[str, Any]] = []
    for message in dicts(messages):
        if whole and whole[-1].get("finish_reason") == "":
            last = whole.pop()
            parts = [*(last.get("parts") or ()), *(message.get("parts") or ())]
            message = {**last, "finish_reason": None, **message, "parts": _without_breaks(parts)}
        whole.append(message)
    return whole


def _without_breaks(parts: list[Any]) -> list[Any]:
    """Return the parts with texts of the same type that follow one another as one."""
    kept: list[Any] = []
    for part in parts:
        last: Any = kept[-1] if kept else None
        text: Any = part.get("content") if type_of(part) is dict else None
        if type_of(text) is str and type_of(last) is dict and last == {**part, "content": last.get("content")}:
            kept[-1] = {**last, "content": f"{last['content']}{text}"}
        else:
            kept.append(part)
    return kept
