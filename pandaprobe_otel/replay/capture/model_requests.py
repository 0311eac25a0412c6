"""Requests to models, rebuilt from the spans of their calls.

The rebuilt requests ask the same as the program's requests, in the form of the protocol. A trace records neither
headers nor the exact form of messages, so a test compares only the recorded parts (`replay/traced_requests.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from pandaprobe_otel.replay.answers.encoded_bodies import JSON, json_bytes
from pandaprobe_otel.replay.answers.model_answer import RequestedTool, mapping, requested_tools
from pandaprobe_otel.replay.answers.protocols import (
    CHAT,
    COHERE,
    CONVERSE,
    GEMINI,
    MESSAGES,
    OLLAMA,
    RESPONSES,
    Protocol,
)
from pandaprobe_otel.replay.answers.rebuild import is_streamed
from pandaprobe_otel.replay.cannot_capture import CannotCapture
from pandaprobe_otel.replay.interactions import RecordedRequest

_Message = Mapping[str, Any]


def request_of(span: Mapping[str, Any], protocol: Protocol) -> RecordedRequest:
    """Return the request of a call. Raises CannotCapture for a span without messages."""
    metadata = mapping(span.get("metadata"))
    model = str(metadata.get("request_model") or span.get("model") or "")
    body = {**_kept(metadata), **_WRITERS[protocol.name](model, _messages(span), _tools(metadata))}
    is_stream = is_streamed(span)
    if protocol in (GEMINI, CONVERSE):
        body.pop("model", None)
        body.pop("stream", None)
    elif is_stream or protocol is OLLAMA:
        body["stream"] = is_stream
    return RecordedRequest(
        method="POST",
        uri=f"{_host(metadata, protocol)}{_path(protocol, model, is_stream=is_stream)}",
        headers={"content-type": JSON},
        body=json_bytes({**_parameters(span, protocol), **body}),
    )


def _kept(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of the request that `init(replayable=True)` has saved: unchanged, unless litellm made them."""
    if str(metadata.get("scope")).endswith("litellm"):
        return {}
    return dict(mapping(mapping(metadata.get("replay")).get("request")))


def _messages(span: Mapping[str, Any]) -> list[_Message]:
    asked: Any = span.get("input")
    if isinstance(asked, str) and asked:
        return [{"role": "user", "content": asked}]
    found: Any = mapping(asked).get("messages")
    if not isinstance(found, list) or not found:
        raise CannotCapture("it has no messages: their content was not captured, or the call is not a chat")
    return [mapping(message) for message in found]  # pyright: ignore[reportUnknownVariableType]


def _tools(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found: Any = metadata.get("tools")
    return [mapping(tool) for tool in found] if isinstance(found, Sequence) and not isinstance(found, str) else []  # pyright: ignore[reportUnknownVariableType]


_SAME_EVERYWHERE: Final = ("temperature", "top_p", "seed", "max_tokens", "frequency_penalty", "presence_penalty")


def _parameters(span: Mapping[str, Any], protocol: Protocol) -> dict[str, Any]:
    """Return the parameters whose names OpenAI and Anthropic share, for readers of the file and for live calls."""
    given = mapping(span.get("model_parameters"))
    if protocol not in (CHAT, MESSAGES):
        return {}
    return {name: given[name] for name in _SAME_EVERYWHERE if given.get(name) is not None}


_HOSTS: Final = {
    CHAT.name: "https://api.openai.com",
    RESPONSES.name: "https://api.openai.com",
    MESSAGES.name: "https://api.anthropic.com",
    GEMINI.name: "https://generativelanguage.googleapis.com",
    CONVERSE.name: "https://bedrock-runtime.us-east-1.amazonaws.com",
    OLLAMA.name: "http://localhost:11434",
    COHERE.name: "https://api.cohere.com",
}


def _host(metadata: Mapping[str, Any], protocol: Protocol) -> str:
    address = metadata.get("server.address")
    if not address:
        return _HOSTS[protocol.name]
    scheme = "http" if address in ("127.0.0.1", "localhost", "::1") else "https"
    port = metadata.get("server.port")
    return f"{scheme}://{address}{f':{port}' if port else ''}"


def _path(protocol: Protocol, model: str, *, is_stream: bool) -> str:
    name = quote(model, safe="")
    paths = {
        CHAT.name: "/v1/chat/completions",
        RESPONSES.name: "/v1/responses",
        MESSAGES.name: "/v1/messages",
        GEMINI.name: f"/v1beta/models/{name}:{'streamGenerateContent?alt=sse' if is_stream else 'generateContent'}",
        CONVERSE.name: f"/model/{name}/{'converse-stream' if is_stream else 'converse'}",
        OLLAMA.name: "/api/chat",
        COHERE.name: "/v2/chat",
    }
    return paths[protocol.name]


# -- messages and tools in the words of each protocol -----------------------------------------------------------------


def _chat(model: str, messages: Sequence[_Message], tools: Sequence[_Message]) -> dict[str, Any]:
    given = [{"type": "function", "function": _without(tool, "type")} for tool in tools]
    return {"model": model, "messages": list(messages), **({"tools": given} if given else {})}


def _responses(model: str, messages: Sequence[_Message], tools: Sequence[_Message]) -> dict[str, Any]:
    items: list[dict[str, Any]] = []
    for message in messages:
        if message.get("role") == "tool":
            items.append(
                {
                    "type": "function_call_output",
                    "call_id": message.get("tool_call_id"),
                    "output": message.get("content"),
                }
            )
            continue
        if message.get("content"):
            items.append({"role": message["role"], "content": message["content"]})
        items += [
            {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments}
            for call in requested_tools(message)
        ]
    return {"model": model, "input": items, **({"tools": list(tools)} if tools else {})}


def _anthropic(model: str, messages: Sequence[_Message], tools: Sequence[_Message]) -> dict[str, Any]:
    system = [message for message in messages if message.get("role") in ("system", "developer")]
    body: dict[str, Any] = {"model": model, "max_tokens": 1024}
    if system:
        body["system"] = "\n".join(str(message.get("content")) for message in system)
    body["messages"] = list(_turns(messages, results=_anthropic_result, call=_anthropic_call))
    if tools:
        body["tools"] = [{**_without(tool, "type", "parameters"), "input_schema": _schema(tool)} for tool in tools]
    return body


def _anthropic_result(message: _Message) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": message.get("content")}


def _anthropic_call(call: RequestedTool) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": call.values}


def _turns(
    messages: Sequence[_Message],
    *,
    results: Callable[[_Message], dict[str, Any]],
    call: Callable[[RequestedTool], dict[str, Any]],
    text: Callable[[str], dict[str, Any]] = lambda said: {"type": "text", "text": said},
) -> Iterator[dict[str, Any]]:
    """Return messages for a protocol with tool results in user messages and calls among content blocks."""
    waiting: list[dict[str, Any]] = []
    for message in messages:
        role = message.get("role")
        if role in ("system", "developer"):
            continue
        if role == "tool":
            waiting.append(results(message))
            continue
        content = message.get("content")
        blocks = [*waiting] if role == "user" else []
        if waiting and role != "user":
            yield {"role": "user", "content": waiting}
        waiting = []
        if isinstance(content, str) and content:
            blocks.append(text(content))
        elif isinstance(content, list):
            blocks += content  # pyright: ignore[reportUnknownArgumentType]
        blocks += [call(one) for one in requested_tools(message)]
        if blocks:
            yield {"role": role, "content": blocks}
    if waiting:
        yield {"role": "user", "content": waiting}


def _converse(model: str, messages: Sequence[_Message], tools: Sequence[_Message]) -> dict[str, Any]:
    system = [message for message in messages if message.get("role") in ("system", "developer")]
    body: dict[str, Any] = {
        "messages": list(
            _turns(messages, results=_converse_result, call=_converse_call, text=lambda said: {"text": said})
        )
    }
    if system:
        body["system"] = [{"text": str(message.get("content"))} for message in system]
    if tools:
        specs = [
            {"toolSpec": {**_without(tool, "type", "parameters"), "inputSchema": {"json": _schema(tool)}}}
            for tool in tools
        ]
        body["toolConfig"] = {"tools": specs}
    return body


def _converse_result(message: _Message) -> dict[str, Any]:
    content = [{"text": str(message.get("content"))}]
    return {"toolResult": {"toolUseId": message.get("tool_call_id"), "content": content}}


def _converse_call(call: RequestedTool) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.values}}


def _gemini(model: str, messages: Sequence[_Message], tools: Sequence[_Message]) -> dict[str, Any]:
    system = [message for message in messages if message.get("role") in ("system", "developer")]
    turns = _turns(messages, results=_gemini_result, call=_gemini_call, text=lambda said: {"text": said})
    roles = {"assistant": "model"}
    body: dict[str, Any] = {
        "contents": [{"role": roles.get(str(turn["role"]), turn["role"]), "parts": turn["content"]} for turn in turns]
    }
    if system:
        body["systemInstruction"] = {"parts": [{"text": str(message.get("content"))} for message in system]}
    if tools:
        body["tools"] = [{"functionDeclarations": [_without(tool, "type") for tool in tools]}]
    return body


def _gemini_result(message: _Message) -> dict[str, Any]:
    content: Any = message.get("content")
    try:
        response = json.loads(content)
    except (TypeError, ValueError):
        response = content
    name = message.get("name") or message.get("tool_call_id")
    return {
        "functionResponse": {
            "id": message.get("tool_call_id"),
            "name": name,
            "response": response if isinstance(response, dict) else {"result": response},
        }
    }


def _gemini_call(call: RequestedTool) -> dict[str, Any]:
    identity = {} if call.id == call.name else {"id": call.id}
    return {"functionCall": {**identity, "name": call.name, "args": call.values}}


_WRITERS: Final[Mapping[str, Callable[[str, Sequence[_Message], Sequence[_Message]], dict[str, Any]]]] = {
    CHAT.name: _chat,
    OLLAMA.name: _chat,
    COHERE.name: _chat,
    RESPONSES.name: _responses,
    MESSAGES.name: _anthropic,
    CONVERSE.name: _converse,
    GEMINI.name: _gemini,
}


def _without(tool: _Message, *names: str) -> dict[str, Any]:
    return {name: value for name, value in tool.items() if name not in names}


def _schema(tool: _Message) -> Any:
    return tool.get("parameters") or {"type": "object", "properties": {}}
