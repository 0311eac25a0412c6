"""The search language: what it means, compared with a slow scan of the traces, and what it says to bad input."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.search.fields import FIELDS, Comparison, SearchError
from pandaprobe_otel.local.search.language import (
    MAX_LENGTH,
    All,
    AnyOf,
    Field,
    Flag,
    Not,
    Query,
    Text,
    parse,
)

Record: TypeAlias = dict[str, Any]
NOW = datetime(2026, 3, 1, tzinfo=UTC)
COUNT = 24


def at(seconds: float) -> str:
    """Return a moment so many seconds before NOW."""
    return (NOW - timedelta(seconds=seconds)).isoformat()


def record(number: int) -> Record:
    """Return a trace; every field takes a few values, in another rhythm each."""
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


RECORDS = [record(number) for number in range(COUNT)]
SCORES = {each["trace_id"]: number % 10 / 10 for number, each in enumerate(RECORDS) if number % 3}


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """A server with the traces, with two scores of each that has any: the later one counts."""
    with LocalServer(limit=None) as running, client(running) as http:
        for each in RECORDS:
            http.post("/traces", json=each).raise_for_status()
        for trace_id, value in SCORES.items():
            for written in ("1.0", str(value)):
                body = {"trace_id": trace_id, "name": "task_completion", "value": written, "data_type": "NUMERIC"}
                http.post("/evaluations/trace-scores", json=body).raise_for_status()
        yield running


def client(server: LocalServer) -> httpx.Client:
    """Return a client of a project of its own."""
    return httpx.Client(base_url=server.url, headers={"X-API-Key": server.api_key, "X-Project-Name": "search"})


def found(server: LocalServer, query: str) -> set[int]:
    """Return the numbers of the traces that the page lists for a query; SearchError's words where it lists none."""
    project = next(each.id for each in server.services.accounts.projects(server.services.accounts.home.id))
    page = httpx.get(f"{server.url}/ui", params={"project": project, "q": query}).raise_for_status().text
    return {int(UUID(each)) - 1 for each in re.findall(r'data-row data-id="([0-9a-f-]{36})"', page)}


# -- an independent reader of queries ----------------------------------------------------------------------------------


def seconds(moment: str | None) -> float | None:
    """Return a moment as seconds; None for none."""
    return None if moment is None else datetime.fromisoformat(moment).timestamp()


def texts(each: Record, key: str, name: str) -> list[str]:
    """Return the texts that a field of a trace has."""
    by_kind = {"tool": "TOOL", "agent": "AGENT", "retriever": "RETRIEVER"}
    if key in by_kind:
        return [span["name"] for span in each["spans"] if span["kind"] == by_kind[key]]
    if key == "failed":
        return [span["name"] for span in each["spans"] if span["status"] == "ERROR"]
    if key == "model":
        return [span["model"] for span in each["spans"] if span["model"]]
    if key == "error_type":
        return [span["error"] for span in each["spans"] if span["error"]]
    if key == "tag":
        return list(each["tags"])
    if key == "meta":
        value = each["metadata"].get(name)
        return [] if value is None else [str(value).lower() if isinstance(value, bool) else str(value)]
    column = {"session": "session_id", "user": "user_id", "env": "environment"}.get(key, key)
    return [each[column]] if each[column] is not None else []


def numbers(each: Record, key: str, name: str) -> list[float]:
    """Return the numbers that a field of a trace has."""
    llm = next(span for span in each["spans"] if span["kind"] == "LLM")
    if key == "latency":
        ended = seconds(each["ended_at"])
        return [] if ended is None else [(ended - (seconds(each["started_at"]) or 0)) * 1e6]
    if key == "ttft":
        return [((seconds(llm["completion_start_time"]) or 0) - (seconds(llm["started_at"]) or 0)) * 1e6]
    if key == "score":
        score = SCORES.get(each["trace_id"]) if name == "task_completion" else None
        return [] if score is None else [score]
    usage = llm["token_usage"]
    return [
        {
            "tokens": usage["prompt_tokens"] + usage["completion_tokens"],
            "cost": llm["cost"]["total"],
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
    """Compare as a shell does, with `*` alone, whatever the case."""
    parts = [re.escape(part) for part in pattern.split("*")]
    return re.fullmatch(".*".join(parts), text, re.IGNORECASE | re.DOTALL) is not None


def matches(each: Record, query: Query) -> bool:
    """Tell whether a trace matches, by looking at it."""
    match query:
        case All(parts):
            return all(matches(each, part) for part in parts)
        case AnyOf(parts):
            return any(matches(each, part) for part in parts)
        case Not(part):
            return not matches(each, part)
        case Text(text):
            return any(text.lower() in str(each[place]).lower() for place in ("name", "input", "output"))
        case Flag("error"):
            return each["status"] == "ERROR" or any(span["status"] == "ERROR" for span in each["spans"])
        case Flag("running"):
            return bool(each["status"] == "RUNNING")
        case Flag():
            return each["trace_id"] in SCORES
        case Field(key, comparison, operands, name):
            return any(_field(each, key, comparison, operand, name) for operand in operands)


def _field(each: Record, key: str, comparison: Comparison, operand: str | float, name: str) -> bool:
    if isinstance(operand, str):
        pattern = f"{operand}*" if key == "error_type" else operand
        return any(like(text, pattern) for text in texts(each, key, name))
    return any(COMPARED[comparison](number, operand) for number in numbers(each, key, name))


TERMS = [
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


@given(st.data())
@settings(max_examples=50)
def test_a_query_finds_what_a_scan_finds(server: LocalServer, data: st.DataObject) -> None:
    """Fields, flags and texts, joined, negated and in brackets, match the traces that they say."""
    term = st.sampled_from(TERMS)
    inner = st.one_of(term, term.map(lambda text: f"-{text}"))
    pair = st.tuples(inner, st.sampled_from([" ", " AND ", " OR "]), inner).map("".join)
    query = data.draw(st.one_of(inner, pair, st.tuples(pair, inner).map(lambda two: f"({two[0]}) {two[1]}")))

    expected = {number for number, each in enumerate(RECORDS) if matches(each, parse(query).query)}

    assert found(server, query) == expected, query


@pytest.mark.parametrize("term", TERMS)
def test_every_term_divides_the_traces(server: LocalServer, term: str) -> None:
    """Each term and its negation find all traces together, and none twice."""
    with_it, without = found(server, term), found(server, f"-{term}")

    assert with_it | without == set(range(COUNT))
    assert with_it & without == set()


def test_moments_are_ages_and_dates(server: LocalServer) -> None:
    """`after:2026-02-28` is a date; `after:2d` counts back from now, when these traces are old."""
    assert found(server, "after:2026-02-28") == {0, 1, 2}
    assert found(server, "before:2026-02-28") == set(range(3, COUNT))
    assert found(server, "after:2026-02-28 before:2026-02-28T18:00:00Z") == {1, 2}
    age = (datetime.now(UTC) - NOW).total_seconds() + 3600
    assert found(server, f"after:{age:.0f}s") == {0}


@pytest.mark.parametrize(
    ("query", "words", "position"),
    [
        ("error latency>5x", "latency has no unit “x”: try latency>5s", 14),
        ("latency:5s", "latency is compared: latency>5s", 8),
        ("tokens>many", "tokens has no value “many”", 7),
        ("name>shop", "name has no order", 0),
        ("score:task_completion", "score:task_completion<0.5", 0),
        ("name:", "a value is missing", 5),
        ("name:a,,b", "a value is missing", 5),
        ("after:someday", "after has no moment “someday”", 6),
        ("(error", "a bracket is not closed", 0),
        ("error)", "a closing bracket without an opening one", 5),
        ('"blender', "a quotation mark is not closed", 0),
        ("error NOT", "nothing follows the negation", 6),
        ("latency>1s,2s", "compared with one value", 8),
        ("(" * 30 + "a" + ")" * 30, "at most 20 times", 21),
        ("a " * 41, "at most 40 terms", 80),
        ("a" * (MAX_LENGTH + 1), "at most 2,000 characters", MAX_LENGTH),
    ],
)
def test_what_is_wrong_is_said_with_its_place(server: LocalServer, query: str, words: str, position: int) -> None:
    """An error says what to write instead, and the page shows it in the place of a list."""
    with pytest.raises(SearchError, match=re.escape(words)) as caught:
        parse(query)
    page = httpx.get(f"{server.url}/ui", params={"q": query})

    assert caught.value.position == position
    assert page.status_code == 200
    assert "The search could not be read." in page.text


@pytest.mark.parametrize("query", ["https://x.test/a", "foo:bar", "a:b:c", "meta.:x", "Error:", "x>y", "-", "e-mail"])
def test_what_is_no_field_is_text(query: str) -> None:
    """Addresses, code and times can be searched for without quotation marks."""
    assert isinstance(parse(query).query, Text)


def test_a_misspelt_field_is_told_of() -> None:
    """Whoever writes `modle:gpt-5` finds nothing, and reads why."""
    assert parse("modle:gpt-5 error").notes == ("modle is no field, so “modle:gpt-5” was searched for as text",)


def test_a_phrase_may_have_quotation_marks() -> None:
    """A backslash before a quotation mark, or before itself, takes it literally, and stays before any other sign."""
    assert parse(r'"say \"hi\" to C:\\ and \d"').query == Text(r'say "hi" to C:\ and \d')


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.key)
def test_the_examples_can_be_read(field: Any) -> None:
    """An example on the page is a query for its field."""
    query = parse(field.example).query

    assert isinstance(query, Field)
    assert query.key == field.key


@given(st.text(alphabet="ab:\"()<>=-*,. \\%_\n'0k5sOR", max_size=60) | st.text(max_size=60))
@settings(max_examples=100)
def test_any_text_is_a_query_or_refused(server: LocalServer, text: str) -> None:
    """No text breaks the reader, the database or the page."""
    with suppress(SearchError):
        parse(text)
        if "\x00" not in text:
            assert found(server, text) <= set(range(COUNT))
