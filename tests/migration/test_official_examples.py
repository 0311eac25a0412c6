"""The official SDK's examples, run with it and with this library, which records everything that the SDK records.

The examples come from the package index and run unchanged; `official_names/` provides the SDK's import path. Examples
of frameworks need their own environments, in which `tests/support/official_examples.py` runs them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from official_examples import compared, download

# Without `bedrock/02_converse_stream.py`: the official wrapper fails, since it treats botocore's stream as an iterator.
EXAMPLES = (
    "decorators/01_support_agent.py",
    "decorators/02_multi_turn.py",
    "context_managers/01_rag_pipeline.py",
    "context_managers/02_multi_turn.py",
    "openai/01_chat_completion.py",
    "openai/02_streaming.py",
    "openai/03_multi_turn.py",
    "openai/04_responses_api.py",
    "anthropic/01_chat_completion.py",
    "anthropic/02_multi_turn.py",
    "anthropic/03_streaming.py",
    "gemini/01_chat_completion.py",
    "gemini/02_multi_turn.py",
    "gemini/03_streaming.py",
    "bedrock/01_converse.py",
    "bedrock/03_invoke_model.py",
    "mistral/01_chat_completion.py",
    "mistral/02_streaming.py",
    "mistral/03_multi_turn.py",
    "litellm/01_openai.py",
    "litellm/02_claude.py",
    "litellm/03_gemini.py",
)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the official SDK's examples."""
    return download(tmp_path_factory.mktemp("official"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_ours_has_every_field_that_theirs_has(name: str, examples: Path, tmp_path: Path) -> None:
    """This library makes as many traces as the SDK, and each of the SDK's values is in the same span."""
    found = compared(examples / name, tmp_path, {})
    assert len(found.ours) == len(found.official) > 0
    assert found.missing == []
