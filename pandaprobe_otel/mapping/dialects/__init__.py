"""Dialects, one module each: the attribute names of one family of instrumentations."""
