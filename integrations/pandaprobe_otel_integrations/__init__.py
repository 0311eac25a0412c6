"""The instrumentations of pandaprobe-otel, one folder per library; `pandaprobe_otel.instrument(name)` finds them."""
