"""A request reduced to the parts that a trace records, for comparison with cassettes that are made from traces.

A trace records who said what, the tool calls with their results, and the available tools. It does not record how the
request expressed this: one message or two, a text or a list of texts, instructions or a system message, thoughts and
their signatures. It also lacks some parameters. All these are compared only if the cassette was recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, cast

from pandaprobe_otel.mapping.messages import Conversation
from pandaprobe_otel.replay.protocols.parsed_request import Asked

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
    """Return the parts of a request that a trace records; a request without messages is returned unchanged."""
    turns = asked.body.get(asked.turns) if asked.turns else None
    if not isinstance(turns, list):
        return asked
    if asked.operation == "responses":
        turns = [_by_its_call(item) for item in cast("Iterable[Any]", turns)]
    elif asked.protocol == "bedrock":
        turns = [_with_bare_results(turn) for turn in cast("Iterable[Any]", turns)]
    body: dict[str, Any] = {"messages": list(said(turns, _instructions(asked.body)))}
    if tools := _tools(asked.body):
        body["tools"] = tools
    if asked.body.get("stream"):
        body["stream"] = True
    return replace(asked, body=body, turns="messages")


def said(turns: Any, instructions: Any = None) -> Iterator[dict[str, Any]]:
    """Yield the messages of any protocol in the form of chat completions: one for each text, call and result."""
    talk = Conversation()
    talk.add_all(turns, "user")
    if instructions:
        talk.add_system(instructions)
    for message in talk.messages:
        yield from _parts_of(message)


def _by_its_call(item: Any) -> Any:
    """Return an item of the Responses API with the id of its call in place of its own id, since results refer to the
    call.
    """
    if not isinstance(item, Mapping) or "call_id" not in item:
        return cast("Any", item)
    return {name: value for name, value in cast("Mapping[str, Any]", item).items() if name != "id"}


def _with_bare_results(turn: Any) -> Any:
    """Return a message of Bedrock whose tool results are plain values, if they consist of one JSON value."""
    content: Any = _object(turn).get("content")
    if not isinstance(content, list):
        return turn
    return {**_object(turn), "content": [_with_bare_result(block) for block in cast("Iterable[Any]", content)]}


def _with_bare_result(block: Any) -> Any:
    result = _object(_object(block).get("toolResult"))
    found: Any = result.get("content")
    if isinstance(found, list) and len(cast("Sequence[Any]", found)) == 1:
        inner = _object(found[0])
        if "json" in inner:
            return {"toolResult": {**result, "content": inner["json"]}}
    return block


def _object(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _instructions(body: Mapping[str, Any]) -> Any:
    return next((body[name] for name in _INSTRUCTIONS if body.get(name)), None)


def _parts_of(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
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
        yield {"role": "tool", "tool_call_id": answered, "content": text}
        return
    if text or media:
        yield {"role": role, "content": text, **({"media": media} if media else {})}
    for call in message.get("tool_calls") or ():
        yield {"role": "assistant", "tool_calls": [call]}


def _tools(body: Mapping[str, Any]) -> dict[str, Any]:
    named = _object(body.get("tools") or _object(body.get("toolConfig")).get("tools"))
    return {name: _definition(_object(tool)) for name, tool in named.items()}


def _definition(tool: Mapping[str, Any]) -> dict[str, Any]:
    schema: Any = next((tool[name] for name in _SCHEMAS if tool.get(name) is not None), None)
    if [*_object(schema)] == ["json"]:  # the form of Bedrock
        schema = schema["json"]
    given: dict[str, Any] = {"description": tool.get("description"), "parameters": schema}
    return {name: value for name, value in given.items() if value is not None}
