"""Tables of the store."""

from __future__ import annotations

import sqlite3
from typing import Final

from pandaprobe_otel.errors import PandaProbeError
from pandaprobe_otel.local.store import blocks, labels

_COST: Final = "CAST(ROUND({}.total_cost * 1e9) AS INTEGER)"
"""Billionths of a dollar. Sums of integers stay exact however often a trace changes."""
_ADD_TO_SESSION: Final = f"""
        INSERT INTO sessions
            SELECT new.project_id, new.session_id, 1, new.status = 'ERROR', new.ended_at IS NOT NULL,
                COALESCE(new.ended_at - new.started_at, 0), {_COST.format("new")}, new.seq
            WHERE new.session_id IS NOT NULL
            ON CONFLICT (project_id, session_id) DO UPDATE SET
                traces = traces + 1, errors = errors + excluded.errors, ended = ended + excluded.ended,
                latency = latency + excluded.latency, cost = cost + excluded.cost,
                last_seq = MAX(last_seq, excluded.last_seq);
"""
_TAKE_FROM_SESSION: Final = f"""
        UPDATE sessions SET
            traces = traces - 1, errors = errors - (old.status = 'ERROR'), ended = ended - (old.ended_at IS NOT NULL),
            latency = latency - COALESCE(old.ended_at - old.started_at, 0), cost = cost - {_COST.format("old")},
            last_seq = CASE WHEN last_seq > old.seq THEN last_seq ELSE COALESCE(
                (SELECT MAX(seq) FROM traces WHERE project_id = old.project_id AND session_id = old.session_id), 0
            ) END
            WHERE project_id = old.project_id AND session_id = old.session_id;
        DELETE FROM sessions WHERE project_id = old.project_id AND session_id = old.session_id AND traces = 0;
"""

# Moments are microseconds since the epoch, and JSON is text. Metadata and errors, which may be long, are the last
# columns: a list does not read them.
_TABLES: Final = f"""
    CREATE TABLE organizations (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        plan TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        period_start INTEGER NOT NULL,
        traces INTEGER NOT NULL DEFAULT 0,
        trace_evals INTEGER NOT NULL DEFAULT 0,
        session_evals INTEGER NOT NULL DEFAULT 0
    );
    CREATE TABLE projects (
        id TEXT PRIMARY KEY,
        org_id TEXT NOT NULL REFERENCES organizations(id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        description TEXT NOT NULL DEFAULT '',
        created_at INTEGER NOT NULL,
        UNIQUE (org_id, name)
    );
    CREATE TABLE api_keys (
        id TEXT PRIMARY KEY,
        org_id TEXT NOT NULL REFERENCES organizations(id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        key_hash TEXT NOT NULL UNIQUE,
        key_prefix TEXT NOT NULL,
        is_active INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        expires_at INTEGER
    );
    CREATE TABLE traces (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        trace_id TEXT NOT NULL UNIQUE,
        project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
        status TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        ended_at INTEGER,
        created_at INTEGER NOT NULL,
        span_count INTEGER NOT NULL DEFAULT 0,
        total_tokens INTEGER NOT NULL DEFAULT 0,
        total_cost REAL NOT NULL DEFAULT 0,
        session_id TEXT,
        user_id TEXT,
        name TEXT NOT NULL,
        folded_name TEXT NOT NULL,
        environment TEXT,
        release TEXT,
        tags TEXT NOT NULL,
        longest_ttft INTEGER,
        shortest_ttft INTEGER,
        metadata TEXT NOT NULL
    );
    CREATE INDEX traces_by_start ON traces (project_id, started_at);
    -- The last two cover what session and user lists sum up.
    CREATE INDEX traces_by_session ON traces (
        project_id, session_id, started_at, ended_at, status, span_count, total_tokens, total_cost, created_at
    ) WHERE session_id IS NOT NULL;
    CREATE INDEX traces_by_user ON traces (project_id, user_id, started_at, status) WHERE user_id IS NOT NULL;
    CREATE TABLE spans (
        span_id TEXT NOT NULL UNIQUE,
        trace_seq INTEGER NOT NULL REFERENCES traces(seq) ON DELETE CASCADE,
        parent_span_id TEXT,
        kind TEXT NOT NULL,
        status TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        ended_at INTEGER,
        completion_start_time INTEGER,
        prompt_tokens INTEGER NOT NULL DEFAULT 0,
        completion_tokens INTEGER NOT NULL DEFAULT 0,
        total_cost REAL NOT NULL DEFAULT 0,
        name TEXT NOT NULL,
        model TEXT,
        token_usage TEXT,
        model_parameters TEXT,
        cost TEXT,
        metadata TEXT NOT NULL,
        error TEXT,
        block INTEGER NOT NULL
    );
    CREATE INDEX spans_by_trace ON spans (trace_seq);
    CREATE TABLE eval_runs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
        target_type TEXT NOT NULL,
        name TEXT,
        status TEXT NOT NULL,
        metric_names TEXT NOT NULL,
        filters TEXT NOT NULL,
        sampling_rate REAL NOT NULL,
        model TEXT,
        monitor_id TEXT REFERENCES monitors(id) ON DELETE SET NULL,
        total_targets INTEGER NOT NULL,
        evaluated_count INTEGER NOT NULL DEFAULT 0,
        failed_count INTEGER NOT NULL DEFAULT 0,
        error_message TEXT,
        created_at INTEGER NOT NULL,
        completed_at INTEGER,
        targets TEXT NOT NULL
    );
    CREATE INDEX eval_runs_by_project ON eval_runs (project_id, target_type, seq);
    CREATE INDEX eval_runs_by_monitor ON eval_runs (monitor_id) WHERE monitor_id IS NOT NULL;
    CREATE INDEX eval_runs_unfinished ON eval_runs (status) WHERE status IN ('PENDING', 'RUNNING');
    CREATE TABLE monitors (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        target_type TEXT NOT NULL,
        metric_names TEXT NOT NULL,
        filters TEXT NOT NULL,
        sampling_rate REAL NOT NULL,
        model TEXT,
        cadence TEXT NOT NULL,
        only_if_changed INTEGER NOT NULL,
        status TEXT NOT NULL,
        last_run_at INTEGER,
        last_run_id TEXT,
        next_run_at INTEGER,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL
    );
    CREATE INDEX monitors_by_project ON monitors (project_id, seq);
    CREATE INDEX monitors_due ON monitors (next_run_at) WHERE status = 'ACTIVE';
    CREATE TABLE trace_scores (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
        trace_id TEXT NOT NULL REFERENCES traces(trace_id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        data_type TEXT NOT NULL,
        value TEXT,
        number REAL,
        source TEXT NOT NULL,
        status TEXT NOT NULL,
        eval_run_id TEXT REFERENCES eval_runs(id) ON DELETE SET NULL,
        environment TEXT,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        metadata TEXT NOT NULL,
        reason TEXT
    );
    CREATE INDEX trace_scores_by_project ON trace_scores (project_id, created_at);
    CREATE INDEX trace_scores_by_trace ON trace_scores (trace_id);
    CREATE INDEX trace_scores_by_run ON trace_scores (eval_run_id) WHERE eval_run_id IS NOT NULL;
    CREATE TABLE session_scores (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
        session_id TEXT NOT NULL,
        name TEXT NOT NULL,
        data_type TEXT NOT NULL,
        value TEXT,
        number REAL,
        source TEXT NOT NULL,
        status TEXT NOT NULL,
        eval_run_id TEXT REFERENCES eval_runs(id) ON DELETE SET NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        metadata TEXT NOT NULL,
        reason TEXT
    );
    CREATE INDEX session_scores_by_project ON session_scores (project_id, created_at);
    CREATE INDEX session_scores_by_session ON session_scores (project_id, session_id);
    CREATE INDEX session_scores_by_run ON session_scores (eval_run_id) WHERE eval_run_id IS NOT NULL;

    -- Contents of traces and spans, and the words in them (store/blocks.py).
    {blocks.SCHEMA}
    -- Labels of traces (store/labels.py).
    {labels.SCHEMA}
    -- Findings of traces, and the groups of findings with the same fingerprint (store/failures.py).
    CREATE TABLE failure_groups (
        project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
        fingerprint TEXT NOT NULL,
        kind TEXT NOT NULL,
        title TEXT NOT NULL,
        parts TEXT NOT NULL,
        marked INTEGER NOT NULL,
        first_at INTEGER NOT NULL,
        PRIMARY KEY (project_id, fingerprint)
    ) WITHOUT ROWID;
    CREATE TABLE findings (
        project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
        trace_seq INTEGER NOT NULL REFERENCES traces(seq) ON DELETE CASCADE,
        fingerprint TEXT NOT NULL,
        position INTEGER NOT NULL,
        recovered INTEGER NOT NULL,
        started_at INTEGER NOT NULL,
        release TEXT,
        span_id TEXT,
        text TEXT NOT NULL
    );
    CREATE INDEX findings_by_group ON findings (
        project_id, fingerprint, recovered, started_at, trace_seq, release
    );
    CREATE INDEX findings_by_trace ON findings (trace_seq);

    -- The latest score of each name of a trace, for searches, because scores are stored by the text of the trace's id.
    CREATE TABLE latest_scores (
        project_id TEXT NOT NULL,
        name TEXT NOT NULL,
        trace_seq INTEGER NOT NULL REFERENCES traces(seq) ON DELETE CASCADE,
        score_seq INTEGER NOT NULL,
        number REAL,
        PRIMARY KEY (project_id, name, trace_seq)
    ) WITHOUT ROWID;
    CREATE INDEX latest_scores_by_trace ON latest_scores (trace_seq);
    CREATE TRIGGER latest_after_insert AFTER INSERT ON trace_scores BEGIN
        INSERT OR REPLACE INTO latest_scores
            SELECT new.project_id, new.name, seq, new.seq, new.number FROM traces WHERE trace_id = new.trace_id;
    END;
    CREATE TRIGGER latest_after_update AFTER UPDATE OF number ON trace_scores BEGIN
        UPDATE latest_scores SET number = new.number WHERE project_id = new.project_id AND name = new.name
            AND trace_seq = (SELECT seq FROM traces WHERE trace_id = new.trace_id) AND score_seq = new.seq;
    END;
    CREATE TRIGGER latest_after_delete AFTER DELETE ON trace_scores BEGIN
        DELETE FROM latest_scores WHERE project_id = old.project_id AND name = old.name
            AND trace_seq = (SELECT seq FROM traces WHERE trace_id = old.trace_id);
        INSERT INTO latest_scores
            SELECT s.project_id, s.name, t.seq, s.seq, s.number FROM trace_scores s JOIN traces t
                ON t.trace_id = s.trace_id WHERE s.trace_id = old.trace_id AND s.name = old.name
                ORDER BY s.seq DESC LIMIT 1;
    END;

    -- Sums of sessions, by which their list is sorted. To add up all traces for each page would take most of its time.
    CREATE TABLE sessions (
        project_id TEXT NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
        session_id TEXT NOT NULL,
        traces INTEGER NOT NULL,
        errors INTEGER NOT NULL,
        ended INTEGER NOT NULL,
        latency INTEGER NOT NULL,
        cost INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        PRIMARY KEY (project_id, session_id)
    ) WITHOUT ROWID;
    CREATE TRIGGER session_of_new_trace AFTER INSERT ON traces BEGIN {_ADD_TO_SESSION} END;
    CREATE TRIGGER session_of_changed_trace
    AFTER UPDATE OF status, started_at, ended_at, total_cost ON traces WHEN new.session_id = old.session_id BEGIN
        UPDATE sessions SET
            errors = errors + (new.status = 'ERROR') - (old.status = 'ERROR'),
            ended = ended + (new.ended_at IS NOT NULL) - (old.ended_at IS NOT NULL),
            latency = latency + COALESCE(new.ended_at - new.started_at, 0)
                - COALESCE(old.ended_at - old.started_at, 0),
            cost = cost + {_COST.format("new")} - {_COST.format("old")}
            WHERE project_id = new.project_id AND session_id = new.session_id;
    END;
    CREATE TRIGGER session_of_moved_trace
    AFTER UPDATE OF session_id ON traces WHEN new.session_id IS NOT old.session_id BEGIN
        {_TAKE_FROM_SESSION}
        {_ADD_TO_SESSION}
    END;
    CREATE TRIGGER session_of_deleted_trace AFTER DELETE ON traces BEGIN {_TAKE_FROM_SESSION} END;
"""
_FORMAT: Final = 3


class DatabaseFormatError(PandaProbeError):
    """The database file was written by another version of this library."""


class NoFullTextError(PandaProbeError):
    """SQLite was built without its full-text search."""


def create_schema(connection: sqlite3.Connection) -> None:
    """Create the tables in a new file.

    Raises DatabaseFormatError for a file of another version, and NoFullTextError.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version not in (0, _FORMAT):
        raise DatabaseFormatError(
            f"The database has format {version}, but this version of pandaprobe-otel reads format {_FORMAT}: "
            "use the version that wrote it, or choose another file with --db."
        )
    if version == 0:
        try:
            connection.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {_FORMAT}; COMMIT;")
        except sqlite3.OperationalError as error:
            if "no such module" not in str(error):
                raise
            raise NoFullTextError(
                f"This Python's SQLite ({sqlite3.sqlite_version}) has no FTS5, which the search of the local PandaProbe"
                " needs: use a build of Python with it, such as those of python.org, Debian or uv."
            ) from None
