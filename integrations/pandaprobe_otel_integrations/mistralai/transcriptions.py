"""`POST /audio/transcriptions`: OpenAI's protocol, except for the events of a stream."""

from __future__ import annotations

from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._openai_protocol.audio import Transcription
from pandaprobe_otel_integrations._shape import obj, string
from pandaprobe_otel_integrations._streams.sse import Event, Events


class MistralTranscription(Transcription):
    """Sound as text."""

    def merged(self, events: Events) -> Body:
        """Return the whole text of the last event, or the text received so far."""
        read = [obj(event.data) for event in events.items]
        last = next((event for event in reversed(read) if event.get("type") == "transcription.done"), None)
        if last is not None:
            return last
        return {"text": "".join(string(event.get("text")) or "" for event in read if _is_piece(event))}

    def is_output(self, event: Event) -> bool:
        """Return whether the event is the first piece of text."""
        return _is_piece(obj(event.data))


def _is_piece(event: Body) -> bool:
    return event.get("type") == "transcription.text.delta"
