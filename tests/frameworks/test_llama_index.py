"""Agents, query engines and models of LlamaIndex."""

from __future__ import annotations

import asyncio
import gc
from base64 import b64encode
from collections.abc import Callable
from contextlib import nullcontext
from hashlib import sha256
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.base.llms.types import (
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    LogProb,
    TextBlock,
    ThinkingBlock,
)
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.llms import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    CompletionResponseGen,
    CustomLLM,
    LLMMetadata,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.workflow import (
    Context,
    Event,
    HumanResponseEvent,
    InputRequiredEvent,
    StartEvent,
    StopEvent,
    Workflow,
    step,
)
from llama_index.llms.openai import OpenAI
from openai import OpenAI as Client

from agent_traces import SentTraces
from framework_cases import CONFORMANCE, EMBEDDING_MODEL, AgentApp, StartModel, embeddings_answer, recorded_apart
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ScriptedEndpoint, ToolCall
from pandaprobe_otel.mapping import map_trace
from planting import Planted
from provider_server import ProviderServer, json_reply
from weather_model import WEATHER, weather, weather_model


def plain_model(endpoint: ScriptedEndpoint, **options: Any) -> OpenAI:
    """A model with an app's usual settings."""
    return OpenAI(model="gpt-5-mini", api_base=endpoint.base_url, api_key="any", max_retries=0, **options)


def chat_model(endpoint: ScriptedEndpoint) -> OpenAI:
    """A model whose streams include usage."""
    return plain_model(endpoint, additional_kwargs={"stream_options": {"include_usage": True}})


def forecaster(model: OpenAI, **options: Any) -> FunctionAgent:
    """An agent that knows the weather."""
    given = {"tools": [weather], "system_prompt": "You know weather.", "streaming": False, **options}
    return FunctionAgent(name="forecaster", description="Knows weather.", llm=model, **given)


async def awaited(running: Any) -> Any:
    """Return a run's result; `asyncio.run` takes coroutines only."""
    return await running()


def run(agent: Any, question: str) -> str:
    """Run an agent, and wait for its answer."""
    return str(asyncio.run(awaited(lambda: agent.run(question))))


async def ask(endpoint: ScriptedEndpoint, question: str, weather: Any) -> None:
    """Ask an agent with this tool."""
    await forecaster(plain_model(endpoint), tools=[weather]).run(question)


async def ask_streamed(endpoint: ScriptedEndpoint, question: str, weather: Any) -> None:
    """Ask an agent whose model streams."""
    await forecaster(chat_model(endpoint), tools=[weather], streaming=True).run(question)


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text."""
    running = forecaster(plain_model(endpoint), streaming=True).run("Hi")
    async for event in running.stream_events():
        if getattr(event, "delta", ""):
            break
    await running.cancel_run()


APP = AgentApp(
    run=ask,
    ways=[ask_streamed],
    leaves=[leave],
    name="llama_index",
    package="llama_index",
    tree="""
        trace forecaster | COMPLETED | Weather in Łódź? > The station says: sunny
        AGENT forecaster | su > a
          LLM chat gpt-5-mini @gpt-5-mini | su > c
          TOOL weather | {"city":"Łódź"} > "sunny"
          LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """,
    rivals={"openinference.instrumentation.llama_index:LlamaIndexInstrumentor": "skipped: OpenInference records"},
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """LlamaIndex's agents are recorded as those of every framework."""
    if check.__name__ == "_has_an_example":
        pytest.skip("its example asks documents too")
    check(APP, traces, model)


def test_a_hand_off(traces: SentTraces, model: StartModel) -> None:
    """Each agent of a team is a span with its own model calls and tools; the team's input is the app's question."""

    def script(messages: Any) -> Reply:
        message: Message = messages[-1]
        if message["role"] == "user" and "boss" in str(messages[0]["content"]):
            return Reply(tool_calls=(ToolCall(name="handoff", arguments={"to_agent": "expert", "reason": "weather"}),))
        return Reply(text="It is snowy.")

    endpoint = model(script)
    given: Any = {"description": "Knows.", "llm": plain_model(endpoint), "streaming": False}
    boss = FunctionAgent(name="boss", system_prompt="You are the boss.", can_handoff_to=["expert"], **given)
    expert = FunctionAgent(name="expert", system_prompt="You know.", **given)
    run(AgentWorkflow(agents=[boss, expert], root_agent="boss"), "Weather?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like(r"""
        trace AgentWorkflow | COMPLETED | Weather? > It is snowy.
        AGENT AgentWorkflow | u > a
          AGENT boss | su > c
            LLM chat gpt-5-mini @gpt-5-mini | su > c
            TOOL handoff | {"to_agent":"expert","reason":"weather"} > "Agent expert is now handling the request due to the following reason: weather.\nPlease continue with the current request."
          AGENT expert | suct > a
            LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """)  # noqa: E501 - LlamaIndex's text
    assert [call["metadata"]["agent_name"] for call in trace.all("LLM")] == ["boss", "expert"]
    assert {span["status"] for span in trace.spans} == {"OK"}


class Draft(Event):
    """The event between the two steps."""

    text: str
    said: list[ChatMessage]


class Found(StopEvent):
    """A stop event with fields of the app."""

    nodes: list[NodeWithScore]
    source: str


class Writing(Workflow):
    """A workflow of two steps, one of them not async, whose event parameters have different names."""

    @step
    async def draft(self, asked: StartEvent) -> Draft:
        """Ask a model."""
        text = str(await asked.llm.acomplete(f"Write about {asked.topic}"))
        return Draft(text=text, said=[ChatMessage("Shorter!")])

    @step
    def review(self, ev: Draft) -> Found:
        """Return one document, or fail on request."""
        if ev.text == "bad":
            raise ValueError("not good enough")
        node = TextNode(text="Snow.", id_="n-1", metadata={"page": 7})
        return Found(nodes=[NodeWithScore(node=node, score=0.5)], source="atlas")


def write(endpoint: ScriptedEndpoint) -> None:
    """Run the workflow."""
    asyncio.run(awaited(lambda: Writing().run(topic="pirates", reader="ada", llm=plain_model(endpoint))))


def test_a_workflow(traces: SentTraces, model: StartModel) -> None:
    """Steps have their events and results, the workflow its arguments and the fields of its result."""
    endpoint = model(lambda messages: Reply(text="Arr."))
    write(endpoint)

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like("""
        trace Writing | COMPLETED | {"topic":"pirates","reader":"ada","llm":"<OpenAI>"} > {"nodes":[{"id":"n-1","content":"Snow.","score":0.5,"metadata":{"page":7}}],"source":"atlas"}
        CHAIN Writing | {topic,reader,llm} > {nodes,source}
          CHAIN draft | {topic,reader,llm} > {text,said}
            LLM chat gpt-5-mini @gpt-5-mini | u > a
          CHAIN review | {text,said} > {nodes,source}
    """)  # noqa: E501
    draft, review = trace.only(name="draft"), trace.only(name="review")
    assert "Shorter!" in str(draft["output"]["said"])
    assert (review["input"], draft["output"]["text"]) == (draft["output"], "Arr.")
    assert (draft["metadata"]["event"], review["metadata"]["event"]) == ("StartEvent", "Draft")


def test_a_workflow_that_fails(traces: SentTraces, model: StartModel) -> None:
    """The failed step and its workflow have status ERROR; earlier steps are OK."""
    with pytest.raises(ValueError, match="not good enough"):
        write(model(lambda messages: Reply(text="bad")))

    states = {span["name"]: span["status"] for span in traces.one().spans}
    assert states == {"Writing": "ERROR", "draft": "OK", "chat gpt-5-mini": "OK", "review": "ERROR"}


def test_planted_values_are_recorded(traces: SentTraces, model: StartModel) -> None:
    """An agent's input, tool arguments, tool result and values between steps are recorded."""
    planted = Planted()

    class Planting(Workflow):
        @step
        async def first(self, ev: StartEvent) -> Draft:
            agent = forecaster(llm, tools=[planted.look_up], system_prompt=planted["the instructions"])
            answer = await agent.run(planted["the question"], max_iterations=7, customer=planted["an argument"])
            return Draft(text=str(answer), said=[ChatMessage(planted["a message in an event"])])

        @step
        async def last(self, ev: Draft) -> StopEvent:
            return StopEvent(result={"answer": ev.text, "grade": planted["a field of the result"]})

    llm = plain_model(model(planted.script))
    given = {"question": "?", "tenant": planted["a field of the start event"]}
    with recorded_apart("llama_index") as recorder:
        asyncio.run(awaited(lambda: Planting().run(**given)))
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []


class Echo(CustomLLM):
    """A model without a server, whose inherited methods call each other."""

    @property
    def metadata(self) -> LLMMetadata:
        """The model's name."""
        return LLMMetadata(model_name="echo")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        """Echo the prompt, or fail."""
        if "fail" in prompt:
            raise ConnectionError("no")
        return CompletionResponse(text=prompt)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponseGen:
        """Echo the prompt in one piece."""
        return (CompletionResponse(text=prompt, delta=prompt) for _ in range(1))


class Answering(Echo):
    """A model whose answer has every field that a LlamaIndex message can have."""

    planted: Any

    @property
    def metadata(self) -> LLMMetadata:
        """The model's name."""
        return LLMMetadata(model_name="answering", is_chat_model=True)

    @llm_chat_callback()
    def chat(self, messages: Any, **_: Any) -> ChatResponse:
        """Return an answer that was cut off."""
        planted = self.planted
        blocks: list[Any] = [
            ThinkingBlock(content=planted["a thought"], additional_information={"note": planted["beside a thought"]}),
            TextBlock(text=planted["the answer"]),
            CitationBlock(
                cited_content=TextBlock(text=planted["cited text"]),
                source=planted["a source"],
                title=planted["a title"],
                additional_location_info={"page": 7_000_001},
            ),
        ]
        choice = {"index": 0, "finish_reason": "length", "message": {"annotations": [planted["an annotation"]]}}
        return ChatResponse(
            message=ChatMessage(role="assistant", blocks=blocks, additional_kwargs={"refusal": planted["a refusal"]}),
            raw={"id": "r", "model": "answering", "choices": [choice], "grounding": [planted["a query"]]},
            logprobs=[[LogProb(token=planted["a token"], logprob=-1.0)]],
            additional_kwargs={"note": planted["beside the answer"]},
        )


def test_every_field_of_a_message_is_recorded(traces: SentTraces) -> None:
    """All fields of messages are recorded on a model call without a client below it."""
    planted = Planted()
    blocks: list[Any] = [
        TextBlock(text=planted["the question"]),
        ImageBlock(url="https://example.com/cat.png", detail=planted["a detail"]),
        DocumentBlock(data=b64encode(b"a document"), title=planted["a document's title"]),
        CitableBlock(
            title=planted["a citable title"], source="s", content=[TextBlock(text=planted["what may be cited"])]
        ),
    ]
    result = {"tool_call_id": "c1", "is_error": planted["how a tool failed"]}
    asked = [
        ChatMessage(role="user", blocks=blocks, additional_kwargs={"name": planted["who asks"]}),
        ChatMessage(planted["a tool's result"], role="tool", additional_kwargs=result),
    ]
    with recorded_apart("llama_index") as recorder:
        Answering(planted=planted).chat(
            asked, tool_choice=planted["a choice"], response_format={"n": planted["a schema"]}
        )
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []
    (span,) = map_trace(recorder.spans)["spans"]
    assert "7000001" in str(span["output"])
    assert sha256(b"a document").hexdigest() in str(span["input"])
    assert span["metadata"]["finish_reasons"] == ["length"]


class ClientEmbedding(BaseEmbedding):
    """An embedder over the client of OpenAI."""

    url: str

    def _get_text_embedding(self, text: str) -> list[float]:
        client = Client(base_url=self.url, api_key="any", max_retries=0)
        return client.embeddings.create(model=EMBEDDING_MODEL, input=[text]).data[0].embedding

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


@pytest.mark.parametrize("texts", [1, 2])
def test_an_embedding_has_its_tokens(texts: int, traces: SentTraces) -> None:
    """One call of the client is the embedder's own span, with its tokens; several are spans below it."""
    with ProviderServer() as service:
        service.replies(json_reply(embeddings_answer(5)))
        ClientEmbedding(url=f"{service.url}/v1").get_text_embedding_batch(["Snow?"] * texts)

    trace = traces.one()
    counted = [span["token_usage"]["prompt_tokens"] for span in trace.spans if span.get("token_usage")]
    assert (counted, len(trace.spans)) == ([5] * texts, 1 if texts == 1 else 1 + texts)
    assert trace.root["kind"] == "EMBEDDING"
    assert trace.body["total_tokens"] == 5 * texts


def query(engine: Any) -> str:
    """Ask, and return the answer."""
    response = engine.query("How is it?")
    return "".join(response.response_gen) if hasattr(response, "response_gen") else str(response)


def aquery(engine: Any) -> str:
    """Ask in an event loop, and return the answer."""

    async def ask() -> str:
        response = await engine.aquery("How is it?")
        if not hasattr(response, "async_response_gen"):
            return str(response)
        return "".join([piece async for piece in response.async_response_gen()])

    return asyncio.run(ask())


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("way", [query, aquery])
def test_a_query_is_one_tree(way: Callable[[Any], str], streaming: bool, traces: SentTraces, model: StartModel) -> None:
    """Every way to query makes the same tree of retrieval, embedding and answer."""
    endpoint = model(lambda messages: Reply(text="It snows."))
    index = VectorStoreIndex.from_documents([Document(text="Snow falls in Oslo.")], embed_model=MockEmbedding(4))
    assert traces.one().root["kind"] == "EMBEDDING"
    assert way(index.as_query_engine(llm=chat_model(endpoint), streaming=streaming)) == "It snows."

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like("""
        trace RetrieverQueryEngine | COMPLETED | How is it? > It snows.
        CHAIN RetrieverQueryEngine | "How is it?" > "It snows."
          RETRIEVER VectorIndexRetriever | "How is it?" > [1]
            EMBEDDING embeddings unknown | "How is it?" > -
          CHAIN CompactAndRefine | "How is it?" > "It snows."
            LLM chat gpt-5-mini @gpt-5-mini | su > a
    """)
    assert "Snow falls in Oslo." in str(trace.only("RETRIEVER")["output"])


def test_a_stream_that_the_app_drops(traces: SentTraces, model: StartModel) -> None:
    """A dropped stream ends at the next call; the app's own calls of the client are still recorded."""
    endpoint = model(lambda messages: Reply(text="One two three."))
    llm = plain_model(endpoint)
    stream = llm.stream_chat([ChatMessage("Hi")])
    del stream
    gc.collect()
    client = Client(base_url=endpoint.base_url, api_key="any")
    client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "Hi"}])
    llm.complete("Hi")

    scopes = [trace.root["metadata"]["scope"] for trace in traces.new(3)]
    assert sorted(scopes) == ["pandaprobe_otel.llama_index", "pandaprobe_otel.llama_index", "pandaprobe_otel.openai"]


@pytest.mark.parametrize("is_left", [False, True])
def test_a_run_that_waits_for_a_person(is_left: bool, traces: SentTraces, model: StartModel) -> None:
    """A tool that waits for a person is interrupted, then runs again; a run left waiting is interrupted too."""

    async def weather(ctx: Context, city: str) -> str:
        """Tell the weather in a city."""
        said = await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(prefix="Sure?"))
        return f"{WEATHER[city]}, {said.response}"

    weather.__annotations__ |= {"ctx": Context, "city": str}  # LlamaIndex does not resolve local names

    async def ask() -> None:
        running = forecaster(plain_model(endpoint), tools=[weather]).run("Weather in Oslo?")
        async for event in running.stream_events():
            if isinstance(event, InputRequiredEvent) and is_left:
                await running.cancel_run()
                break
            if isinstance(event, InputRequiredEvent):
                running.ctx.send_event(HumanResponseEvent(response="yes"))
        with pytest.raises(Exception, match="") if is_left else nullcontext():
            assert str(await running) == "The station says: snowy, yes"

    endpoint = model(weather_model)
    asyncio.run(ask())
    trace = traces.one()
    outcomes = [span["metadata"].get("outcome") for span in trace.all("TOOL")]
    assert outcomes == (["interrupted"] if is_left else ["interrupted", None])
    assert trace.body["metadata"].get("outcome") == ("interrupted" if is_left else None)


async def read(stream: Any) -> None:
    """Read the whole stream."""
    async for _ in await stream:
        pass


@pytest.mark.parametrize(
    "way",
    ["complete", "acomplete", "stream_complete", "astream_complete", "chat", "achat", "stream_chat", "astream_chat"],
)
def test_a_model_that_asks_itself_is_one_call(way: str, traces: SentTraces) -> None:
    """A custom model's `achat` calls its `chat`, which calls its `complete`: these are one LLM span with the answer."""
    given: Any = [ChatMessage(role="user", content="Hi")] if "chat" in way else "Hi"
    answer: Any = getattr(Echo(), way)(given)
    if way.startswith("astream"):
        asyncio.run(read(answer))
    elif way.startswith("a"):
        asyncio.run(answer)
    elif way.startswith("stream"):
        list(answer)

    (span,) = traces.one().spans
    assert (span["kind"], span["status"]) == ("LLM", "OK")
    assert "Hi" in str(span["output"])


def test_calls_while_a_stream_waits_are_recorded(traces: SentTraces) -> None:
    """Calls that the app makes before, between and during the pieces of a stream are all recorded."""
    llm = Echo()

    async def run() -> None:
        stream = await llm.astream_complete("one")
        await llm.acomplete("two")
        async for _ in stream:
            await llm.acomplete("three")
        await asyncio.gather(*(read(llm.astream_complete("four")) for _ in range(3)))

    asyncio.run(run())
    asked = sorted(str(trace.only("LLM")["input"]["messages"][0]["content"]) for trace in traces.new(6))
    assert asked == ["four", "four", "four", "one", "three", "two"]


class Noting(BaseNodePostprocessor):
    """A postprocessor that adds a note to every node."""

    note: str

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        for each in nodes:
            each.node.metadata["note"] = self.note
        return nodes


@pytest.mark.parametrize("way", ["query", "chat", "achat"])
def test_planted_values_of_engines_are_recorded(way: str, traces: SentTraces, model: StartModel) -> None:
    """The question, prompt, history, documents, notes and answer of an engine appear in the trace."""
    planted = Planted()
    document = Document(text=planted["a document"], metadata={"title": planted["a document's title"]})
    index = VectorStoreIndex.from_documents([document], embed_model=MockEmbedding(4))
    assert planted.missing_in(traces.one().body) == []
    given: Any = {
        "llm": plain_model(model(lambda _: Reply(text=planted["the answer"]))),
        "node_postprocessors": [Noting(note=planted["a note"])],
    }
    prompt, question = planted["the prompt"], planted["the question"]
    history = [ChatMessage(role=role, content=planted[role]) for role in ("user", "assistant") if way != "query"]
    if way == "query":
        template = PromptTemplate(prompt + " {context_str} {query_str}")
        index.as_query_engine(text_qa_template=template, **given).query(question)
    else:
        engine = index.as_chat_engine(chat_mode="context", system_prompt=prompt, **given)
        _ = engine.chat(question, history) if way == "chat" else asyncio.run(engine.achat(question, history))

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert planted.only(lambda word: word in (question, planted["the answer"])).missing_in(trace.root) == []
    assert planted["a note"] in str(trace.only(name="Noting")["output"])
