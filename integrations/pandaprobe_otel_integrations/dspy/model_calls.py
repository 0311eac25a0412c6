"""DSPy's data about a model call, as attributes of the GenAI conventions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._openai_protocol.chat_messages import input_message, output_messages, tool_definition
from pandaprobe_otel_integrations._openai_protocol.parameters import LIMITS, SAMPLING, sampling_attributes
from pandaprobe_otel_integrations._openai_protocol.usage import usage_attributes
from pandaprobe_otel_integrations._other_members import names_of, parameters, rest
from pandaprobe_otel_integrations._provider_names import provider_name
from pandaprobe_otel_integrations._server_attributes import place_at
from pandaprobe_otel_integrations._shape import items, obj, objects, string

_READ: Final = names_of(
    SAMPLING,
    LIMITS,
    ("messages", "prompt", "tools", "api_base", "base_url", "api_version", "headers", "num_retries", "cache"),
)
_SAID: Final = frozenset({"text", "reasoning_content", "tool_calls"})


def request(lm: Any, inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the span's name, and model, provider, address and parameters of a call of `lm`."""
    given = {**obj(getattr(lm, "kwargs", None)), **obj(inputs.get("kwargs"))}
    provider, _, model = str(getattr(lm, "model", "")).rpartition("/")
    # A route such as `azure/eu/gpt-4o` starts with the provider; a model without a route is DSPy's stand-in for tests.
    who = provider_name(provider.partition("/")[0]) if provider else "dspy"
    place = place_at(string(given.get("api_base")) or string(given.get("base_url")) or "", who)
    attributes = {ours.OPERATION_NAME: "chat", **place, **sampling_attributes({**given, "model": model})}
    return (f"chat {model}" if model else "chat"), attributes


def request_content(lm: Any, inputs: Mapping[str, Any]) -> Content:
    """Return the conversation, the tools that the model may call, and the parameters without an attribute."""
    prompt = inputs.get("prompt")
    asked = objects(inputs.get("messages")) or ([{"role": "user", "content": prompt}] if string(prompt) else [])
    return {
        names.INPUT_MESSAGES: [input_message(one) for one in asked],
        names.TOOL_DEFINITIONS: [tool_definition(one) for one in objects(obj(inputs.get("kwargs")).get("tools"))],
        **parameters({**obj(getattr(lm, "kwargs", None)), **obj(inputs.get("kwargs"))}, _READ),
    }


def answer_attributes(result: Any) -> dict[str, Any]:
    """Return usage, ids and finish reasons of a `CallResult`."""
    answers = items(getattr(result, "responses", None))
    reasons = [reason for one in answers if (reason := string(getattr(one, "finish_reason", None)))]
    told: dict[str, Any] = {
        names.RESPONSE_MODEL: string(getattr(result, "response_model", None)),
        names.RESPONSE_ID: next((found for one in answers if (found := string(getattr(one, "id", None)))), None),
        names.FINISH_REASONS: reasons or None,
    }
    if getattr(result, "cache_hit", False):
        return {**told, ours.CACHED: True}
    return {**told, **usage_attributes(getattr(result, "usage", None))}


def answer_content(call: Any, result: Any) -> Content:
    """Return the answers, each a text or an object with a text, the reasoning before it and tool calls."""
    answers = items(getattr(result, "responses", None))
    reasons = [string(getattr(one, "finish_reason", None)) for one in answers]
    choices = [
        {"message": _message(one), "finish_reason": reasons[at] if at < len(reasons) else "stop"}
        for at, one in enumerate(items(getattr(result, "outputs", None)))
    ]
    return {names.OUTPUT_MESSAGES: output_messages(choices)}


def _message(output: Any) -> dict[str, Any]:
    if isinstance(output, str):
        return {"role": "assistant", "content": output}
    said = obj(output)
    return {
        "role": "assistant",
        "content": said.get("text"),
        "reasoning_content": said.get("reasoning_content"),
        "tool_calls": said.get("tool_calls"),
        **rest(said, _SAID),
    }
