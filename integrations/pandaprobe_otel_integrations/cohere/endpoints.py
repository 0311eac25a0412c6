"""The client's requests that are model calls, by the end of their path."""

from __future__ import annotations

from typing import Final

from pandaprobe_otel_integrations._openai_protocol.audio import Transcription
from pandaprobe_otel_integrations._openai_protocol.paths import PostedEndpoints
from pandaprobe_otel_integrations._rerank import Rerank

from .chat import Chat
from .chat_v1 import ChatV1
from .texts import Embed, Parse

ENDPOINTS: Final = PostedEndpoints(
    {
        "v2/chat": Chat(),
        "chat": ChatV1(),
        "v2/parse": Parse(),
        "audio/transcriptions": Transcription(),
        "embed": Embed(),
        "rerank": Rerank(),
    }
)
