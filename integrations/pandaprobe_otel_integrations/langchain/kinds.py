"""The kind of a run of LangChain's type `chain`: an agent, a step, or nothing to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

HIDDEN: Final = "langsmith:hidden"
"""Tag of the runs that LangGraph makes for itself."""
_STEP: Final = ("graph:step:", "seq:step:", "map:key:", "langsmith:")
_GRAPH: Final = "LangGraph"
"""Name of a graph that was given none."""
_EXECUTOR: Final = "AgentExecutor"


def is_hidden(tags: Sequence[str] | None) -> bool:
    """Return whether the run is plumbing."""
    return HIDDEN in (tags or ())


def is_node(tags: Sequence[str] | None) -> bool:
    """Return whether the run is a node of a graph, which makes its parent the graph's run."""
    return any(tag.startswith("graph:step:") for tag in tags or ())


def is_agent(name: str, tags: Sequence[str] | None, metadata: Mapping[str, Any], *, is_root: bool) -> bool:
    """Return whether the run is, by what is said at its start, that of a whole graph or of an agent.

    LangGraph says `ls_integration` in the metadata of everything in a graph (from 1.1 on), and an agent's name
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
    """Return the tags that the app has given."""
    return [tag for tag in tags or () if not tag.startswith(_STEP)]


def metadata_of_user(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata that the app has given, without what LangChain and LangGraph put there for themselves."""
    theirs = ("ls_", "lc_", "langgraph_", "checkpoint_", "__", "LANGSMITH_", "LANGCHAIN_")
    return {key: value for key, value in metadata.items() if not key.startswith(theirs)}


def place_in_graph(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return node and step that the run belongs to."""
    return {key: metadata[key] for key in ("langgraph_node", "langgraph_step") if key in metadata}
