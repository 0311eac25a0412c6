"""Files of traces, with one JSON object per line: `init(local=...)` writes them, `send` and `view` read them.

A line is the body of a `POST /traces` or of a later request for the same trace: `{"trace_id", "spans": [...]}`,
`{"trace_id", "update": {...}}` or `{"score": {...}}`. A file may also be a JSON list of traces, as
`pandaprobe-otel export` writes it.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, cast

from pandaprobe_otel.config.parsers import PROJECT_RULE, is_project_name
from pandaprobe_otel.transport.outcome import Answer, NoAnswer, Outcome, Request

try:
    import fcntl
except ImportError:  # Windows: only one process may write to a file
    fcntl = None  # type: ignore[assignment]

_ANSWERS: Final = {"GET": 200, "PATCH": 200, "POST": 202}


class EntryKind(StrEnum):
    """Content of a line of a file."""

    TRACE = "trace"
    SPANS = "spans"
    UPDATE = "update"
    SCORE = "score"
    BAD = "bad"
    """Unreadable, such as the last line of a killed process; `content` gives the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line: its number (from 1), its kind, its trace and its content."""

    line: int
    kind: EntryKind
    trace_id: str
    content: Any
    project: str = ""
    """Project that its trace named; empty for that of the settings."""


class FileTransport:
    """Transport that appends to a file. Threads and processes may share it: lines are neither mixed nor cut off.

    The file is opened for each line, so it may be moved while the app runs, and no fork inherits it.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()

    def send(self, request: Request) -> Outcome:
        """Write one request; on failure, return `NoAnswer`, so that delivery tries again."""
        line = line_of(request.method, request.path, request.body or b"", request.project)
        if line is not None:
            try:
                with self._lock:
                    _append(self._path, line)
            except OSError as error:
                return NoAnswer(reason=f"{self._path}: {error.strerror or error}", may_have_arrived=False)
        return Answer(status=_ANSWERS[request.method], body=b"{}")

    def close(self) -> None:
        """Do nothing, because no file stays open."""

    def reset_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.Lock()


def line_of(method: str, path: str, body: bytes, project: str = "") -> bytes | None:
    """Return a request as a line of the file, with the project that it names, or None if it changes nothing."""
    if method == "GET":
        return None
    if path == "/traces":
        line = body
    elif path == "/evaluations/trace-scores":
        line = b'{"score":' + body + b"}"
    else:
        trace_id = path.split("/")[2].encode()
        key = b"update" if method == "PATCH" else b"spans"
        line = b'{"trace_id":"' + trace_id + b'","' + key + b'":' + body + b"}"
    return line[:-1] + (b',"project":"' + project.encode() + b'"' if project else b"") + b"}\n"


def _append(path: str, line: bytes) -> None:
    # Content of agents is private: the file is readable for its owner only, unless somebody changes its mode.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        before = os.fstat(descriptor).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def read_entries(path: Path) -> Iterator[Entry]:
    """Read a file line by line, so it may be larger than the memory. Raises OSError if it cannot be read."""
    with path.open("rb") as file:
        if file.peek(1)[:1] == b"[":
            yield from _list_entries(file.read())
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _entry(number, _parsed(line))


def stand_in(trace_id: str, spans: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a trace for spans whose own trace was posted by another process or not at all."""
    first = min(spans, key=lambda span: str(span.get("started_at", "")))
    return {"trace_id": trace_id, "name": first.get("name"), "started_at": first.get("started_at"), "spans": spans}


def _list_entries(text: bytes) -> Iterator[Entry]:
    found = _parsed(text)
    if isinstance(found, list):
        for number, item in enumerate(cast("Iterable[Any]", found), 1):
            yield _entry(number, item)
    else:
        yield Entry(line=1, kind=EntryKind.BAD, trace_id="", content=str(found))


def _parsed(text: bytes) -> Any:
    """Return the parsed JSON, or the exception, which no JSON value can be."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        return error


def _entry(line: int, found: Any) -> Entry:
    fields: dict[str, Any] = {**cast("dict[str, Any]", found)} if isinstance(found, dict) else {}
    project, trace_id, score = fields.pop("project", None) or "", fields.get("trace_id"), fields.get("score")
    if isinstance(found, Exception):
        fault = f"no JSON: {found}"
    elif not isinstance(project, str) or (project and not is_project_name(project)):
        fault = f"project {str(project)[:80]!r} {PROJECT_RULE}"
    elif isinstance(score, dict):
        given = str(cast("dict[str, Any]", score).get("trace_id", ""))
        return Entry(line=line, kind=EntryKind.SCORE, trace_id=given, content=score, project=project)
    else:
        fault = "a trace needs trace_id, name and started_at"
        is_trace = "name" in fields and "started_at" in fields
        for kind, content, form in (
            (EntryKind.TRACE, fields if is_trace else None, dict),
            (EntryKind.SPANS, fields.get("spans"), list),
            (EntryKind.UPDATE, fields.get("update"), dict),
        ):
            if isinstance(trace_id, str) and isinstance(content, form):
                return Entry(line=line, kind=kind, trace_id=trace_id, content=content, project=project)
    return Entry(line=line, kind=EntryKind.BAD, trace_id="", content=fault)
