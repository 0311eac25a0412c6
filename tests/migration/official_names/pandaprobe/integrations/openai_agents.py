"""`pandaprobe.integrations.openai_agents`."""

from pandaprobe_otel_integrations.openai_agents import OpenAIAgentsAdapter as OpenAIAgentsAdapter
