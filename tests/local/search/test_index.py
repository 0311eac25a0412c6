"""The index: after any changes of traces, a search with bit sets finds the same traces as a scan."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local_formats import lower_format
from pandaprobe_otel.local import services
from pandaprobe_otel.local.injected_faults import Faults
from pandaprobe_otel.local.models.fields import SortOrder
from pandaprobe_otel.local.models.traces import SpanUpdate, TraceCreate, TraceSortBy, TraceUpdate
from pandaprobe_otel.local.sealing import facets, word_index
from pandaprobe_otel.local.sealing.facet_sets import FacetSets
from pandaprobe_otel.local.sealing.sliced_numbers import Column
from pandaprobe_otel.local.sealing.stored_trace import read_trace
from pandaprobe_otel.local.search import bit_search
from pandaprobe_otel.local.search.language import parse
from pandaprobe_otel.local.search.searchable_fields import Comparison
from pandaprobe_otel.local.search.text_words import has_phrase, phrase_of
from pandaprobe_otel.local.services import Services, build_services
from pandaprobe_otel.local.settings import LocalSettings
from pandaprobe_otel.local.store import searched_traces
from pandaprobe_otel.local.store.database import MEMORY, Database
from pandaprobe_otel.local.store.queries import Slice
from pandaprobe_otel.local.store.scores import NewScore
from pandaprobe_otel.local.store.trace_filter import Search, TraceFilter
from trace_scan import NOW, Record, matches, queries, record

ALL = Slice(limit=1000, offset=0)


class Store:
    """A store of one project, whose sealing thread is stopped."""

    def __init__(self, path: str | Path = MEMORY) -> None:
        self.database = Database(path)
        self.services: Services = build_services(LocalSettings(), self.database, Faults())
        self.services.sealer.stop(5)
        accounts = self.services.accounts
        self.project = accounts.project_named(accounts.home.id, "p")
        with self.database.write() as connection:
            accounts.keep(self.project, connection)

    def post(self, number: int, kind: int) -> None:
        """Store the trace that `record` makes for a kind, or merge it with the stored one."""
        body = {**record(kind), "trace_id": str(UUID(int=number + 1))}
        spans = [{**span, "span_id": str(UUID(int=1000 * number + at))} for at, span in enumerate(body["spans"], 1)]
        with self.database.write() as connection:
            trace = TraceCreate.model_validate({**body, "spans": spans})
            self.services.traces.save(connection, self.project.id, trace, now=0)

    def score(self, number: int, value: float) -> None:
        """Add a score to a trace, if the trace exists."""
        target = str(UUID(int=number + 1))
        if self.services.traces.get(self.project.id, target) is not None:
            score = NewScore(target=target, name="task_completion", value=str(value), source="x")
            with self.database.write() as connection:
                self.services.evaluation.trace_scores.add(connection, self.project.id, score, now=0)

    def change_scores(self, number: int, value: float | None) -> None:
        """Set the value of a trace's latest score, or delete the score."""
        scores = self.services.evaluation.trace_scores
        for row in scores.of_target(self.project.id, str(UUID(int=number + 1)))[:1]:
            if value is None:
                scores.delete(self.project.id, row["id"])
            else:
                scores.change(row["id"], {"value": str(value), "number": value}, now=0)

    def leave_numbers_out(self, count: int) -> None:
        """Continue with later numbers, so that the next trace may be in another part of the index."""
        with self.database.write() as connection:
            connection.execute("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'traces'", (max(count, 0),))

    def seal(self) -> None:
        """Seal all traces."""
        self.services.sealer.seal_now()
        with self.database.read() as connection:
            assert connection.execute("SELECT COUNT(*) FROM unsealed").fetchone()[0] == 0

    def records(self) -> list[Record]:
        """Return all traces in the form of the API."""
        with self.database.read() as connection:
            seqs = [row["seq"] for row in connection.execute("SELECT seq FROM traces")]
            return [trace.record for seq in seqs if (trace := read_trace(connection, seq)) is not None]

    def scores(self) -> dict[str, float]:
        """Return the latest scores of traces."""
        with self.database.read() as connection:
            rows = connection.execute("SELECT trace_id, number FROM trace_scores ORDER BY seq")
            return {row["trace_id"]: row["number"] for row in rows}

    def found(self, query: str, page: Slice = ALL, sort_by: TraceSortBy = TraceSortBy.STARTED_AT) -> list[str]:
        """Return the ids of the traces that a search lists, in order."""
        wanted = TraceFilter(search=Search(query=parse(query).query, now=int(NOW.timestamp() * 1e6)))
        rows, _ = self.services.queries.traces(self.project.id, wanted, page, sort_by, SortOrder.DESC)
        return [row["trace_id"] for row in rows]

    def scanned(self, query: str) -> list[str]:
        """Return the ids of the traces that match by a scan, the latest first."""
        scores, asked = self.scores(), parse(query).query
        found = [each for each in self.records() if matches(each, asked, scores)]
        return [each["trace_id"] for each in sorted(found, key=_start, reverse=True)]

    def close(self) -> None:
        """Close the file."""
        self.services.close(5)
        self.database.close()


def _start(each: Record) -> Any:
    return datetime.fromisoformat(each["started_at"]), 0


@contextmanager
def opened(path: str | Path = MEMORY) -> Generator[Store]:
    """Yield a store."""
    store = Store(path)
    try:
        yield store
    finally:
        store.close()


STEPS: dict[str, Callable[[Store, int, int], Any]] = {
    "post": lambda store, number, kind: store.post(number, kind),
    "patch": lambda store, number, kind: store.services.traces.patch(
        store.project.id,
        str(UUID(int=number + 1)),
        TraceUpdate(status=record(kind)["status"], metadata=record(kind)["metadata"], output=f"a blender {kind}"),
    ),
    "patch a span": lambda store, number, kind: store.services.traces.patch_span(
        store.project.id, str(UUID(int=number + 1)), str(UUID(int=1000 * number + 3)), SpanUpdate(name=f"refund {kind}")
    ),
    "tag": lambda store, number, kind: store.services.traces.change_tags(
        store.project.id, [str(UUID(int=number + 1))], ["vip"] if kind % 2 else [], ["beta"]
    ),
    "delete": lambda store, number, _: store.services.traces.delete(store.project.id, [str(UUID(int=number + 1))]),
    "score": lambda store, number, kind: store.score(number, kind / 24),
    "change a score": lambda store, number, kind: store.change_scores(number, 1 - kind / 24),
    "delete a score": lambda store, number, _: store.change_scores(number, None),
    "seal": lambda store, _number, _kind: store.seal(),
    "leave numbers out": lambda store, number, _: store.leave_numbers_out((number - 4) * 1000),
}
STEP = st.tuples(
    st.sampled_from([*STEPS, "post", "post", "restart", "search", "search"]), st.integers(0, 9), st.integers(0, 23)
)


@pytest.mark.parametrize("number", [2**63, 2**64, -(2**80), 10**30 + 7])
def test_a_number_of_any_size_is_found_by_its_digits(number: int) -> None:
    """A number that takes more than 64 bits is found before and after its trace is in the index."""
    with opened() as store:
        for at, given in enumerate([{"order": number}, {"order": number + 1}]):
            body = {"trace_id": str(UUID(int=at + 1)), "name": "n", "started_at": NOW, "input": given, "spans": []}
            with store.database.write() as connection:
                store.services.traces.save(connection, store.project.id, TraceCreate.model_validate(body), now=0)
        for _ in range(2):
            assert store.found(f'"{abs(number)}"') == [str(UUID(int=1))]
            store.seal()


@given(st.lists(STEP, min_size=3, max_size=24), st.lists(queries(), min_size=6, max_size=6))
@settings(max_examples=15)
def test_a_search_finds_what_a_scan_finds(steps: list[tuple[str, int, int]], asked: list[str]) -> None:
    """After and between posts, patches, deletions, scores, seals and restarts, a search finds what a scan finds."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "p.db"
        store = Store(path)
        try:
            for step, number, kind in steps:
                if step == "restart":
                    store.close()
                    store = Store(path)
                elif step == "search":
                    query = asked[number % len(asked)]
                    assert sorted(store.found(query)) == sorted(store.scanned(query)), query
                else:
                    STEPS[step](store, number, kind)
            for query in asked:
                assert sorted(store.found(query)) == sorted(store.scanned(query)), query
        finally:
            store.close()


@pytest.fixture(scope="module")
def many() -> Generator[Store]:
    """Yield a store of 60 traces, of which 41 are sealed."""
    with opened() as store:
        for number in range(60):
            store.post(number, number)
            if number == 40:
                store.seal()
        yield store


@pytest.mark.parametrize("query", ["order", "error OR tool:refund", "name:shop -error"])
@pytest.mark.parametrize("sort_by", TraceSortBy)
def test_pages_are_parts_of_the_whole(
    many: Store, monkeypatch: pytest.MonkeyPatch, query: str, sort_by: TraceSortBy
) -> None:
    """Long lists, which are read in order, have the same pages as short lists, which are sorted."""
    few = [many.found(query, Slice(limit=7, offset=offset), sort_by) for offset in range(0, 70, 7)]
    monkeypatch.setattr(searched_traces, "_FEW", 0)
    as_many = [many.found(query, Slice(limit=7, offset=offset), sort_by) for offset in range(0, 70, 7)]

    assert as_many == few
    assert sorted(itertools.chain(*few)) == sorted(many.scanned(query))


@given(queries())
@settings(max_examples=15)
def test_without_full_text_the_same_is_found(many: Store, query: str) -> None:
    """With an SQLite without FTS5, a search finds the same traces."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(bit_search, "has_full_text", lambda: False)
        without = many.found(query)

    assert sorted(without) == sorted(many.scanned(query))


def test_a_missing_full_text_index_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without FTS5, the log explains once why searches are slow."""
    monkeypatch.setattr(services, "has_full_text", lambda: False)
    services._warn_once.cache_clear()
    for _ in range(2):
        with opened():
            pass

    assert caplog.text.count("has no FTS5") == 1


def test_a_key_with_too_many_values_is_asked_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key with too many values, such as ids, is searched for in the table and takes no space in the index."""
    monkeypatch.setattr(facets, "MOST_VALUES", 2)
    with opened() as store:
        for number in range(12):
            store.post(number, number)
        store.seal()
        with store.database.read() as connection:
            names = connection.execute("SELECT COUNT(*) FROM facets WHERE key = 'name'").fetchone()[0]

        assert names == 0
        for query in ("name:shop*", "meta.retries:2", "meta.tier:gold -name:shop", "release:2.3*"):
            assert sorted(store.found(query)) == sorted(store.scanned(query)), query


def test_only_changed_parts_of_sets_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets are read once. After a change, only the last chunk or all before it are read again."""
    parts: list[tuple[int, int]] = []
    read = FacetSets._read

    def noted(sets: FacetSets, wanted: Sequence[int], begin: int, end: int) -> dict[int, int]:
        parts.append((begin, end))
        return read(sets, wanted, begin, end)

    def search() -> set[tuple[int, int]]:
        parts.clear()
        assert sorted(store.found("name:shop")) == sorted(store.scanned("name:shop"))
        return set(parts)

    monkeypatch.setattr(FacetSets, "_read", noted)
    with opened() as store:
        for number in range(3):
            store.post(number, 1)
            store.leave_numbers_out(5000)
        store.seal()
        assert search() == {(0, 2), (2, 3)}
        assert search() == set()
        store.post(2, 5)
        store.seal()
        assert search() == {(2, 3)}
        store.post(0, 5)
        store.seal()
        assert search() == {(0, 2)}
        assert search() == set()


def test_sets_of_one_file_are_not_taken_for_those_of_another() -> None:
    """Two files with the same numbers for different facets each find their own traces."""
    with opened() as one, opened() as other:
        for store, kinds in ((one, (1, 2, 3)), (other, (3, 4, 5))):
            for number, kind in enumerate(kinds):
                store.post(number, kind)
            store.seal()
        for query in ("error", "name:shop", "model:*", "cost>0 latency>1s"):
            for store in (one, other, one):
                assert sorted(store.found(query)) == sorted(store.scanned(query)), query


def test_an_older_file_finds_its_traces(tmp_path: Path) -> None:
    """A file from before the versions of chunks gets them when it is opened."""
    path = tmp_path / "p.db"
    with opened(path) as store:
        for number in range(5):
            store.post(number, number)
            store.leave_numbers_out(3000)
        store.seal()
        wanted = store.found("name:shop OR tool:refund")
    lower_format(path, 10)
    with opened(path) as store:
        assert wanted
        assert store.found("name:shop OR tool:refund") == wanted
        assert sorted(wanted) == sorted(store.scanned("name:shop OR tool:refund"))


def test_nothing_is_left_of_a_deleted_project() -> None:
    """Facets and words are deleted with their project; its table of words is dropped when the next trace is sealed."""
    with opened() as store:
        store.post(1, 1)
        store.seal()
        accounts = store.services.accounts
        accounts.delete_project(store.project)
        other = accounts.project_named(accounts.home.id, "other")
        with store.database.write() as connection:
            accounts.keep(other, connection)
        store.project = other
        store.post(2, 2)
        store.seal()
        with store.database.read() as connection:
            projects = connection.execute("SELECT COUNT(DISTINCT project) FROM facet_bits").fetchone()[0]
            tables = connection.execute(
                "SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL TABLE%'"
            ).fetchall()

        assert projects == 1
        assert [row["name"] for row in tables] == ["words_2"]


def test_words_are_forgotten_with_their_trace() -> None:
    """A deleted trace leaves no word in the FTS5 index."""
    with opened() as store:
        for number in range(6):
            store.post(number, number)
        store.seal()
        store.services.traces.delete(store.project.id, [str(UUID(int=number + 1)) for number in range(6)])
        with store.database.write() as connection:
            connection.execute("CREATE VIRTUAL TABLE vocabulary USING fts5vocab(words_1, row)")
            left = connection.execute("SELECT term, doc FROM vocabulary").fetchall()

        assert [tuple(row) for row in left] == []


@pytest.mark.parametrize(
    ("text", "asked", "is_found"),
    [
        ("Größe XL", "größe", True),
        ("Gro\u0308ße", "größe", True),
        ("我的订单在哪里", "订单", True),
        ("我的订单在哪里", "单订", False),
        ("refund_order(7431)", "refund order", True),
        ("refund_order(7431)", "order(743", False),
        ("a\ue000b", "a b", True),
        ("x" * 3000, "x" * 3000, False),
    ],
)
def test_words_of_many_scripts(text: str, asked: str, is_found: bool) -> None:
    """The index and the functions used without it agree, also on accents and on scripts without spaces."""
    phrase = phrase_of(asked)
    assert phrase is not None
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE VIRTUAL TABLE words_1 {word_index.FORM}")
    connection.execute("INSERT INTO words_1 (rowid, body) VALUES (1, ?)", (word_index.joined([text]),))

    assert word_index.matching(connection, 1, word_index.query_of([phrase]), 0, 2) == (0b10 if is_found else 0)
    assert has_phrase([text], phrase) is is_found
    connection.close()


@given(st.sets(st.integers(0, 400)), st.integers(0, 200), st.integers(1, 300))
def test_the_set_of_a_word_has_its_traces(having: set[int], base: int, size: int) -> None:
    """Bit n of a word's set stands for trace `base` + n, whatever traces exist before, behind and between."""
    phrase = phrase_of("refund")
    assert phrase is not None
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE VIRTUAL TABLE words_1 {word_index.FORM}")
    rows = [(number, "refund" if number in having else "other") for number in range(401)]
    connection.executemany("INSERT INTO words_1 (rowid, body) VALUES (?, ?)", rows)

    found = word_index.matching(connection, 1, word_index.query_of([phrase]), base, size)

    assert found == sum(1 << number - base for number in having if base <= number < base + size)
    connection.close()


@given(
    st.lists(st.none() | st.integers(0, 40) | st.integers(0, 2**61), min_size=1, max_size=30),
    st.integers(-2, 41) | st.floats(-1, 41),
    st.sampled_from(Comparison),
    st.lists(st.integers(0, 60), max_size=4),
)
def test_sliced_numbers_are_numbers(
    numbers: list[int | None], value: float, comparison: Comparison, others: list[int]
) -> None:
    """Comparisons, sums and ranks of a bit-sliced column equal those of the numbers themselves."""
    known = [(at, number) for at, number in enumerate(numbers) if number is not None]
    places = max((number.bit_length() for _, number in known), default=0)
    column = Column(
        known=sum(1 << at for at, _ in known),
        digits=[sum((number >> place & 1) << at for at, number in known) for place in range(places)],
    )
    compare: dict[Comparison, Callable[[float, float], bool]] = {
        Comparison.EQUAL: lambda left, right: left == right,
        Comparison.LESS: lambda left, right: left < right,
        Comparison.AT_MOST: lambda left, right: left <= right,
        Comparison.MORE: lambda left, right: left > right,
        Comparison.AT_LEAST: lambda left, right: left >= right,
    }
    everything = (1 << len(numbers)) - 1

    found = column.compared(comparison, value, everything)

    assert found == sum(1 << at for at, number in known if compare[comparison](number, value))
    assert column.total(everything) == sum(number for _, number in known)
    ordered = sorted([number for _, number in known] + others)
    assert [column.ranked(rank, everything, others) for rank in range(len(ordered))] == ordered
