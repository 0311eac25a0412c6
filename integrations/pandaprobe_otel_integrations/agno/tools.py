"""The span of one tool call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from inspect import isasyncgen, isgenerator
from typing import Any

from pandaprobe_otel.capture.wrapping import wrap
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._shape import string
from pandaprobe_otel_integrations._span_writing import fail, present

from .scopes import AgnoScope, plain, text_of


def begin_tool(recorder: Recorder, call: Any, _kwargs: dict[str, Any]) -> ToolScope:
    """Start the span of a `FunctionCall`."""
    name = str(call.function.name)
    attributes = {
        ours.OPERATION_NAME: "execute_tool",
        ours.TOOL_NAME: name,
        names.TOOL_TYPE: "function",
        names.TOOL_CALL_ID: string(call.call_id),
    }
    span = recorder.tracer.start_span(f"execute_tool {name}", attributes=present(attributes))
    if recorder.with_content:
        guarded(lambda: span.set_attributes(encoded({names.TOOL_CALL_ARGUMENTS: call.arguments or {}})))
    return ToolScope(recorder, span, call)


class ToolScope(AgnoScope):
    """A tool call. If the tool yields, as a member with streamed events does, the call lasts until it is read."""

    def __init__(self, recorder: Recorder, span: Any, call: Any) -> None:
        super().__init__(recorder, span)
        self._call = call
        self._said: list[str] = []
        self._is_stream = False

    def returned(self, value: Any, /) -> None:
        """Record Agno's record of the call, or the end of the yielded items."""
        if self._is_stream:
            guarded(self._record, "".join(self._said))
        elif guarded(self._read_inside, value):
            return
        else:
            guarded(self._record_outcome, value)
        guarded(self.span.end)

    def produced(self, item: Any, /) -> None:
        """Record a yielded item: a part of the result, or an event of a member's run."""
        guarded(self._read, item)

    def _read_inside(self, outcome: Any) -> bool:
        """Put the tool's generator inside the span. Return False if there is none."""
        if isgenerator(outcome.result):
            around: Any = wrap(_items, lambda _args, _kwargs: self)
        elif isasyncgen(outcome.result):
            around = wrap(_async_items, lambda _args, _kwargs: self)
        else:
            return False
        inside = around(outcome.result)
        if self._call.result is outcome.result:
            self._call.result = inside
        outcome.result = inside
        self._is_stream = True
        return True

    def _read(self, item: Any) -> None:
        event = string(getattr(item, "event", None))
        if event is None:
            self._said.append(str(item))
        elif event.removeprefix("Team") == "RunContent" and item.content is not None:
            self._said.append(text_of(item.content))

    def _record_outcome(self, outcome: Any) -> None:
        if outcome.status == "success":
            self._record(outcome.result)
        else:
            kind = "ToolError"  # Agno keeps only the text of the exception
            fail(self.span, kind, (string(outcome.error) or kind) if self.recorder.with_content else kind)

    def _record(self, result: Any) -> None:
        if self.recorder.with_content:
            self.span.set_attributes(encoded({names.TOOL_CALL_RESULT: plain(result)}))


def _items(result: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    return (yield from result)


async def _async_items(result: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    async with aclosing(result):
        async for item in result:
            yield item
