"""`pandaprobe.integrations.google_adk`."""

from pandaprobe_otel_integrations.google_adk import GoogleADKAdapter as GoogleADKAdapter
