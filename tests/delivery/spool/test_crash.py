"""Processes that are killed, restarted and run in parallel on one spool directory, with a strict server."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kill_loop import LIMIT, WINDOW_S, Faults, KillLoop
from rings import IN_FULL
from spools import inherit
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment, run_python, timed_exit

LEAVE_ALL_KINDS = """
import os, threading
from pandaprobe_otel.delivery.spool.spool_file import SpoolFile
is_written, write = threading.Event(), SpoolFile.change_journal
def change_journal(file, change):
    write(file, change)
    if any(not row.is_open for row in change.rows):
        is_written.set()
SpoolFile.change_journal = change_journal
one("warm up")
while not handle.flush(0.05):
    pass
root = tracer.start_span("open", attributes={"gen_ai.operation.name": "invoke_agent", "session.id": "s"})
with tracer.start_as_current_span("ended child", context=trace.set_span_in_context(root), attributes=CHAT):
    pass
assert is_written.wait(60)  # of its own accord, without a flush
handle.flush(1)  # and its transaction is over
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("kills", [4, pytest.param(200, marks=IN_FULL)])
def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path, kills: int) -> None:
    """Each trace of randomly killed workers arrives once, with 5 % of requests refused and 3 % unanswered."""
    with StrictPandaProbe(limit=LIMIT, window_s=WINDOW_S) as server:
        server.answer = Faults()
        loop = KillLoop(tmp_path / "spool", workers=2, pause_s=0.05)
        report = loop.run(server, kills=kills, acknowledged_between=(6, 24))

    assert report.acknowledged >= 30
    assert (report.missing, report.refused, report.errors) == (0, 0, "")
    assert report.extra_posts <= report.kills
    assert (report.drain, report.files_left) == ("True 0 {}", [])


def test_the_run_that_crashed_can_be_seen_afterwards(tmp_path: Path) -> None:
    """The finished trace of a killed process arrives whole, and the open one as ERROR with its ended child."""
    with StrictPandaProbe() as server:
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path))
        server.answer = lambda method, path: Reply(status=503)
        assert run_python(LEAVE_ALL_KINDS, env).returncode == -9
        server.answer = lambda method, path: None
        assert inherit(server, tmp_path) == 4
        traces = {trace.fields["name"]: trace for trace in server.traces.values()}

    assert traces.keys() == {"warm up", "open"}
    assert traces["warm up"].fields["status"] == "COMPLETED"
    cut = traces["open"]
    assert cut.fields["status"] == "ERROR"
    assert cut.fields["metadata"]["pandaprobe_otel.incomplete"] == "process died"
    assert {span["name"]: span["status"] for span in cut.spans.values()} == {"open": "ERROR", "ended child": "OK"}


SCALED = """
import os, sys, time
from pathlib import Path
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.delivery.budget import LeasedBucket
from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline
config = Config.resolve()
def bucket():
    return LeasedBucket(capacity=20, window_s=1.0, margin_s=0.05, tokens=FileTokens(
        Path(config.spool) / "leases", window_s=1.0, margin_s=0.05, request_timeout_s=0.5))
pipeline = ExportPipeline(config, counts_starts=True, bucket=bucket)
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(PandaProbeSpanProcessor(pipeline=pipeline))
tracer = provider.get_tracer("scaled")
for n in range(int(sys.argv[1])):
    with tracer.start_as_current_span(f"{os.getpid()} {n}", attributes={"gen_ai.operation.name": "chat"}):
        pass
while not pipeline.flush(float(sys.argv[2])) and pipeline.status().traces_delivered < 5:
    pass  # also on a busy machine, each process delivers something
provider.shutdown()
"""


def scaled(env: dict[str, str], traces: int, seconds: float) -> subprocess.Popen[bytes]:
    """Start a process that creates its traces at once, with a budget of 20 requests a second."""
    return subprocess.Popen([sys.executable, "-c", SCALED, str(traces), str(seconds)], env=env)


@pytest.mark.parametrize("processes", [2, 8])
def test_processes_that_share_a_directory_share_the_limit(tmp_path: Path, processes: int) -> None:
    """Processes that together create three times the limit use all of it, never exceed it, and deliver everything."""
    with StrictPandaProbe(limit=20, window_s=1) as server:
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path / "spool"))
        children = [scaled(env, 60 // processes, 60) for _ in range(processes)]
        codes = [child.wait(60) for child in children]
        statuses = [post.status for post in server.posts()]
        took = server.accepted_at[-1] - server.accepted_at[0]

    assert codes == [0] * processes
    assert statuses == [202] * (60 // processes * processes)
    assert 2.0 <= took <= 30.0  # 60 s if each process had waited for the one before it


def test_a_process_that_restarts_over_and_over_is_never_refused(tmp_path: Path) -> None:
    """A restarted process uses only the budget that the last process left; together they use the whole limit."""
    with StrictPandaProbe(limit=20, window_s=1) as server:
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path / "spool"), PANDAPROBE_SHUTDOWN_TIMEOUT="0.1")
        runs = 0
        while runs < 4 or len(server.posts()) < 20:
            assert scaled(env, 30, 0.1).wait(60) == 0
            runs += 1
        statuses = [post.status for post in server.posts()]

    assert set(statuses) == {202}


def test_the_end_of_the_process_leaves_the_rest_and_says_so(tmp_path: Path) -> None:
    """With the server down, the process ends at once, drops nothing, and logs one line that names the directory."""
    with StrictPandaProbe() as server:
        url = server.url
    env = environment(url, PANDAPROBE_SPOOL_DIR=str(tmp_path), PANDAPROBE_SHUTDOWN_TIMEOUT="50")
    result, took = timed_exit("one('a')\none('b')", env)

    assert result.returncode == 0
    assert took < 25
    assert f"4 spans wait in the spool {tmp_path}" in result.stderr
    assert "not delivered" not in result.stderr
    assert len(list(tmp_path.glob("*.sqlite"))) == 1


def test_a_first_span_at_exit_is_spooled_without_a_new_thread(tmp_path: Path) -> None:
    """Python 3.12 refuses new threads at exit, so the thread that ends the process writes the span to the spool."""
    with StrictPandaProbe() as server:
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path))
        code = """
        import atexit, threading
        atexit.register(one, "last")
        """
        result = run_python(code, env)

        assert (result.returncode, result.stderr) == (0, "")
        assert [post.body["name"] for post in server.posts()] == ["last"]
        assert list(tmp_path.glob("*.sqlite")) == []


def test_without_the_setting_no_database_is_loaded() -> None:
    """By default neither sqlite3 nor a module that needs it is imported."""
    with StrictPandaProbe() as server:
        code = """
        import sys
        one("a")
        assert handle.flush(60)
        print([name for name in sys.modules if "sqlite3" in name or name.endswith((".store", ".spool_file"))])
        """
        result = run_python(code, environment(server.url))

    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_a_refused_request_can_be_read_while_the_service_runs(tmp_path: Path) -> None:
    """The dead letter exists as soon as the server has refused the request."""
    errors = {"detail": "Validation error", "errors": [{"field": "nowhere", "message": "not good"}]}
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(status=422, body=errors)
        code = """
        import json, os
        from pathlib import Path
        one("refused")
        print(handle.flush(60), dict(handle.status().spans_dropped))
        from pandaprobe_otel.delivery.spool.dead_letters import DeadLetters
        (letter,) = DeadLetters(Path(os.environ["PANDAPROBE_SPOOL_DIR"])).all()
        print(json.dumps([letter.words, letter.request.name, letter.project]))
        """
        result = run_python(code, environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path)))

    first, second = result.stdout.splitlines()
    assert first == "True {'refused': 2}"
    assert json.loads(second) == ["422 nowhere: not good", "refused", "shop"]
