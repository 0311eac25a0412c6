"""Clients that are built like OpenAI's, and call other services. A row here is all that the tests know of each."""

from __future__ import annotations

from typing import Final

CLIENTS: Final = {
    "cerebras": ("Cerebras", "cerebras"),
    "fireworks": ("Fireworks", "fireworks_ai"),
    "groq": ("Groq", "groq"),
    "together": ("Together", "together_ai"),
}
"""The class of the client and the name of the provider, by the integration's name."""
