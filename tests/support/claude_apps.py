"""Apps of the Claude Agent SDK, in which the real `claude` program talks to a scripted model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from claude_agent_sdk import ClaudeAgentOptions, create_sdk_mcp_server, tool

from pandaprobe_otel.demo.completions import Message, Refusal, Reply, ToolCall, text_of
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from weather_model import WEATHER

MODEL = "claude-sonnet-4-5"
TOOL = "mcp__station__weather"


@tool("weather", "Tell the weather in a city", {"city": str})
async def weather(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the weather of a city. This tool runs in the app's process."""
    if arguments["city"] not in WEATHER:
        raise LookupError(f"no station in {arguments['city']}")
    return {"content": [{"type": "text", "text": WEATHER[arguments["city"]]}]}


def claude_model(messages: Sequence[Message]) -> Reply:
    """Act like `weather_model`, with Claude's name of the tool; "Ask the expert: ..." goes to a sub-agent."""
    last = messages[-1]
    # The `claude` program adds its own reminders before a question and after a result.
    said = text_of(last["content"]).partition("\n")[0 if last["role"] == "tool" else 2] or text_of(last["content"])
    said = said.rpartition("\n")[2]
    if last["role"] == "tool":
        return Reply(text=f"The station says: {said}")
    if said.startswith("Ask the expert: "):
        asked = said.removeprefix("Ask the expert: ")
        arguments = {"description": "ask", "prompt": asked, "subagent_type": "expert", "run_in_background": False}
        return Reply(text="I ask.", tool_calls=(ToolCall(name="Agent", arguments=arguments),))
    if "Weather in " not in said:
        return Reply(text=f"You said: {said}")
    city = said.rpartition("Weather in ")[2].rstrip("?")
    if city == "Nowhere":
        raise Refusal(400, "There is no Nowhere.")
    return Reply(text="I look.", tool_calls=(ToolCall(name=TOOL, arguments={"city": city}),))


def options(endpoint: ScriptedEndpoint, home: Path, **more: Any) -> ClaudeAgentOptions:
    """Return options for an app with the tool `weather`. The user's own settings of Claude Code do not apply."""
    given: dict[str, Any] = {
        "model": MODEL,
        "cwd": home,
        "setting_sources": [],
        "tools": ["Agent"],
        "mcp_servers": {"station": create_sdk_mcp_server("station", tools=[weather])},
        "allowed_tools": [TOOL, "Agent"],
        "env": {
            "ANTHROPIC_BASE_URL": endpoint.url,
            "ANTHROPIC_API_KEY": "scripted",
            "CLAUDE_CONFIG_DIR": str(home / "claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": "0",
        },
    }
    return ClaudeAgentOptions(**{**given, **more})
