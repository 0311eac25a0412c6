"""Speed of failures: finding them in traces, and listing their groups over many traces.

    python benchmarks/local/failures.py [--traces 100000] [--groups 150]

The last line states whether a trace of 20 spans takes less than 0.3 ms, and a page of groups less than 100 ms (p95).
Times are CPU times. Every second trace fails, in one of the groups; one group has a fifth of them.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from pandaprobe_otel.failures.find import find_failures
from pandaprobe_otel.failures.states import DAY, OPEN
from pandaprobe_otel.local.sealing.sealer import Sealer
from pandaprobe_otel.local.sealing.seals import Seals
from pandaprobe_otel.local.sealing.trace_failures import FINDINGS
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.store.failure_groups import FailureGroups
from pandaprobe_otel.local.store.trace_filter import TraceFilter
from pandaprobe_otel.local.times import iso

LONGEST_TRACE_MS: Final = 0.3
LONGEST_PAGE_MS: Final = 100.0
START: Final = 1_767_000_000_000_000
DAYS: Final = 90
_TRACE: Final = (
    "INSERT INTO traces"
    " (trace_id, project_id, status, started_at, ended_at, created_at, name, folded_name, release, tags)"
    " VALUES (?, 'p', ?, ?, ?, 0, 'agent', 'agent', ?, '[]')"
)
_SPAN: Final = (
    "INSERT INTO spans (span_id, trace_seq, kind, status, started_at, ended_at, name, metadata, error)"
    " VALUES (?, ?, 'TOOL', ?, ?, ?, ?, '{}', ?)"
)


def trace_of(spans: int, *, failed: bool) -> dict[str, Any]:
    """Return a trace in the form of the API: model and tool calls with their messages."""
    made: list[dict[str, Any]] = [{"span_id": "0", "name": "agent", "kind": "AGENT", "started_at": iso(START)}]
    for at in range(1, spans):
        call = {"function": {"name": "look_up", "arguments": f'{{"order": {at}}}'}}
        answer = {"role": "assistant", "content": "The order was delivered on time. " * 30, "tool_calls": [call]}
        llm = {"kind": "LLM", "name": "chat gpt-5-mini", "model": "gpt-5-mini", "output": {"messages": [answer]}}
        tool = {"kind": "TOOL", "name": "look_up", "input": {"order": at}, "output": "done"}
        about = {"span_id": str(at), "parent_span_id": "0", "started_at": iso(START + at * 1000), "status": "OK"}
        made.append({**about, **(llm if at % 2 else tool)})
    if failed:
        made[-1] |= {"status": "ERROR", "error": "LookupError: order 7431 of mira@shop.example not found at 12:30"}
    return {"trace_id": "t", "name": "agent", "status": "ERROR" if failed else "COMPLETED", "spans": made}


def fill(database: Database, traces: int, groups: int) -> None:
    """Store traces with one span each."""
    chance = random.Random(7)
    with database.write() as connection:
        connection.execute("INSERT INTO organizations VALUES ('o', 'o', 'free', 0, 's', 0, 0, 0, 0, 0)")
        connection.execute("INSERT INTO projects VALUES ('p', 'o', 'p', '', 0)")
        for number in range(traces):
            at = START + DAYS * DAY * number // traces
            failed = number % 2 == 0
            group = 0 if chance.random() < 0.2 else chance.randrange(groups)
            status = "ERROR" if failed else "COMPLETED"
            release = f"2.{number * 20 // traces}"
            seq = connection.execute(_TRACE, (str(UUID(int=number)), status, at, at + 5000, release)).lastrowid
            connection.execute("INSERT INTO trace_payloads (seq, metadata) VALUES (?, '{}')", (seq,))
            error = f"LookupError: order {number} not found" if failed else None
            row = (
                str(UUID(int=number)),
                seq,
                "ERROR" if failed else "OK",
                at,
                at + 5000,
                f"tool_{chr(97 + group % 26)}{group // 26 * 'x'}",
                error,
            )
            connection.execute(_SPAN, row)


def timed(work: Callable[[], object], times: int) -> list[float]:
    """Return the CPU time of each run in milliseconds."""
    taken: list[float] = []
    for _ in range(times):
        begun = time.process_time()
        work()
        taken.append((time.process_time() - begun) * 1000)
    return taken


def p95(taken: list[float]) -> float:
    """Return the 95th percentile."""
    return statistics.quantiles(taken, n=20)[-1]


def pages(groups: FailureGroups) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the requests of a page."""
    now = START + DAYS * DAY

    def listed(wanted: TraceFilter) -> None:
        found = groups.find("p", wanted, OPEN, now=now, limit=50, offset=0)
        groups.trends("p", found.groups, found.start, found.end)
        groups.releases("p", found.groups)

    first = groups.find("p", TraceFilter(), OPEN, now=now, limit=1, offset=0).groups[0]
    yield "list, any time", lambda: listed(TraceFilter())
    yield "list, last week", lambda: listed(TraceFilter(after=now - 7 * DAY))
    yield "the largest group", lambda: groups.get("p", first.fingerprint, now=now)
    yield "newest traces of the largest group", lambda: groups.examples("p", first, limit=50)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--traces", type=int, default=100_000)
    parser.add_argument("--groups", type=int, default=150)
    given = parser.parse_args()
    slowest_trace = 0.0
    for failed in (False, True):
        trace = trace_of(20, failed=failed)
        taken = statistics.median(timed(lambda trace=trace: find_failures(trace), 300))  # type: ignore[misc]
        slowest_trace = max(slowest_trace, taken)
        print(f"a trace of 20 spans, {'failed' if failed else 'well'}: {taken:.3f} ms")
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "traces.sqlite")
        fill(database, given.traces, given.groups)
        sealer = Sealer(database, Seals(database, (FINDINGS,)))
        (taken,) = timed(sealer.seal_now, 1)
        sealer.stop(10)
        print(f"{given.traces} traces of one span read, found and kept: {taken / given.traces:.3f} ms each")
        slowest_page = 0.0
        for name, work in pages(FailureGroups(database)):
            taken = p95(timed(work, 40))
            slowest_page = max(slowest_page, taken)
            print(f"{name}: p95 {taken:.1f} ms")
        database.close()
    fast = slowest_trace < LONGEST_TRACE_MS and slowest_page < LONGEST_PAGE_MS
    print("fast enough" if fast else "too slow")


if __name__ == "__main__":
    main()
