"""Model calls among the spans of a trace: each is one span, its numbers count once, and its tools have their values.

If two instrumentations have recorded a call, one inside the other, the outer span stays in its place, and keeps the
richer of both in each field. Evidence decides: two spans are one call only if a span of a model call has exactly one
other below it, without a tool or an agent between them, and nothing that both state contradicts. So retries, and calls
that a tool makes while a model is called, stay apart.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel.mapping.attributes import KIND, PARTIAL, TOKEN_USAGE
from pandaprobe_otel.mapping.dialect_table import CONTEXT_FIELDS, MODEL_KINDS, RANKED_FIELDS
from pandaprobe_otel.mapping.mapped_span import MappedSpan, add_rest, put
from pandaprobe_otel.mapping.messages import messages_in
from pandaprobe_otel.mapping.span_content import Said, unsaid
from pandaprobe_otel.mapping.usage import Price
from pandaprobe_otel.mapping.values import decoded, dicts, inside, listed, type_of

_CALLS: Final = frozenset({"LLM", "EMBEDDING"})
_PASSING: Final = frozenset({"CHAIN", "OTHER"})
"""Kinds of spans inside a model call that may contain the call itself."""
_AROUND: Final = _PASSING | _CALLS
_LONG: Final = 12
"""Characters of a text that is hardly equal to, or part of, another one by chance."""
_HOPS: Final = 64
"""Largest number of spans between a call and the call around it."""
_MOST: Final = 8
"""Largest number of spans that become part of another one, so that the work stays linear."""
_VERSION: Final = re.compile(r"\Z|[-@:._]+(?:\d|v\d|latest|preview)")
"""Rest of the name of a version after the name of its model."""


def merged_calls(spans: Sequence[MappedSpan], *, captures_all: bool) -> tuple[Sequence[MappedSpan], dict[int, int]]:
    """Return the spans with one for each call, and for each span that became part of another one, the other's id.

    `spans` is sorted by start.
    """
    calls: list[MappedSpan] = []
    by_id: dict[int, MappedSpan] = {}
    for span in spans:
        if span.kind in _AROUND:
            by_id[span.view.span_id] = span
            if span.kind in _CALLS:
                calls.append(span)
    if len(calls) < 2:
        return spans, {}
    if by_id.keys().isdisjoint([call.view.parent_id for call in calls]):
        return spans, {}  # as in most traces: the calls are below agents
    outer_of = _outer_calls(calls, by_id)
    if not outer_of:
        return spans, {}
    below = Counter(outer.view.span_id for outer in outer_of.values())
    into: dict[int, int] = {}
    for inner in reversed(calls):  # the innermost first
        outer = outer_of.get(inner)
        if outer is None or outer.view.span_id in into or below[outer.view.span_id] != 1:
            continue  # it is part of another one itself: two spans have one id, so that their parents form a ring
        if not _is_same_call(outer, inner):
            continue
        _merge(outer, inner, captures_all=captures_all)
        into[inner.view.span_id] = outer.view.span_id
    if not into:
        return spans, into
    for inner_id in into:
        while (further := into.get(into[inner_id])) is not None:
            into[inner_id] = further
    kept = [span for span in spans if span.view.span_id not in into]
    ids = {span.view.span_id: span.body["span_id"] for span in kept}
    for span in kept:
        outer_id = into.get(span.view.parent_id or 0)
        if outer_id is not None:
            span.view = dataclasses.replace(span.view, parent_id=outer_id)
            span.body["parent_span_id"] = ids[outer_id]
    return kept, into


def _outer_calls(calls: Sequence[MappedSpan], by_id: Mapping[int, MappedSpan]) -> dict[MappedSpan, MappedSpan]:
    """Return, for each call that is inside another one, the nearest call around it."""
    found: dict[MappedSpan, MappedSpan] = {}
    begun: set[int] = set()  # a call around another one begins first; in a cycle of parents, one does not
    for call in calls:
        above = by_id.get(call.view.parent_id or 0)
        for _ in range(_HOPS):
            if above is None or above.kind not in _PASSING:
                break
            above = by_id.get(above.view.parent_id or 0)
        span_id = call.view.span_id
        if above is not None and above.kind == call.kind and span_id != above.view.span_id in begun:
            found[call] = above
        begun.add(span_id)
    return found


# -- evidence: True for agreement, False for contradiction, None if one of the spans says nothing ---------------------


def _is_same_call(outer: MappedSpan, inner: MappedSpan) -> bool:
    if KIND in outer.view.attributes or KIND in inner.view.attributes:
        return False  # the app has made this span itself
    if len(outer.metadata.get("also_recorded_as", ())) + len(inner.metadata.get("also_recorded_as", ())) >= _MOST:
        return False
    if ("error" in outer.body) != ("error" in inner.body):
        return False  # an outer call that recovered, or that could not use the answer
    if inner.view.start_ns >= (outer.view.end_ns or inner.view.start_ns + 1):
        return False  # began after the outer call had ended
    models, numbers = _same_model(outer, inner), _same_numbers(outer, inner)
    one, other = outer.metadata.get("response_id"), inner.metadata.get("response_id")
    ids = None if one is None or other is None else one == other
    answers = _same_text(_answer(outer), _answer(inner))
    questions = _same_text(_question(outer), _question(inner))
    if answers is False:
        return False
    if ids or (numbers and answers):
        return True
    if False in (models, ids, numbers, questions):
        return False
    is_direct = inner.view.parent_id == outer.view.span_id
    if "error" in outer.body:
        return is_direct  # the outer call failed with its only call
    if not is_direct:
        return bool(questions and answers)
    if questions or answers or numbers:
        return True
    is_likely = models is True or outer.kind == "EMBEDDING"  # a component that embeds may not know its model
    return is_likely and outer.view.scope_name != inner.view.scope_name


def _same_model(outer: MappedSpan, inner: MappedSpan) -> bool | None:
    theirs, ours = (
        [str(name).lower() for name in (span.body.get("model"), span.metadata.get("request_model")) if name]
        for span in (outer, inner)
    )
    if not theirs or not ours:
        return None
    return any(_is_version(*sorted((one, other), key=len)) for one in theirs for other in ours)


def _is_version(name: str, longer: str) -> bool:
    """Return whether the longer name is the same model, with a provider before its name or a version after it."""
    at = longer.rfind(name)
    if at < 0 or (at > 0 and longer[at - 1] not in "./:"):
        return False
    return _VERSION.match(longer, at + len(name)) is not None


def _same_numbers(outer: MappedSpan, inner: MappedSpan) -> bool | None:
    one, other = outer.usage or {}, inner.usage or {}
    sides = [
        (one[side], other[side]) for side in ("prompt_tokens", "completion_tokens") if side in one and side in other
    ]
    if any(first != second for first, second in sides):
        return False
    return True if len(sides) == 2 else None


def _same_text(one: str, other: str) -> bool | None:
    one, other = "".join(one.split()), "".join(other.split())
    if not one or not other:
        return None
    if one == other:
        return True
    short, longer = sorted((one, other), key=len)
    if short not in longer:
        return False
    return True if len(short) >= _LONG else None  # one may be a part of the other: a stream that was left


def _answer(span: MappedSpan) -> str:
    return "".join(map(_text_of, messages_in(span.body.get("output"))))


def _question(span: MappedSpan) -> str:
    given: Any = span.body.get("input")
    if span.kind == "EMBEDDING":
        return _text_of({"content": given})
    messages = messages_in(given)
    asked = [message for message in messages if message.get("role") == "user"]
    return _text_of(asked[-1]) if asked else ""


def _text_of(message: Mapping[str, Any]) -> str:
    """Return the texts of a message and its tool calls, without the ids of the calls, which emitters make up."""
    texts = [part.get("text") if type_of(part) is dict else part for part in listed(message.get("content"))]
    for call in dicts(message.get("tool_calls")):
        function = inside(call, "function")
        texts += [function.get("name"), function.get("arguments")]
    return "".join(text for text in texts if type_of(text) is str)


# -- merging ----------------------------------------------------------------------------------------------------------


def _merge(outer: MappedSpan, inner: MappedSpan, *, captures_all: bool) -> None:
    """Add to the outer span everything that only the inner one says; keep the poorer of two values where it differs."""
    body, other = outer.body, inner.body
    known: dict[str, Any] = body["metadata"]
    rest = [*_values(outer), *_values(inner)]
    for side in _SIDES & other.keys():
        body[side] = max(body.get(side, other[side]), other[side], key=_richness)
    if "model" in other:
        body["model"] = other["model"]  # the inner span is nearer to the service
    if "model_parameters" in other:
        body["model_parameters"] = {**other["model_parameters"], **body.get("model_parameters", {})}
    for key, pick in (("completion_start_time", min), ("ended_at", max)):
        if key in other:
            body[key] = pick(body.get(key, other[key]), other[key])
    if inner.usage is not None and (outer.usage is None or len(inner.usage) >= len(outer.usage)):
        outer.usage = inner.usage
    outer.cost = outer.cost if inner.cost is None else inner.cost
    outer.aggregated = outer.aggregated or inner.aggregated
    if inner.found.get("outcome") == PARTIAL and "outcome" not in outer.found:
        body["status"] = other["status"]
        outer.found = {**outer.found, "outcome": PARTIAL}
    for key, value in other["metadata"].items():
        if key == "attributes" and type_of(value) is dict:
            rest += value.items()
        elif key not in known:
            known[key] = value
        elif known[key] != value and key != "scope":
            rest.append((key, value))
    outer.found = {**inner.found, **outer.found}
    for field in CONTEXT_FIELDS & inner.found.keys():
        one, two = outer.found[field], inner.found[field]
        if type_of(one) is list:
            outer.found[field] = [*one, *(item for item in two if item not in one)]
        elif type_of(one) is dict:
            outer.found[field] = {**two, **one}
            rest.append((field, two))
        elif one != two:  # of two session or user ids, the better source wins
            better, poorer = sorted((one, two)) if field in RANKED_FIELDS else (one, two)
            outer.found[field] = better
            rest.append((field, poorer[1] if field in RANKED_FIELDS else poorer))
    outer.shape = dataclasses.replace(
        outer.shape,
        counts=outer.shape.counts or inner.shape.counts,
        has_context=outer.shape.has_context or inner.shape.has_context,
    )
    if captures_all:
        said = Said({"body": body, "numbers": [outer.usage, outer.aggregated, outer.cost]})
        add_rest(outer, unsaid(said, rest))
        also = {"name": other["name"], "scope": inner.view.scope_name, "span_id": other["span_id"]}
        put(outer, "also_recorded_as", [also, *inner.metadata.get("also_recorded_as", [])])


def _values(span: MappedSpan) -> Iterator[tuple[str, Any]]:
    for key in ("input", "output", "model", "model_parameters", "error"):
        if key in span.body:
            yield key, span.body[key]
    yield "token_usage", span.usage
    yield "cost", span.cost


def _richness(value: Any) -> tuple[bool, int]:
    """Return the sort key of a side: messages are richer than other values, then the one with more text and items."""
    size, pending = 0, [value]  # without recursion, because values may be nested deeply
    while pending:
        inside = pending.pop()
        kind = type_of(inside)
        size += len(inside) if kind is str else 1
        if kind is dict or kind is list:
            pending += inside.values() if kind is dict else inside
    return bool(messages_in(value)), size


_SIDES: Final = {"input", "output"}


def fill_tools(spans: Sequence[MappedSpan]) -> None:
    """Set the missing inputs and outputs of tools, and note in the metadata from which span they are.

    They stand in the model calls of the trace, under the id of the tool call: Google ADK 2 and AutoGen record them only
    there, and evaluations read the spans of tools.
    """
    empty: list[MappedSpan] = []
    for span in spans:
        if span.kind == "TOOL" and "tool_call_id" in span.metadata and not span.body.keys() >= _SIDES:
            empty.append(span)  # noqa: PERF401 - a comprehension would be one more call
    if not empty:
        return
    asked: dict[Any, tuple[Any, MappedSpan]] = {}
    answered: dict[Any, tuple[Any, MappedSpan]] = {}
    for span in spans:
        if span.kind != "LLM":
            continue
        for message in messages_in(span.body.get("output")):
            for call in message.get("tool_calls") or ():
                asked.setdefault(call.get("id"), (decoded(call["function"].get("arguments")), span))
        for message in messages_in(span.body.get("input")):
            if message.get("role") == "tool":
                answered.setdefault(message.get("tool_call_id"), (message.get("content"), span))
    for span in empty:
        for side, known in (("input", asked), ("output", answered)):
            value, source = known.get(span.metadata["tool_call_id"], (None, span))
            if value not in (None, {}) and side not in span.body:
                span.body[side] = value
                put(span, f"{side}_from", {"span_id": source.body["span_id"], "name": source.body["name"]})


# -- token counts and costs -------------------------------------------------------------------------------------------

# Each model call is counted exactly once. PandaProbe adds up the tokens of all spans, whatever their kind. So the sums
# of agents, chains and outer instrumentations go into the metadata, unless there are no other numbers. So do the
# numbers of an answer from a cache, which cost nothing.

_ANY: Final = 1
_CALL_MARKS: Final = {"LLM": 2, "EMBEDDING": 4}
_YIELDS_TO: Final = {"LLM": 2, "EMBEDDING": 4, "RETRIEVER": 6}
"""For each kind of span, the marks of the calls below it whose numbers it repeats. Other kinds repeat all numbers
below.
"""

_STEPS: Final = frozenset({"CHAIN", "OTHER"})
"""Kinds that call no model themselves. Agents and tools may: a remote agent, whose calls are not traced, has a sum."""

_BORDERS: Final = frozenset({"TOOL", "AGENT"})
"""Kinds that separate model calls: Google ADK 1 nests tools and sub-agents, with calls of their own, in `call_llm`."""


def place_numbers(spans: Sequence[MappedSpan], *, whole: bool) -> None:
    """Set `token_usage` and `cost` on the spans that count, and put all other sums into the metadata.

    If the spans are only part of a trace (`whole` false), sums never count, because the calls may be in another part.
    """
    counted: list[MappedSpan] = []
    charged: list[MappedSpan] = []
    for span in spans:
        if span.shape.counts:
            if span.usage is not None or span.aggregated is not None:
                counted.append(span)
            if span.cost is not None:
                charged.append(span)
    repeated = _repeated(counted, spans) | _echoes(counted) if len(counted) > 1 else frozenset[MappedSpan]()
    if counted:
        counting = _counting(counted, spans, whole) - repeated
        for span in counted:
            if span.usage is not None and span not in counting:
                put(span, "aggregated_token_usage", span.usage)
            elif span in counting and "cached" not in span.found:
                span.body["token_usage"] = span.usage or span.aggregated
            elif span in counting:
                put(span, "cached_token_usage", span.usage or span.aggregated)
            if span.aggregated is not None:
                put(span, "aggregated_token_usage", span.aggregated)
    if charged:
        counting = _counting(charged, spans, whole) - repeated
        for span in charged:
            if span in counting and "cached" not in span.found:
                span.body["cost"] = span.cost
            elif span in counting:
                put(span, "cached_cost", span.cost)
            else:
                put(span, "aggregated_cost", span.cost)


def _repeated(counted: Sequence[MappedSpan], spans: Sequence[MappedSpan]) -> frozenset[MappedSpan]:
    """Return the counted spans that repeat another instrumentation's span: the same response at the same time.

    The id of a response alone does not prove a repetition, because mock providers reuse ids. If one span is inside the
    other, the tree decides.
    """
    by_id = {span.view.span_id: span for span in spans}
    first: dict[str, MappedSpan] = {}
    repeated: set[MappedSpan] = set()
    for span in counted:
        response = span.metadata.get("response_id")
        if response is None or span.usage is None or span.kind not in _CALL_MARKS:
            continue
        known = first.setdefault(response, span)
        overlap = span.view.start_ns <= (known.view.end_ns or 0)  # the known one has started first
        if known.view.scope_name != span.view.scope_name and overlap and not _is_above(known, span, by_id):
            repeated.add(span)
    return frozenset(repeated)


def _echoes(counted: Sequence[MappedSpan]) -> frozenset[MappedSpan]:
    """Return the steps that repeat an earlier call's counts, because they got its answer (LangSmith's export).

    Counts that the app itself has set on a step stay.
    """
    steps = [span for span in counted if span.kind in _STEPS and TOKEN_USAGE not in span.view.attributes]
    if not steps:
        return frozenset()
    begun: dict[tuple[int | None, int | None], int] = {}  # `counted` is sorted by start
    for span in counted:
        if span.kind in _CALL_MARKS and span.usage is not None:
            begun.setdefault(_sides(span.usage), span.view.start_ns)
    return frozenset(span for span in steps if begun.get(_sides(span.usage or {}), _NEVER) <= span.view.start_ns)


def _sides(usage: Mapping[str, int]) -> tuple[int | None, int | None]:
    return usage.get("prompt_tokens"), usage.get("completion_tokens")


_NEVER: Final = 1 << 63


def _is_above(first: MappedSpan, second: MappedSpan, by_id: Mapping[int, MappedSpan]) -> bool:
    for _ in range(_HOPS):
        above = by_id.get(second.view.parent_id or 0)
        if above is None or above is first:
            return above is first
        second = above
    return False


def _counting(numbered: Sequence[MappedSpan], spans: Sequence[MappedSpan], whole: bool) -> set[MappedSpan]:
    """Return the spans whose numbers do not repeat those of calls below them."""
    by_id = {span.view.span_id: span for span in spans}
    marks: dict[int, int] = {}  # by span id: `_ANY` for numbers below it, of `_CALL_MARKS` for a call without a border
    for span in numbered:
        mark = _ANY | _CALL_MARKS.get(span.kind, 0)
        parent = by_id.get(span.view.parent_id or 0)
        # The loop stops at existing marks, so the total is linear, and a cycle of parents is safe.
        while parent is not None:
            known = marks.get(parent.view.span_id, 0)
            if known | mark == known:
                break
            marks[parent.view.span_id] = known | mark
            if parent.kind in _BORDERS:
                mark = _ANY
            parent = by_id.get(parent.view.parent_id or 0)
    counting: set[MappedSpan] = set()
    for span in numbered:
        below, yields_to = marks.get(span.view.span_id, 0), _YIELDS_TO.get(span.kind)
        if (whole and not below) if yields_to is None else not below & yields_to:
            counting.add(span)
    return counting


# -- costs that no span states ----------------------------------------------------------------------------------------

MARK: Final = "cost_computed_by"
"""Metadata key of spans whose cost was computed; its value names the price list."""


def add_computed_costs(spans: Sequence[MappedSpan], price: Price) -> None:
    """Set the cost of every counted model call, unless a span of the trace states a cost, which may be the sum of these
    calls.
    """
    if any(span.cost is not None for span in spans):
        return
    for span in spans:
        body = span.body
        usage, model = body.get("token_usage"), body.get("model")
        if usage is None or model is None or span.kind not in MODEL_KINDS:
            continue
        priced = price(model, span.metadata.get("provider"), usage, span.view.start_ns)
        if priced is not None:
            body["cost"] = priced.amounts
            body["metadata"] = {**body["metadata"], MARK: priced.by}
