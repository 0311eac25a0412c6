"""The together client, from version 2 on."""

from __future__ import annotations

from typing import Final

import together

from conformance import stainless
from conformance.adapter import Adapter

ADAPTERS: Final[tuple[Adapter, ...]] = (
    stainless.like_openai(together.Together, together.AsyncTogether, "together", "together_ai"),
)
