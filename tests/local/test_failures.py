"""Groups of failures in the local store: sealing finds them, people mute, resolve, rename and merge them."""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any
from uuid import UUID

import httpx
import pytest

from failed_traces import FAILURES, body, failed_tool, said
from pandaprobe_otel.failures.states import DAY, OPEN, Handling, State
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.models.traces import TraceCreate, TraceUpdate
from pandaprobe_otel.local.sealing.sealer import Sealer
from pandaprobe_otel.local.sealing.seals import Seals
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.failure_groups import FailureGroup, FailureGroups
from pandaprobe_otel.local.store.trace_filter import TraceFilter
from pandaprobe_otel.local.store.traces import TraceStore
from pandaprobe_otel.local.times import iso
from stored_traces import tool

START = 20_000 * DAY
ALL = frozenset(State)


class Store:
    """A store of one project, whose traces are sealed at once."""

    def __init__(self) -> None:
        self.database = Database()
        with self.database.write() as connection:
            connection.execute("INSERT INTO organizations VALUES ('o', 'o', 'free', 0, 's', 0, 0, 0, 0, 0)")
            connection.execute("INSERT INTO projects VALUES ('p', 'o', 'p', '', 0)")
        self.seals = Seals(self.database)
        self.traces = TraceStore(self.database, self.seals)
        self.sealer = Sealer(self.database, self.seals, monotonic=lambda: 0.0)
        self.groups = FailureGroups(self.database)
        self._ids = random.Random(7)

    def post(self, trace: dict[str, Any], day: float, release: str | None = None) -> str:
        """Store a trace that started on a given day, and return its id."""
        fresh: dict[str, str] = {}

        def identity(old: str) -> str:
            return fresh.setdefault(old, str(UUID(int=self._ids.getrandbits(128))))

        spans = [
            {
                **one,
                "span_id": identity(one["span_id"]),
                "parent_span_id": one["parent_span_id"] and identity(one["parent_span_id"]),
            }
            for one in trace["spans"]
        ]
        sent = {
            **trace,
            "trace_id": identity("trace"),
            "started_at": iso(START + int(day * DAY)),
            "ended_at": iso(START + int(day * DAY) + 1),
            "spans": spans,
            "release": release,
        }
        with self.database.write() as connection:
            self.traces.save(connection, "p", TraceCreate.model_validate(sent), now=0)
        self.sealer.seal_now()
        return fresh["trace"]

    def find(self, day: float = 0, states: frozenset[State] = ALL, **wanted: Any) -> list[FailureGroup]:
        """Return the groups in their state on a given day."""
        found = self.groups.find("p", TraceFilter(**wanted), states, now=START + int(day * DAY), limit=200, offset=0)
        return list(found.groups)

    def state(self, day: float) -> State:
        """Return the state of the only group."""
        (group,) = self.find(day)
        return group.state

    def handle(self, action: State, day: float, **more: Any) -> None:
        """Mute or resolve the only group on a given day."""
        (group,) = self.find(day)
        handling = Handling(action=action, at=START + int(day * DAY), **more)
        assert self.groups.handle("p", group.fingerprint, handling)


@pytest.fixture
def store() -> Generator[Store]:
    """Yield an empty store."""
    made = Store()
    yield made
    made.sealer.stop(10)
    made.database.close()


def failing(order: int = 17) -> dict[str, Any]:
    """Return a trace in which a tool did not find an order."""
    return body(failed_tool("look_up", f"LookupError: order {order} not found"), status="ERROR")


def other() -> dict[str, Any]:
    """Return a trace with another failure."""
    return body(failed_tool("refund", "PermissionError: not yours"), status="ERROR")


def test_traces_that_failed_alike_are_one_group(store: Store) -> None:
    """A group has a count, first and last times, releases, a trend and examples; groups with most traces come first."""
    store.post(other(), 0, "1")
    store.post(failing(17), 1, "1")
    newest = store.post(failing(99), 3, "2")
    store.post(body(said("Hello.")), 3, "2")
    first, second = store.find(4)
    assert [(one.name, one.count) for one in (first, second)] == [
        ("LookupError in look_up", 2),
        ("PermissionError in refund", 1),
    ]
    assert (first.first_at, first.last_at) == (START + DAY, START + 3 * DAY)
    assert store.groups.releases("p", [first, second])[first.fingerprint] == ["1", "2"]
    trend = store.groups.trends("p", [first], START, START + 4 * DAY)[first.fingerprint]
    assert [(at, count) for at, count in enumerate(trend) if count] == [(6, 1), (18, 1)]
    (example,) = store.groups.examples("p", first, limit=1)
    (older,) = store.groups.examples("p", first, limit=5, offset=1)
    assert older["text"] == "LookupError: order 17 not found"
    assert (example["trace_id"], example["text"]) == (newest, "LookupError: order 99 not found")


@pytest.mark.parametrize("name", FAILURES)
def test_each_kind_is_kept(name: str, store: Store) -> None:
    """Traces that have the same kind of failure, by the rules of this kind, are one group in the store."""
    alike = [one for one in FAILURES[name].alike if isinstance(one, dict)]
    for trace in alike:
        store.post(trace, 0)
    assert not alike or store.find(1)[0].count == len(alike)


def test_a_filter_chooses_the_traces(store: Store) -> None:
    """A time filter counts only its traces; groups without such a trace are left out."""
    store.post(failing(), 0)
    store.post(failing(), 10)
    store.post(other(), 0)
    (group,) = store.find(10, after=START + 5 * DAY)
    assert (group.name, group.count, group.first_at) == ("LookupError in look_up", 1, START)


def test_a_change_of_a_trace_changes_its_groups(store: Store) -> None:
    """Patching, merging or deleting a trace updates its groups; only a group's name is kept."""
    mended = store.post(body(said("Hello."), status="ERROR"), 0)
    assert [one.name for one in store.find(1)] == ["answer failed"]
    store.traces.patch("p", mended, TraceUpdate.model_validate({"status": "COMPLETED"}))
    store.sealer.seal_now()
    assert store.find(1) == []
    gone = store.post(failing(), 0)
    (group,) = store.find(1)
    assert store.groups.rename("p", group.fingerprint, "No such order")
    store.traces.delete("p", [gone])
    assert store.find(1) == []
    store.post(failing(), 2)
    assert [one.name for one in store.find(3)] == ["No such order"]


def test_a_recovered_failure_makes_no_group(store: Store) -> None:
    """A trace that recovered from a failure makes no group; it is counted in the group as recovered."""
    retried = body(failed_tool("look_up", "LookupError: order 3 not found"), tool("look_up", 5, 6, {}))
    store.post(retried, 0)
    assert store.find(1) == []
    store.post(failing(), 0)
    (group,) = store.find(1)
    assert (group.count, group.recovered) == (1, 1)


def test_a_group_is_new_for_a_week(store: Store) -> None:
    """A group is new for a week, then ongoing."""
    store.post(failing(), 0)
    assert [store.state(day) for day in (1, 6.9, 7, 30)] == [State.NEW, State.NEW, State.ONGOING, State.ONGOING]


def test_a_muted_group_comes_back_as_it_was_asked_to(store: Store) -> None:
    """A muted group reopens at a given time, after a given number of further traces, or never."""
    store.post(failing(), 0)
    store.handle(State.MUTED, 1)
    assert store.find(100, OPEN) == []
    store.handle(State.MUTED, 1, until=START + 9 * DAY)
    assert [store.state(day) for day in (8, 9)] == [State.MUTED, State.ONGOING]
    store.handle(State.MUTED, 10, until_count=2)
    store.post(failing(), 5)
    store.post(failing(), 11)
    assert store.state(12) is State.MUTED
    store.post(failing(), 12)
    assert store.state(12) is State.ONGOING


def test_a_resolved_group_comes_back_when_a_later_trace_fails(store: Store) -> None:
    """A late trace that started before the group was resolved does not reopen the group."""
    store.post(failing(), 0)
    store.handle(State.RESOLVED, 1)
    store.post(failing(), 0.5)
    assert store.state(2) is State.RESOLVED
    store.post(failing(), 1.5)
    assert store.state(2) is State.REGRESSED
    store.handle(State.RESOLVED, 3)
    assert store.state(4) is State.RESOLVED


def test_an_old_release_does_not_reopen_what_a_new_one_resolved(store: Store) -> None:
    """A failure reopens the group only if its release is no older than the one with the fix, or unknown."""
    store.post(failing(), 0, "1.0")
    store.handle(State.RESOLVED, 1, release="1.1")
    store.post(failing(), 2, "1.0")
    assert store.state(3) is State.RESOLVED
    store.post(body(said("Hello.")), 3, "1.1")
    store.post(failing(), 4, "1.0")
    assert store.state(5) is State.RESOLVED
    store.post(failing(), 6, "1.2")
    assert store.state(7) is State.REGRESSED
    store.handle(State.RESOLVED, 8, release="1.1")
    assert store.state(9) is State.RESOLVED
    store.post(failing(), 10)
    assert store.state(11) is State.REGRESSED


def test_a_merge_sticks(store: Store) -> None:
    """Later traces count for the merged group, also after a second merge, until the groups are separated."""
    both = body(
        failed_tool("look_up", "LookupError: order 3 not found"),
        failed_tool("refund", "PermissionError: not yours", 6),
        status="ERROR",
    )
    for trace in (failing(), other(), both):
        store.post(trace, 0)
    one, two = store.find(1)
    assert store.groups.merge("p", two.fingerprint, one.fingerprint)
    assert not store.groups.merge("p", one.fingerprint, two.fingerprint)
    (merged,) = store.find(1)
    assert (merged.fingerprint, merged.count) == (one.fingerprint, 3)
    moved = store.post(other(), 2)
    third = FAILURES["loop"].alike[0]
    store.post(third, 2)
    (found, loop) = store.find(3)
    assert (found.count, len(store.groups.examples("p", found, limit=10))) == (4, 4)
    assert store.groups.merge("p", one.fingerprint, loop.fingerprint)
    (found,) = store.find(3)
    assert (found.fingerprint, found.count) == (loop.fingerprint, 5)
    assert [name for _, name in store.groups.of_trace("p", moved)] == ["Loop of search"]
    by_old = store.groups.get("p", two.fingerprint, now=START)
    assert by_old is not None
    assert by_old.fingerprint == loop.fingerprint
    assert store.groups.separate("p", two.fingerprint)
    assert sorted(group.count for group in store.find(3)) == [3, 3]


@pytest.fixture(scope="module")
def http() -> Generator[httpx.Client]:
    """Yield a client of a server."""
    with LocalServer(limit=None) as server:
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "shop"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as client:
            yield client


def _get(http: httpx.Client, path: str = "", **query: Any) -> Any:
    return http.get(f"/local/failures{path}", params=query).raise_for_status().json()


def test_a_program_reads_the_groups(http: httpx.Client) -> None:
    """The API returns a new failure with example and reason; a low score is a failure until it is raised or deleted."""
    sent = failing()
    http.post("/traces", json=sent).raise_for_status()
    answer = _get(http)
    (group,) = answer["items"]
    assert (answer["total"], answer["unread_traces"]) == (1, 0)
    assert (group["name"], group["count"], sum(group["trend"])) == ("LookupError in look_up", 1, 1)
    assert group["example"] == {"trace_id": sent["trace_id"], "text": "LookupError: order 17 not found"}
    assert group["parts"]["message"] == "order <value> not found"
    assert "ids, numbers" in group["why"]
    whole = _get(http, f"/{group['fingerprint']}")
    assert [one["trace_id"] for one in whole["examples"]] == [sent["trace_id"]]

    score = {"trace_id": sent["trace_id"], "name": "task_completion", "value": "0.2", "data_type": "NUMERIC"}
    made = http.post("/evaluations/trace-scores", json={**score, "reason": "look_up failed"}).raise_for_status().json()
    assert {one["kind"] for one in _get(http)["items"]} == {"exception", "judged"}
    http.patch(f"/evaluations/trace-scores/{made['id']}", json={"value": "0.9"}).raise_for_status()
    assert {one["kind"] for one in _get(http)["items"]} == {"exception"}
    http.patch(f"/evaluations/trace-scores/{made['id']}", json={"value": "0.1"}).raise_for_status()
    http.delete(f"/evaluations/trace-scores/{made['id']}").raise_for_status()
    assert {one["kind"] for one in _get(http)["items"]} == {"exception"}


def test_a_program_asks_for_some_groups(http: httpx.Client) -> None:
    """The API filters groups by search, time and state; an invalid filter gets status 422."""
    assert _get(http, query="tool:look_up", since="2030-01-01")["items"] == []
    assert len(_get(http, query="tool:look_up status:error")["items"]) == 1
    assert _get(http, query="tool:refund")["items"] == []
    assert _get(http, state="resolved")["other_states"] == 1
    refused = http.get("/local/failures", params={"query": "latency>5x"})
    assert (refused.status_code, "latency has no unit" in refused.text) == (422, True)
    assert http.get("/local/failures", params={"since": "soon"}).status_code == 422
    assert http.get("/local/failures/0123456789abcdef").status_code == 404
