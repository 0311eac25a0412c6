"""Batches: `POST /batches` submits a file of requests, and `GET /batches/{id}` finally reports the usage.

Neither is a model call, so their spans name no model: the price of the model's tokens does not apply to a batch.
"""

from __future__ import annotations

from typing import Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body
from pandaprobe_otel_integrations._openai_protocol.body_errors import failure_in
from pandaprobe_otel_integrations._openai_protocol.usage import COUNTED, usage_attributes
from pandaprobe_otel_integrations._other_members import beside, parameters, rest
from pandaprobe_otel_integrations._seen_ids import SeenIds
from pandaprobe_otel_integrations._shape import integer, obj, string
from pandaprobe_otel_integrations._unstreamed import Unstreamed

_DONE: Final = frozenset({"completed", "failed", "expired", "cancelled"})
_READ: Final = frozenset({"endpoint", "input_file_id"})
_ANSWER: Final = _READ | {"id", "object", "status", "usage", "error"}
_COUNTS: Final = frozenset({"completed", "failed"})
_OUTCOMES: Final = {"cancelled": ours.CANCELLED, "expired": ours.TIMED_OUT}
_seen: Final = SeenIds()


class CreatedBatch(Unstreamed):
    """The submission of a batch."""

    operation = "create_batch"

    def request_attributes(self, body: Body) -> Attributes:
        """Return the endpoint of the requests, and the file that contains them."""
        return {
            names.BATCH_ENDPOINT: string(body.get("endpoint")),
            names.BATCH_INPUT_FILE: string(body.get("input_file_id")),
        }

    def request_content(self, body: Body) -> Content:
        """Return nothing: the requests are in the file."""
        return parameters(body, _READ)

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the batch's id and status."""
        content: Content = beside(body, _ANSWER, COUNTED) if with_content else {}
        failure = failure_in(body.get("error"))
        return Answer(attributes=_state(body), content=content, failure=failure, goes_on=string(body.get("id")))


class FetchedBatch(CreatedBatch):
    """A request for an existing batch.

    It is recorded once, when the batch is done: apps poll many times, but the batch costs once.
    """

    operation = "fetch_batch"

    def is_news(self, body: Body) -> bool:
        """Return whether the batch is done, and this process sees that for the first time."""
        return string(body.get("status")) in _DONE and _seen.is_first(string(body.get("id")))

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the batch's status, the number of requests by result, and all their tokens."""
        counts = obj(body.get("request_counts"))
        return Answer(
            attributes={
                **self.request_attributes(body),
                **_state(body),
                **usage_attributes(body.get("usage")),
                names.BATCH_COMPLETED: integer(counts.get("completed")),
                names.BATCH_FAILED: integer(counts.get("failed")),
                ours.OUTCOME: _OUTCOMES.get(string(body.get("status")) or ""),
            },
            content=beside({**body, "request_counts": rest(counts, _COUNTS)}, _ANSWER, COUNTED) if with_content else {},
        )


def _state(body: Body) -> Attributes:
    return {names.RESPONSE_ID: string(body.get("id")), names.RESPONSE_STATUS: string(body.get("status"))}
