"""The tracer of the decorators: from the global provider, or from one chosen for this library."""

from __future__ import annotations

from typing import Final

from opentelemetry.trace import ProxyTracerProvider, Tracer, TracerProvider, get_tracer_provider

from pandaprobe_otel.capture import first_use
from pandaprobe_otel.process.guard import failed

SCOPE_NAME: Final = "pandaprobe_otel"
"""Instrumentation scope of every span that the decorators and blocks make."""


class _State:
    __slots__ = ("are_contexts_shared", "cached", "chosen", "is_first_use_over")

    def __init__(self) -> None:
        self.are_contexts_shared = False
        """True if spans of another provider are among ours, so some parents never reach us."""
        self.is_first_use_over = False
        self.chosen: TracerProvider | None = None
        """The provider chosen for this library; None for the global one."""
        self.cached: tuple[TracerProvider, Tracer] | None = None


state: Final = _State()


def use_tracer_provider(provider: TracerProvider | None) -> None:
    """Use this provider instead of the global one; with None, use the global one again."""
    state.chosen = provider


def current_tracer() -> Tracer | None:
    """Return the tracer to make spans with; None until a tracer provider is set up."""
    provider = state.chosen
    if provider is None:
        try:
            provider = get_tracer_provider()
        except Exception as error:  # noqa: BLE001 - protects the app: OTEL_PYTHON_TRACER_PROVIDER may name anything
            failed("the search for OpenTelemetry's tracer provider", error)
            return None
    cached = state.cached
    if cached is not None and cached[0] is provider:
        return cached[1]
    if not state.is_first_use_over:
        first_use.begin()
        state.is_first_use_over = first_use.is_over()
        provider = state.chosen or get_tracer_provider()
    if isinstance(provider, ProxyTracerProvider):
        return None
    tracer = provider.get_tracer(SCOPE_NAME)
    state.cached = (provider, tracer)
    return tracer
