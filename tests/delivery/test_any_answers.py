"""Any sequence of answers: what is billed, what is counted, and what the last error names."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.delivery.job import Attempt
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.mapping.encoded_spans import NO_SPANS
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Outcome
from pandaprobe_otel.transport.verdict import VerdictKind, judge
from simulated_delivery import SimulatedDelivery, accepted, create

MINUTE, HOUR = 60.0, 3600.0
MISSING = Answer(status=404, body=b'{"detail":"Trace not found."}')
DOUBTFUL: tuple[Outcome, ...] = (
    *(Answer(status=status, body=b"no") for status in (500, 502, 503, 504)),
    NoAnswer(reason="reset", may_have_arrived=True),
    Answer(status=200, body=b"<html><title>Sign in</title></html>"),
    *(Answer(status=status, body=b"no", is_first=False) for status in (401, 408)),  # written before the request came
)
"""Answers after which the server may or may not have stored the trace."""
CLEAR: tuple[Outcome, ...] = (
    *(Answer(status=status, body=b'{"error":"no"}') for status in (401, 408, 429)),
    Answer(status=429, body=b'{"detail":"used up"}'),
    NoAnswer(reason="refused", may_have_arrived=False),
    NoAnswer(reason="late", may_have_arrived=False, is_late=True),
)
"""Answers after which the server has not stored the trace."""
FINAL: tuple[Outcome, ...] = (
    *(
        Answer(status=422, body=b'{"detail":"Validation error","errors":[{"field":"%s","message":"no"}]}' % field)
        for field in (b"x", b"session_id", b"spans -> 0 -> name", b"spans -> 1 -> span_id")
    ),
    Answer(status=413, body=b"no"),
    MISSING,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """The server's reply to a request: its usual answer (None) or another answer, with the trace stored or not."""

    outcome: Outcome | None
    stores: bool = False


def replies(*final: Outcome) -> st.SearchStrategy[Reply]:
    """Return a strategy of replies; `final`: answers that cost the request."""
    return st.one_of(
        st.just(Reply(None)),
        st.builds(Reply, st.sampled_from(DOUBTFUL), st.booleans()),
        st.builds(Reply, st.sampled_from([*CLEAR, *final])),
    )


@dataclass
class Server:
    """A server that follows a script for ten minutes, and forgets traces if it is told to."""

    script: list[Reply]
    forgets: list[bool] = field(default_factory=lambda: [False])
    """Values for the stored traces in turn: True if the server loses the trace afterwards."""
    stored: set[str] = field(default_factory=set[str])
    bills: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        self._turns, self._losses = itertools.cycle(self.script), itertools.cycle(self.forgets)

    def __call__(self, attempt: Attempt, now: float) -> Outcome:
        """Answer a request."""
        reply = next(self._turns) if now < 10 * MINUTE else Reply(None)
        request = attempt.job.request
        if attempt.is_check or request.step is not Step.CREATE:
            own = accepted(attempt, now) if request.trace_id in self.stored else MISSING
            return reply.outcome or own
        if reply.stores or reply.outcome is None:
            self.bills[request.trace_id] += 1
            if not next(self._losses):
                self.stored.add(request.trace_id)
        return reply.outcome or accepted(attempt, now)


def score(number: int) -> OutgoingRequest:
    """Return a score of a trace."""
    return replace(create(number), step=Step.SCORE, spans=NO_SPANS)


@settings(max_examples=60)
@given(script=st.lists(replies(), min_size=1, max_size=12), traces=st.integers(1, 8))
def test_each_trace_is_billed_once_whatever_the_server_answers(script: list[Reply], traces: int) -> None:
    """No trace is billed twice, even if the server stores it and fails or look-ups fail; each arrives or is counted."""
    server = Server(script)
    delivery = SimulatedDelivery(server)
    for number in range(traces):
        delivery.put(create(number))
        delivery.put(replace(create(number), step=Step.APPEND))
    delivery.run(26 * HOUR)

    counts = delivery.ledger.read()
    assert set(server.bills.values()) <= {1}
    assert counts.pending == 0
    assert set(counts.dropped) <= {"refused", "trace_lost"}  # the latter follow a trace that was refused
    assert counts.traces_delivered <= len(server.bills) <= traces
    assert counts.dropped or counts.traces_delivered == traces


@dataclass
class LastError:
    """The last error that is expected after each answer."""

    delivery: SimulatedDelivery
    expected: str | None = None
    has_cost: bool = False
    losses: int = 0

    def __call__(self, attempt: Attempt, outcome: Outcome) -> None:
        """Compare the last error with the expected one after an answer."""
        _, method, path = self.delivery.sent[-1]
        counts = self.delivery.ledger.read()
        losses = sum(counts.dropped.values()) + sum(counts.scores_dropped.values())
        verdict = judge(outcome)
        is_over = attempt.job not in list(self.delivery.outbox)
        if verdict.kind is not VerdictKind.DELIVERED:
            if not (isinstance(outcome, NoAnswer) and outcome.is_late):
                self.expected, self.has_cost = f"{method} {path}: {verdict.message}", losses > self.losses
        elif is_over and not self.has_cost:
            self.expected = None
        self.losses = losses
        assert self.delivery.policy.last_error == self.expected


@settings(max_examples=60)
@given(script=st.lists(replies(*FINAL), min_size=1, max_size=12), traces=st.integers(1, 5))
def test_the_last_error_is_the_newest_failure_until_a_delivery(script: list[Reply], traces: int) -> None:
    """The last error names its request; a failure that lost a span or a score stays until the next failure."""
    delivery = SimulatedDelivery(Server(script))
    delivery.watch = LastError(delivery)
    for number in range(traces):
        delivery.put(create(number, spans=1 + number))
        delivery.put(replace(create(number, spans=2), step=Step.APPEND))
        delivery.put(score(number))
    delivery.put(score(99))
    delivery.put(replace(create(98), step=Step.APPEND))
    delivery.run(2 * HOUR)

    assert delivery.sent


EVENTS: dict[str, Callable[[int], OutgoingRequest]] = {
    "root": create,
    "late spans": lambda number: replace(create(number), step=Step.APPEND),
    "spans of a root elsewhere": lambda number: replace(create(number), step=Step.APPEND, is_remote=True),
}


@settings(max_examples=60)
@given(
    events=st.lists(st.tuples(st.sampled_from(list(EVENTS)), st.integers(0, 2), st.floats(0, 400)), max_size=8),
    script=st.lists(replies(*FINAL), min_size=1, max_size=8),
    forgets=st.lists(st.booleans(), min_size=1, max_size=4),
)
def test_each_trace_is_counted_once_however_often_it_is_posted(
    events: list[tuple[str, int, float]], script: list[Reply], forgets: list[bool]
) -> None:
    """A trace that is posted again, as after a root that came late, is counted once."""
    delivery = SimulatedDelivery(Server(script, forgets))
    delivered: set[str] = set()

    def watch(attempt: Attempt, outcome: Outcome) -> None:
        is_over = attempt.job not in list(delivery.outbox)
        if attempt.job.request.step is Step.CREATE and is_over and judge(outcome).kind is VerdictKind.DELIVERED:
            delivered.add(attempt.job.request.trace_id)

    delivery.watch = watch
    roots: set[int] = set()
    for kind, number, seconds in events:
        if kind != "root" or number not in roots:
            delivery.put(EVENTS[kind](number))
        roots.update([number] if kind == "root" else [])
        delivery.run(seconds)
    delivery.run(3 * HOUR)

    assert delivery.ledger.read().traces_delivered == len(delivered)
