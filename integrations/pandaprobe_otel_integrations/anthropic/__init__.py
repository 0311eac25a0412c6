"""OpenTelemetry spans for the `anthropic` client, on Anthropic's API, Bedrock, Vertex and Foundry."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from opentelemetry.context import get_current
from opentelemetry.trace import NoOpTracerProvider, ProxyTracerProvider, TracerProvider, get_tracer_provider

from pandaprobe_otel_integrations._http import call_in
from pandaprobe_otel_integrations._llm_span import is_claimed
from pandaprobe_otel_integrations._patching import Patch, replace, when_imported
from pandaprobe_otel_integrations._rivals import LangSmithWrapper, Rival
from pandaprobe_otel_integrations._stainless import StainlessIntegration

from . import tool_runner
from .api import AnthropicApi
from .span_stand_in import STANDING_IN
from .vendor_calls import below_vendors_span, watch_calls

__all__ = ["AnthropicInstrumentor"]


class AnthropicInstrumentor(StainlessIntegration):
    """Messages, sync and async, in every form they are called, beta and platform clients included.

    From 1.14, the client makes its own spans, without content by default and never with streamed output. It makes none
    for a call that is recorded here, or by a framework's instrumentation into the same tracer provider, so that each
    call has one span. The request's trace headers then name the recorded span. The client's spans of other work
    (token counts, sessions, tool runners) stay, and those of tool runners get the messages.

    See `Integration` for the options of `instrument()`.
    """

    library = "anthropic"
    requirements = ("anthropic >= 0.27",)
    hooked_modules = ("anthropic._base_client", tool_runner.MODULE)
    repeated_by = ("logfire.anthropic",)
    rivals = (
        Rival(
            vendor="OpenInference",
            module="openinference.instrumentation.anthropic",
            class_name="AnthropicInstrumentor",
        ),
        Rival(
            vendor="OpenLLMetry",
            module="opentelemetry.instrumentation.anthropic",
            class_name="AnthropicInstrumentor",
        ),
        LangSmithWrapper(),
        Rival(
            vendor="OpenTelemetry GenAI",
            module="opentelemetry.instrumentation.genai.anthropic",
            class_name="AnthropicInstrumentor",
        ),
    )
    api = AnthropicApi()

    def _instrument(self, **kwargs: Any) -> None:
        super()._instrument(**kwargs)
        for rival in self.rivals:
            when_imported(rival.module, self._watch_vendor)

    def _watch_vendor(self, module: ModuleType) -> None:
        if self._open:
            watch_calls(self._tracer_provider or get_tracer_provider(), [rival.module for rival in self.rivals])

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        if module.__name__ == tool_runner.MODULE:
            hooks = tool_runner.ToolRunnerHooks(self._recorder, self._lets_through, self._makes_spans)
            yield from hooks.patches(module)
            return
        yield from super()._hook(module)
        own: Any = getattr(module.BaseClient, "_tracer", None)
        if isinstance(own, property):
            yield replace(module.BaseClient, "_tracer", property(self._silent_for_our_calls(own)))

    def _silent_for_our_calls(self, own: property) -> Any:
        def tracer(client: Any) -> Any:
            context = get_current()
            if call_in(context, client) is not None or is_claimed(context):
                if self._shares_provider(client):
                    return own.__get__(client) and STANDING_IN
                if _records_nothing(client):
                    return None
            made = own.__get__(client)
            if made is None or (rival := self._active_rival()) is None or not self._shares_provider(client):
                return made
            return STANDING_IN if isinstance(rival, LangSmithWrapper) else below_vendors_span(made)

        return tracer

    def _makes_spans(self, client: Any) -> bool:
        """Return whether the client makes its own spans with the same provider as ours."""
        return getattr(client, "_tracer", None) is not None and self._shares_provider(client)

    def _shares_provider(self, client: Any) -> bool:
        return _provider_of(client) is (self._tracer_provider or get_tracer_provider())


def _provider_of(client: Any) -> TracerProvider:
    theirs: TracerProvider | None = client._open_telemetry.get("tracer_provider")  # pyright: ignore[reportPrivateUsage]
    return theirs or get_tracer_provider()


def _records_nothing(client: Any) -> bool:
    """Return whether the client has no provider: its span would only write headers into the request."""
    provider = _provider_of(client)
    unset = isinstance(provider, ProxyTracerProvider) and provider is get_tracer_provider()
    return unset or isinstance(provider, NoOpTracerProvider)
