"""From spans that end to complete traces, and from these to requests."""
