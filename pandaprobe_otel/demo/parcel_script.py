"""The scripted model of the agents in `examples/`, for use without a key."""

from __future__ import annotations

from collections.abc import Sequence

from pandaprobe_otel.demo.completions import Message, Reply, ToolCall, text_of
from pandaprobe_otel.demo.scripted_endpoint import Script


def parcel_script(tool: str = "track_parcel") -> Script:
    """Return a script that calls `tool` for a parcel, reports the result, and otherwise answers politely."""

    def script(messages: Sequence[Message]) -> Reply:
        last = messages[-1]
        said = text_of(last["content"])
        if last["role"] == "tool":
            return Reply(text=f"Your parcel is {said}.")
        if "parcel" in said:
            return Reply(tool_calls=(ToolCall(name=tool, arguments={"parcel": "P-4711"}),))
        return Reply(text="You are welcome.")

    return script
