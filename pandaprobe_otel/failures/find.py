"""The rules that find failures in a trace: broken answers, wrong calls, low scores, failed spans.

`find_failures` applies all of them, in the order of rank.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pandaprobe_otel.failures.finding import RANK, FailureKind, Finding
from pandaprobe_otel.failures.template import MAX_LENGTH, split_type, template_of
from pandaprobe_otel.mapping.attributes import TIMED_OUT
from pandaprobe_otel.traces.conversation import as_messages, offered_tools, requested_tools
from pandaprobe_otel.traces.json_shapes import items, members
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

CUT: Final = frozenset({"length", "max_tokens", "max_output_tokens", "max_length"})
_FILTERED: Final = frozenset(
    {
        "content_filter", "content_filtered", "safety", "blocklist", "prohibited_content", "spii", "recitation",
        "image_safety", "guardrail_intervened",
    }
)  # fmt: skip
_FILTER_TEXT: Final = re.compile(r"\bcontent_filter\b|content management policy|ResponsibleAIPolicyViolation")
_REFUSAL: Final = re.compile(
    r"\W*(?:(?:i['’]?m|i am|we['’]?re) (?:very |so |really |terribly )?sorry,? (?:but |that )?)?(?:unfortunately,? )?"
    r"(?:i|we) (?:can(?:no|['’])?t|cannot|can not|won['’]t|will not|am not able to|['’]m not able to|am unable to)"
    r" (?:help|assist|comply|fulfill?|provide|answer|discuss|continue with|do that|engage|support|process) ?"
    r"(?:with|you|that|this|to|the|your|in|[.,!]|$)",
    re.IGNORECASE,
)
_JSON_ERRORS: Final = frozenset({"JSONDecodeError", "OutputParserException", "OutputParsingException"})
_JSON_TEXT: Final = re.compile(
    r"Expecting (?:value|property name|',' delimiter|':' delimiter)|Invalid JSON|Unterminated string|Extra data: line"
    r"|json_invalid|Invalid json output"
)
_LANGUAGE: Final = re.compile(r"\A[\w-]*")
_LONGEST_JSON: Final = 200_000
_READ: Final = 4000
"""Maximum number of characters of an error, an answer or a reason that are searched for signs of a failure."""


def answers(trace: TraceRecord) -> Iterator[Finding]:
    """Yield a finding for each answer that is broken, truncated or refused."""
    for step in trace.spans:
        if step.kind != "LLM" or step.failed:
            continue
        reasons = _reasons(step)
        is_cut = not reasons.isdisjoint(CUT)
        if is_cut:
            end = " ".join(_text(step)[-160:].split())
            yield Finding.of(FailureKind.TRUNCATED, step, f"Answer cut off in {step.role}", end, call=step.role)
        if not reasons.isdisjoint(_FILTERED):
            yield refusal_of(step, "filter")
        elif "refusal" in reasons or _refuses(step):
            yield refusal_of(step, "model")
        elif _wants_json(step) and (fault := _fault_of(step, is_cut=is_cut)) is not None:
            yield _broken(step, fault)


def broken_answer(trace: TraceRecord, failed: SpanRecord, kind: str) -> Finding | None:
    """Return a finding if a span failed to parse JSON that a model had written before; None for other failures."""
    if kind not in _JSON_ERRORS and _JSON_TEXT.search(failed.error_text[:_READ]) is None:
        return None
    asked = [step for step in trace.spans if step.kind == "LLM" and not step.failed and step.end_us <= failed.end_us]
    for step in sorted(asked, key=lambda one: one.end_us, reverse=True)[:1]:
        fault = _fault_of(step, is_cut=not _reasons(step).isdisjoint(CUT))
        if fault is not None:
            return _broken(step, fault)
    return None


def is_filtered(error: str) -> bool:
    """Return whether a call failed because a filter refused it."""
    return _FILTER_TEXT.search(error[:_READ]) is not None


def refusal_of(step: SpanRecord, who: str) -> Finding:
    """Return the finding of a refusal, either by the `model` or by a `filter`."""
    title = f"Refused by the {who} in {step.role}"
    return Finding.of(FailureKind.REFUSED, step, title, _text(step).strip()[:160], call=step.role, by=who)


def fault_of_json(text: str, *, is_cut: bool) -> str | None:
    """Return the fault of a text that should be JSON: fenced, cut, prose or syntax; None without a fault."""
    text = text.strip()
    if not text or len(text) > _LONGEST_JSON:
        return None
    end = _end_of_json(text)
    if end is None:
        return None
    if is_cut:
        return "cut"
    if any(_end_of_json(_LANGUAGE.sub("", inner).strip()) is None for inner in text.split("```")[1::2]):
        return "fenced"
    if text[0] not in "{[":
        return "prose"
    return "cut" if end >= len(text) else "syntax"


def _reasons(step: SpanRecord) -> frozenset[str]:
    told = step.metadata.get("finish_reasons")
    return frozenset(str(reason).lower() for reason in ([told] if isinstance(told, str) else items(told)))


def _end_of_json(text: str) -> int | None:
    """Return the index at which a text stops being valid JSON; None for valid JSON."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        # For a string that is not closed, the error is reported at its beginning.
        return len(text) if error.msg.startswith("Unterminated") else error.pos
    except (RecursionError, ValueError):
        return None
    return None


def _fault_of(step: SpanRecord, *, is_cut: bool) -> str | None:
    """Return the fault of the first answer with a fault. A call may have several answers."""
    faults = (fault_of_json(text, is_cut=is_cut) for text in _answers_of(step))
    return next((fault for fault in faults if fault is not None), None)


def _text(step: SpanRecord) -> str:
    return " ".join(_answers_of(step))


def _answers_of(step: SpanRecord) -> Iterator[str]:
    return (message.text for message in as_messages(step.output, "assistant") if not message.calls)


def _refuses(step: SpanRecord) -> bool:
    extra = (part for message in as_messages(step.output, "assistant") for part in message.extra)
    return any(members(part).get("refusal") for part in extra) or _REFUSAL.match(_text(step)[:_READ]) is not None


def _wants_json(step: SpanRecord) -> bool:
    if step.metadata.get("output_type") == "json":
        return True
    parameters = members(step.body.get("model_parameters"))
    asked = parameters.get("response_format") or members(parameters.get("text")).get("format")
    if members(asked).get("type") in ("json_object", "json_schema") or parameters.get("format") == "json":
        return True
    return parameters.get("response_mime_type") == "application/json"


def _broken(step: SpanRecord, fault: str) -> Finding:
    title = f"Broken JSON ({fault}) in {step.role}"
    return Finding.of(FailureKind.BROKEN_JSON, step, title, _text(step).strip()[:160], call=step.role, fault=fault)


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


def unknown_tools(trace: TraceRecord) -> Iterator[Finding]:
    """Yield a finding for each tool that a model requested but was not offered."""
    for step in trace.spans:
        if step.kind == "LLM" and (asked := requested_tools(step)) and (offered := offered_tools(step)):
            # Of the service's own tools and unknown forms, nothing is known.
            for name in asked:
                if name not in offered and None not in offered:
                    yield _unknown(step, name, f"the model asked for {name}, which it was not offered")


def unknown_tool_of(step: SpanRecord) -> Finding | None:
    """Return the finding of a span that failed because a tool does not exist; None for other failures."""
    found = _UNKNOWN_TOOL.search(step.error_text[:_READ])
    if found is None:
        return None
    return _unknown(step, found[1] or found[2] or found[3], step.error_text.strip().split("\n")[0][:160])


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


FAILING: Final = 0.5
"""Scores below it count as failures. Tests have the same default threshold."""


def is_low(value: object) -> bool:
    """Return whether a score's value counts as a failure: a number below 0.5, or false."""
    try:
        return float(str(value)) < FAILING
    except ValueError:
        return str(value).lower() == "false"


def judged(trace: TraceRecord, scores: Iterable[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield a finding for each low score. `scores` are the latest of each name, in the form of the API."""
    for score in scores:
        if score.get("value") is None or score.get("data_type") == "CATEGORICAL" or not is_low(score["value"]):
            continue
        metric, reason = str(score.get("name", "")), str(score.get("reason") or "")
        about = _named_in(reason, _tools(trace)) or sorted(
            {step.role for step in trace.spans if step.kind == "RETRIEVER"}
        )
        title = f"{metric} is low" + (f": {', '.join(about)}" if about else "")
        text = f"{score['value']}: {' '.join(reason.split())}"[:160]
        yield Finding.of(FailureKind.JUDGED, None, title, text, metric=metric, about=", ".join(about))


def _tools(trace: TraceRecord) -> set[str]:
    names: set[str] = set()
    for step in trace.spans:
        if step.kind == "TOOL":
            names.add(step.role)
        elif step.kind == "LLM":
            names.update(requested_tools(step), filter(None, offered_tools(step)))
    return names


def _named_in(reason: str, names: Iterable[str]) -> list[str]:
    reason = reason[:_READ].lower()
    return sorted(
        name
        for name in names
        if name.lower() in reason and re.search(rf"(?<!\w){re.escape(name.lower())}(?!\w)", reason)
    )


_TIMEOUT_TYPE: Final = re.compile(r"time(?:d_?)?_?out|deadline_?exceeded", re.IGNORECASE)
_TIMEOUT_TEXT: Final = re.compile(
    r"\btimed[ -]?out\b|\bdeadline (?:was )?exceeded\b|\bgateway time-?out\b"
    r"|\b(?:request|read|connect(?:ion)?|operation|response|call|tool|execution) time-?out\b"
    r"|^\s*time-?out(?:\s*$|:| (?:after|of|while|waiting|expired|exceeded|reached)\b)",
    re.IGNORECASE,
)


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
        _TIMEOUT_TEXT.search(text[:_READ]) is not None
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
_INDEX: Final = re.compile(r"\d+")


def bad_argument(text: str) -> tuple[str, str] | None:
    """Return an argument and its fault (`missing`, `type` or `unexpected`) in an error's text; None without one."""
    text = text[:_READ]
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


_MAX_MARK: Final = 200
_ATTRIBUTE: Final = "pandaprobe.fingerprint"


_RULES: Final = (failed_spans, unknown_tools, loops, answers, circular_hand_offs)


def find_failures(trace: Mapping[str, Any], scores: Iterable[Mapping[str, Any]] = ()) -> list[Finding]:
    """Return the findings of a trace, highest rank first, one for each fingerprint.

    trace: a trace in the form of `GET /traces/{id}` or `POST /traces`.
    scores: the latest score of each name, in the form of the API.

    Any JSON is accepted, and nothing is raised. Findings with `recovered` are not failures.
    """
    read = TraceRecord(trace)
    found = [finding for rule in _RULES for finding in rule(read)]
    found += judged(read, scores)
    place = {step.id: at for at, step in enumerate(read.spans)}
    found = [replace(one, marked=_mark_of(read, one)) for one in found]
    found.sort(key=lambda one: (one.recovered, RANK[one.kind], place.get(one.span_id or "", len(place))))
    unique: dict[str, Finding] = {}
    for finding in found:
        unique.setdefault(finding.fingerprint, finding)
    return list(unique.values())


def _mark_of(trace: TraceRecord, finding: Finding) -> str | None:
    """Return the fingerprint that the program set on the trace, the span, or the nearest ancestor with one."""
    step = trace.by_id.get(finding.span_id or "")
    holders: list[TraceRecord | SpanRecord] = [trace, *(() if step is None else (step, *step.above))]
    return next(filter(None, (_mark(holder.metadata) for holder in holders)), None)


def _mark(metadata: Mapping[str, Any]) -> str | None:
    mark = metadata.get("fingerprint") or members(metadata.get("attributes")).get(_ATTRIBUTE)
    return mark[:_MAX_MARK] if isinstance(mark, str) and mark else None


Group = Sequence[tuple[Mapping[str, Any], Finding]]
"""Traces that failed alike, in their original order, each with its finding. The first finding names the group."""


def group_failures(traces: Iterable[Mapping[str, Any]]) -> list[Group]:
    """Return the groups of traces, those with most traces first. A trace with several failures is in several groups.

    Recovered failures do not count.
    """
    groups: dict[str, list[tuple[Mapping[str, Any], Finding]]] = {}
    for trace in traces:
        for finding in find_failures(trace):
            if not finding.recovered:
                groups.setdefault(finding.fingerprint, []).append((trace, finding))
    return sorted(groups.values(), key=len, reverse=True)
