"""Dialects: the names that an instrumentation gives to what PandaProbe keeps, one module for each."""
