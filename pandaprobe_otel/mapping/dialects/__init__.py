"""Dialects, one module each: the names that an instrumentation uses for the data that PandaProbe keeps."""
