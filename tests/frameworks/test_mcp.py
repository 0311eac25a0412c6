"""Clients and servers of the Model Context Protocol, over every transport."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client import session
from mcp.client.stdio import stdio_client
from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import (
    Annotations,
    BlobResourceContents,
    CallToolResult,
    CreateMessageResult,
    ElicitResult,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from pydantic import BaseModel

import pandaprobe_otel
from agent_traces import SentTraces
from example_runs import run_example
from framework_cases import AgentApp, cancel_in_a_tool, off, run_with_rival
from mcp_weather import server as weather_server
from pandaprobe_otel.local import LocalServer
from planting import Planted

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


@contextmanager
def over_stdio(local: Any) -> Iterator[Any]:
    """Yield a server process that the client starts."""
    program = [str(SUPPORT / "mcp_weather.py"), local.url, local.api_key]
    yield stdio_client(StdioServerParameters(command=sys.executable, args=program, env=environment()))


async def call_both(local: Any, question: str, function: Any) -> None:
    """Call a server process and a server in this process."""
    with over_stdio(local) as target:
        await call(target, "Oslo")
    await call(weather_server, "Oslo")


APP = AgentApp(run=call_both)


@contextmanager
def over_http(local: LocalServer) -> Iterator[str]:
    """Run a server over HTTP in a process of its own, whose spans are sent when the block ends; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, str(SUPPORT / "mcp_weather.py"), local.url, local.api_key, str(port)]
    process = subprocess.Popen(program, env=environment(), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        line = ""
        while "Uvicorn running" not in line:
            line = process.stderr.readline()
            assert line, "the server has ended"
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


TREE = """
    trace app | COMPLETED
    AGENT app
      TOOL weather | {"city":"Oslo"} > "snowy"
        TOOL weather | {"city":"Oslo"} > "snowy"
          OTHER look up | "Oslo" > "snowy"
"""


@pytest.mark.parametrize("way", [over_stdio, over_http])
def test_client_and_server_are_one_trace(way: Any, traces: SentTraces, server: LocalServer) -> None:
    """The server process's spans are below the client's, each with arguments and result."""
    with way(server) as target:
        assert not asyncio.run(call(target, "Oslo")).is_error

    trace = traces.one()
    trace.is_like(TREE)
    scopes = [span["metadata"]["scope"] for span in trace.all("TOOL")]
    assert scopes == ["pandaprobe_otel.mcp", "mcp-python-sdk"]


def in_memory(city: str) -> Any:
    """Call a server in the client's process."""
    return asyncio.run(call(weather_server, city))


def test_a_tool_that_fails(traces: SentTraces) -> None:
    """A failed tool gives client and server spans status ERROR; the agent continues, and its span is OK."""
    assert in_memory("Atlantis").is_error

    trace = traces.one()
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
    cut = [trace.root, *trace.all("TOOL")]
    assert len(cut) == 3
    assert {span["metadata"].get("outcome") for span in cut} == {trace.body["metadata"]["outcome"]} == {"cancelled"}
    assert [span["name"] for span in trace.spans if "ended_at" not in span or span["status"] == "ERROR"] == []


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


def test_taking_it_off_and_putting_it_on_again(traces: SentTraces) -> None:
    """Uninstrumenting restores the library, which then makes only its own spans."""
    with off("mcp"):
        assert not hasattr(session.ClientSession.call_tool, "__wrapped__")
        in_memory("Oslo")
    assert {span["metadata"]["scope"] for span in traces.one().all("TOOL")} == {"mcp-python-sdk"}


def test_many_calls_leave_nothing_open(traces: SentTraces) -> None:
    """Each of 50 calls of one connection is one complete trace of client and server."""

    async def many() -> None:
        async with Client(weather_server) as client:
            for _ in range(50):
                await client.call_tool("weather", {"city": "Oslo"})

    asyncio.run(many())
    assert all(len(trace.spans) == 3 for trace in traces.new(50))


def test_another_vendor_propagates_as_well(traces: SentTraces, server: LocalServer) -> None:
    """OpenInference propagates the trace as we do and makes no spans, so our spans are the same beside it."""
    rival = "openinference.instrumentation.mcp:MCPInstrumentor"
    assert run_with_rival("mcp", rival, server.url, server.api_key, server.url).partition(":")[0] == "hooked"
    for trace in traces.new(2):
        trace.is_like(TREE)


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


PICTURE = base64.b64encode(b"picture").decode()
DIGEST = sha256(b"picture").hexdigest()


class Found(BaseModel):
    """The result of a tool."""

    found: str
    source: str


def body_of(server: MCPServer, calls: Callable[[Any], Awaitable[object]], traces: SentTraces, **options: Any) -> Any:
    """Return the trace of a client's calls inside an agent of the app."""

    async def run() -> None:
        async with Client(server, **options) as client:
            await client.list_tools()
            with pandaprobe_otel.agent(name="app"):
                await calls(client)

    asyncio.run(run())
    return traces.one()


RESULTS: dict[str, Callable[[Planted], Any]] = {
    "text": lambda planted: planted["the result"],
    "model": lambda planted: Found(found=planted["the result"], source=planted["another result"]),
    "content": lambda planted: CallToolResult(
        content=[
            TextContent(
                type="text",
                text=planted["the result"],
                annotations=Annotations(audience=["user"], priority=0.125),
                _meta={"of": planted["metadata of a text"]},
            ),
            ImageContent(
                type="image", data=PICTURE, mime_type="image/png", _meta={"of": planted["metadata of a picture"]}
            ),
            ResourceLink(type="resource_link", uri="file:///" + planted["a link"], name=planted["a link's name"]),
            EmbeddedResource(
                type="resource",
                resource=TextResourceContents(
                    uri="file:///a", text=planted["an embedded text"], mime_type="text/plain"
                ),
            ),
            EmbeddedResource(
                type="resource",
                resource=BlobResourceContents(uri="file:///" + planted["a file"], blob=PICTURE),
                _meta={"of": planted["metadata of a file"]},
            ),
        ],
        structured_content={"found": planted["a structured result"]},
        _meta={"cost": planted["metadata of a result"]},
    ),
    "picture": lambda planted: [planted["the result"], Image(data=b"picture", format="png")],
}


@pytest.mark.parametrize("kind", RESULTS)
def test_a_planted_call_is_recorded(kind: str, traces: SentTraces) -> None:
    """A tool's arguments and result appear in the spans of client and server, bytes as their digest."""
    planted = Planted()
    station = MCPServer("station")

    def look_up(city: str, unit: dict[str, str]) -> Any:
        """Look a city up."""
        return RESULTS[kind](planted)

    look_up.__annotations__["return"] = {"model": Found, "text": str}.get(kind, Any)
    station.add_tool(look_up)
    arguments = {"city": planted["an argument"], "unit": {"of": planted["another argument"]}}
    trace = body_of(station, lambda client: client.call_tool("look_up", arguments), traces)
    assert planted.missing_in(trace.body) == []
    for span in trace.all("TOOL", "look_up"):
        assert planted.missing_in(span) == []
        if kind in ("content", "picture"):
            assert DIGEST in str(span["output"])
            assert PICTURE not in str(span)


@pytest.mark.parametrize("is_raised", [False, True])
def test_a_failure_is_recorded(is_raised: bool, traces: SentTraces) -> None:
    """A failed tool's message, with its metadata, is the error of the spans of client and server."""
    planted = Planted()
    station = MCPServer("station")

    @station.tool()
    def fail(city: str) -> CallToolResult:
        """Fail."""
        if is_raised:
            raise ToolError(planted["the reason"])
        text = TextContent(type="text", text=planted["the reason"], _meta={"of": planted["metadata of a text"]})
        return CallToolResult(content=[text], is_error=True)

    trace = body_of(station, lambda client: client.call_tool("fail", {"city": "Oslo"}), traces)
    assert all(planted.missing_in(span["error"]) == [] for span in trace.all("TOOL"))


def test_prompts_and_resources_are_recorded(traces: SentTraces) -> None:
    """Requests for prompts and resources appear with their answers; handshakes and lists are left out."""
    planted = Planted()
    station = MCPServer("station")

    @station.prompt()
    def greeting(who: str) -> str:
        """Greet."""
        return planted["a prompt"]

    @station.resource("notes://{name}")
    def notes(name: str) -> str:
        """Read."""
        return planted["a resource"]

    @station.resource("files://picture", mime_type="image/png")
    def picture() -> bytes:
        """Read."""
        return b"picture"

    async def calls(client: Any) -> None:
        await client.get_prompt("greeting", {"who": planted["an argument of a prompt"]})
        await client.read_resource("notes://" + planted["a resource's name"])
        await client.read_resource("files://picture")

    trace = body_of(station, calls, traces)
    assert not [span["name"] for span in trace.spans if "list" in span["name"] or "initialize" in span["name"]]
    assert planted.missing_in(trace.body) == []
    assert DIGEST in str(trace.body)
    assert PICTURE not in str(trace.body)


class Form(BaseModel):
    """The form of a user's answer."""

    city: str


def test_requests_of_a_server_are_recorded(traces: SentTraces) -> None:
    """A tool's questions to the client's model and user, and their answers, appear in the trace."""
    planted = Planted()
    station = MCPServer("station")

    @station.tool()
    async def look_up(city: str, ctx: Context) -> str:
        """Ask a model and a user."""
        content = TextContent(type="text", text=planted["a question to a model"])
        await ctx.session.create_message(
            [SamplingMessage(role="user", content=content)],
            max_tokens=7_000_001,
            system_prompt=planted["the instructions of a model"],
        )
        await ctx.elicit(planted["a question to a user"], Form)
        return city

    async def sample(context: Any, params: Any) -> CreateMessageResult:
        """Answer as a model."""
        text = TextContent(type="text", text=planted["a model's answer"])
        return CreateMessageResult(role="assistant", content=text, model=planted["the model"])

    async def answer(context: Any, params: Any) -> ElicitResult:
        """Answer as a user."""
        return ElicitResult(action="accept", content={"city": planted["a user's answer"]})

    trace = body_of(
        station,
        lambda client: client.call_tool("look_up", {"city": planted["an argument"]}),
        traces,
        sampling_callback=sample,
        elicitation_callback=answer,
        mode="legacy",
    )
    assert planted.missing_in(trace.body) == []
