"""A span of this library from its start to its end."""

from __future__ import annotations

from contextvars import Token
from typing import Final

from opentelemetry.context import Context, attach, detach, get_current, set_value
from opentelemetry.trace import Span, get_current_span, set_span_in_context

from pandaprobe_otel.capture.content import encode
from pandaprobe_otel.capture.recorded_exceptions import record_exception
from pandaprobe_otel.capture.span_plan import SpanPlan
from pandaprobe_otel.capture.trace_context import attributes_in, metadata_in, with_values
from pandaprobe_otel.capture.tracers import current_tracer
from pandaprobe_otel.mapping import attributes as names
from pandaprobe_otel.process.guard import failed, pass_on

_IN_TRACE_KEY: Final = "pandaprobe-in-trace"


class ContextSwitch:
    """OpenTelemetry context that is current while some code runs.

    `resume` makes it current and `pause` restores the previous one. A generator is resumed and paused at each step,
    always inside one task, so its consumer never sees this context. An interrupt (Ctrl-C) may arrive inside either
    method; a later `pause` always completes the work.
    """

    __slots__ = ("_token", "context")

    def __init__(self, context: Context) -> None:
        self.context = context
        self._token: Token[Context] | None = None

    def resume(self) -> None:
        """Make the context current."""
        outer = get_current()
        try:
            self._token = attach(self.context)
        except BaseException:
            attach(outer)  # the context may be current already, and no token would show it
            raise

    def pause(self) -> None:
        """Restore the previous context, and keep the context that the code has made meanwhile for the next `resume`."""
        token = self._token
        if token is not None:
            self.context = get_current()
            restore(token)
            self._token = None


class Activity(ContextSwitch):
    """A started span and the OpenTelemetry context of the code that runs in it."""

    __slots__ = ("names_trace", "span")

    def __init__(self, span: Span, context: Context, names_trace: bool) -> None:
        self.context = context  # repeats the base: one call less for each span
        self._token = None
        self.span = span
        self.names_trace = names_trace

    @property
    def is_root(self) -> bool:
        """Return whether this span has no parent in this process; False if the span does not show its parent."""
        parent = getattr(self.span, "parent", self)
        return parent is None or bool(getattr(parent, "is_remote", False))

    def interrupted(self) -> None:
        """Undo everything after an interrupt during the entry or exit of the span."""
        self.pause()
        end_cancelled(self.span)

    def write_input(self, text: str) -> None:
        """Write the input as JSON text. If the trace is inside another library's span, it is also the trace's input."""
        self.span.set_attribute(names.INPUT, text)
        if self.names_trace:
            self.span.set_attribute(names.TRACE_INPUT, text)

    def write_output(self, text: str) -> None:
        """Write the output as JSON text. Inside another library's span, it is also the output of the trace."""
        self.span.set_attribute(names.OUTPUT, text)
        if self.names_trace:
            self.span.set_attribute(names.TRACE_OUTPUT, text)

    def end(self, error: BaseException | None = None, *, at: int | None = None) -> None:
        """End the span once, at `at` (nanoseconds since the epoch) or now. Never raises."""
        span = self.span
        try:
            if span.is_recording():
                if error is not None:
                    record_exception(span, error)
                span.end(at)
        except Exception as fault:  # noqa: BLE001 - processors of others run here; counted and logged
            failed("the end of a span", fault)


def start(plan: SpanPlan, home: Context | None = None) -> tuple[Span, Context, bool] | None:
    """Start a span without making it current; return None if spans go nowhere. Never raises.

    Its parent is the current span, or the span of `home` if the current context does not have the same trace, as in a
    thread that was started without context. The result has the arguments of `Activity`.
    """
    tracer = current_tracer()
    if tracer is None:
        return None
    span: Span | None = None
    try:
        context = get_current()
        if home is not None and _trace_id(context) != _trace_id(home):
            context = home
        if plan.values is not None:
            context = with_values(plan.values, context)
        attributes = plan.attributes or plan.make_attributes()
        if (values := attributes_in(context)) is not None:
            attributes = {**attributes, **values}
        if plan.metadata and not _has_local_parent(context):
            attributes = {**attributes, names.METADATA: encode({**metadata_in(context), **plan.metadata})}
        names_trace = False
        if plan.is_trace and _IN_TRACE_KEY not in context:
            if names_trace := _has_local_parent(context):
                attributes = {**attributes, names.TRACE_NAME: plan.name}
            context = set_value(_IN_TRACE_KEY, True, context)
        span = tracer.start_span(plan.name, context, attributes=attributes)
        if not span.is_recording() and not span.get_span_context().is_valid:
            return None
        return span, set_span_in_context(span, context), names_trace
    except Exception as error:  # noqa: BLE001 - samplers and processors of others run here; counted and logged
        if span is not None:
            end_cancelled(span)
        failed("the start of a span", error)
        return None
    except BaseException:
        if span is not None:
            end_cancelled(span)
        raise


def end_cancelled(span: Span) -> None:
    """End a span whose work was interrupted before it began or ended. Does nothing if the span has ended."""
    if span.is_recording():
        span.set_attribute(names.OUTCOME, names.CANCELLED)
        span.end()


def restore(token: Token[Context]) -> None:
    """Restore the OpenTelemetry context that was current before `attach` returned this token.

    A block may be closed by another task or by the garbage collector. Then there is nothing to restore, and
    `opentelemetry.context.detach` would log an error.
    """
    if type(token) is not Token:  # from another runtime context, chosen by OTEL_PYTHON_CONTEXT
        detach(token)
        return
    try:
        token.var.reset(token)
    except (ValueError, RuntimeError) as error:
        pass_on(error)


def _has_local_parent(context: Context) -> bool:
    parent = get_current_span(context).get_span_context()
    return parent.is_valid and not parent.is_remote


def _trace_id(context: Context) -> int:
    return get_current_span(context).get_span_context().trace_id
