"""The groq client."""

from __future__ import annotations

from typing import Final

import groq

from conformance import stainless
from conformance.adapter import Adapter

ADAPTERS: Final[tuple[Adapter, ...]] = (stainless.like_openai(groq.Groq, groq.AsyncGroq, "groq", "groq"),)
