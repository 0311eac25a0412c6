"""Conversion of a message's parts, in any provider's form, to content, tool calls, tool results and reasoning.

Supported forms: OpenTelemetry GenAI parts, OpenAI chat and responses items, Anthropic blocks, Bedrock Converse blocks,
Gemini parts, Vercel AI SDK parts, LangChain content blocks.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Final

from pandaprobe_otel.mapping.values import decoded, first_of, inside, is_absent, listed, type_of, word

_encode_json: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode


def arguments_text(arguments: Any) -> str:
    """Return a tool call's arguments as JSON text; text stays unchanged, even if it is not valid JSON."""
    if arguments is None:
        return "{}"
    return str(arguments) if type_of(arguments) is str else to_json(arguments)


def result_text(value: Any) -> str:
    """Return a tool's result as text: text unchanged, blocks of text joined, anything else as JSON."""
    if type_of(value) is dict and "value" in value and type_of(value.get("type")) is str and len(value) <= 3:
        value = value["value"]
    if type_of(value) is str:
        return str(value)
    texts = _texts_of(listed(value))
    return "\n".join(texts) if texts is not None else to_json(value)


def to_json(value: Any) -> str:
    """Return JSON text with Python's default separators, as in the wire format of arguments."""
    try:
        return _encode_json(value)
    except (TypeError, ValueError, RecursionError):
        return str(type(value).__name__)


def _texts_of(blocks: list[Any]) -> list[str] | None:
    """Return the texts of a list of pure text blocks (`{text}`, `{type: text, text}`); None for other lists."""
    texts: list[str] = []
    for block in blocks:
        if type_of(block) is not dict or not block.keys() <= _TEXT_BLOCK_KEYS:
            return None
        found = block.get("text", block.get("content") if block.get("type") == "text" else None)
        if type_of(found) is not str or word(block.get("type", "text")) not in _TEXT_TYPES:
            return None
        texts.append(found)
    return texts or None


_TEXT_TYPES: Final = frozenset({"text", "input_text", "output_text", "summary_text"})
_TEXT_BLOCK_KEYS: Final = frozenset(
    {"type", "text", "content", "annotations", "citations", "id", "cache_control", "index"}
)


class Draft:
    """Message whose parts are being read."""

    __slots__ = ("calls", "content", "reasoning", "results", "role")

    def __init__(self, role: str) -> None:
        self.role = role
        self.content: list[Any] = []
        self.calls: list[dict[str, Any]] = []
        self.results: list[dict[str, Any]] = []
        self.reasoning: list[str] = []

    def add(self, part: Any) -> None:
        """Sort one part into content, calls, results or reasoning. An unknown part is kept as content."""
        kind = type_of(part)
        if kind is str:
            self.add_text(part)
        elif kind is dict:
            of_type = part.get("type") or part.get("kind")
            reader = _READERS.get(of_type) if type_of(of_type) is str else None
            (reader or _read_by_key)(self, part)
        elif part is not None:
            self.content.append(part)

    def add_text(self, text: Any) -> None:
        """Add text, unless it is empty."""
        if type_of(text) is str and text:
            self.content.append({"type": "text", "text": text})

    def add_call(self, call: Any) -> None:
        """Add a tool call in any shape, once per id."""
        inner: dict[str, Any] = inside(call, "function") or call
        identity = first_of(call, *CALL_IDS)
        name = first_of(inner, "name", "toolName", "tool_name")
        if identity is not None and any(known.get("id") == identity for known in self.calls):
            return
        arguments = first_of(inner, "arguments", "args", "input")
        normal = {
            "id": identity,
            "type": "function",
            "function": {"name": name, "arguments": arguments_text(arguments)},
        }
        self.calls.append(normal)

    def add_result(self, identity: Any, value: Any, name: Any = None) -> None:
        """Add the result of a tool call, unless it is None."""
        if value is None:
            return
        result = {"role": "tool", "tool_call_id": identity, "content": result_text(value)}
        if not identity:
            del result["tool_call_id"]
        if name:
            result["name"] = name
        self.results.append(result)

    def body(self) -> Any:
        """Return the content: one text if all parts are text, else a list of parts; None if there are no parts."""
        content = self.content
        if not content:
            return None
        if all(type_of(part) is dict and part.get("type") == "text" and len(part) == 2 for part in content):
            return "\n".join(part["text"] for part in content)
        return content


# -- readers of one part ----------------------------------------------------------------------------------------------


def _text(draft: Draft, part: Any) -> None:
    text = first_of(part, "text", "content", "value")
    if len(part) > 2 and type_of(text) is str:
        beside = {key: value for key, value in part.items() if key not in _TEXT_ENVELOPE and not is_absent(value)}
        if beside:  # citations and similar data stay with their text
            draft.content.append({"type": "text", "text": text, **beside})
            return
    draft.add_text(text)


_TEXT_ENVELOPE: Final = frozenset({"type", "text", "content", "value", "id", "index", "cache_control", "kind"})
"""Keys of a text part that are read or that mean nothing for the text."""


CALL_IDS: Final = ("call_id", "tool_use_id", "toolUseId", "toolCallId", "tool_call_id", "id")
_RESULT_ENVELOPE: Final = frozenset(
    {*CALL_IDS, "type", "kind", "response", "result", "content", "output", "role", "name", "toolName", "status"}
)


def _result(draft: Draft, part: Any) -> None:
    draft.add_result(
        first_of(part, *CALL_IDS), first_of(part, "response", "result", "content", "output"), part.get("name")
    )
    more = {key: value for key, value in part.items() if key not in _RESULT_ENVELOPE and not is_absent(value)}
    if more and draft.results:  # such as a mark for a failed tool
        draft.results[-1] |= more


def _reasoning(draft: Draft, part: Any) -> None:
    found = first_of(part, "content", "text", "thinking", "reasoning", "summary")
    if type_of(found) is str and found.lstrip()[:1] == "[":
        found = decoded(found)
    for item in listed(found):
        words = first_of(item, "text", "content") if type_of(item) is dict else item
        if type_of(words) is str and words.strip():
            draft.reasoning.append(words)


_DATA_KEYS: Final = ("data", "file_data", "bytes", "content")
_URL_KEYS: Final = ("url", "uri", "file_url", "image_url", "file_uri", "fileUri")
_MIME_KEYS: Final = ("mime_type", "mimeType", "mediaType", "media_type")
_INNER_KEYS: Final = ("source", "image")


def _media(draft: Draft, part: Any) -> None:
    """Add an image or a file, whose data or address stands in the part or in an object inside it."""
    held: dict[str, Any] = dict(part)
    while type_of(inner := first_of(held, *_INNER_KEYS)) is dict:  # OpenInference: image.image.url
        held = {**{key: item for key, item in held.items() if key not in _INNER_KEYS}, **inner}
    url: Any = inner if inner is not None else first_of(held, *_URL_KEYS)
    data, mime = first_of(held, *_DATA_KEYS), str(first_of(held, *_MIME_KEYS) or "")
    of_type = part.get("type")
    if type_of(data) is int:
        data = None  # the number of bytes of removed data
    if not mime and "format" in part and data is not None:
        mime = f"image/{part['format']}"  # Bedrock
    is_image = "image" in (held.get("modality"), of_type) or mime.startswith("image/") or of_type == "input_image"
    if of_type == "document" and held.get("type") == "text" and type_of(data) is str:
        draft.add_text(data)
        return
    if type_of(url) is str and not url.startswith(_ADDRESSES):
        url, data = None, url
    elif url is None and type_of(data) is str and str(data).startswith(_ADDRESSES):
        url, data = data, None
    if data is not None:
        draft.content.append(media(is_image, mime or ("image/png" if is_image else ""), data))
    elif url is not None:
        shown: dict[str, Any] = _image_url(url) if is_image else {"type": "file", "file": {"url": url}}
        if is_image and part.get("detail"):
            shown["image_url"]["detail"] = part["detail"]
        draft.content.append(shown)
    elif "sha256" in held:  # the emitter has removed the data, so the emitter's description replaces the data
        about = {key: value for key, value in held.items() if key not in ("type", "modality") and value is not None}
        draft.content.append(_image_url(about) if is_image else {"type": "file", "file": {"file_data": about}})
    elif (identity := first_of(held, "file_id", "id")) is not None:
        draft.content.append({"type": "file", "file": {"file_id": identity}})
    else:
        draft.content.append(part)


_ADDRESSES: Final = ("http://", "https://", "data:", "gs://", "s3://", "file:")


def _file(draft: Draft, part: Any) -> None:
    if type_of(part.get("file")) is dict:
        draft.content.append(part)
    else:
        _media(draft, part)


def _refusal(draft: Draft, part: Any) -> None:
    draft.add_text(part.get("refusal"))


def _nested_message(draft: Draft, part: Any) -> None:
    for inner in listed(part.get("content")):
        draft.add(inner)


def media(image: bool, mime: Any, data: Any) -> dict[str, Any]:
    """Return an image or file part with the data (base64 text or bytes)."""
    if type_of(data) is bytes:
        data = base64.b64encode(data).decode()
    if type_of(data) is not str:
        return {"type": "file", "file": {"file_data": data}}
    url = data if data.startswith("data:") else f"data:{mime or 'application/octet-stream'};base64,{data}"
    return _image_url(url) if image else {"type": "file", "file": {"file_data": url}}


def _image_url(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


# -- parts without a type: Bedrock and Gemini name the part by its key ------------------------------------------------


def _bedrock_reasoning(draft: Draft, inner: Any) -> None:
    text = inner.get("reasoningText")
    _reasoning(draft, text if type_of(text) is dict else {"text": text})


def _untyped_text(draft: Draft, part: Any) -> None:
    if part.get("thought") is True:
        _reasoning(draft, part)
    else:
        _text(draft, part)


Reader = Callable[[Draft, Any], None]
_CALLS: Final = ("tool_call", "tool_use", "function_call", "tool-call", "function", "toolUse")
"""Types of tool calls."""
RESULT_TYPES: Final = ("tool_call_response", "tool_result", "tool-result", "function_call_output", "toolResult")
RESULT_KEYS: Final = ("toolResult", "function_response", "functionResponse")
"""Types of the results of tools, and the keys of those without a type."""

_READERS: Final[dict[Any, Reader]] = {
    **dict.fromkeys(("text", "input_text", "output_text", "summary_text"), _text),
    **dict.fromkeys(_CALLS, Draft.add_call),
    **dict.fromkeys(RESULT_TYPES, _result),
    **dict.fromkeys(("reasoning", "thinking", "redacted_thinking", "reasoning_content"), _reasoning),
    **dict.fromkeys(("file", "input_file"), _file),
    **dict.fromkeys(("blob", "uri", "image", "input_image", "document"), _media),
    "refusal": _refusal,
    "message": _nested_message,
}

_BY_KEY: Final[dict[str, Reader]] = {
    "toolUse": Draft.add_call,
    "reasoningContent": _bedrock_reasoning,
    **dict.fromkeys(("function_call", "functionCall"), Draft.add_call),
    **dict.fromkeys(RESULT_KEYS, _result),
    **dict.fromkeys(("inline_data", "inlineData", "file_data", "fileData"), _media),
    **dict.fromkeys(("text", "content"), _untyped_text),
    "image": lambda draft, image: _media(draft, {"type": "image", **image}),
}
"""Readers of parts without a type, by key. They get the object under the key, except the reader of texts."""


def _read_by_key(draft: Draft, part: Any) -> None:
    if "type" not in part and "kind" not in part:
        for key, reader in _BY_KEY.items():
            inner = part.get(key)
            if not is_absent(inner):
                is_text = reader is _untyped_text
                if is_text or type_of(inner) is dict:
                    reader(draft, part if is_text else inner)
                return
    if len(part) > 1 or (part and "type" not in part):  # a type alone is no content
        draft.content.append(part)
