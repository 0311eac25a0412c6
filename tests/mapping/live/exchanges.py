"""Exchanges between a client and the scripted model, in the formats of several model providers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]

CITY, WEATHER = "Lisbon", "windy, 17 degrees"
ANSWER = "It is windy in Lisbon, 17 degrees."
PICTURE = "Which city is this?"
"""The question that comes with a picture."""
REFUSED = "The model is busy, try again"


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer by the semantic conventions: cached tokens count as input, thoughts as output."""

    prompt: int
    completion: int
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer.

    `roles` has the first letter of each request message's role (system, user, assistant, tool), and `question` is the
    user's last text. The answer is `text`, tool calls in `calls`, or `error`.
    """

    model: str
    roles: str
    question: str
    text: str | None = None
    calls: tuple[tuple[str, Json], ...] = ()
    usage: Usage | None = None
    error: str | None = None
    streamed: bool = False


def of_chat(body: Json) -> tuple[str, str]:
    """Return (roles, question) of a request to OpenAI's chat API."""
    return _read((message["role"], message.get("content")) for message in body["messages"])


def of_responses(body: Json) -> tuple[str, str]:
    """Return (roles, question) of a request to OpenAI's responses API."""
    given = body["input"]
    entries: list[tuple[str, Any]] = [("system", body["instructions"])] if body.get("instructions") else []
    for item in [{"role": "user", "content": given}] if isinstance(given, str) else given:
        kind = str(item.get("type"))
        role = {"function_call": "assistant", "function_call_output": "tool"}.get(kind) or item["role"]
        entries.append((role, item.get("content")))
    return _read(entries)


def of_messages(body: Json) -> tuple[str, str]:
    """Return (roles, question) of a request to Anthropic's messages API."""
    entries: list[tuple[str, Any]] = [("system", body["system"])] if body.get("system") else []
    for message in body["messages"]:
        content = message["content"]
        results = isinstance(content, list) and [part for part in content if part["type"] == "tool_result"]
        entries.extend(("tool", None) for _ in results or ())
        if not results or len(results) < len(content):
            entries.append((message["role"], content))
    return _read(entries)


def of_gemini(body: Json) -> tuple[str, str]:
    """Return (roles, question) of a request to Gemini's API."""
    entries: list[tuple[str, Any]] = []
    if body.get("systemInstruction"):
        entries.append(("system", body["systemInstruction"]["parts"]))
    for content in body["contents"]:
        if any("functionResponse" in part for part in content["parts"]):
            entries.append(("tool", None))
        else:
            entries.append(({"model": "assistant"}.get(content["role"], content["role"]), content["parts"]))
    return _read(entries)


def tools_of(body: Json) -> dict[str, Json]:
    """Return the tools that a request to any API offers: name -> JSON Schema of the arguments."""
    tools: dict[str, Json] = {}
    for tool in body.get("tools") or ():
        for declared in tool.get("functionDeclarations") or [tool.get("function") or tool]:
            if "name" in declared:
                schema = (
                    declared.get("parameters") or declared.get("input_schema") or declared.get("parameters_json_schema")
                )
                tools[declared["name"]] = schema or {}
    return tools


def _read(entries: Iterable[tuple[str, Any]]) -> tuple[str, str]:
    roles, question = "", ""
    for role, content in entries:
        roles += {"developer": "s", "model": "a"}.get(role, role[0])
        if role == "user":
            question = content if isinstance(content, str) else "\n".join(_texts(content))
    return roles, question


def _texts(content: Any) -> Iterable[str]:
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            yield part["text"]


def arguments_text(arguments: Json) -> str:
    """Return arguments as model providers write them."""
    return json.dumps(arguments)
