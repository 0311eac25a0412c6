"""Earlier formats of the local PandaProbe's file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

_UNDO: Final = {
    9: """
    DROP TRIGGER session_of_new_trace;
    DROP TRIGGER session_of_changed_trace;
    DROP TRIGGER session_of_moved_trace;
    DROP TRIGGER session_of_deleted_trace;
    DROP TABLE sessions;
    CREATE INDEX traces_by_arrival ON traces (project_id, seq, session_id);
    """,
    10: "DROP INDEX traces_by_latency;",
    11: "DROP TABLE facet_chunks;",
}
"""Statements that undo the steps of the schema, by their formats."""


def lower_format(path: Path, number: int) -> None:
    """Turn a file into one that an earlier version wrote, with a format from 8."""
    connection = sqlite3.connect(path)
    (current,) = connection.execute("PRAGMA user_version").fetchone()
    for step in range(current, number, -1):
        connection.executescript(_UNDO[step])
    connection.execute(f"PRAGMA user_version = {number}")
    connection.commit()
    connection.close()
