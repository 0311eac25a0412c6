"""A process that has imported modules, and runs each program in a fork.

Imports take ten times as long as most programs. A fork is as separate as a new process: it has its own folder,
environment, files, threads, signals and exit handlers.

`forks.py NUMBER MODULE ...` is the process that forks, with the number of its socket. `forks.py ask SOCKET CODE
ARGUMENT ...` runs code in a fork, in place of itself.
"""

from __future__ import annotations

import gc
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Final

_LONGEST_S: Final = 240.0
_MOST_BYTES: Final = 1 << 18


class Forks:
    """The process that forks; any number of threads may run programs. It ends with this object, or this process.

    `modules` are imported before, and all modules of our packages among them. `options` are those of Python.
    """

    def __init__(self, *modules: str, options: Sequence[str] = ()) -> None:
        self._folder = TemporaryDirectory()
        self.path = str(Path(self._folder.name) / "forks")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            listening.bind(self.path)
            listening.listen(64)
            number = listening.fileno()
            command = [sys.executable, *options, __file__, str(number), *modules]
            self._process = subprocess.Popen(command, pass_fds=[number], stdin=subprocess.PIPE)

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=_LONGEST_S)
        self._folder.cleanup()

    def run(
        self,
        code: str,
        env: Mapping[str, str],
        *arguments: str,
        folder: Path | None = None,
        timeout_s: float = _LONGEST_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run code until it has ended and nobody writes any more, and return its output."""
        assert self._process.poll() is None, f"forks.py has ended with {self._process.returncode}"
        pairs = [os.pipe(), os.pipe()]
        output = {ours: b"" for ours, _ in pairs}
        with open(os.devnull) as nothing:
            files = [nothing.fileno(), pairs[0][1], pairs[1][1]]
            asked = _ask(self.path, code, arguments or ("-c",), env, folder or Path.cwd(), files)
        for _, theirs in pairs:
            os.close(theirs)
        deadline, reading = time.monotonic() + timeout_s, list(output)
        with asked:
            program = int(asked.recv(64))
            while reading:
                found = select.select(reading, (), (), max(deadline - time.monotonic(), 0.0))[0]
                if not found:
                    os.kill(program, signal.SIGKILL)
                    raise subprocess.TimeoutExpired(code, timeout_s)
                for number in found:
                    part = os.read(number, 65536)
                    output[number] += part
                    if not part:
                        reading.remove(number)
                        os.close(number)
            end = int(asked.recv(64))
        out, err = output.values()
        return subprocess.CompletedProcess(code, end, out.decode(), err.decode())


def _ask(
    path: str, code: str, arguments: Sequence[str], env: Mapping[str, str], folder: Path, files: Sequence[int]
) -> socket.socket:
    """Request a fork; return the socket that receives its process id, and then its exit code."""
    request = {"code": code, "arguments": arguments, "env": dict(env), "folder": str(folder)}
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    connection.connect(path)
    socket.send_fds(connection, [json.dumps(request).encode()], files)
    return connection


# -- the process that forks --------------------------------------------------------------------------------------------


def _load(names: Sequence[str]) -> None:
    for name in names:
        module = import_module(name)
        ours = getattr(module, "__path__", ()) if name.startswith("pandaprobe_otel") else ()
        for inner in pkgutil.walk_packages(ours, f"{name}."):
            if not inner.name.endswith("__main__"):
                import_module(inner.name)
    gc.freeze()  # keeps forks from touching, and so copying, the shared objects


def _serve(listening: socket.socket) -> None:
    """Answer requests until standard input ends. In a fork, run its program and return."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also if the tests run in the background
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks that wait for the programs
    while sys.stdin not in select.select([listening, sys.stdin], (), ())[0]:
        asked, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            request, files, *_ = socket.recv_fds(asked, _MOST_BYTES, 3)
            program = os.fork()
            if program == 0:
                asked.close()
                return _become(json.loads(request), files)
            for number in (0, 1, 2, *files):
                os.close(number)
            asked.send(b"%d" % program)
            asked.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(program, 0)[1]))
            os._exit(0)
        asked.close()
    return None


def _become(request: dict[str, Any], files: Sequence[int]) -> None:
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    if os.isatty(0):
        os.setsid()
        _take_terminal()
    sys.argv[:], sys.path[0] = request["arguments"], ""
    main = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(request["code"], "<string>", "exec", dont_inherit=True), vars(main))


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


if __name__ == "__main__":
    if sys.argv[1] == "ask":
        with _ask(sys.argv[2], sys.argv[3], sys.argv[4:], os.environ, Path.cwd(), (0, 1, 2)) as _asked:
            _asked.recv(64)
            sys.exit(int(_asked.recv(64)) & 0xFF)
    _load(sys.argv[2:])
    _serve(socket.socket(fileno=int(sys.argv[1])))
