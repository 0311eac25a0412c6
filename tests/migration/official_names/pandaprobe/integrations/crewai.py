"""`pandaprobe.integrations.crewai`."""

from pandaprobe_otel_integrations.crewai import CrewAIAdapter as CrewAIAdapter
