"""A request as the span of its call tells it: what both can be compared by, where one is made of a trace.

A trace holds who said what, the calls of tools and their results, and which tools there were. How that was written down
(one message or two, a text or a list of texts, instructions or a system message, thoughts and their signatures) it does
not hold, nor every parameter: these count for recorded requests only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from pandaprobe_otel.mapping.messages import Conversation
from pandaprobe_otel.replay.protocols.asked import Asked

_INSTRUCTIONS: Final = ("system", "instructions", "systemInstruction", "system_instruction")
_SCHEMAS: Final = (
    "parameters",
    "input_schema",
    "inputSchema",
    "parametersJsonSchema",
    "parameters_json_schema",
    "parameter_definitions",
)


def as_traced(asked: Asked) -> Asked:
    """Return a request with nothing but what a trace holds of it; one without messages as it is."""
    turns = asked.body.get(asked.turns) if asked.turns else None
    if not isinstance(turns, list):
        return asked
    if asked.operation == "responses":
        turns = [_by_its_call(item) for item in cast("list[Any]", turns)]
    elif asked.protocol == "bedrock":
        turns = [_with_bare_results(turn) for turn in cast("list[Any]", turns)]
    body: dict[str, Any] = {"messages": list(said(turns, _instructions(asked.body)))}
    if tools := _tools(asked.body):
        body["tools"] = tools
    if asked.body.get("stream"):
        body["stream"] = True
    return replace(asked, body=body, turns="messages")


def said(turns: Any, instructions: Any = None) -> Iterator[dict[str, Any]]:
    """Yield the messages of any protocol in that of chat completions: one for each text, call and result."""
    talk = Conversation()
    talk.add_all(turns, "user")
    if instructions:
        talk.add_system(instructions)
    for message in talk.messages:
        yield from _parts_of(message)


def _by_its_call(item: Any) -> Any:
    """An item of the Responses API with the id that its call is answered by, and not that of the item."""
    if not isinstance(item, Mapping) or "call_id" not in item:
        return cast("Any", item)
    return {name: value for name, value in cast("Mapping[str, Any]", item).items() if name != "id"}


def _with_bare_results(turn: Any) -> Any:
    """A message of Bedrock's, with results of tools that are one JSON value as that value."""
    if not isinstance(turn, Mapping) or not isinstance(turn.get("content"), list):
        return cast("Any", turn)
    blocks: list[Any] = []
    for block in turn["content"]:
        result: Any = block.get("toolResult") if isinstance(block, Mapping) else None
        content: Any = result.get("content") if isinstance(result, Mapping) else None
        if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Mapping) and "json" in content[0]:
            block = {"toolResult": {**result, "content": content[0]["json"]}}
        blocks.append(block)
    return {**turn, "content": blocks}


def _instructions(body: Mapping[str, Any]) -> Any:
    return next((body[name] for name in _INSTRUCTIONS if body.get(name)), None)


def _parts_of(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    role, content = message["role"], message.get("content")
    texts = [content] if isinstance(content, str) else []
    media: list[str] = []
    for part in cast("list[Any]", content) if isinstance(content, list) else ():
        found = cast("Mapping[str, Any]", part) if isinstance(part, Mapping) else {"text": str(part)}
        if isinstance(found.get("text"), str):
            texts.append(found["text"])
        elif "cachePoint" not in found:
            media.append(str(found.get("type") or next(iter(found), "part")))
    text = "\n".join(filter(None, texts))
    if role == "tool":
        answered = message.get("tool_call_id") or message.get("name")  # Gemini's results may go by the name alone
        yield {"role": "tool", "tool_call_id": answered, "content": text}
        return
    if text or media:
        yield {"role": role, "content": text, **({"media": media} if media else {})}
    for call in message.get("tool_calls") or ():
        yield {"role": "assistant", "tool_calls": [call]}


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    config: Any = body.get("toolConfig")
    named: Any = body.get("tools") or (config.get("tools") if isinstance(config, dict) else None) or {}
    if not isinstance(named, dict):
        return {}
    return {name: _definition(tool) for name, tool in cast("dict[str, Any]", named).items()}


def _definition(tool: Any) -> dict[str, Any]:
    found: Mapping[str, Any] = cast("Mapping[str, Any]", tool) if isinstance(tool, Mapping) else {}
    schema: Any = next((found[name] for name in _SCHEMAS if found.get(name) is not None), None)
    if isinstance(schema, Mapping) and schema.keys() == {"json"}:  # Bedrock's
        schema = schema["json"]
    given = {"description": found.get("description"), "parameters": schema}
    return {name: value for name, value in given.items() if value is not None}
