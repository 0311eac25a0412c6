"""Inputs and outputs of modules and tools."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import Content
from pandaprobe_otel_integrations._shape import items, obj, string

_AGENTS: Final = frozenset({"Avatar", "CodeAct", "ProgramOfThought", "ReAct", "ReActV2", "RLM"})
"""Modules of DSPy that call tools, or run code, in a loop."""
_RETRIEVERS: Final = frozenset({"Retrieve", "ColBERTv2", "Embeddings"})


def module(instance: Any) -> tuple[str, dict[str, Any]]:
    """Return name and attributes of a module: its class determines the kind, even if the app derives from it."""
    name = type(instance).__name__
    classes = {base.__name__ for base in type(instance).__mro__}
    if classes & _AGENTS:
        return name, {ours.KIND: "AGENT", ours.OPERATION_NAME: "invoke_agent", names.AGENT_NAME: name}
    if classes & _RETRIEVERS:
        return name, {ours.KIND: "RETRIEVER", ours.OPERATION_NAME: "retrieval"}
    return name, {ours.KIND: "CHAIN"}


def asked(instance: Any, inputs: Any) -> Content:
    """Return the arguments of a module."""
    said = obj(inputs)
    keyword = dict(obj(said.get("kwargs")))
    positional = items(said.get("args"))
    query = string(keyword.get("query")) or next((text for text in positional if isinstance(text, str)), None)
    if module(instance)[1][ours.KIND] == "RETRIEVER" and query:
        return {names.RETRIEVAL_QUERY: query}
    # A module that is called with the fields of its signature has no positional arguments.
    return {ours.INPUT: {**keyword, **({"args": positional} if positional else {})}}


def answered(name: str, outputs: Any) -> Content:
    """Return the result of a module: the fields of a prediction, or anything else."""
    fields = getattr(outputs, "toDict", None)
    told = fields() if callable(fields) else outputs
    passages = obj(told).get("passages")
    if name in _RETRIEVERS and passages is not None:
        return {names.RETRIEVAL_DOCUMENTS: [{"content": str(text)} for text in items(passages)]}
    return {ours.OUTPUT: told}


def tool(instance: Any) -> tuple[str, dict[str, Any]]:
    """Return name and attributes of a tool."""
    name = string(getattr(instance, "name", None)) or "tool"
    return f"execute_tool {name}", {
        ours.OPERATION_NAME: "execute_tool",
        names.TOOL_NAME: name,
        names.TOOL_TYPE: "function",
        "gen_ai.tool.description": string(getattr(instance, "desc", None)),
    }


def arguments(inputs: Any) -> Content:
    """Return the arguments of a tool."""
    return {names.TOOL_CALL_ARGUMENTS: dict(obj(obj(inputs).get("kwargs")))}


def result(outputs: Any) -> Content:
    """Return the result of a tool."""
    return {names.TOOL_CALL_RESULT: outputs}
