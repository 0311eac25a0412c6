"""Conversion of a message's parts, in any provider's form, to content, tool calls, tool results and reasoning.

Supported forms: OpenTelemetry GenAI parts, OpenAI chat and responses items, Anthropic blocks, Bedrock Converse blocks,
Gemini parts, Vercel AI SDK parts, LangChain content blocks.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any, Final

from pandaprobe_otel.mapping.text import MIN_DATA_URL, small_media
from pandaprobe_otel.mapping.values import decoded, first_of, is_absent, type_of, word

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
    kind = type_of(value)
    if kind is str:
        return str(value)
    if kind is dict:
        texts = _texts_of([value])
    elif kind is list:
        texts = _texts_of(value)
    else:
        texts = None
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
        if type_of(block) is not dict:
            return None
        found = block.get("text", block.get("content") if block.get("type") == "text" else None)
        if type_of(found) is not str or not block.keys() <= _TEXT_BLOCK_KEYS:
            return None
        if word(block.get("type", "text")) not in _TEXT_TYPES:
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
        if type_of(call) is not dict:
            return
        function = call.get("function")
        inner: dict[str, Any] = function if type_of(function) is dict else call
        identity = first_of(call, "call_id", "id", "toolCallId", "tool_call_id", "tool_use_id", "toolUseId")
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
        if identity is None:
            del result["tool_call_id"]
        if name:
            result["name"] = name
        self.results.append(result)

    def body(self) -> Any:
        """Return the content: one text if all parts are text, else a list of parts; None if there are no parts."""
        content = self.content
        if not content:
            return None
        if len(content) == 1 and type_of(content[0]) is dict and content[0].get("type") == "text":
            return content[0].get("text") if len(content[0]) == 2 else content
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


_RESULT_ENVELOPE: Final = frozenset({"type", "kind", "id", "response", "result", "content", "role", "tool_call_id"})
_TEXT_ENVELOPE: Final = frozenset({"type", "text", "content", "value", "id", "index", "cache_control", "kind"})
"""Keys of a text part that are read or that mean nothing for the text."""


def _call_response(draft: Draft, part: Any) -> None:
    response = first_of(part, "response", "result", "content")
    draft.add_result(part.get("id"), response)
    if len(part) > 3 and response is not None:  # such as a mark for a failed tool
        more = {key: value for key, value in part.items() if key not in _RESULT_ENVELOPE and not is_absent(value)}
        draft.results[-1] |= more


def _tool_result(draft: Draft, part: Any) -> None:
    identity = first_of(part, "tool_use_id", "toolCallId", "tool_call_id", "call_id", "toolUseId", "id")
    draft.add_result(identity, first_of(part, "content", "output", "result"))


def _reasoning(draft: Draft, part: Any) -> None:
    found = first_of(part, "content", "text", "thinking", "reasoning", "summary")
    if type_of(found) is str and found.lstrip()[:1] == "[":
        found = decoded(found)
    for item in found if type_of(found) is list else [found]:
        words = first_of(item, "text", "content") if type_of(item) is dict else item
        if type_of(words) is str and words.strip():
            draft.reasoning.append(words)


def _blob(draft: Draft, part: Any) -> None:
    mime = part.get("mime_type") or part.get("mediaType") or ""
    image = part.get("modality") == "image" or str(mime).startswith("image/")
    data = first_of(part, "content", "data")
    if data is not None:
        draft.content.append(media(image, mime, data))
    elif "sha256" in part:  # the emitter has removed the data, so the emitter's description replaces the data
        held = {key: value for key, value in part.items() if key not in ("type", "modality") and value is not None}
        draft.content.append(_image_url(held) if image else {"type": "file", "file": {"file_data": held}})


def _uri(draft: Draft, part: Any) -> None:
    uri = first_of(part, "uri", "url")
    image = part.get("modality", "image") == "image" or str(part.get("mime_type") or "").startswith("image/")
    draft.content.append(_image_url(uri) if image else {"type": "file", "file": {"url": uri}})


def _file(draft: Draft, part: Any) -> None:
    if type_of(part.get("file")) is dict:
        draft.content.append(part)
        return
    mime = str(first_of(part, "mime_type", "mediaType", "mimeType") or "")
    data = first_of(part, "data", "file_data", "content")
    url = first_of(part, "url", "uri", "file_url")
    if type_of(data) is str and data.startswith(("http://", "https://", "data:")):
        url, data = data, None
    if data is not None:
        draft.content.append(media(mime.startswith("image/"), mime, data))
    elif url is not None:
        draft.content.append(_image_url(url) if mime.startswith("image/") else {"type": "file", "file": {"url": url}})
    else:
        draft.content.append({"type": "file", "file": {"file_id": first_of(part, "file_id", "id")}})


def _image(draft: Draft, part: Any) -> None:
    source = first_of(part, "source", "image", "data", "url", "image_url")
    mime = first_of(part, "mime_type", "mediaType", "mimeType", "media_type") or "image/png"
    if type_of(source) is dict:
        if type_of(source.get("image")) is dict:  # OpenInference: image.image.url
            source = source["image"]
        mime = source.get("media_type") or source.get("mime_type") or mime
        if type_of(source.get("bytes")) is not type(None):
            mime = f"image/{part.get('format') or mime.removeprefix('image/')}"
        url = first_of(source, "url", "uri")
        if url is not None:
            draft.content.append(_image_url(url))
            return
        source = first_of(source, "data", "bytes")
    if type_of(source) is str and source.startswith(("http://", "https://", "data:")):
        draft.content.append(_image_url(source))
    elif source is not None:
        draft.content.append(media(True, mime, source))
    else:
        draft.content.append(part)


def _document(draft: Draft, part: Any) -> None:
    source = part.get("source")
    if type_of(source) is not dict:
        draft.content.append(part)
    elif source.get("type") == "text" and type_of(source.get("data")) is str:
        draft.add_text(source["data"])
    elif source.get("data") is not None:
        draft.content.append(media(False, source.get("media_type") or "", source["data"]))
    else:
        found = {key: source[key] for key in ("url", "file_id") if key in source}
        draft.content.append({"type": "file", "file": found})


def _input_image(draft: Draft, part: Any) -> None:
    url = part.get("image_url")
    if type_of(url) is str:
        image = _image_url(url)
        if part.get("detail"):
            image["image_url"]["detail"] = part["detail"]
        draft.content.append(image)
    elif part.get("file_id"):
        draft.content.append({"type": "file", "file": {"file_id": part["file_id"]}})
    else:
        draft.content.append(part)


def _refusal(draft: Draft, part: Any) -> None:
    draft.add_text(part.get("refusal"))


def _nested_message(draft: Draft, part: Any) -> None:
    content = part.get("content")
    for inner in content if type_of(content) is list else [content]:
        draft.add(inner)


def media(image: bool, mime: Any, data: Any) -> dict[str, Any]:
    """Return an image or file part with the data (base64 text or bytes); long data is held with its digest."""
    if type_of(data) is bytes:
        data = base64.b64encode(data).decode()
    if type_of(data) is not str:
        return {"type": "file", "file": {"file_data": data}}
    url = data if data.startswith("data:") else f"data:{mime or 'application/octet-stream'};base64,{data}"
    held = (small_media(url) if len(url) >= MIN_DATA_URL else None) or url
    return _image_url(held) if image else {"type": "file", "file": {"file_data": held}}


def _image_url(url: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


# -- parts without a type: Bedrock and Gemini name the part by its key ------------------------------------------------


def _bedrock_result(draft: Draft, result: Any) -> None:
    draft.add_result(result.get("toolUseId"), result.get("content"))


def _bedrock_reasoning(draft: Draft, inner: Any) -> None:
    text = inner.get("reasoningText")
    _reasoning(draft, text if type_of(text) is dict else {"text": text})


def _gemini_result(draft: Draft, result: Any) -> None:
    draft.add_result(result.get("id"), result.get("response"), result.get("name"))


def _gemini_data(draft: Draft, inner: Any) -> None:
    _blob(draft, {"mime_type": first_of(inner, "mime_type", "mimeType"), "data": inner.get("data")})


def _gemini_file(draft: Draft, inner: Any) -> None:
    mime = first_of(inner, "mime_type", "mimeType")
    _file(draft, {"url": first_of(inner, "file_uri", "fileUri"), "mime_type": mime})


def _untyped_text(draft: Draft, part: Any) -> None:
    if part.get("thought") is True:
        _reasoning(draft, part)
    else:
        _text(draft, part)


Reader = Callable[[Draft, Any], None]
_CALLS: Final = ("tool_call", "tool_use", "function_call", "tool-call", "function", "toolUse")
"""Types of tool calls."""

_READERS: Final[dict[Any, Reader]] = {
    **dict.fromkeys(("text", "input_text", "output_text", "summary_text"), _text),
    **dict.fromkeys(_CALLS, Draft.add_call),
    "tool_call_response": _call_response,
    **dict.fromkeys(("tool_result", "tool-result", "function_call_output", "toolResult"), _tool_result),
    **dict.fromkeys(("reasoning", "thinking", "redacted_thinking", "reasoning_content"), _reasoning),
    "blob": _blob,
    "uri": _uri,
    "file": _file,
    "input_file": _file,
    "image": _image,
    "input_image": _input_image,
    "document": _document,
    "refusal": _refusal,
    "message": _nested_message,
}

_BY_KEY: Final[dict[str, Reader]] = {
    "toolUse": Draft.add_call,
    "toolResult": _bedrock_result,
    "reasoningContent": _bedrock_reasoning,
    **dict.fromkeys(("function_call", "functionCall"), Draft.add_call),
    **dict.fromkeys(("function_response", "functionResponse"), _gemini_result),
    **dict.fromkeys(("inline_data", "inlineData"), _gemini_data),
    **dict.fromkeys(("file_data", "fileData"), _gemini_file),
    **dict.fromkeys(("text", "content"), _untyped_text),
    "image": _image,
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
