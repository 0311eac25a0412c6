"""Agents, query engines and models of LlamaIndex."""

from __future__ import annotations

import asyncio
import gc
from base64 import b64encode
from collections.abc import Callable
from contextlib import nullcontext
from hashlib import sha256
from typing import Any

import llama_index_instrumentation
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
from llama_index.core.schema import NodeWithScore, TextNode
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

import pandaprobe_otel
from agent_traces import SentTraces
from example_runs import run_example
from framework_cases import (
    CUTS,
    EMBEDDING_MODEL,
    AgentApp,
    StartModel,
    embeddings_answer,
    growth,
    is_silent_beside_another_vendor,
    off,
    recorded_apart,
)
from pandaprobe_otel.demo.completions import Message, Reply, ToolCall
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mapping import map_trace
from pandaprobe_otel_integrations.llama_index.handler import RunHandler
from planting import Planted
from provider_server import ProviderServer, json_reply
from span_recorder import SpanRecorder
from weather_model import WEATHER, weather, weather_model


def chat_model(endpoint: ScriptedEndpoint) -> OpenAI:
    """A model whose streams include usage."""
    told = {"stream_options": {"include_usage": True}}
    return OpenAI(model="gpt-5-mini", api_base=endpoint.base_url, api_key="any", max_retries=0, additional_kwargs=told)


def plain_model(endpoint: ScriptedEndpoint) -> OpenAI:
    """A model with an app's usual settings."""
    return OpenAI(model="gpt-5-mini", api_base=endpoint.base_url, api_key="any", max_retries=0)


def forecaster(model: OpenAI, **options: Any) -> FunctionAgent:
    """An agent that knows the weather."""
    given = {"tools": [weather], "system_prompt": "You know weather.", "streaming": False, **options}
    return FunctionAgent(name="forecaster", description="Knows weather.", llm=model, **given)


def run(agent: Any, asked: str) -> str:
    """Run an agent, and wait for its answer."""

    async def answer() -> str:
        return str(await agent.run(asked))

    return asyncio.run(answer())


@pytest.mark.parametrize("streaming", [False, True])
def test_a_run_is_one_tree(streaming: bool, traces: SentTraces, model: StartModel) -> None:
    """Each model call, streamed or not, is one LLM span with its tokens, although the client is instrumented too."""
    endpoint = model(weather_model)
    agent = forecaster(chat_model(endpoint) if streaming else plain_model(endpoint), streaming=streaming)
    assert run(agent, "Weather in Oslo?") == "The station says: snowy"

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like("""
        trace forecaster | COMPLETED | Weather in Oslo? > The station says: snowy
        AGENT forecaster | su > a
          LLM chat gpt-5-mini @gpt-5-mini | su > c
          TOOL weather | {"city":"Oslo"} > "snowy"
          LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """)
    (_, _, assistant, result) = trace.all("LLM")[1]["input"]["messages"]
    wire_id = endpoint.exchanges[1].conversation[-1]["tool_call_id"]
    assert (assistant["tool_calls"][0]["id"], result["tool_call_id"], result["content"]) == (wire_id, wire_id, "snowy")
    assert trace.only("TOOL")["metadata"]["tool_call_id"] == wire_id
    assert trace.all("LLM")[0]["metadata"]["agent_name"] == "forecaster"
    assert trace.all("LLM")[0]["metadata"]["tools"][0]["name"] == "weather"


def test_a_tool_that_fails(traces: SentTraces, model: StartModel) -> None:
    """The failed tool's span has status ERROR; the agent continues, and its span is OK."""
    run(forecaster(plain_model(model(weather_model))), "Weather in Atlantis?")

    trace = traces.one()
    tool = trace.only("TOOL")
    assert (tool["status"], trace.root["status"], trace.body["status"]) == ("ERROR", "OK", "COMPLETED")
    assert "no station in Atlantis" in tool["error"]


def test_a_model_that_refuses(traces: SentTraces, model: StartModel) -> None:
    """A refused model call raises in the app, and every span is ended."""
    with pytest.raises(Exception, match="There is no Nowhere"):
        run(forecaster(plain_model(model(weather_model))), "Weather in Nowhere?")

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [("AGENT", "ERROR"), ("LLM", "ERROR")]


def test_a_hand_off(traces: SentTraces, model: StartModel) -> None:
    """Each agent of a team is a span with its own model calls and tools; the team's input is the app's question."""

    def script(messages: Any) -> Reply:
        message: Message = messages[-1]
        if message["role"] == "user" and "boss" in str(messages[0]["content"]):
            return Reply(tool_calls=(ToolCall(name="handoff", arguments={"to_agent": "expert", "reason": "weather"}),))
        return Reply(text="It is snowy.")

    endpoint = model(script)
    llm = plain_model(endpoint)
    boss = FunctionAgent(
        name="boss", description="Leads.", llm=llm, system_prompt="You are the boss.", can_handoff_to=["expert"],
        streaming=False,
    )  # fmt: skip
    expert = FunctionAgent(
        name="expert", description="Knows.", llm=llm, system_prompt="You know.", tools=[weather], streaming=False
    )
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


def test_a_team_whose_model_refuses(traces: SentTraces, model: StartModel) -> None:
    """A refused model call gives the agent and its team status ERROR and the error message."""
    agent = forecaster(plain_model(model(weather_model)))
    with pytest.raises(Exception, match="There is no Nowhere"):
        run(AgentWorkflow(agents=[agent]), "Weather in Nowhere?")

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [
        ("AGENT", "ERROR"),
        ("AGENT", "ERROR"),
        ("LLM", "ERROR"),
    ]
    assert all("There is no Nowhere" in span["error"] for span in trace.spans)


class Draft(Event):
    """The event between the two steps."""

    text: str
    said: list[ChatMessage]


class Writing(Workflow):
    """A workflow of two steps, one of them not async, whose event parameters have different names."""

    @step
    async def draft(self, asked: StartEvent) -> Draft:
        """Ask a model."""
        text = str(await asked.llm.acomplete(f"Write about {asked.topic}"))
        return Draft(text=text, said=[ChatMessage("Shorter!")])

    @step
    def review(self, ev: Draft) -> StopEvent:
        """Fail on request."""
        if ev.text == "bad":
            raise ValueError("not good enough")
        return StopEvent(result={"text": ev.text, "length": len(ev.text)})


async def write(llm: Any, topic: str) -> Any:
    """Run the workflow."""
    return await Writing().run(topic=topic, reader="ada", llm=llm)


def test_a_workflow(traces: SentTraces, model: StartModel) -> None:
    """Each step is a span with its event and its result; the workflow has its arguments and its result."""
    endpoint = model(lambda messages: Reply(text="Arr."))
    asyncio.run(write(plain_model(endpoint), "pirates"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    names = [(span["kind"], span["name"]) for span in trace.spans]
    assert names == [("CHAIN", "Writing"), ("CHAIN", "draft"), ("LLM", "chat gpt-5-mini"), ("CHAIN", "review")]
    given = {"topic": "pirates", "reader": "ada", "llm": "<OpenAI>"}
    draft, review = trace.only(name="draft"), trace.only(name="review")
    assert (trace.root["input"], trace.root["output"]) == (given, {"text": "Arr.", "length": 4})
    assert [span["name"] for span in trace.children(trace.root)] == ["draft", "review"]
    assert [span["name"] for span in trace.children(draft)] == ["chat gpt-5-mini"]
    assert (draft["input"], draft["output"]["text"]) == (given, "Arr.")
    assert "Shorter!" in str(draft["output"]["said"])
    assert review["input"] == draft["output"]
    assert (draft["metadata"]["event"], review["metadata"]["event"]) == ("StartEvent", "Draft")


def test_a_workflow_that_fails(traces: SentTraces, model: StartModel) -> None:
    """The failed step and its workflow have status ERROR; earlier steps are OK."""
    with pytest.raises(ValueError, match="not good enough"):
        asyncio.run(write(plain_model(model(lambda messages: Reply(text="bad"))), "pirates"))

    trace = traces.one()
    states = {span["name"]: span["status"] for span in trace.spans}
    assert states == {"Writing": "ERROR", "draft": "OK", "chat gpt-5-mini": "OK", "review": "ERROR"}


class Found(StopEvent):
    """A stop event with fields of the app."""

    nodes: list[NodeWithScore]
    source: str


class Finding(Workflow):
    """A workflow that finds one document."""

    @step
    async def find(self, ev: StartEvent) -> Found:
        """Return one document."""
        node = TextNode(text="Snow.", id_="n-1", metadata={"page": 7})
        return Found(nodes=[NodeWithScore(node=node, score=0.5)], source="atlas")


def test_a_result_of_the_apps_own_form(traces: SentTraces) -> None:
    """The app's stop event is recorded by its fields, documents by their text, score and metadata."""

    async def find() -> None:
        await Finding().run()

    asyncio.run(find())
    found = {"id": "n-1", "content": "Snow.", "score": 0.5, "metadata": {"page": 7}}
    assert traces.one().root["output"] == {"nodes": [found], "source": "atlas"}


def test_a_workflow_in_a_step_of_another(traces: SentTraces, model: StartModel) -> None:
    """A workflow that a step runs is below that step."""
    llm = plain_model(model(lambda messages: Reply(text="Arr.")))

    class Outer(Workflow):
        @step
        async def outer(self, ev: StartEvent) -> StopEvent:
            return StopEvent(result=await write(llm, "pirates"))

    async def run_both() -> None:
        await Outer().run()

    asyncio.run(run_both())
    trace = traces.one()
    assert [span["name"] for span in trace.above(trace.only("LLM"))] == ["draft", "Writing", "outer", "Outer"]


def plant(planted: Planted, model: StartModel) -> SpanRecorder:
    """Run an agent in a workflow; return the spans."""

    def look_up(city: str) -> str:
        """Look a city up."""
        return planted["a tool's result"]

    def script(messages: Any) -> Reply:
        if messages[-1]["role"] == "tool":
            return Reply(text=planted["the answer"])
        return Reply(tool_calls=(ToolCall(name="look_up", arguments={"city": planted["a tool's argument"]}),))

    class Planting(Workflow):
        @step
        async def first(self, ev: StartEvent) -> Draft:
            agent = forecaster(llm, tools=[look_up], system_prompt=planted["the instructions"])
            answer = await agent.run(planted["the question"], max_iterations=7, customer=planted["beside the question"])
            return Draft(text=str(answer), said=[ChatMessage(planted["a message in an event"])])

        @step
        async def last(self, ev: Draft) -> StopEvent:
            return StopEvent(result={"answer": ev.text, "grade": planted["beside the answer"]})

    llm = plain_model(model(script))

    async def run_all() -> None:
        await Planting().run(question="?", tenant=planted["a field of the start event"])

    with recorded_apart("llama_index") as recorder:
        asyncio.run(run_all())
    return recorder


@pytest.mark.plants("BaseWorkflowAgent", "BaseTool", "Workflow")
def test_what_is_planted_comes_out(traces: SentTraces, model: StartModel) -> None:
    """An agent's input, tool arguments, tool result and values between steps are recorded."""
    planted = Planted()
    recorder = plant(planted, model)
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []


class Told(CustomLLM):
    """A model whose answer has every field that a LlamaIndex message can have."""

    planted: Any

    @property
    def metadata(self) -> LLMMetadata:
        """The model's name."""
        return LLMMetadata(model_name="told", is_chat_model=True)

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        """Raise, since no test calls it."""
        raise NotImplementedError

    def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponseGen:
        """Raise, since no test calls it."""
        raise NotImplementedError

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
            raw={"id": "r", "model": "told", "choices": [choice], "grounding": [planted["a query"]]},
            logprobs=[[LogProb(token=planted["a token"], logprob=-1.0)]],
            additional_kwargs={"note": planted["beside the answer"]},
        )


@pytest.mark.plants("BaseLLM")
def test_what_stands_beside_a_message_comes_out(traces: SentTraces) -> None:
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
        Told(planted=planted).chat(asked, tool_choice=planted["a choice"], response_format={"n": planted["a schema"]})
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []
    (span,) = map_trace(recorder.spans)["spans"]
    assert "7000001" in str(span["output"])
    assert sha256(b"a document").hexdigest() in str(span["input"])
    assert span["metadata"]["finish_reasons"] == ["length"]


def test_what_a_tool_does(traces: SentTraces, model: StartModel) -> None:
    """The app's spans in a tool are below that tool, and the run is below the app's own span."""

    @pandaprobe_otel.span(name="look up")
    def look_up(city: str) -> str:
        return WEATHER[city]

    def weather(city: str) -> str:
        """Tell the weather in a city."""
        return look_up(city)

    with pandaprobe_otel.session("s-1"), pandaprobe_otel.agent(name="app"):
        run(forecaster(plain_model(model(weather_model)), tools=[weather]), "Weather in Oslo?")

    trace = traces.one()
    assert trace.body["session_id"] == "s-1"
    above = trace.above(trace.only(name="look up"))
    assert [span["name"] for span in above] == ["weather", "forecaster", "app"]


def engine(endpoint: ScriptedEndpoint, traces: SentTraces, **options: Any) -> Any:
    """A query engine over one document, which is already indexed."""
    index = VectorStoreIndex.from_documents([Document(text="Snow falls in Oslo.")], embed_model=MockEmbedding(4))
    assert traces.one().root["kind"] == "EMBEDDING"
    return index.as_query_engine(llm=chat_model(endpoint) if options else plain_model(endpoint), **options)


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


def query(endpoint: ScriptedEndpoint, traces: SentTraces) -> str:
    """Ask, and wait for the answer."""
    return str(engine(endpoint, traces).query("How is it?"))


def aquery(endpoint: ScriptedEndpoint, traces: SentTraces) -> str:
    """Ask, and wait for the answer in an event loop."""
    asking = engine(endpoint, traces)

    async def ask() -> str:
        return str(await asking.aquery("How is it?"))

    return asyncio.run(ask())


def streamed(endpoint: ScriptedEndpoint, traces: SentTraces) -> str:
    """Ask, and read the answer piece by piece."""
    response = engine(endpoint, traces, streaming=True).query("How is it?")
    return "".join(response.response_gen)


def astreamed(endpoint: ScriptedEndpoint, traces: SentTraces) -> str:
    """Ask, and read the answer piece by piece in an event loop."""
    asking = engine(endpoint, traces, streaming=True)

    async def ask() -> str:
        response = await asking.aquery("How is it?")
        return "".join([piece async for piece in response.async_response_gen()])

    return asyncio.run(ask())


@pytest.mark.parametrize("way", [query, aquery, streamed, astreamed])
def test_a_query_is_one_tree(
    way: Callable[[ScriptedEndpoint, SentTraces], str], traces: SentTraces, model: StartModel
) -> None:
    """Every way to query makes the same tree of retrieval, embedding and answer."""
    endpoint = model(lambda messages: Reply(text="It snows."))
    assert way(endpoint, traces) == "It snows."

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


def test_models_alone(traces: SentTraces, model: StartModel) -> None:
    """Completions, chats and streams without an agent are one LLM span each."""
    endpoint = model(lambda messages: Reply(text="Hi."))
    llm = chat_model(endpoint)
    asked = [ChatMessage("Hi")]

    async def streams() -> None:
        assert [each async for each in await llm.astream_chat(asked)]

    plain_model(endpoint).complete("Hi")
    plain_model(endpoint).chat(asked)
    assert list(llm.stream_chat(asked))
    asyncio.run(streams())
    for trace, exchange in zip(traces.new(4), endpoint.exchanges, strict=True):
        trace.is_sound([exchange])
        assert trace.root["kind"] == "LLM"


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


def test_a_run_that_is_cancelled(traces: SentTraces, model: StartModel) -> None:
    """Cancelling a run ends every span without an error."""

    async def cancelled() -> None:
        began = asyncio.Event()

        async def weather(city: str) -> str:
            """Tell the weather in a city."""
            began.set()
            await asyncio.Event().wait()
            return ""

        running = forecaster(plain_model(endpoint), tools=[weather]).run("Weather in Oslo?")
        await began.wait()
        await running.cancel_run()
        with pytest.raises(Exception, match=""):
            await running

    endpoint = model(weather_model)
    asyncio.run(cancelled())
    trace = traces.one()
    assert all("ended_at" in span for span in trace.spans)
    assert "ERROR" not in {span["status"] for span in trace.spans}
    assert trace.root["metadata"]["outcome"] == trace.only("TOOL")["metadata"]["outcome"] == "cancelled"


async def asked(endpoint: ScriptedEndpoint, question: str, weather: Any) -> str:
    """Ask an agent with this tool."""
    return str(await forecaster(plain_model(endpoint), tools=[weather]).run(question))


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text."""
    running = forecaster(plain_model(endpoint), streaming=True).run("Hi")
    async for event in running.stream_events():
        if getattr(event, "delta", ""):
            break
    await running.cancel_run()


@CUTS
def test_a_run_that_is_cut_short(cut: Any, traces: SentTraces, model: StartModel) -> None:
    """A run that is cancelled, left or refused is one trace with the true status and outcome."""
    cut(AgentApp(run=asked, leave=leave), traces, model)


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


def test_runs_at_once_do_not_mix(traces: SentTraces, model: StartModel) -> None:
    """Each of several concurrent runs of one agent is a separate trace with no spans of the others."""
    agent = forecaster(plain_model(model(weather_model)))

    async def both() -> None:
        await asyncio.gather(*(agent.run(f"Weather in {city}?") for city in ("Oslo", "Łódź") * 3))

    asyncio.run(both())
    for trace in traces.new(6):
        assert [span["kind"] for span in trace.spans] == ["AGENT", "LLM", "TOOL", "LLM"]
        assert trace.only("TOOL")["input"]["city"] in str(trace.root["input"])


def ours() -> list[RunHandler]:
    """Return our handlers in LlamaIndex's dispatcher."""
    handlers: Any = llama_index_instrumentation.root_dispatcher.span_handlers
    return [each for each in handlers if isinstance(each, RunHandler)]


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


def test_a_model_that_is_asked_while_its_stream_waits(traces: SentTraces) -> None:
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


def test_a_thousand_runs_do_not_grow(traces: SentTraces) -> None:
    """Neither a successful nor a failed run leaves objects or open runs behind."""
    index = VectorStoreIndex.from_documents([Document(text="Snow.")], embed_model=MockEmbedding(embed_dim=4))
    engine = index.as_query_engine(llm=Echo())

    def runs(count: int) -> None:
        for number in range(count):
            if number % 10 == 0:
                with pytest.raises(ConnectionError):
                    engine.query("fail")
            else:
                engine.query("Hi")
            assert len(recorded.spans) == 5
            recorded.clear()

    with recorded_apart("llama_index") as recorded:
        assert growth(runs, 1000) < 500
        (handler,) = ours()
        assert len(handler) == 0


def test_taking_it_off_and_putting_it_on_again(traces: SentTraces, model: StartModel) -> None:
    """Uninstrumenting removes our handler from the dispatcher; then the client's instrumentation records the call."""
    llm = plain_model(model(lambda messages: Reply(text="Hi.")))
    with off("llama_index"):
        assert ours() == []
        llm.complete("Hi")
    assert traces.one().root["metadata"]["scope"] == "pandaprobe_otel.openai"
    assert len(ours()) == 1


def test_silent_beside_another_vendor(traces: SentTraces, server: LocalServer, model: StartModel) -> None:
    """While OpenInference records the runs, our integration is skipped, and each call is recorded once."""
    endpoint = model(weather_model)
    trace = is_silent_beside_another_vendor("llama_index", traces, server, endpoint)
    assert {span["metadata"]["scope"] for span in trace.spans} == {"openinference.instrumentation.llama_index"}


def test_the_example(traces: SentTraces, server: LocalServer) -> None:
    """The example, without a key, runs an agent and streams an answer from documents in one session."""
    assert "Parcels are kept" in run_example("llama_index_agent", server).splitlines()[-1]

    asked, answered = [trace for trace in traces.new(3) if trace.root["kind"] != "EMBEDDING"]
    assert {asked.body["session_id"], answered.body["session_id"]} == {"conversation-1"}
    assert asked.only("TOOL")["input"] == {"parcel": "P-4711"}
    assert answered.only("RETRIEVER")
