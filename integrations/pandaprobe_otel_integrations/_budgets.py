"""Model calls inside a budget (`pandaprobe_otel.budgets`): refused before they are sent, and counted when they end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from inspect import isawaitable
from typing import Any, Final

from opentelemetry.context import get_current

from pandaprobe_otel.budgets import BudgetExceeded, holds_in, refusal_in
from pandaprobe_otel_integrations._guard import guarded

_inside: Final[ContextVar[bool]] = ContextVar("pandaprobe_budgeted", default=False)
"""True while a counted call is being made, so that a client inside another one does not count it again."""


def is_counting() -> bool:
    """Return whether a model call that is made here counts in a budget, and is not inside one that counts already."""
    return bool(holds_in(get_current())) and not _inside.get()


def permitted(original: Callable[[], Any], find: Callable[[], object]) -> Callable[[], Any]:
    """Return the function to call in place of `original`; outside of a budget, the same.

    Inside one, it raises `BudgetExceeded` if the budget refuses the call. `find` returns None for a request that is no
    model call. A fault of ours refuses nothing.
    """
    if not is_counting():
        return original
    found = guarded(find)
    if found is None or getattr(found, "is_news", None) is not None:  # a poll for the result of an earlier call
        return original
    refusal = guarded(refusal_in, holds_in(get_current()))
    return lambda: _raise(refusal) if refusal is not None else _counted(original)


def _raise(refusal: BudgetExceeded) -> Any:
    raise refusal


def _counted(original: Callable[[], Any]) -> Any:
    token = _inside.set(True)
    try:
        result = original()
    finally:
        _inside.reset(token)
    return _awaited(result) if isawaitable(result) else result


async def _awaited(result: Awaitable[Any]) -> Any:
    token = _inside.set(True)
    try:
        return await result
    finally:
        _inside.reset(token)
