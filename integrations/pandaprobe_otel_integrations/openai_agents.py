"""OpenTelemetry spans for the OpenAI Agents SDK, from a trace processor alongside the SDK's own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import time_ns
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import get_current, get_value, set_value
from opentelemetry.trace import Span

from pandaprobe_otel.capture.tool_answers import Form, is_replaying
from pandaprobe_otel.capture.trace_context import TraceValues, trace_values
from pandaprobe_otel.capture.wrapping import ContextScope
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._adapter import Adapter
from pandaprobe_otel_integrations._guard import guarded, observing
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import encoded, items, obj, objects, string
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._openai_protocol.chat_messages import input_message, output_messages
from pandaprobe_otel_integrations._openai_protocol.responses import ECHOES, Responses
from pandaprobe_otel_integrations._openai_protocol.usage import PARAMETERS, usage_attributes
from pandaprobe_otel_integrations._other_members import parameters
from pandaprobe_otel_integrations._parts import Part, decoded_arguments
from pandaprobe_otel_integrations._patching import OriginalCall, Undo, Undoable, patch
from pandaprobe_otel_integrations._rivals import LangSmithTracing, known_rivals
from pandaprobe_otel_integrations._runs import OpenRuns, Run, RunRecorder, StandIn, asking, json_or_text, read_json
from pandaprobe_otel_integrations._spans import agent, fail, present, record_raised, tool
from pandaprobe_otel_integrations._streams.body import MAX_ITEMS

__all__ = ["OpenAIAgentsAdapter", "OpenAIAgentsInstrumentor"]


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
        handed = items(self._arguments.get("handoffs"))
        return [
            *map(_tool, items(self._arguments.get("tools"))),
            *(_function(each, "tool_name", "tool_description", "input_json_schema") for each in handed),
        ]

    def body(self) -> dict[str, Any]:
        """Return the call as a request of the Responses API, without content if the app wants none."""
        settings = self._arguments.get("model_settings")
        found = {name: getattr(settings, name, None) for name in _SETTINGS}
        found |= {
            "model": string(getattr(self._model, "model", None)),
            "max_output_tokens": getattr(settings, "max_tokens", None),
            "previous_response_id": self._arguments.get("previous_response_id"),
            "conversation": self._arguments.get("conversation_id"),
        }
        if self.with_content:
            found |= {"instructions": self._arguments.get("system_instructions"), "input": self._arguments.get("input")}
            found["tools"] = self.tools()
            found |= {name: getattr(settings, name, None) for name in _MORE_SETTINGS}
        return {name: value for name, value in found.items() if value is not None}


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


# -- the conversation of a run: that of its `Session`, unless the app has set one for the trace ------------------------

_CONVERSATION: Final = "pandaprobe-openai-agents-conversation"
"""Context key of the conversation of the run that is about to start."""


def begin_run(_: Recorder, __: tuple[Any, ...], kwargs: dict[str, Any]) -> ContextScope | None:
    """Keep the id of the service's own conversation, or of a session of any class; None if it has no id yet."""
    session = string(getattr(kwargs.get("session"), "session_id", None))
    found = string(kwargs.get("conversation_id")) or session
    return None if found is None else ContextScope(set_value(_CONVERSATION, found))


_MODEL_CALLS: Final = frozenset({"generation", "response"})
_STEPS: Final = frozenset({"task", "turn"})
"""The SDK's own loop, which gets no span; its usage is that of the model calls below."""
_BODIES: Final = frozenset({"function", "guardrail", "custom"})
"""Spans around code of the app that start and end in one task: spans of this code belong below them."""


class RunProcessor(RunRecorder):
    """A trace processor (the SDK's `TracingProcessor`, which needs only its methods).

    `values` returns session, user, tags and metadata of new traces.
    """

    def __init__(
        self,
        recorder: Callable[[], Recorder | None],
        *,
        claims_only: Callable[[], bool] = lambda: False,
        values: Callable[[], TraceValues | None] = lambda: None,
        runs: OpenRuns | None = None,
    ) -> None:
        super().__init__(recorder, claims_only=claims_only, values=values, runs=runs)
        self._requests: dict[str, ModelRequest] = {}
        self._closed = False

    def close(self) -> None:
        """Record only the ends of open spans from now on."""
        self._closed = True

    @property
    def is_idle(self) -> bool:
        """Return whether no span is open."""
        return len(self.runs) == 0

    def on_trace_end(self, trace: Any) -> None:
        """End the run or block, with all open spans below it."""
        run = self.runs.take(trace.trace_id)
        if run is not None:
            guarded(self._record_raised, run)
            guarded(_mark_waiting, run)
            self._end(run, lambda _: True)

    def on_span_end(self, span: Any) -> None:
        """End a step; its data is complete only now."""
        run = self.runs.take(span.span_id)
        request = self._requests.pop(span.span_id, None)
        if run is None:
            return
        if run.span is not None:
            guarded(self._record, run, run.span, span, request)
            guarded(_mark_waiting, run)
        self._end(run, lambda _: False)

    def shutdown(self, timeout: float | None = None) -> None:
        """Do nothing: nothing is kept here."""

    def force_flush(self) -> None:
        """Do nothing: nothing is kept here."""

    # -- beginning ----------------------------------------------------------------------------------------------------

    @observing
    def on_trace_start(self, trace: Any) -> None:
        """Start a run, or the app's block around several runs."""
        recorder = self._active_recorder()
        if recorder is None or self._claims_only() or trace.trace_id in self.runs:
            return
        metadata = obj(getattr(trace, "metadata", None))
        base = self._root(get_current(), trace_values(session=None, user=None, tags=None, metadata=metadata))
        attributes = {
            **agent(None),
            names.CONVERSATION_ID: string(getattr(trace, "group_id", None)) or get_value(_CONVERSATION),
        }
        span = recorder.start(trace.name, attributes, context=base)
        self._open(Run(run_id=trace.trace_id, parent=None, context=base, span=span, name=trace.name, is_agent=True))

    @observing
    def on_span_start(self, span: Any) -> None:
        """Start a step."""
        recorder = self._active_recorder()
        if recorder is None or span.span_id in self.runs:
            return
        data = span.span_data
        kind = str(data.type)
        parent = self.runs.get(span.parent_id) or self.runs.get(span.trace_id)
        base = self._base(parent)
        if self._claims_only():
            if kind in _MODEL_CALLS:
                self._open(Run(run_id=span.span_id, parent=None, context=base)).claim_model_call()
            return
        if kind in _STEPS:
            agent = parent.agent if parent is not None else None
            self._open(Run(run_id=span.span_id, parent=parent, context=base, is_agent=True, agent=agent))
            return
        if kind == "agent" or kind in _MODEL_CALLS:
            _set_stopped(parent, None)
        name, attributes = _beginning(kind, data)
        owner = name if kind == "agent" else parent.agent if parent is not None else None
        attributes = {names.AGENT_NAME: owner, **attributes}
        started = recorder.start(name, attributes, context=base, is_model_call=kind in _MODEL_CALLS)
        run = Run(run_id=span.span_id, parent=parent, context=base, span=started, name=name, agent=owner)
        run.is_agent = kind == "agent"
        self._open(run)
        if kind in _MODEL_CALLS:
            run.claim_model_call()
            request = ModelRequest.that_begins()
            if request is not None:
                request.recorded_by(started)
                self._requests[span.span_id] = request
        elif kind in _BODIES:
            run.enter_body()

    def _active_recorder(self) -> Recorder | None:
        return None if self._closed else self._recorder()

    # -- ending -------------------------------------------------------------------------------------------------------

    def _record(self, run: Run, span: Span, told: Any, request: ModelRequest | None) -> None:
        with_content = self._with_content
        data, kind = told.span_data, str(told.span_data.type)
        if kind in _MODEL_CALLS:
            attributes = present(model_attributes(kind, data, request, with_content=with_content))
            model = attributes.get(names.REQUEST_MODEL)
            if model:
                span.update_name(f"chat {model}")
            span.set_attributes(attributes)
            self._record_agents(run, attributes)
        else:
            span.set_attributes(present(_ending(kind, data, with_content)))
        error = obj(told.error)
        if error:
            message = str(error.get("message") or "error")
            # The text that the model gets about a tool's failure has more detail than the error, which may be redacted.
            answered = string(data.output) if kind == "function" else None
            detail = (answered or string(obj(error.get("data")).get("error"))) if with_content else None
            fail(span, message, detail or message)
        elif not self._record_raised(run) and kind == "function" and data.input is not None and data.output is None:
            # It waits for an approval, unless a model call follows: then the tool has returned None.
            run.stopped = ours.INTERRUPTED

    def _record_raised(self, run: Run) -> bool:
        """Record the exception that passes through the block about to end, and return whether there is one.

        Cancellation is not a failure, and neither is a stream that the app leaves.
        """
        raised = sys.exc_info()[1]
        if run.span is None or raised is None or raised is run.handling:
            return False
        record_raised(run.span, raised, with_content=self._with_content)
        return True

    def _abandon(self, run: Run, outcome: str | None = ours.CANCELLED) -> None:
        self._requests.pop(run.run_id, None)
        super()._abandon(run, outcome)


def _set_stopped(run: Run | None, outcome: str | None) -> None:
    """Note the outcome on this run, and on the runs above it up to the first one with a span."""
    while run is not None:
        run.stopped = outcome
        run = run.parent if run.span is None else None


def _mark_waiting(run: Run) -> None:
    """Mark a run that ends while it waits, and the runs around it."""
    if run.stopped is not None and run.span is not None:
        run.span.set_attribute(ours.OUTCOME, run.stopped)
        _set_stopped(run.parent, run.stopped)


def _beginning(kind: str, data: Any) -> tuple[str, dict[str, Any]]:
    """Return the name of the span, and its initial attributes."""
    name = string(getattr(data, "name", None)) or kind
    if kind in _MODEL_CALLS:
        model = string(getattr(data, "model", None))
        attributes = {ours.OPERATION_NAME: "chat", names.PROVIDER: "openai", names.REQUEST_MODEL: model}
        return (f"chat {model}" if model else "chat"), attributes
    if kind == "agent":
        return name, agent(name)
    if kind == "function":
        return f"execute_tool {name}", tool(name)
    if kind == "mcp_tools":
        name = f"list tools of {data.server or 'MCP server'}"
    return name, {ours.KIND: "OTHER"}


def _ending(kind: str, data: Any, with_content: bool) -> Mapping[str, Any]:
    """Return the final attributes of a span that is not a model call."""
    if kind == "guardrail":
        return encoded({ours.OUTPUT: {"triggered": data.triggered}})
    if kind == "handoff":
        return encoded({ours.INPUT: {"agent": data.from_agent}, ours.OUTPUT: {"agent": data.to_agent}})
    if not with_content:
        return {}
    if kind == "function":
        arguments, result = decoded_arguments(data.input), data.output
        return encoded({names.TOOL_CALL_ARGUMENTS: arguments, names.TOOL_CALL_RESULT: result})
    if kind == "mcp_tools":
        return encoded({ours.OUTPUT: data.result})
    return encoded({ours.INPUT: data.data}) if kind == "custom" else {}


# -- tools that a recording answers. The SDK handles their failures itself, so a replay has the same error texts -------

TOOLS: Final = ("agents.run_internal.tool_execution", "agents.realtime.session")
_INVOKING: Final = ("_invoke_function_tool_with_metadata", "invoke_function_tool")
"""Functions that call a tool, in the modules that import them from `agents.tool`, by version."""
_FUNCTION: Final = "on_invoke_tool"
_INSIDE: Final = "_invoke_tool_impl"
"""The function inside the SDK's handling of failures."""
_FORM: Final = Form(kept=json_or_text)


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook a module that calls tools."""
    for name in _INVOKING:
        if name in vars(module):
            yield patch(module, name, _invoking)


def _invoking(original: OriginalCall) -> Any:
    tool = original.kwargs.get("function_tool")
    if tool is None or not is_replaying():
        return original()
    given = read_json(original.kwargs.get("arguments"))
    function = getattr(tool, _FUNCTION)
    call_id = getattr(original.kwargs.get("context"), "tool_call_id", None)
    inside = getattr(function, _INSIDE, None)
    if inside is None:
        instead: Any = asking(function, tool.name, lambda: given, _FORM, call_id=call_id)
    else:
        instead = _Invoker(function, _INSIDE, asking(inside, tool.name, lambda: given, _FORM, call_id=call_id))
    return original.replacing(function_tool=StandIn(tool, _FUNCTION, instead))


class _Invoker(StandIn):
    """The SDK's object that is called as a tool's function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return type(self.__wrapped__).__call__(self, *args, **kwargs)


_MODELS: Final = {
    "agents.models.openai_responses": "OpenAIResponsesModel",
    "agents.models.openai_chatcompletions": "OpenAIChatCompletionsModel",
    "agents.extensions.models.litellm_model": "LitellmModel",
    "agents.extensions.models.any_llm_model": "AnyLLMModel",
}
"""The SDK's models, by their modules."""


def _processors(provider: Any, *unknown: RunProcessor) -> Sequence[Any]:
    """Return the provider's processors; `unknown` if it does not keep them as the SDK does."""
    return getattr(getattr(provider, "_multi_processor", None), "_processors", unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LangSmithProcessor(LangSmithTracing):
    """LangSmith's processor in the SDK."""

    module: str = "langsmith.integrations.openai_agents_sdk"

    def is_active(self) -> bool:
        """Return whether the app has registered the processor, and LangSmith makes spans."""
        return LangSmithTracing.is_active(self) and bool(guarded(self._is_registered))

    def _is_registered(self) -> bool:
        kind = sys.modules[self.module].OpenAIAgentsTracingProcessor
        provider = sys.modules["agents.tracing"].get_trace_provider()
        return any(isinstance(each, kind) for each in _processors(provider))


class OpenAIAgentsInstrumentor(Integration):
    """Runs of agents with their model calls, tools, hand-offs and guardrails, sync, async and streamed.

    A trace of the SDK is an AGENT span, below the app's own span if there is one. Its `group_id`, or else the id of
    the run's `Session`, is the conversation. One model call is one LLM span; the model's client makes no second one.
    Traces that the SDK sends to OpenAI stay as they are. See `Integration` for the options of `instrument()`.
    """

    library = "openai_agents"
    hooked_modules = ("agents.tracing", "agents.run", *_MODELS, *TOOLS)
    repeated_by = ("logfire.openai_agents",)
    rivals = known_rivals("openai_agents", _LangSmithProcessor())

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == "agents.run":
            yield from (self._surround(module.Runner, name, begin_run) for name in ("run", "run_sync", "run_streamed"))
        elif module.__name__ in TOOLS:
            yield from hook_tools(module)
        elif module.__name__ in _MODELS:
            model = getattr(module, _MODELS[module.__name__])
            for name in ("get_response", "stream_response"):
                yield self._surround(model, name, ModelRequest)
        else:
            yield from self._hook_traces(module)

    def _hook_traces(self, module: ModuleType) -> Iterable[Undoable]:
        processor = RunProcessor(
            self._recorder_if_on, claims_only=self._leaves_it_to_others, values=lambda: self.values
        )
        provider = module.get_trace_provider()
        provider.register_processor(processor)

        def undo() -> None:
            """Ignore new traces from now on. The processor stays until its open spans have ended."""
            processor.close()
            present = _processors(provider)
            if processor in present and processor.is_idle:
                provider.set_processors([each for each in present if each is not processor])

        yield Undo(undo)

        def creating(original: OriginalCall) -> Any:
            """Add our processor again after an app or vendor has replaced the processors.

            Apps replace the processors to stop those that send to OpenAI.
            """
            if self._open and processor not in _processors(original.owner, processor):
                guarded(original.owner.register_processor, processor)
            return original()

        yield patch(type(provider), "create_trace", creating)


class OpenAIAgentsAdapter(Adapter):
    """The official SDK's adapter; see `Adapter`."""

    instrumentor = OpenAIAgentsInstrumentor
