"""An app that instruments MCP with both another vendor's library and ours.

python mcp_rival.py ENDPOINT KEY
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pandaprobe_otel


async def ask(target: Any) -> None:
    """Call one tool inside an agent of the app, and send the trace before the server, which adds spans, ends."""
    from mcp import Client

    async with Client(target) as client:
        with pandaprobe_otel.agent(name="app"):
            await client.call_tool("weather", {"city": "Oslo"})
        assert await asyncio.to_thread(pandaprobe_otel.flush, 10)


def main(endpoint: str, key: str) -> None:
    """Call a tool of a server process and of a server in this process, then print the state of our instrumentation."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from mcp import StdioServerParameters
    from mcp.client import stdio
    from openinference.instrumentation.mcp import MCPInstrumentor

    import mcp_weather

    MCPInstrumentor().instrument()
    program = [str(Path(mcp_weather.__file__)), endpoint, key]
    parameters = StdioServerParameters(command=sys.executable, args=program, env=dict(os.environ))
    asyncio.run(ask(stdio.stdio_client(parameters)))
    asyncio.run(ask(mcp_weather.server))
    sys.stdout.write(pandaprobe_otel.status().instrumented["mcp"])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
