"""The MCP server of `pandaprobe-otel mcp`: traces for coding agents, to read, to judge and to make tests of.

It reads and writes through the API's client and calls `init()` nowhere. What a trace says is data: entry point, folder
of tests and limits come from the command line only, and a tool that is not allowed is not there.
"""
