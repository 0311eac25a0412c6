"""Spans that the app makes itself, the facts about their trace, and executors that carry the context.

This package needs only the OpenTelemetry API, so libraries can ship its decorators. Until the app sets up a tracer
provider (`pandaprobe_otel.init()` does), they make no span and cost next to nothing.
"""
