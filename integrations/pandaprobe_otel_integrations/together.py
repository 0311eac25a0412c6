"""OpenTelemetry spans for the `together` client."""

from __future__ import annotations

from pandaprobe_otel_integrations._openai_protocol.endpoints import (
    Embeddings,
    ForeignChatCompletions,
    ForeignCompletions,
    PostedEndpoints,
)
from pandaprobe_otel_integrations._openai_protocol.media import MEDIA
from pandaprobe_otel_integrations._rerank import Rerank
from pandaprobe_otel_integrations._stainless import StainlessIntegration

__all__ = ["TogetherInstrumentor"]


class TogetherInstrumentor(StainlessIntegration):
    """Chat completions, completions, embeddings, pictures and sound, sync and async.

    This needs version 2 of the client or newer. With an older version, use `openai` with Together's address. See
    `Integration` for the options of `instrument()`.
    """

    library = "together"
    hooked_modules = ("together._base_client",)
    provider = "together_ai"
    posted = PostedEndpoints(
        {
            "/chat/completions": ForeignChatCompletions(),
            "/completions": ForeignCompletions(),
            "/embeddings": Embeddings(),
            **MEDIA,
            "/rerank": Rerank(),
        },
    )
