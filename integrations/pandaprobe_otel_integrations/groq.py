"""OpenTelemetry spans for the `groq` client."""

from __future__ import annotations

from pandaprobe_otel_integrations._openai_protocol.endpoints import Embeddings, ForeignChatCompletions, PostedEndpoints
from pandaprobe_otel_integrations._openai_protocol.media import MEDIA
from pandaprobe_otel_integrations._stainless import StainlessIntegration

__all__ = ["GroqInstrumentor"]


class GroqInstrumentor(StainlessIntegration):
    """Chat completions, embeddings and sound, sync and async. See `Integration` for the options of `instrument()`."""

    library = "groq"
    hooked_modules = ("groq._base_client",)
    provider = "groq"
    posted = PostedEndpoints({"/chat/completions": ForeignChatCompletions(), "/embeddings": Embeddings(), **MEDIA})
