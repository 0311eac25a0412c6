"""Answers of MCP tools, as text."""

from __future__ import annotations

from mcp.types import CallToolResult, TextContent


def text_of(result: CallToolResult) -> str:
    """Return the text of an answer."""
    first = result.content[0]
    assert isinstance(first, TextContent)
    return first.text
