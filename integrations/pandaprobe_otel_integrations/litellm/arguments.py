"""The arguments of a call that are the request, apart from litellm's own: keys, addresses, prices, objects."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._openai_protocol.uploads import FILES

_MEANT: Final = frozenset(
    {
        "metadata",
        "tags",
        "prompt_id",
        "prompt_variables",
        "prompt_version",
        "prompt_label",
        "guardrails",
        "mock_response",
    }
)
"""litellm's own arguments that describe the request."""
_OWN: Final = frozenset(
    {
        "api_base", "base_url", "api_version", "custom_llm_provider", "timeout", "deployment_id", "litellm_params",
        "drop_params", "additional_drop_params", "allowed_openai_params", "extra_query", "http_client",
    }
)  # fmt: skip
_PLAIN: Final = (str, int, float, bool, list, tuple, dict, bytes, type)


def sent(arguments: Mapping[str, Any]) -> Body:
    """Return the arguments that are a part of the request."""
    own = _own()
    return {name: value for name, value in arguments.items() if name == FILES or _is_sent(name, value, own)}


def _is_sent(name: str, value: Any, own: frozenset[str]) -> bool:
    if value is None or name in own:
        return False
    return isinstance(value, _PLAIN) or hasattr(value, "model_dump")


_known: tuple[Any, frozenset[str]] = ((), _OWN)


def _own() -> frozenset[str]:
    """Return the names of litellm's own arguments, of which it has a list."""
    global _known
    listed: Any = getattr(sys.modules.get("litellm.types.utils"), "all_litellm_params", ())
    if _known[0] is not listed:
        _known = (listed, (frozenset(map(str, listed)) | _OWN) - _MEANT)
    return _known[1]
