"""Provider and address of a call, from the model's prefix, as in litellm itself."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import Attributes
from pandaprobe_otel_integrations._provider_names import provider_name
from pandaprobe_otel_integrations._server_attributes import place_at
from pandaprobe_otel_integrations._shape import string


def split_model(model: Any, given: Any = None) -> tuple[str | None, str | None]:
    """Return provider (litellm's name) and model without the provider's prefix; both None if they are unknown."""
    name = string(model)
    if name is None:
        return string(given), None
    prefix, _, rest = name.partition("/")
    if rest and prefix in _providers():
        return string(given) or prefix, rest
    return string(given), name


def named(provider: str | None) -> str | None:
    """Return the conventions' name of a provider."""
    return provider_name(provider) if provider is not None else None


def place_of_call(request: Mapping[str, Any], provider: str | None) -> Attributes:
    """Return provider and server, as far as the arguments contain them."""
    address = string(request.get("api_base")) or string(request.get("base_url"))
    called = named(provider)
    if address is None:
        return {names.PROVIDER: called}
    return {**place_at(address, ""), names.PROVIDER: called}


_known: tuple[Any, int, frozenset[str]] = ((), 0, frozenset())


def _providers() -> frozenset[str]:
    """Return the names of the hundred providers. An app may add some, so a list that has grown is read again."""
    global _known
    listed: Any = getattr(sys.modules.get("litellm"), "provider_list", ())
    known = _known
    if known[0] is not listed or known[1] != len(listed):
        known = _known = (listed, len(listed), frozenset(str(getattr(one, "value", one)) for one in listed))
    return known[2]
