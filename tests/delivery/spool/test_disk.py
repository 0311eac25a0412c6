"""Full, read-only and deleted disks, in real processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pandaprobe_otel.delivery.spool.inspection import refusals
from spools import Run, create, inherit
from strict_pandaprobe import Reply, StrictPandaProbe
from subprocesses import environment, run_python

WITHOUT_OVERRIDE = """
import ctypes, os
def respect_permissions():
    # Root may write anywhere; without CAP_DAC_OVERRIDE (1) and CAP_DAC_READ_SEARCH (2) it is a user like others.
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    assert libc.capget(header, data) == 0
    data[0] &= ~0b110
    assert libc.capset(header, data) == 0
"""


def test_a_full_disk_costs_the_app_nothing(tmp_path: Path) -> None:
    """With a full disk, traces wait in memory and are sent after one warning; later traces are on disk again."""
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(status=503)
        code = """
        import logging, resource, threading
        warned = threading.Event()
        logging.getLogger("pandaprobe_otel").addFilter(lambda record: warned.set() or True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        def big(name):
            with tracer.start_as_current_span(name, attributes={**CHAT, "gen_ai.system_instructions": "x" * 20_000}):
                pass
        for n in range(40):
            big(f"t{n}")
        assert warned.wait(60)
        while handle.status().spans_pending < 40: handle.flush(0.0)
        print(handle.flush(0.0), handle.status().spans_pending)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        while not handle.flush(0.1): pass
        print(handle.status().spans_pending)
        """
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path), PANDAPROBE_SHUTDOWN_TIMEOUT="0.1")
        result = run_python(code, env)
        assert (result.returncode, result.stdout) == (0, "False 40\n40\n")
        assert result.stderr.count("cannot be written") == 1
        assert "40 spans wait in the spool" in result.stderr
        server.answer = lambda method, path: None
        assert inherit(server, tmp_path) == 40
        assert {trace.fields["name"] for trace in server.traces.values()} == {f"t{n}" for n in range(40)}


def test_a_disk_that_is_full_when_traces_end_sends_no_span_twice(tmp_path: Path) -> None:
    """Spans on disk whose traces end while the disk is full are sent once, as spans of complete traces."""
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(status=503)
        code = """
        import logging, os, pathlib, resource, threading, time
        warned = threading.Event()
        logging.getLogger("pandaprobe_otel").addFilter(lambda record: warned.set() or True)
        roots = []
        for n in range(5):
            roots.append(root := tracer.start_span(f"t{n}", attributes={"gen_ai.operation.name": "invoke_agent"}))
            with tracer.start_as_current_span(f"child {n}", context=trace.set_span_in_context(root), attributes=CHAT):
                pass
        folder = pathlib.Path(os.environ["PANDAPROBE_SPOOL_DIR"])
        while not all(any(f"child {n}".encode() in path.read_bytes() for path in folder.iterdir()) for n in range(5)):
            time.sleep(0.01)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        for root in roots:
            root.end()
        assert warned.wait(60)
        while handle.status().spans_pending < 10: handle.flush(0.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        while not handle.flush(0.1): pass
        """
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path), PANDAPROBE_SHUTDOWN_TIMEOUT="0.1")
        result = run_python(code, env)
        assert result.returncode == 0, result.stderr
        server.answer = lambda method, path: None
        assert inherit(server, tmp_path) == 10
        assert {(trace.fields["name"], trace.fields["status"]) for trace in server.traces.values()} == {
            (f"t{n}", "COMPLETED") for n in range(5)
        }


def test_a_directory_without_permission_means_memory_and_one_warning(tmp_path: Path) -> None:
    """If every write fails with EACCES, one warning is logged and everything is still sent."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with StrictPandaProbe() as server:
        code = (
            WITHOUT_OVERRIDE
            + """
if os.geteuid() == 0:
    respect_permissions()
for n in range(3):
    one(f"t{n}")
print(handle.flush(60), handle.status().spans_delivered)
"""
        )
        result = run_python(code, environment(server.url, PANDAPROBE_SPOOL_DIR=str(folder / "spool")))

        assert (result.returncode, result.stdout) == (0, "True 6\n")
        assert result.stderr.count("\n") <= 2
        assert result.stderr.count("cannot be written") == 1
        assert len(server.posts()) == 3


def test_a_refusal_that_was_half_written_costs_no_other(tmp_path: Path) -> None:
    """A line that a killed process has left unfinished is skipped; beyond the bound, the newest lines stay."""
    store = Run(tmp_path).store
    for number in range(10):
        store.keep_refused(create(number, size=1_000), "no", max_bytes=10_000)
    (path,) = tmp_path.iterdir()
    assert 4_000 < path.stat().st_size <= 10_000
    with path.open("ab") as file:
        file.write(b'{"trace_id":"0')
    store.keep_refused(create(10), "no")

    traces = [json.loads(line)["trace_id"] for line in path.read_bytes().splitlines() if line.endswith(b"}")]
    assert traces == [create(number).trace_id for number in range(11)][-len(traces) :]
    assert len(list(refusals(tmp_path))) == len(traces) >= 4


def test_a_relative_directory_stays_where_it_was_when_the_app_changes_its_own(tmp_path: Path) -> None:
    """Traces before and after `os.chdir` wait in one directory, and each is posted once."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    after.mkdir()
    code = f"""
    import os
    os.chdir({os.fspath(before)!r})
    from pandaprobe_otel import agent, flush, init
    init(instrument=False, spool="waiting")
    for number in range(4):
        with agent(f"a{{number}}"):
            pass
        flush(0.5)
        os.chdir({os.fspath(after)!r})
    """
    with StrictPandaProbe() as server:
        server.answer = lambda method, path: Reply(status=503)
        env = environment(server.url, PANDAPROBE_SHUTDOWN_TIMEOUT="0.1")
        assert run_python(code, env, set_up=False).returncode == 0
        assert list(after.iterdir()) == []
        server.answer = lambda method, path: None
        assert inherit(server, before / "waiting") == 4
        assert sorted(trace.fields["name"] for trace in server.traces.values()) == [f"a{n}" for n in range(4)]
