"""The mapping's view of the SDK's objects: finished, open and foreign spans, and log records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs import export as log_export
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.mapping import EventView, LinkView, LogView, SpanView, map_trace, map_views, read_span
from pandaprobe_otel.mapping.span_view import Dropped, plain, plain_attributes, read_log
from spans import SpanMaker

# SDKs before 1.39 use another name
LogExporter: Any = getattr(log_export, "InMemoryLogRecordExporter", None) or vars(log_export)["InMemoryLogExporter"]


class Finish(str, Enum):  # noqa: UP042 - as emitters write it
    STOP = "stop"


def rich_span() -> tuple[ReadableSpan, SpanView]:
    """Return a span with all fields, and its view written by hand."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(
        resource=Resource({"service.name": "svc"}), shutdown_on_exit=False, span_limits=SpanLimits(max_attributes=3)
    )
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    parent = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1))
    span = provider.get_tracer("scope", "1.2").start_span(
        "chat",
        trace.set_span_in_context(NonRecordingSpan(parent)),
        kind=SpanKind.CLIENT,
        links=[Link(SpanContext(5, 6, is_remote=False))],
        start_time=1000,
        attributes={"dropped": True},
    )
    span.set_attribute("a", 1)
    span.set_attribute("list", ["x", "y"])
    span.set_attribute("ratio", float("nan"))
    span.add_event("e", {"k": (1, 2)}, timestamp=1500)
    span.set_status(Status(StatusCode.ERROR, "why"))
    span.end(2000)
    (finished,) = exporter.get_finished_spans()
    view = SpanView(
        "chat",
        7,
        finished.context.span_id,
        8,
        True,
        1000,
        2000,
        "ERROR",
        "why",
        {"a": 1, "list": ["x", "y"], "ratio": None},
        (EventView("e", 1500, {"k": [1, 2]}),),
        (LinkView(5, 6),),
        "scope",
        "1.2",
        finished.resource.attributes,
        "CLIENT",
        Dropped(1),
    )
    return finished, view


class Foreign:
    """A span with the SDK's interface and without its internals."""

    __slots__ = ("_span",)

    def __init__(self, span: ReadableSpan) -> None:
        self._span = span

    def __getattr__(self, name: str) -> Any:
        return getattr(self._span, name)


@pytest.mark.parametrize("foreign", [False, True], ids=["of the SDK", "foreign"])
def test_a_finished_span_is_read_whole(foreign: bool) -> None:
    """Every field is read, from the SDK's internals or from the interface."""
    span, expected = rich_span()
    seen = read_span(Foreign(span) if foreign else span)  # type: ignore[arg-type]
    assert seen == expected
    assert seen.dropped == (1, 0, 0)


def test_an_open_span_is_read_without_an_end() -> None:
    """The view of an open span has no end, and stays the same when the span changes."""
    maker = SpanMaker()
    span = maker.start("run", attributes={"a": "1"})
    seen = read_span(span)
    span.set_attribute("a", "2")
    span.end()
    assert (seen.end_ns, seen.attributes, seen.parent_id) == (None, {"a": "1"}, None)
    assert read_span(span).attributes == {"a": "2"}
    (mapped,) = map_views([seen]).spans
    assert (mapped["status"], "ended_at" in mapped) == ("UNSET", False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (("a", ("b",)), ["a", ["b"]]),
        (Finish.STOP, "stop"),
        ((Finish.STOP,), ["stop"]),
        (b"x", b"x"),
        (bytearray(b"x"), b"x"),
        ({"k": (1, float("inf"))}, {"k": [1, None]}),
        ({1: "x"}, {"1": "x"}),
        (3 + 4j, "(3+4j)"),
        (float("-inf"), None),
    ],
)
def test_attribute_values_become_plain(value: Any, expected: Any) -> None:
    """Values of different emitters and SDK versions are converted to plain types."""
    assert plain(value) == expected
    seen = plain_attributes({"key": value})
    assert seen == {"key": expected}
    assert type(seen["key"]) is type(expected)


class Name(str, Enum):  # noqa: UP042 - as Agent Framework names attributes
    OPERATION = "gen_ai.operation.name"


def test_names_that_are_members_of_an_enum_are_sent_as_text_also_once_the_shape_is_known() -> None:
    """The cached shape of a span has attribute names as text, even if a span's names are members of an enum."""

    class Named(str, Enum):  # noqa: UP042 - as Agent Framework names attributes
        OPERATION = "gen_ai.operation.name"
        OWN = "my.app.own"

    maker = SpanMaker()
    plain_names = {name.value: "chat" for name in Named}
    spans = [maker.end(maker.start("step")) for _ in range(4)]
    for span, attributes in zip(spans, (dict.fromkeys(Named, "chat"), plain_names) * 2, strict=True):
        span._attributes._dict.clear()  # type: ignore[union-attr]
        span._attributes._dict.update(attributes)  # type: ignore[union-attr]
    bodies = [map_trace([span])["spans"][0] for span in spans]

    assert [body["kind"] for body in bodies] == ["LLM"] * 4
    assert [body["metadata"]["attributes"] for body in bodies] == [{"my.app.own": "chat"}] * 4


def test_an_object_that_is_no_span_is_mapped_as_far_as_possible() -> None:
    """An object that is not a span is mapped as far as possible, and the trace is not lost."""
    span, _ = rich_span()
    body = map_trace([span, SimpleNamespace(name="broken")])  # type: ignore[list-item]
    assert {one["name"] for one in body["spans"]} == {"chat", "broken"}


def test_a_span_without_a_name_has_one() -> None:
    """A span whose name is not a text gets a name."""
    maker = SpanMaker()
    body = map_trace([maker.end(maker.start(None)), maker.end(maker.start(7))])  # type: ignore[arg-type]
    assert [span["name"] for span in body["spans"]] == ["span", "7"]


def test_a_span_that_cannot_be_read_keeps_its_name_its_times_and_its_place() -> None:
    """A span with an invalid attribute name keeps name, times and parent, and is marked as unreadable."""
    views = [
        SpanView("run", 1, 2, start_ns=1, end_ns=9, status_code="ERROR", attributes={7: 1}),  # type: ignore[dict-item]
        SpanView("chat", 1, 3, 2, start_ns=2, end_ns=8, attributes={"gen_ai.operation.name": "chat"}),
    ]
    run, chat = map_views(views).spans
    assert (run["name"], run["kind"], run["status"], run["metadata"]) == ("run", "OTHER", "ERROR", {"unreadable": True})
    assert (chat["kind"], chat["parent_span_id"]) == ("LLM", run["span_id"])


def test_a_trace_that_cannot_be_read_keeps_its_tree() -> None:
    """If mapping a trace raises, names, times and the tree are sent, with a note."""

    def records() -> Iterator[LogRecord]:
        raise RuntimeError("closed")
        yield

    views = [
        SpanView("run", 1, 2, start_ns=1, end_ns=9, attributes={"gen_ai.operation.name": "invoke_agent"}),
        SpanView("chat", 1, 3, 2, start_ns=2, end_ns=8),
    ]
    trace = map_views(views, records())
    assert (trace.trace["name"], trace.trace["status"], trace.trace["metadata"]) == (
        "run", "COMPLETED", {"unreadable": True},
    )  # fmt: skip
    assert [(span["name"], span["kind"]) for span in trace.spans] == [("run", "OTHER"), ("chat", "OTHER")]
    assert trace.spans[1]["parent_span_id"] == trace.spans[0]["span_id"]


def test_log_records_of_the_sdk_are_read_with_the_span_they_belong_to() -> None:
    """Log records from a processor, an exporter or the API are read with the ids of their span."""
    exporter = LogExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(log_export.SimpleLogRecordProcessor(exporter))
    span, view = rich_span()
    context = trace.set_span_in_context(NonRecordingSpan(span.context))
    record = LogRecord(
        context=context,
        timestamp=5,
        severity_number=SeverityNumber.INFO,
        event_name="gen_ai.choice",
        body={"message": ({"content": "Hi"},)},
        attributes={"gen_ai.system": "openai"},
    )
    provider.get_logger("scope").emit(record)
    (exported,) = exporter.get_finished_logs()
    expected = LogView(
        7,
        view.span_id,
        EventView("gen_ai.choice", 5, {"gen_ai.system": "openai"}, {"message": [{"content": "Hi"}]}),
    )
    assert read_log(exported) == read_log(record) == read_log(expected) == expected


def test_log_records_without_a_span_are_left_out() -> None:
    """Log records without a span, like most of an app's records, are left out."""
    assert read_log(LogRecord(body="hello", context=trace.set_span_in_context(trace.INVALID_SPAN))) is None
    assert read_log(object()) is None


def test_log_records_are_joined_by_trace_and_span() -> None:
    """A log record belongs to a span only if both trace id and span id are equal."""
    view = SpanView("chat", 1, 2, attributes={"gen_ai.operation.name": "chat"}, end_ns=1)
    mine = LogView(1, 2, EventView("gen_ai.user.message", 1, {}, {"content": "mine"}))
    other = LogView(9, 2, EventView("gen_ai.user.message", 1, {}, {"content": "other"}))
    (span,) = map_views([view], [other, mine, object()]).spans
    assert span["input"] == {"messages": [{"role": "user", "content": "mine"}]}


KNOWN: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.temperature": 0.5,
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.input_tokens": 3,
}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"gen_ai.request.temperature": float("nan")},
        {"gen_ai.request.temperature": 1},
        {"gen_ai.response.finish_reasons": ("stop", Finish.STOP, float("inf"))},
        {"gen_ai.response.finish_reasons": ["stop"]},
        {"gen_ai.response.finish_reasons": {"a": (1,)}},
        {"gen_ai.usage.input_tokens": True},
        {"gen_ai.usage.input_tokens": 1e308, "gen_ai.request.temperature": 1e308},
        {"gen_ai.operation.name": Finish.STOP},
    ],
)
def test_a_span_is_read_the_same_before_and_after_its_shape_is_known(changed: dict[str, Any]) -> None:
    """A span is read the same before and after its shape is cached, whatever its values."""
    attributes = {**KNOWN, **changed}

    def seen() -> tuple[SpanView, list[type]]:
        read = read_span(sdk_span(attributes))
        return read, list(map(type, read.attributes.values()))

    before = seen()
    map_views([before[0], read_span(sdk_span(KNOWN))])
    after = seen()
    assert after == before
    assert after[0].attributes == plain_attributes(attributes)
    assert map_views([after[0]]).encoded() == map_views([before[0]]).encoded()
    assert read_span(sdk_span(KNOWN)).attributes == plain_attributes(KNOWN)


def sdk_span(attributes: dict[str, Any]) -> ReadableSpan:
    """Return a finished span with exactly these attributes, even those that this SDK version would refuse."""
    maker = SpanMaker()
    span = maker.start("call", attributes={"gen_ai.operation.name": "chat"})
    held: Any = span
    held._context = SpanContext(1, 2, is_remote=False)
    held._start_time = 1000
    kept: Any = held._attributes
    kept._dict = dict(attributes)
    span.end(2000)
    return span


@pytest.mark.parametrize("limit", [None, 2, 0])
def test_a_sent_span_is_mapped_like_the_sdks_own(tmp_path: Path, limit: int | None) -> None:
    """The copy that the pipeline keeps of a span has all of its fields, and the SDK's counts of what it dropped."""
    limits = SpanLimits(max_span_attributes=limit, max_events=limit, max_links=limit, max_event_attributes=limit)
    exporter, provider = InMemorySpanExporter(), TracerProvider(span_limits=limits, shutdown_on_exit=False)
    processor = PandaProbeSpanProcessor(local=tmp_path / "traces", spans="all")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.add_span_processor(processor)
    links = [Link(SpanContext(1, 2, is_remote=True), {"why": "because"})] * 5
    attributes = {"a": 1, "b": ("x", "y"), "c": "z"}
    with provider.get_tracer("scope", "1.2").start_as_current_span("full", attributes=attributes, links=links) as span:
        for number in range(4):
            span.add_event("event", {"n": number, "k": 1, "l": 2})
        span.set_status(StatusCode.ERROR, "broken")
    provider.shutdown()
    expected = map_trace(exporter.get_finished_spans())
    (sent,) = (json.loads(line) for line in (tmp_path / "traces").read_text().splitlines())

    assert sent["spans"] == json.loads(json.dumps(expected["spans"]))
    (mapped,) = expected["spans"]
    dropped = {None: {}, 2: {"attributes": 1, "events": 2, "links": 3}, 0: {"attributes": 3, "events": 4, "links": 5}}
    counts = {f"dropped_{name}": count for name, count in dropped[limit].items()}
    assert {name: count for name, count in mapped["metadata"].items() if name.startswith("dropped_")} == counts
    if limit == 2:
        assert [event["attributes"]["…"] for event in mapped["metadata"]["events"]] == ["[cut 1 of 3 keys]"] * 2
