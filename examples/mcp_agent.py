"""An agent whose tools are served by another process over the Model Context Protocol: both write to one trace.

pip install "pandaprobe-otel[mcp,openai,local]"
python mcp_agent.py                           # a scripted model and a local PandaProbe: no key, no cost
OPENAI_API_KEY=... PANDAPROBE_API_KEY=... python mcp_agent.py
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.server.mcpserver import MCPServer
from openai import OpenAI

import pandaprobe_otel
from pandaprobe_otel.demo.offline import offline
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ToolCall

PARCELS = {"P-4711": "on its way, arrives on Tuesday before noon"}
server = MCPServer("carrier")


@server.tool()
def track_parcel(parcel: str) -> str:
    """Ask the carrier where a parcel is."""
    return PARCELS.get(parcel, "unknown to the carrier")


def serve() -> None:
    pandaprobe_otel.init()  # the server has the same line: its spans join the caller's trace
    server.run("stdio")


@pandaprobe_otel.agent(name="shop_assistant")
async def answer(client: Client, question: str) -> str:
    model = OpenAI()
    found = (await client.list_tools()).tools
    tools: Any = [
        {"type": "function", "function": {"name": each.name, "parameters": each.input_schema}} for each in found
    ]
    messages: Any = [{"role": "user", "content": question}]
    while True:
        name = os.environ.get("OPENAI_MODEL", "gpt-5-mini")
        message: Any = model.chat.completions.create(model=name, messages=messages, tools=tools).choices[0].message
        if not message.tool_calls:
            return str(message.content)
        messages.append(message)
        for call in message.tool_calls:
            given = await client.call_tool(call.function.name, json.loads(call.function.arguments))
            said = " ".join(part.text for part in given.content if part.type == "text")
            messages.append({"role": "tool", "tool_call_id": call.id, "content": said})


async def talk() -> None:
    carrier = StdioServerParameters(command=sys.executable, args=[__file__, "serve"], env=dict(os.environ))
    async with Client(stdio_client(carrier)) as client:
        print(await answer(client, "Where is my parcel P-4711?"))
        # The server's spans wait until this trace is sent, so send it before the server is stopped.
        await asyncio.to_thread(pandaprobe_otel.flush)


def main() -> None:
    pandaprobe_otel.init()  # the one line: from here on, tool calls over MCP are traced on both sides
    asyncio.run(talk())


def script(messages: Sequence[Message]) -> Reply:
    """Return the model's reply when no key is set."""
    last = messages[-1]
    if last["role"] == "tool":
        return Reply(text=f"Your parcel is {last['content']}.")
    return Reply(tool_calls=(ToolCall(name="track_parcel", arguments={"parcel": "P-4711"}),))


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        serve()
    else:
        with offline(script):
            main()
