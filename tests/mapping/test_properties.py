"""Properties of any mapped span: mapping never raises, and the result can be sent, stored and shown."""

from __future__ import annotations

import dataclasses
import json
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import captures
from odd_spans import OddSpans
from pandaprobe_otel.mapping import MappingOptions, map_trace, map_views, read_span
from pandaprobe_otel.mapping.clean import clean, encode
from pandaprobe_otel.mapping.shrink import shrink
from pandaprobe_otel.mapping.span_view import plain_attributes
from storable import assert_storable
from views import view

options = st.builds(
    MappingOptions,
    capture=st.sampled_from(("all", "all", "metadata", "off")),
    capture_by_kind=st.sampled_from(({}, {"TOOL": "metadata"}, {"LLM": "off", "OTHER": "all"})),
    masks=st.sampled_from(((), (str.upper,), (lambda text: text.replace("long", "\x00\udc00"),))),
    hidden=st.sampled_from(((), ("gen_ai.", "input.value"))),
    max_field_bytes=st.sampled_from((256, 1000, 262_144)),
    max_trace_bytes=st.sampled_from((1000, 20_000, 4_194_304)),
)


seeds = st.integers(0, 2**32)


@settings(max_examples=200, deadline=None)
@given(seeds, st.booleans())
def test_anything_becomes_a_trace_that_can_be_stored(seed: int, whole: bool) -> None:
    """Any span becomes a readable trace that the server can store and that does not break other traces."""
    odd = OddSpans(seed)
    views, records = odd.views(), odd.logs()
    trace = map_views(views, records, whole=whole)
    if not trace.spans:
        assert all(view.attributes.get("logfire.span_type") == "pending_span" for view in views)
        return
    body = orjson.loads(trace.encoded())
    assert_storable(body)
    assert body == orjson.loads(orjson.dumps(trace.body()))
    assert not [span for span in trace.spans if span["metadata"].get("unreadable") is True]


@settings(max_examples=150, deadline=None)
@given(seeds, options)
def test_the_options_hold_whatever_comes(seed: int, options: MappingOptions) -> None:
    """For any span, hidden content is absent, no field exceeds its budget, and the server can store the trace."""
    trace = map_views(OddSpans(seed).views(), options=options)
    if not trace.spans:
        return
    body = orjson.loads(trace.encoded())
    assert_storable(body)
    for part in (body, *trace.spans):
        for field in ("input", "output", "metadata", "error", "model_parameters"):
            assert len(orjson.dumps(part.get(field))) <= options.max_field_bytes
    for span in trace.spans:
        if options.capture_of(span["kind"]) != "all":
            assert {"input", "output"}.isdisjoint(span)
    structure = {key: value for key, value in body.items() if key not in ("input", "output", "metadata", "spans")}
    bare = len(orjson.dumps(structure)) + sum(
        len(orjson.dumps({key: item for key, item in span.items() if key not in _CUT})) + 500 for span in trace.spans
    )
    assert len(trace.encoded()) <= max(options.max_trace_bytes, bare)


_CUT = ("input", "output", "metadata", "error", "model_parameters")


@settings(max_examples=80, deadline=None)
@given(seeds)
def test_the_order_in_which_spans_arrive_does_not_matter(seed: int) -> None:
    """Mapping is deterministic for any order of spans, except for spans with equal ids and times."""
    odd = OddSpans(seed)
    records = odd.logs()
    unique = list({view.span_id: view for view in odd.views()}.values())
    shuffled = list(unique)
    Random(seed).shuffle(shuffled)
    first = map_views(unique, records).encoded()
    assert map_views(unique, records).encoded() == first
    assert map_views(shuffled, records).encoded() == first


RECORDED = [(name, index) for name in captures.names() for index in range(len(captures.capture(name).traces))]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(RECORDED), seeds)
def test_a_recorded_span_with_odd_values_still_becomes_a_trace(recorded: tuple[str, int], seed: int) -> None:
    """A recorded span with some invalid values becomes a trace, and its other spans are unaffected."""
    name, index = recorded
    recording = captures.capture(name)
    views = [read_span(span) for span in recording.traces[index]]
    odd, random = OddSpans(seed), Random(seed)
    position = random.randrange(len(views))
    view = views[position]
    names = sorted(view.attributes) or ["input.value"]
    changes = {random.choice(names): odd.attribute() for _ in range(random.randint(1, 4))}
    views[position] = dataclasses.replace(
        view,
        attributes=plain_attributes({**view.attributes, **changes}),
        events=(*view.events, *(odd.event() for _ in range(random.randint(0, 2)))),
    )
    trace = map_views(views, recording.logs)
    if trace.spans:
        assert_storable(orjson.loads(trace.encoded()))
        assert not [span for span in trace.spans if "unreadable" in span["metadata"]]


@pytest.mark.parametrize("name", captures.names())
def test_every_recording_becomes_traces_that_can_be_stored(name: str) -> None:
    """Every recording becomes traces that the server can store. Spans of the same call are named in one."""
    recording = captures.capture(name)
    for spans in recording.traces:
        body = map_trace(spans, recording.logs)
        assert_storable(body)
        same_calls = [name for span in body["spans"] for name in span["metadata"].get("also_recorded_as", ())]
        assert len(body["spans"]) + len(same_calls) == len(spans)
        json.dumps(body, allow_nan=False)


class Odd:
    """An object that raises at any access."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("never")


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=300)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=30), inner, max_size=4)),
    max_leaves=12,
)
objects = st.recursive(
    st.one_of(values, st.binary(max_size=9), st.builds(Odd), st.complex_numbers(), st.datetimes(), st.uuids()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.integers(), st.text(max_size=3), st.booleans(), st.none()), inner, max_size=3),
        st.frozensets(st.one_of(st.integers(), st.text(max_size=3)), max_size=3),
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(objects, st.sampled_from((0, 300, 262_144)))
def test_any_object_is_encoded_within_its_bound(value: Any, max_bytes: int) -> None:
    """`clean` returns values that the encoder accepts; `encode` returns JSON of bounded size without NUL."""
    orjson.dumps(clean(value))
    text = encode(value, max_bytes)
    assert len(text.encode()) <= max(max_bytes, 256)
    assert "\\u0000" not in text.replace("\\\\", "")
    json.loads(text)


@settings(max_examples=150, deadline=None)
@given(values, st.integers(256, 3000), st.booleans())
def test_shrinking_always_fits(value: Any, max_bytes: int, digest: bool) -> None:
    """The result has at most the given size, for any value, and a value that fits is unchanged."""
    value = clean(value)
    shrunk = shrink(value, max_bytes, digest=digest)
    assert len(orjson.dumps(shrunk)) <= max_bytes
    assert len(orjson.dumps(value)) > max_bytes or shrunk is value
    assert shrunk is value or b"[cut" in orjson.dumps(shrunk)


MARKS = ("\x7f", "\x7f\x7f", '\x7f"]]]]', '"\x7f",{"span_id":"x"}', "DEL \x7f between", "\x00\x7f")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(("plain", "é;base64,", "x" * 2000, *MARKS)), min_size=1, max_size=5), st.booleans())
def test_spans_are_encoded_alike_together_and_alone(words: list[str], is_long: bool) -> None:
    """A span is encoded the same alone and with others, even if it contains the separator of encoded spans."""
    texts = words * (40 if is_long else 1)
    views = [
        view(f"step {number}", {"input.value": text, "gen_ai.operation.name": "chain"}, span_id=number + 1, at=number)
        for number, text in enumerate(texts)
    ]
    trace = map_views(views)
    assert [*trace.encoded_spans] == [orjson.dumps(span) for span in trace.spans]
    assert trace.encoded_trace == orjson.dumps(trace.trace)
    assert [*trace.encoded_spans] == [span for one in views for span in map_views([one]).encoded_spans]
    assert [span["input"] for span in trace.spans] == [text.replace("\x00", "") for text in texts]
