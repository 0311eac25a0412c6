"""Clients that are built like OpenAI's, and call other services: cerebras, groq, and together from version 2 on."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Final

from conformance import stainless
from conformance.adapter import Adapter

ADAPTERS: Final[list[Adapter]] = []
for _name, _library, _class, _provider in (
    ("cerebras", "cerebras.cloud.sdk", "Cerebras", "cerebras"),
    ("groq", "groq", "Groq", "groq"),
    ("together", "together", "Together", "together_ai"),
):
    with suppress(ImportError):
        _module = import_module(_library)
        _clients = getattr(_module, _class), getattr(_module, f"Async{_class}")
        ADAPTERS.append(stainless.like_openai(*_clients, _name, _provider))
