"""Methods of the client itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pandaprobe_otel.api.call_steps import Steps
from pandaprobe_otel.api.look_up import Found, look_up
from pandaprobe_otel.api.models import TraceScore
from pandaprobe_otel.api.operation import Resource, operation
from pandaprobe_otel.api.path_values import TraceRef, trace_uuid_of
from pandaprobe_otel.api.scoring import CREATE, give_score
from pandaprobe_otel.capture.scores import score_body
from pandaprobe_otel.enums import ScoreDataType
from pandaprobe_otel.errors import OutcomeUnknown


class ClientOperations(Resource):
    """Shortcuts on the client."""

    @operation
    def score(
        self,
        trace_id: TraceRef,
        name: str,
        value: float | bool | str,
        *,
        data_type: ScoreDataType | str | None = None,
        reason: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        wait: float = 30.0,
    ) -> Steps[TraceScore]:
        """Give a trace a score: a number from 0 to 1, True or False, or a label. See `scores.create`."""
        trace = trace_uuid_of(trace_id, what=str(CREATE))
        body = score_body(trace, name, value, data_type=data_type, reason=reason, metadata=metadata)
        return give_score(self._connection, body, wait)

    @operation
    def look_up(self, error: OutcomeUnknown) -> Steps[Found]:
        """Find the run, score or monitor created by a request whose answer was lost.

        The latest comes first. The list is empty if the request was not executed. It has several entries if the same
        request was sent more than once within two minutes.
        """
        return look_up(self._connection, error)
