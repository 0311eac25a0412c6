"""Runs of agents that the app calls itself: an agent keeps its messages, so all of its runs are one conversation."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry.trace import Span

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._conversation_ids import ConversationIds
from pandaprobe_otel_integrations._guard import guarded

from .native import NativeSpans, SpanBlock
from .steps import steps

_AGENT: Final[ContextVar[Any]] = ContextVar("pandaprobe_autogen_agent", default=None)
"""The agent whose span is opened next."""


class AgentRuns:
    """What is different of runs."""

    def __init__(self, native: NativeSpans) -> None:
        self._native = native
        self._conversations = ConversationIds()

    def span(self, wrapped: Callable[..., SpanBlock], _: Any, args: Any, kwargs: Any) -> SpanBlock:
        """Around the opening of a run's span."""
        agent = _AGENT.get()
        _AGENT.set(None)
        block = self._native.agent(wrapped, None, args, kwargs)
        return block if agent is None or not self._native.is_ours() else self._told(agent, block)

    def run(self, wrapped: Callable[..., Any], agent: Any, args: Any, kwargs: Any) -> Any:
        """Around a run that is awaited."""
        return self._run(wrapped, agent, args, kwargs) if self._native.is_open() else wrapped(*args, **kwargs)

    def run_stream(self, wrapped: Callable[..., Any], agent: Any, args: Any, kwargs: Any) -> AsyncGenerator[Any, None]:
        """Around a run that tells how it goes."""
        events: AsyncGenerator[Any, None] = wrapped(*args, **kwargs)
        return steps(events, begin=lambda: _AGENT.set(agent)) if self._native.is_open() else events

    async def _run(self, wrapped: Callable[..., Any], agent: Any, args: Any, kwargs: Any) -> Any:
        _AGENT.set(agent)  # taken at once: the span is opened first
        return await wrapped(*args, **kwargs)

    @contextmanager
    def _told(self, agent: Any, block: SpanBlock) -> Generator[Span]:
        with block as span:
            guarded(self._tell, agent, span)
            yield span

    def _tell(self, agent: Any, span: Any) -> None:
        if span.is_recording() and names.CONVERSATION_ID not in span.attributes:
            span.set_attribute(names.CONVERSATION_ID, self._conversations.of(agent))
