"""Mapping of OpenTelemetry spans in any dialect to one PandaProbe trace.

Its functions are pure: no I/O, no clock, no exceptions.

Names are loaded on first use: decorators, which libraries ship, need only `clean` and must not pay for the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pandaprobe_otel.process.lazy_names import lazy_names

if TYPE_CHECKING:
    from pandaprobe_otel.mapping.assemble import map_trace as map_trace
    from pandaprobe_otel.mapping.assemble import map_views as map_views
    from pandaprobe_otel.mapping.kinds import is_dropped as is_dropped
    from pandaprobe_otel.mapping.kinds import is_genai as is_genai
    from pandaprobe_otel.mapping.kinds import is_mcp_housekeeping as is_mcp_housekeeping
    from pandaprobe_otel.mapping.kinds import is_plumbing as is_plumbing
    from pandaprobe_otel.mapping.kinds import is_served_tool as is_served_tool
    from pandaprobe_otel.mapping.kinds import is_tool_without_mcp as is_tool_without_mcp
    from pandaprobe_otel.mapping.kinds import is_work as is_work
    from pandaprobe_otel.mapping.kinds import kind_of as kind_of
    from pandaprobe_otel.mapping.mapped_trace import MappedTrace as MappedTrace
    from pandaprobe_otel.mapping.options import MappingOptions as MappingOptions
    from pandaprobe_otel.mapping.sdk_span import read_span as read_span
    from pandaprobe_otel.mapping.span_view import EventView as EventView
    from pandaprobe_otel.mapping.span_view import LinkView as LinkView
    from pandaprobe_otel.mapping.span_view import LogView as LogView
    from pandaprobe_otel.mapping.span_view import SpanView as SpanView
    from pandaprobe_otel.mapping.span_view import read_log as read_log

_HOMES: Final = {
    "assemble": ("map_trace", "map_views"),
    "mapped_trace": ("MappedTrace",),
    "kinds": (
        "is_dropped",
        "is_genai",
        "is_mcp_housekeeping",
        "is_plumbing",
        "is_served_tool",
        "is_tool_without_mcp",
        "is_work",
        "kind_of",
    ),
    "options": ("MappingOptions",),
    "span_view": ("EventView", "LinkView", "LogView", "SpanView", "read_log"),
    "sdk_span": ("read_span",),
}

__all__ = [
    "EventView",
    "LinkView",
    "LogView",
    "MappedTrace",
    "MappingOptions",
    "SpanView",
    "is_dropped",
    "is_genai",
    "is_mcp_housekeeping",
    "is_plumbing",
    "is_served_tool",
    "is_tool_without_mcp",
    "is_work",
    "kind_of",
    "map_trace",
    "map_views",
    "read_log",
    "read_span",
]

if not TYPE_CHECKING:  # else a type checker would accept any name, even a misspelt one
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
