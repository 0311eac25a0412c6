"""Token counts in three vocabularies that litellm contains, so that nothing is downloaded."""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch


def most_tokens(text: str) -> int:
    """Return the highest of a text's token counts in cl100k, o200k and Anthropic's published vocabulary."""
    openai, anthropic = _vocabularies()
    return max(*(len(each.encode(text, disallowed_special=())) for each in openai), len(anthropic.encode(text).ids))


@cache
def _vocabularies() -> tuple[list[Any], Any]:
    import tiktoken
    from tokenizers import Tokenizer

    litellm = importlib.util.find_spec("litellm")
    assert litellm is not None
    assert litellm.origin is not None
    folder = Path(litellm.origin).parent / "litellm_core_utils" / "tokenizers"
    with patch.dict(os.environ, {"TIKTOKEN_CACHE_DIR": str(folder)}):
        openai = [tiktoken.get_encoding(name) for name in ("cl100k_base", "o200k_base")]
    return openai, Tokenizer.from_file(str(folder / "anthropic_tokenizer.json"))
