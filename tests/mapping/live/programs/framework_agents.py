"""Agents of several frameworks with one tool, each under one of its instrumentors or with the framework's own spans.

The first argument is the framework, a function below; each framework has an environment of its own.
"""

import asyncio
import contextlib
import os
import sys
from importlib.metadata import version

import pandaprobe_otel

ASK, WIND = "Ask the tool about Lisbon.", "windy, 17 degrees"


def get_weather(location: str) -> str:
    """The weather in a city."""
    return WIND


def broken_weather(location: str) -> str:
    """The weather in a city."""
    raise RuntimeError("the sensor is broken")


def adk(instrumentor: str, *scenarios: str) -> None:
    from google.adk.agents import LlmAgent, SequentialAgent
    from google.adk.agents.run_config import RunConfig, StreamingMode
    from google.adk.runners import InMemoryRunner
    from google.genai import types

    if instrumentor == "openinference":
        from openinference.instrumentation.google_adk import GoogleADKInstrumentor

        GoogleADKInstrumentor().instrument()

    async def answered(agent: object, question: str, mode: StreamingMode) -> None:
        runner = InMemoryRunner(agent=agent, app_name="weather_app")
        session = await runner.session_service.create_session(
            app_name="weather_app", user_id="user-7", session_id="session-7"
        )
        message = types.Content(role="user", parts=[types.Part(text=question)])
        async for _ in runner.run_async(
            user_id="user-7", session_id=session.id, new_message=message, run_config=RunConfig(streaming_mode=mode)
        ):
            pass

    def assistant(name: str, *tools: object) -> LlmAgent:
        return LlmAgent(name=name, model="gemini-2.5-flash", instruction="Be brief.", tools=list(tools))

    agents = {
        "tool": (assistant("weather_agent", get_weather), ASK),
        "stream": (assistant("weather_agent"), "Weather in Lisbon, word by word?"),
        "broken": (assistant("weather_agent", broken_weather), "Ask the broken tool about Lisbon."),
        "sequential": (
            SequentialAgent(name="pipeline", sub_agents=[assistant("first"), assistant("second")]),
            "Weather in Lisbon, twice?",
        ),
    }
    for scenario in scenarios:
        mode = StreamingMode.SSE if scenario == "stream" else StreamingMode.NONE
        with fails(RuntimeError) if scenario == "broken" else contextlib.nullcontext():
            asyncio.run(answered(*agents[scenario], mode))


@contextlib.contextmanager
def fails(kind: type):
    """Expect this exception."""
    try:
        yield
    except kind:
        return
    raise AssertionError("no error")


def haystack(instrumentor: str) -> None:
    from haystack import Document, Pipeline, tracing
    from haystack.components.builders import ChatPromptBuilder
    from haystack.components.generators.chat import OpenAIChatGenerator
    from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
    from haystack.dataclasses import ChatMessage
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack.tracing.utils import coerce_tag_value
    from opentelemetry import trace

    class OpenTelemetrySpan(tracing.Span):
        """A span that accepts Haystack's tags."""

        def __init__(self, span: trace.Span) -> None:
            self._span = span

        def set_tag(self, key, value) -> None:
            self._span.set_attribute(key, coerce_tag_value(value))

    class OpenTelemetryTracer(tracing.Tracer):
        """The bridge to OpenTelemetry from Haystack's documentation."""

        @contextlib.contextmanager
        def trace(self, operation_name, tags=None, parent_span=None):
            with trace.get_tracer("haystack").start_as_current_span(operation_name) as span:
                wrapped = OpenTelemetrySpan(span)
                wrapped.set_tags(tags or {})
                yield wrapped

        def current_span(self):
            return OpenTelemetrySpan(trace.get_current_span())

    if instrumentor == "openinference":
        from openinference.instrumentation.haystack import HaystackInstrumentor

        HaystackInstrumentor().instrument()
    else:
        tracing.tracer.is_content_tracing_enabled = True
        tracing.enable_tracing(OpenTelemetryTracer())
    store = InMemoryDocumentStore()
    store.write_documents([Document(content="Lisbon is windy.", meta={"page": 17})])
    pipeline = Pipeline()
    template = [
        ChatMessage.from_system("Be brief."),
        ChatMessage.from_user("{% for d in documents %}{{ d.content }}{% endfor %} {{ question }}"),
    ]
    pipeline.add_component("retriever", InMemoryBM25Retriever(store))
    pipeline.add_component("prompt", ChatPromptBuilder(template, required_variables="*"))
    pipeline.add_component("llm", OpenAIChatGenerator(model="gpt-4o-mini"))
    pipeline.connect("retriever.documents", "prompt.documents")
    pipeline.connect("prompt.prompt", "llm.messages")
    question = "Weather in Lisbon, by the book?"
    pipeline.run({"retriever": {"query": question}, "prompt": {"question": question}})


def langchain(name: str, *scenarios: str) -> None:
    if name.startswith("openinference"):
        from openinference.instrumentation.langchain import LangChainInstrumentor

        LangChainInstrumentor().instrument()
    elif name == "traceloop":
        from opentelemetry.instrumentation.langchain import LangchainInstrumentor

        LangchainInstrumentor().instrument()
    elif name == "otel_genai":
        from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor

        LangChainInstrumentor().instrument()
    elif name != "langsmith":  # LangSmith's client writes OpenTelemetry spans if this variable is set
        raise ValueError(name)
    if name == "openinference_plus_openai":
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor

        OpenAIInstrumentor().instrument()
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model="gpt-4o-mini", temperature=0.2, max_retries=0)

    def agent() -> None:
        from langchain.agents import create_agent

        made = create_agent(model, tools=[get_weather], system_prompt="Be brief.")
        made.invoke({"messages": [{"role": "user", "content": ASK}]})

    def chain() -> None:
        from langchain_core.documents import Document
        from langchain_core.output_parsers import StrOutputParser
        from langchain_core.prompts import ChatPromptTemplate
        from langchain_core.retrievers import BaseRetriever
        from langchain_core.runnables import RunnablePassthrough

        class Almanac(BaseRetriever):
            """A retriever with a single page."""

            def _get_relevant_documents(self, query, *, run_manager):
                return [Document(page_content="Lisbon is windy.", metadata={"page": 17})]

        prompt = ChatPromptTemplate.from_messages([("system", "Be brief. {context}"), ("human", "{question}")])
        whole = {"context": Almanac(), "question": RunnablePassthrough()} | prompt | model | StrOutputParser()
        whole.invoke("Weather in Lisbon, by the book?")

    def stream() -> None:
        from langchain_core.messages import HumanMessage

        assert sum(1 for _ in model.stream([HumanMessage("Weather in Lisbon, word by word?")])) > 3

    def busy() -> None:
        import openai

        with fails(openai.RateLimitError):
            model.invoke("BUSY")

    made = {"agent": agent, "chain": chain, "stream": stream, "busy": busy}
    for scenario in scenarios:
        made[scenario]()
    if name == "langsmith":
        from langchain_core.tracers.langchain import wait_for_all_tracers

        wait_for_all_tracers()


def openai_agents(instrumentor: str, *apis: str) -> None:
    import agents

    if instrumentor == "openinference":
        from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
    elif instrumentor == "traceloop":
        from opentelemetry.instrumentation.openai_agents import OpenAIAgentsInstrumentor
    else:
        from opentelemetry.instrumentation.genai.openai_agents import OpenAIAgentsInstrumentor
    OpenAIAgentsInstrumentor().instrument()
    for api in apis:
        agents.set_default_openai_api(api)
        tools = [agents.function_tool(get_weather)]
        agent = agents.Agent(name="weather_agent", instructions="Be brief.", tools=tools, model="gpt-4o-mini")
        agents.Runner.run_sync(agent, ASK)


def pydantic_ai(schema: str, mode: str, api: str, *scenarios: str) -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models.instrumented import InstrumentationSettings

    major = int(version("pydantic-ai-slim").split(".")[0])
    model = {
        "openai": "openai-chat:gpt-4o-mini" if major >= 2 else "openai:gpt-4o-mini",
        "responses": "openai-responses:gpt-4o-mini",
        "anthropic": "anthropic:claude-sonnet-4-5",
    }[api]
    options = {"event_mode": "logs"} if mode == "logs" else {}
    Agent.instrument_all(InstrumentationSettings(version=int(schema), **options))

    def agent(*tools: object) -> Agent:
        return Agent(model, name="weather_agent", instructions="Be brief.", tools=list(tools))

    async def streamed() -> None:
        async with agent().run_stream("Weather in Lisbon, word by word?") as result:
            await result.get_output()

    for scenario in scenarios:
        if scenario == "run":
            agent(get_weather).run_sync(ASK)
        elif scenario == "stream":
            asyncio.run(streamed())
        else:
            with fails(RuntimeError):
                agent(broken_weather).run_sync("Ask the broken tool about Lisbon.")


def smolagents() -> None:
    from openinference.instrumentation.smolagents import SmolagentsInstrumentor
    from smolagents import OpenAIServerModel, ToolCallingAgent, tool

    @tool
    def final_weather(location: str) -> str:
        """The weather in a city.

        Args:
            location: the city
        """
        return "windy, 17 degrees"

    SmolagentsInstrumentor().instrument()
    model = OpenAIServerModel(model_id="gpt-4o-mini")
    ToolCallingAgent(tools=[final_weather], model=model, max_steps=2, verbosity_level=0).run(ASK)


def strands() -> None:
    from strands import Agent, tool
    from strands.models.openai import OpenAIModel

    agent = Agent(
        model=OpenAIModel(model_id="gpt-4o-mini", client_args={"max_retries": 0}),
        tools=[tool(get_weather)],
        system_prompt="Be brief.",
        name="weather_agent",
        callback_handler=None,
    )
    agent(ASK)


def agent_framework(client: str) -> None:
    import agent_framework
    import agent_framework.openai
    from agent_framework.observability import enable_instrumentation

    enable_instrumentation(enable_sensitive_data=True)
    made = getattr(agent_framework.openai, client)(model="gpt-4o-mini")
    agent = agent_framework.Agent(made, "Be brief.", name="weather_agent", tools=[get_weather])
    asyncio.run(agent.run(ASK))


def semantic_kernel() -> None:
    import logging

    import openai
    from opentelemetry import _logs
    from opentelemetry.sdk._logs import LoggingHandler
    from semantic_kernel import Kernel
    from semantic_kernel.agents import ChatCompletionAgent
    from semantic_kernel.connectors.ai.open_ai import OpenAIChatCompletion
    from semantic_kernel.functions import kernel_function

    logging.getLogger().addHandler(LoggingHandler(logger_provider=_logs.get_logger_provider()))
    logging.getLogger().setLevel(logging.INFO)

    class Weather:
        @kernel_function(name="get_weather", description="The weather in a city.")
        def get_weather(self, location: str) -> str:
            return WIND

    service = OpenAIChatCompletion(ai_model_id="gpt-4o-mini", async_client=openai.AsyncOpenAI(max_retries=0))
    agent = ChatCompletionAgent(
        kernel=Kernel(), service=service, name="weather_agent", instructions="Be brief.", plugins=[Weather()]
    )
    asyncio.run(agent.get_response(messages=ASK))


def autogen() -> None:
    from autogen_agentchat.agents import AssistantAgent
    from autogen_ext.models.openai import OpenAIChatCompletionClient

    async def weather(location: str) -> str:
        """The weather in a city."""
        return WIND

    async def run() -> None:
        client = OpenAIChatCompletionClient(model="gpt-4o-mini", base_url=os.environ["OPENAI_BASE_URL"])
        agent = AssistantAgent("weather_agent", client, tools=[weather], system_message="Be brief.")
        await agent.run(task=ASK)

    asyncio.run(run())


if __name__ == "__main__":
    pandaprobe_otel.init(instrument=False)
    globals()[sys.argv[1]](*sys.argv[2:])
    pandaprobe_otel.flush(20)
