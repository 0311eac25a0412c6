"""The examples of the official SDK, run with it and with this library: what theirs records, ours records too.

They come from the package index and run unchanged; `official_names/` is the import path that migrating changes.
Frameworks' examples need environments of their own: `tests/support/official_examples.py` runs those from the shell.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from official_examples import compared, download

BESIDE_MESSAGES = "the mapping keeps of OpenAI's Responses what is a message: no ids and states of items"
SUMMARY = "`reasoning.summary` is not recorded"
EXAMPLES: dict[str, dict[str, str]] = {
    "decorators/01_support_agent.py": {},
    "decorators/02_multi_turn.py": {},
    "context_managers/01_rag_pipeline.py": {"RETRIEVER: input.top_k": "the mapping reads the query out of the input"},
    "context_managers/02_multi_turn.py": {},
    "openai/01_chat_completion.py": {},
    "openai/02_streaming.py": {},
    "openai/03_multi_turn.py": {},
    "openai/04_responses_api.py": {
        **{
            f"{where}: output.messages.{key}": BESIDE_MESSAGES
            for where in ("trace", "LLM")
            for key in ("id", "status", "type", "content.type")
        },
        "LLM: model_parameters.reasoning.summary": SUMMARY,
    },
    "anthropic/01_chat_completion.py": {"LLM: model_parameters.thinking.type": "`thinking` is not recorded"},
    "anthropic/02_multi_turn.py": {},
    "anthropic/03_streaming.py": {},
    "gemini/01_chat_completion.py": {},
    "gemini/02_multi_turn.py": {},
    "gemini/03_streaming.py": {},
    "litellm/01_openai.py": {},
    "litellm/02_claude.py": {"LLM: token_usage.text_tokens": "text tokens are not counted by themselves"},
    "litellm/03_gemini.py": {"LLM: token_usage.text_tokens": "text tokens are not counted by themselves"},
}
"""Example to what is left: fields of theirs that ours has not, each with its cause. To be emptied."""


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official SDK's folder of examples."""
    return download(tmp_path_factory.mktemp("official"))


@pytest.mark.outer
@pytest.mark.parametrize("name", EXAMPLES)
def test_ours_has_every_field_that_theirs_has(name: str, examples: Path, tmp_path: Path) -> None:
    """As many traces, each with all that theirs says: a leaf of theirs is in the same span of ours."""
    found = compared(examples / name, tmp_path, {})
    assert len(found.ours) == len(found.official) > 0
    assert [field for field in found.missing if field not in EXAMPLES[name]] == []
