"""The library's copy of a finished span equals the SDK's span."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import Link, SpanContext, StatusCode

from pandaprobe_otel.mapping import map_trace, read_span
from pandaprobe_otel.mapping.sdk_span import fields_of, parent_of, span_of


def ended_spans(*, limit: int | None = None) -> Sequence[ReadableSpan]:
    """Return a plain span, and one with everything that a span can have, with at most `limit` of each."""
    from opentelemetry.sdk.trace import SpanLimits

    seen: list[ReadableSpan] = []

    class Keep(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            seen.append(span)

    limits = SpanLimits(max_span_attributes=limit, max_events=limit, max_links=limit, max_event_attributes=limit)
    provider = TracerProvider(span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(Keep())
    tracer = provider.get_tracer("scope", "1.2")
    with tracer.start_as_current_span("plain"):
        pass
    links = [Link(SpanContext(1, 2, is_remote=True), {"why": "because"})] * 5
    with tracer.start_as_current_span("full", attributes={"a": 1, "b": ("x", "y"), "c": "z"}, links=links) as span:
        for number in range(4):
            span.add_event("it happened", {"n": number, "k": 1, "l": 2})
        span.set_status(StatusCode.ERROR, "broken")
    return seen


def test_the_fields_of_a_span_read_as_the_span_does() -> None:
    """The mapping reads the same from the copy as from the span."""
    for span in ended_spans():
        assert read_span(span_of(fields_of(span))) == read_span(span)


def test_events_beyond_the_sdks_limits_are_counted() -> None:
    """The copy keeps the SDK's counts of dropped events, since one of them may have held the question."""
    full = ended_spans(limit=2)[1]
    kept = span_of(fields_of(full))

    assert (kept.dropped_attributes, kept.dropped_events, kept.dropped_links) == (1, 2, 3)
    assert read_span(kept).dropped == read_span(full).dropped == (1, 2, 3)
    metadata = map_trace([kept])["spans"][0]["metadata"]
    assert [metadata[f"dropped_{what}"] for what in ("attributes", "events", "links")] == [1, 2, 3]
    assert [event["attributes"]["…"] for event in metadata["events"]] == ["[cut 1 of 3 keys]"] * 2


def test_a_span_that_the_sdk_did_not_make_is_read_by_its_properties() -> None:
    """A subclass of ReadableSpan with other types of attributes and events is read by its properties."""
    foreign = ReadableSpan(name="foreign", context=SpanContext(3, 4, is_remote=False), attributes={"a": "b"})
    kept = span_of(fields_of(foreign))

    assert read_span(kept) == read_span(foreign)
    assert kept.attributes == {"a": "b"}


def test_the_parent_is_known_whoever_made_the_span() -> None:
    """The parent of a span that Logfire made itself is known."""
    parent = SpanContext(3, 5, is_remote=True)
    foreign = ReadableSpan(name="foreign", context=SpanContext(3, 4, is_remote=False), parent=parent)

    assert parent_of(fields_of(foreign)) is parent
    assert [parent_of(fields_of(span)) for span in ended_spans()] == [None, None]


def test_user_code_gets_the_sdks_own_type() -> None:
    """A user's filter function gets a ReadableSpan, whose methods it may call."""
    full = ended_spans()[1]
    restored = span_of(fields_of(full))

    assert type(restored) is ReadableSpan
    assert restored.to_json() == full.to_json()
    assert restored.get_span_context() == full.get_span_context()


def test_a_gateways_span_is_kept_as_the_sdks_own() -> None:
    """A gateway's span, made of plain attributes and lists, is copied on the fast path like a span of the SDK."""
    full = ended_spans()[1]
    made = ReadableSpan(
        name=full.name,
        context=full.context,
        resource=full.resource,
        attributes=dict(full.attributes or {}),
        events=list(full.events),
        links=list(full.links),
        status=full.status,
        start_time=full.start_time,
        end_time=full.end_time,
        instrumentation_scope=full.instrumentation_scope,
    )

    assert read_span(made) == read_span(full)
    assert len(fields_of(made)) == len(fields_of(full))


def test_lists_without_room_are_counted() -> None:
    """An SDK with limits of zero keeps no events or links, but their counts are read."""
    full = ended_spans(limit=0)[1]

    assert read_span(full).dropped == (3, 4, 5)
