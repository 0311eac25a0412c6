"""Processes that are killed, restarted and run in parallel on one spool directory, with a strict server."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rings import IN_FULL
from spools import inherit
from strict_pandaprobe import Faults, Reply, StrictPandaProbe
from subprocesses import environment, run_python, timed_exit
from waiting import PATIENCE_S, wait_until

SUPPORT = Path(__file__).parents[2] / "support"
SCALED = """
import os, sys, time
from pandaprobe_otel.mapping.ids import span_uuid
from scaled_pipeline import scaled_pipeline
window_s, limit, request_timeout_s = map(float, sys.argv[1:4])
pipeline, provider = scaled_pipeline(window_s=window_s, limit=int(limit), request_timeout_s=request_timeout_s)
tracer = provider.get_tracer("scaled")
"""
WORKER = f"""{SCALED}
while True:
    with tracer.start_as_current_span("agent", attributes={{"gen_ai.operation.name": "invoke_agent"}}) as root:
        attributes = {{"gen_ai.operation.name": "chat", "x": "y" * 3000}}
        with tracer.start_as_current_span("chat", attributes=attributes) as chat:
            pass
    ids = [span_uuid(s.get_span_context().trace_id, s.get_span_context().span_id) for s in (root, chat)]
    if pipeline.flush(0.0):
        os.write(1, (" ".join(ids) + "\\n").encode())
    time.sleep(0.05)
"""
DRAIN = f"""{SCALED}
print(pipeline.flush({PATIENCE_S}), pipeline.status().spans_pending, dict(pipeline.status().spans_dropped))
"""


def scaled(program: str, env: dict[str, str], *arguments: float, **files: Any) -> subprocess.Popen[str]:
    """Start a program whose arguments begin with the window, the limit in it, and the timeout of a request."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, env={**env, "PYTHONPATH": str(SUPPORT)}, text=True, **files)


@pytest.mark.parametrize("kills", [4, pytest.param(200, marks=IN_FULL)])
def test_nothing_acknowledged_is_lost_to_kill_9(tmp_path: Path, kills: int) -> None:
    """Each trace of randomly killed workers arrives once, with 5 % of requests refused and 3 % unanswered."""
    chance, shown, errors = random.Random(1), tmp_path / "acknowledged", tmp_path / "errors"

    def acknowledged() -> set[str]:
        return set(shown.read_text().split())

    def acknowledged_at_least(count: int) -> bool:
        return len(acknowledged()) >= count

    with StrictPandaProbe(limit=100, window_s=2) as server, shown.open("ab") as out, errors.open("ab") as err:
        server.answer = Faults()
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path / "spool"))

        def start() -> subprocess.Popen[str]:
            return scaled(WORKER, env, 2, 100, 1, stdout=out, stderr=err)

        workers = [start() for _ in range(2)]
        for _ in range(kills):
            enough = len(acknowledged()) + chance.randint(6, 24)
            wait_until(partial(acknowledged_at_least, enough), what="enough spans are acknowledged")
            victim = workers.pop(chance.randrange(2))
            victim.kill()
            victim.wait()
            workers.append(start())
        for worker in workers:
            worker.kill()
            worker.wait()
        server.answer = lambda method, path: None
        drained, _ = scaled(DRAIN, env, 2, 100, 1, stdout=subprocess.PIPE, stderr=err).communicate(timeout=150)
        posts = [post.status for post in server.posts()]

    assert drained == "True 0 {}\n"
    assert "Traceback" not in errors.read_text()
    assert len(acknowledged()) >= 30
    assert acknowledged() <= server.span_ids()
    assert 429 not in posts
    assert sum(status in (0, 202) for status in posts) - len(server.traces) <= kills + 2
    assert {path.name.partition("-")[0].partition(".")[0] for path in (tmp_path / "spool").iterdir()} == {"leases"}


LEAVE_ALL_KINDS = """
import os, threading
from pandaprobe_otel.delivery.spool.spool_file import SpoolFile
is_written, write = threading.Event(), SpoolFile.change_draft
def change_draft(file, draft, *given):
    write(file, draft, *given)
    if any(b"ended child" in parcel.spans.joined for parcel in draft.parcels):
        is_written.set()
SpoolFile.change_draft = change_draft
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


BURST = f"""{SCALED}
for n in range(30):
    with tracer.start_as_current_span(f"{{os.getpid()}} {{n}}", attributes={{"gen_ai.operation.name": "chat"}}):
        pass
while not pipeline.flush(60) and pipeline.status().traces_delivered < 5:
    pass  # also on a busy machine, each process delivers something
provider.shutdown()
"""


def test_processes_that_share_a_directory_share_the_limit(tmp_path: Path) -> None:
    """Processes that together create three times the limit use all of it, never exceed it, and deliver everything."""
    with StrictPandaProbe(limit=20, window_s=1) as server:
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path / "spool"))
        children = [scaled(BURST, env, 1, 20, 0.5) for _ in range(2)]
        codes = [child.wait(60) for child in children]
        statuses = [post.status for post in server.posts()]
        took = server.accepted_at[-1] - server.accepted_at[0]

    assert codes == [0] * 2
    assert statuses == [202] * 60
    assert 2.0 <= took <= 30.0  # 60 s if each process had waited for the one before it


def test_the_end_of_the_process_leaves_the_rest_and_logs_it(tmp_path: Path) -> None:
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


def test_without_the_setting_no_database_is_loaded() -> None:
    """By default neither sqlite3 nor a module that needs it is imported."""
    with StrictPandaProbe() as server:
        code = """
        import sys
        one("a")
        assert handle.flush(60)
        print([name for name in sys.modules if "sqlite3" in name or name.endswith((".store", ".spool_file"))])
        """
        result = run_python(code, environment(server.url), fresh=True)

    assert (result.stdout, result.stderr) == ("[]\n", "")


def test_a_refused_request_can_be_read_while_the_service_runs(tmp_path: Path) -> None:
    """The line of a refused request exists as soon as the server has refused it."""
    errors = {"detail": "Validation error", "errors": [{"field": "nowhere", "message": "not good"}]}
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(status=422, body=errors)
        code = """
        import json, os
        from pathlib import Path
        one("refused")
        print(handle.flush(60), dict(handle.status().spans_dropped))
        (path,) = Path(os.environ["PANDAPROBE_SPOOL_DIR"]).glob("refused-*.jsonl")
        (line,) = path.read_text().splitlines()
        refused = json.loads(line)["refused"]
        print(json.dumps([refused["server"], refused["name"], refused["project"], path.stat().st_mode & 0o777]))
        """
        result = run_python(code, environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path)))

    first, second = result.stdout.splitlines()
    assert first == "True {'refused': 2}"
    assert json.loads(second) == ["422 nowhere: not good", "refused", "shop", 0o600]


KEY = "sk_pp_" + "0123456789abcdef" * 4
APP = """
import logging
logging.basicConfig(level=logging.DEBUG)
one("a")
pandaprobe_otel.flush(5)
print(pandaprobe_otel.status(), repr(pandaprobe_otel.status()), pandaprobe_otel.status().last_error)
try:
    pandaprobe_otel.Client(timeout_s=2, retries=0).traces.get("00000000-0000-0000-0000-000000000001")
except Exception as error:
    logging.exception("failed")
    print(repr(error), vars(error))
"""


@pytest.mark.parametrize("status", [401, 422, 500])
def test_an_echoed_key_is_nowhere_to_be_found(status: int, tmp_path: Path) -> None:
    """The key is not in the log at any level, in `status()`, in a client's exception, or in a file of the spool."""
    refusal = {"detail": f"{KEY} is no key", "errors": [{"field": KEY, "message": f"not {KEY}"}]}
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(status=status, body=refusal)
        env = environment(server.url, PANDAPROBE_API_KEY=KEY, PANDAPROBE_SPOOL_DIR=str(tmp_path / "spool"))
        result = run_python(APP, env)

    assert result.returncode == 0, result.stderr
    assert str(status) in result.stdout
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not any(KEY[6:20].encode() in each for each in [*files, result.stdout.encode(), result.stderr.encode()])


STOPS_ITSELF = """
import signal, threading
import pandaprobe_otel as pp
from pandaprobe_otel.delivery import budget
from pandaprobe_otel.transport.socket_transport import SocketTransport

budget.REQUEST_TIMEOUT_S = 0.5
connected, stops = SocketTransport._connected, iter([signal.SIGSTOP])

def stopped(self, timeout_s):
    connection = connected(self, timeout_s)
    for stop in stops:
        signal.pthread_kill(threading.get_ident(), stop)  # sent to the process, it may come while this thread goes on
    return connection

SocketTransport._connected = stopped
acquire, leases = budget.LeasedBucket.acquire, []

def counted(self, now, *, leave=0):
    if leases:
        budget.REQUEST_TIMEOUT_S = 60.0  # the second request succeeds on a slow machine, too
    lease = acquire(self, now, leave=leave)
    leases.extend([] if lease is None else [lease])
    return lease

budget.LeasedBucket.acquire = counted
pp.init(instrument=False)
with pp.agent("a"):
    pass
pp.flush(60)
print(pp.status().traces_delivered, len(leases), sum(pp.status().answers.values()), flush=True)
"""


def test_a_process_that_was_stopped_for_too_long_sends_with_another_token(tmp_path: Path) -> None:
    """A process stopped with a token and an open connection makes one request, with its second token.

    It does not try the first one, which would fail for want of time.
    """
    with StrictPandaProbe() as server:
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path / "spool"), PANDAPROBE_LIVE="false")
        process = subprocess.Popen([sys.executable, "-c", STOPS_ITSELF], env=env, stdout=subprocess.PIPE, text=True)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        time.sleep(0.6)
        assert server.log == []
        resumed = time.monotonic()
        os.kill(process.pid, signal.SIGCONT)
        output, _ = process.communicate(timeout=PATIENCE_S)

        assert output == "1 2 1\n"
        (post,) = server.posts()
        assert post.at > resumed


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_no_moment_of_death_loses_or_doubles_anything(tmp_path: Path) -> None:
    """A process killed at any moment neither loses nor repeats a request.

    The test kills it at 24 of the about 2000 lines of adopting, inserting, removing, parking, loading and ending, and
    stops the growth of a file at 8 sizes. `python tests/support/failpoints.py FOLDER 100000 1` tries all lines.
    """
    done = subprocess.run(
        [sys.executable, str(SUPPORT / "failpoints.py"), str(tmp_path / "spool"), "24", "1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    result = json.loads(done.stdout)

    assert result["tried"] == 24
    assert result["lines"] > 1000
    assert result["violations"] == {}
