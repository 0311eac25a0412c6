"""An app that instruments the Claude Agent SDK with both another vendor's library and ours.

python claude_agent_sdk_rival.py ENDPOINT KEY MODEL_URL DIRECTORY
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandaprobe_otel


async def ask(given: Any) -> None:
    """Ask one question."""
    from claude_agent_sdk import query

    async for _ in query(prompt="Weather in Oslo?", options=given):
        pass


def main(endpoint: str, key: str, model_url: str, directory: str) -> None:
    """Run an agent, then print the state of our instrumentation."""
    handle = pandaprobe_otel.init(endpoint=endpoint, api_key=key, project_name="frameworks", strict=True)
    from openinference.instrumentation.claude_agent_sdk import ClaudeAgentSDKInstrumentor

    ClaudeAgentSDKInstrumentor().instrument()
    from claude_apps import options

    model: Any = SimpleNamespace(url=model_url)
    asyncio.run(ask(options(model, Path(directory))))
    sys.stdout.write(pandaprobe_otel.status().instrumented["claude_agent_sdk"])
    assert handle.flush(20)


if __name__ == "__main__":
    main(*sys.argv[1:])
