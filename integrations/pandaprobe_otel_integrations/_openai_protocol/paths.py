"""The requests that are model calls, recognised by the end of their path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pandaprobe_otel_integrations._endpoint import Attributes, Endpoint
from pandaprobe_otel_integrations._server_attributes import place_of


class PostedEndpoints:
    """Endpoints that accept a JSON body, each by the end of its path. A longer path is listed before a shorter one."""

    def __init__(self, by_ending: Mapping[str, Endpoint]) -> None:
        self._by_path = by_ending
        self._by_ending = tuple(by_ending.items())

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Return the endpoint of a request; None for a request that is not a model call."""
        if method.lower() != "post":
            return None
        if (exact := self._by_path.get(path)) is not None:
            return exact  # the usual form in most clients
        bare = path.partition("?")[0].rstrip("/")
        for ending, found in self._by_ending:
            if bare.endswith(ending):
                return found
        return None


class ServiceApi(PostedEndpoints):
    """The endpoints of a service with its own client."""

    def __init__(self, provider: str, by_ending: Mapping[str, Endpoint]) -> None:
        super().__init__(by_ending)
        self._provider = provider

    def place(self, client: Any) -> Attributes:
        """Return the service, and the server from the client's base URL."""
        return place_of(client.base_url, self._provider)
