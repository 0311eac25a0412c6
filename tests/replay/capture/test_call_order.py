"""The order of a trace's calls: a call comes after those it waited for, not after those that were merely quicker."""

from __future__ import annotations

from pandaprobe_otel.replay.capture.call_order import order_of
from stored_traces import call, span, trace


def test_steps_one_after_the_other() -> None:
    """Each sequential call comes after the previous one, and so after all earlier ones."""
    assert order_of(trace(call(1, 2), call(3, 4), call(5, 6))) == {1: (), 2: (1,), 3: (2,)}


def test_branches_that_happened_not_to_overlap() -> None:
    """Branches whose spans overlap have no order, even if their calls do not; a summary comes after all branches."""
    branches = [span(f"branch {at}", "CHAIN", at, at + 6) for at in (1, 2, 3)]
    calls = [call(2 * at, 2 * at + 1, parent_span_id=branches[at - 1]["span_id"]) for at in (1, 2, 3)]
    made = trace(*branches, *calls, call(10, 11))
    assert order_of(made) == {1: (), 2: (), 3: (), 4: (1, 2, 3)}


def test_siblings_joined_by_a_longer_one() -> None:
    """Two calls that do not overlap are parallel if both overlap with a third one."""
    assert order_of(trace(call(1, 9), call(2, 3), call(4, 5), call(10, 11))) == {1: (), 2: (), 3: (), 4: (1, 2, 3)}


def test_steps_within_a_branch() -> None:
    """Calls within one branch come after one another."""
    branches = [span(f"branch {at}", "CHAIN", at, 9) for at in (1, 2)]
    inside = [call(at, at + 0.5, parent_span_id=branches[at % 2]["span_id"]) for at in (3, 4, 5, 6)]
    assert order_of(trace(*branches, *inside)) == {1: (), 2: (), 3: (1,), 4: (2,)}
