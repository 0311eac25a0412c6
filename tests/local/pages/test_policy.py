"""The content security policy of every answer below /ui: a browser runs only our own scripts."""

from __future__ import annotations

from collections.abc import Generator
from uuid import UUID

import httpx
import pytest

from local_http import http_of
from page_routes import page_routes
from pandaprobe_otel.local import LocalServer

TRACE, SPAN = str(UUID(int=1)), str(UUID(int=2))
STARTED = "2026-01-02T03:04:05Z"
POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "media-src": "data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
KNOWN = {"trace_id": TRACE, "span_id": SPAN, "name": "app.css", "fingerprint": 16 * "0"}
UNKNOWN = dict.fromkeys([*KNOWN, "run_id", "monitor_id"], str(UUID(int=9)))


@pytest.fixture(scope="module")
def http() -> Generator[httpx.Client]:
    """Yield a client of a server with one trace."""
    span = {"span_id": SPAN, "name": "chat", "kind": "LLM", "started_at": STARTED}
    with LocalServer(limit=None) as server, http_of(server) as client:
        body = {"trace_id": TRACE, "name": "shop", "started_at": STARTED, "spans": [span]}
        client.post("/traces", json=body).raise_for_status()
        yield client


def assert_strict(answer: httpx.Response) -> None:
    """Check that the answer has the policy above, and keeps browsers from guessing the content type."""
    told = answer.headers["content-security-policy"].split("; ")
    assert dict(one.split(" ", 1) for one in told) == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", sorted(route.path for route in page_routes("GET")))
def test_every_address_has_a_strict_policy(http: httpx.Client, path: str) -> None:
    """Pages, fragments, files, JSON and events have the policy, for known and for unknown ids."""
    for values in (KNOWN, {}):
        query = {"trace": TRACE if values else str(UUID(int=9)), "id": "nobody", "span": SPAN, "q": "<script>"}
        answer = http.get(path.format(**{**UNKNOWN, **values}), params=query)

        assert answer.status_code in (200, 404)
        assert_strict(answer)


@pytest.mark.parametrize("path", sorted(route.path for route in page_routes("POST")))
@pytest.mark.parametrize("origin", ["own", "http://elsewhere.test"])
def test_every_form_has_a_strict_policy(http: httpx.Client, path: str, origin: str) -> None:
    """The answer to a form has the policy, also if the form is refused."""
    own = str(http.base_url).rstrip("/")
    answer = http.post(path.format(**UNKNOWN), data={"name": "<b>"}, headers={"Origin": origin.replace("own", own)})

    assert answer.status_code in ((401, 404, 422, 303) if origin == "own" else (403,))
    assert_strict(answer)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/ui/nothing"), ("GET", "/ui/static/x.css"), ("DELETE", "/ui"), ("GET", "/ui/traces/%3Cscript%3E")],
)
def test_errors_have_a_strict_policy(http: httpx.Client, method: str, path: str) -> None:
    """Answers with status 404, 405 and 422 have the policy."""
    answer = http.request(method, path)

    assert answer.status_code in (404, 405, 422)
    assert_strict(answer)


def test_an_icon_and_a_wrong_host_have_a_strict_policy(http: httpx.Client) -> None:
    """The icon that browsers request by themselves and the refusal of a wrong host have the policy."""
    assert_strict(http.get("/favicon.ico"))
    assert_strict(http.get("/ui", headers={"Host": "elsewhere.test"}))


def test_a_page_that_asks_for_the_token_has_a_strict_policy() -> None:
    """On a server with auth, the redirect to the sign-in form and the form have the policy."""
    with (
        LocalServer(auth=True, token="open sesame") as server,
        httpx.Client(base_url=server.url, trust_env=False) as http,
    ):
        assert_strict(http.get("/ui"))
        assert_strict(http.get("/ui/sign-in"))
        assert_strict(http.post("/ui/sign-in", data={"token": "open sesame"}))
