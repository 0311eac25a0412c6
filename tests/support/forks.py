"""A process that has imported the library, and runs each program in a fork.

Imports take ten times as long as most programs. A fork is as separate as a new process: it has its own environment,
files, threads, signals and exit handlers. Run as a script, this module is the process that forks.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from selectors import EVENT_READ, DefaultSelector
from types import ModuleType
from typing import Any, Final

_ROOMS: Final = ("assembly", "bootstrap", "capture", "config", "delivery", "mapping", "pipeline", "sdk", "transport")
_MOST_BYTES: Final = 1 << 18


class Forks:
    """The process that forks, which ends with this one; any number of threads may run programs."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            number = theirs.fileno()
            command = [sys.executable, "-W", "error", __file__, str(number)]
            self._process = subprocess.Popen(
                command, pass_fds=[number], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )

    def run(self, code: str, env: Mapping[str, str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        """Run code with this environment until it has ended and nobody writes any more; return its output."""
        pipes = [os.pipe() for _ in range(3)]
        written = {ours: b"" for ours, _ in pipes}
        request = json.dumps({"code": code, "env": dict(env)}).encode()
        socket.send_fds(self._channel, [request], [theirs for _, theirs in pipes])
        deadline = time.monotonic() + timeout_s
        with DefaultSelector() as waiting:
            for ours, theirs in pipes:
                os.close(theirs)
                waiting.register(ours, EVENT_READ)
            while waiting.get_map():
                found = waiting.select(max(deadline - time.monotonic(), 0.0))
                if not found:
                    os.kill(int(written[pipes[2][0]].split()[0]), signal.SIGKILL)
                    raise subprocess.TimeoutExpired(code, timeout_s)
                for key, _ in found:
                    part = os.read(key.fd, 65536)
                    written[key.fd] += part
                    if not part:
                        waiting.unregister(key.fd)
                        os.close(key.fd)
        out, err, end = written.values()
        return subprocess.CompletedProcess(code, int(end.split()[1]), out.decode(), err.decode())


def _load() -> None:
    for room in _ROOMS:
        module = import_module(f"pandaprobe_otel.{room}")
        for inner in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
            import_module(inner.name)
    gc.freeze()  # keeps forks from touching, and so copying, the shared objects


def _serve(channel: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks that wait for the programs
    while True:
        request, files, *_ = socket.recv_fds(channel, _MOST_BYTES, 3)
        if not request:  # the process with the tests has ended
            return None
        out, err, end = files
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            channel.close()
            program = os.fork()
            if program == 0:
                os.close(end)
                return _become(json.loads(request), out, err)
            os.close(out)
            os.close(err)
            os.write(end, b"%d " % program)
            os.write(end, b"%d" % os.waitstatus_to_exitcode(os.waitpid(program, 0)[1]))
            os._exit(0)
        for number in files:
            os.close(number)


def _become(request: dict[str, Any], *files: int) -> None:
    os.environ.clear()
    os.environ.update(request["env"])
    for number, file in enumerate(files, start=1):
        os.dup2(file, number)
        os.close(file)
    sys.argv, sys.path[0] = ["-c"], ""
    main = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(request["code"], "<string>", "exec", dont_inherit=True), vars(main))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also if the tests run in the background
    _load()
    _serve(socket.socket(fileno=int(sys.argv[1])))
