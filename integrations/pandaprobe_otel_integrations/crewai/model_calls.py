"""CrewAI's events about a model call, as attributes of the GenAI conventions."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._openai_protocol.chat_messages import input_message, output_messages, tool_definition
from pandaprobe_otel_integrations._openai_protocol.parameters import SAMPLING, sampling_attributes
from pandaprobe_otel_integrations._openai_protocol.usage import COUNTED
from pandaprobe_otel_integrations._other_members import RESPONSE, names_of, parameters, uncounted
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._provider_names import provider_name
from pandaprobe_otel_integrations._server_attributes import place_at
from pandaprobe_otel_integrations._shape import Object, integer, items, obj, objects, string

from .cut_values import mended

_NOT_SENT: Final = names_of(
    SAMPLING,
    ("max_tokens", "stop_sequences", "provider", "llm_type", "is_litellm", "additional_params", "api", "prefer_upload"),
    ("base_url", "api_base", "custom_openai", "client_params", "interceptor", "callbacks", "timeout", "max_retries"),
    ("parse_tool_outputs", "auto_chain", "auto_chain_reasoning", "context_window_size"),
)
"""Members that are recorded elsewhere, and settings of CrewAI and its client."""
_COUNTED: Final = {
    **COUNTED,
    **dict.fromkeys(("input_tokens", "output_tokens", "prompt_token_count", "candidates_token_count", "total_tokens")),
    **dict.fromkeys(("cached_prompt_tokens", "cache_creation_tokens", "reasoning_tokens", "total_token_count")),
    **dict.fromkeys(("inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens")),
}
_ASKED: Final = ("model", "temperature", "top_p", "max_tokens", "seed", "frequency_penalty", "presence_penalty")


def request_attributes(llm: Any, event: Any) -> dict[str, Any]:
    """Return model, provider, address and parameters of an LLMCallStartedEvent that `llm` has emitted."""
    said = string(getattr(llm, "provider", None)) or "openai"
    asked = {name: getattr(event, name, None) for name in (*_ASKED, "n", "stream")}
    return {
        **place_at(string(getattr(llm, "base_url", None)) or "", provider_name(said)),
        **sampling_attributes({**asked, "stop": getattr(event, "stop_sequences", None)}),
    }


def request_content(llm: Any, event: Any) -> Content:
    """Return the conversation, the tools and the other parameters of an LLMCallStartedEvent that `llm` has emitted."""
    return {
        names.INPUT_MESSAGES: conversation(mended(event.messages)),
        names.TOOL_DEFINITIONS: [tool_definition(one) for one in objects(mended(event.tools))],
        **parameters(_set_of(llm), _NOT_SENT),
    }


def _set_of(llm: Any) -> dict[str, Any]:
    """Return the app's settings of a model. The events contain only some of them."""
    chosen: Any = getattr(llm, "model_fields_set", None) or ()
    return {**{name: getattr(llm, name, None) for name in chosen}, **obj(getattr(llm, "additional_params", None))}


def conversation(messages: Any) -> list[Part]:
    """Return messages in CrewAI's own form, which is that of chat completions, or the text of a single one."""
    if isinstance(messages, str):
        return [{"role": "user", "parts": [parts.text(messages)]}]
    return [input_message(one) for one in objects(messages)]


def answer_attributes(event: Any) -> dict[str, Any]:
    """Return usage, id and finish reason of an LLMCallCompletedEvent; older versions of CrewAI contain less."""
    reason = string(getattr(event, "finish_reason", None))
    return {
        names.RESPONSE_ID: string(getattr(event, "response_id", None)),
        names.FINISH_REASONS: [reason] if reason else None,
        **_usage(obj(getattr(event, "usage", None))),
    }


def answer_content(event: Any, thoughts: str) -> Content:
    """Return the answer: its text, or its tool calls."""
    response = mended(event.response)
    calls = tool_calls(event.response)
    message: dict[str, Any] = {"role": "assistant", "reasoning": thoughts}
    if calls:
        message["tool_calls"] = [
            {"id": one["id"], "function": {"name": one["name"], "arguments": one["arguments"]}} for one in calls
        ]
    else:
        message["content"] = response if isinstance(response, str) else to_json(response)
    reason = string(getattr(event, "finish_reason", None)) or ("tool_calls" if calls else "stop")
    more = uncounted(getattr(event, "usage", None), _COUNTED)
    return {
        names.OUTPUT_MESSAGES: output_messages([{"message": message, "finish_reason": reason}]),
        **({RESPONSE: {"response": {"usage": more}}} if more else {}),
    }


def tool_calls(response: Any) -> list[Part]:
    """Return the tool calls in a response, if it is a list of them in the provider's form."""
    found = [_tool_call(obj(one)) for one in items(mended(response))]
    return [one for one in found if one["name"]]


def _tool_call(call: Object) -> Part:
    described = obj(call.get("function")) or obj(call.get("function_call")) or call
    given = (call.get("call_id"), call.get("id"), call.get("toolUseId"))
    arguments = next((described[key] for key in ("arguments", "input", "args") if key in described), None)
    call_id = next((found for value in given if (found := string(value))), None)
    return parts.tool_call(id=call_id, name=string(described.get("name")), arguments=arguments)


def _usage(usage: Object) -> dict[str, Any]:
    """Return token counts. CrewAI includes cached tokens in Anthropic's input, but not in Bedrock's."""
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
