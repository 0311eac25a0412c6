"""Content planted in LlamaIndex's query engines, chat engines and their sources appears in the trace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.llms import ChatMessage
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import PromptTemplate
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.llms.openai import OpenAI
from openai import AsyncOpenAI as AsyncClient
from openai import OpenAI as Client

from agent_traces import SentTraces
from framework_cases import StartModel
from pandaprobe_otel.demo.completions import Reply
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from planting import Planted


class Noting(BaseNodePostprocessor):
    """A postprocessor that adds a note to every node."""

    note: str

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        for each in nodes:
            each.node.metadata["note"] = self.note
        return nodes


def index(planted: Planted, traces: SentTraces) -> Any:
    """Return an index of one document, which makes a trace of its own."""
    document = Document(text=planted["a document"], metadata={"title": planted["a document's title"]})
    found = VectorStoreIndex.from_documents([document], embed_model=MockEmbedding(4))
    assert planted.missing_in(traces.one().body) == []
    return found


def model_of(endpoint: ScriptedEndpoint) -> Any:
    """A client of the scripted model."""
    given: dict[str, Any] = {"base_url": endpoint.base_url, "api_key": "any", "max_retries": 0}
    return OpenAI(
        model="gpt-4.1-mini", api_key="any", openai_client=Client(**given), async_openai_client=AsyncClient(**given)
    )


@pytest.mark.plants("BaseQueryEngine", "BaseRetriever", "BaseEmbedding", "BaseSynthesizer", "BaseNodePostprocessor")
@pytest.mark.parametrize("way", ["query", "aquery"])
def test_a_query_comes_out(way: str, traces: SentTraces, model: StartModel) -> None:
    """The question, documents, notes, prompt and answer of a query appear in the trace."""
    planted = Planted()
    engine = index(planted, traces).as_query_engine(
        llm=model_of(model(lambda _: Reply(text=planted["the answer"]))),
        node_postprocessors=[Noting(note=planted["a note"])],
        text_qa_template=PromptTemplate(planted["the prompt"] + " {context_str} {query_str}"),
    )
    question = planted["the question"]
    _ = engine.query(question) if way == "query" else asyncio.run(engine.aquery(question))
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    noted = trace.only(name="Noting")
    assert planted["a document"] in str(noted["input"])
    assert planted["a note"] in str(noted["output"])


@pytest.mark.plants("BaseChatEngine")
@pytest.mark.parametrize("way", ["chat", "achat"])
def test_a_chat_comes_out(way: str, traces: SentTraces, model: StartModel) -> None:
    """The question, history, documents and answer of a chat appear in the trace."""
    planted = Planted()
    engine = index(planted, traces).as_chat_engine(
        chat_mode="context",
        llm=model_of(model(lambda _: Reply(text=planted["the answer"]))),
        system_prompt=planted["the instructions"],
    )
    history = [
        ChatMessage(role="user", content=planted["an earlier question"]),
        ChatMessage(role="assistant", content=planted["an earlier answer"]),
    ]
    question = planted["the question"]
    _ = engine.chat(question, history) if way == "chat" else asyncio.run(engine.achat(question, history))
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert planted.only(lambda word: word in (question, planted["the answer"])).missing_in(trace.root) == []
