"""Hooks of the integrations on agent frameworks: for each hook, a test plants content in its input.

Those tests run in separate environments (`nox -s frameworks`), so this module reads them and the integrations as
text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest

from framework_hooks import FRAMEWORKS, hooks, plants

LIBRARIES: Final = sorted(
    path.stem for path in FRAMEWORKS.glob("environments/*.toml") if not path.stem.startswith("beside_")
)

WITHOUT_CONTENT: Final = {
    "agent_framework": {"get_tracer", "_start_streaming_span"},
    "autogen": {"trace_create_agent_span"},
    "claude_agent_sdk": {"Query.close"},
    "crewai": {
        "CrewAIEventsBus.emit",
        "getattr(module, owner).<methods>",
        "owner.run",
        "owner.arun",
        "CrewStructuredTool.invoke",
        "CrewStructuredTool.ainvoke",
    },
    "dspy": {"Settings.get", "finalize"},
    "google_adk": {"FunctionTool.run_async"},
    "langchain": {"_configure", "BaseTool.run", "BaseTool.arun", "<SETTER>", "on_llm_new_token", "on_stream_event"},
    "llama_index": {"FunctionTool.call", "FunctionTool.acall"},
    "mcp": {"completion/complete"},
    "openai_agents": {
        "_invoke_function_tool_with_metadata",
        "invoke_function_tool",
        "type(provider).create_trace",
        "Runner.run",
        "Runner.run_sync",
        "Runner.run_streamed",
    },
    "pydantic_ai": {
        "FunctionToolset.call_tool",
        "StreamedResponse.time_to_first_chunk",
        "instrumented.handle_messages",
        "of_agents._record_uncaught_errors",
    },
    "semantic_kernel": {
        "ChatCompletionClientBase._start_auto_function_invocation_activity",
        "_start_as_current_span",
        "start_as_current_span",
    },
    "strands": {"Tracer.__init__", "Tracer.end_span_with_cancellation", "_Interruptible.interrupt"},
}
"""Hooks that put no content on spans: they signal an event, make an object to wrap or let recordings answer tools."""

COMPARED: Final = {
    "agno": {
        "FunctionCall.aexecute": "test_a_run_is_one_tree",
        "Workflow._execute": "test_a_workflow",
        "Workflow._execute_stream": "test_a_workflow",
        "Workflow._aexecute": "test_a_workflow",
        "Workflow._aexecute_stream": "test_a_workflow",
        "Workflow._continue_execute": "test_a_workflow_that_waits_for_a_person",
        "Workflow._continue_execute_stream": "test_a_workflow_that_waits_for_a_person",
        "Workflow._acontinue_execute": "test_a_workflow_that_waits_for_a_person",
        "Workflow._acontinue_execute_stream": "test_a_workflow_that_waits_for_a_person",
        "_continue_run": "test_a_run_that_waits_for_a_person",
        "_continue_run_stream": "test_a_run_that_waits_for_a_person",
        "_acontinue_run": "test_a_run_that_waits_for_a_person",
        "_acontinue_run_stream": "test_a_run_that_waits_for_a_person",
    },
    "langchain": {
        "BaseRetriever.invoke": "test_a_chain",
        "BaseRetriever.ainvoke": "test_a_chain",
        "on_retriever_start": "test_a_chain",
        "on_retriever_end": "test_a_chain",
        "on_retriever_error": "test_a_retriever_that_raises",
        "on_chain_error": "test_a_retriever_that_raises",
        "on_llm_start": "test_a_model_that_completes_text",
        "on_llm_error": "test_a_model_that_refuses",
        "on_tool_error": "test_a_tool_that_raises",
    },
    "llama_index": {
        "AgentWorkflow": "test_a_hand_off",
    },
    "openai_agents": {"model.stream_response": "test_a_run_is_one_tree"},
    "semantic_kernel": {"KernelFunction.invoke_stream": "test_a_function_that_yields"},
    "smolagents": {"owner.generate_stream": "test_a_run_is_one_tree"},
}
"""Hooks without planted content, since the named test compares all of their content with an expected result."""


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_hook_is_planted(library: str) -> None:
    """Each hook has a test with `@pytest.mark.plants("...")`, or is listed above."""
    seen = plants(library) | WITHOUT_CONTENT.get(library, set()) | COMPARED.get(library, {}).keys()
    assert hooks(library) - seen == set()


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_planted_hook_is_there(library: str) -> None:
    """Each hook that a mark or a list above names exists in the integration."""
    named = plants(library) | WITHOUT_CONTENT.get(library, set()) | COMPARED.get(library, {}).keys()
    assert named - hooks(library) == set()


@pytest.mark.parametrize(
    ("library", "test"), sorted({(name, test) for name in COMPARED for test in COMPARED[name].values()})
)
def test_each_test_that_compares_exists(library: str, test: str) -> None:
    """Each test that `COMPARED` names exists."""
    assert any(re.search(rf"^(async )?def {test}\(", text, re.MULTILINE) for text in _texts(library))


def test_hooks_are_found() -> None:
    """`hooks` finds the hooks that integrations install directly, in loops, by callbacks and by tables."""
    assert "Agent._drive_scope" in hooks("ag2")
    assert {"FunctionCall.execute", "Workflow._acontinue_execute_stream", "_arun_stream"} <= hooks("agno")
    assert {"on_tool_start", "BaseRetriever.ainvoke"} <= hooks("langchain")
    assert "crew_kickoff_started" in hooks("crewai")
    assert all(hooks(library) for library in LIBRARIES)


def _texts(library: str) -> Iterator[str]:
    return (path.read_text("utf-8") for path in FRAMEWORKS.glob(f"test_{library}*.py"))
