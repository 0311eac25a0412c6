"""Speed of the pages of many traces (lists, searches, facets, overview, failures, sessions), and their file's size.

    python benchmarks/local/search.py [--traces 10000] [--spans 20] [--repeats 40] [--beside 50] [--db FILE] [--kinds A]

The traces are prose of Python's own documentation, about 42 kB each, in conversations that repeat earlier messages. The
first 400 are made one by one. The others are copies with their own ids, times and order numbers, so that filling takes
minutes. All are sealed as usual.

The server runs in its own process, as `pandaprobe-otel local` starts it. The last lines state three results: whether
the p95 of each kind of request is below 100 ms of wall time, over HTTP and including the page; whether the file is
smaller than 25 kB per trace; and whether the server stores 1,000 spans/s from a third process at the same time. `--db`
keeps the file, and uses it again if it exists. `--kinds` limits the requests to names with this beginning.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any
from uuid import UUID, uuid4

import httpx

from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.models.traces import TraceCreate
from pandaprobe_otel.local.pages.list_filters import COLUMNS
from pandaprobe_otel.local.services import Services
from pandaprobe_otel.local.times import iso

PROJECT = "many"
LONGEST_S = 0.1
MOST_BYTES = 25_000
"""Allowed bytes of a trace: 2.5 GB for 100,000 traces."""
LEAST_RATE = 1000
TEMPLATES = 400
DAY = 86_400_000_000
START = 1_767_000_000_000_000
PROSE = [part for topic in topics.values() for part in topic.split("\n\n") if 80 < len(part) < 1500]
MODELS = [f"{family}-{size}" for family in ("gpt-5", "claude", "gemini", "llama") for size in ("large", "mini", "nano")]
TOOLS = [f"{verb}_{what}" for verb in ("look_up", "refund", "cancel", "send") for what in ("order", "parcel", "email")]


def body_of(number: int, spans: int) -> dict[str, Any]:
    """Return an agent's trace: alternating models and tools, with a growing conversation."""
    chosen = random.Random(number)
    begun = START + number * 60_000_000
    said = [{"role": "system", "content": chosen.choice(PROSE)}, {"role": "user", "content": chosen.choice(PROSE)}]
    made: list[dict[str, Any]] = []
    failed = chosen.random() < 0.06
    root = str(uuid4())
    for place in range(spans):
        model = place % 2 == 1
        given: Any = list(said) if model else {"query": chosen.choice(PROSE), "order": number}
        answer = chosen.choice(PROSE)
        if model:
            said.append({"role": "assistant", "content": answer})
        bad = failed and place == spans - 2
        made.append(
            {
                "span_id": root if place == 0 else str(uuid4()),
                "parent_span_id": None if place == 0 else root,
                "name": "planner" if place == 0 else "chat" if model else chosen.choice(TOOLS),
                "kind": "AGENT" if place == 0 else "LLM" if model else "TOOL",
                "status": "ERROR" if bad else "OK",
                "error": f"TimeoutError: no answer for order {number}" if bad else None,
                "started_at": iso(begun + place * 100_000),
                "ended_at": iso(begun + place * 100_000 + chosen.randrange(1000, 99_000)),
                "completion_start_time": iso(begun + place * 100_000 + 500) if model else None,
                "input": given,
                "output": {"content": answer},
                "model": chosen.choice(MODELS) if model else None,
                "token_usage": {"prompt_tokens": 900, "completion_tokens": chosen.randrange(300)} if model else None,
                "cost": {"total": chosen.randrange(1, 900) / 1e5} if model else None,
                "metadata": {"attempt": place % 3},
            }
        )
    return {
        "trace_id": str(uuid4()),
        "name": f"agent {number % 7}",
        "started_at": iso(begun),
        "ended_at": iso(begun + spans * 100_000 + chosen.randrange(5_000_000)),
        "status": "ERROR" if failed else "COMPLETED",
        "session_id": f"session-{number // 5}",
        "user_id": f"user-{number % 1000}",
        "tags": [f"t{number % 10}"],
        "environment": ("production", "staging")[number % 5 == 0],
        "release": f"2.{number % 12}",
        "metadata": {"tier": ("gold", "free")[number % 3 == 0], "tenant": f"tenant-{number % 300}"},
        "input": f"Where is order {number}? {chosen.choice(PROSE)}",
        "output": chosen.choice(PROSE),
        "spans": made,
    }


def fill(services: Services, project_id: str, count: int, spans: int) -> None:
    """Store this many traces over 90 days, most of them as copies, and seal them."""
    took = cpu = 0.0

    def sealing() -> None:
        nonlocal took, cpu
        begun, used = time.perf_counter(), time.process_time()
        services.sealer.seal_now()
        took += time.perf_counter() - begun
        cpu += time.process_time() - used

    with services.database.write() as connection:
        for number in range(min(TEMPLATES, count)):
            body = TraceCreate.model_validate(body_of(number, spans))
            services.traces.save(connection, project_id, body, now=START)
    sealing()
    columns = "project_id, status, created_at, span_count, total_tokens, total_cost, user_id, name,"
    columns += " folded_name, environment, release, tags"
    for begin in range(TEMPLATES, count, 500):
        with services.database.write() as connection:
            for number in range(begin, min(begin + 500, count)):
                template = number % TEMPLATES + 1
                moved = int(number * 90 * DAY / count)
                seq = connection.execute(
                    f"INSERT INTO traces (trace_id, session_id, started_at, ended_at, {columns})"
                    f" SELECT ?, ?, started_at + ?, ended_at + ? + ?, {columns} FROM traces WHERE seq = ?",
                    (str(uuid4()), f"session-{number // 5}", moved, moved, number * 7919 % 5_000_000, template),
                ).lastrowid
                connection.execute(
                    "INSERT INTO trace_payloads SELECT ?, metadata, json_quote(? || json_extract(input, '$')), output"
                    " FROM trace_payloads WHERE seq = ?",
                    (seq, f"Order number {number}. ", template),
                )
                connection.execute(
                    "INSERT INTO trace_tags SELECT project_id, tag, ? FROM trace_tags WHERE trace_seq = ?",
                    (seq, template),
                )
                connection.execute(
                    "INSERT INTO spans SELECT substr(span_id, 1, 24) || printf('%012x', ?), ?, CASE WHEN parent_span_id"
                    " IS NULL THEN NULL ELSE substr(parent_span_id, 1, 24) || printf('%012x', ?) END, kind, status,"
                    " started_at + ?, ended_at + ?, completion_start_time + ?, prompt_tokens, completion_tokens,"
                    " total_cost, name, model, token_usage, model_parameters, cost, metadata, error, input, output"
                    " FROM whole_spans WHERE trace_seq = ?",
                    (number, seq, number, moved, moved, moved, template),
                )
        sealing()
    print(f"sealing: {took / count * 1e3:.1f} ms a trace, {cpu / count * 1e3:.1f} ms of CPU", flush=True)


def kinds(http: httpx.Client, count: int) -> dict[str, Callable[[int], str]]:
    """Return the requests by kind, as functions from a number to a different URL."""
    headers = {"X-API-Key": "sk_pp_local", "X-Project-Name": PROJECT}
    traces = [one["trace_id"] for one in http.get("/traces?limit=100", headers=headers).json()["items"]]
    groups = [one["fingerprint"] for one in http.get("/local/failures", headers=headers).json()["items"]]

    def ask(query: str, **more: Any) -> str:
        return str(httpx.URL("/ui", params={"q": query, **more}))

    return {
        "newest": lambda n: "/ui",
        "offset 1/2": lambda n: f"/ui?offset={count // 2 + n}",
        "slowest": lambda n: f"/ui?sort=latency&offset={n}",
        "facets": lambda n: ask(f"error tool:{TOOLS[n % 12]} latency>{2 + n % 3}s model:gpt-5*"),
        "facets, offset": lambda n: ask(f"env:production -tag:t{n % 10}", offset=count // 3),
        "facets and a word": lambda n: ask(f"tool:{TOOLS[n % 12]} latency>2s object"),
        "cost and metadata": lambda n: ask(f"cost>0.0{n % 9} meta.tier:gold after:60d"),
        "user": lambda n: ask(f"user:user-{n} status:completed"),
        "rare word": lambda n: ask(f'"order number {n * 37 + TEMPLATES}"'),
        "word": lambda n: ask(["metaclass", "coroutine", "bytecode", "decorator"][n % 4]),
        "common word": lambda n: ask(["object", "function", "class", "method"][n % 4]),
        "two common words": lambda n: ask(["object function", "class method"][n % 2]),
        "prefix": lambda n: ask(["instan*", "attrib*", "metac*"][n % 3]),
        "completion": lambda n: f"/ui/complete?term={['mod', 'tool:', 'tool:re', 'meta.tenant:'][n % 4]}",
        "all columns": lambda n: f"/ui?offset={n}" + "".join(f"&show={column}" for column in COLUMNS),
        "trace": lambda n: f"/ui/traces/{traces[n % len(traces)]}",
        "sessions": lambda n: f"/ui/sessions?offset={50 * n}",
        "sessions, slowest": lambda n: f"/ui/sessions?sort=latency&offset={n}",
        "sessions, dearest": lambda n: f"/ui/sessions?sort=cost&offset={n}",
        "sessions, id": lambda n: f"/ui/sessions?q=session-{n}7",
        "sessions, errors": lambda n: f"/ui/sessions?errors=1&offset={n}",
        "session": lambda n: f"/ui/session?id=session-{n * 97 % (count // 5)}",
        "failures": lambda n: "/ui/failures?state=all",
        "failures, week": lambda n: "/ui/failures?state=all&within=week",
        "failures, facets": lambda n: f"/ui/failures?state=all&q=tool:{TOOLS[n % 12]}",
        "failures, word": lambda n: f"/ui/failures?state=all&q={['object', 'function', 'class', 'method'][n % 4]}",
        "failure": lambda n: f"/ui/failures/{groups[n % len(groups)]}",
        "evaluations": lambda n: "/ui/evaluations",
        "overview": lambda n: "/ui/overview",
        "overview, month": lambda n: "/ui/overview?within=month",
        "overview, facets": lambda n: str(httpx.URL("/ui/overview", params={"q": f"tool:{TOOLS[n % 12]}"})),
        "overview, word": lambda n: str(httpx.URL("/ui/overview", params={"q": "object"})),
    }


@dataclass(frozen=True, slots=True)
class Server:
    """A local server in its own process, as the command line starts it."""

    url: str
    process: subprocess.Popen[str]

    def cpu_s(self) -> float:
        """Return the CPU time of the process so far, in steps of the system's clock."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(path: Path) -> Iterator[Server]:
    """Serve a database during the block."""
    command = [sys.executable, "-m", "pandaprobe_otel.cli", "local", "--db", str(path), "--port", "0", "--limit", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Server(process.stdout.readline().split()[-1], process)
        finally:
            process.terminate()


def measure(server: Server, project: str, count: int, repeats: int, beginning: str) -> list[str]:
    """Measure each kind of request whose name has this beginning, and return the slow ones."""
    slow: list[str] = []
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http:
        for kind, address in kinds(http, count).items():
            if not kind.startswith(beginning):
                continue
            times: list[float] = []
            cpu = 0.0
            for number in range(repeats + 1):
                where = httpx.URL(address(number)).copy_merge_params({"project": project})
                begun = time.perf_counter()
                http.get(where).raise_for_status()
                times.append(time.perf_counter() - begun)
                cpu = cpu or server.cpu_s()  # after the first request, which does not count
            cuts = statistics.quantiles(times[1:], n=20)
            print(
                f"{kind:20} p50 {cuts[9] * 1e3:6.1f} ms  p95 {cuts[18] * 1e3:6.1f} ms"
                f"  mean CPU {(server.cpu_s() - cpu) / repeats * 1e3:6.1f} ms",
                flush=True,
            )
            if cuts[18] >= LONGEST_S:
                slow.append(f"{kind} {cuts[18] * 1e3:.0f} ms")
    return slow


@contextmanager
def posting(server: Server, spans: int, rate: float) -> Iterator[list[float]]:
    """Post traces from another process during the block, and then add the seconds of each post to the yielded list."""
    times: list[float] = []
    command = [sys.executable, __file__, "--post", server.url, "--spans", str(spans), "--beside", str(rate)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()  # the other process has begun
        try:
            yield times
        finally:
            said, _ = child.communicate()  # the other process ends when its input ends
            times += json.loads(said)


def remove_after(services: Services, project_id: str, last: int) -> None:
    """Delete the traces after a number, so that all runs on one file are alike."""
    with services.database.read() as connection:
        rows = connection.execute("SELECT trace_id FROM traces WHERE seq > ?", (last,)).fetchall()
    for begin in range(0, len(rows), 100):
        services.traces.delete(project_id, [row["trace_id"] for row in rows[begin : begin + 100]])


def post(url: str, spans: int, rate: float) -> None:
    """Post traces at a rate until standard input ends; then print the seconds of each post."""
    stop, times = threading.Event(), list[float]()

    def wait() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    texts = [json.dumps(body_of(number, spans)) for number in range(100)]
    known = [[*_ids(text)] for text in texts]
    headers = {"X-API-Key": "sk_pp_local", "X-Project-Name": PROJECT, "content-type": "application/json"}
    print("begun", flush=True)
    due, number = time.perf_counter(), 0
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as http:
        while not stop.is_set():
            text = texts[number % len(texts)]
            for one in known[number % len(texts)]:
                text = text.replace(one, str(UUID(int=UUID(one).int ^ (number + 1) << 20)))
            begun = time.perf_counter()
            http.post("/traces", content=text).raise_for_status()
            times.append(time.perf_counter() - begun)
            number += 1
            due += 1 / rate
            stop.wait(max(due - time.perf_counter(), 0))
    print(json.dumps(times))


def _ids(text: str) -> Iterator[str]:
    body = json.loads(text)
    yield body["trace_id"]
    yield from (span["span_id"] for span in body["spans"])


def main() -> None:
    """Fill a database and measure the requests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=10_000)
    parser.add_argument("--spans", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument(
        "--beside", type=float, default=50, help="traces per second that another process posts; 0 for none"
    )
    parser.add_argument("--db")
    parser.add_argument("--kinds", default="", help="only requests whose names have this beginning")
    parser.add_argument("--post", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.post:
        post(arguments.post, arguments.spans, arguments.beside)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(arguments.db or Path(folder) / "p.db")
        with LocalServer(path, limit=None) as made:
            services = made.services
            project = services.accounts.project_named(services.accounts.home.id, PROJECT)
            with services.database.write() as connection:
                services.accounts.keep(project, connection)
            if not services.queries.newest_project():
                fill(services, project.id, arguments.traces, arguments.spans)
            with services.database.read() as connection:
                (last,) = connection.execute("SELECT MAX(seq) FROM traces").fetchone()
        size = sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))
        print(f"{size / 1e6:,.0f} MB, {size / arguments.traces:,.0f} bytes a trace", flush=True)
        with serving(path) as server:
            asked = (server, project.id, arguments.traces, arguments.repeats, arguments.kinds)
            slow = measure(*asked)
            if arguments.beside:
                print(f"beside {arguments.beside:.0f} traces a second:", flush=True)
                with posting(server, arguments.spans, arguments.beside) as times:
                    begun = time.perf_counter()
                    slow += [f"{miss} beside" for miss in measure(*asked)]
                    took = time.perf_counter() - begun
                rate = len(times) * arguments.spans / took
                cuts = statistics.quantiles(times, n=100)
                print(f"{rate:,.0f} spans/s; POST p50 {cuts[49] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms")
                if rate < 0.95 * LEAST_RATE:
                    slow.append(f"{rate:,.0f} spans/s")
        with LocalServer(path, limit=None) as made:
            remove_after(made.services, project.id, last)
        if size > MOST_BYTES * arguments.traces:
            slow.append(f"{size / arguments.traces:,.0f} bytes a trace")
    print(f"questions below {LONGEST_S * 1e3:.0f} ms, {MOST_BYTES:,} bytes a trace, {LEAST_RATE:,} spans/s: ", end="")
    print(f"NOT MET ({'; '.join(slow)})" if slow else "MET")


if __name__ == "__main__":
    main()
