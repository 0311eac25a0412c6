"""Requests in the form in which they are compared: as parsed by their protocol, with tool results in order.

If the cassette was made from a trace, requests are reduced to the parts that a trace records: who said what, the tool
calls with their results, and the available tools. A trace does not record how the request expressed this: one message
or two, a text or a list of texts, instructions or a system message, thoughts and their signatures. It also lacks some
parameters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

from pandaprobe_otel.mapping import exact_json
from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.protocols import known
from pandaprobe_otel.protocols.conversation import Message, mapping, read_messages
from pandaprobe_otel.protocols.encoding import dump
from pandaprobe_otel.protocols.protocol import ParsedRequest, model_of
from pandaprobe_otel.replay.interactions import RecordedRequest

IDS: Final = frozenset(
    {
        *("id", "tool_call_id", "call_id", "tool_use_id", "toolUseId", "toolCallId", "item_id", "response_id"),
        *("previous_response_id", "approval_request_id", "conversation", "container", "cachedContent"),
    }
)
"""Names of generated values, except inside data of the app."""
DATA: Final = frozenset(
    {
        *("arguments", "args", "input", "output", "response", "json", "parameters", "parametersJsonSchema", "schema"),
        *("input_schema", "inputSchema", "parameter_definitions", "responseSchema", "responseJsonSchema", "data"),
    }
)
"""Names of fields that the app or the model fills. An `id` inside them is ordinary data."""


def parsed(request: RecordedRequest) -> ParsedRequest:
    """Return a request as parsed by its protocol."""
    url = urlsplit(request.uri)
    body = body_in(request)
    if type_of(body) is dict and request.method.upper() == "POST":
        found = known.read_request(url.path.rstrip("/"), body)
        if found is not None:
            return _in_order(found)
    return _plain(request, _text_of(request.body) if body is None and request.body else body)


def unread(request: RecordedRequest) -> ParsedRequest:
    """Return a request with its body as plain text, because it cannot be parsed."""
    # With a word before it, so that it is not parsed as JSON.
    return _plain(request, f"unread: {request.body.decode('utf-8', 'replace')}")


def _plain(request: RecordedRequest, body: Any) -> ParsedRequest:
    """Return a request of an unknown protocol: method, path, query and body (parsed JSON, or None)."""
    url = urlsplit(request.uri)
    fields: dict[str, Any] = {"path": url.path}
    if url.query:
        fields["query"] = parse_qs(url.query, keep_blank_values=True)
    if body is not None:
        fields["body"] = body
    model = model_of(mapping(body))
    return ParsedRequest(protocol="http", operation=request.method.upper(), model=model, body=fields, data=True)


def body_in(request: RecordedRequest) -> Any:
    """Return the body of a request as JSON; None if it is not JSON."""
    try:
        return exact_json.loads(request.body) if request.body else None
    except ValueError:
        return None


def _text_of(content: bytes) -> Any:
    """Return a body that is not JSON as text, or else its digest. The separator of a form is random, so it is cut."""
    if content.startswith(b"--"):
        content = content.replace(content.partition(b"\r\n")[0], b"--")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return digest_of_bytes(content)


# -- tool results ------------------------------------------------------------------------------------------------------


def _in_order(request: ParsedRequest) -> ParsedRequest:
    """Return a request whose tool results are in the order of their calls.

    Frameworks that run tools concurrently often add each result as it arrives. That order is random and has no meaning,
    since each result names its call.
    """
    turns = request.body.get(request.turns or "")
    if type_of(turns) is not list:
        return request
    return replace(request, body={**request.body, str(request.turns): _turns_in_order(cast("list[Any]", turns))})


def _turns_in_order(turns: list[Any]) -> list[Any]:
    return _sorted([_sorted_parts(turn, turns) for turn in turns], turns)


def _sorted_parts(turn: Any, turns: list[Any]) -> Any:
    for name in ("content", "parts"):
        parts: Any = turn.get(name) if type_of(turn) is dict else None
        if type_of(parts) is list:
            return {**turn, name: _sorted(parts, turns)}
    return turn


def _sorted(items: list[Any], turns: list[Any]) -> list[Any]:
    """Return a list with neighbouring results in the order of their calls."""
    found: list[Any] = []
    for is_result, some in groupby(items, key=lambda one: _answered(one) is not None):
        group = list(some)
        if is_result and len(group) > 1:
            ids = list(dict.fromkeys(_ids_in(turns)))
            group.sort(key=lambda one: ids.index(_answered(one) or ""))
        found += group
    return found


def _answered(item: Any) -> str | None:
    """Return the id of the call that this result belongs to; None if it is not a result."""
    if type_of(item) is not dict:
        return None
    inner = item.get("toolResult") or item.get("functionResponse")
    found: Any = item.get("tool_call_id") or item.get("tool_use_id")
    if item.get("type") == "function_call_output":
        found = item.get("call_id")
    elif type_of(inner) is dict:
        found = inner.get("toolUseId") or inner.get("id")
    return found if type_of(found) is str else None


def _ids_in(value: Any) -> Iterator[str]:
    """Yield the ids of calls and results, in order."""
    if type_of(value) is dict:
        for name, item in value.items():
            if name in IDS and type_of(item) is str:
                yield item
            elif name not in DATA:
                yield from _ids_in(item)
    elif type_of(value) is list:
        for item in value:
            yield from _ids_in(item)


# -- the parts that a trace records ------------------------------------------------------------------------------------

_SCHEMAS: Final = (
    "parameters",
    "input_schema",
    "inputSchema",
    "parametersJsonSchema",
    "parameters_json_schema",
    "parameter_definitions",
)


def messages_in(request: ParsedRequest) -> list[Message] | None:
    """Return the messages of a request, which a cassette made from a trace has in the form of the trace."""
    if request.wire is None:
        return None
    found = request.wire.read_messages(request.body)
    turns: Any = request.body.get("messages") if found is None else found
    return read_messages(turns) if isinstance(turns, list) else None


def as_traced(request: ParsedRequest) -> ParsedRequest:
    """Return the parts of a request that a trace records; a request without messages is returned unchanged."""
    messages = messages_in(request)
    if messages is None:
        return request
    # One message for each text, call and result.
    parts = [part for message in messages for part in _parts_of(message)]
    body: dict[str, Any] = {"messages": _turns_in_order(parts)}
    if tools := _tools(request.body):
        body["tools"] = tools
    if request.body.get("stream"):
        body["stream"] = True
    return replace(request, body=body, turns="messages")


def _parts_of(message: Message) -> Iterator[dict[str, Any]]:
    role, content = message["role"], message.get("content")
    texts = [content] if isinstance(content, str) else []
    media: list[str] = []
    for part in cast("Iterable[Any]", content) if isinstance(content, list) else ():
        found = cast("Mapping[str, Any]", part) if isinstance(part, Mapping) else {"text": str(part)}
        if isinstance(found.get("text"), str):
            texts.append(found["text"])
        elif "cachePoint" not in found:
            media.append(str(found.get("type") or next(iter(found), "part")))
    text = "\n".join(filter(None, texts))
    if role == "tool":
        answered = message.get("tool_call_id") or message.get("name")  # Gemini's results may have no id
        yield {"role": "tool", "tool_call_id": answered, "content": _bare(text)}
        return
    if text or media:
        yield {"role": role, "content": text, **({"media": media} if media else {})}
    for call in message.get("tool_calls") or ():
        yield {"role": "assistant", "tool_calls": [call]}


def _bare(text: str) -> Any:
    """Return a tool's result without the object that Gemini requires around a plain value."""
    try:
        value = exact_json.loads(text)
    except ValueError:
        return text
    while [*mapping(value)] in (["result"], ["output"]):
        value = next(iter(value.values()))
    return value if isinstance(value, str) else dump(value)


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    named = mapping(body.get("tools") or mapping(body.get("toolConfig")).get("tools"))
    return {name: _definition(mapping(tool)) for name, tool in named.items()}


def _definition(tool: Mapping[str, Any]) -> dict[str, Any]:
    schema: Any = next((tool[name] for name in _SCHEMAS if tool.get(name) is not None), None)
    if [*mapping(schema)] == ["json"]:  # the form of Bedrock
        schema = schema["json"]
    given: dict[str, Any] = {"description": tool.get("description"), "parameters": schema}
    return {name: value for name, value in given.items() if value is not None}


# -- media -------------------------------------------------------------------------------------------------------------

DIGEST: Final = "$sha256"
"""Key that marks an object as a replacement for media."""
MIN_CHARS: Final = 256
"""Length of the shortest base64 that is replaced. The digest of a shorter one would hardly save space."""
_MEDIA: Final = frozenset(
    {"data", "bytes", "file_data", "fileData", "image", "images", "audio", "video", "b64_json", "bytesBase64Encoded"}
)
"""Keys of base64 values without a data URL, in the protocols of models. Signatures of models (`signature`,
`encrypted_content`) are not included, since the service needs them back.
"""
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_DATA_URL: Final = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(?:;[\w.+=-]+)*;base64,")
_URL_SAFE: Final = str.maketrans("-_", "+/")


def without_media(value: Any, key: str = "") -> Any:
    """Return the JSON of a request with digests in place of images, sound and files."""
    if isinstance(value, str):
        return digest_of_text(value, key=key) or value
    if isinstance(value, dict):
        return {name: without_media(item, name) for name, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [without_media(item, key) for item in cast("Iterable[Any]", value)]
    return value


def digest_of_text(text: str, *, key: str = "") -> dict[str, Any] | None:
    """Return the replacement for a base64 text under a key of a request; None for any other text."""
    if len(text) < MIN_CHARS:
        return None
    head = _DATA_URL.match(text)
    digits = text[head.end() :] if head is not None else text if key in _MEDIA else ""
    if not _BASE64.fullmatch(digits):
        return None
    digits = digits.rstrip("=").translate(_URL_SAFE)  # Only some versions of Python accept too much padding.
    try:
        data = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except binascii.Error:
        return None
    return digest_of_bytes(data, kind=None if head is None else head[1])


def digest_of_bytes(data: bytes, *, kind: str | None = None) -> dict[str, Any]:
    """Return the replacement for these bytes: their SHA-256, their length and, if known, their media type."""
    digest: dict[str, Any] = {DIGEST: hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    return digest if kind is None else {**digest, "type": kind}


def is_digest(value: Mapping[str, Any]) -> bool:
    """Return whether an object of a request replaces media."""
    return isinstance(value.get(DIGEST), str)
