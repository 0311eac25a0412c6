"""The scripted model of the shop assistant."""

from __future__ import annotations

import json

import pytest

from pandaprobe_otel.demo.completions import Reply, ToolCall
from pandaprobe_otel.demo.scripted_endpoint import Message
from pandaprobe_otel.demo.shop_script import shop_script


def user(content: str) -> Message:
    """Return a customer's message."""
    return {"role": "user", "content": content}


def tool(content: object) -> Message:
    """Return a tool's result."""
    return {"role": "tool", "content": content if isinstance(content, str) else json.dumps(content)}


def test_it_looks_up_the_order_of_the_customers_question() -> None:
    """The script looks up the order number in the customer's question."""
    assert shop_script([user("Where is my order 23?")]) == Reply(
        tool_calls=(ToolCall(name="look_up_order", arguments={"number": "23"}),)
    )


def test_it_tries_again_with_what_the_error_says() -> None:
    """After a failed look-up, the script completes the number by the example in the error."""
    failed = tool("error: no order '23': numbers start with a letter, such as B-1")

    assert shop_script([user("Where is my order 23?"), failed]) == Reply(
        tool_calls=(ToolCall(name="look_up_order", arguments={"number": "B-23"}),)
    )


def test_it_follows_the_results() -> None:
    """The script tracks the order's parcel, and answers with the result."""
    order, parcel = tool({"parcel": "P-9"}), tool({"status": "here", "arrives": "now"})

    assert shop_script([order]) == Reply(tool_calls=(ToolCall(name="track_parcel", arguments={"parcel": "P-9"}),))
    assert shop_script([order, parcel]) == Reply(text="Your order is here: it arrives now.")


def test_it_remembers_the_conversation() -> None:
    """A later question is answered from earlier results."""
    reply = shop_script([tool({"status": "here", "arrives": "at noon"}), user("Write a note.")])

    assert "at noon" in (reply.text or "")


@pytest.mark.parametrize(
    "messages",
    [[], [user("Tell me a joke.")], [tool("42")], [tool({"weather": "fine"})], [{"role": "system"}]],
)
def test_it_knows_what_it_does_not_know(messages: list[Message]) -> None:
    """A conversation that is not about the shop raises LookupError."""
    with pytest.raises(LookupError):
        shop_script(messages)
