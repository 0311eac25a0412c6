"""A local PandaProbe with content on every page, and the URLs of its pages in each of their states."""

from __future__ import annotations

import datetime as dt
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote, urlencode
from uuid import UUID

import httpx

import shop_traces as shop
from local_http import http_of
from pandaprobe_otel.local import LocalServer
from waiting import wait_until

DAYS: Final = 2
PER_DAY: Final = 6
RICH: Final = str(UUID(int=0xC0))
RUNNING: Final = str(UUID(int=0xB0))
_UNKNOWN: Final = str(UUID(int=0xDEAD))


@contextmanager
def open_shop() -> Generator[LocalServer]:
    """Yield a server with three days of conversations and scores, an evaluation run and a monitor."""
    with LocalServer(limit=None, scripted_judge=True) as server:
        shop.fill(server, days=DAYS)
        with http_of(server, shop.PROJECT) as http:
            body = {"trace_ids": newest(), "metrics": ["confidence"], "name": "after the new prompt"}
            wait_for_run(http, http.post("/evaluations/trace-runs/batch", json=body))
            monitor = {"name": "production", "target_type": "TRACE", "metrics": ["confidence"], "cadence": "daily"}
            http.post("/evaluations/monitors", json=monitor).raise_for_status()
        yield server


def wait_for_run(http: httpx.Client, answer: httpx.Response) -> str:
    """Wait until the run that was just started has ended, and return its id."""
    run_id: str = answer.raise_for_status().json()["id"]
    wait_until(lambda: http.get(f"/evaluations/trace-runs/{run_id}").json()["status"] == "COMPLETED")
    return run_id


def newest() -> list[str]:
    """Return the ids of the last day's traces; the fourth has a tool that failed."""
    return [shop.trace_id(DAYS * PER_DAY + number) for number in range(PER_DAY)]


def span_of(number: int, position: int) -> str:
    """Return the id of a span of one of the newest traces."""
    return str(UUID(int=((DAYS * PER_DAY + number) << 16) + position + 1))


def all_pages(server: LocalServer) -> dict[str, str]:
    """Return the URL of every page, by name."""
    with http_of(server, shop.PROJECT) as http:
        run = http.get("/evaluations/trace-runs").json()["items"][0]["id"]
        session = http.get(f"/traces/{newest()[3]}").json()["session_id"]
        failure = http.get("/local/failures").json()["items"][0]["fingerprint"]
    failing, quiet = f"/ui/traces/{newest()[3]}", f"/ui/traces/{newest()[2]}"
    return {
        "traces": "/ui",
        "overview": "/ui/overview",
        "nothing found": "/ui?q=nothing+of+the+sort",
        "trace": failing,
        "span": f"{failing}?span={span_of(3, 3)}",
        "conversation": f"{failing}?view=chat",
        "tools": f"{failing}?view=tools",
        "scores": f"{failing}?view=scores",
        "JSON": f"{quiet}?view=json",
        "sessions": "/ui/sessions",
        "session": f"/ui/session?id={quote(session)}",
        "comparison": f"/ui/diff?trace={newest()[0]}&trace={newest()[3]}",
        "evaluations": "/ui/evaluations",
        "run": f"/ui/runs/{run}",
        "monitors": "/ui/monitors",
        "failures": "/ui/failures",
        "failure": f"/ui/failures/{failure}",
        "sign in": "/ui/sign-in",
    }


def stock(server: LocalServer) -> None:
    """Add what the conversations lack: content of every kind, a running agent, a failed evaluation run."""
    with http_of(server, shop.PROJECT) as http:
        http.post("/traces", json=_rich_trace()).raise_for_status()
        spans = [{**span, "ended_at": None} for span in _rich_trace()["spans"][:2]]
        for number, span in enumerate(spans):
            span["span_id"] = str(UUID(int=0xB1 + number))
            span["parent_span_id"] = str(UUID(int=0xB1)) if number else None
        http.post("/local/live", json=[{"trace_id": RUNNING, "spans": spans}]).raise_for_status()
        server.judge.fail("confidence")
        run = http.post("/evaluations/trace-runs/batch", json={"trace_ids": newest()[:1], "metrics": ["confidence"]})
        run_id = run.raise_for_status().json()["id"]
        wait_until(lambda: http.get(f"/evaluations/trace-runs/{run_id}").json()["status"] in ("COMPLETED", "FAILED"))


def more_states(server: LocalServer) -> dict[str, str]:
    """Return the URLs of further states of a stocked server's pages, by name, such as empty, refused or full."""
    with http_of(server, shop.PROJECT) as http:
        runs = http.get("/evaluations/trace-runs").json()["items"]
        failed = next(run["id"] for run in runs if run["failed_count"] or run["status"] == "FAILED")
        kinds = {one["kind"]: one["fingerprint"] for one in http.get("/local/failures").json()["items"]}
        tagged = _act(http, "tag", add="seen")
    accounts = server.services.accounts
    empty = accounts.add_project(accounts.home.id, "nothing yet", "").id
    three = urlencode([("trace", one) for one in newest()[:3]])
    return {
        "refused search": "/ui?q=latency%3E5x",
        "search with a note": "/ui?q=foo:bar+refund",
        "facets": "/ui?q=error",
        "slowest": "/ui?sort=latency&q=after:7d",
        "project without traces": f"/ui?project={empty}",
        "trace with every content": f"/ui/traces/{RICH}?view=chat",
        "span with every content": f"/ui/traces/{RICH}?span={UUID(int=0xC2)}",
        "retriever": f"/ui/traces/{RICH}?span={UUID(int=0xC3)}",
        "orphan": f"/ui/traces/{RICH}?span={UUID(int=0xC4)}",
        "found in spans": f"/ui/traces/{newest()[3]}?q=timed",
        "running trace": f"/ui/traces/{RUNNING}",
        "missing trace": f"/ui/traces/{_UNKNOWN}",
        "missing session": "/ui/session?id=nobody",
        "no session": "/ui/sessions?q=nothing",
        "no comparison": "/ui/diff",
        "comparison with nothing": f"/ui/diff?trace={RICH}&trace={_UNKNOWN}",
        "chosen": f"/ui/selected?{three}",
        "nothing chosen": "/ui/selected",
        "after an action": tagged,
        "narrowed overview": "/ui/overview?q=tool:look_up_order+after:7d",
        "empty overview": "/ui/overview?q=nothing+of+the+sort",
        "refused overview": "/ui/overview?q=latency%3E5x",
        "no failures": "/ui/failures?q=nothing+of+the+sort",
        "refused failures": "/ui/failures?q=latency%3E5x",
        "missing failure": "/ui/failures/0000000000000000",
        "failed run": f"/ui/runs/{failed}",
        "missing run": f"/ui/runs/{_UNKNOWN}",
        "project without monitors": f"/ui/monitors?project={empty}",
        **{f"failure {kind}": f"/ui/failures/{fingerprint}" for kind, fingerprint in kinds.items()},
    }


def _act(http: httpx.Client, action: str, **fields: str) -> str:
    """Submit an action for the newest trace with a page's form, and return the URL of the page that confirms it."""
    chosen = f"/ui/selected?trace={newest()[0]}"
    project = http.get(chosen).text.partition('name="project" value="')[2].partition('"')[0]
    form = {"project": project, "trace": newest()[0], "next": chosen, **fields}
    sent = http.post(f"/ui/act/{action}", data=form, headers={"Origin": str(http.base_url).rstrip("/")})
    return sent.headers["location"]


def _rich_trace() -> dict[str, Any]:
    """Return a trace with every kind of content that pages can show."""
    begun = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)

    def timed(fields: dict[str, Any]) -> dict[str, Any]:
        moments = {key: begun + dt.timedelta(seconds=fields[key]) for key in ("started_at", "ended_at")}
        return {**fields, **{key: moment.isoformat() for key, moment in moments.items()}}

    trace = timed(shop.SHOP["every kind of content"])
    return {**trace, "spans": [timed(span) for span in trace["spans"]]}
