import asyncio

from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, create_sdk_mcp_server, query, tool

import pandaprobe_otel

pandaprobe_otel.init()


@tool("track_parcel", "Ask the carrier where a parcel is", {"parcel": str})
async def track_parcel(arguments):
    return {"content": [{"type": "text", "text": f"{arguments['parcel']} arrives on Tuesday"}]}


options = ClaudeAgentOptions(
    mcp_servers={"shop": create_sdk_mcp_server("shop", tools=[track_parcel])},
    allowed_tools=["mcp__shop__track_parcel"],
)


async def main() -> None:
    async for message in query(prompt="Where is my parcel P-4711?", options=options):
        if isinstance(message, ResultMessage):
            print(message.result)


asyncio.run(main())
