"""A check for litellm's own spans, which a callback makes."""

from __future__ import annotations

from typing import Any, Final

_LISTS: Final = ("callbacks", "success_callback", "_async_success_callback")
_OWN_MODULE: Final = "litellm.integrations.opentelemetry"


def makes_own_spans(litellm: Any) -> bool:
    """Return whether the callback "otel" is set, by name or as an object."""
    if litellm is None:
        return False
    return any(_is_own(one) for name in _LISTS for one in getattr(litellm, name, None) or ())


def _is_own(callback: Any) -> bool:
    return callback == "otel" if isinstance(callback, str) else type(callback).__module__.startswith(_OWN_MODULE)
