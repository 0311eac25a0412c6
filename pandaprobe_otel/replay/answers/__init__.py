"""Model answers, rebuilt from the spans of a trace as the bytes that the service sent.

- `model_answer`: the answer in a span, independent of protocols
- `chat`, `responses`, `messages`, `gemini`, `converse`, `ollama`, `cohere`: its form in each protocol, whole and
  streamed
- `wire`: the bytes
- `rebuild`: from a span to its recorded answer, which may be an HTTP error
"""
