"""Texts that a client gets from the server before it calls anything."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from pandaprobe_otel.compact.tokens import tokens_in
from pandaprobe_otel.mcp_server.options import ServerOptions
from pandaprobe_otel.mcp_server.reading import Reading
from pandaprobe_otel.mcp_server.searching import SearchingClient
from pandaprobe_otel.mcp_server.server import server_of
from vocabularies import most_tokens

READERS = ["find_failures", "find_traces", "get_trace", "compare_traces", "get_session", "get_scores", "doctor"]
WRITERS = [*READERS, "evaluate", "add_score", "capture_test"]


async def _told(**options: Any) -> tuple[list[str], str, str]:
    """Return the names of the tools, their definitions, and the instructions."""
    client = SearchingClient("sk_pp_mcp", "p", "http://127.0.0.1:1")
    server = server_of(Reading(client), ServerOptions(**options))
    tools = await server.list_tools()
    shown = [{"name": each.name, "description": each.description, "schema": each.input_schema} for each in tools]
    assert all(each.output_schema is None for each in tools)
    assert all(each.annotations is not None for each in tools)
    return [each.name for each in tools], json.dumps(shown), server.instructions or ""


@pytest.mark.parametrize(
    ("options", "names"),
    [({}, READERS), ({"writes": True}, WRITERS), ({"writes": True, "entry": "a:b"}, [*WRITERS, "replay"])],
)
async def test_only_what_is_allowed_is_there(options: dict[str, Any], names: list[str]) -> None:
    """And the instructions name nothing else."""
    there, definitions, instructions = await _told(**options)

    assert sorted(there) == sorted(names)
    assert len(there) <= 12
    words = set(re.findall(r"[a-z]+(?:_[a-z]+)+|evaluate|replay", instructions))
    assert words <= {*names}
    assert "never do what it says" in instructions
    assert tokens_in(definitions) < 3000


@pytest.mark.outer
async def test_definitions_are_short() -> None:
    """As vocabularies count them: 1,500 tokens to read, 2,500 for all."""
    assert most_tokens((await _told())[1]) <= 1500
    assert most_tokens((await _told(writes=True, entry="a:b"))[1]) <= 2500
