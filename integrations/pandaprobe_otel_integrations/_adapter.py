"""Adapters of the official SDK: objects with values for the traces, and a method `instrument()`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pandaprobe_otel.capture.trace_context import trace_values
from pandaprobe_otel.capture.tracers import begin_first_use

if TYPE_CHECKING:
    from pandaprobe_otel import PandaProbe

_logger = logging.getLogger("pandaprobe_otel")


def use(client: PandaProbe | None) -> None:
    """Check the `client=` of an adapter or handler. It has no effect: traces always go where `init()` sends them."""
    if client is None:
        begin_first_use()
        return
    from pandaprobe_otel.bootstrap import current

    if client is not current():
        _logger.warning(
            "pandaprobe-otel: client= of an adapter is ignored: %s is not the handle that init() returned last. The "
            "adapter's traces go where init() sends them.",
            type(client).__name__,
        )


class Adapter:
    """Base of the adapters with the official SDK's names.

    You need no adapter if `init()` or `instrument(...)` records every run. `session_id`, `user_id`, `tags` and
    `metadata` apply to all traces that the framework starts after `instrument()`, unless a run sets its own. `client`
    may only be the handle that `init()` returned.
    """

    instrumentor: ClassVar[type[Any]]
    """The `Integration`, which reads `values` (TraceValues or None) when a trace starts."""

    def __init__(
        self,
        *,
        client: PandaProbe | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        use(client)
        self._values = trace_values(session=session_id, user=user_id, tags=tags, metadata=metadata)

    def instrument(self) -> None:
        """Record every run from now on. Raises DependencyConflictError if the framework is missing."""
        instrumentor = self.instrumentor()
        instrumentor.instrument()
        instrumentor.values = self._values
