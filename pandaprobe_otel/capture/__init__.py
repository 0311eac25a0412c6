"""Spans that the app makes itself: decorators and blocks, whose trace they belong to, executors that carry the context.

They need the OpenTelemetry API only, so that libraries can ship them; until the app sets up a tracer provider
(`pandaprobe_otel.init()` does), they make no span and cost next to nothing.
"""
