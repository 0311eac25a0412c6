"""Objects that OpenTelemetry's SDK calls: span processor, exporter and log processor."""
