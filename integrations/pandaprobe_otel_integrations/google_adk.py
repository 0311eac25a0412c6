"""Additions to the spans that Google's Agent Development Kit makes."""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import get_current
from opentelemetry.trace import get_current_span, get_tracer

from pandaprobe_otel.capture.tool_answers import Form, is_replaying
from pandaprobe_otel.capture.trace_context import TraceValues, attributes_in, with_values
from pandaprobe_otel.mapping.attributes import INTERRUPTED, KIND, OUTCOME, PARTIAL, USER_ID
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._adapter import Adapter
from pandaprobe_otel_integrations._endpoint import FINISH_REASONS
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import Object, encoded, obj, string
from pandaprobe_otel_integrations._other_members import answer_data, rest, told, uncounted
from pandaprobe_otel_integrations._patching import OriginalCall, Undo, Undoable, patch
from pandaprobe_otel_integrations._runs import StandIn, asking
from pandaprobe_otel_integrations._spans import adopt, fail, present, scope_of
from pandaprobe_otel_integrations.google_genai.generate import (
    COUNTED,
    GenerateContent,
    content_parts,
    usage_attributes,
)

__all__ = ["GoogleADKAdapter", "GoogleADKInstrumentor"]


# -- function tools that a recording answers, with their changes to the session ----------------------------------------

TOOLS: Final = "google.adk.tools.function_tool"
_FUNCTION: Final = "_invoke_callable"
_ACTIONS: Final = "$actions"
_RESULT: Final = "result"


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `google.adk.tools.function_tool`."""
    if _FUNCTION in vars(module.FunctionTool):
        yield patch(module.FunctionTool, "run_async", _running)


def _running(original: OriginalCall) -> Any:
    given = original.kwargs.get("args")
    if not is_replaying() or not isinstance(given, Mapping):
        return original()
    said = obj(given)
    function: Callable[..., Any] = getattr(original.owner, _FUNCTION)
    context = original.kwargs.get("tool_context")
    call_id = getattr(context, "function_call_id", None)
    instead = asking(function, str(original.owner.name), lambda: said, _form(context), call_id=call_id)
    return original.on(StandIn(original.owner, _FUNCTION, instead))


def _form(context: Any) -> Form:
    actions: Any = getattr(context, "actions", None)

    def kept(result: Any) -> Any:
        done = _done(actions)
        return {_RESULT: result, _ACTIONS: done} if done else result

    def given(said: Any) -> Any:
        if not isinstance(said, dict) or _ACTIONS not in said:
            return said  # pyright: ignore[reportUnknownVariableType]
        for name, value in obj(said[_ACTIONS]).items():
            if name == "state_delta":
                context.state.update(value)
            else:
                setattr(actions, name, value)
        return obj(said).get(_RESULT)

    return Form(kept=kept, given=given)


def _done(actions: Any) -> Mapping[str, Any]:
    """Return a tool's messages to the runner: changes of the state, transfers, and the like."""
    return {} if actions is None else obj(actions.model_dump(mode="json", exclude_defaults=True))


# -- additions to ADK's spans of model calls: parameters, and most data of an answer beside its text -------------------

_CALLS: Final = GenerateContent()
_TOLD: Final = frozenset({"systemInstruction", "tools", "httpOptions", "automaticFunctionCalling"})
"""Members of a configuration that ADK records, and settings of its client."""
_SAID: Final = frozenset(
    {"content", "partial", "turnComplete", "finishReason", "usageMetadata", "modelVersion", "errorCode", "errorMessage"}
)
_TEXTUAL: Final = frozenset({"text", "reasoning"})


def calls_tools(response: Any) -> bool:
    """Return whether an answer, or a chunk of one, calls a tool."""
    return any(each.function_call for each in getattr(response.content, "parts", None) or ())


def failure(response: Any) -> tuple[str, str] | None:
    """Return code and message of a failed answer. A finish reason is not a failure."""
    code = string(getattr(response, "error_code", None))
    message = string(getattr(response, "error_message", None))
    if code is None or code.lower() in FINISH_REASONS:
        return None
    return code, message or code


def _part(told: Any, original: OriginalCall) -> Any:
    """Replace the description of a part of a message: ADK records some parts incompletely, others not at all."""
    found = content_parts([_members(original.args[0])])
    if len(found) != 1:
        return told
    described = obj(told)
    if found[0]["type"] in _TEXTUAL or not described.get("id"):
        return found[0]
    return {**found[0], "id": described["id"]}


def _members(model: Any) -> Object:
    """Return a model of Google's by the names in JSON; bytes and schemas stay unchanged."""
    found: Any = model.model_dump(by_alias=True, exclude_none=True)
    return obj(found)


# -- hooks on the functions in which ADK describes its spans -----------------------------------------------------------

SCOPE: Final = "gcp.vertex.agent"
"""Instrumentation scope of ADK's spans."""


class SpanHooks:
    """Additions to ADK's spans, called after the functions that describe them.

    `values` returns session, user, tags and metadata of new traces. `content_of` returns ADK's settings for a run.
    """

    def __init__(self, values: Callable[[], TraceValues | None], content_of: Callable[[Any], Any]) -> None:
        self._values = values
        self._content_of = content_of
        self._open: weakref.WeakValueDictionary[tuple[int, int], Any] = weakref.WeakValueDictionary()
        """Open spans of agents and of the spans around them, by trace and span id.

        ADK holds them while they are open.
        """

    def agent_begins(self, _: Any, original: OriginalCall) -> None:
        """Add to `trace_agent_invocation(span, agent, ctx)`, which is called when the span has started."""
        span, context = original.arg(0, "span"), original.arg(2, "ctx")
        above: Any = get_current_span()
        values = self._values()
        said = {} if values is None else attributes_in(with_values(values, get_current())) or {}
        for each in [span, above] if scope_of(above) == SCOPE else [span]:
            if not each.is_recording():
                continue
            self._open[_key(each.context)] = each
            each.set_attributes(said)
            if USER_ID not in each.attributes:
                each.set_attribute(USER_ID, context.session.user_id)
        state = obj(context.session.state)
        if state and self._says(context):
            span.set_attributes(encoded(answer_data(state=told(dict(state)))))

    def model_call(
        self, block: AbstractAsyncContextManager[Any], original: OriginalCall
    ) -> AbstractAsyncContextManager[Any]:
        """Replace the block of `use_inference_span(llm_request, context, ...)`, in which a model call is made."""
        around: Any = get_current_span()
        if scope_of(around) == SCOPE and around.name == "call_llm":
            around.set_attribute(KIND, "CHAIN")  # before 2.13, it surrounds each call, and would count as a second one
        return self._calling(block, original.arg(0, "llm_request"), original.arg(1, "invocation_context"))

    @asynccontextmanager
    async def _calling(self, block: Any, request: Any, context: Any) -> AsyncGenerator[Any]:
        """Yield ADK's block, which ends the span itself, possibly before the block is left."""
        span: Any = None
        try:
            async with block as entered:
                span = getattr(entered, "span", None)
                if span is not None and span.is_recording():
                    guarded(self._record_parameters, span, request, context)
                yield entered
        finally:
            if getattr(span, "attributes", None):
                guarded(self._record_agents, span)

    def _record_parameters(self, span: Any, request: Any, context: Any) -> None:
        _UNANSWERED.update([*self._all_above(span)][-1:])
        config = {name: value for name, value in _members(request.config).items() if name not in _TOLD}
        body = {"generationConfig": config}
        span.set_attributes(present(_CALLS.request_attributes(body)))
        if self._says(context):
            span.set_attributes(encoded({**_CALLS.request_content(body), names.INPUT_MESSAGES: None}))

    def model_answers(self, _: Any, original: OriginalCall) -> None:
        """Add to `trace_inference_result(invocation_context, span, llm_response)`, called for each chunk."""
        recorded, response = getattr(original.arg(1, "span"), "span", None), original.arg(2, "llm_response")
        if recorded is None or not recorded.is_recording():
            return
        if response.partial and names.TIME_TO_FIRST_CHUNK not in recorded.attributes:
            waited_s = (time.time_ns() - recorded.start_time) / 1e9
            recorded.set_attribute(names.TIME_TO_FIRST_CHUNK, max(waited_s, 0.0))
        if calls_tools(response):
            _UNANSWERED.add(recorded)  # for the chunks that follow
        elif (not response.partial or response.finish_reason is not None) and recorded not in _UNANSWERED:
            self._mark_answered(recorded)  # by a whole answer, or the last chunk of one
        answer = _members(response)
        usage = obj(answer.get("usageMetadata"))
        model = string(answer.get("modelVersion"))
        recorded.set_attributes(present({names.RESPONSE_MODEL: model, **usage_attributes(usage)}))
        says = self._says(original.arg(0, "invocation_context"))
        if says:  # grounding, citations, log probabilities, data of the app's own model class
            more = rest({**answer, "usage": uncounted(usage, COUNTED)}, _SAID)
            recorded.set_attributes(encoded(answer_data(**more)))
        found = failure(response)
        if found is not None:
            fail(recorded, found[0], found[1] if says else found[0])

    def tool_called(self, _: Any, original: OriginalCall) -> None:
        """Add to `trace_tool_call(tool, args, function_response_event, error, span, ...)`, called after the tool.

        Record its changes to the session's state, its exception, and that the run stops for a tool that answers later,
        or only after a person confirms it.
        """
        event, error = original.arg(2, "function_response_event"), original.arg(3, "error")
        span, actions = original.arg(4, "span") or get_current_span(), getattr(event, "actions", None)
        asks = getattr(actions, "requested_tool_confirmations", None) or getattr(
            actions, "requested_auth_configs", None
        )
        is_long = getattr(original.arg(0, "tool"), "is_long_running", False)
        if asks or (event is None and error is None and is_long):
            span.set_attribute(OUTCOME, INTERRUPTED)
        if getattr(actions, "skip_summarization", None):  # the result is the agent's answer
            self._mark_answered(span)
        if not self._says(original.kwargs.get("invocation_context")):
            return
        if kept := obj(getattr(actions, "state_delta", None)):
            span.set_attributes(encoded(answer_data(state=told(dict(kept)))))
        if isinstance(error, Exception):
            fail(span, type(error).__name__, str(error))

    def _says(self, invocation_context: Any) -> bool:
        """Return whether ADK puts content on spans."""
        config = self._content_of(invocation_context)
        return bool(getattr(config, "should_add_content_to_experimental_spans", False))

    def _record_agents(self, span: Any) -> None:
        """Keep the input of the first model call and the output of the latest one as those of its agent and run."""
        attributes: Mapping[str, Any] = span.attributes
        for above in self._all_above(span):
            if names.INPUT_MESSAGES in attributes and names.INPUT_MESSAGES not in above.attributes:
                above.set_attribute(names.INPUT_MESSAGES, attributes[names.INPUT_MESSAGES])
            if names.OUTPUT_MESSAGES in attributes:
                above.set_attribute(names.OUTPUT_MESSAGES, attributes[names.OUTPUT_MESSAGES])

    def _mark_answered(self, span: Any) -> None:
        _UNANSWERED.difference_update(self._all_above(span))

    def _all_above(self, span: Any) -> Iterator[Any]:
        """Return the open spans of agents and runs around this one."""
        while span.parent is not None and (span := self._open.get(_key(span.parent))) is not None:
            yield span


_UNANSWERED: Final[weakref.WeakSet[Any]] = weakref.WeakSet()
"""Spans of runs whose latest model call has no final answer yet, and of model calls whose answer calls tools.

An app that leaves such a run leaves it too early: its output is that of an earlier call, or a part of an answer. Agents
in a run are not here, because ADK itself leaves one that has transferred the run to another.
"""


@contextmanager
def _until_left(block: AbstractContextManager[Any], _: OriginalCall) -> Generator[Any]:
    """Replace `_recording_span(span)`, the block at whose end ADK ends the span of a run or an agent."""
    with block as span:
        try:
            yield span
        except GeneratorExit:
            if span in _UNANSWERED:
                guarded(span.set_attribute, OUTCOME, PARTIAL)
            raise


def _key(context: Any) -> tuple[int, int]:
    return context.trace_id, context.span_id


# -- ADK's spans in the app's own tracer provider, if that is not OpenTelemetry's global one ---------------------------


def swap_tracer(module: ModuleType, provider: Any) -> Undo:
    """Replace ADK's tracer by one of `provider` in all modules that hold it, and in those that are loaded later.

    Raises AttributeError if the module has none.
    """
    original: Any = module.__dict__.get("tracer")
    if original is None:
        raise AttributeError(f"{module.__name__} has no tracer")
    ours = get_tracer(SCOPE, tracer_provider=provider)
    _replace(original, ours)
    return Undo(lambda: _replace(ours, original))


def _replace(before: Any, tracer: Any) -> None:
    for name, module in [*sys.modules.items()]:
        if name.startswith("google.adk") and vars(module).get("tracer") is before:
            module.__dict__["tracer"] = tracer


_MESSAGES: Final = "google.adk.telemetry._experimental_semconv"
"""The module that describes messages; the module of the spans loads it."""
_BLOCKS: Final = "google.adk.telemetry._instrumentation"
"""The module with the blocks in which agents and runs work."""


class GoogleADKInstrumentor(Integration):
    """Runs of agents, workflows, model calls and tools, in the spans that ADK makes itself.

    This adds the session's user and state, inputs and answers of agents, parameters of model calls, citations and
    other data of answers, failures, and the time of the first token. The model's client makes no second span. ADK's
    own setting decides whether spans have messages; `init()` turns it on unless the app has set it, and
    `capture_content` does not change it. See `Integration` for the other options of `instrument()`.
    """

    library = "google_adk"
    makes_own_spans = True
    hooked_modules = ("google.adk.telemetry.tracing", _BLOCKS, TOOLS)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == TOOLS:
            yield from hook_tools(module)
            return
        if module.__name__ == _BLOCKS:
            yield self._after(module, "_recording_span", _until_left)
            return
        yield adopt(SCOPE, is_on=self._is_on)
        if self._tracer_provider is not None and self._tracer_provider is not trace.get_tracer_provider():
            yield swap_tracer(module, self._tracer_provider)
        hooks = SpanHooks(lambda: self.values, lambda run: module._telemetry_config_from_invocation_context(run))
        for owner, name, add in (
            (module, "trace_agent_invocation", hooks.agent_begins),
            (module, "use_inference_span", hooks.model_call),
            (module, "trace_inference_result", hooks.model_answers),
            (module, "trace_tool_call", hooks.tool_called),
            (import_module(_MESSAGES), "_to_part", _part),
        ):
            yield self._after(owner, name, add)

    def _is_on(self) -> bool:
        return self._open and self._active_rival() is None


class GoogleADKAdapter(Adapter):
    """The official SDK's adapter; see `Adapter`. The session of a run is ADK's, unless one is given."""

    instrumentor = GoogleADKInstrumentor
