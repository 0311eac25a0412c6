"""Requests generated from the server's own OpenAPI description: no answer has status 500.

By default, each operation gets a few requests. `PANDAPROBE_TEST_EXAMPLES=200 pytest tests/local/test_any_request.py`
takes minutes and generates other requests on every run.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from contextlib import suppress
from typing import Any
from zlib import crc32

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

import shop_traces as shop
from pandaprobe_otel.local import LocalServer

EXAMPLES = int(os.environ.get("PANDAPROBE_TEST_EXAMPLES", "0"))
FEW = 2
OPERATIONS = 77


@pytest.fixture(scope="module")
def server() -> Generator[LocalServer]:
    """Yield a server with one object of every kind."""
    with LocalServer(limit=None, scripted_judge=True) as running:
        yield running


@pytest.fixture(scope="module")
def known(server: LocalServer) -> dict[str, str]:
    """Return values of path parameters for objects that exist."""
    with httpx.Client(base_url=server.url, headers=headers(server), trust_env=False, timeout=60) as http:
        body = shop.shop_trace(1, 1, 0, shop.SOME_TIME, "chat-1")
        http.post("/traces", json=body).raise_for_status()
        score = {"trace_id": body["trace_id"], "name": "good", "value": "0.5"}
        run = {"trace_ids": [body["trace_id"]], "metrics": ["confidence"]}
        monitor = {"name": "watch", "target_type": "TRACE", "metrics": ["confidence"], "cadence": "daily"}
        organization = http.get("/organizations").json()[0]["id"]
        return {
            "trace_id": body["trace_id"],
            "span_id": body["spans"][0]["span_id"],
            "session_id": "chat-1",
            "score_id": http.post("/evaluations/trace-scores", json=score).json()["id"],
            "run_id": http.post("/evaluations/trace-runs/batch", json=run).json()["id"],
            "monitor_id": http.post("/evaluations/monitors", json=monitor).json()["id"],
            "org_id": organization,
            "project_id": http.get(f"/organizations/{organization}/projects").json()[0]["id"],
        }


def headers(server: LocalServer) -> dict[str, str]:
    """Return headers that authorize requests to every route."""
    return {"X-API-Key": server.api_key, "X-Project-Name": "shop", "Authorization": "Bearer anything"}


@pytest.mark.outer
# schemathesis warns of any thread that draws from `random` during a request, the server's own libraries included
@pytest.mark.filterwarnings("ignore:Do not use the .random. module:hypothesis.errors.HypothesisDeprecationWarning")
def test_no_request_is_answered_with_a_server_error(server: LocalServer, known: dict[str, str]) -> None:
    """Each operation handles valid and invalid requests, by its schema, without a server error."""
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    results = list(schema.get_all_operations())
    operations = [result.ok() for result in results if isinstance(result, Ok)]
    assert len(operations) == len(results), "the description is invalid"
    assert len(operations) >= OPERATIONS
    failures, statuses = list[str](), Counter[int]()
    for operation in operations:
        for mode in GenerationMode:
            _send_examples(operation, mode, server, known, failures, statuses)
    assert failures == []
    # Many requests reached their handler; authentication did not refuse all of them.
    assert statuses[200] > OPERATIONS // 3
    assert statuses[422] > OPERATIONS // 3


def _send_examples(
    operation: APIOperation[Any, Any, Any, Any],
    mode: GenerationMode,
    server: LocalServer,
    known: dict[str, str],
    failures: list[str],
    statuses: Counter[int],
) -> None:
    def send(case: schemathesis.Case[Any]) -> None:
        for name, value in case.path_parameters.items():
            # Half of the requests concern an existing object; deletions find none.
            if name in known and operation.method.upper() != "DELETE" and crc32(str(value).encode()) % 2:
                case.path_parameters[name] = known[name]
        answer = case.call(headers=headers(server), timeout=30)
        statuses[answer.status_code] += 1
        if answer.status_code >= 500:
            failures.append(f"{case.as_curl_command()}\n{answer.status_code} {answer.text[:300]}")

    chosen = settings(
        max_examples=EXAMPLES or FEW,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    with suppress(Unsatisfiable):  # an operation without parameters has no invalid request
        chosen(given(operation.as_strategy(generation_mode=mode))(send))()
