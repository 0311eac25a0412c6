"""Conversations with tools, as requests of each protocol's clients, which tests record and replay."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A question and an agent's rounds of tools; one more model call follows each round."""

    question: str
    rounds: int
    system: str = "You work in a shop."
    model: str = "model-1"


_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
_TOOLS = {"look_up_order": {"number": _TEXT}, "refund": {"number": _TEXT, "amount": _NUMBER}}


def _used(place: int) -> Iterator[Body]:
    """Yield the two calls of a round, which looks up one order and refunds another, with their results."""
    status, refunded = {"status": f"on its way {place}"}, {"ok": True, "nr": place}
    first, second = {"number": f"A-{2 * place}"}, {"number": f"A-{2 * place + 1}", "amount": 5}
    for letter, name, given, result in (("a", "look_up_order", first, status), ("b", "refund", second, refunded)):
        texts = {"TEXT": json.dumps(result), "ARGUMENTS": json.dumps(given)}
        yield {"ID": f"call_{place}{letter}", "NAME": name, "INPUT": given, "RESULT": result, **texts}


def _filled(template: str, values: Mapping[str, Any]) -> Any:
    """Return the JSON of a template, in which words in capitals name values."""
    return json.loads(re.sub("[A-Z]{2,}", lambda found: json.dumps(values[found[0]]), template))


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The form of a client's requests, as templates, and the fields that tests change."""

    name: str
    url: str
    request: str
    tool: str
    system: str = ""
    """The message with the system prompt, if it is one."""
    user: str = '{"role": "user", "content": TEXT}'
    calls: str = '{"role": "assistant", "content": null, "tool_calls": BLOCKS}'
    results: str = ""
    """The message with all results of a round. Without one, each result is a message; the same holds for calls."""
    call: str
    result: str
    turns: str = "messages"
    tools_path: str = "tools"
    schema: str = "parameters"
    member: str = ""
    """The member of a tool that has its definition."""

    def path(self, model: str) -> str:
        """Return the path of a request."""
        return self.url.format(model)

    def body(self, spoken: Conversation, rounds: int) -> Body:
        """Return the request after so many rounds."""
        turns = [_filled(self.system, {"TEXT": spoken.system})] if self.system else []
        turns.append(_filled(self.user, {"TEXT": spoken.question}))
        for place in range(rounds):
            for whole, template in ((self.calls, self.call), (self.results, self.result)):
                blocks = [_filled(template, one) for one in _used(place)]
                turns += [_filled(whole, {"BLOCKS": blocks})] if whole else blocks
        tools = [
            _filled(
                self.tool, {"NAME": name, "TEXT": f"Use {name}.", "SCHEMA": {"type": "object", "properties": fields}}
            )
            for name, fields in _TOOLS.items()
        ]
        values = {"MODEL": spoken.model, "SYSTEM": spoken.system, "TURNS": turns, "TOOLS": tools}
        return _filled(self.request, values)  # type: ignore[no-any-return]

    def tools(self, body: Body) -> list[Body]:
        """Return the list of tools in a body."""
        found: Any = body
        for name in self.tools_path.split("."):
            found = found[name]
        return found[0]["functionDeclarations"] if self.name == "gemini" else found  # type: ignore[no-any-return]

    def definition(self, tool: Body) -> Body:
        """Return the part of a tool that has its name."""
        return tool[self.member] if self.member else tool


_LIKE_CHAT: Body = {
    "request": '{"model": MODEL, "messages": TURNS, "tools": TOOLS, "temperature": 0.5}',
    "tool": '{"type": "function", "function": {"name": NAME, "description": TEXT, "parameters": SCHEMA}}',
    "system": '{"role": "system", "content": TEXT}',
    "call": '{"id": ID, "type": "function", "function": {"name": NAME, "arguments": ARGUMENTS}}',
    "result": '{"role": "tool", "tool_call_id": ID, "content": TEXT}',
    "member": "function",
}
_BLOCKS: Body = {
    "user": '{"role": "user", "content": [{"text": TEXT}]}',
    "calls": '{"role": "assistant", "content": BLOCKS}',
    "results": '{"role": "user", "content": BLOCKS}',
}
PROTOCOLS = (
    Protocol(name="chat", url="/v1/chat/completions", **_LIKE_CHAT),
    Protocol(
        name="responses",
        url="/v1/responses",
        request='{"model": MODEL, "instructions": SYSTEM, "input": TURNS, "tools": TOOLS}',
        tool='{"type": "function", "name": NAME, "description": TEXT, "parameters": SCHEMA, "strict": false}',
        calls="",
        call='{"type": "function_call", "call_id": ID, "name": NAME, "arguments": ARGUMENTS}',
        result='{"type": "function_call_output", "call_id": ID, "output": TEXT}',
        turns="input",
    ),
    Protocol(
        name="anthropic",
        url="/v1/messages",
        request='{"model": MODEL, "max_tokens": 200, "system": SYSTEM, "messages": TURNS, "tools": TOOLS}',
        tool='{"name": NAME, "description": TEXT, "input_schema": SCHEMA}',
        call='{"type": "tool_use", "id": ID, "name": NAME, "input": INPUT}',
        result='{"type": "tool_result", "tool_use_id": ID, "content": TEXT}',
        schema="input_schema",
        **{**_BLOCKS, "user": '{"role": "user", "content": TEXT}'},
    ),
    Protocol(
        name="gemini",
        url="/v1beta/models/{}:generateContent",
        request=(
            '{"contents": TURNS, "systemInstruction": {"parts": [{"text": SYSTEM}]}, '
            '"tools": [{"functionDeclarations": TOOLS}]}'
        ),
        tool='{"name": NAME, "description": TEXT, "parameters": SCHEMA}',
        user='{"role": "user", "parts": [{"text": TEXT}]}',
        calls='{"role": "model", "parts": BLOCKS}',
        results='{"role": "user", "parts": BLOCKS}',
        call='{"functionCall": {"id": ID, "name": NAME, "args": INPUT}}',
        result='{"functionResponse": {"id": ID, "name": NAME, "response": {"result": RESULT}}}',
        turns="contents",
    ),
    Protocol(
        name="converse",
        url="/model/{}%3A0/converse",
        request='{"messages": TURNS, "system": [{"text": SYSTEM}], "toolConfig": {"tools": TOOLS}}',
        tool='{"toolSpec": {"name": NAME, "description": TEXT, "inputSchema": {"json": SCHEMA}}}',
        call='{"toolUse": {"toolUseId": ID, "name": NAME, "input": INPUT}}',
        result='{"toolResult": {"toolUseId": ID, "content": [{"json": {"result": RESULT}}]}}',
        tools_path="toolConfig.tools",
        schema="inputSchema.json",
        member="toolSpec",
        **_BLOCKS,
    ),
    Protocol(
        name="ollama",
        url="/api/chat",
        **{**_LIKE_CHAT, "request": '{"model": MODEL, "messages": TURNS, "tools": TOOLS, "stream": false}'},
    ),
    Protocol(name="cohere", url="/v2/chat", **_LIKE_CHAT),
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
    return [request_of(protocol, protocol.body(spoken, rounds), spoken.model) for rounds in range(spoken.rounds + 1)]


def shop_talk(rounds: int = 3) -> Conversation:
    """Return a conversation of so many rounds."""
    return Conversation("Where is order A-17?", rounds)
