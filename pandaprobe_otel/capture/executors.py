"""Executors that carry the caller's context into their tasks."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from opentelemetry.context import Context, attach, detach, get_current

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

P = ParamSpec("P")
T = TypeVar("T")


class ContextExecutor(Executor):
    """Wrapper of an executor: each task sees the context variables, and so the open span, of its submitter.

    Each task runs in its own copy of the context, because two threads cannot enter one context at once.
    """

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self._carries = not _pickles(inner)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Submit a task in a copy of the caller's context."""
        if not self._carries:
            return self._inner.submit(fn, *args, **kwargs)
        run: Callable[..., Any] = copy_context().run
        return self._inner.submit(run, fn, *args, **kwargs)

    def map(
        self, fn: Callable[..., T], *iterables: Iterable[Any], timeout: float | None = None, chunksize: int = 1
    ) -> Iterator[T]:
        """Run the function over the arguments; each call gets the context of the caller of `map`."""
        if not self._carries:
            return self._inner.map(fn, *iterables, timeout=timeout, chunksize=chunksize)
        return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the wrapped executor down."""
        self._inner.shutdown(wait, cancel_futures=cancel_futures)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def carry_context(*, threads: bool) -> None:
    """Carry OpenTelemetry's context into the tasks of every thread pool, or no longer.

    Nothing happens where `opentelemetry-instrumentation-threading` does the same.
    """
    _carried.pools = threads
    if threads and _carried.submit is None:
        from concurrent.futures import ThreadPoolExecutor  # only here, because decorators load this module

        replaced: Any = ThreadPoolExecutor
        _carried.submit = replaced.submit
        replaced.submit = functools.wraps(replaced.submit)(_submit)


class _Carried:
    """The setting, and the method that ours replaces. Ours stays, because others may have wrapped it since."""

    pools = False
    submit: Callable[..., Any] | None = None


_carried: Final = _Carried()


def _submit(self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    assert _carried.submit is not None
    if _carried.pools and not _is_carried_by_others() and not _pickles(self):
        fn = _within(get_current(), fn)  # an empty context as well: the thread may have an older one
    return _carried.submit(self, fn, *args, **kwargs)


def _within(context: Context, function: Callable[..., T]) -> Callable[..., T]:
    def within(*args: Any, **kwargs: Any) -> T:
        token = attach(context)
        try:
            return function(*args, **kwargs)
        finally:
            detach(token)

    return within


def _is_carried_by_others() -> bool:
    module = sys.modules.get("opentelemetry.instrumentation.threading")
    return module is not None and module.ThreadingInstrumentor().is_instrumented_by_opentelemetry


def _pickles(executor: Executor) -> bool:
    """Return whether the tasks run in other processes or interpreters (Python 3.14): contexts cannot be pickled."""
    found = [
        getattr(module, name)
        for home, name in (("process", "ProcessPoolExecutor"), ("interpreter", "InterpreterPoolExecutor"))
        if (module := sys.modules.get(f"concurrent.futures.{home}")) is not None
    ]
    return isinstance(executor, tuple(found))
