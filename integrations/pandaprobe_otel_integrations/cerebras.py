"""OpenTelemetry spans for the `cerebras-cloud-sdk` client."""

from __future__ import annotations

from pandaprobe_otel_integrations._openai_protocol.endpoints import (
    ForeignChatCompletions,
    ForeignCompletions,
    PostedEndpoints,
)
from pandaprobe_otel_integrations._stainless import StainlessIntegration

__all__ = ["CerebrasInstrumentor"]


class CerebrasInstrumentor(StainlessIntegration):
    """Chat completions and completions, sync and async. See `Integration` for the options of `instrument()`."""

    library = "cerebras"
    hooked_modules = ("cerebras.cloud.sdk._base_client",)
    provider = "cerebras"
    posted = PostedEndpoints({"/chat/completions": ForeignChatCompletions(), "/completions": ForeignCompletions()})
