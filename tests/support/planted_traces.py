"""Traces of any shape and size, in the form of the API, with failed spans."""

from __future__ import annotations

import random
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

BEGIN: Final = datetime(2026, 5, 4, 12, tzinfo=UTC)
WORDS: Final = "please refund order 88123 for me because the blender arrived broken yesterday"


def trace_of(
    count: int,
    *,
    failing: Collection[int] = (),
    chain: bool = False,
    text: str = WORDS,
    name: str = "step",
    seed: int = 0,
    same_error: bool = False,
    begin: datetime = BEGIN,
) -> dict[str, Any]:
    """Return a trace of `count` spans, as a chain or as a random tree; the spans at the positions `failing` fail."""
    chosen = random.Random(seed)
    ids = [str(UUID(int=chosen.getrandbits(128))) for _ in range(count + 1)]
    spans: list[dict[str, Any]] = []
    for at in range(count):
        parent = None if at == 0 else ids[at - 1 if chain else chosen.randrange(max(at - 6, 0), at)]
        kind = "AGENT" if at == 0 else chosen.choice(("LLM", "TOOL", "AGENT", "RETRIEVER", "CHAIN"))
        span = _span(ids[at], parent, f"{name} {at % 9}", kind, begin + timedelta(seconds=at), at, text)
        if at in failing:
            number = "" if same_error else f" {chosen.choice(WORDS.split())} {at}"
            span |= {"status": "ERROR", "error": f"PlantedError: it broke{number}\n  File x.py, line {at}"}
            span["input"] = {"planted": at, "text": text}
        spans.append(span)
    return {
        "trace_id": ids[-1],
        "name": f"{name} support",
        "status": "COMPLETED",
        "input": {"messages": [{"role": "user", "content": text}]},
        "output": {"messages": [{"role": "assistant", "content": text}]},
        "metadata": {},
        "started_at": begin.isoformat(),
        "ended_at": (begin + timedelta(seconds=count)).isoformat(),
        "session_id": "s-1",
        "user_id": None,
        "tags": [],
        "environment": None,
        "release": "2.3.1",
        "spans": spans,
        "total_tokens": 12,
        "total_cost": 0.0,
    }


def _span(
    span_id: str, parent: str | None, name: str, kind: str, begin: datetime, at: int, text: str
) -> dict[str, Any]:
    return {
        "span_id": span_id,
        "parent_span_id": parent,
        "name": name,
        "kind": kind,
        "status": "OK",
        "input": {"at": at, "text": text},
        "output": text,
        "model": "gpt-5-mini" if kind == "LLM" else None,
        "token_usage": {"prompt_tokens": at, "completion_tokens": 7} if kind == "LLM" else None,
        "metadata": {},
        "started_at": begin.isoformat(),
        "ended_at": (begin + timedelta(milliseconds=250)).isoformat(),
        "error": None,
        "model_parameters": None,
        "cost": None,
    }
