"""An app that instruments LangChain with both another vendor's library and ours.

    python langchain_rival.py MODULE CLASS ENDPOINT KEY MODEL_URL

Each vendor needs a new process, since not every library can be uninstrumented.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module

import pandaprobe_otel


def main(module: str, name: str, endpoint: str, key: str, model_url: str) -> None:
    """Run an agent in three ways, then print the state of our instrumentation."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    if name:  # LangSmith has no class; environment variables enable it
        getattr(import_module(module), name)().instrument()

    from langchain.agents import create_agent
    from langchain_core.tracers.langchain import wait_for_all_tracers
    from langchain_openai import ChatOpenAI

    from weather_model import weather

    llm = ChatOpenAI(model="gpt-5-mini", base_url=model_url, api_key="any", stream_usage=True)
    agent = create_agent(llm, [weather], name="forecaster")
    asked = {"messages": [{"role": "user", "content": "Weather in Oslo?"}]}
    agent.invoke(asked)
    list(agent.stream(asked, stream_mode="messages"))
    asyncio.run(agent.ainvoke(asked))
    sys.stdout.write(pandaprobe_otel.status().instrumented["langchain"])
    wait_for_all_tracers()
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
