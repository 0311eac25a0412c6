"""Delivery with a spool: what is sent, kept, left behind and recovered."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.delivery.spool.dead_letters import DeadLetters
from pandaprobe_otel.mapping.encoded_spans import NO_SPANS
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Outcome, Request
from spools import Service, create
from waiting import wait_until


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


def test_a_delivered_trace_leaves_nothing_behind(tmp_path: Path) -> None:
    """A delivered trace is acknowledged on disk, and the file is deleted at the end."""
    store = Store()
    service = Service(tmp_path, store)
    service.put(*(create(number, spans=2) for number in range(30)))
    assert service.flush()
    assert service.close() == 0

    assert len(store.posted) == 30
    assert is_balanced(service)
    assert list(tmp_path.iterdir()) == []


def test_unsent_traces_stay_for_the_next_process(tmp_path: Path) -> None:
    """Flush returns True since all is on disk, shutdown drops nothing, and the next process sends each trace once."""
    store = Store()
    store.up = False
    service = Service(tmp_path, store)
    service.put(*(create(number, spans=2) for number in range(10)))
    service.save()
    assert service.close(0.4) == 0
    assert service.delivery.left_behind == 20
    assert is_balanced(service, pending=20)

    store.up = True
    heir = Service(tmp_path, store)
    assert heir.flush()
    assert heir.close() == 0
    assert sorted(store.posted) == sorted(create(number).trace_id for number in range(10))
    assert is_balanced(heir)
    assert heir.ledger.read().delivered == 20
    assert list(tmp_path.iterdir()) == []


def test_a_create_that_arrived_before_the_crash_is_not_posted_again(tmp_path: Path) -> None:
    """The trace is looked up first, since a second POST would be billed."""
    store = Store()

    def answers_get_lost(request: Request) -> Outcome:
        store(request)
        return NoAnswer(reason="ReadError", may_have_arrived=True)

    service = Service(tmp_path, answers_get_lost)
    service.put(create(1))
    wait_until(lambda: store.posted)
    service.save()
    service.close(0.1)
    heir = Service(tmp_path, store)
    assert heir.flush()
    heir.close()

    assert store.posted == [create(1).trace_id]
    assert [request.method for request in heir.function.requests] == ["GET"]
    assert heir.ledger.read().delivered == 1


def test_the_memory_stays_bounded_while_the_spool_grows(tmp_path: Path) -> None:
    """Many times the memory bound waits on disk, and every trace arrives."""
    store = Store()
    store.up = False
    service = Service(tmp_path, store, max_bytes=140_000)
    highest = 0
    for number in range(200):
        service.put(create(number, size=10_000))
        highest = max(highest, service.outbox.bytes)
    service.save()
    store.up = True
    assert service.flush()
    service.close()

    assert highest <= 140_000
    assert len(store.traces) == len(store.posted) == 200
    assert is_balanced(service)


def test_appends_never_overtake_their_create(tmp_path: Path) -> None:
    """An append and a finish wait behind their create, on disk as in memory."""
    store = Store()
    store.up = False
    service = Service(tmp_path, store, max_bytes=50_000)
    service.put(*(create(number, size=10_000) for number in range(20)))
    for number in range(20):
        service.put(
            replace(create(number), step=Step.APPEND), replace(create(number), step=Step.FINISH, spans=NO_SPANS)
        )
    service.save()
    store.up = True
    assert service.flush()
    service.close()

    assert set(store.traces.values()) == {2}
    assert sum(answer == "not found" for answer in service.ledger.read().answers) == 0
    assert is_balanced(service)


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


def test_a_refused_request_becomes_a_dead_letter_with_the_words_of_the_server(tmp_path: Path) -> None:
    """A refused request is dropped and counted as without a spool, and is also kept for inspection."""
    body = json.dumps({"detail": "Validation error", "errors": [{"field": "session_id", "message": "too odd"}]})
    service = Service(tmp_path, lambda request: Answer(status=422, body=body.encode()))
    service.put(create(1, spans=3))
    assert service.flush()
    service.close()

    assert service.ledger.read().dropped == {"refused": 3}
    with sqlite3.connect(tmp_path / "dead-letters.db") as db:
        rows = db.execute("SELECT trace_id, project, words FROM letter").fetchall()
    db.close()
    assert rows == [(create(1).trace_id, "shop", "422 session_id: too odd")]
    assert databases(tmp_path) == []


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
    letters = [letter.request for letter in DeadLetters(tmp_path).all()]

    assert (counts.pending, counts.dropped) == (0, {"too_large": 40})
    assert sum(len(request.spans) for request in letters if request) == 40


def test_a_size_that_was_refused_is_not_tried_again_after_a_restart(tmp_path: Path) -> None:
    """A size limit learned from one refusal applies to all processes that use the directory."""
    refused: list[int] = []
    store = Store()

    def proxy(request: Request) -> Outcome:
        if request.body and len(request.body) > 256 * 1024:
            refused.append(len(request.body))
            return Answer(status=413, body=b"too large")
        return store(request)

    first = Service(tmp_path, proxy)
    first.put(create(1, spans=40, size=10_000))
    assert first.flush()
    first.close()
    assert len(refused) == 1

    second = Service(tmp_path, proxy)
    second.delivery.begin()
    assert second.flush()  # flush returns after a sender has read the directory
    second.put(create(2, spans=40, size=10_000))
    assert second.flush()
    second.close()
    assert len(refused) == 1
    assert store.traces == {create(1).trace_id: 40, create(2).trace_id: 40}


def test_without_a_usable_directory_it_is_a_delivery_like_any_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An unusable directory is logged once; flush is False while requests are only in memory; shutdown drops them."""
    blocker = tmp_path / "file"
    blocker.write_text("")
    store = Store()
    service = Service(blocker, store)
    with caplog.at_level(logging.WARNING):
        service.put(*(create(number) for number in range(5)))
        assert service.flush()
        store.up = False
        service.put(*(create(number) for number in range(5, 8)))
        assert not service.flush(0.3)
        assert service.close(0.3) == 3

    assert len(store.posted) == 5
    assert is_balanced(service)
    assert sum("cannot be written" in record.message for record in caplog.records) == 1


def test_when_the_directory_becomes_usable_what_is_in_memory_is_written(tmp_path: Path) -> None:
    """Once a full disk works again, requests in memory are written and survive the process."""
    blocker = tmp_path / "spool"
    blocker.write_text("")
    store = Store()
    store.up = False
    service = Service(blocker, store)
    service.put(create(1), create(2))
    assert not service.flush(0.2)
    blocker.unlink()
    service.save()

    assert service.close(0.4) == 0
    assert len(databases(blocker)) == 1
    store.up = True
    heir = Service(blocker, store)
    assert heir.flush()
    heir.close()
    assert len(store.posted) == 2


def test_requests_of_a_sibling_that_died_are_sent_while_this_process_runs(tmp_path: Path) -> None:
    """A running process checks the directory repeatedly, and sends the requests of processes that died."""
    store = Store()
    store.up = False
    sibling = Service(tmp_path, store)
    sibling.put(create(1))
    sibling.save()
    mine = Service(tmp_path, store)
    mine.put(create(2))
    mine.save()
    sibling.close(1.0)
    store.up = True
    wait_until(lambda: len(store.posted) == 2)
    mine.close()


def test_a_burst_from_many_threads_is_kept_whole(tmp_path: Path) -> None:
    """Requests that eight threads put while the senders take them are all kept."""
    store = Store()
    service = Service(tmp_path, store, max_bytes=300_000)
    requests: list[list[OutgoingRequest]] = [
        [create(thread * 100 + number, size=2_000) for number in range(50)] for thread in range(8)
    ]
    threads = [threading.Thread(target=service.put, args=own) for own in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert service.flush()
    service.close()

    assert len(store.traces) == len(store.posted) == 400
    assert is_balanced(service)
    assert list(tmp_path.iterdir()) == []


def test_more_files_of_dead_processes_than_may_be_open_are_all_emptied(tmp_path: Path) -> None:
    """Files beyond the number that may be open are opened in turn, and a flush waits for all of them."""
    store = Store()
    store.up = False
    services = [Service(tmp_path, store) for _ in range(12)]
    for number, service in enumerate(services):
        service.put(create(number))
        service.save()
    assert len(databases(tmp_path)) == 12
    for service in services:  # one after the other: each soon releases its file
        service.close(0.1)
    store.up = True
    heir = Service(tmp_path, store)
    assert heir.flush()
    heir.close()

    assert len(store.posted) == 12
    assert list(tmp_path.iterdir()) == []
