"""A span of this library: the plan that is made once, and the open span of each call or block."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from time import time_ns
from typing import Any, Final, cast

from opentelemetry.context import Context, attach, get_current, set_value
from opentelemetry.trace import INVALID_SPAN, Span, Tracer, get_current_span, set_span_in_context
from opentelemetry.util.types import AttributeValue

from pandaprobe_otel.capture.content import NOTHING, ArgumentReader, StreamContent, encode, is_result, record_exception
from pandaprobe_otel.capture.trace_context import attributes_in, first_items, metadata_in, trace_values, with_values
from pandaprobe_otel.capture.tracers import current_tracer
from pandaprobe_otel.capture.wrapping import ContextScope
from pandaprobe_otel.mapping import attributes as names
from pandaprobe_otel.process.guard import failed

KINDS: Final = frozenset({"AGENT", "TOOL", "LLM", "RETRIEVER", "CHAIN", "EMBEDDING", "OTHER"})

# OpenTelemetry GenAI semantic conventions. They have no operation that fits every chain.
_OPERATIONS: Final = {
    "AGENT": "invoke_agent",
    "TOOL": "execute_tool",
    "LLM": "chat",
    "RETRIEVER": "retrieval",
    "EMBEDDING": "embeddings",
}
_NAME_ATTRIBUTES: Final = {"AGENT": names.AGENT_NAME, "TOOL": names.TOOL_NAME}
_OF_TRACE: Final = {names.INPUT: names.TRACE_INPUT, names.OUTPUT: names.TRACE_OUTPUT}
_IN_TRACE_KEY: Final = "pandaprobe-in-trace"
_NO_ARGUMENTS: Final[Mapping[str, Any]] = {}


def kind_of(kind: object) -> str:
    """Return the PandaProbe kind for a text or enum member; OTHER, with a warning, if it is unknown."""
    text = str(kind).upper()
    if text in KINDS:
        return text
    logging.getLogger("pandaprobe_otel").warning("The span kind %r is unknown; OTHER is used.", text[:40])
    return "OTHER"


class SpanPlan:
    """All that the spans of one decorated function, or of one block, have in common: the options of a decorator.

    Metadata belongs to the trace if the span makes one.
    """

    def __init__(
        self,
        function: Callable[..., Any] | None = None,
        *,
        kind: str,
        is_trace: bool = False,
        has_receiver: bool = True,
        name: str | None = None,
        model: str | None = None,
        capture: bool | Collection[str] = True,
        ignore: Collection[str] = (),
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        reduce: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        self.name = name or (kind.lower() if function is None else _name_of(function))
        self.kind = kind
        self.is_trace = is_trace
        self.metadata = None if is_trace else first_items(metadata)
        self.values = trace_values(session=session_id, user=user_id, tags=tags, metadata=metadata if is_trace else None)
        self.reduce = reduce
        self.captures_output = capture is not False
        self.read: ArgumentReader | None = None
        """Reader of the arguments; None if they are not recorded."""
        if function is not None and self.captures_output:
            self.read = ArgumentReader(
                function,
                only=None if capture is True else _names(cast("Collection[str]", capture)),
                ignore=_names(ignore),
                keep_object=kind == "TOOL",
                has_receiver=has_receiver,
            )
        self._function = None if function is None else _place_of(function)
        self._model = model

    @cached_property
    def attributes(self) -> dict[str, AttributeValue]:
        """Attributes that every such span starts with. Made with the first span, as libraries may run untraced."""
        made: dict[str, AttributeValue] = {names.KIND: self.kind}
        if (operation := _OPERATIONS.get(self.kind)) is not None:
            made[names.OPERATION_NAME] = operation
        if (name_attribute := _NAME_ATTRIBUTES.get(self.kind)) is not None:
            made[name_attribute] = self.name
        if self._function is not None:
            made[names.FUNCTION_NAME] = self._function
        if self._model is not None:
            made[names.MODEL] = made[names.REQUEST_MODEL] = str(self._model)
        if self.metadata:
            made[names.SPAN_METADATA] = encode(self.metadata)
        return made

    def open(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> OpenSpan | None:
        """Return the span of a call, to be begun; None if spans go nowhere."""
        tracer = current_tracer()
        return None if tracer is None else OpenSpan(self, tracer, get_current(), args, kwargs)


def _name_of(function: Callable[..., Any]) -> str:
    inner = getattr(function, "func", function)  # functools.partial
    return str(getattr(inner, "__name__", type(function).__name__))


def _place_of(function: Callable[..., Any]) -> str | None:
    """Return module and qualified name. In a script that runs, the module has the name that an import would give it."""
    inner: Any = getattr(function, "func", function)
    module, name = getattr(inner, "__module__", None), getattr(inner, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    if module == "__main__":
        main: Any = sys.modules.get("__main__")
        spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
        module = spec.name if spec is not None else os.path.splitext(os.path.basename(file))[0] if file else module
    return f"{module}.{name}"


def _names(names: Collection[str]) -> Collection[str]:
    return (names,) if isinstance(names, str) else names


class OpenSpan(ContextScope):
    """A span from its start to its end, and the OpenTelemetry context of the code that runs in it.

    No method raises, except for an exception of the app that strikes there. Then, `interrupted` ends the span.
    """

    __slots__ = (
        "_arguments",
        "_content",
        "_metadata",
        "_names_trace",
        "_plan",
        "_trace_metadata",
        "_tracer",
        "otel_span",
    )

    def __init__(
        self,
        plan: SpanPlan,
        tracer: Tracer | None,
        context: Context,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = _NO_ARGUMENTS,
    ) -> None:
        self.context = context  # repeats the base: one call less for each span
        self._outer = self._token = None
        self._plan = plan
        self._tracer = tracer
        """The tracer of a span that has yet to start."""
        self._arguments = args, kwargs
        self._names_trace = False
        self._content: StreamContent | None = None
        self._metadata = self._trace_metadata = plan.metadata
        self.otel_span: Span = INVALID_SPAN
        """Invalid before the start, and if spans go nowhere."""

    @property
    def is_root(self) -> bool:
        """Return whether this span has no parent in this process; False if the span does not show its parent."""
        parent = getattr(self.otel_span, "parent", self)
        return parent is None or bool(getattr(parent, "is_remote", False))

    def begin(self) -> None:
        """Start the span, and write the arguments of the call."""
        tracer, self._tracer = self._tracer, None
        if tracer is None:
            return
        plan, context = self._plan, self.context
        try:
            attributes = plan.attributes
            if plan.values is not None:
                context = with_values(plan.values, context)
            if (values := attributes_in(context)) is not None:
                attributes = {**attributes, **values}
            if plan.metadata and not _has_local_parent(context):
                attributes = {**attributes, names.METADATA: encode({**metadata_in(context), **plan.metadata})}
            if plan.is_trace and _IN_TRACE_KEY not in context:
                self._names_trace = _has_local_parent(context)
                if self._names_trace:
                    attributes = {**attributes, names.TRACE_NAME: plan.name}
                context = set_value(_IN_TRACE_KEY, True, context)
            span = self.otel_span = tracer.start_span(plan.name, context, attributes=attributes)
            if not (is_recording := span.is_recording()) and not span.get_span_context().is_valid:
                self.otel_span = INVALID_SPAN
                return
            self.context = set_span_in_context(span, context)
            if is_recording and plan.read is not None:
                self._write_arguments(plan.read)
        except Exception as error:  # noqa: BLE001 - samplers and processors of others run here; counted and logged
            failed("the start of a span", error)
            self.end(outcome=names.CANCELLED)
            self.otel_span = INVALID_SPAN

    def _write_arguments(self, read: ArgumentReader) -> None:
        try:
            args, kwargs = self._arguments
            given, defaults = read.read(args, kwargs)
            if given is not NOTHING:
                self.write(names.INPUT, encode(given))
            if defaults is not None:
                self.add_metadata({"defaults": defaults})
        except Exception as error:  # noqa: BLE001 - the span goes without its input; counted and logged
            failed("the input of a call", error)

    def resume(self) -> None:
        """Make the context of the span current; start the span before the first time."""
        if self._tracer is not None:
            self.begin()
        if self.otel_span is not INVALID_SPAN:
            self._outer = get_current()
            self._token = attach(self.context)

    def produced(self, item: Any, /) -> None:
        """Add an item of a generator to the output."""
        try:
            if self._content is None:
                if not self.otel_span.is_recording():
                    return
                self._content = StreamContent(self._plan.reduce)
                if self._plan.kind == "LLM":
                    self.otel_span.set_attribute(names.COMPLETION_START_TIME, time_ns())
            if self._plan.captures_output:
                self._content.add(item)
        except Exception as error:  # noqa: BLE001 - the item's own code ran; counted and logged
            failed("the output of a generator", error)

    def returned(self, value: Any, /) -> None:
        """End the span with the result or with the yielded items."""
        ended_at = time_ns()
        self._write_result(value)
        self.end(at=ended_at)

    def raised(self, error: BaseException, /) -> None:
        """End the span with the exception and the items yielded so far."""
        ended_at = time_ns()
        self._write_result(None)
        self.end(error, at=ended_at)

    def interrupted(self) -> None:
        """Restore the previous context and end the span, unless that was done."""
        super().interrupted()
        self.end(outcome=names.CANCELLED)

    def write(self, name: str, text: str) -> None:
        """Write the input or output as JSON text. Inside another library's span, it is also that of the trace."""
        self.otel_span.set_attribute(name, text)
        if self._names_trace:
            self.otel_span.set_attribute(_OF_TRACE[name], text)

    def _write_result(self, value: Any) -> None:
        try:
            plan = self._plan
            if not plan.captures_output or not self.otel_span.is_recording():
                return
            if self._content:
                self.write(names.OUTPUT, self._content.text())
                if missing := self._content.missing_from_text(value):
                    self.add_metadata(missing)
            elif is_result(value):
                self.write(names.OUTPUT, encode(value, vectors=plan.kind != "EMBEDDING"))
        except Exception as error:  # noqa: BLE001 - the span class of another vendor ran; counted and logged
            failed("the output of a call", error)

    def add_metadata(self, more: Mapping[str, Any]) -> None:
        """Add to the metadata of the span."""
        self._metadata = {**(self._metadata or {}), **first_items(more)}
        self.otel_span.set_attribute(names.SPAN_METADATA, encode(self._metadata))

    def add_trace_metadata(self, more: Mapping[str, Any]) -> None:
        """Add to the metadata of the trace."""
        self._trace_metadata = {**(self._trace_metadata or {}), **first_items(more)}
        self.otel_span.set_attribute(names.METADATA, encode({**metadata_in(self.context), **self._trace_metadata}))

    def end(self, error: BaseException | None = None, *, at: int | None = None, outcome: str | None = None) -> None:
        """End the span once, at `at` (nanoseconds since the epoch) or now."""
        span = self.otel_span
        try:
            if span.is_recording():
                if outcome is not None:
                    span.set_attribute(names.OUTCOME, outcome)
                if error is not None:
                    record_exception(span, error)
                span.end(at)
        except Exception as fault:  # noqa: BLE001 - processors of others run here; counted and logged
            failed("the end of a span", fault)


def _has_local_parent(context: Context) -> bool:
    parent = get_current_span(context).get_span_context()
    return parent.is_valid and not parent.is_remote
