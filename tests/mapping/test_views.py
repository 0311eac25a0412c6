"""The mapping's view of the SDK's objects: finished, open and foreign spans, and log records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, Status, StatusCode

from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.mapping import EventView, LogView, SpanView, map_trace, map_views, read_span
from pandaprobe_otel.mapping.shapes import MAX_COMBINATIONS, known
from pandaprobe_otel.mapping.span_view import plain, plain_attributes
from spans import SpanMaker
from views import mapped, mapped_span, view


class Finish(str, Enum):  # noqa: UP042 - as emitters write it
    STOP = "stop"


class Foreign:
    """A span with the SDK's interface and without its internals."""

    __slots__ = ("_span",)

    def __init__(self, span: ReadableSpan) -> None:
        self._span = span

    def __getattr__(self, name: str) -> Any:
        return getattr(self._span, name)


def test_a_span_of_another_class_is_read_by_its_interface() -> None:
    """A span without the SDK's internals, or with other types of attributes and contexts, is mapped like the SDK's."""
    maker = SpanMaker()
    parent = maker.start("run", attributes={"a": "1"})
    child = maker.start("chat", parent, {"gen_ai.operation.name": "chat"})
    child.add_event("e", {"k": (1, 2)})
    child.set_status(Status(StatusCode.ERROR, "why"))
    spans = [maker.end(child), maker.end(parent)]
    expected = map_trace(spans)
    assert expected["spans"][1]["error"] == "why"
    for made in ([Foreign(span) for span in spans], [copied(span) for span in spans]):
        assert map_trace(made) == expected  # type: ignore[arg-type]


def copied(span: ReadableSpan) -> ReadableSpan:
    """Return a span that the SDK did not make, with plain attributes and contexts of another class."""
    return ReadableSpan(
        name=span.name,
        context=cast("SpanContext", VendorContext(span.context)),
        parent=cast("SpanContext | None", span.parent and VendorContext(span.parent)),
        resource=span.resource,
        attributes=dict(span.attributes or {}),
        events=list(span.events),
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


class VendorContext:
    """A span context of another vendor's class, which is not a tuple."""

    def __init__(self, context: SpanContext) -> None:
        self.trace_id, self.span_id, self.is_remote = context.trace_id, context.span_id, context.is_remote
        self.trace_flags, self.trace_state, self.is_valid = context.trace_flags, context.trace_state, True


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
    for span in spans:
        record = LogView(span.context.trace_id, span.context.span_id, EventView("a record", 1, {}))
        bodies += map_trace([span], [record])["spans"]

    assert [body["kind"] for body in bodies] == ["LLM"] * 8
    assert [body["metadata"]["attributes"]["my.app.own"] for body in bodies] == ["chat"] * 8


def test_an_object_that_is_no_span_is_mapped_as_far_as_possible() -> None:
    """An object that is not a span is mapped as far as possible, and the trace is not lost."""
    maker = SpanMaker()
    span = maker.end(maker.start("chat"))
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
    attributes: dict[str, Any] = {"a": 1, "b": ("x", "y"), "c": "z"}
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


# -- cached lookups of repeated values ---------------------------------------------------------------------------------

CALL: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "OpenAI",
    "gen_ai.request.model": "asked",
    "gen_ai.response.model": "answered",
    "gen_ai.request.temperature": 1,
    "gen_ai.usage.input_tokens": 5,
}


def span_of(**changed: Any) -> dict[str, Any]:
    """Map one call with some attributes changed; names have underscores for dots."""
    changes = {name.replace("__", "."): value for name, value in changed.items()}
    return mapped_span("call", {**CALL, **changes})


@pytest.mark.parametrize("value", [1, 1.0, True])
def test_numbers_that_are_equal_keep_their_types(value: object) -> None:
    """1, 1.0 and True are equal keys of a dict, but each keeps its type."""
    for other in (1, 1.0, True):
        span_of(gen_ai__request__temperature=other)
    found = span_of(gen_ai__request__temperature=value)["model_parameters"]["temperature"]
    assert (found, type(found)) == (value, type(value))


def test_one_span_does_not_change_the_metadata_of_the_next() -> None:
    """Sums and reasoning are added to the span's own metadata, never to the cached metadata."""
    plain = span_of()
    child = view("child", CALL, span_id=2, parent=1)
    parent = view("parent", {**CALL, "gen_ai.operation.name": "invoke_agent"}, span_id=1)
    body = mapped(parent, child)
    assert any("aggregated_token_usage" in span["metadata"] for span in body["spans"])
    assert span_of() == plain
    assert "aggregated_token_usage" not in span_of(gen_ai__operation__name="invoke_agent")["metadata"]


def test_shapes_do_not_share_results() -> None:
    """Equal values of different attributes are different combinations."""
    answered, planned = (
        mapped_span("call", {"gen_ai.operation.name": "chat", attribute: "x"})
        for attribute in ("gen_ai.response.model", "gen_ai.agent.name")
    )
    assert (answered["model"], "agent_name" in answered["metadata"]) == ("x", False)
    assert ("model" in planned, planned["metadata"]["agent_name"]) == (False, "x")


def test_combinations_are_bounded() -> None:
    """A program with a new model name in each call does not fill the memory."""
    for number in range(MAX_COMBINATIONS + 100):
        assert span_of(gen_ai__response__model=f"model-{number}")["model"] == f"model-{number}"
    assert len(known) <= MAX_COMBINATIONS
