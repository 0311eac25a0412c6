"""Provider and server attributes of a request."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import Attributes

MAX_PLACES: Final = 64
"""Number of base URLs whose attributes are cached."""
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}


def place_of(url: Any, provider: str) -> Attributes:
    """Return the attributes for a provider and a URL object of httpx or httpx2.

    The default port of a scheme is left out.
    """
    return _place(provider, url.host, url.port, url.scheme)


@lru_cache(maxsize=256)
def place_at(url: str, provider: str) -> Attributes:
    """Return the attributes for a provider and a URL as text. The result is shared: do not change it."""
    parts = urlsplit(url)
    return _place(provider, parts.hostname, parts.port, parts.scheme)


class Places:
    """A cache by URL object: a client keeps the same object, and reading it takes a dozen calls."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, Any, Attributes]] = {}

    def of(self, url: Any, key: Any, read: Callable[[], Attributes]) -> Attributes:
        """Return the result of `read`, cached while URL and key are the same objects. Do not change it."""
        known = self._known.get(id(url))
        if known is not None and known[0] is url and known[1] is key:
            return known[2]
        place = read()
        if len(self._known) >= MAX_PLACES:
            self._known.clear()
        self._known[id(url)] = (url, key, place)
        return place


def _place(provider: str, host: str | None, port: int | None, scheme: str) -> Attributes:
    place: Attributes = {names.PROVIDER: provider, names.SERVER_ADDRESS: host}
    if port is not None and port != _DEFAULT_PORTS.get(scheme):
        place[names.SERVER_PORT] = port
    return place


# -- frameworks' names of providers, mapped to those of the conventions ------------------------------------------------

_NAMES: Final = {
    "amazon_bedrock": "aws.bedrock",
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "azure_openai": "azure.ai.openai",
    "azure_text": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "claude": "anthropic",
    "codestral": "mistral_ai",
    "cohere_chat": "cohere",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "google_genai": "gcp.gemini",
    "google_vertexai": "gcp.vertex_ai",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "moonshot": "moonshot_ai",
    "ollama_chat": "ollama",
    "sagemaker": "aws.bedrock",
    "text-completion-openai": "openai",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
_BY_DOMAIN: Final = {
    # Names from the conventions' list of well-known providers.
    "openai.com": "openai",
    "openai.azure.com": "azure.ai.openai",
    "cognitiveservices.azure.com": "azure.ai.openai",
    "services.ai.azure.com": "azure.ai.inference",
    "models.ai.azure.com": "azure.ai.inference",
    "inference.ai.azure.com": "azure.ai.inference",
    "anthropic.com": "anthropic",
    "amazonaws.com": "aws.bedrock",
    "api.aws": "aws.bedrock",
    "cohere.ai": "cohere",
    "cohere.com": "cohere",
    "deepseek.com": "deepseek",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    "groq.com": "groq",
    "ml.cloud.ibm.com": "ibm.watsonx.ai",
    "mistral.ai": "mistral_ai",
    "moonshot.ai": "moonshot_ai",
    "moonshot.cn": "moonshot_ai",
    "perplexity.ai": "perplexity",
    "x.ai": "x_ai",
    # Other names, in the same style.
    "openrouter.ai": "openrouter",
    "together.ai": "together_ai",
    "together.xyz": "together_ai",
    "fireworks.ai": "fireworks_ai",
    "cerebras.ai": "cerebras",
    "sambanova.ai": "sambanova",
    "nvidia.com": "nvidia",
    "huggingface.co": "hugging_face",
    "aliyuncs.com": "alibaba_cloud",
    "bigmodel.cn": "zhipu_ai",
    "z.ai": "zhipu_ai",
    "minimax.io": "minimax",
    "minimaxi.com": "minimax",
    "ai21.com": "ai21",
    "deepinfra.com": "deepinfra",
    "github.ai": "github",
    "databricks.com": "databricks",
}


def provider_name(said: str) -> str:
    """Return `gen_ai.provider.name` for a provider of litellm, LangChain, CrewAI or DSPy; any other name unchanged."""
    return _NAMES.get(said, said)


@lru_cache(maxsize=256)
def provider_of(host: str, default: str) -> str:
    """Return the provider for a host name; `default` for a gateway, a local server, and unknown hosts."""
    # Vertex AI writes the region into the first label: europe-west4-aiplatform.googleapis.com.
    labels = host.lower().rstrip(".").replace("-aiplatform.", ".aiplatform.").split(".")
    for start in range(len(labels) - 1):
        known = _BY_DOMAIN.get(".".join(labels[start:]))
        if known is not None:
            return known
    return default
