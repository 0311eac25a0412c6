"""Requests that the server refused for good, in a file that `pandaprobe-otel send` sends again.

A line is that of a file of traces (`transport/trace_file.py`). Its key `refused` has the server's message, the time and
the destination.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import orjson

from pandaprobe_otel.delivery.parcel import Parcel
from pandaprobe_otel.delivery.spool.destination import Destination
from pandaprobe_otel.delivery.spool.lock_file import locked
from pandaprobe_otel.transport.trace_file import line_of

MAX_BYTES: Final = 16 << 20
PATTERN: Final = "refused-*.jsonl"


def keep_refused(
    folder: Path, destination: Destination, request: Parcel, words: str, *, max_bytes: int = MAX_BYTES
) -> None:
    """Append a request to the file of its destination. Above `max_bytes`, the older half goes. Raises OSError."""
    method, path = request.target.split(" ", 1)
    note = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "endpoint": destination.endpoint,
        "project": destination.project,
        "request": request.target,
        "name": request.name.encode("utf-8", "replace").decode(),
        "spans": request.span_count,
        "server": words.encode("utf-8", "replace").decode(),
    }
    body = line_of(method, path, request.body()) or b"{}\n"
    line = b"".join((body[:-2], b',"refused":', orjson.dumps(note), b"}\n"))
    with locked(folder / PATTERN.replace("*", destination.digest)) as file:
        size = os.fstat(file).st_size
        if size + len(line) > max_bytes:
            newer = os.pread(file, size, max(size - max_bytes // 2, 0)).partition(b"\n")[2]
            os.pwrite(file, newer, 0)
            os.ftruncate(file, size := len(newer))
        if size and os.pread(file, 1, size - 1) != b"\n":  # its writer was killed
            line = b"\n" + line
        if os.pwrite(file, line, size) < len(line):
            os.ftruncate(file, size)
            raise OSError("the disk is full")
