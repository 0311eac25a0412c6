"""The consequence of each answer, in simulated time."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostile_answers import error_pages, outcomes
from pandaprobe_otel.transport.outcome import Answer, NoAnswer, Outcome, Request
from pandaprobe_rules import QUOTA_BODY
from simulated_world import (
    Fate,
    Process,
    Response,
    Script,
    Way,
    most_in_a_window,
    simulated,
    trace_request,
)

MINUTE, HOUR = 60.0, 3600.0
RESET = NoAnswer(reason="reset", may_have_arrived=True)
LATE = NoAnswer(reason="late", may_have_arrived=False, is_late=True)
DOUBTFUL: tuple[Response, ...] = (
    *(408, 500, 502, 503, 504, RESET),
    Answer(status=200, body=b"<html><title>Sign in</title></html>"),
)
"""Answers after which the server may or may not have stored the trace."""
CLEAR: tuple[Response, ...] = (
    *((status, {"error": "no"}) for status in (401, 429)),
    (429, {"detail": "used up"}),
    NoAnswer(reason="refused", may_have_arrived=False),
    LATE,
)
"""Answers after which the server has not stored the trace."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The server's reply: its usual answer (None) or another one, with the request carried out or not."""

    response: Response | None
    stores: bool = False


def scripted(process: Process, replies: Sequence[Reply]) -> Script:
    """Return the script of a server that gives these replies in turn for ten minutes."""
    turns = itertools.cycle(replies)

    def script(request: Request, now: float) -> Response | None:
        reply = next(turns) if now < 10 * MINUTE else Reply(None)
        if reply.stores and request.method == "POST":
            process.server.carry_out(request)
        return reply.response

    return script


REPLIES = st.one_of(
    st.just(Reply(None)),
    st.builds(Reply, st.sampled_from(DOUBTFUL), st.booleans()),
    st.builds(Reply, st.sampled_from(CLEAR)),
)


@settings(max_examples=60)
@given(replies=st.lists(REPLIES, min_size=1, max_size=12), traces=st.integers(1, 8))
def test_each_trace_is_billed_once_whatever_the_server_answers(replies: list[Reply], traces: int) -> None:
    """No trace is billed twice, even if the server stores it and fails or look-ups fail; each arrives or is counted."""
    process = simulated()
    process.server.script = scripted(process, replies)
    for number in range(traces):
        process.put(trace_request(number))
        process.put(trace_request(number, step="append", batch=1))
    process.world.run(26 * HOUR)

    counts, stored = process.counts, process.server.traces.values()
    assert {len(trace.created_by) for trace in stored} <= {1}
    assert counts.pending == 0
    assert set(counts.dropped) <= {"refused", "trace_lost"}  # the latter follow a trace that was refused
    assert counts.traces_delivered <= len(stored) <= traces
    assert counts.dropped or counts.traces_delivered == traces
    if all(reply.response is None or reply.response in CLEAR for reply in replies):
        assert counts.dropped == {}


@settings(max_examples=60)
@given(answers=st.lists(outcomes, min_size=1, max_size=8))
def test_after_any_answers_a_healthy_server_gets_everything(answers: list[Outcome]) -> None:
    """After ten minutes of any answers, every trace is delivered or was refused, and all tokens are back."""
    turns = itertools.cycle(answers)
    process = simulated(lambda request, now: next(turns) if now < 10 * MINUTE else None)
    for number in range(5):
        process.put(trace_request(number, spans=2))
        process.put(trace_request(number, step="append", batch=1))
    process.world.run(7 * HOUR)  # the longest wait is of six hours, for a used-up quota
    assert process.counts.pending == 0
    assert set(process.counts.dropped) <= {"refused", "too_large", "trace_lost"}
    for number in range(10, 90):
        process.put(trace_request(number))
    process.world.run(20)

    assert process.counts.pending == 0


@settings(max_examples=40)
@given(answer=error_pages)
def test_no_answer_adds_more_than_a_bounded_line_to_the_log(answer: Outcome) -> None:
    """If twenty traces get one answer for ten minutes, the log has at most a line of printable text for each minute."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("pandaprobe_otel")
    logger.addHandler(handler)
    try:
        process = simulated(lambda request, now: answer)
        for number in range(20):
            process.put(trace_request(number))
            process.put(trace_request(number, step="score", name="quality"))
        process.world.run(10 * MINUTE)
    finally:
        logger.removeHandler(handler)

    assert len(lines) <= 10
    assert all(len(line) <= 1000 and line.isprintable() for line in lines)
    assert len(process.policy.last_error or "") <= 600


PAST = {"retry-after": "Fri, 27 Nov 2020 10:00:00 GMT", "date": "Fri, 27 Nov 2026 10:00:00 GMT"}
REFUSALS: dict[str, Response] = {
    **{str(status): status for status in (307, 401, 404, 408, 429, 500, 502, 503, 504)},
    **{
        f"{status}, {wait} s": Answer(status=status, headers={"retry-after": wait})
        for status in (429, 503)
        for wait in "01"
    },
    "past": Answer(status=429, headers=PAST),
    "quota": (429, {"detail": "used up"}),
    "reset": RESET,
    "refused": NoAnswer(reason="refused", may_have_arrived=False),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_server_that_always_refuses_is_not_hammered(refusal: str) -> None:
    """Two hundred waiting requests of a kind cause at most 30 requests in any minute, and 240 in an hour.

    A server whose Retry-After is always one second gets a request every five seconds.
    """
    for step in ("create", "append", "score"):
        if step != "create" and refusal == "404":  # a trace that may still come is looked up
            continue
        process = simulated(lambda request, now: REFUSALS[refusal])
        for number in range(200):
            process.put(trace_request(number, step=step))
        process.world.run(HOUR)

        times = [at for at, _ in process.sent]
        assert most_in_a_window(times) <= 30
        assert len(times) <= (730 if refusal == "429, 1 s" else 240)


@pytest.mark.parametrize("closes", [None, 401, 503, (429, QUOTA_BODY)], ids=str)
def test_an_error_of_ours_costs_a_trace_and_neither_a_token_nor_a_gate(
    closes: Response | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in judging an answer loses that trace and is logged once; the token and a closed gate come back."""
    broken: Any = type("Broken", (), {})()
    answers: Iterator[Response] = itertools.repeat(broken, 1 if closes else 300)
    process = simulated(lambda request, now: closes if closes and now < 10 else next(answers, None))
    for number in range(310):
        process.put(trace_request(number))
    process.world.run(8 * HOUR)

    lost = 1 if closes else 300
    assert (process.counts.dropped, process.counts.pending) == ({"internal_error": lost}, 0)
    assert sum("please report this" in line for line in caplog.messages) == 1


def test_a_refused_trace_is_dropped_counted_and_explained(caplog: pytest.LogCaptureFixture) -> None:
    """A 422 drops this trace alone; the log and the status have the server's message until the next failure."""
    bodies = [{"detail": "Validation error", "errors": [{"field": "path", "message": "too long"}]}, None]
    process = simulated(lambda request, now: (422, bodies[0]) if bodies[0] and request.method == "POST" else None)
    process.put(trace_request(1))
    process.world.run(5)
    bodies.insert(0, None)
    process.put(trace_request(2))
    process.world.run(5)

    assert (process.counts.delivered, process.counts.dropped) == (1, {"refused": 1})
    assert "path: too long" in caplog.text
    assert process.policy.last_error == "POST /traces: 422 path: too long"


def test_the_last_error_is_over_with_the_next_delivery() -> None:
    """A failure that has cost nothing is the last error until a request succeeds."""
    process = simulated(lambda request, now: 503 if now < 1 else None)
    process.put(trace_request(1))
    process.world.run(1)
    assert process.policy.last_error == "POST /traces: 503 no"
    process.world.run(MINUTE)

    assert process.policy.last_error is None


def test_a_trace_that_is_looked_up_in_vain_hides_no_failure() -> None:
    """The look-ups of a score whose trace is not there do not replace the failure of a request."""
    process = simulated(lambda request, now: (422, {"detail": "too long"}) if request.method == "POST" else None)
    process.put(trace_request(2, step="score"))
    process.put(trace_request(1))
    process.world.run(30)

    assert [each.status for each in process.server.seen if each.method == "GET"][:2] == [404, 404]
    assert process.policy.last_error == "POST /traces: 422 too long"


def test_each_outage_and_each_recovery_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Lines alternate, and promise no more than holds: traces in memory are lost with the process."""
    caplog.set_level(logging.INFO)
    process = simulated()
    process.fate = lambda request, now: Fate.REFUSED if now % HOUR < 30 else Fate.PASSES
    for number in range(3):
        process.put(trace_request(number))
        process.world.run(HOUR)

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * 3
    assert all("wait in memory until the process ends" in line for line in caplog.messages[::2])
    assert "sent later" not in caplog.text


def test_a_cause_that_comes_and_goes_is_logged_every_ten_seconds_at_most(caplog: pytest.LogCaptureFixture) -> None:
    """If each trace is refused once and then accepted, for ten minutes, there are few warnings."""
    failed: set[bytes | None] = set()

    def refuses_once(request: Request, now: float) -> Response | None:
        is_known = request.body in failed
        failed.add(request.body)
        return None if is_known else 503

    process, numbers = simulated(refuses_once), itertools.count()
    process.world.every(2.0, lambda: process.put(trace_request(next(numbers))), until=10 * MINUTE)
    process.world.run(20 * MINUTE)

    assert process.counts.delivered == process.counts.ended
    assert 1 <= sum(record.levelno >= logging.WARNING for record in caplog.records) <= 61


def test_refusals_that_differ_each_time_fill_neither_memory_nor_log(caplog: pytest.LogCaptureFixture) -> None:
    """A server that words each refusal differently causes a bounded number of lines in an hour."""
    numbers = itertools.count()
    process = simulated(lambda request, now: (400, {"detail": f"no {next(numbers)}"}))
    for number in range(1000):
        process.put(trace_request(number))
    process.world.run(50 * MINUTE)

    assert process.counts.dropped == {"refused": 1000}
    assert 100 <= len(caplog.records) <= 202
    assert process.notices.causes <= 202


ODD_IDS: Sequence[Any] = ([], {}, 1, None)


def shown_spans(*ids: Any) -> Response:
    """Return a look-up that shows these ids of spans."""
    return (200, {"spans": [{"span_id": each} for each in ids]})


@pytest.mark.parametrize(
    ("shown", "posts"),
    [
        (shown_spans("of another process"), 2),
        *((shown_spans(each), 2) for each in ODD_IDS),
        (shown_spans(f"{trace_request(1).trace_id}/0/0"), 1),
        ((200, {"name": "t"}), 1),
    ],
)
def test_a_trace_that_is_there_without_its_spans_has_not_arrived(shown: Response, posts: int) -> None:
    """A look-up that finds only another process's spans under a derived id does not prove that ours arrived."""
    lost = iter([RESET])
    process = simulated(lambda request, now: shown if request.method == "GET" else next(lost, None))
    process.put(trace_request(1))
    process.world.run(30)

    assert len(process.server.posts()) == posts
    assert process.counts.delivered == 1


def test_a_request_that_was_too_late_gives_its_token_back_and_is_sent_anew() -> None:
    """A process that was suspended between taking a token and sending spends no token and loses no trace."""
    late = itertools.repeat(LATE, 50)
    process = simulated(lambda request, now: next(late, None), max_traces_per_day=100, way=Way(longest_s=0.05))
    for number in range(100):
        process.put(trace_request(number))
    process.world.run(59)

    assert len(process.sent) == 150
    assert process.counts.delivered == 100


def test_a_daily_budget_holds_traces_back_and_loses_none() -> None:
    """With a daily budget of three, the fourth trace goes 24 hours after the first."""
    process = simulated(max_traces_per_day=3)
    for number in range(4):
        process.put(trace_request(number))
    process.world.run(24 * HOUR - 60)
    assert len(process.server.posts()) == 3
    process.world.run(120)

    assert len(process.server.posts()) == 4


def test_counts_of_dropped_spans_are_in_the_next_trace() -> None:
    """Counts of dropped spans are sent once, in the metadata of the next trace, without those that a filter removed."""
    process = simulated()
    process.ledger.ended(9)
    process.ledger.dropped("queue_full", 7)
    process.ledger.dropped("filtered", 2)
    process.put(trace_request(1))
    process.put(trace_request(2))
    process.world.run(5)

    reports = [trace.fields["metadata"] for trace in process.server.traces.values() if "metadata" in trace.fields]
    assert reports == [{"pandaprobe_otel.dropped": {"queue_full": 7}}]


# -- scores -----------------------------------------------------------------------------------------------------------


def test_a_score_waits_for_its_trace_and_is_sent_once() -> None:
    """A score's trace is looked up first, since the server fails on a score without its trace."""
    process = simulated()
    process.put(trace_request(1, step="score"))
    process.world.run(3)
    assert process.server.scores == []
    process.server.carry_out(Request(method="POST", path="/traces", body=trace_request(1).body()))
    process.world.run(30)

    assert len(process.server.scores) == 1
    assert process.outbox.is_done


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (None, "trace_not_found"),
        ((422, {"detail": "value: must be one of good, bad"}), "refused"),
        (RESET, "outcome_unknown"),
    ],
    ids=["missing trace", "refused", "unknown"],
)
def test_a_score_that_is_given_up_is_counted_and_logged_as_a_score(
    response: Response | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A score that is refused, or whose trace never comes, is one dropped score in one line, not a trace of 0 spans."""
    process = simulated(lambda request, now: response if request.method == "POST" else (200, {}) if response else None)
    process.put(trace_request(1, step="score", name="quality"))
    process.world.run(10 * MINUTE)

    assert (process.counts.scores_dropped, process.counts.dropped) == ({reason: 1}, {})
    assert process.outbox.is_done
    (line,) = caplog.messages
    assert "score 'quality'" in line
    assert "span" not in line
    assert response or trace_request(1).trace_id in line


# -- repair -----------------------------------------------------------------------------------------------------------


def errors(field: str, message: str = "no") -> Response:
    """Return a refusal that names a field."""
    return (422, {"detail": "Validation error", "errors": [{"field": field, "message": message}]})


def with_fields(spans: Sequence[dict[str, Any]], number: int = 1, step: Any = "create", **fields: Any) -> Any:
    """Return the request of a trace with these fields, and with spans that have these fields."""
    request = trace_request(number, step=step, spans=len(spans))
    encoded = [orjson.dumps(orjson.loads(old) | new) for old, new in zip(request.spans, spans, strict=True)]
    own = orjson.dumps(orjson.loads(request.fields) | fields)
    return replace(request, fields=own, spans=type(request.spans).of(encoded))


@pytest.mark.parametrize("step", ["create", "append"])
@pytest.mark.parametrize(
    ("bad", "name", "repaired"),
    [
        ({"model": "m" * 300, "metadata": {"a": 1}}, "model", {"metadata": {"a": 1}}),
        ({"name": "x" * 600}, "name", {"name": "x" * 512}),
        ({"name": ""}, "name", {"name": "unnamed"}),
        ({"started_at": "bad"}, "started_at", None),
    ],
    ids=["optional field", "long name", "empty name", "whole span"],
)
def test_a_refused_span_is_repaired_or_removed_alone(
    bad: dict[str, Any], name: str, repaired: dict[str, Any] | None, step: str
) -> None:
    """A refused field is cut, replaced, or removed and named in the metadata; the other spans stay as they are."""
    process = simulated()
    if step == "append":
        process.put(trace_request(1, batch=1))
        process.world.run(5)
    refusals = iter([errors(f"spans -> 1 -> {name}" if step == "create" else f"1 -> {name}")])
    process.server.script = lambda request, now: next(refusals, None)
    process.put(with_fields([{}, bad, {}], step=step))
    process.world.run(5)

    (stored,) = process.server.traces.values()
    spans = [stored.spans.get(f"{trace_request(1).trace_id}/0/{index}") for index in range(3)]
    assert [span is None for span in spans] == [False, repaired is None, False]
    assert process.counts.dropped == ({} if repaired else {"refused": 1})
    if repaired is not None and spans[1] is not None:
        marked = repaired | {"metadata": {**repaired.get("metadata", {}), "pandaprobe_otel.repaired": [name]}}
        assert spans[1].items() >= marked.items()
        assert ("model" in spans[1]) == ("model" in repaired)


def test_a_refused_field_of_the_trace_goes_and_after_two_repairs_the_trace_is_given_up() -> None:
    """A session id of 300 characters is removed and named; if the server names a new fault each time, it is dropped."""
    faults = iter(["session_id", "user_id", None, "session_id", "user_id", "release"])
    process = simulated(lambda request, now: errors(fault) if (fault := next(faults, None)) else None)
    for _ in range(2):
        process.put(with_fields([{}], session_id="s" * 300, user_id="u" * 300, release="r"))
        process.world.run(5)

    (stored,) = process.server.traces.values()
    assert stored.fields["metadata"]["pandaprobe_otel.repaired"] == ["session_id", "user_id"]
    assert not stored.fields.keys() & {"session_id", "user_id"}
    assert (len(process.sent), process.counts.delivered, process.counts.dropped) == (6, 1, {"refused": 1})


@pytest.mark.parametrize("field", ["started_at", "trace_id", "9", "", "path"])
def test_a_message_without_an_optional_field_cannot_be_repaired(field: str) -> None:
    """A request is not sent again if the server's message names no field that can be removed."""
    process = simulated(lambda request, now: errors(field))
    process.put(with_fields([{}], started_at="x"))
    process.world.run(5)

    assert (len(process.sent), process.counts.dropped) == (1, {"refused": 1})
