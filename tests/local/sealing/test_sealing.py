"""Sealing: the data that is kept for a trace always equals the data derived from its current state."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.local.models.traces import SpanCreate, SpanUpdate, TraceCreate, TraceUpdate
from pandaprobe_otel.local.sealing.derivation import Derivation
from pandaprobe_otel.local.sealing.sealer import QUIET_S, Sealer
from pandaprobe_otel.local.sealing.seals import Seals
from pandaprobe_otel.local.sealing.stored_trace import StoredTrace, read_trace
from pandaprobe_otel.local.store.database import MEMORY, Database
from pandaprobe_otel.local.store.traces import TraceStore

AT = "2026-01-01T00:00:00Z"


def content(trace: StoredTrace) -> str:
    """Return the whole content of a trace as text."""
    return repr(trace.record)


def written(version: int = 1, derive: Callable[[StoredTrace], Any] = content) -> Derivation:
    """Return a derivation that keeps the whole trace, and fails if it is to forget anything else."""

    def keep(connection: sqlite3.Connection, traces: Sequence[tuple[StoredTrace, str]]) -> None:
        connection.executemany("INSERT INTO kept VALUES (?, ?)", [(trace.seq, text) for trace, text in traces])

    def forget(connection: sqlite3.Connection, trace: StoredTrace, text: str) -> None:
        gone = connection.execute("DELETE FROM kept WHERE seq = ? AND text = ?", (trace.seq, text)).rowcount
        assert gone == 1, "forget() got a text that was not kept"

    def clear(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (seq INTEGER PRIMARY KEY, text TEXT)")
        connection.execute("DELETE FROM kept")

    return Derivation(name="written", version=version, derive=derive, keep=keep, forget=forget, clear=clear)


class Store:
    """A store of one project with a sealer."""

    def __init__(self, path: str | Path = MEMORY, derivations: Sequence[Derivation] = (written(),)) -> None:
        self.database = Database(path)
        with self.database.write() as connection:
            connection.execute("INSERT OR IGNORE INTO organizations VALUES ('o', 'o', 'free', 0, 's', 0, 0, 0, 0, 0)")
            connection.execute("INSERT OR IGNORE INTO projects VALUES ('p', 'o', 'p', '', 0)")
        self.seals = Seals(self.database, derivations)
        self.traces = TraceStore(self.database, self.seals)
        self.sealer = Sealer(self.database, self.seals, monotonic=lambda: 0.0)  # time stands still: no trace is quiet

    def post(self, number: int, text: str) -> None:
        """Store a trace with two spans, or merge it with the stored one."""
        spans = [{"span_id": UUID(int=2 * number + each), "name": text, "started_at": AT} for each in (0, 1)]
        body = {"trace_id": UUID(int=number), "name": text, "started_at": AT, "input": text, "spans": spans}
        with self.database.write() as connection:
            self.traces.save(connection, "p", TraceCreate.model_validate(body), now=0)

    def kept(self) -> dict[int, str]:
        """Return the kept data of traces, by their numbers."""
        with self.database.read() as connection:
            return dict(tuple(row) for row in connection.execute("SELECT seq, text FROM kept"))

    def derived(self) -> dict[int, str]:
        """Return the data derived from all traces in their current state."""
        with self.database.read() as connection:
            seqs = [row["seq"] for row in connection.execute("SELECT seq FROM traces")]
            traces = [read_trace(connection, seq) for seq in seqs]
        return {trace.seq: content(trace) for trace in traces if trace is not None}

    def close(self) -> None:
        """Stop the thread and close the file."""
        self.sealer.stop(5)
        self.database.close()


@contextmanager
def opened(path: str | Path = MEMORY, derivations: Sequence[Derivation] = (written(),)) -> Generator[Store]:
    """Yield a store."""
    store = Store(path, derivations)
    try:
        yield store
    finally:
        store.close()


NUMBERS = st.integers(1, 4)
TEXTS = st.sampled_from(["a", "b", "c"])
STEPS: dict[str, Callable[[Store, int, str], Any]] = {
    "post": lambda store, number, text: store.post(number, text),
    "patch": lambda store, number, text: store.traces.patch("p", str(UUID(int=number)), TraceUpdate(name=text)),
    "add spans": lambda store, number, text: store.traces.add_spans(
        "p",
        str(UUID(int=number)),
        [SpanCreate.model_validate({"span_id": UUID(int=100 + number), "name": text, "started_at": AT})],
    ),
    "patch a span": lambda store, number, text: store.traces.patch_span(
        "p", str(UUID(int=number)), str(UUID(int=2 * number)), SpanUpdate(name=text)
    ),
    "delete": lambda store, number, _: store.traces.delete("p", [str(UUID(int=number))]),
    "tag": lambda store, number, text: store.traces.change_tags("p", [str(UUID(int=number))], [text], []),
    "seal": lambda store, _number, _text: store.sealer.seal_now(),
}


@given(st.lists(st.tuples(st.sampled_from([*STEPS]), NUMBERS, TEXTS), max_size=20))
@settings(max_examples=40)
def test_derived_data_are_never_those_of_an_older_state(steps: list[tuple[str, int, str]]) -> None:
    """Nothing derived from an older state of a trace is ever kept; after sealing, data of each trace is kept."""
    with opened() as store:
        for step, number, text in steps:
            STEPS[step](store, number, text)
            assert store.kept().items() <= store.derived().items()
        store.sealer.seal_now()

        assert store.kept() == store.derived()


def test_a_trace_that_changes_while_it_is_read_is_sealed_later() -> None:
    """If a trace changes while it is read, the data derived from the older state is not kept."""
    changed = False

    def derive(trace: StoredTrace) -> str:
        nonlocal changed
        if not changed:
            changed = True
            store.post(1, "newer")
        return content(trace)

    with opened(derivations=[written(derive=derive)]) as store:
        store.post(1, "older")
        store.sealer.seal_now()

        assert store.kept() == store.derived()
        assert "newer" in store.kept()[1]


def test_a_new_version_derives_all_anew(tmp_path: Path) -> None:
    """A new version of a derivation derives everything again; an unchanged version reads no trace again."""
    read: list[int] = []

    def derive(trace: StoredTrace) -> str:
        read.append(trace.seq)
        return content(trace)

    for version, wanted in ((1, [1, 2]), (1, []), (2, [1, 2])):
        read.clear()
        with opened(tmp_path / "p.db", [written(version, derive)]) as store:
            if not store.derived():
                store.post(1, "a")
                store.post(2, "b")
            store.sealer.seal_now()

            assert read == wanted
            assert store.kept() == store.derived()


def test_a_trace_that_cannot_be_sealed_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """A trace whose derivation fails is logged and stays unsealed until it changes; other traces are sealed."""

    def derive(trace: StoredTrace) -> str:
        if trace.row["name"] == "bad":
            raise ValueError("bad")
        return content(trace)

    with opened(derivations=[written(derive=derive)]) as store:
        store.post(1, "bad")
        store.post(2, "good")
        store.sealer.seal_now()
        assert store.kept().keys() == {2}
        assert "trace 1 cannot be indexed" in caplog.text

        store.post(1, "good")
        store.sealer.seal_now()
        assert store.kept() == store.derived()


def test_a_change_is_not_refused_for_what_cannot_be_forgotten() -> None:
    """If old derived data cannot be removed exactly, everything is derived again, so that nothing old is kept."""
    works = True

    def derive(trace: StoredTrace) -> str:
        assert works
        return content(trace)

    with opened(derivations=[written(derive=derive)]) as store:
        store.post(1, "a")
        store.post(2, "b")
        store.sealer.seal_now()
        works = False
        store.post(1, "c")
        assert store.kept() == {}

        works = True
        store.sealer.seal_now()
        assert store.kept() == store.derived()


def test_the_thread_seals_what_is_quiet() -> None:
    """The thread seals a trace once its last change is half a second old, and not earlier."""
    sealed, now = threading.Event(), 0.0

    def keep(_connection: sqlite3.Connection, traces: Sequence[tuple[StoredTrace, str]]) -> None:
        seen.extend((trace.seq, now) for trace, _ in traces)
        sealed.set()

    def clock() -> float:
        nonlocal now
        now += 0.25
        return now

    seen: list[tuple[int, float]] = []
    database = Database()
    nothing = Derivation(
        name="seen", version=1, derive=content, keep=keep, forget=lambda *_: None, clear=lambda _: None
    )
    seals = Seals(database, [nothing])
    sealer = Sealer(database, seals, monotonic=clock)
    try:
        with database.write() as connection:
            connection.execute("INSERT INTO organizations VALUES ('o', 'o', 'free', 0, 's', 0, 0, 0, 0, 0)")
            connection.execute("INSERT INTO projects VALUES ('p', 'o', 'p', '', 0)")
            body = {"trace_id": UUID(int=1), "name": "n", "started_at": AT}
            TraceStore(database, seals).save(connection, "p", TraceCreate.model_validate(body), now=0)
        assert sealed.wait(60)
    finally:
        sealer.stop(60)
        database.close()

    [(seq, moment)] = seen
    assert seq == 1
    assert moment >= QUIET_S


class Waits(threading.Condition):
    """A condition that notes how long it is to wait, and waits a hundredth of a second."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Note the timeout."""
        self.noted.append(timeout)
        return super().wait(0.01)


@pytest.mark.parametrize("still_changes", [True, False])
def test_the_thread_rests_while_traces_change(still_changes: bool) -> None:
    """After a transaction that took 7 s, the thread pauses for 7 s, unless no trace has changed lately."""
    now, sealed = 0.0, threading.Event()

    def derive(_trace: StoredTrace) -> str:
        nonlocal now
        now += 7
        return ""

    def keep(_connection: sqlite3.Connection, traces: Sequence[tuple[StoredTrace, str]]) -> None:
        if still_changes:
            sealer._recent[999] = now  # a change of another trace
        sealed.set()

    seen = Derivation(name="seen", version=1, derive=derive, keep=keep, forget=lambda *_: None, clear=lambda _: None)
    with opened(derivations=[seen]) as store:
        waits = Waits()
        sealer = store.sealer = Sealer(store.database, store.seals, monotonic=lambda: now)
        sealer._changed = waits
        store.post(1, "a")
        now = 2.0
        assert sealed.wait(60)
        while sealer._recent and 7.0 not in waits.noted and len(waits.noted) < 100:
            time.sleep(0.001)
        sealer.stop(60)

    assert (7.0 in waits.noted) == still_changes
