"""Next steps after a failure: commands and a line of Python that lead from a group to a test and a monitor."""

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
    """Shell commands and a line of a test, ready to copy.

    Attributes:
        capture: Makes a test of a trace of the group, which fails as the trace did.
        dataset: Adds the trace to a dataset.
        monitor: Makes a monitor with a metric that such a failure lowers.
        assertion: Fails in a pytest test with the fixture `probe` until the failure is fixed.
    """

    capture: str
    dataset: str
    monitor: str
    assertion: str


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
        assertion=assertion_of(kind, parts, metric),
    )


def assertion_of(kind: FailureKind, parts: Mapping[str, str], metric: str) -> str:
    """Return a line of Python that fails as long as the failure exists."""
    match kind:
        case FailureKind.EXCEPTION | FailureKind.TIMEOUT if parts.get("kind") != "trace":
            return f"{_spans(parts)}.errors.not_called()"
        case FailureKind.BAD_ARGUMENTS:
            return f"probe.spans.tool({_literal(parts.get('tool', ''))}).errors.not_called()"
        case FailureKind.UNKNOWN_TOOL:
            return f"assert {_literal(parts.get('tool', ''))} not in str([span.body for span in probe.spans])"
        case FailureKind.LOOP:
            return f"probe.spans.tool({_literal(_first(parts, 'tools'))}).called(at_most=2)"
        case FailureKind.HAND_OFF:
            return f"probe.spans.agent({_literal(_first(parts, 'agents'))}).called(at_most=1)"
        case FailureKind.TRUNCATED:
            reasons = 'str(span.body["metadata"].get("finish_reasons")).lower()'
            fits = f'"length" in {reasons} or "max_" in {reasons}'
            return f"probe.spans.llm().where(lambda span: {fits}).not_called()"
        case FailureKind.BROKEN_JSON:
            return 'assert [json.loads(span.output["messages"][-1]["content"]) for span in probe.spans.llm()]'
        case _:
            return f'probe.evaluate({{"{metric}": 0.5}})'


def _spans(parts: Mapping[str, str]) -> str:
    name = _literal(parts.get("name", ""))
    match parts.get("kind"):
        case "TOOL":
            return f"probe.spans.tool({name})"
        case "LLM":
            return "probe.spans.llm()"  # The group's name has no model, but the span's name has one.
        case _:
            return f"probe.spans.named({name})"


def _first(parts: Mapping[str, str], name: str) -> str:
    return parts.get(name, "").split(" → ")[0]


def _literal(text: str) -> str:
    plain = repr(text)
    return f'"{plain[1:-1]}"' if plain.startswith("'") and '"' not in text else plain
