"""The `anthropic` client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from surface.census import Library
from surface.stainless import stainless

_MESSAGES: Final[Any] = [{"role": "user", "content": "x"}]


def _run_tools(method: Callable[..., Any]) -> Any:
    return next(iter(method(model="x", max_tokens=1, messages=_MESSAGES, tools=[])))


def _talk(method: Callable[..., Any]) -> Any:
    return method(model="x", max_tokens=1).send("x")


LIBRARY: Final = Library(
    integration="anthropic",
    distribution="anthropic",
    open=stainless(
        "anthropic",
        "Anthropic",
        {"messages.tool_runner": _run_tools, "messages.thread": _talk},
        {"max_tokens": 1},
        api_key="none",
        base_url="http://anthropic.test",
    ),
    left_out={
        "An organization is administered.": ("beta.compliance.*", "beta.organization.*", "organization.*"),
        "Agents that run at Anthropic: their work is seen there, and in the client's own spans.": (
            "beta.agents.*",
            "beta.deployments.*",
            "beta.dreams.*",
            "beta.environments.*",
            "beta.sessions.*",
        ),
        "Files, and what is stored for models to use.": (
            "beta.files.*",
            "beta.memory_stores.*",
            "beta.skills.*",
            "files.*",
            "skills.*",
        ),
        "Secrets, users and ways into a network.": (
            "beta.tunnels.*",
            "beta.user_profiles.*",
            "beta.vaults.*",
            "user_profiles.*",
        ),
        "Tokens are counted, and cost none.": ("*.count_tokens",),
        "Work is stopped.": ("*.batches.cancel",),
        "Messages of Anthropic to the app.": ("beta.webhooks.*",),
    },
)
