"""Both clients have the same methods with the same arguments; those of the async client are awaited."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from both_clients import operations_of
from pandaprobe_otel.api import AsyncClient, AsyncRun, Client, Run
from pandaprobe_otel.api.operation import iteration, operation

ENDPOINT = "http://127.0.0.1:1"
PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")


def test_the_operations_are_the_same() -> None:
    """Names and arguments of all operations are the same in both clients."""
    sync, both = operations_of(Client(endpoint=ENDPOINT)), operations_of(AsyncClient(endpoint=ENDPOINT))

    assert list(sync) == list(both)
    assert len(sync) > 90
    for name, method in sync.items():
        mine, other = inspect.signature(method), inspect.signature(both[name])
        assert mine.parameters == other.parameters, name
        assert "self" not in mine.parameters
        assert str(other.return_annotation).removeprefix("Async") == mine.return_annotation
        assert method.__doc__ == both[name].__doc__
        assert method.__doc__, name


def test_one_answers_and_the_other_is_awaited() -> None:
    """The methods of the async client are coroutine functions, and both clients return their own type of iterator."""
    sync, both = operations_of(Client(endpoint=ENDPOINT)), operations_of(AsyncClient(endpoint=ENDPOINT))

    walks = {name for name in sync if name.rpartition(".")[2].startswith("iter")}
    for name in sync.keys() - walks:
        assert not inspect.iscoroutinefunction(sync[name]), name
        assert inspect.iscoroutinefunction(both[name]), name
    for name in walks:
        arguments: Any = {"scores.sessions.iter_comparison": {"metric_name": "m"}}.get(name, {})
        ids = ["00000000-0000-0000-0000-000000000001"] if name == "monitors.iter_runs" else []
        assert isinstance(sync[name](*ids, **arguments), Iterator), name
        assert isinstance(both[name](*ids, **arguments), AsyncIterator), name


@pytest.mark.parametrize(("sync", "both"), [(Client, AsyncClient), (Run, AsyncRun)])
def test_the_classes_are_twins(sync: type, both: type) -> None:
    """The public names of both classes are the same, and operations are the same objects."""
    names = {name for name in dir(sync) if not name.startswith("_")}

    assert {name for name in dir(both) if not name.startswith("_")} == names
    assert str(inspect.signature(sync)).replace("SyncDriver", "AsyncDriver") == str(inspect.signature(both))
    for name in names:
        found = inspect.getattr_static(sync, name)
        if isinstance(found, operation | iteration):
            assert inspect.getattr_static(both, name) is found, "the same object"


def test_secrets_are_in_no_text() -> None:
    """A client's repr contains neither the key nor the token."""
    client = Client("sk_pp_secret", "p", ENDPOINT, token="tok_secret")

    assert repr(client) == f"<Client of project 'p' at {ENDPOINT}>"
    for text in (repr(client.credentials), str(client.credentials), repr(client.traces)):
        assert "secret" not in text


def test_every_part_of_the_client_is_documented() -> None:
    """The table of docs/client.md has every part of the client."""
    parts = [name for name in vars(Client(endpoint=ENDPOINT)) if not name.startswith("_") and name != "credentials"]

    table = PAGE.partition("## Evaluating")[0]
    assert [name for name in parts if not re.search(rf"`(client\.)?{name}`", table)] == []
