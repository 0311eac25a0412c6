"""An app that instruments LlamaIndex with both another vendor's library and ours.

python llama_index_rival.py ENDPOINT KEY MODEL_URL
"""

from __future__ import annotations

import asyncio
import sys

import pandaprobe_otel


def main(endpoint: str, key: str, model_url: str) -> None:
    """Run an agent, then print the state of our instrumentation."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from llama_index.core.agent.workflow import FunctionAgent
    from llama_index.llms.openai import OpenAI
    from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

    from weather_model import weather

    LlamaIndexInstrumentor().instrument()
    llm = OpenAI(model="gpt-5-mini", api_base=model_url, api_key="any")

    async def ask() -> None:
        await FunctionAgent(name="forecaster", tools=[weather], llm=llm, streaming=False).run("Weather in Oslo?")

    asyncio.run(ask())
    sys.stdout.write(pandaprobe_otel.status().instrumented["llama_index"])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
