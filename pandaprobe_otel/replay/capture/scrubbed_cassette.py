"""Cassette of a trace without secrets. Recordings remove the same values, so new requests match it."""

from __future__ import annotations

from dataclasses import replace

from pandaprobe_otel.replay.interactions import Cassette, Interaction, ToolCall
from pandaprobe_otel.replay.scrubbing import Scrubber


def scrubbed(cassette: Cassette, cleaner: Scrubber) -> Cassette:
    """Return the cassette without secrets. `scrubbed` names the kinds of removed values."""
    clean = replace(
        cassette,
        interactions=tuple(_interaction(one, cleaner) for one in cassette.interactions),
        tools=tuple(_tool(one, cleaner) for one in cassette.tools),
    )
    return replace(clean, scrubbed=cleaner.taken)


def _interaction(interaction: Interaction, cleaner: Scrubber) -> Interaction:
    request, answer = cleaner.request(interaction.request), cleaner.answer(interaction.answer)
    return replace(interaction, request=request, answer=answer)


def _tool(call: ToolCall, cleaner: Scrubber) -> ToolCall:
    return replace(
        call,
        arguments=cleaner.value(dict(call.arguments)),
        result=cleaner.value(call.result),
        error=None if call.error is None else cleaner.text(call.error),
    )
