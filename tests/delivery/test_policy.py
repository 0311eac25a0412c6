"""The consequence of each answer, in simulated time."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.job import Attempt
from pandaprobe_otel.delivery.outgoing_request import Step, adopted_id
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Outcome
from simulated_delivery import SimulatedDelivery, accepted, create


def detail(status: int, text: str) -> Answer:
    """Return an answer with the server's `detail`."""
    return Answer(status=status, body=json.dumps({"detail": text}).encode())


RATE = Answer(status=429, body=b'{"error":"Rate limit exceeded: 100 per 1 minute"}')
QUOTA = detail(429, "You've reached the traces limit (100) for your HOBBY plan.")


def balance(delivery: SimulatedDelivery) -> bool:
    """Return whether every span is accounted for and none waits."""
    return delivery.ledger.read().pending == 0


def test_a_hundred_go_at_once_and_the_next_after_a_minute() -> None:
    """The bucket gives 100 tokens, and the 101st request goes 60.1 s after the first answer."""
    delivery = SimulatedDelivery(request_s=0.01)
    for number in range(101):
        delivery.put(create(number))
    delivery.run(30)
    assert delivery.count("POST", "/traces") == 100
    delivery.run(31)

    assert delivery.count("POST", "/traces") == 101
    assert delivery.sent[-1][0] == pytest.approx(60.11, abs=0.02)


def test_spans_over_five_hundred_follow_as_appends() -> None:
    """A trace of any size is one billed request; spans beyond 500 follow as appends once it is stored."""
    delivery = SimulatedDelivery()
    delivery.put(create(1, spans=1201))
    delivery.run(5)

    spans = "/traces/00000000-0000-0000-0000-000000000001/spans"
    assert [sent[1:] for sent in delivery.sent] == [("POST", "/traces"), ("POST", spans), ("POST", spans)]
    assert delivery.sent[1][0] >= 0.5
    assert delivery.ledger.read().delivered == 1201


def test_an_append_waits_until_the_trace_is_stored() -> None:
    """A 404 means "not yet": the append is retried with growing waits and costs no token."""

    def server(attempt: Attempt, now: float) -> Outcome:
        if attempt.job.request.step is Step.APPEND and now < 20:
            return detail(404, "Trace x not found.")
        return accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    delivery.put(create(1, spans=501))
    delivery.run(60)

    assert delivery.ledger.read().delivered == 501
    assert delivery.count("POST", "/traces") == 1
    assert len(delivery.sent) < 10


def test_a_rate_limit_costs_one_probe_at_a_time_and_nothing_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    """A 429 with `error` for two minutes causes few requests and one log line, and every trace arrives afterwards."""

    def server(attempt: Attempt, now: float) -> Outcome:
        return RATE if now < 120 else accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    for number in range(20):
        delivery.put(create(number))
    with caplog.at_level(logging.WARNING):
        delivery.run(110)
        during = len(delivery.sent)
        delivery.run(600)

    assert during <= 5
    assert delivery.ledger.read().delivered == 20
    assert [record.message for record in caplog.records if "limits the rate" in record.message] != []
    assert len(caplog.records) == 1


def test_a_used_up_quota_is_not_hammered_and_appends_still_flow(caplog: pytest.LogCaptureFixture) -> None:
    """A 429 with `detail` allows four billed requests in an hour, one ERROR line, and appends to posted traces."""

    def server(attempt: Attempt, now: float) -> Outcome:
        return QUOTA if attempt.job.request.step is Step.CREATE else accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    for number in range(5):
        delivery.put(create(number))
    delivery.put(replace(create(9), step=Step.APPEND))
    with caplog.at_level(logging.WARNING):
        delivery.run(3600)

    assert delivery.count("POST", "/traces") <= 4
    assert delivery.ledger.read().delivered == 1
    assert delivery.ledger.read().pending == 5
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize(
    "answer",
    [
        detail(401, "Invalid or revoked API key."),
        detail(403, "Forbidden"),
        detail(422, "Project scope required."),
        detail(404, "Not Found"),
        Answer(status=307, headers={"location": "https://elsewhere.example/traces"}),
    ],
    ids=["401", "403", "project", "wrong-url", "redirect"],
)
def test_refused_settings_are_tried_again_rarely_and_named_once(
    answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    """While the key or the endpoint is wrong, nothing is lost, and half an hour costs at most eight requests."""
    mended = [False]
    delivery = SimulatedDelivery(lambda attempt, now: accepted(attempt, now) if mended[0] else answer)
    for number in range(3):
        delivery.put(create(number))
    with caplog.at_level(logging.WARNING):
        delivery.run(1800)
    assert len(delivery.sent) <= 8
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    mended[0] = True
    delivery.run(3700)

    assert delivery.ledger.read().delivered == 3


def test_a_refused_trace_is_dropped_counted_and_explained(caplog: pytest.LogCaptureFixture) -> None:
    """A 422 drops this trace alone, and the log line contains the server's message."""
    body = {"detail": "Validation error", "errors": [{"field": "spans -> 0 -> name", "message": "too long"}]}

    def server(attempt: Attempt, now: float) -> Outcome:
        if attempt.job.request.trace_id.endswith("1"):
            return Answer(status=422, body=json.dumps(body).encode())
        return accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    delivery.put(create(1))
    delivery.put(create(2))
    with caplog.at_level(logging.WARNING):
        delivery.run(10)

    counts = delivery.ledger.read()
    assert (counts.delivered, dict(counts.dropped)) == (1, {"refused": 1})
    assert "spans -> 0 -> name: too long" in caplog.text
    assert delivery.policy.last_error == "POST /traces: 422 spans -> 0 -> name: too long"


def test_an_outage_is_probed_by_one_request_and_survived() -> None:
    """Ten minutes without a server cause few connections, and all traces arrive afterwards."""

    def server(attempt: Attempt, now: float) -> Outcome:
        return NoAnswer(reason="refused", may_have_arrived=False) if now < 600 else accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    for number in range(50):
        delivery.put(create(number))
    delivery.run(600)
    assert len(delivery.sent) <= 40
    delivery.run(200)

    assert delivery.ledger.read().delivered == 50


def test_an_unknown_outcome_is_looked_up_before_the_trace_is_sent_again() -> None:
    """A trace without an answer is looked up and not sent twice, since a second POST is billed."""
    stored: set[str] = set()

    def server(attempt: Attempt, now: float) -> Outcome:
        trace_id = attempt.job.request.trace_id
        if attempt.is_check:
            return Answer(status=200) if trace_id in stored else detail(404, "Trace not found.")
        if trace_id.endswith("1") and trace_id not in stored:
            stored.add(trace_id)
            return NoAnswer(reason="reset", may_have_arrived=True)
        if trace_id.endswith("2") and "tried" not in stored:
            stored.add("tried")
            return NoAnswer(reason="reset", may_have_arrived=True)
        return accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    delivery.put(create(1))
    delivery.put(create(2))
    delivery.run(30)

    assert delivery.ledger.read().delivered == 2
    assert delivery.count("POST", "/traces") == 3  # the first trace once, the second twice
    assert delivery.count("GET") == 2


def test_a_server_that_shows_traces_and_takes_none_is_an_outage_and_costs_none() -> None:
    """If look-ups are answered and every POST fails, no trace is dropped as poison, however long that lasts."""

    def server(attempt: Attempt, now: float) -> Outcome:
        if now >= 600:
            return accepted(attempt, now)
        return detail(404, "Trace not found.") if attempt.is_check else Answer(status=500)

    delivery = SimulatedDelivery(server)
    for number in range(20):
        delivery.put(create(number))
    delivery.run(600)
    assert delivery.count("POST", "/traces") <= 40
    delivery.run(120)

    assert delivery.ledger.read().delivered == 20


def test_a_request_that_was_too_late_gives_its_token_back_and_is_sent_anew() -> None:
    """A process that was suspended between taking a token and sending spends no token and loses no trace."""
    late = iter([NoAnswer(reason="late", may_have_arrived=False, is_late=True)] * 50)
    delivery = SimulatedDelivery(
        lambda attempt, now: next(late, None) or accepted(attempt, now), request_s=0.01, max_traces_per_day=100
    )
    for number in range(100):
        delivery.put(create(number))
    delivery.run(10)

    assert len(delivery.sent) == 150
    assert delivery.ledger.read().delivered == 100


def test_a_trace_that_only_fails_itself_is_poison_and_not_an_outage() -> None:
    """A trace that gets 500 five times while others pass is dropped, and does not delay the others."""

    def server(attempt: Attempt, now: float) -> Outcome:
        if attempt.job.request.trace_id.endswith("0007"):
            return Answer(status=500, body=b"Internal Server Error")
        return accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    delivery.put(create(7))
    for number in range(20, 40):
        delivery.put(create(number))
        delivery.run(10)
    delivery.run(300)

    counts = delivery.ledger.read()
    assert (counts.delivered, dict(counts.dropped)) == (20, {"refused": 1})


def test_over_the_memory_bound_errors_stay_and_what_goes_is_counted() -> None:
    """The memory bound holds, drops are counted, and traces with errors are dropped last."""
    delivery = SimulatedDelivery(lambda attempt, now: QUOTA, max_bytes=50_000)
    delivery.put(create(0, is_error=True, size=4000))
    for number in range(1, 40):
        delivery.put(create(number, size=4000))
    counts = delivery.ledger.read()

    assert delivery.outbox.bytes <= 50_000
    assert counts.dropped["queue_full"] == counts.ended - counts.pending
    waiting = [job.request.trace_id for job in delivery.outbox]
    assert create(0).trace_id in waiting


def test_a_remote_trace_is_appended_to_and_never_created_under_its_own_id() -> None:
    """The root's process posts the trace; our spans are appended, without a token and without a bill."""

    def server(attempt: Attempt, now: float) -> Outcome:
        return accepted(attempt, now) if now > 40 else detail(404, "Trace x not found.")

    delivery = SimulatedDelivery(server)
    delivery.put(replace(create(1), step=Step.APPEND, is_remote=True))
    delivery.run(120)

    assert delivery.ledger.read().delivered == 1
    assert delivery.count("POST", "/traces") == 0


def test_a_remote_trace_whose_root_never_comes_is_adopted_under_a_derived_id() -> None:
    """After five minutes without a root, its spans become a trace of their own, to which later spans are added."""
    original = create(1).trace_id
    derived = adopted_id(original, "p")

    def server(attempt: Attempt, now: float) -> Outcome:
        path = attempt.job.request.target
        return detail(404, "Trace x not found.") if original in path else accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    delivery.put(replace(create(1), step=Step.APPEND, is_remote=True))
    delivery.run(290)
    assert delivery.count("POST", "/traces") == 0
    delivery.run(120)
    assert delivery.count("POST", "/traces") == 1
    delivery.put(replace(create(1), step=Step.APPEND, is_remote=True))
    delivery.run(10)

    assert delivery.sent[-1][2] == f"/traces/{derived}/spans"
    assert balance(delivery)


def test_a_root_that_comes_after_the_adoption_joins_it() -> None:
    """A root that arrives after its spans were adopted joins them in one trace.

    A gateway receives the roots of other services too.
    """
    original = create(1).trace_id
    derived = adopted_id(original, "p")
    bodies: list[bytes] = []

    def server(attempt: Attempt, now: float) -> Outcome:
        if attempt.job.request.step is Step.CREATE:
            bodies.append(attempt.job.request.body())
        return detail(404, "Trace x not found.") if original in attempt.job.request.target else accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    delivery.put(replace(create(1), step=Step.APPEND, is_remote=True))
    delivery.run(420)
    delivery.put(create(1))
    delivery.run(10)

    assert [json.loads(body)["trace_id"] for body in bodies] == [derived, derived]
    assert delivery.ledger.read().traces_delivered == 1
    assert balance(delivery)


@settings(max_examples=30)
@given(comes_at=st.floats(0.0, 295.0), waits_s=st.floats(0.0, 60.0), lag_s=st.floats(0.0, 60.0))
@example(comes_at=260.0, waits_s=40.0, lag_s=3.0)
def test_spans_follow_a_root_that_comes_before_their_adoption(comes_at: float, waits_s: float, lag_s: float) -> None:
    """After their root has come, spans wait for its trace and are not adopted, even if the trace comes late."""
    visible: dict[str, float] = {}

    def server(attempt: Attempt, now: float) -> Outcome:
        request = attempt.job.request
        if request.step is Step.CREATE:
            visible[request.trace_id] = now + lag_s
        elif now < visible.get(request.trace_id, math.inf):
            return detail(404, "Trace x not found.")
        return accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    delivery.put(replace(create(1), step=Step.APPEND, is_remote=True))
    delivery.run(comes_at)
    leases = [delivery.bucket.acquire(delivery.now) for _ in range(100)]
    delivery.put(create(1))
    delivery.run(waits_s)
    for lease in leases:
        assert lease is not None
        delivery.bucket.release(lease, delivery.now, was_used=False)
    delivery.run(400)

    assert list(visible) == [create(1).trace_id]
    assert delivery.ledger.read().delivered == 2


def test_an_upstream_that_never_reports_is_learned() -> None:
    """After three adoptions in a row, spans entered through the same name are adopted without waiting."""

    def server(attempt: Attempt, now: float) -> Outcome:
        request = attempt.job.request
        return detail(404, "Trace x not found.") if request.is_remote else accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    for number in range(3):
        delivery.put(replace(create(number), step=Step.APPEND, is_remote=True))
    delivery.run(400)
    started = delivery.now
    delivery.put(replace(create(50), step=Step.APPEND, is_remote=True))
    delivery.run(5)

    assert delivery.now - started == pytest.approx(5)
    assert delivery.ledger.read().delivered == 4


@pytest.mark.parametrize(
    ("shown", "posts"),
    [(b'{"spans":[{"span_id":"of another process"}]}', 2), (b'{"spans":[{"span_id":"s"}]}', 1), (b'{"name":"t"}', 1)],
    ids=["others' spans", "its spans", "no list of spans"],
)
def test_a_trace_that_is_there_without_its_spans_has_not_arrived(shown: bytes, posts: int) -> None:
    """A look-up that finds only another process's spans under a derived id does not prove that ours arrived."""
    outcomes: Iterator[Outcome] = iter([NoAnswer(reason="reset", may_have_arrived=True), Answer(status=202)])

    def server(attempt: Attempt, now: float) -> Outcome:
        return Answer(status=200, body=shown) if attempt.is_check else next(outcomes)

    delivery = SimulatedDelivery(server)
    delivery.put(create(1))
    delivery.run(30)

    assert delivery.count("POST", "/traces") == posts
    assert delivery.ledger.read().delivered == 1


def test_a_score_waits_for_its_trace_and_is_sent_once() -> None:
    """A score's trace is looked up first, since the server fails on a score without its trace."""
    score = replace(create(1, spans=0), step=Step.SCORE)

    def server(attempt: Attempt, now: float) -> Outcome:
        if attempt.is_check and now < 3:
            return detail(404, "Trace x not found.")
        return accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    delivery.put(score)
    delivery.run(30)

    assert delivery.count("POST", "/evaluations/trace-scores") == 1
    assert delivery.policy.outbox.is_done


def test_a_score_of_a_trace_that_never_comes_is_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """After five minutes of 404 a score is dropped and counted, with one line that names it and its trace."""
    delivery = SimulatedDelivery(lambda attempt, now: detail(404, "Trace x not found."))
    delivery.put(replace(create(1, spans=0), step=Step.SCORE, name="quality"))
    delivery.put(replace(create(2, spans=0), step=Step.SCORE, name="quality"))
    with caplog.at_level(logging.WARNING):
        delivery.run(600)

    counts = delivery.ledger.read()
    assert delivery.policy.outbox.is_done
    assert counts.scores_dropped == {"trace_not_found": 2}
    assert counts.dropped == {}
    (line,) = [record.getMessage() for record in caplog.records]
    assert "score 'quality'" in line
    assert "00000000-0000-0000-0000-000000000001" in line


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (detail(422, "value: must be one of good, bad"), "refused"),
        (NoAnswer(reason="reset", may_have_arrived=True), "outcome_unknown"),
    ],
    ids=["refused", "unknown"],
)
def test_a_score_that_is_given_up_is_counted_and_logged_as_a_score(
    answer: Outcome, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused score is counted and logged as one dropped score, not as a trace of 0 spans."""
    delivery = SimulatedDelivery(lambda attempt, now: accepted(attempt, now) if attempt.is_check else answer)
    delivery.put(replace(create(1, spans=0), step=Step.SCORE, name="quality"))
    with caplog.at_level(logging.WARNING):
        delivery.run(60)

    assert delivery.ledger.read().scores_dropped == {reason: 1}
    (line,) = [record.getMessage() for record in caplog.records]
    assert "score 'quality'" in line
    assert "span" not in line


def test_a_score_that_is_left_at_the_end_is_dropped_and_counted() -> None:
    """A score whose trace has not come by the end of the process is counted as dropped."""
    delivery = SimulatedDelivery(lambda attempt, now: detail(404, "Trace x not found."))
    delivery.put(replace(create(1, spans=0), step=Step.SCORE, name="quality"))
    delivery.run(5)

    dropped = delivery.policy.drop_all("shutdown")
    assert (dropped.spans, dropped.scores, bool(dropped)) == (0, 1, True)
    assert delivery.ledger.read().scores_dropped == {"shutdown": 1}


def test_a_daily_budget_holds_traces_back_and_loses_none() -> None:
    """With a daily budget of three, the fourth trace goes 24 hours after the first."""
    delivery = SimulatedDelivery(max_traces_per_day=3)
    for number in range(4):
        delivery.put(create(number))
    delivery.run(86_000)
    assert delivery.count("POST", "/traces") == 3
    delivery.run(1_000)

    assert delivery.count("POST", "/traces") == 4


def test_counts_of_dropped_spans_are_in_the_next_trace() -> None:
    """Counts of dropped spans are sent once, in the metadata of the next trace."""
    bodies: list[dict[str, Any]] = []

    def server(attempt: Attempt, now: float) -> Outcome:
        bodies.append(json.loads(attempt.job.request.body()))
        return accepted(attempt, now)

    delivery = SimulatedDelivery(server)
    delivery.ledger.ended(9)
    delivery.ledger.dropped("queue_full", 7)
    delivery.ledger.dropped("filtered", 2)
    delivery.put(create(1))
    delivery.put(create(2))
    delivery.run(5)

    reports = [body["metadata"]["pandaprobe_otel.dropped"] for body in bodies if "metadata" in body]
    assert reports == [{"queue_full": 7}]
