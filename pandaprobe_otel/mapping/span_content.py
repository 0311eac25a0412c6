"""A span's input and output, from the first source that has any; the two are chosen independently."""

from __future__ import annotations

from typing import Any

from pandaprobe_otel.mapping.content import any_content, conversation, tool_result, unwrap_envelope
from pandaprobe_otel.mapping.messages import Conversation
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.privacy import silence_tools
from pandaprobe_otel.mapping.retrieval import documents, embedding_texts, query_text
from pandaprobe_otel.mapping.shape import Candidate, Shape, content_value
from pandaprobe_otel.mapping.values import decoded_twice, is_absent
from pandaprobe_otel.mapping.view import SpanView


def add_content(
    body: dict[str, Any],
    metadata: dict[str, Any],
    shape: Shape,
    view: SpanView,
    kind: str,
    options: MappingOptions,
) -> None:
    """Set `input` and `output` of the body, and the reasoning summary of the metadata."""
    if kind == "TOOL":
        given, result = _tool(shape, view)
    elif kind == "RETRIEVER":
        given, result = _retriever(shape, view)
    elif kind == "EMBEDDING":
        given, result = _embedding(shape, view), None
    else:
        given = silence_tools(_talk(shape, view, kind, "input", []), options)
        reasoning: list[str] = []
        result = silence_tools(_talk(shape, view, kind, "output", reasoning), options)
        if reasoning:
            metadata["reasoning_summary"] = "\n\n".join(reasoning)
    if given is not None:
        body["input"] = given
    if result is not None:
        body["output"] = result


def _tool(shape: Shape, view: SpanView) -> tuple[Any, Any]:
    given = _value(shape, "tool.input", view, empty=True)
    if given is None:
        given = _value(shape, "input", view)
    result = _value(shape, "tool.output", view, empty=True)
    if result is None:
        result = _value(shape, "output", view)
    return given, tool_result(result)


def _retriever(shape: Shape, view: SpanView) -> tuple[Any, Any]:
    given = _value(shape, "query", view)
    if given is None:
        given = query_text(_value(shape, "input", view))
    result = documents(_value(shape, "documents", view))
    if result is None:
        result = documents(_value(shape, "output", view))
    return given, result


def _embedding(shape: Shape, view: SpanView) -> Any:
    given = embedding_texts(_value(shape, "embedding.input", view))
    return embedding_texts(_value(shape, "input", view)) if given is None else given


def _talk(shape: Shape, view: SpanView, kind: str, side: str, reasoning: list[str]) -> Any:
    """Return the content of a span that may hold a conversation."""
    system = shape.contents.get("system") if side == "input" and kind != "OTHER" else None
    for candidate in shape.contents.get(side, ()):
        raw = content_value(candidate, view)
        if is_absent(raw):
            continue
        if candidate.form == "messages":
            talk = conversation(raw, side)
            if system is not None:
                _add_system(talk, system, view)
            content, thoughts = talk.content(), talk.reasoning
        else:
            content, thoughts = any_content(raw, kind, side)
        if content is not None or thoughts:
            reasoning.extend(thoughts)
            return content
    if system is not None and kind == "LLM":
        talk = Conversation()
        _add_system(talk, system, view)
        return talk.content()
    return None


def _add_system(talk: Conversation, candidates: tuple[Candidate, ...], view: SpanView) -> None:
    for candidate in candidates:
        instructions = content_value(candidate, view)
        if not is_absent(instructions):
            talk.add_system(instructions)
            return


def _value(shape: Shape, field: str, view: SpanView, *, empty: bool = False) -> Any:
    """Return the first usable value of the field; with `empty`, an empty object or list is a value too."""
    for candidate in shape.contents.get(field, ()):
        value = unwrap_envelope(decoded_twice(content_value(candidate, view)))
        if not is_absent(value) or (empty and value in ({}, [])):
            return value
    return None
