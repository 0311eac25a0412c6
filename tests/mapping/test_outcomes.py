"""Spans of any emitter whose exception means neither success nor failure, such as an interrupt."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from pandaprobe_otel.mapping import EventView, SpanView
from views import mapped, mapped_span, only_span, view


def _raised(kind: str, *, status: str = "ERROR", **more: Any) -> SpanView:
    told = {"exception.type": kind, "exception.message": "(Interrupt(value='Really?'),)", "exception.stacktrace": "x"}
    events = (EventView(name="exception", time_ns=1_000, attributes=told),)
    return view("node", {"openinference.span.kind": "CHAIN"}, status_code=status, events=events, **more)


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        ("langgraph.errors.GraphInterrupt", "interrupted"),
        ("pydantic_ai.exceptions.ApprovalRequired", "interrupted"),
        ("strands.interrupt.InterruptException", "interrupted"),
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


def test_exceptions_on_a_successful_span() -> None:
    """An interrupt recorded on a successful span still counts; other exceptions on it were handled."""
    interrupted = only_span(mapped(_raised("langgraph.errors.GraphInterrupt", status="OK")))
    assert interrupted["metadata"]["outcome"] == "interrupted"
    for handled in ("asyncio.exceptions.CancelledError", "ValueError"):
        assert only_span(mapped(_raised(handled, status="OK")))["status"] == "OK"
    steering = only_span(mapped(_raised("langgraph.errors.ParentCommand")))
    assert (steering["status"], "error" in steering, "outcome" in steering["metadata"]) == ("OK", False, False)


def test_the_class_of_an_error_without_an_event() -> None:
    """Without an exception event, `error.type` may name the class; an error that the app sets stays an error."""
    cancelled = {"gen_ai.operation.name": "chat", "error.type": "CancelledError"}
    body = mapped(view("chat", cancelled))
    assert (only_span(body)["status"], body["metadata"]["outcome"]) == ("UNSET", "cancelled")
    assert mapped_span("chat", {**cancelled, "pandaprobe.error": "no"})["error"] == "no"


@pytest.mark.parametrize(("is_resumed", "outcome"), [(False, "interrupted"), (True, None)])
def test_trace_of_a_graph_that_waits(is_resumed: bool, outcome: str | None) -> None:
    """A successful root has the outcome "interrupted" if the span started last below it has this outcome."""
    root = view("graph", {"openinference.span.kind": "CHAIN"}, lasts=9.0)
    asks = _raised("langgraph.errors.GraphInterrupt", span_id=2, parent=1, at=1.0)
    goes_on = view("node", {"openinference.span.kind": "CHAIN"}, span_id=3, parent=1, at=4.0)
    body = mapped(root, asks, *([goes_on] if is_resumed else []))
    assert (body["status"], body["metadata"].get("outcome")) == ("COMPLETED", outcome)


def _streamed(scope: str, status: str = "UNSET", **attributes: Any) -> SpanView:
    """Return a model call of this instrumentation; `__` stands for a dot in the names of attributes."""
    told = {name.replace("__", "."): value for name, value in attributes.items()}
    return view("chat m", {"gen_ai.request.model": "m", **told}, scope_name=scope, status_code=status)


OTEL, LLMETRY = "opentelemetry.instrumentation.genai.openai", "opentelemetry.instrumentation.openai.v1"
OPENINFERENCE = "openinference.instrumentation.openai"
ANTHROPIC = "com.anthropic.sdk.python"
CALL: dict[str, Any] = {"gen_ai__operation__name": "chat", "gen_ai__request__stream": True}
STREAM = '{"model": "m", "stream": true}'
FINISHED: dict[str, Any] = {"gen_ai__response__finish_reasons": ["stop"]}


@pytest.mark.parametrize(
    ("span", "is_left"),
    [
        (_streamed(OTEL, **CALL), True),
        (_streamed(OTEL, **CALL, gen_ai__response__finish_reasons=["error"]), True),
        (_streamed(OTEL, **CALL, **FINISHED), False),
        (_streamed(OTEL, gen_ai__operation__name="chat"), False),  # not streamed
        (_streamed(OTEL, **CALL, gen_ai__output__messages='[{"role": "assistant", "finish_reason": "stop", '
                   '"parts": [{"type": "text", "content": "Hi"}]}]'), False),
        (_streamed(LLMETRY, "OK", gen_ai__is_streaming=True, gen_ai__operation__name="chat"), True),
        (_streamed("opentelemetry.instrumentation.groq", gen_ai__is_streaming=True, llm__request__type="chat"), False),
        (_streamed(OPENINFERENCE, openinference__span__kind="LLM", llm__invocation_parameters=STREAM), True),
        (_streamed(OPENINFERENCE, "OK", openinference__span__kind="LLM", llm__invocation_parameters=STREAM), False),
        (_streamed(OPENINFERENCE, openinference__span__kind="CHAIN"), False),
        (_streamed("openinference.instrumentation.dspy", openinference__span__kind="LLM",
                   llm__invocation_parameters=STREAM), False),
        (_streamed(ANTHROPIC, **CALL), True),
        (_streamed(ANTHROPIC, **CALL, anthropic__message__stop_reason="end_turn"), False),
        (_streamed("my.app", **CALL), False),
    ],
)  # fmt: skip
def test_a_stream_that_its_reader_left(span: SpanView, is_left: bool) -> None:
    """A left stream is UNSET and partial: its finish reason is "error", or missing where it is always recorded."""
    body = mapped(span)
    found = only_span(body)
    assert (found["status"], found["metadata"].get("outcome")) == (("UNSET", "partial") if is_left else ("OK", None))
    assert (body["status"], body["metadata"].get("outcome")) == ("COMPLETED", "partial" if is_left else None)


def test_an_abandoned_stream_is_no_error() -> None:
    """A stream that was collected as garbage, which OpenTelemetry's utilities end as an error, is partial."""
    told = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "error.type": "_OTHER"}
    left = view("chat m", told, scope_name=OTEL, status_code="ERROR", status_description="abandoned stream")
    found = only_span(mapped(left))
    assert (found["status"], found["metadata"]["outcome"], "error" in found) == ("UNSET", "partial", False)


def test_the_finish_reason_of_a_choice_event_is_kept() -> None:
    """The finish reason in `gen_ai.choice`, which nothing else records by default, is the span's."""
    choice = EventView("gen_ai.choice", 1, {}, {"index": 0, "finish_reason": "error", "message": {"role": "assistant"}})
    span = _streamed("opentelemetry.instrumentation.openai_v2", gen_ai__operation__name="chat")
    found = only_span(mapped(dataclasses.replace(span, events=(choice,))))
    assert found["metadata"]["finish_reasons"] == ["error"]


def _agent(parent: int = 1, status_code: str = "ERROR") -> SpanView:
    return view("agent", {"openinference.span.kind": "AGENT"}, span_id=2, parent=parent, status_code=status_code)


@pytest.mark.parametrize(
    ("spans", "status"),
    [
        ([_agent()], "ERROR"),
        ([view("task", {"openinference.span.kind": "CHAIN"}, span_id=3, parent=1), _agent(parent=3)], "ERROR"),
        ([_agent(status_code="OK")], "COMPLETED"),
        ([_agent(), view("retry", {"openinference.span.kind": "AGENT"}, span_id=3, parent=1, at=1.5)], "COMPLETED"),
        ([view("step", {"openinference.span.kind": "CHAIN", "output.value": "Sorry"}, span_id=3, parent=1),
          _agent(parent=3)], "COMPLETED"),
        ([view("tool", {"openinference.span.kind": "TOOL"}, span_id=2, parent=1, status_code="ERROR")], "COMPLETED"),
    ],
    ids=["agent", "below a step", "succeeded", "tried again", "handled above", "only a tool"],
)  # fmt: skip
@pytest.mark.parametrize("output", [None, "Done"])
def test_a_run_that_ended_with_a_failed_agent(spans: list[SpanView], status: str, output: str | None) -> None:
    """A run whose agent failed last is an ERROR, although its root says OK; not if the root has an output."""
    told = {"openinference.span.kind": "AGENT", **({} if output is None else {"output.value": output})}
    root = view("Agent workflow", told, lasts=5, status_code="OK")
    assert mapped(root, *spans)["status"] == (status if output is None else "COMPLETED")
