"""`pandaprobe.integrations.langchain`."""

from pandaprobe_otel_integrations.langchain import LangChainCallbackHandler as LangChainCallbackHandler
