"""Interrupts at chosen moments in code of ours."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections import defaultdict
from functools import partial
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

    CPython checks for signals at the start of a function and after each call, and calls the profiler there. With
    `thrown_in`, the interpreter raises this exception at its next check, as if another thread had thrown it in.
    """

    def __init__(self, moment: int, *, thrown_in: type[BaseException] | None = None) -> None:
        self._left = moment
        self.has_struck = False
        self._throw: defaultdict[str, int] | None = None
        if thrown_in is not None:
            me = ctypes.c_ulong(threading.get_ident())
            self._throw = defaultdict(
                partial(ctypes.pythonapi.PyThreadState_SetAsyncExc, me, ctypes.py_object(thrown_in))
            )
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
            if self._throw is None:
                raise KeyboardInterrupt
            self._throw["now"]  # no call, after which the interpreter would check here

    @staticmethod
    def _is_ours(frame: FrameType, event: str) -> bool:
        """Return whether our code is on the stack, not counting a frame that has just returned or is about to begin."""
        at: FrameType | None = frame
        is_edge = event == "return" or frame.f_code.co_name in _FIRST_INSTRUCTION
        while at is not None and not at.f_code.co_name.startswith("test_"):
            if at.f_code.co_filename.startswith(LIBRARY) and not (is_edge and at is frame):
                return True
            at = at.f_back
        return False
