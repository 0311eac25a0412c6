"""Budgets that hold: bounds on the money, tokens, calls and time of the model calls inside a block.

    from pandaprobe_otel.budgets import budget

    with budget(usd=0.50, tokens=20_000, calls=30, seconds=120):
        shop_assistant(question)

When a bound is reached, the next model call of an instrumented client raises `BudgetExceeded` before it is sent, also
inside a framework, and also in threads and tasks that were started in the block. Its span shows which bound, and how
much of it was used. Calls that were already under way are not interrupted. Without a budget, nothing is refused.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from opentelemetry.context import Context, get_current, set_value

from pandaprobe_otel.capture.tracers import begin_first_use
from pandaprobe_otel.capture.wrapping import Block, ContextScope, F, wrap
from pandaprobe_otel.errors import PandaProbeError
from pandaprobe_otel.mapping.usage import listed_price, load_prices
from pandaprobe_otel.process.guard import mistake

__all__ = ["BudgetExceeded", "Used", "budget"]

_KEY: Final = "pandaprobe-budget"
_HOOKS: Final = "pandaprobe_otel_integrations._budgets"
"""Module that every integration of a client loads."""
_MOST_SESSIONS: Final = 10_000
"""Sessions whose use is remembered; the oldest are forgotten."""


class BudgetExceeded(PandaProbeError):
    """A model call was refused before it was sent, because a budget was used up.

    Attributes:
        bound: `usd`, `tokens`, `calls` or `seconds`.
        limit: The bound's value.
        used: The use of the budget so far.
        span_name: Name of the span whose usage was the last to count; empty if there was none.
    """

    def __init__(self, bound: str, limit: float, used: Used, span_name: str) -> None:
        amount = getattr(used, bound)
        last = f", the last by {span_name!r}" if span_name else ""
        super().__init__(f"the budget of {limit:g} {bound} is used up ({amount:.6g}{last}): the call was not sent")
        self.bound = bound
        self.limit = limit
        self.used = used
        self.span_name = span_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Use of a budget so far.

    Attributes:
        usd: Cost in US dollars of the calls with a known price.
        tokens: Prompt and completion tokens that the services have reported.
        calls: Model calls that were sent.
        seconds: Seconds since the block was entered.
        unknown: Calls whose tokens are not known (with a bound in dollars: whose price): they are under way, have
            failed, were abandoned, or the service states none.
    """

    usd: float = 0.0
    tokens: int = 0
    calls: int = 0
    seconds: float = 0.0
    unknown: int = 0


class _Spending:
    """Use of one budget, and of those around it. Thread-safe."""

    def __init__(self, bounds: Mapping[str, float], outer: _Spending | None) -> None:
        self.bounds = bounds
        self.outer = outer
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._used = Used()
        self._span_name = ""

    def used(self) -> Used:
        """Return the use so far."""
        with self._lock:
            return replace(self._used, seconds=time.monotonic() - self._began)

    def reserve(self) -> BudgetExceeded | None:
        """Count a call; return the refusal instead if a bound is reached."""
        with self._lock:
            used = self._used
            for bound, limit in self.bounds.items():
                amount = time.monotonic() - self._began if bound == "seconds" else getattr(used, bound)
                if amount >= limit:
                    used = replace(used, seconds=time.monotonic() - self._began)
                    return BudgetExceeded(bound, limit, used, self._span_name)
            self._used = replace(used, calls=used.calls + 1, unknown=used.unknown + 1)
            return None

    def give_back(self) -> None:
        """Take back a counted call, which another budget has refused."""
        with self._lock:
            self._used = replace(self._used, calls=self._used.calls - 1, unknown=self._used.unknown - 1)

    def settle(self, span_name: str, tokens: int, usd: float | None) -> None:
        """Count what a call has used."""
        with self._lock:
            used, is_known = self._used, usd is not None or "usd" not in self.bounds
            self._span_name = span_name
            self._used = replace(
                used, tokens=used.tokens + tokens, usd=used.usd + (usd or 0.0), unknown=max(used.unknown - is_known, 0)
            )


_sessions: Final[OrderedDict[str, _Spending]] = OrderedDict()
_sessions_lock: Final = threading.Lock()


class BudgetBlock(Block[ContextScope, "BudgetBlock"]):
    """The result of `budget`: a `with` block, an `async with` block or a decorator, whose budget begins at each use."""

    __slots__ = ("_bounds", "_key", "_session", "_spending")

    def __init__(self, bounds: Mapping[str, float], session: str | None) -> None:
        self._bounds = bounds
        self._session = session
        self._key = f"{_KEY}-{id(self)}"
        self._spending: _Spending | None = None

    @property
    def used(self) -> Used:
        """Use of the budget that began last."""
        return Used() if self._spending is None else self._spending.used()

    def __call__(self, function: F) -> F:
        """Decorate a function: each call has a budget of its own, or that of the session."""
        return wrap(function, lambda _args, _kwargs: ContextScope(self._begun(get_current())))

    def _new_entry(self) -> ContextScope:
        begin_first_use()
        return ContextScope(self._begun(get_current()))

    def _enter(self, entry: ContextScope) -> BudgetBlock:
        entry.context = set_value(self._key, entry, entry.context)
        entry.resume()
        return self

    def _innermost(self) -> ContextScope | None:
        entry = get_current().get(self._key)
        return entry if isinstance(entry, ContextScope) else None

    def _leave(self, entry: ContextScope, error: BaseException | None) -> None:
        entry.pause()

    def _undo(self, entry: ContextScope) -> None:
        entry.interrupted()

    def _begun(self, context: Context) -> Context:
        if _HOOKS not in sys.modules:
            mistake(
                "budget(...) refuses nothing: no client library is instrumented. Call pandaprobe_otel.init() before, "
                "with a key or PANDAPROBE_LOCAL."
            )
        spending = _Spending(self._bounds, spending_in(context))
        if self._session is not None:
            spending = _of_session(self._session, spending)
        self._spending = spending
        return set_value(_KEY, spending, context)


def _of_session(session: str, new: _Spending) -> _Spending:
    with _sessions_lock:
        spending = _sessions.setdefault(session, new)
        _sessions.move_to_end(session)
        if len(_sessions) > _MOST_SESSIONS:
            _sessions.popitem(last=False)
        spending.bounds = new.bounds
        return spending


def budget(
    *,
    usd: float | None = None,
    tokens: int | None = None,
    calls: int | None = None,
    seconds: float | None = None,
    session: str | None = None,
) -> BudgetBlock:
    """Bound the model calls inside a block or a decorated function. Blocks inside each other all hold.

    Args:
        usd: US dollars, by the prices of `genai-prices` (extra `cost`). Calls of models without a known price count as
            `unknown` and nothing.
        tokens: Prompt and completion tokens together, as the services report them. A call that reports none, such as an
            abandoned stream, counts as `unknown`.
        calls: Model calls that are sent. Calls in parallel are counted before they are sent, so that there are never
            more.
        seconds: Time since the block was entered.
        session: Id of a session whose uses of this process share one budget, for instance all requests of a
            conversation.

    Raises ValueError for a bound that is no positive number.
    """
    given = {"usd": usd, "tokens": tokens, "calls": calls, "seconds": seconds}
    bounds = {name: value for name, value in given.items() if value is not None}
    for name, value in bounds.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"budget({name}={value!r}): a bound is a number above 0")
    if usd is not None and load_prices() is None:
        mistake('budget(usd=...): no price is known, so nothing is refused for it: pip install "pandaprobe-otel[cost]"')
    return BudgetBlock(bounds, session)


# -- for integrations -------------------------------------------------------------------------------------------------


def spending_in(context: Context) -> _Spending | None:
    """Return the innermost budget of a context; None without one, as usual."""
    found: Any = context.get(_KEY)
    return found if isinstance(found, _Spending) else None


def refusal_in(context: Context) -> BudgetExceeded | None:
    """Count a model call in all budgets of a context. Return the exception to raise if one of them refuses it."""
    counted: list[_Spending] = []
    spending = spending_in(context)
    while spending is not None:
        if (refused := spending.reserve()) is not None:
            for each in counted:
                each.give_back()
            return refused
        counted.append(spending)
        spending = spending.outer
    return None


def settle(
    spending: _Spending | None, span_name: str, provider: str | None, model: str | None, usage: Mapping[str, int]
) -> None:
    """Count what a call has used, in its budget and those around it. `usage`: token counts by PandaProbe's names."""
    usd = None
    while spending is not None:
        if usd is None and "usd" in spending.bounds and model:
            priced = listed_price(model, provider, usage, time.time_ns())
            usd = None if priced is None else priced.amounts["total"]
        spending.settle(span_name, usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0), usd)
        spending = spending.outer
