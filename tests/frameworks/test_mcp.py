"""Clients and servers of the Model Context Protocol, over every transport."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client import session
from mcp.client.stdio import stdio_client
from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

import pandaprobe_otel
from agent_traces import AgentTrace, SentTraces
from example_runs import run_example
from framework_cases import cancel_in_a_tool, ended_without_error, off, run_beside_another_vendor
from mcp_weather import server as weather_server
from pandaprobe_otel.local import LocalServer

SUPPORT = Path(__file__).resolve().parents[1] / "support"


async def call(target: Any, city: str) -> Any:
    """Call one tool inside an agent of the app."""
    async with Client(target) as client:
        await client.list_tools()
        with pandaprobe_otel.agent(name="app"):
            result = await client.call_tool("weather", {"city": city})
        # flush while the server runs: when the server ends, it does not wait for this process to send the trace
        assert await asyncio.to_thread(pandaprobe_otel.flush, 10)
        return result


def environment() -> dict[str, str]:
    """Return the environment of the server's process."""
    return {**os.environ, "PYTHONPATH": str(SUPPORT)}


def over_stdio(local: LocalServer, city: str) -> Any:
    """Call a server process that the client starts."""
    program = [str(SUPPORT / "mcp_weather.py"), local.url, local.api_key]
    parameters = StdioServerParameters(command=sys.executable, args=program, env=environment())
    return asyncio.run(call(stdio_client(parameters), city))


def over_http(local: LocalServer, city: str) -> Any:
    """Call a server process that already runs."""
    with running_server(local) as url:
        return asyncio.run(call(url, city))


@contextmanager
def running_server(local: LocalServer) -> Iterator[str]:
    """Run a server over HTTP in a process of its own; its spans are sent when the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, str(SUPPORT / "mcp_weather.py"), local.url, local.api_key, str(port)]
    process = subprocess.Popen(program, env=environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        said = ""
        while "Uvicorn running" not in said:
            said = process.stderr.readline()
            assert said, "the server has ended"
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


@pytest.mark.parametrize("way", [over_stdio, over_http])
def test_client_and_server_are_one_trace(way: Any, traces: SentTraces, server: LocalServer) -> None:
    """The server process's spans are below the client's, each with arguments and result."""
    assert not way(server, "Oslo").is_error

    trace = traces.one()
    trace.is_like("""
        trace app | COMPLETED
        AGENT app
          TOOL weather | {"city":"Oslo"} > "snowy"
            TOOL weather | {"city":"Oslo"} > "snowy"
              OTHER look up | "Oslo" > "snowy"
    """)
    (client, served) = trace.all("TOOL")
    assert client["metadata"]["scope"] == "pandaprobe_otel.mcp"
    assert served["metadata"]["scope"] == "mcp-python-sdk"


def in_memory(city: str) -> Any:
    """Call a server in the client's process."""
    return asyncio.run(call(weather_server, city))


def test_a_tool_that_fails(traces: SentTraces) -> None:
    """A failed tool gives client and server spans status ERROR; the agent continues, and its span is OK."""
    assert in_memory("Atlantis").is_error

    trace: AgentTrace = traces.one()
    assert [span["status"] for span in trace.all("TOOL")] == ["ERROR", "ERROR"]
    assert all("Error executing tool weather" in span["error"] for span in trace.all("TOOL"))
    assert "no station in Atlantis" in trace.only(name="look up")["error"]
    assert trace.root["status"] == "OK"


def test_a_tool_that_does_not_exist(traces: SentTraces) -> None:
    """A call of an unknown tool gives the app the library's error, and the span has that error."""

    async def unknown() -> Any:
        async with Client(weather_server) as client:
            return await client.call_tool("tide", {})

    try:
        asyncio.run(unknown())
    except MCPError as error:
        reason = str(error)
    else:
        reason = "tide"
    tools = traces.one().all("TOOL")
    assert {span["status"] for span in tools} == {"ERROR"}
    assert reason in tools[0]["error"]


def test_a_call_that_is_cancelled(traces: SentTraces) -> None:
    """A call that is cancelled while its tool works is cancelled, at the client and at the server."""
    slow = MCPServer("slow")

    async def run(weather: Any) -> Any:
        slow.tool()(weather)
        async with Client(slow) as client:
            with pandaprobe_otel.agent(name="app"):
                return await client.call_tool("weather", {"city": "Oslo"})

    asyncio.run(cancel_in_a_tool(run))
    trace = traces.one()
    assert trace.all("TOOL")
    ended_without_error(trace, *(span["kind"] for span in trace.spans))


def test_one_call_of_an_agents_tool_is_one_tool(traces: SentTraces) -> None:
    """Inside a framework's TOOL span, the client's span of the same call has kind OTHER."""

    async def run() -> Any:
        async with Client(weather_server) as client:
            with pandaprobe_otel.tool(name="weather"):
                return await client.call_tool("weather", {"city": "Oslo"})

    asyncio.run(run())
    trace = traces.one()
    assert [span["kind"] for span in trace.spans] == ["TOOL", "OTHER", "TOOL", "OTHER"]
    assert trace.only("OTHER", "tools/call weather")["output"] == "snowy"


def test_calls_at_once_do_not_mix(traces: SentTraces) -> None:
    """Concurrent calls of one connection are each in their caller's trace."""

    async def ask(client: Client, city: str) -> None:
        with pandaprobe_otel.agent(name=city):
            await client.call_tool("weather", {"city": city})

    async def all_at_once() -> None:
        async with Client(weather_server) as client:
            await asyncio.gather(*(ask(client, city) for city in ("Oslo", "Łódź") * 3))

    asyncio.run(all_at_once())
    for trace in traces.new(6):
        assert [tool["input"] for tool in trace.all("TOOL")] == [{"city": trace.root["name"]}] * 2


def test_a_picture_is_named_and_not_carried(traces: SentTraces) -> None:
    """A picture that a tool returns is recorded by its type, without its bytes."""
    painter = MCPServer("painter")

    @painter.tool()
    def paint() -> Image:
        """Paint."""
        return Image(data=b"\x89PNG" * 1000, format="png")

    async def run() -> Any:
        async with Client(painter) as client:
            return await client.call_tool("paint", {})

    asyncio.run(run())
    output = str(traces.one().root["output"])
    assert "image/png" in output
    assert len(output) < 500


def test_a_prompt_tells_what_it_gave(traces: SentTraces) -> None:
    """An agent's requests to a server are recorded with their results; handshakes and lists are left out."""

    async def run() -> None:
        async with Client(weather_server) as client:
            with pandaprobe_otel.agent(name="app"):
                await client.list_prompts()
                await client.get_prompt("greeting", {"name": "Ada"})

    asyncio.run(run())
    trace = traces.one()
    assert not [span["name"] for span in trace.spans if "list" in span["name"] or "initialize" in span["name"]]
    assert "Greet Ada." in str([span.get("output") for span in trace.spans])


def test_taking_it_off_and_putting_it_on_again(traces: SentTraces) -> None:
    """Uninstrumenting restores the library, which then makes only its own spans."""
    with off("mcp"):
        assert not hasattr(session.ClientSession.call_tool, "__wrapped__")
        in_memory("Oslo")
    assert {span["metadata"]["scope"] for span in traces.one().all("TOOL")} == {"mcp-python-sdk"}


def test_many_calls_leave_nothing_open(traces: SentTraces) -> None:
    """Each of 200 calls of one connection is one complete trace of client and server."""

    async def many() -> None:
        async with Client(weather_server) as client:
            for _ in range(200):
                await client.call_tool("weather", {"city": "Oslo"})

    asyncio.run(many())
    assert all(len(trace.spans) == 3 for trace in traces.new(200))


def test_beside_another_vendor(traces: SentTraces, server: LocalServer) -> None:
    """OpenInference propagates the trace as we do and makes no spans, so our spans are the same beside it."""
    done = run_beside_another_vendor("mcp", server.url, server.api_key)
    assert done.stdout.partition(":")[0] == "hooked"
    for trace in traces.new(2):
        trace.is_like("""
            trace app | COMPLETED
            AGENT app
              TOOL weather | {"city":"Oslo"} > "snowy"
                TOOL weather | {"city":"Oslo"} > "snowy"
                  OTHER look up | "Oslo" > "snowy"
        """)


def test_the_example(traces: SentTraces, server: LocalServer) -> None:
    """The example, without a key, runs an agent with a tool of another process in one trace."""
    assert run_example("mcp_agent", server).splitlines()[-1].startswith("Your parcel is on its way")

    trace = traces.one()
    assert [span["input"] for span in trace.all("TOOL")] == [{"parcel": "P-4711"}] * 2
    assert len(trace.all("LLM")) == 2


def test_calls_of_tools_are_recorded_and_replayed(traces: SentTraces, tmp_path: Path) -> None:
    """With `tools=`, the server's tool runs once, and a replay returns equal results."""
    ran: list[str] = []
    shop = MCPServer("shop")

    @shop.tool()
    def price(item: str) -> str:
        ran.append(item)
        if item == "nothing":
            raise ToolError("no such item")
        return f"{item}: 7 EUR"

    async def run() -> list[Any]:
        async with Client(shop) as client:
            return [await client.call_tool("price", {"item": item}) for item in ("kettle", "nothing")]

    found: list[Any] = []
    for mode in ("all", "none"):
        with pandaprobe_otel.recording(tmp_path / "one.yaml", mode=mode, tools=True):
            found.append(asyncio.run(run()))
    assert found[1] == found[0]
    assert ran == ["kettle", "nothing"]
    assert found[1][1].is_error
