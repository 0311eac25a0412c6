"""Data that the store derives from a trace after its last change: words for searches, facets, findings."""
