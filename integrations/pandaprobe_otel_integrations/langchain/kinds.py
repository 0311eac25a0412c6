"""The kind of a run of LangChain's type `chain`: an agent, a step, or a hidden run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

HIDDEN: Final = "langsmith:hidden"
"""Tag of LangGraph's internal runs."""
_STEP: Final = ("graph:step:", "seq:step:", "map:key:", "langsmith:")
_GRAPH: Final = "LangGraph"
"""Name of a graph that the app has not named."""
_EXECUTOR: Final = "AgentExecutor"


def is_hidden(tags: Sequence[str] | None) -> bool:
    """Return whether the run is internal."""
    return HIDDEN in (tags or ())


def is_node(tags: Sequence[str] | None) -> bool:
    """Return whether the run is a node of a graph; its parent is then the graph's run."""
    return any(tag.startswith("graph:step:") for tag in tags or ())


def is_agent(name: str, tags: Sequence[str] | None, metadata: Mapping[str, Any], *, is_root: bool) -> bool:
    """Return whether the data at the start of the run marks it as that of a whole graph or an agent.

    From 1.1, LangGraph writes `ls_integration` into the metadata of everything in a graph. An agent's name
    (`lc_agent_name`) is the name of its graph's run.
    """
    if is_node(tags):
        return False
    if name in (_GRAPH, _EXECUTOR) or name == metadata.get("lc_agent_name"):
        return True
    return is_root and "ls_integration" in metadata


def agent_name(name: str) -> str | None:
    """Return the agent's name; None for a graph without one."""
    return None if name in (_GRAPH, _EXECUTOR) else name


def tags_of_user(tags: Sequence[str] | None) -> list[str]:
    """Return the app's own tags."""
    return [tag for tag in tags or () if not tag.startswith(_STEP)]


def metadata_of_user(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the app's own metadata, without LangChain's and LangGraph's internal entries."""
    theirs = ("ls_", "lc_", "langgraph_", "checkpoint_", "__", "LANGSMITH_", "LANGCHAIN_")
    return {key: value for key, value in metadata.items() if not key.startswith(theirs)}


def place_in_graph(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the graph's node and step that the run belongs to."""
    return {key: metadata[key] for key in ("langgraph_node", "langgraph_step") if key in metadata}
