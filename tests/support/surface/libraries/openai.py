"""The `openai` client."""

from __future__ import annotations

from typing import Any, Final

import wrapt

from surface.census import EACH, Library
from surface.stainless import stainless

_WAYS: Final = {
    "responses.stream": lambda method: method(model="x", input="x").__enter__(),
    "responses.create": lambda method: method(model="x", input="x"),
}


def _on_connection(name: str, result: Any) -> str | None:
    """Return EACH for a method that opens a connection, if its `__enter__` is instrumented."""
    is_ours = isinstance(type(result).__dict__.get("__enter__"), wrapt.FunctionWrapper)
    return EACH if is_ours and name.endswith(".connect") else None


LIBRARY: Final = Library(
    integration="openai",
    distribution="openai",
    open=stainless("openai", "OpenAI", _WAYS, api_key="none", admin_api_key="none", base_url="http://openai.test/v1"),
    hooked=_on_connection,
    left_out={
        "An organization is administered.": ("admin.*",),
        "Files, and what is stored for models to use.": (
            "beta.agents.environments.files.*",
            "containers.*",
            "files.*",
            "skills.*",
            "uploads.*",
            "vector_stores.*",
        ),
        "What is said is only stored or changed; no model answers.": (
            "beta.assistants.*",
            "beta.chat.completions.update",
            "beta.threads.create",
            "beta.threads.messages.*",
            "beta.threads.runs.update",
            "beta.threads.update",
            "chat.completions.update",
            "conversations.*",
        ),
        "Work is stopped.": ("*.cancel",),
        "Tokens are counted, and cost none.": ("*.input_tokens.count",),
        "Agents that run at OpenAI: their work is seen there alone.": ("beta.agents.*",),
        "A session is prepared or ended; what is said goes over a connection, of the app or of a browser.": (
            "beta.chatkit.*",
            "beta.realtime.*sessions.create",
            "live.create",
            "live.sessions.*",
            "realtime.calls.*",
            "realtime.client_secrets.*",
            "realtime.translations.client_secrets.*",
        ),
        "Speech is translated as it comes: no answer begins or ends.": ("realtime.translations.connect",),
        "Training, and tests that run at OpenAI.": ("evals.*", "fine_tuning.*"),
        "Voices, characters, and where a picture comes from.": (
            "audio.voice_consents.*",
            "audio.voices.create",
            "content_provenance_checks.create",
            "videos.create_character",
        ),
        "Messages of OpenAI to the app.": ("webhooks.*",),
    },
)
