"""A program that serves MCP over its standard input or over HTTP, with a tool that knows the weather.

python mcp_weather.py ENDPOINT KEY [PORT]     # with a port: HTTP at /mcp
"""

from __future__ import annotations

import sys

from mcp.server.mcpserver import MCPServer

import pandaprobe_otel
from weather_model import WEATHER

server = MCPServer("station")


@server.tool()
@pandaprobe_otel.span(name="look up")
async def weather(city: str) -> str:
    """Tell the weather in a city."""
    if city not in WEATHER:
        raise LookupError(f"no station in {city}")
    return WEATHER[city]


@server.prompt()
def greeting(name: str) -> str:
    """A prompt."""
    return f"Greet {name}."


def main(endpoint: str, key: str, port: str | None = None) -> None:
    """Serve until the client disconnects (over HTTP, until the process ends), and send the recorded spans."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    try:
        if port is None:
            server.run("stdio")
        else:
            server.run("streamable-http", port=int(port))
    finally:
        handle.shutdown(10)


if __name__ == "__main__":
    main(*sys.argv[1:])
