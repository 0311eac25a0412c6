"""Files that a process leaves, and the requests that the next one recovers and sends."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pandaprobe_otel.delivery.outbox import MAX_AGE_S
from pandaprobe_otel.delivery.parcel import OBJECTS, Step
from pandaprobe_otel.delivery.send_file import send_file
from pandaprobe_otel.delivery.spool.destination import Destination
from pandaprobe_otel.delivery.spool.inspection import refusals
from pandaprobe_otel.delivery.spool.lock_file import LockFile
from pandaprobe_otel.mapping.encoded_spans import NO_SPANS
from pandaprobe_otel.process.background import descriptors_of
from pandaprobe_otel.transport.outcome import Answer, NoAnswer, Outcome, Request
from spools import DESTINATION, Content, FunctionTransport, Run, Service, content_of, create
from waiting import wait_until


def numbers(requests: Iterable[Content]) -> list[str]:
    """Return the last digits of the requests' trace ids, sorted."""
    return sorted(request.trace_id[-1] for request in requests)


def test_waiting_requests_are_recovered_byte_for_byte(tmp_path: Path) -> None:
    """Every field of every kind of request is recovered byte for byte."""
    requests = [
        create(1, spans=3, size=20_000, is_error=True),
        replace(create(2), step=Step.APPEND, is_remote=True, name="ü\udce4"),
        replace(create(3), step=Step.FINISH, spans=NO_SPANS),
        replace(create(4), step=Step.SCORE, spans=NO_SPANS, name=""),
    ]
    first = Run(tmp_path)
    first.put(*requests)
    first.die()

    found = Run(tmp_path).contents()
    assert sorted(found, key=lambda content: content.trace_id) == [content_of(request) for request in requests]


def test_only_what_was_started_is_in_doubt(tmp_path: Path) -> None:
    """A create that may have been sent is looked up after five seconds; a create that was not sent goes at once."""
    first = Run(tmp_path)
    started, _ = first.put(create(1), create(2))
    first.start(started)
    first.die()

    second = Run(tmp_path)
    second.look_around()
    assert {parcel.trace_id[-1]: parcel.in_doubt for parcel in second.outbox} == {"1": True, "2": False}
    (other,) = (parcel for parcel in second.outbox if not parcel.in_doubt)
    assert second.outbox.next(0.0)[0] is other
    second.start(other)
    turns = [second.outbox.next(now)[0] for now in (4.9, 5.0)]
    assert [None if turn is None else turn.trace_id[-1] for turn in turns] == [None, "1"]


def test_the_content_is_on_disk_alone_until_its_turn(tmp_path: Path) -> None:
    """A waiting request takes little memory, and so does a request that failed and waits again."""
    run = Run(tmp_path)
    (parcel,) = run.put(create(1, size=50_000))
    assert run.outbox.bytes < 1_000
    run.start(parcel)
    assert content_of(parcel) == content_of(create(1, size=50_000))
    run.outbox.retry(parcel, 9.0)
    assert run.outbox.bytes < 1_000


def test_a_trace_under_a_derived_id_takes_the_place_of_the_spans_that_waited(tmp_path: Path) -> None:
    """If the process dies after an adoption, the derived trace is on disk instead of the spans it was made of."""
    run = Run(tmp_path)
    remote = replace(create(1), step=Step.APPEND, is_remote=True)
    first, _ = run.put(remote, remote)
    run.outbox.adopt(first, "shop", 0.0)
    run.outbox.save()
    run.die()

    kept = Run(tmp_path).contents()
    assert [request.step for request in kept] == [Step.CREATE, Step.APPEND]
    assert remote.trace_id not in {request.trace_id for request in kept}


def test_a_large_file_of_another_process_is_moved_in_batches(tmp_path: Path) -> None:
    """The parcels of further dead processes move in bounded batches, in order, with their age and their doubt."""
    dead = [Run(tmp_path), Run(tmp_path), Run(tmp_path)]
    dead[0].put(create(1))
    (first,) = databases(tmp_path)
    dead[2].put(create(20))
    (last,) = {*databases(tmp_path)} - {first}
    started, *_ = dead[1].put(*(create(number, size=1_000_000 if number < 11 else 0) for number in range(2, 20)))
    dead[1].start(started)
    for run in dead:
        run.die()
    for path, age_s in ((first, 60), (last, -60)):  # the oldest is found first, and a clock may not have moved
        os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    heir, batches = Run(tmp_path), list[int]()
    while heir.outbox.inspect_at <= heir.now:
        heir.look_around()
        batches.append(len(heir.outbox))
    heir.die()

    assert batches == [9, 20]
    second = Run(tmp_path)
    assert [content.trace_id for content in second.contents()] == [create(number).trace_id for number in range(1, 21)]
    assert [parcel.in_doubt for parcel in second.outbox] == [False, True] + [False] * 18
    assert len(databases(tmp_path)) == 1


def test_a_report_of_drops_is_not_written_to_disk(tmp_path: Path) -> None:
    """A report of drops added to a trace is not written to disk, since it counts drops of this process alone."""
    run = Run(tmp_path)
    (parcel,) = run.put(create(1))
    assert run.outbox.open(parcel, 0.0)
    run.outbox.amend(parcel, b'{"metadata":{"dropped":1}}')
    run.outbox.save()
    assert parcel.fields == b'{"metadata":{"dropped":1}}'
    run.die()

    assert Run(tmp_path).contents() == [content_of(create(1))]


def test_a_restart_goes_on_in_the_same_file(tmp_path: Path) -> None:
    """A process that keeps crashing does not fill the directory with files."""
    for number in range(20):
        run = Run(tmp_path)
        run.look_around()
        run.put(create(number))
        run.die()

    assert len(list(tmp_path.glob("*.sqlite"))) == 1
    assert len(Run(tmp_path).contents()) == 20


def test_requests_for_other_settings_are_left_alone(tmp_path: Path) -> None:
    """Requests for another key, project or endpoint are not sent with this run's settings."""
    first = Run(tmp_path)
    first.put(create(1))
    first.die()
    for other in (
        Destination(endpoint=DESTINATION.endpoint, project="other", api_key="sk_pp_1"),
        Destination(endpoint=DESTINATION.endpoint, project="shop", api_key="sk_pp_2"),
        Destination(endpoint="http://127.0.0.1:2", project="shop", api_key="sk_pp_1"),
    ):
        assert Run(tmp_path, destination=other).contents() == []

    assert len(Run(tmp_path).contents()) == 1
    assert not any(b"sk_pp_1" in path.read_bytes() for path in tmp_path.iterdir())


def test_a_request_that_waited_a_week_is_given_up_and_counted(tmp_path: Path) -> None:
    """A request that has waited for a week is dropped and counted, unless it is being sent."""
    run = Run(tmp_path)
    old, under_way = run.put(create(1), create(2))
    run.start(under_way)
    run.now = MAX_AGE_S - 60
    run.put(create(3))
    run.look_around()
    assert run.gone.total() == 0

    run.now = MAX_AGE_S + 60
    run.look_around()
    assert run.gone["expired"] == 1
    assert old not in list(run.outbox)
    run.die()
    assert numbers(Run(tmp_path).contents()) == ["2", "3"]


def test_the_bound_is_shared_with_living_processes(tmp_path: Path) -> None:
    """Space used by other processes is not available, but each process may have an equal share."""
    other = Run(tmp_path)
    other.put(*(create(number, size=100_000) for number in range(10)))
    other.store.before_fork()  # checkpoints the log into the database, whose size is measured
    run = Run(tmp_path, max_bytes=1_000_000)
    run.put(*(create(number, size=100_000) for number in range(10)))
    run.look_around()

    assert len(run.outbox) == 4


def test_the_bound_of_the_memory_holds_for_what_is_on_disk_too(tmp_path: Path) -> None:
    """Each waiting request on disk counts toward the memory bound, however small it is."""
    run = Run(tmp_path, max_memory=60_000)
    run.put(*(create(number) for number in range(300)))
    run.look_around()

    assert run.outbox.bytes <= 60_000
    assert len(run.outbox) + run.gone["spool_full"] == 300
    assert run.gone.keys() == {"spool_full", "spool_damaged"}
    assert not run.gone["spool_damaged"]


def test_a_deleted_directory_is_made_again_and_what_is_known_is_written_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Requests only on disk are read through the open file, and those in memory are written again."""
    folder = tmp_path / "spool"
    run = Run(folder)
    run.look_around()
    _, under_way = run.put(create(1), create(2))
    run.start(under_way)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    run.now = 5.0
    with caplog.at_level(logging.WARNING):
        run.look_around()
    run.die()

    assert not run.gone.total()
    assert numbers(Run(folder).contents()) == ["1", "2"]
    assert len(caplog.records) == 1


def test_a_file_of_a_later_version_is_left_alone_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file of a newer release of this library is not touched, and one warning is logged."""
    first = Run(tmp_path)
    first.put(create(1))
    first.die()
    (path,) = tmp_path.glob("*.sqlite")
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    run = Run(tmp_path)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert run.contents() == []
            run.now += 5.0

    assert path.exists()
    assert len(caplog.records) == 1
    assert "version 99" in caplog.text


def test_a_full_disk_keeps_requests_in_memory_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk causes one warning and the memory bound holds; requests are written once the disk works."""
    blocker = tmp_path / "spool"
    blocker.write_text("not a directory")
    run = Run(blocker, max_memory=25_000)
    with caplog.at_level(logging.INFO):
        for second in range(10):
            run.now = float(second)
            run.put(create(second, size=10_000))
            assert run.outbox.bytes <= 25_000
            run.look_around()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert run.gone["queue_full"] == 8
        assert len(run.outbox) == 2
        assert not run.outbox.is_kept
        blocker.unlink()
        run.now = 60.0
        run.look_around()

    assert run.outbox.is_kept
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    run.die()
    assert len(Run(blocker).contents()) == 2


def test_requests_that_are_being_sent_cost_none_that_wait_on_disk(tmp_path: Path) -> None:
    """The bound on memory drops no request on disk to make room for contents that are loaded for sending."""
    run = Run(tmp_path, max_memory=20 * OBJECTS + 10_000)
    parcels = run.put(*(create(number, size=10_000) for number in range(20)))
    for parcel in parcels[:4]:
        run.start(parcel)
    run.look_around()

    assert run.gone.total() == 0
    assert len(run.contents()) == 20


def test_a_file_whose_lock_the_app_has_closed_may_belong_to_another_process(tmp_path: Path) -> None:
    """A file that another process took is left to it, and counted; one that nobody took is used again."""
    run = Run(tmp_path)
    run.put(create(1), create(2))
    (lock,) = tmp_path.glob("*.lock")
    _take_descriptor(lock)
    run.put(create(3))
    assert numbers(run.contents()) == ["1", "2", "3"]

    _take_descriptor(lock)
    other = LockFile.take(lock)
    assert other is not None
    run.put(create(4))
    assert numbers(run.contents()) == ["4"]
    assert run.gone["taken_over"] == 3
    other.close()
    assert numbers(Run(tmp_path).contents()) == ["1", "2", "3"]


def _take_descriptor(path: Path) -> None:
    """Use the number of a file's descriptor for another file."""
    (descriptor,) = descriptors_of([path])
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, descriptor.number)
    os.close(null)


# -- with senders and a server --


class Store:
    """A server that stores traces, and answers only while `up` is True."""

    def __init__(self) -> None:
        self.up = True
        self.traces: dict[str, int] = {}
        self.posted: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Outcome:
        if not self.up:
            return NoAnswer(reason="ConnectError", may_have_arrived=False)
        with self._lock:
            body: Any = json.loads(request.body) if request.body else None
            if request.path == "/traces":
                self.posted.append(body["trace_id"])
                self.traces[body["trace_id"]] = self.traces.get(body["trace_id"], 0) + len(body["spans"])
                return Answer(status=202)
            trace_id = request.path.split("/")[2]
            if trace_id not in self.traces:
                return Answer(status=404, body=b'{"detail":"Trace not found."}')
            if request.method == "POST":
                self.traces[trace_id] += len(body)
            return Answer(status=200)


def is_balanced(service: Service, *, pending: int = 0) -> bool:
    """Return whether the ledger adds up, with this many spans waiting."""
    counts = service.ledger.read()
    return counts.ended == counts.delivered + sum(counts.dropped.values()) + pending


def databases(folder: Path) -> list[Path]:
    """Return the spool's databases."""
    return list(folder.glob("*.sqlite"))


def test_over_the_bound_of_the_spool_the_oldest_go_and_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full spool drops its oldest traces, counts them, and keeps those with errors."""
    store = Store()
    store.up = False
    service = Service(tmp_path, store, max_bytes=50_000, max_spool_bytes=500_000)
    with caplog.at_level(logging.WARNING):
        for number in range(100):
            service.put(create(number, size=10_000, is_error=number % 20 == 0))
        wait_until(lambda: service.ledger.read().dropped.get("spool_full", 0) >= 45)
    wait_until(lambda: any("spool is full" in record.message for record in caplog.records))
    store.up = True
    assert service.flush()
    service.close()

    assert sum("spool is full" in record.message for record in caplog.records) == 1
    assert service.ledger.read().dropped["spool_full"] <= 55
    assert {create(number).trace_id for number in range(0, 100, 20)} <= set(store.posted)
    assert is_balanced(service)


def test_the_pieces_of_a_body_that_was_too_large_survive_a_crash(tmp_path: Path) -> None:
    """After a crash between two pieces of a request, the next process sends the remaining pieces."""
    store = Store()

    def proxy(request: Request) -> Outcome:
        if request.body and len(request.body) > 120_000:
            return Answer(status=413, body=b"too large")
        if request.path.endswith("/spans") and store.up:
            return Answer(status=503, body=b"")
        return store(request)

    service = Service(tmp_path, proxy)
    service.put(create(1, spans=40, size=10_000))
    wait_until(lambda: service.ledger.read().delivered)
    service.save()
    service.close(0.2)
    delivered = service.ledger.read().delivered
    assert 0 < delivered < 40
    heir = Service(tmp_path, store)
    assert heir.flush()
    heir.close()

    assert store.traces == {create(1).trace_id: 40}
    assert len(store.posted) == 1


def test_a_refused_trace_is_kept_with_all_its_parts(tmp_path: Path) -> None:
    """All spans of a trace whose create is given up are kept as refused requests, also those of later parts."""

    def proxy(request: Request) -> Outcome:
        return Answer(status=413 if request.method == "POST" else 404, body=b"too large")

    service = Service(tmp_path, proxy)
    service.put(create(1, spans=40, size=10_000))
    assert service.flush()
    counts = service.ledger.read()
    service.close()

    assert (counts.pending, counts.dropped) == (0, {"too_large": 40})
    assert sum(refusal.spans for refusal in refusals(tmp_path)) == 40
    (path,) = tmp_path.glob("refused-*.jsonl")
    store = Store()
    sent = send_file(path, FunctionTransport(store), "shop")
    assert (sent.traces, sent.spans, sent.bad_lines) == (1, 40, ())
    assert store.traces == {create(1).trace_id: 40}


def test_all_files_of_dead_processes_are_emptied(tmp_path: Path) -> None:
    """A process makes one file its own and empties the others, and a flush waits for all of them."""
    store = Store()
    store.up = False
    services = [Service(tmp_path, store) for _ in range(12)]
    for number, service in enumerate(services):
        service.put(create(number))
        service.save()
    assert len(databases(tmp_path)) == 12
    for service in services:  # one after the other: each soon releases its file
        service.close(0.5)
    store.up = True
    heir = Service(tmp_path, store)
    assert heir.flush()
    heir.close()

    assert len(store.posted) == 12
    assert list(tmp_path.iterdir()) == []
