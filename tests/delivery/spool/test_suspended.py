"""A process that is really stopped between taking a token and sending with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment
from waiting import PATIENCE_S

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
        said, _ = process.communicate(timeout=PATIENCE_S)

        assert said == "1 2 1\n"
        (post,) = server.posts()
        assert post.at > resumed
