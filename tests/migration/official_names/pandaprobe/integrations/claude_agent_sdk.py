"""`pandaprobe.integrations.claude_agent_sdk`."""

from pandaprobe_otel_integrations.claude_agent_sdk import ClaudeAgentSDKAdapter as ClaudeAgentSDKAdapter
