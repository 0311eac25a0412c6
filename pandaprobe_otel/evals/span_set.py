"""Assertions about spans, and bounds on their use. They cost nothing, and their messages show the agent's actions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast, overload

from pandaprobe_otel.mapping.outcomes import UNFINISHED
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord
from pandaprobe_otel.traces.text import call_text, shortened, tree_text, value_text


class SpanSet(Sequence[SpanRecord]):
    """Spans of a test, ordered by start, with assertions.

    Filters (`tool`, `llm`, `named`, ...) return a smaller set. Assertions return the same set, so that they can be
    chained: `spans.tool("lookup").called(times=1).before("refund")`. Assertions raise AssertionError.
    """

    def __init__(self, spans: Sequence[SpanRecord], traces: Sequence[TraceRecord], label: str = "span") -> None:
        self._spans = tuple(sorted(spans, key=lambda span: span.started))
        self._traces = traces
        self._label = label

    @classmethod
    def of(cls, traces: Sequence[TraceRecord]) -> SpanSet:
        """Return all spans of these traces."""
        return cls([span for trace in traces for span in trace.spans], traces)

    # -- narrowing ----------------------------------------------------------------------------------------------------

    def tool(self, name: str | None = None) -> SpanSet:
        """Return the calls of a tool, or of all tools."""
        return self._of_kind("TOOL", name)

    def llm(self, model: str | None = None) -> SpanSet:
        """Return the calls of any model, or of models whose names start with `model`."""
        calls = self._of_kind("LLM", None)
        if model is None:
            return calls
        return calls._narrowed(lambda span: (span.model or "").startswith(model), f"call of model {model!r}")

    def agent(self, name: str | None = None) -> SpanSet:
        """Return the runs of an agent, or of all agents."""
        return self._of_kind("AGENT", name)

    def retriever(self, name: str | None = None) -> SpanSet:
        """Return the retrievals."""
        return self._of_kind("RETRIEVER", name)

    def named(self, name: str) -> SpanSet:
        """Return the spans with this name, of any kind."""
        return self._narrowed(lambda span: span.name == name, f"span {name!r}")

    def where(self, predicate: Callable[[SpanRecord], bool]) -> SpanSet:
        """Return the spans for which a function returns True."""
        return self._narrowed(predicate, f"{self._label} that fits")

    @property
    def errors(self) -> SpanSet:
        """Spans that failed, were cancelled, timed out, or were abandoned."""
        return self._narrowed(
            lambda span: span.error is not None or span.outcome in UNFINISHED, f"failed or unfinished {self._label}"
        )

    @property
    def names(self) -> list[str]:
        """Names of the spans, ordered by start."""
        return [span.name for span in self._spans]

    # -- assertions ---------------------------------------------------------------------------------------------------

    def called(self, times: int | None = None, *, at_least: int | None = None, at_most: int | None = None) -> SpanSet:
        """Assert the number of calls; without an argument, at least one."""
        __tracebackhide__ = True
        if times is not None:
            at_least = at_most = times
        elif at_least is None and at_most is None:
            at_least = 1
        count = len(self._spans)
        if (at_least is not None and count < at_least) or (at_most is not None and count > at_most):
            self._fail(f"expected {self._label} {_range(at_least, at_most)}, found {count or 'none'}")
        return self

    def not_called(self) -> SpanSet:
        """Assert that there is no call."""
        __tracebackhide__ = True
        return self.called(times=0)

    def with_args(self, /, **arguments: Any) -> SpanSet:
        """Assert that a call has these arguments, among others; return the calls that have them.

        A value is compared with `==`. A compiled pattern must be found in the argument's text, and a function must
        return True for it.
        """
        __tracebackhide__ = True
        found = [span for span in self._spans if matches(span, arguments)]
        wanted = ", ".join(f"{name}={_wanted_text(value)}" for name, value in arguments.items())
        if not found:
            self._fail(f"expected {self._label} with {wanted}")
        return SpanSet(found, self._traces, f"{self._label} with {wanted}")

    def before(self, other: str | SpanSet) -> SpanSet:
        """Assert that the first span of this set ended before the first span of another set started.

        other: a set, or the name of spans. Both sets must have a span.
        """
        __tracebackhide__ = True
        others = self._other(other)
        if self._first.ended > others._first.started:
            self._fail(f"expected {self._label} before {others._label}")
        return self

    def after(self, other: str | SpanSet) -> SpanSet:
        """Assert that the first span of this set started after the first span of another set ended; see `before`."""
        __tracebackhide__ = True
        others = self._other(other)
        if self._first.started < others._first.ended:
            self._fail(f"expected {self._label} after {others._label}")
        return self

    @property
    def _first(self) -> SpanRecord:
        __tracebackhide__ = True
        self.called()
        return self._spans[0]

    def in_order(self, *names: str) -> SpanSet:
        """Assert that these names occur in this order; other names may come between them."""
        __tracebackhide__ = True
        left = iter(self.names)
        if not all(name in left for name in names):
            self._fail(f"expected the order {' → '.join(names)}, found {' → '.join(self.names) or 'nothing'}")
        return self

    def succeeded(self) -> SpanSet:
        """Assert that there is at least one span, and that each succeeded: no failure, cancellation, timeout or
        interruption.
        """
        __tracebackhide__ = True
        self.called()
        if failed := [span for span in self._spans if span.error is not None or span.outcome is not None]:
            reasons = "; ".join(f"{call_text(span)}: {shortened(str(span.error or span.outcome))}" for span in failed)
            self._fail(f"expected no {self._label} to fail, but {len(failed)} did ({reasons})")
        return self

    # -- a sequence ---------------------------------------------------------------------------------------------------

    @overload
    def __getitem__(self, index: int) -> SpanRecord: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[SpanRecord, ...]: ...
    def __getitem__(self, index: int | slice) -> SpanRecord | tuple[SpanRecord, ...]:
        return self._spans[index]

    def __len__(self) -> int:
        return len(self._spans)

    def __iter__(self) -> Iterator[SpanRecord]:
        return iter(self._spans)

    def __repr__(self) -> str:
        return f"<{len(self._spans)} × {self._label}: {', '.join(call_text(span) for span in self._spans)}>"

    def _of_kind(self, kind: str, name: str | None) -> SpanSet:
        label = kind.lower() if kind != "LLM" else "model call"
        return self._narrowed(
            lambda span: span.kind == kind and (name is None or span.name == name),
            label if name is None else f"{label} {name!r}",
        )

    def _narrowed(self, keep: Callable[[SpanRecord], bool], label: str) -> SpanSet:
        return SpanSet([span for span in self._spans if keep(span)], self._traces, label)

    def _other(self, other: str | SpanSet) -> SpanSet:
        return SpanSet.of(self._traces).named(other) if isinstance(other, str) else other

    def _fail(self, message: str) -> None:
        __tracebackhide__ = True
        raise AssertionError(f"{message}\n\n{tree_text(self._traces)}")


def matches(span: SpanRecord, wanted: Mapping[str, Any]) -> bool:
    """Return whether a call has these arguments: equal to a value, matching a pattern, or accepted by a function."""
    return all(name in span.arguments and _fits(span.arguments[name], value) for name, value in wanted.items())


def _fits(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, re.Pattern):
        return cast("re.Pattern[str]", wanted).search(str(value)) is not None
    if callable(wanted) and not isinstance(wanted, type):
        return bool(wanted(value))
    return bool(value == wanted)


def _wanted_text(value: Any) -> str:
    if isinstance(value, re.Pattern):
        return f"/{cast('re.Pattern[str]', value).pattern}/"
    return getattr(value, "__name__", None) or value_text(value)


def _range(at_least: int | None, at_most: int | None) -> str:
    if at_least == at_most:
        return "never" if at_least == 0 else "once" if at_least == 1 else f"{at_least} times"
    if at_most is None:
        return "at least once" if at_least == 1 else f"at least {at_least} times"
    if at_least is None:
        return f"at most {at_most} times"
    return f"{at_least} to {at_most} times"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Bounds of traces together: tokens, US dollars, seconds, model calls. None: no bound."""

    tokens: int | None = None
    cost: float | None = None
    seconds: float | None = None
    llm_calls: int | None = None

    def over(self, traces: Sequence[TraceRecord]) -> list[str]:
        """Return the exceeded bounds, one per line.

        If no model call states its use, a bound on tokens or cost cannot be checked; the result then has a line about
        this.
        """
        calls, spans = SpanSet.of(traces).llm(), [span for trace in traces for span in trace.spans]
        used: dict[str, list[float]] = {
            "tokens": [span.tokens for span in spans if span.tokens is not None],
            "cost": [span.cost for span in spans if span.cost is not None],
            "seconds": [trace.seconds for trace in traces],
            "llm_calls": [len(calls)],
        }
        found: list[str] = []
        for name, bound in asdict(self).items():
            what, amount = name.replace("llm", "model").replace("_", " "), sum(used[name])
            if bound is not None and calls and not used[name]:
                found.append(f"{what}: no model call states its use, so the bound of {bound:g} cannot be checked")
            elif bound is not None and amount > bound:
                found.append(f"{what}: {amount:g}, at most {bound:g} allowed")
        return found
