"""Scripted model for the programs on the pages of integrations: it calls a tool to track the parcel, then answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from pandaprobe_otel.demo.completions import Message, Reply, ToolCall, text_of
from pandaprobe_otel.demo.parcel_script import parcel_script
from pandaprobe_otel.demo.scripted_endpoint import Script

_PARCEL: Final = {"parcel": "P-4711"}
_FOUND: Final = "arrives on Tuesday"


def _without_notes(messages: Sequence[Message]) -> Reply:
    """Reply to Claude's program, which adds notes to the messages and the server's name to each tool."""
    said = [message for message in messages if message["role"] != "system"]
    return parcel_script("mcp__shop__track_parcel")(said)


def _by_fields(messages: Sequence[Message]) -> Reply:
    """Reply with the fields that DSPy requests instead of tool calls."""
    asked = text_of(messages[-1]["content"])
    known = _FOUND in asked
    said = {
        "next_thought": "I know enough." if known else "The carrier knows.",
        "next_tool_name": "finish" if known else "track_parcel",
        "next_tool_args": "{}" if known else '{"parcel": "P-4711"}',
        "reasoning": "The carrier said so.",
        "answer": f"Your parcel {_FOUND}.",
    }
    fields = re.findall(r"`\[\[ ## (\w+) ## ]]`", asked.rpartition("Respond with")[2])
    return Reply(text="\n\n".join(f"[[ ## {name} ## ]]\n{said[name]}" for name in fields if name in said))


def _by_a_last_tool(messages: Sequence[Message]) -> Reply:
    """Reply with a call of `final_answer`, as smolagents expects, which sends tool results as a user message."""
    if _FOUND in text_of(messages[-1]["content"]):
        return Reply(tool_calls=(ToolCall(name="final_answer", arguments={"answer": f"It {_FOUND}."}),))
    return Reply(tool_calls=(ToolCall(name="track_parcel", arguments=_PARCEL),))


_OF_THEIR_OWN: Final[Mapping[str, Script]] = {
    "claude_agent_sdk": _without_notes,
    "dspy": _by_fields,
    "semantic_kernel": parcel_script("Carrier-track_parcel"),
    "smolagents": _by_a_last_tool,
}


def page_script(name: str) -> Script:
    """Return the script of the model for the program on the page of the integration `name`."""
    return _OF_THEIR_OWN.get(name, parcel_script())
