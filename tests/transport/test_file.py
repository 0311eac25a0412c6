"""Requests as lines of a file, and the reader of that file."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from pandaprobe_otel.transport.outcome import Answer, NoAnswer, Request
from pandaprobe_otel.transport.trace_file import EntryKind, FileTransport, read_entries, stand_in

TRACE_ID = "0f4f6f4e-0000-4000-8000-000000000001"
TRACE = {"trace_id": TRACE_ID, "name": "agent", "started_at": "2026-01-02T03:04:05Z", "input": "a\nb"}
SPAN = {"span_id": "0f4f6f4e-0000-4000-8000-000000000002", "name": "gpt"}
SCORE = {"trace_id": TRACE_ID, "name": "good", "value": "0.5"}


def _request(method: str, path: str, body: object = None) -> Request:
    return Request(method=method, path=path, body=None if body is None else json.dumps(body).encode())


def test_each_request_comes_back_as_what_it_was(tmp_path: Path) -> None:
    """A trace, spans, a change and a score are each a line with their kind; a look-up writes none."""
    transport = FileTransport(str(tmp_path / "t.jsonl"))
    outcomes = [
        transport.send(_request("POST", "/traces", TRACE)),
        transport.send(_request("POST", f"/traces/{TRACE_ID}/spans", [SPAN])),
        transport.send(_request("PATCH", f"/traces/{TRACE_ID}", {"status": "ERROR"})),
        transport.send(_request("GET", f"/traces/{TRACE_ID}")),
        transport.send(_request("POST", "/evaluations/trace-scores", SCORE)),
    ]
    assert all(isinstance(outcome, Answer) and outcome.status < 300 for outcome in outcomes)
    found = [(entry.line, entry.kind, entry.trace_id, entry.content) for entry in read_entries(tmp_path / "t.jsonl")]
    assert found == [
        (1, EntryKind.TRACE, TRACE_ID, TRACE),
        (2, EntryKind.SPANS, TRACE_ID, [SPAN]),
        (3, EntryKind.UPDATE, TRACE_ID, {"status": "ERROR"}),
        (4, EntryKind.SCORE, TRACE_ID, SCORE),
    ]


def test_threads_never_mix_their_lines(tmp_path: Path) -> None:
    """Eight threads write long lines at once, and each line is whole."""
    transport = FileTransport(str(tmp_path / "t.jsonl"))
    body = {**TRACE, "input": "x" * 200_000}
    threads = [
        threading.Thread(target=lambda: [transport.send(_request("POST", "/traces", body)) for _ in range(5)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.kind for entry in read_entries(tmp_path / "t.jsonl")] == [EntryKind.TRACE] * 40


def test_a_file_that_cannot_be_opened_is_retried(tmp_path: Path) -> None:
    """A file that cannot be opened gives the same outcome as a refused connection, so delivery retries."""
    outcome = FileTransport(str(tmp_path / "gone" / "t.jsonl")).send(_request("POST", "/traces", TRACE))
    assert isinstance(outcome, NoAnswer)
    assert not outcome.may_have_arrived
    assert "No such file or directory" in outcome.reason


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the disk is full in the middle of a line, the beginning of the line is removed."""
    path = tmp_path / "t.jsonl"
    transport = FileTransport(str(path))
    transport.send(_request("POST", "/traces", TRACE))
    write = os.write

    def write_half(descriptor: int, data: memoryview) -> int:
        if len(data) < 50:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", write_half)
    assert isinstance(transport.send(_request("POST", "/traces", TRACE)), NoAnswer)
    monkeypatch.undo()
    transport.send(_request("POST", "/traces", TRACE))
    assert [entry.kind for entry in read_entries(path)] == [EntryKind.TRACE] * 2
    assert path.stat().st_mode & 0o077 == 0, "others can read it"


@pytest.mark.parametrize("text", ['{"trace_id": "a', "[1]", "17", '"text"', "{}", '{"trace_id": "a"}', "\\x00\\xff"])
def test_a_line_that_is_no_trace_is_named(tmp_path: Path, text: str) -> None:
    """An unreadable line is returned as BAD with its number, and the other lines are read."""
    path = tmp_path / "t.jsonl"
    path.write_text(f"{json.dumps(TRACE)}\n\n{text}\n{json.dumps(TRACE)}\n", encoding="utf-8")
    found = list(read_entries(path))
    assert [(entry.line, entry.kind) for entry in found] == [
        (1, EntryKind.TRACE),
        (3, EntryKind.BAD),
        (4, EntryKind.TRACE),
    ]
    assert found[1].content


def test_a_json_list_is_read_too(tmp_path: Path) -> None:
    """A JSON list of traces, as `traces export` writes it, is read; an unfinished list is one BAD entry."""
    path = tmp_path / "t.json"
    path.write_text(json.dumps([TRACE, TRACE], indent=2), encoding="utf-8")
    assert [entry.kind for entry in read_entries(path)] == [EntryKind.TRACE] * 2
    path.write_text("[{", encoding="utf-8")
    assert [(entry.line, entry.kind) for entry in read_entries(path)] == [(1, EntryKind.BAD)]
    path.write_text("")
    assert list(read_entries(path)) == []


def test_spans_without_their_trace_become_one() -> None:
    """Spans of a trace that another process posted become a trace with the name of the earliest span."""
    spans = [
        {"name": "late", "started_at": "2026-01-02T03:04:06Z"},
        {"name": "early", "started_at": "2026-01-02T03:04:05Z"},
    ]
    assert stand_in(TRACE_ID, spans) == {
        "trace_id": TRACE_ID,
        "name": "early",
        "started_at": "2026-01-02T03:04:05Z",
        "spans": spans,
    }
