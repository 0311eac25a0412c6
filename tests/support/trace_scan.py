"""Traces of many kinds, and an independent implementation of searches that inspects each of them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

from hypothesis import strategies as st

from pandaprobe_otel.local.search.language import All, AnyOf, Field, Flag, Not, Query, Text
from pandaprobe_otel.local.search.searchable_fields import Comparison

Record: TypeAlias = dict[str, Any]
Scores: TypeAlias = Mapping[str, float]
"""Latest score `task_completion` by trace id, for traces that have one."""
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


def seconds(moment: str | None) -> float | None:
    """Return a time in seconds; None for None."""
    return None if moment is None else datetime.fromisoformat(moment).timestamp()


def texts(each: Record, key: str, name: str) -> list[str]:
    """Return the texts in a field of a trace."""
    by_kind = {"tool": "TOOL", "agent": "AGENT", "retriever": "RETRIEVER"}
    if key in by_kind:
        return [span["name"] for span in each["spans"] if span["kind"] == by_kind[key]]
    if key == "failed":
        return [span["name"] for span in each["spans"] if span["status"] == "ERROR"]
    if key == "model":
        return [span["model"] for span in each["spans"] if span["model"]]
    if key == "error_type":
        return [span["error"].split(":")[0] for span in each["spans"] if span["error"]]
    if key == "tag":
        return list(each["tags"])
    if key == "meta":
        value = each["metadata"].get(name)
        return [] if value is None else [str(value).lower() if isinstance(value, bool) else str(value)]
    column = {"session": "session_id", "user": "user_id", "env": "environment"}.get(key, key)
    return [each[column]] if each[column] is not None else []


def numbers(each: Record, key: str, name: str, scores: Scores) -> list[float]:
    """Return the numbers in a field of a trace."""
    llms = [span for span in each["spans"] if span["kind"] == "LLM"]
    if key == "latency":
        ended = seconds(each["ended_at"])
        return [] if ended is None else [(ended - (seconds(each["started_at"]) or 0)) * 1e6]
    if key == "ttft":
        return [
            (first - (seconds(span["started_at"]) or 0)) * 1e6
            for span in llms
            if (first := seconds(span["completion_start_time"])) is not None
        ]
    if key == "score":
        score = scores.get(each["trace_id"]) if name == "task_completion" else None
        return [] if score is None else [score]
    return [
        {
            "tokens": sum(sum((span["token_usage"] or {}).values()) for span in llms),
            "cost": sum((span["cost"] or {}).get("total", 0) for span in llms),
            "spans": len(each["spans"]),
        }[key]
    ]


COMPARED: dict[Comparison, Callable[[float, float], bool]] = {
    Comparison.EQUAL: lambda left, right: abs(left - right) < 1e-9,
    Comparison.LESS: lambda left, right: left < right - 1e-9,
    Comparison.AT_MOST: lambda left, right: left <= right + 1e-9,
    Comparison.MORE: lambda left, right: left > right + 1e-9,
    Comparison.AT_LEAST: lambda left, right: left >= right - 1e-9,
}


def like(text: str, pattern: str) -> bool:
    """Match a text with a pattern in which `*` stands for any text, ignoring case."""
    parts = [re.escape(part) for part in pattern.split("*")]
    return re.fullmatch(".*".join(parts), text, re.IGNORECASE | re.DOTALL) is not None


def words(text: str) -> list[str]:
    """Return the words of a text, which are its sequences of letters and digits."""
    return ["".join(signs) for is_word, signs in itertools.groupby(text.lower(), str.isalnum) if is_word]


def follow(text: list[str], wanted: list[str], *, is_prefix: bool) -> bool:
    """Return whether the wanted words follow each other in a text; with `is_prefix`, the last one may be incomplete."""
    for at in range(len(text) - len(wanted) + 1):
        part = text[at : at + len(wanted)]
        if is_prefix and part and part[-1].startswith(wanted[-1]):
            part[-1] = wanted[-1]
        if part == wanted:
            return True
    return False


def strings(each: Record) -> Iterator[str]:
    """Yield every text and number of a trace in which searches look for words."""
    waiting = [each["name"], each["input"], each["output"]]
    for span in each["spans"]:
        waiting += [span["name"], span.get("error"), span.get("input"), span.get("output")]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif value is not None and not isinstance(value, bool):
            yield str(value)


def matches(each: Record, query: Query, scores: Scores) -> bool:
    """Return whether a trace matches a query."""
    match query:
        case All(parts):
            return all(matches(each, part, scores) for part in parts)
        case AnyOf(parts):
            return any(matches(each, part, scores) for part in parts)
        case Not(part):
            return not matches(each, part, scores)
        case Text(text, is_prefix):
            wanted = words(text)
            return any(follow(words(found), wanted, is_prefix=is_prefix) for found in strings(each))
        case Flag("error"):
            return each["status"] == "ERROR" or any(span["status"] == "ERROR" for span in each["spans"])
        case Flag("running"):
            return bool(each["status"] == "RUNNING")
        case Flag():
            return each["trace_id"] in scores
        case Field(key, comparison, operands, name):
            return any(_field(each, key, comparison, operand, name, scores) for operand in operands)


def _field(each: Record, key: str, comparison: Comparison, operand: str | float, name: str, scores: Scores) -> bool:
    if isinstance(operand, str):
        pattern = f"{operand}*" if key == "error_type" else operand
        return any(like(text, pattern) for text in texts(each, key, name))
    return any(COMPARED[comparison](number, operand) for number in numbers(each, key, name, scores))


TERMS = [
    *("blend*", "orde*", '"is on its way"', '"order 3"', "chat", "no", "7"),
    *("error", "running", "scored", "blender", "order", '"blender is"', "nothing", "100%_", "it's"),
    *("status:error", "status:completed,running", "name:shop*", "name:100%_sure", "name:1*", "session:s-1,s-2"),
    *(
        "user:u-3",
        "tag:beta",
        "tag:vip",
        "env:production",
        "release:2.3*",
        "tool:refund",
        "failed:refund",
        "agent:pl*r",
    ),
    *("model:gpt-5", "model:gpt-5*", "retriever:kb", "error_type:TimeoutError", "meta.tier:gold", "meta.retries:2"),
    *("meta.eu:true", "meta.none:x", "latency>5s", "latency<=12s", "ttft>=500ms", "tokens>10k", "tokens<=1001"),
    *("cost>0.05", "spans:3", "spans>3", "score:task_completion<0.5", "score:task_completion>=0.8", "score:other>0"),
]


def queries() -> st.SearchStrategy[str]:
    """Return searches of one to three terms, joined, negated and in brackets."""
    term = st.sampled_from(TERMS)
    inner = st.one_of(term, term.map(lambda text: f"-{text}"))
    pair = st.tuples(inner, st.sampled_from([" ", " AND ", " OR "]), inner).map("".join)
    return st.one_of(inner, pair, st.tuples(pair, inner).map(lambda two: f"({two[0]}) {two[1]}"))
