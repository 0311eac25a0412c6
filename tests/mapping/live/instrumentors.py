"""The instrumentors that are run live: their environments, their programs, and the known gaps of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from model_endpoint import ANSWER, USAGE, Exchange

ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "openai": (
        "openai==3.57.0",
        "openinference-instrumentation-openai==0.1.66",
        "opentelemetry-instrumentation-genai-openai==1.3b0",
        "opentelemetry-util-genai==1.3b0",
        "opentelemetry-instrumentation-openai==0.62.4",
        "logfire==5.4.0",
    ),
    "openai_2": ("openai==2.54.0", "opentelemetry-instrumentation-openai-v2==2.4b0", "opentelemetry-util-genai==0.4b0"),
    "openai_1": ("openai==1.109.1", "opentelemetry-instrumentation-openai==0.47.5", "opentelemetry-sdk==1.37.0"),
    "anthropic": (
        "anthropic==2.16.0",
        "openinference-instrumentation-anthropic==3.1.0",
        "opentelemetry-instrumentation-genai-anthropic==1.3b0",
        "opentelemetry-util-genai==1.3b0",
        "opentelemetry-instrumentation-anthropic==0.62.4",
        "logfire==5.4.0",
    ),
    "anthropic_0": (
        "anthropic==0.69.0",
        "openinference-instrumentation-anthropic==0.1.18",
        "opentelemetry-instrumentation-anthropic==0.47.5",
        "opentelemetry-sdk==1.37.0",
        "wrapt<2",
    ),
    "pydantic_ai": ("pydantic-ai-slim[openai,anthropic]==2.68.0", "openai==3.57.0", "anthropic==2.16.0"),
    "pydantic_ai_1": (
        "pydantic-ai-slim[openai,anthropic]==1.0.18",
        "openai==1.109.1",
        "anthropic==0.69.0",
        "opentelemetry-sdk==1.37.0",
    ),
    "adk": ("google-adk==2.13.0", "google-genai==2.34.0", "openinference-instrumentation-google-adk==1.0.5"),
    "adk_1": ("google-adk==1.14.1", "google-genai==1.75.0"),
    "langchain": (
        "langchain==1.5.2",
        "langgraph==1.2.24",
        "langchain-openai==1.8.1",
        "langsmith[otel]==0.15.1",
        "openinference-instrumentation-langchain==0.1.80",
        "opentelemetry-instrumentation-langchain==0.62.4",
        "opentelemetry-instrumentation-openai==0.62.4",
    ),
    "langchain_otel": (
        "langchain==1.5.2",
        "langgraph==1.2.24",
        "langchain-openai==1.8.1",
        "opentelemetry-instrumentation-genai-langchain==1.3b0",
        "opentelemetry-util-genai==1.3b0",
    ),
    "openai_agents": (
        "openai-agents==0.24.0",
        "openai==3.57.0",
        "openinference-instrumentation-openai-agents==2.6.0",
        "opentelemetry-instrumentation-openai-agents==0.62.4",
        "opentelemetry-instrumentation-genai-openai-agents==1.3b0",
    ),
    "strands": ("strands-agents==1.62.0", "openai==3.57.0"),
    "mlflow": ("mlflow-skinny==3.18.0", "opentelemetry-exporter-otlp-proto-http==1.45.2"),
    "langfuse": ("langfuse==5.2.0",),
    "haystack": ("haystack-ai==3.4.1", "openinference-instrumentation-haystack==0.1.46"),
    "autogen": ("autogen-agentchat==0.7.5", "autogen-core==0.7.5", "autogen-ext[openai]==0.7.5"),
    "smolagents": ("smolagents[openai]==1.26.0", "openinference-instrumentation-smolagents==0.1.43"),
    "agent_framework": ("agent-framework-core==1.23.0", "agent-framework-openai==1.17.0"),
    "semantic_kernel": ("semantic-kernel==1.45.0", "openai==2.54.0"),
    "plain": (
        "opentelemetry-instrumentation-requests==0.66b1",
        "opentelemetry-instrumentation-sqlite3==0.66b1",
        "requests",
    ),
}
"""Pinned requirements; instrumentors that work together share one environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrumentor:
    """One instrumentor: its program, and the parts of an exchange that it does not record (see `live_runs.PARTS`)."""

    environment: str
    program: str
    arguments: tuple[str, ...]
    variables: Mapping[str, str]
    without: frozenset[str]
    told: tuple[Exchange, ...] = ()
    """Exchanges that the program reports without calling a model."""

    @property
    def runs_tools(self) -> bool:
        """Return whether the program runs tools itself, instead of only reporting their results to the model."""
        return self.program not in ("openai_calls", "anthropic_calls") and "calls" not in self.without


_CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_EVENTS = {"OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT": "true"}
_OLD = {"OTEL_SEMCONV_STABILITY_OPT_IN": "", _CAPTURE: ""}
_LATEST = {"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}
_QUIET_CLAUDE = {"ANTHROPIC_OPEN_TELEMETRY": "false"}  # the client's own telemetry is on by default
_ADK_CONTENT = {"ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS": "true"}
_STRANDS_ON_SPANS = "gen_ai_latest_experimental,gen_ai_tool_definitions,gen_ai_span_attributes_only"
_LANGSMITH = {"LANGSMITH_OTEL_ENABLED": "true", "LANGSMITH_OTEL_ONLY": "true", "LANGSMITH_TRACING": "true"}
_BY_HAND = Exchange("gpt-4o-mini", "u", "Weather in Lisbon?", ANSWER, usage=USAGE)


def _run(command: str, environment: str, without: str = "", **variables: str) -> Instrumentor:
    program, *arguments = command.split()
    return Instrumentor(
        environment=environment,
        program=program,
        arguments=tuple(arguments),
        variables=variables,
        without=frozenset(without.split()),
    )


def _openai(name: str, environment: str = "openai", without: str = "", **variables: str) -> Instrumentor:
    scenarios = "chat stream no_usage tools tools_stream image busy embeddings"
    if name != "otel_v2":
        scenarios += " responses"
    if environment == "openai":  # older instrumentors support less of the responses API
        scenarios += " responses_tools responses_stream"
    return _run(f"openai_calls {name} {scenarios}", environment, without, **variables)


def _anthropic(name: str, environment: str = "anthropic", without: str = "", **variables: str) -> Instrumentor:
    scenarios = "messages stream cached tools tools_stream busy"
    if environment == "anthropic":
        scenarios += " stream_helper"
    return _run(f"anthropic_calls {name} {scenarios}", environment, without, **variables)


def _pydantic(command: str, environment: str = "pydantic_ai", without: str = "") -> Instrumentor:
    return _run(f"framework_agents pydantic_ai {command}", environment, without)


INSTRUMENTORS: dict[str, Instrumentor] = {
    "openinference_openai": _openai("openinference"),
    "openinference_openai_genai": _openai("openinference", OPENINFERENCE_ENABLE_GENAI_SEMCONV="true"),
    "otel_genai_openai_content": _openai("otel_genai", **{_CAPTURE: "SPAN_AND_EVENT"}, **_EVENTS),
    "otel_genai_openai_default": _openai("otel_genai", without="content error_text", **{_CAPTURE: "NO_CONTENT"}),
    "otel_genai_openai_eventonly": _openai("otel_genai", **{_CAPTURE: "EVENT_ONLY"}, **_EVENTS),
    "traceloop_openai": _openai("traceloop", without="stream_reasoning picture"),
    "traceloop_openai_events": _openai("traceloop_events", without="stream_reasoning stream_answer"),
    "logfire_openai": _openai("logfire", without="reasoning beside"),
    "otel_openai_v2_default": _openai("otel_v2", "openai_2", "content cache reasoning", **_OLD),
    "otel_openai_v2_latest_content": _openai(
        "otel_v2", "openai_2", "cache reasoning picture", **{_CAPTURE: "SPAN_AND_EVENT"}, **_LATEST, **_EVENTS
    ),
    "otel_openai_v2_legacy_content": _openai("otel_v2", "openai_2", "cache reasoning", **{**_OLD, _CAPTURE: "true"}),
    "traceloop_openai_0475": _openai("traceloop", "openai_1", "stream_reasoning picture"),
    "anthropic_native_content": _anthropic(
        "native", without="stream_answer error_text", ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE="content"
    ),
    "anthropic_native_default": _anthropic("native", without="content error_text"),
    "openinference_anthropic": _anthropic("openinference", without="beside"),
    "openinference_anthropic_genai": _anthropic(
        "openinference", OPENINFERENCE_ENABLE_GENAI_SEMCONV="true", **_QUIET_CLAUDE
    ),
    "otel_genai_anthropic_content": _anthropic("otel_genai", **{_CAPTURE: "SPAN_ONLY"}, **_QUIET_CLAUDE),
    "otel_genai_anthropic_plus_native": _anthropic("otel_genai", **{_CAPTURE: "SPAN_ONLY"}),
    "traceloop_anthropic": _anthropic("traceloop", without="stream_usage", **_QUIET_CLAUDE),
    "logfire_anthropic": _anthropic("logfire", without="beside", **_QUIET_CLAUDE),
    "openinference_anthropic_0118": _anthropic(
        "openinference", "anthropic_0", "system errors stream_usage stream_model"
    ),
    "traceloop_anthropic_0475": _anthropic("traceloop", "anthropic_0", "errors stream_usage stream_model"),
    "pydantic_ai_v2_openai": _pydantic("2 spans openai run stream broken"),
    "pydantic_ai_v2_responses": _pydantic("2 spans responses run"),
    "pydantic_ai_v2_anthropic": _pydantic("2 spans anthropic run"),
    "pydantic_ai_v5_openai": _pydantic("5 spans openai run stream broken"),
    "pydantic_ai_v5_responses": _pydantic("5 spans responses run"),
    "pydantic_ai_v5_anthropic": _pydantic("5 spans anthropic run"),
    "pydantic_ai_v6_openai": _pydantic("6 spans openai run stream broken"),
    "pydantic_ai_1_0_18_v1_openai": _pydantic("1 spans openai run broken", "pydantic_ai_1", "cache"),
    "pydantic_ai_1_0_18_v1_anthropic": _pydantic("1 spans anthropic run", "pydantic_ai_1"),
    "pydantic_ai_1_0_18_logs_v1_openai": _pydantic("1 logs openai run broken", "pydantic_ai_1", "cache"),
    "pydantic_ai_1_0_18_logs_v1_responses": _pydantic("1 logs responses run", "pydantic_ai_1", "cache"),
    "pydantic_ai_1_0_18_v2_openai": _pydantic("2 spans openai run broken", "pydantic_ai_1", "cache"),
    "pydantic_ai_1_0_18_v3_openai": _pydantic("3 spans openai run broken", "pydantic_ai_1", "cache"),
    "pydantic_ai_1_0_18_v3_responses": _pydantic("3 spans responses run", "pydantic_ai_1", "cache"),
    "pydantic_ai_1_0_18_v3_anthropic": _pydantic("3 spans anthropic run", "pydantic_ai_1"),
    "adk_native": _run("framework_agents adk native tool stream broken sequential", "adk", "content arguments", **_OLD),
    "adk_native_latest": _run(
        "framework_agents adk native tool sequential", "adk", **{_CAPTURE: "SPAN_ONLY"}, **_LATEST
    ),
    "adk_native_schema1": _run(
        "framework_agents adk native tool stream broken sequential",
        "adk",
        ADK_TELEMETRY_SCHEMA_VERSION_OPT_IN="1",
        **_OLD,
        **_ADK_CONTENT,
    ),
    "openinference_adk": _run("framework_agents adk openinference tool stream broken", "adk", "first_calls"),
    "adk_native_1_14": _run("framework_agents adk native tool stream broken sequential", "adk_1", **_ADK_CONTENT),
    "openinference_langchain": _run(
        "framework_agents langchain openinference agent chain stream busy", "langchain", "stream_model"
    ),
    "openinference_langchain_plus_openai": _run(
        "framework_agents langchain openinference_plus_openai agent busy", "langchain", "beside"
    ),
    "traceloop_langchain": _run(
        "framework_agents langchain traceloop agent chain stream", "langchain", "reasoning stream_model"
    ),
    "langsmith_otel": _run(
        "framework_agents langchain langsmith agent chain busy",
        "langchain",
        "model",
        LANGSMITH_API_KEY="none",
        **_LANGSMITH,
    ),
    "otel_genai_langchain": _run("framework_agents langchain otel_genai agent chain", "langchain_otel"),
    "openinference_openai_agents": _run("framework_agents openai_agents openinference responses", "openai_agents"),
    "traceloop_openai_agents": _run("framework_agents openai_agents traceloop responses", "openai_agents"),
    "otel_genai_openai_agents": _run("framework_agents openai_agents otel_genai responses", "openai_agents", "calls"),
    "strands_default": _run("framework_agents strands", "strands", "model reasoning", **_OLD),
    "strands_latest": _run("framework_agents strands", "strands", "model reasoning", **_LATEST),
    "strands_latest_spanattrs": _run(
        "framework_agents strands", "strands", "model reasoning", OTEL_SEMCONV_STABILITY_OPT_IN=_STRANDS_ON_SPANS
    ),
    "smolagents_openinference": _run("framework_agents smolagents", "smolagents", "model cache reasoning question"),
    "agent_framework": _run("framework_agents agent_framework OpenAIChatClient", "agent_framework"),
    "semantic_kernel": _run(
        "framework_agents semantic_kernel",
        "semantic_kernel",
        "model cache reasoning",
        SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS_SENSITIVE="true",
    ),
    "autogen_native": _run("framework_agents autogen", "autogen", "calls arguments"),
    "haystack_native": _run("framework_agents haystack native", "haystack"),
    "haystack_openinference": _run("framework_agents haystack openinference", "haystack", "cache reasoning"),
    "langfuse_sdk": replace(_run("by_hand langfuse", "langfuse"), told=(_BY_HAND,)),
    "mlflow": replace(
        _run(
            "by_hand mlflow",
            "mlflow",
            "cache reasoning",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="http://127.0.0.1:9/v1/traces",
            OTEL_EXPORTER_OTLP_TRACES_PROTOCOL="http/protobuf",
        ),
        told=(_BY_HAND,),
    ),
    "logfire_plain": _run("by_hand logfire", "openai"),
    "plain_otel": _run("by_hand plain", "plain"),
}
"""Instrumentors by name; the recordings use the same names."""
