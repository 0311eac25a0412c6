"""Unusable answers of models: broken JSON, truncated at the limit, or refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from pandaprobe_otel.failures.finding import FailureKind, Finding
from pandaprobe_otel.traces.conversation import as_messages
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
_MAX_TEXT: Final = 200_000
_READ: Final = 4000


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
    if not text or len(text) > _MAX_TEXT:
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


def requested_tools(step: SpanRecord) -> list[str]:
    """Return the names of the tools that a model requested."""
    names = (call.name for message in as_messages(step.output, "assistant") for call in message.calls)
    return [name for name in names if name != "?"]


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
