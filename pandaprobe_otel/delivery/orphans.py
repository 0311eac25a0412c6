"""Traces adopted because no process posted their root, and span names for which this is usual."""

from __future__ import annotations

from collections import Counter, OrderedDict
from dataclasses import replace
from typing import Final

from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, adopted_id

STRANGER_AFTER_ADOPTIONS: Final = 3
_REMEMBERED_ADOPTIONS: Final = 10_000


class Orphans:
    """Adopted traces. Not thread-safe: the policy calls it under its lock."""

    def __init__(self, project: str) -> None:
        self._project = project
        self.ids: OrderedDict[str, str] = OrderedDict()
        """Derived id of each adopted trace."""
        self._is_posted: dict[str, bool] = {}
        """True for each derived id under which the server has accepted a create."""
        self._in_a_row: Counter[str] = Counter()

    def followed(self, request: OutgoingRequest) -> OutgoingRequest:
        """Return a request of an adopted trace under the derived id, even a root that reaches a gateway later."""
        derived = self.ids[request.trace_id]
        fields = request.fields.replace(request.trace_id.encode(), derived.encode(), 1)
        return replace(request, trace_id=derived, fields=fields, is_remote=False)

    def has_strange_root(self, request: OutgoingRequest) -> bool:
        """Return whether the last roots above spans of this name never came: their processes do not send spans here."""
        return self._in_a_row[request.name] >= STRANGER_AFTER_ADOPTIONS

    def adopted(self, request: OutgoingRequest) -> None:
        """Note that the request's trace is a separate trace from now on."""
        self._in_a_row[request.name] += 1
        derived = adopted_id(request.trace_id, self._project)
        self.ids[request.trace_id] = derived
        self._is_posted.setdefault(derived, False)
        if len(self.ids) > _REMEMBERED_ADOPTIONS:
            _, oldest = self.ids.popitem(last=False)
            del self._is_posted[oldest]

    def is_first_post(self, trace_id: str) -> bool:
        """Note an accepted create; return False if an earlier create of the same adopted trace was accepted."""
        is_posted = self._is_posted.get(trace_id)
        if is_posted is None:
            return True
        self._is_posted[trace_id] = True
        return not is_posted

    def found(self, request: OutgoingRequest) -> None:
        """Note that the root above a request was on the server."""
        self._in_a_row.pop(request.name, None)
