"""Assembly of ended spans into complete traces, and of traces into requests."""
