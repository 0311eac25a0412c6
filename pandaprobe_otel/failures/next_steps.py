"""Next steps after a failure: commands that lead from a group to a test and a monitor."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pandaprobe_otel.failures.finding import FailureKind

_METRICS: Final[Mapping[FailureKind, str]] = {
    FailureKind.BAD_ARGUMENTS: "argument_correctness",
    FailureKind.UNKNOWN_TOOL: "tool_correctness",
    FailureKind.LOOP: "step_efficiency",
    FailureKind.HAND_OFF: "step_efficiency",
}
_OTHERWISE: Final = "task_completion"
_JUDGES: Final = frozenset(
    {
        "argument_correctness", "coherence", "confidence", "plan_adherence", "plan_quality", "step_efficiency",
        "task_completion", "tool_correctness",
    }
)  # fmt: skip
"""PandaProbe's metrics of traces."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextSteps:
    """Shell commands, ready to copy.

    Attributes:
        capture: Makes a test of a trace of the group, which fails as the trace did.
        dataset: Adds the trace to a dataset.
        monitor: Makes a monitor with a metric that such a failure lowers.
    """

    capture: str
    dataset: str
    monitor: str


def next_steps(
    kind: FailureKind, parts: Mapping[str, str], *, name: str, trace_id: str, options: Sequence[str] = ()
) -> NextSteps:
    """Return the next steps for a group of failures.

    trace_id: an example of the group.
    options: options to add to each command, such as the server's address.
    """
    metric = _METRICS.get(kind, _OTHERWISE)
    if kind is FailureKind.JUDGED and parts.get("metric") in _JUDGES:
        metric = parts["metric"]
    title = "".join(each for each in name if each.isprintable())[:200]
    monitor = (f"--name={title}", "--target-type=trace", f"--metric={metric}", "--cadence=daily")
    return NextSteps(
        capture=shlex.join(("pandaprobe-otel", "replay", "capture", trace_id, "--to=tests/", *options)),
        dataset=shlex.join(("pandaprobe-otel", "replay", "capture", trace_id, "--dataset=failures.jsonl", *options)),
        monitor=shlex.join(("pandaprobe-otel", "monitors", "create", *monitor, *options)),
    )
