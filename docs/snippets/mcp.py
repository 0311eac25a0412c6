import asyncio

from mcp import Client
from mcp.server.mcpserver import MCPServer

import pandaprobe_otel

pandaprobe_otel.init()
server = MCPServer("carrier")


@server.tool()
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return f"{parcel} arrives on Tuesday"


@pandaprobe_otel.agent  # yours asks a model, which chooses the tool
async def shop_assistant(question: str) -> str:
    async with Client(server) as client:
        found = await client.call_tool("track_parcel", {"parcel": "P-4711"})
        return found.content[0].text


print(asyncio.run(shop_assistant("Where is my parcel P-4711?")))
