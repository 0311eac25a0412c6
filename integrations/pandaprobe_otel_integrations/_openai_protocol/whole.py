"""What endpoints have in common whose answers come in one piece."""

from __future__ import annotations

from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._shape import obj
from pandaprobe_otel_integrations._streams.body import LastEvent
from pandaprobe_otel_integrations._streams.sse import Event, Events


class Whole:
    """Nothing is streamed. Should a service do so all the same, the last event stands for the answer."""

    last_event: LastEvent | None = None

    def merged(self, events: Events) -> Body:
        """The last event."""
        return obj(events.items[-1].data) if events.items else {}

    def is_output(self, event: Event) -> bool:
        """There is no first token."""
        return False
