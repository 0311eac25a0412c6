"""Improvements of a Pydantic AI agent, by the same changes as for a program on OpenAI's client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from improvable_shop import PYDANTIC_AI_APP
from improvements import FALSE, TRUE, Shop, Traces, check_false, check_true, traced

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.timeout(3600),  # each test starts about forty programs, one after the other
]


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traces]:
    """Yield the project with its traces and its model."""
    with traced(tmp_path_factory.mktemp("shop"), app=PYDANTIC_AI_APP) as made:
        yield made


@pytest.fixture
def shop(traces: Traces, tmp_path: Path) -> Shop:
    """Return a new improvement of the shop."""
    return traces.begun(tmp_path, repeats=1)  # one run of each case shows the gain of these changes


@pytest.mark.parametrize("name", TRUE)
def test_true_mends_are_accepted(shop: Shop, name: str) -> None:
    """A change that fixes the agent is accepted within the limit of live calls."""
    check_true(shop, name)


@pytest.mark.parametrize("name", FALSE)
def test_false_mends_are_rejected(shop: Shop, name: str) -> None:
    """A change that only seems to fix the agent is rejected, and the report has the reason."""
    check_false(shop, name)
