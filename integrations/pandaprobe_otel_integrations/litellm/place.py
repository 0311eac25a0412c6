"""Which provider a call goes to, and where: by the model's prefix, as litellm itself decides."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import Attributes
from pandaprobe_otel_integrations._place import place_at
from pandaprobe_otel_integrations._shape import string

_NAMES: Final = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "azure_text": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "sagemaker": "aws.bedrock",
    "cohere_chat": "cohere",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "codestral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "ollama_chat": "ollama",
    "text-completion-openai": "openai",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""litellm's name of a provider to that of the conventions; others are the same."""


def split_model(model: Any, given: Any = None) -> tuple[str | None, str | None]:
    """Provider (litellm's name) and model without the provider's prefix; both None where they are not known."""
    name = string(model)
    if name is None:
        return string(given), None
    prefix, _, rest = name.partition("/")
    if rest and prefix in _providers():
        return string(given) or prefix, rest
    return string(given), name


def named(provider: str | None) -> str | None:
    """The conventions' name of a provider."""
    return _NAMES.get(provider, provider) if provider is not None else None


def place_of_call(request: Mapping[str, Any], provider: str | None) -> Attributes:
    """Provider and server, as far as the arguments tell them."""
    address = string(request.get("api_base")) or string(request.get("base_url"))
    called = named(provider)
    if address is None:
        return {names.PROVIDER: called}
    return {**place_at(address, ""), names.PROVIDER: called}


def _providers() -> frozenset[str]:
    listed: Any = getattr(sys.modules.get("litellm"), "provider_list", ())
    return frozenset(str(getattr(one, "value", one)) for one in listed)
