"""From OpenTelemetry's span processors and exporters to complete traces."""

from __future__ import annotations

from pandaprobe_otel.tracing.exporter import PandaProbeSpanExporter
from pandaprobe_otel.tracing.processor import PandaProbeSpanProcessor

__all__ = ["PandaProbeSpanExporter", "PandaProbeSpanProcessor"]
