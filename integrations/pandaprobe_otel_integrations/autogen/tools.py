"""Tool calls: AutoGen's span of a call ends before the answer is known, so this module ends it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from opentelemetry.trace import INVALID_SPAN, Span

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._other_members import RESPONSE
from pandaprobe_otel_integrations._shape import items, obj

from .current_spans import steps
from .native import NativeSpans, OpenEnded, SpanBlock

_AGENTS: Final = "autogen_agentchat."
_MAX_PIECES: Final = 100


class ToolCall:
    """One call, from before its span is opened until after its answer."""

    def __init__(self, tool: Any, arguments: Any) -> None:
        self._tool = tool
        self._arguments = arguments
        self._pieces: list[Any] = []
        self.span: Span = INVALID_SPAN

    def opened(self, span: Span, *, with_content: bool) -> None:
        """Keep the span that AutoGen has opened."""
        self.span = span
        if with_content:
            span.set_attributes(encoded({names.TOOL_CALL_ARGUMENTS: dict(obj(self._arguments))}))

    def told(self, piece: Any) -> None:
        """Record an intermediate event of the tool. Events of agents that are used as tools are in their own spans."""
        if type(piece).__module__.startswith(_AGENTS):
            return
        if len(self._pieces) < _MAX_PIECES:
            self._pieces.append(piece)
        else:
            self._pieces[-1] = "[and more, not recorded]"

    def answered(self, result: Any) -> None:
        """Record the tool's result. A value that is not JSON is recorded in the text form that the model gets."""
        structure: Any = obj(result) or items(result) if isinstance(result, (dict, list)) else None
        told: Any = structure or self._tool.return_value_as_string(result)
        before = {RESPONSE: {"response": {"stream": self._pieces[:-1]}}} if len(self._pieces) > 1 else {}
        self.span.set_attributes(encoded({names.TOOL_CALL_RESULT: told, **before}))


_CALL: Final[ContextVar[ToolCall | None]] = ContextVar("pandaprobe_autogen_tool_call", default=None)
"""The call whose span is opened next."""


class ToolCalls:
    """The patches of tools."""

    def __init__(self, native: NativeSpans) -> None:
        self._native = native

    def span(self, wrapped: Callable[..., SpanBlock], _: Any, args: Any, kwargs: Any) -> SpanBlock:
        """Wrap the opening of a tool's span."""
        call = _CALL.get()
        if call is None or not self._native.is_ours():
            return self._native.agent(wrapped, None, args, kwargs)
        _CALL.set(None)  # not for the span of a tool that this tool calls
        return self._recorded(call, wrapped(*args, **{**kwargs, "tracer": OpenEnded(self._native.tracer)}))

    def run(self, wrapped: Callable[..., Any], tool: Any, args: Any, kwargs: Any) -> Any:
        """Wrap a call that is awaited."""
        if not self._native.is_ours():
            return wrapped(*args, **kwargs)
        return self._run(wrapped, ToolCall(tool, _arguments(args, kwargs)), args, kwargs)

    def run_stream(self, wrapped: Callable[..., Any], tool: Any, args: Any, kwargs: Any) -> AsyncGenerator[Any, None]:
        """Wrap a call that streams its events; the last one is its answer."""
        events: AsyncGenerator[Any, None] = wrapped(*args, **kwargs)
        return self._stream(events, ToolCall(tool, _arguments(args, kwargs))) if self._native.is_ours() else events

    @contextmanager
    def _recorded(self, call: ToolCall, block: SpanBlock) -> Generator[Span]:
        with self._native.watched(block) as span:
            guarded(call.opened, span, with_content=self._native.with_content)
            yield span

    async def _run(self, wrapped: Callable[..., Any], call: ToolCall, args: Any, kwargs: Any) -> Any:
        before = _CALL.get()
        _CALL.set(call)
        try:
            result = await wrapped(*args, **kwargs)
            self._answered(call, result)
            return result
        finally:
            _CALL.set(before)
            guarded(call.span.end)

    async def _stream(self, events: AsyncGenerator[Any, None], call: ToolCall) -> AsyncGenerator[Any, None]:
        last: Any = None
        inner = steps(events)
        _CALL.set(call)  # for the tool's span, which is opened before the first event
        try:
            async for event in inner:
                last = event
                call.told(event)
                yield event
            self._answered(call, last)
        finally:
            try:
                await inner.aclose()
            finally:
                guarded(call.span.end)

    def _answered(self, call: ToolCall, result: Any) -> None:
        if self._native.with_content and call.span.is_recording():
            guarded(call.answered, result)


def _arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return args[0] if args else kwargs.get("args")
