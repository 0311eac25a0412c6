"""All protocols, and the one of a request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel.protocols.anthropic import ANTHROPIC
from pandaprobe_otel.protocols.bedrock import BEDROCK
from pandaprobe_otel.protocols.chat import CHAT
from pandaprobe_otel.protocols.cohere import COHERE
from pandaprobe_otel.protocols.gemini import GEMINI
from pandaprobe_otel.protocols.ollama import OLLAMA
from pandaprobe_otel.protocols.protocol import ParsedRequest, Protocol
from pandaprobe_otel.protocols.responses import RESPONSES

PROTOCOLS: Final[tuple[Protocol, ...]] = (BEDROCK, ANTHROPIC, GEMINI, CHAT, RESPONSES, OLLAMA, COHERE)


def read_request(path: str, body: Mapping[str, Any]) -> ParsedRequest | None:
    """Return a POST with a JSON object as its protocol parses it; None for an unknown protocol."""
    for protocol in PROTOCOLS:
        if (parsed := protocol.read_request(path, body)) is not None:
            return parsed
    return None
