"""Counts of faults of this library inside user calls (never propagated) and of usage mistakes; each is logged once.

An exception that strikes in our code, but is not ours, passes: one that the app's signal handler raised, such as a time
limit, and one that another thread threw into this one. The guards call `failed`, `counted` or `pass_on`, which raise it
again. Faults of the app's own callbacks (a mask, `__repr__`, a serializer) ran only because of us, and stop here. So do
MemoryError and RecursionError from our work, because the app's call may succeed without it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable
from inspect import currentframe
from types import FrameType
from typing import Any, Final, TypeVar

T = TypeVar("T")
logger = logging.getLogger("pandaprobe_otel")

MAX_MISTAKES: Final = 1000
"""Bound on remembered messages, because some contain names from the app."""

_MOST_CAUSES: Final = 10
_VARARGS: Final = 0x04
"""Flag of code that takes `*args` (`inspect.CO_VARARGS`)."""
_STANDARD_LIBRARY: Final = os.path.dirname(os.__file__) + os.sep
_PACKAGES_BELOW: Final = tuple(
    f"{os.sep}{name}{os.sep}" for name in ("pandaprobe_otel", "pandaprobe_otel_integrations", "opentelemetry")
)

_counts: Counter[str] = Counter()
_mistakes: Counter[str] = Counter()


_asking: Final[set[int]] = set()
"""Threads that may be inside `ask`."""


def ask(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function of the settings, such as a mask. Spans that it makes are left out: they would call it again."""
    thread = threading.get_ident()
    _asking.add(thread)
    try:
        return function(*arguments)
    finally:
        _asking.discard(thread)


def is_asking() -> bool:
    """Return whether this thread is inside `ask`, even if an interrupt has struck at its end."""
    if not _asking or (thread := threading.get_ident()) not in _asking:
        return False
    frame = currentframe()
    while frame is not None:
        if frame.f_code is ask.__code__:
            return True
        frame = frame.f_back
    _asking.discard(thread)
    return False


def failed(where: str, error: BaseException) -> None:
    """Count a fault at this place; log the first one of each place as a warning and the rest at debug level.

    Raises the exception again if it is the app's (see `pass_on`).
    """
    _count(where, error, logging.DEBUG if where in _counts else logging.WARNING)


def counted(where: str, error: BaseException) -> None:
    """Count a fault and log it only at debug level, because the trace shows it (such as a value whose `repr` fails).

    Raises the exception again if it is the app's (see `pass_on`).
    """
    _count(where, error, logging.DEBUG)


def _count(where: str, error: BaseException, level: int) -> None:
    try:
        pass_on(error)
        _counts[where] += 1
        line = "Tracing failed in %s (%s); the call itself is not affected."
        traced = error if logger.isEnabledFor(logging.DEBUG) else None
        logger.log(level, line, where, type(error).__name__, exc_info=traced)
    except RecursionError as deep:
        if deep is error or _is_apps(deep):
            raise
        # The app is so deep in its stack that there is no room for a log line.


def pass_on(error: BaseException) -> None:
    """Raise an exception again that only passes through our code, because the app or another thread raised it."""
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):  # pydantic raises its own error from the one that struck in a serializer
        if cause is None:
            return
        if _is_apps(cause):
            raise cause
        cause = cause.__cause__


def _is_apps(error: BaseException) -> bool:
    trace, has_app = error.__traceback__, False
    while trace is not None:
        if _is_signal_handler(trace.tb_frame):
            return True
        has_app = has_app or _is_app_file(trace.tb_frame.f_code.co_filename)
        trace = trace.tb_next
    # Thrown in by another thread (`PyThreadState_SetAsyncExc`), if no code that ran knows the class of the exception.
    source = getattr(sys.modules.get(type(error).__module__), "__file__", None)
    return not has_app and isinstance(source, str) and source.endswith(".py") and _is_app_file(source)


def _is_app_file(path: str) -> bool:
    if path.startswith("<") or any(name in path for name in _PACKAGES_BELOW):
        return False
    return not path.startswith(_STANDARD_LIBRARY) or "site-packages" in path


def _is_signal_handler(frame: FrameType) -> bool:
    """Return whether the interpreter called this frame between two instructions: with a signal and its caller's frame.

    `signal.getsignal` would not find a handler that has removed itself before it raised.
    """
    code, caller = frame.f_code, frame.f_back
    count = code.co_argcount + bool(code.co_flags & _VARARGS)
    if caller is None or not count:
        return False
    names, values = code.co_varnames, frame.f_locals
    given: list[Any] = [values.get(name) for name in names[: code.co_argcount]]
    if code.co_flags & _VARARGS and isinstance(rest := values.get(names[count - 1 + code.co_kwonlyargcount]), tuple):
        given += rest
    return any(each is caller and isinstance(given[index], int) for index, each in enumerate(given[1:]))


def mistake(message: str) -> None:
    """Warn, once per message, about a use without the intended effect. The message has the place and the remedy."""
    if message in _mistakes or len(_mistakes) < MAX_MISTAKES:
        _mistakes[message] += 1
        if _mistakes[message] == 1:
            logger.warning("pandaprobe-otel: %s", message)


def unused(what: str) -> None:
    """Warn that a block was created but never entered. Called from its `__del__`."""
    if sys.is_finalizing():
        return
    frame = currentframe()
    for _ in ("this function", "__del__"):
        frame = frame.f_back if frame is not None else None
    place = f" at {frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
    mistake(f"{what}{place} does nothing: use it with `with`, or as a decorator.")


def mistakes() -> tuple[str, ...]:
    """Return the mistakes so far, each with its count."""
    return tuple(message if times == 1 else f"{message} ({times} times)" for message, times in _mistakes.items())


def failures() -> dict[str, int]:
    """Return the number of faults at each place in this process."""
    return dict(_counts)
