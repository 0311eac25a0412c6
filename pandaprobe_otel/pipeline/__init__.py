"""The way of a span, put together, for processors, exporters and receivers."""
