"""Conversations with tools, as requests of each protocol's clients, which tests record and replay."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Used:
    """A tool call that a model asks for, with its result."""

    name: str
    arguments: Mapping[str, Any]
    result: Any
    id: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """A question and an agent's rounds of tools; one more model call follows each round."""

    question: str
    rounds: Sequence[Sequence[Used]]
    tools: Mapping[str, Mapping[str, Any]]
    """Properties of each tool's arguments, by the name of the tool."""
    system: str = "You work in a shop."
    model: str = "model-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The form of a client's requests."""

    name: str
    path: Callable[[str], str]
    body: Callable[[Conversation, int], Body]
    turns: str
    tools_path: str
    schema: str
    tools: Callable[[Body], list[Body]]
    """Returns the list of tools in a body."""
    definition: Callable[[Body], Body]


def _schemas(spoken: Conversation) -> list[tuple[str, str, Body]]:
    return [
        (name, f"Use {name}.", {"type": "object", "properties": dict(fields)}) for name, fields in spoken.tools.items()
    ]


def _chat(spoken: Conversation, rounds: int) -> Body:
    messages: list[Body] = [
        {"role": "system", "content": spoken.system},
        {"role": "user", "content": spoken.question},
    ]
    for used in spoken.rounds[:rounds]:
        calls = [
            {
                "id": one.id,
                "type": "function",
                "function": {"name": one.name, "arguments": json.dumps(one.arguments)},
            }
            for one in used
        ]
        messages.append({"role": "assistant", "content": None, "tool_calls": calls})
        messages += [{"role": "tool", "tool_call_id": one.id, "content": json.dumps(one.result)} for one in used]
    tools = [
        {"type": "function", "function": {"name": name, "description": text, "parameters": schema}}
        for name, text, schema in _schemas(spoken)
    ]
    return {"model": spoken.model, "messages": messages, "tools": tools, "temperature": 0.5}


def _responses(spoken: Conversation, rounds: int) -> Body:
    turns: list[Body] = [{"role": "user", "content": spoken.question}]
    for used in spoken.rounds[:rounds]:
        turns += [
            {
                "type": "function_call",
                "id": f"fc_of_{one.id}",
                "call_id": one.id,
                "name": one.name,
                "arguments": json.dumps(one.arguments),
            }
            for one in used
        ]
        turns += [{"type": "function_call_output", "call_id": one.id, "output": json.dumps(one.result)} for one in used]
    tools = [
        {"type": "function", "name": name, "description": text, "parameters": schema, "strict": False}
        for name, text, schema in _schemas(spoken)
    ]
    return {"model": spoken.model, "instructions": spoken.system, "input": turns, "tools": tools}


def _anthropic(spoken: Conversation, rounds: int) -> Body:
    messages: list[Body] = [{"role": "user", "content": spoken.question}]
    for used in spoken.rounds[:rounds]:
        calls = [{"type": "tool_use", "id": one.id, "name": one.name, "input": dict(one.arguments)} for one in used]
        results = [{"type": "tool_result", "tool_use_id": one.id, "content": json.dumps(one.result)} for one in used]
        messages += [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]
    tools = [{"name": name, "description": text, "input_schema": schema} for name, text, schema in _schemas(spoken)]
    return {
        "model": spoken.model,
        "max_tokens": 200,
        "system": spoken.system,
        "messages": messages,
        "tools": tools,
    }


def _gemini(spoken: Conversation, rounds: int) -> Body:
    contents: list[Body] = [{"role": "user", "parts": [{"text": spoken.question}]}]
    for used in spoken.rounds[:rounds]:
        calls = [{"functionCall": {"id": one.id, "name": one.name, "args": dict(one.arguments)}} for one in used]
        results = [
            {"functionResponse": {"id": one.id, "name": one.name, "response": {"result": one.result}}} for one in used
        ]
        contents += [{"role": "model", "parts": calls}, {"role": "user", "parts": results}]
    declared = [{"name": name, "description": text, "parameters": schema} for name, text, schema in _schemas(spoken)]
    return {
        "contents": contents,
        "systemInstruction": {"parts": [{"text": spoken.system}]},
        "tools": [{"functionDeclarations": declared}],
        "generationConfig": {"temperature": 0.5},
    }


def _converse(spoken: Conversation, rounds: int) -> Body:
    messages: list[Body] = [{"role": "user", "content": [{"text": spoken.question}]}]
    for used in spoken.rounds[:rounds]:
        calls = [{"toolUse": {"toolUseId": one.id, "name": one.name, "input": dict(one.arguments)}} for one in used]
        results = [{"toolResult": {"toolUseId": one.id, "content": [{"json": {"result": one.result}}]}} for one in used]
        messages += [{"role": "assistant", "content": calls}, {"role": "user", "content": results}]
    tools = [
        {"toolSpec": {"name": name, "description": text, "inputSchema": {"json": schema}}}
        for name, text, schema in _schemas(spoken)
    ]
    return {"messages": messages, "system": [{"text": spoken.system}], "toolConfig": {"tools": tools}}


def _ollama(spoken: Conversation, rounds: int) -> Body:
    messages: list[Body] = [
        {"role": "system", "content": spoken.system},
        {"role": "user", "content": spoken.question},
    ]
    for used in spoken.rounds[:rounds]:
        calls = [{"function": {"name": one.name, "arguments": dict(one.arguments)}} for one in used]
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        messages += [{"role": "tool", "tool_name": one.name, "content": json.dumps(one.result)} for one in used]
    return {"model": spoken.model, "messages": messages, "tools": _chat(spoken, 0)["tools"], "stream": False}


def _protocol(name: str, path: str, body: Callable[[Conversation, int], Body], **other: Any) -> Protocol:
    """Return a protocol that is like OpenAI's chat completions, but for these fields."""
    like = {
        "turns": "messages",
        "tools_path": "tools",
        "schema": "parameters",
        "tools": lambda sent: sent["tools"],
        "definition": lambda tool: tool["function"],
    }
    return Protocol(name=name, path=lambda model: path.format(model), body=body, **{**like, **other})


def _itself(tool: Body) -> Body:
    return tool


PROTOCOLS = (
    _protocol("chat", "/v1/chat/completions", _chat),
    _protocol("responses", "/v1/responses", _responses, turns="input", definition=_itself),
    _protocol("anthropic", "/v1/messages", _anthropic, schema="input_schema", definition=_itself),
    _protocol(
        "gemini",
        "/v1beta/models/{}:generateContent",
        _gemini,
        turns="contents",
        tools=lambda sent: sent["tools"][0]["functionDeclarations"],
        definition=_itself,
    ),
    _protocol(
        "converse",
        "/model/{}%3A0/converse",
        _converse,
        tools_path="toolConfig.tools",
        schema="inputSchema.json",
        tools=lambda sent: sent["toolConfig"]["tools"],
        definition=lambda tool: tool["toolSpec"],
    ),
    _protocol("ollama", "/api/chat", _ollama),
    _protocol("cohere", "/v2/chat", _chat),
)
BY_NAME = {protocol.name: protocol for protocol in PROTOCOLS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request as a client sends it."""

    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    method: str = "POST"


def send(url: str, *requests: Sent) -> None:
    """Send requests one after the other."""
    with httpx.Client() as client:
        for one in requests:
            client.request(one.method, f"{url}{one.path}", content=one.body, headers=dict(one.headers))


def request_of(protocol: Protocol, body: Body, model: str = "model-1") -> Sent:
    """Return a request with this body."""
    return Sent(path=protocol.path(model), body=json.dumps(body).encode())


def requests_of(spoken: Conversation, protocol: Protocol) -> list[Sent]:
    """Return the requests of a conversation, each of which comes after the answer to the one before it."""
    return [
        request_of(protocol, protocol.body(spoken, rounds), spoken.model) for rounds in range(len(spoken.rounds) + 1)
    ]


def shop_talk(rounds: int = 3) -> Conversation:
    """Return a conversation in which each round looks up one order and refunds another."""
    return Conversation(
        question="Where is order A-17?",
        rounds=[
            [
                Used(
                    "look_up_order", {"number": f"A-{2 * place}"}, {"status": f"on its way {place}"}, f"call_{place}a"
                ),
                Used(
                    "refund", {"number": f"A-{2 * place + 1}", "amount": 5}, {"ok": True, "nr": place}, f"call_{place}b"
                ),
            ]
            for place in range(rounds)
        ],
        tools={
            "look_up_order": {"number": {"type": "string"}},
            "refund": {"number": {"type": "string"}, "amount": {"type": "number"}},
        },
    )
