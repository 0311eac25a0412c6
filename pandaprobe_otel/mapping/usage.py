"""Token counts and costs of one model call. Counts have one meaning: input includes cached tokens, output reasoning.

The OpenTelemetry GenAI conventions define this meaning. If an emitter excludes these parts from input or output,
they are added. PandaProbe sums `prompt_tokens` and `completion_tokens` over all spans, whatever their kind.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, Final, NamedTuple, TypeAlias

from pandaprobe_otel.mapping.values import MAX_COUNT, count, mapping, number, type_of
from pandaprobe_otel.process.guard import counted

DETAILS: Final = (
    ("cache_read", "cache_read_tokens"), ("cache_write", "cache_creation_tokens"), ("reasoning", "reasoning_tokens"),
    ("audio", "audio_tokens"), ("accepted_prediction", "accepted_prediction_tokens"),
    ("rejected_prediction", "rejected_prediction_tokens"),
)  # fmt: skip
_EXCLUSIVE_SCOPES: Final = tuple(
    f"opentelemetry.instrumentation.{name}" for name in ("botocore", "bedrock", "genai.bedrock")
)
"""Instrumentations that pass on Bedrock's own numbers, which exclude cached tokens from the input."""
_WITHOUT_THOUGHTS: Final = tuple(
    f"opentelemetry.instrumentation.{name}" for name in ("google_generativeai", "vertexai")
)
"""Instrumentations that pass on Gemini's own numbers: only the total includes the thoughts."""


def token_usage(counts: dict[str, int], bag: Mapping[str, int] | None, scope: str) -> dict[str, int] | None:
    """Return a span's counts under PandaProbe's names; None if it has none. Never invents zeros.

    `counts` comes from single attributes. `bag` comes from an object with a provider's numbers and fills the gaps.
    """
    if bag is not None:
        counts = _with_bag(counts, bag)
    if not counts:
        return None
    prompt, completion = counts.get("prompt"), counts.get("completion")
    if counts.keys() == _MEANING.keys():  # the two sides alone, as most calls have them
        return _named(prompt, completion, counts)
    cached = counts.get("cache_read", 0) + counts.get("cache_write", 0)
    if prompt is not None and cached:
        exclusive = counts.get("cache_excluded") or scope.startswith(_EXCLUSIVE_SCOPES)
        if exclusive or _is_exclusive(prompt, completion or 0, cached, counts.get("total")):
            prompt = min(prompt + cached, MAX_COUNT)
    if completion is not None and "reasoning" not in counts and scope.startswith(_WITHOUT_THOUGHTS):
        thoughts = counts.get("total", 0) - (prompt or 0) - completion
        if thoughts > 0:
            counts = {**counts, "reasoning": thoughts, "reasoning_excluded": 1}
    return _named(prompt, _with_reasoning(completion, counts), counts)


def _with_reasoning(completion: int | None, counts: Mapping[str, int]) -> int | None:
    reasoning = counts.get("reasoning", 0)
    bare = counts.get("completion_without_reasoning")
    if bare is not None and completion in (None, bare):
        return min(bare + reasoning, MAX_COUNT)
    if completion is not None and counts.get("reasoning_excluded"):
        return min(completion + reasoning, MAX_COUNT)
    return completion


def _named(prompt: int | None, completion: int | None, counts: Mapping[str, int]) -> dict[str, int] | None:
    usage: dict[str, int] = {}
    if prompt is not None:
        usage["prompt_tokens"] = prompt
    if completion is not None:
        # The server adds both as int4 (measured on server 0.5.0), so their sum must fit too.
        usage["completion_tokens"] = completion = min(completion, MAX_COUNT - (prompt or 0))
    has_more = len(counts) > len(usage)
    if usage:
        usage["total_tokens"] = (prompt or 0) + (completion or 0)
    elif (total := counts.get("total")) is not None:
        usage["total_tokens"] = total
    for counter, name in DETAILS if has_more else ():
        if value := counts.get(counter):
            usage[name] = value
    return usage or None


def _is_exclusive(prompt: int, completion: int, cached: int, total: int | None) -> bool:
    """Return whether the numbers themselves show that the input excludes the cached tokens."""
    if cached > prompt:
        return True
    return total is not None and total == prompt + cached + completion != prompt + completion


def _with_bag(counts: Mapping[str, int], bag: Mapping[str, int]) -> dict[str, int]:
    # Marks in a bag about the meaning of numbers apply only to the bag's own numbers.
    foreign = {_MEANING[counter] for counter in _MEANING if counter in counts}
    return {**{counter: value for counter, value in bag.items() if counter not in foreign}, **counts}


_MEANING: Final = {"prompt": "cache_excluded", "completion": "reasoning_excluded"}


def counts_from(bag: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, int]:
    """Return the counters in an object with a provider's numbers. The first of several names for a counter wins."""
    counts: dict[str, int] = {}
    for name, counter in names.items():
        value = count(bag.get(name))
        if value is not None:
            counts.setdefault(counter, value)
    return counts


BAG_NAMES: Final = {
    "input_tokens": "prompt", "prompt_tokens": "prompt", "inputTokens": "prompt", "promptTokens": "prompt",
    "output_tokens": "completion", "completion_tokens": "completion", "outputTokens": "completion",
    "completionTokens": "completion", "total_tokens": "total", "totalTokens": "total",
    "cache_read_input_tokens": "cache_read", "cache_read_tokens": "cache_read", "cached_tokens": "cache_read",
    "cachedInputTokens": "cache_read", "cacheReadInputTokens": "cache_read",
    "cache_creation_input_tokens": "cache_write", "cache_creation_tokens": "cache_write",
    "cache_write_tokens": "cache_write", "cache_write_input_tokens": "cache_write",
    "cacheWriteInputTokens": "cache_write", "reasoning_tokens": "reasoning", "reasoningTokens": "reasoning",
}  # fmt: skip
"""Names of counters in such objects, from all known providers. Unknown names are ignored, never added up."""

DETAIL_BAGS: Final = {
    "input_token_details": {"cache_read": "cache_read", "cache_creation": "cache_write", "audio": "audio"},
    "output_token_details": {"reasoning": "reasoning", "audio": "audio"},
    "prompt_tokens_details": {"cached_tokens": "cache_read", "audio_tokens": "audio"},
    "input_tokens_details": {"cached_tokens": "cache_read"},
    "completion_tokens_details": {
        "reasoning_tokens": "reasoning",
        "audio_tokens": "audio",
        "accepted_prediction_tokens": "accepted_prediction",
        "rejected_prediction_tokens": "rejected_prediction",
    },
    "output_tokens_details": {"reasoning_tokens": "reasoning"},
}


def provider_counts(bag: Any) -> dict[str, int] | None:
    """Return the counters of a usage object in the form of a provider or LangChain, including details."""
    if type_of(bag) is not dict:
        return None
    counts = counts_from(bag, BAG_NAMES)
    for key, names in DETAIL_BAGS.items():
        details = bag.get(key)
        if type_of(details) is dict:
            for counter, value in counts_from(details, names).items():
                counts.setdefault(counter, value)
    return counts or None


def encoded_counts(value: Any) -> dict[str, int] | None:
    """Return the counters of such an object, given as an object or as JSON text."""
    return provider_counts(mapping(value))


# -- costs in US dollars ----------------------------------------------------------------------------------------------

_COSTS: Final = {
    "prompt": "input", "completion": "output", "input_cost": "input", "output_cost": "output", "total_cost": "total",
}  # fmt: skip
_MAX_COST: Final = 1e12


def amounts(value: Any) -> dict[str, float] | None:
    """Return the amounts of an object under PandaProbe's names; a missing `total` is computed as the sum.

    Only finite, non-negative numbers are kept. With any other cost, the server loses the trace (measured on server
    0.5.0).
    """
    source = mapping(value)
    if source is None:
        return None
    costs: dict[str, float] = {}
    for key, item in source.items():
        amount = number(item)
        if amount is not None and 0 <= amount < _MAX_COST:
            costs.setdefault(_COSTS.get(key, key.removesuffix("_cost")), float(amount))
    if costs and "total" not in costs:
        costs["total"] = math.fsum(costs.values())
    return costs or None


def total(value: Any) -> dict[str, float] | None:
    """Return one amount as the total."""
    return amounts({"total": value})


# The price at the start of a call applies, so the same spans always cost the same. The package `genai-prices` (extra
# `cost`) contains its list, and nothing is downloaded.


class Priced(NamedTuple):
    """Cost in US dollars by `input`, `output` and `total`, and the name of its price list."""

    amounts: dict[str, float]
    by: str


Price: TypeAlias = Callable[[str, "str | None", Mapping[str, int], int], "Priced | None"]
"""(model, provider, token usage, start in nanoseconds) -> cost; None for a model that is not in the list."""


def listed_price(model: str, provider: str | None, usage: Mapping[str, int], start_ns: int) -> Priced | None:
    """Look up the price, first from the provider, then from any seller of a model with this name. Never raises."""
    prices = load_prices()
    if prices is None:
        return None
    counts = [usage.get(name) or 0 for name in _COUNTED]
    for seller in (provider, None) if provider else (None,):
        try:
            rates = _rates(model, seller, start_ns // _MINUTE_NS)
            # The package is exact but takes 40 us; a product with its rates takes two.
            amounts = _calculated(counts, model, seller, start_ns) if rates is None else _product(rates, counts)
        except LookupError:  # not listed
            continue
        except Exception as error:  # noqa: BLE001 - a missing price must not cost the trace
            counted("the price of a call", error)
            continue
        names = ("input", "output", "total")
        return Priced(
            {name: float(part) for name, part in zip(names, amounts, strict=True)}, f"genai-prices {prices.__version__}"
        )
    return None


_COUNTED: Final = ("prompt_tokens", "completion_tokens", "cache_read_tokens", "cache_creation_tokens")
_MINUTE_NS: Final = 60_000_000_000
_MILLION: Final = 1_000_000
_Amounts: TypeAlias = tuple[Decimal, Decimal, Decimal]
_Rates: TypeAlias = tuple[Decimal, Decimal, Decimal, Decimal]


def _calculated(counts: Sequence[int], model: str, seller: str | None, start_ns: int) -> _Amounts:
    """Return the price by the package: of the input, of the output, and the total."""
    prices = load_prices()
    prompt, completion, read, written = counts
    amount = prices.Usage(
        input_tokens=prompt, output_tokens=completion, cache_read_tokens=read, cache_write_tokens=written
    )
    at = datetime.fromtimestamp(start_ns // 1_000_000_000, UTC)
    found = prices.calc_price(amount, model_ref=model, provider_id=seller, genai_request_timestamp=at)
    return found.input_price, found.output_price, found.total_price


@lru_cache(maxsize=256)
def _rates(model: str, seller: str | None, minute: int) -> _Rates | None:
    """Return the price of one token of each kind in a minute; None if it depends on the number of tokens or requests.

    Raises LookupError for a model that is not listed.
    """
    few, many = (
        [
            _calculated(counts, model, seller, minute * _MINUTE_NS)
            for counts in ((n, 0, 0, 0), (0, n, 0, 0), (n, 0, n, 0), (n, 0, 0, n))
        ]
        for n in (_MILLION, 9 * _MILLION)
    )
    one = _calculated((100, 100, 0, 0), model, seller, minute * _MINUTE_NS)
    prompt, completion, read, written = (total / _MILLION for _, _, total in few)
    rates = (prompt, completion, read, written)
    is_linear = all(total == 9 * less[2] for (_, _, total), less in zip(many, few, strict=True))
    return rates if is_linear and one == _product(rates, (100, 100, 0, 0)) else None


def _product(rates: _Rates, counts: Sequence[int]) -> _Amounts:
    """Return the price by rates. Tokens that are read from a cache or written to it are part of the prompt."""
    prompt, completion, read, written = counts
    plain = prompt - read - written
    if plain < 0:
        raise ValueError(f"{read} tokens of a cache and {written} for it exceed a prompt of {prompt}")
    of_input = rates[0] * plain + rates[2] * read + rates[3] * written
    of_output = rates[1] * completion
    return of_input, of_output, of_input + of_output


@cache
def load_prices() -> Any:
    """Load the price list (half a second of CPU), once, and return it; None if it is not installed."""
    try:
        return import_module("genai_prices")
    except ImportError:
        return None
