"""Failed spans: exceptions, timeouts and refused arguments, each at its origin."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from pandaprobe_otel.failures.broken_answers import broken_answer, is_filtered, refusal_of
from pandaprobe_otel.failures.calls import unknown_tool_of
from pandaprobe_otel.failures.finding import FailureKind, Finding
from pandaprobe_otel.failures.template import MAX_LENGTH, split_type, template_of
from pandaprobe_otel.mapping.attributes import TIMED_OUT
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

_TIMEOUT_TYPE: Final = re.compile(r"time(?:d_?)?_?out|deadline_?exceeded", re.IGNORECASE)
_TIMEOUT_TEXT: Final = re.compile(
    r"\btimed[ -]?out\b|\bdeadline (?:was )?exceeded\b|\bgateway time-?out\b"
    r"|\b(?:request|read|connect(?:ion)?|operation|response|call|tool|execution) time-?out\b"
    r"|^\s*time-?out(?:\s*$|:| (?:after|of|while|waiting|expired|exceeded|reached)\b)",
    re.IGNORECASE,
)
_TEXT: Final = 4000
"""Maximum number of characters of an error that are searched for signs of a timeout."""


def failed_spans(trace: TraceRecord) -> Iterator[Finding]:
    """Yield a finding for each span that failed by itself, earliest first."""
    failed = [step for step in trace.spans if _has_failed(step)]
    if not failed:
        if trace.failed:
            parts = {"kind": "trace", "name": trace.name, "type": "", "message": ""}
            yield Finding.of(FailureKind.EXCEPTION, None, f"{trace.name or 'Trace'} failed", "", **parts)
        return
    latest = {(step.kind, step.role): step.begin_us for step in trace.spans if not _has_failed(step)}
    found: list[Finding] = []
    covered: set[str] = set()
    for step in reversed(failed):
        if step.id in covered:
            continue  # A descendant failed, and is the origin.
        recovered = latest.get((step.kind, step.role), -1.0) >= step.end_us and _was_made_good(trace, step)
        if not recovered:
            covered.update(one.id for one in step.above)
        found.append(replace(_finding(trace, step), recovered=recovered))
    yield from reversed(found)


def _has_failed(step: SpanRecord) -> bool:
    return step.failed or step.metadata.get("outcome") == TIMED_OUT


def _was_made_good(trace: TraceRecord, step: SpanRecord) -> bool:
    """Return whether a failure had no effect: the trace succeeded, or failed for another reason."""
    if not trace.failed:
        return True
    _, text = split_type(step.error_text)
    failed_above = [other for other in step.above if other.failed]
    # Without a failed ancestor, nothing shows another reason of the trace's failure.
    return bool(failed_above) and not any(text[:MAX_LENGTH] in other.error_text for other in failed_above)


def _finding(trace: TraceRecord, step: SpanRecord) -> Finding:
    kind, message = _type_and_message(step)
    text = _shown(step.error_text)
    if not step.failed or _is_timeout(kind, step.error_text):
        return Finding.of(FailureKind.TIMEOUT, step, f"Timeout in {step.role}", text, kind=step.kind, name=step.role)
    if step.kind == "LLM" and is_filtered(step.error_text):
        return refusal_of(step, "filter")
    if (broken := broken_answer(trace, step, kind or "")) is not None:
        return broken
    if (unknown := unknown_tool_of(step)) is not None:
        return unknown
    if step.kind == "TOOL" and (bad := bad_argument(step.error_text)) is not None:
        field, fault = bad
        title = f"{step.role}: {f'{field} ' if field else ''}{fault}"
        return Finding.of(FailureKind.BAD_ARGUMENTS, step, title, text, tool=step.role, argument=field, fault=fault)
    template = template_of(message, known=(*step.models, *_values_of_the_run(trace)))
    title = f"{kind or template or 'Error'} in {step.role}"
    parts = {"kind": step.kind, "name": step.role, "type": kind or "", "message": template}
    return Finding.of(FailureKind.EXCEPTION, step, title, text, **parts)


def _values_of_the_run(trace: TraceRecord) -> Iterator[str]:
    """Yield values of this run that error messages may repeat."""
    values = (trace.body.get(name) for name in ("trace_id", "session_id", "user_id", "release"))
    yield from (value for value in values if isinstance(value, str))


def _type_and_message(step: SpanRecord) -> tuple[str | None, str]:
    told = step.metadata.get("exception_type") or step.metadata.get("error_type")
    named, message = split_type(step.error_text)
    if isinstance(told, str) and told:
        kind = told.rpartition(".")[2]
        return kind, message if named == kind else step.error_text
    return named, message


def _is_timeout(kind: str | None, text: str) -> bool:
    return (kind is not None and _TIMEOUT_TYPE.search(kind) is not None) or (
        _TIMEOUT_TEXT.search(text[:_TEXT]) is not None
    )


def _shown(text: str) -> str:
    line = text.strip().split("\n", 1)[0]
    return line if len(line) <= MAX_LENGTH else f"{line[: MAX_LENGTH - 1]}…"


_FAULTS: Final = (
    (
        "missing",
        re.compile(r"missing \d+ required (?:positional|keyword-only) arguments?: (['\"]?[\w.]+['\"]?)"),
    ),
    ("missing", re.compile(r"(['\"][\w.]+['\"]) is a required property")),
    (
        "missing",
        re.compile(
            r"missing (?:a )?required (?:argument|parameter|field|property):? (['\"`]?[\w.]+['\"`]?)", re.IGNORECASE
        ),
    ),
    ("unexpected", re.compile(r"unexpected keyword argument (['\"]?[\w.]+['\"]?)")),
    ("unexpected", re.compile(r"Additional properties are not allowed \((['\"][\w.]+['\"])")),
    ("unexpected", re.compile(r"takes (?:from \d+ to )?\d+ positional arguments? but \d+")),
    ("type", re.compile(r" is not of type (?:[^\n]*\n)+?On instance((?:\[[^\]\n]{1,80}\])+)")),
    ("type", re.compile(r" is not of type ")),
)
_PYDANTIC: Final = re.compile(
    r"\d+ validation errors? for [^\n]*\n(?P<field>[^\n]{1,200})\n[^\n]*\[type=(?P<type>[a-z_]+)"
)
_PYDANTIC_FAULTS: Final = {
    "missing": "missing",
    "missing_argument": "missing",
    "missing_keyword_only_argument": "missing",
    "missing_positional_only_argument": "missing",
    "extra_forbidden": "unexpected",
    "unexpected_keyword_argument": "unexpected",
    "unexpected_positional_argument": "unexpected",
}
_MAX_TEXT: Final = 4000
_INDEX: Final = re.compile(r"\d+")


def bad_argument(text: str) -> tuple[str, str] | None:
    """Return an argument and its fault (`missing`, `type` or `unexpected`) in an error's text; None without one."""
    text = text[:_MAX_TEXT]
    found = _PYDANTIC.search(text)
    if found is not None:
        return _plain(found["field"]), _PYDANTIC_FAULTS.get(found["type"], "type")
    for fault, pattern in _FAULTS:
        if (match := pattern.search(text)) is not None:
            return _plain(match[1] if match.re.groups else ""), fault
    return None


def _plain(field: str) -> str:
    """Return the path of an argument without quotes and list indexes."""
    return _INDEX.sub("*", re.sub(r"['\"`]|\]", "", field.replace("[", ".")).strip(".").strip())
