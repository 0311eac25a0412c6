"""Answers rebuilt from spans, read by the real client libraries over real HTTP."""

from __future__ import annotations

import pytest

from heard_answers import LISTENERS
from provider_server import ProviderServer
from rebuilt_spans import check


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("calls", [True, False], ids=["calls", "text"])
@pytest.mark.parametrize("name", sorted(LISTENERS))
def test_the_app_receives_the_content_of_the_span(name: str, calls: bool, stream: bool, server: ProviderServer) -> None:
    """Text, thoughts, two parallel tool calls, stop reason and counts are those of the span, plain and streamed."""
    check(name, LISTENERS[name], server, calls=calls, stream=stream)
