"""After any answers of a server, tokens come back, waits end, and everything arrives once the server is healthy."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostile_answers import error_pages, outcomes
from pandaprobe_otel.delivery.blockage import AUTH, QUOTA
from pandaprobe_otel.delivery.job import Attempt
from pandaprobe_otel.delivery.outgoing_request import Step
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Outcome
from pandaprobe_otel.transport.verdict import Verdict, VerdictKind, judge
from simulated_delivery import SimulatedDelivery, accepted, create
from simulated_world import most_in_a_window

MINUTE, HOUR = 60.0, 3600.0
_FINAL = {VerdictKind.INVALID, VerdictKind.TOO_LARGE}


@settings(max_examples=60)
@given(said=st.lists(outcomes, min_size=1, max_size=8))
def test_after_any_answers_a_healthy_server_gets_everything(said: list[Outcome]) -> None:
    """After ten minutes of any answers, every trace is delivered or was refused, and all tokens are back."""
    turn = itertools.cycle(said)
    delivery = SimulatedDelivery(lambda attempt, now: next(turn) if now < 600 else accepted(attempt, now))
    for number in range(5):
        delivery.put(create(number, spans=2))
        delivery.put(replace(create(number), step=Step.APPEND))
    kinds = {judge(outcome).kind for outcome in said}
    slow = {VerdictKind.AUTH, VerdictKind.PROJECT, VerdictKind.REDIRECTED, VerdictKind.NOT_FOUND, VerdictKind.QUOTA}
    longest = QUOTA.longest_s if VerdictKind.QUOTA in kinds else AUTH.longest_s if kinds & slow else 11 * MINUTE
    delivery.run(600 + longest)
    delivery.run(5 * MINUTE)

    counts = delivery.ledger.read()
    assert counts.pending == 0
    assert set(counts.dropped) <= {"refused", "too_large", "trace_lost"}
    assert not counts.dropped or kinds & {*_FINAL, VerdictKind.UNAVAILABLE, VerdictKind.NOT_FOUND, VerdictKind.UNKNOWN}
    delivery.run(2 * MINUTE)
    assert len(list(iter(lambda: delivery.bucket.acquire(delivery.now), None))) >= 80


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
        delivery = SimulatedDelivery(lambda attempt, now: answer)
        for number in range(20):
            delivery.put(create(number))
            delivery.put(replace(create(number), step=Step.SCORE, name="quality"))
        delivery.run(10 * MINUTE)
    finally:
        logger.removeHandler(handler)

    assert len(lines) <= 10
    assert all(len(line) <= 1000 and line.isprintable() for line in lines)
    assert len(delivery.policy.last_error or "") <= 600


REFUSALS: dict[str, Outcome] = {
    **{str(status): Answer(status=status, body=b"no") for status in (307, 401, 404, 408, 429, 500, 502, 503, 504)},
    "zero": Answer(status=429, headers={"retry-after": "0"}),
    "zero, busy": Answer(status=503, headers={"retry-after": "0"}),
    "a second": Answer(status=429, headers={"retry-after": "1"}),
    "a second, busy": Answer(status=503, headers={"retry-after": "1"}),
    "past": Answer(
        status=429,
        headers={"retry-after": "Fri, 27 Nov 2020 10:00:00 GMT", "date": "Fri, 27 Nov 2026 10:00:00 GMT"},
    ),
    "quota": Answer(status=429, body=b'{"detail":"used up"}'),
    "reset": NoAnswer(reason="reset", may_have_arrived=True),
    "refused": NoAnswer(reason="refused", may_have_arrived=False),
}


@pytest.mark.parametrize(
    ("step", "refusal"),
    [
        pytest.param(step, refusal, id=f"{step}-{name}")
        for step in (Step.CREATE, Step.APPEND, Step.SCORE)
        for name, refusal in REFUSALS.items()
        if step is Step.CREATE or name != "404"  # a trace that may still come is looked up: `Admission.look_again_s`
    ],
)
def test_a_server_that_always_refuses_is_not_hammered(step: Step, refusal: Outcome) -> None:
    """Two hundred waiting traces cause at most 30 requests in any minute, and 240 in an hour.

    A server whose Retry-After is always one second gets a request every five seconds.
    """
    delivery = SimulatedDelivery(lambda attempt, now: refusal, request_s=0.01)
    for number in range(200):
        delivery.put(replace(create(number), step=step))
    delivery.run(HOUR)

    times = [at for at, _, _ in delivery.sent]
    assert most_in_a_window(times) <= 30
    assert len(times) <= (730 if refusal is REFUSALS["a second"] else 240)


def test_a_fault_of_ours_in_a_consequence_returns_the_token_and_is_told_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in this library loses its own three hundred traces, is logged once, and does not stop the next trace."""
    delivery = SimulatedDelivery()
    with monkeypatch.context() as broken:
        broken.setattr(delivery.policy, "_delivered", lambda *_: 1 / 0)
        with caplog.at_level(logging.WARNING):
            for number in range(300):
                delivery.put(create(number))
            delivery.run(4 * MINUTE)
    delivery.put(create(1000))
    delivery.run(2 * MINUTE)

    counts = delivery.ledger.read()
    assert (counts.delivered, dict(counts.dropped), counts.pending) == (1, {"internal_error": 300}, 0)
    assert len(caplog.records) == 1


@pytest.mark.parametrize("closes", [Answer(status=401), Answer(status=503), Answer(status=429, body=b'{"detail":"q"}')])
def test_a_fault_of_ours_in_the_answer_to_a_probe_leaves_no_gate_shut(
    closes: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in judging a probe's answer does not leave the gate closed."""
    is_well = [False]
    delivery = SimulatedDelivery(lambda attempt, now: accepted(attempt, now) if is_well[0] else closes)
    for number in range(10):
        delivery.put(create(number))
    delivery.run(10)
    is_well[0] = True
    faults = iter([ZeroDivisionError()])

    def judge_once_wrong(outcome: Outcome) -> Verdict:
        for fault in faults:
            raise fault
        return judge(outcome)

    monkeypatch.setattr("pandaprobe_otel.delivery.outcome_effects.judge", judge_once_wrong)
    delivery.run(2 * HOUR)

    counts = delivery.ledger.read()
    assert (counts.delivered, counts.pending) == (9, 0)


@pytest.mark.parametrize("span_id", [[], {}, 1, None, float("nan")])
def test_a_look_that_shows_odd_ids_is_understood(span_id: Any) -> None:
    """A look-up that returns malformed span ids proves nothing, so the trace is sent again."""
    said: Iterator[Outcome] = iter([NoAnswer(reason="reset", may_have_arrived=True), Answer(status=202)])
    shown = Answer(status=200, body=json.dumps({"spans": [{"span_id": span_id}]}).encode())

    def server(attempt: Attempt, now: float) -> Outcome:
        return shown if attempt.is_check else next(said)

    delivery = SimulatedDelivery(server)
    delivery.put(create(1))
    delivery.run(30)

    assert delivery.ledger.read().delivered == 1
