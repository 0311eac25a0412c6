"""Input and output of a span, each from its first source with content. The two are chosen independently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from pandaprobe_otel.mapping.attribute_shape import Candidate, content_value
from pandaprobe_otel.mapping.attributes import INPUT, OUTPUT
from pandaprobe_otel.mapping.content import (
    DEFAULT_ROLE,
    ENVELOPE_MARKS,
    MARKS,
    RESULT_MARKS,
    any_content,
    of_the_only_part,
    tool_result,
    unwrap_envelope,
)
from pandaprobe_otel.mapping.cut_json import completed
from pandaprobe_otel.mapping.exact_json import parser
from pandaprobe_otel.mapping.exact_types import type_of
from pandaprobe_otel.mapping.mapped_span import MappedSpan
from pandaprobe_otel.mapping.messages import END, Conversation, take_texts
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.privacy import silence_tools
from pandaprobe_otel.mapping.retrieval import documents, embedding_input, query_text, without_vectors
from pandaprobe_otel.mapping.span_fields import put
from pandaprobe_otel.mapping.values import decoded, is_absent, scalar


def add_contents(spans: Sequence[MappedSpan], options: MappingOptions) -> None:
    """Set `input` and `output` of the bodies, and the reasoning in the metadata, where `options` allow it."""
    captures_all = options.captures_all
    hides_tools = not captures_all and options.capture_of("TOOL") != "all"
    for span in spans:
        kind, shape = span.kind, span.shape
        if not shape.contents or not (captures_all or options.capture_of(kind) == "all"):
            continue
        body = span.body
        if kind in shape.own_texts and not hides_tools:  # the most frequent case
            asked_in, answered_in, marks = shape.own_texts[kind]
            attributes = span.view.attributes
            given, result = _own_value(attributes[asked_in], marks), _own_value(attributes[answered_in], marks)
            if given is not None and result is not None:
                body["input"], body["output"] = given, result
                continue
        if kind in _READERS:
            read_input, read_output = _READERS[kind]
            given, asked = read_input(span)
            result, answered = read_output(span)
        else:
            result, answered = _talk(span, "output")
            given, asked = _talk(span, "input")
            if hides_tools:
                given, result = silence_tools(given), silence_tools(result)
                span.metadata.pop("replay", None)  # it contains the whole answer, with the arguments of tools
        span.read_all = asked + answered == len(shape.sources)
        if given is not None:
            body["input"] = given
        if result is not None:
            body["output"] = result


def _own_value(text: str, marks: frozenset[str]) -> Any:
    """Return the value of a text that is clearly neither absent nor an envelope or a message; else None."""
    if text[:1] == "{":
        if len(text) > _LONG or '"lc"' in text:
            return None
        try:
            value = parser.get()(text)
        except ValueError:
            return None
        return value if value and marks.isdisjoint(value) else None
    return text if text[:1].isalpha() and len(text) > _LONGEST_WORD else None


_LONG: Final = 1000
"""Characters of a long text. Its readers cost little beside its parsing, so it is not parsed before they are chosen."""
_LONGEST_WORD: Final = 15
"""Characters of the longest text that may mean something else: `<not specified>`, `true`."""


Side: TypeAlias = tuple[Any, int]
"""Value of one side of a span, None if it has none, and the number of sources that were read completely."""


def _tool_input(span: MappedSpan) -> Side:
    given, read = _value(span, "tool.input", empty=True)
    if given is None:
        value, read = _value(span, "input")
        given = of_the_only_part(value, "tool_call", "arguments")  # the message that calls the tool (older Strands)
        read = read and given is value
    return given, read


def _tool_output(span: MappedSpan) -> Side:
    value, read = _value(span, "tool.output", empty=True)
    if value is None:
        told, read = _value(span, "output")
        value = of_the_only_part(told, "tool_call_response", "response")  # Strands, if the tool failed
        read = read and value is told
    if type_of(value) is not dict or RESULT_MARKS.isdisjoint(value):
        return value, read
    result = tool_result(value)
    return result, read and result == value


def _query(span: MappedSpan) -> Side:
    given, read = _value(span, "query")
    if given is None:
        value, read = _value(span, "input")
        given = query_text(value, own=INPUT in span.view.attributes)
        read = read and given is value
    return given, read


def _documents(span: MappedSpan) -> Side:
    value, read = _value(span, "documents")
    if value is None:
        value, read = _value(span, "output")
    result = documents(value, own=OUTPUT in span.view.attributes)
    # Documents differ too much between stores to know that all of their content was read.
    return result, read and result is None


def _embedded_input(span: MappedSpan) -> Side:
    value, read = _value(span, "embedding.input")
    if value is None:
        value, read = _value(span, "input")
    given = embedding_input(value, own=INPUT in span.view.attributes)
    return given, read and given is value


def _embedded_output(span: MappedSpan) -> Side:
    own = span.view.attributes.get(OUTPUT)  # set by the app, so it may contain more than the provider's answer
    return (None, 0) if own is None else (without_vectors(scalar(own)), 1)


_READERS: Final = {
    "TOOL": (_tool_input, _tool_output),
    "RETRIEVER": (_query, _documents),
    "EMBEDDING": (_embedded_input, _embedded_output),
}
"""Readers for the kinds whose spans contain no conversation."""


def _talk(span: MappedSpan, side: str) -> Side:
    """Read one side of a span that may contain a conversation; add its reasoning to the metadata."""
    contents, kind, view = span.shape.contents, span.kind, span.view
    system = contents["system"] if "system" in contents and side == "input" and kind != "OTHER" else None
    for candidate in contents.get(side, ()):
        form, source, convert, whole = candidate
        if type(source) is str:  # copied from `content_value`, which saves a call in most cases
            raw = view.attributes[source] if convert is None else convert(view.attributes[source])
        else:
            raw = content_value(candidate, view)
        if form == "messages":
            found = _messages(span, side, raw, system, whole)
            if found is not None:
                return found
            continue
        value = decoded(raw)
        text = raw if type_of(raw) is str or type(source) is not str else view.attributes[source]
        is_built = type_of(text) is not str or '"lc"' in text
        if type_of(value) is dict and value and not is_built and MARKS.isdisjoint(value):
            return value, whole  # a value of one of the app's own steps, the most frequent case
        content = any_content(raw, value, kind, side, own=source in (INPUT, OUTPUT), is_built=is_built)
        if content.value is not None or content.reasoning:
            _add_reasoning(span, side, content.reasoning)
            return content.value, content.exact and whole
    if system is not None and kind == "LLM":
        talk = Conversation()
        more = _add_system(talk, system, span)
        return talk.content(), talk.exact and more
    return None, 0


def _messages(span: MappedSpan, side: str, raw: Any, system: tuple[Candidate, ...] | None, whole: bool) -> Side | None:
    """Read messages in any form; return None if they have no content."""
    if type_of(raw) is not list:
        if is_absent(raw):
            return None
    elif system is None:
        messages: list[dict[str, Any]] = []
        if take_texts(iter(raw), messages) is END and messages:
            if side == "output" and "finish_reasons" not in span.metadata:
                reasons = [one["finish_reason"] for one in raw if one.get("finish_reason")]
                if reasons:
                    span.metadata["finish_reasons"] = reasons
            return {"messages": messages}, whole
    talk = Conversation()
    talk.add_all(completed(raw) if type_of(raw) is str else raw, DEFAULT_ROLE[side])
    more = system is not None and _add_system(talk, system, span)
    if side == "output" and talk.finish_reasons:
        span.metadata.setdefault("finish_reasons", talk.finish_reasons)
    noted = not talk.finish_reasons or talk.finish_reasons == span.metadata.get("finish_reasons")
    if not (talk.messages or talk.reasoning):
        return None
    _add_reasoning(span, side, talk.reasoning)
    return talk.content(), talk.exact and noted and whole + more


def _add_reasoning(span: MappedSpan, side: str, reasoning: Sequence[str]) -> None:
    if reasoning:
        put(span, "reasoning_summary" if side == "output" else "input_reasoning", "\n\n".join(reasoning))


def _add_system(talk: Conversation, candidates: tuple[Candidate, ...], span: MappedSpan) -> bool:
    """Insert the first instructions at the front; return whether there are no others."""
    for candidate in candidates:
        instructions = content_value(candidate, span.view)
        if not is_absent(instructions):
            talk.add_system(instructions)
            return candidate[-1] and len(candidates) == 1
    return False


def _value(span: MappedSpan, field: str, *, empty: bool = False) -> tuple[Any, bool]:
    """Return the first usable value of the field, and whether it is the whole content of its source.

    With `empty`, an empty object or list counts as a value.
    """
    view = span.view
    for candidate in span.shape.contents.get(field, ()):
        _, source, convert, exact = candidate
        is_as_is = convert is None and type(source) is str
        raw = value = view.attributes[source] if is_as_is else content_value(candidate, view)
        if type_of(raw) is str:
            value = decoded(raw)
            if value is raw:
                value = completed(raw) if source in (INPUT, OUTPUT) else raw
            elif type_of(value) is str:
                value = decoded(value)
        if type_of(value) is dict and value:
            if ENVELOPE_MARKS.isdisjoint(value):
                return value, exact
            inner = unwrap_envelope(value)
            exact, value = exact and inner is value, inner
        if not is_absent(value) or (empty and value in ({}, [])):
            return value, exact
    return None, False
