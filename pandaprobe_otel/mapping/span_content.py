"""Input and output of a span, each from its first source with content. The two are chosen independently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pandaprobe_otel.mapping.attributes import INPUT, OUTPUT
from pandaprobe_otel.mapping.content import (
    DEFAULT_ROLE,
    ENVELOPE_MARKS,
    RESULT_MARKS,
    any_content,
    documents,
    embedding_input,
    of_the_only_part,
    parsed,
    query_text,
    tool_result,
    unwrap_envelope,
    without_vectors,
)
from pandaprobe_otel.mapping.exact_json import completed, parser
from pandaprobe_otel.mapping.mapped_span import MappedSpan, put
from pandaprobe_otel.mapping.messages import END, Conversation, take_texts
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.privacy import silence_tools
from pandaprobe_otel.mapping.shapes import Candidate, content_value
from pandaprobe_otel.mapping.values import is_absent, scalar, type_of


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
            asked, answered, marks = shape.own_texts[kind]
            attributes = span.view.attributes
            given, result = _own_value(attributes[asked], marks), _own_value(attributes[answered], marks)
            if given is not None and result is not None:
                body["input"], body["output"] = given, result
                continue
        read = _READERS.get(kind)
        given, result = read(span) if read is not None else _conversation(span, hides_tools)
        if given is not None:
            body["input"] = given
        if result is not None:
            body["output"] = result


def _own_value(text: str, marks: frozenset[str]) -> Any:
    """Return the value of a text that is clearly neither absent nor an envelope or a message; else None."""
    if text[:1] in _JSON_STARTS:
        if len(text) > _LONG or '"lc"' in text:
            return None
        try:
            value = parser.get()(text)
        except ValueError:
            return None
        if type_of(value) is dict:
            return value if value and marks.isdisjoint(value) else None
        text = value
    return text if text[:1].isalpha() and len(text.rstrip()) > _LONGEST_WORD else None


_LONG: Final = 1000
"""Characters of a long text. Its readers cost little beside its parsing, so it is not parsed before they are chosen."""
_JSON_STARTS: Final = frozenset('{"')
_LONGEST_WORD: Final = 5
"""Letters of the longest word that may mean something else: `None`, `null`, `true`, `false`."""


def _conversation(span: MappedSpan, hides_tools: bool) -> tuple[Any, Any]:
    result, answered = _talk(span, "output")
    given, asked = _talk(span, "input")
    span.read_all = asked + answered == len(span.shape.sources)
    if hides_tools:
        given, result = silence_tools(given), silence_tools(result)
        span.metadata.pop("replay", None)  # it contains the whole answer, with the arguments of tools
    return given, result


def _tool(span: MappedSpan) -> tuple[Any, Any]:
    given, asked = _value(span, "tool.input", empty=True)
    if given is None:
        value, asked = _value(span, "input")
        given = of_the_only_part(value, "tool_call", "arguments")  # the message that calls the tool (older Strands)
        asked = asked and given is value
    value, answered = _value(span, "tool.output", empty=True)
    if value is None:
        told, answered = _value(span, "output")
        value = of_the_only_part(told, "tool_call_response", "response")  # Strands, if the tool failed
        answered = answered and value is told
    result = value if type_of(value) is not dict or RESULT_MARKS.isdisjoint(value) else tool_result(value)
    span.read_all = asked + (answered and (result is value or result == value)) == len(span.shape.sources)
    return given, result


def _retriever(span: MappedSpan) -> tuple[Any, Any]:
    attributes = span.view.attributes
    given, asked = _value(span, "query")
    if given is None:
        value, asked = _value(span, "input")
        given = query_text(value, own=INPUT in attributes)
        asked = asked and given is value
    value, answered = _value(span, "documents")
    own = value is None and OUTPUT in attributes
    if value is None:
        value, answered = _value(span, "output")
    result = documents(value, own=own)
    # Documents differ too much between stores to know that all of their content was read.
    span.read_all = asked + (answered and result is None) == len(span.shape.sources)
    return given, result


def _embedding(span: MappedSpan) -> tuple[Any, Any]:
    value, asked = _value(span, "embedding.input")
    if value is None:
        value, asked = _value(span, "input")
    given = embedding_input(value, own=INPUT in span.view.attributes)
    own = span.view.attributes.get(OUTPUT)  # set by the app, so it may contain more than the provider's answer
    span.read_all = (asked and given is value) + (own is not None) == len(span.shape.sources)
    return given, None if own is None else without_vectors(scalar(own))


_READERS: Final = {"TOOL": _tool, "RETRIEVER": _retriever, "EMBEDDING": _embedding}
"""Readers for the kinds whose spans contain no conversation."""


def _talk(span: MappedSpan, side: str) -> tuple[Any, int]:
    """Return one side of a span that may contain a conversation, and the number of sources that were read completely.

    Its reasoning is added to the metadata.
    """
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
        text = raw if type_of(raw) is str or type(source) is not str else view.attributes[source]
        is_built = type_of(text) is not str or '"lc"' in text
        content = any_content(raw, kind, side, own=source in (INPUT, OUTPUT), is_built=is_built)
        if content.value is not None or content.reasoning:
            if content.reasoning:
                _add_reasoning(span, side, content.reasoning)
            return content.value, content.exact and whole
    if system is not None and kind == "LLM":
        talk = Conversation()
        more = _add_system(talk, system, span)
        return talk.content(), talk.exact and more
    return None, 0


def _messages(
    span: MappedSpan, side: str, raw: Any, system: tuple[Candidate, ...] | None, whole: bool
) -> tuple[Any, int] | None:
    """Return the same for messages in any form; None if they have no content."""
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
    if talk.reasoning:
        _add_reasoning(span, side, talk.reasoning)
    return talk.content(), talk.exact and noted and whole + more


def _add_reasoning(span: MappedSpan, side: str, reasoning: Sequence[str]) -> None:
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
    for candidate in span.shape.contents.get(field, ()):
        _, source, _, exact = candidate
        own = source in (INPUT, OUTPUT)
        value = parsed(content_value(candidate, span.view), own=own)
        if type_of(value) is dict and value:
            if ENVELOPE_MARKS.isdisjoint(value):
                return value, exact
            inner = unwrap_envelope(value)
            exact, value = exact and inner is value, inner
        if not is_absent(value) or (empty and value in ({}, [])) or (own and value is not None):
            return value, exact
    return None, False
