"""Messages of smolagents' models in the form of the conventions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._openai_protocol.chat_messages import content_parts
from pandaprobe_otel_integrations._other_members import parameters, told
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, items, obj, objects, string

_READ: Final = frozenset({"messages", "tools_to_call_from", "model", "model_id"})
_ROLES = {"tool-call": "assistant", "tool-response": "tool"}


def messages_of(messages: Iterable[Any]) -> list[Part]:
    """Return ChatMessages, or dicts of their form, as messages with parts."""
    return [_message(each) for each in messages]


def answer_of(message: Any) -> list[Part]:
    """Return the answer of a model."""
    found = _message(message)
    reason = "tool_call" if any(part["type"] == "tool_call" for part in found["parts"]) else "stop"
    return [{**found, "finish_reason": reason}]


def usage_of(message: Any) -> dict[str, Any]:
    """Return tokens of a call, if the model reports them."""
    usage = getattr(message, "token_usage", None)
    if usage is None or not (usage.input_tokens or usage.output_tokens):
        return {}
    return {names.INPUT_TOKENS: usage.input_tokens, names.OUTPUT_TOKENS: usage.output_tokens}


def tool_definitions(tools: Iterable[Any]) -> list[Part]:
    """Return the tools of a model."""
    return [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": {"type": "object", "properties": told(getattr(tool, "inputs", None))},
        }
        for tool in tools
    ]


def parameters_of(model: Any, given: Mapping[str, Any]) -> Content:
    """Return the parameters of a call: its own, and its model's constant ones."""
    return parameters({**obj(getattr(model, "kwargs", None)), **given}, _READ)


def _message(message: Any) -> Part:
    fields = obj(message)

    def get(key: str) -> Any:
        return fields.get(key) if fields else getattr(message, key, None)

    role = str(getattr(get("role"), "value", get("role")))
    content = get("content")
    found = [parts.text(content)] if isinstance(content, str) and content else _blocks(content)
    for call in items(get("tool_calls")):
        name, arguments = call.function.name, call.function.arguments
        found.append(parts.tool_call(id=string(call.id), name=string(name), arguments=arguments))
    return {"role": _ROLES.get(role, role), "parts": found}


def _blocks(content: Any) -> list[Part]:
    return [part for block in objects(content) for part in _block(block)]


def _block(block: Object) -> list[Part]:
    picture: Any = block.get("image")
    if not hasattr(picture, "tobytes"):
        return content_parts([block])
    # A Pillow picture consists of pixels, and is not a file.
    told_of = {"width": picture.width, "height": picture.height}
    return [{**parts.blob(picture.tobytes(), "image", f"image/x-{str(picture.mode).lower()}"), **told_of}]
