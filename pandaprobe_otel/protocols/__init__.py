"""Wire protocols of model services: how each reads requests, and writes answers and refusals.

- `protocol`: the face of a protocol, and a request as each protocol parses it
- `conversation`: messages, tool calls and answers, independent of protocols
- `chat`, `responses`, `anthropic`, `gemini`, `bedrock`, `cohere`, `ollama`: one protocol each
- `known`: all of them, and the protocol of a request
- `encoding`, `aws_frames`: the bytes
"""
