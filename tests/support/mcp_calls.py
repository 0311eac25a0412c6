"""Arguments for each tool of the MCP server, so that tests cover every tool, and the text of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mcp.types import CallToolResult

READERS: Final = (
    "find_failures",
    "find_traces",
    "get_trace",
    "compare_traces",
    "get_session",
    "get_scores",
    "doctor",
)
WRITERS: Final = ("add_score", "capture_test")
"""Tools that need `--allow-writes`."""
EVERY: Final = (*READERS, *WRITERS)


def arguments_of(tool: str, trace_id: str, session_id: str, *, other: str | None = None) -> Mapping[str, Any]:
    """Return arguments that apply a tool to a trace or its session; raise KeyError for an unknown tool."""
    calls: Mapping[str, Mapping[str, Any]] = {
        "find_failures": {"query": ""},
        "find_traces": {"limit": 50},
        "get_trace": {"trace_id": trace_id},
        "compare_traces": {"a": other or trace_id, "b": trace_id},
        "get_session": {"session_id": session_id},
        "get_scores": {"target": trace_id},
        "doctor": {},
        "add_score": {"target": trace_id, "name": "right", "value": 0.5, "reason": "it went wrong"},
        "capture_test": {"target": trace_id, "path": "test_made.py"},
    }
    return calls[tool]


def everything_allowed(folder: Path) -> dict[str, Any]:
    """Return options that enable every tool, for a program in this folder."""
    return {"writes": True, "entry": "shop:answer", "tests": folder / "tests", "folder": folder}


def text_of(result: CallToolResult) -> str:
    """Return the text of an answer."""
    first = result.content[0]
    assert first.type == "text"
    return first.text
