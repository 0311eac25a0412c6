"""A hint after a lost answer: the command that shows whether the request was carried out."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from typing import Any

import pytest

from endpoints import all_endpoints
from pandaprobe_otel.api.endpoint import Endpoint, Repeat, Scope
from pandaprobe_otel.cli import app as app_module
from pandaprobe_otel.cli.exit_codes import ExitCode
from pandaprobe_otel.cli.look_up_hint import with_look_up_hint
from pandaprobe_otel.errors import OutcomeUnknown, SentRequest
from scripted_api import RESET, ScriptedApi

TRACE, MONITOR = "3f1c7a52-9d7e-4f0b-8a35-6b1f0c2d4e01", "3f1c7a52-9d7e-4f0b-8a35-6b1f0c2d4e02"
NEVER_REPEATED = [
    endpoint for endpoint in all_endpoints() if endpoint.repeat is Repeat.NEVER and endpoint.scope is Scope.PROJECT
]
SCORE = {"trace_id": TRACE, "name": "it's good", "value": "0.5"}
CONNECTION = ("--project", "p", "--api-key", "sk_pp_secret_key")


def lost(method: str, path: str, body: Any) -> OutcomeUnknown:
    """Return the error for a request without an answer."""
    sent_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    return OutcomeUnknown("No answer came.", request=SentRequest(method=method, path=path, body=body, sent_at=sent_at))


@pytest.mark.parametrize("endpoint", NEVER_REPEATED, ids=str)
def test_every_request_that_is_not_repeated_has_a_command(endpoint: Endpoint[Any]) -> None:
    """Every request that is never repeated has a hint with a valid command of this command line."""
    path = endpoint.path_with(dict.fromkeys(endpoint.parameters, MONITOR))
    said = with_look_up_hint(lost(endpoint.method, path, SCORE))
    words, _, command = said.partition("2026-01-02T03:04:05Z: ")

    assert words == "No answer came. Before you repeat it, look for objects created since "
    name, *arguments = shlex.split(command)
    assert name == "pandaprobe-otel"
    assert app_module.run([*arguments, "--help"]) == ExitCode.OK


@pytest.mark.parametrize(
    ("arguments", "route", "found_at"),
    [
        (("scores", "submit", TRACE, "it's good", "0.5"), "/evaluations/trace-scores", "/evaluations/trace-scores"),
        (("monitors", "trigger", MONITOR), f"/evaluations/monitors/{MONITOR}/trigger", None),
    ],
)
def test_the_command_finds_it(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], route: str, found_at: str | None
) -> None:
    """The printed command, run unchanged, lists what the lost request may have created."""
    with ScriptedApi() as api:
        api.tell(f"POST {route}", RESET)
        listed = found_at or f"/evaluations/monitors/{MONITOR}/runs"
        api.tell(f"GET {listed}", {"items": [], "total": 0, "limit": 50, "offset": 0})
        connection = (*CONNECTION, "--endpoint", api.url)
        code = app_module.run([*arguments, *connection])
        said = capsys.readouterr()
        command = shlex.split(said.err.rpartition("Z: ")[2])
        looked = app_module.run([*command[1:], *connection, "--format", "json"])
        (asked,) = api.requests(f"GET {listed}")

    assert (code, said.out, said.err.count("\n")) == (ExitCode.API, "", 1)
    assert "client.look_up" not in said.err
    assert "sk_pp_secret_key" not in said.err
    assert (looked, json.loads(capsys.readouterr().out)["total"]) == (ExitCode.OK, 0)
    assert asked.query == (f"trace_id={TRACE}&name=it%27s+good" if found_at else "")
