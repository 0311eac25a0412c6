"""What OpenTelemetry's launcher (`opentelemetry-instrument`) loads by entry point.

An exception in either class would stop the app's other telemetry, so neither raises; neither touches the network.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from pandaprobe_otel.tracing.exporter import PandaProbeSpanExporter

__all__ = ["PandaProbeInstrumentor", "PandaProbeSpanExporter"]

_logger = logging.getLogger("pandaprobe_otel")


class PandaProbeInstrumentor(BaseInstrumentor):
    """Adds the span processor to the provider that the launcher made, as `init()` would.

    Steps aside when the exporter is in the pipeline already (`OTEL_TRACES_EXPORTER=pandaprobe`, and a configurator
    that obeyed it), so that nothing is sent twice. Switched off by `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=pandaprobe`.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: it instruments nothing itself."""
        return []

    def _instrument(self, **kwargs: Any) -> None:
        if _exporter_is_in_place():
            _logger.debug("OTEL_TRACES_EXPORTER names pandaprobe: its exporter is in the pipeline already")
            return
        try:
            from pandaprobe_otel.bootstrap import init

            # The launcher instruments the libraries by their own entry points.
            init(instrument=False, strict=False, tracer_provider=kwargs.get("tracer_provider"))
        except Exception:  # the guard of the launcher: whatever fails here must not stop the instrumentors after it
            _logger.exception("pandaprobe-otel could not be set up")

    def _uninstrument(self, **kwargs: Any) -> None:
        """A processor cannot be taken out of a provider; the pipeline is shut down instead."""
        from pandaprobe_otel.bootstrap import shutdown

        shutdown()


def _exporter_is_in_place() -> bool:
    """Without `opentelemetry-distro` nobody obeys the variable: there is no provider then, and so no exporter."""
    exporters = {name.strip() for name in os.environ.get("OTEL_TRACES_EXPORTER", "").split(",")}
    return "pandaprobe" in exporters and hasattr(trace.get_tracer_provider(), "add_span_processor")
