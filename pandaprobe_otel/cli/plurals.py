"""Numbers of things in messages."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """Return a number and its noun: `1 trace`, `2 traces`. The last word of `thing` becomes plural."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
