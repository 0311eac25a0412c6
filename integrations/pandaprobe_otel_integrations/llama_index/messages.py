"""Messages and answers of LlamaIndex's models in the form of the conventions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._openai_protocol.usage import usage_attributes
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, integer, obj, objects, string
from pandaprobe_otel_integrations.anthropic.messages import Messages

_ANTHROPIC = Messages()


def messages_of(messages: Iterable[Any]) -> list[Part]:
    """ChatMessages as messages with parts."""
    return [_message(each) for each in messages]


def answer_of(response: Any) -> list[Part]:
    """The answer of a ChatResponse or a CompletionResponse."""
    message = getattr(response, "message", None)
    if message is None:
        text = string(getattr(response, "text", None))
        return [{"role": "assistant", "parts": [parts.text(text)], "finish_reason": "stop"}] if text else []
    found = _message(message)
    reason = "tool_call" if any(part["type"] == "tool_call" for part in found["parts"]) else "stop"
    return [{**found, "finish_reason": reason}]


def answer_attributes(response: Any) -> dict[str, Any]:
    """Model, id and tokens, from what the provider has sent."""
    raw = obj(getattr(response, "raw", None))
    usage = obj(raw.get("usage"))
    more = obj(getattr(response, "additional_kwargs", None))
    if "input_tokens" in usage:
        found = dict(_ANTHROPIC.answer({"usage": usage}, with_content=False).attributes)
    elif usage:
        found = usage_attributes(usage)
    else:
        found = {
            names.INPUT_TOKENS: integer(more.get("prompt_tokens")),
            names.OUTPUT_TOKENS: integer(more.get("completion_tokens")),
        }
    return {**found, names.RESPONSE_MODEL: string(raw.get("model")), names.RESPONSE_ID: string(raw.get("id"))}


def request_attributes(model: Object, more: Object) -> dict[str, Any]:
    """Model and parameters of a call."""
    return {
        names.REQUEST_MODEL: string(model.get("model")) or string(model.get("model_name")),
        names.TEMPERATURE: model.get("temperature") if isinstance(model.get("temperature"), float) else None,
        names.MAX_TOKENS: integer(model.get("max_tokens")) or integer(more.get("max_tokens")),
    }


def tool_definitions(more: Object) -> list[Part]:
    """Tools that are given to a model, in OpenAI's form, which LlamaIndex uses for many."""
    return [{"type": "function", **obj(tool.get("function"))} for tool in objects(more.get("tools"))]


def _message(message: Any) -> Part:
    role = str(getattr(message.role, "value", message.role))
    more = obj(message.additional_kwargs)
    found = [part for block in message.blocks if (part := _block(block)) is not None]
    if role == "tool":
        text = "\n".join(str(part.get("content")) for part in found)
        return {"role": role, "parts": [parts.tool_response(id=string(more.get("tool_call_id")), response=text)]}
    known = {part["id"] for part in found if part["type"] == "tool_call"}
    for call in objects(more.get("tool_calls")):
        function = obj(call.get("function"))
        if call.get("id") not in known:
            name = string(function.get("name"))
            found.append(parts.tool_call(id=string(call.get("id")), name=name, arguments=function.get("arguments")))
    return {"role": role, "parts": found}


def _block(block: Any) -> Part | None:
    kind = str(getattr(block, "block_type", ""))
    if kind == "text":
        return parts.text(block.text) if block.text else None
    if kind == "thinking":
        return parts.reasoning(block.content) if block.content else None
    if kind == "tool_call":
        return parts.tool_call(id=block.tool_call_id, name=block.tool_name, arguments=block.tool_kwargs)
    url = getattr(block, "url", None)
    if url is not None:
        return parts.media(str(url), kind)
    data = getattr(block, kind, None)
    if isinstance(data, bytes):  # LlamaIndex keeps base64
        return parts.base64_blob(data.decode("latin-1"), kind, string(getattr(block, f"{kind}_mimetype", None)))
    return {"type": kind} if kind else None
