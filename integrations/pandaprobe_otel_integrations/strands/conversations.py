"""The conversation that a run of an agent belongs to."""

from __future__ import annotations

from typing import Any

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._conversation_ids import ConversationIds


class Conversations:
    """One conversation per agent: an agent keeps its messages from call to call."""

    def __init__(self) -> None:
        self._ids = ConversationIds()

    def tell(self, agent: Any, span: Any) -> None:
        """Write the conversation on the span of a run, unless the app's own attributes set one."""
        if span.is_recording() and names.CONVERSATION_ID not in span.attributes:
            span.set_attribute(names.CONVERSATION_ID, self._id(agent))

    def _id(self, agent: Any) -> str:
        managed: Any = getattr(getattr(agent, "_session_manager", None), "session_id", None)
        if managed:
            return str(managed)
        # Strands' own id of an agent without a manager has eight digits, so unrelated agents could share a session.
        return self._ids.of(agent)
