"""A delivery policy in simulated time, with a function as its server."""

from __future__ import annotations

import math
from collections.abc import Callable

from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.job import Attempt
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.delivery.policy import DeliveryPolicy
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans
from pandaprobe_otel.transport.request_outcome import Answer, Outcome

Server = Callable[[Attempt, float], Outcome]


def accepted(attempt: Attempt, now: float) -> Outcome:
    """Accept everything, as a server does."""
    return Answer(status=202 if attempt.job.request.step is Step.CREATE and not attempt.is_check else 200)


class SimulatedDelivery:
    """Delivery that sends one request at a time; each takes `request_s` of simulated time."""

    def __init__(
        self,
        server: Server = accepted,
        *,
        max_bytes: int = 1 << 20,
        request_s: float = 0.1,
        max_traces_per_day: int | None = None,
    ) -> None:
        self.now = 0.0
        self.server = server
        self.request_s = request_s
        self.ledger = Ledger()
        self.notices = Notices(lambda: self.now)
        self.outbox = Outbox(max_bytes)
        self.bucket = LeasedBucket(uniform=lambda low, high: high)
        self.policy = DeliveryPolicy(
            outbox=self.outbox,
            bucket=self.bucket,
            ledger=self.ledger,
            notices=self.notices,
            project="p",
            max_traces_per_day=max_traces_per_day,
            uniform=lambda low, high: high,
        )
        self.sent: list[tuple[float, str, str]] = []
        self.watch: Callable[[Attempt, Outcome], None] = lambda attempt, outcome: None
        """Called after the policy has applied an outcome."""

    def put(self, request: OutgoingRequest) -> None:
        """Offer a request now, counting its spans as ended."""
        self.ledger.ended(len(request.spans))
        self.policy.offer(request, self.now)

    def run(self, seconds: float) -> None:
        """Let simulated time pass."""
        end = self.now + seconds
        while self.now < end:
            step = self.policy.next(self.now)
            if isinstance(step, Attempt):
                request = step.request()
                self.sent.append((self.now, request.method, request.path))
                outcome = self.server(step, self.now)
                self.now += self.request_s
                self.policy.done(step, outcome, self.now)
                self.watch(step, outcome)
            else:
                self.now = min(end, step if step != math.inf else end)

    def count(self, method: str, path: str | None = None) -> int:
        """Return how many requests of this kind were sent."""
        return sum(sent[1] == method and (path is None or sent[2] == path) for sent in self.sent)


def create(number: int, *, spans: int = 1, is_error: bool = False, size: int = 0) -> OutgoingRequest:
    """Return a create with `spans` spans (and about `size` bytes)."""
    trace_id = f"00000000-0000-0000-0000-{number:012d}"
    body = b'{"span_id":"s","x":"' + b"x" * size + b'"}'
    return OutgoingRequest(
        step=Step.CREATE,
        trace_id=trace_id,
        fields=f'{{"trace_id":"{trace_id}","name":"t"}}'.encode(),
        spans=EncodedSpans.of((body,) * spans),
        name="t",
        is_error=is_error,
    )
