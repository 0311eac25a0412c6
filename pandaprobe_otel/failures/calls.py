"""Wrong calls: unknown tools, loops, and agents that hand over in a circle."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from typing import Final

from pandaprobe_otel.failures.broken_answers import requested_tools
from pandaprobe_otel.failures.finding import FailureKind, Finding
from pandaprobe_otel.traces.json_shapes import items, members
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

TIMES: Final = 3
"""Minimum number of repetitions that count as a loop."""
_LONGEST_CYCLE: Final = 8
_HAND_OVER: Final = re.compile(r"(?:transfer|hand_?off|hand_?over|delegate|route|escalate)(?:_|\b)", re.IGNORECASE)
_UNKNOWN_TOOL: Final = re.compile(
    r"(?:unknown|no such|unrecogni[sz]ed|nonexistent|unregistered) (?:tool|function)s?:? (?:name:? )?['\"`]?([\w.-]+)"
    r"|\b(?:tool|function) ['\"`]?([\w.-]+)['\"`]? (?:(?:is |was )?not (?:found|available|defined|registered|known)"
    r"|does not exist|is not a (?:valid|known) tool|is unknown)"
    r"|(?<![\w.-])([\w.-]+)['\"`]? is not a (?:valid|known) (?:tool|function)",
    re.IGNORECASE,
)
_READ: Final = 1000


def unknown_tools(trace: TraceRecord) -> Iterator[Finding]:
    """Yield a finding for each tool that a model requested but was not offered."""
    for step in trace.spans:
        if step.kind == "LLM" and (asked := requested_tools(step)) and (offered := offered_tools(step)):
            for name in asked:
                if name not in offered:
                    yield _unknown(step, name, f"the model asked for {name}, which it was not offered")


def unknown_tool_of(step: SpanRecord) -> Finding | None:
    """Return the finding of a span that failed because a tool does not exist; None for other failures."""
    found = _UNKNOWN_TOOL.search(step.error_text[:_READ])
    if found is None:
        return None
    return _unknown(step, found[1] or found[2] or found[3], step.error_text.strip().split("\n")[0][:160])


def offered_tools(step: SpanRecord) -> frozenset[str]:
    """Return the names of the tools that a model was offered; empty if the span does not state them."""
    names: set[str] = set()
    for holder in (step.metadata, members(step.body.get("model_parameters")), members(step.body.get("input"))):
        for tool in items(holder.get("tools")):
            if isinstance(tool, str):
                names.add(tool)
                continue
            record = members(tool)
            name = (members(record.get("function")) or record).get("name")
            if not isinstance(name, str):
                return frozenset()  # For the service's own tools and unknown forms, nothing is known.
            names.add(name)
    return frozenset(names)


def loops(trace: TraceRecord) -> Iterator[Finding]:
    """Yield a finding for each cycle of calls that repeats within one agent."""
    by_agent: dict[str, list[SpanRecord]] = {}
    for step in trace.spans:
        if step.kind == "TOOL" and not step.failed:  # A failed call that was retried is a finding already.
            agent = next((one.id for one in step.above if one.kind == "AGENT"), "")
            by_agent.setdefault(agent, []).append(step)
    for calls in by_agent.values():
        if len(calls) < TIMES:
            continue
        for start, length, times in cycles([(step.role, step.signature[2]) for step in calls]):
            names = [step.role for step in calls[start : start + length]]
            # The rotation that begins with the smallest name, so that equal cycles have one form.
            tools = " → ".join(min([*names[at:], *names[:at]] for at in range(length)))
            text = f"{times} times {' → '.join(names)}"
            yield Finding.of(FailureKind.LOOP, calls[start + length], f"Loop of {tools}", text, tools=tools)


def cycles(keys: Sequence[Hashable]) -> Iterator[tuple[int, int, int]]:
    """Yield the repetitions in a sequence: start, length of the shortest cycle, and number of whole rounds."""
    at = 0
    while at + TIMES <= len(keys):
        for length in range(1, min(_LONGEST_CYCLE, (len(keys) - at) // TIMES) + 1):
            end = at + length
            while end < len(keys) and keys[end] == keys[end - length]:
                end += 1
            if end - at >= TIMES * length:
                yield at, length, (end - at) // length
                at = end - 1
                break
        at += 1


def circular_hand_offs(trace: TraceRecord) -> Iterator[Finding]:
    """Yield a finding for each agent that handed over to another one, which handed back: A → B → A."""
    agents = [step for step in trace.spans if step.kind == "AGENT"]
    if len(agents) < TIMES:
        return
    by_parent: dict[str | None, list[SpanRecord]] = {}
    for step in agents:
        by_parent.setdefault(step.parent_id, []).append(step)
    for turns in by_parent.values():
        different = [step for at, step in enumerate(turns) if at == 0 or turns[at - 1].role != step.role]
        for first, second, third in zip(different, different[1:], different[2:], strict=False):
            if first.role == third.role and _hands_over(trace, second):
                yield _hand_off(first, second)
    for step in agents:
        around = [one for one in step.above if one.kind == "AGENT"]
        between = next((at for at, one in enumerate(around) if one.role != step.role), None)
        if between is not None and any(one.role == step.role for one in around[between + 1 :]):
            yield _hand_off(step, around[between])


def _hand_off(one: SpanRecord, other: SpanRecord) -> Finding:
    agents = f"{one.role} → {other.role} → {one.role}"
    title = f"{one.role} and {other.role} hand over in a circle"
    return Finding.of(FailureKind.HAND_OFF, other, title, agents, agents=agents)


def _hands_over(trace: TraceRecord, agent: SpanRecord) -> bool:
    """Return whether an agent requested the hand-over itself. Otherwise, the agent's caller continued after the agent's
    answer.
    """
    for step in trace.spans:
        if step.kind == "LLM" and any(map(_HAND_OVER.match, requested_tools(step))):
            pass
        elif not (step.kind in ("TOOL", "CHAIN", "OTHER") and _HAND_OVER.match(step.role)):
            continue
        if any(one is agent for one in step.above):
            return True
    return False


def _unknown(step: SpanRecord, name: str, text: str) -> Finding:
    return Finding.of(FailureKind.UNKNOWN_TOOL, step, f"Unknown tool {name}", text, tool=name)
