"""Background thread that seals traces within a second after their last change.

Each transaction seals only a few traces, since requests wait for it. With 25, the 99th percentile of a POST was 45 ms
higher.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from pandaprobe_otel.local.payloads import dumps
from pandaprobe_otel.local.sealing.compressed_blocks import packed, payloads_of
from pandaprobe_otel.local.sealing.derivations import derive
from pandaprobe_otel.local.sealing.seals import Sealable, Seals
from pandaprobe_otel.local.sealing.stored_trace import StoredTrace, read_trace
from pandaprobe_otel.local.store.database import Database

_log = logging.getLogger(__name__)

QUIET_S: Final = 0.5
BETWEEN_S: Final = 0.25
"""Shortest time between two rounds. Traces share pages of the index, so several of them cost less than each alone."""
MOST_AT_ONCE: Final = 5


class Sealer:
    """Sealer of quiet traces, which stores their derived data. Its thread starts with the first change."""

    def __init__(self, database: Database, seals: Seals, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._seals = seals
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._recent: dict[int, float] = {}
        # A trace whose derivation fails stays unsealed, which only makes searches slower.
        self._failed: set[int] = set()
        self._next_round = -math.inf
        self._woken = self._stopping = False
        self._thread: threading.Thread | None = None
        seals.on_change = self._note

    def resume(self) -> None:
        """Seal the traces that an earlier process or version left."""
        with self._database.read() as connection:
            left = connection.execute("SELECT 1 FROM unsealed LIMIT 1").fetchone() is not None
        if left:
            self._woken = True
            self._note(())

    def seal_now(self) -> None:
        """Seal all traces now, however recent their changes are."""
        while self._seal_some(()):
            pass

    def stop(self, timeout_s: float) -> None:
        """End the thread after its current transaction."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _note(self, seqs: Sequence[int]) -> None:
        with self._changed:
            now = self._monotonic()
            is_awaited = self._woken or not self._recent  # else the thread wakes in time by itself
            self._recent.update((seq, now) for seq in seqs)
            self._failed.difference_update(seqs)
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._work, name="pandaprobe-local-sealer", daemon=True)
                self._thread.start()
            if is_awaited:
                self._changed.notify()

    def _work(self) -> None:
        while self._wait():
            begun = self._monotonic()
            while not self._stopping and self._seal_some(self._still_changing()):
                self._rest(self._monotonic() - begun)
                begun = self._monotonic()

    def _rest(self, took_s: float) -> None:
        """Pause as long as the last transaction took if traces still change, so that requests get half of the time."""
        with self._changed:
            if self._recent and not self._stopping:
                self._changed.wait(took_s)

    def _wait(self) -> bool:
        """Wait for a change, or until a trace has been quiet long enough. Return False at the end."""
        with self._changed:
            while not self._woken and not self._stopping:
                oldest = min(self._recent.values(), default=None)
                left_s = None if oldest is None else max(oldest + QUIET_S, self._next_round) - self._monotonic()
                if left_s is not None and left_s <= 0:
                    break
                self._changed.wait(left_s)
            self._woken = False
            self._next_round = self._monotonic() + BETWEEN_S
            return not self._stopping

    def _still_changing(self) -> list[int]:
        with self._changed:
            quiet = self._monotonic() - QUIET_S
            self._recent = {seq: changed for seq, changed in self._recent.items() if changed > quiet}
            return list(self._recent)

    def _seal_some(self, leave: Collection[int]) -> bool:
        found = self._read(leave)
        ready: list[Sealable] = []
        for trace, changes in found:
            try:
                derived = derive(trace, self._seals.derivations)
                ready.append(Sealable(trace, changes, derived, packed(payloads_of(trace))))
            except Exception:  # noqa: BLE001 - one trace must not keep the others from being sealed
                _log.warning("pandaprobe local: trace %s cannot be indexed", trace.seq, exc_info=True)
                self._failed.add(trace.seq)
        try:
            with self._database.write() as connection:
                self._seals.close(connection, ready)
        except Exception:  # noqa: BLE001 - the thread goes on; what is not sealed is searched without an index
            _log.warning("pandaprobe local: traces cannot be indexed", exc_info=True)
            self._failed.update(each.trace.seq for each in ready)
        return bool(found)

    def _read(self, leave: Collection[int]) -> list[tuple[StoredTrace, int]]:
        left = dumps([*leave, *self._failed]).decode()
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT trace_seq, changes FROM unsealed WHERE trace_seq NOT IN (SELECT value FROM json_each(?))"
                " ORDER BY trace_seq LIMIT ?",
                (left, MOST_AT_ONCE),
            ).fetchall()
            traces = [(read_trace(connection, row["trace_seq"]), row["changes"]) for row in rows]
        return [(trace, changes) for trace, changes in traces if trace is not None]
