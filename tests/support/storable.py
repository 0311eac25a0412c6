"""Checks that PandaProbe can store a body and show it again, as measured on server 0.5.0; a 202 does not ensure it."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
_KINDS = {"AGENT", "TOOL", "LLM", "RETRIEVER", "CHAIN", "EMBEDDING", "OTHER"}
_MAX_COUNT = 2**31 - 1


def assert_storable(body: Mapping[str, Any]) -> None:
    """Assert that the body of POST /traces is neither refused nor lost later, and makes no page of the project fail."""
    data = orjson.dumps(body)  # refuses lone surrogates, big integers, foreign types and keys that are not strings
    assert b"\\u0000" not in data.replace(b"\\\\", b"")
    uuid.UUID(body["trace_id"])
    assert 1 <= len(body["name"]) <= 512
    assert body["status"] in ("PENDING", "RUNNING", "COMPLETED", "ERROR")
    assert_times(body)
    for field in ("session_id", "user_id", "environment", "release"):
        assert field not in body or 0 < len(body[field]) <= 255
    assert all(isinstance(tag, str) for tag in body.get("tags", ()))
    assert isinstance(body["metadata"], dict)
    for field in ("input", "output", "metadata"):
        assert_plain(body.get(field))
    for span in body["spans"]:
        assert_span(span)


def assert_span(span: Mapping[str, Any]) -> None:
    """Assert that PandaProbe can store this span."""
    uuid.UUID(span["span_id"])
    uuid.UUID(span.get("parent_span_id", span["span_id"]))
    assert 1 <= len(span["name"]) <= 512
    assert span["kind"] in _KINDS
    assert span["status"] in ("UNSET", "OK", "ERROR")
    assert ("error" in span) == (span["status"] == "ERROR")
    assert "model" not in span or 0 < len(span["model"]) <= 255
    assert_times(span)
    for field in ("input", "output", "metadata", "model_parameters", "error"):
        assert_plain(span.get(field))
    assert isinstance(span["metadata"], dict)
    assert isinstance(span.get("model_parameters", {}), dict)
    assert_usage(span.get("token_usage", {}))
    for amount in span.get("cost", {}).values():
        assert type(amount) is float
        assert math.isfinite(amount)


def assert_usage(usage: Mapping[str, Any]) -> None:
    """Assert that the counts and their sum fit int4: otherwise every page of the project fails."""
    assert all(type(count) is int and 0 <= count <= _MAX_COUNT for count in usage.values())
    assert usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0) <= _MAX_COUNT


def assert_times(body: Mapping[str, Any]) -> None:
    """Assert that times are RFC 3339, and that nothing ends before it starts."""
    assert _TIME.fullmatch(body["started_at"])
    if "ended_at" in body:
        assert _TIME.fullmatch(body["ended_at"])
        assert body["started_at"] <= body["ended_at"]
    if "completion_start_time" in body:
        assert (
            body["started_at"] <= body["completion_start_time"] <= body.get("ended_at", "9999-12-31T23:59:59.999999Z")
        )


def assert_plain(value: Any) -> None:
    """Assert that a value is JSON with finite numbers, nested less deeply than the server's 255 levels."""
    for item, depth in _walk(value, 1):
        assert depth <= 254
        assert item is None or type(item) in (str, bool, int, float, list, dict)
        assert type(item) is not float or math.isfinite(item)


def _walk(value: Any, depth: int) -> Iterator[tuple[Any, int]]:
    yield value, depth
    if type(value) in (list, dict):
        for item in value.values() if type(value) is dict else value:
            yield from _walk(item, depth + 1)
