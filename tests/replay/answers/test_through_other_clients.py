"""Answers rebuilt from spans, read by less common client libraries over real HTTP."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest

from heard_answers_of_others import OTHER_LISTENERS
from provider_server import ProviderServer
from rebuilt_spans import check
from rings import IN_FULL

pytestmark = list(IN_FULL)


@pytest.fixture(autouse=True, scope="module")
def found_at_once() -> Iterator[None]:
    """Collect the clients' unclosed resources after this file, so that no later test reports them."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("calls", [True, False], ids=["calls", "text"])
@pytest.mark.parametrize("name", sorted(OTHER_LISTENERS))
def test_the_app_receives_the_content_of_the_span(name: str, calls: bool, stream: bool, server: ProviderServer) -> None:
    """Text, thoughts, two parallel tool calls, stop reason and counts are those of the span, plain and streamed."""
    check(name, OTHER_LISTENERS[name], server, calls=calls, stream=stream)
