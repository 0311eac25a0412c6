"""How OpenAI's chat completions, completions and embeddings read; groq, together and many servers speak like it."""
