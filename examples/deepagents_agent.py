"""A deep agent that hands work to a sub-agent, traced by one line: the sub-agent's run is below the call of `task`.

pip install "pandaprobe-otel[langchain,local]" deepagents
python deepagents_agent.py                # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python deepagents_agent.py
"""

import os
from collections.abc import Sequence

from deepagents import create_deep_agent
from langchain_core.tools import tool

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ToolCall

SHELVES = {"teapot": 3, "cup": 0}


@tool
def count_stock(item: str) -> int:
    """Count how many of an item are on the shelves."""
    return SHELVES.get(item, 0)


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, sub-agents, model calls and tools are traced

    agent = create_deep_agent(
        model=f"openai:{os.environ.get('OPENAI_MODEL', 'gpt-5-mini')}",
        system_prompt="You run a shop. Ask the storekeeper about stock, with the item's name as the description.",
        subagents=[
            {
                "name": "storekeeper",
                "description": "Knows what is in stock.",
                "system_prompt": "Count the item that you are asked about and say the number.",
                "tools": [count_stock],
            }
        ],
        name="shopkeeper",
    )
    question = {"messages": [{"role": "user", "content": "Do we have teapots?"}]}
    answer = agent.invoke(question, {"configurable": {"thread_id": "day-1"}})
    print(answer["messages"][-1].text)


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set: to the agent and to its sub-agent."""
    last = messages[-1]
    if last["role"] == "tool":
        is_count = str(last["content"]).isdigit()
        return Reply(text=f"There are {last['content']}." if is_count else f"The storekeeper says: {last['content']}")
    if last["content"] == "teapot":
        return Reply(tool_calls=(ToolCall(name="count_stock", arguments={"item": "teapot"}),))
    work = {"description": "teapot", "subagent_type": "storekeeper"}
    return Reply(tool_calls=(ToolCall(name="task", arguments=work),))


if __name__ == "__main__":
    with offline(script):
        main()
