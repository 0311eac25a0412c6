"""The sender threads: started with the first parcel, at most four, with bounded waits."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, LeasedBucket, boot_clock
from pandaprobe_otel.delivery.ledger import Ledger
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.outbox import Outbox
from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.policy import DeliveryPolicy, Dropped
from pandaprobe_otel.delivery.spool.destination import destination_of, spool_folder
from pandaprobe_otel.mapping.ids import rfc3339
from pandaprobe_otel.process.background import LockMaker
from pandaprobe_otel.process.guard import counted, pass_on
from pandaprobe_otel.transport.outcome import Answer, Outcome, Request, Transport, api_key_headers, json_object
from pandaprobe_otel.transport.socket_transport import KeyFunctionTransport, delivery_transport

if TYPE_CHECKING:
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.delivery.spool.drafts import Draft
    from pandaprobe_otel.delivery.spool.store import SpoolStore

MAX_SENDERS: Final = 4
"""Number of threads. Four manage 100 requests a minute if each takes up to 2.4 s; one suffices up to 0.6 s."""

_HURRIES_S: Final = 0.02
"""Time after the start of a request within which its sender may take the next one too: no other is woken before."""
_LOOK_AGAIN_S: Final = 0.05
_PATIENCE_S: Final = 1.5
"""Longest time for which the end of the process tries an unreachable server."""
_LAST_TRY_S: Final = 0.5
"""Time before the end of that patience at which the server is tried once more, and that this request may take."""
_PATIENCE_ON_DISK_S: Final = 1.0
"""Longest time for which the end of the process waits for requests on disk while no request is under way."""
_FORK_WAIT_S: Final = 1.0
_LEAVE_WAIT_S: Final = 1.0
"""Longest write to disk that the end of the process waits for after its deadline."""
_JOIN_S: Final = 0.2

_JUST_NOW_NS: Final = 60 * 1_000_000_000
_LOOK_TIMEOUT_S: Final = 5.0
_MOST_READ: Final = 64 << 10


class SenderPool:
    """Senders in the background. `put` never blocks on the network; with a spool, it writes to disk."""

    def __init__(
        self,
        *,
        policy: Callable[[], DeliveryPolicy],
        transport: Transport,
        look: Callable[[Transport], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`look`: called by a sender after the first trace that is accepted."""
        self._make_policy = policy
        self._look = look
        self._transport = transport
        self._monotonic = monotonic
        self._start_fresh()

    def _start_fresh(self) -> None:
        self.policy = self._make_policy()
        self._make_locks()
        self._threads: list[threading.Thread] = []
        """Live senders."""
        self._waiting = 0
        self._in_flight = 0
        self._newest_request_at = -math.inf
        self._is_watched = False
        """True if a sender is about to check whether the others keep up."""
        self._stopped = False
        self.is_used = False
        """True once there was something to send. Before that, nothing needs a spool, and no shared budget is asked."""
        self._deadline = self._patient_until = math.inf
        self._due_at = math.inf
        """Time at which the next job is due."""
        self.left_behind = 0
        """Spans that `close` left for another process to send."""

    def _make_locks(self) -> None:
        self._lock_maker = LockMaker()
        lock = threading.RLock()  # unlike `Lock`, it can be released without knowing if this thread holds it
        self._changed = threading.Condition(lock)
        """Notified when callers of `wait_idle` should check again."""
        self._work = threading.Condition(lock)
        """Notified when senders should look for requests."""
        self._fork = threading.local()

    def begin(self) -> None:
        """Send the requests of other processes that are on disk."""
        self.put(())

    def put(self, parcels: Iterable[Parcel], drafts: Sequence[Draft] = ()) -> bool:
        """Take over parcels and send them as soon as the budget allows. After `close`, they are dropped and counted.

        `drafts`: changes to write in the same transaction, if there is a spool. Return whether they are on disk.
        """
        if not self._threads and self._lock_maker.is_outdated:
            self._make_locks()
        self.is_used, policy, is_written = True, self.policy, False
        with self._changed:
            now = self._monotonic()
            for parcel in parcels:
                policy.offer(parcel, now)
            if self._stopped:
                policy.drop_all("shutdown")
            elif policy.outbox.store is not None:
                is_written = policy.outbox.save(drafts)
            self._due_at = 0.0  # unknown until the senders have looked again
            if not policy.outbox.is_done:
                if self._waiting == 0 and len(self._threads) < MAX_SENDERS and not self._stopped:
                    self._add_sender()  # even if the newest request is never answered, somebody takes these
                if not self._is_watched:
                    self._work.notify()
        return is_written

    def wait_idle(self, deadline: float) -> bool:
        """Wait until nothing is left to send; return True if everything is delivered or on disk.

        `deadline` is a monotonic time. The call does not wait for requests on disk that cannot be sent by then.
        """
        if not self._threads:
            self._send_until(deadline)
        with self._locked(deadline) as is_locked:
            while is_locked and not self.policy.outbox.is_done:
                now = self._monotonic()
                may_stay = self.policy.outbox.is_kept
                if now >= deadline or self._is_hopeless(now, deadline, may_stay=may_stay):
                    return may_stay
                looks_again = may_stay or self.policy.closing
                self._changed.wait(min(deadline - now, _LOOK_AGAIN_S) if looks_again else deadline - now)
        return is_locked

    def close(self, deadline: float) -> Dropped | None:
        """Send as much as possible before the deadline, then stop; return the spans that had to be dropped.

        Return None if another thread holds the lock past the deadline, as with a disk that does not respond: the losses
        are then unknown.
        """
        with self._locked(deadline) as is_locked:
            if self._stopped:
                return Dropped()
            if not is_locked:
                self._stopped = True
                return None
            self.policy.closing = True
            self._deadline = deadline
            self._patient_until = self._monotonic() + _PATIENCE_S
            self.policy.last_try_at = min(deadline, self._patient_until) - _LAST_TRY_S
            self._due_at = 0.0  # unknown until the senders have checked again
            self._work.notify_all()
        self.wait_idle(deadline)
        with self._locked(max(deadline, self._monotonic() + _LEAVE_WAIT_S)) as is_locked:
            self._stopped = True
            if not is_locked:
                return None
            outbox = self.policy.outbox
            self.left_behind = sum(parcel.span_count for parcel in outbox if parcel.row)
            dropped = self.policy.drop_all("shutdown")
            outbox.leave()
            self._work.notify_all()
            self._changed.notify_all()
        self._join_senders()
        return dropped

    def before_fork(self) -> None:
        """Stop the other threads in the parent while no file of the spool is open: a fork must not inherit one."""
        self._fork.held = False
        held = self._fork.held = self._changed.acquire(timeout=_FORK_WAIT_S)  # several threads may fork at once
        if held and (store := self.policy.outbox.store) is not None:
            store.before_fork()

    def after_fork_in_parent(self) -> None:
        """Let the other threads of the parent continue."""
        self._fork.held = False
        try:
            self._changed.release()
        except RuntimeError as error:  # this thread does not hold it, as the flag tells except after an interrupt
            pass_on(error)

    def reset_after_fork(self) -> None:
        """Start empty with new locks in a forked child. The parent sends what it has."""
        self.policy.outbox.abandon(is_quiet=getattr(self._fork, "held", False))
        self._transport.reset_after_fork()
        self._start_fresh()

    @contextmanager
    def _locked(self, deadline: float) -> Generator[bool]:
        """Wait for the lock, at most until the deadline. Other threads hold it while they write to disk."""
        remaining = deadline - self._monotonic()
        is_locked = self._changed.acquire(timeout=min(max(remaining, 0.1), threading.TIMEOUT_MAX))
        try:
            yield is_locked
        finally:
            if is_locked:
                self._changed.release()

    def _is_hopeless(self, now: float, deadline: float, *, may_stay: bool) -> bool:
        """Return whether nothing can be sent before the deadline, so that waiting is pointless.

        In a process that continues, this is only true for requests that may stay where they are.
        """
        closing = self.policy.closing
        if not (closing or may_stay):
            return False
        end = self._end(deadline)
        if closing and may_stay:
            end = min(end, now + _PATIENCE_ON_DISK_S)
        return self._waiting == len(self._threads) and self._is_too_late(self._due_at, end, now)

    def _is_too_late(self, due_at: float, end: float, now: float) -> bool:
        """Return whether the next request cannot be sent in time. The end of the process corrects no refused key."""
        return due_at > end or now >= end or (self.policy.closing and self.policy.blockage.is_refused)

    def _end(self, deadline: float) -> float:
        return min(deadline, self._patient_until) if self.policy.blockage.unreachable else deadline

    # -- senders ------------------------------------------------------------------------------------------------------

    def _add_sender(self) -> None:
        name = f"pandaprobe-sender-{len(self._threads) + 1}"
        # Told which thread it is: after a late patch by gevent, `current_thread` would return another object.
        thread = threading.Thread(target=lambda: self._run_sender(thread), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return  # during interpreter shutdown, close() sends in its own thread
        self._threads.append(thread)

    def _run_sender(self, thread: threading.Thread) -> None:
        try:
            self._send_until(math.inf)
        finally:
            with self._changed:
                self._threads.remove(thread)
                is_last = self._stopped and not self._threads
            if is_last:  # `close` may have left because an answer was late
                self._transport.close()

    def _send_until(self, deadline: float) -> None:
        """Send until stopped. In a thread of the app at its end, send until nothing more can be sent in time."""
        with self._locked(deadline) as is_locked:
            parcel = self._next(deadline) if is_locked else None
        while parcel is not None:
            end = min(deadline, self._end(self._deadline))
            timeout_s = min(REQUEST_TIMEOUT_S, max(end - self._monotonic(), 0.05))
            outcome: Outcome | Exception
            try:
                outcome = self._transport.send(parcel.request(timeout_s))
            except Exception as error:  # noqa: BLE001 - counted; the policy logs it
                counted("transport", error)
                outcome = error
            with self._changed:
                self._in_flight -= 1
                self._newest_request_at = -math.inf  # this request was the newest, or the newest is late by now
                policy = self.policy
                policy.done(parcel, outcome, self._monotonic())
                if policy.outbox.store is not None:
                    policy.outbox.save()
                if policy.closing or policy.outbox.is_done:
                    self._changed.notify_all()
                is_posted = parcel.lease is not None and isinstance(outcome, Answer) and outcome.status < 300
                look, self._look = (self._look, None) if is_posted else (None, self._look)
            if look is not None and deadline == math.inf:
                try:
                    look(self._transport)
                except Exception as error:  # noqa: BLE001 - counted; the sender goes on
                    counted("transport", error)
            with self._changed:
                parcel = self._next(deadline)

    def _next(self, deadline: float) -> Parcel | None:
        """Return the next parcel to send when there is one; return None if this thread is not needed any more."""
        is_own_thread = deadline == math.inf
        policy, outbox = self.policy, self.policy.outbox
        while not self._stopped:
            now = self._monotonic()
            if is_own_thread and self._in_flight and now - self._newest_request_at < _HURRIES_S:
                self._watch()
                continue
            step = policy.next(now)
            if outbox.store is not None:
                outbox.save()
            if isinstance(step, Parcel):
                self._in_flight += 1
                self._newest_request_at = now
                has_ready = outbox.waiting_for_tokens > 0
                if self._waiting:
                    if has_ready and not self._is_watched:
                        self._work.notify()
                elif len(self._threads) < MAX_SENDERS and has_ready:
                    self._add_sender()  # the new sender checks whether this one keeps up
                return step
            end = self._end(deadline)
            if not is_own_thread and (outbox.is_done or self._is_too_late(step, end, now)):
                return None
            self._due_at = step
            self._changed.notify_all()  # waiting may be pointless for callers of `wait_idle`
            self._waiting += is_own_thread
            self._work.wait(None if step == math.inf else max(step - now, 0.001))
            self._waiting -= is_own_thread
        return None

    def _watch(self) -> None:
        """Wait a moment, so that the sender of the newest request can take the next one too."""
        self._waiting += 1
        if self._is_watched:
            self._work.wait()
        else:
            self._is_watched = True
            self._work.wait(_HURRIES_S)
            self._is_watched = False
        self._waiting -= 1

    def _join_senders(self) -> None:
        until = self._monotonic() + _JOIN_S  # for all of them together, because a stalled server delays each sender
        for thread in [*self._threads]:
            if thread is not threading.current_thread():
                thread.join(max(until - self._monotonic(), 0.0))
        if not self._threads:
            self._transport.close()


# -- construction -----------------------------------------------------------------------------------------------------


def open_sender_pool(
    config: Config,
    *,
    has_spool: bool,
    transport: Transport | None,
    bucket: Callable[[], LeasedBucket] | None,
    ledger: Ledger,
    notices: Notices,
    max_bytes: int,
    keeps_all: bool = False,
    monotonic: Callable[[], float] = time.monotonic,
) -> SenderPool:
    """Return the senders for these settings, without connecting to a server or touching a file.

    transport, bucket: if None, the settings decide.
    keeps_all: nothing is dropped for lack of memory or tokens; see `Outbox`.
    """
    make_bucket = bucket or _bucket(config, notices, has_spool=has_spool)

    def store() -> SpoolStore | None:
        if not has_spool:
            return None
        from pandaprobe_otel.delivery.spool.store import SpoolStore  # SQLite takes time to load

        return SpoolStore(
            spool_folder(config),
            destination_of(config),
            notices=notices,
            max_bytes=config.max_spool_bytes,
            monotonic=monotonic,
        )

    return SenderPool(
        policy=lambda: DeliveryPolicy(
            outbox=Outbox(max_bytes, store(), keeps_all=keeps_all),
            bucket=make_bucket(),
            ledger=ledger,
            notices=notices,
            project=config.project_name,
            max_traces_per_day=config.max_traces_per_day,
        ),
        transport=transport or _transport(config),
        look=_look(config, notices),
        monotonic=monotonic,
    )


def _look(config: Config, notices: Notices) -> Callable[[Transport], None] | None:
    """Return a function that warns of a project without older traces: a misspelt name makes a new project.

    A server on this machine shows its projects, and they cost nothing.
    """
    if config.is_local or config.sources.get("project_name") == "default":
        return None
    before = rfc3339(time.time_ns() - _JUST_NOW_NS)  # of a script that is started again, the first run warns too

    def look(transport: Transport) -> None:
        path = f"/traces?limit=1&started_before={before}"
        answer = transport.send(Request(method="GET", path=path, timeout_s=_LOOK_TIMEOUT_S, most_read=_MOST_READ))
        if isinstance(answer, Answer) and answer.status == 200 and json_object(answer.body).get("total") == 0:
            notices.report("new_project", project=config.project_name)

    return look


def _transport(config: Config) -> Transport:
    project, ask = config.project_name, config.api_key
    transport = delivery_transport(config.endpoint, api_key_headers(config.fixed_key or "", project))
    if ask is None or isinstance(ask, str):
        return transport
    return KeyFunctionTransport(transport, ask=ask, project_name=project)


def _bucket(config: Config, notices: Notices, *, has_spool: bool) -> Callable[[], LeasedBucket]:
    """Return a function that makes a bucket for this process, or one shared by all processes with this key."""
    url = config.redis_url
    if url is None and not has_spool:
        return LeasedBucket
    key_digest = destination_of(config).key_digest
    if url is not None:
        from pandaprobe_otel.delivery.redis_tokens import RedisLeases, RedisTokens

        return lambda: LeasedBucket(tokens=RedisTokens(RedisLeases(url, key_digest), notices), clock=boot_clock)
    from pandaprobe_otel.delivery.spool.lease_file import FileTokens

    path = spool_folder(config) / f"leases-{key_digest}"
    return lambda: LeasedBucket(tokens=FileTokens(path), clock=boot_clock)
