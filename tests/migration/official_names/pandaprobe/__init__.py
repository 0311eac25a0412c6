"""The official SDK's import path in front of this library: what an app's `import pandaprobe` becomes by migrating."""

from pandaprobe_otel import *  # noqa: F403
