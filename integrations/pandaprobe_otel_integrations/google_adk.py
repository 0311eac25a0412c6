"""Additions to the spans that Google's Agent Development Kit makes."""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any, Final, Self

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
from pandaprobe_otel_integrations._json import Content, Object, encoded, obj, string
from pandaprobe_otel_integrations._other_members import RESPONSE, rest, told, uncounted
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, patch
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


def request_attributes(request: Any) -> Mapping[str, Any]:
    """Return the parameters that have attributes."""
    return _CALLS.request_attributes({"generationConfig": _config(request)})


def request_content(request: Any) -> Content:
    """Return the other parameters."""
    found = _CALLS.request_content({"generationConfig": _config(request)})
    return {name: value for name, value in found.items() if name != names.INPUT_MESSAGES}


def answer_attributes(response: Any) -> Mapping[str, Any]:
    """Return the model that has answered, and its tokens by kind."""
    answer = _members(response)
    return {
        names.RESPONSE_MODEL: string(answer.get("modelVersion")),
        **usage_attributes(obj(answer.get("usageMetadata"))),
    }


def answer_content(response: Any) -> Content:
    """Return other data of the answer: grounding, citations, log probabilities, data of the app's own model class."""
    answer = _members(response)
    left = rest(answer, _SAID)
    if counts := uncounted(answer.get("usageMetadata"), COUNTED):
        left["usage"] = counts
    return {RESPONSE: {"response": left}} if left else {}


def calls_tools(response: Any) -> bool:
    """Return whether an answer, or a chunk of one, calls a tool."""
    return any(each.function_call for each in getattr(response.content, "parts", None) or ())


def is_last(response: Any) -> bool:
    """Return whether this is a whole answer, or the last chunk of one."""
    return not response.partial or response.finish_reason is not None


def failure(response: Any) -> tuple[str, str] | None:
    """Return code and message of a failed answer. A finish reason is not a failure."""
    code = string(getattr(response, "error_code", None))
    message = string(getattr(response, "error_message", None))
    if code is None or code.lower() in FINISH_REASONS:
        return None
    return code, message or code


def part(given: Any, told: Any) -> Any:
    """Return a part of a message in the conventions' form.

    ADK records some parts incompletely (`told`), others not at all.
    """
    found = content_parts([_members(given)])
    if len(found) != 1:
        return told
    described = obj(told)
    if found[0]["type"] in _TEXTUAL or not described:
        return found[0]
    return {**found[0], **({"id": described["id"]} if described.get("id") else {})}


def _config(request: Any) -> Object:
    config = _members(request.config)
    return {name: value for name, value in config.items() if name not in _TOLD}


def _members(model: Any) -> Object:
    """Return a model of Google's by the names in JSON; bytes and schemas stay unchanged."""
    found: Any = model.model_dump(by_alias=True, exclude_none=True)
    return obj(found)


# -- hooks on the functions in which ADK describes its spans -----------------------------------------------------------

SCOPE: Final = "gcp.vertex.agent"
"""Instrumentation scope of ADK's spans."""

Wrapped = Callable[..., Any]
Arguments = tuple[Any, ...]
Named = Mapping[str, Any]


class Unanswered:
    """Spans of runs whose latest model call has no final answer yet, and of model calls whose answer calls tools.

    An app that leaves such a run leaves it too early: its output is that of an earlier call, or a part of an answer.
    Agents in a run are not here, because ADK itself leaves one that has transferred the run to another.
    """

    def __init__(self) -> None:
        self.spans: weakref.WeakSet[Any] = weakref.WeakSet()

    def recording(self, original: OriginalCall) -> Any:
        """Wrap `_recording_span(span)`, the block at whose end ADK ends the span of a run or an agent."""
        return self._until_left(original())

    @contextmanager
    def _until_left(self, block: AbstractContextManager[Any]) -> Generator[Any]:
        with block as span:
            try:
                yield span
            except GeneratorExit:
                if span in self.spans:
                    guarded(span.set_attribute, OUTCOME, PARTIAL)
                raise


class SpanHooks:
    """Wrappers of functions. While `is_on` is False, they only pass calls on.

    `values` returns session, user, tags and metadata of new traces. `content_of` returns ADK's settings for a run.
    """

    def __init__(
        self,
        *,
        is_on: Callable[[], bool],
        values: Callable[[], TraceValues | None],
        content_of: Callable[[Any], Any],
        unanswered: Unanswered,
    ) -> None:
        self._is_on = is_on
        self._values = values
        self._content_of = content_of
        self._unanswered = unanswered
        self._open: weakref.WeakValueDictionary[tuple[int, int], Any] = weakref.WeakValueDictionary()
        """Open spans of agents and of the spans around them, by trace and span id.

        ADK holds them while they are open.
        """

    def agent_begins(self, original: OriginalCall) -> Any:
        """Wrap `trace_agent_invocation(span, agent, ctx)`, which is called when the span has started."""
        result = original()
        if self._is_on():
            guarded(self._describe_agent, *original.args, **original.kwargs)
        return result

    def model_call(self, original: OriginalCall) -> AbstractAsyncContextManager[Any, bool | None]:
        """Wrap `use_inference_span(...)`, the block in which a model call is made and answered."""
        block: AbstractAsyncContextManager[Any, bool | None] = original()
        if not self._is_on():
            return block
        guarded(_make_a_step_of, get_current_span())
        request = original.arg(0, "llm_request")
        context = original.arg(1, "invocation_context")
        says = guarded(self._says, context) is True
        return ModelCallBlock(block, self._mark_unanswered, self._record_agents, request, with_content=says)

    def model_answers(self, original: OriginalCall) -> Any:
        """Wrap `trace_inference_result(invocation_context, span, llm_response)`, called for each chunk."""
        if self._is_on():
            guarded(_note_first_chunk, *original.args, **original.kwargs)
        result = original()
        if self._is_on():
            guarded(self._answered, *original.args, **original.kwargs)
        return result

    def part(self, original: OriginalCall) -> Any:
        """Wrap the description of a part of a message."""
        told = original()
        if not self._is_on() or not original.args or original.args[0] is None:
            return told
        found = guarded(part, original.args[0], told)
        return told if found is None else found

    def _answered(self, invocation_context: Any, span: Any, llm_response: Any) -> None:
        recorded = getattr(span, "span", None)
        if recorded is None or not recorded.is_recording():
            return
        if calls_tools(llm_response):
            self._unanswered.spans.add(recorded)  # for the chunks that follow
        elif is_last(llm_response) and recorded not in self._unanswered.spans:
            self._mark_answered(recorded)
        recorded.set_attributes(present(answer_attributes(llm_response)))
        says = self._says(invocation_context)
        if says:
            recorded.set_attributes(encoded(answer_content(llm_response)))
        found = failure(llm_response)
        if found is not None:
            fail(recorded, found[0], found[1] if says else found[0])

    def tool_called(self, original: OriginalCall) -> Any:
        """Wrap `trace_tool_call(tool, args, function_response_event, ...)`, called after the tool has run."""
        result = original()
        if self._is_on():
            guarded(_note_waiting, *original.args, **original.kwargs)
            guarded(self._note_tool, *original.args, **original.kwargs)
        return result

    def _note_tool(
        self, tool: Any, args: Any = None, event: Any = None, error: Any = None, span: Any = None, *_: Any, **more: Any
    ) -> None:
        """Record the tool's changes to the session's state, and its exception."""
        del tool, args
        span = span or more.get("span") or get_current_span()
        event = event or more.get("function_response_event")
        if getattr(getattr(event, "actions", None), "skip_summarization", None):  # the result is the agent's answer
            self._mark_answered(span)
        if not self._says(more.get("invocation_context")):
            return
        kept = obj(getattr(getattr(event, "actions", None), "state_delta", None))
        if kept:
            span.set_attributes(encoded({RESPONSE: {"response": {"state": told(dict(kept))}}}))
        if isinstance(error, Exception):
            fail(span, type(error).__name__, str(error))

    def _says(self, invocation_context: Any) -> bool:
        """Return whether ADK puts content on spans."""
        config = self._content_of(invocation_context)
        return bool(getattr(config, "should_add_content_to_experimental_spans", False))

    def _describe_agent(self, span: Any, agent: Any, ctx: Any) -> None:
        del agent
        above: Any = get_current_span()
        described = [span, above] if scope_of(above) == SCOPE else [span]
        values = self._values()
        said = {} if values is None else attributes_in(with_values(values, get_current())) or {}
        for each in described:
            if not each.is_recording():
                continue
            self._open[_key(each.context)] = each
            each.set_attributes(said)
            if USER_ID not in each.attributes:
                each.set_attribute(USER_ID, ctx.session.user_id)
        state = obj(ctx.session.state)
        if state and self._says(ctx):
            span.set_attributes(encoded({RESPONSE: {"response": {"state": told(dict(state))}}}))

    def _record_agents(self, span: Any) -> None:
        """Keep the input of the first model call and the output of the latest one as those of its agent and run."""
        attributes: Mapping[str, Any] = span.attributes
        for above in self._all_above(span):
            if names.INPUT_MESSAGES in attributes and names.INPUT_MESSAGES not in above.attributes:
                above.set_attribute(names.INPUT_MESSAGES, attributes[names.INPUT_MESSAGES])
            if names.OUTPUT_MESSAGES in attributes:
                above.set_attribute(names.OUTPUT_MESSAGES, attributes[names.OUTPUT_MESSAGES])

    def _mark_unanswered(self, span: Any) -> None:
        self._unanswered.spans.update([*self._all_above(span)][-1:])

    def _mark_answered(self, span: Any) -> None:
        self._unanswered.spans.difference_update(self._all_above(span))

    def _all_above(self, span: Any) -> Iterator[Any]:
        """Return the open spans of agents and runs around this one."""
        while span.parent is not None and (span := self._open.get(_key(span.parent))) is not None:
            yield span


class ModelCallBlock:
    """ADK's block, which reports when its span has started and when it is complete.

    It ends the span itself, possibly before the block is left.
    """

    def __init__(
        self,
        block: AbstractAsyncContextManager[Any, bool | None],
        begins: Callable[[Any], None],
        record: Callable[[Any], None],
        request: Any,
        *,
        with_content: bool,
    ) -> None:
        self._block = block
        self._begins = begins
        self._record = record
        self._request = request
        self._with_content = with_content
        self._span: Any = None

    async def __aenter__(self) -> Any:
        entered = await self._block.__aenter__()
        self._span = getattr(entered, "span", None)
        if self._span is not None and self._span.is_recording():
            guarded(self._begins, self._span)
            guarded(self._record_parameters)
        return entered

    def _record_parameters(self) -> None:
        self._span.set_attributes(present(request_attributes(self._request)))
        if self._with_content:
            self._span.set_attributes(encoded(request_content(self._request)))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        try:
            return await self._block.__aexit__(kind, error, trace)
        finally:
            if self._span is not None and getattr(self._span, "attributes", None):
                guarded(self._record, self._span)


def _make_a_step_of(around: Any) -> None:
    """Turn ADK's span `call_llm` (before 2.13) into a step.

    It surrounds each model call, and would count as a second one.
    """
    if scope_of(around) == SCOPE and around.name == "call_llm":
        around.set_attribute(KIND, "CHAIN")


def _note_first_chunk(invocation_context: Any, span: Any, llm_response: Any) -> None:
    del invocation_context
    recorded = getattr(span, "span", None)
    if recorded is None or not llm_response.partial or not recorded.is_recording():
        return
    if names.TIME_TO_FIRST_CHUNK not in recorded.attributes:
        waited_s = (time.time_ns() - recorded.start_time) / 1e9
        recorded.set_attribute(names.TIME_TO_FIRST_CHUNK, max(waited_s, 0.0))


def _note_waiting(
    tool: Any, args: Any = None, function_response_event: Any = None, error: Any = None, *_: Any, **more: Any
) -> None:
    """Record that the run stops for a tool that answers later, or only after a person confirms it."""
    del args
    actions = getattr(function_response_event, "actions", None)
    asks = getattr(actions, "requested_tool_confirmations", None) or getattr(actions, "requested_auth_configs", None)
    is_later = function_response_event is None and error is None and getattr(tool, "is_long_running", False)
    if asks or is_later:
        (more.get("span") or get_current_span()).set_attribute(OUTCOME, INTERRUPTED)


def _key(context: Any) -> tuple[int, int]:
    return context.trace_id, context.span_id


# -- ADK's spans in the app's own tracer provider, if that is not OpenTelemetry's global one ---------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TracerSwap:
    """A replacement of ADK's tracer in all modules that hold it, including modules that are loaded later."""

    original: Any
    replacement: Any

    @classmethod
    def made(cls, module: ModuleType, provider: Any) -> Self:
        """Replace ADK's tracer by one of `provider`. Raises AttributeError if the module has none."""
        original: Any = module.__dict__.get("tracer")
        if original is None:
            raise AttributeError(f"{module.__name__} has no tracer")
        swap = cls(original=original, replacement=get_tracer(SCOPE, tracer_provider=provider))
        for each in _holding(original):
            each.__dict__["tracer"] = swap.replacement
        return swap

    def undo(self) -> None:
        """Restore ADK's own tracer in every module that holds ours."""
        for each in _holding(self.replacement):
            each.__dict__["tracer"] = self.original


def _holding(tracer: Any) -> Iterator[ModuleType]:
    for name, module in [*sys.modules.items()]:
        if name.startswith("google.adk") and vars(module).get("tracer") is tracer:
            yield module


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
    _unanswered = Unanswered()

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == TOOLS:
            yield from hook_tools(module)
            return
        if module.__name__ == _BLOCKS:
            yield patch(module, "_recording_span", self._unanswered.recording)
            return
        yield adopt(SCOPE, is_on=self._is_on)
        if self._tracer_provider is not None and self._tracer_provider is not trace.get_tracer_provider():
            yield TracerSwap.made(module, self._tracer_provider)
        hooks = SpanHooks(
            is_on=self._is_on,
            values=lambda: self.values,
            content_of=lambda context: module._telemetry_config_from_invocation_context(context),
            unanswered=self._unanswered,
        )
        yield patch(module, "trace_agent_invocation", hooks.agent_begins)
        yield patch(module, "use_inference_span", hooks.model_call)
        yield patch(module, "trace_inference_result", hooks.model_answers)
        yield patch(module, "trace_tool_call", hooks.tool_called)
        yield patch(import_module(_MESSAGES), "_to_part", hooks.part)

    def _is_on(self) -> bool:
        return self._open and self._active_rival() is None


class GoogleADKAdapter(Adapter):
    """The official SDK's adapter; see `Adapter`. The session of a run is ADK's, unless one is given."""

    instrumentor = GoogleADKInstrumentor
