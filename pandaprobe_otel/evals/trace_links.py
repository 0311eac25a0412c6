"""Addresses of the pages of traces, for readers of reports."""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import quote, urlsplit

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_OF_ADDRESSES: Final = "%:/?#[]@!$&'()*+,;="
"""Signs with a meaning in an address, which stay; blanks and what a terminal obeys have none."""


def trace_url(endpoint: str | None) -> str | None:
    """Return the address of a trace's page, with `{trace_id}` in it; None where there is none that is known.

    PANDAPROBE_TRACE_URL says it, else a local server at this endpoint is asked whether it has pages.
    """
    if named := os.environ.get("PANDAPROBE_TRACE_URL", "").strip():
        return named
    if endpoint is None or urlsplit(endpoint).hostname not in _LOOPBACK:
        return None
    import httpx

    try:
        found = httpx.get(f"{endpoint}/ui", timeout=1.0, trust_env=False, follow_redirects=False)
    except httpx.HTTPError:
        return None
    return f"{endpoint}/ui/traces/{{trace_id}}" if found.status_code < 400 else None


def page_of(trace_id: str, template: str | None) -> str | None:
    """Return the address of one trace's page. What is not of the web is no address: a report may come from others."""
    if template is None or not template.startswith(("http://", "https://")):
        return None
    return quote(template.replace("{trace_id}", trace_id), safe=_OF_ADDRESSES)
