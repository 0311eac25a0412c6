"""Classes that OpenTelemetry's launcher (`opentelemetry-instrument`) loads through entry points.

An exception in either class would stop the app's other telemetry, so neither raises. Neither uses the network.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from opentelemetry import trace
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from pandaprobe_otel.id_generator import draw_from_system
from pandaprobe_otel.process.guard import pass_on
from pandaprobe_otel.sdk.exporter import PandaProbeSpanExporter
from pandaprobe_otel.sdk.processor import receivers_in

__all__ = ["PandaProbeInstrumentor", "PandaProbeSpanExporter"]

_logger = logging.getLogger("pandaprobe_otel")


class PandaProbeInstrumentor(BaseInstrumentor):
    """Instrumentor that adds the span processor to the launcher's provider, as `init()` would.

    It does nothing if the provider already has our exporter, so that nothing is sent twice. The exporter may come from
    `OTEL_TRACES_EXPORTER=pandaprobe`, or from OpenTelemetry's configuration file and a configurator that reads it.
    `OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=pandaprobe` disables it.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return no dependencies, because no library is instrumented here."""
        return []

    def _instrument(self, **kwargs: Any) -> None:
        try:
            provider = kwargs.get("tracer_provider") or trace.get_tracer_provider()
            if _is_in_place(provider):
                _logger.debug("The tracer provider already has our exporter or processor, which is used")
                draw_from_system(provider)
                return
            from pandaprobe_otel.bootstrap import init

            # The launcher instruments the libraries by their own entry points.
            init(instrument=False, strict=False, tracer_provider=kwargs.get("tracer_provider"))
        except Exception as error:  # protects the launcher: a failure here must not stop the instrumentors that follow
            pass_on(error)
            _logger.exception("pandaprobe-otel could not be set up")

    def _uninstrument(self, **kwargs: Any) -> None:
        """Shut down the pipeline, because a processor cannot be removed from a provider."""
        from pandaprobe_otel.bootstrap import shutdown

        shutdown()


def _is_in_place(provider: Any) -> bool:
    """Return whether the provider has our processor or exporter, from a variable, a configuration file or app code.

    Without a configurator, nothing reads OTEL_TRACES_EXPORTER or the file, so there is no provider.
    """
    return any(True for _ in receivers_in(getattr(provider, "_active_span_processor", None)))
