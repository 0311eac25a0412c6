"""Tests of an agent: assertions about its actions, budgets, repetitions, and a judge for the rest.

    pip install pandaprobe-otel pytest
    pytest -rx test_support_agent.py                    # offline and free: nothing leaves the machine
    pytest --runxfail test_support_agent.py             # shows the two failures that are expected
    pytest test_support_agent.py --pandaprobe=eval      # in CI: PandaProbe's judges decide as well (needs a key)

Two of the eight tests find faults of the agent, and are marked as expected to fail. With `--runxfail` they fail, and
the output shows the reason: the expectation, and the trace of the agent's actual steps.
"""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pandaprobe_otel import agent, llm, session, tool
from pandaprobe_otel.evals import Probe

# -- the agent: its model is a few rules, so that the example needs no key ---------------------------------------------

ORDERS: dict[str, dict[str, Any]] = {
    "A-17": {"item": "kettle", "price": 39.0, "state": "delivered"},
    "B-2": {"item": "lamp", "state": "sent"},
}


@tool
def look_up_order(number: str) -> dict[str, Any]:
    """Find an order by its number."""
    return ORDERS[number]


@tool
def issue_refund(number: str, amount: float) -> str:
    """Pay the price of an order back."""
    return f"{amount:.2f} paid back for {number}"


@llm(name="decide", model="rules-1")
def decide(messages: list[dict[str, str]]) -> str:
    question = messages[-1]["content"]
    if "refund" in question or "money back" in question:
        return "refund"
    return "status"


@agent
def support(question: str) -> str:
    """Answer a customer of a shop."""
    found = re.search(r"[A-Z]-\d+", question)
    if found is None:
        return "Which order is it about?"
    wish = decide([{"role": "user", "content": question}])
    if wish == "refund" and "urgent" in question:  # the fault that a test finds: it pays without a look-up
        return issue_refund(number=found[0], amount=100.0)
    order = look_up_order(number=found[0])
    if wish == "refund":
        return issue_refund(number=found[0], amount=order["price"])
    return f"Your {order['item']} is {order['state']}."


# -- the tests --------------------------------------------------------------------------------------------------------


@pytest.mark.pandaprobe(metrics=["task_completion"], threshold=0.7)
def test_tells_the_state_of_an_order(probe: Probe) -> None:
    assert "delivered" in support("Where is order A-17?")
    probe.spans.tool("look_up_order").called(times=1).with_args(number="A-17").succeeded()
    probe.spans.tool("issue_refund").not_called()


@pytest.mark.pandaprobe(metrics={"task_completion": 0.7, "tool_correctness": 0.8})
def test_looks_before_it_pays(probe: Probe) -> None:
    support("I want a refund for A-17")
    probe.spans.tool("look_up_order").before("issue_refund")
    probe.spans.tool("issue_refund").with_args(amount=39.0)


def test_asks_when_no_order_is_named(probe: Probe) -> None:
    assert probe.traces == ()
    support("Where is my parcel?")
    assert probe.output == "Which order is it about?"
    assert len(probe.llm_calls) == 0


@pytest.mark.pandaprobe(repeat=5, min_pass=0.8)
def test_answers_reliably(probe: Probe) -> None:
    assert "lamp" in support("What about B-2?")


def test_stays_within_its_budget(probe: Probe) -> None:
    support("I want a refund for A-17")
    probe.budget(seconds=5, llm_calls=1)


@pytest.mark.pandaprobe(metrics=["agent_reliability"], session=True)
def test_a_conversation_of_two_turns(probe: Probe) -> None:
    support("Where is order A-17?")
    support("Then I want my money back for A-17")
    assert [trace.output for trace in probe.traces][-1] == "39.00 paid back for A-17"


@pytest.mark.xfail(strict=True, reason="the order B-2 has no price yet; --runxfail shows the traces")
def test_customers_at_the_same_time_do_not_mix(probe: Probe) -> None:
    """The test sees the traces of other threads too."""

    def ask(question: str) -> str:
        with session(question):
            return support(question)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, ["Where is order A-17?", "What about B-2, can I have a refund?"]))


@pytest.mark.xfail(strict=True, reason="the agent pays without looking; --runxfail shows the trace")
def test_looks_before_it_pays_when_it_is_urgent(probe: Probe) -> None:
    support("I want a refund for A-17, urgent!")
    probe.spans.tool("look_up_order").before("issue_refund")
