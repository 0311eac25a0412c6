"""LangChain's callbacks about a model call, as attributes of the GenAI conventions."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping.attributes import CACHED, MODEL_PARAMETERS
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._openai_protocol.usage import COUNTED
from pandaprobe_otel_integrations._other_members import RESPONSE, rest, uncounted
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._provider_names import provider_name
from pandaprobe_otel_integrations._shape import Object, integer, items, number, obj, objects, string, strings

from .messages import beside, message_parts

_READ: Final = frozenset(
    {
        "model", "model_name", "model_id", "temperature", "max_tokens", "max_completion_tokens", "max_output_tokens",
        "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty", "stop", "reasoning_effort", "tools",
        "stream", "streaming", "stream_options", "_type",
    }
)  # fmt: skip
"""Parameters of a call that are recorded in attributes."""
_ANSWERED: Final = frozenset(
    {
        "model_name", "model", "model_provider", "id", "finish_reason", "stop_reason", "done_reason", "stopReason",
        "status", "system_fingerprint", "service_tier", "token_usage", "usage", "usage_metadata", "created",
        "created_at", "object", "role", "type", "done", "message",
    }
)  # fmt: skip
"""Members beside an answer that are recorded in attributes, or that are its creation time or format."""
_COUNTED: Final = {**COUNTED, **dict.fromkeys(("cache_read_input_tokens", "cache_creation_input_tokens"))}
_LOCAL_IDS: Final = ("run-", "lc_run-", "run--", "lc_")
"""Prefixes of the ids that LangChain gives to messages without an id from the service."""


def request_attributes(metadata: Object, parameters: Object) -> dict[str, Any]:
    """Return model, provider and parameters. `metadata` is the run's, `parameters` its `invocation_params`."""
    provider = string(metadata.get("ls_provider"))
    return {
        names.PROVIDER: provider_name(provider) if provider else None,
        names.REQUEST_MODEL: _model(metadata, parameters),
        names.TEMPERATURE: _first(number, metadata.get("ls_temperature"), parameters.get("temperature")),
        names.MAX_TOKENS: _first(
            integer,
            metadata.get("ls_max_tokens"),
            *(parameters.get(key) for key in ("max_tokens", "max_completion_tokens", "max_output_tokens")),
        ),
        names.TOP_P: number(parameters.get("top_p")),
        names.TOP_K: number(parameters.get("top_k")),
        names.SEED: integer(parameters.get("seed")),
        names.FREQUENCY_PENALTY: number(parameters.get("frequency_penalty")),
        names.PRESENCE_PENALTY: number(parameters.get("presence_penalty")),
        names.STOP_SEQUENCES: strings(metadata.get("ls_stop")) or strings(parameters.get("stop")),
        names.REASONING_LEVEL: string(parameters.get("reasoning_effort"))
        or string(obj(parameters.get("reasoning")).get("effort")),
    }


def tool_definitions(parameters: Object) -> list[Part]:
    """Return the tools that the model may call, each flat, for any provider's format."""
    return [_definition(tool) for tool in objects(parameters.get("tools"))]


def answer_attributes(result: Any) -> dict[str, Any]:
    """Return usage, ids and finish reasons of an `LLMResult`."""
    generations = _generations(result)
    said = [obj(getattr(_message(one), "response_metadata", None)) for one in generations]
    first: Object = said[0] if said else {}
    output = obj(getattr(result, "llm_output", None))
    return {
        names.RESPONSE_MODEL: string(first.get("model_name"))
        or string(first.get("model"))
        or string(output.get("model_name")),
        names.RESPONSE_ID: _response_id(generations, first),
        names.FINISH_REASONS: [reason for one in generations if (reason := finish_reason(one))] or None,
        names.SYSTEM_FINGERPRINT: string(first.get("system_fingerprint")),
        names.RESPONSE_SERVICE_TIER: string(first.get("service_tier")),
        **_usage(generations, output),
    }


def answer_content(result: Any) -> Content:
    """Return the messages of an `LLMResult`, or its texts, and the data of the provider's package beside them."""
    messages: list[Part] = []
    more: dict[str, Any] = _rest(obj(getattr(result, "llm_output", None)))
    for generation in _generations(result):
        message = _message(generation)
        text = getattr(generation, "text", "")
        found = message_parts(message) if message is not None else [{"type": "text", "content": text}]
        reason = finish_reason(generation) or "unknown"
        said = {"role": "assistant", "parts": found, "finish_reason": reason}
        messages.append(said if message is None else {**beside(message), **said})
        for bag in (getattr(generation, "generation_info", None), getattr(message, "response_metadata", None)):
            more.update(_rest(obj(bag)))
    return {names.OUTPUT_MESSAGES: messages, **({RESPONSE: {"response": more}} if more else {})}


def _rest(said: Object) -> dict[str, Any]:
    found = rest(said, _ANSWERED)
    if counted := uncounted(said.get("token_usage") or said.get("usage"), _COUNTED):
        found["usage"] = counted
    return found


def more_parameters(parameters: Object) -> Content:
    """Return the parameters without an attribute, such as the tool that must be called, or the schema of the answer."""
    left = rest(parameters, _READ)
    return {MODEL_PARAMETERS: left} if left else {}


def finish_reason(generation: Any) -> str | None:
    """Return the finish reason, in lower case if the service sends it in capitals (Gemini)."""
    message = _message(generation)
    for bag in (getattr(message, "response_metadata", None), getattr(generation, "generation_info", None)):
        said = obj(bag)
        for key in ("finish_reason", "stop_reason", "done_reason", "stopReason"):
            if reason := string(said.get(key)):
                return reason.lower() if reason.isupper() else reason
    return "stop" if obj(getattr(message, "response_metadata", None)).get("status") == "completed" else None


def _model(metadata: Object, parameters: Object) -> str | None:
    given = (metadata.get("ls_model_name"), *(parameters.get(key) for key in ("model", "model_name", "model_id")))
    return next((name for value in given if (name := string(value)) is not None), None)


def _first(kind: Any, *values: Any) -> Any:
    return next((found for value in values if (found := kind(value)) is not None), None)


def _definition(tool: Object) -> Part:
    function = obj(tool.get("function")) or tool
    found: Part = {"type": "function", "name": string(function.get("name")) or string(tool.get("type")) or ""}
    if function.get("description") is not None:
        found["description"] = function["description"]
    schema = next((function[key] for key in ("parameters", "input_schema") if function.get(key) is not None), None)
    if schema is not None:
        found["parameters"] = schema
    return found


def _generations(result: Any) -> list[Any]:
    batches = items(getattr(result, "generations", None))
    return items(batches[0]) if batches else []


def _message(generation: Any) -> Any:
    return getattr(generation, "message", None)


def _response_id(generations: list[Any], said: Object) -> str | None:
    own = string(said.get("id"))
    if own is not None:
        return own
    given = string(getattr(_message(generations[0]), "id", None)) if generations else None
    return None if given is None or given.startswith(_LOCAL_IDS) else given


def _usage(generations: list[Any], output: Object) -> dict[str, Any]:
    """Return tokens of the call. As in LangChain, cache and reasoning are inside input and output.

    An answer from LangChain's own cache has none: it was paid for when it was made. LangChain marks it with a cost of
    0, a member that it uses for nothing else.
    """
    for generation in generations:
        usage = obj(getattr(_message(generation), "usage_metadata", None))
        if number(usage.get("total_cost")) == 0:
            return {CACHED: True}
        if usage:
            read, written = obj(usage.get("input_token_details")), obj(usage.get("output_token_details"))
            return {
                names.INPUT_TOKENS: integer(usage.get("input_tokens")),
                names.OUTPUT_TOKENS: integer(usage.get("output_tokens")),
                names.CACHE_READ_TOKENS: _some(read.get("cache_read")),
                names.CACHE_WRITE_TOKENS: _some(read.get("cache_creation")),
                names.AUDIO_INPUT_TOKENS: _some(read.get("audio")),
                names.REASONING_TOKENS: _some(written.get("reasoning")),
                names.AUDIO_OUTPUT_TOKENS: _some(written.get("audio")),
            }
    usage = obj(output.get("token_usage")) or obj(output.get("usage"))
    return {
        names.INPUT_TOKENS: _first(integer, usage.get("prompt_tokens"), usage.get("input_tokens")),
        names.OUTPUT_TOKENS: _first(integer, usage.get("completion_tokens"), usage.get("output_tokens")),
    }


def _some(value: Any) -> int | None:
    return integer(value) or None
