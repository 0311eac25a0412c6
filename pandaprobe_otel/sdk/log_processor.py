"""Log processor for content in log records: GenAI events, which are joined to their spans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk._logs import LogRecordProcessor

if TYPE_CHECKING:
    from pandaprobe_otel.pipeline.opening import Pipeline

_PREFIX: Final = "gen_ai."


class PandaProbeLogProcessor(LogRecordProcessor):
    """Processor for a `LoggerProvider` that turns GenAI events into content of the spans that emitted them.

    Some instrumentations write messages as log records, not on spans. All other records are left alone. The calling
    thread pays for one check of the record's name and one append.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.lead_to(pipeline)

    def lead_to(self, pipeline: Pipeline) -> None:
        """Pass records to this pipeline from now on."""
        self._logged = pipeline.logged

    def on_emit(self, log_record: Any) -> None:
        """Keep the record if it is a GenAI event."""
        record = getattr(log_record, "log_record", log_record)
        attributes: Any = getattr(record, "attributes", None)
        name: Any = getattr(record, "event_name", None) or (attributes.get("event.name") if attributes else None)
        if isinstance(name, str) and name.startswith(_PREFIX):
            self._logged(log_record)

    def shutdown(self) -> None:
        """Do nothing, because no records are held here."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return True, because records are delivered with their spans, not from here."""
        return True
