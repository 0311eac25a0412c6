"""OpenTelemetry spans for the `fireworks-ai` client."""

from __future__ import annotations

from pandaprobe_otel_integrations._openai_protocol.endpoints import (
    ForeignChatCompletions,
    ForeignCompletions,
    PostedEndpoints,
)
from pandaprobe_otel_integrations._stainless import StainlessIntegration
from pandaprobe_otel_integrations.anthropic.messages import Messages

__all__ = ["FireworksInstrumentor"]


class FireworksInstrumentor(StainlessIntegration):
    """Chat completions, completions and messages, sync and async.

    See `Integration` for the options of `instrument()`.
    """

    library = "fireworks"
    hooked_modules = ("fireworks._base_client",)
    provider = "fireworks_ai"
    posted = PostedEndpoints(
        {"/chat/completions": ForeignChatCompletions(), "/completions": ForeignCompletions(), "/messages": Messages()},
    )
