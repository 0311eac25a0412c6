"""Use of caches: our cache of judgements, and the prompt caches of providers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pandaprobe_otel.evals.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """Numbers of requested and cached judgements of a judge."""

    judge: str
    known: int
    wanted: int

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read the result of `to_dict`."""
        return cls(**{name: plain[name] for name in ("judge", "known", "wanted")})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "rate": self.known / self.wanted}

    def __str__(self) -> str:
        return f"cache of judgements: {_share(self.known, self.wanted)} known, of {self.judge}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCacheUse:
    """Input tokens of a model, and how many of them were cached, over the calls that report both."""

    model: str
    read: int
    tokens: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "rate": self.read / self.tokens}

    def __str__(self) -> str:
        return f"cache of prompts: {_share(self.read, self.tokens)} tokens read, of {self.model}"


def prompt_caches(traces: Iterable[Mapping[str, Any]]) -> list[PromptCacheUse]:
    """Return the use of prompt caches by model, for the models whose calls report it."""
    read: Counter[str] = Counter()
    tokens: Counter[str] = Counter()
    for trace in traces:
        for span in trace.get("spans") or ():
            usage: Mapping[str, Any] = span.get("token_usage") or {}
            from_cache, prompt = usage.get("cache_read_tokens"), usage.get("prompt_tokens")
            if isinstance(from_cache, int) and isinstance(prompt, int) and prompt > 0:
                model = str(span.get("model") or "a model without a name")
                read[model] += from_cache
                tokens[model] += prompt
    return [PromptCacheUse(model=model, read=read[model], tokens=count) for model, count in tokens.items()]


def cache_uses(report: Report) -> Sequence[CacheUse | PromptCacheUse]:
    """Return the use of each cache that a report has."""
    return [*report.cache, *prompt_caches(trace for case in report.cases for trace in case.traces)]


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} ({part / whole:.0%})"
