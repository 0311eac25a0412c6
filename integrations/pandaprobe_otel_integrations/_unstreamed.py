"""Endpoints whose answers come in one piece."""

from __future__ import annotations

from ._endpoint import Body
from ._shape import obj
from ._streams.body import LastEvent
from ._streams.sse import Event, Events, last_data


class Unstreamed:
    """An endpoint without streaming. If a service streams anyway, the last event is the answer."""

    last_event: LastEvent | None = None

    def merged(self, events: Events) -> Body:
        """Return the last event."""
        return obj(last_data(events))

    def is_output(self, event: Event) -> bool:
        """Return False: there is no first token."""
        return False
