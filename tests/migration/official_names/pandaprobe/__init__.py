"""The official SDK's import path in front of this library: `import pandaprobe` after a migration."""

from pandaprobe_otel import *  # noqa: F403
