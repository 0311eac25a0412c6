"""The instrumentor of a Stainless client library: two hooks on each of its two base clients."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, ClassVar

from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._patching import Patch, patch

from .hooks import StainlessApi, StainlessHooks


class StainlessIntegration(Integration):
    """Base of the instrumentors of openai, anthropic, groq and together."""

    api: ClassVar[StainlessApi]
    """What is particular to the library."""

    def watch_client(self, client: Any) -> None:
        """Record the calls of this client and of the copies that `with_options` makes of it."""
        super().watch_client(client._client)  # pyright: ignore[reportPrivateUsage]

    def _lets_through(self, client: Any) -> bool:
        # Copies of a client share the HTTP client below.
        return super()._lets_through(getattr(client, "_client", None))

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        hooks = StainlessHooks(self.api, self._recorder, self._lets_through)
        for owner, around_request in (
            (module.SyncAPIClient, hooks.request),
            (module.AsyncAPIClient, hooks.request_async),
        ):
            # The response first: a request whose response is never shown would be a span without an answer.
            yield patch(owner, "_process_response", hooks.process_response)
            yield patch(owner, "request", around_request)
