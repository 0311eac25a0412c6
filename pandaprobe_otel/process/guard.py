"""Counts of faults of this library inside user calls (never propagated) and of usage mistakes; each is logged once.

An exception that strikes in our code, but is not ours, passes: one that the app's signal handler raised, such as a time
limit, and one that another thread threw into this one. The guards call `failed`, `counted` or `pass_on`, which raise it
again. Faults of the app's own callbacks (a mask, `__repr__`, a serializer) ran only because of us, and stop here. So do
MemoryError and RecursionError from our work, because the app's call may succeed without it.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from inspect import currentframe
from linecache import getlines
from opcode import opname
from types import FrameType
from typing import Any, Final, TypeVar
from weakref import ref

T = TypeVar("T")
logger = logging.getLogger("pandaprobe_otel")

MAX_MISTAKES: Final = 1000
"""Bound on remembered messages, because some contain names from the app."""

_MOST_CAUSES: Final = 10
_VARARGS: Final = 0x04
"""Flag of code that takes `*args` (`inspect.CO_VARARGS`)."""
_LARGEST_EMPTY_CODE: Final = 8
"""Bytes of the code that stands for Cython's functions in a traceback (`PyCode_NewEmpty`): it only raises."""
_NOT_THE_APPS: Final = sys.stdlib_module_names | {"pandaprobe_otel", "pandaprobe_otel_integrations", "opentelemetry"}

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
    """Raise an exception again that only passes through our code, because the app or another thread raised it.

    Code that raises has a `raise` in its innermost frame, or is in C: then it knows no class of the app.
    """
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):  # pydantic raises its own error from the one that struck in a serializer
        if cause is None:
            return
        if _is_apps(cause):
            raise cause
        cause = cause.__cause__


def _is_apps(error: BaseException) -> bool:
    trace = last = error.__traceback__
    while trace is not None:
        if _is_signal_handler(trace.tb_frame):
            return True
        last, trace = trace, trace.tb_next
    if last is None:
        return _is_class_of_app(type(error))
    code = last.tb_frame.f_code.co_code
    operation, argument = (opname[code[last.tb_lasti]], code[last.tb_lasti + 1]) if last.tb_lasti >= 0 else ("", 0)
    if "RAISE" in operation or (len(code) <= _LARGEST_EMPTY_CODE and "RAISE" in opname[code[-2]]):
        return False
    # Nothing fails at the start of a function or loop, where the interpreter looks for what other threads threw in.
    return operation == "JUMP_BACKWARD" or (operation, argument) == ("RESUME", 0) or _is_class_of_app(type(error))


def _is_class_of_app(kind: type[BaseException]) -> bool:
    """Return whether Python code of the app made this class, so that no function in C has raised it by itself."""
    if kind.__module__.partition(".")[0] in _NOT_THE_APPS:
        return False
    if sys.version_info >= (3, 13):
        return "__firstlineno__" in kind.__dict__
    module = vars(sys.modules.get(kind.__module__, sys))
    if not (path := module.get("__file__")):
        return kind.__module__ == "__main__"  # a notebook
    return any(re.match(rf"\s*class\s+{kind.__name__}\b", line) for line in getlines(path, module))


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


def unless_used(block: object, name: Callable[[], str]) -> ref[Any]:
    """Warn when a block is freed that was never entered: the block keeps the result, and drops it when it is entered.

    Not by `__del__`: an exception that strikes there is lost. `name` must not hold the block.
    """
    return ref(block, lambda _: _unused(name()))


def _unused(what: str) -> None:
    if sys.is_finalizing():
        return
    frame = currentframe()
    for _ in ("this function", "the callback"):
        frame = frame.f_back if frame is not None else None
    place = f" at {frame.f_code.co_filename}:{frame.f_lineno}" if frame is not None else ""
    mistake(f"{what}{place} does nothing: use it with `with`, or as a decorator.")


def mistakes() -> tuple[str, ...]:
    """Return the mistakes so far, each with its count."""
    return tuple(message if times == 1 else f"{message} ({times} times)" for message, times in _mistakes.items())


def failures() -> dict[str, int]:
    """Return the number of faults at each place in this process."""
    return dict(_counts)
