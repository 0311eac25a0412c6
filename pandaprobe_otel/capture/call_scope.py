"""The scope of a decorated call: one span around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import time_ns
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Span

from pandaprobe_otel.capture.arguments import NOTHING, ArgumentReader
from pandaprobe_otel.capture.content import StreamContent, encode, encode_result, is_result, stream_text
from pandaprobe_otel.capture.span_lifetime import Activity, start
from pandaprobe_otel.capture.span_plan import SpanPlan
from pandaprobe_otel.capture.wrapping import Scope
from pandaprobe_otel.mapping import attributes as names
from pandaprobe_otel.process.guard import failed


class Call(Activity, Scope):
    """A span around one call of a decorated function. None of its methods raises."""

    __slots__ = ("_content", "_metadata", "_recipe")

    def __init__(self, recipe: CallRecipe, span: Span, context: Context, names_trace: bool) -> None:
        self.context, self.span, self.names_trace, self._token = context, span, names_trace, None  # as `Activity` does
        self._recipe = recipe
        self._content: StreamContent | None = None
        self._metadata: Mapping[str, Any] | None = recipe.plan.metadata

    def show_input(self, args: tuple[Any, ...], kwargs: dict[str, Any], read: ArgumentReader) -> None:
        """Write the arguments to the span."""
        try:
            if self.span.is_recording():
                given, defaults = read.read(args, kwargs)
                if given is not NOTHING:
                    self.write_input(encode(given))
                if defaults is not None:
                    self._add_metadata({"defaults": defaults})
        except Exception as error:  # noqa: BLE001 - the span goes without its input; counted and logged
            failed("the input of a call", error)

    def produced(self, item: Any, /) -> None:
        """Add an item of a generator to the output."""
        try:
            if self._content is None:
                if not self.span.is_recording():
                    return
                self._content = StreamContent(self._recipe.reduce)
                if self._recipe.plan.kind == "LLM":
                    self.span.set_attribute(names.COMPLETION_START_TIME, time_ns())
            if self._recipe.captures_output:
                self._content.add(item)
        except Exception as error:  # noqa: BLE001 - the item's own code ran; counted and logged
            failed("the output of a generator", error)

    def returned(self, value: Any, /) -> None:
        """End the span with the result or with the yielded items."""
        ended_at = time_ns()
        if self._recipe.captures_output:
            self._show(value)
        self.end(at=ended_at)

    def raised(self, error: BaseException, /) -> None:
        """End the span with the exception and the items yielded so far."""
        ended_at = time_ns()
        if self._recipe.captures_output:
            self._show(None)
        self.end(error, at=ended_at)

    def _add_metadata(self, more: Mapping[str, Any]) -> None:
        self._metadata = {**(self._metadata or {}), **more}
        self.span.set_attribute(names.SPAN_METADATA, encode(self._metadata))

    def _show(self, value: Any) -> None:
        try:
            if not self.span.is_recording():
                return
            if self._content:
                self.write_output(stream_text(self._content))
                if beside := self._content.beside(value):
                    self._add_metadata(beside)
            elif is_result(value):
                self.write_output(encode_result(value, self._recipe.plan.kind))
        except Exception as error:  # noqa: BLE001 - the span class of another vendor ran; counted and logged
            failed("the output of a call", error)


@dataclass(slots=True, kw_only=True)
class CallRecipe:
    """The rules by which the calls of one decorated function are traced."""

    plan: SpanPlan
    read: ArgumentReader | None
    captures_output: bool
    reduce: Callable[[list[Any]], Any] | None

    def open(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call | None:
        """Start the span of a call; return None if spans go nowhere. Does not raise."""
        started = start(self.plan)
        if started is None:
            return None
        call = Call(self, *started)
        try:
            if self.read is not None:
                call.show_input(args, kwargs, self.read)
            return call
        except BaseException:  # an interrupt arrived while code of the arguments ran
            call.interrupted()
            raise
