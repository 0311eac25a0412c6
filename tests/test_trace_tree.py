"""A trace as a tree in the terminal."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from pandaprobe_otel.reporting.trace_tree import duration, trace_tree


def span(name: str, parent: str | None, second: int, **fields: Any) -> dict[str, Any]:
    """Return a span of half a second whose id is its name."""
    return {
        "span_id": name,
        "parent_span_id": parent,
        "name": name,
        "kind": "OTHER",
        "status": "OK",
        "started_at": f"2026-01-01T00:00:{second:02}+00:00",
        "ended_at": f"2026-01-01T00:00:{second:02}.5+00:00",
        **fields,
    }


def lines(*spans: dict[str, Any]) -> list[str]:
    """Return the printed tree of a trace with these spans."""
    trace = {"trace_id": "t-1", "status": "COMPLETED", "spans": list(spans)}
    out = Console(file=io.StringIO(), width=200)
    out.print(trace_tree(trace))
    text: str = out.file.getvalue()  # type: ignore[attr-defined]
    return text.splitlines()


def test_it_shows_kind_name_time_tokens_and_errors() -> None:
    """Each span has one line under its parent; siblings are in the order of their starts."""
    tool = span("find", "root", 2, kind="TOOL", status="ERROR", error="LookupError: no [bold]order[/bold]")
    model = span("chat", "root", 1, kind="LLM", model="m-1", token_usage={"prompt_tokens": 7, "completion_tokens": 3})

    printed = lines(tool, model, span("root", None, 0, kind="AGENT"))

    assert [line.rstrip() for line in printed] == [
        "trace t-1  COMPLETED",
        "└── AGENT  root  500 ms",
        "    ├── LLM    chat  500 ms  7 → 3 tokens  m-1",
        "    └── TOOL   find  500 ms  ERROR LookupError: no [bold]order[/bold]",
    ]


def test_it_shows_what_neither_succeeded_nor_failed() -> None:
    """The outcomes "cancelled" and "timed out" are shown for the trace and for each span."""
    cut = span("chat", None, 0, kind="LLM", status="UNSET", metadata={"outcome": "timed_out"})
    out = Console(file=io.StringIO(), width=200)
    trace = {"trace_id": "t-1", "status": "ERROR", "metadata": {"outcome": "cancelled"}, "spans": [cut]}
    out.print(trace_tree(trace))
    printed = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.rstrip() for line in printed] == [
        "trace t-1  ERROR  cancelled",
        "└── LLM    chat  500 ms  timed out",
    ]


def test_a_span_without_its_parent_stands_at_the_top() -> None:
    """A parent in another process is not in the trace; its child is still shown."""
    assert any("orphan" in line for line in lines(span("orphan", "elsewhere", 0)))


def test_a_span_that_is_its_own_ancestor_does_not_hang() -> None:
    """The server accepts cycles of parents; the tree shows each span of a cycle once."""
    shown = lines(span("root", None, 0), span("loop", "loop", 1), span("here", "there", 2), span("there", "here", 3))
    assert shown[0] == "trace t-1  COMPLETED"
    assert sorted(line.split()[2] for line in shown[1:]) == ["here", "loop", "root", "there"]


@pytest.mark.parametrize(
    ("ended_at", "shown"),
    [
        (None, "running"),
        ("2026-01-01T00:00:00.012+00:00", "12 ms"),
        ("2026-01-01T00:00:01.250+00:00", "1.25 s"),
    ],
)
def test_durations(ended_at: str | None, shown: str) -> None:
    """Times below a second are in milliseconds, others in seconds."""
    assert duration({"started_at": "2026-01-01T00:00:00+00:00", "ended_at": ended_at}) == shown
