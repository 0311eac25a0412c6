"""Conversations with tools, as requests of each protocol's clients, from which tests make cassettes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pandaprobe_otel.replay.interactions import Cassette, Interaction, RecordedAnswer, RecordedRequest

Body = dict[str, Any]
PLACE = "shop_assistant"


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


def _cohere(spoken: Conversation, rounds: int) -> Body:
    return _chat(spoken, rounds)


def _listed(body: Body) -> list[Body]:
    tools: list[Body] = body["tools"]
    return tools


def _function(tool: Body) -> Body:
    found: Body = tool["function"]
    return found


def _itself(tool: Body) -> Body:
    return tool


PROTOCOLS = (
    Protocol(
        name="chat",
        path=lambda _: "/v1/chat/completions",
        body=_chat,
        turns="messages",
        tools_path="tools",
        schema="parameters",
        tools=_listed,
        definition=_function,
    ),
    Protocol(
        name="responses",
        path=lambda _: "/v1/responses",
        body=_responses,
        turns="input",
        tools_path="tools",
        schema="parameters",
        tools=_listed,
        definition=_itself,
    ),
    Protocol(
        name="anthropic",
        path=lambda _: "/v1/messages",
        body=_anthropic,
        turns="messages",
        tools_path="tools",
        schema="input_schema",
        tools=_listed,
        definition=_itself,
    ),
    Protocol(
        name="gemini",
        path=lambda model: f"/v1beta/models/{model}:generateContent",
        body=_gemini,
        turns="contents",
        tools_path="tools",
        schema="parameters",
        tools=lambda body: body["tools"][0]["functionDeclarations"],
        definition=_itself,
    ),
    Protocol(
        name="converse",
        path=lambda model: f"/model/{model}%3A0/converse",
        body=_converse,
        turns="messages",
        tools_path="toolConfig.tools",
        schema="inputSchema.json",
        tools=lambda body: body["toolConfig"]["tools"],
        definition=lambda tool: tool["toolSpec"],
    ),
    Protocol(
        name="ollama",
        path=lambda _: "/api/chat",
        body=_ollama,
        turns="messages",
        tools_path="tools",
        schema="parameters",
        tools=_listed,
        definition=_function,
    ),
    Protocol(
        name="cohere",
        path=lambda _: "/v2/chat",
        body=_cohere,
        turns="messages",
        tools_path="tools",
        schema="parameters",
        tools=_listed,
        definition=_function,
    ),
)
BY_NAME = {protocol.name: protocol for protocol in PROTOCOLS}


def request_of(protocol: Protocol, body: Body, model: str = "model-1") -> RecordedRequest:
    """Return a request with this body."""
    uri = f"https://models.example{protocol.path(model)}"
    return RecordedRequest("POST", uri, {"content-type": "application/json"}, json.dumps(body).encode())


def cassette_of(spoken: Conversation, protocol: Protocol) -> Cassette:
    """Return the recording of a conversation in which each call waits for the call before it."""
    interactions = [
        Interaction(
            call=number,
            request=request_of(protocol, protocol.body(spoken, number - 1), spoken.model),
            answer=RecordedAnswer(200, body=b'{"answer": %d}' % number),
            at=PLACE,
            after=(number - 1,) if number > 1 else (),
            source=f"cassettes/shop.yaml:{number * 20}",
        )
        for number in range(1, len(spoken.rounds) + 2)
    ]
    return Cassette(interactions=tuple(interactions))


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
