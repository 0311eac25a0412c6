"""The search language: its results equal a slow scan of the traces, and errors name the invalid part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.search.language import MAX_LENGTH, Field, Text, parse
from pandaprobe_otel.local.search.searchable_fields import FIELDS, SearchError
from trace_scan import NOW, TERMS, matches, queries, record

COUNT = 24


RECORDS = [record(number) for number in range(COUNT)]
SCORES = {each["trace_id"]: number % 10 / 10 for number, each in enumerate(RECORDS) if number % 3}


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    """Yield a server with the traces, half of them in the index; of two scores of a trace the later one counts."""
    with LocalServer(limit=None) as running, client(running) as http:
        for number, each in enumerate(RECORDS):
            http.post("/traces", json=each).raise_for_status()
            if number == COUNT // 2:
                running.services.sealer.seal_now()
        for trace_id, value in SCORES.items():
            for written in ("1.0", str(value)):
                body = {"trace_id": trace_id, "name": "task_completion", "value": written, "data_type": "NUMERIC"}
                http.post("/evaluations/trace-scores", json=body).raise_for_status()
        yield running


def client(server: LocalServer) -> httpx.Client:
    """Return a client of a project of its own."""
    return httpx.Client(base_url=server.url, headers={"X-API-Key": server.api_key, "X-Project-Name": "search"})


def found(server: LocalServer, query: str) -> set[int]:
    """Return the numbers of the traces that the page lists for a query."""
    project = next(each.id for each in server.services.accounts.projects(server.services.accounts.home.id))
    page = httpx.get(f"{server.url}/ui", params={"project": project, "q": query}).raise_for_status().text
    return {int(UUID(each)) - 1 for each in re.findall(r'data-row data-id="([0-9a-f-]{36})"', page)}


@given(queries())
@settings(max_examples=50)
def test_a_query_finds_what_a_scan_finds(server: LocalServer, query: str) -> None:
    """Queries of fields, flags and texts, joined, negated and in brackets, find the same traces as a scan."""
    expected = {number for number, each in enumerate(RECORDS) if matches(each, parse(query).query, SCORES)}

    assert found(server, query) == expected, query


@pytest.mark.parametrize("term", TERMS)
def test_every_term_divides_the_traces(server: LocalServer, term: str) -> None:
    """A term and its negation together find every trace exactly once."""
    with_it, without = found(server, term), found(server, f"-{term}")

    assert with_it | without == set(range(COUNT))
    assert with_it & without == set()


def test_moments_are_ages_and_dates(server: LocalServer) -> None:
    """`after:2026-02-28` is a date; `after:2d` counts back from now."""
    assert found(server, "after:2026-02-28") == {0, 1, 2}
    assert found(server, "before:2026-02-28") == set(range(3, COUNT))
    assert found(server, "after:2026-02-28 before:2026-02-28T18:00:00Z") == {1, 2}
    age = (datetime.now(UTC) - NOW).total_seconds() + 3600
    assert found(server, f"after:{age:.0f}s") == {0}


@pytest.mark.parametrize(
    ("query", "words", "position"),
    [
        ("error latency>5x", "latency has no unit “x”: try latency>5s", 14),
        ("latency:5s", "latency needs a comparison: latency>5s", 8),
        ("tokens>many", "tokens has no value “many”", 7),
        ("name>shop", "name cannot be compared with < or >", 0),
        ("score:task_completion", "score:task_completion<0.5", 0),
        ("name:", "a value is missing", 5),
        ("name:a,,b", "a value is missing", 5),
        ("after:someday", "after cannot read “someday” as a time", 6),
        ("(error", "a bracket is not closed", 0),
        ("error)", "a closing bracket without an opening one", 5),
        ('"blender', "a quotation mark is not closed", 0),
        ("error NOT", "nothing follows the negation", 6),
        ("latency>1s,2s", "compared with only one value", 8),
        ("(" * 30 + "a" + ")" * 30, "at most 20 times", 21),
        ("a " * 41, "at most 40 terms", 80),
        ("a" * (MAX_LENGTH + 1), "at most 2,000 characters", MAX_LENGTH),
    ],
)
def test_an_error_names_its_position(server: LocalServer, query: str, words: str, position: int) -> None:
    """An error names the position and the correction, and the page shows it instead of a list."""
    with pytest.raises(SearchError, match=re.escape(words)) as caught:
        parse(query)
    page = httpx.get(f"{server.url}/ui", params={"q": query})

    assert caught.value.position == position
    assert page.status_code == 200
    assert "The search could not be read." in page.text


@pytest.mark.parametrize("query", ["https://x.test/a", "foo:bar", "a:b:c", "meta.:x", "Error:", "x>y", "-", "e-mail"])
def test_a_text_with_a_colon_is_no_field(query: str) -> None:
    """Addresses, code and times can be searched for without quotation marks."""
    assert isinstance(parse(query).query, Text)


def test_a_misspelt_field_is_told_of() -> None:
    """For `modle:gpt-5`, a note explains that this is not a field and was searched for as text."""
    assert parse("modle:gpt-5 error").notes == ("modle is not a field, so “modle:gpt-5” was searched for as text",)


def test_a_phrase_may_have_quotation_marks() -> None:
    """A backslash escapes a quotation mark or a backslash, and is literal before any other character."""
    assert parse(r'"say \"hi\" to C:\\ and \d"').query == Text(r'say "hi" to C:\ and \d')


@pytest.mark.parametrize("field", FIELDS.values(), ids=lambda field: field.key)
def test_the_examples_can_be_read(field: Any) -> None:
    """The example of each field on the page is a valid query for this field."""
    query = parse(field.example).query

    assert isinstance(query, Field)
    assert query.key == field.key


@given(st.text(alphabet="ab:\"()<>=-*,. \\%_\n'0k5sOR", max_size=60) | st.text(max_size=60))
@settings(max_examples=100)
def test_any_text_is_a_query_or_refused(server: LocalServer, text: str) -> None:
    """No text breaks the parser, the database or the page."""
    with suppress(SearchError):
        parse(text)
        if "\x00" not in text:
            assert found(server, text) <= set(range(COUNT))
