"""An OTLP receiver that feeds PandaProbe: for other languages, and for OpenTelemetry Collectors."""

from pandaprobe_otel.gateway.server import Gateway, serve

__all__ = ["Gateway", "serve"]
