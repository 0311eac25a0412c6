"""Exception for a trace that cannot become a test."""

from __future__ import annotations


class CannotCapture(ValueError):
    """A trace lacks something that a test needs. The text names the missing part and its place."""
