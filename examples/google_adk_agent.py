"""An agent of Google's Agent Development Kit, traced by one line: two turns of one session, the second one streamed.

pip install "pandaprobe-otel[google_adk,local]"
python google_adk_agent.py                    # a scripted model and a local PandaProbe: no key, no cost
GOOGLE_API_KEY=... PANDAPROBE_API_KEY=... python google_adk_agent.py
"""

import asyncio
import os

from google.adk.agents import LlmAgent, RunConfig
from google.adk.agents.run_config import StreamingMode
from google.adk.runners import InMemoryRunner
from google.genai import types

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripts import parcel_script

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}


def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


def said_by_user(text: str) -> types.Content:
    return types.Content(role="user", parts=[types.Part(text=text)])


async def talk() -> None:
    agent = LlmAgent(
        name="shop_assistant",
        instruction="You answer customers of a shop in one sentence.",
        model=os.environ.get("GOOGLE_MODEL", "gemini-2.5-flash"),
        tools=[track_parcel],
    )
    runner = InMemoryRunner(agent=agent, app_name="shop")
    await runner.session_service.create_session(app_name="shop", user_id="ada", session_id="conversation-1")
    told = {"user_id": "ada", "session_id": "conversation-1"}  # user and session of both traces

    async for event in runner.run_async(**told, new_message=said_by_user("Where is my parcel P-4711?")):
        if event.is_final_response():
            print(event.content.parts[0].text)

    streaming = RunConfig(streaming_mode=StreamingMode.SSE)
    async for event in runner.run_async(**told, new_message=said_by_user("Thank you!"), run_config=streaming):
        if event.partial:
            print(event.content.parts[0].text, end="", flush=True)
    print()
    await runner.close()


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, agents, model calls, tools and hand-overs are traced
    asyncio.run(talk())


script = parcel_script()  # the model's replies when no key is set

if __name__ == "__main__":
    with offline(script, model_key="GOOGLE_API_KEY"):
        main()
