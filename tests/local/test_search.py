"""Searches, facets and completion: after any changes of traces, they agree with a scan, and errors name the mistake."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias
from uuid import UUID

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_http import http_of
from pandaprobe_otel.local import LocalServer
from waiting import wait_until

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


COUNT = 24
TEXT = st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=80) | st.just("a" * 60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


class Store:
    """A server with one project."""

    def __init__(self, path: str | Path = ":memory:") -> None:
        self.server = LocalServer(path, limit=None).start()
        self.http = http_of(self.server, "search")

    def close(self) -> None:
        """Stop the server."""
        self.http.close()
        self.server.stop()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def post(self, number: int, kind: int, **fields: Any) -> None:
        """Store the trace that `record` makes for a kind, or merge it with the stored one."""
        body = {**record(kind), "trace_id": str(UUID(int=number + 1)), **fields}
        spans = [{**span, "span_id": str(UUID(int=1000 * number + at))} for at, span in enumerate(body["spans"], 1)]
        self.http.post("/traces", json={**body, "spans": spans}).raise_for_status()

    def patch(self, number: int, kind: int) -> None:
        """Change fields of a trace and the name of one of its spans, if it exists."""
        changed = {name: record(kind)[name] for name in ("status", "metadata")}
        path = f"/traces/{UUID(int=number + 1)}"
        self.http.patch(path, json={**changed, "output": f"a blender {kind}"})
        self.http.patch(f"{path}/spans/{UUID(int=1000 * number + 3)}", json={"name": f"refund {kind}"})

    def tag(self, number: int, kind: int) -> None:
        """Add and remove tags of a trace."""
        added = {"add_tags": ["vip"]} if kind % 2 else {}
        body = {"trace_ids": [str(UUID(int=number + 1))], **added, "remove_tags": ["beta"]}
        self.http.post("/traces/batch/tags", json=body).raise_for_status()

    def delete(self, number: int, kind: int = 0) -> None:
        """Delete a trace, if it exists."""
        self.http.delete(f"/traces/{UUID(int=number + 1)}")

    def score(self, number: int, kind: int) -> None:
        """Add a score to a trace, change its latest one, or delete it."""
        target = str(UUID(int=number + 1))
        latest = _latest(self.http.get(f"/evaluations/trace-scores/{target}").json())
        if kind % 3 == 0 or latest is None:
            body = {"trace_id": target, "name": "task_completion", "value": str(kind / 24), "data_type": "NUMERIC"}
            self.http.post("/evaluations/trace-scores", json=body)
        elif kind % 3 == 1:
            self.http.patch(f"/evaluations/trace-scores/{latest['id']}", json={"value": str(1 - kind / 24)})
        else:
            self.http.delete(f"/evaluations/trace-scores/{latest['id']}")

    def records(self) -> list[Record]:
        """Return all traces in the form of the API, with their latest scores."""
        ids = [one["trace_id"] for one in self.http.get("/traces", params={"limit": 100}).json()["items"]]
        scores = {one: _latest(self.http.get(f"/evaluations/trace-scores/{one}").json()) for one in ids}
        return [{**self.http.get(f"/traces/{one}").json(), "score": (scores[one] or {}).get("value")} for one in ids]

    def found(self, query: str) -> list[str]:
        """Return the ids of the traces that the page lists for a query, in order."""
        text = self.http.get("/ui", params={"q": query}).raise_for_status().text
        assert "The search could not be read." not in text
        return re.findall(r'data-row data-id="([0-9a-f-]{36})"', text)

    def agrees(self, *searches: Search) -> None:
        """Check that each search finds what a scan finds."""
        records = self.records()
        for query, matches in searches:
            expected = [each["trace_id"] for each in records if matches(each)]
            assert sorted(self.found(query)) == sorted(expected), query


def _latest(scores: Any) -> Record | None:
    return max(scores, key=lambda score: str(score["created_at"]), default=None) if isinstance(scores, list) else None


STEPS: dict[str, Callable[[Store, int, int], Any]] = {
    "post": Store.post,
    "patch": Store.patch,
    "tag": Store.tag,
    "delete": Store.delete,
    "score": Store.score,
}
STEP = st.tuples(
    st.sampled_from([*STEPS, "post", "post", "restart", "search", "search"]), st.integers(0, 9), st.integers(0, 23)
)


@given(st.lists(STEP, min_size=3, max_size=24), st.lists(searches(), min_size=6, max_size=6))
@settings(max_examples=15, deadline=None)
def test_a_search_finds_the_traces_of_a_scan(steps: list[tuple[str, int, int]], asked: list[Search]) -> None:
    """After and between posts, patches, deletions, scores and restarts, a search finds the traces of a scan."""
    with TemporaryDirectory() as folder:
        store = Store(Path(folder) / "p.db")
        try:
            for step, number, kind in steps:
                if step == "restart":
                    store.close()
                    store = Store(Path(folder) / "p.db")
                elif step == "search":
                    store.agrees(asked[number % len(asked)])
                else:
                    STEPS[step](store, number, kind)
            store.agrees(*asked)
        finally:
            store.close()


@pytest.fixture(scope="module")
def many() -> Generator[Store]:
    """Yield a store of traces."""
    with Store() as store:
        for number in range(COUNT):
            store.post(number, number)
            if number % 3:
                store.score(number, 3 * (number % 8))
        yield store


def test_every_term_and_its_negation(many: Store) -> None:
    """A term finds the traces of a scan, and its negation all others."""
    records = many.records()
    for term, matches in TERMS.items():
        expected = {each["trace_id"] for each in records if matches(each)}
        assert set(many.found(term)) == expected, term
        assert set(many.found(f"-{term}")) == {each["trace_id"] for each in records} - expected, term


@given(JSON, JSON)
@settings(max_examples=20, deadline=None)
def test_a_trace_is_answered_as_it_was_sent(many: Store, given_json: Any, other: Any) -> None:
    """The API returns any JSON as it was sent, and a changed span beside the unchanged ones of its request."""
    trace, span = UUID(int=900), UUID(int=901)
    body = {"trace_id": str(trace), "name": "odd", "started_at": "2020-01-01T00:00:00Z", "input": given_json}
    spans = [{"span_id": str(UUID(int=901 + at)), "name": "s", "started_at": body["started_at"]} for at in range(3)]
    sent = {**body, "spans": [{**each, "input": given_json, "output": other} for each in spans]}
    many.http.delete(f"/traces/{trace}")
    many.http.post("/traces", json=sent).raise_for_status()
    many.http.patch(f"/traces/{trace}/spans/{span}", json={"output": "other"}).raise_for_status()
    stored = many.http.get(f"/traces/{trace}").json()
    many.http.delete(f"/traces/{trace}")

    assert stored["input"] == given_json
    assert [(one["input"], one["output"]) for one in stored["spans"]] == [
        (given_json, answer) for answer in ("other", other, other)
    ]


@pytest.mark.parametrize("deletes", ["traces", "project"])
def test_words_and_labels_are_forgotten_with_their_trace(deletes: str, tmp_path: Path) -> None:
    """A deleted trace leaves no word and no value in the index, even if the process ends while its project goes."""
    store = Store(tmp_path / "p.db")
    for number in range(30):
        store.post(number, number)
        store.patch(number, number + 1)
    if deletes == "project":
        (organization,) = store.http.get("/organizations").json()
        projects = f"/organizations/{organization['id']}/projects"
        (project,) = store.http.get(projects).json()
        store.http.delete(f"{projects}/{project['id']}").raise_for_status()
        store.post(29, 1)  # the name and the ids are free at once
        assert store.http.get("/traces").json()["total"] == 1
        store.close()
        store = Store(tmp_path / "p.db")
        assert store.http.get("/traces").json()["total"] == 1
        wait_until(lambda: len(_every(store, "SELECT id FROM projects")) == 1)
        store.delete(29)
    else:
        ids = [str(UUID(int=number + 1)) for number in range(31)]
        deleted = store.http.post("/traces/batch/delete", json={"trace_ids": ids})
        assert deleted.json() == {"deleted": 30}
    with store.server.services.database.write() as connection:
        connection.execute("CREATE VIRTUAL TABLE vocabulary USING fts5vocab(words, row)")
    left = [
        row
        for what in ("term FROM vocabulary", "value FROM labels", "id FROM blocks", "name FROM spans")
        for row in _every(store, f"SELECT {what}")
    ]
    store.close()

    assert left == []


def _every(store: Store, statement: str) -> list[tuple[Any, ...]]:
    with store.server.services.database.read() as connection:
        return [tuple(row) for row in connection.execute(statement)]


@pytest.fixture(scope="module")
def one() -> Generator[Store]:
    """Yield a store for one trace."""
    with Store() as store:
        yield store


@pytest.mark.parametrize(
    ("content", "asked", "is_found"),
    [
        ("Größe XL", "größe", True),
        ("Gro\u0308ße", "größe", True),
        ("我的订单在哪里", "订单", True),
        ("我的订单在哪里", "单订", False),
        ("refund_order(7431)", '"refund order"', True),
        ("refund_order(7431)", '"order(743"', False),
        ("a\ue000b", '"a b"', True),
        ('say "hi" to C:\\ and \\d', r'"say \"hi\" to C:\\ and \d"', True),
        *(({"order": number}, f'"{abs(number)}"', True) for number in (2**63, -(2**80), 10**30 + 7)),
        ({"order": 2**64}, f'"{2**64 + 1}"', False),
    ],
)
def test_words_and_numbers_of_any_kind(one: Store, content: Any, asked: str, is_found: bool) -> None:
    """Accents, scripts without spaces, marks and large numbers are found by words."""
    one.delete(1)
    one.post(1, 1, spans=[{**record(1)["spans"][0], "input": content}])

    assert (one.found(asked) != []) is is_found


def test_long_values_are_compared_by_their_beginning(one: Store) -> None:
    """A tag and a metadata value beyond the compared length are found by themselves and by their beginning."""
    long = "x" * 1200
    one.delete(1)
    one.post(1, 1, tags=[long], metadata={"long": long})

    assert one.http.get("/traces", params={"tags": long}).json()["total"] == 1
    assert one.http.get("/traces", params={"tags": long[:-300]}).json()["total"] == 0
    for asked in (f"tag:{long}", f"meta.long:{long}", "tag:xxx*", "meta.long:xxx*"):
        assert len(one.found(asked)) == 1, asked


def test_moments_are_ages_and_dates(many: Store) -> None:
    """`after:2026-02-28` is a date; `after:2d` counts back from now."""

    def numbers(query: str) -> set[int]:
        return {UUID(one).int - 1 for one in many.found(query)}

    assert numbers("after:2026-02-28") == {0, 1, 2}
    assert numbers("before:2026-02-28") == set(range(3, COUNT))
    assert numbers("after:2026-02-28 before:2026-02-28T18:00:00Z") == {1, 2}
    age = (datetime.now(UTC) - NOW).total_seconds() + 3600
    assert numbers(f"after:{age:.0f}s") == {0}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("error latency>5x", "latency has no unit “x”: try latency>5s"),
        ("latency:5s", "latency needs a comparison: latency>5s"),
        ("tokens>many", "tokens has no value “many”"),
        ("name>shop", "name cannot be compared with < or >"),
        ("score:task_completion", "score:task_completion<0.5"),
        ("name:a,,b", "a value is missing"),
        ("after:someday", "after cannot read “someday” as a time"),
        ("(error", "a bracket is not closed"),
        ("error)", "a closing bracket without an opening one"),
        ('"blender', "a quotation mark is not closed"),
        ("error NOT", "nothing follows the negation"),
        ("latency>1s,2s", "compared with only one value"),
        ("(" * 30 + "a" + ")" * 30, "at most 20 times"),
        ("a " * 41, "at most 40 terms"),
        ("a" * 2001, "at most 2,000 characters"),
    ],
)
def test_an_error_shows_the_correction(many: Store, query: str, words: str) -> None:
    """The page shows the error and the correction instead of a list, and the API refuses the search."""
    page = many.http.get("/ui", params={"q": query})
    refused = many.http.get("/local/failures", params={"query": query})

    assert page.status_code == 200
    assert "The search could not be read." in page.text
    assert (refused.status_code, words in refused.text) == (422, True), refused.text


@pytest.mark.parametrize("query", ["https://x.test/a", "foo:bar", "a:b:c", "meta.:x", "Error:", "x>y", "-", "e-mail"])
def test_a_text_with_a_colon_is_no_field(many: Store, query: str) -> None:
    """Addresses, code and times can be searched for without quotation marks; a note names what looks like a field."""
    assert many.found(query) == [] or query == "-"
    note = "foo is not a field" in many.http.get("/ui", params={"q": query}).text
    assert note is (query == "foo:bar")


@given(st.text(alphabet="ab:\"()<>=-*,. \\%_\n'0k5sOR", max_size=60) | st.text(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_query_or_refused(many: Store, text: str) -> None:
    """No text breaks the parser, the database or the page."""
    assert many.http.get("/ui", params={"q": text}).status_code == 200


FACET = re.compile(
    r'<li><a href="(?P<link>[^"]+)" data-facet="(?P<without>[^"]+)"(?P<chosen>[^>]*)>'
    r'<span>(?P<value>[^<]*)</span> <b class="num">(?P<count>\d+)</b>'
)


def page(many: Store, link: str) -> tuple[int, dict[str, re.Match[str]]]:
    """Return the number of traces of a list, and its facets by key and value."""
    text = many.http.get(unescape(link)).raise_for_status().text
    total = re.search(r'<h1>Traces <span class="count">(\d+)', text)
    assert total is not None
    found: dict[str, re.Match[str]] = {}
    for key, values in re.findall(r'<section data-key="(\w+)">(.*?)</section>', text, re.DOTALL):
        found |= {f"{key}:{unescape(each['value'])}": each for each in FACET.finditer(values)}
    return int(total[1]), found


@pytest.mark.parametrize("query", ["", "error", "order model:gpt-5", "latency>5s -tool:refund"])
def test_each_facet_counts_the_traces_that_it_leads_to(many: Store, query: str) -> None:
    """A facet's count is the length of the list that its link opens; Alt-click excludes these traces."""
    total, facets = page(many, str(httpx.URL("/ui", params={"q": query})))

    assert len(facets) > 10
    for name in sorted(facets)[::4]:
        count, _ = page(many, facets[name]["link"])
        without, _ = page(many, facets[name]["without"])
        assert count == int(facets[name]["count"]), name
        assert without == total - count, name


@pytest.mark.parametrize(
    ("term", "proposed"),
    [
        ("mod", ["model:"]),
        ("model:", ["model:claude", "model:gpt-5", "model:gpt-5-mini"]),
        ("-model:gpt-5-", ["-model:gpt-5-mini"]),
        ('name:"sHop a', ['name:"Shop assistant"']),
        ("meta.tier:g", ["meta.tier:gold"]),
        ("err", ["error", "error_type:"]),
        ("latency>", []),
        ('"a phrase', []),
    ],
)
def test_a_term_is_completed(many: Store, term: str, proposed: list[str]) -> None:
    """Names of fields are proposed first, then the values of the field."""
    found = many.http.get("/ui/complete", params={"term": term}).raise_for_status().json()

    assert sorted(one["text"] for one in found) == proposed
