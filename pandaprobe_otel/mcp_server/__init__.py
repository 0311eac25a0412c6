"""The MCP server of `pandaprobe-otel mcp`, through which coding agents read and judge traces and make tests of them.

It reads and writes through the API client, and never calls `init()`. The content of traces is data. The entry point,
the folder of tests and all limits come only from the command line, and tools that are not allowed do not exist.
"""
