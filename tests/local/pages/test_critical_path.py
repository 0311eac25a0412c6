"""The critical path of a trace, for random times of its spans."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from pandaprobe_otel.local.pages.tree import Node, build_tree

Step: TypeAlias = tuple[int, int]
"""A span's start and end, in microseconds."""
START = datetime(2026, 1, 1, tzinfo=UTC)


def _span(name: str, step: Step, offset: int, parent: str | None = None) -> dict[str, Any]:
    begin, end = step
    return {
        "span_id": name,
        "parent_span_id": parent,
        "started_at": (START + timedelta(microseconds=offset + begin)).isoformat(),
        "latency_ms": (end - begin) / 1000,
        "time_to_first_token_ms": None,
    }


def _children(steps: Sequence[Step], offset: int = 0) -> list[Node]:
    """Return the nodes of the steps under one root, in order of start."""
    spans = [_span(str(number), step, offset, "root") for number, step in enumerate(sorted(steps))]
    tree = build_tree([_span("root", (0, max(end for _, end in steps)), offset), *spans])
    return list(tree.rows[0].children)


def _waited_for(steps: Sequence[Step]) -> set[Step]:
    """Return the critical steps by a walk back in time, which finds the step that is waited for at each microsecond."""
    found: set[Step] = set()
    current: Step | None = None
    for now in range(max(end for _, end in steps), -1, -1):
        if current is not None and current[0] < now:
            continue  # the current step was still running at this time
        ended = [step for step in steps if step[1] == now and step[0] < now]
        current = min(ended, default=None)
        found.update({current} if current is not None else ())
    return found


def _steps() -> st.SearchStrategy[list[Step]]:
    step = st.tuples(st.integers(0, 60), st.integers(1, 30)).map(lambda drawn: (drawn[0], drawn[0] + drawn[1]))
    return st.lists(step, min_size=1, max_size=12, unique=True)


@given(_steps(), st.integers(0, 10_000_000))
def test_it_equals_a_walk_back_in_time(steps: list[Step], offset: int) -> None:
    """The critical path equals that of a simpler algorithm, which walks back in time, at any time of the day."""
    nodes = _children(steps, offset)

    assert {(node.begin_us, node.end_us) for node in nodes if node.critical} == _waited_for(steps)
