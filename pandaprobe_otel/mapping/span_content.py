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
from pandaprobe_otel.mapping.shapes import Candidate, Source, content_value
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
                span.taken = [asked, answered]
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
    result, given = _talk(span, "output"), _talk(span, "input")
    if hides_tools:
        given, result = silence_tools(given), silence_tools(result)
        span.metadata.pop("replay", None)  # it contains the whole answer, with the arguments of tools
    return given, result


def _tool(span: MappedSpan) -> tuple[Any, Any]:
    given = _taken(span, _value(span, "tool.input", empty=True))
    if given is None:
        found = _value(span, "input")
        # The message that calls the tool (older Strands).
        given = _taken(span, found, of_the_only_part(found[0], "tool_call", "arguments"))
    found = _value(span, "tool.output", empty=True)
    value = found[0]
    if value is None:
        found = _value(span, "output")
        value = of_the_only_part(found[0], "tool_call_response", "response")  # Strands, if the tool failed
    has_result = type_of(value) is dict and not RESULT_MARKS.isdisjoint(value)
    return given, _taken(span, found, tool_result(value) if has_result else value)


def _retriever(span: MappedSpan) -> tuple[Any, Any]:
    attributes = span.view.attributes
    given = _taken(span, _value(span, "query"))
    if given is None:
        found = _value(span, "input")
        given = _taken(span, found, query_text(found[0], own=INPUT in attributes))
    value, _ = _value(span, "documents")
    own = value is None and OUTPUT in attributes
    if value is None:
        value, _ = _value(span, "output")
    return given, documents(value, own=own)


def _embedding(span: MappedSpan) -> tuple[Any, Any]:
    found = _value(span, "embedding.input")
    if found[0] is None:
        found = _value(span, "input")
    given = _taken(span, found, embedding_input(found[0], own=INPUT in span.view.attributes))
    own = span.view.attributes.get(OUTPUT)  # set by the app, so it may contain more than the provider's answer
    if own is not None:
        span.taken.append(OUTPUT)  # with all but its vectors
    return given, None if own is None else without_vectors(scalar(own))


def _taken(span: MappedSpan, found: tuple[Any, Source | None], shown: Any = ...) -> Any:
    """Return what is shown of a found value, by default the value; record its source if the whole of it is shown."""
    value, source = found
    if shown is ...:
        shown = value
    if source is not None and shown is value:
        span.taken.append(source)
    return shown


_READERS: Final = {"TOOL": _tool, "RETRIEVER": _retriever, "EMBEDDING": _embedding}
"""Readers for the kinds whose spans contain no conversation."""


def _talk(span: MappedSpan, side: str) -> Any:
    """Return one side of a span that may contain a conversation. Its reasoning is added to the metadata."""
    contents, kind, view = span.shape.contents, span.kind, span.view
    system = contents["system"] if "system" in contents and side == "input" and kind != "OTHER" else None
    for candidate in contents.get(side, ()):
        form, source, convert, whole = candidate
        if type(source) is str:  # copied from `content_value`, which saves a call in most cases
            raw = view.attributes[source] if convert is None else convert(view.attributes[source])
        else:
            raw = content_value(candidate, view)
        if form == "messages":
            found = _messages(span, side, raw, system, candidate)
            if found is not None:
                return found
            continue
        text = raw if type_of(raw) is str or type(source) is not str else view.attributes[source]
        is_built = type_of(text) is not str or '"lc"' in text
        own = source in (INPUT, OUTPUT)
        value = parsed(raw, own=own)
        content = any_content(value, kind, side, own=own, is_built=is_built)
        if content.value is not None or content.reasoning:
            if content.reasoning:
                _add_reasoning(span, side, content.reasoning)
            is_whole = whole and (content.value is value or type_of(value) is str)  # a text may become a message
            if is_whole:
                span.taken.append(source)
            return content.value
    if system is not None and kind == "LLM":
        talk = Conversation()
        _add_system(talk, system, span)
        return talk.content()
    return None


_STOP: Final = ("stop",)
"""The only reason for finishing that the messages of one text have."""


def _messages(
    span: MappedSpan, side: str, raw: Any, system: tuple[Candidate, ...] | None, candidate: Candidate
) -> dict[str, Any] | None:
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
            if candidate[-1] and (side == "input" or "stop" in span.metadata.get("finish_reasons", _STOP)):
                span.taken.append(candidate[1])
            return {"messages": messages}
    talk = Conversation()
    given = completed(raw) if type_of(raw) is str else raw
    talk.add_all(given, DEFAULT_ROLE[side])
    if given is raw and candidate[-1] and type_of(raw) is str:
        span.taken.append(candidate[1])
    if system is not None:
        _add_system(talk, system, span)
    if side == "output" and talk.finish_reasons:
        span.metadata.setdefault("finish_reasons", talk.finish_reasons)
    if not (talk.messages or talk.reasoning):
        return None
    if talk.reasoning:
        _add_reasoning(span, side, talk.reasoning)
    return talk.content()


def _add_reasoning(span: MappedSpan, side: str, reasoning: Sequence[str]) -> None:
    put(span, "reasoning_summary" if side == "output" else "input_reasoning", "\n\n".join(reasoning))


def _add_system(talk: Conversation, candidates: tuple[Candidate, ...], span: MappedSpan) -> None:
    """Insert the first instructions at the front."""
    for candidate in candidates:
        instructions = content_value(candidate, span.view)
        if not is_absent(instructions):
            talk.add_system(instructions)
            return


def _value(span: MappedSpan, field: str, *, empty: bool = False) -> tuple[Any, Source | None]:
    """Return the first usable value of the field, and its source if the value is the whole content of it.

    With `empty`, an empty object or list counts as a value.
    """
    for candidate in span.shape.contents.get(field, ()):
        _, source, _, whole = candidate
        own = source in (INPUT, OUTPUT)
        found = parsed(content_value(candidate, span.view), own=own)
        value = found if type_of(found) is not dict or ENVELOPE_MARKS.isdisjoint(found) else unwrap_envelope(found)
        if not is_absent(value) or (empty and value in ({}, [])) or (own and value is not None):
            return value, source if whole and value is found else None
    return None, None
