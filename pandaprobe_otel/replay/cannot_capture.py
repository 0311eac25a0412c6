"""Exception for a trace that cannot become a test."""

from __future__ import annotations


class CannotCapture(ValueError):
    """Error of a trace that lacks something a test needs. The text names it and its place."""
