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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opentelemetry.context import Context, set_value

from pandaprobe_otel.capture.trace_context import ContextualBlock
from pandaprobe_otel.capture.wrapping import ContextScope
from pandaprobe_otel.errors import PandaProbeError
from pandaprobe_otel.mapping.usage import listed_price, load_prices
from pandaprobe_otel.process.guard import mistake

__all__ = ["BudgetExceeded", "Used", "budget"]

_KEY: Final = "pandaprobe-budget"
_HOOKS: Final = "pandaprobe_otel_integrations._budgets"
"""Module that every integration of a client loads."""
_COUNTS: Final = {
    "gen_ai.usage.input_tokens": "prompt_tokens",
    "gen_ai.usage.output_tokens": "completion_tokens",
    "gen_ai.usage.cache_read.input_tokens": "cache_read_tokens",
    "gen_ai.usage.cache_creation.input_tokens": "cache_creation_tokens",
}
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

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what a pickle makes it of: queues and pools pass exceptions on."""
        return BudgetExceeded, (self.bound, self.limit, self.used, self.span_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Use of a budget so far.

    Attributes:
        usd: Cost in US dollars of the calls with a known price.
        tokens: Prompt and completion tokens that the services have reported.
        calls: Model calls that were sent.
        seconds: Seconds since the block was entered or, for a session, since its first block was.
        unknown: Calls whose tokens are not known (with a bound in dollars: whose price): they are under way, have
            failed, were abandoned, or the service states none.
    """

    usd: float = 0.0
    tokens: int = 0
    calls: int = 0
    seconds: float = 0.0
    unknown: int = 0


class _Spending:
    """Use of a budget. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._began = time.monotonic()
        self._amounts: dict[str, Any] = {"usd": 0.0, "tokens": 0, "calls": 0, "unknown": 0}
        self._span_name = ""

    def used(self) -> Used:
        """Return the use so far."""
        with self._lock:
            return Used(**self._amounts, seconds=time.monotonic() - self._began)

    def reserve(self, bounds: Mapping[str, float]) -> BudgetExceeded | None:
        """Count a call; return the refusal instead if a bound is reached."""
        amounts = self._amounts
        with self._lock:
            for bound, limit in bounds.items():
                if (time.monotonic() - self._began if bound == "seconds" else amounts[bound]) >= limit:
                    return BudgetExceeded(bound, limit, self.used(), self._span_name)
            amounts["calls"] += 1
            amounts["unknown"] += 1
            return None

    def add(self, unknown: int, *, calls: int = 0, tokens: int = 0, usd: float = 0.0, span_name: str = "") -> None:
        """Count what a call has used, or take back a counted call, which another budget has refused."""
        amounts = self._amounts
        with self._lock:
            self._span_name = span_name or self._span_name
            amounts["calls"] += calls
            amounts["tokens"] += tokens
            amounts["usd"] += usd
            amounts["unknown"] = max(amounts["unknown"] + unknown, 0)


Hold = tuple[Mapping[str, float], _Spending]
"""The bounds of a block, and what they bound: the use of the block, or that of its session."""

_sessions: Final[OrderedDict[str, _Spending]] = OrderedDict()
_sessions_lock: Final = threading.Lock()


class BudgetBlock(ContextualBlock["BudgetBlock"]):
    """The result of `budget`: a `with` block, an `async with` block or a decorator, whose budget begins at each use."""

    __slots__ = ("_bounds", "_session", "_spending")

    def __init__(self, bounds: Mapping[str, float], session: str | None) -> None:
        super().__init__()
        self._bounds = bounds
        self._session = session
        self._spending: _Spending | None = None

    @property
    def used(self) -> Used:
        """Use of the budget that began last."""
        return Used() if self._spending is None else self._spending.used()

    def _given(self, scope: ContextScope) -> BudgetBlock:
        return self

    def applied_to(self, context: Context) -> Context:
        """Return this OpenTelemetry context with a budget that begins now, or goes on for a session."""
        if _HOOKS not in sys.modules:
            mistake(
                "budget(...) refuses nothing: no client library is instrumented. Call pandaprobe_otel.init() before, "
                "with a key or PANDAPROBE_LOCAL."
            )
        self._spending = spending = _Spending() if self._session is None else _of_session(self._session)
        return set_value(_KEY, (*holds_in(context), (self._bounds, spending)), context)


def _of_session(session: str) -> _Spending:
    with _sessions_lock:
        spending = _sessions.setdefault(session, _Spending())
        _sessions.move_to_end(session)
        if len(_sessions) > _MOST_SESSIONS:
            _sessions.popitem(last=False)
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
        seconds: Time since the block was entered or, for a session, since its first block was.
        session: Id of a session whose blocks in this process share one use, for instance all requests of a
            conversation. Each block has its own bounds.

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


def holds_in(context: Context) -> tuple[Hold, ...]:
    """Return the budgets of a context, the outermost first; empty without one, as usual."""
    found: Any = context.get(_KEY)
    return () if found is None else found


def refusal_in(holds: Sequence[Hold]) -> BudgetExceeded | None:
    """Count a model call in all budgets. Return the exception to raise if one of them refuses it."""
    for place, (bounds, spending) in enumerate(holds):
        if (refused := spending.reserve(bounds)) is not None:
            for _, counted in holds[:place]:
                counted.add(-1, calls=-1)
            return refused
    return None


def settle(holds: Sequence[Hold], span_name: str, attributes: Mapping[str, Any]) -> None:
    """Count the tokens that the attributes of an answered call state, in all budgets."""
    usage = {name: attributes[key] for key, name in _COUNTS.items() if isinstance(attributes.get(key), int)}
    if not usage:
        return
    model = attributes.get("gen_ai.response.model") or attributes.get("gen_ai.request.model")
    priced = None
    if model and any(["usd" in bounds for bounds, _ in holds]):  # noqa: C419 - a generator takes twice the time
        priced = listed_price(model, attributes.get("gen_ai.provider.name"), usage, time.time_ns())
    tokens = usage.get("prompt_tokens", 0) + usage.get("completion_tokens", 0)
    usd = 0.0 if priced is None else priced.amounts["total"]
    for bounds, spending in holds:
        is_unknown = priced is None and "usd" in bounds
        spending.add(0 if is_unknown else -1, tokens=tokens, usd=usd, span_name=span_name)
