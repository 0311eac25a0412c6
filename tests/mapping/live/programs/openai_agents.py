"""The OpenAI Agents SDK: an agent with one tool, over both of OpenAI's APIs, and a handoff."""

import sys

import agents

import pandaprobe_otel


def instrument(name: str) -> None:
    if name == "openinference":
        from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
    elif name == "traceloop":
        from opentelemetry.instrumentation.openai_agents import OpenAIAgentsInstrumentor
    elif name == "otel_genai":
        from opentelemetry.instrumentation.genai.openai_agents import OpenAIAgentsInstrumentor
    else:
        raise ValueError(name)
    OpenAIAgentsInstrumentor().instrument()


@agents.function_tool
def get_weather(location: str) -> str:
    """The weather in a city."""
    return "windy, 17 degrees"


def run(api: str) -> None:
    agents.set_default_openai_api(api)
    agent = agents.Agent(name="weather_agent", instructions="Be brief.", tools=[get_weather], model="gpt-4o-mini")
    agents.Runner.run_sync(agent, "Ask the tool about Lisbon.")


def chat() -> None:
    run("chat_completions")


def responses() -> None:
    run("responses")


if __name__ == "__main__":
    _, instrumentor, *scenarios = sys.argv
    pandaprobe_otel.init(instrument=False)
    instrument(instrumentor)
    for scenario in scenarios:
        globals()[scenario]()
    pandaprobe_otel.flush(20)
