"""The SDK's spans of a model call, as attributes of the GenAI conventions."""

from __future__ import annotations

from time import time_ns
from typing import Any, Final

from opentelemetry.context import get_value, set_value
from opentelemetry.trace import Span

from pandaprobe_otel.capture.wrapping import ContextScope
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._json import encoded, items, obj, objects, string
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._openai_protocol.chat_messages import input_message, output_messages
from pandaprobe_otel_integrations._openai_protocol.responses import ECHOES, Responses
from pandaprobe_otel_integrations._openai_protocol.usage import PARAMETERS, usage_attributes
from pandaprobe_otel_integrations._other_members import parameters
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._streams.body import MAX_ITEMS

# -- A model's input, and the time of its first token. The SDK's spans have the input only for successful calls --------

_ARGUMENTS: Final = (
    "system_instructions",
    "input",
    "model_settings",
    "tools",
    "output_schema",
    "handoffs",
    "tracing",
    "previous_response_id",
    "conversation_id",
)
"""Arguments of `Model.get_response` and `Model.stream_response`, in their order."""
_SETTINGS: Final = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "reasoning", "top_logprobs")
_MORE_SETTINGS: Final = ("tool_choice", "parallel_tool_calls", "truncation", "metadata", "store")
"""Settings that may contain content, and that a service may leave out of its response."""
_PREPARATIONS: Final = frozenset({"response.created", "response.queued", "response.in_progress"})


_REQUEST: Final = "pandaprobe-openai-agents-request"
"""Context key of the call in which the code runs."""


class ModelRequest(ContextScope):
    """One call of the SDK's model, awaited or read event by event."""

    __slots__ = ("_answers", "_arguments", "_is_taken", "_model", "_span", "events")

    def __init__(self, _: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(set_value(_REQUEST, self))
        self._model = args[0]
        self._arguments = {**dict(zip(_ARGUMENTS, args[1:], strict=False)), **kwargs}
        self._span: Span | None = None
        self._is_taken = self._answers = False
        self.events: list[Any] = []
        """Events of a streamed answer that the app has read; the SDK's span has nothing of an answer that is left."""

    def produced(self, item: Any, /) -> None:
        """Keep an event, and record the time of the first token."""
        if not self._answers and getattr(item, "type", None) not in _PREPARATIONS:
            self._answers = True
            if self._span is not None:
                self._span.set_attributes({names.STREAM: True, ours.COMPLETION_START_TIME: time_ns()})
        if len(self.events) < MAX_ITEMS:
            self.events.append(item)

    @classmethod
    def that_begins(cls) -> ModelRequest | None:
        """Take the call whose span the SDK has just started, so that no other span gets it."""
        found = get_value(_REQUEST)
        if not isinstance(found, ModelRequest) or found._is_taken:
            return None
        found._is_taken = True
        return found

    def recorded_by(self, span: Span) -> None:
        """Keep our span for the SDK's span of the call, which has started."""
        self._span = span

    @property
    def with_content(self) -> bool:
        """Return whether the app lets the SDK record content (`trace_include_sensitive_data`)."""
        tracing = self._arguments.get("tracing")
        return bool(tracing is None or tracing.include_data())

    def tools(self) -> list[Part]:
        """Return the tools and hand-offs that the model may choose."""
        handed = items(self._get("handoffs"))
        return [
            *map(_tool, items(self._get("tools"))),
            *(_function(each, "tool_name", "tool_description", "input_json_schema") for each in handed),
        ]

    def body(self) -> dict[str, Any]:
        """Return the call as a request of the Responses API, without content if the app wants none."""
        settings = self._get("model_settings")
        found = {name: getattr(settings, name, None) for name in _SETTINGS}
        found |= {
            "model": string(getattr(self._model, "model", None)),
            "max_output_tokens": getattr(settings, "max_tokens", None),
            "previous_response_id": self._get("previous_response_id"),
            "conversation": self._get("conversation_id"),
        }
        if self.with_content:
            found |= {"instructions": self._get("system_instructions"), "input": self._get("input")}
            found["tools"] = self.tools()
            found |= {name: getattr(settings, name, None) for name in _MORE_SETTINGS}
        return {name: value for name, value in found.items() if value is not None}

    def _get(self, name: str) -> Any:
        return self._arguments.get(name)


def _function(tool: Any, *names_of_fields: str) -> Part:
    name, description, parameters = (getattr(tool, each, None) for each in names_of_fields)
    return {"type": "function", "name": name, "description": description, "parameters": parameters}


def _tool(tool: Any) -> Part:
    if hasattr(tool, "params_json_schema"):
        return _function(tool, "name", "description", "params_json_schema")
    return {"type": str(getattr(tool, "name", type(tool).__name__))}  # a tool that the service runs itself


_RESPONSES = Responses()
_READ: Final = PARAMETERS.known | {"base_url", "model_impl", "include_usage"}
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
        **PARAMETERS.read(obj(data.model_config)),
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
    return {**_RESPONSES.merged(event.model_dump(exclude_none=True) for event in request.events)}


def _without_origins(items: Any) -> list[dict[str, Any]]:
    """Return output items without the note about model and response that some versions of the SDK add to each."""
    return [
        {key: value for key, value in item.items() if key != "provider_data" or not _ORIGIN.issuperset(obj(value))}
        for item in objects(items)
    ]
