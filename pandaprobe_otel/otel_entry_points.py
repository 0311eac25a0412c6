"""What OpenTelemetry's launcher (`opentelemetry-instrument`) loads by entry point.

An exception in either class would stop the app's other telemetry, so neither raises; neither touches the network.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from pandaprobe_otel.id_generator import draw_from_system
from pandaprobe_otel.sdk.exporter import PandaProbeSpanExporter
from pandaprobe_otel.sdk.pieces import pieces_in

__all__ = ["PandaProbeInstrumentor", "PandaProbeSpanExporter"]

_logger = logging.getLogger("pandaprobe_otel")


class PandaProbeInstrumentor(BaseInstrumentor):
    """Adds the span processor to the provider that the launcher made, as `init()` would.

    Steps aside when the exporter is in the pipeline already (`OTEL_TRACES_EXPORTER=pandaprobe` or OpenTelemetry's
    configuration file, and a configurator that obeyed it), so that nothing is sent twice. Switched off by
    `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=pandaprobe`.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """None: it instruments nothing itself."""
        return []

    def _instrument(self, **kwargs: Any) -> None:
        try:
            provider = kwargs.get("tracer_provider") or trace.get_tracer_provider()
            if _is_in_place(provider):
                _logger.debug("The tracer provider has an exporter or processor of ours already: it counts")
                draw_from_system(provider)
                return
            from pandaprobe_otel.bootstrap import init

            # The launcher instruments the libraries by their own entry points.
            init(instrument=False, strict=False, tracer_provider=kwargs.get("tracer_provider"))
        except Exception:  # the guard of the launcher: whatever fails here must not stop the instrumentors after it
            _logger.exception("pandaprobe-otel could not be set up")

    def _uninstrument(self, **kwargs: Any) -> None:
        """A processor cannot be taken out of a provider; the pipeline is shut down instead."""
        from pandaprobe_otel.bootstrap import shutdown

        shutdown()


def _is_in_place(provider: Any) -> bool:
    """Whether the provider has a piece of ours, by OTEL_TRACES_EXPORTER, a configuration file or the app's own code.

    Without a configurator nobody obeys either: there is no provider then, and so no piece.
    """
    return any(True for _ in pieces_in(getattr(provider, "_active_span_processor", None)))
