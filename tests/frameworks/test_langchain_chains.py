"""Chains of LangChain's expression language, and models outside any agent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.tools import ToolRuntime
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import CallbackManagerForRetrieverRun, dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel, FakeListLLM
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.tools import tool
from langchain_core.vectorstores import VectorStore
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import OpenAI
from opentelemetry.trace import get_current_span

from agent_traces import SentTraces
from framework_cases import EMBEDDING_MODEL, StartModel, embeddings_answer, recorded_apart
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.mapping import map_trace
from planting import Planted
from provider_server import ProviderServer, json_reply
from weather_model import weather_model

ERRORS: dict[str, type[BaseException]] = {"nothing": KeyError, "ctrl-c": KeyboardInterrupt}


class Handbook(BaseRetriever):
    """A retriever that finds one page, or raises."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        if query in ERRORS:
            raise ERRORS[query]
        return [Document(page_content=f"All about {query}", metadata={"page": 7}, id="p7")]


def chat(endpoint: ScriptedEndpoint) -> ChatOpenAI:
    """A model over chat completions."""
    return ChatOpenAI(model="gpt-5-mini", base_url=endpoint.base_url, api_key="any", max_retries=0, stream_usage=True)


def handbook_chain(endpoint: ScriptedEndpoint) -> Runnable[Any, str]:
    """A chain that retrieves, fills the prompt, asks the model and parses."""

    def joined(documents: list[Document]) -> str:
        return " ".join(each.page_content for each in documents)

    prompt = ChatPromptTemplate.from_messages([("system", "Use: {context}"), ("user", "{question}")])
    given = {"context": Handbook() | RunnableLambda(joined), "question": RunnablePassthrough()}
    return given | prompt | chat(endpoint) | StrOutputParser()


async def _stream_async(chain: Runnable[Any, str], question: str) -> str:
    return "".join([piece async for piece in chain.astream(question)])


RUNS: dict[str, Callable[[Runnable[Any, str], str], str]] = {
    "invoke": lambda chain, question: chain.invoke(question),
    "stream": lambda chain, question: "".join(chain.stream(question)),
    "ainvoke": lambda chain, question: asyncio.run(chain.ainvoke(question)),
    "astream": lambda chain, question: asyncio.run(_stream_async(chain, question)),
    "batch": lambda chain, question: chain.batch([question])[0],
}


@pytest.mark.parametrize("way", RUNS)
def test_a_chain(way: str, traces: SentTraces, model: StartModel) -> None:
    """Every way to run the chain makes the same tree, with streamed inputs and outputs joined."""
    endpoint = model(weather_model)
    assert RUNS[way](handbook_chain(endpoint), "tea") == "You said: tea"

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert (trace.root["kind"], trace.root["input"], trace.root["output"]) == ("CHAIN", "tea", "You said: tea")
    assert trace.body["input"]["messages"][0]["content"] == "tea"
    call = trace.only("LLM")
    assert [each["content"] for each in call["input"]["messages"]] == ["Use: All about tea", "tea"]
    assert trace.children(trace.root)[-2:] == [call, trace.only(name="StrOutputParser")]
    found = trace.only("RETRIEVER")
    assert (found["name"], found["input"]) == ("Handbook", "tea")
    assert found["output"] == [{"page_content": "All about tea", "metadata": {"page": 7}, "id": "p7"}]
    assert [span["name"] for span in trace.above(found)][-2:] == [
        "RunnableParallel<context,question>",
        "RunnableSequence",
    ]


class Shelf(VectorStore):
    """A vector store that embeds each query, as real stores do, and returns one document."""

    def __init__(self, model: OpenAIEmbeddings) -> None:
        self._model = model

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return one document."""
        return [Document(page_content=f"{len(self._model.embed_query(query))} numbers")]

    async def asimilarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Return one document."""
        return [Document(page_content=f"{len(await self._model.aembed_query(query))} numbers")]

    @classmethod
    def from_texts(cls, texts: list[str], embedding: Any, metadatas: Any = None, **kwargs: Any) -> Any:
        """Return a store, as every vector store has to."""
        return cls(embedding)


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    """A vector store whose embeddings come from a scripted server."""
    with ProviderServer() as server:
        server.script = lambda _: json_reply(embeddings_answer(3))
        yield Shelf(
            OpenAIEmbeddings(
                model=EMBEDDING_MODEL,
                base_url=f"{server.url}/v1",
                api_key="any",
                check_embedding_ctx_length=False,
                model_kwargs={"encoding_format": "float"},
            )
        )


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "batch", "stream"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_retrievers_embedding_call_is_below_it(alone: bool, way: str, shelf: Shelf, traces: SentTraces) -> None:
    """A retriever's embedding call is below the retriever, in a chain or alone, and no span stays current."""
    retriever: Any = shelf.as_retriever()
    if not alone:
        retriever = RunnableLambda(str.strip) | retriever | RunnableLambda(lambda found: found[0].page_content)

    async def ask() -> None:
        await retriever.ainvoke("tea")
        assert not get_current_span().is_recording()

    if way == "ainvoke":
        asyncio.run(ask())
    elif way == "stream":
        assert list(retriever.stream("tea"))
    else:
        getattr(retriever, way)(["tea"] if way == "batch" else "tea")
    assert not get_current_span().is_recording()

    trace = traces.one()
    (above, *_) = trace.above(trace.only("EMBEDDING"))
    assert (above["kind"], above["output"]) == ("RETRIEVER", [{"page_content": "2 numbers"}])


def test_a_retriever_that_raises(traces: SentTraces, model: StartModel) -> None:
    """A retriever's exception gives its span and every span above it status ERROR."""
    with pytest.raises(KeyError):
        handbook_chain(model(weather_model)).invoke("nothing")

    trace = traces.one()
    found = trace.only("RETRIEVER")
    assert {span["status"] for span in (found, *trace.above(found))} == {"ERROR"}
    assert all("ended_at" in span for span in trace.spans)


def test_a_retriever_that_raises_leaves_nothing_current(traces: SentTraces) -> None:
    """After a retriever raised any kind of exception, the next span is not below it."""
    for query, error in ERRORS.items():
        with pytest.raises(error):
            Handbook().invoke(query)
        assert not get_current_span().is_recording()
    Handbook().invoke("tea")

    failed, _, last = traces.new(3)
    assert [trace.root["status"] == "ERROR" for trace in (failed, last)] == [True, False]


async def test_calls_of_a_client_between_calls_of_langchain(traces: SentTraces, model: StartModel) -> None:
    """Calls of the client while the app reads a stream of LangChain, and after an awaited call, are recorded."""
    endpoint = model(weather_model)
    client = OpenAI(base_url=endpoint.base_url, api_key="any")

    def call(text: str) -> None:
        client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": text}])

    stream = chat(endpoint).stream("Hi")
    next(stream)
    call("Ho")
    list(stream)
    await chat(endpoint).ainvoke("Hu")
    call("He")

    answers = [trace.body["output"]["messages"][0]["content"] for trace in traces.new(4)]
    assert answers == [f"You said: {text}" for text in ("Hi", "Ho", "Hu", "He")]


def test_a_model_that_completes_text(traces: SentTraces) -> None:
    """A model that completes text has its prompt and completion as messages."""
    FakeListLLM(responses=["four"]).invoke("Two and two?")

    span = traces.one().only("LLM")
    assert span["input"]["messages"][0]["content"] == "Two and two?"
    assert span["output"]["messages"][0]["content"] == "four"


def test_a_tool_that_takes_and_finds_nothing(traces: SentTraces) -> None:
    """Empty input and output are recorded, and the runtime that LangChain injects is not an argument."""

    @tool
    def look_around(runtime: ToolRuntime) -> list[str]:
        """Look around."""
        return []

    nothing: Any = None
    runtime: Any = ToolRuntime(nothing, nothing, {}, nothing, nothing, nothing)
    look_around.invoke({"runtime": runtime})
    (span,) = traces.one().spans
    assert (span["input"], span["output"]) == ({}, [])


class Answering(BaseChatModel):
    """A model whose answer has every field that a LangChain message can have."""

    planted: Any

    @property
    def _llm_type(self) -> str:
        return "answering"

    def _generate(self, messages: list[BaseMessage], *given: Any, **more: Any) -> ChatResult:
        planted = self.planted
        said: list[Any] = [
            {"type": "reasoning", "reasoning": planted["a thought"], "extras": {"note": planted["beside a thought"]}},
            {"type": "text", "text": planted["the answer"], "annotations": [{"url": planted["a citation"]}]},
            {"type": "new", "inside": {"deep": planted["a part of a new kind"]}},
        ]
        message = AIMessage(
            content=said,
            name=planted["who answers"],
            tool_calls=[{"id": "c1", "name": planted["a tool"], "args": {"a": planted["an argument"]}}],
            additional_kwargs={"reasoning_content": planted["another thought"], "refusal": planted["a refusal"]},
            response_metadata={
                "model_name": "answering",
                "finish_reason": "stop",
                "logprobs": {"content": [{"token": planted["a token"]}]},
                "grounding_metadata": {"queries": [planted["a query"]]},
                "token_usage": {"total_tokens": 3, "num_sources_used": 7_000_001},
            },
            usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
        )
        generation = ChatGeneration(message=message, generation_info={"safety": planted["a rating"]})
        return ChatResult(generations=[generation], llm_output={"more": planted["beside the answers"]})


def messages_with_every_field(planted: Planted) -> list[BaseMessage]:
    """Return a message of each role with every field that it can have."""
    picture = {"url": "https://example.com/cat.png", "detail": planted["a detail"]}
    asked: list[Any] = [
        {"type": "text", "text": planted["the question"], "cache": {"kind": planted["beside a text"]}},
        {"type": "image_url", "image_url": picture},
        {"type": "image", "base64": "aGVsbG8gd29ybGQ=", "mime_type": "image/png"},
        {"type": "file", "id": planted["a file"], "title": planted["a title"]},
    ]
    call: Any = {"id": "c0", "name": "look_up", "args": {"city": planted["an earlier argument"]}}
    return [
        SystemMessage(planted["the instructions"], additional_kwargs={"note": planted["beside the instructions"]}),
        HumanMessage(asked, name=planted["who asks"]),
        AIMessage("", tool_calls=[call]),
        ToolMessage(
            planted["a result"],
            tool_call_id="c0",
            name=planted["which tool"],
            status="error",
            artifact={"rows": [planted["an artifact"]]},
        ),
    ]


def test_every_field_of_a_message_is_recorded(traces: SentTraces) -> None:
    """A model call records all fields of messages except a tool's artifact; a chain's steps record the artifact too."""
    planted = Planted()
    parameters = {
        "tool_choice": planted["a choice"],
        "response_format": {"type": "json_schema", "json_schema": {"name": planted["a schema"]}},
        "user": planted["a user"],
        "parallel_tool_calls": False,
    }
    with recorded_apart("langchain") as recorder:
        Answering(planted=planted).bind(**parameters).invoke(messages_with_every_field(planted))
    assert planted.unrecorded(recorder) == planted.lost(recorder) == ["an artifact"]
    (told,) = map_trace(recorder.spans)["spans"]
    assert "7000001" in str(told["metadata"])
    assert "aGVsbG8gd29ybGQ=" not in str(told)
    failed = told["input"]["messages"][3]
    assert (failed["is_error"], failed["artifact"]) == (True, "[not for the model: the tool's span has it]")

    with recorded_apart("langchain") as recorder:
        RunnableLambda(lambda state: state).invoke({"messages": messages_with_every_field(again := Planted()), "n": 1})
    assert again.lost(recorder) == []


def test_artifacts_of_a_tool_are_recorded(traces: SentTraces) -> None:
    """A tool's artifact, which the model does not see, and the app's custom events are recorded."""
    planted = Planted()

    @tool(response_format="content_and_artifact")
    def look_up(city: str) -> tuple[str, dict[str, Any]]:
        """Look a city up."""
        dispatch_custom_event("progress", {"done": planted["an event"]})
        return planted["the text"], {"rows": [planted["the artifact"]]}

    call = {"type": "tool_call", "id": "c1", "name": "look_up", "args": {"city": "Rome"}}
    with recorded_apart("langchain") as recorder:
        look_up.invoke(call)
    assert planted.lost(recorder) == []


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_an_answer_from_the_cache_costs_nothing(traces: SentTraces, model: StartModel, way: str) -> None:
    """An answer from LangChain's cache is shown with the mark `cached`, and without tokens and cost."""
    asked = ChatOpenAI(model="gpt-5-mini", base_url=model(weather_model).base_url, api_key="any", cache=InMemoryCache())
    for _ in range(2):
        asyncio.run(asked.ainvoke("Hi")) if way == "ainvoke" else asked.invoke("Hi")

    (made,), (kept,) = (trace.spans for trace in traces.new(2))
    assert (made["metadata"].get("cached"), made["token_usage"]["prompt_tokens"] > 0) == (None, True)
    assert kept["metadata"]["cached"] is True
    assert kept.get("token_usage") is None
    assert kept.get("cost") is None
    assert kept["output"] == made["output"]
