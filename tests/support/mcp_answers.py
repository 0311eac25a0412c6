"""Answers of MCP tools, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp.types import CallToolResult


def text_of(result: CallToolResult) -> str:
    """Return the text of an answer."""
    first = result.content[0]
    assert first.type == "text"
    return first.text
