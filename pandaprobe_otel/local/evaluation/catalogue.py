"""The metrics and providers, under the names and descriptions of server 0.5.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

THRESHOLD: Final = 0.5
"""Default threshold of every metric. The API has no way to change it."""

TRACE_METRICS: Final[Mapping[str, str]] = {
    "argument_correctness": "Evaluates whether tool call arguments were correctly specified for the task.",
    "coherence": "Evaluates whether the agent's output logically follows from its input.",
    "confidence": "Evaluates whether the agent acted decisively and appropriately.",
    "plan_adherence": "Evaluates how closely the agent followed its declared plan during execution.",
    "plan_quality": "Evaluates the intrinsic quality, completeness, and optimality of the agent's plan.",
    "step_efficiency": "Evaluates how efficiently the agent executed the task with minimal unnecessary steps.",
    "task_completion": "Evaluates whether the agent accomplished the user's stated objective.",
    "tool_correctness": "Evaluates whether the agent selected appropriate tools for the task.",
}
SESSION_METRICS: Final[Mapping[str, str]] = {
    "agent_consistency": (
        "Evaluates overall stability across a session. Penalizes any trace that deviates from smooth operation "
        "using weighted RMS."
    ),
    "agent_reliability": (
        "Evaluates worst-case failure risk across a session. Focuses on the most problematic traces using "
        "max-compose + top-k tail risk."
    ),
}
SIGNALS: Final[Sequence[str]] = ("confidence", "coherence", "loop_detection", "tool_correctness")
"""Inputs of session metrics for each trace of a session. `loop_detection` exists only as a signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider of judges."""

    key: str
    name: str
    description: str
    variable: str

    def record(self, *, available: bool) -> dict[str, Any]:
        """Return the object of `GET /evaluations/providers`."""
        message = f"Provider '{self.name}' is available." if available else self.missing
        return {
            "key": self.key,
            "name": self.name,
            "description": self.description,
            "available": available,
            "message": message,
        }

    @property
    def missing(self) -> str:
        """The reason why the provider cannot be used."""
        return f"Provider '{self.name}' is not configured. Missing environment variable(s): {self.variable}"


OPENAI: Final = Provider(
    key="openai",
    name="OpenAI",
    description="OpenAI GPT models (gpt-4o, gpt-4o-mini, etc.)",
    variable="OPENAI_API_KEY",
)
VERTEX_AI: Final = Provider(
    key="vertex_ai",
    name="Vertex AI",
    description="Google Vertex AI (Gemini, Claude, etc.)",
    variable="GOOGLE_CLOUD_PROJECT",
)
ANTHROPIC: Final = Provider(
    key="anthropic",
    name="Anthropic",
    description="Anthropic Claude models (claude-3.5-sonnet, etc.)",
    variable="ANTHROPIC_API_KEY",
)
GOOGLE_GENAI: Final = Provider(
    key="google_genai",
    name="Google GenAI",
    description="Google Gemini via AI Studio API key",
    variable="GEMINI_API_KEY",
)
PROVIDERS: Final[Sequence[Provider]] = (OPENAI, ANTHROPIC, GOOGLE_GENAI, VERTEX_AI)


def metric_records(metrics: Mapping[str, str], category: str) -> list[dict[str, str]]:
    """Return the list of `GET /evaluations/trace-metrics` or `session-metrics`."""
    return [{"name": name, "description": text, "category": category} for name, text in metrics.items()]
