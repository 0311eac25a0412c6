"""Messages and answers of LlamaIndex's models in the form of the conventions."""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._openai_protocol.usage import COUNTED, usage_attributes
from pandaprobe_otel_integrations._other_members import PARAMETERS, RESPONSE, rest, told, uncounted, with_rest
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import Object, integer, items, obj, objects, string
from pandaprobe_otel_integrations.anthropic.messages import Messages

_ANTHROPIC: Final = Messages()
_READ: Final = frozenset({"tools", "max_tokens", "model", "temperature", "stream", "stream_options"})
_BESIDE: Final = frozenset({"tool_calls", "tool_call_id"})
_TEXT: Final = frozenset({"block_type", "text"})
_THOUGHT: Final = frozenset({"block_type", "content"})
_CALL: Final = frozenset({"block_type", "tool_call_id", "tool_name", "tool_kwargs"})
_FILE: Final = frozenset({"block_type", "url", "data", "image", "audio", "video", "document"})
_ANSWERED: Final = frozenset(
    {
        "id", "object", "created", "created_at", "model", "usage", "choices", "content", "message", "role", "type",
        "stop_reason", "done", "done_reason", "output",
    }
)  # fmt: skip
"""Members of a provider's answer that are recorded elsewhere, or that are its time and format."""
_CHOICE: Final = frozenset({"index", "message", "delta", "finish_reason", "text"})
_SAID: Final = frozenset({"content", "role", "tool_calls", "refusal", "function_call"})
_COUNTED: Final = {**COUNTED, **dict.fromkeys(("cache_read_input_tokens", "cache_creation_input_tokens"))}
_REASONS: Final = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_call"}


def messages_of(messages: Iterable[Any]) -> list[Part]:
    """Return ChatMessages as messages with parts."""
    return [_message(each) for each in messages]


def answer_of(response: Any) -> list[Part]:
    """Return the answer of a ChatResponse or a CompletionResponse."""
    message = getattr(response, "message", None)
    if message is None:
        text = string(getattr(response, "text", None))
        return [{"role": "assistant", "parts": [parts.text(text)], "finish_reason": "stop"}] if text else []
    found = _message(message)
    calls = any(part["type"] == "tool_call" for part in found["parts"])
    return [{**found, "finish_reason": _reason(response) or ("tool_call" if calls else "stop")}]


def rest_of_answer(response: Any) -> Content:
    """Return values of the provider and its package beside the answer."""
    raw = obj(getattr(response, "raw", None))
    found = {**rest(obj(getattr(response, "additional_kwargs", None)), COUNTED.keys()), **rest(raw, _ANSWERED)}
    choices = [
        {**rest(choice, _CHOICE), **rest(obj(choice.get("message")), _SAID)} for choice in objects(raw.get("choices"))
    ]
    if any(choices):
        found["choices"] = choices
    if counted := uncounted(raw.get("usage"), _COUNTED):
        found["usage"] = counted
    if logprobs := items(getattr(response, "logprobs", None)):
        found["logprobs"] = [[rest(obj(token), frozenset({"bytes"})) for token in items(tokens)] for tokens in logprobs]
    return {RESPONSE: {"response": found}} if found else {}


def parameters_of(model: Object, more: Object) -> Content:
    """Return the parameters without an attribute: those of the call, and the model's constant ones."""
    found = {**rest(obj(model.get("additional_kwargs")), _READ), **rest(more, _READ)}
    return {PARAMETERS: found} if found else {}


def _reason(response: Any) -> str | None:
    raw = obj(getattr(response, "raw", None))
    choices = objects(raw.get("choices"))
    said = string(choices[0].get("finish_reason")) if choices else string(raw.get("stop_reason"))
    return "tool_call" if said == "tool_calls" else _REASONS.get(said or "", said)


def answer_attributes(response: Any) -> dict[str, Any]:
    """Return model, id and tokens from the provider's data."""
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
    """Return model and parameters of a call."""
    return {
        names.REQUEST_MODEL: string(model.get("model")) or string(model.get("model_name")),
        names.TEMPERATURE: model.get("temperature") if isinstance(model.get("temperature"), float) else None,
        names.MAX_TOKENS: integer(model.get("max_tokens")) or integer(more.get("max_tokens")),
    }


def tool_definitions(more: Object) -> list[Part]:
    """Return the tools that the model may call. LlamaIndex has them in OpenAI's form for many providers."""
    return [{"type": "function", **obj(tool.get("function"))} for tool in objects(more.get("tools"))]


def _message(message: Any) -> Part:
    role = str(getattr(message.role, "value", message.role))
    more = obj(message.additional_kwargs)
    found = [part for block in message.blocks if (part := _block(block)) is not None]
    beside = rest(more, _BESIDE)
    if role == "tool":
        text = "\n".join(str(part.get("content")) for part in found)
        answer = parts.tool_response(id=string(more.get("tool_call_id")), response=text)
        return {"role": role, "parts": [{**beside, **answer}]}
    known = {part["id"] for part in found if part["type"] == "tool_call"}
    for call in objects(more.get("tool_calls")):
        function = obj(call.get("function"))
        if call.get("id") not in known:
            name = string(function.get("name"))
            found.append(parts.tool_call(id=string(call.get("id")), name=name, arguments=function.get("arguments")))
    return {**beside, "role": role, "parts": found}


def _block(block: Any) -> Part | None:
    kind = str(getattr(block, "block_type", ""))
    if kind == "text":
        return _whole(parts.text(block.text), block, _TEXT) if block.text else None
    if kind == "thinking":
        return _whole(parts.reasoning(block.content), block, _THOUGHT) if block.content else None
    if kind == "tool_call":
        call = parts.tool_call(id=block.tool_call_id, name=block.tool_name, arguments=block.tool_kwargs)
        return _whole(call, block, _CALL)
    url = getattr(block, "url", None)
    if url is not None:
        return _whole(parts.media(str(url), kind), block, _FILE)
    data = getattr(block, kind, None) or getattr(block, "data", None)
    if isinstance(data, bytes):  # LlamaIndex keeps base64
        mime_type = string(getattr(block, f"{kind}_mimetype", None))
        return _whole(parts.base64_blob(data.decode("latin-1"), kind, mime_type), block, _FILE)
    return _whole({"type": kind}, block, _FILE) if kind else None


def _whole(part: Part, block: Any, known: Set[str]) -> Part:
    """Return a part with the other fields of its block that are set."""
    others = {
        name: value for name in block.model_fields_set - known if (value := getattr(block, name, None)) is not None
    }
    return with_rest(part, {name: _plain(value) for name, value in others.items()}, frozenset()) if others else part


def _plain(value: Any) -> Any:
    if hasattr(value, "block_type"):
        return _block(value)
    if isinstance(value, list):
        return [_plain(each) for each in items(value)]  # pyright: ignore[reportUnknownArgumentType]
    if value is None or isinstance(value, (str, int, float, bool, dict)):
        return told(value)
    return told(dict(obj(value))) or str(value)
