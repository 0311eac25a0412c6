"""Objects that `with span(...) as s` and `with start_trace(...) as t` return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, Self

from opentelemetry.context import Context, set_value
from opentelemetry.trace import StatusCode
from opentelemetry.util.types import AttributeValue

from pandaprobe_otel.capture.content import encode, record_exception
from pandaprobe_otel.capture.open_span import OpenSpan, SpanPlan, kind_of
from pandaprobe_otel.capture.trace_context import first_items
from pandaprobe_otel.capture.wrapping import Block
from pandaprobe_otel.enums import TraceStatus
from pandaprobe_otel.mapping import attributes as names
from pandaprobe_otel.mapping.ids import span_uuid, trace_uuid
from pandaprobe_otel.mapping.usage import BAG_NAMES
from pandaprobe_otel.process.guard import failed, mistake, unless_used

if TYPE_CHECKING:  # for type checkers only, because both take long to load
    from datetime import datetime

    from pandaprobe_otel.enums import TraceStatus

_NO_ID: Final = "00000000-0000-0000-0000-000000000000"
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
_DETAILS: Final = (
    "input_token_details",
    "output_token_details",
    "prompt_tokens_details",
    "input_tokens_details",
    "completion_tokens_details",
    "output_tokens_details",
)


class SpanHandle(Block["SpanHandle", Any]):
    """A span as a `with` or `async with` block.

    No method raises. Values are encoded when they are set, so later changes of an object do not show; values that are
    set before the block is entered are encoded when it is entered. Nothing is encoded while spans go nowhere.
    """

    def __init__(self, plan: SpanPlan, *, home: Context | None = None, key: str | None = None) -> None:
        self._entered = False
        self._plan = plan
        self._home = home
        self._key = key
        self._opened: OpenSpan | None = None
        self._early: list[tuple[str, Callable[[OpenSpan], None]]] = []
        # A block with a key enters its handle at once.
        self._unused: object = None if key else unless_used(self, lambda: f"the span {plan.name!r}")

    if TYPE_CHECKING:

        def __enter__(self) -> Self: ...
        async def __aenter__(self) -> Self: ...

    def _new_entry(self) -> SpanHandle:
        return self

    def _innermost(self) -> SpanHandle:
        return self

    def _enter(self, entry: SpanHandle) -> Any:
        if self._entered:
            return self
        self._entered = True
        self._unused = None
        opened = self._opened = self._plan.open(home=self._home)
        if opened is not None:
            opened.begin()
            if self._key is not None:
                opened.context = set_value(self._key, self, opened.context)
            for what, write in self._early:
                self._do(what, write)
            opened.resume()
        self._early.clear()
        return self

    def _leave(self, entry: SpanHandle, error: BaseException | None) -> None:
        if self._opened is not None:
            self._opened.pause()
            self._opened.end(error)

    def _undo(self, entry: SpanHandle) -> None:
        self.interrupted()

    def interrupted(self) -> None:
        """Undo a block that was interrupted while it was entered or left."""
        if self._opened is not None:
            self._opened.interrupted()

    @property
    def trace_id(self) -> str:
        """Id of the trace in PandaProbe (UUID text); all zeros before the block is entered or if it is not traced."""
        return _NO_ID if self._opened is None else trace_uuid(self._opened.span.get_span_context().trace_id)

    @property
    def span_id(self) -> str:
        """Id of this span in PandaProbe (UUID text); all zeros before the block is entered or if it is not traced."""
        if self._opened is None:
            return _NO_ID
        context = self._opened.span.get_span_context()
        return span_uuid(context.trace_id, context.span_id)

    def set_input(self, input: Any) -> None:
        """Set the input; for an LLM span, the messages."""
        self._do("set_input", lambda opened: opened.write(names.INPUT, encode(input)))

    def set_output(self, output: Any) -> None:
        """Set the output."""
        vectors = self._plan.kind != "EMBEDDING"  # not `self`: a handle that is never entered must be noticed
        self._do("set_output", lambda opened: opened.write(names.OUTPUT, encode(output, vectors=vectors)))

    def set_model(self, model: str) -> None:
        """Set the name of the called model."""
        self._set("set_model", lambda: {names.MODEL: str(model), names.REQUEST_MODEL: str(model)})

    def set_model_parameters(self, params: Mapping[str, Any]) -> None:
        """Set the parameters of the model call, such as temperature."""
        self._set("set_model_parameters", lambda: {names.MODEL_PARAMETERS: encode(params)})

    def set_token_usage(self, *, prompt_tokens: int = 0, completion_tokens: int = 0, **extra: int) -> None:
        """Set the tokens that the model call used.

        Further counts are `total_tokens`, `cache_read_tokens`, `cache_creation_tokens`, `reasoning_tokens`,
        `audio_tokens`, `accepted_prediction_tokens` and `rejected_prediction_tokens`. The providers' names for them
        work too. Other names and invalid counts are kept in the span's metadata, with a warning.
        """
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, **extra}
        self._set("set_token_usage", lambda: {names.TOKEN_USAGE: encode(usage)})
        if (odd := _odd_counts(usage)) is not None:
            self._do("set_token_usage", lambda opened: opened.add_metadata({"token_usage": odd}))
        if self._plan.kind in ("LLM", "EMBEDDING"):  # an agent's sums would be counted a second time elsewhere
            counts = {names.USAGE_INPUT_TOKENS: prompt_tokens, names.USAGE_OUTPUT_TOKENS: completion_tokens}
            self._set("set_token_usage", lambda: counts)

    def set_cost(self, *, total: float, **extra: float) -> None:
        """Set the cost of the call, in US dollars."""
        self._set("set_cost", lambda: {names.COST: encode({"total": total, **extra})})

    def set_completion_start_time(self, ts: datetime | None = None) -> None:
        """Set the time at which the first token arrived; None means now. A time without a zone is local time."""
        now = time_ns()
        self._set(
            "set_completion_start_time",
            lambda: {names.COMPLETION_START_TIME: now if ts is None else _nanoseconds(ts)},
        )

    def set_error(self, error: str | BaseException) -> None:
        """Mark the span as failed, with a text or a caught exception."""
        if isinstance(error, BaseException):
            self._do("set_error", lambda opened: record_exception(opened.span, error))
        else:
            self._set("set_error", lambda: {names.ERROR: str(error)})
            self._do("set_error", lambda opened: opened.span.set_status(StatusCode.ERROR, str(error)))

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata of the span; if it is the root of its trace, also to the trace's metadata."""

        def write(opened: OpenSpan) -> None:
            opened.add_metadata(metadata)
            if opened.is_root:
                opened.add_trace_metadata(metadata)

        self._do("set_metadata", write)

    def _set(self, what: str, attributes: Callable[[], Mapping[str, AttributeValue]]) -> None:
        self._do(what, lambda opened: opened.span.set_attributes(attributes()))

    def _do(self, what: str, write: Callable[[OpenSpan], None]) -> None:
        if not self._entered:
            self._early.append((what, write))
            return
        try:
            if self._opened is not None and self._opened.span.is_recording():
                write(self._opened)
        except Exception as error:  # noqa: BLE001 - arguments of any sort arrive here; counted and logged
            failed(what, error)


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
        plan = SpanPlan(name, kind=kind_of(kind), model=model, metadata=first_items(metadata))
        return SpanHandle(plan, home=None if self._opened is None else self._opened.context)

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata of the trace."""
        self._do("set_metadata", lambda opened: opened.add_trace_metadata(metadata))

    def set_status(self, status: TraceStatus | str) -> None:
        """Set the status of the trace: PENDING, RUNNING, COMPLETED or ERROR."""

        def write(opened: OpenSpan) -> None:
            value = TraceStatus(status)
            opened.span.set_attribute(names.TRACE_STATUS, value.value)
            if value is TraceStatus.ERROR:
                opened.span.set_status(StatusCode.ERROR)

        self._do("set_status", write)


def _nanoseconds(moment: datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.astimezone()
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000


def _odd_counts(usage: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return invalid counts and counts with unknown names, with a warning; None if there are none."""
    odd: dict[str, Any] | None = None
    for name, value in usage.items():
        is_known = name in KNOWN_COUNTS or name in BAG_NAMES
        if is_known and type(value) is int and 0 <= value < 2**31:
            continue
        if value is None or (name in _DETAILS and isinstance(value, Mapping)):  # as in a provider's usage object
            continue
        odd = odd or {}
        odd[name] = value
        if not is_known:
            why = f"{name} is not one of {', '.join(KNOWN_COUNTS)}"
        else:
            why = f"{name} is not a whole number from 0 to 2147483647"
        mistake(f"set_token_usage: {why}; it is kept in the span's metadata, under token_usage, and not counted.")
    return odd
