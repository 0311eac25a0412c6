"""The same with the clients that fewer apps use."""

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
    """Find what clients have left open at the end of this file, and not in the midst of another one's tests."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("calls", [True, False], ids=["calls", "text"])
@pytest.mark.parametrize("name", sorted(OTHER_LISTENERS))
def test_what_a_span_tells_is_what_the_app_hears(name: str, calls: bool, stream: bool, server: ProviderServer) -> None:
    """Text, thoughts, two parallel calls, why it ended and the counts, whole and as a stream."""
    check(name, OTHER_LISTENERS[name], server, calls=calls, stream=stream)
