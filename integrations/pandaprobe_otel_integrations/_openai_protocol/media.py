"""The endpoints for pictures and sound, which other services have too."""

from __future__ import annotations

from typing import Final

from pandaprobe_otel_integrations._endpoint import Endpoint

from .audio import Speech, Transcription
from .images import Images

MEDIA: Final[dict[str, Endpoint]] = {
    "/images/generations": Images(),
    "/images/edits": Images(),
    "/images/variations": Images(),
    "/audio/speech": Speech(),
    "/audio/transcriptions": Transcription(),
    "/audio/translations": Transcription(),
}
"""By the end of their path."""
