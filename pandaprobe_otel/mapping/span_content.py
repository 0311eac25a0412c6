"""A span's input and output, from the first source that has any; the two are chosen independently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pandaprobe_otel.mapping.content import (
    DEFAULT_ROLE,
    any_content,
    arguments_in,
    response_in,
    tool_result,
    unwrap_envelope,
)
from pandaprobe_otel.mapping.exact import type_of
from pandaprobe_otel.mapping.mapped_span import MappedSpan
from pandaprobe_otel.mapping.messages import END, Conversation, take_texts
from pandaprobe_otel.mapping.privacy import silence_tools
from pandaprobe_otel.mapping.retrieval import documents, embedding_texts, query_text
from pandaprobe_otel.mapping.shape import Candidate, content_value
from pandaprobe_otel.mapping.values import decoded, is_absent


def add_content(span: MappedSpan, *, hides_tools: bool = False) -> None:
    """Set `input` and `output` of the body, and the reasoning summary of the metadata."""
    read = _READERS.get(span.kind)
    if read is not None:
        given, result = read(span)
    else:
        given, _ = _talk(span, "input")
        result, reasoning = _talk(span, "output")
        if reasoning:
            span.metadata["reasoning_summary"] = "\n\n".join(reasoning)
        if hides_tools:
            given, result = silence_tools(given), silence_tools(result)
    if given is not None:
        span.body["input"] = given
    if result is not None:
        span.body["output"] = result


def _tool(span: MappedSpan) -> tuple[Any, Any]:
    given = _value(span, "tool.input", empty=True)
    if given is None:
        given = arguments_in(_value(span, "input"))
    result = _value(span, "tool.output", empty=True)
    if result is None:
        result = response_in(_value(span, "output"))
    return given, tool_result(result) if type_of(result) is dict else result


def _retriever(span: MappedSpan) -> tuple[Any, Any]:
    given = _value(span, "query")
    if given is None:
        given = query_text(_value(span, "input"))
    result = documents(_value(span, "documents"))
    if result is None:
        result = documents(_value(span, "output"))
    return given, result


def _embedding(span: MappedSpan) -> tuple[Any, None]:
    given = embedding_texts(_value(span, "embedding.input"))
    return embedding_texts(_value(span, "input")) if given is None else given, None


_READERS: Final = {"TOOL": _tool, "RETRIEVER": _retriever, "EMBEDDING": _embedding}
"""Kinds whose spans hold no conversation."""


def _talk(span: MappedSpan, side: str) -> tuple[Any, Sequence[str]]:
    """Return (content, reasoning) of one side of a span that may hold a conversation."""
    contents, kind, view = span.shape.contents, span.kind, span.view
    system = contents["system"] if "system" in contents and side == "input" and kind != "OTHER" else None
    reasoning: Sequence[str] = ()
    for candidate in contents.get(side, ()):
        form, source, convert = candidate
        if type(source) is str:  # as `content_value` does, without a call for most that comes
            raw = view.attributes[source] if convert is None else convert(view.attributes[source])
        else:
            raw = content_value(candidate, view)
        if type_of(raw) is not list and is_absent(raw):
            continue
        if form == "messages":
            messages: list[dict[str, Any]] = []
            if system is None and type_of(raw) is list and take_texts(iter(raw), messages) is END and messages:
                return {"messages": messages}, ()
            talk = Conversation()
            talk.add_all(raw, DEFAULT_ROLE[side])
            if system is not None:
                _add_system(talk, system, span)
            content, reasoning = talk.content(), talk.reasoning
        else:
            content, reasoning = any_content(raw, kind, side)
        if content is not None or reasoning:
            return content, reasoning
    if system is not None and kind == "LLM":
        talk = Conversation()
        _add_system(talk, system, span)
        return talk.content(), ()
    return None, ()


def _add_system(talk: Conversation, candidates: tuple[Candidate, ...], span: MappedSpan) -> None:
    for candidate in candidates:
        instructions = content_value(candidate, span.view)
        if not is_absent(instructions):
            talk.add_system(instructions)
            return


def _value(span: MappedSpan, field: str, *, empty: bool = False) -> Any:
    """Return the first usable value of the field; with `empty`, an empty object or list is a value too."""
    view = span.view
    for candidate in span.shape.contents.get(field, ()):
        _, source, convert = candidate
        if type(source) is str and convert is None:  # noqa: SIM108 - as `content_value` does, without a call
            value = view.attributes[source]
        else:
            value = content_value(candidate, view)
        if type_of(value) is str:
            value = decoded(value)
            if type_of(value) is str:
                value = decoded(value)
        if type_of(value) is dict:
            value = unwrap_envelope(value)
            if value and type_of(value) is dict:
                return value
        if not is_absent(value) or (empty and value in ({}, [])):
            return value
    return None
