"""The exception of a trace that no test can be made of."""

from __future__ import annotations


class CannotCapture(ValueError):
    """A trace lacks what a test needs; the text says what, and where."""
