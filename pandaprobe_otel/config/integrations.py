"""The table of our integrations, of which one row is all that packaging, environments, pages and tests know of each.

It imports nothing else of the library, since the build of the distribution reads it too (`scripts/requirements.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class Row(NamedTuple):
    """An integration. Its extra has its name, and its entry point is `pandaprobe_<name>`."""

    instrumentor: str
    """The class in `pandaprobe_otel_integrations.<name>`."""
    library: str
    """The module of the library; `auto` selects the libraries whose module is installed."""
    requirement: str
    """The library's distribution, from the oldest version that is tested. Older ones are instrumented too."""
    also: tuple[str, ...] = ()
    """Other requirements of the program on the integration's page."""
    has_clients: bool = False
    """True if `wrap` takes its clients. One process can have all of these libraries, so the extra `all` has them."""


TABLE: Final[Mapping[str, Row]] = {
    # The first with the method that a turn of an agent runs in.
    "ag2": Row(
        "AG2Instrumentor",
        "ag2",
        "ag2>=1.1.2",
        also=(
            "ag2[openai]>=1.1.2",  # the model client that its documentation starts with
        ),
    ),
    # The oldest that the tests pass with: some older ones have no session.
    "agent_framework": Row(
        "AgentFrameworkInstrumentor",
        "agent_framework",
        "agent-framework-core>=1.16",
        also=(
            "agent-framework-openai>=1.17",  # its clients of models are distributions of their own
        ),
    ),
    # The oldest that the tests pass with.
    "agno": Row(
        "AgnoInstrumentor",
        "agno",
        "agno>=2.6.9",
        also=(
            "agno[openai]>=2.6.9",  # the model client that its documentation starts with
        ),
    ),
    "anthropic": Row("AnthropicInstrumentor", "anthropic", "anthropic>=0.27", has_clients=True),
    # The newest there is, of 2025.
    "autogen": Row(
        "AutoGenInstrumentor",
        "autogen_agentchat",
        "autogen-agentchat>=0.7.5",
        also=(
            "autogen-ext[openai]>=0.7.5",  # its clients of models are a distribution of their own
        ),
    ),
    # Boto3 and aiobotocore are built on it.
    "bedrock": Row(
        "BedrockInstrumentor",
        "botocore",
        "botocore>=1.34.116",
        has_clients=True,
        also=(
            "boto3>=1.34.116",  # the client that apps use; its version must match botocore's
        ),
    ),
    "cerebras": Row("CerebrasInstrumentor", "cerebras.cloud.sdk", "cerebras-cloud-sdk>=1.0", has_clients=True),
    # The program in its wheel changes with each version.
    "claude_agent_sdk": Row("ClaudeAgentSDKInstrumentor", "claude_agent_sdk", "claude-agent-sdk>=0.2.189"),
    "cohere": Row("CohereInstrumentor", "cohere", "cohere>=5.13", has_clients=True),
    # Older ones count the scopes of an agent's second attempt wrongly.
    "crewai": Row("CrewAIInstrumentor", "crewai", "crewai>=1.15.22"),
    # Older ones have no place where the answer of a model is whole.
    "dspy": Row("DSPyInstrumentor", "dspy", "dspy>=3.4"),
    # Older ones make two spans of a model call, and tools are inside of the first.
    "fireworks": Row("FireworksInstrumentor", "fireworks", "fireworks-ai>=1.2.30", has_clients=True),
    "google_adk": Row("GoogleADKInstrumentor", "google.adk", "google-adk>=2.13"),
    "google_genai": Row("GoogleGenAIInstrumentor", "google.genai", "google-genai>=1.50", has_clients=True),
    "groq": Row("GroqInstrumentor", "groq", "groq>=0.4", has_clients=True),
    # Older ones do not say that a tool has failed.
    "haystack": Row("HaystackInstrumentor", "haystack", "haystack-ai>=3.4"),
    # The first whose attempts are made in one place for all clients.
    "instructor": Row(
        "InstructorInstrumentor",
        "instructor",
        "instructor>=1.15.3",
        also=(
            "openai>=1.6",  # the client that its documentation starts with
        ),
    ),
    # LangGraph and DeepAgents are built on it.
    "langchain": Row(
        "LangChainInstrumentor",
        "langchain_core",
        "langchain-core>=1.2.16",
        also=(
            "langchain>=1.0",  # `create_agent`, which its documentation starts with
            "langgraph>=1.0",  # the graphs that agents are, and that apps make themselves
            "langchain-openai>=1.0",  # its clients of models are distributions of their own
        ),
    ),
    # Older versions never end streams that an app has left.
    "litellm": Row("LiteLLMInstrumentor", "litellm", "litellm>=1.100", has_clients=True),
    # Older ones leave a span open when a stream ends or fails.
    "llama_index": Row(
        "LlamaIndexInstrumentor",
        "llama_index.core",
        "llama-index-core>=0.14.22",
        also=(
            "llama-index-llms-openai>=0.5.6",  # its clients of models are distributions of their own
        ),
    ),
    # The first version with its own spans; also the base of `pandaprobe-otel mcp`.
    "mcp": Row(
        "MCPInstrumentor",
        "mcp",
        "mcp>=2.0",
        also=(
            "pandaprobe-otel[cli]",  # the command that starts a server
            "uvicorn>=0.31.1",  # the server's HTTP
        ),
    ),
    "mistralai": Row("MistralInstrumentor", "mistralai", "mistralai>=1.9.11", has_clients=True),
    "ollama": Row("OllamaInstrumentor", "ollama", "ollama>=0.4", has_clients=True),
    "openai": Row("OpenAIInstrumentor", "openai", "openai>=1.6", has_clients=True),
    # The oldest that the tests pass with: older ones do not say that a model has refused.
    "openai_agents": Row("OpenAIAgentsInstrumentor", "agents", "openai-agents>=0.17.4"),
    # The oldest that the tests pass with: older ones have no conversation.
    "pydantic_ai": Row(
        "PydanticAIInstrumentor",
        "pydantic_ai",
        "pydantic-ai-slim>=1.103",
        also=(
            "pydantic-ai-slim[openai]>=1.103",  # the model client that its documentation starts with
        ),
    ),
    # The oldest that the tests pass with.
    "semantic_kernel": Row("SemanticKernelInstrumentor", "semantic_kernel", "semantic-kernel>=1.39"),
    # The oldest that the tests pass with.
    "smolagents": Row(
        "SmolagentsInstrumentor",
        "smolagents",
        "smolagents>=1.25",
        also=(
            "smolagents[openai]>=1.25",  # the model client that its documentation starts with
        ),
    ),
    # The oldest that the tests pass with.
    "strands": Row(
        "StrandsInstrumentor",
        "strands",
        "strands-agents>=1.41",
        also=(
            "strands-agents[openai]>=1.41",  # the model client that its documentation starts with
        ),
    ),
    "together": Row("TogetherInstrumentor", "together", "together>=2.0", has_clients=True),
}
