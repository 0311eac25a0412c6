"""LangChain: an agent with one tool, a chain, a stream and an error, under one of its instrumentors."""

import sys

import pandaprobe_otel


def instrument(name: str) -> None:
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


def model():
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model="gpt-4o-mini", temperature=0.2, max_retries=0)


def agent() -> None:
    from langchain.agents import create_agent

    def get_weather(location: str) -> str:
        """The weather in a city."""
        return "windy, 17 degrees"

    made = create_agent(model(), tools=[get_weather], system_prompt="Be brief.")
    made.invoke({"messages": [{"role": "user", "content": "Ask the tool about Lisbon."}]})


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
    whole = {"context": Almanac(), "question": RunnablePassthrough()} | prompt | model() | StrOutputParser()
    whole.invoke("Weather in Lisbon, by the book?")


def stream() -> None:
    from langchain_core.messages import HumanMessage

    assert sum(1 for _ in model().stream([HumanMessage("Weather in Lisbon, word by word?")])) > 3


def busy() -> None:
    import openai

    try:
        model().invoke("BUSY")
    except openai.RateLimitError:
        return
    raise AssertionError("no error")


if __name__ == "__main__":
    _, instrumentor, *scenarios = sys.argv
    pandaprobe_otel.init(instrument=False)
    instrument(instrumentor)
    for scenario in scenarios:
        globals()[scenario]()
    if instrumentor == "langsmith":
        from langchain_core.tracers.langchain import wait_for_all_tracers

        wait_for_all_tracers()
    pandaprobe_otel.flush(20)
