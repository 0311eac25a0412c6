"""The local server answers as the real one did when these cases were recorded (server 0.5.0)."""

from __future__ import annotations

import json
import re
from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from contract_cases import Case, Replay, Target, differences, load_cases
from pandaprobe_otel.local import LocalServer

CASES = load_cases(Path(__file__).parent / "data" / "contract")
FAULTS = load_cases(Path(__file__).parent / "data" / "faults")
"""Cases in which the real server fails, loses data, or stores data that breaks later requests."""
ADDED = {"traces_read/health": ["step 1 GET /health: /: unexpected 'local'"]}
"""Fields of answers that were not recorded: `/health` identifies a local server (docs/local.md lists the field)."""
AS_THERE = {"sessions/id_with_slash", "sessions/id_analytics"}


def _target(server: LocalServer, quota_key: str | None = None) -> Target:
    org_id = server.services.accounts.home.id
    return Target(
        base_url=server.url,
        org_id=org_id,
        bearer=server.token or "anything",
        make_key=server.make_key,
        quota_key=quota_key,
    )


@pytest.fixture(scope="module")
def targets() -> Generator[dict[str, Target]]:
    """Yield a server for each setting that a case may need."""
    with (
        LocalServer(retry_after=False) as plain,
        LocalServer(retry_after=False, scripted_judge=True) as judged,
        LocalServer(retry_after=False) as poor,
        LocalServer(retry_after=False, auth=True) as strict,
    ):
        yield {
            "plain": _target(plain),
            "judge": _target(judged),
            "quota_key": _target(poor, poor.make_key(plan="HOBBY", used_traces=100)),
            "auth_enabled": _target(strict),
        }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_answers_are_those_of_the_real_server(case: Case, targets: dict[str, Target]) -> None:
    """Each step of a recorded case gets the recorded answer."""
    need = next((need for need in ("judge", "quota_key", "auth_enabled") if need in case.needs), "plain")
    target = targets[need]
    with httpx.Client(base_url=target.base_url, trust_env=False, timeout=30) as http:
        assert Replay(case, target, http).run() == ADDED.get(case.id, [])


def test_every_area_was_recorded() -> None:
    """The recorded cases cover the whole API; the test notices if an area vanishes from the data."""
    assert len({case.area for case in CASES}) == 18
    assert len(CASES) > 270


def test_the_comparison_sees_differences() -> None:
    """The comparison itself notices a wrong value, a missing key and an unexpected key."""
    expected = json.loads('{"a": 1, "b": ["<uuid>"], "c": null}')
    assert differences(expected, {"a": 1, "b": ["not-a-uuid"], "c": None})
    assert differences(expected, {"a": 1, "b": []})
    assert differences(expected, {**expected, "b": ["0f4f6f4e-0000-4000-8000-000000000001"], "d": 1})
    assert not differences(expected, {"a": 1, "b": ["0f4f6f4e-0000-4000-8000-000000000001"], "c": None})


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.id)
def test_a_failure_of_the_real_server_is_a_refusal_here(case: Case, targets: dict[str, Target]) -> None:
    """The first answer that differs is a refusal with the reason, not a failure; docs/local.md lists the refusals."""
    target = targets["plain"]
    with httpx.Client(base_url=target.base_url, trust_env=False, timeout=30) as http:
        different = Replay(case, target, http).run()

    if case.id in AS_THERE:
        assert different == []
        return
    assert different
    assert re.search(r"status 4(04|22) instead of (500|20[12]): \{\"detail\"", different[0])
