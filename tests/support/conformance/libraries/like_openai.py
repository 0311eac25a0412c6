"""Clients that are built like OpenAI's, and call other services: see the rows of `like_openai`."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from typing import Final

from conformance import stainless
from conformance.adapter import Adapter
from like_openai import CLIENTS
from pandaprobe_otel.config.integrations import TABLE

_FORMS: Final = ("stream", "raw stream", "with_streaming_response stream", "with_streaming_response lines")
WITHOUT: Final = {
    "fireworks": dict.fromkeys(
        (f"async {form}/break and close" for form in _FORMS), "aiohttp hands on all that has arrived, the end included"
    )
}
"""Cases of clients that cannot be brought about, with the reason."""
ADAPTERS: Final[list[Adapter]] = []
for _name, (_class, _provider) in CLIENTS.items():
    with suppress(ImportError):
        _module = import_module(TABLE[_name].library)
        _clients = getattr(_module, _class), getattr(_module, f"Async{_class}")
        adapter = stainless.like_openai(*_clients, _name, _provider)
        ADAPTERS.append(replace(adapter, without=WITHOUT.get(_name, {})))
