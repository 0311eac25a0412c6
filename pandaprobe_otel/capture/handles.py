"""Objects that `with span(...) as s` and `with start_trace(...) as t` return."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast

from opentelemetry.context import Context, get_current, set_value
from opentelemetry.trace import StatusCode, get_current_span

from pandaprobe_otel.capture.content import encode, record_exception
from pandaprobe_otel.capture.open_span import OpenSpan, SpanPlan, kind_of
from pandaprobe_otel.capture.tracers import current_tracer
from pandaprobe_otel.capture.wrapping import Block
from pandaprobe_otel.enums import TraceStatus
from pandaprobe_otel.mapping import attributes as names
from pandaprobe_otel.mapping.ids import span_uuid, trace_uuid
from pandaprobe_otel.mapping.usage import BAG_NAMES, DETAIL_BAGS
from pandaprobe_otel.process.guard import failed, mistake, unless_used

if TYPE_CHECKING:  # for type checkers only, because both take long to load
    from datetime import datetime

    from pandaprobe_otel.enums import TraceStatus

M = TypeVar("M", bound=Callable[..., None])

_NOWHERE: Final = Context()
KNOWN_COUNTS: Final = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_creation_tokens",
    "reasoning_tokens",
    "audio_tokens",
    "accepted_prediction_tokens",
    "rejected_prediction_tokens",
)


def _setter(method: M) -> M:
    """Return a method that never raises. Before its handle is entered, the call is kept; after the end, ignored."""

    @functools.wraps(method)
    def guarded(self: SpanHandle, *args: Any, **kwargs: Any) -> None:
        if self.early is not None:
            self.early.append((method, args, kwargs))
            return
        try:
            if self.otel_span.is_recording():
                method(self, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - arguments of any sort arrive here; counted and logged
            failed(method.__name__, error)

    return cast("M", guarded)


class SpanHandle(OpenSpan, Block["SpanHandle", Any]):
    """A span as a `with` or `async with` block.

    No method raises. Values are encoded when they are set, so later changes of an object do not show; values that are
    set before the block is entered are encoded when it is entered. Nothing is encoded while spans go nowhere.
    """

    def __init__(
        self,
        plan: SpanPlan,
        *,
        home: Context = _NOWHERE,
        key: str | None = None,
        together: list[SpanHandle] | None = None,
    ) -> None:
        """`home`: its span is the parent if the current context has another trace, as in a thread without context.

        `key`, `together`: where the block that makes many handles finds those that are open.
        """
        super().__init__(plan, None, _NOWHERE)
        self._home = home
        self._key = key
        self._together = [] if together is None else together
        self.early: list[tuple[Callable[..., None], tuple[Any, ...], dict[str, Any]]] | None = []
        """Calls of setters before the block is entered; None from then on."""
        # A block with a key enters its handle at once.
        self._unused: object = None if key else unless_used(self, lambda: f"the span {plan.name!r}")

    if TYPE_CHECKING:

        def __enter__(self) -> Self: ...
        async def __aenter__(self) -> Self: ...

    def _new_scope(self) -> SpanHandle:
        return self

    def _innermost(self) -> SpanHandle:
        return self

    def _given(self, scope: SpanHandle) -> Any:
        return self

    def resume(self) -> None:
        """Start the span, write what was set before, and make the span's context current; only once."""
        if self.early is None:
            return
        early, self.early, self._unused = self.early, None, None
        self._tracer = current_tracer()
        if self._tracer is not None:
            context = get_current()
            if _trace_id(self._home) not in (0, _trace_id(context)):
                context = self._home
            self.context = context if self._key is None else set_value(self._key, self, context)
            self._together.append(self)
            self.begin()
            for method, args, kwargs in early:
                _setter(method)(self, *args, **kwargs)
            super().resume()

    def end(self, error: BaseException | None = None, *, at: int | None = None, outcome: str | None = None) -> None:
        """End the span once."""
        super().end(error, at=at, outcome=outcome)
        if self in self._together:
            self._together.remove(self)

    @property
    def trace_id(self) -> str:
        """Id of the trace in PandaProbe (UUID text); all zeros before the block is entered or if it is not traced."""
        return trace_uuid(self.otel_span.get_span_context().trace_id)

    @property
    def span_id(self) -> str:
        """Id of this span in PandaProbe (UUID text); all zeros before the block is entered or if it is not traced."""
        context = self.otel_span.get_span_context()
        return span_uuid(context.trace_id, context.span_id)

    @_setter
    def set_input(self, input: Any) -> None:
        """Set the input; for an LLM span, the messages."""
        self.write(names.INPUT, encode(input))

    @_setter
    def set_output(self, output: Any) -> None:
        """Set the output."""
        self.write(names.OUTPUT, encode(output, vectors=self._plan.kind != "EMBEDDING"))

    @_setter
    def set_model(self, model: str) -> None:
        """Set the name of the called model."""
        self.otel_span.set_attributes({names.MODEL: str(model), names.REQUEST_MODEL: str(model)})

    @_setter
    def set_model_parameters(self, params: Mapping[str, Any]) -> None:
        """Set the parameters of the model call, such as temperature."""
        self.otel_span.set_attribute(names.MODEL_PARAMETERS, encode(params))

    @_setter
    def set_token_usage(self, *, prompt_tokens: int = 0, completion_tokens: int = 0, **extra: int) -> None:
        """Set the tokens that the model call used.

        Further counts are `total_tokens`, `cache_read_tokens`, `cache_creation_tokens`, `reasoning_tokens`,
        `audio_tokens`, `accepted_prediction_tokens` and `rejected_prediction_tokens`. The providers' names for them
        work too. Other names and invalid counts are kept in the span's metadata, with a warning.
        """
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, **extra}
        self.otel_span.set_attribute(names.TOKEN_USAGE, encode(usage))
        if odd := _odd_counts(usage):
            self.add_metadata({"token_usage": odd})
        if self._plan.kind in ("LLM", "EMBEDDING"):  # an agent's sums would be counted a second time elsewhere
            self.otel_span.set_attribute(names.USAGE_INPUT_TOKENS, prompt_tokens)
            self.otel_span.set_attribute(names.USAGE_OUTPUT_TOKENS, completion_tokens)

    @_setter
    def set_cost(self, *, total: float, **extra: float) -> None:
        """Set the cost of the call, in US dollars."""
        self.otel_span.set_attribute(names.COST, encode({"total": total, **extra}))

    @_setter
    def set_completion_start_time(self, ts: datetime | None = None) -> None:
        """Set the time at which the first token arrived; None means now. A time without a zone is local time."""
        self.otel_span.set_attribute(names.COMPLETION_START_TIME, time_ns() if ts is None else _nanoseconds(ts))

    @_setter
    def set_error(self, error: str | BaseException) -> None:
        """Mark the span as failed, with a text or a caught exception."""
        if isinstance(error, BaseException):
            record_exception(self.otel_span, error)
        else:
            self.otel_span.set_attribute(names.ERROR, str(error))
            self.otel_span.set_status(StatusCode.ERROR, str(error))

    @_setter
    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata of the span; if it is the root of its trace, also to the trace's metadata."""
        self.add_metadata(metadata)
        if self.is_root:
            self.add_trace_metadata(metadata)


class TraceHandle(SpanHandle):
    """Root span of a trace as a block, with a method that makes its spans.

    Inside an active trace it is a child span with the same `trace_id`, because a second trace would cost quota. Under
    a span of another library, such as a web request, it gives the trace its name, input and output.
    """

    def span(
        self,
        name: str,
        *,
        kind: str = "OTHER",
        model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> SpanHandle:
        """Return a span of this trace, to be entered with `with`.

        Its parent is the current span; in a thread without the context of this trace, it is the trace's own span.
        """
        return SpanHandle(SpanPlan(name=name, kind=kind_of(kind), model=model, metadata=metadata), home=self.context)

    @_setter
    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata of the trace."""
        self.add_trace_metadata(metadata)

    @_setter
    def set_status(self, status: TraceStatus | str) -> None:
        """Set the status of the trace: PENDING, RUNNING, COMPLETED or ERROR."""
        value = TraceStatus(status)
        self.otel_span.set_attribute(names.TRACE_STATUS, value.value)
        if value is TraceStatus.ERROR:
            self.otel_span.set_status(StatusCode.ERROR)


def _trace_id(context: Context) -> int:
    return get_current_span(context).get_span_context().trace_id


def _nanoseconds(moment: datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.astimezone()
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _odd_counts(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Return invalid counts and counts with unknown names, with a warning."""
    odd: dict[str, Any] = {}
    for name, value in usage.items():
        is_known = name in KNOWN_COUNTS or name in BAG_NAMES
        if is_known and type(value) is int and 0 <= value < 2**31:
            continue
        if value is None or (name in DETAIL_BAGS and isinstance(value, Mapping)):  # as in a provider's usage object
            continue
        odd[name] = value
        why = "a whole number from 0 to 2147483647" if is_known else f"one of {', '.join(KNOWN_COUNTS)}"
        mistake(
            f"set_token_usage: {name} is not {why}; it is kept in the span's metadata, under token_usage, and not "
            "counted."
        )
    return odd
