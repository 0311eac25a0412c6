"""The SDK's spans of a model call, as attributes of the GenAI conventions."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._openai_protocol.chat_messages import input_message, output_messages
from pandaprobe_otel_integrations._openai_protocol.parameters import LIMITS, SAMPLING, sampling_attributes
from pandaprobe_otel_integrations._openai_protocol.responses import ECHOES, Responses
from pandaprobe_otel_integrations._openai_protocol.usage import usage_attributes
from pandaprobe_otel_integrations._other_members import names_of, parameters
from pandaprobe_otel_integrations._shape import obj, objects
from pandaprobe_otel_integrations._streams.sse import Event, Events

from .model_inputs import ModelRequest

_RESPONSES = Responses()
_READ: Final = names_of(SAMPLING, LIMITS, ("base_url", "model_impl", "include_usage"))
"""Settings of a model that are recorded in attributes, or that are the SDK's own."""
_ORIGIN: Final = frozenset({"model", "response_id"})


def model_attributes(kind: str, data: Any, request: ModelRequest | None, *, with_content: bool) -> dict[str, Any]:
    """Return the attributes of a finished call. `kind` is the span data's `type`, `request` the request, if known."""
    if kind == "response":
        return _response(data, request, with_content)
    found = _generation(data, request, with_content)
    if request is not None and with_content and request.with_content:
        found |= encoded({names.TOOL_DEFINITIONS: request.tools()})
    return found


def _response(data: Any, request: ModelRequest | None, with_content: bool) -> dict[str, Any]:
    """Return the attributes of a call of the Responses API.

    With most services, the response repeats the request, except for the input. If there is no response, the call has
    failed, or the app keeps the SDK from recording it.
    """
    response = obj(data.response) or _read_so_far(request, with_content)
    answer = _RESPONSES.answer(response, with_content=with_content)
    asked = request.body() if request is not None else {}
    asked |= {name: value for name, value in response.items() if value not in (None, [], {})}
    found = {**_RESPONSES.request_attributes(asked), **answer.attributes}
    if with_content:
        repeated = {name: value for name, value in asked.items() if name in ECHOES}
        found |= encoded(_RESPONSES.request_content({**repeated, "input": asked.get("input") or data.input}))
        found |= encoded(answer.content)
    return found if response else {**found, **_usage(data)}


def _usage(data: Any) -> dict[str, Any]:
    """Return the counts. The SDK has zeros for a service that reports none."""
    usage = obj(data.usage)
    return usage_attributes(usage) if usage.get("input_tokens") or usage.get("output_tokens") else {}


def _generation(data: Any, request: ModelRequest | None, with_content: bool) -> dict[str, Any]:
    """Return the messages of chat completions. For a streamed answer, the SDK makes a response, which is used."""
    output = objects(data.output) or [left for left in (_read_so_far(request, with_content),) if left]
    found: dict[str, Any] = {
        **sampling_attributes(obj(data.model_config)),
        names.REQUEST_MODEL: data.model,
        **_usage(data),
    }
    streamed = bool(output) and "output" in output[0]
    if streamed:
        found[names.STREAM] = True
    if with_content:
        content: dict[str, Any] = {
            names.INPUT_MESSAGES: [input_message(one) for one in objects(data.input)],
            **parameters(obj(data.model_config), _READ),
        }
        if streamed:
            response = {**output[0], "status": "completed", "output": _without_origins(output[0]["output"])}
            content |= _RESPONSES.answer(response, with_content=True).content
        else:
            content[names.OUTPUT_MESSAGES] = output_messages(
                {"message": one, "finish_reason": "tool_calls" if one.get("tool_calls") else "stop"} for one in output
            )
        found |= encoded(content)
    return found


def _read_so_far(request: ModelRequest | None, with_content: bool) -> dict[str, Any]:
    """Return the part of a streamed answer that the app has read, as a response; empty without content."""
    if request is None or not request.events or not with_content:
        return {}
    events = [Event(None, event.model_dump(exclude_none=True), 0) for event in request.events]
    return {**_RESPONSES.merged(Events(events))}


def _without_origins(items: Any) -> list[dict[str, Any]]:
    """Return output items without the note about model and response that some versions of the SDK add to each."""
    return [
        {key: value for key, value in item.items() if key != "provider_data" or not _ORIGIN.issuperset(obj(value))}
        for item in objects(items)
    ]
