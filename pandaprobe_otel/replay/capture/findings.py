"""Failures in a trace, as assertions, each with the model call after which runs may differ.

A test with recorded answers cannot change what the model decided. So findings cover only the program: its reaction to
the answers. They are: a requested tool that did not run, or ran with other arguments; a call that ran twice; a result
or document that the model never received; a truncated answer that was returned as complete; an exception; a run that
was cancelled.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.failures.finding import FailureKind
from pandaprobe_otel.mapping.outcomes import UNFINISHED
from pandaprobe_otel.protocols.conversation import RequestedTool, mapping, requested_tools
from pandaprobe_otel.replay.capture.source_text import arguments_text, call_text, literal, shortened
from pandaprobe_otel.replay.capture.stored_trace import StoredTrace, texts_in
from pandaprobe_otel.traces.records import SpanRecord

_HAND_OVER: Final = re.compile(r"^(?:transfer|hand_?off|delegate|route|escalate)(?:_to)?_?(.*)$")
_CUT: Final = frozenset({"length", "max_tokens", "max_output_tokens", "MAX_TOKENS"})
_PLAIN: Final = re.compile(r"[\w ,;:.!?()-]+")
"""Parts of a text that look the same within JSON."""
_TEXTS: Final = ("text", "content", "page_content", "document")
_DOCUMENT: Final = 200
"""Characters of a document that identify it in a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A failure.

    Attributes:
        kind: The kind of failure. Failures of one kind with the same assertion are alike.
        told: The event in the trace, as a comment for the assertion.
        asserts: The assertion, as a line of Python.
        after: The last model call that a fixed program still makes as recorded.
        tool: The tool that was requested and did not run as requested.
    """

    kind: str
    told: str
    asserts: str
    after: int
    tool: str | None = None


def findings(trace: StoredTrace) -> list[Finding]:
    """Return the failures, earliest first, each assertion once."""
    found = [finding for turn in _turns(trace) for find in _OF_TURNS for finding in find(trace, turn)]
    found += [finding for find in _OF_TRACES for finding in find(trace)]
    found.sort(key=lambda one: one.after)
    return list({finding.asserts: finding for finding in reversed(found)}.values())[::-1]


@dataclass(frozen=True, slots=True)
class _Turn:
    """An answer of a model, with the tools that it requested and those that ran until the next request."""

    number: int
    call: SpanRecord
    asked: tuple[RequestedTool, ...]
    ran: tuple[SpanRecord, ...]
    follows: SpanRecord | None
    """The next call with the same parent spans."""


def _turns(trace: StoredTrace) -> Iterator[_Turn]:
    calls = trace.model_calls
    for number, call in enumerate(calls, 1):
        parent = call.body.get("parent_span_id")
        follows = next((one for one in calls[number:] if one.body.get("parent_span_id") == parent), None)
        ran = tuple(
            span
            for span in trace.spans
            if span.kind in ("TOOL", "AGENT")
            and span.started >= call.ended
            and (follows is None or span.started < follows.started)
            and not any(one.kind == "TOOL" for one in span.above)
            and _is_sibling(trace, span, call)
        )
        messages = mapping(call.output).get("messages") or ()
        asked = tuple(one for message in messages for one in requested_tools(mapping(message)))
        yield _Turn(number, call, asked, ran, follows)


def _is_sibling(trace: StoredTrace, span: SpanRecord, call: SpanRecord) -> bool:
    """Return whether a span is a descendant of a call's parent."""
    above = {one.id for one in span.above}
    own = call.parent
    return own is None or own.id in above


def _other_tool(trace: StoredTrace, turn: _Turn) -> Iterator[Finding]:
    """Find a tool that the model requested and that did not run, ran with other arguments, or was replaced by another
    one.
    """
    names = {span.name for span in trace.spans if span.kind == "TOOL"}
    left = [span for span in turn.ran if span.kind == "TOOL"]
    asked = [one for one in turn.asked if not _is_hand_over(one, turn)]
    missing = [one for one in asked if not _taken(left, partial(_is_run_of, asked=one, exactly=True))]
    for one in missing:
        changed = _taken(left, partial(_is_run_of, asked=one, exactly=False))
        told = f"the model asked for {one.name}({arguments_text(_given(one))})"
        if changed is not None:
            told += f"; the trace had {call_text(changed)}"
        elif left:
            told += f"; the trace had {call_text(left[0])}"
        elif names and not _was_last(trace, turn):
            told += "; it never ran"
        else:
            continue
        yield Finding(
            kind="other tool",
            told=told,
            asserts=f"probe.spans.tool({literal(one.name)}){_with(_given(one))}.called()",
            after=turn.number,
            tool=one.name,
        )


def _given(asked: RequestedTool) -> Mapping[str, Any]:
    return mapping(asked.values)


def _with(arguments: Mapping[str, Any]) -> str:
    return f".with_args({arguments_text(arguments)})" if arguments else ""


def _was_last(trace: StoredTrace, turn: _Turn) -> bool:
    """Return whether the program runs no tools and has returned the calls to its caller."""
    return turn.follows is None and trace.root.error is None and not turn.ran and turn.number == len(trace.model_calls)


def _is_run_of(span: SpanRecord, asked: RequestedTool, *, exactly: bool) -> bool:
    if span.name != asked.name:
        return False
    given = _given(asked)
    return not exactly or all(name in span.arguments and span.arguments[name] == given[name] for name in given)


def _taken(spans: list[SpanRecord], fits: Callable[[SpanRecord], bool]) -> SpanRecord | None:
    """Remove the first matching span from a list and return it."""
    for at, span in enumerate(spans):
        if fits(span):
            return spans.pop(at)
    return None


def _again(trace: StoredTrace, turn: _Turn) -> Iterator[Finding]:
    """Find a tool that ran once more than the model requested."""
    left = [span for span in turn.ran if span.kind == "TOOL"]
    for one in turn.asked:
        first = _taken(left, partial(_is_run_of, asked=one, exactly=True))
        again = [span for span in left if first is not None and _is_run_of(span, one, exactly=True)]
        others = sum(other.name == one.name and other.arguments == one.arguments for other in turn.asked) - 1
        if len(again) > others and first is not None:
            times = sum(
                span.kind == "TOOL" and span.name == one.name and span.arguments == first.arguments
                for span in trace.spans
            )
            wanted = times - len(again) + others
            yield Finding(
                kind="again",
                told=f"the model asked for {one.name} once; the trace had {times} calls",
                asserts=f"probe.spans.tool({literal(one.name)}){_with(_given(one))}.called({wanted})",
                after=turn.number,
            )


def _is_hand_over(asked: RequestedTool, turn: _Turn) -> bool:
    return any(span.kind == "AGENT" for span in turn.ran) and _HAND_OVER.match(asked.name) is not None


def _other_agent(trace: StoredTrace, turn: _Turn) -> Iterator[Finding]:
    """Find a hand-over by the model to one agent, after which another agent ran."""
    agents = [span.name for span in turn.ran if span.kind == "AGENT"]
    for one in turn.asked:
        match = _HAND_OVER.match(one.name)
        wanted = (match[1] if match else "") or next((v for v in _given(one).values() if isinstance(v, str)), "")
        if match and agents and wanted and not any(_same_name(wanted, name) for name in agents):
            yield Finding(
                kind="other agent",
                told=f"the model handed over to {wanted}; the trace had {', '.join(agents)}",
                asserts=f"probe.spans.agent({literal(wanted)}).called()",
                after=turn.number,
            )


def _same_name(one: str, other: str) -> bool:
    plain = [re.sub(r"[^a-z0-9]|agent", "", name.lower()) for name in (one, other)]
    return plain[0] == plain[1]


def _untold_result(trace: StoredTrace, turn: _Turn) -> Iterator[Finding]:
    """Find a tool that ran, but whose result the next request to the model lacks."""
    if turn.follows is None:
        return
    told = {str(mapping(one).get("tool_call_id")) for one in mapping(turn.follows.input).get("messages") or ()}
    for one in turn.asked:
        if one.id in told or not any(_is_run_of(span, one, exactly=False) for span in turn.ran):
            continue
        times = sum(span.kind == "TOOL" and span.name == one.name for span in trace.spans)
        ran = next(span for span in turn.ran if _is_run_of(span, one, exactly=False))
        text = _mark_of(ran.output, known="\n".join(texts_in(turn.call.input))) or str(one.id)
        yield Finding(
            kind="untold result",
            told=f"the model never got the result of {one.name}; the trace had {times} calls",
            asserts=f"probe.spans.llm().where(lambda span: {literal(text)} in str(span.input)).called()",
            after=turn.number,
        )


def _values_in(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for item in mapping(value).values():
            yield from _values_in(item)
    elif isinstance(value, list):
        for item in cast("Iterable[Any]", value):
            yield from _values_in(item)
    elif value is not None and not isinstance(value, bool):
        yield str(value)


def _mark_of(result: Any, *, known: str) -> str | None:
    """Return a text of a tool's result by which a request that contains it is known; None if it has none."""
    words = (word.strip() for text in _values_in(result) for word in _PLAIN.findall(text))
    return max((word[:_DOCUMENT] for word in words if word and word not in known), key=len, default=None)


def _ignored_document(trace: StoredTrace) -> Iterator[Finding]:
    """Find a retrieved document that the next request does not contain."""
    for span in trace.spans:
        if span.kind != "RETRIEVER":
            continue
        after = trace.ended_before(span)
        follows = next((call for call in trace.model_calls if call.started >= span.ended), None)
        texts = [text.strip()[:_DOCUMENT] for text in _texts_of_documents(span.output)]
        if follows is None or not texts:
            continue
        asked = "\n".join(texts_in(follows.input))
        for text in texts:
            if text and text not in asked:
                yield Finding(
                    kind="ignored document",
                    told=f"{span.name} found it, but the model never received it",
                    asserts=f"probe.spans.llm().where(lambda span: {literal(text)} in str(span.input)).called()",
                    after=after,
                )


def _texts_of_documents(output: Any) -> Iterator[str]:
    if isinstance(output, str):
        yield output
    elif isinstance(output, Mapping):
        found = mapping(output)
        text: Any = next((found[name] for name in _TEXTS if name in found), found.get("documents"))
        yield from _texts_of_documents(text)
    elif isinstance(output, Sequence):
        for one in cast("Iterable[Any]", output):
            yield from _texts_of_documents(one)


def _should_not_be_returned(trace: StoredTrace) -> Iterator[Finding]:
    """Find an answer that was truncated by its limit, or a refusal, that the program returned as its answer."""
    refused = {one.span_id for one in find_failures(trace.body) if one.kind is FailureKind.REFUSED}
    for number, call in enumerate(trace.model_calls, 1):
        answer = _output_text(call)
        if _CUT.intersection(map(str, call.metadata.get("finish_reasons") or ())):
            kind, after = "given out cut", number
            text: str | None = answer[-_DOCUMENT:]
            told = f"call {number} was truncated by its limit, but returned as a complete answer"
        elif call.id in refused:
            kind, text, after = "refusal", _mark_of(answer, known=""), number - 1
            told = f"the model refused, and the program returned that: {_short(text)}"
        else:
            continue
        if text and any(text in given for given in texts_in(trace.root.output)):
            fits = f"where(lambda span: {literal(text)} in str(span.output))"
            asserts = f"probe.spans.named({literal(trace.root.name)}).{fits}.not_called()"
            yield Finding(kind=kind, told=told, asserts=asserts, after=after)


def _output_text(call: SpanRecord) -> str:
    """Return the text that a model call answered with."""
    messages: Sequence[Any] = mapping(call.output).get("messages") or ()
    return "".join(str(mapping(one).get("content") or "") for one in messages).strip()


def _exception(trace: StoredTrace) -> Iterator[Finding]:
    """Find an exception that ended the run. It came from the innermost span that failed last."""
    root = trace.root
    if root.error is None:
        return
    inner = [span for span in trace.spans if span.error is not None][-1]
    fits = f".where(lambda span: span.error_type == {literal(root.error_type)})" if root.error_type else ".errors"
    yield Finding(
        kind="exception",
        told=f"{inner.name} failed: {_short(inner.error)}",
        asserts=f"probe.spans.named({literal(root.name)}){fits}.not_called()",
        after=trace.ended_before(inner) if inner.kind == "TOOL" else _calls_within(trace, inner),
    )


def _calls_within(trace: StoredTrace, span: SpanRecord) -> int:
    """Return the number of model calls that had ended when a span failed."""
    return sum(call.ended <= span.ended for call in trace.model_calls)


def _short(text: str | None) -> str:
    return shortened((text or "").strip().split("\n")[0], 80)


def _unfinished(trace: StoredTrace) -> Iterator[Finding]:
    """Find a run that was cancelled, timed out, or was abandoned."""
    root = trace.root
    if root.outcome in UNFINISHED:
        fits = f".where(lambda span: span.outcome == {literal(root.outcome)})"
        yield Finding(
            kind="unfinished",
            told=f"the run was {root.outcome}",
            asserts=f"probe.spans.named({literal(root.name)}){fits}.not_called()",
            after=len(trace.model_calls),
        )


_OF_TURNS: Final = (_other_tool, _other_agent, _again, _untold_result)
_OF_TRACES: Final = (_ignored_document, _should_not_be_returned, _exception, _unfinished)
