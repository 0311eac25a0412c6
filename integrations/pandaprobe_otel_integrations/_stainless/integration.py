"""The instrumentor of a Stainless client library: two hooks on each of its two base clients."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any, ClassVar, Final

from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._patching import Patch, definer, patch, subclasses

from .hooks import StainlessApi, StainlessHooks

_RESPONSE: Final = "_process_response"


class StainlessIntegration(Integration):
    """Base of the instrumentors of openai, anthropic, groq and together."""

    api: ClassVar[StainlessApi]
    """The differences of this library."""

    def watch_client(self, client: Any) -> None:
        """Record the calls of this client and of copies made by `with_options`."""
        super().watch_client(client._client)  # pyright: ignore[reportPrivateUsage]

    def _watched(self, client: Any) -> Any:
        # Copies of a client share its HTTP client.
        return getattr(client, "_client", None)

    def _hook(self, module: ModuleType) -> Iterable[Patch]:
        hooks = StainlessHooks(self.api, self._recorder, self._lets_through)
        sync, asynchronous = module.SyncAPIClient, module.AsyncAPIClient
        # The hook on the response comes first: a request whose response is not seen would be a span without an answer.
        # Before openai 1.10, both clients inherit one `_process_response`.
        for owner in dict.fromkeys((definer(sync, _RESPONSE), definer(asynchronous, _RESPONSE))):
            yield patch(owner, _RESPONSE, hooks.process_response)
        for base, wrapper in ((sync, hooks.request), (asynchronous, hooks.request_async)):
            yield patch(base, "request", wrapper)
            # If another vendor has wrapped the client itself, the inherited method is never called.
            for client in subclasses(base):
                if "request" in client.__dict__:
                    yield patch(client, "request", wrapper)
