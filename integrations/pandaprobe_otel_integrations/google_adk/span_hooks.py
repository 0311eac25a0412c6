"""Hooks on the functions in which ADK describes its spans."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Final

from opentelemetry.context import get_current
from opentelemetry.trace import get_current_span

from pandaprobe_otel.capture.trace_context import TraceValues, attributes_in, with_values
from pandaprobe_otel.mapping.attributes import INTERRUPTED, KIND, OUTCOME, PARTIAL, USER_ID
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._native_spans import scope_of
from pandaprobe_otel_integrations._other_members import RESPONSE, told
from pandaprobe_otel_integrations._shape import obj
from pandaprobe_otel_integrations._span_writing import fail, present

from . import model_calls

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

    def recording(self, wrapped: Wrapped, _: Any, args: Arguments, kwargs: Named) -> Any:
        """Wrap `_recording_span(span)`, the block at whose end ADK ends the span of a run or an agent."""
        return self._until_left(wrapped(*args, **kwargs))

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
    """Wrappers in wrapt's form. While `is_on` is False, they only pass calls on.

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

    def agent_begins(self, wrapped: Wrapped, _: Any, args: Arguments, kwargs: Named) -> Any:
        """Wrap `trace_agent_invocation(span, agent, ctx)`, which is called when the span has started."""
        result = wrapped(*args, **kwargs)
        if self._is_on():
            guarded(self._describe_agent, *args, **kwargs)
        return result

    def model_call(
        self, wrapped: Wrapped, _: Any, args: Arguments, kwargs: Named
    ) -> AbstractAsyncContextManager[Any, bool | None]:
        """Wrap `use_inference_span(...)`, the block in which a model call is made and answered."""
        block: AbstractAsyncContextManager[Any, bool | None] = wrapped(*args, **kwargs)
        if not self._is_on():
            return block
        guarded(_make_a_step_of, get_current_span())
        request = args[0] if args else kwargs.get("llm_request")
        context = args[1] if len(args) > 1 else kwargs.get("invocation_context")
        says = guarded(self._says, context) is True
        return ModelCallBlock(block, self._mark_unanswered, self._record_agents, request, with_content=says)

    def model_answers(self, wrapped: Wrapped, _: Any, args: Arguments, kwargs: Named) -> Any:
        """Wrap `trace_inference_result(invocation_context, span, llm_response)`, called for each chunk."""
        if self._is_on():
            guarded(_note_first_chunk, *args, **kwargs)
        result = wrapped(*args, **kwargs)
        if self._is_on():
            guarded(self._answered, *args, **kwargs)
        return result

    def part(self, wrapped: Wrapped, _: Any, args: Arguments, kwargs: Named) -> Any:
        """Wrap the description of a part of a message."""
        told = wrapped(*args, **kwargs)
        if not self._is_on() or not args or args[0] is None:
            return told
        found = guarded(model_calls.part, args[0], told)
        return told if found is None else found

    def _answered(self, invocation_context: Any, span: Any, llm_response: Any) -> None:
        recorded = getattr(span, "span", None)
        if recorded is None or not recorded.is_recording():
            return
        if model_calls.calls_tools(llm_response):
            self._unanswered.spans.add(recorded)  # for the chunks that follow
        elif model_calls.is_last(llm_response) and recorded not in self._unanswered.spans:
            self._mark_answered(recorded)
        recorded.set_attributes(present(model_calls.answer_attributes(llm_response)))
        says = self._says(invocation_context)
        if says:
            recorded.set_attributes(encoded(model_calls.answer_content(llm_response)))
        found = model_calls.failure(llm_response)
        if found is not None:
            fail(recorded, found[0], found[1] if says else found[0])

    def tool_called(self, wrapped: Wrapped, _: Any, args: Arguments, kwargs: Named) -> Any:
        """Wrap `trace_tool_call(tool, args, function_response_event, ...)`, called after the tool has run."""
        result = wrapped(*args, **kwargs)
        if self._is_on():
            guarded(_note_waiting, *args, **kwargs)
            guarded(self._note_tool, *args, **kwargs)
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
        self._span.set_attributes(present(model_calls.request_attributes(self._request)))
        if self._with_content:
            self._span.set_attributes(encoded(model_calls.request_content(self._request)))

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
