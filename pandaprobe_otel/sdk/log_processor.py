"""Content that travels as log records: events of the GenAI conventions, joined to their spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk._logs import LogRecordProcessor

if TYPE_CHECKING:
    from pandaprobe_otel.pipeline import Pipeline

_PREFIX: Final = "gen_ai."


class PandaProbeLogProcessor(LogRecordProcessor):
    """Add it to a `LoggerProvider`: GenAI events become content of the spans within which they were emitted.

    Some instrumentations write messages as log records and not on spans. Every other record is left alone. The
    calling thread pays for a look at the record's name and an append.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.lead_to(pipeline)

    def lead_to(self, pipeline: Pipeline) -> None:
        """Hand records over to this pipeline from now on."""
        self._logged = pipeline.logged

    def on_emit(self, log_record: Any) -> None:
        """Keep the record if it is a GenAI event."""
        record = getattr(log_record, "log_record", log_record)
        attributes: Any = getattr(record, "attributes", None)
        name: Any = getattr(record, "event_name", None) or (attributes.get("event.name") if attributes else None)
        if isinstance(name, str) and name.startswith(_PREFIX):
            self._logged(log_record)

    emit = on_emit
    """What SDKs before 1.35 call it."""

    def shutdown(self) -> None:
        """Nothing is held here."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing is held here: the records go with their spans."""
        return True
