"""Mapping of OpenTelemetry spans in any dialect to one PandaProbe trace.

Its functions are pure: no I/O, no clock, no exceptions.

Names are loaded on first use: decorators, which libraries ship, need only `clean` and must not pay for the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pandaprobe_otel.process.forks import lazy_names

if TYPE_CHECKING:
    from pandaprobe_otel.mapping.assemble import map_trace as map_trace
    from pandaprobe_otel.mapping.assemble import map_views as map_views
    from pandaprobe_otel.mapping.options import MappingOptions as MappingOptions
    from pandaprobe_otel.mapping.sdk_span import read_span as read_span
    from pandaprobe_otel.mapping.span_view import EventView as EventView
    from pandaprobe_otel.mapping.span_view import LinkView as LinkView
    from pandaprobe_otel.mapping.span_view import LogView as LogView
    from pandaprobe_otel.mapping.span_view import SpanView as SpanView

_HOMES: Final = {
    "assemble": ("map_trace", "map_views"),
    "options": ("MappingOptions",),
    "sdk_span": ("read_span",),
    "span_view": ("EventView", "LinkView", "LogView", "SpanView"),
}

__all__ = ["EventView", "LinkView", "LogView", "MappingOptions", "SpanView", "map_trace", "map_views", "read_span"]

if not TYPE_CHECKING:  # else a type checker would accept any name, even a misspelt one
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
