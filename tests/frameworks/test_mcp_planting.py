"""Content planted in requests and answers of MCP clients and servers appears in the trace."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import pytest
from mcp import Client
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
from planting import Planted

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
    "object": lambda planted: {"found": planted["the result"], "source": {"deep": [planted["beside the result"]]}},
    "list": lambda planted: [planted["the result"], planted["another result"]],
    "model": lambda planted: Found(found=planted["the result"], source=planted["beside the result"]),
    "content": lambda planted: CallToolResult(
        content=[
            TextContent(
                type="text",
                text=planted["the result"],
                annotations=Annotations(audience=["user"], priority=0.125),
                _meta={"of": planted["beside a text"]},
            ),
            ImageContent(type="image", data=PICTURE, mime_type="image/png", _meta={"of": planted["beside a picture"]}),
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
                _meta={"of": planted["beside a file"]},
            ),
        ],
        structured_content={"found": planted["a structured result"]},
        _meta={"cost": planted["beside a result"]},
    ),
    "picture": lambda planted: [planted["the result"], Image(data=b"picture", format="png")],
}


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.plants("ClientSession.call_tool", "OpenTelemetryMiddleware.__call__")
def test_what_is_planted_comes_out(kind: str, traces: SentTraces) -> None:
    """A tool's arguments and result appear in the spans of client and server, bytes as their digest."""
    planted = Planted()
    station = MCPServer("station")

    def look_up(city: str, unit: dict[str, str]) -> Any:
        """Look a city up."""
        return RESULTS[kind](planted)

    look_up.__annotations__["return"] = {"object": dict[str, Any], "list": list[str], "model": Found, "text": str}.get(
        kind, Any
    )
    station.add_tool(look_up)
    arguments = {"city": planted["an argument"], "unit": {"of": planted["another argument"]}}
    trace = body_of(station, lambda client: client.call_tool("look_up", arguments), traces)
    assert planted.missing_in(trace.body) == []
    for span in trace.all("TOOL", "look_up"):
        assert planted.missing_in(span) == []
        if kind in ("content", "picture"):
            assert DIGEST in str(span["output"])
            assert PICTURE not in str(span)


def test_a_tool_that_fails_comes_out(traces: SentTraces) -> None:
    """A failed tool's message is the error of the spans of client and server."""
    planted = Planted()
    station = MCPServer("station")

    @station.tool()
    def fail(city: str) -> str:
        """Fail."""
        raise ToolError(planted["the reason of a failure"])

    trace = body_of(station, lambda client: client.call_tool("fail", {"city": planted["an argument"]}), traces)
    assert planted.missing_in(trace.body) == []
    assert all(planted["the reason of a failure"] in span["error"] for span in trace.all("TOOL"))


def test_a_failure_with_more_than_text_comes_out(traces: SentTraces) -> None:
    """A failure with metadata appears completely in the error of the spans of client and server."""
    planted = Planted()
    station = MCPServer("station")

    @station.tool()
    def fail(city: str) -> CallToolResult:
        """Fail."""
        said = TextContent(type="text", text=planted["the reason of a failure"], _meta={"of": planted["beside it"]})
        return CallToolResult(content=[said], is_error=True)

    trace = body_of(station, lambda client: client.call_tool("fail", {"city": "Oslo"}), traces)
    assert all(planted.missing_in(span["error"]) == [] for span in trace.all("TOOL"))


@pytest.mark.plants("prompts/get", "resources/read")
def test_prompts_and_resources_come_out(traces: SentTraces) -> None:
    """Requests for prompts and resources, and their answers, appear in the trace."""
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
    assert planted.missing_in(trace.body) == []
    assert DIGEST in str(trace.body)
    assert PICTURE not in str(trace.body)


class Asked(BaseModel):
    """The form of a user's answer."""

    city: str


@pytest.mark.plants("sampling/createMessage", "elicitation/create", "JSONRPCDispatcher.send_raw_request")
def test_what_a_server_asks_comes_out(traces: SentTraces) -> None:
    """A tool's questions to the client's model and user, and their answers, appear in the trace."""
    planted = Planted()
    station = MCPServer("station")

    @station.tool()
    async def look_up(city: str, ctx: Context) -> str:
        """Ask a model and a user."""
        content = TextContent(type="text", text=planted["what a model is asked"])
        await ctx.session.create_message(
            [SamplingMessage(role="user", content=content)],
            max_tokens=7_000_001,
            system_prompt=planted["the instructions of a model"],
        )
        await ctx.elicit(planted["what a user is asked"], Asked)
        return city

    async def sample(context: Any, params: Any) -> CreateMessageResult:
        """Answer as a model."""
        said = TextContent(type="text", text=planted["what a model answers"])
        return CreateMessageResult(role="assistant", content=said, model=planted["the model"])

    async def ask(context: Any, params: Any) -> ElicitResult:
        """Answer as a user."""
        return ElicitResult(action="accept", content={"city": planted["what a user answers"]})

    trace = body_of(
        station,
        lambda client: client.call_tool("look_up", {"city": planted["an argument"]}),
        traces,
        sampling_callback=sample,
        elicitation_callback=ask,
        mode="legacy",
    )
    assert planted.missing_in(trace.body) == []
