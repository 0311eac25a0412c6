"""Facets beside the list, and the completion of searches: their counts are those of the list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import httpx
import pytest

from pandaprobe_otel.local import LocalServer
from trace_scan import record

COUNT = 24
FACET = re.compile(
    r'<li><a href="(?P<link>[^"]+)" data-facet="(?P<without>[^"]+)"(?P<chosen>[^>]*)>'
    r'<span>(?P<value>[^<]*)</span> <b class="num">(?P<count>\d+)</b>'
)


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """Yield a client of a server with sealed traces."""
    with LocalServer(limit=None) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "facets"}
        for number in range(COUNT):
            client.post("/traces", json=record(number), headers=headers).raise_for_status()
        server.services.sealer.seal_now()
        yield client


def page(http: httpx.Client, link: str) -> tuple[int, dict[str, re.Match[str]]]:
    """Return the number of traces of a list, and its facets by key and value."""
    text = http.get(unescape(link)).raise_for_status().text
    total = re.search(r'<h1>Traces <span class="count">(\d+)', text)
    assert total is not None
    found: dict[str, re.Match[str]] = {}
    for key, values in re.findall(r'<section data-key="(\w+)">(.*?)</section>', text, re.DOTALL):
        found |= {f"{key}:{unescape(each['value'])}": each for each in FACET.finditer(values)}
    return int(total[1]), found


@pytest.mark.parametrize("query", ["", "error", "order model:gpt-5", "latency>5s -tool:refund"])
def test_each_facet_counts_the_traces_that_it_leads_to(http: httpx.Client, query: str) -> None:
    """A facet's count is the length of the list that its link opens; Alt-click excludes these traces."""
    total, facets = page(http, str(httpx.URL("/ui", params={"q": query})))

    assert len(facets) > 10
    for name in sorted(facets)[::4]:
        count, _ = page(http, facets[name]["link"])
        without, _ = page(http, facets[name]["without"])
        assert count == int(facets[name]["count"]), name
        assert without == total - count, name


def test_a_chosen_facet_is_marked_and_given_up(http: httpx.Client) -> None:
    """A chosen facet is marked, and a second click removes it from the search."""
    total, facets = page(http, "/ui")
    _, chosen = page(http, facets["name:Shop assistant"]["link"])

    assert "aria-current" in chosen["name:Shop assistant"]["chosen"]
    assert page(http, chosen["name:Shop assistant"]["link"])[0] == total


@pytest.mark.parametrize(
    ("term", "proposed"),
    [
        ("mod", ["model:"]),
        ("model:", ["model:claude", "model:gpt-5", "model:gpt-5-mini"]),
        ("-model:gpt-5-", ["-model:gpt-5-mini"]),
        ('name:"sHop a', ['name:"Shop assistant"']),
        ("meta.tier:g", ["meta.tier:gold"]),
        ("err", ["error", "error_type:"]),
        ("latency>", []),
        ('"a phrase', []),
    ],
)
def test_a_term_is_completed(http: httpx.Client, term: str, proposed: list[str]) -> None:
    """Names of fields are proposed first, then the values of the field."""
    found = http.get("/ui/complete", params={"term": term}).raise_for_status().json()

    assert sorted(one["text"] for one in found) == proposed


@pytest.mark.parametrize("term", ["model:gpt-5", "tool:", "release:2"])
def test_a_proposal_has_the_count_of_its_list(http: httpx.Client, term: str) -> None:
    """The count beside a proposal is the length of the list that it opens."""
    for one in http.get("/ui/complete", params={"term": term}).json():
        assert page(http, str(httpx.URL("/ui", params={"q": one["text"]})))[0] == one["count"]
