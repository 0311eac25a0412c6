"""`pandaprobe.integrations.langgraph`."""

from pandaprobe_otel_integrations.langchain import LangGraphCallbackHandler as LangGraphCallbackHandler
