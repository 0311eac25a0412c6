"""Sampler of the providers that `init()` makes: it decides as the SDK's own, and counts what it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler

from pandaprobe_otel.process.guard import mistake

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.sampling import SamplingResult


def sampler(count: Callable[[], None]) -> Sampler:
    """Return OpenTelemetry's default sampler; `count` is called for each span whose parent is not sampled."""
    off = _CountedOff(count)
    return ParentBased(ALWAYS_ON, remote_parent_not_sampled=off, local_parent_not_sampled=off)


class _CountedOff(Sampler):
    def __init__(self, count: Callable[[], None]) -> None:
        self._count = count

    def should_sample(self, *args: Any, **options: Any) -> SamplingResult:
        self._count()
        mistake(
            "spans are not recorded, because the caller of this service did not sample its own (its traceparent ends "
            "in -00). status() counts them as sampled_by_parent. OTEL_TRACES_SAMPLER=always_on records them."
        )
        return ALWAYS_OFF.should_sample(*args, **options)

    def get_description(self) -> str:
        return "AlwaysOff, counted"
