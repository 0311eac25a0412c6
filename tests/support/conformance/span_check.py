"""A check that the span of a call shows how the call went."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode

from pandaprobe_otel.mapping.attributes import OUTCOME
from streamed_forms import Sighting

from .adapter import Adapter, Expected
from .cases import Case

INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
_OUTCOMES = {"partial": "partial", "nothing": "partial", "cancelled": "cancelled"}
"""`pandaprobe.outcome` of a call that neither succeeded nor failed, by `Case.outcome`."""


def check(span: ReadableSpan, adapter: Adapter, case: Case, seen: Sighting) -> None:
    """Assert that the span has ended, and agrees with what the app has seen."""
    attributes: dict[str, Any] = dict(span.attributes or {})
    expected = adapter.expected
    assert span.end_time is not None
    assert span.name == expected.span_name
    assert attributes["gen_ai.provider.name"] == expected.provider
    assert attributes["server.address"] == "127.0.0.1"
    assert "gen_ai.input.messages" in attributes
    if case.outcome in ("refused", "failed", "cut"):
        _check_failure(span, attributes, case)
    else:
        assert (span.status.status_code, attributes.get("error.type")) == (StatusCode.UNSET, None)
    assert attributes.get(OUTCOME) == _OUTCOMES.get(case.outcome)
    if case.outcome in ("complete", "tools"):
        assert seen.raised is None
        _check_answer(attributes, expected, with_tools=case.outcome == "tools")
    else:
        _check_beginning(span, attributes, adapter, seen)


def steady(seen: Sighting, adapter: Adapter) -> Sighting:
    """Return the app's sighting without the parts that differ from call to call."""
    raised = (seen.raised[0], re.sub(adapter.varies, "", seen.raised[1])) if seen.raised else None
    return replace(seen, items=[re.sub(adapter.varies, "", item) for item in seen.items], raised=raised)


def _check_failure(span: ReadableSpan, attributes: dict[str, Any], case: Case) -> None:
    assert span.status.status_code is StatusCode.ERROR
    assert attributes["error.type"]
    if case.outcome == "refused":
        assert span.status.description


def _check_answer(attributes: dict[str, Any], expected: Expected, *, with_tools: bool) -> None:
    assert attributes.get("gen_ai.response.model") == expected.response_model
    assert (attributes[INPUT_TOKENS], attributes[OUTPUT_TOKENS]) == (expected.input_tokens, expected.output_tokens)
    if with_tools:
        calls = [part for part in _parts(attributes) if part["type"] == "tool_call"]
        assert [(call["name"], call["arguments"]) for call in calls] == list(expected.tool_calls)
    else:
        assert attributes["gen_ai.response.finish_reasons"] == (expected.finish_reason,)
        assert _text(attributes) == expected.text


def check_text(span: ReadableSpan, adapter: Adapter, seen: Sighting, broken: bytes = b"") -> None:
    """Assert that the span has no more text than arrived, and no less than the app has seen.

    If an event is `broken` in the middle, some clients show it as text: its words are ignored.
    """
    text = _text(dict(span.attributes or {}))
    assert adapter.expected.text.startswith(text)
    shown = "".join(seen.items)
    words = [word for word in adapter.expected.words if word.encode() not in broken]
    assert [word for word in words if word in shown and word not in text] == []


def check_tools(span: ReadableSpan, adapter: Adapter, seen: Sighting, broken: bytes) -> None:
    """Assert that the span has the tool calls whose names the app has seen, and no others.

    The words in a `broken` event are ignored, as in `check_text`.
    """
    called = [part["name"] for part in _parts(dict(span.attributes or {})) if part["type"] == "tool_call"]
    shown = "".join(seen.items)
    names = [name for name, _ in adapter.expected.tool_calls]
    assert called == names[: len(called)]
    assert [name for name in names if name in shown and name not in called and name.encode() not in broken] == []


def check_end(span: ReadableSpan) -> None:
    """Assert that the span shows how the answer ended: finished, failed, or broken off."""
    attributes: dict[str, Any] = dict(span.attributes or {})
    finished = "gen_ai.response.finish_reasons" in attributes
    failed = span.status.status_code is StatusCode.ERROR
    assert (attributes.get(OUTCOME) == "partial") is not (finished or failed)


def _check_beginning(span: ReadableSpan, attributes: dict[str, Any], adapter: Adapter, seen: Sighting) -> None:
    check_text(span, adapter, seen)
    assert adapter.usage_when_cut or OUTPUT_TOKENS not in attributes


def _parts(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    messages = json.loads(attributes.get("gen_ai.output.messages", "[]"))
    return [part for message in messages for part in message["parts"]]


def _text(attributes: dict[str, Any]) -> str:
    return "".join(part["content"] for part in _parts(attributes) if part["type"] == "text")
