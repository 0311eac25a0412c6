"""What CrewAI's events say of a model call, as attributes of the GenAI conventions."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._openai_protocol.chat_messages import input_message, output_messages, tool_definition
from pandaprobe_otel_integrations._openai_protocol.parameters import sampling_attributes
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._place import place_at
from pandaprobe_otel_integrations._provider_names import provider_name
from pandaprobe_otel_integrations._shape import Object, integer, items, obj, objects, string

_ASKED: Final = ("model", "temperature", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty")


def request_attributes(llm: Any, event: Any) -> dict[str, Any]:
    """Model, provider, address and parameters of an LLMCallStartedEvent that `llm` has emitted."""
    said = string(getattr(llm, "provider", None)) or "openai"
    asked = {name: getattr(event, name, None) for name in (*_ASKED, "n", "stream")}
    return {
        **place_at(string(getattr(llm, "base_url", None)) or "", provider_name(said)),
        **sampling_attributes({**asked, "stop": getattr(event, "stop_sequences", None)}),
    }


def request_content(event: Any) -> Content:
    """The conversation and the tools of an LLMCallStartedEvent."""
    return {
        names.INPUT_MESSAGES: conversation(event.messages),
        names.TOOL_DEFINITIONS: [tool_definition(one) for one in objects(event.tools)],
    }


def conversation(messages: Any) -> list[Part]:
    """Messages in the form of chat completions, which is CrewAI's own, or the text of a single one."""
    if isinstance(messages, str):
        return [{"role": "user", "parts": [parts.text(messages)]}]
    return [input_message(one) for one in objects(messages)]


def answer_attributes(event: Any) -> dict[str, Any]:
    """Usage, id and finish reason of an LLMCallCompletedEvent; older versions of CrewAI say less."""
    reason = string(getattr(event, "finish_reason", None))
    return {
        names.RESPONSE_ID: string(getattr(event, "response_id", None)),
        names.FINISH_REASONS: [reason] if reason else None,
        **_usage(obj(getattr(event, "usage", None))),
    }


def answer_content(event: Any, thoughts: str) -> Content:
    """The answer: its text, or the calls that it asks for."""
    calls = tool_calls(event.response)
    message: dict[str, Any] = {"role": "assistant", "reasoning": thoughts}
    if calls:
        message["tool_calls"] = [
            {"id": one["id"], "function": {"name": one["name"], "arguments": one["arguments"]}} for one in calls
        ]
    else:
        message["content"] = event.response if isinstance(event.response, str) else to_json(event.response)
    reason = string(getattr(event, "finish_reason", None)) or ("tool_calls" if calls else "stop")
    return {names.OUTPUT_MESSAGES: output_messages([{"message": message, "finish_reason": reason}])}


def tool_calls(response: Any) -> list[Part]:
    """The tool calls in a response, which is a list of them in the form that the provider gave, or anything else."""
    found = [_tool_call(obj(one)) for one in items(response)]
    return [one for one in found if one["name"]]


def _tool_call(call: Object) -> Part:
    described = obj(call.get("function")) or obj(call.get("function_call")) or call
    given = (call.get("call_id"), call.get("id"), call.get("toolUseId"))
    arguments = next((described[key] for key in ("arguments", "input", "args") if key in described), None)
    call_id = next((found for value in given if (found := string(value))), None)
    return parts.tool_call(id=call_id, name=string(described.get("name")), arguments=arguments)


def _usage(usage: Object) -> dict[str, Any]:
    """Token counts. CrewAI adds the cached ones to Anthropic's input, but passes Bedrock's on as they are: without."""
    bedrock = "inputTokens" in usage
    read = _first(usage, "cached_prompt_tokens", "cacheReadInputTokens")
    written = _first(usage, "cache_creation_tokens", "cacheWriteInputTokens")
    inputs = _first(usage, "prompt_tokens", "input_tokens", "prompt_token_count", "inputTokens")
    if bedrock and inputs is not None:
        inputs += (read or 0) + (written or 0)
    return {
        names.INPUT_TOKENS: inputs,
        names.OUTPUT_TOKENS: _first(usage, "completion_tokens", "output_tokens", "outputTokens"),
        names.CACHE_READ_TOKENS: read or None,
        names.CACHE_WRITE_TOKENS: written or None,
        names.REASONING_TOKENS: _first(usage, "reasoning_tokens") or None,
    }


def _first(usage: Object, *keys: str) -> int | None:
    return next((found for key in keys if (found := integer(usage.get(key))) is not None), None)
