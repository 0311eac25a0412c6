"""An agent of the OpenAI Agents SDK with a tool, traced by one line: two turns, the second one streamed.

pip install "pandaprobe-otel[openai_agents,local]"
python openai_agents_agent.py                 # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python openai_agents_agent.py
"""

import asyncio
import os

from agents import Agent, RunConfig, Runner, TResponseInputItem, function_tool, set_trace_processors

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripts import parcel_script

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


@function_tool
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


async def talk() -> None:
    agent = Agent(
        name="shop_assistant",
        instructions="You answer customers of a shop in one sentence.",
        model=os.environ.get("OPENAI_MODEL", "gpt-5-mini"),
        tools=[track_parcel],
    )
    config = RunConfig(workflow_name="shop", group_id="conversation-1")  # the session of both traces

    answered = await Runner.run(agent, "Where is my parcel P-4711?", run_config=config)
    print(answered.final_output)

    asked: list[TResponseInputItem] = [*answered.to_input_list(), {"role": "user", "content": "Thank you!"}]
    streaming = Runner.run_streamed(agent, asked, run_config=config)
    async for event in streaming.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            print(event.data.delta, end="", flush=True)
    print()


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, model calls, tools and hand-offs are traced
    set_trace_processors([])  # optional: turns off OpenAI's own tracing, not PandaProbe's
    asyncio.run(talk())


script = parcel_script()  # the model's replies when no key is set

if __name__ == "__main__":
    with offline(script):
        main()
