"""The `groq` client."""

from __future__ import annotations

from typing import Final

from surface.census import Library
from surface.stainless import stainless

LIBRARY: Final = Library(
    integration="groq",
    distribution="groq",
    open=stainless("groq", "Groq", {}, api_key="none", base_url="http://groq.test"),
    left_out={
        "A batch is a file of requests and a file of answers; what it cost, Groq does not say.": ("batches.*",),
        "Files are stored.": ("files.*",),
    },
)
