"""Processes, a network and a PandaProbe in simulated time: hours of delivery in a second, the same in every run.

The processes' policies, buckets and outboxes are the real ones; their surroundings are simulated: the
clock, the sender threads, the network in both directions, and the server.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import orjson

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, LeasedBucket, Tokens
from pandaprobe_otel.delivery.ledger import Ledger, LedgerCounts
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.parcel import Parcel, Step
from pandaprobe_otel.delivery.policy import DeliveryPolicy
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans
from pandaprobe_otel.transport.outcome import Answer, NoAnswer, Outcome, Request
from pandaprobe_rules import RATE_BODY, WINDOW_S, Limiter, Rules, Window

if TYPE_CHECKING:
    from pandaprobe_otel.assembly.drafts import Drafts
    from pandaprobe_otel.delivery.spool.drafts import Draft


class World:
    """The clock and the scheduled events. Times are in seconds."""

    def __init__(self, seed: int = 1) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def at(self, time: float, event: Callable[[], None]) -> None:
        """Schedule an event at a time."""
        heapq.heappush(self._events, (max(time, self.now), next(self._numbers), event))

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Schedule an event after a delay."""
        self.at(self.now + seconds, event)

    def every(self, seconds: float, event: Callable[[], None], *, until: float = math.inf) -> None:
        """Schedule an event repeatedly, with up to 20 % of jitter."""

        def happen() -> None:
            if self.now < until:
                event()
                self.after(seconds * self.random.uniform(0.8, 1.2), happen)

        self.after(seconds * self.random.random(), happen)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self._events and self._events[0][0] <= end:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = end

    def skip(self, seconds: float) -> None:
        """Let time pass in which nothing happens, as in a suspension; what was due happens afterwards."""
        self.now += seconds
        self._events = [(max(at, self.now), number, event) for at, number, event in self._events]
        heapq.heapify(self._events)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as the server saw it."""

    at: float
    who: str
    method: str
    path: str
    status: int
    body: bytes | None = None


Kind = Literal["create", "append", "finish", "score"]
Response = Outcome | int | tuple[int, Any]
"""An outcome, or the status of an answer, or its status and its body (as bytes or as a JSON value)."""
Script = Callable[[Request, float], Response | None]
"""Called for every request; None stands for the server's own answer."""


def no_script(request: Request, now: float) -> Response | None:
    """Leave the answer to the server."""
    return None


def outcome_of(response: Response) -> Outcome:
    """Return the outcome that a scripted response stands for."""
    if isinstance(response, int):
        return Answer(status=response, body=b"no")
    if isinstance(response, tuple):
        body = response[1]
        return Answer(status=response[0], body=body if isinstance(body, bytes) else orjson.dumps(body))
    return response


class Server:
    """A server with a limit, upserts, a lag before an accepted trace is visible, and scripted answers."""

    def __init__(
        self,
        world: World,
        *,
        window: Window = Window.FIXED,
        persist_lag_s: float = 0.2,
        rate_headers: Callable[[float], Mapping[str, str]] = lambda now: {},
    ) -> None:
        self._world = world
        self._rules = Rules(Limiter(window), persist_lag_s)
        self._rate_headers = rate_headers
        self.script: Script = no_script
        self.seen: list[Seen] = []
        self.traces, self.scores = self._rules.traces, self._rules.scores

    def handle(self, request: Request, who: str) -> Outcome:
        """Answer a request."""
        now = self._world.now
        scripted = self.script(request, now)
        outcome = self.carry_out(request, who) if scripted is None else outcome_of(scripted)
        status = outcome.status if isinstance(outcome, Answer) else 0
        self.seen.append(
            Seen(at=now, who=who, method=request.method, path=request.path, status=status, body=request.body)
        )
        return outcome

    def posts(self, who: str | None = None, *, status: int | None = None, since: float = 0.0) -> list[Seen]:
        """Return the POST /traces so far."""
        return [
            each
            for each in self.seen
            if (each.method, each.path) == ("POST", "/traces")
            and (who is None or each.who == who)
            and (status is None or each.status == status)
            and each.at >= since
        ]

    def span_ids(self) -> set[str]:
        """Return the ids of all stored spans."""
        return {span_id for trace in self.traces.values() for span_id in trace.spans}

    def rate_limited(self) -> Answer:
        """Return the answer to a request in a full window."""
        return self._answer(429, RATE_BODY)

    def carry_out(self, request: Request, who: str = "ours") -> Outcome:
        """Do what a request says, and return the server's own answer."""
        body: Any = orjson.loads(request.body) if request.body else None
        return self._answer(*self._rules.carry_out(request.method, request.path, body, self._world.now, who))

    def _answer(self, status: int, body: Any) -> Answer:
        headers = self._rate_headers(self._world.now) if status == 429 else {}
        return Answer(status=status, body=orjson.dumps(body), headers=headers)


class Fate(StrEnum):
    """The network's effect on a request."""

    PASSES = "passes"
    REFUSED = "refused"
    """No connection is made; the sender knows at once that nothing was sent."""
    RESET_BEFORE = "reset before"
    """The connection is reset after the body was sent, but before the server processed it."""
    RESET_AFTER = "reset after"
    """The server processed the request, but a reset loses the answer."""
    NO_ANSWER = "no answer"
    """The server processed the request, but the answer never comes, so the sender gives up after its timeout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Bounds of the network's delay in one direction, in seconds; each delay is drawn evenly between them."""

    shortest_s: float = 0.005
    longest_s: float = 0.5


class Process:
    """A process with the real policy, and senders in simulated time. Its clock may run fast or slow."""

    def __init__(
        self,
        world: World,
        server: Server,
        *,
        name: str = "ours",
        project: str = "shop",
        way: Way | None = None,
        senders: int = 4,
        max_bytes: int = 32 << 20,
        clock_rate: float = 1.0,
        look_every_s: float = 0.0,
        tokens: Tokens | None = None,
        keeps_all: bool = False,
        max_traces_per_day: int | None = None,
    ) -> None:
        self.world, self.server, self.name = world, server, name
        self._way = way or Way()
        self._senders = senders
        self._clock_rate = clock_rate
        self._look_every_s = look_every_s
        self._busy = 0
        self._alive = True
        self._next_look = math.inf
        self.fate: Callable[[Request, float], Fate] = lambda request, now: Fate.PASSES
        self.looks = 0
        """Number of times that the policy was asked for work."""
        self.most_in_flight = 0
        self.doubtful: list[str] = []
        """Trace ids of the create requests whose outcome the process could not know."""
        self.sent: list[tuple[float, Request]] = []
        self.answered: list[tuple[float, Request]] = []
        self.carry: Callable[[Request], Outcome] = lambda request: server.handle(request, name)
        """Carries a request to the server."""
        self.held: Callable[[], int] = lambda: 0
        """Returns the number of ended spans that are not in a request yet."""
        self.drafts: Drafts | None = None
        self.ledger = Ledger()
        self.notices = Notices(self.clock)
        self.outbox = Outbox(max_bytes, keeps_all=keeps_all)
        self.policy = DeliveryPolicy(
            outbox=self.outbox,
            bucket=LeasedBucket(uniform=world.random.uniform, tokens=tokens),
            ledger=self.ledger,
            notices=self.notices,
            project=project,
            max_traces_per_day=max_traces_per_day,
            uniform=world.random.uniform,
        )

    @property
    def counts(self) -> LedgerCounts:
        """The counts of spans, traces and scores."""
        return self.ledger.read()

    def clock(self) -> float:
        """Return the time of the process's monotonic clock."""
        return self.world.now * self._clock_rate

    def time_of(self, reading: float) -> float:
        """Return the world's time at which the process's clock will show this."""
        return reading / self._clock_rate + 1e-9

    def boot_clock(self) -> float:
        """Return the time of the clock that all processes of the machine share."""
        return self.clock()

    def put(self, request: Parcel) -> None:
        """Accept a request, and count its spans as ended."""
        self.ledger.ended(len(request.spans))
        self.take(request)

    def take(self, *requests: Parcel, drafts: Sequence[Draft] = ()) -> None:
        """Accept requests whose spans were already counted when they ended."""
        for request in requests:
            self.policy.offer(request, self.clock())
        self.policy.outbox.save(drafts)
        self._look_at(self.world.now + self._look_every_s)

    @property
    def is_alive(self) -> bool:
        """True unless it has crashed."""
        return self._alive

    def crash(self) -> None:
        """Kill the process, which then does nothing more."""
        self._alive = False

    @property
    def is_balanced(self) -> bool:
        """Return whether the counts of pending spans and of bytes are those of the waiting requests."""
        is_right = self.outbox.bytes == sum(parcel.counted for parcel in self.outbox)
        return is_right and self.counts.pending == self.held() + sum(parcel.span_count for parcel in self.outbox)

    def _look_at(self, time: float) -> None:
        if time < self._next_look and time != math.inf:
            self._next_look = time
            self.world.at(time, self._look)

    def _look(self) -> None:
        if not self._alive or self.world.now < self._next_look:
            return
        self._next_look = math.inf
        while self._busy < self._senders:
            self.looks += 1
            step = self.policy.next(self.clock())
            self.policy.outbox.save()
            if not isinstance(step, Parcel):
                self._look_at(self.time_of(step) if step != math.inf else step)
                return
            self._send(step)

    def _send(self, parcel: Parcel) -> None:
        self._busy += 1
        self.most_in_flight = max(self.most_in_flight, self._busy)
        request = parcel.request()
        self.sent.append((self.world.now, request))
        fate = self.fate(request, self.world.now)
        if fate is Fate.REFUSED:
            outcome: Outcome = NoAnswer(reason="ConnectError: refused", may_have_arrived=False)
            self.world.after(0.001, lambda: self._done(parcel, outcome))
        else:
            self.world.after(self._draw(), lambda: self._arrives(parcel, request, fate))

    def _arrives(self, parcel: Parcel, request: Request, fate: Fate) -> None:
        lost = NoAnswer(reason="ReadError: no answer", may_have_arrived=True)
        outcome = lost if fate is Fate.RESET_BEFORE else self.carry(request)
        back = REQUEST_TIMEOUT_S if fate is Fate.NO_ANSWER else self._draw()
        seen = outcome if fate is Fate.PASSES else lost
        self.world.after(back, lambda: self._done(parcel, seen))

    def _done(self, parcel: Parcel, outcome: Outcome) -> None:
        if not self._alive:
            return
        self._busy -= 1
        unknown = isinstance(outcome, NoAnswer) and outcome.may_have_arrived
        if parcel.step is Step.CREATE and (unknown or _is_gateway_error(outcome)):
            self.doubtful.append(parcel.trace_id)
        self.answered.append((self.world.now, parcel.request()))
        self.policy.done(parcel, outcome, self.clock())
        self.policy.outbox.save()
        self._look_at(self.world.now)

    def _draw(self) -> float:
        return self.world.random.uniform(self._way.shortest_s, self._way.longest_s)


def _is_gateway_error(outcome: Outcome) -> bool:
    return isinstance(outcome, Answer) and outcome.status in (502, 504)


def most_in_a_window(times: list[float]) -> int:
    """Return the largest number of these ascending times within any 60 seconds."""
    most, first = 0, 0
    for index, time in enumerate(times):
        while times[first] <= time - WINDOW_S:
            first += 1
        most = max(most, index - first + 1)
    return most


def simulated_id(number: int) -> str:
    """Return a trace id as random as W3C requires: different for each number, with uniform lowest 56 bits."""
    return id_of_chance(number * 0x9E3779B97F4A7D % (1 << 56) / (1 << 56))


def id_of_chance(share: float) -> str:
    """Return the trace id whose lowest 56 bits are this share of their range."""
    chance = int(share * (1 << 56))
    return f"00000000-0000-0000-00{chance >> 48:02x}-{chance & ((1 << 48) - 1):012x}"


def trace_request(
    number: int,
    *,
    step: Kind = "create",
    spans: int = 1,
    name: str = "t",
    is_error: bool = False,
    is_remote: bool = False,
    duration_s: float = 1.0,
    size: int = 0,
    batch: int = 0,
    trace_id: str | None = None,
) -> Parcel:
    """Return a request of the trace with this number; span ids contain trace, batch and index, so that none repeats."""
    trace_id = simulated_id(number) if trace_id is None else trace_id
    fields = {"trace_id": trace_id, "name": name, "status": "ERROR" if is_error else "COMPLETED"}
    encoded = tuple(
        orjson.dumps({"span_id": f"{trace_id}/{batch}/{index}", "trace_id": trace_id, "input": "x" * size})
        for index in range(spans if step in ("create", "append") else 0)
    )
    return Parcel(
        step=Step(step),
        trace_id=trace_id,
        fields=orjson.dumps(fields),
        spans=EncodedSpans.of(encoded),
        name=name,
        is_error=is_error,
        is_remote=is_remote,
        duration_s=duration_s,
    )


def simulation(
    *,
    seed: int = 1,
    window: Window = Window.FIXED,
    persist_lag_s: float = 0.2,
    rate_headers: Callable[[float], Mapping[str, str]] = lambda now: {},
    **options: Any,
) -> tuple[World, Server, Process]:
    """Return a world, its server, and a process; `options` are those of `Process`."""
    world = World(seed)
    server = Server(world, window=window, persist_lag_s=persist_lag_s, rate_headers=rate_headers)
    return world, server, Process(world, server, **options)


def simulated(script: Script = no_script, **options: Any) -> Process:
    """Return a process in a world of its own, whose server has this script."""
    *_, process = simulation(**options)
    process.server.script = script
    return process
