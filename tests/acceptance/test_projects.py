"""A project per request: each trace arrives once, in the project that its root names."""

from __future__ import annotations

import json
import threading
from collections import Counter
from pathlib import Path

import pytest

from command_line import clean_environment, run_here
from pandaprobe_otel import context
from pandaprobe_otel.api import Client
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.local import LocalServer
from spools import inherit
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment, run_python, run_quietly
from traced_app import traced_app

TENANTS = 8
TRACES = 1_000


def unlimited() -> LeasedBucket:
    """Return a bucket that lets everything through."""
    return LeasedBucket(capacity=1 << 30)


def projects(server: StrictPandaProbe) -> Counter[tuple[str, str]]:
    """Return the number of posted traces by name and project."""
    return Counter((post.body["name"], post.headers["x-project-name"]) for post in server.posts())


def test_a_thousand_traces_of_eight_tenants_arrive_once_each_in_their_own_project() -> None:
    """Threads trace for different tenants at once; what names no project goes to that of the settings."""
    with StrictPandaProbe(limit=1 << 20) as server, traced_app(server.url, bucket=unlimited) as app:

        def work(tenant: int) -> None:
            for number in range(TRACES // TENANTS):
                with context(project=f"tenant-{tenant}"), app.tracer.start_as_current_span(f"{tenant}/{number}"):
                    app.trace("inner")

        threads = [threading.Thread(target=work, args=(tenant,)) for tenant in range(TENANTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        app.trace("of nobody")
        assert app.flush(60)

        wanted = {(f"{t}/{n}", f"tenant-{t}") for t in range(TENANTS) for n in range(TRACES // TENANTS)}
        assert projects(server) == Counter([*wanted, ("of nobody", "shop")])
        assert {len(post.body["spans"]) > 1 for post in server.posts() if "/" in post.body["name"]} == {True}


def test_the_root_decides_for_its_trace() -> None:
    """A block inside a trace changes nothing: a trace is in one project."""
    with StrictPandaProbe() as server, traced_app(server.url) as app:
        with context(project="outer"), app.tracer.start_as_current_span("root"), context(project="inner"):
            app.trace("child")
        with app.tracer.start_as_current_span("plain"), context(project="inner"):
            app.trace("child")
        assert app.flush()

        assert projects(server) == {("root", "outer"): 1, ("plain", "shop"): 1}


PROGRAM = """
import os
from pandaprobe_otel import context
for tenant in ("a", "b"):
    with context(project=f"tenant-{tenant}"):
        one(f"whole {tenant}")
with context(project="tenant-c"), pandaprobe_otel.agent("open c"):
    one("child")
    while not handle.flush(0.0): time.sleep(0.01)  # until all of it is on disk
    time.sleep(0.3)
    os._exit(1)
"""


def test_a_spool_keeps_the_project_of_each_trace(tmp_path: Path) -> None:
    """The heir of a dead process sends its traces, and what was open, to the same projects."""
    with StrictPandaProbe() as server:
        server.stop()
        ran = run_python(
            f"import time, pandaprobe_otel\n{PROGRAM}", environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path))
        )
        assert ran.returncode == 1, ran.stderr
        server.start()
        inherit(server, tmp_path)

        assert projects(server) == {("whole a", "tenant-a"): 1, ("whole b", "tenant-b"): 1, ("open c", "tenant-c"): 1}


def test_a_refused_project_does_not_stop_the_others() -> None:
    """Its trace is dropped and counted; the next one is sent."""
    refusals = [Reply(status=422, body={"detail": "Invalid project name"})]
    with StrictPandaProbe() as server, traced_app(server.url) as app:
        server.answer = lambda method, path: refusals.pop() if method == "POST" and refusals else None
        for tenant in ("refused", "accepted"):
            with context(project=tenant):
                app.trace(tenant)
            assert app.flush()

        assert projects(server)["accepted", "accepted"] == 1
        assert sum(app.status().spans_dropped.values()) > 0


def test_an_invalid_name_is_said_once_and_its_traces_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    """A trace of one tenant must not arrive in the project of another: it is not sent at all."""
    with StrictPandaProbe() as server, traced_app(server.url) as app:
        for _ in range(3):
            with context(project="tenant\r\nX-API-Key: other"):
                app.trace("bad")
        app.trace("good")
        assert app.flush()

        assert projects(server) == {("good", "shop"): 1}
        assert app.status().spans_dropped.keys() == {"invalid_project"}
        assert [record.message.count("is not a project name") for record in caplog.records] == [1]


def test_a_file_of_traces_keeps_the_projects(tmp_path: Path) -> None:
    """`send` posts each line to the project that its trace named."""
    file = tmp_path / "traces.jsonl"
    program = """
    from pandaprobe_otel import context
    with context(project="tenant-a"):
        one("of a")
    one("of nobody")
    """
    run_quietly(program, environment(PANDAPROBE_LOCAL=str(file)))
    with LocalServer() as server:
        sent = run_here("send", str(file), environment={**clean_environment(tmp_path), **server.environment("shop")})
        assert sent.returncode == 0, sent.stdout + sent.stderr
        for project, name in (("tenant-a", "of a"), ("shop", "of nobody")):
            with Client(server.api_key, project, server.url) as client:
                (trace,) = client.traces.list().items
                assert trace.name == name
                assert "project" not in client.traces.get(trace.trace_id).metadata


def test_a_score_in_an_invalid_project_is_counted_and_not_sent() -> None:
    """The name is written into a header, to which it must add nothing."""
    program = """
    import pandaprobe_otel
    from pandaprobe_otel import context, score
    with context(project="a\\r\\nX-API-Key: other"):
        score("00000000-0000-0000-0000-000000000007", "quality", 0.5)
    assert handle.flush()
    print(handle.status().scores_dropped)
    """
    with StrictPandaProbe() as server:
        ran = run_python(program, environment(server.url))

        assert ran.stdout == "{'invalid_project': 1}\n", ran.stderr
        assert server.log == []


def test_a_file_cannot_name_a_header_as_its_project(tmp_path: Path) -> None:
    """Such a line is bad, and the others are sent."""
    file = tmp_path / "traces.jsonl"
    trace = {"trace_id": "00000000-0000-0000-0000-000000000007", "name": "good", "started_at": "2026-12-02T09:00:00Z"}
    bad = {**trace, "trace_id": "00000000-0000-0000-0000-000000000008", "project": "a\r\nX-API-Key: other"}
    file.write_text(f"{json.dumps({**trace, 'project': 'tenant-a'})}\n{json.dumps(bad)}\n", encoding="utf-8")
    with LocalServer() as server:
        sent = run_here("send", str(file), environment={**clean_environment(tmp_path), **server.environment("shop")})

        assert "line 2" in sent.stderr + sent.stdout
        with Client(server.api_key, "tenant-a", server.url) as client:
            assert [one.name for one in client.traces.list().items] == ["good"]
            assert "project" not in client.traces.get(trace["trace_id"]).metadata


def test_a_score_goes_to_the_project_of_its_block() -> None:
    """A score is sent with the project of the block in which it is given, as its trace is."""
    program = """
    import pandaprobe_otel
    from pandaprobe_otel import context, current_trace_id, score
    with context(project="tenant-a"), pandaprobe_otel.agent("scored"):
        score(current_trace_id(), "quality", 0.5)
    """
    with StrictPandaProbe() as server:
        run_quietly(program, environment(server.url))

        scored = [one for one in server.log if one.path == "/evaluations/trace-scores"]
        assert {one.headers["x-project-name"] for one in scored} == {"tenant-a"}
        assert len(server.scores) == 1
