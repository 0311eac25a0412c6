"""Scripted models of the programs in `examples/`, for use without a key.

A reply depends on the conversation alone: a script reads the tool results that it gets, as a model would.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, cast

from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, Script, ToolCall, text_of


def shop_script(messages: Sequence[Message]) -> Reply:
    """Return the reply of the shop assistant in `examples/quickstart.py`. Raises LookupError for any other
    conversation.
    """
    last: Message = messages[-1] if messages else {}
    if last.get("role") == "user":
        return _to_customer(messages)
    if last.get("role") == "tool":
        return _to_tool_result(str(last.get("content")))
    raise LookupError("the last message is neither a customer's nor a tool's")


def _to_customer(messages: Sequence[Message]) -> Reply:
    number = re.search(r"order (\w+)", str(messages[-1].get("content")))
    if number:
        return Reply(tool_calls=(ToolCall(name="look_up_order", arguments={"number": number[1]}),))
    arrival = next((found["arrives"] for found in _results(messages) if "arrives" in found), None)
    if arrival:
        return Reply(text=f"Could you take in a parcel for me? It comes {arrival} and is one box. Thank you!")
    raise LookupError("no order is named, and none was looked up before")


def _to_tool_result(content: str) -> Reply:
    # The tool's error describes the form of an order number, and a model would try again in that form.
    corrected = re.search(r"no order '(\w+)'.*such as ([A-Z])-", content)
    if corrected:
        number = f"{corrected[2]}-{corrected[1]}"
        return Reply(tool_calls=(ToolCall(name="look_up_order", arguments={"number": number}),))
    found = _as_object(content)
    if "parcel" in found:
        return Reply(tool_calls=(ToolCall(name="track_parcel", arguments={"parcel": found["parcel"]}),))
    if "arrives" in found:
        return Reply(text=f"Your order is {found['status']}: it arrives {found['arrives']}.")
    raise LookupError("the tool's result is unknown")


def _results(messages: Sequence[Message]) -> list[dict[str, Any]]:
    return [_as_object(str(message.get("content"))) for message in messages if message.get("role") == "tool"]


def _as_object(content: str) -> dict[str, Any]:
    try:
        value: Any = json.loads(content)
    except ValueError:
        return {}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def parcel_script(tool: str = "track_parcel") -> Script:
    """Return a script that calls `tool` for a parcel, reports the result, and otherwise answers politely."""

    def script(messages: Sequence[Message]) -> Reply:
        last = messages[-1]
        text = text_of(last["content"])
        if last["role"] == "tool":
            return Reply(text=f"Your parcel is {text}.")
        if "parcel" in text:
            return Reply(tool_calls=(ToolCall(name=tool, arguments={"parcel": "P-4711"}),))
        return Reply(text="You are welcome.")

    return script
