"""Our processors and exporters in a tracer provider: only one of them delivers to each destination.

A variable or a configuration file may add an exporter, while the app's code and `init()` each add a processor.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, ClassVar, cast

from pandaprobe_otel.pipeline.interface import Pipeline

_logger = logging.getLogger("pandaprobe_otel")


class Piece:
    """Base of our span processor and exporter."""

    pipeline: Pipeline
    sees_starts: ClassVar[bool]
    stands_aside = False
    """True if another piece delivers to the same destination."""


def pieces_in(processor: Any) -> Iterator[Piece]:
    """Yield our pieces among a provider's span processors and their exporters, in order."""
    if isinstance(processor, Piece):
        yield processor
        return
    inside: Any = getattr(processor, "_span_processors", ())
    if type(inside) is not tuple:  # a mock has every attribute
        inside = ()
    for inner in cast("tuple[Any, ...]", inside):
        yield from pieces_in(inner)
    batch = getattr(processor, "_batch_processor", processor)
    exporter = getattr(processor, "span_exporter", None) or getattr(batch, "_exporter", None)
    if isinstance(exporter, Piece):
        yield exporter


def choose(processor: Any) -> None:
    """Choose one piece for each destination: the first that sees spans start, else the first."""
    chosen: dict[str, Piece] = {}
    for piece in sorted(pieces_in(processor), key=lambda each: not each.sees_starts):
        place = piece.pipeline.destination
        if place is None:
            continue
        first = chosen.setdefault(place, piece)
        if first is piece or first.pipeline is piece.pipeline or piece.stands_aside:
            continue
        piece.stands_aside = True
        _logger.warning(
            "pandaprobe-otel: the tracer provider has two ways to %s; %s delivers, %s is ignored, with its settings.",
            place,
            type(first).__name__,
            type(piece).__name__,
        )
