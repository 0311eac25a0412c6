"""Traces whose process died: from spans to the journal, and from the journal to requests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Status, StatusCode

from pandaprobe_otel.assembly.journal import SpanJournal
from pandaprobe_otel.assembly.recovery import recovered
from pandaprobe_otel.assembly.span_record import decode_span, encode_json, encode_span
from pandaprobe_otel.assembly.trace_buffer import Memory, Stage, TraceSegment
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.spool.rows import JournalChange, JournalRow, TraceState
from pandaprobe_otel.mapping import SpanView, read_span
from pandaprobe_otel.mapping.sdk_span import fields_of
from spans import CHAT, HTTP, SpanMaker
from spools import Run, span_encoder

AGENT = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "shop", "session.id": "s1"}


class Disk:
    """The journal of a spool directory, which outlives its process."""

    def __init__(self, folder: Path, **options: bool) -> None:
        self.folder = folder
        self.run = Run(folder)
        self.journal = SpanJournal(content=options.get("content", True), all_spans=False)
        self.written: list[JournalChange] = []

    def write(self, changes: Sequence[JournalChange]) -> None:
        self.written += changes
        self.run.write(*changes)

    def start(self, *spans: ReadableSpan) -> None:
        self.write(self.journal.record([(span, False) for span in spans]))

    def end(self, *spans: ReadableSpan) -> None:
        self.write(self.journal.record([(fields_of(span), True) for span in spans]))

    def taken(self, segment: TraceSegment) -> None:
        self.write(self.journal.taken(segment))

    def after_death(self) -> list[Parcel]:
        """Return the requests that the next process recovers."""
        self.run.die()
        heir = Run(self.folder)
        heir.look_around()
        return recovered(heir.journal, heir.states, span_encoder)


def segment(
    span: ReadableSpan, *, stage: Stage, memory: Memory, still_open: Sequence[ReadableSpan] = ()
) -> TraceSegment:
    """Return a segment with one ended span."""
    assert span.context is not None
    return TraceSegment(
        trace_id=span.context.trace_id,
        stage=stage,
        ended=(fields_of(span),),
        open=tuple(still_open),
        is_remote=False,
        memory=memory,
    )


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """Return a fresh directory."""
    return Disk(tmp_path)


def test_a_trace_that_had_ended_is_not_called_incomplete(disk: Disk) -> None:
    """A trace whose root had ended is not marked incomplete, although the process died before sending it."""
    maker = SpanMaker()
    root = maker.start("agent", attributes=AGENT)
    chat = maker.start("chat", root, CHAT)
    disk.start(root, chat)
    disk.end(maker.end(chat), maker.end(root))
    (request,) = disk.after_death()

    fields = json.loads(request.fields)
    assert fields["status"] == "COMPLETED"
    assert "pandaprobe_otel.incomplete" not in fields.get("metadata", {})


def test_a_running_trace_is_finished_as_an_error(disk: Disk) -> None:
    """A trace that was posted as running gets its newer spans, and the PATCH that finishes it has status ERROR."""
    maker = SpanMaker()
    root = maker.start("agent", attributes=AGENT)
    first = maker.start("first", root, CHAT)
    second = maker.start("second", root, CHAT)
    disk.start(root, first, second)
    ended = maker.end(first)
    disk.end(ended)
    memory = Memory(posted=True, running=True, tags=("a",))
    disk.taken(segment(ended, stage=Stage.FIRST, memory=memory, still_open=[root, second]))
    disk.end(maker.end(second))
    append, finish = disk.after_death()

    assert (append.step, finish.step) == (Step.APPEND, Step.FINISH)
    assert {json.loads(span)["name"] for span in append.spans} == {"second", "agent"}
    fields = json.loads(finish.fields)
    assert fields["status"] == "ERROR"
    assert fields["metadata"]["pandaprobe_otel.incomplete"] == "process died"


def test_late_spans_of_a_posted_trace_are_appended(disk: Disk) -> None:
    """Late spans of a posted trace are appended, since a second create would overwrite the first."""
    maker = SpanMaker()
    root = maker.start("agent", attributes=AGENT)
    late = maker.start("late", root, CHAT)
    disk.start(root, late)
    ended = maker.end(root)
    disk.end(ended)
    disk.taken(segment(ended, stage=Stage.WHOLE, memory=Memory(posted=True), still_open=[late]))
    disk.end(maker.end(late))
    (request,) = disk.after_death()

    assert request.step is Step.APPEND
    assert not request.is_remote


def test_spans_below_another_process_are_appended_to_its_trace(disk: Disk) -> None:
    """Spans below another process are appended to that process's trace."""
    maker = SpanMaker()
    entry = maker.start_remote("serve")
    chat = maker.start("chat", entry, CHAT)
    disk.start(entry, chat)
    disk.end(maker.end(chat))
    (request,) = disk.after_death()

    assert (request.step, request.is_remote) == (Step.APPEND, True)
    assert json.loads(request.fields)["status"] == "ERROR"


def test_a_trace_that_became_a_request_is_not_sent_twice(disk: Disk) -> None:
    """A trace that became a request is removed from the journal, so it is not sent twice."""
    maker = SpanMaker()
    root = maker.start("agent", attributes=AGENT)
    disk.start(root)
    ended = maker.end(root)
    disk.end(ended)
    disk.taken(segment(ended, stage=Stage.WHOLE, memory=Memory(posted=True)))

    assert disk.after_death() == []
    assert [change.cleared is not None for change in disk.written] == [False, True]


def test_nothing_is_written_of_a_trace_before_its_first_genai_span(disk: Disk) -> None:
    """The journal has nothing of a trace before its first GenAI span, and then everything."""
    maker = SpanMaker()
    root = maker.start("POST /ask", attributes=HTTP)
    query = maker.start("SELECT", root, HTTP)
    chat = maker.start("chat", root, CHAT)
    disk.start(root, query, chat)
    disk.end(maker.end(query))
    assert disk.written == []
    disk.end(maker.end(chat))
    (change,) = disk.written

    assert [(row.is_open, json.loads(row.data)["name"]) for row in change.rows] == [
        (False, "SELECT"),
        (False, "chat"),
        (True, "POST /ask"),
    ]


def test_without_content_only_the_structure_is_on_disk(tmp_path: Path) -> None:
    """Without content, the journal has only the structure of spans, since no mask was applied yet."""
    disk = Disk(tmp_path, content=False)
    maker = SpanMaker()
    root = maker.start("agent", attributes={**AGENT, "pandaprobe.input": '"my secret"', "user.id": "secret user"})
    chat = maker.start("chat", root, {**CHAT, "gen_ai.input.messages": "a secret"})
    chat.add_event("secret event", {"x": "secret"})
    chat.set_status(Status(StatusCode.ERROR, "secret words"))
    disk.start(root, chat)
    disk.end(maker.end(chat))
    written = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    (request,) = disk.after_death()

    assert b"secret" not in written
    assert {json.loads(span)["name"] for span in request.spans} == {"agent", "chat"}


def test_rows_that_are_no_spans_are_left_out() -> None:
    """Unreadable rows of a journal are left out, and the readable ones are sent."""
    maker = SpanMaker()
    view = read_span(maker.end(maker.start("agent", attributes=AGENT)))
    good = JournalRow(
        trace_id=f"{view.trace_id:032x}", span_id="1", is_open=False, data=encode_span(view, content=True)
    )
    bad = [
        JournalRow(trace_id=good.trace_id, span_id="2", is_open=False, data=data)
        for data in (b"", b"{}", b"[]", b"null", b'{"name":1}', good.data[:-5])
    ]
    requests = recovered([*bad, good], [TraceState(trace_id=good.trace_id)], span_encoder)

    assert [len(request.spans) for request in requests] == [1]


attribute_values = st.one_of(
    st.text(),
    st.integers(),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.binary(max_size=20),
    st.lists(st.text(), max_size=3),
    st.dictionaries(st.text(), st.text(), max_size=3),
    st.just("\udce4 lone"),
)


@settings(max_examples=60, deadline=None)
@given(
    attributes=st.dictionaries(st.text(min_size=1), attribute_values, max_size=6),
    end=st.one_of(st.none(), st.integers(1, 2**62)),
)
def test_any_span_survives_the_journal(attributes: dict[str, object], end: int | None) -> None:
    """A span that was written to the journal and read back maps to the same trace."""
    view = SpanView("näme", 0xABC, 0xDEF, 0x123, True, 5, end, "ERROR", "words", attributes, scope_name="s")
    again = read_span(decode_span(encode_span(view, content=True), {}))

    assert again == view


def test_big_and_broken_values_have_a_form_in_json() -> None:
    """Integers over 64 bits, lone surrogates and bytes can be written as JSON."""
    value = {"big": 10**40, "lone": "\ud800", "raw": b"\xff"}
    assert json.loads(encode_json(value)) == {"big": 10**40, "lone": "\ud800", "raw": {"$bytes": "/w=="}}
    assert orjson.loads(encode_json({"a": 1})) == {"a": 1}
