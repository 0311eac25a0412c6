"""Models of LangChain outside of any agent."""

from __future__ import annotations

from collections.abc import Callable

from langchain_openai import ChatOpenAI

from agent_traces import SentTraces
from pandaprobe_otel.demo.scripted_endpoint import Script, ScriptedEndpoint
from weather_model import weather_model


def test_one_call(traces: SentTraces, model: Callable[[Script], ScriptedEndpoint]) -> None:
    """A model call outside of any agent is a trace of one span."""
    endpoint = model(weather_model)
    ChatOpenAI(model="gpt-5-mini", base_url=endpoint.base_url, api_key="any").invoke("Hi")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert (trace.root["kind"], trace.root["model"]) == ("LLM", "gpt-5-mini")
    assert trace.body["output"] == {"messages": [{"role": "assistant", "content": "You said: Hi"}]}
