"""Answers of tools: text with recorded content in a fence, and numbers beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from mcp.types import CallToolResult, ContentBlock, ResourceLink, TextContent

from pandaprobe_otel.compact.fences import inert
from pandaprobe_otel.mcp_server.refusals import Refused

_MOST: Final = 600
"""Maximum number of characters of an error's text."""


def answer(text: str, numbers: Mapping[str, Any], *, links: Sequence[ResourceLink] = ()) -> CallToolResult:
    """Return text for the model. `numbers` contain nothing that a traced program has written."""
    content: list[ContentBlock] = [TextContent(type="text", text=text), *links]
    return CallToolResult(content=content, structured_content=dict(numbers))


def refusal(error: Refused, recorded: str) -> CallToolResult:
    """Return an error in the forms for a model and for a program. `recorded` is empty or already inside a fence."""
    lines = [f"{error.code}: {inert(str(error))[:_MOST]}", recorded, f"Next: {error.step}" if error.step else ""]
    text = "\n".join(filter(None, lines))
    return CallToolResult(
        content=[TextContent(type="text", text=text)],
        structured_content={"code": error.code, "next": error.step},
        is_error=True,
    )
