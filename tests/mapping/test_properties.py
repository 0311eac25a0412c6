"""Properties of any mapped span: mapping never raises, and the result can be sent, stored and shown."""

from __future__ import annotations

import dataclasses
import json
import math
from random import Random
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

import captures
from pandaprobe_otel.mapping import (
    EventView,
    LinkView,
    LogView,
    MappingOptions,
    SpanView,
    map_views,
    read_span,
)
from pandaprobe_otel.mapping.clean import clean
from pandaprobe_otel.mapping.shapes import DIALECTS
from pandaprobe_otel.mapping.span_view import plain_attributes
from pandaprobe_otel.mapping.text import shrink
from storable import assert_storable
from views import view

_TAILS = (
    "0.message.role", "0.message.content", "0.message.contents.0.message_content.type", "0.message.name",
    "0.message.contents.0.message_content.text", "0.message.contents.0.message_content.image.image.url",
    "0.message.tool_calls.0.tool_call.function.name", "0.message.tool_calls.0.tool_call.function.arguments",
    "0.message.tool_calls", "0.message", "0", "1.message.role", "7.message.content", "-1.message.role", "x.y",
    "0.role", "0.content", "0.tool_calls.0.name", "0.tool_calls.0.arguments", "0.finish_reason", "role",
    "0.document.content", "0.document.id", "0.document.score", "0.document.metadata", "0.embedding.text",
    "0.tool.json_schema", "total", "prompt", "completion", "input", "output", "details.x", "session_id", "", ".", "..",
)  # fmt: skip


def _attribute_names() -> list[str]:
    names: set[str] = {"error.type", "logfire.span_type", "exception.type", "app.own", "http.method", "db.system"}
    for dialect in DIALECTS:
        for source in (source for row in dialect.rows for source in row.sources):
            names.update({source[:-1] + tail for tail in _TAILS} if source.endswith(".*") else {source})
        names.update(rule.attribute for rule in dialect.kinds if rule.attribute)
    return sorted(names)


ATTRIBUTES = _attribute_names()
WORDS = (
    "user", "assistant", "system", "tool", "model", "human", "ai", "text", "tool_call", "tool_call_response",
    "reasoning", "image", "image_url", "input_image", "blob", "uri", "file", "function_call",
    "function_call_output", "tool_use", "tool_result", "thinking", "constructor", "chat", "LLM", "AGENT", "TOOL",
    "invoke_agent", "embeddings", "execute_tool", "generation", "retrieval", "stop", "gpt-4o",
    "data:image/png;base64,AAAA", "[]", "{}", "null", '"x"', "[{", "1e999",
)  # fmt: skip
KEYS = (
    "role", "content", "parts", "type", "text", "name", "id", "arguments", "args", "kwargs", "input", "inputs",
    "output", "outputs", "messages", "message", "tool_calls", "function", "tool_call_id", "call_id", "response",
    "result", "lc", "image_url", "url", "source", "data", "inline_data", "inlineData", "mime_type", "choices",
    "generations", "candidates", "replies", "toolUse", "toolResult", "functionCall", "functionResponse", "summary",
    "reasoning", "thinking", "system", "instructions", "config", "system_instruction", "contents", "update",
    "documents", "page_content", "score", "prompt_tokens", "completion_tokens", "total_tokens", "input_tokens",
    "output_tokens", "input_token_details", "cache_read", "details", "total", "usage", "metadata", "session_id",
    "query", "temperature", "model", "tools",
)  # fmt: skip

_CHARACTERS = 'a\x00\ud800\udc00é😀\\"\n{[:, '
_NUMBERS = (
    0, 1, -1, 7, 300, 2**31 - 1, 2**31, 2**53, 2**63, 2**64, -(2**63), -(2**63) - 1, 10**400,
    0.5, -0.0, 1e308, math.nan, math.inf, -math.inf, 12.0, 12.5, True, False,
)  # fmt: skip
_EVENTS = sorted(
    {name for dialect in DIALECTS for row in dialect.events for name in row.names} | {"exception", "x", ""}
)
_EVENT_KEYS = (
    "content", "message", "role", "id", "exception.message", "exception.type", "exception.stacktrace",
    "finish_reason", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.system_instructions", "event.name",
)  # fmt: skip
_MESSAGE_KEYS = ("role", "content", "parts", "tool_calls", "type", "name", "tool_call_id", "kwargs", "lc", "id")
_SCOPES = (
    "", "pydantic-ai", "gcp.vertex.agent", "strands.telemetry.tracer", "ai", "langsmith", "openinference.x",
    "langfuse-sdk",
)  # fmt: skip
_NAMES = ("call_llm", "agent run", "execute_tool x", "running tools", "x" * 600, "", " ", "\x00", "span")


class OddSpans:
    """Generator of a trace's spans, events and log records: names of all dialects, with values of any shape.

    It is twenty times as fast as hypothesis would be, and the same seed generates the same ones.
    """

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def views(self, most: int = 5) -> list[SpanView]:
        """Return some views, whose parents may be among them."""
        return [self.view() for _ in range(self._random.randint(1, most))]

    def view(self) -> SpanView:
        """Return one view."""
        random = self._random
        return SpanView(
            random.choice((*_NAMES, self.text())),
            0xABC,
            random.randint(1, 6),
            random.choice((None, random.randint(1, 8))),
            random.random() < 0.1,
            self._time(),
            random.choice((None, self._time())),
            random.choice(("UNSET", "OK", "ERROR")),
            random.choice((None, self.text())),
            self.attributes(),
            tuple(self.event() for _ in range(random.choice((0, 0, 1, 3)))),
            tuple(LinkView(random.getrandbits(128), random.getrandbits(64)) for _ in range(random.choice((0, 0, 2)))),
            random.choice(_SCOPES),
            "",
            self.attributes(2),
        )

    def event(self) -> EventView:
        """Return one span event."""
        attributes = {self._random.choice(_EVENT_KEYS): self.attribute() for _ in range(self._random.randint(0, 4))}
        name = self._random.choice((*_EVENTS, "gen_ai.client.inference.operation.details"))
        return EventView(name, self._random.choice((None, self._time())), plain_attributes(attributes))

    def logs(self) -> list[LogView]:
        """Return some log records."""
        return [
            LogView(
                0xABC,
                self._random.randint(1, 6),
                EventView(self._random.choice(_EVENTS), None, self.attributes(2), self._body()),
            )
            for _ in range(self._random.randint(0, 3))
        ]

    def attributes(self, most: int = 14) -> dict[str, Any]:
        """Return attributes of all dialects, and some of no dialect."""
        names = [self._random.choice(ATTRIBUTES) for _ in range(self._random.randint(0, most))]
        return plain_attributes({name: self.attribute() for name in (*names, self.text())[:most]})

    def attribute(self) -> Any:
        """Return an attribute's value: plain, JSON, JSON within JSON, binary, a sequence, a map, or deeply nested."""
        pick = self._random.randrange(12)
        if pick < 3:
            return self.text()
        if pick < 5:
            return self._random.choice(_NUMBERS)
        if pick < 8:
            return _json_text(self._body())
        if pick == 8:
            return json.dumps(_json_text(self._body()))
        if pick == 9:
            return self._random.choice((self._random.randbytes(9), tuple(self._leaf() for _ in range(3)), None, ()))
        if pick == 10:
            return self.value(3)
        depth = self._random.randint(40, 2000)
        return "[" * depth + "]" * depth

    def _body(self) -> Any:
        if self._random.random() < 0.4:
            return self.value(4)
        return [
            {self._random.choice(_MESSAGE_KEYS): self._field() for _ in range(self._random.randint(1, 5))}
            for _ in range(self._random.randint(0, 4))
        ]

    def _field(self) -> Any:
        if self._random.random() < 0.5:
            return self.value(2)
        return [
            {self._random.choice(KEYS): self.value(2) for _ in range(self._random.randint(1, 4))}
            for _ in range(self._random.randint(0, 3))
        ]

    def value(self, levels: int) -> Any:
        """Return any JSON value, or a value that JSON cannot represent."""
        pick = self._random.random()
        if levels <= 0 or pick < 0.4:
            return self._leaf()
        if pick < 0.7:
            return [self.value(levels - 1) for _ in range(self._random.randint(0, 4))]
        return {self._key(): self.value(levels - 1) for _ in range(self._random.randint(0, 5))}

    def _leaf(self) -> Any:
        return self._random.choice((None, True, self.text(), self.text(), self._random.choice(_NUMBERS)))

    def _key(self) -> str:
        return self._random.choice(KEYS) if self._random.random() < 0.9 else self.text()

    def text(self) -> str:
        """Return a word of the vocabulary, a long text, or a text that encoders refuse."""
        pick = self._random.random()
        if pick < 0.6:
            return self._random.choice(WORDS)
        if pick < 0.7:
            return "long " * self._random.randint(1, 400)
        return "".join(self._random.choices(_CHARACTERS, k=self._random.randint(0, 9)))

    def _time(self) -> int:
        return self._random.choice(
            (self._random.randint(0, 5_000_000_000), self._random.randint(0, 5_000_000_000), -10, 2**65, 0)
        )


def _json_text(value: Any) -> str:
    return json.dumps(value, default=repr, skipkeys=True)


options = st.builds(
    MappingOptions,
    capture=st.sampled_from(("all", "all", "metadata", "off")),
    capture_by_kind=st.sampled_from(({}, {"TOOL": "metadata"}, {"LLM": "off", "OTHER": "all"})),
    masks=st.sampled_from(((), (str.upper,), (lambda text: text.replace("long", "\x00\udc00"),))),
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
    assert body == orjson.loads(orjson.dumps({**trace.trace, "spans": trace.spans}))
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


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=300)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=30), inner, max_size=4)),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(values, st.integers(256, 3000), st.booleans())
def test_shrinking_always_fits(value: Any, max_bytes: int, digest: bool) -> None:
    """The result has at most the given size, for any value, and a value that fits is unchanged."""
    value = clean(value)
    shrunk = shrink(value, max_bytes, digest=digest)
    assert len(orjson.dumps(shrunk)) <= max_bytes
    assert len(orjson.dumps(value)) > max_bytes or shrunk is value
    assert shrunk is value or b"[cut" in orjson.dumps(shrunk)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(("plain", "é;base64,", "x" * 2000, "},{", "\x00")), min_size=1, max_size=5),
    st.booleans(),
)
def test_spans_are_encoded_alike_together_and_alone(words: list[str], is_long: bool) -> None:
    """A span is encoded the same alone and with others, whatever its texts are."""
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
