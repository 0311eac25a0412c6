"""Improvements of a graph of LangGraph: the same true and false mends as of a program on OpenAI's client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from improvable_shop import LANGGRAPH_APP
from improvements import FALSE, TRUE, Shop, Traces, check_false, check_true, traced

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(3600),  # each test starts some forty programs, one after the other
]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traces]:
    """Return the project, its traces and its model."""
    with traced(tmp_path_factory.mktemp("shop"), app=LANGGRAPH_APP) as made:
        yield made


@pytest.fixture
def shop(traces: Traces, tmp_path: Path) -> Shop:
    """Return a new improvement of the shop."""
    return traces.begun(tmp_path, repeats=1)  # the gains of these mends are clear at the first look


@pytest.mark.parametrize("name", TRUE)
def test_true_mends_are_accepted(shop: Shop, name: str) -> None:
    """A true mend is accepted within the budget of calls, and the report has the numbers."""
    check_true(shop, name)


@pytest.mark.parametrize("name", FALSE)
def test_false_mends_are_rejected(shop: Shop, name: str) -> None:
    """A mend that only seems to help is rejected, and the report has the reason."""
    check_false(shop, name)
