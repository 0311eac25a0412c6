"""An executor that carries the caller's context into its threads."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class ContextExecutor(Executor):
    """Wrapper of an executor: each task sees the context variables, and so the open span, of its submitter.

    Each task runs in its own copy of the context, because two threads cannot enter one context at once.
    """

    def __init__(self, inner: Executor) -> None:
        self._inner = inner
        self._carries = not _runs_in_processes(inner)

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


def _runs_in_processes(executor: Executor) -> bool:
    """Return whether the executor pickles its tasks for other processes; contexts cannot be pickled."""
    module = sys.modules.get("concurrent.futures.process")
    return module is not None and isinstance(executor, module.ProcessPoolExecutor)
