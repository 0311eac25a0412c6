"""Conversations with tools, as requests of each protocol's clients, which tests record and replay."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from pandaprobe_otel.protocols import protocol as wires
from pandaprobe_otel.protocols.anthropic import ANTHROPIC
from pandaprobe_otel.protocols.bedrock import BEDROCK
from pandaprobe_otel.protocols.chat import CHAT
from pandaprobe_otel.protocols.cohere import COHERE
from pandaprobe_otel.protocols.gemini import GEMINI
from pandaprobe_otel.protocols.ollama import OLLAMA
from pandaprobe_otel.protocols.responses import RESPONSES

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A question and an agent's rounds of tools; one more model call follows each round."""

    question: str
    rounds: int
    system: str = "You work in a shop."
    model: str = "model-1"

    def messages(self, rounds: int) -> list[Body]:
        """Return the messages of so many rounds, each of which looks up one order and refunds another."""
        messages: list[Body] = [
            {"role": "system", "content": self.system},
            {"role": "user", "content": self.question},
        ]
        for place in range(rounds):
            used = (
                (f"call_{place}a", "look_up_order", {"number": f"A-{2 * place}"}, {"status": f"on its way {place}"}),
                (f"call_{place}b", "refund", {"number": f"A-{2 * place + 1}", "amount": 5}, {"ok": True, "nr": place}),
            )
            calls = [
                {"id": one, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
                for one, name, arguments, _ in used
            ]
            messages.append({"role": "assistant", "content": None, "tool_calls": calls})
            messages += [
                {"role": "tool", "tool_call_id": one, "name": name, "content": json.dumps(result)}
                for one, name, _, result in used
            ]
        return messages


_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
_TOOLS = {"look_up_order": {"number": _TEXT}, "refund": {"number": _TEXT, "amount": _NUMBER}}


def _turns(
    messages: list[Body], text: Callable[[str], Any], call: Callable[..., Body], result: Callable[..., Body]
) -> list[Body]:
    """Return messages as turns of blocks, in which results are the user's and calls the model's."""
    turns: list[Body] = []
    for one in messages:
        if one["role"] == "tool":
            block = result(one["tool_call_id"], one["name"], one["content"])
            if turns[-1]["role"] == "user":
                turns[-1]["content"].append(block)
            else:
                turns.append({"role": "user", "content": [block]})
        elif one["role"] == "user":
            turns.append({"role": "user", "content": text(one["content"])})
        else:
            calls = [(call["id"], *call["function"].values()) for call in one["tool_calls"]]
            blocks = [call(number, name, json.loads(arguments)) for number, name, arguments in calls]
            turns.append({"role": "assistant", "content": blocks})
    return turns


def _text(text: str) -> list[Body]:
    return [{"text": text}]


def _use(number: str, name: str, arguments: Body) -> Body:
    return {"type": "tool_use", "id": number, "name": name, "input": arguments}


def _result(number: str, name: str, content: str) -> Body:
    return {"type": "tool_result", "tool_use_id": number, "content": content}


def _function_call(number: str, name: str, arguments: Body) -> Body:
    return {"functionCall": {"id": number, "name": name, "args": arguments}}


def _function_response(number: str, name: str, content: str) -> Body:
    return {"functionResponse": {"id": number, "name": name, "response": {"result": json.loads(content)}}}


def _tool_use(number: str, name: str, arguments: Body) -> Body:
    return {"toolUse": {"toolUseId": number, "name": name, "input": arguments}}


def _tool_result(number: str, name: str, content: str) -> Body:
    return {"toolResult": {"toolUseId": number, "content": [{"json": {"result": json.loads(content)}}]}}


def _items(messages: list[Body]) -> list[Body]:
    """Return messages as items of the Responses API, in which each call is an item."""
    items: list[Body] = []
    for one in messages:
        if one["role"] == "tool":
            items.append({"type": "function_call_output", "call_id": one["tool_call_id"], "output": one["content"]})
        elif one["role"] == "user":
            items.append(one)
        items += [
            {"type": "function_call", "call_id": call["id"], **call["function"]} for call in one.get("tool_calls", ())
        ]
    return items


def _without_type(tool: Body) -> Body:
    return {name: tool[name] for name in ("name", "description")}


@dataclass(frozen=True, slots=True)
class Protocol:
    """The form of a client's requests, and the fields that tests change."""

    name: str
    wire: wires.Protocol
    turns: str = "messages"
    tools_path: str = "tools"
    schema: str = "parameters"
    member: str = ""
    """The member of a tool that has its definition."""

    def path(self, model: str) -> str:
        """Return the path of a request."""
        return self.wire.base_path + self.wire.path(model, is_stream=False)

    def body(self, spoken: Conversation, rounds: int) -> Body:
        """Return the request after so many rounds."""
        tools = [
            {
                "type": "function",
                "name": name,
                "description": f"Use {name}.",
                "parameters": {"type": "object", "properties": dict(fields)},
            }
            for name, fields in _TOOLS.items()
        ]
        model, messages = spoken.model, spoken.messages(rounds)
        match self.name:
            case "responses":
                return {"model": model, "instructions": spoken.system, "input": _items(messages[1:]), "tools": tools}
            case "anthropic":
                turns = _turns(messages[1:], str, _use, _result)
                named = [{**_without_type(tool), "input_schema": tool["parameters"]} for tool in tools]
                return {"model": model, "max_tokens": 200, "system": spoken.system, "messages": turns, "tools": named}
            case "gemini":
                turns = _turns(messages[1:], _text, _function_call, _function_response)
                contents = [
                    {"role": "model" if turn["role"] == "assistant" else "user", "parts": turn["content"]}
                    for turn in turns
                ]
                declared = [_without_type(tool) | {"parameters": tool["parameters"]} for tool in tools]
                return {
                    "contents": contents,
                    "systemInstruction": {"parts": [{"text": spoken.system}]},
                    "tools": [{"functionDeclarations": declared}],
                }
            case "converse":
                turns = _turns(messages[1:], _text, _tool_use, _tool_result)
                specs = [
                    {"toolSpec": {**_without_type(tool), "inputSchema": {"json": tool["parameters"]}}} for tool in tools
                ]
                return {"messages": turns, "system": [{"text": spoken.system}], "toolConfig": {"tools": specs}}
            case name:
                functions = [{"type": "function", "function": tool} for tool in tools]
                more = {"stream": False} if name == "ollama" else {"temperature": 0.5}
                return {"model": model, "messages": messages, "tools": functions, **more}

    def tools(self, body: Body) -> list[Body]:
        """Return the list of tools in a body."""
        found: Any = body
        for name in self.tools_path.split("."):
            found = found[name]
        return found[0]["functionDeclarations"] if self.name == "gemini" else found  # type: ignore[no-any-return]

    def definition(self, tool: Body) -> Body:
        """Return the part of a tool that has its name."""
        return tool[self.member] if self.member else tool


PROTOCOLS = (
    Protocol("chat", CHAT, member="function"),
    Protocol("responses", RESPONSES, turns="input"),
    Protocol("anthropic", ANTHROPIC, schema="input_schema"),
    Protocol("gemini", GEMINI, turns="contents"),
    Protocol("converse", BEDROCK, tools_path="toolConfig.tools", schema="inputSchema.json", member="toolSpec"),
    Protocol("ollama", OLLAMA, member="function"),
    Protocol("cohere", COHERE, member="function"),
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
