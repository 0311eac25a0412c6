"""Runs of agents: their inputs and answers, and the conversation, since an agent keeps its messages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry.trace import INVALID_SPAN, Span, get_current_span

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import Content, encoded
from pandaprobe_otel_integrations._conversation_ids import ConversationIds
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._other_members import RESPONSE

from .current_spans import steps
from .endings import Endings
from .messages import answered, asked, on_the_way
from .native import NativeSpans, OpenEnded, SpanBlock

_MEMBERS_ANSWER: Final = "GroupChatAgentResponse"
"""The class of a team member's final message, published inside its span."""


class AgentRun:
    """One run, from before its span is opened until after its answer. `agent` is None for a member of a team."""

    def __init__(self, agent: Any, given: Any) -> None:
        self.agent = agent
        self.given = given
        self.span: Span = INVALID_SPAN

    def answered(self, result: Any, reason: str) -> None:
        """Record the result of the run."""
        self.span.set_attributes(encoded(_answer_and_messages(result.messages, reason, self.given)))


def _answer_and_messages(messages: Sequence[Any], reason: str, task: Any = None) -> Content:
    """Return the answer, and the messages before it."""
    between = on_the_way(messages, task)
    more = {RESPONSE: {"response": {"messages": between}}} if between else {}
    return {names.OUTPUT_MESSAGES: answered(messages, reason), **more}


_RUN: Final[ContextVar[AgentRun | None]] = ContextVar("pandaprobe_autogen_run", default=None)
"""The run whose span is opened next."""


class AgentRuns:
    """The patches of runs."""

    def __init__(self, native: NativeSpans, endings: Endings) -> None:
        self._native = native
        self._endings = endings
        self._conversations = ConversationIds()

    def span(self, wrapped: Callable[..., SpanBlock], _: Any, args: Any, kwargs: Any) -> SpanBlock:
        """Wrap the opening of a run's span."""
        run = _RUN.get()
        _RUN.set(None)
        if run is None or not self._native.is_ours():
            return self._native.agent(wrapped, None, args, kwargs)
        # AutoGen leaves the span's block before the awaited result is known.
        tracer = self._native.tracer if run.agent is None else OpenEnded(self._native.tracer)
        return self._recorded(run, self._native.watched(wrapped(*args, **{**kwargs, "tracer": tracer})))

    def run(self, wrapped: Callable[..., Any], agent: Any, args: Any, kwargs: Any) -> Any:
        """Wrap a run that is awaited."""
        if not self._native.is_open():
            return wrapped(*args, **kwargs)
        return self._run(wrapped, AgentRun(agent, kwargs.get("task")), args, kwargs)

    def run_stream(self, wrapped: Callable[..., Any], agent: Any, args: Any, kwargs: Any) -> AsyncGenerator[Any, None]:
        """Wrap a run that streams its events."""
        events: AsyncGenerator[Any, None] = wrapped(*args, **kwargs)
        return self._stream(events, AgentRun(agent, kwargs.get("task"))) if self._native.is_open() else events

    def member(self, wrapped: Callable[..., Any], container: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the turn of a team's member. Its input is the messages since its last turn."""
        if not self._native.is_open():
            return wrapped(*args, **kwargs)
        given = [*getattr(container, "_message_buffer", ())]
        return self._turn(wrapped, AgentRun(None, given), args, kwargs)

    def publishing(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the messages that agents publish; a member's answer is among them."""
        said: Any = args[0] if args else kwargs.get("message")
        if type(said).__name__ == _MEMBERS_ANSWER and self._native.with_content and self._native.is_ours():
            guarded(self._member_answered, said.response)
        return wrapped(*args, **kwargs)

    def _member_answered(self, response: Any) -> None:
        span = get_current_span()
        reason = self._endings.of_member(span)
        messages = [*(response.inner_messages or ()), response.chat_message]
        span.set_attributes(encoded(_answer_and_messages(messages, reason)))

    async def _turn(self, wrapped: Callable[..., Any], run: AgentRun, args: Any, kwargs: Any) -> Any:
        _RUN.set(run)
        try:
            return await wrapped(*args, **kwargs)
        finally:
            _RUN.set(None)

    async def _run(self, wrapped: Callable[..., Any], run: AgentRun, args: Any, kwargs: Any) -> Any:
        _RUN.set(run)  # for the run's span, which is opened first
        try:
            result = await wrapped(*args, **kwargs)
            self._answered(run, result)
            return result
        finally:
            guarded(run.span.end)

    async def _stream(self, events: AsyncGenerator[Any, None], run: AgentRun) -> AsyncGenerator[Any, None]:
        inner = steps(events, begin=lambda: _RUN.set(run))
        try:
            async for event in inner:
                if type(event).__name__ == "TaskResult":
                    self._answered(run, event)
                yield event
        finally:
            try:
                await inner.aclose()
            finally:
                guarded(run.span.end)

    def _answered(self, run: AgentRun, result: Any) -> None:
        if self._native.with_content and run.span.is_recording():
            guarded(run.answered, result, self._endings.of(run.span))

    @contextmanager
    def _recorded(self, run: AgentRun, block: SpanBlock) -> Generator[Span]:
        with block as span:
            run.span = span
            guarded(self._record, run, span)
            yield span

    def _record(self, run: AgentRun, span: Any) -> None:
        if not span.is_recording():
            return
        if self._native.with_content:
            span.set_attributes(encoded({names.INPUT_MESSAGES: asked(run.given)}))
        if run.agent is not None and names.CONVERSATION_ID not in span.attributes:
            span.set_attribute(names.CONVERSATION_ID, self._conversations.of(run.agent))
