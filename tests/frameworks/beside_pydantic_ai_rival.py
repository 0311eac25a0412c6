"""An app that uses our library and another vendor's for the same calls, set up in either order.

python beside_pydantic_ai_rival.py VENDOR LIBRARY ours|theirs URL_OF_THE_MODEL FILE_OF_OUR_TRACES

Each vendor needs a new process, since most of them cannot be removed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pandaprobe_otel
from weather_model import weather

ASKED = [{"role": "user", "content": "Hello?"}]
ABOUT_WEATHER = "Weather in Oslo?"
PACKAGES = {
    "openinference": "openinference.instrumentation",
    "openllmetry": "opentelemetry.instrumentation",
    "opentelemetry": "opentelemetry.instrumentation.genai",
}
CLASSES = {"openai": "OpenAIInstrumentor", "anthropic": "AnthropicInstrumentor"}


def set_up_theirs(vendor: str, library: str) -> None:
    """Set the other vendor's library up as its documentation says."""
    if vendor == "logfire":
        import logfire

        logfire.configure(send_to_logfire=False, console=False)
        getattr(logfire, f"instrument_{library}")()
    elif vendor.startswith("langfuse"):
        import langfuse

        langfuse.get_client()
    elif vendor == "langsmith":
        from langsmith.run_trees import get_cached_client

        get_cached_client()  # makes a tracer provider of its own if there is none
    elif vendor != "nobody":
        getattr(import_module(f"{PACKAGES[vendor]}.{library}"), CLASSES[library])().instrument()


def openai_calls(vendor: str, url: str) -> None:
    """Make three calls: plain, streamed, and within the vendor's own span of an agent."""
    openai = import_module("langfuse.openai" if vendor == "langfuse" else "openai")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="any", max_retries=0)
    if vendor == "langsmith":
        from langsmith.wrappers import wrap_openai

        client = wrap_openai(client)
    asked: dict[str, Any] = {"model": "gpt-5-mini", "messages": ASKED}
    client.chat.completions.create(**asked)
    list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    with their_agent(vendor):
        client.chat.completions.create(**asked)


def anthropic_calls(vendor: str, url: str) -> None:
    """Make four calls: plain, streamed in two ways, and within the vendor's own span of an agent."""
    import anthropic

    client = anthropic.Anthropic(base_url=url, api_key="any", max_retries=0)
    if vendor == "langsmith":
        from langsmith.wrappers import wrap_anthropic

        client = wrap_anthropic(client)
    asked: dict[str, Any] = {"model": "claude-sonnet-5", "max_tokens": 99, "messages": ASKED}
    client.messages.create(**asked)
    if vendor != "langsmith":  # whose wrapper raises with this client
        list(client.messages.create(**asked, stream=True))
    with client.messages.stream(**asked) as stream:
        stream.get_final_text()
    with their_agent(vendor):
        client.messages.create(**asked)


def their_agent(vendor: str) -> Any:
    """Return the vendor's own span, or ours, around a call."""
    if vendor == "logfire":
        import logfire

        return logfire.span("agent")
    if vendor.startswith("langfuse"):
        import langfuse

        return langfuse.get_client().start_as_current_observation(name="agent", as_type="agent")
    if vendor == "langsmith":
        import langsmith

        return langsmith.trace("agent", run_type="chain")
    return pandaprobe_otel.span("agent", kind="AGENT")


def openai_agents_calls(vendor: str, url: str) -> None:
    """Run an agent with a tool."""
    from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool
    from agents.tracing.processors import default_exporter
    from openai import AsyncOpenAI

    exporter: Any = default_exporter()
    exporter.export = lambda items: None  # send nothing to OpenAI
    if vendor == "langsmith":
        from agents import add_trace_processor
        from langsmith.wrappers import OpenAIAgentsTracingProcessor

        add_trace_processor(OpenAIAgentsTracingProcessor())
    model = OpenAIChatCompletionsModel("gpt-5-mini", AsyncOpenAI(base_url=f"{url}/v1", api_key="any"))
    agent = Agent(name="forecaster", model=model, tools=[function_tool(weather)])
    Runner.run_sync(agent, ABOUT_WEATHER)


def pydantic_ai_calls(vendor: str, url: str) -> None:
    """Run an agent with a tool, over the client of OpenAI and over that of Anthropic."""
    from pydantic_ai import Agent
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    of_openai = OpenAIChatModel("gpt-5-mini", provider=OpenAIProvider(base_url=f"{url}/v1", api_key="any"))
    of_anthropic = AnthropicModel("claude-sonnet-5", provider=AnthropicProvider(base_url=url, api_key="any"))
    for model in (of_openai, of_anthropic):
        Agent(model, name="forecaster", tools=[weather]).run_sync(ABOUT_WEATHER)


def langchain_calls(vendor: str, url: str) -> None:
    """Run an agent with a tool three times: with the vendor's handler in two ways, and without it."""
    from langchain.agents import create_agent
    from langchain_openai import ChatOpenAI

    config: Any = {}
    if vendor == "langfuse":
        from langfuse.langchain import CallbackHandler

        config = {"callbacks": [CallbackHandler()]}
    model = ChatOpenAI(model="gpt-5-mini", base_url=f"{url}/v1", api_key="any")
    agent: Any = create_agent(model, [weather], name="forecaster")
    asked = {"messages": [("user", ABOUT_WEATHER)]}
    agent.invoke(asked, config)
    asyncio.run(agent.ainvoke(asked, config))
    agent.invoke(asked)


CALLS: dict[str, Callable[[str, str], None]] = {
    "anthropic": anthropic_calls,
    "langchain": langchain_calls,
    "openai": openai_calls,
    "openai_agents": openai_agents_calls,
    "pydantic_ai": pydantic_ai_calls,
}


def main(vendor: str, library: str, first: str, url: str, path: str) -> None:
    """Set both up, make the calls, and deliver."""
    os.environ |= {
        "LANGFUSE_PUBLIC_KEY": "pk-lf-x",
        "LANGFUSE_SECRET_KEY": "sk-lf-x",
        "LANGFUSE_TRACING_ENABLED": "true",
    }
    os.environ |= {"LANGFUSE_HOST": "http://127.0.0.1:9", "LANGFUSE_BASE_URL": "http://127.0.0.1:9"}
    if vendor == "langsmith":
        os.environ |= {"LANGSMITH_TRACING": "true", "LANGSMITH_OTEL_ENABLED": "true", "LANGSMITH_OTEL_ONLY": "true"}
        os.environ |= {"LANGSMITH_ENDPOINT": "http://127.0.0.1:9", "LANGSMITH_API_KEY": "x"}
    if first == "theirs":
        set_up_theirs(vendor, library)
    handle = pandaprobe_otel.init(local=path, strict=True)
    if first == "ours":
        set_up_theirs(vendor, library)
    CALLS[library](vendor, url)
    if vendor == "langsmith":
        from langsmith.run_trees import get_cached_client

        get_cached_client().flush()  # it makes its spans in a thread of its own
    assert handle.flush(30)


if __name__ == "__main__":
    main(*sys.argv[1:])
