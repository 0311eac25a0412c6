"""`pandaprobe.integrations.deepagents`."""

from pandaprobe_otel_integrations.langchain import DeepAgentsCallbackHandler as DeepAgentsCallbackHandler
