"""Both clients have the same methods, arguments and documentation, and match the description of the API.

`data/described.json` holds the published description and that of server 0.5.0, abridged.
"""

from __future__ import annotations

import inspect
import json
import re
from collections import defaultdict
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from both_clients import operations_of
from endpoints import all_endpoints
from json_shapes import shape_of
from pandaprobe_otel.api import AsyncClient, Client

ENDPOINT = "http://127.0.0.1:1"
PAGE = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")


def test_the_operations_are_the_same() -> None:
    """Names and arguments of all operations are the same in both clients."""
    sync, both = operations_of(Client(endpoint=ENDPOINT)), operations_of(AsyncClient(endpoint=ENDPOINT))

    assert list(sync) == list(both)
    assert len(sync) > 80
    for name, method in sync.items():
        mine, other = inspect.signature(method), inspect.signature(both[name])
        assert mine.parameters == other.parameters, name
        assert "self" not in mine.parameters
        assert str(other.return_annotation).removeprefix("Async") == mine.return_annotation
        assert method.__doc__ == both[name].__doc__
        assert method.__doc__, name


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


DESCRIBED: dict[str, dict[str, dict[str, list[str]]]] = json.loads(
    (Path(__file__).parent / "data" / "described.json").read_text()
)

NOT_IN_THE_CLIENT = {
    "GET /": "says the server's name",
    "GET /health": "for whoever runs the server",
    "POST /cli/auth/codes": "a step of the log-in of PandaProbe's own command line",
    "POST /cli/auth/exchange": "a step of the log-in of PandaProbe's own command line",
    "POST /webhooks/stripe": "for the payment service",
}
NOT_FOR_PROGRAMS = re.compile(r"\w+ (/organizations/\{org_id\})?/(members|invitations|subscriptions(?!/usage)|me/).*")
"""Seats and payment, which are no part of the published description: people manage them on the pages of PandaProbe."""
OTHER_NAME = {"total_traces": "total_targets"}
"""Names of fields in the published description, each with the name that the server uses."""


def shapes() -> dict[str, dict[str, set[str]]]:
    """Return the parameters and fields of each operation of the client; endpoints of one route are merged."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for endpoint in all_endpoints():
        operation = found[str(endpoint)]
        for part, kind in (("query", endpoint.query), ("body", endpoint.body), ("answer", endpoint.answer)):
            if kind is not None:
                schema = TypeAdapter(kind).json_schema()
                operation[part] |= shape_of(schema, schema.get("$defs", {}))
    return found


OURS = shapes()


@pytest.mark.parametrize("operation", [*DESCRIBED["published"], *DESCRIBED["only_on_the_server"]])
def test_nothing_is_missing(operation: str) -> None:
    """The client has every parameter, field and value of the descriptions."""
    if operation in NOT_IN_THE_CLIENT or NOT_FOR_PROGRAMS.fullmatch(operation):
        assert operation not in OURS
        return
    described = {**DESCRIBED["published"], **DESCRIBED["only_on_the_server"]}[operation]

    assert operation in OURS
    for part, texts in described.items():
        wanted = {_our_name(text) for text in texts}
        assert wanted - OURS[operation][part] == set(), f"{operation} {part}"


def _our_name(text: str) -> str:
    for published, ours in OTHER_NAME.items():
        text = text.replace(published, ours)
    return text


@pytest.mark.parametrize("operation", list(OURS))
def test_nothing_is_made_up(operation: str) -> None:
    """The client sends only described parameters and fields; it may read more, since the server returns more."""
    described = {**DESCRIBED["published"], **DESCRIBED["only_on_the_server"]}[operation]
    for part in ("query", "body"):
        more = {text for text in OURS[operation][part] if not _is_free_form(operation, text)}
        assert more - set(described.get(part, ())) == set(), f"{operation} {part}"


def _is_free_form(operation: str, text: str) -> bool:
    """Return whether the description leaves the names open, as for monitors' filters and some enumerations."""
    if "/monitors" in operation and text.startswith(("filters.", "target_type=")):
        return True
    return operation.endswith("/comparison") and text.startswith("sort_order=")
