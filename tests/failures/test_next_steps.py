"""Next steps from a failure to a test and a monitor, as lines of code and commands."""

from __future__ import annotations

import json
import shlex
from types import SimpleNamespace
from typing import Any

import pytest

from failed_traces import FAILURES, Body, body, said
from pandaprobe_otel.evals.span_set import SpanSet
from pandaprobe_otel.evals.traces import TraceRecord
from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.failures.finding import Finding
from pandaprobe_otel.failures.next_steps import NextSteps, next_steps

TRACE_ID = "0f0c0000-0000-0000-0000-000000000000"
WELL: dict[str, Body] = {
    name: body(said('{"a": 1}')) for name, one in FAILURES.items() if not isinstance(one.alike[0], tuple)
}
ASSERTED = [(name, at) for name in WELL if name != "refused" for at in range(len(FAILURES[name].alike))]


def _steps(found: Finding) -> NextSteps:
    return next_steps(found.kind, dict(found.parts), name=found.title, trace_id=TRACE_ID)


def _run(line: str, trace: Body) -> None:
    exec(line, {"probe": SimpleNamespace(spans=SpanSet.of([TraceRecord(trace)])), "json": json})


@pytest.mark.parametrize(("name", "at"), ASSERTED)
def test_the_line_fails_while_the_failure_is_there(name: str, at: int) -> None:
    """The suggested assertion fails for the failed trace, and holds for a trace without the failure."""
    trace = FAILURES[name].alike[at]
    line = _steps(find_failures(trace)[0]).assertion
    with pytest.raises((AssertionError, ValueError)):
        _run(line, trace)
    _run(line, WELL[name])


@pytest.mark.parametrize("name", FAILURES)
def test_the_monitor_has_a_metric_that_fits(name: str) -> None:
    """The suggested monitor has the metric of the judge's finding, or else one that the failure lowers."""
    given: Any = FAILURES[name].alike[0]
    trace, scores = given if isinstance(given, tuple) else (given, ())
    words = shlex.split(_steps(find_failures(trace, scores)[0]).monitor)
    assert words[:3] == ["pandaprobe-otel", "monitors", "create"]
    (metric,) = (word.removeprefix("--metric=") for word in words if word.startswith("--metric="))
    wanted = {"wrong tool": "tool_correctness", "bad arguments": "argument_correctness", "loop": "step_efficiency"}
    assert metric == wanted.get(name, metric)


def test_a_hostile_name_stays_one_word_and_one_text() -> None:
    """A hostile name in a trace stays one word for the shell and one text for Python."""
    name = "x'; rm -rf / #\n\"$(id)`id`\\"
    trace = body({**said("x"), "kind": "TOOL", "name": name, "status": "ERROR", "error": "ValueError: no"})
    steps = _steps(find_failures(trace)[0])
    words = shlex.split(steps.monitor)
    assert len(words) == 7
    assert words[3].startswith("--name=ValueError in x'; rm")
    assert "\n" not in steps.monitor
    with pytest.raises(AssertionError):
        _run(steps.assertion, trace)
