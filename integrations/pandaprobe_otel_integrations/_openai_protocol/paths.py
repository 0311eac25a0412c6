"""The requests that are model calls, by the end of their path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pandaprobe_otel_integrations._endpoint import Attributes, Endpoint
from pandaprobe_otel_integrations._server_attributes import place_of


class PostedEndpoints:
    """Endpoints that a JSON body is posted to, each by the end of its path; the longer one is listed first."""

    def __init__(self, by_ending: Mapping[str, Endpoint]) -> None:
        self._by_path = by_ending
        self._by_ending = tuple(by_ending.items())

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Return the endpoint of a request; None for requests that are no model calls."""
        if method.lower() != "post":
            return None
        if (exact := self._by_path.get(path)) is not None:
            return exact  # as most clients say it
        bare = path.partition("?")[0].rstrip("/")
        for ending, found in self._by_ending:
            if bare.endswith(ending):
                return found
        return None


class ServiceApi(PostedEndpoints):
    """The endpoints of a service whose client speaks to that service only."""

    def __init__(self, provider: str, by_ending: Mapping[str, Endpoint]) -> None:
        super().__init__(by_ending)
        self._provider = provider

    def place(self, client: Any) -> Attributes:
        """Return the service, and the server by the client's base URL."""
        return place_of(client.base_url, self._provider)
