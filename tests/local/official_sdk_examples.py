"""The documented examples of the official SDK (its README, version 0.6.0), as a program that prints its results."""
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import asyncio
import json
import sys
import uuid

import anthropic
import openai
import pandaprobe
from pandaprobe.api import PlatformClient
from pandaprobe.wrappers import wrap_anthropic, wrap_openai

openai_client = wrap_openai(openai.OpenAI())
QUESTION = {"messages": [{"role": "user", "content": "What is recursion?"}]}
ANSWER = {"messages": [{"role": "assistant", "content": "A function that calls itself."}]}


@pandaprobe.trace(name="my-agent")
def run_agent(messages: dict[str, object]) -> dict[str, object]:
    """Run a search and a model call under decorators."""

    @pandaprobe.span(name="llm-call", kind="LLM")
    def call_llm(prompt: str) -> str:
        answer = openai_client.chat.completions.create(
            model="gpt-5.4-nano", messages=[{"role": "user", "content": prompt}]
        )
        return answer.choices[0].message.content or ""

    @pandaprobe.span(name="search", kind="TOOL")
    def search(q: str) -> str:
        return f"found {q}"

    return {"messages": [{"role": "assistant", "content": call_llm(search("recursion"))}]}


async def read_back(trace_id: str) -> dict[str, object]:
    """Wait for a trace with the API client, evaluate it, and list the session."""
    async with PlatformClient() as client:
        trace = await client.traces.wait_visible(trace_id, timeout=30)
        metrics = [metric.name for metric in await client.evaluations.metrics()]
        run = await client.evaluations.create([trace_id], ["task_completion"], name="from the official SDK")
        result = await client.evaluations.wait(
            run.id, trace_ids=[trace_id], metrics=["task_completion"], timeout=60, poll_interval=0.1
        )
        session = [item.name async for item in client.traces.iterate(session_id="conversation-123")]
    return {
        "spans": [span.name for span in trace.spans],
        "metrics": len(metrics),
        "evaluated": [score.numeric_value for score in result.scores],
        "session": sorted(session),
    }


def main() -> None:
    """Trace in every documented way, then read everything back."""
    with pandaprobe.session("conversation-123"), pandaprobe.user("user-abc"):
        run_agent(QUESTION)
        run_agent(QUESTION)
    pandaprobe.set_session("conversation-456")
    pandaprobe.set_user("user-xyz")
    openai_client.chat.completions.create(model="gpt-5.4-nano", messages=[{"role": "user", "content": "Hello"}])
    openai_client.responses.create(model="gpt-5.4-nano", input="Explain recursion in one sentence.")
    wrap_anthropic(anthropic.Anthropic()).messages.create(
        model="claude-sonnet-4-20250514",
        max_tokens=150,
        system="You are a concise assistant.",
        messages=[{"role": "user", "content": "Explain recursion in one sentence."}],
    )
    with pandaprobe.start_trace("my-trace", input=QUESTION, tags=["docs"], metadata={"a": 1}) as trace:
        with trace.span("llm-call", kind="LLM") as span:
            span.set_input(QUESTION)
            span.set_output(ANSWER)
            span.set_model("gpt-5.4-nano")
            span.set_token_usage(prompt_tokens=10, completion_tokens=5)
            span.set_cost(total=0.001)
        trace.set_output(ANSWER)
    pandaprobe.flush()
    trace_id = str(uuid.UUID(str(trace.trace_id)))
    pandaprobe.score(
        trace_id=trace_id, name="user_satisfaction", value="0.9", data_type="NUMERIC", reason="User clicked thumbs up"
    )
    pandaprobe.flush()
    sys.stdout.write(json.dumps({"trace_id": trace_id, **asyncio.run(read_back(trace_id))}))
    pandaprobe.shutdown()


if __name__ == "__main__":
    main()
