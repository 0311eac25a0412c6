"""Answers as pandas tables (extra `pandas`)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pandaprobe_otel.api import Client
from pandaprobe_otel.local import LocalServer

NOW = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


def test_a_session_as_a_table(server: LocalServer) -> None:
    """A table has one row for each trace, indexed by id."""
    with Client(server.api_key, "tables", server.url) as client:
        accepted = client.traces.create(
            name="t",
            started_at=NOW,
            ended_at=NOW + timedelta(seconds=2),
            session_id="s-1",
            spans=[{"name": "call", "kind": "LLM", "started_at": NOW, "ended_at": NOW}],
        )
        client.traces.wait_visible(accepted.trace_id)
        table = client.sessions.get("s-1").to_pandas()

    assert list(table.index) == [accepted.trace_id]
    assert table[["latency_ms", "span_count"]].to_numpy().tolist() == [[2000.0, 1]]
