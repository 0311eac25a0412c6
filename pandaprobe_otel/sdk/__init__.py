"""The objects that OpenTelemetry's SDK calls: span processor, exporter, log processor."""

from __future__ import annotations

from pandaprobe_otel.sdk.exporter import PandaProbeSpanExporter
from pandaprobe_otel.sdk.processor import PandaProbeSpanProcessor

__all__ = ["PandaProbeSpanExporter", "PandaProbeSpanProcessor"]
