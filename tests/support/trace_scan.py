"""Traces of many kinds, and searches with predicates, so that a scan of the traces shows what a search must find."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from hypothesis import strategies as st

Record: TypeAlias = dict[str, Any]
"""A trace in the form of the API, with its latest score `task_completion` as `score`."""
Predicate: TypeAlias = Callable[[Record], bool]
Search: TypeAlias = tuple[str, Predicate]
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def at(seconds: float) -> str:
    """Return the time this many seconds before NOW."""
    return (NOW - timedelta(seconds=seconds)).isoformat()


def record(number: int) -> Record:
    """Return a trace whose fields take a few values each, with different periods."""
    started = 3600.0 * 10 * number
    failed = number % 4 == 0
    spans = [
        {
            "span_id": str(UUID(int=number * 16 + position + 1)),
            "name": name,
            "kind": kind,
            "status": "ERROR" if failed and kind == "TOOL" else "OK",
            "error": f"{('TimeoutError', 'ValueError')[number % 8 == 0]}: no" if failed and kind == "TOOL" else None,
            "model": ("gpt-5", "gpt-5-mini", "claude")[number % 3] if kind == "LLM" else None,
            "started_at": at(started),
            "ended_at": at(started - 1),
            "completion_start_time": at(started - 0.5 * (number % 3)) if kind == "LLM" else None,
            "token_usage": {"prompt_tokens": 1000 * number, "completion_tokens": 1} if kind == "LLM" else None,
            "cost": {"total": number / 100} if kind == "LLM" else None,
        }
        for position, (name, kind) in enumerate(
            [
                ("planner", "AGENT"),
                ("chat", "LLM"),
                (("refund", "look_up")[number % 2], "TOOL"),
                *([("kb", "RETRIEVER")] if number % 3 else []),
            ]
        )
    ]
    return {
        "trace_id": str(UUID(int=number + 1)),
        "name": ("shop", "Shop assistant", "100%_sure")[number % 3],
        "status": "ERROR" if failed else ("COMPLETED", "RUNNING")[number % 7 == 0],
        "started_at": at(started),
        "ended_at": None if number % 7 == 0 and not failed else at(started - number),
        "session_id": f"s-{number % 5}" if number % 5 else None,
        "user_id": f"u-{number % 4}" if number % 4 else None,
        "environment": ("production", "staging", None)[number % 3],
        "release": ("2.3.1", "2.4.0")[number % 2],
        "tags": [tag for tag, every in (("beta", 2), ("vip", 5)) if number % every == 0],
        "metadata": {"tier": ("gold", "free")[number % 2], "retries": number % 3, "eu": number % 2 == 0},
        "input": f"Where is my order {number}?",
        "output": ("Your blender is on its way", 'It said "lost"')[number % 2],
        "spans": spans,
    }


def _words(text: str) -> list[str]:
    """Return the words of a text, which are its sequences of letters and digits."""
    return ["".join(signs) for is_word, signs in itertools.groupby(text.lower(), str.isalnum) if is_word]


def _text(query: str) -> Predicate:
    """Return a predicate: words follow each other in a text of the trace; before `*`, the last may be incomplete."""
    *first, last = _words(query)

    def matches(trace: Record) -> bool:
        texts = [trace["name"], trace["input"], trace["output"]]
        texts += [span[field] for span in trace["spans"] for field in ("name", "error", "input", "output")]
        found = (_words(text)[begin:] for text in texts if text for begin in range(len(_words(text))))
        return any(
            words[: len(first)] == first
            and (words[len(first) :] or [""])[0].startswith(last)
            and ("*" in query or words[len(first)] == last)
            for words in found
        )

    return matches


def _span(field: str, value: str, **wanted: str) -> Predicate:
    """Return a predicate: the field of a span begins with the value before `*`, or equals it."""

    def matches(span: Record) -> bool:
        text = span[field] or ""
        fits = text.startswith(value[:-1]) if value.endswith("*") else text == value
        return fits and all(span[name] == one for name, one in wanted.items())

    return lambda trace: any(map(matches, trace["spans"]))


def _seconds(trace: Record, begin: str, end: str) -> float:
    """Return the time between two moments, or NaN, which no comparison holds for."""
    if trace[end] is None:
        return float("nan")
    return (datetime.fromisoformat(trace[end]) - datetime.fromisoformat(trace[begin])).total_seconds()


def _tokens(trace: Record) -> int:
    return sum(sum(span["token_usage"].values()) for span in trace["spans"] if span["token_usage"])


def _score(trace: Record) -> float:
    return float("nan") if trace["score"] is None else float(trace["score"])


TERMS: dict[str, Predicate] = {
    **{text: _text(text) for text in ("blend*", "orde*", '"is on its way"', '"order 3"', "chat", "no", "7", "blender")},
    **{text: _text(text) for text in ("order", '"blender is"', "nothing", "100%_", "it's")},
    "error": lambda trace: trace["status"] == "ERROR" or any(span["status"] == "ERROR" for span in trace["spans"]),
    "running": lambda trace: bool(trace["status"] == "RUNNING"),
    "scored": lambda trace: trace["score"] is not None,
    "status:completed,running": lambda trace: trace["status"] in ("COMPLETED", "RUNNING"),
    "name:shop*": lambda trace: bool(trace["name"].lower().startswith("shop")),
    "name:100%_sure": lambda trace: bool(trace["name"] == "100%_sure"),
    "session:s-1,s-2": lambda trace: trace["session_id"] in ("s-1", "s-2"),
    "user:u-3": lambda trace: bool(trace["user_id"] == "u-3"),
    "tag:beta": lambda trace: "beta" in trace["tags"],
    "tag:vip": lambda trace: "vip" in trace["tags"],
    "env:production": lambda trace: bool(trace["environment"] == "production"),
    "release:2.3*": lambda trace: bool(trace["release"].startswith("2.3")),
    "tool:refund": _span("name", "refund", kind="TOOL"),
    "failed:refund": _span("name", "refund", status="ERROR"),
    "agent:pl*r": _span("name", "planner", kind="AGENT"),
    "model:gpt-5": _span("model", "gpt-5"),
    "model:gpt-5*": _span("model", "gpt-5*"),
    "retriever:kb": _span("name", "kb", kind="RETRIEVER"),
    "error_type:TimeoutError": _span("error", "TimeoutError*"),
    "meta.tier:gold": lambda trace: bool(trace["metadata"]["tier"] == "gold"),
    "meta.retries:2": lambda trace: bool(trace["metadata"]["retries"] == 2),
    "meta.eu:true": lambda trace: trace["metadata"]["eu"] is True,
    "meta.none:x": lambda trace: False,
    "latency>5s": lambda trace: _seconds(trace, "started_at", "ended_at") > 5,
    "latency<=12s": lambda trace: _seconds(trace, "started_at", "ended_at") <= 12,
    "ttft>=500ms": lambda trace: any(
        _seconds(span, "started_at", "completion_start_time") >= 0.5 for span in trace["spans"]
    ),
    "tokens>10k": lambda trace: _tokens(trace) > 10_000,
    "tokens<=1001": lambda trace: _tokens(trace) <= 1001,
    "cost>0.05": lambda trace: sum((span["cost"] or {}).get("total", 0) for span in trace["spans"]) > 0.05 + 1e-9,
    "spans:3": lambda trace: len(trace["spans"]) == 3,
    "spans>3": lambda trace: len(trace["spans"]) > 3,
    "score:task_completion<0.5": lambda trace: _score(trace) < 0.5,
    "score:task_completion>=0.8": lambda trace: _score(trace) >= 0.8,
    "score:other>0": lambda trace: False,
}


def _negated(search: Search) -> Search:
    text, matches = search
    return f"-{text}", lambda trace: not matches(trace)


def _joined(parts: tuple[Search, str, Search]) -> Search:
    (left, fits_left), sign, (right, fits_right) = parts
    either = any if sign == " OR " else all
    return f"{left}{sign}{right}", lambda trace: either((fits_left(trace), fits_right(trace)))


def searches() -> st.SearchStrategy[Search]:
    """Return searches of one to three terms, joined, negated and in brackets."""
    term = st.sampled_from([*TERMS.items()])
    inner = st.one_of(term, term.map(_negated))
    pair = st.tuples(inner, st.sampled_from([" ", " AND ", " OR "]), inner).map(_joined)
    bracketed = pair.map(lambda two: (f"({two[0]})", two[1]))
    return st.one_of(inner, pair, st.tuples(bracketed, st.just(" "), inner).map(_joined))
