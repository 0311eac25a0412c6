"""Spans of any emitter whose exception means neither success nor failure, such as an interrupt."""

from __future__ import annotations

from typing import Any

import pytest

from pandaprobe_otel.mapping import EventView, SpanView
from views import mapped, only_span, view


def _raised(kind: str, *, status: str = "ERROR", **more: Any) -> SpanView:
    told = {"exception.type": kind, "exception.message": "(Interrupt(value='Really?'),)", "exception.stacktrace": "x"}
    events = (EventView(name="exception", time_ns=1_000, attributes=told),)
    return view("node", {"openinference.span.kind": "CHAIN"}, status_code=status, events=events, **more)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("langgraph.errors.GraphInterrupt", "interrupted"),
        ("GraphInterrupt", "interrupted"),
        ("langgraph.errors.NodeInterrupt", "interrupted"),
        ("pydantic_ai.exceptions.ApprovalRequired", "interrupted"),
        ("strands.interrupt.InterruptException", "interrupted"),
        ("CancelledError", "cancelled"),
        ("asyncio.exceptions.CancelledError", "cancelled"),
        ("trio.Cancelled", "cancelled"),
    ],
)
def test_exceptions_that_are_no_failures(kind: str, outcome: str) -> None:
    """For such an exception, span and trace have an outcome instead of an error, and the exception's type is kept."""
    body = mapped(_raised(kind))
    span = only_span(body)
    assert (span["status"], "error" in span) == ("UNSET", False)
    assert span["metadata"]["outcome"] == body["metadata"]["outcome"] == outcome
    assert span["metadata"]["exception_type"] == kind
    assert body["status"] == ("ERROR" if outcome == "cancelled" else "COMPLETED")


@pytest.mark.parametrize(
    "kind", ["ValueError", "shop.errors.ApprovalRequired", "shop.Cancelled", "TimeoutError", "", " "]
)
def test_other_exceptions_are_failures(kind: str) -> None:
    """An exception of the app with a similar name is a failure."""
    body = mapped(_raised(kind))
    assert (body["status"], only_span(body)["status"]) == ("ERROR", "ERROR")
    assert "outcome" not in body["metadata"]


def test_steering_is_no_failure() -> None:
    """A LangGraph node that directs its parent with an exception has succeeded."""
    span = only_span(mapped(_raised("langgraph.errors.ParentCommand")))
    assert (span["status"], "error" in span, "outcome" in span["metadata"]) == ("OK", False, False)


def test_interrupt_that_is_told_as_success() -> None:
    """An interrupt recorded on a successful span still counts; other exceptions on a successful span were handled."""
    assert only_span(mapped(_raised("langgraph.errors.GraphInterrupt", status="OK")))["metadata"]["outcome"] == (
        "interrupted"
    )
    for handled in ("asyncio.exceptions.CancelledError", "ValueError"):
        assert only_span(mapped(_raised(handled, status="OK")))["status"] == "OK"


def test_error_type_alone_tells() -> None:
    """Without an exception event, the attribute `error.type` may name the class."""
    body = mapped(view("chat", {"gen_ai.operation.name": "chat", "error.type": "CancelledError"}))
    assert (only_span(body)["status"], body["metadata"]["outcome"]) == ("UNSET", "cancelled")


def test_error_that_the_app_has_set_counts() -> None:
    """An error that the app sets by hand stays an error."""
    failed = view("chat", {"pandaprobe.error": "no", "error.type": "CancelledError"})
    assert only_span(mapped(failed))["error"] == "no"


@pytest.mark.parametrize(("is_resumed", "outcome"), [(False, "interrupted"), (True, None)])
def test_trace_of_a_graph_that_waits(is_resumed: bool, outcome: str | None) -> None:
    """A successful root has the outcome "interrupted" if the span started last below it has this outcome."""
    root = view("graph", {"openinference.span.kind": "CHAIN"}, lasts=9.0)
    asks = _raised("langgraph.errors.GraphInterrupt", span_id=2, parent=1, at=1.0)
    goes_on = view("node", {"openinference.span.kind": "CHAIN"}, span_id=3, parent=1, at=4.0)
    body = mapped(root, asks, *([goes_on] if is_resumed else []))
    assert (body["status"], body["metadata"].get("outcome")) == ("COMPLETED", outcome)
