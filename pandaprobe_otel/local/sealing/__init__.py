"""Data that the store derives from a trace once it is quiet: words to search for, facets, findings."""
