"""Objects that `with span(...) as s` and `with start_trace(...) as t` return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from time import time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from opentelemetry.context import Context, set_value
from opentelemetry.trace import StatusCode

from pandaprobe_otel.capture.content import encode, encode_result
from pandaprobe_otel.capture.recorded_exceptions import record_exception
from pandaprobe_otel.capture.span_lifetime import Activity, start
from pandaprobe_otel.capture.span_plan import SpanPlan, kind_of
from pandaprobe_otel.capture.token_counts import odd_counts
from pandaprobe_otel.capture.trace_context import first_items, metadata_in
from pandaprobe_otel.enums import TraceStatus
from pandaprobe_otel.mapping import attributes as names
from pandaprobe_otel.mapping.ids import span_uuid, trace_uuid
from pandaprobe_otel.process.guard import failed, unless_used

if TYPE_CHECKING:  # for type checkers only, because both take long to load
    from datetime import datetime

    from pandaprobe_otel.enums import TraceStatus

_NO_ID: Final = "00000000-0000-0000-0000-000000000000"


class SpanHandle:
    """A span as a `with` or `async with` block.

    No method raises. Values are encoded when they are set, so later changes of an object do not show; values that are
    set before the block is entered are encoded when it is entered. Nothing is encoded while spans go nowhere.
    """

    def __init__(self, plan: SpanPlan, *, home: Context | None = None, key: str | None = None) -> None:
        self._entered = False
        self._plan = plan
        self._home = home
        self._key = key
        self._activity: Activity | None = None
        self._early: list[tuple[str, Callable[[Activity], None]]] = []
        self._input: Any = None
        self._output: Any = None
        self._model = plan.model
        self._metadata: dict[str, Any] = first_items(plan.metadata)
        self._trace_metadata: dict[str, Any] = {} if plan.is_trace else dict(self._metadata)
        # A block with a key enters its handle at once.
        self._unused: object = None if key else unless_used(self, lambda: f"the span {plan.name!r}")

    def __enter__(self) -> Self:
        if self._entered:
            return self
        self._entered = True
        self._unused = None
        started = start(self._plan, self._home)
        try:
            if started is not None:
                activity = self._activity = Activity(*started)
                if self._key is not None:
                    activity.context = set_value(self._key, self, activity.context)
                for what, write in self._early:
                    self._do(what, write)
                activity.resume()  # last: before this line, there is nothing to put back
            self._early.clear()
            return self
        except BaseException:
            self.interrupted()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._activity is not None:
                self._activity.pause()
                self._activity.end(error)
        except BaseException:
            self.interrupted()
            raise

    def interrupted(self) -> None:
        """Undo a block that was interrupted while it was entered or left."""
        if self._activity is not None:
            self._activity.interrupted()

    async def __aenter__(self) -> Self:
        try:
            return self.__enter__()
        except BaseException:
            self.interrupted()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.__exit__(kind, error, trace)
        except BaseException:
            self.interrupted()
            raise

    @property
    def trace_id(self) -> str:
        """Id of the trace in PandaProbe (UUID text); all zeros before the block is entered or if it is not traced."""
        return _NO_ID if self._activity is None else trace_uuid(self._activity.span.get_span_context().trace_id)

    @property
    def span_id(self) -> str:
        """Id of this span in PandaProbe (UUID text); all zeros before the block is entered or if it is not traced."""
        if self._activity is None:
            return _NO_ID
        context = self._activity.span.get_span_context()
        return span_uuid(context.trace_id, context.span_id)

    @property
    def input(self) -> Any:
        """Input; assigning it is the same as `set_input`."""
        return self._input

    @input.setter
    def input(self, value: Any) -> None:
        self.set_input(value)

    @property
    def output(self) -> Any:
        """Output; assigning it is the same as `set_output`."""
        return self._output

    @output.setter
    def output(self, value: Any) -> None:
        self.set_output(value)

    @property
    def model(self) -> str | None:
        """Model; assigning it is the same as `set_model`."""
        return self._model

    @model.setter
    def model(self, value: str) -> None:
        self.set_model(value)

    def set_input(self, input: Any) -> None:
        """Set the input; for an LLM span, the messages."""
        self._input = input
        self._do("set_input", lambda activity: activity.write_input(encode(input)))

    def set_output(self, output: Any) -> None:
        """Set the output."""
        self._output = output
        kind = self._plan.kind  # not `self`, which would keep a handle that is never entered from being noticed
        self._do("set_output", lambda activity: activity.write_output(encode_result(output, kind)))

    def set_model(self, model: str) -> None:
        """Set the name of the called model."""
        self._model = model
        self._do("set_model", lambda activity: _write(activity, {names.MODEL: model, names.REQUEST_MODEL: model}))

    def set_model_parameters(self, params: Mapping[str, Any]) -> None:
        """Set the parameters of the model call, such as temperature."""
        self._set_json("set_model_parameters", names.MODEL_PARAMETERS, params)

    def set_token_usage(self, *, prompt_tokens: int = 0, completion_tokens: int = 0, **extra: int) -> None:
        """Set the tokens that the model call used.

        Further counts are `total_tokens`, `cache_read_tokens`, `cache_creation_tokens`, `reasoning_tokens`,
        `audio_tokens`, `accepted_prediction_tokens` and `rejected_prediction_tokens`. The providers' names for them
        work too. Other names and invalid counts are kept in the span's metadata, with a warning.
        """
        usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens, **extra}
        self._set_json("set_token_usage", names.TOKEN_USAGE, usage)
        if (odd := odd_counts(usage)) is not None:
            self._do("set_token_usage", lambda activity: self._add_metadata(activity, {"token_usage": odd}))
        if self._plan.kind in ("LLM", "EMBEDDING"):  # an agent's sums would be counted a second time elsewhere
            counts = {names.USAGE_INPUT_TOKENS: prompt_tokens, names.USAGE_OUTPUT_TOKENS: completion_tokens}
            self._do("set_token_usage", lambda activity: activity.span.set_attributes(counts))

    def set_cost(self, *, total: float, **extra: float) -> None:
        """Set the cost of the call, in US dollars."""
        self._set_json("set_cost", names.COST, {"total": total, **extra})

    def set_completion_start_time(self, ts: datetime | None = None) -> None:
        """Set the time at which the first token arrived; None means now. A time without a zone is local time."""
        now = time_ns()

        def write(activity: Activity) -> None:
            activity.span.set_attribute(names.COMPLETION_START_TIME, now if ts is None else _nanoseconds(ts))

        self._do("set_completion_start_time", write)

    def set_error(self, error: str | BaseException) -> None:
        """Mark the span as failed, with a text or a caught exception."""
        if isinstance(error, BaseException):
            self._do("set_error", lambda activity: record_exception(activity.span, error))
            return

        def write(activity: Activity) -> None:
            _write(activity, {names.ERROR: error})
            activity.span.set_status(StatusCode.ERROR, str(error))

        self._do("set_error", write)

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata of the span; if it is the root of its trace, also to the trace's metadata."""

        def write(activity: Activity) -> None:
            self._add_metadata(activity, metadata)
            if activity.is_root:
                self._add_trace_metadata(activity, metadata)

        self._do("set_metadata", write)

    def _add_metadata(self, activity: Activity, metadata: Mapping[str, Any]) -> None:
        self._metadata.update(first_items(metadata))
        activity.span.set_attribute(names.SPAN_METADATA, encode(self._metadata))

    def _add_trace_metadata(self, activity: Activity, metadata: Mapping[str, Any]) -> None:
        self._trace_metadata.update(first_items(metadata))
        whole = {**metadata_in(activity.context), **self._trace_metadata}
        activity.span.set_attribute(names.METADATA, encode(whole))

    def _set_json(self, what: str, name: str, value: object) -> None:
        self._do(what, lambda activity: activity.span.set_attribute(name, encode(value)))

    def _do(self, what: str, write: Callable[[Activity], None]) -> None:
        if not self._entered:
            self._early.append((what, write))
            return
        try:
            if self._activity is not None and self._activity.span.is_recording():
                write(self._activity)
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
        plan = SpanPlan(name, kind=kind_of(kind), model=model, metadata=metadata)
        return SpanHandle(plan, home=None if self._activity is None else self._activity.context)

    def set_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to the metadata of the trace."""

        self._do("set_metadata", lambda activity: self._add_trace_metadata(activity, metadata))

    def set_status(self, status: TraceStatus | str) -> None:
        """Set the status of the trace: PENDING, RUNNING, COMPLETED or ERROR."""

        def write(activity: Activity) -> None:
            value = TraceStatus(status)
            activity.span.set_attribute(names.TRACE_STATUS, value.value)
            if value is TraceStatus.ERROR:
                activity.span.set_status(StatusCode.ERROR)

        self._do("set_status", write)


def _write(activity: Activity, texts: Mapping[str, object]) -> None:
    """Write values as text; for members of an enum, write their values."""
    activity.span.set_attributes({name: str(value) for name, value in texts.items()})


def _nanoseconds(moment: datetime) -> int:
    aware = moment if moment.tzinfo is not None else moment.astimezone()
    return (aware - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1000
