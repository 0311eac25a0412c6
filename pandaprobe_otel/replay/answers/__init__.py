"""Answers of models, rebuilt from the spans of a trace as the bytes that the service sent.

- `model_answer`: what a span says of an answer, in no protocol's form
- `chat`, `responses`, `messages`, `gemini`, `converse`, `ollama`, `cohere`: its form in each, whole and streamed
- `wire`: the bytes
- `rebuild`: a span to its recorded answer, also one that is an HTTP error
"""
