"""Estimates of tokens and cost for model calls without exact counts, from the sums in the CLI's result.

A result has the tokens of the main agent's calls (`usage`), and those of all calls with their cost by model
(`model_usage_since_last_result`; in older versions `modelUsage`, which counts from the process's start). Measured on
Claude Code 2.1.332: without partial messages, every message reports one output token.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel_integrations._shape import Object, integer, number, obj

from .model_call import ModelCall

MAX_OPEN: Final = 500
"""Number of calls that may wait for a result. For older calls, the output is unknown."""
_PRICE_RATIOS: Final = {
    "input_tokens": 1.0,
    "output_tokens": 5.0,
    "cache_creation_input_tokens": 1.25,
    "cache_read_input_tokens": 0.1,
}
"""Prices of tokens relative to an input token, the same for every model on Anthropic's price list of 2026."""
_COUNTS: Final = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cacheCreationInputTokens": "cache_creation_input_tokens",
    "cacheReadInputTokens": "cache_read_input_tokens",
}


class Ledger:
    """The calls since the last result."""

    def __init__(self) -> None:
        self._calls: list[ModelCall] = []
        self._told: dict[str, Object] = {}

    def add(self, call: ModelCall) -> None:
        """Add a finished call that lacks its cost and perhaps its tokens."""
        self._calls.append(call)
        if len(self._calls) > MAX_OPEN:
            _give_up(self._calls.pop(0))

    def close(self, result: Object | None = None) -> None:
        """End all calls, with the data of a result if there is one."""
        calls, self._calls = self._calls, []
        totals = self._since_last(obj(result))
        usage = obj(obj(result).get("usage"))
        main = [call for call in calls if not call.of_sub_agent]
        _share_tokens(main, integer(usage.get("output_tokens")))
        for model, of_model in _by_model(calls, totals).items():
            known = sum(_output(call) for call in of_model if call.is_settled)
            total = integer(totals[model].get("outputTokens"))
            _share_tokens([call for call in of_model if not call.is_settled], total and total - known, settled=0)
            _share_cost(of_model, totals[model])
        for call in calls:
            _give_up(call)

    def _since_last(self, result: Object) -> Mapping[str, Object]:
        told = {model: obj(each) for model, each in obj(result.get("modelUsage")).items()}
        before, self._told = self._told, told or self._told
        newest = result.get("model_usage_since_last_result")
        if newest is not None:
            return {model: obj(each) for model, each in obj(newest).items()}
        return {model: _difference(each, before.get(model, {})) for model, each in told.items()}


def _difference(now: Object, before: Object) -> Object:
    return {
        key: value - (number(before.get(key)) or 0) if number(value) is not None else value
        for key, value in now.items()
    }


def _share_tokens(calls: Sequence[ModelCall], total: int | None, settled: int | None = None) -> None:
    """Divide `total` among the calls that are not settled, in proportion to the length of their texts."""
    waiting = [call for call in calls if not call.is_settled]
    if settled is None:
        settled = sum(_output(call) for call in calls if call.is_settled)
    rest = (total or 0) - settled
    if rest < len(waiting) or not waiting:
        return
    chars = sum(call.chars for call in waiting) or 1
    for call in waiting[:-1]:
        part = min(max(1, rest * call.chars // chars), rest)
        call.settle(part, shared=True)
        rest, chars = rest - part, max(1, chars - call.chars)
    waiting[-1].settle(rest, shared=len(waiting) > 1)


def _share_cost(calls: Sequence[ModelCall], total: Object) -> None:
    cost = number(total.get("costUSD"))
    weight = _weight({told: total.get(key) for key, told in _COUNTS.items()})
    if not cost or not weight:
        return
    for call in calls:
        if call.is_settled:
            call.settle(integer(call.usage.get("output_tokens")), cost * _weight(call.usage) / weight)


def _by_model(calls: Sequence[ModelCall], totals: Mapping[str, Object]) -> Mapping[str, list[ModelCall]]:
    found: dict[str, list[ModelCall]] = defaultdict(list)
    for call in calls:
        for model, total in totals.items():
            if call.model in (model, total.get("canonicalModel")) or (call.model and model.startswith(call.model)):
                found[model].append(call)
                break
    return found


def _weight(usage: Mapping[str, Any]) -> float:
    return sum((integer(usage.get(key)) or 0) * ratio for key, ratio in _PRICE_RATIOS.items())


def _output(call: ModelCall) -> int:
    return integer(call.usage.get("output_tokens")) or 0


def _give_up(call: ModelCall) -> None:
    if not call.is_settled:
        call.settle(None)
    call.end()
