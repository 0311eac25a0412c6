"""Recordings of agent frameworks with every instrumentor: the tree, messages, costs and failures."""

from __future__ import annotations

import re

import pytest

import captures
from outlines import outline, written
from pandaprobe_otel.mapping import map_trace
from provider_calls import expected_calls

OUTLINES = written(captures.DATA / "outlines.txt")


@pytest.mark.parametrize("name", sorted(OUTLINES))
def test_a_recorded_run_has_the_outline_of_its_recording(name: str) -> None:
    """Tree, kinds, names, models, messages, tools, tokens, errors and the trace's fields equal the stored outline."""
    recording = captures.capture(name)
    seen = outline([map_trace(spans, recording.logs) for spans in recording.traces])
    if " session * |" in OUTLINES[name]:  # the recording has a random number
        seen = re.sub(r"session [0-9a-f-]{36} ", "session * ", seen)
    assert seen.splitlines() == OUTLINES[name].splitlines()


def test_every_recording_is_checked_against_its_facts() -> None:
    """Every recording has a stored outline."""
    assert {name for name in captures.names() if expected_calls(name) is None} == set(OUTLINES)
