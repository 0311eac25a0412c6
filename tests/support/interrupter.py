"""Interrupts at chosen moments in code of ours."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType
from typing import Any

from opentelemetry.sdk.trace import Span
from opentelemetry.trace import get_current_span

import pandaprobe_otel

LIBRARY = str(Path(pandaprobe_otel.__file__).parent)
_MOMENTS = ("call", "return", "c_return")
_FIRST_INSTRUCTION = ("__exit__", "__aexit__")
"""Functions called by the interpreter: our code cannot handle an interrupt before their first instruction."""


class Interrupter:
    """A profiler that raises KeyboardInterrupt at the n-th moment a signal could arrive in our code.

    CPython checks for signals at the start of a function and after each call, and calls the profiler there.
    """

    def __init__(self, moment: int) -> None:
        self._left = moment
        self.has_struck = False
        self.current: Span | None = None
        """The span that was current at the interrupt."""

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if self.has_struck or event not in _MOMENTS or not self._is_ours(frame, event):
            return
        self._left -= 1
        if self._left < 0:
            self.has_struck = True
            found = get_current_span()
            self.current = found if isinstance(found, Span) else None
            sys.setprofile(None)
            raise KeyboardInterrupt

    @staticmethod
    def _is_ours(frame: FrameType, event: str) -> bool:
        """Return whether our code is on the stack, not counting a frame that has just returned or is about to begin."""
        chain: list[FrameType] = []
        at: FrameType | None = frame
        while at is not None and not at.f_code.co_name.startswith("test_"):
            chain.append(at)
            at = at.f_back
        if any(each.f_code.co_name == "__del__" for each in chain):  # exceptions in `__del__` are ignored
            return False
        is_edge = event == "return" or frame.f_code.co_name in _FIRST_INSTRUCTION
        return any(each.f_code.co_filename.startswith(LIBRARY) for each in chain[is_edge:])
