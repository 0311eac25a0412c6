"""The endpoints for pictures, videos and sound, which other services also have."""

from __future__ import annotations

from typing import Final

from pandaprobe_otel_integrations._endpoint import Endpoint

from .audio import Speech, Transcription
from .images import Images
from .videos import Videos

VIDEOS: Final = Videos()
MEDIA: Final[dict[str, Endpoint]] = {
    "/images/generations": Images(),
    "/images/edits": Images(),
    "/images/variations": Images(),
    "/videos": VIDEOS,
    "/videos/edits": VIDEOS,
    "/videos/extensions": VIDEOS,
    "/audio/speech": Speech(),
    "/audio/transcriptions": Transcription(),
    "/audio/translations": Transcription(),
}
"""The endpoints by the end of their path."""
