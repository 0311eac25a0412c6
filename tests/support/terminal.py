"""A program in its own terminal, as a person uses it."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

_LONGEST_S: Final = 240.0
_LINE_ENDS: Final = re.compile(r"\r+\n?")
_ESCAPES: Final = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")


class Terminal:
    """A context manager that runs a program in a terminal, and kills the program if it still runs at the end."""

    def __init__(self, *command: str, environment: Mapping[str, str]) -> None:
        ours, theirs = pty.openpty()
        self._screen = ours
        self._written = ""
        self._read_up_to = 0
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "TERM": "xterm", "COLUMNS": "120"},
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._screen)

    @property
    def text(self) -> str:
        """Return the text of the screen without colours and cursor movements, with normalized line ends."""
        return _LINE_ENDS.sub("\n", _ESCAPES.sub("", self._written))

    def type(self, keys: str) -> None:
        """Press keys; `\\x03` is Ctrl-C."""
        os.write(self._screen, keys.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read the screen until a regular expression matches text that comes after the previous match."""
        deadline = time.monotonic() + _LONGEST_S
        while (found := re.compile(pattern).search(self.text, self._read_up_to)) is None:
            assert time.monotonic() < deadline, f"{pattern!r} did not appear in {self.text!r}"
            self._read(0.2)
        self._read_up_to = found.end()
        return found

    def end(self) -> int:
        """Wait for the program to end and return its exit code."""
        deadline = time.monotonic() + _LONGEST_S
        while self._process.poll() is None:
            assert time.monotonic() < deadline, self.text
            self._read(0.05)
        self._read(0.05)
        return self._process.returncode

    def _read(self, timeout_s: float) -> None:
        if select.select([self._screen], [], [], timeout_s)[0]:
            try:
                self._written += os.read(self._screen, 65536).decode("utf-8", "replace")
            except OSError:  # Linux's sign that no process writes any more
                time.sleep(0.02)


def _take_terminal() -> None:
    """Make standard input the controlling terminal, so that Ctrl-C reaches the program as from a person."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
