"""The objects that OpenTelemetry's SDK calls: span processor, exporter, log processor."""
