"""Other vendors' instrumentations of the client libraries, and the environment that has them all.

    python benchmarks/integrations/vendors.py install

makes a virtual environment below BENCH_VENVS (default: pandaprobe-otel-bench in the temporary directory) with uv, which
is in the extra `dev`: this library with every client, and the newest version of everything in VENDORS. If the
environment exists, the benchmarks switch to it by themselves.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HOME: Final = (
    Path(os.environ.get("BENCH_VENVS") or Path(tempfile.gettempdir()) / "pandaprobe-otel-bench") / "integrations"
)
ROOT: Final = Path(__file__).resolve().parents[2]
OURS: Final = ("-e", f"{ROOT}[all]", "boto3", "aiobotocore")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One instrumentation of one library: its vendor, its distribution, and its class as `module:Class`."""

    name: str
    distribution: str
    target: str


def _openinference(library: str, class_name: str, distribution: str | None = None) -> Vendor:
    return Vendor(
        name="OpenInference",
        distribution=f"openinference-instrumentation-{distribution or library}",
        target=f"openinference.instrumentation.{library}:{class_name}",
    )


def _openllmetry(library: str, class_name: str, distribution: str | None = None) -> Vendor:
    return Vendor(
        name="OpenLLMetry",
        distribution=f"opentelemetry-instrumentation-{distribution or library}",
        target=f"opentelemetry.instrumentation.{library}:{class_name}",
    )


def _opentelemetry(library: str, class_name: str, distribution: str, of: str = "") -> Vendor:
    return Vendor(
        name=f"OpenTelemetry{of}",
        distribution=f"opentelemetry-instrumentation-{distribution}",
        target=f"opentelemetry.instrumentation.{library}:{class_name}",
    )


VENDORS: Final[Mapping[str, tuple[Vendor, ...]]] = {
    "openai": (
        _openinference("openai", "OpenAIInstrumentor"),
        _openllmetry("openai", "OpenAIInstrumentor"),
        _opentelemetry("genai.openai", "OpenAIInstrumentor", "genai-openai"),
    ),
    "anthropic": (
        _openinference("anthropic", "AnthropicInstrumentor"),
        _openllmetry("anthropic", "AnthropicInstrumentor"),
        _opentelemetry("genai.anthropic", "AnthropicInstrumentor", "genai-anthropic"),
    ),
    "google_genai": (
        _openinference("google_genai", "GoogleGenAIInstrumentor", "google-genai"),
        _openllmetry("google_generativeai", "GoogleGenerativeAiInstrumentor", "google-generativeai"),
        _opentelemetry("google_genai", "GoogleGenAiSdkInstrumentor", "google-genai"),
    ),
    "mistralai": (
        _openinference("mistralai", "MistralAIInstrumentor"),
        _openllmetry("mistralai", "MistralAiInstrumentor"),
    ),
    "bedrock": (
        _openinference("bedrock", "BedrockInstrumentor"),
        _openllmetry("bedrock", "BedrockInstrumentor"),
        _opentelemetry("genai.bedrock", "BedrockInstrumentor", "genai-bedrock"),
        _opentelemetry("botocore", "BotocoreInstrumentor", "botocore", of=" (botocore)"),
        _opentelemetry("botocore", "AiobotocoreInstrumentor", "botocore", of=" (aiobotocore)"),
    ),
    "litellm": (
        _openinference("litellm", "LiteLLMInstrumentor"),
        _openllmetry("litellm", "LiteLLMInstrumentor"),
    ),
    "cohere": (_openinference("cohere", "CohereInstrumentor"), _openllmetry("cohere", "CohereInstrumentor")),
    "groq": (_openinference("groq", "GroqInstrumentor"), _openllmetry("groq", "GroqInstrumentor")),
    "together": (
        _openinference("together", "TogetherInstrumentor"),
        _openllmetry("together", "TogetherAiInstrumentor"),
    ),
    "ollama": (_openinference("ollama", "OllamaInstrumentor"), _openllmetry("ollama", "OllamaInstrumentor")),
}
"""Vendors by the library's name in the registry."""


def python() -> Path | None:
    """Return the interpreter of the environment; None if it does not exist."""
    found = HOME / "bin" / "python"
    return found if found.exists() else None


def run_there() -> None:
    """Continue in the environment of the vendors, if it exists and is not already in use."""
    there = python()
    if there is not None and Path(sys.prefix).resolve() != HOME.resolve():
        os.execv(there, [str(there), *sys.argv])


def install() -> None:
    """Create the environment, or update it."""
    uv = [sys.executable, "-m", "uv"]
    wanted = dict.fromkeys(vendor.distribution for vendors in VENDORS.values() for vendor in vendors)
    if python() is None:
        subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, HOME], check=True)
    subprocess.run([*uv, "pip", "install", "-q", "-U", "--python", HOME / "bin" / "python", *OURS, *wanted], check=True)
    print(HOME)


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit(__doc__)
    install()
